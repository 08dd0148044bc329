"""Stochastic gradient descent, the first paper's equation (2), all restarts at once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skconvfilter.solvers.driver import SolverState
from skconvfilter.solvers.schedules import Running, Schedule


@dataclass(frozen=True)
class SGD:
    """One iteration is one epoch; every restart sees the same mini-batches.

    Parameters
    ----------
    schedule : Schedule
    batch_size : int
        Samples per update; an epoch's batches differ by one sample at most, and none is
        smaller than this. All samples or more: full gradient descent.
    redraw : callable
        ``redraw(restart)`` returns a new start (p,) for a filter that has died: one that
        is active on no sample has zero gradient and would stay.
    seed : int
        Seed of the order of the samples.
    """

    schedule: Schedule
    batch_size: int
    redraw: Callable
    seed: int

    def init(self, objective, W, signs):
        """State at the starts."""
        n_filters = W.shape[1]
        return SolverState(
            W=W.copy(),
            signs=signs,
            evaluation=objective.gradient(W, signs),
            learning_rate=np.full(n_filters, np.nan),
            stage=np.full(n_filters, "start", dtype="U8"),
            memory={"step": 0, "rng": np.random.default_rng(self.seed)},
        )

    def step(self, objective, state, running):
        """One epoch for the restarts that still run."""
        losses = np.array(state.losses)[:, running]
        W, signs = state.W[:, running], state.signs[running]
        here = Running(losses, W, signs)
        state.stage[running] = self.schedule.stages(here)
        for rows in self._batches(objective.n_samples, state.memory["rng"]):
            rate = self.schedule(state.memory["step"], here)
            if rows is None:
                gradient = state.evaluation.gradient[running]
            else:
                gradient = objective.batch_gradient(W, signs, rows)
            W -= rate * gradient.T
            state.memory["step"] += 1
        state.W[:, running] = W
        state.learning_rate[running] = rate
        self._replace_dead(objective, state, running)

    def _batches(self, n_samples, rng):
        n_batches = max(1, n_samples // self.batch_size)
        if n_batches == 1:
            # The one update of the epoch takes the gradient of the state itself.
            return [None]
        return np.array_split(rng.permutation(n_samples), n_batches)

    def _replace_dead(self, objective, state, running):
        evaluation = objective.gradient(state.W[:, running], state.signs[running])
        dead = running[evaluation.peak <= 0]
        if len(dead):
            for restart in dead:
                state.W[:, restart] = self.redraw(restart)
            evaluation = objective.gradient(state.W[:, running], state.signs[running])
        state.evaluation = state.evaluation.put(running, evaluation)
