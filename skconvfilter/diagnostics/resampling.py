"""The bootstrap of a fit: fits to resamples of samples or groups."""

import warnings
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy.stats import chi2
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skconvfilter.diagnostics.fitted import FittedData, FittedModel
from skconvfilter.diagnostics.summary import Summary
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.squared_error import Array

# A resample has ended elsewhere if its estimates would be as far with this probability.
_ELSEWHERE = 1e-6
_LEARNED = ("coef_", "bias_", "bias_scaling_", "intercept_", "n_features_in_")


@dataclass(frozen=True, eq=False, repr=False)
class Bootstrap(Summary):
    """Fits to resamples, part of the result of :func:`inference`.

    Attributes
    ----------
    params : ndarray of shape (n_resamples, n_params)
        Parameters of every fit.
    conf_int : ndarray of shape (n_params, 2)
        Percentile intervals, at the level of the result.
    elsewhere : float
        Share of the resamples that end at another minimum, that is, beyond the confidence
        region of the fit at level 1 - 1e-6. The percentiles include them.
    """

    params: FloatArray
    conf_int: FloatArray
    elsewhere: float


def bootstrap_fits(
    model: FittedModel,
    data: FittedData,
    estimate: tuple[Array, Array],
    n_resamples: int,
    level: float,
    n_jobs: int | None,
    seed: Any,
) -> Bootstrap:
    """Fit resamples, drawn as multiplicities, which are weights.

    Parameters
    ----------
    model : FittedModel
    data : FittedData
        With the samples as the user passed them.
    estimate : tuple of ndarray
        The user's parameters and their covariance.
    n_resamples : int
    level : float
    n_jobs : int or None
    seed : ndarray of int
    """
    start = _warm_start(model.estimator)
    seeds = np.random.SeedSequence(seed.tolist()).spawn(n_resamples)
    fits = Parallel(n_jobs)(delayed(_refit)(start, data, model.has_scale, s) for s in seeds)
    params = np.stack(fits)
    centre, covariance = estimate
    # In units of standard errors, so that the pseudo-inverse is not a matter of units.
    errors = np.sqrt(np.diag(covariance))
    errors[errors == 0] = 1.0
    inverse = np.linalg.pinv(covariance / np.outer(errors, errors), hermitian=True)
    away = (params - centre) / errors
    distances = np.einsum("rp,pq,rq->r", away, inverse, away)
    tail = (1 - level) / 2
    return Bootstrap(
        params=params,
        conf_int=np.quantile(params, [tail, 1 - tail], axis=0).T,
        elsewhere=float(np.mean(distances > chi2.isf(_ELSEWHERE, len(centre)))),
    )


def _warm_start(estimator: Any) -> Any:
    """A copy that goes on from the fitted filters; scikit-learn's clone is not fitted."""
    start = clone(estimator).set_params(
        warm_start=True, alpha=estimator.alpha_, diagnostics=False, verbose=0, n_jobs=None
    )
    of_bank = ("output_weights_", "output_scale_")
    signs = of_bank if np.ndim(estimator.coef_) > 1 else ("sign_",)
    for name in (*_LEARNED, *signs):
        setattr(start, name, deepcopy(getattr(estimator, name)))
    return start


def _refit(start: Any, data: FittedData, has_scale: bool, seed: Any) -> Array:
    rng = np.random.default_rng(seed)
    groups = np.arange(len(data.y)) if data.groups is None else data.groups
    n_groups = int(groups.max()) + 1
    counts = np.bincount(rng.integers(n_groups, size=n_groups), minlength=n_groups)
    model = deepcopy(start).set_params(random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        # The fit at hand warned of what concerns all.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", UserWarning)
        model.fit(data.samples, data.y, sample_weight=counts[groups] * data.weights)
    parts = [np.ravel(model.coef_)]
    if model.bias_scaling_:
        parts.append(np.ravel(model.bias_))
    if has_scale:
        parts.append(np.ravel(model.output_scale_))
    if model.fit_intercept:
        parts.append(np.ravel(model.intercept_))
    return np.concatenate(parts).astype(np.float64)
