"""How far a learned filter is from the true one, and whether the data can tell."""

from dataclasses import dataclass

import numpy as np

from skconvfilter.kernels.reference import patch_windows
from skconvfilter.model.angles import angles_to
from skconvfilter.model.forward import model_values
from skconvfilter.model.samples import check_any_samples, cut_into_patches
from skconvfilter.model.squared_error import ROUNDING_UNITS
from skconvfilter.model.validation import check_filter, check_integer, check_positive

# What rounding may make of a quantity, relative to the sizes it is computed from.
_ROUNDING = ROUNDING_UNITS * float(np.finfo(np.float64).eps)

# Elements of the patches that are materialised at a time.
_CHUNK_ELEMENTS = 2**17


@dataclass(frozen=True)
class Recovery:
    """A learned filter beside the true one; what :func:`recovery` returns.

    Attributes
    ----------
    angle : float
        Angle between the two in radians, from 0 to pi, to about 1e-15; nan if one is
        zero.
    relative_error : float
        Norm of the difference over the norm of the teacher; nan for a zero teacher.
    relative_error_on_data : float
        The same for the projections on the subspace that the patches span; nan if the
        patches do not respond to the teacher.
    relative_loss : float
        Mean squared difference of the two models' values over the squared mean of the
        teacher's; nan if the teacher's are all zero up to rounding.
    indistinguishable : bool
        Whether the two models' values agree on every sample up to rounding.
    """

    angle: float
    relative_error: float
    relative_error_on_data: float
    relative_loss: float
    indistinguishable: bool


@dataclass(frozen=True, eq=False)
class Interpolation:
    """Loss along the line through two filters; what :func:`interpolation` returns.

    Attributes
    ----------
    alpha : ndarray of shape (n_points,), float64
        Weight of the first filter: 0 is the second one, 1 the first.
    relative_loss : ndarray of shape (n_points,), float64
        Relative loss there, against the values of the second filter.
    """

    alpha: np.ndarray
    relative_loss: np.ndarray


def recovery(
    X,
    learned,
    teacher,
    *,
    kernel_size=None,
    input_shape=None,
    stride=1,
    padding=0,
    dilation=1,
):
    r"""Compare a learned filter with the true one, on data.

    With :math:`f(w, Z) = \frac{1}{k} \sum_{i=1}^k \mathrm{relu}(w \cdot Z_i)`, the
    learned filter :math:`w`, the teacher :math:`w^*` and the projection :math:`P` on the
    span of all patches of all samples, these are

    .. math::

        \angle(w, w^*), \qquad
        \frac{\|w - w^*\|}{\|w^*\|}, \qquad
        \frac{\|P (w - w^*)\|}{\|P w^*\|}, \qquad
        \frac{\frac{1}{n} \sum_n (f(w, Z_n) - f(w^*, Z_n))^2}
             {\left( \frac{1}{n} \sum_n f(w^*, Z_n) \right)^2},

    and whether :math:`f(w, Z_n) = f(w^*, Z_n)` for all :math:`n`. No method can learn the
    part of a filter that :math:`P` removes. A small loss beside a large error on the data
    says that the data hardly tell the two filters apart.

    Parameters
    ----------
    X : array-like of shape ``(n_samples, ...)``
        Samples, in any of the forms that the estimators accept: flat samples, patches as
        given, or a window view.
    learned : array-like or fitted estimator
        The filter, in the shape of the window or flat. Of an estimator it is ``coef_``;
        its intercept and its sign are left out.
    teacher : array-like or fitted estimator
        The true filter, likewise.
    kernel_size : int or tuple of int, default=None
        The convolution window, for flat samples only. None: a flat sample is one patch.
    input_shape : int or tuple of int, default=None
        Shape behind a flat sample, channels last. None: a signal.
    stride, padding, dilation : int or tuple of int, default=1, 0, 1
        How the window moves, as in ``torch.nn.Conv2d``.

    Returns
    -------
    result : Recovery
        With `angle`, `relative_error`, `relative_error_on_data`, `relative_loss`, each
        nan where it has no meaning, and `indistinguishable`.

    Raises
    ------
    TypeError, ValueError
        If a parameter is wrong: a filter that is not of the window's shape or not
        finite, an estimator without ``coef_``, samples that are not finite.

    See Also
    --------
    interpolation : The loss between the two filters.
    bank_recovery : The same for a bank of filters, without data.

    Notes
    -----
    All is computed in float64, with :math:`\epsilon` its rounding unit 2.2e-16.

    The span of the patches is that of the eigenvectors of their second moment
    :math:`M = \sum_{n,i} Z_{n,i} Z_{n,i}^\top` with eigenvalues above
    :math:`16 p \epsilon \lambda_{\max}(M)`. A direction in which patches are smaller than
    :math:`\sqrt{16 p \epsilon}` times those in the main one, 3e-7 for p = 25, is taken as
    not seen. The patches do not respond to the teacher if
    :math:`{w^*}^\top M w^* \le 16 p \epsilon \lambda_{\max}(M) \|w^*\|^2`. This takes
    time :math:`O(n k p^2 + p^3)` and memory :math:`O(p^2)`: the patches are made some at
    a time.

    Values are equal up to rounding if they differ by at most
    :math:`16 \epsilon \max(\|w\|_1, \|w^*\|_1)` times the largest entry of the sample,
    and those of the teacher are zero if they are at most
    :math:`16 \epsilon \|w^*\|_1` times that entry.

    References
    ----------
    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    equation (1), and section 4 for the relative loss.

    Examples
    --------
    >>> from skconvfilter import ConvReLUFilterRegressor
    >>> from skconvfilter.datasets import make_filter_regression
    >>> from skconvfilter.diagnostics import recovery
    >>> X, y, teacher = make_filter_regression(
    ...     200, kernel_size=3, return_teacher=True, random_state=0)
    >>> model = ConvReLUFilterRegressor(kernel_size=3, random_state=0).fit(X, y)
    >>> result = recovery(X, model, teacher, kernel_size=3)
    >>> result.angle < 1e-12, result.relative_error < 1e-12
    (True, True)

    What a filter makes of an entry that is zero in all patches, no data can tell.

    >>> X[:, 1] = 0
    >>> result = recovery(X[:, :3], [1.0, 8.0, 2.0], [1.0, 6.0, 2.0])
    >>> round(result.relative_error, 2), result.relative_error_on_data < 1e-12
    (0.31, True)
    >>> result.indistinguishable
    True
    """
    convolution = {
        "kernel_size": kernel_size,
        "input_shape": input_shape,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }
    samples, geometry, filters = _check(
        X, {"learned": learned, "teacher": teacher}, convolution
    )
    w, true = filters.T
    error, norm = np.linalg.norm(w - true), np.linalg.norm(true)
    values = model_values(samples, geometry, filters)
    rounding = _value_rounding(samples, filters)
    agree = np.abs(values[:, 0] - values[:, 1]) <= rounding.max(axis=1)
    loss = np.nan
    if np.any(values[:, 1] > rounding[:, 1]):
        loss = _relative_loss(values[:, :1], values[:, 1])[0]
    moment = _second_moment(samples, geometry)
    return Recovery(
        angle=float(angles_to(true, w)),
        relative_error=float(error / norm) if norm else np.nan,
        relative_error_on_data=_error_on_data(moment, w - true, true),
        relative_loss=float(loss),
        indistinguishable=bool(agree.all()),
    )


def interpolation(
    X,
    first,
    second,
    *,
    n_points=51,
    margin=0.0,
    kernel_size=None,
    input_shape=None,
    stride=1,
    padding=0,
    dilation=1,
):
    r"""Relative loss on the line through two filters, such as a learned and the true one.

    .. math::

        \frac{\frac{1}{n} \sum_n
              (f(\alpha w_1 + (1 - \alpha) w_2, Z_n) - f(w_2, Z_n))^2}
             {\left( \frac{1}{n} \sum_n f(w_2, Z_n) \right)^2},
        \qquad f(w, Z) = \frac{1}{k} \sum_{i=1}^k \mathrm{relu}(w \cdot Z_i),

    for :math:`\alpha` in :math:`[-m, 1 + m]`: the second filter is the teacher. A loss
    that is low all along says that the two lie in one valley; a hump hints that the first
    is another local minimum.

    Parameters
    ----------
    X : array-like of shape ``(n_samples, ...)``
        Samples, in any of the forms that the estimators accept: flat samples, patches as
        given, or a window view.
    first, second : array-like or fitted estimator
        The filters, in the shape of the window or flat. Of an estimator it is ``coef_``;
        its intercept and its sign are left out.
    n_points : int, default=51
        Number of points, at least 2 and at least ``2 + 2 * margin``. They are evenly
        spaced, but the two that are nearest to the filters are moved onto them.
    margin : float, default=0.0
        How far the line goes on beyond both filters, m, in units of their distance.
    kernel_size : int or tuple of int, default=None
        The convolution window, for flat samples only. None: a flat sample is one patch.
    input_shape : int or tuple of int, default=None
        Shape behind a flat sample, channels last. None: a signal.
    stride, padding, dilation : int or tuple of int, default=1, 0, 1
        How the window moves, as in ``torch.nn.Conv2d``.

    Returns
    -------
    result : Interpolation
        With the arrays `alpha` and `relative_loss` of shape (n_points,), float64.

    Raises
    ------
    TypeError, ValueError
        If a parameter is wrong; if the values of `second` are all zero up to rounding,
        as for :func:`recovery`: the relative loss has no meaning then.

    See Also
    --------
    recovery : Compare two filters in numbers.
    skconvfilter.plotting.InterpolationDisplay : Draw the loss.

    Notes
    -----
    All points are evaluated at once, and take memory for n_samples times n_points
    numbers. The loss at ``alpha=0`` is 0, and that at ``alpha=1`` is the `relative_loss`
    of :func:`recovery`.

    References
    ----------
    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    section 4 and Figure 5.

    Examples
    --------
    >>> from skconvfilter.datasets import make_filter_regression
    >>> from skconvfilter.diagnostics import interpolation
    >>> X, _, teacher = make_filter_regression(
    ...     200, kernel_size=3, return_teacher=True, random_state=0)
    >>> result = interpolation(X, -teacher, teacher, n_points=5, kernel_size=3)
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
    convolution = {
        "kernel_size": kernel_size,
        "input_shape": input_shape,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }
    samples, geometry, filters = _check(X, {"first": first, "second": second}, convolution)
    alpha = _grid(n_points, margin)
    line = filters @ np.stack([alpha, 1 - alpha])
    values = model_values(samples, geometry, np.column_stack([line, filters[:, 1]]))
    labels = values[:, -1]
    if not np.any(labels > _value_rounding(samples, filters)[:, 1]):
        raise ValueError(
            "second must respond to X: its values are zero on every sample, so no loss "
            "is relative to them."
        )
    return Interpolation(alpha, _relative_loss(values[:, :-1], labels))


def _check(X, filters, convolution):
    """Flat samples, their geometry, and the filters as columns of one scale."""
    samples, geometry = cut_into_patches(check_any_samples(X), convolution)
    window = geometry.layout.window_shape
    columns = [
        check_filter(name, getattr(value, "coef_", value), window).ravel()
        for name, value in filters.items()
    ]
    W = np.stack(columns, axis=1)
    # No result depends on the common scale; without it no square over- or underflows.
    return samples, geometry, W / (np.abs(W).max() or 1.0)


def _grid(n_points, margin):
    """Points from -margin to 1 + margin, 0 and 1 among them."""
    alpha = np.linspace(-margin, 1 + margin, n_points)
    nearest = [np.abs(alpha - end).argmin() for end in (0, 1)]
    alpha[nearest] = [0, 1]
    return alpha


def _relative_loss(values, labels):
    """Relative loss of every column of `values`, infinite beside next to nothing."""
    errors = values - labels[:, np.newaxis]
    with np.errstate(over="ignore"):
        errors /= labels.mean()
        return np.einsum("nr,nr->r", errors, errors) / len(errors)


def _value_rounding(samples, filters):
    """What rounding may make of the models' values, shape (n_samples, n_filters)."""
    largest = np.maximum(samples.max(axis=1), -samples.min(axis=1))
    return _ROUNDING * np.outer(largest, np.abs(filters).sum(axis=0))


def _error_on_data(moment, error, teacher):
    """Relative error in the directions that the patches with this second moment have."""
    strengths, directions = np.linalg.eigh(moment)
    threshold = _ROUNDING * len(moment) * strengths[-1]
    if teacher @ moment @ teacher <= threshold * (teacher @ teacher):
        return np.nan
    seen = directions[:, strengths > threshold]
    return float(np.linalg.norm(error @ seen) / np.linalg.norm(teacher @ seen))


def _second_moment(samples, geometry):
    """Sum of ``Z Z'`` over all patches, relative to their largest entry squared."""
    patch_dim = geometry.layout.patch_dim
    scale = max(samples.max(), -samples.min()) or 1.0
    moment = np.zeros((patch_dim, patch_dim))
    for patches in _patch_chunks(samples, geometry):
        patches /= scale
        moment += patches.T @ patches
    return moment


def _patch_chunks(samples, geometry):
    """Yield all patches, some at a time, as rows of an array that may be written to."""
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
            yield np.array(chunk, order="C").reshape(-1, layout.patch_dim)
