"""From the outcome of a fit to the fitted attributes of a bank, in the user's units."""

import numpy as np

from skconvfilter.diagnostics.bank_convexity import estimate_local_convexity
from skconvfilter.estimators.outcome import checked_coef, filter_path, search_attributes

# Samples that the Hessian is taken from: so many, or so many for each entry of the filters.
_MIN_SAMPLES, _SAMPLES_PER_ENTRY = 1000, 4
_LARGEST = 1e60


def bank_attributes(dataset, settings, outcome, rng):
    """Attributes of the estimator, by name."""
    learnt = found_bank(dataset, settings, outcome.result, outcome.scaling)
    start = filter_path(dataset, outcome)[0]
    learnt["init_coef_"] = start.reshape(learnt["coef_"].shape)
    learnt |= search_attributes(dataset, outcome)
    return learnt | _convexity_attributes(dataset, settings, learnt, rng)


def found_bank(dataset, settings, found, scaling):
    """The attributes that predictions need, of a SearchResult or a Leader."""
    layout = dataset.geometry.layout
    intercept = scaling.intercept(found.intercept)
    coef = checked_coef(dataset, scaling.filters(found.w), intercept)
    return {
        "coef_": coef.reshape(settings.n_filters, layout.patch_dim),
        "filters_": coef.reshape(settings.n_filters, *layout.window_shape),
        "output_weights_": found.sign.astype(int),
        "intercept_": float(intercept),
    }


def _convexity_attributes(dataset, settings, learnt, rng):
    n_samples = max(_MIN_SAMPLES, _SAMPLES_PER_ENTRY * learnt["coef_"].size)
    rows = np.sort(rng.permutation(dataset.n_samples)[:n_samples])
    samples = np.ascontiguousarray(dataset.samples[rows], dtype=np.float64)
    W = learnt["coef_"].T.astype(np.float64)
    sizes = np.array(
        [np.abs(samples).max(), np.abs(dataset.targets).max(), np.abs(W).max()]
    )
    # Beyond these sizes squares leave the range of numbers.
    if not (W.any() and sizes.max() < _LARGEST):
        nothing = ("condition_number_", "rho_", "lambda_")
        return {"hessian_extremes_": (np.nan, np.nan)} | dict.fromkeys(nothing, np.nan)
    found = estimate_local_convexity(
        samples,
        dataset.geometry,
        dataset.targets[rows] - learnt["intercept_"],
        W,
        settings.activation,
        learnt["output_weights_"],
        settings.pooling,
        None if dataset.weights is None else dataset.weights[rows],
    )
    return {
        "hessian_extremes_": found.hessian_extremes,
        "condition_number_": found.condition_number,
        "rho_": found.rho,
        "lambda_": found.lambda_,
    }
