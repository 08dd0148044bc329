"""The squared error of a model at many parameter vectors at once; it knows no solvers."""

from functools import partial, reduce
from typing import NamedTuple

import numpy as np

from skconvfilter.model.blocks import SampleBlocks
from skconvfilter.model.forward import joined

# Values that differ by less than this many rounding units do not vary.
ROUNDING_UNITS = 16

# Numbers that are made of a block at a time, so that they stay in the second-level cache;
# but the kernel wants some filters at once.
_MAX_COLUMN_ELEMENTS, _MIN_MODELS = 2**16, 4


class Evaluation(NamedTuple):
    """What the objective says at R filters; what was not asked for is None."""

    loss: np.ndarray  # (R,)
    intercept: np.ndarray  # (R,), the best one for each filter
    peak: np.ndarray  # (R,), largest mean activation of a sample; 0: the filter is dead
    gradient: np.ndarray | None = None  # (R, p)
    gauss_newton: np.ndarray | None = None  # (R, p, p)

    def take(self, indices):
        """The same for some of the filters."""
        return Evaluation(*(None if part is None else part[indices] for part in self))

    def put(self, indices, other):
        """The same with some of the filters' entries replaced."""
        parts = []
        for mine, theirs in zip(self, other, strict=True):
            if mine is not None:
                mine = mine.copy()
                mine[indices] = theirs
            parts.append(mine)
        return Evaluation(*parts)


class SquaredError:
    r"""Squared error of a model's values, with the best intercept, and an L2 penalty.

    .. math::

        \ell(w) = \min_b \frac{1}{2 \sum_n \omega_n} \sum_n \omega_n
            (f(w, Z_n) + b - y_n)^2 + \frac{\alpha}{2} \|w\|^2

    The intercept is eliminated: it is always the best one for the parameters, so they are
    all that a solver has to move. Value, gradient and Gauss-Newton matrix come from the
    weighted mean and scatter of the derivatives of the values beside the errors; blocks of
    rows are merged in a fixed order by the parallel-variance formula, which keeps full
    precision where errors vanish.

    So all that is summed over all samples is moments, and samples may be anywhere: the
    objective on :class:`~skconvfilter.model.blocks.SampleBlocks` merges the moments of
    objectives on the blocks, each made for one use where the block is.

    Parameter vectors are the columns of `W` (n_parameters, R). `signs` holds the output
    signs of each of the R models, along its first axis. Subclasses define ``n_parameters``,

    * ``_like``: a callable ``_like(samples, targets=..., **options)`` that makes the same
      objective on other data; it is sent to where they are;
    * ``_block(rows)``: what the two below take for a slice or an array of rows;
    * ``_values(block, W, signs)``: values of the models, (R, n_block), float64;
    * ``_columns(block, targets, W, signs)``: derivatives of the values by the parameters
      and, last, errors, (R, n_parameters + 1, n_block), float64; and the peaks (R,).

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

    def __init__(
        self,
        samples,
        geometry,
        targets,
        blocks,
        *,
        sample_weight=None,
        alpha=0.0,
        fit_intercept=True,
        map_blocks=map,
    ):
        self.samples = samples
        self.geometry = geometry
        self.targets = targets
        # All ones need not be sent to where the samples are.
        in_blocks = isinstance(samples, SampleBlocks)
        self._parts = samples.split(targets, sample_weight) if in_blocks else None
        if sample_weight is None:
            sample_weight = np.ones(len(samples))
        self.sample_weight = sample_weight
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.map_blocks = map_blocks
        self._total_weight = self.sample_weight.sum()
        self._blocks = blocks

    @property
    def n_samples(self):
        """Number of samples."""
        return len(self.samples)

    @property
    def is_in_memory(self):
        """Whether the samples are an array here, and not in blocks elsewhere."""
        return self._parts is None

    @property
    def precision(self):
        """Rounding unit of the data."""
        return float(np.finfo(self.samples.dtype).eps)

    def subset(self, rows):
        """The objective on some of the rows, in increasing order; it has them in memory."""
        return self._like(
            np.asarray(self.samples[rows]),
            targets=self.targets[rows],
            sample_weight=self.sample_weight[rows],
            map_blocks=self.map_blocks,
        )

    def in_memory(self):
        """The objective with all its samples in memory: itself, where they are."""
        return self if self.is_in_memory else self.subset(slice(None))

    def value(self, W, signs):
        """Loss and intercept at filters `W` (p, R) with output signs (R,)."""
        return self._evaluate(W, signs, order=0)

    def gradient(self, W, signs):
        """Loss, intercept and gradient."""
        return self._evaluate(W, signs, order=1)

    def gauss_newton(self, W, signs):
        """Loss, intercept, gradient and Gauss-Newton matrix."""
        return self._evaluate(W, signs, order=2)

    def batch_gradient(self, W, signs, rows):
        """Unbiased estimate of the gradient from a mini-batch of rows.

        Without an intercept it is a weighted sum over samples, and the batch's sum stands
        for it. With one it is a weighted covariance, which is a sum over pairs of samples,
        and the batch's pairs stand for it: a batch of one sample has none.
        """
        # Blocks are read in order; to the sum that does not matter.
        moments = self._moments(np.sort(rows), W, signs, order=1)
        n_batch, n_samples = len(rows), self.n_samples
        total = self._total_weight
        if self.fit_intercept:
            scatter = moments.scatter[:, :-1, 0] * (moments.weight / total)
            share = n_batch * (n_batch - 1) / (n_samples * max(n_samples - 1, 1))
        else:
            products = moments.scatter + moments.weight * _outer(moments.mean, 1)
            scatter = products[:, :-1, 0]
            share = n_batch / n_samples
        gradient = scatter / (total * share) if share > 0 else 0.0 * scatter
        return gradient + self.alpha * W.T

    def validation_loss(self, W, signs, intercept):
        """Half the weighted mean squared error with the intercepts given."""
        moments = self._total(SquaredError._moments, W, signs, 0)
        scatter = moments.scatter[:, -1, -1] / moments.weight
        return 0.5 * (scatter + (moments.mean[:, -1] + intercept) ** 2)

    def curvature_bounds(self):
        """Curvature matrices to reckon with wherever the parameters are: none."""
        return []

    def predict(self, W, signs):
        """Model values without intercept, (n_samples, R), float64; samples in memory."""

        def block_values(rows):
            return self._values(self._block(rows), W, signs)

        return joined(self.map_blocks(block_values, self._blocks))

    def products(self, W, signs):
        """Weighted mean products of models' values v and the targets y.

        Returns
        -------
        power, product : ndarray of shape (R,)
            Means of ``v**2`` and ``v y``, about the means where there is an intercept.
        target_power : float
            The same of ``y**2``.
        mean_square : ndarray of shape (R,)
            Means of ``v**2`` about 0.
        """
        moments = self._total(SquaredError._value_moments, W, signs)
        centred = moments.scatter / moments.weight
        about_zero = centred + _outer(moments.mean, 2)
        means = centred if self.fit_intercept else about_zero
        return means[:, 0, 0], means[:, 0, 1], float(means[0, 1, 1]), about_zero[:, 0, 0]

    def best_scale(self, W, signs):
        """Factors c (R,) with which the values of the filters fit the targets best.

        Least squares on the one number: c = <f, y> / <f, f>, about the means where there
        is an intercept. 0 where the values do not vary.
        """
        power, product, _, mean_square = self.products(W, signs)
        rounding = mean_square * (ROUNDING_UNITS * self.precision) ** 2
        scale = np.zeros(len(power))
        np.divide(product, power, out=scale, where=power > rounding)
        return scale

    def _evaluate(self, W, signs, order):
        moments = self._total(SquaredError._moments, W, signs, order)
        # Diverging filters have an infinite loss.
        with np.errstate(over="ignore", invalid="ignore"):
            return self._finish(moments, W, order)

    def _total(self, moments_of, *arguments):
        """Moments of all samples: ``moments_of(self, rows, *arguments)``, merged."""
        if not self.is_in_memory:
            of_part = partial(_moments_of_part, self._like, moments_of, arguments)
            return self.samples.reduce(of_part, _merged, self._parts, self.map_blocks)

        def of_block(rows):
            # Here, because threads have a state of their own.
            with np.errstate(over="ignore", invalid="ignore"):
                return moments_of(self, rows, *arguments)

        return _merged(self.map_blocks(of_block, self._blocks))

    def _moments(self, rows, W, signs, order):
        """Moments of some samples, of as many models at a time as stay in cache."""
        block = self._block(rows)
        targets, weights = self.targets[rows], self.sample_weight[rows]
        n_elements = len(targets) * (len(W) + 1 if order else 1)
        n_models = max(_MIN_MODELS, _MAX_COLUMN_ELEMENTS // n_elements)
        parts = []
        for start in range(0, len(signs), n_models):
            group = slice(start, start + n_models)
            here = W[:, group], signs[group]
            if order == 0:
                columns, peak = self._errors(block, targets, *here)
            else:
                columns, peak = self._columns(block, targets, *here)
            parts.append(Moments.of(columns, weights, peak, full=order == 2))
        return parts[0] if len(parts) == 1 else Moments.join(parts)

    def _value_moments(self, rows, W, signs):
        """Moments of the values and, last, the targets."""
        columns = np.empty((len(signs), 2, len(self.targets[rows])))
        columns[:, 0] = self._values(self._block(rows), W, signs)
        columns[:, 1] = self.targets[rows]
        peak = np.abs(columns[:, 0]).max(axis=1)
        return Moments.of(columns, self.sample_weight[rows], peak, full=True)

    def _errors(self, block, targets, W, signs):
        values = self._values(block, W, signs)
        return (values - targets)[:, np.newaxis], np.abs(values).max(axis=1)

    def _finish(self, moments, W, order):
        scatter = moments.scatter / moments.weight
        intercept = -moments.mean[:, -1]
        if not self.fit_intercept:
            intercept = np.zeros_like(intercept)
            scatter = scatter + _outer(moments.mean, scatter.shape[2])
        loss = 0.5 * (scatter[:, -1, -1] + self.alpha * np.sum(W**2, axis=0))
        gradient = scatter[:, :-1, -1] + self.alpha * W.T if order >= 1 else None
        gauss_newton = None
        if order == 2:
            gauss_newton = scatter[:, :-1, :-1] + self.alpha * np.eye(len(W))
        return Evaluation(loss, intercept, moments.peak, gradient, gauss_newton)


def _moments_of_part(like, moments_of, arguments, samples, targets, weights):
    """Moments of one block of samples, wherever that is."""
    objective = like(samples, targets=targets, sample_weight=weights)
    return objective._total(moments_of, *arguments)


def _merged(parts):
    with np.errstate(over="ignore", invalid="ignore"):
        return reduce(Moments.merge, parts)


class Moments(NamedTuple):
    """Weighted mean and scatter about it, for R filters and q columns, errors last.

    The scatter is against the last m columns only: all, or just the errors.
    """

    weight: float
    peak: np.ndarray  # (R,)
    mean: np.ndarray  # (R, q)
    scatter: np.ndarray  # (R, q, m)

    @classmethod
    def of(cls, columns, weights, peak, *, full):
        """Moments of columns (R, q, n), which are centred in place."""
        weight = weights.sum()
        mean = columns @ weights / weight
        against = columns if full else columns[:, -1:]
        # Against centred errors, the other columns need not be centred.
        against -= mean[:, -against.shape[1] :, np.newaxis]
        if not (weights == 1).all():
            against = against * weights
        return cls(weight, peak, mean, columns @ against.transpose(0, 2, 1))

    @classmethod
    def join(cls, parts):
        """Moments of the same samples for other filters, put together."""
        weights, *arrays = zip(*parts, strict=True)
        return cls(weights[0], *(np.concatenate(array) for array in arrays))

    def merge(self, other):
        """Moments of both blocks together."""
        weight = self.weight + other.weight
        step = other.mean - self.mean
        between = (self.weight * other.weight / weight) * _outer(
            step, self.scatter.shape[2]
        )
        return Moments(
            weight,
            np.maximum(self.peak, other.peak),
            self.mean + (other.weight / weight) * step,
            self.scatter + other.scatter + between,
        )


def _outer(columns, n_last):
    return columns[:, :, np.newaxis] * columns[:, np.newaxis, -n_last:]
