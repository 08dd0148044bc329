"""A start for long filters: from ridge regression on the mean patches."""

import numpy as np

from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.squared_error import Array

# Penalties that are compared, relative to the largest eigenvalue.
_PENALTIES = np.logspace(-8, 1, 28)


def linear_start(objective: FilterObjective, allowed_signs: Array) -> tuple[Array, float]:
    """The filter of a linear model, and the sign with which it fits the targets better.

    The model is half of w . mean Z_i plus half of mean |w . Z_i|, and of the latter a
    regression on the mean patches sees little. The longer a filter is, the closer the
    regression is compared with random directions, the less so the more patches there are.
    The penalty minimises generalised cross-validation.

    Parameters
    ----------
    objective : FilterObjective
    allowed_signs : ndarray of shape (1,) or (2,)

    Returns
    -------
    w : ndarray of shape (patch_dim,)
        Of the length that fits best; 0 where none fits.
    sign : float
    """
    covariance, products, power = objective.mean_patch_regression()
    eigenvalues, vectors = np.linalg.eigh(covariance)
    eigenvalues = np.maximum(eigenvalues, 0)
    along = vectors.T @ products
    # To machine precision, nothing is penalised by less.
    penalties = _PENALTIES[:, np.newaxis] * (eigenvalues[-1] or 1.0)
    damped = eigenvalues + penalties
    residuals = power - np.sum(along**2 * (damped + penalties) / damped**2, axis=1)
    freedom = 1 - np.sum(eigenvalues / damped, axis=1) / objective.n_samples
    # With more entries than samples the smallest penalties leave no freedom.
    score = np.where(freedom > 0, residuals / np.maximum(freedom, 1e-12) ** 2, np.inf)
    w = vectors @ (along / damped[np.argmin(score)])
    W = np.outer(w, allowed_signs)
    scales, gains = objective.best_scale_and_gain(W, allowed_signs)
    best = np.argmax(np.where(scales > 0, gains, 0))
    return W[:, best] * max(scales[best], 0.0), float(allowed_signs[best])
