"""Activations: values, derivatives and their expectations for normal preactivations."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.polynomial.hermite_e import hermeval
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf, expit

from skconvfilter.kernels.layout import FloatArray

_LEAK = 0.01  # slope of the leaky ReLU below 0
_ROOT_PI, _ROOT_2_PI = math.sqrt(math.pi), math.sqrt(2 * math.pi)

# From this preactivation on, exp(-x^2) is 0 in float64.
_ERF_FLAT = 30.0


Array: TypeAlias = NDArray[np.float64]
Elementwise: TypeAlias = Callable[[Any], Any]  # of float32 and float64 arrays


@dataclass(frozen=True)
class Activation:
    """A function of one preactivation, applied to every element of an array.

    The functions keep float32 and float64, and do not warn for huge preactivations.

    Attributes
    ----------
    name : str
    value, derivative, second_derivative : callable
        ``f(x)``. The derivatives hold almost everywhere; at a kink they are those from
        below, so that ``relu'(0) = 0``.
    hermite : callable
        ``hermite(order, scale)``: the coefficient ``c_m(s) = E[phi(s z) He_m(z)]`` of a
        standard normal z, for m = `order` from 0 to 4 and every s in `scale`, an array
        of numbers of at least 0. A coefficient that vanishes is exactly 0.
    homogeneity : float or None
        The h with ``phi(a x) = a^h phi(x)`` for a > 0; None if there is none.
    """

    name: str
    value: Elementwise
    derivative: Elementwise
    second_derivative: Elementwise
    hermite: Callable[[int, ArrayLike], Array]
    homogeneity: float | None = None


class LocalConvexityMoments(NamedTuple):
    """The quantities of Property 3.2 for preactivations of one standard deviation."""

    alpha_0: Array
    alpha_1: Array
    alpha_2: Array
    beta_0: Array
    beta_2: Array
    rho: Array


def local_convexity_moments(
    activation: Activation, scale: ArrayLike
) -> LocalConvexityMoments:
    r"""The quantities of Property 3.2 of [1]_, which an activation must have.

    .. math::

        \alpha_q = E[\phi'(s z) z^q], \quad \beta_q = E[\phi'(s z)^2 z^q], \quad
        \rho = \min\{\beta_0 - \alpha_0^2 - \alpha_1^2,\
            \beta_2 - \alpha_1^2 - \alpha_2^2,\ \alpha_0 \alpha_2 - \alpha_1^2\}

    for a standard normal z. A positive :math:`\rho` makes the loss strongly convex about
    the teacher.

    Parameters
    ----------
    activation : Activation
    scale : float or ndarray
        Positive standard deviations s of the preactivations.

    Returns
    -------
    moments : LocalConvexityMoments
        Each of the shape of `scale`.

    References
    ----------
    .. [1] K. Zhong, Z. Song, I. S. Dhillon, "Learning Non-overlapping Convolutional Neural
       Networks with Multiple Kernels", 2017, Property 3.2. Its table calls sigmoid what is
       tanh.
    """
    z, density = _half_line()
    arguments = np.multiply.outer(np.asarray(scale, dtype=np.float64), z)
    above, below = activation.derivative(arguments), activation.derivative(-arguments)
    alpha_0, alpha_2 = ((above + below) @ (density * z**q) for q in (0, 2))
    alpha_1 = (above - below) @ (density * z)
    beta_0, beta_2 = ((above**2 + below**2) @ (density * z**q) for q in (0, 2))
    entries = [
        beta_0 - alpha_0**2 - alpha_1**2,
        beta_2 - alpha_1**2 - alpha_2**2,
        alpha_0 * alpha_2 - alpha_1**2,
    ]
    rho = np.min(entries, axis=0)
    return LocalConvexityMoments(alpha_0, alpha_1, alpha_2, beta_0, beta_2, rho)


def hermite_slope(activation: Activation, order: int, scale: ArrayLike) -> Array:
    """Derivative of ``activation.hermite(order, s)`` with respect to s.

    ``c_m'(s) = E[phi'(s z) z He_m(z)]``, by quadrature, of the shape of `scale`.
    """
    z, density = _half_line()
    arguments = np.multiply.outer(np.asarray(scale, dtype=np.float64), z)
    above, below = activation.derivative(arguments), activation.derivative(-arguments)
    parity = 1 if order % 2 else -1
    polynomial = hermeval(z, [0] * order + [1])
    return (above + parity * below) @ (density * z * polynomial)


def _half_line(
    step: float = 1 / 16, first: float = -4.0, last: float = 2.6
) -> tuple[Array, Array]:
    """Nodes z > 0 and weights of an integral against the normal density over z > 0.

    The trapezoidal rule in u with ``z = exp(u - exp(-u))``: the nodes crowd towards 0 on a
    logarithmic scale, so that a function of ``s z`` is resolved to machine precision for
    any s, and a kink at 0 does no harm. Gauss-Hermite nodes lie too far apart where s is
    large.
    """
    u = np.arange(first, last, step)
    z = np.exp(u - np.exp(-u))
    return z, step * z * (1 + np.exp(-u)) * np.exp(-(z**2) / 2) / _ROOT_2_PI


def _homogeneous_hermite(
    order: int, scale: ArrayLike, *, degree: float, unit: tuple[float, ...]
) -> Array:
    """``c_m(s) = c_m(1) s^h``."""
    return unit[order] * np.asarray(scale, dtype=np.float64) ** degree


def _erf_hermite(order: int, scale: ArrayLike) -> Array:
    s = np.asarray(scale, dtype=np.float64)
    if order % 2 == 0:
        return np.zeros_like(s)
    root = np.sqrt(1 + 2 * s**2)
    return 2 * s / (_ROOT_PI * root) if order == 1 else -4 / _ROOT_PI * (s / root) ** 3


def _odd_hermite(
    order: int,
    scale: ArrayLike,
    *,
    mean: float,
    derivative: Elementwise,
    second_derivative: Elementwise,
) -> Array:
    """For a function that is odd about its mean, by quadrature.

    By parts, ``c_1 = s E[phi'(s z)]`` and ``c_3 = s^2 E[phi''(s z) z]``: nothing cancels
    in these, however small s is.
    """
    s = np.asarray(scale, dtype=np.float64)
    if order % 2 == 0:
        return np.full_like(s, mean if order == 0 else 0.0)
    z, density = _half_line()
    arguments = np.multiply.outer(s, z)
    if order == 1:
        return 2 * s * (derivative(arguments) @ density)
    return 2 * s**2 * (second_derivative(arguments) @ (density * z))


def _relu(x: FloatArray) -> FloatArray:
    return np.maximum(x, 0)


def _step(x: FloatArray) -> FloatArray:
    return (x > 0).astype(x.dtype)


def _leaky_relu(x: FloatArray) -> FloatArray:
    return np.where(x > 0, x, _LEAK * x)


def _leaky_step(x: FloatArray) -> FloatArray:
    return np.where(x > 0, 1, _LEAK).astype(x.dtype)


def _squared_relu(x: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):
        return np.maximum(x, 0) ** 2


def _twice_relu(x: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):
        return 2 * np.maximum(x, 0)


def _twice_step(x: FloatArray) -> FloatArray:
    return 2 * _step(x)


def _sigmoid_derivative(x: FloatArray) -> FloatArray:
    return expit(x) * expit(-x)


def _sigmoid_second_derivative(x: FloatArray) -> FloatArray:
    return -_sigmoid_derivative(x) * np.tanh(x / 2)


def _tanh_derivative(x: FloatArray) -> FloatArray:
    value = np.tanh(x)
    return (1 - value) * (1 + value)


def _tanh_second_derivative(x: FloatArray) -> FloatArray:
    return -2 * np.tanh(x) * _tanh_derivative(x)


def _erf_derivative(x: FloatArray) -> FloatArray:
    return 2 / _ROOT_PI * np.exp(-(np.clip(x, -_ERF_FLAT, _ERF_FLAT) ** 2))


def _erf_second_derivative(x: FloatArray) -> FloatArray:
    return -2 * np.clip(x, -_ERF_FLAT, _ERF_FLAT) * _erf_derivative(x)


def _leaky_hermite(slope: float) -> Callable[[int, ArrayLike], Array]:
    """Of ``slope x + (1 - slope) relu(x)``, whose linear part has only c_1."""
    even = (1 - slope) / _ROOT_2_PI
    unit = (even, (1 + slope) / 2, even, 0.0, -even)
    return partial(_homogeneous_hermite, degree=1, unit=unit)


_RELU = Activation("relu", _relu, _step, np.zeros_like, _leaky_hermite(0.0), 1)
_LEAKY_RELU = Activation(
    "leaky_relu", _leaky_relu, _leaky_step, np.zeros_like, _leaky_hermite(_LEAK), 1
)
_SQUARED_RELU = Activation(
    "squared_relu",
    _squared_relu,
    _twice_relu,
    _twice_step,
    partial(
        _homogeneous_hermite,
        degree=2,
        unit=(0.5, 2 / _ROOT_2_PI, 1.0, 2 / _ROOT_2_PI, 0.0),
    ),
    2,
)
_SIGMOID = Activation(
    "sigmoid",
    expit,
    _sigmoid_derivative,
    _sigmoid_second_derivative,
    partial(
        _odd_hermite,
        mean=0.5,
        derivative=_sigmoid_derivative,
        second_derivative=_sigmoid_second_derivative,
    ),
)
_TANH = Activation(
    "tanh",
    np.tanh,
    _tanh_derivative,
    _tanh_second_derivative,
    partial(
        _odd_hermite,
        mean=0.0,
        derivative=_tanh_derivative,
        second_derivative=_tanh_second_derivative,
    ),
)
_ERF = Activation("erf", erf, _erf_derivative, _erf_second_derivative, _erf_hermite)

ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (_RELU, _LEAKY_RELU, _SQUARED_RELU, _SIGMOID, _TANH, _ERF)
}
