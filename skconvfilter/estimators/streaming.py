"""One step of `partial_fit`: from the estimator's state, to its state."""

from dataclasses import replace
from typing import Any

import numpy as np

from skconvfilter.estimators.data import Dataset
from skconvfilter.estimators.fit import FitData, Problem, Seeds
from skconvfilter.estimators.results import Scaling, filter_attributes
from skconvfilter.estimators.settings import FilterSettings, is_option
from skconvfilter.estimators.starts import chosen_sign
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.geometry import join_bias
from skconvfilter.solvers.recursive import (
    RecursiveLeastSquares,
    StreamState,
    seed_moments,
    start_stream,
)

# A stream stays in the units of the user: they cannot be known from its first block.
_USER_UNITS = Scaling(target_shift=0.0, target_scale=1.0)
# Weights of two blocks may differ by this factor, which leaves products of weights and
# squares of samples and targets in range.
_LARGEST_RATIO = 1e100


def can_stream(estimator: Any) -> bool:
    """Whether `partial_fit` is there; AttributeError says why it is not."""
    early_stopping = estimator.early_stopping
    # What is neither true nor false is refused with the other parameters.
    if isinstance(early_stopping, bool | np.bool_) and early_stopping:
        raise AttributeError(
            "early_stopping=True needs all the data at once: use fit, or partial_fit with "
            "early_stopping=False."
        )
    return True


def continue_stream(
    estimator: Any,
    dataset: Dataset,
    problem: Problem[FilterSettings, FilterObjective],
    seeds: Seeds,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take in a block of samples.

    Returns
    -------
    fitted : dict
        Fitted attributes by name.
    stream : dict
        State to carry on from: arrays and numbers.
    """
    settings = problem.settings
    weights = np.ones(dataset.n_samples) if dataset.weights is None else dataset.weights
    state = _present_state(estimator, dataset, problem, seeds)
    unit = state.weight_unit or dataset.weight_unit * float(weights.mean())
    patch_unit = state.patch_unit or dataset.patch_unit
    penalty = settings.alpha * patch_unit**2
    learner = RecursiveLeastSquares(penalty, settings.fit_intercept)
    state = state._replace(weight_unit=unit, patch_unit=patch_unit)
    weights = weights * _relative_unit(dataset.weight_unit, unit)
    chunk_size = learner.chunk_size(state.theta.shape[1])
    for start in range(0, dataset.n_samples, chunk_size):
        rows = slice(start, start + chunk_size)
        chunk = dataset.take(np.arange(dataset.n_samples)[rows])
        if learner.is_redraw_due(state):
            state = _redraw(state, learner, chunk, problem, seeds)
        state = learner.update(
            state, chunk.samples, chunk.geometry, chunk.targets, weights[rows]
        )
    best = learner.best(state)
    w, intercept = state.theta[best, :-1], state.theta[best, -1]
    fitted = filter_attributes(dataset, w, state.signs[best], intercept)
    fitted |= {
        "loss_": 0.5 * float(state.error[best] / state.weight[best]),
        "alpha_": settings.alpha,
        "penalty_": penalty,
        "best_restart_": best,
        "n_iter_": int(getattr(estimator, "n_iter_", 0)) + 1,
        "n_samples_seen_": state.n_seen,
    }
    return fitted, state._asdict()


def _relative_unit(weight_unit: float, unit: float) -> float:
    """Unit of the weights of a block, relative to that of its stream."""
    ratio = weight_unit / unit
    if not 1 / _LARGEST_RATIO <= ratio <= _LARGEST_RATIO:
        raise ValueError(
            f"The largest sample_weight is {weight_unit:.3g}, but those of the first block "
            f"of the stream were {unit:.3g} in the mean. Only ratios of weights matter: "
            "pass weights of about the same size in all calls of partial_fit."
        )
    return ratio


def _present_state(
    estimator: Any,
    dataset: Dataset,
    problem: Problem[FilterSettings, FilterObjective],
    seeds: Seeds,
) -> StreamState:
    """The stream so far; else the fitted filter; else new starts."""
    settings, layout = problem.settings, dataset.geometry.layout
    same_bias = layout.constant == getattr(estimator, "bias_scaling_", 0.0)
    if hasattr(estimator, "_stream") and same_bias:
        state = _stored_state(estimator._stream, layout.patch_dim)
        if _goes_on(state, settings):
            return state
    if np.any(getattr(estimator, "coef_", 0)):
        coef = np.asarray(estimator.coef_, dtype=np.float64)
        W = join_bias(coef, estimator.bias_, layout.constant)[:, np.newaxis]
        sign = chosen_sign(settings, estimator.sign_)
        intercept = estimator.intercept_ if settings.fit_intercept else 0.0
        state = start_stream(W, np.array([sign]), np.array([intercept]))
        n_fitted = estimator.n_samples_seen_
        return seed_moments(state, dataset.samples, dataset.geometry, n_fitted)
    return _fresh_state(dataset, problem, seeds)


def _fresh_state(
    dataset: Dataset,
    problem: Problem[FilterSettings, FilterObjective],
    seeds: Seeds,
    n_starts: int | None = None,
) -> StreamState:
    """New starts, of which only the first ones are used if `n_starts` says so."""
    objective = problem.make_objective(dataset, _USER_UNITS)
    data = FitData(objective, objective, None)
    starts = problem.draw_starts(data, _USER_UNITS, seeds, None).candidates
    starts = starts.take(slice(n_starts))
    intercepts = objective.value(starts.W, starts.signs).intercept
    return start_stream(starts.W, starts.signs, intercepts)


def _redraw(
    state: StreamState,
    learner: RecursiveLeastSquares,
    dataset: Dataset,
    problem: Problem[FilterSettings, FilterObjective],
    seeds: Seeds,
) -> StreamState:
    """Random starts in the place of half of the filters."""
    n_init = problem.settings.n_init
    if n_init == 1 or not is_option(problem.settings.init, "ball"):
        return state
    n_kept = min(len(state.signs), n_init // 2)
    # The same starts again would lead to the same minima.
    key = (*seeds.redraw.spawn_key, state.n_seen)
    streams = np.random.SeedSequence(seeds.redraw.entropy, spawn_key=key)
    generators = [np.random.default_rng(s) for s in streams.spawn(n_init)]
    fresh = _fresh_state(
        dataset, problem, replace(seeds, starts=generators), n_init - n_kept
    )
    return learner.redraw(state, n_kept, fresh)


def _stored_state(stream: dict[str, Any], patch_dim: int) -> StreamState:
    """The state that an estimator holds; ValueError if no call has left it so."""
    try:
        state = StreamState(**stream)
        blank = start_stream(np.zeros((patch_dim, len(state.signs))), state.signs)
        pairs: Any = zip(state, blank, strict=True)
        sound = all(
            np.shape(part) == np.shape(like)
            and np.isrealobj(part)
            and np.isfinite(part).all()
            for part, like in pairs
        )
    except TypeError:
        sound = False
    if not (sound and state.n_seen > 0 and (np.abs(state.signs) == 1).all()):
        raise ValueError(
            "The state of the stream has been changed, or the file that the estimator "
            "came from is corrupted. Fit again."
        )
    return state


def _goes_on(state: StreamState, settings: FilterSettings) -> bool:
    """Whether the stream was begun with the sign and the intercept now asked for."""
    had_intercept = bool(np.any(state.moments[:, -1, -1]))
    asked = settings.output_sign
    has_sign = asked == "auto" or bool(np.all(state.signs == asked))
    return has_sign and had_intercept == settings.fit_intercept
