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
    """

    damping: float = 1e-3
    recovery: float = 0.0
    patience: float = 0.0
    metric: Array | None = None

    def init(self, objective: SquaredError, W: Array, signs: Array) -> SolverState:
        """State at the starts."""
        damping = np.full(W.shape[1], self.damping)
        evaluation = objective.gauss_newton(W, signs)
        return SolverState.start(W, signs, evaluation, damping=damping)

    def step(self, objective: SquaredError, state: SolverState, running: Indices) -> None:
        """One trial step for the restarts that still run."""
        state.stage[running] = "polish"
        signs, damping = state.signs[running], state.memory["damping"][running]
        assert state.evaluation.gauss_newton is not None
        matrices = state.evaluation.gauss_newton[running]
        gradient = state.gradient[running]
        step = -_damped_solve(matrices, damping, gradient, self._per_filter(len(state.W)))
        W, loss = state.W[:, running] + step.T, state.evaluation.loss[running]
        trial = self._tried(objective, W, signs, loss)
        products = (matrices @ step[:, :, np.newaxis])[:, :, 0]
        predicted = -np.einsum("rp,rp->r", step, gradient + 0.5 * products)
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

    @staticmethod
    def _tried(objective: SquaredError, W: Array, signs: Array, loss: Array) -> Evaluation:
        """The trials; without derivatives if none is better, and that is fast to see."""
        if objective.has_fast_values():
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


def _damped_solve(
    matrices: Array, damping: Array, vectors: Array, metric: NDArray[Any]
) -> Array:
    """Solve (H + damping * mean eigenvalue of H * metric) x = v for every restart.

    Parameters
    ----------
    matrices : ndarray of shape (R, p, p)
    damping : ndarray of shape (R,)
    vectors : ndarray of shape (R, p)
    metric : ndarray of shape (p, p)
    """
    n_parameters = matrices.shape[-1]
    mean_eigenvalue = np.trace(matrices, axis1=1, axis2=2) / n_parameters
    shift = damping * mean_eigenvalue
    # A filter that is active nowhere has H = 0 and v = 0: any shift gives the step 0.
    shift[mean_eigenvalue <= 0] = 1.0
    # The metric hardly damps what no patch has: there the identity keeps steps short.
    damped = metric + _MIN_DAMPING / np.maximum(damping, _MIN_DAMPING)[
        :, np.newaxis, np.newaxis
    ] * np.eye(n_parameters)
    shifted = matrices + shift[:, np.newaxis, np.newaxis] * damped
    if n_parameters >= _LONG:
        return np.array([_solve(*system) for system in zip(shifted, vectors, strict=True)])
    return np.linalg.solve(shifted, vectors[:, :, np.newaxis])[:, :, 0]


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
