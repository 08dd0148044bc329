"""From the outcome of a fit to the fitted attributes of a bank, in the user's units."""

import numpy as np

from skconvfilter.diagnostics.bank_convexity import estimate_local_convexity
from skconvfilter.estimators.outcome import checked_coef, filter_path, search_attributes

# Samples that the Hessian is taken from: so many, or so many for each entry of the filters.
_MIN_SAMPLES, _SAMPLES_PER_ENTRY = 1000, 4
_LARGEST = 1e60


def bank_attributes(dataset, settings, outcome, rng):
    """Attributes of the estimator, by name."""
    result, scaling = outcome.result, outcome.scaling
    layout = dataset.geometry.layout
    shape = (settings.n_filters, layout.patch_dim)
    intercept = scaling.intercept(result.intercept)
    coef = checked_coef(dataset, scaling.filters(result.w), intercept).reshape(shape)
    learnt = {
        "coef_": coef,
        "filters_": coef.reshape(settings.n_filters, *layout.window_shape),
        "output_weights_": result.sign.astype(int),
        "intercept_": float(intercept),
        "init_coef_": filter_path(dataset, outcome)[0].reshape(shape),
    }
    learnt |= search_attributes(dataset, outcome)
    return learnt | _convexity_attributes(dataset, settings, learnt, rng)


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
