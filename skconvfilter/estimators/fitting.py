"""From checked data and settings to the starts, the solver and the search."""

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from skconvfilter.estimators.outcome import FitOutcome
from skconvfilter.estimators.parameters import check_filters, is_option
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

# Entries of a start beyond which its loss on samples within range could overflow.
_LONGEST_START = {np.dtype(np.float64): 1e90, np.dtype(np.float32): 1e20}

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
        W = scaling.inner_filters(coef)[:, np.newaxis]
        signs = np.array([chosen_sign(settings, sign)])
    elif not is_option(settings.init, "ball"):
        filters = _given_filters(settings, seeds, objective.patch_dim)
        W = _within_range(objective, scaling.inner_filters(filters.T))
        signs = _given_or_fitting_signs(objective, W, settings.output_sign)
    else:
        W, signs = _ball(objective, settings, seeds, scaling)
    if scaling.target_scale == 0:
        # Constant targets: the filter 0 is exact, and no other is better.
        W = np.zeros_like(W)
    return Candidates(_within_range(objective, W), signs, np.arange(len(signs)))


def chosen_sign(settings, present):
    """The sign that the settings ask for, else the present one."""
    return float(present if settings.output_sign == "auto" else settings.output_sign)


def _within_range(objective, W):
    """Starts so long that their losses would be infinite, shortened."""
    longest = _LONGEST_START[objective.samples.dtype]
    with np.errstate(over="ignore"):
        return np.clip(W, -longest, longest)


def _inner_radius(settings, scaling):
    if isinstance(settings.init_radius, str):
        return settings.init_radius
    return float(scaling.inner_filters(np.float64(settings.init_radius)))


def _ball(objective, settings, seeds, scaling):
    radius = _inner_radius(settings, scaling)
    if settings.output_sign == "auto" and settings.n_init == 1:
        # The one start is drawn for both signs, and the sign that fits better has it.
        streams = [*seeds.starts, deepcopy(seeds.starts[0])]
        signs = np.array([1.0, -1.0])
        W = ball_starts(objective, streams, signs, radius)
        better = np.argmin(objective.value(W, signs).loss)
        return W[:, [better]], signs[[better]]
    signs = _drawn_signs(settings.output_sign, settings.n_init)
    return ball_starts(objective, seeds.starts, signs, radius), signs


def _drawn_signs(output_sign, n_init):
    if output_sign == "auto":
        return np.where(np.arange(n_init) % 2 == 0, 1.0, -1.0)
    return np.full(n_init, float(output_sign))


def _given_filters(settings, seeds, patch_dim):
    """The user's starts, shape (n_init, patch_dim)."""
    if callable(settings.init):
        init = check_filters(settings.init(settings.n_init, patch_dim, seeds.init))
    else:
        init = settings.init
    if init.shape[1] != patch_dim:
        raise ValueError(
            f"init holds filters of length {init.shape[1]}, but a patch has length "
            f"patch_dim={patch_dim}."
        )
    return init


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

        def schedule(step, losses):
            return scaling.rate(_checked_rate(rule(step, scaling.losses(losses)), losses))

        return schedule
    curvature = largest_curvature(objective, starts.W, starts.signs, settings.batch_size)

    def rate(setting, automatic):
        if setting == "auto":
            return automatic / curvature if curvature > 0 else 1.0
        return float(scaling.rate(setting))

    if rule == "constant":
        return Constant(rate(settings.learning_rate_init, _CONSTANT_RATE))
    first = rate(settings.learning_rate_init, _FIRST_RATE)
    second = rate(settings.learning_rate_final, _SECOND_RATE)
    return TwoStage(first, second, settings.switch)


def _checked_rate(rate, losses):
    shape = losses.shape[1:]
    try:
        rate = np.broadcast_to(np.asarray(rate, dtype=np.float64), shape)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"learning_rate returned {rate!r}; it must return a number, or an array of "
            f"shape {shape}, one number for each restart that runs."
        ) from error
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
