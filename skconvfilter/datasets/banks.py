"""Teacher-student data: a known bank of filters labels samples."""

import numpy as np
from sklearn.utils import check_random_state

from skconvfilter.datasets.regression import check_noise, draw_noise, samples_to_label
from skconvfilter.model.bank import (
    bank_values,
    check_activation,
    check_bank,
    check_output_weights,
    pooling_scale,
)
from skconvfilter.model.validation import check_integer, check_number

_N_FILTERS = 5


def make_filter_bank_regression(
    n_samples=None,
    *,
    X=None,
    n_filters=None,
    kernel_size=None,
    input_shape=None,
    stride=1,
    padding=0,
    dilation=1,
    activation="relu",
    pooling="sum",
    teacher="random",
    condition_number=2.0,
    output_weights="ones",
    noise=0.0,
    snr=None,
    intercept=0.0,
    return_teacher=False,
    random_state=None,
):
    r"""Regression problem whose targets a known bank of filters has made.

    .. math::

        y_n = b + s \sum_{j=1}^t v_j \sum_{i=1}^k \phi(w^*_j \cdot Z_{n,i})
            + \varepsilon_n, \qquad \varepsilon_n \sim N(0, \sigma^2),

    with :math:`Z_{n,1}, \ldots, Z_{n,k}` the patches of sample :math:`n`, the filters
    :math:`w^*_j` of the teacher, an activation :math:`\phi`, and :math:`s` 1 or
    :math:`1 / k`. The theory proves recovery for patches that do not overlap, with
    independent standard normal entries: ``input_shape=k * p, kernel_size=p, stride=p``
    draws k of length p in a sample.

    Parameters
    ----------
    n_samples : int, default=None
        Number of samples. None: the rows of `X`, or 100 without `X`.
    X : array-like of shape ``(n_samples, ...)``, default=None
        Samples to label, in any of the forms that the estimators accept: flat samples,
        patches as given, or a window view. None: independent standard normal entries.
    n_filters : int, default=None
        Number of filters, t. None: that of the teacher, or 5 if it is random.
    kernel_size : int or tuple of int, default=None
        The convolution window, for flat samples only. None: a flat sample is one patch,
        and the bank is a network with one hidden layer, as in [2]_.
    input_shape : int or tuple of int, default=None
        Shape behind a flat sample, channels last. Without `X` it is also how large the
        samples are; None: 10 features.
    stride, padding, dilation : int or tuple of int, default=1, 0, 1
        How the window moves, as in ``torch.nn.Conv2d``.
    activation : str, default="relu"
        The function of a response: "relu", "leaky_relu", "squared_relu", "sigmoid",
        "tanh" or "erf".
    pooling : {"sum", "mean"}, default="sum"
        Whether the activations of the patches are summed up, as in [1]_, or averaged.
    teacher : "random" or array-like of shape ``(n_filters, *window)``, default="random"
        The filters, in the shape of the window or flat. "random": a matrix of shape
        (n_filters, patch_dim) with random singular vectors and the singular values of
        `condition_number`, as in the experiments of [2]_.
    condition_number : float, default=2.0
        Largest singular value of a random teacher; they are evenly spaced from 1 to it.
        A single filter has norm 1.
    output_weights : {"ones", "signs"} or array-like of shape (n_filters,), default="ones"
        The v of the filters, 1 or -1. "ones": all 1, as in [1]_. "signs": at random, as
        in the experiments of [2]_.
    noise : float, default=0.0
        Standard deviation of the noise.
    snr : float, default=None
        Signal-to-noise ratio, the variance of the noiseless targets over that of the
        noise: sets the noise in place of `noise`.
    intercept : float, default=0.0
        Offset b of the targets.
    return_teacher : bool, default=False
        Also return the filters, and the output weights if they are drawn.
    random_state : int, RandomState instance or None, default=None
        Draws `X`, the teacher, the output weights and the noise, in this order. Pass an
        int for the same data at every call.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features), float64
        The samples. A given `X` is returned as the array that it is.
    y : ndarray of shape (n_samples,), float64
        The targets.
    teacher : ndarray of shape ``(n_filters, *window)``, float64
        Only if `return_teacher` is True; (n_filters, patch_dim) where patches are flat.
    output_weights : ndarray of shape (n_filters,), float64
        Only if `return_teacher` is True and ``output_weights="signs"``.

    Raises
    ------
    TypeError, ValueError
        If a parameter is wrong; if a random teacher has more filters than a patch has
        entries; if both `noise` and `snr` are given; if `snr` is given and the noiseless
        targets are constant.

    See Also
    --------
    make_filter_regression : One filter, with the mean over patches.
    skconvfilter.diagnostics.bank_recovery : Compare a learned bank with the teacher.

    References
    ----------
    .. [1] K. Zhong, Z. Song, I. S. Dhillon, "Learning Non-overlapping Convolutional Neural
       Networks with Multiple Kernels", 2017.
    .. [2] K. Zhong, Z. Song, P. Jain, P. L. Bartlett, I. S. Dhillon, "Recovery Guarantees
       for One-hidden-layer Neural Networks", ICML 2017, section 7.

    Examples
    --------
    The setting of the theory: three independent patches of length 16 in a sample.

    >>> import numpy as np
    >>> from skconvfilter.datasets import make_filter_bank_regression
    >>> X, y, teacher = make_filter_bank_regression(
    ...     200, input_shape=3 * 16, kernel_size=16, stride=16, return_teacher=True,
    ...     random_state=0)
    >>> X.shape, y.shape, teacher.shape
    ((200, 48), (200,), (5, 16))
    >>> np.linalg.svd(teacher, compute_uv=False)
    array([2.  , 1.75, 1.5 , 1.25, 1.  ])

    Images, with overlapping windows and an output sign for each filter:

    >>> X, y, teacher, signs = make_filter_bank_regression(
    ...     50, input_shape=(12, 12), kernel_size=5, activation="tanh", pooling="mean",
    ...     output_weights="signs", return_teacher=True, random_state=0)
    >>> X.shape, teacher.shape, signs
    ((50, 144), (5, 5, 5), array([ 1.,  1., -1.,  1.,  1.]))
    """
    noise, snr = check_noise(noise, snr)
    intercept = check_number("intercept", intercept)
    condition_number = check_number("condition_number", condition_number)
    if condition_number < 1:
        raise ValueError(f"condition_number must be at least 1, got {condition_number!r}.")
    activation = check_activation(activation)
    pooling_scale(pooling, 1)  # refuses another pooling before anything is drawn
    rng = check_random_state(random_state)

    convolution = {
        "kernel_size": kernel_size,
        "input_shape": input_shape,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }
    X, samples, geometry = samples_to_label(X, n_samples, convolution, rng)
    window_shape = geometry.layout.window_shape
    filters = _make_teacher(teacher, n_filters, window_shape, condition_number, rng)
    weights = _make_output_weights(output_weights, len(filters), rng)
    clean = bank_values(
        samples, geometry, filters.T, activation, output_weights=weights, pooling=pooling
    )
    y = intercept + clean + draw_noise(clean, noise, snr, rng)
    if not return_teacher:
        return X, y
    filters = filters.reshape(-1, *window_shape)
    signs_drawn = isinstance(output_weights, str) and output_weights == "signs"
    return (X, y, filters, weights) if signs_drawn else (X, y, filters)


def _make_teacher(teacher, n_filters, window_shape, condition_number, rng):
    """Filters as rows, shape (n_filters, patch_dim)."""
    if n_filters is not None:
        n_filters = check_integer("n_filters", n_filters, minimum=1)
    if not isinstance(teacher, str):
        filters = check_bank("teacher", teacher, window_shape)
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


def _conditioned_matrix(n_rows, n_columns, condition_number, rng):
    """Matrix with random singular vectors and singular values from 1 to the number."""
    # The law of a normal matrix does not change under rotations from either side, and
    # its singular vectors keep that with other singular values.
    entries = rng.standard_normal((n_rows, n_columns))
    left, _, right = np.linalg.svd(entries, full_matrices=False)
    return left * np.linspace(1, condition_number, n_rows) @ right


def _make_output_weights(output_weights, n_filters, rng):
    if not isinstance(output_weights, str):
        return check_output_weights(output_weights, n_filters)
    if output_weights == "ones":
        return np.ones(n_filters)
    if output_weights == "signs":
        return rng.choice([-1.0, 1.0], size=n_filters)
    raise ValueError(
        f'output_weights must be "ones", "signs" or an array, got {output_weights!r}.'
    )
