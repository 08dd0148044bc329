"""Learning rates: callables from the step, and the losses so far, to a rate per restart."""

from dataclasses import dataclass

import numpy as np

# An epoch that leaves more than this share of the loss no longer makes quick progress.
_SLOW_PROGRESS = 0.9


@dataclass(frozen=True)
class Constant:
    """The same learning rate at every step."""

    rate: float

    def __call__(self, step, losses):
        """Learning rate at a step; see :class:`TwoStage`."""
        return self.rate


@dataclass(frozen=True)
class TwoStage:
    """Small first, then large: the learning rates that section 2.1 of [1]_ argues for.

    Far from the teacher the angle is large and only a small step is safe; once it has
    shrunk, the bound of Theorem 2.2 permits a larger one.

    Parameters
    ----------
    first, second : float
        Learning rates of the stages.
    switch : int or "auto"
        Epochs after which stage two begins. "auto": for each restart by itself, after
        its first epoch that left more than nine tenths of the loss.

    References
    ----------
    .. [1] S. S. Du, J. D. Lee, Y. Tian, "When is a Convolutional Filter Easy to Learn?",
       ICLR 2018.
    """

    first: float
    second: float
    switch: int | str = "auto"

    def __call__(self, step, losses):
        """Learning rate of each restart.

        Parameters
        ----------
        step : int
            Number of the update, counted from 0.
        losses : ndarray of shape (n_epochs + 1, n_running)
            Training loss of the restarts that still run, at the start and after each
            epoch done so far.
        """
        return np.where(self.in_second_stage(losses), self.second, self.first)

    def in_second_stage(self, losses):
        """Which restarts have left stage one, shape (n_init,)."""
        if self.switch == "auto":
            return np.any(losses[1:] > _SLOW_PROGRESS * losses[:-1], axis=0)
        return np.full(losses.shape[1], len(losses) > self.switch)
