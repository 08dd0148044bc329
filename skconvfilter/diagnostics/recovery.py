"""Comparison of fitted filters with the true ones, and losses between filters."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from skconvfilter.diagnostics.filters import (
    Filters,
    bank_model,
    bank_rows,
    bank_weights,
    bias_of,
    bias_scaling_of,
    coef_of,
    convolution_of,
    one_filter,
)
from skconvfilter.diagnostics.summary import Summary
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.kernels.reference import append_constant, patch_windows
from skconvfilter.model.activations import Activation
from skconvfilter.model.angles import angles_to
from skconvfilter.model.bank import bank_values, check_activation, pooling_scale
from skconvfilter.model.forward import model_values
from skconvfilter.model.geometry import Convolution, HasConvolution, PatchGeometry
from skconvfilter.model.samples import check_any_samples, cut_into_patches
from skconvfilter.model.squared_error import ROUNDING_UNITS
from skconvfilter.model.validation import (
    check_integer,
    check_positive,
    check_range,
    real_array,
)

# The rounding error of a quantity, relative to the sizes it is computed from.
_ROUNDING = ROUNDING_UNITS * float(np.finfo(np.float64).eps)

# Elements of the patches that are materialised at a time.
_CHUNK_ELEMENTS = 2**17


@dataclass(frozen=True, eq=False, repr=False)
class Recovery(Summary):
    """Result of :func:`recovery`, a comparison of fitted filters with the true ones.

    The arrays have one entry for every filter, and a single entry for one filter.

    Attributes
    ----------
    permutation : ndarray of shape (n_filters,), int
        ``coef[permutation]`` has the fitted filters in the order of the true ones.
    angles : ndarray of shape (n_filters,), float64
        Angle between every true filter and its match, in radians from 0 to pi, accurate to
        about 1e-15; nan if one of them is zero.
    angle : float
        The largest of the angles.
    relative_errors : ndarray of shape (n_filters,), float64
        Norm of the difference divided by the norm of the true filter, for every filter; nan
        if the true filter is zero.
    relative_error : float
        Norm of all differences divided by the norm of all true filters; nan if these are
        zero.
    relative_error_on_data : float
        The relative error of the projections on the subspace that the patches span; nan
        without data, or if the true filters are orthogonal to it.
    relative_loss : float
        Mean squared difference between the predictions of the two models, divided by the
        squared mean of those of the true one; nan without data, or if these are all zero to
        machine precision.
    indistinguishable : bool or None
        Whether the predictions of the two models agree on every sample to machine
        precision; None without data.
    """

    permutation: NDArray[np.intp]
    angles: FloatArray
    angle: float
    relative_errors: FloatArray
    relative_error: float
    relative_error_on_data: float
    relative_loss: float
    indistinguishable: bool | None


@dataclass(frozen=True, eq=False, repr=False)
class Interpolation(Summary):
    """Result of :func:`interpolation`, the loss on the line through two filters.

    Attributes
    ----------
    alpha : ndarray of shape (n_points,), float64
        Weight of the first filter; 0 is the second filter, 1 the first.
    relative_loss : ndarray of shape (n_points,), float64
        Loss at these points, relative to the values of the second filter.
    """

    alpha: FloatArray
    relative_loss: FloatArray


def recovery(
    learned: Filters,
    teacher: Filters,
    X: ArrayLike | None = None,
    *,
    estimator: HasConvolution | None = None,
    output_weights: ArrayLike | None = None,
    teacher_output_weights: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    teacher_bias: ArrayLike | None = None,
) -> Recovery:
    r"""Compare a fitted filter, or a bank of filters, with the true one.

    The order of the filters of a bank has no meaning. They are compared in the order
    :math:`\pi` with the smallest :math:`\sum_j \|w_{\pi(j)} - w^*_j\|^2`, which the
    Hungarian algorithm finds. With the filters in this order as the rows of :math:`W`, the
    measures are

    .. math::

        \angle(w_{\pi(j)}, w^*_j), \qquad
        \frac{\|w_{\pi(j)} - w^*_j\|}{\|w^*_j\|}, \qquad
        \frac{\|W - W^*\|_F}{\|W^*\|_F}.

    With `X`, let :math:`P` be the projection on the span of all patches of all samples, and
    :math:`f(W, Z)` the predictions without the intercept. The additional measures are

    .. math::

        \frac{\|(W - W^*) P\|_F}{\|W^* P\|_F}, \qquad
        \frac{\frac{1}{n} \sum_n (f(W, Z_n) - f(W^*, Z_n))^2}
             {\left( \frac{1}{n} \sum_n f(W^*, Z_n) \right)^2},

    and whether :math:`f(W, Z_n) = f(W^*, Z_n)` for all :math:`n`. No method can learn the
    part of a filter that :math:`P` removes. If the loss is small but the error on the data
    is large, the data hardly distinguish the two filters.

    Parameters
    ----------
    learned : array-like or fitted estimator
        The filter, in the shape of the window or flat, or a bank with the filters along the
        first axis, or a fitted estimator, whose `coef_` is used. The intercept, and the
        sign of a single filter, are ignored. Without `X`, an array with more than one axis
        is a bank.
    teacher : array-like or fitted estimator
        The true filter or filters, in the same form.
    X : array-like of shape ``(n_samples, ...)``, default=None
        Patches of shape (n_samples, n_patches, patch_dim), a window view, or flat samples.
        If None, measures on data are not computed.
    estimator : estimator, default=None
        Defines how flat samples are cut into patches, and the `activation` and `pooling` of
        a bank, such as a :class:`~skconvfilter.ConvFilterBankRegressor`, fitted or not. If
        None, the first of `learned` and `teacher` that is a fitted estimator is used;
        otherwise a flat sample is one patch, and a bank has the ReLU and the sum over
        patches.
    output_weights, teacher_output_weights : array-like of shape (n_filters,), default=None
        Output weights of the filters of a bank, 1 or -1. If None, the `output_weights_` of
        a fitted estimator, or all 1.
    bias, teacher_bias : float or array-like of shape (n_filters,), default=None
        Biases of the filters. If None, the `bias_` of a fitted estimator, or 0. The bias,
        divided by the `bias_scaling_` of a fitted estimator, or by 1, is compared as an
        additional entry of a filter.

    Returns
    -------
    result : Recovery
        The measures; nan if a measure is undefined.

    Raises
    ------
    TypeError, ValueError
        If a parameter is invalid, for example a filter that is not finite or has another
        shape than the window, banks of different sizes, or samples that are not finite.

    See Also
    --------
    interpolation : The loss between two filters.
    population_loss : Expected loss of a bank.

    Notes
    -----
    With tanh and erf, the filter -w with the weight -v gives the same values as w with v;
    with sigmoid, the values differ by a constant, which the intercept absorbs. For these
    three activations, :math:`v_j w_j` is compared. For the others, a filter with the wrong
    output weight counts as orthogonal to the true one.

    All is computed in float64, with :math:`\epsilon` its rounding unit 2.2e-16. The span of
    the patches is that of the eigenvectors of their second moment
    :math:`M = \sum_{n,i} Z_{n,i} Z_{n,i}^\top` with eigenvalues above
    :math:`16 p \epsilon \lambda_{\max}(M)`. Directions in which patches are smaller than
    :math:`\sqrt{16 p \epsilon}` times those in the main direction, 3e-7 for p = 25, are
    excluded. The teacher is treated as orthogonal to the patches if
    :math:`\mathrm{tr}(W^* M {W^*}^\top)` is at most
    :math:`16 p \epsilon \lambda_{\max}(M) \|W^*\|_F^2`. This takes time
    :math:`O(n k p^2 + p^3)` and memory :math:`O(p^2)`, because the patches are computed in
    blocks.

    Values of a single filter agree to machine precision if they differ by at most
    :math:`16 \epsilon \max(\|w\|_1, \|w^*\|_1)` times the largest entry of the sample.
    For a bank, the tolerances are summed over the filters, and over the patches if the
    pooling is a sum.

    References
    ----------
    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    equation (1), and section 4 for the relative loss.

    K. Zhong, Z. Song, I. S. Dhillon, "Learning Non-overlapping Convolutional Neural
    Networks with Multiple Kernels", 2017, recover filters up to their order, and measure
    the error by the Frobenius norm.

    Examples
    --------
    >>> from skconvfilter import ConvReLUFilterRegressor
    >>> from skconvfilter.datasets import make_filter_regression
    >>> from skconvfilter.diagnostics import recovery
    >>> model = ConvReLUFilterRegressor(kernel_size=3, random_state=0)
    >>> X, y, teacher = make_filter_regression(
    ...     200, model, return_teacher=True, random_state=0)
    >>> result = recovery(model.fit(X, y), teacher, X)
    >>> result.angle < 1e-12, result.relative_error < 1e-12
    (True, True)

    The data do not determine the weight of an entry that is zero in all patches:

    >>> X[:, 1] = 0
    >>> result = recovery([1.0, 8.0, 2.0], [1.0, 6.0, 2.0], X[:, :3])
    >>> round(result.relative_error, 2), result.relative_error_on_data < 1e-12
    (0.31, True)
    >>> result.indistinguishable
    True

    A bank of two filters that were found in the other order:

    >>> result = recovery([[0.0, 4.0], [3.0, 0.5]], [[3.0, 0.0], [0.0, 4.0]])
    >>> result.permutation, result.relative_error
    (array([1, 0]), 0.1)
    """
    samples, geometry, window = None, None, None
    constant = bias_scaling_of(estimator, learned, teacher)
    if constant == 0 and not (bias is None and teacher_bias is None):
        constant = 1.0
    biases = _check_biases(bias), _check_biases(teacher_bias, "teacher_bias")
    if X is not None:
        convolution = convolution_of(estimator, learned, teacher)
        samples, geometry = _cut(X, convolution, constant)
        window = geometry.layout.window_shape
    if _is_bank(learned, teacher, window):
        activation, pooling = bank_model(estimator, learned, teacher)
        rows = _check_banks(learned, teacher, window, constant, biases)
        if len(rows[0]) != len(rows[1]):
            raise ValueError(
                f"learned and teacher must have the same number of filters, got "
                f"{len(rows[0])} and {len(rows[1])}."
            )
        names = ("output_weights", "teacher_output_weights")
        given = ((output_weights, learned), (teacher_output_weights, teacher))
        models = [
            _Model(own, bank_weights(name, *of, len(own)), activation, pooling)
            for own, name, of in zip(rows, names, given, strict=True)
        ]
    else:
        relu = check_activation("relu")
        models = [
            _Model(w[np.newaxis], None, relu, "mean")
            for w in _check_filters(learned, teacher, window, constant, biases)
        ]
    fitted, true = (model.comparable_rows() for model in models)
    measures = _compare(fitted, true)
    if samples is None or geometry is None:
        return Recovery(
            **measures,
            relative_error_on_data=np.nan,
            relative_loss=np.nan,
            indistinguishable=None,
        )
    error = fitted[measures["permutation"]] - true
    values, labels = (model.values(samples, geometry) for model in models)
    tolerances = [model.tolerance(samples, geometry) for model in models]
    loss = np.nan
    if np.any(np.abs(labels) > tolerances[1]) and labels.mean() != 0:
        (loss,) = _relative_loss(values[:, np.newaxis], labels)
    return Recovery(
        **measures,
        relative_error_on_data=_error_on_data(samples, geometry, error, true),
        relative_loss=float(loss),
        indistinguishable=bool((np.abs(values - labels) <= np.maximum(*tolerances)).all()),
    )


def interpolation(
    X: ArrayLike,
    first: Filters,
    second: Filters,
    *,
    n_points: int = 51,
    margin: float = 0.0,
    estimator: HasConvolution | None = None,
) -> Interpolation:
    r"""Relative loss on the line through two filters, such as a fitted and the true one.

    .. math::

        \frac{\frac{1}{n} \sum_n
              (f(\alpha w_1 + (1 - \alpha) w_2, Z_n) - f(w_2, Z_n))^2}
             {\left( \frac{1}{n} \sum_n f(w_2, Z_n) \right)^2},
        \qquad f(w, Z) = \frac{1}{k} \sum_{i=1}^k \mathrm{relu}(w \cdot Z_i),

    for :math:`\alpha` in :math:`[-m, 1 + m]`, where the second filter is the teacher. If
    the loss is low everywhere, the two filters lie in the same valley; if it rises in
    between, the first is probably near another local minimum.

    Parameters
    ----------
    X : array-like of shape ``(n_samples, ...)``
        Patches of shape (n_samples, n_patches, patch_dim), a window view, or flat samples.
    first, second : array-like or fitted estimator
        The filters, in the shape of the window or flat, or fitted estimators, whose `coef_`
        is used; intercept and sign are ignored.
    n_points : int, default=51
        Number of points, at least 2 and at least ``2 + 2 * margin``. They are evenly
        spaced, except that the two nearest to the filters are moved onto them.
    margin : float, default=0.0
        How far the line extends beyond both filters, m, in units of their distance.
    estimator : estimator, default=None
        Defines how flat samples are cut into patches. Any estimator of this package can be
        used, such as :class:`~skconvfilter.ConvPatchExtractor`, fitted or not. If None, the
        first of the two filters that is a fitted estimator is used; otherwise a flat sample
        is one patch.

    Returns
    -------
    result : Interpolation
        With the arrays `alpha` and `relative_loss` of shape (n_points,), float64.

    Raises
    ------
    TypeError, ValueError
        If a parameter is invalid, or if the values of `second` are all zero to machine
        precision, so that the relative loss is undefined.

    See Also
    --------
    recovery : Measures of the difference between two filters.
    skconvfilter.plotting.InterpolationDisplay : Draw the loss.

    Notes
    -----
    All points are evaluated at once, which takes memory for n_samples times n_points
    numbers. The loss at ``alpha=0`` is 0, and that at ``alpha=1`` is the `relative_loss`
    of :func:`recovery`.

    References
    ----------
    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    section 4 and Figure 5.

    Examples
    --------
    >>> from skconvfilter import ConvPatchExtractor
    >>> from skconvfilter.datasets import make_filter_regression
    >>> from skconvfilter.diagnostics import interpolation
    >>> window = ConvPatchExtractor(kernel_size=3)
    >>> X, _, teacher = make_filter_regression(
    ...     200, window, return_teacher=True, random_state=0)
    >>> result = interpolation(X, -teacher, teacher, n_points=5, estimator=window)
    >>> result.alpha
    array([0.  , 0.25, 0.5 , 0.75, 1.  ])
    >>> result.relative_loss.round(2)
    array([0.  , 0.35, 1.42, 1.08, 1.39])
    """
    n_points = check_integer("n_points", n_points, minimum=2)
    margin = check_positive("margin", margin, zero=True)
    if n_points < 2 + 2 * margin:
        raise ValueError(
            f"n_points must be at least 2 + 2 * margin, got n_points={n_points} and "
            f"margin={margin}: the points would be further apart than the filters."
        )
    constant = bias_scaling_of(estimator, first, second)
    samples, geometry = _cut(X, convolution_of(estimator, first, second), constant)
    window = geometry.layout.window_shape
    start = one_filter("second", second, window, constant)
    filters = np.stack([one_filter("first", first, window, constant), start], axis=1)
    alpha = _grid(n_points, margin)
    line = filters @ np.stack([alpha, 1 - alpha])
    values = model_values(samples, geometry, np.column_stack([line, start]))
    labels = values[:, -1]
    model = _Model(start[np.newaxis], None, check_activation("relu"), "mean")
    if not np.any(labels > model.tolerance(samples, geometry)):
        raise ValueError(
            "second has the value zero on every sample of X, so the relative loss is "
            "undefined. Pass another filter, or exchange first and second."
        )
    return Interpolation(alpha, _relative_loss(values[:, :-1], labels))


def population_loss(
    coef: Filters,
    teacher: Filters,
    n_patches: int,
    *,
    estimator: HasConvolution | None = None,
    output_weights: ArrayLike | None = None,
    teacher_output_weights: ArrayLike | None = None,
) -> float:
    r"""Expected loss of a bank against a teacher, for independent standard normal patches.

    .. math::

        \frac12 E (f(W, Z) - f(W^*, Z))^2, \qquad
        f(W, Z) = s \sum_{j=1}^t v_j \sum_{i=1}^k \phi(w_j \cdot Z_i),

    in closed form, from the moments :math:`K(u, v) = E \phi(u \cdot z) \phi(v \cdot z)`
    of pairs of filters and :math:`\mu(u) = E \phi(u \cdot z)`:

    .. math::

        E f(W, Z) f(W^*, Z) = s^2 \sum_{j,l} v_j v^*_l
            \left[ k K(w_j, w^*_l) + k (k - 1) \mu(w_j) \mu(w^*_l) \right].

    Parameters
    ----------
    coef : array-like of shape ``(n_filters, *window)`` or fitted estimator
        The filters, in the shape of the window or flat. Of a fitted estimator they are
        `coef_`.
    teacher : array-like or fitted estimator
        The true filters, in the same form; their number may differ.
    n_patches : int
        Patches per sample, k.
    estimator : estimator, default=None
        Defines the `activation` and `pooling` of the bank, such as a
        :class:`~skconvfilter.ConvFilterBankRegressor`, fitted or not. Only "relu",
        "leaky_relu", "squared_relu" and "erf" have a closed form. If None, the first of
        `coef` and `teacher` that is a fitted estimator is used, or the ReLU and the sum
        over patches. In the formula, s is 1 for the sum and 1 / k for the mean.
    output_weights, teacher_output_weights : array-like of shape (n_filters,), default=None
        Output weights of the fitted and of the true filters, 1 or -1. If None, the
        `output_weights_` of a fitted estimator, or all 1. They are multiplied by the
        `output_scale_` of a fitted estimator.

    Returns
    -------
    loss : float
        At least 0. The rounding error is about 1e-16 times the mean square of the values.

    Raises
    ------
    TypeError, ValueError
        If a parameter is invalid, or if the activation has no closed form.

    See Also
    --------
    recovery : Measures of the difference between filters.

    Notes
    -----
    With the angle :math:`\theta` between u and v,

    .. math::

        K_{relu} &= \|u\| \|v\| (\sin\theta + (\pi - \theta) \cos\theta) / (2 \pi),
            & \mu_{relu} &= \|u\| / \sqrt{2 \pi}, \\
        K_{relu^2} &= \|u\|^2 \|v\|^2 (3 \sin\theta \cos\theta
            + (\pi - \theta) (1 + 2 \cos^2\theta)) / (2 \pi),
            & \mu_{relu^2} &= \|u\|^2 / 2, \\
        K_{erf} &= \tfrac2\pi \arcsin \frac{2 u \cdot v}
            {\sqrt{(1 + 2 \|u\|^2) (1 + 2 \|v\|^2)}},
            & \mu_{erf} &= 0.

    The leaky ReLU of slope a is :math:`a x + (1 - a) \mathrm{relu}(x)`, so that
    :math:`K = a\, u \cdot v + (1 - a)^2 K_{relu}`.

    References
    ----------
    K. Zhong, Z. Song, I. S. Dhillon, "Learning Non-overlapping Convolutional Neural
    Networks with Multiple Kernels", 2017, for the loss.

    Y. Cho, L. K. Saul, "Kernel Methods for Deep Learning", NIPS 2009, for the moments of
    the ReLU and its square; C. K. I. Williams, "Computing with Infinite Networks",
    NIPS 1996, for those of erf.

    Examples
    --------
    >>> import numpy as np
    >>> from skconvfilter import ConvFilterBankRegressor
    >>> from skconvfilter.diagnostics import population_loss
    >>> teacher = np.eye(2, 3)
    >>> population_loss(2 * teacher, teacher, n_patches=1)  # (1 + 1 / pi) / 2
    0.659...
    >>> bank = ConvFilterBankRegressor(2, activation="erf")
    >>> population_loss(teacher[::-1], teacher, n_patches=4, estimator=bank)
    0.0
    """
    for given in (coef, teacher):
        # What rounding leaves where there is none is no bias.
        if np.abs(bias_of(given)).max() > 1e-8 * np.abs(coef_of(given)).max():
            raise ValueError(
                "The population loss of filters with biases has no closed form. Fit with "
                "bias=False."
            )
    filters, true = _check_banks(coef, teacher, None, name="coef")
    n_patches = check_integer("n_patches", n_patches, minimum=1)
    activation, pooling = bank_model(estimator, coef, teacher)
    if activation.name not in _PAIR_MOMENTS:
        raise ValueError(
            f'activation="{activation.name}" has no closed form of the population loss; '
            f"those with one are {list(_PAIR_MOMENTS)}."
        )
    scale = pooling_scale(pooling, n_patches)
    own = bank_weights("output_weights", output_weights, coef, len(filters))
    others = bank_weights(
        "teacher_output_weights", teacher_output_weights, teacher, len(true)
    )
    # The difference of two banks is one bank.
    weights = np.concatenate([own, -others])
    K, means = _PAIR_MOMENTS[activation.name](activation, np.vstack([filters, true]))
    same_patch, two_patches = weights @ K @ weights, (weights @ means) ** 2
    power = n_patches * same_patch + n_patches * (n_patches - 1) * two_patches
    return max(0.0, float(scale**2 * power / 2))


class _Model(NamedTuple):
    """One filter, or a bank of filters, with what it makes of preactivations."""

    rows: FloatArray  # (n_filters, patch_dim)
    weights: FloatArray | None  # of a bank, with the output scale; None for one filter
    activation: Activation
    pooling: str

    def comparable_rows(self) -> FloatArray:
        """Rows that are equal where the filters are, output weights taken into account."""
        if self.weights is None:
            return self.rows
        v = np.sign(self.weights)
        # Odd about its mean: all even coefficients vanish.
        if self.activation.hermite(2, 1.0) == 0:
            return v[:, np.newaxis] * self.rows
        # Filters of either weight in columns of their own, orthogonal to the others.
        return np.hstack([(v == sign)[:, np.newaxis] * self.rows for sign in (1, -1)])

    def values(self, samples: FloatArray, geometry: PatchGeometry) -> FloatArray:
        """The model's values without intercept, (n_samples,)."""
        W = self.rows.T
        if self.weights is None:
            return model_values(samples, geometry, W)[:, 0]
        return bank_values(
            samples,
            geometry,
            W,
            self.activation,
            output_weights=self.weights,
            pooling=self.pooling,
        )

    def tolerance(self, samples: FloatArray, geometry: PatchGeometry) -> FloatArray:
        """The rounding error that the values may have, (n_samples,)."""
        largest = np.maximum(samples.max(axis=1), -samples.min(axis=1))
        largest = np.maximum(largest, abs(geometry.layout.constant))
        sizes = np.outer(largest, np.abs(self.rows).sum(axis=1))
        sizes = np.maximum(sizes, np.abs(self.activation.value(sizes)))
        if self.weights is not None:
            sizes *= np.maximum(np.abs(self.weights), 1)
        n_summed = 1 if self.pooling == "mean" else geometry.layout.n_patches
        return _ROUNDING * n_summed * sizes.sum(axis=1)


def _cut(
    X: ArrayLike, convolution: Convolution, constant: float
) -> tuple[FloatArray, PatchGeometry]:
    """Flat samples and their geometry, checked."""
    data = check_any_samples(X)
    check_range("X", data)
    return cut_into_patches(data, convolution, constant)


def _check_biases(value: ArrayLike | None, name: str = "bias") -> FloatArray | None:
    if value is None:
        return None
    biases = real_array(name, value).astype(np.float64)
    if not np.isfinite(biases).all():
        raise ValueError(f"{name} must be finite.")
    return biases


def _is_bank(learned: Filters, teacher: Filters, window: tuple[int, ...] | None) -> bool:
    """Whether there are banks: a fitted estimator says so, else the shape of `learned`."""
    for given in (learned, teacher):
        if hasattr(given, "coef_"):
            return np.ndim(given.coef_) > 1
    shape = real_array("learned", coef_of(learned)).shape
    return len(shape) > 1 and shape != window


def _check_filters(
    learned: Filters,
    teacher: Filters,
    window: tuple[int, ...] | None,
    constant: float,
    biases: tuple[FloatArray | None, FloatArray | None],
) -> list[FloatArray]:
    """Both filters, flat and of one length."""
    checked: list[FloatArray] = []
    named = (("learned", learned), ("teacher", teacher))
    for (name, given), bias in zip(named, biases, strict=True):
        bias = bias_of(given) if bias is None else bias
        if np.ndim(bias) != 0:
            raise ValueError(f"The bias of {name} must be one number, got {bias!r}.")
        w = real_array(name, coef_of(given))
        shape = window
        if shape is None:
            # Without samples the shape of the window plays no part.
            w = w.ravel()
            shape = (checked[0].size - (constant != 0),) if checked else w.shape
        checked.append(one_filter(name, w, shape, constant, float(bias)))
    return checked


def _check_banks(
    learned: Filters,
    teacher: Filters,
    window: tuple[int, ...] | None,
    constant: float = 0.0,
    biases: tuple[ArrayLike | None, ArrayLike | None] = (None, None),
    name: str = "learned",
) -> tuple[FloatArray, FloatArray]:
    """The filters of both as rows of one length."""
    rows = bank_rows(name, learned, window, constant, biases[0])
    true = bank_rows("teacher", teacher, window, constant, biases[1])
    if rows.shape[1] != true.shape[1]:
        raise ValueError(
            f"{name} and teacher must have filters of one length, got {rows.shape[1]} and "
            f"{true.shape[1]} entries."
        )
    return rows, true


def _compare(fitted: FloatArray, true: FloatArray) -> dict[str, Any]:
    """The measures that need no data, by name."""
    permutation = linear_sum_assignment(cdist(true, fitted, "sqeuclidean"))[1]
    matched = fitted[permutation]
    errors, norms = (np.linalg.norm(rows, axis=1) for rows in (matched - true, true))
    relative_errors = np.full(len(norms), np.nan)
    np.divide(errors, norms, out=relative_errors, where=norms > 0)
    total = np.linalg.norm(norms)
    angles = np.array([angles_to(w, v) for w, v in zip(true, matched, strict=True)])
    return {
        "permutation": permutation,
        "angles": angles,
        "angle": float(angles.max()),
        "relative_errors": relative_errors,
        "relative_error": float(np.linalg.norm(errors) / total) if total else np.nan,
    }


def _grid(n_points: int, margin: float) -> FloatArray:
    """Points from -margin to 1 + margin, 0 and 1 among them."""
    alpha = np.linspace(-margin, 1 + margin, n_points)
    nearest = [np.abs(alpha - end).argmin() for end in (0, 1)]
    alpha[nearest] = [0, 1]
    return alpha


def _relative_loss(values: FloatArray, labels: FloatArray) -> FloatArray:
    """Relative loss of every column of `values`."""
    errors = (values - labels[:, np.newaxis]) / labels.mean()
    return np.einsum("nr,nr->r", errors, errors) / len(errors)


def _error_on_data(
    samples: FloatArray, geometry: PatchGeometry, error: FloatArray, true: FloatArray
) -> float:
    """Relative error in the directions that the patches have."""
    moment = _second_moment(samples, geometry)
    # Rows of a bank may hold several vectors of this length.
    error, true = (rows.reshape(-1, len(moment)) for rows in (error, true))
    strengths, directions = np.linalg.eigh(moment)
    threshold = _ROUNDING * len(moment) * strengths[-1]
    if np.sum((true @ moment) * true) <= threshold * np.sum(true**2):
        return np.nan
    seen = directions[:, strengths > threshold]
    return float(np.linalg.norm(error @ seen) / np.linalg.norm(true @ seen))


def _second_moment(samples: FloatArray, geometry: PatchGeometry) -> FloatArray:
    """Sum of ``Z Z'`` over all patches."""
    patch_dim = geometry.layout.patch_dim
    moment = np.zeros((patch_dim, patch_dim))
    for patches in _patch_chunks(samples, geometry):
        moment += patches.T @ patches
    return moment


def _patch_chunks(samples: FloatArray, geometry: PatchGeometry) -> Iterator[FloatArray]:
    """Yield all patches, some at a time, as rows of an array."""
    layout = geometry.layout
    row_elements = layout.n_patches * layout.patch_dim
    n_rows = max(1, _CHUNK_ELEMENTS // row_elements)
    # One long sample may have as many patches as many short ones.
    n_steps = max(1, _CHUNK_ELEMENTS * layout.grid_shape[0] // row_elements)
    for start in range(0, len(samples), n_rows):
        block = geometry.pad(samples[start : start + n_rows])
        windows = patch_windows(block, layout)
        for step in range(0, layout.grid_shape[0], n_steps):
            chunk = windows[:, step : step + n_steps]
            flat = np.ascontiguousarray(chunk).reshape(-1, layout.window_size)
            yield append_constant(flat, layout)


def _norms_and_angles(U: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Norms of the rows and angles of all pairs, 0 with a zero row."""
    angles = np.stack([angles_to(u, U) for u in U])
    return np.linalg.norm(U, axis=1), np.nan_to_num(angles)


def _relu_moments(activation: Activation, U: FloatArray) -> tuple[FloatArray, FloatArray]:
    """E phi(u . z) phi(v . z) and E phi(u . z) for all pairs of rows, of a leaky ReLU."""
    slope = -float(activation.value(np.array(-1.0)))
    norms, angles = _norms_and_angles(U)
    cosines = np.cos(angles)
    relu = (np.sin(angles) + (np.pi - angles) * cosines) / (2 * np.pi)
    K = np.outer(norms, norms) * (slope * cosines + (1 - slope) ** 2 * relu)
    return K, (1 - slope) * norms / np.sqrt(2 * np.pi)


def _squared_relu_moments(
    activation: Activation, U: FloatArray
) -> tuple[FloatArray, FloatArray]:
    norms, angles = _norms_and_angles(U)
    powers, cosines = norms**2, np.cos(angles)
    shape = 3 * np.sin(angles) * cosines + (np.pi - angles) * (1 + 2 * cosines**2)
    return np.outer(powers, powers) * shape / (2 * np.pi), powers / 2


def _erf_moments(activation: Activation, U: FloatArray) -> tuple[FloatArray, FloatArray]:
    norms, angles = _norms_and_angles(U)
    powers, products = norms**2, np.outer(norms, norms)
    # As an arc tangent, which keeps its precision for long filters of one direction.
    sine = 2 * products * np.cos(angles)
    cosine = np.sqrt(
        1 + 2 * np.add.outer(powers, powers) + (2 * products * np.sin(angles)) ** 2
    )
    return 2 / np.pi * np.arctan2(sine, cosine), np.zeros(len(U))


_PAIR_MOMENTS: dict[
    str, Callable[[Activation, FloatArray], tuple[FloatArray, FloatArray]]
] = {
    "relu": _relu_moments,
    "leaky_relu": _relu_moments,
    "squared_relu": _squared_relu_moments,
    "erf": _erf_moments,
}
