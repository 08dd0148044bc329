"""A bank of filters from its Hermite moments: directions, then lengths and signs."""

import math

import numpy as np

from skconvfilter.initializers.moments import Bank, contract, pack, unpack

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
# Keeps least squares regular where two directions have become one.
_RIDGE = 1e-9


def banks_along(activation, U, moments, *, signed):
    """Banks along given directions whose moments come close to those given.

    Parameters
    ----------
    activation : Activation
    U : ndarray of shape (d, n_filters)
        Unit columns, of any sign.
    moments : dict of ndarray
        The first, and moments of higher orders at which the activation's coefficients do
        not vanish.
    signed : bool
        Whether output signs are unknown. Else, and where no even order tells them from
        the sign of a filter, they are 1.

    Returns
    -------
    banks : list of Bank
        The closest first. There are several where the signs of the filters show in the
        first moment only. Empty if no positive length fits the moments.
    """
    found = {order: _coefficients(moment, order, U) for order, moment in moments.items()}

    def agreement(orders):
        shares = [
            found[order] * activation.hermite(order, 1.0) / math.factorial(order)
            for order in orders
            if order in moments
        ]
        return np.where(sum(shares, np.zeros(U.shape[1])) < 0, -1.0, 1.0)

    signs = agreement([2, 4] if signed else [])
    turns = signs * agreement([3])
    lengths = _fitting_lengths(
        activation, {order: signs * turns**order * found[order] for order in moments}
    )
    if not lengths.any():
        return []
    columns = U * signs * activation.hermite(1, lengths)
    choices = [turns] if 3 in moments else fitting_signs(columns, moments[1])
    return [Bank(U * turns * lengths, signs) for turns in choices]


def slices(moments):
    """Slices of the moments of order 2 and more, shape (n_slices, d, d).

    They are scaled so that errors of the moments weigh alike.
    """
    rows = {2: lambda M: pack(M)[np.newaxis], 3: np.transpose, 4: np.asarray}
    packed = [
        rows[order](moment) / math.sqrt(math.factorial(order))
        for order, moment in moments.items()
        if order > 1
    ]
    return np.moveaxis(unpack(np.concatenate(packed).T), 2, 0)


def joint_directions(matrices):
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


def joint_rotation(matrices):
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


def fitting_signs(columns, target):
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


def lengths_short_of_a_step(activation):
    """Lengths, in ascending order, at which an activation with a scale shows it."""
    linear = activation.hermite(1, _LENGTHS)
    return _LENGTHS[linear <= _STEP_SHARE * linear[-1]]


def _coefficients(moment, order, U):
    """Least squares of the moment on the powers of order m of the columns of U."""
    gram = (U.T @ U) ** order + _RIDGE * np.eye(U.shape[1])
    return np.linalg.solve(gram, np.sum(U * contract(moment, order, U), axis=0))


def _fitting_lengths(activation, wanted):
    """Lengths whose coefficients come closest to those wanted, by order; 0 if none is."""
    if activation.homogeneity is None:
        lengths = lengths_short_of_a_step(activation)
        misfits = sum(
            (activation.hermite(order, lengths)[:, np.newaxis] - coefficients) ** 2
            / math.factorial(order)
            for order, coefficients in wanted.items()
        )
        return lengths[np.argmin(misfits, axis=0)]
    # The first order waits for the sign of the filter.
    unit = {order: activation.hermite(order, 1.0) for order in wanted if order > 1}
    shares = {order: c / math.factorial(order) for order, c in unit.items()}
    powers = sum(shares[order] * wanted[order] for order in unit)
    powers = powers / sum(shares[order] * unit[order] for order in unit)
    powers = np.maximum(powers, _MIN_LENGTH**activation.homogeneity * max(powers.max(), 0))
    return powers ** (1 / activation.homogeneity)
