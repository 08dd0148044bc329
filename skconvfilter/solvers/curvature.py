"""How steep the loss can be, for automatic learning rates."""

from collections.abc import Iterator

import numpy as np
from scipy.sparse.linalg import eigsh

from skconvfilter.model.squared_error import Array, SquaredError

# Rows, and elements of matrices held at a time: enough for a step size.
_MAX_ROWS, _GROUP_ELEMENTS = 1000, 2**20
# Work of the steps, see `step_work`, that all matrices may take; but some are needed.
_MAX_WORK, _LEAST_MATRICES = 6e8, 2
# Length of matrices from which on Lanczos steps, of this accuracy, are faster.
_LONG, _TOL = 128, 1e-2


def largest_curvature(
    objective: SquaredError, W: Array, signs: Array, batch_size: int
) -> float:
    """Curvature that gradient steps on batches of this size meet on average.

    The largest eigenvalue of the Gauss-Newton matrices at some filters and, for batches
    smaller than the data, the spread of the batches' own matrices: with Gaussian features
    of covariance H, steps on batches of B samples are stable in the mean square as they
    are on a curvature of ``lambda + (lambda + trace H) / B``, lambda the largest eigenvalue
    of H. The objective's own ``curvature_bounds`` are included: the few filters given may
    all be active on few patches.

    Parameters
    ----------
    objective : SquaredError
        If it has many rows, evenly spaced ones are used.
    W : ndarray of shape (p, R)
    signs : ndarray of shape (R,) or (R, n_filters)
    batch_size : int

    Returns
    -------
    curvature : float
        0.0 where nothing varies.
    """
    batches = objective.n_samples > batch_size
    if objective.n_samples > _MAX_ROWS:
        rows = np.linspace(0, objective.n_samples - 1, _MAX_ROWS).astype(int)
        objective = objective.subset(rows)
    n_matrices = max(_LEAST_MATRICES, int(_MAX_WORK / objective.step_work()))
    W, signs = W[:, :n_matrices], signs[:n_matrices]
    curvature = 0.0
    for matrices in _matrices(objective, W, signs):
        largest = _largest_eigenvalues(matrices)
        if batches:
            trace = np.trace(matrices, axis1=1, axis2=2)
            largest = largest + (largest + trace) / batch_size
        curvature = max(curvature, float(largest.max()))
    return curvature


def _largest_eigenvalues(matrices: Array) -> Array:
    if matrices.shape[-1] < _LONG:
        return np.asarray(np.linalg.eigvalsh(matrices)[:, -1], dtype=np.float64)
    largest = np.zeros(len(matrices))
    for i, matrix in enumerate(matrices):
        start = np.diag(matrix)
        if start.any():  # else nothing varies
            options = {"which": "LA", "v0": start, "tol": _TOL}
            largest[i] = eigsh(matrix, 1, return_eigenvectors=False, **options)[0]
    return largest


def _matrices(objective: SquaredError, W: Array, signs: Array) -> Iterator[Array]:
    size = max(1, _GROUP_ELEMENTS // len(W) ** 2)
    for start in range(0, len(signs), size):
        group = slice(start, start + size)
        here = W[:, group], signs[group]
        evaluation = objective.gauss_newton(*here)
        matrices = evaluation.gauss_newton
        assert matrices is not None
        if objective.fits_scale:
            # The best output scale is small where filters are poor, and grows with them: to
            # one with which values, in the median of the starts, are as large as targets.
            power, _, target_power, _ = objective.products(*here)
            square = np.median(power) * evaluation.scale**2
            ones = np.ones(len(square))
            factors = np.divide(target_power, square, out=ones, where=square > 0)
            matrices = matrices * factors[:, np.newaxis, np.newaxis]
        yield matrices
    for matrix in objective.curvature_bounds():
        yield matrix[np.newaxis]
