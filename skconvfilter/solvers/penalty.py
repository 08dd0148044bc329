"""The L2 penalty by restricted maximum likelihood, chosen where a search has ended."""

from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from skconvfilter.model.squared_error import Array, SquaredError
from skconvfilter.solvers.driver import Stopping
from skconvfilter.solvers.levenberg_marquardt import LevenbergMarquardt
from skconvfilter.solvers.multistart import MultiStart

Objective = TypeVar("Objective", bound=SquaredError)

# Penalties relative to the largest eigenvalue of the Gauss-Newton matrix: beyond the
# largest, not even the best determined direction counts; the least does nothing.
_LEAST, _LARGEST, _N_GRID = 1e-16, 1.0, 200
# Choice and descent alternate until the penalty changes by less than this share.
_MAX_ROUNDS, _SAME_PENALTY = 8, 0.1
# The descents begin near their minimum, but kinks may reject their first steps: these do
# not end them until damping has grown.
_DAMPING, _LARGEST_DAMPING, _PATIENCE = 1e-6, 1.0, 2


def tune_penalty(
    search: MultiStart,
    objective: Objective,
    solver: LevenbergMarquardt,
    stopping: Stopping,
) -> Objective:
    """Choose the penalty for the winner of a search, which descends anew; alternately.

    Parameters
    ----------
    search : MultiStart
        A search that has ended. It goes on from its winner, unless that fits to machine
        precision.
    objective : SquaredError
        On all samples.
    solver : LevenbergMarquardt
    stopping : Stopping

    Returns
    -------
    objective : SquaredError
        With the penalty that was chosen.
    """
    solver = replace(solver, damping=_DAMPING, patience=_LARGEST_DAMPING)
    patience = min(stopping.n_iter_no_change, _PATIENCE)
    stopping = replace(stopping, n_iter_no_change=patience)
    for _ in range(_MAX_ROUNDS):
        if search.is_settled():
            break
        search.keep(1)
        winner = search.candidates
        alpha = likeliest_penalty(objective, winner.W, winner.signs)
        if abs(alpha - objective.alpha) <= _SAME_PENALTY * objective.alpha:
            break
        objective = objective.with_alpha(alpha)
        search.advance(objective, solver, stopping)
    return objective


def likeliest_penalty(objective: SquaredError, W: Array, signs: Array) -> float:
    r"""Penalty by restricted maximum likelihood, for the model linearised at one filter.

    For normal noise of variance :math:`\sigma^2` and parameters with the prior
    :math:`N(0, \sigma^2 / (n \alpha))` it minimises

    .. math::

        \nu \log \min_\delta \left( \frac{1}{n} \|e + J \delta\|^2
            + \alpha \|w + \delta\|^2 \right) + \sum_i \log \frac{s_i + \alpha}{\alpha} ,

    with errors e, their derivatives J, the eigenvalues s of the Gauss-Newton matrix
    :math:`J^\top J / n`, and the number :math:`\nu` of samples less one for the intercept
    (D. A. Harville, "Maximum Likelihood Approaches to Variance Component Estimation and to
    Related Problems", 1977). Cross-validation in its place trusts fits of as many
    parameters as samples.

    Parameters
    ----------
    objective : SquaredError
    W : ndarray of shape (n_parameters, 1)
    signs : ndarray of shape (1,) or (1, n_filters)

    Returns
    -------
    alpha : float
        0.0 if less is always likelier, as where errors vanish, or if no filter is active.
    """
    evaluation = objective.gauss_newton(W, signs)
    assert evaluation.gradient is not None
    assert evaluation.gauss_newton is not None
    w, present = W[:, 0], objective.alpha
    matrix = evaluation.gauss_newton[0] - present * np.eye(len(w))
    eigenvalues, axes = np.linalg.eigh(matrix)
    eigenvalues = np.maximum(eigenvalues, 0)
    if eigenvalues[-1] == 0:
        return 0.0
    slope = axes.T @ (evaluation.gradient[0] - present * w)
    w = axes.T @ w
    mean_square = 2 * evaluation.loss[0] - present * (w @ w)
    n_free = objective.n_samples - objective.fit_intercept

    def deviance(log_alpha: float | NDArray[np.float64]) -> NDArray[np.float64]:
        alpha = np.exp(log_alpha)[..., np.newaxis]
        total = eigenvalues + alpha
        # At the best parameters the sum of both squares is that at the present ones less
        # what the step to them gains.
        gain = np.sum((slope + alpha * w) ** 2 / total, axis=-1)
        squares = mean_square + alpha[..., 0] * (w @ w) - gain
        tiny = np.finfo(float).tiny
        log_squares = np.log(np.maximum(squares, tiny))
        result: NDArray[np.float64]
        result = n_free * log_squares + np.sum(np.log(total / alpha), axis=-1)
        return result

    grid = np.log(eigenvalues[-1] * np.geomspace(_LEAST, _LARGEST, _N_GRID))
    best = int(np.argmin(deviance(grid)))
    if best == 0:
        return 0.0
    bracket = grid[best - 1], grid[min(best + 1, _N_GRID - 1)]
    found = minimize_scalar(deviance, bounds=bracket, method="bounded")
    return float(np.exp(found.x))
