"""Teacher-student data: a known filter labels samples."""

import numpy as np
from sklearn.utils import check_random_state

from skconvfilter.datasets.filters import gabor_filter, random_filter
from skconvfilter.model.forward import model_values
from skconvfilter.model.samples import check_any_samples, cut_into_patches
from skconvfilter.model.validation import (
    check_filter,
    check_integer,
    check_number,
    check_positive,
    check_shape,
)

_N_SAMPLES = 100
_N_FEATURES = 10


def make_filter_regression(
    n_samples=None,
    *,
    X=None,
    kernel_size=None,
    input_shape=None,
    stride=1,
    padding=0,
    dilation=1,
    teacher="random",
    noise=0.0,
    snr=None,
    intercept=0.0,
    sign=1,
    return_teacher=False,
    random_state=None,
):
    r"""Regression problem whose targets a known convolutional filter has made.

    .. math::

        y_n = b + \frac{s}{k} \sum_{i=1}^k \mathrm{relu}(w^* \cdot Z_{n,i})
            + \varepsilon_n, \qquad \varepsilon_n \sim N(0, \sigma^2),

    with :math:`Z_{n,1}, \ldots, Z_{n,k}` the patches of sample :math:`n` and the filter
    :math:`w^*` of the teacher: the setting in which the theory proves recovery.

    Parameters
    ----------
    n_samples : int, default=None
        Number of samples. None: the rows of `X`, or 100 without `X`.
    X : array-like of shape ``(n_samples, ...)``, default=None
        Samples to label, in any of the forms that the estimators accept: flat samples,
        patches as given, or a window view. None: independent standard normal entries.
    kernel_size : int or tuple of int, default=None
        The convolution window, for flat samples only. None: a flat sample is one patch.
    input_shape : int or tuple of int, default=None
        Shape behind a flat sample, channels last. Without `X` it is also how large the
        samples are; None: 10 features.
    stride, padding, dilation : int or tuple of int, default=1, 0, 1
        How the window moves, as in ``torch.nn.Conv2d``.
    teacher : {"random", "gabor"} or array-like, default="random"
        The filter, in the shape of the window or flat. "random": that of
        :func:`random_filter`. "gabor": that of :func:`gabor_filter` with random
        orientation and phase, and a wavelength between half the longest side of the
        window (2 at least) and all of it; the same in every channel.
    noise : float, default=0.0
        Standard deviation of the noise.
    snr : float, default=None
        Signal-to-noise ratio, the variance of the noiseless targets over that of the
        noise: sets the noise in place of `noise`.
    intercept : float, default=0.0
        Offset b of the targets.
    sign : {1, -1}, default=1
        Output sign s.
    return_teacher : bool, default=False
        Also return the filter.
    random_state : int, RandomState instance or None, default=None
        Draws `X`, the teacher and the noise, in this order. Pass an int for the same
        data at every call.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), float64
        The samples. A given `X` is returned as the array that it is.
    y : ndarray of shape (n_samples,), float64
        The targets.
    teacher : ndarray of the window's shape, float64
        Only if `return_teacher` is True; (patch_dim,) where patches are flat.

    Raises
    ------
    TypeError, ValueError
        If a parameter is wrong; if both `noise` and `snr` are given; if `snr` is given
        and the noiseless targets are constant.

    See Also
    --------
    make_filter_bank_regression : Many filters at once.
    make_angular_patches : One patch per sample, at chosen angles to the teacher.
    make_close_patches : Several patches per sample, at chosen angles to each other.

    References
    ----------
    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    equation (1) and section 4.

    Examples
    --------
    >>> from skconvfilter.datasets import make_filter_regression
    >>> X, y = make_filter_regression(random_state=0)
    >>> X.shape, y.shape
    ((100, 10), (100,))

    Images labelled by a Gabor filter, with noise:

    >>> X, y, teacher = make_filter_regression(
    ...     50, input_shape=(12, 12), kernel_size=5, stride=2, teacher="gabor", snr=10,
    ...     return_teacher=True, random_state=0)
    >>> X.shape, teacher.shape
    ((50, 144), (5, 5))
    """
    noise, snr = check_noise(noise, snr)
    intercept = check_number("intercept", intercept)
    if isinstance(sign, bool) or np.ndim(sign) or sign not in (1, -1):
        raise ValueError(f"sign must be 1 or -1, got {sign!r}.")
    rng = check_random_state(random_state)

    convolution = {
        "kernel_size": kernel_size,
        "input_shape": input_shape,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }
    X, samples, geometry = samples_to_label(X, n_samples, convolution, rng)
    teacher = _make_teacher(teacher, geometry.layout, rng)
    filters = teacher.reshape(-1, 1)
    clean = sign * model_values(samples, geometry, filters)[:, 0]
    y = intercept + clean + draw_noise(clean, noise, snr, rng)
    return (X, y, teacher) if return_teacher else (X, y)


def check_noise(noise, snr):
    """The noise and the signal-to-noise ratio, of which only one may be given."""
    noise = check_positive("noise", noise, zero=True)
    if snr is not None:
        snr = check_positive("snr", snr, infinite=True)
        if noise:
            raise ValueError("noise and snr exclude each other: give one of them.")
    return noise, snr


def samples_to_label(X, n_samples, convolution, rng):
    """Samples as a generator returns them, flat in float64, and their geometry.

    Parameters
    ----------
    X : array-like or None
        As a user passed it; None draws independent standard normal entries.
    n_samples : int or None
        None: the rows of `X`, or 100 without it.
    convolution : dict
        As :func:`~skconvfilter.model.samples.cut_into_patches` takes it.
    rng : numpy.random.RandomState
    """
    if X is None:
        X, convolution = _draw_samples(n_samples, convolution, rng)
    else:
        X = check_any_samples(X)
        _check_number_of_rows(X, n_samples)
    return X, *cut_into_patches(X, convolution)


def draw_noise(clean, noise, snr, rng):
    """Normal noise of the standard deviation given, or of the ratio to `clean`."""
    if snr is not None:
        noise = _noise_level(clean, snr)
    return rng.normal(scale=noise, size=len(clean)) if noise else 0.0


def _draw_samples(n_samples, convolution, rng):
    """Normal samples, and the convolution as `convolution_geometry` takes it."""
    n_samples = _N_SAMPLES if n_samples is None else n_samples
    n_samples = check_integer("n_samples", n_samples, minimum=1)
    n_features = _N_FEATURES
    if convolution["input_shape"] is not None:
        input_shape = check_shape("input_shape", convolution["input_shape"])
        n_features = int(np.prod(input_shape))
        # Without a window the shape has said all it had to say: the number of features.
        given = None if convolution["kernel_size"] is None else input_shape
        convolution = {**convolution, "input_shape": given}
    return rng.standard_normal((n_samples, n_features)), convolution


def _check_number_of_rows(X, n_samples):
    if n_samples is not None:
        n_samples = check_integer("n_samples", n_samples, minimum=1)
        if n_samples != len(X):
            raise ValueError(f"n_samples={n_samples}, but X has {len(X)} rows.")


def _make_teacher(teacher, layout, rng):
    if not isinstance(teacher, str):
        return check_filter("teacher", teacher, layout.window_shape)
    if teacher == "random":
        return random_filter(layout.window_shape, random_state=rng)
    if teacher == "gabor":
        return _draw_gabor(layout, rng)
    raise ValueError(f'teacher must be "random", "gabor" or an array, got {teacher!r}.')


def _draw_gabor(layout, rng):
    n_axes = len(layout.grid_shape)
    window, channels = layout.window_shape[:n_axes], layout.window_shape[n_axes:]
    if n_axes > 2 or np.prod(window) == 1:
        raise ValueError(
            'teacher="gabor" needs a window with one or two axes (and channels) and at '
            f"least two entries, got {window}."
        )
    longest = max(window)
    kernel = gabor_filter(
        window,
        wavelength=rng.uniform(max(2.0, longest / 2), longest),
        orientation=rng.uniform(0, np.pi),
        phase=rng.uniform(0, 2 * np.pi),
    )
    kernel = kernel.reshape(window + (1,) * len(channels))
    return np.broadcast_to(kernel, window + channels) / np.sqrt(np.prod(channels))


def _noise_level(clean, snr):
    """Standard deviation of the noise that `clean` has `snr` times the variance of."""
    # Up to rounding, which may differ from row to row.
    if np.ptp(clean) <= 1e-12 * np.abs(clean).max():
        raise ValueError(
            f"snr={snr} has no meaning: the noiseless targets are constant. Give noise "
            "in its place, or another teacher."
        )
    return float(clean.std() / np.sqrt(snr))
