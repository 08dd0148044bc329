"""Banks grown one filter at a time, beyond their size, and pruned back to it."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skconvfilter.initializers.random_starts import common_direction, unit_directions
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.bank_objective import BankObjective
from skconvfilter.model.squared_error import Array
from skconvfilter.solvers.driver import Callback, Snapshot, Stopping, run, scaled_signs
from skconvfilter.solvers.levenberg_marquardt import LevenbergMarquardt
from skconvfilter.solvers.multistart import SearchResult

# Of each new filter: random directions, those that are tried, and the joint steps of each
# trial. benchmarks/real_data.py measures what these constants reach.
_N_DIRECTIONS, _N_TRIED, _N_STEPS = 64, 3, 12
_DAMPING, _TOL, _N_ITER_NO_CHANGE = 1e-2, 1e-4, 3
# Of samples far from 0, directions that are orthogonal to the mean patch.
_N_ORTHOGONAL = 56
# Where a step of the bank takes long: those that are tried, and the steps of each trial,
# which only the new filter takes.
_N_TRIED_ALONE, _N_STEPS_ALONE = 6, 6
# Filters that a bank grows beyond its size: so many, or this share of its filters.
_BEYOND, _SHARE_BEYOND = 2, 0.5
# Size of preactivations at which saturating activations are tried.
_SMALLEST, _LARGEST = 0.5, 2.0


class Bank(NamedTuple):
    """A bank of any size, and its loss."""

    filters: Array  # (n_filters, patch_dim)
    signs: Array  # (n_filters,), 1 and -1 times the output scale
    loss: float

    def padded(self, n_filters: int) -> tuple[Array, Array]:
        """Parameters (n_parameters,) and signs (n_filters,) with filters of 0 added."""
        missing = n_filters - len(self.signs)
        filters = np.pad(self.filters, ((0, missing), (0, 0)))
        return filters.ravel(), np.append(self.signs, np.repeat(self.signs[0], missing))


class ForwardSearch:
    """Grow a bank filter by filter, each time fitting all of them together.

    A new filter is one of several random directions, the best for what the bank leaves
    unexplained; a few are tried, each with a few Levenberg-Marquardt steps of the whole
    bank. The bank grows beyond its size and is pruned back, where the filter that is missed
    least goes first: a bank that is too large has fewer poor minima, and what its filters
    have found is kept. Where a step of the bank takes long, in a trial only the new filter
    moves, and the bank takes its steps for the best one alone.

    Parameters
    ----------
    objective : BankObjective
        Of the full size, on the samples that are explored.
    rng : numpy.random.Generator
        Draws the directions.
    signed : bool
        Whether output weights may be -1.
    floor : float
        A loss that is zero to machine precision ends the search.
    callback : Callback, default=None
        Called after every iteration with the bank of the full size, 0 where it has not yet
        grown; returns whether to stop. Not called for banks beyond their size.
    """

    def __init__(
        self,
        objective: BankObjective,
        rng: np.random.Generator,
        *,
        signed: bool,
        floor: float,
        callback: Callback | None = None,
    ) -> None:
        homogeneous = objective.activation.homogeneity is not None
        self._tries_alone = homogeneous and objective.is_costly()
        # The best bank of every size that was reached, up to the full one.
        self.path: dict[int, Bank] = {}
        self._objective = objective
        self._rng = rng
        self._signed = signed
        self._stopping = Stopping(_N_STEPS, _TOL, _N_ITER_NO_CHANGE, floor)
        self._callback = callback
        self._stopped = False
        metric = objective.patch_metric()
        self._common = common_direction(objective)
        self._solver = LevenbergMarquardt(
            damping=_DAMPING, metric=metric, secant=self._tries_alone
        )

    def run(self) -> Bank:
        """The best bank of the full size, or a smaller one that is exact."""
        n_filters = self._objective.n_filters
        bank = Bank(np.empty((0, self._objective.patch_dim)), np.empty(0), np.inf)
        for _ in range(largest_size(n_filters)):
            bank = self._grow(bank)
            self._record(bank)
            if self._is_done(bank):
                break
        while len(bank.signs) > n_filters:
            bank = self._prune(bank)
            self._record(bank)
        return self.path[max(self.path)]

    def smaller_banks(self) -> list[Bank]:
        """The best bank of every smaller size, by size."""
        sizes = range(1, self._objective.n_filters)
        return [self.path[size] for size in sizes if size in self.path]

    def _record(self, bank: Bank) -> None:
        """Let a bank compete for its place in the path."""
        size = len(bank.signs)
        if size > self._objective.n_filters:
            return
        known = self.path.get(size, bank)
        self.path[size] = bank if bank.loss <= known.loss else known

    def _is_done(self, bank: Bank) -> bool:
        enough = len(bank.signs) <= self._objective.n_filters
        return self._stopped or (enough and bank.loss <= self._stopping.floor)

    def _grow(self, bank: Bank) -> Bank:
        directions, values = self._directions()
        gains, slopes = self._objective.fits(values, bank.filters, bank.signs)
        scale = bank.signs[0] if len(bank.signs) else 1.0
        # The first filter decides the sign of an output scale.
        either_sign = self._signed or (self._objective.fits_scale and not len(bank.signs))
        if not either_sign:
            gains = np.where(slopes * scale > 0, gains, -gains)
        tried = np.argsort(-gains, kind="stable")[: self._n_tried()]
        new = directions[tried]
        homogeneity = self._objective.activation.homogeneity
        if homogeneity is not None:
            new *= np.abs(slopes[tried, np.newaxis]) ** (1 / homogeneity)
        new_signs = np.full(len(new), scale)
        if either_sign:
            new_signs = np.where(slopes[tried] < 0, -1.0, 1.0) * abs(scale)
        if self._tries_alone:
            new, new_signs = self._best_alone(bank, new, new_signs)
        filters = [np.vstack([bank.filters, w]) for w in new]
        signs = [np.append(bank.signs, sign) for sign in new_signs]
        return self._best(filters, signs)

    def _n_tried(self) -> int:
        return _N_TRIED_ALONE if self._tries_alone else _N_TRIED

    def _directions(self) -> tuple[Array, FloatArray]:
        """Random filters, and their values to compare."""
        objective = self._objective
        streams = [self._rng] * _N_DIRECTIONS
        directions = unit_directions(streams, objective.geometry.layout, balanced=True).T
        if self._common is not None:
            along = directions[:_N_ORTHOGONAL] @ self._common
            directions[:_N_ORTHOGONAL] -= np.outer(along, self._common)
        if objective.activation.homogeneity is None:
            sizes = np.exp(
                self._rng.uniform(np.log(_SMALLEST), np.log(_LARGEST), _N_DIRECTIONS)
            )
            directions *= (sizes / objective.preactivation_scale())[:, np.newaxis]
        return directions, objective.comparable(objective.values_of_filters(directions).T)

    def _best_alone(self, bank: Bank, filters: Array, signs: Array) -> tuple[Array, Array]:
        """The best of some filters (m, patch_dim) beside a bank that stays, as one row."""
        objective = self._objective.beside(bank.filters, bank.signs)
        n_steps = 0 if self._stopped else _N_STEPS_ALONE
        stopping = replace(self._stopping, max_iter=n_steps)
        result = run(self._solver, objective, filters.T, signs[:, np.newaxis], stopping)
        best = [int(np.argmin(result.loss))]
        return result.W.T[best], result.signs[best, 0]

    def _prune(self, bank: Bank) -> Bank:
        size = len(bank.signs)
        rest = [np.delete(np.arange(size), j) for j in range(size)]
        filters, signs = [bank.filters[r] for r in rest], [bank.signs[r] for r in rest]
        objective = self._objective.resized(size - 1)
        W = np.stack([rows.ravel() for rows in filters], axis=1)
        n_tried = 1 if self._tries_alone else self._n_tried()
        tried = np.argsort(objective.value(W, np.array(signs)).loss)[:n_tried]
        return self._best([filters[i] for i in tried], [signs[i] for i in tried])

    def _best(self, filters: list[Array], signs: list[Array]) -> Bank:
        """The best of some banks of one size after a few steps, of none after a stop."""
        size = len(signs[0])
        stopping, callback = self._stopping, self._callback
        if self._stopped:
            stopping, callback = replace(stopping, max_iter=0), None
        result = run(
            self._solver,
            self._objective.resized(size),
            np.stack([rows.ravel() for rows in filters], axis=1),
            np.array(signs),
            stopping,
            callback=callback and partial(self._report, callback, size),
        )
        best = int(np.argmin(result.loss))
        rows = result.W[:, best].reshape(size, -1)
        return Bank(rows, result.signs[best], float(result.loss[best]))

    def _report(self, callback: Callback, size: int, snapshot: Snapshot) -> bool:
        n_filters = self._objective.n_filters
        if size > n_filters:
            return False
        found = snapshot.incumbent
        bank = Bank(found.w.reshape(size, -1), np.asarray(found.sign), found.loss)
        W, signs = bank.padded(n_filters)
        padded = found._replace(w=W, sign=signs)
        self._stopped = bool(callback(snapshot._replace(stage="forward", incumbent=padded)))
        return self._stopped


def largest_size(n_filters: int) -> int:
    """Size to which a bank grows before it is pruned."""
    return n_filters + max(_BEYOND, int(_SHARE_BEYOND * n_filters))


def evaluated_path(
    banks: list[Bank],
    found: SearchResult,
    objective: BankObjective,
    validation: BankObjective | None,
) -> dict[str, NDArray[Any]]:
    """The sizes of some banks and of the one that was found, and what they reach.

    Returns
    -------
    path : dict
        "n_filters", and on all samples "loss" and "score", each of shape (n_banks + 1,).
    """
    losses, scores = [], []
    for bank in banks:
        W, signs = bank.filters.reshape(-1, 1), bank.signs[np.newaxis]
        evaluation = objective.resized(len(bank.signs)).value(W, signs)
        score = evaluation.loss
        if validation is not None:
            resized = validation.resized(len(bank.signs))
            signs = scaled_signs(signs, evaluation.scale)
            score = resized.validation_loss(W, signs, evaluation.intercept)
        losses.append(float(evaluation.loss[0]))
        scores.append(float(score[0]))
    return {
        "n_filters": np.array([*(len(bank.signs) for bank in banks), objective.n_filters]),
        "loss": np.array([*losses, found.loss]),
        "score": np.array([*scores, found.score]),
    }
