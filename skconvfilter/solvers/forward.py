"""Banks grown one filter at a time, beyond their size, and pruned back to it."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skconvfilter.initializers.random_starts import (
    filters_with_thresholds,
    unit_directions,
)
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.bank_objective import BankObjective, LinearModels
from skconvfilter.model.squared_error import Array
from skconvfilter.solvers.driver import Callback, Snapshot, Stopping, run, scaled_signs
from skconvfilter.solvers.levenberg_marquardt import LevenbergMarquardt
from skconvfilter.solvers.multistart import SearchResult

# Of each new filter: random directions, those that are tried, and the joint steps of each
# trial. benchmarks/real_data.py measures what these constants reach.
_N_DIRECTIONS, _N_TRIED, _N_STEPS = 64, 3, 12
_DAMPING, _TOL, _N_ITER_NO_CHANGE = 1e-2, 1e-4, 3
# Those that are tried beside a linear filter.
_N_TRIED_BESIDE_LINEAR = 6
# Of samples far from 0, directions that are orthogonal to the mean patch.
_N_ORTHOGONAL = 56
# Where a step of the bank takes long: those that are tried, and the steps of each trial,
# which only the new filter takes.
_N_TRIED_ALONE, _N_STEPS_ALONE = 6, 6
# With generalized least squares: the random filters, those that are tried, so many and so
# many for each filter of the bank; the steps of each trial, which only the new filter
# takes, and those of the best few.
_N_RANDOM, _LEAST_TRIED, _N_TRIED_PER_FILTER = 1000, 16, 4
_N_FIRST_STEPS, _N_CONTINUED, _N_MORE_STEPS = 6, 4, 14
# Filters that a bank grows beyond its size: so many, or this share of its filters.
_BEYOND, _SHARE_BEYOND = 2, 0.5
# Largest condition number of the least squares that linear filters are solutions of.
_LARGEST_CONDITION = 1e6
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

    def without_bias(self) -> "Bank":
        """The same without the weights of the constant entry."""
        return self._replace(filters=self.filters[:, :-1])


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
    relaxed : bool, default=False
        Whether the bank grows beside a linear filter, one with a large bias, which is then
        removed. A filter w and its reflection -w differ by a linear model, so that beside
        one they are equally good, and fewer minima are poor. Reflections of some filters
        take its place. Where the targets are not those of a bank, this fits worse. Filters
        without a bias have one in the meantime. Without effect unless the objective has
        linear models.
    ridge : float, default=None
        If given, of :meth:`~skconvfilter.model.bank_objective.BankObjective.generalized`
        least squares, in which a new filter hardly depends on those that are missing: many
        are tried alone. Where the targets are not those of a bank, this fits worse. Without
        effect for activations that are not homogeneous, or with a penalty.
    callback : Callback, default=None
        Called after every iteration with the bank of the full size, 0 where it has not yet
        grown; returns whether to stop. Not called for banks beyond their size, beside a
        linear filter, or with generalized least squares.
    """

    def __init__(
        self,
        objective: BankObjective,
        rng: np.random.Generator,
        *,
        signed: bool,
        floor: float,
        relaxed: bool = False,
        ridge: float | None = None,
        callback: Callback | None = None,
    ) -> None:
        self._linear_models = objective.linear_models() if relaxed else None
        self._n_linear = int(self._linear_models is not None)  # they come first
        constant = objective.geometry.layout.constant
        self._lends_bias = self._linear_models is not None and constant == 0
        if self._lends_bias:
            objective = objective.with_constant()
        homogeneous = objective.activation.homogeneity is not None
        costly = homogeneous and objective.is_costly()
        # The random filters of generalized least squares, and their values.
        self._random: tuple[Array, FloatArray] | None = None
        if ridge is not None and homogeneous and objective.alpha == 0:
            objective, self._random = _generalized(objective, ridge, rng)
            floor = 0.0  # that of the squared error has another unit
        self._tries_alone = costly or self._random is not None
        self._banks: dict[int, Bank] = {}
        self._objective = objective
        self._rng = rng
        self._signed = signed
        self._stopping = Stopping(_N_STEPS, _TOL, _N_ITER_NO_CHANGE, floor)
        self._callback = callback
        self._stopped = False
        metric = objective.patch_metric()
        # Of samples far from 0, the direction in which all patches are much alike.
        self._common: Array | None = None
        if objective.is_far_from_zero():
            self._common = np.linalg.eigh(metric)[1][:, -1]
        self._solver = LevenbergMarquardt(damping=_DAMPING, metric=metric, secant=costly)

    def run(self) -> Bank:
        """The best bank of the full size, or a smaller one that is exact."""
        n_filters = self._objective.n_filters
        bank = Bank(np.empty((0, self._objective.patch_dim)), np.empty(0), np.inf)
        if self._linear_models is not None:
            bank = self._linear(self._linear_models)
        for _ in range(n_filters + max(_BEYOND, int(_SHARE_BEYOND * n_filters))):
            bank = self._grow(bank)
            self._record(bank)
            if self._is_done(bank):
                break
        while len(bank.signs) > n_filters + self._n_linear:
            bank = self._prune(bank)
            self._record(bank)
        return self.path[max(self._banks)]

    @property
    def path(self) -> dict[int, Bank]:
        """The best bank of every size that was reached, up to the full one."""
        return {size: self._returned(bank) for size, bank in self._banks.items()}

    def smaller_banks(self) -> list[Bank]:
        """The best bank of every smaller size, by size."""
        sizes = range(1, self._objective.n_filters)
        return [self.path[size] for size in sizes if size in self.path]

    def _record(self, bank: Bank) -> None:
        """Let a bank, without its linear filter, compete for its place in the path."""
        size = len(bank.signs) - self._n_linear
        if size > self._objective.n_filters:
            return
        if self._linear_models is not None:
            bank = self._without_linear(bank, self._linear_models)
        known = self._banks.get(size, bank)
        self._banks[size] = bank if bank.loss <= known.loss else known

    def _returned(self, bank: Bank) -> Bank:
        return bank.without_bias() if self._lends_bias else bank

    def _is_done(self, bank: Bank) -> bool:
        enough = len(bank.signs) <= self._objective.n_filters + self._n_linear
        return self._stopped or (enough and bank.loss <= self._stopping.floor)

    def _linear(self, models: LinearModels) -> Bank:
        """One filter, the best linear model."""
        objective, constant = self._objective, self._objective.geometry.layout.constant
        w = _least_squares(models.columns, models.targets)
        # Far beyond the preactivations of any patch.
        largest = 2 * np.abs(w).sum() * np.abs(objective.samples[:]).max() or 1.0
        return Bank(np.append(w, largest / constant)[np.newaxis], np.ones(1), np.inf)

    def _without_linear(self, bank: Bank, models: LinearModels) -> Bank:
        """The bank without its linear filter, and the best reflections in its place."""
        linear, filters, signs = bank.filters[0], bank.filters[1:].copy(), bank.signs[1:]
        slopes = models.odd_slope * signs[:, np.newaxis]
        # Linear models of the filters, which a reflection adds, and the one to be removed.
        added = models.columns @ (slopes * filters)[:, :-1].T
        removed = models.columns @ (bank.signs[0] * linear[:-1])
        filters[_least_squares(added, -removed) > 0.5] *= -1
        return self._best([filters], [signs])

    def _grow(self, bank: Bank) -> Bank:
        directions, values = self._random or self._directions()
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
        """Random filters that are tried for each new one."""
        if self._random is not None:
            return max(_LEAST_TRIED, _N_TRIED_PER_FILTER * self._objective.n_filters)
        if self._tries_alone:
            return _N_TRIED_ALONE
        return _N_TRIED_BESIDE_LINEAR if self._n_linear else _N_TRIED

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
        stages = [(_N_STEPS_ALONE, 1)]
        if self._random is not None:
            stages = [(_N_FIRST_STEPS, _N_CONTINUED), (_N_MORE_STEPS, 1)]
        for n_steps, n_kept in stages:
            stopping = replace(self._stopping, max_iter=0 if self._stopped else n_steps)
            result = run(self._solver, objective, filters.T, signs[:, np.newaxis], stopping)
            best = np.argsort(result.loss, kind="stable")[:n_kept]
            filters, signs = result.W.T[best], result.signs[best, 0]
        return filters, signs

    def _prune(self, bank: Bank) -> Bank:
        removed = range(self._n_linear, len(bank.signs))
        rest = [np.delete(np.arange(len(bank.signs)), j) for j in removed]
        filters, signs = [bank.filters[r] for r in rest], [bank.signs[r] for r in rest]
        objective = self._objective.resized(len(bank.signs) - 1)
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
        if size > n_filters or self._n_linear or self._random is not None:
            return False
        found = snapshot.incumbent
        bank = Bank(found.w.reshape(size, -1), np.asarray(found.sign), found.loss)
        W, signs = bank.padded(n_filters)
        padded = found._replace(w=W, sign=signs)
        self._stopped = bool(callback(snapshot._replace(stage="forward", incumbent=padded)))
        return self._stopped


def _generalized(
    objective: BankObjective, ridge: float, rng: np.random.Generator
) -> tuple[BankObjective, tuple[Array, FloatArray]]:
    """Generalized least squares, and random filters and their values to compare."""
    filters = filters_with_thresholds(objective, _N_RANDOM, rng)
    values = objective.values_of_filters(filters)
    objective = objective.generalized(values, ridge)
    return objective, (filters, objective.comparable(values.T))


def _least_squares(columns: Array, targets: Array) -> Array:
    solution = np.linalg.lstsq(columns, targets, rcond=1 / _LARGEST_CONDITION)[0]
    return np.asarray(solution, dtype=np.float64)


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
