"""Regression problems with targets from a known filter or bank of filters."""

from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from skconvfilter.datasets.filters import gabor_filter, random_filter
from skconvfilter.kernels.layout import FloatArray, PatchLayout
from skconvfilter.model.bank import (
    bank_values,
    check_activation,
    check_bank,
    check_output_weights,
    pooling_scale,
)
from skconvfilter.model.forward import model_values
from skconvfilter.model.geometry import (
    Convolution,
    HasConvolution,
    PatchGeometry,
    join_bias,
)
from skconvfilter.model.samples import check_any_samples, cut_into_patches
from skconvfilter.model.validation import (
    check_filter,
    check_integer,
    check_number,
    check_positive,
    check_range,
    check_shape,
    real_array,
)

# Output weights of a bank, 1 or -1; an ArrayLike might be a string, too.
Weights = Sequence[int] | NDArray[Any] | None

_N_SAMPLES = 100
_N_FEATURES = 10
_N_FILTERS = 5


@overload
def make_filter_regression(
    n_samples: int | None = None,
    estimator: HasConvolution | None = None,
    *,
    X: ArrayLike | None = None,
    n_features: int | None = None,
    teacher: Literal["random", "gabor"] | ArrayLike = "random",
    noise: float = 0.0,
    snr: float | None = None,
    bias: float = 0.0,
    intercept: float = 0.0,
    sign: Literal[1, -1] = 1,
    return_teacher: Literal[False] = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[NDArray[Any], FloatArray]: ...


@overload
def make_filter_regression(
    n_samples: int | None = None,
    estimator: HasConvolution | None = None,
    *,
    X: ArrayLike | None = None,
    n_features: int | None = None,
    teacher: Literal["random", "gabor"] | ArrayLike = "random",
    noise: float = 0.0,
    snr: float | None = None,
    bias: float = 0.0,
    intercept: float = 0.0,
    sign: Literal[1, -1] = 1,
    return_teacher: Literal[True],
    random_state: int | np.random.RandomState | None = None,
) -> tuple[NDArray[Any], FloatArray, FloatArray]: ...


def make_filter_regression(
    n_samples: int | None = None,
    estimator: HasConvolution | None = None,
    *,
    X: ArrayLike | None = None,
    n_features: int | None = None,
    teacher: Literal["random", "gabor"] | ArrayLike = "random",
    noise: float = 0.0,
    snr: float | None = None,
    bias: float = 0.0,
    intercept: float = 0.0,
    sign: Literal[1, -1] = 1,
    return_teacher: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[NDArray[Any], FloatArray] | tuple[NDArray[Any], FloatArray, FloatArray]:
    r"""Generate a regression problem with targets from a known convolutional filter.

    .. math::

        y_n = b + \frac{s}{k} \sum_{i=1}^k \mathrm{relu}(w^* \cdot Z_{n,i} + c)
            + \varepsilon_n, \qquad \varepsilon_n \sim N(0, \sigma^2),

    with the patches :math:`Z_{n,1}, \ldots, Z_{n,k}` of sample :math:`n` and the true
    filter :math:`w^*`, called the teacher.

    Parameters
    ----------
    n_samples : int, default=None
        Number of samples. If None, the number of rows of `X`, or 100 without `X`.
    estimator : estimator, default=None
        Defines how flat samples are cut into patches. Any estimator of this package can be
        used, such as :class:`~skconvfilter.ConvReLUFilterRegressor`, fitted or not. If
        None, a flat sample is one patch.
    X : array-like of shape ``(n_samples, ...)``, default=None
        Samples to label: flat samples, patches of shape (n_samples, n_patches, patch_dim),
        or a window view. If None, samples with independent standard normal entries are
        drawn.
    n_features : int, default=None
        Length of the samples that are drawn without `X`. If None, that of the `input_shape`
        of the estimator, or 10 without one.
    teacher : {"random", "gabor"} or array-like, default="random"
        The filter, in the shape of the window or flat. If "random", a
        :func:`random_filter`. If "gabor", a :func:`gabor_filter` with random orientation
        and phase, and a wavelength between half the longest side of the window (at least 2)
        and the whole side; it is the same in every channel.
    noise : float, default=0.0
        Standard deviation of the noise.
    snr : float, default=None
        Signal-to-noise ratio, the variance of the noiseless targets divided by that of the
        noise. It can be given instead of `noise`.
    bias : float, default=0.0
        Bias c of the filter.
    intercept : float, default=0.0
        Offset b of the targets.
    sign : {1, -1}, default=1
        Output sign s.
    return_teacher : bool, default=False
        Whether to return the filter.
    random_state : int, RandomState instance or None, default=None
        Determines `X`, the teacher and the noise, drawn in this order. Pass an int for
        reproducible data.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), float64
        The samples. If `X` is given, it is returned as an array.
    y : ndarray of shape (n_samples,), float64
        The targets.
    teacher : ndarray of the window's shape, float64
        Only if `return_teacher` is True. The shape is (patch_dim,) if patches are flat.

    Raises
    ------
    TypeError, ValueError
        If a parameter is invalid, if both `noise` and `snr` are given, or if `snr` is given
        and the noiseless targets are constant.

    See Also
    --------
    make_filter_bank_regression : Targets from a bank of filters.
    make_angular_patches : One patch per sample, at chosen angles to the teacher.
    make_close_patches : Several patches per sample, at chosen angles to each other.

    References
    ----------
    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    equation (1) and section 4.

    Examples
    --------
    >>> from skconvfilter import ConvReLUFilterRegressor
    >>> from skconvfilter.datasets import make_filter_regression
    >>> X, y = make_filter_regression(random_state=0)
    >>> X.shape, y.shape
    ((100, 10), (100,))

    Images labelled by a Gabor filter, with noise:

    >>> model = ConvReLUFilterRegressor(kernel_size=5, stride=2, input_shape=(12, 12))
    >>> X, y, teacher = make_filter_regression(
    ...     50, model, teacher="gabor", snr=10, return_teacher=True, random_state=0)
    >>> X.shape, teacher.shape
    ((50, 144), (5, 5))
    """
    noise, snr = _check_noise(noise, snr)
    bias, intercept = check_number("bias", bias), check_number("intercept", intercept)
    if isinstance(sign, bool) or np.ndim(sign) or sign not in (1, -1):
        raise ValueError(f"sign must be 1 or -1, got {sign!r}.")
    rng = check_random_state(random_state)

    X, samples, geometry = _samples_to_label(X, n_samples, n_features, estimator, rng)
    w = _make_filter(teacher, geometry.layout, rng)
    geometry, W = _with_bias(geometry, w.reshape(1, -1), np.array([bias]))
    clean = sign * model_values(samples, geometry, W)[:, 0]
    y = intercept + clean + _draw_noise(clean, noise, snr, rng)
    return (X, y, w) if return_teacher else (X, y)


@overload
def make_filter_bank_regression(
    n_samples: int | None = None,
    estimator: HasConvolution | None = None,
    *,
    X: ArrayLike | None = None,
    n_features: int | None = None,
    teacher: Literal["random"] | ArrayLike = "random",
    condition_number: float = 2.0,
    output_weights: Literal["ones", "signs"] | Weights = "ones",
    noise: float = 0.0,
    snr: float | None = None,
    bias: float | Sequence[float] | NDArray[Any] = 0.0,
    intercept: float = 0.0,
    return_teacher: Literal[False] = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[NDArray[Any], FloatArray]: ...


@overload
def make_filter_bank_regression(
    n_samples: int | None = None,
    estimator: HasConvolution | None = None,
    *,
    X: ArrayLike | None = None,
    n_features: int | None = None,
    teacher: Literal["random"] | ArrayLike = "random",
    condition_number: float = 2.0,
    output_weights: Literal["signs"],
    noise: float = 0.0,
    snr: float | None = None,
    bias: float | Sequence[float] | NDArray[Any] = 0.0,
    intercept: float = 0.0,
    return_teacher: Literal[True],
    random_state: int | np.random.RandomState | None = None,
) -> tuple[NDArray[Any], FloatArray, FloatArray, FloatArray]: ...


@overload
def make_filter_bank_regression(
    n_samples: int | None = None,
    estimator: HasConvolution | None = None,
    *,
    X: ArrayLike | None = None,
    n_features: int | None = None,
    teacher: Literal["random"] | ArrayLike = "random",
    condition_number: float = 2.0,
    output_weights: Literal["ones"] | Weights = "ones",
    noise: float = 0.0,
    snr: float | None = None,
    bias: float | Sequence[float] | NDArray[Any] = 0.0,
    intercept: float = 0.0,
    return_teacher: Literal[True],
    random_state: int | np.random.RandomState | None = None,
) -> tuple[NDArray[Any], FloatArray, FloatArray]: ...


def make_filter_bank_regression(
    n_samples: int | None = None,
    estimator: HasConvolution | None = None,
    *,
    X: ArrayLike | None = None,
    n_features: int | None = None,
    teacher: Literal["random"] | ArrayLike = "random",
    condition_number: float = 2.0,
    output_weights: Literal["ones", "signs"] | Weights = "ones",
    noise: float = 0.0,
    snr: float | None = None,
    bias: float | Sequence[float] | NDArray[Any] = 0.0,
    intercept: float = 0.0,
    return_teacher: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> (
    tuple[NDArray[Any], FloatArray]
    | tuple[NDArray[Any], FloatArray, FloatArray]
    | tuple[NDArray[Any], FloatArray, FloatArray, FloatArray]
):
    r"""Generate a regression problem with targets from a known bank of filters.

    .. math::

        y_n = b + s \sum_{j=1}^t v_j \sum_{i=1}^k \phi(w^*_j \cdot Z_{n,i} + c_j)
            + \varepsilon_n, \qquad \varepsilon_n \sim N(0, \sigma^2),

    with the patches :math:`Z_{n,1}, \ldots, Z_{n,k}` of sample :math:`n`, the true filters
    :math:`w^*_j`, called the teacher, an activation :math:`\phi`, and :math:`s` equal to 1
    for the sum over patches and :math:`1 / k` for the mean. The theory proves recovery for
    patches that do not overlap and have independent standard normal entries. An estimator
    with ``kernel_size=p, stride=p, input_shape=(k * p,)`` gives k such patches of length p
    in a sample. Without a window a bank is a network with one hidden layer, as in [2]_.

    Parameters
    ----------
    n_samples : int, default=None
        Number of samples. If None, the number of rows of `X`, or 100 without `X`.
    estimator : estimator, default=None
        Defines how flat samples are cut into patches, and the `n_filters`, `activation` and
        `pooling` of the bank, such as a :class:`~skconvfilter.ConvFilterBankRegressor`,
        fitted or not. For an estimator without these parameters, and if None, the bank has
        the filters of the teacher or 5 random ones, the ReLU, and the sum over patches. If
        None, a flat sample is one patch.
    X : array-like of shape ``(n_samples, ...)``, default=None
        Samples to label: flat samples, patches of shape (n_samples, n_patches, patch_dim),
        or a window view. If None, samples with independent standard normal entries are
        drawn.
    n_features : int, default=None
        Length of the samples that are drawn without `X`. If None, that of the `input_shape`
        of the estimator, or 10 without one.
    teacher : "random" or array-like of shape ``(n_filters, *window)``, default="random"
        The filters, in the shape of the window or flat. If "random", a matrix of shape
        (n_filters, patch_dim) with random singular vectors and evenly spaced singular
        values from 1 to `condition_number`, as in the experiments of [2]_.
    condition_number : float, default=2.0
        Largest singular value of a random teacher. A single filter has norm 1.
    output_weights : {"ones", "signs"} or array-like of shape (n_filters,), default="ones"
        The output weights v, 1 or -1. If "ones", all are 1, as in [1]_. If "signs", they
        are drawn at random, as in the experiments of [2]_.
    noise : float, default=0.0
        Standard deviation of the noise.
    snr : float, default=None
        Signal-to-noise ratio, the variance of the noiseless targets divided by that of the
        noise. It can be given instead of `noise`.
    bias : float or array-like of shape (n_filters,), default=0.0
        Biases c of the filters.
    intercept : float, default=0.0
        Offset b of the targets.
    return_teacher : bool, default=False
        Whether to return the filters, and the output weights if they are drawn.
    random_state : int, RandomState instance or None, default=None
        Determines `X`, the teacher, the output weights and the noise, drawn in this order.
        Pass an int for reproducible data.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), float64
        The samples. If `X` is given, it is returned as an array.
    y : ndarray of shape (n_samples,), float64
        The targets.
    teacher : ndarray of shape ``(n_filters, *window)``, float64
        Only if `return_teacher` is True. The shape is (n_filters, patch_dim) if patches are
        flat.
    output_weights : ndarray of shape (n_filters,), float64
        Only if `return_teacher` is True and ``output_weights="signs"``.

    Raises
    ------
    TypeError, ValueError
        If a parameter is invalid, if a random teacher has more filters than a patch has
        entries, if both `noise` and `snr` are given, or if `snr` is given and the noiseless
        targets are constant.

    See Also
    --------
    make_filter_regression : Targets from one filter, with the mean over patches.
    skconvfilter.diagnostics.recovery : Compare a fitted bank with the teacher.

    References
    ----------
    .. [1] K. Zhong, Z. Song, I. S. Dhillon, "Learning Non-overlapping Convolutional Neural
       Networks with Multiple Kernels", 2017.
    .. [2] K. Zhong, Z. Song, P. Jain, P. L. Bartlett, I. S. Dhillon, "Recovery Guarantees
       for One-hidden-layer Neural Networks", ICML 2017, section 7.

    Examples
    --------
    The setting of the theory, with three independent patches of length 16 in a sample:

    >>> import numpy as np
    >>> from skconvfilter import ConvFilterBankRegressor
    >>> from skconvfilter.datasets import make_filter_bank_regression
    >>> bank = ConvFilterBankRegressor(5, kernel_size=16, stride=16, input_shape=(48,))
    >>> X, y, teacher = make_filter_bank_regression(
    ...     200, bank, return_teacher=True, random_state=0)
    >>> X.shape, y.shape, teacher.shape
    ((200, 48), (200,), (5, 16))
    >>> np.linalg.svd(teacher, compute_uv=False)
    array([2.  , 1.75, 1.5 , 1.25, 1.  ])

    Images, with overlapping windows and an output sign for each filter:

    >>> bank = ConvFilterBankRegressor(
    ...     5, kernel_size=5, input_shape=(12, 12), activation="tanh", pooling="mean")
    >>> X, y, teacher, signs = make_filter_bank_regression(
    ...     50, bank, output_weights="signs", return_teacher=True, random_state=0)
    >>> X.shape, teacher.shape, signs
    ((50, 144), (5, 5, 5), array([ 1.,  1., -1.,  1.,  1.]))
    """
    noise, snr = _check_noise(noise, snr)
    intercept = check_number("intercept", intercept)
    condition_number = check_number("condition_number", condition_number)
    if condition_number < 1:
        raise ValueError(f"condition_number must be at least 1, got {condition_number!r}.")
    n_filters = getattr(estimator, "n_filters", None)
    activation = check_activation(getattr(estimator, "activation", "relu"))
    pooling = getattr(estimator, "pooling", "sum")
    pooling_scale(pooling, 1)  # refuses another pooling before anything is drawn
    rng = check_random_state(random_state)

    X, samples, geometry = _samples_to_label(X, n_samples, n_features, estimator, rng)
    window_shape = geometry.layout.window_shape
    filters = _make_bank(teacher, n_filters, window_shape, condition_number, rng)
    weights = _make_output_weights(output_weights, len(filters), rng)
    geometry, W = _with_bias(geometry, filters, _check_bias(bias, len(filters)))
    clean = bank_values(
        samples, geometry, W, activation, output_weights=weights, pooling=pooling
    )
    y = intercept + clean + _draw_noise(clean, noise, snr, rng)
    if not return_teacher:
        return X, y
    filters = filters.reshape(-1, *window_shape)
    signs_drawn = isinstance(output_weights, str) and output_weights == "signs"
    return (X, y, filters, weights) if signs_drawn else (X, y, filters)


def _check_noise(noise: float, snr: float | None) -> tuple[float, float | None]:
    """The noise and the signal-to-noise ratio, of which only one may be given."""
    noise = check_positive("noise", noise, zero=True)
    if snr is not None:
        snr = check_positive("snr", snr, infinite=True)
        if noise:
            raise ValueError("noise and snr cannot both be given.")
    return noise, snr


def _samples_to_label(
    X: ArrayLike | None,
    n_samples: int | None,
    n_features: int | None,
    estimator: HasConvolution | None,
    rng: np.random.RandomState,
) -> tuple[NDArray[Any], FloatArray, PatchGeometry]:
    """Samples as a generator returns them, flat in float64, and their geometry."""
    convolution = Convolution() if estimator is None else Convolution.of(estimator)
    if n_samples is not None:
        n_samples = check_integer("n_samples", n_samples, minimum=1)
    if X is None:
        if n_samples is None:
            n_samples = _N_SAMPLES
        shape = (n_samples, _check_n_features(n_features, convolution))
        data: NDArray[Any] = rng.standard_normal(shape)
    else:
        if n_features is not None:
            raise ValueError("n_features cannot be given with X.")
        data = check_any_samples(X)
        check_range("X", data)
        if n_samples not in (None, len(data)):
            raise ValueError(f"n_samples={n_samples}, but X has {len(data)} rows.")
    return data, *cut_into_patches(data, convolution)


def _check_bias(bias: ArrayLike, n_filters: int) -> FloatArray:
    biases = real_array("bias", bias).astype(np.float64)
    if biases.shape not in ((), (n_filters,)) or not np.isfinite(biases).all():
        raise ValueError(
            f"bias must be a finite number, or one for each of the {n_filters} filters, "
            f"got {bias!r}."
        )
    return np.broadcast_to(biases, (n_filters,))


def _with_bias(
    geometry: PatchGeometry, filters: FloatArray, biases: FloatArray
) -> tuple[PatchGeometry, FloatArray]:
    """Patches with an entry for the biases, if there are any, and filters as columns."""
    constant = float(biases.any())
    return geometry.with_constant(constant), join_bias(filters, biases, constant).T


def _check_n_features(n_features: int | None, convolution: Convolution) -> int:
    """The length of a sample that is drawn."""
    if n_features is not None:
        return check_integer("n_features", n_features, minimum=1)
    if convolution.input_shape is not None:
        return int(np.prod(check_shape("input_shape", convolution.input_shape)))
    return _N_FEATURES


def _draw_noise(
    clean: FloatArray, noise: float, snr: float | None, rng: np.random.RandomState
) -> FloatArray | float:
    """Normal noise of the standard deviation given, or of the ratio to `clean`."""
    if snr is not None:
        noise = _noise_level(clean, snr)
    return rng.normal(scale=noise, size=len(clean)) if noise else 0.0


def _make_filter(
    teacher: str | ArrayLike, layout: PatchLayout, rng: np.random.RandomState
) -> FloatArray:
    if not isinstance(teacher, str):
        w = check_filter("teacher", teacher, layout.window_shape)
        check_range("teacher", w)
        return w
    if teacher == "random":
        return random_filter(layout.window_shape, random_state=rng)
    if teacher == "gabor":
        return _draw_gabor(layout, rng)
    raise ValueError(f'teacher must be "random", "gabor" or an array, got {teacher!r}.')


def _draw_gabor(layout: PatchLayout, rng: np.random.RandomState) -> FloatArray:
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


def _noise_level(clean: FloatArray, snr: float) -> float:
    """Standard deviation of the noise that `clean` has `snr` times the variance of."""
    # To machine precision: rounding may differ from row to row.
    if np.ptp(clean) <= 1e-12 * np.abs(clean).max():
        raise ValueError(
            f"snr={snr} cannot be used, because the noiseless targets are constant. Give "
            "noise instead, or another teacher."
        )
    return float(clean.std() / np.sqrt(snr))


def _make_bank(
    teacher: str | ArrayLike,
    n_filters: int | None,
    window_shape: tuple[int, ...],
    condition_number: float,
    rng: np.random.RandomState,
) -> FloatArray:
    """Filters as rows, shape (n_filters, patch_dim)."""
    if n_filters is not None:
        n_filters = check_integer("n_filters", n_filters, minimum=1)
    if not isinstance(teacher, str):
        filters = check_bank("teacher", teacher, window_shape)
        check_range("teacher", filters)
        if n_filters not in (None, len(filters)):
            raise ValueError(f"n_filters={n_filters}, but teacher has {len(filters)}.")
        return filters
    if teacher != "random":
        raise ValueError(f'teacher must be "random" or an array, got {teacher!r}.')
    n_filters = _N_FILTERS if n_filters is None else n_filters
    patch_dim = int(np.prod(window_shape))
    if n_filters > patch_dim:
        raise ValueError(
            f"n_filters={n_filters} is more than the {patch_dim} entries of a patch: the "
            "filters cannot be linearly independent. Give a larger kernel_size, fewer "
            "filters, or the teacher as an array."
        )
    return _conditioned_matrix(n_filters, patch_dim, condition_number, rng)


def _conditioned_matrix(
    n_rows: int, n_columns: int, condition_number: float, rng: np.random.RandomState
) -> FloatArray:
    """Matrix with random singular vectors and singular values from 1 to the number."""
    # The law of a normal matrix does not change under rotations from either side, and
    # its singular vectors keep that with other singular values.
    entries = rng.standard_normal((n_rows, n_columns))
    left, _, right = np.linalg.svd(entries, full_matrices=False)
    return left * np.linspace(1, condition_number, n_rows) @ right


def _make_output_weights(
    output_weights: str | Weights, n_filters: int, rng: np.random.RandomState
) -> FloatArray:
    if not isinstance(output_weights, str):
        return check_output_weights(output_weights, n_filters)
    if output_weights == "ones":
        return np.ones(n_filters)
    if output_weights == "signs":
        return rng.choice([-1.0, 1.0], size=n_filters)
    raise ValueError(
        f'output_weights must be "ones", "signs" or an array, got {output_weights!r}.'
    )
