"""Filters to learn: Gabor and random."""

from typing import Literal

import numpy as np
from sklearn.utils import check_random_state

from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.validation import check_number, check_positive, check_shape


def gabor_filter(
    window_shape: int | tuple[int, ...],
    *,
    wavelength: float | Literal["auto"] = "auto",
    orientation: float = 0.0,
    phase: float = 0.0,
    sigma: float | Literal["auto"] = "auto",
) -> FloatArray:
    r"""Gabor filter, a wave with a Gaussian envelope, with zero sum and unit norm.

    With coordinates :math:`x` (along the last axis) and :math:`y` (along the first)
    about the centre of the window,

    .. math::

        g(x, y) \propto e^{-(x^2 + y^2) / (2 \sigma^2)} \left[ \cos\left(
            \frac{2 \pi}{\lambda} (x \cos\theta + y \sin\theta) + \varphi
            \right) - c \right],

    where :math:`c` makes the sum zero, so that the filter does not respond to a
    constant patch. In one dimension :math:`y = 0` and :math:`\theta = 0`.

    Parameters
    ----------
    window_shape : int or tuple of one or two ints
        Shape of the filter: (length,) or (height, width). At least two entries.
    wavelength : float, default="auto"
        Period :math:`\lambda` of the wave, in entries of the window. If "auto", 0.8 times
        the longest side of the window.
    orientation : float, default=0.0
        Angle :math:`\theta` in radians between the last axis and the direction of the wave;
        0 gives vertical stripes. It has no effect in one dimension.
    phase : float, default=0.0
        Offset :math:`\varphi` of the wave in radians. For 0 the filter is even about the
        centre, for pi/2 odd.
    sigma : float, default="auto"
        Standard deviation :math:`\sigma` of the envelope, in entries of the window.
        If "auto", a quarter of the longest side of the window.

    Returns
    -------
    filter : ndarray of shape window_shape, float64
        Its entries sum to 0 and its Euclidean norm is 1.

    Raises
    ------
    TypeError, ValueError
        If a parameter is invalid, or if the filter vanishes after its mean is subtracted,
        for example for an even wave in a window of length 2.

    See Also
    --------
    random_filter : Filter with random entries.
    make_filter_regression : Data labelled by a filter.

    References
    ----------
    Daugman, "Uncertainty relation for resolution in space, spatial frequency, and
    orientation optimized by two-dimensional visual cortical filters" (1985).

    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    section 4, learn a Gabor filter on MNIST.

    Examples
    --------
    >>> from skconvfilter.datasets import gabor_filter
    >>> gabor_filter(5).round(3)
    array([-0.327, -0.11 ,  0.873, -0.11 , -0.327])
    >>> gabor_filter((5, 7), orientation=0.5).shape
    (5, 7)
    """
    shape = check_shape("window_shape", window_shape)
    if len(shape) > 2 or np.prod(shape) == 1:
        raise ValueError(
            "window_shape must have one or two axes and at least two entries, got "
            f"{window_shape!r}."
        )
    longest = max(shape)
    wavelength = _positive_or_auto("wavelength", wavelength, auto=0.8 * longest)
    sigma = _positive_or_auto("sigma", sigma, auto=0.25 * longest)
    orientation = check_number("orientation", orientation)
    phase = check_number("phase", phase)

    kernel = _zero_sum_wave(shape, wavelength, orientation, phase, sigma)
    norm = np.linalg.norm(kernel)
    if norm <= np.sqrt(np.finfo(kernel.dtype).eps):
        raise ValueError(
            f"wavelength={wavelength}, orientation={orientation}, phase={phase} and "
            f"sigma={sigma} leave no wave in a window of shape {shape}. Use another "
            "phase or orientation, a shorter wavelength or a larger sigma."
        )
    return kernel / norm


def random_filter(
    window_shape: int | tuple[int, ...],
    *,
    random_state: int | np.random.RandomState | None = None,
) -> FloatArray:
    """Filter with independent standard normal entries, scaled to unit norm.

    Its direction is uniform on the sphere.

    Parameters
    ----------
    window_shape : int or tuple of int
        Shape of the filter, including channels.
    random_state : int, RandomState instance or None, default=None
        Determines the entries. Pass an int for a reproducible filter.

    Returns
    -------
    filter : ndarray of shape window_shape, float64
        Its Euclidean norm is 1.

    Raises
    ------
    TypeError, ValueError
        If `window_shape` does not consist of positive ints.

    See Also
    --------
    gabor_filter : Filter that is a localized wave.
    make_filter_regression : Data labelled by a filter.

    References
    ----------
    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    section 4, which uses this filter before scaling.

    Examples
    --------
    >>> import numpy as np
    >>> from skconvfilter.datasets import random_filter
    >>> w = random_filter((5, 5), random_state=0)
    >>> w.shape, bool(np.isclose(np.linalg.norm(w), 1))
    ((5, 5), True)
    """
    shape = check_shape("window_shape", window_shape)
    entries = check_random_state(random_state).standard_normal(shape)
    return entries / np.linalg.norm(entries)


def _zero_sum_wave(
    shape: tuple[int, ...],
    wavelength: float,
    orientation: float,
    phase: float,
    sigma: float,
) -> FloatArray:
    """The Gabor filter before it is scaled; of order 1 unless the wave vanishes."""
    axes = [np.arange(size) - (size - 1) / 2 for size in shape]
    if len(shape) == 1:
        (along,) = axes
        distance = np.abs(along)
    else:
        y, x = np.meshgrid(*axes, indexing="ij")
        along = x * np.cos(orientation) + y * np.sin(orientation)
        distance = np.hypot(x, y)
    # A constant factor is free: this one makes the envelope 1 at the innermost entries,
    # however small sigma is.
    nearest = distance.min()
    exponent = (distance - nearest) * (distance + nearest) / (2 * sigma) / sigma
    wave = np.cos(2 * np.pi * along / wavelength + phase)
    envelope = np.exp(-exponent)
    # Subtracting the mean under the envelope, not a constant, keeps the borders small.
    return envelope * (wave - np.average(wave, weights=envelope))


def _positive_or_auto(name: str, value: float | str, auto: float) -> float:
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f'{name} must be "auto" or a number, got {value!r}.')
        return auto
    return check_positive(name, value)
