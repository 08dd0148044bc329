"""The squared error of a model at many parameter vectors at once; it knows no solvers."""

from typing import NamedTuple

import numpy as np

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

    Parameter vectors are the columns of `W` (n_parameters, R). `signs` holds the output
    signs of each of the R models, along its first axis. Subclasses define ``n_parameters``,
    ``subset(rows)`` and

    * ``_block(rows)``: what the two below take for a slice or an array of rows;
    * ``_values(block, W, signs)``: values of the models, (R, n_block), float64;
    * ``_columns(block, targets, W, signs)``: derivatives of the values by the parameters
      and, last, errors, (R, n_parameters + 1, n_block), float64; and the peaks (R,).

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_features), float32 or float64
        Flat samples.
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
        self.sample_weight = (
            np.ones(len(samples)) if sample_weight is None else sample_weight
        )
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
    def precision(self):
        """Rounding unit of the data."""
        return float(np.finfo(self.samples.dtype).eps)

    def options_of(self, rows):
        """Targets, and options of the constructor, of an objective on some of the rows."""
        return self.targets[rows], {
            "sample_weight": self.sample_weight[rows],
            "alpha": self.alpha,
            "fit_intercept": self.fit_intercept,
            "map_blocks": self.map_blocks,
        }

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
        moments = self._moments(rows, W, signs, order=1)
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
        errors = self.predict(W, signs) + intercept - self.targets[:, np.newaxis]
        return 0.5 * np.average(errors**2, axis=0, weights=self.sample_weight)

    def curvature_bounds(self):
        """Curvature matrices to reckon with wherever the parameters are: none."""
        return []

    def predict(self, W, signs):
        """Model values without intercept, shape (n_samples, R), float64."""

        def block_values(rows):
            return self._values(self._block(rows), W, signs)

        return joined(self.map_blocks(block_values, self._blocks))

    def best_scale(self, W, signs):
        """Factors c (R,) with which the values of the filters fit the targets best.

        Least squares on the one number: c = <f, y> / <f, f>, about the means where there
        is an intercept. 0 where the values do not vary.
        """
        values = self.predict(W, signs)
        targets, weights = self.targets[:, np.newaxis], self.sample_weight
        rounding = weights @ values**2 * (ROUNDING_UNITS * self.precision) ** 2
        if self.fit_intercept:
            values = values - np.average(values, axis=0, weights=weights)
        power = weights @ values**2
        scale = np.zeros(len(power))
        np.divide(weights @ (values * targets), power, out=scale, where=power > rounding)
        return scale

    def _evaluate(self, W, signs, order):
        def block_moments(rows):
            # Diverging filters overflow; here, because threads have a state of their own.
            with np.errstate(over="ignore", invalid="ignore"):
                return self._moments(rows, W, signs, order)

        total, *rest = self.map_blocks(block_moments, self._blocks)
        for moments in rest:
            total = total.merge(moments)
        return self._finish(total, W, order)

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
            parts.append(_Moments.of(columns, weights, peak, full=order == 2))
        return parts[0] if len(parts) == 1 else _Moments.join(parts)

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


class _Moments(NamedTuple):
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
        return _Moments(
            weight,
            np.maximum(self.peak, other.peak),
            self.mean + (other.weight / weight) * step,
            self.scatter + other.scatter + between,
        )


def _outer(columns, n_last):
    return columns[:, :, np.newaxis] * columns[:, np.newaxis, -n_last:]
