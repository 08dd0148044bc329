"""Many starts in competition: which run, which are kept, what became of each restart."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from skconvfilter.model.squared_error import Array, SquaredError
from skconvfilter.solvers.driver import (
    Callback,
    History,
    Incumbent,
    Indices,
    Snapshot,
    Solver,
    SolverResult,
    Status,
    Stopping,
    run,
)

# Length of a perturbation relative to the filter's.
_PERTURBATION_LENGTH = 1.0
# Relative difference of losses that the order of summation can make.
_TIE = 1e-9
# Relative distance below which two filters are taken to lead to the same minimum.
_SAME_FILTER = 1e-2
# Entries of filters by which candidates are looked up.
_N_COORDINATES = 8


@dataclass(frozen=True)
class SearchResult:
    """The best parameters and what became of every restart."""

    w: Array  # (p,)
    sign: float | Array  # or, of a bank, signs times the factor of the values
    intercept: float
    loss: float
    score: float  # validation loss where there is a validation set, else `loss`
    status: Status
    alpha: float  # penalty that `loss` is with
    best_restart: int
    restart_losses: Array  # (n_init,), on all samples; NaN if it never ran
    history: History  # with R = n_init: a column for each restart
    # Of the banks of every size that led to this one: "n_filters", "loss" and "score".
    path: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidates:
    """Filters, or banks, in competition, each with the restart that it stems from."""

    W: Array  # (p, R)
    signs: Array  # (R,), or of banks (R, n_filters)
    restarts: Indices  # (R,)

    def take(self, columns: slice | Sequence[int] | Indices) -> Self:
        """Some of them."""
        return replace(
            self,
            W=self.W[:, columns],
            signs=self.signs[columns],
            restarts=self.restarts[columns],
        )

    def with_perturbations(self, directions: Array, metric: Array) -> Self:
        """Each also moved by a share of its norm along each of the directions (p, n).

        Norms are in the metric (p, p).
        """
        units = directions / _norms(directions, metric)
        n_each = units.shape[1]
        lengths = _PERTURBATION_LENGTH * _norms(self.W, metric)
        moves = np.repeat(lengths, n_each) * np.tile(units, len(lengths))
        return replace(
            self,
            W=np.hstack([self.W, np.repeat(self.W, n_each, axis=1) + moves]),
            signs=np.concatenate([self.signs, np.repeat(self.signs, n_each, axis=0)]),
            restarts=np.concatenate([self.restarts, np.repeat(self.restarts, n_each)]),
        )

    def with_reflections(self, axis: Array) -> Self:
        """Each also as its reflection about a direction: w' = 2 (axis . w) axis - w.

        Where the mean patches of all samples point the same way, w and w' differ in value
        by little (the model is half of mean |w . Z_i| plus half of w . mean Z_i): the
        reflection of a poor local minimum is then close to a good one.
        """
        reflected = 2 * np.outer(axis, axis @ self.W) - self.W
        return replace(
            self,
            W=np.hstack([self.W, reflected]),
            signs=np.concatenate([self.signs, self.signs]),
            restarts=np.concatenate([self.restarts, self.restarts]),
        )


class Advanced(NamedTuple):
    """Candidates that a solver has advanced, and what it found."""

    result: SolverResult
    restarts: Indices  # (R,), which the columns of the result stem from

    @classmethod
    def join(cls, parts: list[Self]) -> Self:
        """The candidates of several advances as one; of histories none."""
        results = [part.result for part in parts]
        joined = SolverResult(
            W=np.hstack([result.W for result in results]),
            signs=np.concatenate([result.signs for result in results]),
            intercept=np.concatenate([result.intercept for result in results]),
            loss=np.concatenate([result.loss for result in results]),
            score=np.concatenate([result.score for result in results]),
            status=[status for result in results for status in result.status],
            history={},
        )
        return cls(joined, np.concatenate([part.restarts for part in parts]))

    def candidates(self) -> Candidates:
        """The best iterates."""
        return Candidates(self.result.W, self.result.signs, self.restarts)

    def ranking(self, floor: float) -> Indices:
        """Columns from best to worst.

        Scores that differ by the order of summation only, or are at or below the floor,
        are equal; of these the lowest column comes first.
        """
        score = np.maximum(self.result.score, floor)
        score[score <= score.min() * (1 + _TIE)] = score.min()
        return np.argsort(score, kind="stable")


def merge_duplicates(candidates: Candidates, ranking: Indices) -> tuple[Indices, Indices]:
    """Which candidates are distinct, and which restarts continue under another's name.

    Parameters
    ----------
    candidates : Candidates
    ranking : ndarray of shape (R,)
        Their columns from best to worst.

    Returns
    -------
    distinct : ndarray of shape (n_distinct,)
        Columns of distinct filters, from best to worst.
    merged_into : ndarray of shape (R,)
        The restart that each candidate belongs to from now on. A restart whose best
        filter duplicates that of a better one is merged into that, with all candidates
        that stem from it.
    """
    restarts = candidates.restarts
    nearby = _Nearby(candidates)
    distinct: list[int] = []
    original = np.full(len(ranking), -1)  # the best candidate that each one duplicates
    merged_into: dict[int, int] = {}
    for column in ranking:
        if original[column] < 0:
            distinct.append(column)
            duplicates = nearby(column)
            original[duplicates[original[duplicates] < 0]] = column
        survivor = restarts[original[column]]
        # The first candidate of a restart is its best, and decides for the others.
        merged_into.setdefault(restarts[column], merged_into.get(survivor, survivor))
    return np.array(distinct), np.array([merged_into[restart] for restart in restarts])


class _Nearby:
    """Which candidates duplicate one of them; no time is spent on those far away."""

    def __init__(self, candidates: Candidates) -> None:
        self._filters = np.ascontiguousarray(candidates.W.T)
        self._signs = np.sign(candidates.signs).reshape(len(self._filters), -1)
        self._norms = np.linalg.norm(self._filters, axis=1)
        # A few coordinates tell most filters apart.
        self._coordinates = self._filters[:, :_N_COORDINATES]
        self._tree = cKDTree(self._coordinates)

    def __call__(self, column: int) -> Indices:
        # Duplicates are near relative to their own norm, which may be the larger one.
        radius = _SAME_FILTER * self._norms[column] / (1 - 2 * _SAME_FILTER)
        near = np.array(self._tree.query_ball_point(self._coordinates[column], radius))
        distances = np.linalg.norm(self._filters[near] - self._filters[column], axis=1)
        same_signs = (self._signs[near] == self._signs[column]).all(axis=1)
        return near[(distances <= _SAME_FILTER * self._norms[near]) & same_signs]


class MultiStart:
    """A search from many starts: a sequence of advances, with choices in between.

    Parameters
    ----------
    starts : Candidates
        One for each restart, in order.
    floor : float
        A score that is zero to machine precision.
    validation : SquaredError, default=None
        If given, its loss is the score of a candidate, in place of the training loss.
    callback : Callback, default=None

    Attributes
    ----------
    candidates : Candidates
        What the next advance begins from.
    advances : list of Advanced
        What the advances so far have led to; empty before the first.
    stopped : bool
        Whether the callback has asked to stop.
    """

    def __init__(
        self,
        starts: Candidates,
        floor: float,
        validation: SquaredError | None = None,
        callback: Callback | None = None,
    ) -> None:
        self.candidates: Candidates = starts
        self.advances: list[Advanced] = []
        self.stopped: bool = False
        self.floor = floor
        self.validation = validation
        self.callback = callback
        self._signs = starts.signs.copy()  # of the restarts
        self._latest = starts.W.copy()  # the best filter of each at its last advance
        self._ran = np.zeros(len(starts.signs), dtype=bool)
        self._histories: list[History] = []
        self._objective: SquaredError | None = None
        # Of all candidates so far, on the samples of the present objective.
        self._incumbent: Incumbent | None = None

    def advance(self, objective: SquaredError, solver: Solver, stopping: Stopping) -> None:
        """Run a solver on every candidate; after a stop, only evaluate them."""
        if self.stopped:
            stopping = replace(stopping, max_iter=0)
        if objective is not self._objective:
            self._objective, self._incumbent = objective, None
        result = run(
            solver,
            objective,
            self.candidates.W,
            self.candidates.signs,
            stopping,
            validation=self.validation,
            callback=self.callback and partial(self._report, self.callback),
        )
        advanced = Advanced(result, self.candidates.restarts)
        self.advances.append(advanced)
        self.candidates = advanced.candidates()
        ranking = advanced.ranking(self.floor)
        restarts, first = np.unique(advanced.restarts[ranking], return_index=True)
        best = ranking[first]  # column of each restart's best candidate
        self._latest[:, restarts] = result.W[:, best]
        self._signs[restarts] = result.signs[best]
        self._ran[restarts] = True
        self._histories.append(self._per_restart(result.history, best, restarts))

    def pool(self, advances: list[Advanced]) -> None:
        """Let the candidates of several advances compete, not only of the last one."""
        self.advances = [Advanced.join(advances)]
        self.candidates = self.advances[-1].candidates()

    def keep(self, n_candidates: int) -> None:
        """Drop all but the best distinct ones; before any advance, all but the first.

        Many starts end in the same minimum, and would crowd out the others.
        """
        if not self.advances:
            self.candidates = self.candidates.take(slice(n_candidates))
            return
        candidates = self.advances[-1].candidates()
        ranking = self.advances[-1].ranking(self.floor)
        distinct, merged_into = merge_duplicates(candidates, ranking)
        kept = np.sort(distinct[:n_candidates])
        self.candidates = replace(candidates, restarts=merged_into).take(kept)

    def reflect(self, axis: Array) -> None:
        """Double the candidates by their reflections."""
        self.candidates = self.candidates.with_reflections(axis)

    def perturb(self, directions: Array, metric: Array) -> None:
        """Add perturbed candidates, each along an equal share of the directions (p, n)."""
        n_each = directions.shape[1] // len(self.candidates.signs)
        directions = directions[:, :n_each]
        self.candidates = self.candidates.with_perturbations(directions, metric)

    def is_settled(self) -> bool:
        """Whether to search no further: one fits to machine precision, or after a stop."""
        return self.stopped or bool(self.advances[-1].result.score.min() <= self.floor)

    def finish(self, objective: SquaredError) -> SearchResult:
        """The winner of the last advance, and the loss of every restart on all samples."""
        result, restarts = self.advances[-1]
        winner = self.advances[-1].ranking(self.floor)[0]
        restart_losses = np.full(len(self._ran), np.nan)
        restart_losses[self._ran] = objective.value(
            self._latest[:, self._ran], self._signs[self._ran]
        ).loss
        history = self._histories[0]
        for phase in self._histories[1:]:
            history = _append_phase(history, phase)
        return SearchResult(
            w=result.W[:, winner],
            sign=result.signs[winner],
            intercept=float(result.intercept[winner]),
            loss=float(result.loss[winner]),
            score=float(result.score[winner]),
            status=Status.STOPPED if self.stopped else result.status[winner],
            alpha=objective.alpha,
            best_restart=int(restarts[winner]),
            restart_losses=restart_losses,
            history=history,
        )

    def follow(self, snapshot: Snapshot) -> bool:
        """Tell the callback of a search for a start; whether to stop."""
        self.stopped = self.callback is not None and bool(self.callback(snapshot))
        return self.stopped

    def _report(self, callback: Callback, snapshot: Snapshot) -> bool:
        """Tell the callback of the best of all candidates, not only of those that run."""
        incumbent = self._incumbent
        if incumbent is None or snapshot.incumbent.score < incumbent.score:
            incumbent = self._incumbent = snapshot.incumbent
        self.stopped = bool(callback(snapshot._replace(incumbent=incumbent)))
        return self.stopped

    def _per_restart(
        self, history: History, columns: Indices, restarts: Indices
    ) -> History:
        """Some columns of a history, in those of their restarts; the others are blank."""
        by_restart = {}
        for name, values in history.items():
            blank = "" if values.dtype.kind == "U" else np.nan
            shape = (len(values), len(self._signs), *values.shape[2:])
            by_restart[name] = np.full(shape, blank, dtype=values.dtype)
            by_restart[name][:, restarts] = values[:, columns]
        return by_restart


def _norms(W: Array, metric: Array) -> Array:
    """Of the columns, in a metric (p, p)."""
    norms: Array = np.sqrt(np.einsum("pr,pr->r", W, metric @ W))
    return norms


def _append_phase(history: History, phase: History) -> History:
    """The history of one more advance behind that of those before.

    The first row of a phase is where its filters were put, be it by a reflection or on
    other samples. It replaces where the last advance left them, so that every row but the
    first is one iteration.
    """
    ran, runs = history["stage"] != "", phase["stage"][0] != ""
    last = _last_rows(ran)
    starts_here = runs & ~ran.any(axis=0)
    joined = {}
    for name, values in history.items():
        # The stage and the learning rate of a row are those of the step that led to it.
        put = starts_here if name in ("stage", "learning_rate") else runs
        values = values.copy()
        values[last[put], put] = phase[name][0, put]
        joined[name] = np.concatenate([values, phase[name][1:]])
    return joined


def _last_rows(ran: NDArray[np.bool_]) -> Indices:
    """The last row in which each column is true; -1, the end of an array, for none."""
    rows = np.arange(len(ran))[:, np.newaxis]
    return np.where(ran, rows, -1).max(axis=0)
