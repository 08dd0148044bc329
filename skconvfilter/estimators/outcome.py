"""From the outcome of a fit to fitted attributes in the user's units."""

from typing import NamedTuple

import numpy as np

from skconvfilter.estimators.scaling import Scaling
from skconvfilter.model.angles import angles_to
from skconvfilter.solvers.race import SearchResult


class FitOutcome(NamedTuple):
    """What a search found, and the units in which it is expressed."""

    result: SearchResult
    scaling: Scaling
    alpha: float  # L2 penalty
    held_out_power: float | None  # half the variance of targets held out, if there are


def fitted_attributes(dataset, outcome):
    """Attributes of the estimator of one filter, by name."""
    learnt = found_filter(dataset, outcome.result, outcome.scaling)
    learnt |= search_attributes(dataset, outcome)
    return learnt | {"coef_path_": filter_path(dataset, outcome)}


def search_attributes(dataset, outcome):
    """What a search leaves behind, whatever the model."""
    result, scaling, alpha, _ = outcome
    history = _history(dataset, outcome)
    squares = _mean_squares(result.loss, alpha, result.w)
    ran = _ran(result)
    with np.errstate(over="ignore"):
        learnt = {
            "loss_": float(scaling.losses(result.loss)),
            "restart_losses_": scaling.losses(result.restart_losses),
        }
    learnt |= {
        "relative_loss_": float(_relative(squares, dataset, scaling)),
        "n_iter_": max(1, int(ran.sum()) - 1),
        "loss_curve_": history["loss"][ran, result.best_restart],
        "best_restart_": result.best_restart,
        "n_samples_seen_": dataset.n_samples,
        "history_": history,
    }
    if outcome.held_out_power is not None:
        learnt |= _validation_attributes(outcome, ran)
    return learnt


def found_filter(dataset, found, scaling):
    """:func:`filter_attributes` of a SearchResult, or a Leader, in the units of a fit."""
    coef, intercept = scaling.filters(found.w), scaling.intercept(found.intercept)
    return filter_attributes(dataset, coef, found.sign, intercept)


def filter_attributes(dataset, coef, sign, intercept):
    """The attributes that predictions need; raises as :func:`checked_coef`."""
    coef = checked_coef(dataset, coef, intercept)
    return {
        "coef_": coef,
        "filter_": coef.reshape(dataset.geometry.layout.window_shape),
        "intercept_": float(intercept),
        "sign_": int(sign),
    }


def checked_coef(dataset, coef, intercept):
    """Filters in the dtype of the samples.

    Raises
    ------
    ValueError
        Where they, or the intercept, leave its range.
    """
    with np.errstate(over="ignore"):
        coef = np.asarray(coef).astype(dataset.samples.dtype)
        finite = np.isfinite(coef).all() and np.isfinite(coef.dtype.type(intercept))
    if not finite:
        raise ValueError(
            f"the filter that fits y exceeds the range of {coef.dtype}: the values of X "
            "are too small beside those of y, or either is too large. Rescale them."
        )
    return coef


def filter_path(dataset, outcome):
    """The parameters that the best restart went through, its start first."""
    result = outcome.result
    filters = result.history["filters"][_ran(result), result.best_restart]
    with np.errstate(over="ignore", invalid="ignore"):
        return outcome.scaling.filters(filters).astype(dataset.samples.dtype)


def _ran(result):
    """The iterations in which the best restart took part."""
    return np.isfinite(result.history["loss"][:, result.best_restart])


def _history(dataset, outcome):
    result, scaling, alpha, held_out_power = outcome
    raw = result.history
    squares = _mean_squares(raw["loss"], alpha, raw["filters"])
    with np.errstate(over="ignore", invalid="ignore"):
        history = {
            "iteration": np.arange(len(raw["loss"])),
            "loss": scaling.losses(raw["loss"]),
            "relative_loss": _relative(squares, dataset, scaling),
            "gradient_norm": scaling.gradients(raw["gradient_norm"]),
            "learning_rate": scaling.outer_rate(raw["learning_rate"]),
            "angle": angles_to(result.w, raw["filters"]),
            "stage": raw["stage"],
        }
        if held_out_power is not None:
            history["validation_loss"] = scaling.losses(raw["score"])
    return history


def _mean_squares(losses, alpha, filters):
    """Mean squared errors at filters (..., p): the losses without the penalty."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = 2 * losses - alpha * np.sum(filters**2, axis=-1)
    return np.where(np.isinf(losses), losses, squares)


def _relative(squares, dataset, scaling):
    """Mean squared errors over the squared mean of the targets, infinite if that is 0."""
    if scaling.target_scale == 0:
        return np.zeros_like(squares)
    mean = np.average(dataset.targets, weights=dataset.weights)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        return squares * np.divide(scaling.target_scale, abs(mean)) ** 2


def _validation_attributes(outcome, ran):
    result, power = outcome.result, outcome.held_out_power
    scores = _r2(result.history["score"][ran, result.best_restart], power)
    best = _r2(np.array([result.score]), power)[0]
    return {"validation_scores_": scores, "best_validation_score_": float(best)}


def _r2(losses, power):
    """R^2; of constant targets 1 where they are met and 0 elsewhere, as r2_score has it."""
    if power == 0:
        return np.where(losses == 0, 1.0, 0.0)
    return 1 - losses / power
