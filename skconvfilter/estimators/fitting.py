"""From checked data and settings to the starts, the solver and the search."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from skconvfilter.estimators.out_of_core import refuse_mini_batches
from skconvfilter.estimators.outcome import FitOutcome
from skconvfilter.estimators.scaling import Scaling
from skconvfilter.estimators.starts import draw_starts, make_redraw
from skconvfilter.estimators.theory import theory_schedule
from skconvfilter.model.objective import FilterObjective
from skconvfilter.solvers.curvature import largest_curvature
from skconvfilter.solvers.driver import Stopping
from skconvfilter.solvers.gauss_newton import LevenbergMarquardt
from skconvfilter.solvers.restarts import descend, explore_and_polish, subsample
from skconvfilter.solvers.schedules import Constant, Schedule, TwoStage
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
    theory: np.random.Generator

    @classmethod
    def draw(cls, random_state, n_init):
        """Independent streams from one random state."""
        random_state = check_random_state(random_state)
        entropy = random_state.randint(2**31, size=4).tolist()
        streams = np.random.SeedSequence(entropy).spawn(6 + n_init)
        solver, subsample, split, init, redraw, *starts, theory = streams
        return cls(
            starts=[np.random.default_rng(seed) for seed in starts],
            solver=int(solver.generate_state(1)[0]),
            subsample=np.random.default_rng(subsample),
            split=int(split.generate_state(1)[0]),
            init=np.random.RandomState(init.generate_state(4)),
            redraw=redraw,
            theory=np.random.default_rng(theory),
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
        ``callback(snapshot, scaling, variance)`` after every iteration, see
        :class:`~skconvfilter.estimators.watching.Watch`.

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
    # What starts and rates are derived from need not be more than phase one will see.
    sample = objective
    if settings.polish:
        sample = subsample(objective, seeds.subsample)
        if sample.n_samples == objective.n_samples:
            objective = sample
    elif settings.solver == "sgd":
        refuse_mini_batches(dataset, settings.batch_size, "polish=True, solver='gd'")
    starts = draw_starts(sample, settings, seeds, scaling, previous)
    if callback is not None:
        callback = partial(callback, scaling=scaling, variance=1.0)
    search = {"validation": validation, "callback": callback}
    stopping = Stopping(
        settings.max_iter,
        settings.tol,
        settings.n_iter_no_change,
        floor=0.5 * (_ROUNDING_UNITS * objective.precision) ** 2,
    )
    solver = _solver(sample, starts, settings, seeds, scaling, stopping)
    if not settings.polish:
        solver = solver or LevenbergMarquardt()
        result = descend(objective, starts, solver, stopping, **search)
    else:
        search |= {"max_polish": settings.max_polish, "rng": seeds.subsample}
        result = explore_and_polish(objective, sample, starts, solver, stopping, **search)
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


def _solver(objective, starts, settings, seeds, scaling, stopping):
    if settings.solver == "gauss-newton":
        return None
    return SGD(
        schedule=_schedule(objective, starts, settings, seeds, scaling, stopping),
        batch_size=settings.batch_size,
        redraw=make_redraw(objective, starts, settings, seeds, scaling),
        seed=seeds.solver,
    )


@dataclass(frozen=True)
class _OwnSchedule(Schedule):
    """The user's callable, in the units of the user."""

    rule: Callable
    scaling: Scaling

    def __call__(self, step, running):
        losses = running.losses
        rate = self.rule(step, self.scaling.losses(losses))
        return self.scaling.rate(_checked_rate(rate, losses))


def _schedule(objective, starts, settings, seeds, scaling, stopping):
    rule = settings.learning_rate
    if callable(rule):
        return _OwnSchedule(rule, scaling)
    curvature = largest_curvature(objective, starts.W, starts.signs, settings.batch_size)

    def rate(setting, automatic):
        if setting == "auto":
            return automatic / curvature if curvature > 0 else 1.0
        return float(scaling.rate(setting))

    if rule == "two-stage":
        first = rate(settings.learning_rate_init, _FIRST_RATE)
        second = rate(settings.learning_rate_final, _SECOND_RATE)
        return TwoStage(first, second, settings.switch)
    constant = rate(settings.learning_rate_init, _CONSTANT_RATE)
    if rule == "constant":
        return Constant(constant)
    return theory_schedule(
        objective, starts, stopping, constant, settings.batch_size, seeds.theory
    )


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
