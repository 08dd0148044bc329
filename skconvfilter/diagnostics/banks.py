"""A learned bank of filters beside the true one: errors, angles, the expected loss."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from skconvfilter.model.angles import angles_to
from skconvfilter.model.bank import (
    check_activation,
    check_bank,
    check_output_weights,
    pooling_scale,
)
from skconvfilter.model.validation import check_integer


@dataclass(frozen=True, eq=False)
class BankRecovery:
    """A learned bank beside the true one; what :func:`bank_recovery` returns.

    Attributes
    ----------
    permutation : ndarray of shape (n_filters,), int
        ``coef[permutation]`` has the learned filters in the order of the teacher's.
    relative_error : float
        Norm of all differences over the norm of the teacher; nan for a zero teacher.
    relative_errors : ndarray of shape (n_filters,), float64
        The same for every filter of the teacher; nan for a zero one.
    angles : ndarray of shape (n_filters,), float64
        Angle in radians, from 0 to pi, between every filter of the teacher and its match;
        nan if one is zero.
    """

    permutation: np.ndarray
    relative_error: float
    relative_errors: np.ndarray
    angles: np.ndarray


def match_filters(
    coef,
    teacher,
    *,
    output_weights=None,
    teacher_output_weights=None,
    activation="relu",
):
    r"""Order of learned filters in which they are nearest to the true ones.

    The filters of a bank have no order. This is the permutation :math:`\pi` with the least

    .. math::

        \sum_{j=1}^t \|w_{\pi(j)} - w^*_j\|^2,

    found by the Hungarian algorithm.

    Parameters
    ----------
    coef : array-like of shape ``(n_filters, *window)`` or fitted estimator
        The learned filters, in the shape of the window or flat. Of an estimator they are
        ``coef_``.
    teacher : array-like or fitted estimator
        The true filters, likewise.
    output_weights, teacher_output_weights : array-like of shape (n_filters,), default=None
        Output weights of the learned and of the true filters, 1 or -1. None: all 1.
    activation : str, default="relu"
        The activation of the bank; see Notes. Without output weights it plays no part.

    Returns
    -------
    permutation : ndarray of shape (n_filters,), int
        ``coef[permutation]`` has the learned filters in the order of the teacher's.

    Raises
    ------
    TypeError, ValueError
        If a parameter is wrong: banks of different size or not finite, output weights
        that are not 1 or -1.

    See Also
    --------
    bank_recovery : Errors and angles of the filters matched.

    Notes
    -----
    No sign of a filter is free if all output weights are 1: an odd activation tells w from
    -w, too. With output weights it is: tanh and erf give -w with the weight -v the same
    values as w with v, and sigmoid the same up to a constant, which an intercept takes.
    For these three, :math:`v_j w_j` is matched. For the others a filter with the wrong
    output weight is wrong, however near: it counts as orthogonal to the true one.

    References
    ----------
    K. Zhong, Z. Song, I. S. Dhillon, "Learning Non-overlapping Convolutional Neural
    Networks with Multiple Kernels", 2017, recover filters up to their order.

    Examples
    --------
    >>> import numpy as np
    >>> from skconvfilter.diagnostics import match_filters
    >>> teacher = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])
    >>> match_filters(teacher[[2, 0, 1]] + 0.1, teacher)
    array([1, 2, 0])
    """
    return _match(
        *_comparable(coef, teacher, output_weights, teacher_output_weights, activation)
    )


def bank_recovery(
    coef,
    teacher,
    *,
    output_weights=None,
    teacher_output_weights=None,
    activation="relu",
):
    r"""Compare a learned bank of filters with the true one.

    With the learned filters in the order :math:`\pi` of :func:`match_filters`, these are

    .. math::

        \frac{\|W_\pi - W^*\|_F}{\|W^*\|_F}, \qquad
        \frac{\|w_{\pi(j)} - w^*_j\|}{\|w^*_j\|}, \qquad
        \angle(w_{\pi(j)}, w^*_j).

    Parameters
    ----------
    coef : array-like of shape ``(n_filters, *window)`` or fitted estimator
        The learned filters, in the shape of the window or flat. Of an estimator they are
        ``coef_``.
    teacher : array-like or fitted estimator
        The true filters, likewise.
    output_weights, teacher_output_weights : array-like of shape (n_filters,), default=None
        Output weights of the learned and of the true filters, 1 or -1. None: all 1.
    activation : str, default="relu"
        As for :func:`match_filters`, whose Notes say what it does with output weights.

    Returns
    -------
    result : BankRecovery
        With `permutation`, `relative_error`, `relative_errors` and `angles`.

    Raises
    ------
    TypeError, ValueError
        As for :func:`match_filters`.

    See Also
    --------
    match_filters : The order alone.
    population_loss : What the error costs.
    recovery : The same for a single filter, and on data.

    References
    ----------
    K. Zhong, Z. Song, I. S. Dhillon, "Learning Non-overlapping Convolutional Neural
    Networks with Multiple Kernels", 2017, measure recovery by the Frobenius norm.

    Examples
    --------
    >>> import numpy as np
    >>> from skconvfilter.diagnostics import bank_recovery
    >>> teacher = np.array([[3.0, 0.0], [0.0, 4.0]])
    >>> result = bank_recovery([[0.0, 4.0], [3.0, 0.5]], teacher)
    >>> result.permutation, result.relative_error
    (array([1, 0]), 0.1)
    >>> np.degrees(result.angles).round(1)
    array([9.5, 0. ])
    """
    learned, true = _comparable(
        coef, teacher, output_weights, teacher_output_weights, activation
    )
    permutation = _match(learned, true)
    matched = learned[permutation]
    errors, norms = (np.linalg.norm(rows, axis=1) for rows in (matched - true, true))
    relative_errors = np.full(len(norms), np.nan)
    np.divide(errors, norms, out=relative_errors, where=norms > 0)
    total = np.linalg.norm(norms)
    return BankRecovery(
        permutation=permutation,
        relative_error=float(np.linalg.norm(errors) / total) if total else np.nan,
        relative_errors=relative_errors,
        angles=np.array([angles_to(w, v) for w, v in zip(true, matched, strict=True)]),
    )


def population_loss(
    coef,
    teacher,
    n_patches,
    activation="relu",
    *,
    pooling="sum",
    output_weights=None,
    teacher_output_weights=None,
):
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
        The filters, in the shape of the window or flat. Of an estimator they are
        ``coef_``.
    teacher : array-like or fitted estimator
        The true filters, likewise; there may be more or fewer of them.
    n_patches : int
        Patches per sample, k.
    activation : {"relu", "leaky_relu", "squared_relu", "erf"}, default="relu"
        The others have no closed form.
    pooling : {"sum", "mean"}, default="sum"
        With s = 1 or s = 1 / k.
    output_weights, teacher_output_weights : array-like of shape (n_filters,), default=None
        Output weights of the filters and of the teacher's, 1 or -1. None: all 1.

    Returns
    -------
    loss : float
        At least 0. Rounding adds about 1e-16 times the mean square of the values.

    Raises
    ------
    TypeError, ValueError
        If a parameter is wrong; if the activation has no closed form.

    See Also
    --------
    bank_recovery : How far the filters are apart.

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
    >>> from skconvfilter.diagnostics import population_loss
    >>> teacher = np.eye(2, 3)
    >>> population_loss(2 * teacher, teacher, n_patches=1)  # (1 + 1 / pi) / 2
    0.659...
    >>> population_loss(teacher[::-1], teacher, n_patches=4, activation="erf")
    0.0
    """
    filters, true = _check_pair(coef, teacher)
    n_patches = check_integer("n_patches", n_patches, minimum=1)
    activation = check_activation(activation)
    if activation.name not in _PAIR_MOMENTS:
        raise ValueError(
            f'activation="{activation.name}" has no closed form of the population loss; '
            f"those with one are {list(_PAIR_MOMENTS)}."
        )
    scale = pooling_scale(pooling, n_patches)
    weights = np.concatenate(
        [
            check_output_weights(output_weights, len(filters)),
            -check_output_weights(
                teacher_output_weights, len(true), "teacher_output_weights"
            ),
        ]
    )
    # The difference of two banks is one bank.
    K, means = _PAIR_MOMENTS[activation.name](activation, np.vstack([filters, true]))
    same_patch, two_patches = weights @ K @ weights, (weights @ means) ** 2
    power = n_patches * same_patch + n_patches * (n_patches - 1) * two_patches
    return max(0.0, float(scale**2 * power / 2))


def _check_pair(coef, teacher):
    """Both banks as float64 arrays (n_filters, patch_dim)."""
    filters = check_bank("coef", getattr(coef, "coef_", coef))
    true = check_bank("teacher", getattr(teacher, "coef_", teacher))
    if filters.shape[1] != true.shape[1]:
        raise ValueError(
            f"coef and teacher must have filters of one length, got {filters.shape[1]} and "
            f"{true.shape[1]} entries."
        )
    return filters, true


def _comparable(coef, teacher, output_weights, teacher_output_weights, activation):
    """Both banks on one scale, as rows that tell all that the output weights say."""
    filters, true = _check_pair(coef, teacher)
    activation = check_activation(activation)
    if len(filters) != len(true):
        raise ValueError(
            f"coef and teacher must have as many filters, got {len(filters)} and "
            f"{len(true)}."
        )
    v = check_output_weights(output_weights, len(filters))[:, np.newaxis]
    v_true = check_output_weights(
        teacher_output_weights, len(true), "teacher_output_weights"
    )[:, np.newaxis]
    # No result depends on the common scale; without it no square over- or underflows.
    scale = max(np.abs(filters).max(), np.abs(true).max()) or 1.0
    filters, true = filters / scale, true / scale
    # Odd about their mean: all even coefficients vanish.
    if activation.hermite(2, 1.0) == 0:
        return v * filters, v_true * true
    return (
        np.hstack([(v == sign) * filters for sign in (1, -1)]),
        np.hstack([(v_true == sign) * true for sign in (1, -1)]),
    )


def _match(learned, true):
    """Which learned filter is matched with each true one."""
    return linear_sum_assignment(cdist(true, learned, "sqeuclidean"))[1]


def _norms_and_angles(U):
    """Norms of the rows and angles of all pairs, 0 with a zero row."""
    angles = np.stack([angles_to(u, U) for u in U])
    return np.linalg.norm(U, axis=1), np.nan_to_num(angles)


def _relu_moments(activation, U):
    """E phi(u . z) phi(v . z) and E phi(u . z) for all pairs of rows, of a leaky ReLU."""
    slope = -float(activation.value(np.array(-1.0)))
    norms, angles = _norms_and_angles(U)
    cosines = np.cos(angles)
    relu = (np.sin(angles) + (np.pi - angles) * cosines) / (2 * np.pi)
    K = np.outer(norms, norms) * (slope * cosines + (1 - slope) ** 2 * relu)
    return K, (1 - slope) * norms / np.sqrt(2 * np.pi)


def _squared_relu_moments(activation, U):
    norms, angles = _norms_and_angles(U)
    powers, cosines = norms**2, np.cos(angles)
    shape = 3 * np.sin(angles) * cosines + (np.pi - angles) * (1 + 2 * cosines**2)
    return np.outer(powers, powers) * shape / (2 * np.pi), powers / 2


def _erf_moments(activation, U):
    norms, angles = _norms_and_angles(U)
    powers, products = norms**2, np.outer(norms, norms)
    # As an arc tangent, which keeps its precision for long filters of one direction.
    sine = 2 * products * np.cos(angles)
    cosine = np.sqrt(
        1 + 2 * np.add.outer(powers, powers) + (2 * products * np.sin(angles)) ** 2
    )
    return 2 / np.pi * np.arctan2(sine, cosine), np.zeros(len(U))


_PAIR_MOMENTS = {
    "relu": _relu_moments,
    "leaky_relu": _relu_moments,
    "squared_relu": _squared_relu_moments,
    "erf": _erf_moments,
}
