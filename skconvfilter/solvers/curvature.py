"""How steep the loss can be, for automatic learning rates."""

import numpy as np


def largest_curvature(objective, W, signs):
    """Largest eigenvalue of the Gauss-Newton matrices at some filters.

    The matrix of the mean patches, which is that of a filter active on every patch, is
    taken in, because the few filters at hand may all be active on few.

    Parameters
    ----------
    objective : FilterObjective
    W, signs : ndarray of shape (p, R) and (R,)

    Returns
    -------
    curvature : float
        0.0 where nothing varies.
    """
    matrices = objective.gauss_newton(W, signs).gauss_newton
    mean_patches = objective.mean_patches()
    weights = objective.sample_weight
    if objective.fit_intercept:
        mean_patches = mean_patches - np.average(mean_patches, axis=0, weights=weights)
    weighted = mean_patches * (weights / weights.sum())[:, np.newaxis]
    all_active = mean_patches.T @ weighted + objective.alpha * np.eye(len(W))
    largest = np.linalg.eigvalsh(np.concatenate([matrices, all_active[np.newaxis]]))
    return max(float(largest[:, -1].max()), 0.0)
