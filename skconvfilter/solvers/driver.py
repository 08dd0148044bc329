"""The one loop that every solver runs in: stopping, the best iterate, the history."""

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np

from skconvfilter.model.squared_error import Evaluation

# Noise of mini-batches may lift the loss over its start, but not by this factor.
_RISE = 10


class Status(Enum):
    """Why a restart came to its end, in words for the user."""

    CONVERGED = "the loss no longer falls"
    MAX_ITER = "the largest number of iterations was reached"
    DIVERGED = "the loss rose beyond its start: the learning rate is too large"
    STOPPED = "a callback asked for the end"


@dataclass
class SolverState:
    """R filters on their way; solvers keep what else they need in `memory`."""

    W: np.ndarray  # (p, R)
    signs: np.ndarray  # (R,)
    evaluation: Evaluation  # at W, with gradient
    learning_rate: np.ndarray  # (R,), nan where a solver has none
    stage: np.ndarray  # (R,), names of what the step was part of
    losses: list = field(default_factory=list)  # of (R,), one entry an iteration
    memory: dict = field(default_factory=dict)
    # (R,): whose last step was refused, but not for good; None: nobody's
    pending: np.ndarray | None = None


@dataclass(frozen=True)
class Stopping:
    """When a restart ends.

    Parameters
    ----------
    max_iter : int
        Largest number of iterations.
    tol : float
        An iteration counts as progress if it takes more than this share off the best
        score so far.
    n_iter_no_change : int
        Consecutive iterations without progress after which a restart has converged.
    floor : float, default=0.0
        A loss that rounding alone accounts for: at or below it a restart has converged.
    """

    max_iter: int
    tol: float
    n_iter_no_change: int
    floor: float = 0.0


@dataclass
class SolverResult:
    """Best iterates of R restarts and how they were reached."""

    W: np.ndarray  # (p, R)
    signs: np.ndarray  # (R,)
    intercept: np.ndarray  # (R,)
    loss: np.ndarray  # (R,), training loss at W
    score: np.ndarray  # (R,), what `best` means: validation loss if there is one
    status: list  # of Status
    history: dict  # of arrays (n_iterations + 1, R), "filters" with (.., p) behind


class Leader(NamedTuple):
    """The best filter so far."""

    w: np.ndarray  # (p,)
    sign: float | np.ndarray  # or, of a bank, signs
    intercept: float
    loss: float
    score: float  # validation loss where there is a validation set, else `loss`


class Snapshot(NamedTuple):
    """Where a search stands after an iteration."""

    stage: str  # what the iteration was part of, for the first restart that took part
    n_running: int  # restarts that took part
    leader: Leader


def run(solver, objective, W, signs, stopping, *, validation=None, callback=None):
    """Advance R filters together until each has ended.

    Parameters
    ----------
    solver : object with ``init`` and ``step``
    objective : SquaredError
    W, signs : ndarray of shape (p, R) and (R,)
        Starts.
    stopping : Stopping
    validation : SquaredError, default=None
        Where given, its loss decides what is best and whether there is progress.
    callback : callable, default=None
        ``callback(snapshot)`` after every iteration; whether to stop there.

    Returns
    -------
    result : SolverResult
    """
    # Overflow is an outcome here (DIVERGED), not an accident to warn of.
    with np.errstate(over="ignore", invalid="ignore"):
        state = solver.init(objective, W, signs)
        state.losses.append(state.evaluation.loss)
        progress = _Progress(state, validation, stopping)
        for _ in range(stopping.max_iter):
            running = progress.running()
            if len(running) == 0:
                break
            solver.step(objective, state, running)
            state.losses.append(state.evaluation.loss)
            progress.update(state, running)
            if callback is not None and callback(progress.snapshot(state, running)):
                progress.stop()
                break
        return progress.result(state)


class _Progress:
    """Best iterates so far, patience, and the record of every restart."""

    def __init__(self, state, validation, stopping):
        self.validation = validation
        self.stopping = stopping
        n_filters = state.W.shape[1]
        self.W = state.W.copy()
        self.intercept = state.evaluation.intercept.copy()
        self.loss = state.evaluation.loss.copy()
        self.score = np.nan_to_num(self._scores(state), nan=np.inf, posinf=np.inf)
        self.stale = np.zeros(n_filters, dtype=int)
        self.status = [Status.MAX_ITER] * n_filters
        self.ended = np.zeros(n_filters, dtype=bool)
        self.records = []
        self._record(state, self.score, np.arange(n_filters))
        self._end(~np.isfinite(self.score), Status.DIVERGED)
        self._end(self.loss <= stopping.floor, Status.CONVERGED)

    def running(self):
        return np.flatnonzero(~self.ended)

    def update(self, state, running):
        evaluation = state.evaluation
        score = self._scores(state)
        finite = np.isfinite(score) & np.isfinite(state.W).all(axis=0)
        score[~finite] = np.inf
        self._record(state, score, running)
        gained = score < self.score * (1 - self.stopping.tol)
        pending = False if state.pending is None else state.pending[running]
        self.stale[running] += np.where(pending, 0, 1)
        self.stale[gained] = 0
        better = score < self.score
        self.score[better] = score[better]
        self.loss[better] = evaluation.loss[better]
        self.intercept[better] = evaluation.intercept[better]
        self.W[:, better] = state.W[:, better]
        self._end(~finite, Status.DIVERGED)
        self._end(self.loss <= self.stopping.floor, Status.CONVERGED)
        stale = self.stale >= self.stopping.n_iter_no_change
        risen = evaluation.loss > _RISE * state.losses[0]
        self._end(stale & risen, Status.DIVERGED)
        self._end(stale, Status.CONVERGED)

    def snapshot(self, state, running):
        best = int(np.argmin(self.score))
        leader = Leader(
            self.W[:, best].copy(),
            state.signs[best],
            float(self.intercept[best]),
            float(self.loss[best]),
            float(self.score[best]),
        )
        return Snapshot(str(state.stage[running[0]]), len(running), leader)

    def stop(self):
        self._end(~self.ended, Status.STOPPED)

    def result(self, state):
        names = self.records[0]
        history = {name: np.array([r[name] for r in self.records]) for name in names}
        best = (self.W, state.signs, self.intercept, self.loss, self.score)
        return SolverResult(*best, self.status, history)

    def _scores(self, state):
        evaluation = state.evaluation
        if self.validation is None:
            return evaluation.loss.copy()
        return self.validation.validation_loss(state.W, state.signs, evaluation.intercept)

    def _end(self, which, status):
        for restart in np.flatnonzero(which & ~self.ended):
            self.status[restart] = status
        self.ended |= which

    def _record(self, state, score, running):
        ran = np.zeros(len(score), dtype=bool)
        ran[running] = True
        norms = np.linalg.norm(state.evaluation.gradient, axis=1)
        numbers = {
            "loss": state.evaluation.loss,
            "score": score,
            "gradient_norm": norms,
            "learning_rate": state.learning_rate,
        }
        record = {name: np.where(ran, value, np.nan) for name, value in numbers.items()}
        record["stage"] = np.where(ran, state.stage, "")
        record["filters"] = np.where(ran, state.W, np.nan).T
        self.records.append(record)
