"""Least squares on Hermite moments: the loss of Gaussian patches, cut off at some order."""

import math

import numpy as np

from skconvfilter.initializers.decomposition import lengths_short_of_a_step
from skconvfilter.initializers.moments import contract
from skconvfilter.model.activations import hermite_slope

_FIRST_DAMPING, _MIN_DAMPING, _MAX_DAMPING = 0.1, 1e-12, 1e6
# A step that lowers the misfit by a smaller share is the last; so is one of these.
_MIN_GAIN, _MAX_STEPS = 1e-4, 50


def fit_moments(activation, moments, bank):
    r"""The bank nearby whose moments come closest to those given; signs are kept.

    .. math::

        \min_W \sum_m \frac{1}{m!} \Big\| \sum_j v_j c_m(\|w_j\|) \bar w_j^{\otimes m}
            - M_m \Big\|_F^2

    Over all orders, this is the loss for independent standard normal patches up to a
    factor and what the mean of the targets adds. Errors of a moment have a variance of m!,
    too. The steps are Levenberg-Marquardt's.

    Parameters
    ----------
    activation : Activation
    moments : dict of ndarray
        Moments by order, packed.
    bank : Bank
        Where to start.

    Returns
    -------
    bank : Bank
    value : float
        Half the sum of squares.
    """

    def evaluate(W):
        return moment_misfit(activation, moments, bank._replace(filters=W))

    W, damping = bank.filters, _FIRST_DAMPING
    value, gradient, hessian = evaluate(W)
    for _ in range(_MAX_STEPS):
        curvature = np.trace(hessian) / len(hessian)
        if not curvature > 0:  # filters so long that their activations are steps
            break
        shift = damping * curvature * np.eye(len(hessian))
        step = np.linalg.solve(hessian + shift, -gradient).reshape(W.shape[::-1]).T
        trial = evaluate(W + step)
        if trial[0] < value:
            gain = value - trial[0]
            W, damping = W + step, max(damping / 10, _MIN_DAMPING)
            value, gradient, hessian = trial
            if gain < _MIN_GAIN * value:
                break
        else:
            damping *= 5
            if damping > _MAX_DAMPING:
                break
    if activation.homogeneity is None:
        longest = lengths_short_of_a_step(activation)[-1]
        W = W * np.minimum(1, longest / np.linalg.norm(W, axis=0))
    return bank._replace(filters=W), value


def moment_misfit(activation, moments, bank):
    """Half of what :func:`fit_moments` minimises, with its derivatives.

    Returns
    -------
    value : float
    gradient : ndarray of shape (n_filters d,)
        Filter by filter.
    hessian : ndarray of shape (n_filters d, n_filters d)
        Gauss-Newton matrix.
    """
    d, n = bank.filters.shape
    lengths = bank.lengths
    U = bank.filters / lengths
    gram = U.T @ U
    cosines = gram[:, np.newaxis, :, np.newaxis]
    projections = U.T[:, :, np.newaxis] * U.T[:, np.newaxis]
    value, gradient, hessian = 0.0, np.zeros((n, d)), np.zeros((n, d, n, d))
    for order, moment in moments.items():
        share = 1 / math.factorial(order - 1)
        heights = bank.signs * activation.hermite(order, lengths)
        slopes = bank.signs * hermite_slope(activation, order, lengths)
        contracted = contract(moment, order, U)
        products = heights @ gram**order @ heights - 2 * np.sum(U * contracted @ heights)
        value += share / order * (products + np.sum(moment**2))
        # A step dw_j moves h_j u_j^m by the symmetric m u_j^(m - 1) L_j dw_j.
        across, along = heights / lengths, slopes / order
        L = (along - across)[:, np.newaxis, np.newaxis] * projections
        L += across[:, np.newaxis, np.newaxis] * np.eye(d)
        errors = (U * heights) @ gram ** (order - 1) - contracted
        gradient += share * (L @ errors.T[:, :, np.newaxis])[:, :, 0]
        LL = (L[:, np.newaxis] @ L).transpose(0, 2, 1, 3)
        hessian += share * cosines ** (order - 1) * LL
        if order > 1:
            LU = L @ U
            crossed = LU[..., np.newaxis] * LU.transpose(2, 0, 1)[:, np.newaxis]
            hessian += share * (order - 1) * cosines ** (order - 2) * crossed
    return value / 2, gradient.ravel(), hessian.reshape(n * d, n * d)
