"""Convexity of the loss towards the true filters: whether gradient descent contracts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array, check_random_state

from skconvfilter.diagnostics.filters import (
    Filters,
    bank_model,
    bank_rows,
    bank_weights,
    bias_scaling_of,
    convolution_of,
)
from skconvfilter.diagnostics.sampling import (
    Estimate,
    Subsample,
    check_confidence,
    hold_out,
    subsample_size,
)
from skconvfilter.diagnostics.search import (
    THOROUGH,
    Point,
    SearchBudget,
    ascend,
    random_directions,
)
from skconvfilter.diagnostics.summary import Summary
from skconvfilter.kernels.dispatch import kernel
from skconvfilter.kernels.layout import FloatArray, PatchLayout
from skconvfilter.model.activations import Activation, local_convexity_moments
from skconvfilter.model.bank import (
    bank_blocks,
    bank_jacobian,
    block_patches,
    pooling_scale,
    preactivations,
)
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.forward import model_values, pack, row_blocks
from skconvfilter.model.geometry import HasConvolution, PatchGeometry
from skconvfilter.model.process_state import sklearn_checks
from skconvfilter.model.samples import check_any_samples, cut_into_patches
from skconvfilter.model.validation import check_numbers, check_range

_RADII = (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
# Nearer to the teacher, gradients are rounding errors.
LEAST_RADIUS = 1e-12
# Entries of patches that local_convexity evaluates by default.
_MAX_ELEMENTS = 2**26


@dataclass(frozen=True, eq=False, repr=False)
class OnePointConvexity(Summary):
    r"""Result of :func:`one_point_convexity`, estimates on spheres about the teacher.

    Attributes
    ----------
    radii : ndarray of shape (n_radii,)
        ``|w - w*| / |w*|``.
    convexity : Estimate
        Minimum of :math:`\langle \nabla l(w), w - w^* \rangle / \|w - w^*\|^2` on every
        sphere, with `value`, `interval` and `searched`; `certified` is NaN. Up to noise,
        the value is an upper bound of the true minimum.
    steepness : ndarray of shape (n_radii,)
        Largest :math:`\|\nabla l(w)\| / \|w - w^*\|` in the search.
    step : ndarray of shape (n_radii,)
        The best step size, ``convexity / steepness**2``; 0 where the convexity is not
        positive.
    contraction : ndarray of shape (n_radii,)
        Factor of :math:`\|w - w^*\|^2` in a gradient step of that size,
        ``1 - (convexity / steepness)**2``; 1 where the convexity is not positive.
    n_samples : int
        Number of samples that were evaluated.
    """

    radii: FloatArray
    convexity: Estimate
    steepness: FloatArray
    step: FloatArray
    contraction: FloatArray
    n_samples: int


def one_point_convexity(
    X: ArrayLike,
    teacher: Filters,
    radii: ArrayLike = _RADII,
    *,
    estimator: HasConvolution | None = None,
    max_samples: int | None = None,
    confidence: float = 0.95,
    random_state: int | np.random.RandomState | None = None,
) -> OnePointConvexity:
    r"""Smallest one-point convexity of the loss on spheres about the teacher.

    The proof of Theorem 3.1 of [1]_ splits the gradient into parts and bounds each. For
    independent Gaussian patches its condition never holds, although gradient descent
    converges. The proof only needs the inequality

    .. math::

        \langle \nabla l(w), w - w^* \rangle \ge \mu \|w - w^*\|^2,

    and this function estimates :math:`\mu` directly. If it is positive on every sphere up
    to the start, gradient steps of the size `step` contract at the rate `contraction`. The
    minimum on a sphere is searched in random directions, the best of which are refined.

    Parameters
    ----------
    X : array-like of shape ``(n_samples, ...)``
        Patches of shape (n_samples, n_patches, patch_dim), a window view, or flat samples.
    teacher : array-like or fitted estimator
        The true filter, in the shape of the window or flat, or a fitted estimator, whose
        `coef_` is used.
    radii : array-like of shape (n_radii,), default=(0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99)
        ``|w - w*| / |w*|`` of the spheres, at least 1e-12.
    estimator : estimator, default=None
        Defines how flat samples are cut into patches. Any estimator of this package can be
        used, such as :class:`~skconvfilter.ConvPatchExtractor`, fitted or not. If None, the
        teacher is used if it is a fitted estimator; otherwise a flat sample is one patch.
    max_samples : int, default=None
        Largest number of samples that are evaluated, drawn at random. If None, as for
        :func:`smoothness`.
    confidence : float, default=0.95
        Level of the bootstrap intervals.
    random_state : int, RandomState instance or None, default=None
        Determines the samples, the halves and the directions that are drawn.

    Returns
    -------
    result : OnePointConvexity
        The estimates on every sphere.

    Raises
    ------
    TypeError, ValueError
        For invalid data, filters or parameters.

    See Also
    --------
    smoothness : The quantities in the bounds of the paper.
    local_convexity : Convexity at the teacher for a bank of filters.

    References
    ----------
    .. [1] S. S. Du, J. D. Lee, Y. Tian, "When is a Convolutional Filter Easy to Learn?",
       ICLR 2018.

    Examples
    --------
    For two independent normal patches in a sample, it is 0.207 halfway to 0:

    >>> import numpy as np
    >>> from skconvfilter.diagnostics import one_point_convexity
    >>> X = np.random.default_rng(0).standard_normal((10_000, 2, 5))
    >>> result = one_point_convexity(X, np.ones(5), [0.5], random_state=0)
    >>> result.convexity.value.round(2).tolist()
    [0.21]
    """
    confidence = check_confidence(confidence)
    checked = _check_radii(radii)
    subsample = Subsample.draw(X, teacher, estimator, max_samples, random_state)
    return estimate_convexity(subsample, checked, confidence)


def estimate_convexity(
    subsample: Subsample,
    radii: FloatArray,
    confidence: float,
    budget: SearchBudget = THOROUGH,
) -> OnePointConvexity:
    """The same on checked data."""
    shells = [_Shells(half, subsample, budget) for half in subsample.halves()]
    value, searched, steepness = np.empty((3, len(radii)))
    interval = np.empty((len(radii), 2))
    for i, radius in enumerate(radii):
        found = [half.least(radius) for half in shells]
        parts = [
            other.contributions(radius, own.v)
            for own, other in zip(found, shells[::-1], strict=True)
        ]
        value[i], interval[i] = hold_out(parts, confidence, subsample.rng)
        searched[i] = np.mean([-own.score for own in found])
        steepness[i] = max(half.steepness for half in shells)
    # Steepness is 0 where no filter of the shell is active on any sample.
    steep = np.where(steepness > 0, steepness, 1.0)
    ratio = np.maximum(value, 0) / steep
    return OnePointConvexity(
        radii=radii,
        convexity=Estimate(value, interval, searched, np.full(len(radii), np.nan)),
        steepness=steepness,
        step=ratio / steep,
        contraction=1 - ratio**2,
        n_samples=len(subsample.samples),
    )


@dataclass(frozen=True, kw_only=True)
class _Away(Point):
    """A filter on a shell, by its direction from the teacher."""

    slope: FloatArray  # of the score, in all of space


class _Shells:
    """Half of the samples, and the search on it."""

    def __init__(
        self, samples: FloatArray, subsample: Subsample, budget: SearchBudget
    ) -> None:
        self.budget = budget
        self.samples, self.teacher = samples, subsample.teacher
        self.geometry = subsample.geometry
        self.norm = np.linalg.norm(self.teacher)
        values = model_values(samples, self.geometry, self.teacher[:, np.newaxis])
        self.labels = values[:, 0]
        self.objective = FilterObjective(
            samples, self.geometry, self.labels, fit_intercept=False
        )
        unit = self.teacher / self.norm
        self.directions = _directions(unit, budget.n_directions, subsample.rng)
        self.steepness = 0.0

    def least(self, radius: float) -> _Away:
        """The direction found with the least convexity."""

        def evaluate(V: FloatArray, origins: Sequence[_Away] = ()) -> list[_Away]:
            return self._evaluate(radius, V)

        points = sorted(evaluate(self.directions), key=lambda point: -point.score)
        points = points[: self.budget.n_starts]
        if len(self.teacher) > 1:
            points = ascend(points, _tangents, evaluate, self.budget.n_steps)
        return max(points, key=lambda point: point.score)

    def contributions(self, radius: float, v: FloatArray) -> FloatArray:
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

    def _evaluate(self, radius: float, V: FloatArray) -> list[_Away]:
        length = radius * self.norm
        W = self.teacher[:, np.newaxis] + length * V
        here = self.objective.gauss_newton(W, np.ones(V.shape[1]))
        assert here.gradient is not None
        assert here.gauss_newton is not None
        gradient = here.gradient / length
        steepest = float(np.linalg.norm(gradient, axis=1).max())
        self.steepness = max(self.steepness, steepest)
        convexity = np.einsum("rp,pr->r", gradient, V)
        # Within a cell of constant activation the loss is quadratic.
        slope = gradient + np.einsum("rpq,qr->rp", here.gauss_newton, V)
        return [
            _Away(v=V[:, r], score=-convexity[r], slope=-slope[r])
            for r in range(V.shape[1])
        ]


def _directions(
    unit: FloatArray, n_directions: int, rng: np.random.Generator
) -> FloatArray:
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


def _tangents(points: Sequence[_Away]) -> list[FloatArray]:
    return [point.slope - (point.slope @ point.v) * point.v for point in points]


def _check_radii(given: ArrayLike) -> FloatArray:
    radii: FloatArray = check_numbers("radii", given)
    if not ((radii >= LEAST_RADIUS) & np.isfinite(radii)).all():
        raise ValueError(
            f"radii must be numbers of at least {LEAST_RADIUS}, got {radii.tolist()}."
        )
    return radii


@dataclass(frozen=True, eq=False, repr=False)
class LocalConvexity(Summary):
    """Result of :func:`local_convexity`; ``print`` shows it as a report.

    Attributes
    ----------
    hessian_extremes : tuple of two floats
        Smallest and largest eigenvalue of the Hessian.
    orders : tuple of two floats
        Lower and upper bound of the paper, up to constants, see :func:`local_convexity`.
    singular_values : ndarray of shape (n_filters,), float64
        Singular values of the filters in descending order; 0 if the filters are linearly
        dependent.
    condition_number : float
        kappa, the largest over the smallest singular value.
    lambda_ : float
        Product of the singular values over the smallest to the power n_filters; infinite
        where it overflows.
    rho : float
        That of Property 3.2 at the smallest singular value; nan if that is 0.
    activation, pooling : str
        Those of the bank.
    n_samples : int
        Number of samples that were evaluated.
    n_patches, patch_dim : int
        Patches per sample, and their length.
    """

    hessian_extremes: tuple[float, float]
    orders: tuple[float, float]
    singular_values: FloatArray
    condition_number: float
    lambda_: float
    rho: float
    activation: str
    pooling: str
    n_samples: int
    n_patches: int
    patch_dim: int

    def __str__(self) -> str:
        smallest, largest = self.hessian_extremes
        lower, upper = self.orders
        sigma = self.singular_values
        return "\n".join(
            [
                f"Bank: {len(sigma)} filters, {self.activation}, {self.pooling} over "
                f"{self.n_patches} patches of length {self.patch_dim}",
                f"Filters: singular values from {sigma[-1]:.3g} to {sigma[0]:.3g}, "
                f"kappa = {self.condition_number:.3g}, lambda = {self.lambda_:.3g}, "
                f"rho = {self.rho:.3g}",
                f"Hessian at {self.n_samples} samples: eigenvalues from {smallest:.3g} to "
                f"{largest:.3g}",
                f"Orders of the paper, up to constants: from {lower:.3g} to {upper:.3g}",
            ]
        )


def local_convexity(
    X: ArrayLike,
    coef: Filters,
    *,
    y: ArrayLike | None = None,
    output_weights: ArrayLike | None = None,
    estimator: HasConvolution | None = None,
    max_samples: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> LocalConvexity:
    r"""Extreme eigenvalues of the Hessian of the loss at a bank, and their orders.

    The loss and, at a bank that fits the targets, its Hessian are

    .. math::

        \frac{1}{2n} \sum_n (f(W, Z_n) - y_n)^2, \qquad
        \frac1n \sum_n \nabla f(W, Z_n) \nabla f(W, Z_n)^\top,

    with the derivatives with respect to all entries of all filters, one filter after the
    other. If the smallest eigenvalue is positive, gradient descent from nearby converges at
    a rate that depends on the ratio of the two. For independent standard normal patches,
    [1]_ proves

    .. math::

        \frac{k\, \rho(\sigma_t)}{\kappa^2 \lambda} \lesssim \text{eigenvalues} \lesssim
        t\, k^2 \sigma_1^{2 q}, \qquad
        \kappa = \frac{\sigma_1}{\sigma_t}, \quad
        \lambda = \frac{\sigma_1 \cdots \sigma_t}{\sigma_t^t},

    up to constants and in a neighbourhood, for the sum over k patches, the singular values
    :math:`\sigma_1 \ge \dots \ge \sigma_t` of the t filters, and an activation with a
    derivative that grows like :math:`|z|^q`; q is 1 for the squared ReLU and 0 for the
    others. For the mean over patches, all terms are divided by :math:`k^2`.

    Parameters
    ----------
    X : array-like of shape ``(n_samples, ...)``
        Patches of shape (n_samples, n_patches, patch_dim), a window view, or flat samples.
    coef : array-like of shape ``(n_filters, *window)`` or fitted estimator
        The filters, in the shape of the window or flat, or a fitted estimator, whose
        `coef_` is used.
    y : array-like of shape (n_samples,), default=None
        Targets minus the intercept. The Hessian then includes the term with the errors and
        the second derivative of the activation. If None, the errors are taken as 0.
    output_weights : array-like of shape (n_filters,), default=None
        1 or -1 for every filter. If None, the `output_weights_` of a fitted estimator, or
        all 1. They are multiplied by the `output_scale_` of a fitted estimator.
    estimator : estimator, default=None
        Defines how flat samples are cut into patches, and the `activation` and `pooling` of
        the bank, such as a :class:`~skconvfilter.ConvFilterBankRegressor`, fitted or not.
        If None, `coef` is used if it is a fitted estimator; otherwise a flat sample is one
        patch, and the bank has the ReLU and the sum over patches.
    max_samples : int, default=None
        Largest number of samples that are evaluated, drawn at random. If None, 20,000, or
        fewer (at least 500) if their patches have more than 2**26 entries.
    random_state : int, RandomState instance or None, default=None
        Determines which samples are drawn, if not all are evaluated.

    Returns
    -------
    result : LocalConvexity
        The eigenvalues, the orders, and their constants.

    Raises
    ------
    TypeError, ValueError
        For invalid data, filters or parameters.

    See Also
    --------
    one_point_convexity : Convexity farther from the teacher, for a single filter.

    Notes
    -----
    The intercept is held fixed. At a kink the derivatives are those from below. If there
    are fewer samples than entries of the filters, the smallest eigenvalue is 0 to machine
    precision. The computation takes time :math:`O(n\, t p (t p + k) + (t p)^3)` and memory
    :math:`O((t p)^2)` in addition to the samples, for filters of length p.

    References
    ----------
    .. [1] K. Zhong, Z. Song, I. S. Dhillon, "Learning Non-overlapping Convolutional Neural
       Networks with Multiple Kernels", 2017, the theorem on local strong convexity.

    Examples
    --------
    >>> from skconvfilter import ConvFilterBankRegressor
    >>> from skconvfilter.datasets import make_filter_bank_regression
    >>> from skconvfilter.diagnostics import local_convexity
    >>> bank = ConvFilterBankRegressor(3, kernel_size=4, stride=4, input_shape=(12,))
    >>> X, _, teacher = make_filter_bank_regression(
    ...     5000, bank, return_teacher=True, random_state=0)
    >>> result = local_convexity(X, teacher, estimator=bank)
    >>> print(result)
    Bank: 3 filters, relu, mean over 3 patches of length 4
    Filters: singular values from 1 to 2, kappa = 2, lambda = 3, rho = 0.0908
    Hessian at 5000 samples: eigenvalues from ... to ...
    Orders of the paper, up to constants: from 0.00252 to 3
    """
    convolution = convolution_of(estimator, coef)
    constant = bias_scaling_of(estimator, coef)
    activation, pooling = bank_model(estimator, coef)
    data: NDArray[Any] = check_any_samples(X)
    check_range("X", data)
    _, geometry = cut_into_patches(data[:1], convolution, constant)
    layout = geometry.layout
    W = bank_rows("coef", coef, layout.window_shape, constant).T
    v = bank_weights("output_weights", output_weights, coef, W.shape[1])
    pooling_scale(pooling, layout.n_patches)  # refuses another pooling
    targets = _check_targets(y, len(data))
    rows = _draw_rows(len(data), layout, max_samples, random_state)
    samples, geometry = cut_into_patches(data, convolution, constant, rows)
    if targets is not None:
        targets = targets[rows]
    return estimate_local_convexity(samples, geometry, targets, W, activation, v, pooling)


def estimate_local_convexity(
    samples: FloatArray,
    geometry: PatchGeometry,
    y: FloatArray | None,
    W: FloatArray,
    activation: Activation,
    output_weights: FloatArray,
    pooling: str,
    sample_weight: FloatArray | None = None,
) -> LocalConvexity:
    """The same on checked data, all of which is evaluated; filters as columns."""
    if sample_weight is None:
        sample_weight = np.ones(len(samples))
    layout = geometry.layout
    scale = pooling_scale(pooling, layout.n_patches)
    shares = sample_weight / sample_weight.sum()
    hessian = _hessian(samples, geometry, y, W, activation, scale * output_weights, shares)
    eigenvalues = np.linalg.eigvalsh(hessian)
    sigma = _singular_values(W)
    kappa, lambda_, rho = _constants(sigma, activation)
    # The paper's orders, for values multiplied by both scales.
    square = scale**2 * float(np.mean(output_weights**2))
    growth = (activation.homogeneity or 1) - 1
    upper = len(sigma) * layout.n_patches**2 * sigma[0] ** (2 * growth)
    lower = layout.n_patches * rho / (kappa**2 * lambda_) if sigma[-1] > 0 else 0.0
    return LocalConvexity(
        hessian_extremes=(float(eigenvalues[0]), float(eigenvalues[-1])),
        orders=(float(square * lower), float(square * upper)),
        singular_values=sigma,
        condition_number=kappa,
        lambda_=lambda_,
        rho=rho,
        activation=activation.name,
        pooling=pooling,
        n_samples=len(samples),
        n_patches=layout.n_patches,
        patch_dim=layout.patch_dim,
    )


def _hessian(
    samples: FloatArray,
    geometry: PatchGeometry,
    y: FloatArray | None,
    W: FloatArray,
    activation: Activation,
    weights: FloatArray,
    shares: FloatArray,
) -> FloatArray:
    """Of the loss, shape (n_filters * patch_dim, n_filters * patch_dim).

    `weights` are those of the filters, `shares` those of the samples, of sum 1.
    """
    patch_dim, n_filters = W.shape
    hessian = np.zeros((n_filters * patch_dim, n_filters * patch_dim))
    for rows in bank_blocks(len(samples), geometry.layout, n_filters):
        patches = block_patches(samples[rows], geometry)
        products = preactivations(patches, W)
        jacobian = bank_jacobian(patches, products, activation, weights)
        jacobian = jacobian.reshape(len(patches), -1)
        hessian += jacobian.T @ (shares[rows, np.newaxis] * jacobian)
        if y is not None:
            values = activation.value(products).sum(axis=1) @ weights
            bends = activation.second_derivative(products) * weights
            if not bends.any():  # rectifiers have none
                continue
            bends *= (shares[rows] * (values - y[rows]))[:, np.newaxis, np.newaxis]
            flat = patches.reshape(-1, patch_dim)
            for j, bend in enumerate(bends.reshape(len(flat), -1).T):
                own = slice(j * patch_dim, (j + 1) * patch_dim)
                hessian[own, own] += flat.T @ (bend[:, np.newaxis] * flat)
    return hessian


def _singular_values(W: FloatArray) -> FloatArray:
    """One for every filter; 0 where they are linearly dependent to machine precision."""
    sigma = np.zeros(W.shape[1])
    found = np.linalg.svd(W, compute_uv=False)
    threshold = max(W.shape) * np.finfo(np.float64).eps * found[0]
    sigma[: len(found)] = np.where(found > threshold, found, 0)
    return sigma


def _constants(sigma: FloatArray, activation: Activation) -> tuple[float, float, float]:
    """kappa, lambda and rho of the filters."""
    if sigma[-1] == 0:
        return np.inf, np.inf, np.nan
    moments = local_convexity_moments(activation, sigma[-1])
    with np.errstate(over="ignore"):
        product = np.exp(np.log(sigma / sigma[-1]).sum())
    return float(sigma[0] / sigma[-1]), float(product), float(moments.rho)


def _draw_rows(
    n_samples: int,
    layout: PatchLayout,
    max_samples: int | None,
    random_state: int | np.random.RandomState | None,
) -> slice | NDArray[np.integer]:
    """The samples to evaluate: all, or some at random."""
    size = subsample_size(max_samples, layout, _MAX_ELEMENTS, minimum=1)
    rng = check_random_state(random_state)
    if n_samples <= size:
        return slice(None)
    return np.sort(rng.choice(n_samples, size=size, replace=False))


def _check_targets(y: ArrayLike | None, n_samples: int) -> FloatArray | None:
    if y is None:
        return None
    with sklearn_checks():
        targets = check_array(y, input_name="y", dtype=np.float64, ensure_2d=False)
    if targets.shape != (n_samples,):
        raise ValueError(f"y must have the shape ({n_samples},), got {targets.shape}.")
    check_range("y", targets)
    return targets
