"""Local convexity: whether gradient descent contracts towards a bank of filters."""

from dataclasses import dataclass

import numpy as np
from sklearn.utils import check_array, check_random_state

from skconvfilter.diagnostics.sampling import check_range
from skconvfilter.model.activations import local_convexity_moments
from skconvfilter.model.bank import (
    bank_blocks,
    bank_jacobian,
    block_patches,
    check_activation,
    check_bank,
    check_output_weights,
    patch_responses,
    pooling_scale,
)
from skconvfilter.model.samples import check_any_samples, cut_into_patches
from skconvfilter.model.validation import check_integer

# Samples that are looked at by default, and entries of their patches.
_MAX_SAMPLES, _MAX_ELEMENTS, _MIN_SAMPLES = 20_000, 2**26, 500


@dataclass(frozen=True, eq=False)
class LocalConvexity:
    """What :func:`local_convexity` says of a bank; ``print`` shows it as a report.

    Attributes
    ----------
    hessian_extremes : tuple of two floats
        Smallest and largest eigenvalue of the Hessian.
    orders : tuple of two floats
        What the paper bounds them by, up to constants: `lower` and `upper` of
        :func:`local_convexity`.
    singular_values : ndarray of shape (n_filters,), float64
        Of the filters, the largest first; 0 where the filters are linearly dependent.
    condition_number : float
        kappa, the largest over the smallest singular value.
    lambda_ : float
        Product of the singular values over the smallest to the power n_filters; infinite
        where it overflows.
    rho : float
        That of Property 3.2 at the smallest singular value; nan if that is 0.
    activation, pooling : str
        As given.
    n_samples : int
        Samples that were looked at.
    n_patches, patch_dim : int
        Patches per sample, and their length.
    """

    hessian_extremes: tuple
    orders: tuple
    singular_values: np.ndarray
    condition_number: float
    lambda_: float
    rho: float
    activation: str
    pooling: str
    n_samples: int
    n_patches: int
    patch_dim: int

    def __str__(self):
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
    X,
    coef,
    activation="relu",
    *,
    y=None,
    output_weights=None,
    pooling="sum",
    kernel_size=None,
    input_shape=None,
    stride=1,
    padding=0,
    dilation=1,
    max_samples=None,
    random_state=None,
):
    r"""Extreme eigenvalues of the Hessian of the loss at a bank, beside the paper's orders.

    The loss and, at a bank that fits the targets, its Hessian are

    .. math::

        \frac{1}{2n} \sum_n (f(W, Z_n) - y_n)^2, \qquad
        \frac1n \sum_n \nabla f(W, Z_n) \nabla f(W, Z_n)^\top,

    with the derivatives by all entries of all filters, one filter after the other. Where
    the smallest eigenvalue is positive, gradient descent from nearby converges at a rate
    set by the ratio of the two. For independent standard normal patches [1]_ proves

    .. math::

        \frac{k\, \rho(\sigma_t)}{\kappa^2 \lambda} \lesssim \text{eigenvalues} \lesssim
        t\, k^2 \sigma_1^{2 q}, \qquad
        \kappa = \frac{\sigma_1}{\sigma_t}, \quad
        \lambda = \frac{\sigma_1 \cdots \sigma_t}{\sigma_t^t},

    up to constants and in a neighbourhood, for the sum over k patches, the singular values
    :math:`\sigma_1 \ge \dots \ge \sigma_t` of the t filters, and an activation with a
    derivative that grows like :math:`|z|^q`: q is 1 for the squared ReLU, 0 for the others.
    With the mean over patches all is divided by :math:`k^2`.

    Parameters
    ----------
    X : array-like of shape ``(n_samples, ...)``
        Samples, in any of the forms that the estimators accept.
    coef : array-like of shape ``(n_filters, *window)`` or fitted estimator
        The filters, in the shape of the window or flat. Of an estimator they are
        ``coef_``.
    activation : str, default="relu"
        The function of a response: "relu", "leaky_relu", "squared_relu", "sigmoid",
        "tanh" or "erf".
    y : array-like of shape (n_samples,), default=None
        Targets less the intercept: adds what the errors and the second derivative of the
        activation do to the Hessian. None: the values of the bank, without errors.
    output_weights : array-like of shape (n_filters,), default=None
        1 or -1 for every filter. None: all 1.
    pooling : {"sum", "mean"}, default="sum"
        Whether the activations of the patches are summed up or averaged.
    kernel_size : int or tuple of int, default=None
        The convolution window, for flat samples only. None: a flat sample is one patch.
    input_shape : int or tuple of int, default=None
        Shape behind a flat sample, channels last. None: a signal.
    stride, padding, dilation : int or tuple of int, default=1, 0, 1
        How the window moves, as in ``torch.nn.Conv2d``.
    max_samples : int, default=None
        Random samples that are looked at. None: 20,000, but no more than hold 2**26
        entries of patches (500 at least).
    random_state : int, RandomState instance or None, default=None
        Draws the samples, if there are more than are looked at.

    Returns
    -------
    result : LocalConvexity
        The eigenvalues, the orders, and the constants behind them.

    Raises
    ------
    TypeError, ValueError
        For data, filters and parameters that cannot be used.

    See Also
    --------
    one_point_convexity : Likewise for a single filter, farther away.

    Notes
    -----
    The intercept is held fixed. At a kink the derivatives are those from below. Fewer
    samples than the filters have entries leave the smallest eigenvalue 0 up to rounding.
    This takes time :math:`O(n\, t p (t p + k) + (t p)^3)` and memory
    :math:`O((t p)^2)` beside the samples, for filters of length p.

    References
    ----------
    .. [1] K. Zhong, Z. Song, I. S. Dhillon, "Learning Non-overlapping Convolutional Neural
       Networks with Multiple Kernels", 2017, the theorem on local strong convexity.

    Examples
    --------
    >>> from skconvfilter.datasets import make_filter_bank_regression
    >>> from skconvfilter.diagnostics import local_convexity
    >>> X, _, teacher = make_filter_bank_regression(
    ...     5000, input_shape=12, n_filters=3, kernel_size=4, stride=4,
    ...     return_teacher=True, random_state=0)
    >>> result = local_convexity(X, teacher, kernel_size=4, stride=4)
    >>> print(result)
    Bank: 3 filters, relu, sum over 3 patches of length 4
    Filters: singular values from 1 to 2, kappa = 2, lambda = 3, rho = 0.0908
    Hessian at 5000 samples: eigenvalues from ... to ...
    Orders of the paper, up to constants: from 0.0227 to 27
    """
    convolution = {
        "kernel_size": kernel_size,
        "input_shape": input_shape,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }
    activation = check_activation(activation)
    X = check_any_samples(X)
    check_range("X", X)
    _, geometry = cut_into_patches(X[:1], convolution)
    layout = geometry.layout
    W = check_bank("coef", getattr(coef, "coef_", coef), layout.window_shape).T
    v = check_output_weights(output_weights, W.shape[1])
    pooling_scale(pooling, layout.n_patches)
    check_range("coef", W)
    y = _check_targets(y, len(X))
    rows = _draw_rows(len(X), layout, max_samples, random_state)
    samples, geometry = cut_into_patches(X, convolution, rows)
    y = None if y is None else y[rows]
    return estimate_local_convexity(samples, geometry, y, W, activation, v, pooling)


def estimate_local_convexity(
    samples, geometry, y, W, activation, output_weights, pooling, sample_weight=None
):
    """The same on checked data, all of which is looked at; filters as columns."""
    if sample_weight is None:
        sample_weight = np.ones(len(samples))
    layout = geometry.layout
    scale = pooling_scale(pooling, layout.n_patches)
    shares = sample_weight / sample_weight.sum()
    hessian = _hessian(samples, geometry, y, W, activation, scale * output_weights, shares)
    eigenvalues = np.linalg.eigvalsh(hessian)
    sigma = _singular_values(W)
    constants = _constants(sigma, activation)
    return LocalConvexity(
        hessian_extremes=(float(eigenvalues[0]), float(eigenvalues[-1])),
        orders=_orders(sigma, activation, constants, scale, layout.n_patches),
        singular_values=sigma,
        **constants,
        activation=activation.name,
        pooling=pooling,
        n_samples=len(samples),
        n_patches=layout.n_patches,
        patch_dim=layout.patch_dim,
    )


def _hessian(samples, geometry, y, W, activation, weights, shares):
    """Of the loss, shape (n_filters * patch_dim, n_filters * patch_dim).

    `weights` are those of the filters, `shares` those of the samples, of sum 1.
    """
    patch_dim, n_filters = W.shape
    hessian = np.zeros((n_filters * patch_dim, n_filters * patch_dim))
    for rows in bank_blocks(len(samples), geometry.layout, n_filters):
        patches = block_patches(samples[rows], geometry)
        responses = patch_responses(patches, W)
        jacobian = bank_jacobian(patches, responses, activation, weights)
        jacobian = jacobian.reshape(len(patches), -1)
        hessian += jacobian.T @ (shares[rows, np.newaxis] * jacobian)
        if y is not None:
            values = activation.value(responses).sum(axis=1) @ weights
            bends = activation.second_derivative(responses) * weights
            bends *= (shares[rows] * (values - y[rows]))[:, np.newaxis, np.newaxis]
            flat = patches.reshape(-1, patch_dim)
            for j, bend in enumerate(bends.reshape(len(flat), -1).T):
                own = slice(j * patch_dim, (j + 1) * patch_dim)
                hessian[own, own] += flat.T @ (bend[:, np.newaxis] * flat)
    return hessian


def _singular_values(W):
    """One for every filter, 0 where they are linearly dependent up to rounding."""
    sigma = np.zeros(W.shape[1])
    found = np.linalg.svd(W, compute_uv=False)
    threshold = max(W.shape) * np.finfo(np.float64).eps * found[0]
    sigma[: len(found)] = np.where(found > threshold, found, 0)
    return sigma


def _constants(sigma, activation):
    """kappa, lambda and rho of the filters, by the names of the result."""
    if sigma[-1] == 0:
        return {"condition_number": np.inf, "lambda_": np.inf, "rho": np.nan}
    moments = local_convexity_moments(activation, sigma[-1])
    with np.errstate(over="ignore"):
        product = np.exp(np.log(sigma / sigma[-1]).sum())
    return {
        "condition_number": float(sigma[0] / sigma[-1]),
        "lambda_": float(product),
        "rho": float(moments.rho),
    }


def _orders(sigma, activation, constants, scale, n_patches):
    """The paper's, for values multiplied by the scale."""
    growth = (activation.homogeneity or 1) - 1
    upper = len(sigma) * n_patches**2 * sigma[0] ** (2 * growth)
    lower = 0.0
    if sigma[-1] > 0:
        weakest = constants["condition_number"] ** 2 * constants["lambda_"]
        lower = n_patches * constants["rho"] / weakest
    return float(scale**2 * lower), float(scale**2 * upper)


def _draw_rows(n_samples, layout, max_samples, random_state):
    """The samples to look at: all, or some at random."""
    if max_samples is None:
        n_entries = layout.n_patches * layout.patch_dim
        max_samples = min(_MAX_SAMPLES, max(_MIN_SAMPLES, _MAX_ELEMENTS // n_entries))
    else:
        max_samples = check_integer("max_samples", max_samples, minimum=1)
    rng = check_random_state(random_state)
    if n_samples <= max_samples:
        return slice(None)
    return np.sort(rng.choice(n_samples, size=max_samples, replace=False))


def _check_targets(y, n_samples):
    if y is None:
        return None
    y = check_array(y, input_name="y", dtype=np.float64, ensure_2d=False)
    if y.shape != (n_samples,):
        raise ValueError(f"y must have the shape ({n_samples},), got {y.shape}.")
    check_range("y", y)
    return y
