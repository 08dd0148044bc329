"""A bank of filters from its Hermite moments.

First directions, then lengths and signs; then all of it by least squares on the moments.
"""

import math
from operator import itemgetter

import numpy as np

from skconvfilter.initializers.moments import Bank, contract, pack, unpack
from skconvfilter.model.activations import Activation, hermite_slope
from skconvfilter.model.squared_error import Array

# Changes of coordinates, and the least eigenvalue that one of them divides by.
_MAX_CHANGES, _MIN_EIGENVALUE = 30, 0.05
# Sweeps of plane rotations, and the angle below which there is nothing to rotate.
_MAX_SWEEPS, _SMALL_ANGLE = 50, 1e-8
# Signs that are tried in all combinations, and combinations that are kept. The closest is
# not always the right one where filters are nearly dependent.
_MAX_FREE_SIGNS, _MAX_CHOICES = 12, 4
# The shortest filter, relative to the longest, where the activation has no scale.
_MIN_LENGTH = 0.05
# Where it has one, lengths to try; and the share of a step's linear coefficient from which
# on the activation is as good as a step, so that data hardly tell lengths apart.
_LENGTHS, _STEP_SHARE = np.geomspace(0.02, 200, 1000), 0.97
# Output scales to try, relative to the least with which a step has the largest linear
# coefficient that is wanted.
_SCALES = np.geomspace(1, 100, 100)
# Keeps least squares regular where two directions have become one.
_RIDGE = 1e-9
# Damping of the least-squares fit, relative to the mean curvature.
_FIRST_DAMPING, _MIN_DAMPING, _MAX_DAMPING = 0.1, 1e-12, 1e6
# A step that lowers the misfit by a smaller share is the last; so is one of these.
_MIN_GAIN, _MAX_STEPS = 1e-4, 50


def banks_along(
    activation: Activation, U: Array, moments: dict[int, Array], *, signed: bool
) -> list[Bank]:
    r"""Banks along given directions whose moments come close to those given.

    A filter of length s that points along or against its direction u, t = 1 or -1, and has
    the output sign v adds :math:`v t^m c_m(s) u^{\otimes m}` to the moment of order m. So
    even orders tell v, order 3 tells v t, and all of them s. Where there is no order 3, t
    follows from the moment of order 1 alone.

    Parameters
    ----------
    activation : Activation
    U : ndarray of shape (d, n_filters)
        Unit columns, of any sign.
    moments : dict of ndarray
        The first, and moments of higher orders at which the activation's coefficients do
        not vanish.
    signed : bool
        Whether output signs are unknown. Otherwise, and where no even order distinguishes
        them from the sign of a filter, they are 1.

    Returns
    -------
    banks : list of Bank
        The closest first. There are several where the signs of the filters show in the
        first moment only. Empty if no positive length fits the moments.
    """
    coefficients = {m: _coefficients(moment, m, U) for m, moment in moments.items()}
    output_signs = np.ones(U.shape[1])
    if signed:
        output_signs = _signs_of(activation, coefficients, [2, 4])
    turns = output_signs * _signs_of(activation, coefficients, [3])
    wanted = {m: output_signs * turns**m * c for m, c in coefficients.items()}
    scale = 1.0
    if activation.homogeneity is None:
        scale, lengths = _fitting_scale_and_lengths(activation, wanted)
    else:
        lengths = _fitting_lengths(activation, wanted)
    if not lengths.any():
        return []
    if 3 in moments:
        choices = turns[np.newaxis]
    else:
        columns = U * output_signs * activation.hermite(1, lengths)
        choices = fitting_signs(columns, moments[1])
    return [Bank(U * choice * lengths, scale * output_signs) for choice in choices]


def slices(moments: dict[int, Array]) -> Array:
    """Slices of the moments of order 2 and more, shape (n_slices, d, d).

    They are scaled so that errors of the moments weigh alike.
    """
    packed = [
        _packed_slices(order, moment) / math.sqrt(math.factorial(order))
        for order, moment in moments.items()
        if order > 1
    ]
    return np.moveaxis(unpack(np.concatenate(packed).T), 2, 0)


def _packed_slices(order: int, moment: Array) -> Array:
    """Matrices (n_slices, n_pairs): what is left where all indices but two are fixed."""
    if order == 2:
        return pack(moment)[np.newaxis]
    return moment.T if order == 3 else moment


def joint_directions(matrices: Array) -> Array:
    """Unit columns U (d, d) with which every matrix (n, d, d) is nearly ``U diag(.) U'``.

    Where U is orthogonal, the unit matrix is in the span of the matrices. So coordinates
    are changed until it is; then plane rotations make all matrices diagonal at once. This
    needs no random starts, and no definite matrix to begin with.
    """
    n, d, _ = matrices.shape
    _, scales, span = np.linalg.svd(matrices.reshape(n, -1), full_matrices=False)
    matrices = (scales[:d, np.newaxis] * span[:d]).reshape(-1, d, d)
    B = np.eye(d)
    for _ in range(_MAX_CHANGES):
        changed = (B @ matrices @ B.T).reshape(-1, d * d)
        span = np.linalg.svd(changed, full_matrices=False)[2]
        nearest = (span @ np.eye(d).ravel() @ span).reshape(d, d)
        values, vectors = np.linalg.eigh(nearest)
        B = (vectors / np.sqrt(np.maximum(values, _MIN_EIGENVALUE))).T @ B
        if np.abs(values - 1).max() < 1e-3:
            break
    U = np.linalg.solve(B, joint_rotation(B @ matrices @ B.T))
    return U / np.linalg.norm(U, axis=0)


def joint_rotation(matrices: Array) -> Array:
    """The orthogonal R that makes all ``R' M R`` nearly diagonal.

    Jacobi's method for several symmetric matrices (n, d, d) at once [1]_.

    References
    ----------
    .. [1] J.-F. Cardoso, A. Souloumiac, "Jacobi Angles for Simultaneous Diagonalization",
       SIAM J. Matrix Anal. Appl. 17, 1996.
    """
    matrices = matrices.copy()
    d = matrices.shape[1]
    R = np.eye(d)
    for _ in range(_MAX_SWEEPS):
        turned = False
        for i in range(d - 1):
            for j in range(i + 1, d):
                apart = matrices[:, i, i] - matrices[:, j, j]
                off = 2 * matrices[:, i, j]
                on, across = apart @ apart - off @ off, 2 * apart @ off
                angle = 0.5 * math.atan2(across, on + math.hypot(on, across))
                if abs(angle) < _SMALL_ANGLE:
                    continue
                turned = True
                c, s = math.cos(angle), math.sin(angle)
                rotation, pair = np.array([[c, -s], [s, c]]), [i, j]
                matrices[:, :, pair] = matrices[:, :, pair] @ rotation
                matrices[:, pair] = rotation.T @ matrices[:, pair]
                R[:, pair] = R[:, pair] @ rotation
        if not turned:
            break
    return R


def fitting_signs(columns: Array, target: Array) -> Array:
    """Signs s of 1 and -1 with which ``columns @ s`` comes closest to the target.

    The signs of the least-squares solution, but for those nearest to 0, of which every
    combination is tried.

    Returns
    -------
    signs : ndarray of shape (n_choices, n_columns)
        A few choices, the best first.
    """
    solution = np.linalg.lstsq(columns, target, rcond=None)[0]
    free = np.argsort(np.abs(solution))[:_MAX_FREE_SIGNS]
    signs = np.tile(np.where(solution < 0, -1.0, 1.0), (2 ** len(free), 1))
    signs[:, free] = 1 - 2 * np.indices((2,) * len(free)).reshape(len(free), -1).T
    misfits = np.linalg.norm(signs @ columns.T - target, axis=1)
    return signs[np.argsort(misfits, kind="stable")[:_MAX_CHOICES]]


def lengths_short_of_a_step(activation: Activation) -> Array:
    """Lengths, in ascending order, at which an activation with a scale shows it."""
    linear = activation.hermite(1, _LENGTHS)
    return _LENGTHS[linear <= _STEP_SHARE * linear[-1]]


def _coefficients(moment: Array, order: int, U: Array) -> Array:
    """Least squares of the moment on the powers of order m of the columns of U."""
    gram = (U.T @ U) ** order + _RIDGE * np.eye(U.shape[1])
    return np.linalg.solve(gram, np.sum(U * contract(moment, order, U), axis=0))


def _signs_of(
    activation: Activation, coefficients: dict[int, Array], orders: list[int]
) -> Array:
    """Signs that coefficients of some orders have in common; 1 where there are none."""
    agreement = np.zeros(len(coefficients[1]))
    for order in orders:
        if order in coefficients:
            of_unit_filters = activation.hermite(order, 1.0)
            agreement += coefficients[order] * of_unit_filters / math.factorial(order)
    return np.where(agreement < 0, -1.0, 1.0)


def _fitting_lengths(activation: Activation, wanted: dict[int, Array]) -> Array:
    """Lengths whose coefficients come closest to those wanted, by order; 0 if none is.

    The activation is homogeneous.
    """
    assert activation.homogeneity is not None
    # The first order waits for the sign of the filter.
    unit = {order: activation.hermite(order, 1.0) for order in wanted if order > 1}
    shares = {order: c / math.factorial(order) for order, c in unit.items()}
    powers = np.sum([shares[order] * wanted[order] for order in unit], axis=0)
    powers = powers / sum(shares[order] * unit[order] for order in unit)
    powers = np.maximum(powers, _MIN_LENGTH**activation.homogeneity * max(powers.max(), 0))
    return powers ** (1 / activation.homogeneity)


def _fitting_scale_and_lengths(
    activation: Activation, wanted: dict[int, Array]
) -> tuple[float, Array]:
    """Output scale and lengths whose coefficients come closest to those wanted."""
    lengths = lengths_short_of_a_step(activation)
    coefficients = {order: activation.hermite(order, lengths) for order in wanted}
    least = np.abs(wanted[1]).max() / np.abs(coefficients[1]).max()
    fits = []
    for scale in least * _SCALES:
        misfits = np.zeros((len(lengths), len(wanted[1])))
        for order, c in wanted.items():
            apart = scale * coefficients[order][:, np.newaxis] - c
            misfits += apart**2 / math.factorial(order)
        fits.append((misfits.min(axis=0).sum(), scale, misfits.argmin(axis=0)))
    _, scale, closest = min(fits, key=itemgetter(0))
    return float(scale), lengths[closest]


def fit_moments(
    activation: Activation, moments: dict[int, Array], bank: Bank
) -> tuple[Bank, float]:
    r"""The nearby bank whose moments come closest to those given; signs are kept.

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

    damping = _FIRST_DAMPING
    value, gradient, hessian, bank = moment_misfit(activation, moments, bank)
    for _ in range(_MAX_STEPS):
        curvature = np.trace(hessian) / len(hessian)
        if not curvature > 0:  # filters so long that their activations are steps
            break
        shift = damping * curvature * np.eye(len(hessian))
        step = np.linalg.solve(hessian + shift, -gradient)
        step = step.reshape(bank.filters.shape[::-1]).T
        moved = bank._replace(filters=bank.filters + step)
        trial = moment_misfit(activation, moments, moved)
        if trial[0] < value:
            gain, damping = value - trial[0], max(damping / 10, _MIN_DAMPING)
            value, gradient, hessian, bank = trial
            if gain < _MIN_GAIN * value:
                break
        else:
            damping *= 5
            if damping > _MAX_DAMPING:
                break
    if activation.homogeneity is None:
        longest = lengths_short_of_a_step(activation)[-1]
        shorter = np.minimum(1, longest / bank.lengths)
        bank = bank._replace(filters=bank.filters * shorter)
    return bank, value


def moment_misfit(
    activation: Activation, moments: dict[int, Array], bank: Bank
) -> tuple[float, Array, Array, Bank]:
    r"""Half of what :func:`fit_moments` minimises, with its derivatives.

    Where the activation is not homogeneous, the output scale is the best one for the
    filters.

    Returns
    -------
    value : float
    gradient : ndarray of shape (n_filters d,)
        Filter by filter.
    hessian : ndarray of shape (n_filters d, n_filters d)
        Gauss-Newton matrix.
    bank : Bank
        The bank with this output scale.

    Notes
    -----
    With unit vectors u_j, lengths s_j and coefficients :math:`h_j = v_j c_m(s_j)`, a step
    dw_j moves :math:`h_j u_j^{\otimes m}` by the symmetric product of m - 1 times u_j and
    once m J_j dw_j, where

    .. math::

        J_j = \frac{h_j}{s_j} (I - u_j u_j^T) + \frac{v_j c_m'(s_j)}{m} u_j u_j^T.

    So the order m adds, each divided by (m - 1)!, to the gradient by w_j
    :math:`J_j (\sum_k h_k (u_j^T u_k)^{m-1} u_k - M_m(u_j, \dots, u_j, \cdot))`, and to the
    block (j, k) of the matrix

    .. math::

        (u_j^T u_k)^{m-1} J_j J_k + (m - 1) (u_j^T u_k)^{m-2} (J_j u_k) (J_k u_j)^T.

    The output scale is eliminated: what the derivatives have along the values goes.
    """
    d, n_filters = bank.filters.shape
    lengths = bank.lengths
    U = bank.filters / lengths
    cosines = U.T @ U
    along = U.T[:, :, np.newaxis] * U.T[:, np.newaxis]  # u_j u_j', (n_filters, d, d)
    # Squares of the bank's moments, their products with those given, and these squared.
    sums = np.zeros(3)
    # Products of the derivatives with the bank's moments, and with the errors.
    derivatives = np.zeros((2, n_filters, d))
    hessian = np.zeros((n_filters, d, n_filters, d))
    for order, moment in moments.items():
        share = 1 / math.factorial(order - 1)
        h = bank.signs * activation.hermite(order, lengths)
        slopes = bank.signs * hermite_slope(activation, order, lengths)
        contracted = contract(moment, order, U)
        products = h @ cosines**order @ h, np.sum(U * contracted @ h), np.sum(moment**2)
        sums += share / order * np.array(products)

        across = h / lengths
        J = (slopes / order - across)[:, np.newaxis, np.newaxis] * along
        J += across[:, np.newaxis, np.newaxis] * np.eye(d)  # (n_filters, d, d)
        values = (U * h) @ cosines ** (order - 1)
        derivatives += share * np.einsum("jab,cbj->cja", J, [values, values - contracted])
        hessian += share * _hessian_of_order(order, U, J)
    own, gradient = derivatives.reshape(2, -1)
    matrix = hessian.reshape(own.size, own.size)
    scale = 1.0
    if activation.homogeneity is None and sums[0] > 0:
        scale = sums[1] / sums[0]
        gradient = scale * (gradient - (1 - scale) * own)
        matrix = scale**2 * (matrix - np.outer(own, own) / sums[0])
    value = sums @ [scale**2, -2 * scale, 1] / 2
    return max(float(value), 0), gradient, matrix, bank._replace(signs=scale * bank.signs)


def _hessian_of_order(order: int, U: Array, J: Array) -> Array:
    """Blocks (j, a, k, b): entries (a, b) of the matrix for filters j and k."""
    cosines = (U.T @ U)[:, np.newaxis, :, np.newaxis]
    blocks = cosines ** (order - 1) * (J[:, np.newaxis] @ J).transpose(0, 2, 1, 3)
    if order > 1:
        JU = J @ U  # J_j u_k, with indices (j, a, k)
        crossed = JU[:, :, :, np.newaxis] * JU.transpose(2, 0, 1)[:, np.newaxis]
        blocks += (order - 1) * cosines ** (order - 2) * crossed
    return blocks
