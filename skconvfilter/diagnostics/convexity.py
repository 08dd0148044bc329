"""One-point convexity: whether gradient descent contracts towards the teacher."""

from dataclasses import dataclass

import numpy as np

from skconvfilter.diagnostics.sampling import Subsample, check_confidence, hold_out
from skconvfilter.diagnostics.sphere import THOROUGH, Point, climb, random_directions
from skconvfilter.kernels.dispatch import kernel
from skconvfilter.model.forward import model_values, pack, row_blocks
from skconvfilter.model.objective import FilterObjective
from skconvfilter.model.validation import check_numbers

_RADII = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
# Nearer to the teacher, gradients are rounding.
LEAST_RADIUS = 1e-12


@dataclass(frozen=True, eq=False)
class OnePointConvexity:
    r"""What :func:`one_point_convexity` estimates on shells about the teacher.

    Attributes
    ----------
    radii : ndarray of shape (n_radii,)
        ``|w - w*| / |w*|``.
    convexity : ndarray of shape (n_radii,)
        Least :math:`\langle \nabla l(w), w - w^* \rangle / \|w - w^*\|^2` of a shell. Held
        out: the filter found on one half of the samples, evaluated on the other, and the
        mean of both ways; an upper bound of the least value, up to noise.
    convexity_interval : ndarray of shape (n_radii, 2)
        Bootstrap interval of it, for the filters found.
    convexity_searched : ndarray of shape (n_radii,)
        The same on the half that was searched: too low by noise.
    steepness : ndarray of shape (n_radii,)
        Largest :math:`\|\nabla l(w)\| / \|w - w^*\|` met in the search.
    step : ndarray of shape (n_radii,)
        The step size ``convexity / steepness**2`` that contracts most; 0 where the
        convexity is not positive.
    contraction : ndarray of shape (n_radii,)
        Factor of :math:`\|w - w^*\|^2` in a gradient step of that size,
        ``1 - (convexity / steepness)**2``; 1 where the convexity is not positive.
    n_samples : int
        Samples that were looked at.
    """

    radii: np.ndarray
    convexity: np.ndarray
    convexity_interval: np.ndarray
    convexity_searched: np.ndarray
    steepness: np.ndarray
    step: np.ndarray
    contraction: np.ndarray
    n_samples: int


def one_point_convexity(
    X,
    teacher,
    radii=_RADII,
    *,
    kernel_size=None,
    input_shape=None,
    stride=1,
    padding=0,
    dilation=1,
    max_samples=None,
    confidence=0.95,
    random_state=None,
):
    r"""Least one-point convexity of the loss on shells about the teacher.

    Theorem 3.1 of [1]_ proves that gradient descent contracts by splitting the gradient
    into parts and bounding each; for independent Gaussian patches its condition never
    holds, though gradient descent converges. What the proof is after is

    .. math::

        \langle \nabla l(w), w - w^* \rangle \ge \mu \|w - w^*\|^2,

    which this estimates as it stands: where mu is positive on every shell up to the start,
    gradient steps of the size given contract at the rate given. The least value over a
    shell is searched for in random directions, the best of which are refined.

    Parameters
    ----------
    X : array-like of shape ``(n_samples, ...)``
        Samples, in any of the forms that the estimators accept.
    teacher : array-like
        The filter, in the shape of the window or flat. A fitted filter may stand for it.
    radii : array-like of shape (n_radii,), default=(0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
        ``|w - w*| / |w*|`` of the shells, at least 1e-12.
    kernel_size : int or tuple of int, default=None
        The convolution window, for flat samples only. None: a flat sample is one patch.
    input_shape : int or tuple of int, default=None
        Shape behind a flat sample, channels last. None: a signal.
    stride, padding, dilation : int or tuple of int, default=1, 0, 1
        How the window moves, as in ``torch.nn.Conv2d``.
    max_samples : int, default=None
        Random samples that are looked at. None: as for :func:`smoothness`.
    confidence : float, default=0.95
        Of the bootstrap intervals.
    random_state : int, RandomState instance or None, default=None
        Draws the samples, the halves and the directions.

    Returns
    -------
    result : OnePointConvexity
        The estimates on every shell.

    Raises
    ------
    TypeError, ValueError
        For data, filters and parameters that cannot be used.

    See Also
    --------
    smoothness : The quantities by which the paper bounds it.
    local_convexity : Likewise for a bank of filters, at the teacher.

    References
    ----------
    .. [1] S. S. Du, J. D. Lee, Y. Tian, "When is a Convolutional Filter Easy to Learn?",
       ICLR 2018.

    Examples
    --------
    Independent normal patches, two in a sample, where it is 0.207 halfway to 0:

    >>> import numpy as np
    >>> from skconvfilter.diagnostics import one_point_convexity
    >>> X = np.random.default_rng(0).standard_normal((10_000, 2, 5))
    >>> result = one_point_convexity(X, np.ones(5), [0.5], random_state=0)
    >>> result.convexity.round(2).tolist()
    [0.21]
    """
    convolution = {
        "kernel_size": kernel_size,
        "input_shape": input_shape,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }
    confidence = check_confidence(confidence)
    radii = _check_radii(radii)
    subsample = Subsample.draw(X, teacher, convolution, max_samples, random_state)
    return estimate_convexity(subsample, radii, confidence)


def estimate_convexity(subsample, radii, confidence, effort=THOROUGH):
    """The same on checked data."""
    shells = [_Shells(half, subsample, effort) for half in subsample.halves()]
    convexity, searched, steepness = np.empty((3, len(radii)))
    interval = np.empty((len(radii), 2))
    for i, radius in enumerate(radii):
        found = [half.least(radius) for half in shells]
        contributions = [
            other.contributions(radius, own.v)
            for own, other in zip(found, shells[::-1], strict=True)
        ]
        convexity[i], interval[i] = hold_out(contributions, confidence, subsample.rng)
        searched[i] = np.mean([-own.score for own in found])
        steepness[i] = max(half.steepness for half in shells)
    # Steepness is 0 where no filter of the shell is active on any sample.
    steep = np.where(steepness > 0, steepness, 1.0)
    ratio = np.maximum(convexity, 0) / steep
    return OnePointConvexity(
        radii=radii,
        convexity=convexity,
        convexity_interval=interval,
        convexity_searched=searched,
        steepness=steepness,
        step=ratio / steep,
        contraction=1 - ratio**2,
        n_samples=len(subsample.samples),
    )


@dataclass(kw_only=True)
class _Away(Point):
    """A filter on a shell, by its direction from the teacher."""

    slope: np.ndarray  # of the score, in all of space


class _Shells:
    """Half of the samples, and the search on it."""

    def __init__(self, samples, subsample, effort):
        self.effort = effort
        self.samples, self.teacher = samples, subsample.teacher
        self.geometry = subsample.geometry
        self.norm = np.linalg.norm(self.teacher)
        self.labels = model_values(samples, self.geometry, self.teacher[:, np.newaxis])[
            :, 0
        ]
        self.objective = FilterObjective(
            samples, self.geometry, self.labels, fit_intercept=False
        )
        unit = self.teacher / self.norm
        self.directions = _directions(unit, effort.n_directions, subsample.rng)
        self.steepness = 0.0

    def least(self, radius):
        """The direction found with the least convexity."""

        def evaluate(V, _=None):
            return self._evaluate(radius, V)

        points = sorted(evaluate(self.directions), key=lambda point: -point.score)
        points = points[: self.effort.n_starts]
        if len(self.teacher) > 1:
            points = climb(points, _tangents, evaluate, self.effort.n_steps)
        return max(points, key=lambda point: point.score)

    def contributions(self, radius, v):
        """Every sample's part in the convexity in a direction."""
        length = radius * self.norm
        w = self.teacher + length * v
        parts = []
        for rows in row_blocks(len(self.samples), len(w)):
            packed = pack(self.samples[rows], self.geometry)
            layout = self.geometry.layout
            (A,) = kernel.active_mean_patches(packed, layout, w[:, np.newaxis])
            parts.append((w @ A - self.labels[rows]) * (v @ A))
        return np.concatenate(parts) / length

    def _evaluate(self, radius, V):
        length = radius * self.norm
        W = self.teacher[:, np.newaxis] + length * V
        here = self.objective.gauss_newton(W, np.ones(V.shape[1]))
        gradient = here.gradient / length
        self.steepness = max(self.steepness, np.linalg.norm(gradient, axis=1).max())
        convexity = np.einsum("rp,pr->r", gradient, V)
        # Within a cell of constant activation the loss is quadratic.
        slope = gradient + np.einsum("rpq,qr->rp", here.gauss_newton, V)
        return [
            _Away(v=V[:, r], score=-convexity[r], slope=-slope[r])
            for r in range(V.shape[1])
        ]


def _directions(unit, n_directions, rng):
    """Random directions, and as many at random angles to the one towards 0.

    That is where shells are worst, and random directions have no such neighbours.
    """
    anywhere = random_directions(n_directions, len(unit), rng)
    if len(unit) == 1:
        return anywhere
    aside = random_directions(n_directions, len(unit), rng, orthogonal_to=unit)
    angles = rng.uniform(0, np.pi / 2, size=aside.shape[1])
    towards = np.sin(angles) * aside - np.outer(unit, np.cos(angles))
    return np.hstack([anywhere, towards])


def _tangents(points):
    return [point.slope - (point.slope @ point.v) * point.v for point in points]


def _check_radii(radii):
    radii = check_numbers("radii", radii)
    if not ((radii >= LEAST_RADIUS) & np.isfinite(radii)).all():
        raise ValueError(
            f"radii must be numbers of at least {LEAST_RADIUS}, got {radii.tolist()}."
        )
    return radii
