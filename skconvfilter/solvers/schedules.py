"""Learning rates: callables from the step, and where restarts are, to a rate for each."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skconvfilter.model.squared_error import Array

# An epoch that leaves more than this share of the loss no longer makes quick progress.
_SLOW_PROGRESS = 0.9


class Running(NamedTuple):
    """The restarts that still run."""

    losses: Array  # (n_epochs + 1, n_running), at the start and after epochs
    W: Array  # (p, n_running), at present
    signs: Array  # (n_running,), or of banks (n_running, n_filters)


class Schedule(ABC):
    """Rule for learning rates."""

    @abstractmethod
    def __call__(self, step: int, running: Running) -> float | Array:
        """Learning rate of an update.

        Parameters
        ----------
        step : int
            Number of the update, from 0.
        running : Running

        Returns
        -------
        rate : float or ndarray of shape (n_running,)
        """

    def stages(self, running: Running) -> NDArray[np.str_]:
        """Names, for the history, of what the epoch is part of, shape (n_running,)."""
        return np.full(len(running.signs), "stage 1")


@dataclass(frozen=True)
class Constant(Schedule):
    """The same learning rate at every step."""

    rate: float

    def __call__(self, step: int, running: Running) -> float:
        """Learning rate at a step."""
        return self.rate


@dataclass(frozen=True)
class TwoStage(Schedule):
    """Small first, then large: the learning rates that section 2.1 of [1]_ argues for.

    Far from the teacher the angle is large and only a small step is safe; once it has
    shrunk, the bound of Theorem 2.2 permits a larger one.

    Parameters
    ----------
    first, second : float
        Learning rates of the stages.
    switch : int or "auto", default="auto"
        Epochs after which stage two begins. "auto": for each restart separately, after
        its first epoch that left more than nine tenths of the loss.

    References
    ----------
    .. [1] S. S. Du, J. D. Lee, Y. Tian, "When is a Convolutional Filter Easy to Learn?",
       ICLR 2018.
    """

    first: float
    second: float
    switch: int | Literal["auto"] = "auto"

    def __call__(self, step: int, running: Running) -> Array:
        """Learning rate of each restart."""
        return np.where(self.in_second_stage(running.losses), self.second, self.first)

    def stages(self, running: Running) -> NDArray[np.str_]:
        """Which stage each restart is in."""
        return np.where(self.in_second_stage(running.losses), "stage 2", "stage 1")

    def in_second_stage(self, losses: Array) -> NDArray[np.bool_]:
        """Which restarts have left stage one, shape (n_running,)."""
        if self.switch == "auto":
            return np.any(losses[1:] > _SLOW_PROGRESS * losses[:-1], axis=0)
        return np.full(losses.shape[1], len(losses) > self.switch)


@dataclass(frozen=True)
class TheorySteps(Schedule):
    """The step that Theorem 3.1 of [1]_ allows at the distance from the teacher.

    At the filter w it follows from ``phi = arcsin(|w - w*| / |w*|)``, so that it grows on
    the way: the adaptive steps of section 2.1.

    Parameters
    ----------
    teacher : ndarray of shape (p,)
    sign : float
        Output sign of the teacher; the theorem does not apply to filters of the other one.
    angles : ndarray of shape (n_angles,)
        Increasing.
    rates : ndarray of shape (n_angles,)
        Steps allowed up to each angle, NaN where the condition of the theorem fails.
    otherwise : float
        The rate where the theorem does not apply. Rates for mini-batches never exceed it.
    batches : bool
        Whether updates are of mini-batches.

    References
    ----------
    .. [1] S. S. Du, J. D. Lee, Y. Tian, "When is a Convolutional Filter Easy to Learn?",
       ICLR 2018.
    """

    teacher: Array
    sign: float
    angles: Array
    rates: Array
    otherwise: float
    batches: bool

    def __call__(self, step: int, running: Running) -> Array:
        """Learning rate of each restart."""
        allowed = self._allowed(running)
        if self.batches:
            allowed = np.minimum(allowed, self.otherwise)
        return np.where(np.isfinite(allowed), allowed, self.otherwise)

    def stages(self, running: Running) -> NDArray[np.str_]:
        """Which restarts the theorem applies to."""
        return np.where(np.isfinite(self._allowed(running)), "theory", "stage 1")

    def _allowed(self, running: Running) -> Array:
        away = np.linalg.norm(running.W - self.teacher[:, np.newaxis], axis=0)
        distance = away / np.linalg.norm(self.teacher)
        phi = np.arcsin(np.minimum(distance, 1.0))
        reach = np.searchsorted(self.angles, phi - 1e-12)
        allowed = np.append(self.rates, np.nan)[reach]
        covered = (distance < 1) & (running.signs == self.sign)
        return np.where(covered, allowed, np.nan)
