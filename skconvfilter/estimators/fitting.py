"""From checked data and settings to the starts, the solver and the search."""

from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from skconvfilter.estimators.outcome import FitOutcome
from skconvfilter.estimators.parameters import is_option
from skconvfilter.estimators.scaling import Scaling
from skconvfilter.initializers.ball import ball_starts
from skconvfilter.model.objective import FilterObjective
from skconvfilter.solvers.curvature import largest_curvature
from skconvfilter.solvers.driver import Stopping
from skconvfilter.solvers.gauss_newton import LevenbergMarquardt
from skconvfilter.solvers.restarts import Candidates, descend, explore_and_polish
from skconvfilter.solvers.schedules import Constant, TwoStage
from skconvfilter.solvers.sgd import SGD

# Learning rates relative to 1 / largest curvature. With mini-batches of 16, three times
# that and more kills filters on images.
_CONSTANT_RATE, _FIRST_RATE, _SECOND_RATE = 1.0, 1.0, 1.5

# Squared errors, relative to the targets' variance, that rounding alone leaves.
_ROUNDING_UNITS = 64


@dataclass(frozen=True)
class Seeds:
    """All the randomness of a fit, drawn before it begins."""

    starts: list  # of Generator, one per restart
    solver: int
    subsample: np.random.Generator
    split: int
    init: np.random.RandomState  # for a user's callable
    redraw: np.random.SeedSequence  # for restarts that die

    @classmethod
    def draw(cls, random_state, n_init):
        """Independent streams from one random state."""
        random_state = check_random_state(random_state)
        entropy = random_state.randint(2**31, size=4).tolist()
        streams = np.random.SeedSequence(entropy).spawn(5 + n_init)
        solver, subsample, split, init, redraw, *starts = streams
        return cls(
            starts=[np.random.default_rng(seed) for seed in starts],
            solver=int(solver.generate_state(1)[0]),
            subsample=np.random.default_rng(subsample),
            split=int(split.generate_state(1)[0]),
            init=np.random.RandomState(init.generate_state(4)),
            redraw=redraw,
        )


def fit_filter(dataset, settings, seeds, *, previous=None, map_blocks=map, callback=None):
    """Fit one filter.

    Parameters
    ----------
    dataset : Dataset
    settings : FitSettings
    seeds : Seeds
    previous : tuple of (coef, sign), default=None
        Filter in the user's units to go on from, in place of the starts of `settings`.
    map_blocks : callable, default=map
        See :class:`~skconvfilter.model.objective.FilterObjective`.
    callback : callable, default=None
        See :func:`~skconvfilter.solvers.driver.run`.

    Returns
    -------
    outcome : FitOutcome
    """
    dataset = dataset.with_unit_weights()
    held_out = None
    if settings.early_stopping:
        dataset, held_out = _split(dataset, settings.validation_fraction, seeds.split)
    scaling = Scaling.of(
        dataset.samples, dataset.targets, dataset.weights, centre=settings.fit_intercept
    )
    objective = make_objective(dataset, settings, scaling, map_blocks)
    validation = None
    if held_out is not None:
        validation = make_objective(held_out, settings, scaling, map_blocks)
    starts = draw_starts(objective, settings, seeds, scaling, previous)
    search = {"validation": validation, "callback": callback}
    stopping = Stopping(
        settings.max_iter,
        settings.tol,
        settings.n_iter_no_change,
        floor=0.5 * (_ROUNDING_UNITS * objective.precision) ** 2,
    )
    solver = _solver(objective, starts, settings, seeds, scaling)
    if not settings.polish:
        solver = solver or LevenbergMarquardt()
        result = descend(objective, starts, solver, stopping, **search)
    else:
        search |= {"max_polish": settings.max_polish, "rng": seeds.subsample}
        result = explore_and_polish(objective, starts, solver, stopping, **search)
    power = None if validation is None else _half_variance(validation)
    return FitOutcome(result, scaling, objective.alpha, power)


def _half_variance(objective):
    centre = np.average(objective.targets, weights=objective.sample_weight)
    squares = (objective.targets - centre) ** 2
    return 0.5 * np.average(squares, weights=objective.sample_weight)


def _split(dataset, fraction, seed):
    rows = np.arange(len(dataset.targets))
    try:
        train, held_out = train_test_split(rows, test_size=fraction, random_state=seed)
    except ValueError as error:
        raise ValueError(
            f"early_stopping=True holds out validation_fraction={fraction} of the "
            f"samples, but there are only {len(rows)} (n_samples={len(rows)})."
        ) from error
    return dataset.take(np.sort(train)), dataset.take(np.sort(held_out))


def make_objective(dataset, settings, scaling, map_blocks=map):
    """The objective on some data, in the units of `scaling`."""
    return FilterObjective(
        scaling.samples(dataset.samples),
        dataset.geometry,
        scaling.targets(dataset.targets),
        sample_weight=dataset.weights,
        alpha=scaling.penalty(settings.alpha),
        fit_intercept=settings.fit_intercept,
        map_blocks=map_blocks,
    )


def draw_starts(objective, settings, seeds, scaling, previous=None):
    """The starts that the settings ask for, or the filter to go on from."""
    if previous is not None:
        coef, sign = previous
        W = scaling.inner_filters(np.asarray(coef, dtype=np.float64))[:, np.newaxis]
        return Candidates(W, np.array([sign], dtype=float), np.arange(1))
    if not is_option(settings.init, "ball"):
        filters = _given_filters(settings, seeds, objective.patch_dim)
        W = scaling.inner_filters(filters.T)
        signs = _given_or_fitting_signs(objective, W, settings.output_sign)
    else:
        signs = _drawn_signs(settings.output_sign, settings.n_init)
        radius = _inner_radius(settings, scaling)
        W = ball_starts(objective, seeds.starts, signs, radius)
    return Candidates(W, signs, np.arange(len(signs)))


def _inner_radius(settings, scaling):
    if isinstance(settings.init_radius, str):
        return settings.init_radius
    return float(scaling.inner_filters(np.float64(settings.init_radius)))


def _drawn_signs(output_sign, n_init):
    if output_sign == "auto":
        return np.where(np.arange(n_init) % 2 == 0, 1.0, -1.0)
    return np.full(n_init, float(output_sign))


def _given_filters(settings, seeds, patch_dim):
    """The user's starts, shape (n_init, patch_dim)."""
    init = settings.init
    if callable(init):
        init = init(settings.n_init, patch_dim, seeds.init)
    filters = np.atleast_2d(np.asarray(init, dtype=np.float64))
    if filters.ndim != 2 or filters.shape[1] != patch_dim:
        raise ValueError(
            f"init has shape {np.shape(init)}, expected ({patch_dim},) or "
            f"(n_init, {patch_dim}): filters of the length of a patch."
        )
    if not np.isfinite(filters).all():
        raise ValueError("init contains NaN or infinity.")
    return filters


def _given_or_fitting_signs(objective, W, output_sign):
    if output_sign != "auto":
        return np.full(W.shape[1], float(output_sign))
    return np.where(objective.best_scale(W, np.ones(W.shape[1])) < 0, -1.0, 1.0)


def _solver(objective, starts, settings, seeds, scaling):
    if settings.solver == "gauss-newton":
        return None
    return SGD(
        schedule=_schedule(objective, starts, settings, scaling),
        batch_size=settings.batch_size,
        redraw=_redraw(objective, starts, settings, seeds, scaling),
        seed=seeds.solver,
    )


def _schedule(objective, starts, settings, scaling):
    rule = settings.learning_rate
    if callable(rule):
        return lambda step, losses: scaling.rate(
            _checked_rate(rule(step, scaling.losses(losses)))
        )
    curvature = largest_curvature(objective, starts.W, starts.signs)

    def rate(setting, automatic):
        if setting == "auto":
            return automatic / curvature if curvature > 0 else 1.0
        return float(scaling.rate(setting))

    if rule == "constant":
        return Constant(rate(settings.learning_rate_init, _CONSTANT_RATE))
    first = rate(settings.learning_rate_init, _FIRST_RATE)
    second = rate(settings.learning_rate_final, _SECOND_RATE)
    return TwoStage(first, second, settings.switch)


def _checked_rate(rate):
    rate = np.asarray(rate, dtype=float)
    if not (np.isfinite(rate).all() and (rate > 0).all()):
        raise ValueError(f"learning_rate returned {rate}, which is not positive.")
    return rate


def _redraw(objective, starts, settings, seeds, scaling):
    """New starts for restarts that die, each restart from a stream of its own."""
    radius = _inner_radius(settings, scaling)
    streams = [np.random.default_rng(s) for s in seeds.redraw.spawn(len(starts.signs))]

    def redraw(restart):
        sign = starts.signs[[restart]]
        return ball_starts(objective, [streams[restart]], sign, radius)[:, 0]

    return redraw
