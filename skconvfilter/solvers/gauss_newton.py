"""Levenberg-Marquardt steps on the active mean patches, all restarts at once.

Within a cell of constant activation the model is linear in the filter, so that the
Gauss-Newton matrix is the exact Hessian there and an undamped step lands on the minimum of
the cell.
"""

from dataclasses import dataclass

import numpy as np

from skconvfilter.solvers.driver import SolverState

# Keeps the damped matrix regular in rounding where the data leave directions open.
_MIN_DAMPING = 1e-14


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Damped Gauss-Newton; a step is taken only where it lowers the loss.

    Parameters
    ----------
    damping : float, default=1e-3
        First damping, relative to the mean eigenvalue of the Gauss-Newton matrix.
    recovery : float, default=0.0
        What damping is raised to at least after a step that was not taken. Without it, a
        damping that good steps have made tiny takes long to grow: where the model is
        linear in cells that does not matter, for a step out of a cell is soon a good one.
    patience : float, default=0.0
        Damping up to which steps that are not taken do not count as want of progress.
    """

    damping: float = 1e-3
    recovery: float = 0.0
    patience: float = 0.0

    def init(self, objective, W, signs):
        """State at the starts."""
        n_filters = W.shape[1]
        return SolverState(
            W=W.copy(),
            signs=signs,
            evaluation=objective.gauss_newton(W, signs),
            learning_rate=np.full(n_filters, np.nan),
            stage=np.full(n_filters, "start", dtype="U8"),
            memory={"damping": np.full(n_filters, self.damping)},
            pending=np.zeros(n_filters, dtype=bool),
        )

    def step(self, objective, state, running):
        """One trial step for the restarts that still run."""
        state.stage[running] = "polish"
        signs, here = state.signs[running], state.evaluation.take(running)
        damping = state.memory["damping"][running]
        step = -_damped_solve(here.gauss_newton, damping, here.gradient)
        trial = objective.gauss_newton(state.W[:, running] + step.T, signs)
        curvature = np.einsum("rp,rpq,rq->r", step, here.gauss_newton, step)
        predicted = -np.einsum("rp,rp->r", here.gradient, step) - 0.5 * curvature
        gain = here.loss - trial.loss
        accepted = gain > 0
        factor = _damping_factor(accepted, gain, predicted)
        least = np.where(accepted, _MIN_DAMPING, max(self.recovery, _MIN_DAMPING))
        state.memory["damping"][running] = np.maximum(damping * factor, least)
        state.pending[running] = ~accepted & (damping < self.patience)
        moved = running[accepted]
        state.W[:, moved] += step[accepted].T
        state.evaluation = state.evaluation.put(moved, trial.take(accepted))


def _damped_solve(matrices, damping, vectors):
    """Solve (H + damping * mean eigenvalue of H * I) x = v for every filter."""
    patch_dim = matrices.shape[-1]
    mean_eigenvalue = np.trace(matrices, axis1=1, axis2=2) / patch_dim
    shift = damping * mean_eigenvalue
    # A filter that is active nowhere has H = 0 and v = 0: any shift gives the step 0.
    shift[mean_eigenvalue <= 0] = 1.0
    shifted = matrices + shift[:, np.newaxis, np.newaxis] * np.eye(patch_dim)
    return np.linalg.solve(shifted, vectors[:, :, np.newaxis])[:, :, 0]


def _damping_factor(accepted, gain, predicted):
    good = gain > 0.5 * predicted
    poor = gain < 0.1 * predicted
    taken = np.where(good, 0.1, np.where(poor, 2.0, 1.0))
    return np.where(accepted, taken, 6.0)
