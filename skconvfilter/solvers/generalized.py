"""Banks grown with generalized least squares, of data that may be without noise."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple, Self

import numpy as np
from scipy.optimize import brentq

from skconvfilter.initializers.random_starts import filters_with_thresholds
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.bank_objective import BankObjective
from skconvfilter.model.squared_error import Array
from skconvfilter.solvers.driver import Callback, Indices, Snapshot, Stopping, run
from skconvfilter.solvers.forward import Bank, largest_size
from skconvfilter.solvers.levenberg_marquardt import LevenbergMarquardt

# Random filters whose values the covariance of the errors is made of, and those that a
# start begins with. benchmarks/recovery.py measures what these constants reach.
_N_RANDOM, _N_OF_START = 2000, 1000
# Degrees of freedom of the errors, relative to the number of samples, with which filters
# are sought and chosen: each of these finds other banks.
DEGREES_OF_FREEDOM = ((0.2, 0.3), (0.3, 0.45))
# Parameters of a bank that adapts to a new filter, relative to the number of samples.
_MOST_ADAPTING = 0.4
# Random filters that are tried for the first filter, and for each one after it, and steps.
_N_FIRST, _N_TRIED, _N_STEPS_TRIED = 128, 32, 6
# The best of all that have been tried, and their steps.
_N_CONTINUED, _N_STEPS_CONTINUED = 8, 14
# Steps of the whole bank.
_N_STEPS = 12
_DAMPING, _TOL, _N_ITER_NO_CHANGE = 1e-2, 1e-4, 3
# Squared error, relative to that of a constant, of an exact bank in single precision.
_EXACT = 1e-9
# Eigenvalues below this share of the largest one are 0.
_ROUNDING = 1e-12


class GeneralizedProblem(NamedTuple):
    """Generalized least squares with two covariances of the errors.

    With the coarse one, filters are found from further away; with the fine one, they are
    told apart better.
    """

    objective: BankObjective  # the squared error
    coarse: BankObjective
    fine: BankObjective
    filters: Array  # (m, patch_dim), random ones
    values: Array  # (n_samples, m), of these

    @classmethod
    def of(
        cls,
        objective: BankObjective,
        rng: np.random.Generator,
        degrees_of_freedom: tuple[float, float] = DEGREES_OF_FREEDOM[0],
    ) -> Self:
        """That of a squared error, see :meth:`BankObjective.generalized`."""
        filters = filters_with_thresholds(objective, _N_RANDOM, rng)
        values = objective.values_of_filters(filters)
        covariance = objective.covariance_of_errors(values)
        eigenvalues = np.linalg.eigvalsh(covariance)
        coarse, fine = (
            objective.generalized(covariance, _ridge(eigenvalues, share))
            for share in degrees_of_freedom
        )
        return cls(objective, coarse, fine, filters, values)


class GeneralizedSearch:
    """Grow a bank filter by filter with generalized least squares.

    In them a filter hardly depends on those that are missing, so that a new one is sought
    alone, beside a bank that adapts to it: a few steps from many random filters, and more
    from the best of all that have been tried so far, since other filters of the bank are
    among these. Then all filters take a few steps together. The bank grows beyond its size
    and is pruned back. Whenever it has its size, it takes a few steps for the squared
    error; as a filter and its reflection are nearly the same before, some filters are
    reflected first.

    Parameters
    ----------
    problem : GeneralizedProblem
        Of the full size.
    rng : numpy.random.Generator
        Chooses random filters.
    signed : bool
        Whether output weights may be -1.
    callback : Callback, default=None
        Called after every step for the squared error; returns whether to stop.
    """

    def __init__(
        self,
        problem: GeneralizedProblem,
        rng: np.random.Generator,
        *,
        signed: bool,
        callback: Callback | None = None,
    ) -> None:
        self._problem = problem
        self._signed = signed
        self._stopping = Stopping(_N_STEPS, _TOL, _N_ITER_NO_CHANGE)
        # Of the squared error, a loss that is zero in single precision.
        signs = np.ones((1, problem.objective.n_filters))
        self._floor = _EXACT * problem.objective.constant_loss(signs)
        self._callback = callback
        self._stopped = False
        metric = problem.objective.patch_metric()
        self._solver = LevenbergMarquardt(damping=_DAMPING, metric=metric)
        some = rng.choice(len(problem.filters), _N_OF_START, replace=False)
        self._random = problem.filters[some]
        self._values_of_random = problem.values[:, some].T
        self._is_tried = np.zeros(len(some), dtype=bool)
        # Filters that random ones have led to.
        self._found = np.empty((0, problem.objective.patch_dim))
        self._values_of_found = np.empty((0, problem.objective.n_samples))
        # The last bank of every smaller size, and the best of the full one.
        self._smaller: dict[int, Bank] = {}
        self._best: Bank | None = None

    def run(self) -> Bank:
        """The bank of the full size with the lowest squared error."""
        n_filters = self._problem.objective.n_filters
        bank = Bank(np.empty((0, self._found.shape[1])), np.empty(0), np.inf)
        while len(bank.signs) < largest_size(n_filters) and not self._is_done():
            bank = self._together(*self._grown(bank))
            self._record(bank)
        while len(bank.signs) > n_filters and not self._is_done():
            bank = self._together(*self._pruned(bank))
            self._record(bank)
        assert self._best is not None
        return self._best

    def smaller_banks(self) -> list[Bank]:
        """A bank of every smaller size, by size, after steps for the squared error."""
        return [self._in_squared_error(bank, None) for bank in self._smaller.values()]

    def _record(self, bank: Bank) -> None:
        n_filters = self._problem.objective.n_filters
        if len(bank.signs) < n_filters:
            self._smaller[len(bank.signs)] = bank
        elif len(bank.signs) == n_filters:
            bank = self._in_squared_error(bank, self._callback)
            if self._best is None or bank.loss < self._best.loss:
                self._best = bank

    def _is_done(self) -> bool:
        return self._stopped or (self._best is not None and self._best.loss <= self._floor)

    def _grown(self, bank: Bank) -> tuple[Array, Array]:
        """Filters and output weights of the bank with the best new filter."""
        coarse, fine = self._problem.coarse, self._problem.fine
        if bank.filters.size <= _MOST_ADAPTING * coarse.n_samples:
            coarse = coarse.adapting(bank.filters, bank.signs)
            fine = fine.adapting(bank.filters, bank.signs)
        n_tried = _N_TRIED if len(bank.signs) else _N_FIRST
        order, factors = self._by_gain(coarse, self._values_of_random, bank)
        untried = order[~self._is_tried[order]]
        tried = (untried if len(untried) >= n_tried else order)[:n_tried]
        self._is_tried[tried] = True
        found, _ = self._alone(
            coarse, bank, self._random[tried], factors[tried], _N_STEPS_TRIED
        )
        self._add_found(found)
        order, factors = self._by_gain(fine, self._values_of_found, bank)
        best = order[:_N_CONTINUED]
        found, signs = self._alone(
            fine, bank, self._found[best], factors[best], _N_STEPS_CONTINUED
        )
        self._remove_found(best)
        self._add_found(found[1:])
        return np.vstack([bank.filters, found[:1]]), np.append(bank.signs, signs[:1])

    def _by_gain(
        self, objective: BankObjective, values: Array, bank: Bank
    ) -> tuple[Indices, Array]:
        """Filters of these values, the best first, and their best factors."""
        comparable = objective.comparable(values)
        gains, factors = objective.fits(comparable, bank.filters, bank.signs)
        if not self._signed:
            gains = np.where(factors > 0, gains, -gains)
        return np.argsort(-gains, kind="stable"), factors

    def _alone(
        self,
        objective: BankObjective,
        bank: Bank,
        filters: Array,
        factors: Array,
        n_steps: int,
    ) -> tuple[Array, Array]:
        """Filters and output weights after steps beside a bank, the best first."""
        homogeneity = objective.activation.homogeneity
        assert homogeneity is not None
        filters = filters * np.abs(factors[:, np.newaxis]) ** (1 / homogeneity)
        signs = np.ones(len(factors))
        if self._signed:
            signs[factors < 0] = -1.0
        result = run(
            self._solver,
            objective.beside(bank.filters, bank.signs),
            filters.T,
            signs[:, np.newaxis],
            replace(self._stopping, max_iter=n_steps),
        )
        order = np.argsort(result.loss, kind="stable")
        return result.W.T[order], result.signs[order, 0]

    def _add_found(self, filters: Array) -> None:
        lengths = np.linalg.norm(filters, axis=1, keepdims=True)
        filters = filters / np.where(lengths > 0, lengths, 1.0)
        values = self._problem.objective.values_of_filters(filters).T
        self._found = np.vstack([self._found, filters])
        self._values_of_found = np.vstack([self._values_of_found, values])

    def _remove_found(self, removed: Indices) -> None:
        self._found = np.delete(self._found, removed, axis=0)
        self._values_of_found = np.delete(self._values_of_found, removed, axis=0)

    def _pruned(self, bank: Bank) -> tuple[Array, Array]:
        """Filters and output weights without the filter that is missed least."""
        size = len(bank.signs)
        rest = np.array([np.delete(np.arange(size), j) for j in range(size)])
        W = bank.filters[rest].reshape(size, -1).T
        losses = self._problem.fine.resized(size - 1).value(W, bank.signs[rest]).loss
        kept = rest[np.argmin(losses)]
        return bank.filters[kept], bank.signs[kept]

    def _together(self, filters: Array, signs: Array) -> Bank:
        """The bank after a few steps of all filters."""
        return self._advanced(self._problem.fine, filters, signs, self._stopping)

    def _in_squared_error(self, bank: Bank, callback: Callback | None) -> Bank:
        """The bank with some filters reflected, after a few steps for the squared error."""
        objective = self._problem.objective
        filters = objective.reflected(bank.filters, bank.signs)
        report = callback and partial(self._report, callback)
        stopping = replace(self._stopping, floor=self._floor)
        return self._advanced(objective, filters, bank.signs, stopping, report)

    def _advanced(
        self,
        objective: BankObjective,
        filters: Array,
        signs: Array,
        stopping: Stopping,
        callback: Callback | None = None,
    ) -> Bank:
        result = run(
            self._solver,
            objective.resized(len(signs)),
            filters.reshape(-1, 1),
            signs[np.newaxis],
            stopping,
            callback=callback,
        )
        rows = result.W.reshape(filters.shape)
        return Bank(rows, result.signs[0], float(result.loss[0]))

    def _report(self, callback: Callback, snapshot: Snapshot) -> bool:
        self._stopped = bool(callback(snapshot._replace(stage="forward")))
        return self._stopped


def _ridge(eigenvalues: FloatArray, share: float) -> float:
    """With which a covariance has this share of its degrees of freedom.

    They are the sum of ``e / (e + ridge)`` over the eigenvalues e; without a ridge, their
    number.
    """
    positive = eigenvalues[eigenvalues > _ROUNDING * eigenvalues[-1]]
    if not len(positive):
        return 1.0

    def excess(log_ridge: float) -> float:
        return float(np.mean(positive / (positive + np.exp(log_ridge)))) - share

    # Each of the terms is 1 - share, or less, at the upper end.
    lower, upper = np.log(positive[0]), np.log(positive[-1])
    spread = np.log(1 / share)
    return float(np.exp(brentq(excess, lower - spread, upper + spread)))
