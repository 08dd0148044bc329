"""Levenberg-Marquardt steps, all restarts at once.

Within a cell of constant activation a ReLU model is linear in the filter, so that the
Gauss-Newton matrix is the exact Hessian there and an undamped step lands on the minimum of
the cell.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from skconvfilter.model.squared_error import Array, Evaluation, SquaredError
from skconvfilter.solvers.driver import Indices, Solver, SolverState, scaled_signs

# Keeps the damped matrix regular to machine precision where the data leave directions open.
_MIN_DAMPING = 1e-14
# Parameters from which on a Cholesky decomposition for each restart is faster than one
# solution for all of them.
_LONG = 128
# Least share of the curvature of the Gauss-Newton matrix that a step must have met.
_LEAST_CURVATURE = 1e-3


@dataclass(frozen=True)
class LevenbergMarquardt(Solver):
    """Damped Gauss-Newton; a step is accepted only if it lowers the loss.

    Parameters
    ----------
    damping : float, default=1e-3
        First damping, relative to the mean eigenvalue of the Gauss-Newton matrix.
    recovery : float, default=0.0
        Least damping after a rejected step. Without it, a damping that good steps have
        made tiny takes long to grow: where the model is linear in cells that does not
        matter, since a step out of a cell is soon a good one.
    patience : float, default=0.0
        Damping up to which rejected steps do not count as lack of progress.
    metric : ndarray of shape (p, p), default=None
        Damping is in this metric, for each of the filters of length p that parameters are
        made of. None: the identity. Where the entries of patches are correlated, as those
        of images are, steps in their own metric are much longer.
    secant : bool, default=False
        Whether the curvature that the Gauss-Newton matrix lacks, that of the values times
        their errors, is learned from the changes of the gradient along the steps. The
        update is the one of [1]_. Where errors stay large, fewer steps are needed.

    References
    ----------
    .. [1] J. E. Dennis, D. M. Gay, R. E. Welsch, "An Adaptive Nonlinear Least-Squares
       Algorithm", 1981.
    """

    damping: float = 1e-3
    recovery: float = 0.0
    patience: float = 0.0
    metric: Array | None = None
    secant: bool = False

    def init(self, objective: SquaredError, W: Array, signs: Array) -> SolverState:
        """State at the starts."""
        damping = np.full(W.shape[1], self.damping)
        evaluation = objective.gauss_newton(W, signs)
        state = SolverState.start(W, signs, evaluation, damping=damping)
        if self.secant:
            assert evaluation.gauss_newton is not None
            state.memory["secant"] = np.zeros_like(evaluation.gauss_newton)
        return state

    def step(self, objective: SquaredError, state: SolverState, running: Indices) -> None:
        """One trial step for the restarts that still run."""
        state.stage[running] = "polish"
        signs, damping = state.signs[running], state.memory["damping"][running]
        assert state.evaluation.gauss_newton is not None
        matrices = state.evaluation.gauss_newton[running]
        gradient = state.gradient[running]
        shifts = _shifts(matrices, damping, self._per_filter(len(state.W)))
        if self.secant:
            secant = state.memory["secant"][running]
            matrices = matrices + _definite_part(matrices + shifts, secant)
        step = -_solutions(matrices + shifts, gradient)
        W, loss = state.W[:, running] + step.T, state.evaluation.loss[running]
        trial = self._tried(objective, W, signs, loss)
        predicted = -_dot(step, gradient + 0.5 * _times(matrices, step))
        if self.secant:
            state.memory["secant"][running] = _updated_secant(secant, step, gradient, trial)
        gain = loss - trial.loss
        accepted = gain > 0
        factor = _damping_factor(accepted, gain, predicted)
        least = np.where(accepted, _MIN_DAMPING, max(self.recovery, _MIN_DAMPING))
        state.memory["damping"][running] = np.maximum(damping * factor, least)
        state.pending[running] = ~accepted & (damping < self.patience)
        if not accepted.any():
            return
        moved = running[accepted]
        state.W[:, moved] += step[accepted].T
        state.signs[moved] = scaled_signs(signs, trial.scale)[accepted]
        state.evaluation = state.evaluation.put(moved, trial.take(accepted))

    def _tried(
        self, objective: SquaredError, W: Array, signs: Array, loss: Array
    ) -> Evaluation:
        """The trials; without derivatives if nothing is learned from them."""
        if objective.has_fast_values() and not self.secant:
            trial = objective.value(W, signs)
            if not (trial.loss < loss).any():
                return trial
        return objective.gauss_newton(W, signs)

    def _per_filter(self, n_parameters: int) -> NDArray[Any]:
        if self.metric is None:
            return np.eye(n_parameters)
        per_filter: NDArray[Any] = np.kron(
            np.eye(n_parameters // len(self.metric)), self.metric
        )
        return per_filter


def _shifts(matrices: Array, damping: Array, metric: NDArray[Any]) -> NDArray[Any]:
    """What damping adds, (R, p, p): damping * mean eigenvalue of H * metric.

    Parameters
    ----------
    matrices : ndarray of shape (R, p, p)
    damping : ndarray of shape (R,)
    metric : ndarray of shape (p, p)
    """
    n_parameters = matrices.shape[-1]
    mean_eigenvalue = np.trace(matrices, axis1=1, axis2=2) / n_parameters
    shift = damping * mean_eigenvalue
    # A filter that is active nowhere has H = 0 and a gradient of 0: any shift gives the
    # step 0.
    shift[mean_eigenvalue <= 0] = 1.0
    # The metric hardly damps what no patch has: there the identity keeps steps short.
    damped = metric + _MIN_DAMPING / np.maximum(damping, _MIN_DAMPING)[
        :, np.newaxis, np.newaxis
    ] * np.eye(n_parameters)
    shifts: NDArray[Any] = shift[:, np.newaxis, np.newaxis] * damped
    return shifts


def _definite_part(matrices: Array, secant: Array) -> Array:
    """The secant terms (R, p, p) that leave the sums positive definite; 0 for others."""
    failed = [lapack.dpotrf(matrix, lower=1)[1] for matrix in matrices + secant]
    return np.where(np.array(failed)[:, np.newaxis, np.newaxis] == 0, secant, 0.0)


def _updated_secant(
    secant: Array, step: Array, gradient: Array, trial: Evaluation
) -> Array:
    """The smallest change with which matrices map a step to the change of the gradient.

    Before it, a term is made no larger than what it should be along the step, so that it
    vanishes with the errors.
    """
    assert trial.gauss_newton is not None
    assert trial.gradient is not None
    change = trial.gradient - gradient
    products = _times(trial.gauss_newton, step)
    missing = change - products
    power = np.abs(_dot(step, _times(secant, step)))
    size = np.ones(len(step))
    np.divide(np.abs(_dot(step, missing)), power, out=size, where=power > 0)
    secant = np.minimum(size, 1)[:, np.newaxis, np.newaxis] * secant
    # The weights of the change have to have a positive product with the step.
    curved = _dot(step, change) > _LEAST_CURVATURE * _dot(step, products)
    weights = np.where(curved[:, np.newaxis], change, products)
    norm = _dot(step, weights)[:, np.newaxis]
    weights = np.divide(weights, norm, out=np.zeros_like(weights), where=norm > 0)
    rest = missing - _times(secant, step)
    along = _dot(step, rest)[:, np.newaxis, np.newaxis]
    outer = rest[:, :, np.newaxis] * weights[:, np.newaxis]
    outer -= 0.5 * along * weights[:, :, np.newaxis] * weights[:, np.newaxis]
    updated = secant + outer + outer.transpose(0, 2, 1)
    # Of a step out of range nothing is learned.
    finite = np.isfinite(updated).all(axis=(1, 2), keepdims=True)
    return np.where(finite, updated, secant)


def _times(matrices: Array, vectors: Array) -> Array:
    """Products (R, p) of matrices (R, p, p) and vectors (R, p)."""
    products: Array = (matrices @ vectors[:, :, np.newaxis])[:, :, 0]
    return products


def _dot(first: Array, second: Array) -> Array:
    products: Array = np.einsum("rp,rp->r", first, second)
    return products


def _solutions(matrices: NDArray[Any], vectors: Array) -> NDArray[Any]:
    """Solve H x = v for every restart."""
    if matrices.shape[-1] >= _LONG:
        return np.array([_solve(*system) for system in zip(matrices, vectors, strict=True)])
    return np.linalg.solve(matrices, vectors[:, :, np.newaxis])[:, :, 0]


def _solve(matrix: NDArray[Any], vector: NDArray[Any]) -> NDArray[Any]:
    """By Cholesky decomposition, unless the matrix is singular to machine precision."""
    # The transpose, in the order of LAPACK, is the same matrix.
    factor, failed = lapack.dpotrf(matrix.T, lower=1, clean=0)
    if failed:
        return np.linalg.solve(matrix, vector)
    return lapack.dpotrs(factor, vector, lower=1)[0]


def _damping_factor(accepted: NDArray[np.bool_], gain: Array, predicted: Array) -> Array:
    good = gain > 0.5 * predicted
    poor = gain < 0.1 * predicted
    if_accepted = np.where(good, 0.1, np.where(poor, 2.0, 1.0))
    return np.where(accepted, if_accepted, 6.0)
