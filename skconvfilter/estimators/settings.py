"""The constructor parameters that steer a fit, checked and with their defaults resolved."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from skconvfilter.estimators.parameters import (
    check_auto_or_integer,
    check_boolean,
    check_count,
    check_filters,
    check_jobs,
    check_option,
    check_rate,
    check_real,
    check_verbose,
    is_option,
)
from skconvfilter.model.validation import check_integer

# Iterations of a solver on its own, and before a polish, whose job it then only is to
# leave the poor cells that the starts may lie in.
_MAX_ITER = {"sgd": 200, "gd": 1000, "gauss-newton": 100}
_MAX_ITER_BEFORE_POLISH = {"sgd": 2, "gd": 20, "gauss-newton": 100}
_MAX_POLISH = 100
# Up to this many samples the automatic mini-batch is all of them.
_FULL_BATCH, _MINI_BATCH = 200, 16


@dataclass(frozen=True)
class FitSettings:
    """How to fit; attributes are named and documented as the estimator's parameters."""

    solver: str
    init: str | np.ndarray | Callable
    init_radius: str | float
    n_init: int
    learning_rate: str | Callable
    learning_rate_init: str | float
    learning_rate_final: str | float
    switch: str | int
    batch_size: int
    polish: bool
    fit_intercept: bool
    output_sign: str | int
    alpha: float
    max_iter: int
    max_polish: int
    tol: float
    n_iter_no_change: int
    early_stopping: bool
    validation_fraction: float
    warm_start: bool
    diagnostics: bool


def check_settings(estimator, n_samples):
    """Read and check the parameters of an estimator about to be fitted.

    Raises
    ------
    TypeError, ValueError
        Naming the parameter and what it should be.
    """
    solver = check_option("solver", estimator.solver, ("sgd", "gauss-newton", "gd"))
    polish = check_boolean("polish", estimator.polish)
    fit_intercept = check_boolean("fit_intercept", estimator.fit_intercept)
    max_iter, max_polish = _check_max_iter(estimator.max_iter, solver, polish)
    check_jobs(estimator.n_jobs)
    check_verbose(estimator.verbose)
    return FitSettings(
        solver=solver,
        init=_check_init(estimator.init),
        init_radius=_check_radius(estimator.init_radius),
        n_init=check_count("n_init", estimator.n_init),
        learning_rate=_check_learning_rate(estimator.learning_rate),
        learning_rate_init=check_rate("learning_rate_init", estimator.learning_rate_init),
        learning_rate_final=check_rate(
            "learning_rate_final", estimator.learning_rate_final
        ),
        switch=check_auto_or_integer("switch", estimator.switch, minimum=1),
        batch_size=check_batch_size(estimator.batch_size, solver, fit_intercept, n_samples),
        polish=polish,
        fit_intercept=fit_intercept,
        output_sign=check_option("output_sign", estimator.output_sign, ("auto", 1, -1)),
        alpha=check_real("alpha", estimator.alpha, low=0.0),
        max_iter=max_iter,
        max_polish=max_polish,
        tol=check_real("tol", estimator.tol, low=0.0),
        n_iter_no_change=check_integer(
            "n_iter_no_change", estimator.n_iter_no_change, minimum=1
        ),
        early_stopping=check_boolean("early_stopping", estimator.early_stopping),
        validation_fraction=check_real(
            "validation_fraction",
            estimator.validation_fraction,
            low=0.0,
            high=1.0,
            open_low=True,
        ),
        warm_start=check_boolean("warm_start", estimator.warm_start),
        diagnostics=check_boolean("diagnostics", estimator.diagnostics),
    )


def _check_max_iter(max_iter, solver, polish):
    table = _MAX_ITER_BEFORE_POLISH if polish else _MAX_ITER
    max_iter = check_auto_or_integer("max_iter", max_iter, minimum=1)
    if max_iter == "auto":
        max_iter = table[solver]
    return max_iter, max_iter if solver == "gauss-newton" else _MAX_POLISH


def _check_init(init):
    if is_option(init, "ball") or callable(init):
        return init
    if isinstance(init, str):
        raise ValueError(
            f"init must be 'ball', a callable, or an array of filters, got {init!r}."
        )
    return check_filters(init)


def _check_radius(radius):
    if is_option(radius, "auto") or is_option(radius, "theory"):
        return radius
    if isinstance(radius, str):
        raise ValueError(
            f"init_radius must be 'auto', 'theory' or a number, got {radius!r}."
        )
    return check_real("init_radius", radius, low=0.0, open_low=True)


def _check_learning_rate(learning_rate):
    if callable(learning_rate):
        return learning_rate
    options = ("two-stage", "constant", "theory")
    return check_option("learning_rate", learning_rate, options)


def check_batch_size(batch_size, solver, fit_intercept, n_samples):
    """Samples per update, "auto" resolved."""
    batch_size = check_auto_or_integer("batch_size", batch_size, minimum=1)
    if solver == "gd":
        return n_samples
    if batch_size == "auto":
        return n_samples if n_samples <= _FULL_BATCH else _MINI_BATCH
    if batch_size == 1 and fit_intercept:
        raise ValueError(
            "batch_size must be at least 2 with fit_intercept=True: the intercept is "
            "fitted within each batch. Use a larger batch_size or fit_intercept=False."
        )
    return batch_size
