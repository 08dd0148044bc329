"""The objective of a bank of filters: on matrix products, and on the kernels."""

from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas

from skconvfilter.kernels.dispatch import kernel
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.activations import Activation
from skconvfilter.model.bank import (
    bank_blocks,
    bank_jacobian,
    block_patches,
    mean_rectified,
    pooling_scale,
    preactivations,
    slope_below_zero,
)
from skconvfilter.model.blocks import SampleBlocks
from skconvfilter.model.forward import PackedBlocks, moment_blocks
from skconvfilter.model.geometry import PatchGeometry
from skconvfilter.model.patch_metric import patch_moments
from skconvfilter.model.squared_error import (
    ROUNDING_UNITS,
    Array,
    Evaluation,
    Moments,
    Rows,
    SquaredError,
)

# Power of linear models of random errors, relative to that of sums of filters.
_LINEAR_POWER = 40.0
# Largest condition number of the least squares that linear models are solutions of.
_LARGEST_CONDITION = 1e6
# Power of combinations of derivatives, in single precision, below which they are none.
_LEAST_POWER = 1e-4


class LinearModels(NamedTuple):
    """Linear models of the samples: those by which filters and reflections differ."""

    # (n_samples, window_size), weighted and centred: the models are columns @ w.
    columns: FloatArray
    odd_slope: float  # the s of phi(u) = s u + phi(-u)


class BankObjective(SquaredError):
    r"""Squared error of ``sum_j v_j sum_i phi(w_j . Z_i) + b`` against targets.

    The parameters of a model are the filters of a bank, one after the other; its signs are
    the output weights v of the filters, (R, n_filters). Where the activation is not
    homogeneous they are 1 and -1 times the output scale, which is fitted.

    Parameters
    ----------
    samples, geometry, targets, **options
        As of :class:`~skconvfilter.model.squared_error.SquaredError`.
    n_filters : int
    activation : Activation
    pooling : {"sum", "mean"}
    """

    def __init__(
        self,
        samples: FloatArray | SampleBlocks,
        geometry: PatchGeometry,
        targets: Array,
        *,
        n_filters: int,
        activation: Activation,
        pooling: str,
        **options: Any,
    ) -> None:
        blocks = bank_blocks(len(samples), geometry.layout, n_filters)
        super().__init__(samples, geometry, targets, blocks, **options)
        self.n_filters = n_filters
        self.activation = activation
        self.pooling = pooling
        self._scale = pooling_scale(pooling, geometry.layout.n_patches)
        # Lower triangular, of the covariance of the errors, times the roots of the weights.
        self._inverse_root: NDArray[np.float32] | None = None
        # Orthonormal rows, times the inverse root, that do not count.
        self._explained: FloatArray | None = None

    @property
    def n_parameters(self) -> int:
        """Number of entries of all filters."""
        return self.n_filters * self.patch_dim

    @property
    def fits_scale(self) -> bool:
        """Whether the values have a factor: filters make it redundant if homogeneous."""
        return self.activation.homogeneity is None

    def resized(self, n_filters: int) -> Self:
        """The objective of banks of another size, on the same samples."""
        other = copy(self)
        other.n_filters = n_filters
        return other

    def beside(self, filters: FloatArray, signs: Array) -> Self:
        """The objective of one more filter beside others (m, patch_dim), which stay."""
        other = self.resized(1)
        if len(signs):
            other.targets = self.targets - self.values_of_filters(filters) @ signs
        return other

    def covariance_of_errors(self, values: Array) -> Array:
        """Covariance (n_samples, n_samples) of errors that are sums of random filters.

        Linear models of the samples vary much more: filters and their reflections, which
        differ by a linear model, are then nearly the same.

        Parameters
        ----------
        values : ndarray of shape (n_samples, m)
            Of the random filters.
        """
        columns = self.comparable(values.T)
        powers = np.sum(columns**2, axis=1, keepdims=True)
        columns /= np.sqrt(np.where(powers > 0, powers, 1.0))
        covariance: Array = columns.T @ columns / len(columns)
        models = self._linear_models()
        if models is not None:
            power = np.sum(models.columns**2) or 1.0
            covariance += _LINEAR_POWER / power * (models.columns @ models.columns.T)
        return covariance

    def generalized(self, covariance: Array, ridge: float) -> Self:
        """The same with generalized least squares, of samples in memory.

        What all filters have in common, which is most of the squared error, counts little,
        so that filters are found nearly independently of each other. The minimum without
        errors stays the same. For homogeneous activations, and without a penalty.

        Parameters
        ----------
        covariance : ndarray of shape (n_samples, n_samples)
            Of the errors, see :meth:`covariance_of_errors`.
        ridge : float
            Added to their variances.
        """
        diagonal = np.diag_indices(self.n_samples)
        regular = covariance.copy()
        regular[diagonal] += ridge
        inverse_root = np.linalg.inv(np.linalg.cholesky(regular))
        other = copy(self)
        # Single precision is enough for the explorations that this is for.
        weighted = inverse_root * np.sqrt(self._shares())
        other._inverse_root = np.asarray(weighted, dtype=np.float32, order="F")
        return other

    def adapting(self, bank: Array, signs: Array) -> Self:
        """The same if a bank adapts to a filter beside it, for generalized least squares.

        What changes of the bank explain, to first order, does not count.

        Parameters
        ----------
        bank : ndarray of shape (n_filters, patch_dim)
            There may be no filters.
        signs : ndarray of shape (n_filters,)
        """
        if not len(signs):
            return self
        of_bank, other = self.resized(len(signs)), copy(self)
        columns, _ = of_bank._all_columns(bank.reshape(-1, 1), signs[np.newaxis])
        other._explained = _orthonormal(self.comparable(columns[0, :-1]))
        return other

    def comparable(self, values: Array) -> FloatArray:
        """Values (..., n_samples) whose sums of squares are what the objective measures.

        They are centred where there is an intercept, times the roots of the weights, and
        with generalized least squares times the inverse root of the covariance.
        """
        shares = self._shares()
        means = np.zeros(1)
        if self.fit_intercept:
            means = (values @ shares)[..., np.newaxis]
        if self._inverse_root is None:
            return (values - means) * np.sqrt(shares)
        rows = np.empty(values.shape, np.float32)
        np.subtract(values, means, out=rows, casting="same_kind")
        # Of a triangular matrix, and for all models at once.
        columns = rows.reshape(-1, self.n_samples).T
        products = blas.strmm(1.0, self._inverse_root, columns, lower=1, overwrite_b=1)
        rows = np.asarray(products, dtype=np.float32).T
        if self._explained is not None:
            rows -= rows @ self._explained.T @ self._explained
        return rows.reshape(values.shape)

    def fits(
        self, values: FloatArray, bank: FloatArray, signs: Array
    ) -> tuple[Array, Array]:
        """How well single filters fit what a bank leaves unexplained.

        Parameters
        ----------
        values : ndarray of shape (m, n_samples)
            Values of the filters, as :meth:`comparable` returns them.
        bank : ndarray of shape (n_filters, patch_dim)
        signs : ndarray of shape (n_filters,)

        Returns
        -------
        gains : ndarray of shape (m,)
            What each takes off the mean squared error if it has its best factor.
        factors : ndarray of shape (m,)
            The best factors of their values.
        """
        errors = self.beside(bank, signs).targets
        powers = np.sum(values**2, axis=1)
        products = values @ self.comparable(errors)
        rounding = (ROUNDING_UNITS * self.precision) ** 2 * powers.max()
        seen = powers > rounding
        factors = np.divide(products, powers, out=np.zeros(len(powers)), where=seen)
        return factors * products, factors

    def random_patches(self, n_patches: int, rng: np.random.Generator) -> FloatArray:
        """Random windows (n_patches, window_size) whose entries are not all the same.

        Fewer, or none, if there are not that many.
        """
        rows = np.sort(rng.choice(self.n_samples, min(n_patches, self.n_samples), False))
        few, found = self.subset(rows), []
        n_each = -(-n_patches // len(rows))
        for patches in few.patch_blocks():
            for windows in patches[..., : self.geometry.layout.window_size]:
                varying = windows[np.ptp(windows, axis=1) > 0]
                found.append(rng.permutation(varying)[:n_each])
        return rng.permutation(np.concatenate(found))[:n_patches]

    def reflected(self, filters: Array, signs: Array) -> Array:
        """A bank (n_filters, patch_dim) with those of its filters reflected that fit worse.

        A filter differs from its reflection by a linear model, and those of all that are
        reflected are to be, together, the one that fits the errors.
        """
        models = self._linear_models()
        if models is None:
            return filters
        errors = self.comparable(self.beside(filters, signs).targets)
        errors = models.columns @ _least_squares(models.columns, errors)
        windows = filters[:, : models.columns.shape[1]]
        slopes = models.odd_slope * signs[:, np.newaxis]
        changes = -models.columns @ np.transpose(slopes * windows)
        reflects = _least_squares(changes, errors) > 0.5
        return np.where(reflects[:, np.newaxis], -filters, filters)

    def preactivation_scale(self) -> float:
        """Root mean square preactivation of random filters of length 1."""
        moment, _ = patch_moments(self.samples, self.geometry, self.sample_weight)
        return float(np.sqrt(np.trace(moment) / len(moment))) or 1.0

    def values_of_filters(self, filters: FloatArray) -> Array:
        """Pooled activations of single filters (m, patch_dim), shape (n_samples, m)."""
        W = filters.T
        blocks = []
        for patches in self.patch_blocks():
            activations = self.activation.value(preactivations(patches, W))
            blocks.append(self._scale * activations.sum(axis=1, dtype=np.float64))
        return np.concatenate(blocks)

    def patch_blocks(self) -> Iterator[FloatArray]:
        """Yield the patches of consecutive samples, (n_block, n_patches, patch_dim)."""
        for rows in bank_blocks(self.n_samples, self.geometry.layout, self.n_filters):
            yield block_patches(np.asarray(self.samples[rows]), self.geometry)

    def rounding(self, homogeneity: float) -> float:
        """By how much rounding changes the values of filters of length 1."""
        powers = [
            np.mean(np.square(patches, dtype=float)) for patches in self.patch_blocks()
        ]
        length = np.sqrt(np.max(powers) * self.patch_dim)
        n_terms = self._scale * self.geometry.layout.n_patches * self.n_filters
        return ROUNDING_UNITS * self.precision * n_terms * length**homogeneity

    def mean_square_preactivation(self, W: FloatArray) -> Array:
        """Mean of ``(w_j . Z_i)**2`` over patches, samples and filters, shape (R,)."""
        squares = []
        for patches in self.patch_blocks():
            products = preactivations(patches, self._side_by_side(W))
            squares.append(np.mean(np.square(products, dtype=np.float64), axis=1))
        mean = np.average(np.concatenate(squares), axis=0, weights=self.sample_weight)
        return mean.reshape(W.shape[1], self.n_filters).mean(axis=1)

    @property
    def _like(self) -> Callable[..., Self]:
        return partial(
            type(self),
            geometry=self.geometry,
            n_filters=self.n_filters,
            activation=self.activation,
            pooling=self.pooling,
            alpha=self.alpha,
            fit_intercept=self.fit_intercept,
        )

    def _evaluate(self, W: FloatArray, signs: Array, order: int) -> Evaluation:
        if self._inverse_root is None:
            return super()._evaluate(W, signs, order)

        columns, values = self._all_columns(W, signs)
        mean = columns @ self._shares()
        if not self.fit_intercept:
            mean = np.zeros_like(mean)
        rows = self.comparable(columns)
        against = rows if order == 2 else rows[:, -1:]
        scatter = (rows @ against.transpose(0, 2, 1)).astype(np.float64)
        moments = Moments(1.0, np.abs(values).max(axis=1), mean, scatter)
        return self._finish(moments, W, signs, order)

    def _all_columns(self, W: FloatArray, signs: Array) -> tuple[Array, Array]:
        """Those of all samples in memory, see :meth:`_columns`."""

        def block_columns(rows: slice) -> tuple[Array, Array]:
            return self._columns(self._block(rows), self.targets[rows], W, signs)

        blocks = self.map_blocks(block_columns, self._blocks)
        columns, values = zip(*blocks, strict=True)
        return np.concatenate(columns, axis=-1), np.concatenate(values, axis=-1)

    def _linear_models(self) -> LinearModels | None:
        """By what filters differ from their reflections; None if not by linear models.

        So it is for activations without a kink, and without an intercept, which takes up
        the bias.
        """
        return None

    def _shares(self) -> Array:
        shares: Array = self.sample_weight / self.sample_weight.sum()
        return shares

    def _block(self, rows: Rows) -> Any:
        return block_patches(np.asarray(self.samples[rows]), self.geometry)

    def _values(self, patches: FloatArray, W: FloatArray, signs: Array) -> Array:
        return self._pooled(preactivations(patches, self._side_by_side(W)), signs)

    def _columns(
        self, patches: FloatArray, targets: Array, W: FloatArray, signs: Array
    ) -> tuple[Array, Array]:
        n_banks, n_block = len(signs), len(targets)
        products = preactivations(patches, self._side_by_side(W))
        columns = np.empty((n_banks, self.n_parameters + 1, n_block))
        weights = self._scale * signs.ravel()
        jacobian = bank_jacobian(patches, products, self.activation, weights)
        by_bank = jacobian.reshape(n_block, n_banks, self.n_parameters)
        columns[:, :-1] = by_bank.transpose(1, 2, 0)
        values = self._pooled(products, signs)
        np.subtract(values, targets, out=columns[:, -1])
        return columns, values

    def _pooled(self, products: FloatArray, signs: Array) -> Array:
        """Values (R, n_block) from the preactivations of all filters of all banks."""
        activations = self.activation.value(products).sum(axis=1, dtype=np.float64)
        by_bank = activations.reshape(len(activations), *signs.shape)
        return self._scale * np.einsum("nrt,rt->rn", by_bank, signs)

    def _side_by_side(self, W: FloatArray) -> FloatArray:
        """All filters of all banks as columns (patch_dim, R * n_filters)."""
        n_banks = W.shape[1]
        return W.T.reshape(n_banks * self.n_filters, self.patch_dim).T


class RectifierBankObjective(BankObjective):
    """The same for the ReLU and the leaky ReLU, on the kernels.

    The derivatives of a bank are the active mean patches of its filters and, for a slope
    below zero, the mean patches.

    Parameters
    ----------
    samples, geometry, targets, **options
        As of :class:`BankObjective`.
    """

    on_kernels = True

    def __init__(
        self,
        samples: FloatArray | SampleBlocks,
        geometry: PatchGeometry,
        targets: Array,
        **options: Any,
    ) -> None:
        super().__init__(samples, geometry, targets, **options)
        self._blocks = moment_blocks(len(samples), self.n_parameters)
        self._packed = PackedBlocks(samples, geometry, kernel)
        # The kernels take means over the patches.
        self._scale_of_mean = self._scale * geometry.layout.n_patches
        self._slope = slope_below_zero(self.activation) or 0.0

    def values_of_filters(self, filters: FloatArray) -> Array:
        """Pooled activations of single filters (m, patch_dim), shape (n_samples, m)."""
        layout = self.geometry.layout
        blocks = [
            mean_rectified(self._packed(rows), layout, filters.T, self._slope)
            for rows in self._blocks
        ]
        return self._scale_of_mean * np.concatenate(blocks, axis=1).T

    def _linear_models(self) -> LinearModels | None:
        if not self.fit_intercept:
            return None
        layout = self.geometry.layout
        blocks = [kernel.mean_patches(self._packed(rows), layout) for rows in self._blocks]
        columns = self._scale_of_mean * np.concatenate(blocks, axis=-1, dtype=np.float64)
        windows = columns[: layout.window_size]
        return LinearModels(self.comparable(windows).T, 1 + self._slope)

    def _block(self, rows: Rows) -> Any:
        return self._packed(rows)

    def _values(self, packed: Any, W: FloatArray, signs: Array) -> Array:
        layout, filters = self.geometry.layout, self._side_by_side(W)
        values = mean_rectified(packed, layout, filters, self._slope)
        by_bank = values.reshape(*signs.shape, -1)
        return self._scale_of_mean * np.einsum("rtn,rt->rn", by_bank, signs)

    def _columns(
        self, packed: Any, targets: Array, W: FloatArray, signs: Array
    ) -> tuple[Array, Array]:
        layout = self.geometry.layout
        A = kernel.active_mean_patches(packed, layout, self._side_by_side(W))
        if self._slope > 0:
            A *= 1 - self._slope
            A += self._slope * kernel.mean_patches(packed, layout)
        columns = np.empty((len(signs), self.n_parameters + 1, len(targets)))
        jacobian = columns[:, :-1].reshape(*signs.shape, self.patch_dim, len(targets))
        weights = self._scale_of_mean * signs[:, :, np.newaxis, np.newaxis]
        np.multiply(A.reshape(jacobian.shape), weights, out=jacobian)
        values = (W.T[:, np.newaxis] @ columns[:, :-1])[:, 0]
        np.subtract(values, targets, out=columns[:, -1])
        return columns, values


def _orthonormal(rows: FloatArray) -> FloatArray:
    """Orthonormal rows that span the given ones, but for combinations of nearly none."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(lengths > 0, lengths, 1.0)
    powers, vectors = np.linalg.eigh(rows @ rows.T)
    kept = powers > _LEAST_POWER
    basis: FloatArray = (vectors[:, kept] / np.sqrt(powers[kept])).T @ rows
    return basis


def _least_squares(columns: FloatArray, targets: FloatArray) -> Array:
    solution = np.linalg.lstsq(columns, targets, rcond=1 / _LARGEST_CONDITION)[0]
    return np.asarray(solution, dtype=np.float64)


def make_bank_objective(
    samples: FloatArray | SampleBlocks,
    geometry: PatchGeometry,
    targets: Array,
    **options: Any,
) -> BankObjective:
    """The objective of a bank in the form that is fastest for its activation.

    On the kernels a rectifier is as fast as matrix products for long patches that do not
    overlap, and up to twenty times as fast elsewhere: see benchmarks/README.md.
    """
    rectifies = slope_below_zero(options["activation"]) is not None
    objective = RectifierBankObjective if rectifies else BankObjective
    return objective(samples, geometry, targets, **options)
