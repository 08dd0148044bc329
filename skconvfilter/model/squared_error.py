"""The squared error of a model at many parameter vectors at once; it knows no solvers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from copy import copy
from functools import partial, reduce
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.blocks import SampleBlocks
from skconvfilter.model.forward import MapBlocks, joined
from skconvfilter.model.geometry import PatchGeometry
from skconvfilter.model.patch_metric import patch_metric
from skconvfilter.model.validation import is_in_range

Array: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = slice | NDArray[Any]

# Values that differ by less than this many rounding units do not vary.
ROUNDING_UNITS = 16

# Numbers that are made of a block at a time, so that they stay in the second-level cache;
# but the kernel wants some filters at once.
_MAX_COLUMN_ELEMENTS, _MIN_MODELS = 2**16, 4
# Elements for one model from which on one at a time is enough.
_LARGE_BLOCK = 2**20

# Columns, and share of samples whose derivatives are 0, from which those are left out.
_LONG_COLUMNS, _SHARE_IDLE = 256, 0.2

# Work of a step of one model, see `step_work`, up to which a search may be of full width.
FULL_WORK = 2e7
# Where steps take long, a search is narrower. From this work on the most promising starts
# are only advanced.
COSTLY_WORK = 8 * FULL_WORK
# Samples of a rough look.
_FEW_ROWS = 200
# Offset of samples from which on they count as far from 0.
_FAR_FROM_ZERO = 10.0


def step_work(n_samples: int, n_patches: int, n_parameters: int) -> float:
    """Time of a Levenberg-Marquardt step of one model, in multiply-adds of a kernel.

    The kernel reads every patch; matrix products and solutions have twice to six times as
    many multiply-adds a second.
    """
    products = n_samples * n_parameters**2 / 6
    return n_samples * n_patches * n_parameters + products + n_parameters**3 / 4


class Evaluation(NamedTuple):
    """The objective at R parameter vectors of length q; what was not asked for is None."""

    loss: Array  # (R,)
    intercept: Array  # (R,), the best one for each model
    max_abs_output: Array  # (R,), over the samples; 0: no filter is active anywhere
    scale: Array  # (R,), the best factor of the signs; 1 where none is fitted
    gradient: Array | None = None  # (R, q)
    gauss_newton: Array | None = None  # (R, q, q)

    def take(self, indices: Any) -> "Evaluation":
        """The same for some of the models."""
        parts: Any = (None if part is None else part[indices] for part in self)
        return Evaluation(*parts)

    def put(self, indices: Any, other: "Evaluation") -> "Evaluation":
        """The same with the entries of some of the models replaced."""
        parts: list[Any] = []
        for mine, theirs in zip(self, other, strict=True):
            if mine is not None:
                mine = mine.copy()
                mine[indices] = theirs
            parts.append(mine)
        return Evaluation(*parts)


class SquaredError(ABC):
    r"""Squared error of a model's values, with the best intercept, and an L2 penalty.

    .. math::

        \ell(w) = \min_b \frac{1}{2 \sum_n \omega_n} \sum_n \omega_n
            (f(w, Z_n) + b - y_n)^2 + \frac{\alpha}{2} \|w\|^2

    The intercept is eliminated: it is always the best one for the parameters, so a solver
    moves these alone. Value, gradient and Gauss-Newton matrix come from the weighted mean
    and scatter of the derivatives of the values and of the errors; blocks of rows are
    merged in a fixed order by the parallel-variance formula, which keeps full precision
    where errors vanish.

    Where :attr:`fits_scale`, the values have a factor, which is eliminated likewise. Signs
    are then any numbers, and the factor of an evaluation is relative to them: a solver
    multiplies the signs by it, so that errors keep their precision. The penalty is on the
    parameters times this factor, the mean size of the signs.

    Only such moments are summed over all samples, so the samples may be anywhere: the
    objective on :class:`~skconvfilter.model.blocks.SampleBlocks` merges the moments of
    objectives on the blocks, each made for one use where the block is.

    Parameter vectors are the columns of `W` (n_parameters, R). `signs` holds the output
    signs of each of the R models, along its first axis. The abstract methods are what a
    model has to add; solvers use the public ones.

    Parameters
    ----------
    samples : ndarray or SampleBlocks of shape (n_samples, n_features)
        Flat samples, float32 or float64.
    geometry : PatchGeometry
        How they are cut into patches.
    targets : ndarray of shape (n_samples,), float64
    blocks : list of slice
        The rows that are worked on at a time.
    sample_weight : ndarray of shape (n_samples,), default=None
        Positive weights; None is all ones.
    alpha : float, default=0.0
        L2 penalty.
    fit_intercept : bool, default=True
        False: b = 0.
    map_blocks : callable, default=map
        Applies a function to an iterable of blocks and yields the results in order; the
        place where threads come in.
    """

    # Whether values come from the kernels, which are nearly twice as fast on float32.
    on_kernels = False

    def __init__(
        self,
        samples: FloatArray | SampleBlocks,
        geometry: PatchGeometry,
        targets: Array,
        blocks: list[slice],
        *,
        sample_weight: Array | None = None,
        alpha: float = 0.0,
        fit_intercept: bool = True,
        map_blocks: MapBlocks = map,
    ) -> None:
        self.samples = samples
        self.geometry = geometry
        self.targets = targets
        self._parts: Any = None
        if isinstance(samples, SampleBlocks):
            # Weights that are all 1 need not be sent to where the samples are.
            self._parts = samples.split(targets, sample_weight)
        if sample_weight is None:
            sample_weight = np.ones(len(samples))
        self.sample_weight = sample_weight
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.map_blocks = map_blocks
        self._total_weight = self.sample_weight.sum()
        self._blocks = blocks

    @property
    @abstractmethod
    def n_parameters(self) -> int:
        """Length of a parameter vector."""

    @property
    @abstractmethod
    def _like(self) -> Callable[..., Self]:
        """``_like(samples, targets=..., **options)``: the same objective on other data.

        It is pickled and sent to where these data are.
        """

    @abstractmethod
    def _block(self, rows: Rows) -> Any:
        """The samples of these rows in the form that the two methods below take."""

    @abstractmethod
    def _values(self, block: Any, W: FloatArray, signs: Array) -> Array:
        """Values of the models without intercept, (R, n_block)."""

    @abstractmethod
    def _columns(
        self, block: Any, targets: Array, W: FloatArray, signs: Array
    ) -> tuple[Array, Array]:
        """Derivatives and errors of the models, and their values.

        Returns
        -------
        columns : ndarray of shape (R, n_parameters + 1, n_block)
            Derivatives of the values with respect to the parameters and, last, errors.
        values : ndarray of shape (R, n_block)
        """

    @property
    def fits_scale(self) -> bool:
        """Whether the values have a factor that is fitted."""
        return False

    @property
    def patch_dim(self) -> int:
        """Length of a filter."""
        return self.geometry.layout.patch_dim

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.samples)

    @property
    def is_in_memory(self) -> bool:
        """Whether the samples are an array here, and not in blocks elsewhere."""
        return self._parts is None

    @property
    def precision(self) -> float:
        """Rounding unit of the data."""
        return float(np.finfo(self.samples.dtype).eps)

    def step_work(self) -> float:
        """See :func:`step_work`, for one model on all samples."""
        layout = self.geometry.layout
        return step_work(self.n_samples, layout.n_patches, self.n_parameters)

    def search_width(self) -> float:
        """How wide a search can be, from 0 to 1, so that its steps do not take long."""
        return min(1.0, FULL_WORK / self.step_work())

    def is_costly(self) -> bool:
        """Whether steps take so long that a search is as narrow as can be."""
        return self.step_work() >= COSTLY_WORK

    def has_fast_values(self) -> bool:
        """Whether values take a small part of the time of a Gauss-Newton matrix."""
        n_patches = self.geometry.layout.n_patches
        return self.n_parameters >= _LONG_COLUMNS and 6 * n_patches <= self.n_parameters

    def few(self) -> Self:
        """The objective on a few of the samples, evenly spaced, for a rough look."""
        rows = np.linspace(0, self.n_samples - 1, _FEW_ROWS).astype(int)
        return self.subset(np.unique(rows))

    def patch_metric(self) -> Array:
        """See :func:`~skconvfilter.model.patch_metric.patch_metric`."""
        return patch_metric(self.samples, self.geometry, self.sample_weight)

    def subset(self, rows: Rows) -> Self:
        """The objective on some of the rows, in increasing order; it has them in memory."""
        return self._on(np.asarray(self.samples[rows]), rows)

    def offset(self) -> float:
        """Size of the entries of the samples, relative to how much they vary; at least 1.

        Preactivations are rounded by this much more than their own size suggests.
        """
        samples = np.asarray(self.few().samples, dtype=np.float64)
        spread = float(samples.std())
        return float(np.sqrt(np.mean(samples**2))) / spread if spread > 0 else 1.0

    def is_far_from_zero(self) -> bool:
        """Whether samples vary by less than a tenth of their size."""
        return self.offset() > _FAR_FROM_ZERO

    def in_single_precision(self) -> Self:
        """The same on float32 samples, where that is faster and precise enough."""
        double = self.precision <= np.finfo(float).eps
        if not (self.on_kernels and double and is_in_range(self.samples, "float32")):
            return self
        if self.is_far_from_zero():
            return self
        return self._on(np.asarray(self.samples, dtype=np.float32))

    def _on(self, samples: Any, rows: Rows = slice(None), **options: Any) -> Self:
        """The same on other samples in memory, with the targets of these rows."""
        return self._like(
            samples,
            targets=self.targets[rows],
            sample_weight=self.sample_weight[rows],
            map_blocks=self.map_blocks,
            **options,
        )

    def with_alpha(self, alpha: float) -> Self:
        """The same with another penalty."""
        objective = copy(self)
        objective.alpha = alpha
        return objective

    def in_memory(self) -> Self:
        """The objective with all samples in memory; itself if they already are."""
        return self if self.is_in_memory else self.subset(slice(None))

    def value(self, W: FloatArray, signs: Array) -> Evaluation:
        """Loss and intercept of the models."""
        return self._evaluate(W, signs, order=0)

    def gradient(self, W: FloatArray, signs: Array) -> Evaluation:
        """Loss, intercept and gradient."""
        return self._evaluate(W, signs, order=1)

    def gauss_newton(self, W: FloatArray, signs: Array) -> Evaluation:
        """Loss, intercept, gradient and Gauss-Newton matrix."""
        return self._evaluate(W, signs, order=2)

    def batch_gradient(self, W: FloatArray, signs: Array, rows: NDArray[np.intp]) -> Array:
        """Unbiased estimate of the gradients (R, n_parameters) from a mini-batch of rows.

        Without an intercept the gradient is a weighted sum over samples, which is estimated
        from the sum over the batch. With one it is a weighted covariance, a sum over pairs
        of samples, which is estimated from the pairs in the batch: one sample has none.
        """
        # Blocks are read in order; the sum does not depend on it.
        rows = np.sort(rows)
        targets, weights = self.targets[rows], self.sample_weight[rows]
        n_batch, n_samples = len(rows), self.n_samples
        share, factor = n_batch / n_samples, 1.0
        if self.fit_intercept:
            share *= (n_batch - 1) / max(n_samples - 1, 1)
            factor = weights.sum() / self._total_weight
        block, parts = self._block(rows), []
        for group in _groups(n_batch * (len(W) + 1), len(signs)):
            columns, _ = self._columns(block, targets, W[:, group], signs[group])
            errors = columns[:, -1]
            if self.fit_intercept:
                errors = errors - np.average(errors, axis=1, weights=weights, keepdims=True)
            products = columns[:, :-1] @ (errors * weights)[:, :, np.newaxis]
            parts.append(products[:, :, 0])
        scale = factor / (self._total_weight * share) if share > 0 else 0.0
        gradient = scale * np.concatenate(parts)
        return gradient + self._penalties(signs)[:, np.newaxis] * W.T

    def constant_loss(self, signs: Array) -> float:
        """Loss with parameters of 0 and output signs (R, ...), the same for all of them."""
        # No sample has another value then: one in place of all saves a pass over the data.
        mean = np.average(self.targets, weights=self.sample_weight)
        variance = np.average((self.targets - mean) ** 2, weights=self.sample_weight)
        blank = np.zeros((1, self.samples.shape[1]), self.samples.dtype)
        W = np.zeros((self.n_parameters, 1))
        misfit = self._like(blank, targets=np.array([mean])).value(W, signs[:1])
        return float(0.5 * variance + misfit.loss[0])

    def validation_loss(self, W: FloatArray, signs: Array, intercept: FloatArray) -> Array:
        """Half the weighted mean squared error (R,) with signs and intercepts as given."""
        moments = self._total(partial(_error_moments, W=W, signs=signs, order=0))
        scatter = moments.scatter[:, -1, -1] / moments.weight
        return 0.5 * (scatter + (moments.mean[:, -1] + intercept) ** 2)

    def curvature_bounds(self) -> list[Array]:
        """Curvature matrices (n_parameters, n_parameters) that hold everywhere: none."""
        return []

    def predict(self, W: FloatArray, signs: Array) -> Array:
        """Model values without intercept, (n_samples, R); samples must be in memory."""

        def block_values(rows: slice) -> Array:
            return self._values(self._block(rows), W, signs)

        return joined(self.map_blocks(block_values, self._blocks))

    def jacobian(self, W: FloatArray, signs: Array) -> tuple[Array, Array]:
        """Derivatives (n_samples, n_parameters) and errors (n_samples,) of one model.

        Those of its values without intercept; samples must be in memory.
        """

        def block_columns(rows: slice) -> Array:
            block = self._block(rows)
            columns: Array = self._columns(block, self.targets[rows], W, signs)[0][0]
            return columns

        columns = joined(self.map_blocks(block_columns, self._blocks))
        return columns[:, :-1], columns[:, -1]

    def products(self, W: FloatArray, signs: Array) -> tuple[Array, Array, float, Array]:
        """Weighted mean products of the values v of the models and the targets y.

        Returns
        -------
        power, product : ndarray of shape (R,)
            Means of ``v**2`` and ``v y``, about the means where there is an intercept.
        target_power : float
            The same of ``y**2``.
        mean_square : ndarray of shape (R,)
            Means of ``v**2`` about 0.
        """
        moments = self._total(partial(_value_moments, W=W, signs=signs))
        centred = moments.scatter / moments.weight
        about_zero = centred + _outer(moments.mean, 2)
        means = centred if self.fit_intercept else about_zero
        return means[:, 0, 0], means[:, 0, 1], float(means[0, 1, 1]), about_zero[:, 0, 0]

    def best_scale(self, W: FloatArray, signs: Array) -> Array:
        """Factors c (R,) with which the values of the models fit the targets best.

        Least squares for one number: c = <f, y> / <f, f>, about the means where there is
        an intercept. 0 where the values do not vary.
        """
        return self.best_scale_and_gain(W, signs)[0]

    def best_scale_and_gain(self, W: FloatArray, signs: Array) -> tuple[Array, Array]:
        """The same, and what each takes off the mean squared error, (R,)."""
        power, product, _, mean_square = self.products(W, signs)
        rounding = mean_square * (ROUNDING_UNITS * self.precision) ** 2
        scale = np.zeros(len(power))
        np.divide(product, power, out=scale, where=power > rounding)
        return scale, scale * product

    def _evaluate(self, W: FloatArray, signs: Array, order: int) -> Evaluation:
        moments_of = partial(
            _error_moments, W=W, signs=signs, order=order, with_values=self.fits_scale
        )
        moments = self._total(moments_of)
        # Diverging filters have an infinite loss.
        with np.errstate(over="ignore", invalid="ignore"):
            return self._finish(moments, W, signs, order)

    def _total(self, moments_of: Callable[[Self, Rows], "Moments"]) -> "Moments":
        """Moments of all samples: ``moments_of(objective, rows)`` of blocks, merged.

        The function is pickled and sent to where the samples are.
        """
        if isinstance(self.samples, SampleBlocks):
            of_part = partial(_moments_of_part, self._like, moments_of)
            return self.samples.reduce(of_part, _merged, self._parts, self.map_blocks)

        def of_block(rows: slice) -> Moments:
            # Here, because threads have a state of their own.
            with np.errstate(over="ignore", invalid="ignore"):
                return moments_of(self, rows)

        return _merged(self.map_blocks(of_block, self._blocks))

    def _finish(
        self, moments: "Moments", W: FloatArray, signs: Array, order: int
    ) -> Evaluation:
        mean, scatter = moments.mean, moments.scatter / moments.weight
        if not self.fit_intercept:
            scatter = scatter + _outer(mean, scatter.shape[2])
            mean = np.zeros_like(mean)
        if self.alpha > 0:
            scatter = scatter + self._penalty_scatter(W, signs, order)
        scale = np.ones(len(signs))
        if self.fits_scale:
            scale, mean, scatter = self._with_best_scale(mean, scatter)
        loss = 0.5 * scatter[:, -1, -1]
        gradient = gauss_newton = None
        if order >= 1:
            gradient = scale[:, np.newaxis] * scatter[:, :-1, -1]
        if order == 2:
            gauss_newton = scale[:, np.newaxis, np.newaxis] ** 2 * scatter[:, :-1, :-1]
        return Evaluation(
            loss, 0.0 - mean[:, -1], moments.max_abs_output, scale, gradient, gauss_newton
        )

    def _penalties(self, signs: Array) -> Array:
        """Penalty (R,) of the squared parameters of each model."""
        if self.alpha == 0:  # a step of SGD is so short that it would be noticed
            return np.zeros(len(signs))
        return self.alpha * np.mean(np.square(signs).reshape(len(signs), -1), axis=1)

    def _penalty_scatter(self, W: FloatArray, signs: Array, order: int) -> Array:
        """What the penalty adds to the scatter.

        The penalty is the squared error of one more sample for each parameter, of which
        the parameter times the factor is the value, and the target is 0.
        """
        n_parameters, n_last = len(W) if order else 0, 1 + self.fits_scale
        n_against = n_last + (n_parameters if order == 2 else 0)
        products = np.empty((len(signs), n_parameters + n_last, n_against))
        products[:, n_parameters:, -n_last:] = np.sum(W**2, axis=0)[
            :, np.newaxis, np.newaxis
        ]
        if order:
            products[:, :n_parameters, -n_last:] = W.T[:, :, np.newaxis]
        if order == 2:
            products[:, :n_parameters, :n_parameters] = np.eye(n_parameters)
            products[:, n_parameters:, :n_parameters] = W.T[:, np.newaxis]
        return self._penalties(signs)[:, np.newaxis, np.newaxis] * products

    def _with_best_scale(self, mean: Array, scatter: Array) -> tuple[Array, Array, Array]:
        """Eliminate the factor of the values, the last column but one.

        Returns
        -------
        scale : ndarray of shape (R,)
            The best factor; 1 where the values do not vary.
        mean, scatter : ndarray
            Of the derivatives, without their part along the values, and of the errors that
            the best factor leaves: the derivatives are those of a factor of 1.
        """
        power = scatter[:, -2, -2]
        # Values are rounded as samples are, and as the sums of errors and targets they are.
        squares = self.precision**2 * (power + mean[:, -2] ** 2)
        squares += np.finfo(float).eps ** 2 * (scatter[:, -1, -1] + mean[:, -1] ** 2)
        varies = power > ROUNDING_UNITS**2 * squares
        parts = np.zeros(scatter.shape[:2])
        np.divide(
            scatter[:, :, -2],
            power[:, np.newaxis],
            out=parts,
            where=varies[:, np.newaxis],
        )
        scatter = scatter - parts[:, :, np.newaxis] * scatter[:, np.newaxis, -2]
        # Rounding may leave less than nothing of errors that vanish.
        scatter[:, -1, -1] = np.maximum(scatter[:, -1, -1], 0)
        excess = parts[:, [-1]]
        mean = mean - excess * mean[:, [-2]]
        kept = [*range(scatter.shape[1] - 2), -1]
        n_against = scatter.shape[2]
        scatter = np.delete(scatter[:, kept], n_against - 2, axis=2)
        return 1 - excess[:, 0], mean[:, kept], scatter


def _error_moments(
    objective: SquaredError,
    rows: Rows,
    W: FloatArray,
    signs: Array,
    order: int,
    with_values: bool = False,
) -> "Moments":
    """Moments of derivatives and errors, or of errors alone (order 0), on some rows.

    The values, if they are asked for, come before the errors.
    """
    block = objective._block(rows)
    targets, weights = objective.targets[rows], objective.sample_weight[rows]
    parts = []
    for group in _groups(len(targets) * (len(W) + 1 if order else 1), len(signs)):
        here = W[:, group], signs[group]
        if order == 0:
            values = objective._values(block, *here)
            columns = (values - targets)[:, np.newaxis]
        else:
            columns, values = objective._columns(block, targets, *here)
        max_abs_output = np.abs(values).max(axis=1)
        if with_values:
            columns = np.insert(columns, -1, columns[:, -1] + targets, axis=1)
        n_against = columns.shape[1] if order == 2 else 1 + with_values
        parts.append(Moments.of(columns, weights, max_abs_output, n_against))
    return parts[0] if len(parts) == 1 else Moments.join(parts)


def _groups(n_elements: int, n_models: int) -> Iterable[slice]:
    """Cut models into groups whose columns, of so many elements each, stay small."""
    length = max(_MIN_MODELS, _MAX_COLUMN_ELEMENTS // n_elements)
    if n_elements >= _LARGE_BLOCK:
        length = 1
    return (slice(start, start + length) for start in range(0, n_models, length))


def _value_moments(
    objective: SquaredError, rows: Rows, W: FloatArray, signs: Array
) -> "Moments":
    """Moments of the values and, last, the targets."""
    columns = np.empty((len(signs), 2, len(objective.targets[rows])))
    columns[:, 0] = objective._values(objective._block(rows), W, signs)
    columns[:, 1] = objective.targets[rows]
    max_abs_output = np.abs(columns[:, 0]).max(axis=1)
    return Moments.of(columns, objective.sample_weight[rows], max_abs_output, 2)


def _moments_of_part(
    like: Callable[..., SquaredError],
    moments_of: Callable[[Any, Rows], "Moments"],
    samples: FloatArray,
    targets: Array,
    weights: Array | None,
) -> "Moments":
    """Moments of one block of samples, computed where the block is."""
    objective = like(samples, targets=targets, sample_weight=weights)
    return objective._total(moments_of)


def _merged(parts: Iterable["Moments"]) -> "Moments":
    with np.errstate(over="ignore", invalid="ignore"):
        return reduce(Moments.merge, parts)


class Moments(NamedTuple):
    """Weighted mean and scatter about it, for R models and q columns, errors last.

    The scatter is against the last m columns only: all, just the errors, or these and the
    values.
    """

    weight: float
    max_abs_output: Array  # (R,)
    mean: Array  # (R, q)
    scatter: Array  # (R, q, m)

    @classmethod
    def of(
        cls, columns: Array, weights: Array, max_abs_output: Array, n_against: int
    ) -> "Moments":
        """Moments of columns (R, q, n), the last ones of which are centred in place."""
        weight = weights.sum()
        mean = columns @ weights / weight
        if len(columns) == 1 and n_against == columns.shape[1] > _LONG_COLUMNS:
            idle = ~columns[0, :-1].any(axis=0) & (weights > 0)
            if idle.mean() > _SHARE_IDLE:
                scatter = _scatter_without_idle(columns[0], weights, mean[0], idle)
                return cls(weight, max_abs_output, mean, scatter[np.newaxis])
        against = columns[:, -n_against:]
        # Against centred errors, the other columns need not be centred.
        against -= mean[:, -n_against:, np.newaxis]
        if not (weights == 1).all():
            against = against * weights
        return cls(weight, max_abs_output, mean, columns @ against.transpose(0, 2, 1))

    @classmethod
    def join(cls, parts: list["Moments"]) -> "Moments":
        """Moments of the same samples for several groups of models, put together."""
        weights, *arrays = zip(*parts, strict=True)
        return cls(weights[0], *(np.concatenate(array) for array in arrays))

    def merge(self, other: "Moments") -> "Moments":
        """Moments of both blocks together."""
        weight = self.weight + other.weight
        step = other.mean - self.mean
        scatter = _outer(step, self.scatter.shape[2])
        scatter *= self.weight * other.weight / weight
        scatter += self.scatter
        scatter += other.scatter
        return Moments(
            weight,
            np.maximum(self.max_abs_output, other.max_abs_output),
            self.mean + (other.weight / weight) * step,
            scatter,
        )


def _scatter_without_idle(
    columns: Array, weights: Array, mean: Array, idle: NDArray[np.bool_]
) -> Array:
    """Scatter (q, q) where samples are idle: all their columns but the errors are 0.

    Centred, these vectors lie in the plane of the means and the errors: two with the same
    products stand for all of them.
    """
    kept = columns[:, ~idle] - mean[:, np.newaxis]
    kept *= np.sqrt(weights[~idle])
    errors, weights = columns[-1, idle] - mean[-1], weights[idle]
    size, total = np.sqrt(weights.sum()), weights @ errors
    two = np.zeros((len(mean), 2))
    two[:-1, 0], two[-1, 0] = -size * mean[:-1], total / size
    two[-1, 1] = np.sqrt(max(weights @ errors**2 - (total / size) ** 2, 0.0))
    kept = np.hstack([kept, two])
    return kept @ kept.T


def _outer(columns: Array, n_last: int) -> Array:
    return columns[:, :, np.newaxis] * columns[:, np.newaxis, -n_last:]
