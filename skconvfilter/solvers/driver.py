"""The one loop that every solver runs in: stopping, the best iterate, the history."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from skconvfilter.model.squared_error import Array, Evaluation, SquaredError

Indices: TypeAlias = NDArray[np.intp]
# Arrays (n_rows, R), "filters" (n_rows, R, p): a row for the start and for every iteration,
# NaN, or "" for "stage", where a restart did not run. "scale" is the size of the signs.
History: TypeAlias = dict[str, NDArray[Any]]

# Noise of mini-batches may lift the loss over its start, but not by this factor.
_RISE = 10


class Status(Enum):
    """Why a restart ended, in words for the user."""

    CONVERGED = "the loss no longer falls"
    MAX_ITER = "the largest number of iterations was reached"
    DIVERGED = "the loss rose beyond its start: the learning rate is too large"
    STOPPED = "a callback asked for the end"


@dataclass
class SolverState:
    """The present iterates of R restarts; a solver keeps what else it needs in `memory`."""

    W: Array  # (p, R)
    signs: Array  # (R,), or of banks (R, n_filters), times the factors of the values
    evaluation: Evaluation  # at W, with gradient
    learning_rate: Array  # (R,), NaN where a solver has none
    stage: NDArray[np.str_]  # (R,), what the last step was part of, for the history
    pending: NDArray[np.bool_]  # (R,), whose last step was rejected, but not for good
    losses: list[Array]  # of (R,), at the start and after every iteration
    memory: dict[str, Any] = field(default_factory=dict)

    @property
    def gradient(self) -> Array:
        """Gradients of the loss at W, shape (R, p)."""
        assert self.evaluation.gradient is not None
        return self.evaluation.gradient

    @classmethod
    def start(cls, W: Array, signs: Array, evaluation: Evaluation, **memory: Any) -> Self:
        """State before the first step; `W` and `signs` are copied."""
        n_restarts = W.shape[1]
        return cls(
            W=W.copy(),
            signs=scaled_signs(signs, evaluation.scale),
            evaluation=evaluation,
            learning_rate=np.full(n_restarts, np.nan),
            stage=np.full(n_restarts, "start", dtype="U8"),
            pending=np.zeros(n_restarts, dtype=bool),
            losses=[evaluation.loss],
            memory=memory,
        )


def scaled_signs(signs: Array, scale: Array) -> Array:
    """Signs (R,) or (R, n_filters) of models, multiplied by a factor (R,) of each."""
    scaled: Array = (signs.T * scale).T
    return scaled


class Solver(ABC):
    """An iterative method that advances R restarts at once.

    A solver holds parameters only: all that changes is in the state, so that one solver
    serves several runs.
    """

    @abstractmethod
    def init(self, objective: SquaredError, W: Array, signs: Array) -> SolverState:
        """State at the starts.

        Parameters
        ----------
        objective : SquaredError
        W : ndarray of shape (p, R)
            Left as it is.
        signs : ndarray of shape (R,) or (R, n_filters)

        Returns
        -------
        state : SolverState
            See :meth:`SolverState.start`.
        """

    @abstractmethod
    def step(self, objective: SquaredError, state: SolverState, running: Indices) -> None:
        """One iteration of some restarts, in place.

        Sets the columns `running` of ``W``, and the same entries of ``evaluation``, of
        ``signs``, which are multiplied by the scale of the evaluation, of ``stage`` and,
        where the solver has them, of ``learning_rate`` and ``pending``. The other restarts
        stay as they are.

        Parameters
        ----------
        objective : SquaredError
        state : SolverState
        running : ndarray of shape (n_running,)
            Numbers of the restarts that have not ended, increasing.
        """


@dataclass(frozen=True)
class Stopping:
    """When a restart ends.

    Parameters
    ----------
    max_iter : int
        Largest number of iterations.
    tol : float
        An iteration counts as progress if it lowers the best score so far by more than
        this share.
    n_iter_no_change : int
        Consecutive iterations without progress after which a restart has converged.
    floor : float, default=0.0
        A loss that is zero to machine precision: at or below it a restart has converged.
    """

    max_iter: int
    tol: float
    n_iter_no_change: int
    floor: float = 0.0


@dataclass
class SolverResult:
    """Best iterates of R restarts and how they were reached."""

    W: Array  # (p, R)
    signs: Array  # (R,), or of banks (R, n_filters)
    intercept: Array  # (R,)
    loss: Array  # (R,), training loss at W
    score: Array  # (R,), what decides: the validation loss if there is one
    status: list[Status]
    history: History


class Incumbent(NamedTuple):
    """The best parameters so far."""

    w: Array  # (p,)
    sign: float | Array  # or, of a bank, signs
    intercept: float
    loss: float
    score: float  # validation loss where there is a validation set, else `loss`


class Snapshot(NamedTuple):
    """Where a search stands after an iteration."""

    stage: str  # what the iteration was part of, for the first restart that took part
    n_running: int  # restarts that took part
    incumbent: Incumbent


class Callback(Protocol):
    """What a search calls after every iteration."""

    def __call__(self, snapshot: Snapshot, /) -> bool:
        """Whether to stop the search here."""
        ...


def run(
    solver: Solver,
    objective: SquaredError,
    W: Array,
    signs: Array,
    stopping: Stopping,
    *,
    validation: SquaredError | None = None,
    callback: Callback | None = None,
) -> SolverResult:
    """Advance R restarts together until each has ended.

    Parameters
    ----------
    solver : Solver
    objective : SquaredError
    W : ndarray of shape (p, R)
        Starts.
    signs : ndarray of shape (R,) or (R, n_filters)
        Their output signs.
    stopping : Stopping
    validation : SquaredError, default=None
        If given, its loss decides which iterate is best and whether there is progress.
    callback : Callback, default=None
        Called after every iteration; returns whether to stop there.

    Returns
    -------
    result : SolverResult
    """
    # Overflow is a result here (DIVERGED), not an accident to warn of.
    with np.errstate(over="ignore", invalid="ignore"):
        state = solver.init(objective, W, signs)
        progress = _Progress(state, objective.alpha, validation, stopping)
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
        return progress.result()


class _Progress:
    """Best iterates so far, patience, and the record of every restart."""

    def __init__(
        self,
        state: SolverState,
        alpha: float,
        validation: SquaredError | None,
        stopping: Stopping,
    ) -> None:
        self.alpha = alpha
        self.validation = validation
        self.stopping = stopping
        n_restarts = state.W.shape[1]
        self.W = state.W.copy()
        self.signs = state.signs.copy()
        self.intercept = state.evaluation.intercept.copy()
        self.loss = state.evaluation.loss.copy()
        self.score = np.nan_to_num(self._scores(state), nan=np.inf, posinf=np.inf)
        self.n_no_improvement = np.zeros(n_restarts, dtype=int)
        self.status = [Status.MAX_ITER] * n_restarts
        self.ended = np.zeros(n_restarts, dtype=bool)
        self.records: list[History] = []
        self._record(state, self.score, np.arange(n_restarts))
        self._end(~np.isfinite(self.score), Status.DIVERGED)
        self._end(self.loss <= stopping.floor, Status.CONVERGED)

    def running(self) -> Indices:
        return np.flatnonzero(~self.ended)

    def update(self, state: SolverState, running: Indices) -> None:
        evaluation = state.evaluation
        score = self._scores(state)
        finite = np.isfinite(score) & np.isfinite(state.W).all(axis=0)
        score[~finite] = np.inf
        self._record(state, score, running)
        progressed = score < self.score * (1 - self.stopping.tol)
        self.n_no_improvement[running] += np.where(state.pending[running], 0, 1)
        self.n_no_improvement[progressed] = 0
        better = score < self.score
        self.score[better] = score[better]
        self.loss[better] = evaluation.loss[better]
        self.intercept[better] = evaluation.intercept[better]
        self.W[:, better] = state.W[:, better]
        self.signs[better] = state.signs[better]
        self._end(~finite, Status.DIVERGED)
        self._end(self.loss <= self.stopping.floor, Status.CONVERGED)
        exhausted = self.n_no_improvement >= self.stopping.n_iter_no_change
        risen = evaluation.loss > _RISE * state.losses[0]
        self._end(exhausted & risen, Status.DIVERGED)
        self._end(exhausted, Status.CONVERGED)

    def snapshot(self, state: SolverState, running: Indices) -> Snapshot:
        best = int(np.argmin(self.score))
        incumbent = Incumbent(
            self.W[:, best].copy(),
            self.signs[best].copy(),
            float(self.intercept[best]),
            float(self.loss[best]),
            float(self.score[best]),
        )
        return Snapshot(str(state.stage[running[0]]), len(running), incumbent)

    def stop(self) -> None:
        self._end(~self.ended, Status.STOPPED)

    def result(self) -> SolverResult:
        names = self.records[0]
        history = {name: np.array([r[name] for r in self.records]) for name in names}
        best = (self.W, self.signs, self.intercept, self.loss, self.score)
        return SolverResult(*best, self.status, history)

    def _scores(self, state: SolverState) -> Array:
        evaluation = state.evaluation
        if self.validation is None:
            return evaluation.loss.copy()
        return self.validation.validation_loss(state.W, state.signs, evaluation.intercept)

    def _end(self, which: NDArray[np.bool_], status: Status) -> None:
        for restart in np.flatnonzero(which & ~self.ended):
            self.status[restart] = status
        self.ended |= which

    def _record(self, state: SolverState, score: Array, running: Indices) -> None:
        ran = np.zeros(len(score), dtype=bool)
        ran[running] = True
        numbers = {
            "loss": state.evaluation.loss,
            "alpha": np.full(len(score), self.alpha),
            "score": score,
            "gradient_norm": np.linalg.norm(state.gradient, axis=1),
            "learning_rate": state.learning_rate,
        }
        record = {name: np.where(ran, value, np.nan) for name, value in numbers.items()}
        record["stage"] = np.where(ran, state.stage, "")
        scale = np.abs(state.signs).reshape(len(ran), -1).mean(axis=1)
        record["scale"] = np.where(ran, scale, np.nan)
        record["filters"] = np.where(ran, state.W, np.nan).T
        self.records.append(record)
