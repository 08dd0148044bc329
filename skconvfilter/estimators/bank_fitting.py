"""From checked data and settings to the starts of a bank, the solver and the search."""

from functools import partial

import numpy as np

from skconvfilter.estimators.out_of_core import refuse_mini_batches
from skconvfilter.estimators.outcome import FitOutcome
from skconvfilter.estimators.scaling import Scaling
from skconvfilter.estimators.starts import LONGEST_START
from skconvfilter.initializers.random_banks import random_banks
from skconvfilter.initializers.tensor import MomentsVanish, tensor_start
from skconvfilter.model.bank_objective import BankObjective
from skconvfilter.solvers.curvature import largest_curvature
from skconvfilter.solvers.driver import Stopping
from skconvfilter.solvers.gauss_newton import LevenbergMarquardt
from skconvfilter.solvers.portfolio import portfolio
from skconvfilter.solvers.race import Candidates
from skconvfilter.solvers.schedules import Constant
from skconvfilter.solvers.sgd import SGD

# Samples on which starts are compared: so many, or so many for each entry of the filters.
_COMPARE_ROWS, _COMPARE_ROWS_PER_ENTRY = 10_000, 20
# Errors, relative to the size of values, that rounding alone leaves.
_ROUNDING_UNITS = 64
# Damping after a step that was not taken, as activations bend, and that up to which steps
# are tried shorter before a start is given up: kinks may be close.
_RECOVERY, _PATIENCE = 1e-4, 1e2
# Targets beyond which the squares of errors, for activations that cannot be scaled to
# them, leave the range of numbers.
_LARGEST_TARGET = 1e100


def fit_bank(dataset, settings, seeds, *, previous=None, map_blocks=map, callback=None):
    """Fit a bank of filters.

    Parameters
    ----------
    dataset : Dataset
    settings : BankSettings
    seeds : Seeds
    previous : tuple of (coef, signs), default=None
        Filters (n_filters, patch_dim) in the user's units, and their output weights, to go
        on from in place of the starts of `settings`.
    map_blocks : callable, default=map
        See :class:`~skconvfilter.model.squared_error.SquaredError`.
    callback : callable, default=None
        ``callback(snapshot, scaling, variance)`` after every iteration, see
        :class:`~skconvfilter.estimators.watching.Watch`.

    Returns
    -------
    outcome : FitOutcome
    doubt : str or None
        What is to be said against the tensor start, or why there is none.
    """
    dataset = dataset.with_unit_weights()
    scaling = Scaling.of(
        dataset.samples,
        dataset.targets,
        dataset.weights,
        centre=settings.fit_intercept,
        homogeneity=settings.activation.homogeneity,
    )
    objective = BankObjective(
        scaling.samples(dataset.samples),
        dataset.geometry,
        scaling.targets(dataset.targets),
        n_filters=settings.n_filters,
        activation=settings.activation,
        pooling=settings.pooling,
        sample_weight=dataset.weights,
        alpha=scaling.penalty(settings.alpha),
        fit_intercept=settings.fit_intercept,
        map_blocks=map_blocks,
    )
    _check_targets(objective)
    sample = _subsample(objective, seeds.subsample)
    if sample.n_samples == objective.n_samples:
        objective = sample
    starts, doubt = _starts(objective, sample, settings, seeds, scaling, previous)
    rounding = _ROUNDING_UNITS * objective.precision * _magnitude(dataset, scaling)
    stopping = Stopping(
        settings.max_iter,
        settings.tol,
        settings.n_iter_no_change,
        floor=0.5 * rounding**2,
    )
    if settings.solver == "gauss-newton":
        solver = LevenbergMarquardt(recovery=_RECOVERY, patience=_PATIENCE)
    else:
        if settings.solver == "sgd":
            refuse_mini_batches(dataset, settings.batch_size, "solver='gd'")
        solver = _descent(objective, sample, starts, settings, seeds, scaling)
        sample = objective
    if callback is not None:
        callback = partial(callback, scaling=scaling, variance=_variance(objective))
    result = portfolio(objective, sample, starts, solver, stopping, callback=callback)
    return FitOutcome(result, scaling, objective.alpha, None), doubt


def _check_targets(objective):
    largest = np.abs(objective.targets).max()
    if largest > _LARGEST_TARGET:
        raise ValueError(
            f"y reaches as far as {largest:.0e}, but the values of a bank with activation="
            f"'{objective.activation.name}' are bounded. Rescale y."
        )


def _variance(objective):
    weights = objective.sample_weight
    mean = np.average(objective.targets, weights=weights)
    return float(np.average((objective.targets - mean) ** 2, weights=weights)) or 1.0


def _magnitude(dataset, scaling):
    """Root mean square of the targets, in the units of the fit."""
    largest = np.abs(dataset.targets).max()
    if scaling.target_scale == 0 or largest == 0:
        return 1.0
    squares = (dataset.targets / largest) ** 2
    power = np.average(squares, weights=dataset.weights)
    return min(float(np.sqrt(power) * (largest / scaling.target_scale)), _LARGEST_TARGET)


def _subsample(objective, rng):
    n_rows = max(_COMPARE_ROWS, _COMPARE_ROWS_PER_ENTRY * objective.n_parameters)
    if objective.n_samples <= n_rows:
        return objective.in_memory()
    rows = rng.choice(objective.n_samples, n_rows, replace=False)
    return objective.subset(np.sort(rows))


def _starts(objective, sample, settings, seeds, scaling, previous):
    """Candidates, the tensor start first, and what is to be said against that."""
    W, signs = np.zeros((objective.n_parameters, 1)), np.ones((1, settings.n_filters))
    if not objective.targets.any() and objective.value(W, signs).loss[0] == 0:
        # Filters of 0 are exact.
        return Candidates(W, signs, np.arange(1)), None
    if previous is not None:
        coef, signs = previous
        if settings.output_weights == "ones":
            signs = np.ones_like(signs)
        filters = _within_range(objective, scaling.inner_filters(coef))
        return Candidates(filters.reshape(-1, 1), signs[np.newaxis], np.arange(1)), None
    if not isinstance(settings.init, str):
        filters = _within_range(objective, scaling.inner_filters(settings.init))
        signs = _fitting_signs(sample, filters, settings)
        W = filters.reshape(len(filters), -1).T
        return Candidates(W, signs, np.arange(len(filters))), None
    signs = np.array([_drawn_signs(settings, rng) for rng in seeds.starts])
    W = random_banks(sample, seeds.starts, signs)
    doubt = None
    if settings.init == "tensor":
        try:
            # The tensor method reads patches, often: elsewhere than here, of the sample.
            source = objective if objective.is_in_memory else sample
            start = _tensor_start(source, settings, seeds.theory)
            W[:, 0], signs[0] = start.W.T.ravel(), start.signs
            if start.doubt is not None:
                doubt = f"gave a doubtful start: {start.doubt}"
        except MomentsVanish as error:
            doubt = f"gave no start: {error} A random one takes its place."
    return Candidates(W, signs, np.arange(len(signs))), doubt


def _within_range(objective, filters):
    """Starts so long that their losses would be infinite, shortened."""
    longest = LONGEST_START[objective.samples.dtype]
    longest **= 1 / (objective.activation.homogeneity or 1)
    with np.errstate(over="ignore"):
        return np.clip(filters, -longest, longest)


def _tensor_start(objective, settings, rng):
    pooled = objective.geometry.layout.n_patches if settings.pooling == "mean" else 1
    return tensor_start(
        objective.patch_blocks,
        pooled * objective.targets,
        settings.n_filters,
        settings.activation,
        sample_weight=objective.sample_weight,
        signed=settings.output_weights == "signs",
        contraction=settings.contraction,
        random_state=rng,
    )


def _drawn_signs(settings, rng):
    if settings.output_weights == "ones":
        return np.ones(settings.n_filters)
    return rng.choice([1.0, -1.0], size=settings.n_filters)


def _fitting_signs(objective, filters, settings):
    """Output weights of given filters (n_banks, n_filters, p): those that fit best."""
    if settings.output_weights == "ones":
        return np.ones(filters.shape[:2])
    weights = np.sqrt(objective.sample_weight)[:, np.newaxis]
    signs = []
    for bank in filters:
        values = objective.values_of_filters(bank)
        if settings.fit_intercept:
            values = values - np.average(values, axis=0, weights=objective.sample_weight)
        weighted = weights[:, 0] * objective.targets
        strengths = np.linalg.lstsq(weights * values, weighted, rcond=None)[0]
        signs.append(np.where(strengths < 0, -1.0, 1.0))
    return np.array(signs)


def _descent(objective, sample, starts, settings, seeds, scaling):
    """Gradient descent on all samples, or on mini-batches."""
    rate = settings.learning_rate_init
    if rate == "auto":
        curvature = largest_curvature(
            objective, starts.W, starts.signs, settings.batch_size
        )
        rate = 1 / curvature if curvature > 0 else 1.0
    else:
        rate = float(scaling.rate(rate))
    streams = seeds.redraw.spawn(len(starts.signs))
    streams = [np.random.default_rng(stream) for stream in streams]

    def redraw(restart):
        return random_banks(sample, [streams[restart]], starts.signs[[restart]])[:, 0]

    return SGD(Constant(rate), settings.batch_size, redraw, seeds.solver)
