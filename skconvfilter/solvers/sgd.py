"""Stochastic gradient descent, the first paper's equation (2), all restarts at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from skconvfilter.model.squared_error import Array, SquaredError
from skconvfilter.solvers.driver import Indices, Solver, SolverState, scaled_signs
from skconvfilter.solvers.schedules import Running, Schedule


@dataclass(frozen=True)
class SGD(Solver):
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
    redraw: Callable[[int], Array]
    seed: int

    def init(self, objective: SquaredError, W: Array, signs: Array) -> SolverState:
        """State at the starts."""
        evaluation = objective.gradient(W, signs)
        rng = np.random.default_rng(self.seed)
        return SolverState.start(W, signs, evaluation, n_updates=0, rng=rng)

    def step(self, objective: SquaredError, state: SolverState, running: Indices) -> None:
        """One epoch for the restarts that still run."""
        losses = np.array(state.losses)[:, running]
        W, signs = state.W[:, running], state.signs[running]
        # W moves with every update, so that the schedule sees where the filters are.
        present = Running(losses, W, signs)
        state.stage[running] = self.schedule.stages(present)
        for rows in self._batches(objective.n_samples, state.memory["rng"]):
            rate = self.schedule(state.memory["n_updates"], present)
            if rows is None:
                gradient = state.gradient[running]
            else:
                gradient = objective.batch_gradient(W, signs, rows)
            W -= rate * gradient.T
            state.memory["n_updates"] += 1
        state.W[:, running] = W
        state.learning_rate[running] = rate
        self._replace_dead(objective, state, running)

    def _batches(
        self, n_samples: int, rng: np.random.Generator
    ) -> Sequence[Indices | None]:
        n_batches = max(1, n_samples // self.batch_size)
        if n_batches == 1:
            # The one update of the epoch takes the gradient of the state itself.
            return [None]
        return np.array_split(rng.permutation(n_samples), n_batches)

    def _replace_dead(
        self, objective: SquaredError, state: SolverState, running: Indices
    ) -> None:
        evaluation = objective.gradient(state.W[:, running], state.signs[running])
        dead = running[evaluation.max_abs_output <= 0]
        if len(dead):
            for restart in dead:
                state.W[:, restart] = self.redraw(restart)
            evaluation = objective.gradient(state.W[:, running], state.signs[running])
        # The factors of the values stay as they are within an epoch.
        state.signs[running] = scaled_signs(state.signs[running], evaluation.scale)
        state.evaluation = state.evaluation.put(running, evaluation)
