"""The constructor parameters of a bank, checked and with their defaults resolved."""

from dataclasses import dataclass

import numpy as np

from skconvfilter.estimators.parameters import (
    check_auto_or_integer,
    check_boolean,
    check_count,
    check_jobs,
    check_option,
    check_rate,
    check_real,
    check_verbose,
)
from skconvfilter.estimators.settings import check_batch_size
from skconvfilter.model.activations import ACTIVATIONS, Activation
from skconvfilter.model.bank import POOLINGS
from skconvfilter.model.validation import check_integer

_MAX_ITER = {"gauss-newton": 200, "gd": 3000, "sgd": 200}


@dataclass(frozen=True)
class BankSettings:
    """How to fit; attributes are named and documented as the estimator's parameters."""

    n_filters: int
    activation: Activation
    pooling: str
    output_weights: str
    solver: str
    init: str | np.ndarray  # an array (n_init, n_filters, patch_dim)
    contraction: str
    n_init: int
    learning_rate_init: str | float
    batch_size: int
    fit_intercept: bool
    alpha: float
    max_iter: int
    tol: float
    n_iter_no_change: int
    warm_start: bool


def check_bank_settings(estimator, dataset):
    """Read and check the parameters of an estimator about to be fitted.

    Raises
    ------
    TypeError, ValueError
        Naming the parameter and what it should be.
    """
    solver = check_option("solver", estimator.solver, tuple(_MAX_ITER))
    fit_intercept = check_boolean("fit_intercept", estimator.fit_intercept)
    n_filters = check_count("n_filters", estimator.n_filters)
    max_iter = check_auto_or_integer("max_iter", estimator.max_iter, minimum=1)
    activation = check_option("activation", estimator.activation, tuple(ACTIVATIONS))
    check_jobs(estimator.n_jobs)
    check_verbose(estimator.verbose)
    weights = ("ones", "signs")
    return BankSettings(
        n_filters=n_filters,
        activation=ACTIVATIONS[activation],
        pooling=check_option("pooling", estimator.pooling, POOLINGS),
        output_weights=check_option("output_weights", estimator.output_weights, weights),
        solver=solver,
        init=_check_init(estimator.init, n_filters, dataset.geometry.layout),
        contraction=check_option("contraction", estimator.contraction, ("all", "single")),
        n_init=check_count("n_init", estimator.n_init),
        learning_rate_init=check_rate("learning_rate_init", estimator.learning_rate_init),
        batch_size=check_batch_size(
            estimator.batch_size, solver, fit_intercept, dataset.n_samples
        ),
        fit_intercept=fit_intercept,
        alpha=check_real("alpha", estimator.alpha, low=0.0),
        max_iter=_MAX_ITER[solver] if max_iter == "auto" else max_iter,
        tol=check_real("tol", estimator.tol, low=0.0),
        n_iter_no_change=check_integer(
            "n_iter_no_change", estimator.n_iter_no_change, minimum=1
        ),
        warm_start=check_boolean("warm_start", estimator.warm_start),
    )


def _check_init(init, n_filters, layout):
    """An option, or the user's starts as float64 (n_init, n_filters, patch_dim)."""
    if isinstance(init, str):
        return check_option("init", init, ("tensor", "random"))
    expected = (
        f"init must be 'tensor', 'random' or filters of shape (n_filters={n_filters}, "
        f"*{layout.window_shape}), (n_filters, patch_dim={layout.patch_dim}) or several "
        "such banks along a first axis"
    )
    try:
        filters = np.asarray(init)
        if filters.dtype.kind not in "fiu":
            raise TypeError
    except (TypeError, ValueError):
        raise TypeError(f"{expected}; got {init!r}, which holds no real numbers.") from None
    windows = {layout.window_shape, (layout.patch_dim,)}
    shapes = {(n_filters, *window) for window in windows}
    several = filters.shape[1:] in shapes and len(filters) > 0
    if filters.shape not in shapes and not several:
        raise ValueError(f"{expected}; got shape {filters.shape}.")
    if not np.isfinite(filters).all():
        raise ValueError("init contains NaN or infinity.")
    return filters.reshape(-1, n_filters, layout.patch_dim).astype(np.float64)
