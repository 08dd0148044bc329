"""The skeleton of every fit: what differs between models sits behind `Problem`."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state

from skconvfilter.estimators.data import Dataset
from skconvfilter.estimators.out_of_core import refuse_mini_batches
from skconvfilter.estimators.results import FitResult, Scaling
from skconvfilter.estimators.settings import FitSettings
from skconvfilter.model.squared_error import SquaredError
from skconvfilter.solvers.curvature import largest_curvature
from skconvfilter.solvers.driver import Callback, Solver, Stopping
from skconvfilter.solvers.multistart import Candidates, SearchResult
from skconvfilter.solvers.schedules import Constant, Running, Schedule, TwoStage
from skconvfilter.solvers.search import subsample
from skconvfilter.solvers.sgd import SGD

# Learning rates relative to 1 / largest curvature. With mini-batches of 16, three times
# that and more kills filters on images.
_CONSTANT_RATE, _FIRST_RATE, _SECOND_RATE = 1.0, 1.0, 1.5

# Errors, relative to the size of the values, that rounding alone leaves.
_ROUNDING_UNITS = 64
# The most that a large offset of the samples, whose rounding adds to it, makes of them.
_MOST_ROUNDING = 1e-3
# Relative difference of losses that the order of summation can make.
_TIE = 1e-9


Objective = TypeVar("Objective", bound=SquaredError)
Settings = TypeVar("Settings", bound=FitSettings)


@dataclass(frozen=True)
class Seeds:
    """All the randomness of a fit, drawn before it begins."""

    starts: list[np.random.Generator]  # one per restart
    solver: int
    subsample: np.random.Generator
    split: int
    init: np.random.RandomState  # for a user's callable
    redraw: np.random.SeedSequence  # for restarts that die
    theory: np.random.Generator

    @classmethod
    def draw(cls, random_state: Any, n_init: int) -> "Seeds":
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


class FittedFilters(NamedTuple):
    """Filters of an earlier fit to go on from, in the user's units."""

    W: NDArray[np.float64]  # (n_filters, patch_dim), or (patch_dim,) of one filter
    signs: NDArray[np.float64]  # (n_filters,), or () of one filter


class Starts(NamedTuple):
    """Where the search begins, in the units of the fit."""

    candidates: Candidates
    warning: str | None = None  # what the user should know of them
    # ``redraw(restart)``: a new start (n_parameters,) for a restart that has died.
    redraw: Callable[[int], NDArray[np.float64]] | None = None
    # Generators of the restarts whose start a forward search finds during the search.
    forward: Mapping[int, np.random.Generator] = MappingProxyType({})


class FitData(NamedTuple, Generic[Objective]):
    """The data of a fit, in its units, as the search sees them."""

    objective: Objective  # on all samples
    sample: Objective  # on those that starts are compared on; may be the same
    validation: Objective | None  # on the samples held out


class Problem(ABC, Generic[Settings, Objective]):
    """What differs between one filter and a bank; everything else is :func:`run_fit`.

    Attributes
    ----------
    settings : FitSettings
        The checked parameters of the estimator.
    homogeneity : float or None
        The model's values grow with this power of its filters; None: with none.
    either_sign : bool
        Whether a model of y is one of -y, up to the signs of its outputs.
    mini_batch_remedies : str
        What to use in place of mini-batches where they cannot be drawn.
    """

    settings: Settings
    mini_batch_remedies: ClassVar[str]

    @property
    @abstractmethod
    def either_sign(self) -> bool: ...

    @property
    @abstractmethod
    def homogeneity(self) -> float | None: ...

    @property
    @abstractmethod
    def draws_mini_batches(self) -> bool:
        """Whether the search draws mini-batches from all samples."""

    @abstractmethod
    def make_objective(
        self, dataset: Dataset, scaling: Scaling, map_blocks: Callable[..., Any] = map
    ) -> Objective:
        """The objective on some data, in the units of `scaling`."""

    @abstractmethod
    def n_search_rows(self, objective: Objective) -> int | None:
        """Number of samples to compare starts on; None: all."""

    @abstractmethod
    def draw_starts(
        self,
        data: FitData[Objective],
        scaling: Scaling,
        seeds: Seeds,
        fitted: FittedFilters | None,
    ) -> Starts:
        """The starts that the settings ask for, or the fitted filters to go on from."""

    @abstractmethod
    def make_redraw(
        self, sample: Objective, starts: Candidates, scaling: Scaling, seeds: Seeds
    ) -> Callable[[int], NDArray[np.float64]]:
        """``redraw(restart)``: a new start (n_parameters,) for a restart that has died."""

    @abstractmethod
    def search(
        self,
        data: FitData[Objective],
        starts: Starts,
        solver: Solver | None,
        stopping: Stopping,
        rng: np.random.Generator,
        callback: Callback | None,
    ) -> SearchResult:
        """The best parameters that the starts lead to; `solver` is None for no descent."""

    def explored(self, sample: Objective) -> Objective:
        """The subsample in the precision that starts are explored in: its own."""
        return sample

    def size_of_values(self, dataset: Dataset, scaling: Scaling) -> float:
        """Size of the values, in the units of the fit, whose rounding ends a search.

        By default the spread of the targets, which is 1.
        """
        return 1.0

    def theory_schedule(
        self,
        sample: Objective,
        starts: Candidates,
        stopping: Stopping,
        otherwise: float,
        rng: np.random.Generator,
    ) -> Schedule:
        """That of ``learning_rate="theory"``: constant, where no theorem gives steps."""
        return Constant(otherwise)

    @abstractmethod
    def prediction_attributes(
        self, dataset: Dataset, scaling: Scaling, found: Any
    ) -> dict[str, Any]:
        """What predictions need, of a SearchResult or an Incumbent, by name."""

    @abstractmethod
    def theory_attributes(
        self, dataset: Dataset, result: FitResult, rng: np.random.Generator
    ) -> dict[str, Any]:
        """What ``diagnostics=True`` adds, by name."""

    @abstractmethod
    def warnings(self, dataset: Dataset, result: FitResult) -> Iterator[str]:
        """What to warn the user of after a fit."""


def prepare(
    problem: Problem[Any, Any], dataset: Dataset, patch_unit: float = 0.0
) -> Dataset:
    """The data as a fit uses them: in range, with a constant entry for biases.

    The size of the patches is `patch_unit`, or follows from the samples if that is 0.

    Raises
    ------
    ValueError
        For samples and targets that are out of range, or cannot be drawn at random.
    """
    settings = problem.settings
    if problem.draws_mini_batches:
        remedies = problem.mini_batch_remedies
        refuse_mini_batches(dataset.samples, settings.batch_size, remedies)
    dataset.check_range()
    dataset = dataset.with_unit(patch_unit)
    return dataset.with_constant() if settings.bias else dataset


def run_fit(
    problem: Problem[Any, Objective],
    dataset: Dataset,
    seeds: Seeds,
    *,
    held_out: Dataset | None = None,
    fitted: FittedFilters | None = None,
    map_blocks: Callable[..., Any] = map,
    callback: Callable[..., bool] | None = None,
) -> FitResult:
    """Scale, split, draw starts, search.

    Parameters
    ----------
    problem : Problem
    dataset : Dataset
        Prepared, see :func:`prepare`.
    seeds : Seeds
    held_out : Dataset, default=None
        Validation data; without them early stopping holds out some of the samples.
    fitted : FittedFilters, default=None
        Filters to go on from, in place of the starts of the settings.
    map_blocks : callable, default=map
        See :class:`~skconvfilter.model.squared_error.SquaredError`.
    callback : callable, default=None
        ``callback(snapshot, scaling, variance)`` after every iteration, see
        :class:`~skconvfilter.estimators.callbacks.FitCallbacks`.

    Returns
    -------
    result : FitResult
    """
    settings = problem.settings
    if settings.early_stopping and held_out is None:
        dataset, held_out = _split(dataset, settings.validation_fraction, seeds.split)
    scaling = Scaling.of(
        dataset.targets,
        dataset.weights,
        centre=settings.fit_intercept,
        homogeneity=problem.homogeneity,
        either_sign=problem.either_sign,
    )
    data = _fit_data(problem, dataset, held_out, scaling, seeds, map_blocks)
    starts = problem.draw_starts(data, scaling, seeds, fitted)
    redraw = problem.make_redraw(data.sample, starts.candidates, scaling, seeds)
    starts = starts._replace(redraw=redraw)
    rounding = _ROUNDING_UNITS * data.objective.precision
    # Samples that vary by nothing but rounding would make every fit look exact.
    rounding *= min(data.sample.offset(), max(1.0, _MOST_ROUNDING / rounding))
    rounding *= problem.size_of_values(dataset, scaling)
    stopping = Stopping(
        settings.max_iter, settings.tol, settings.n_iter_no_change, 0.5 * rounding**2
    )
    solver = _descent(problem, data.sample, starts, scaling, stopping, seeds)
    if callback is not None:
        variance = _variance(data.objective) or 1.0
        callback = partial(callback, scaling=scaling, variance=variance)
    search = problem.search(data, starts, solver, stopping, seeds.subsample, callback)
    held_out_variance = None if data.validation is None else _variance(data.validation)
    constant_loss = data.objective.constant_loss(starts.candidates.signs)
    as_constant = abs(search.loss - constant_loss) <= _TIE * constant_loss
    is_constant = constant_loss > stopping.floor and as_constant
    return FitResult(search, scaling, held_out_variance, starts.warning, is_constant)


def _split(dataset: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    rows = np.arange(dataset.n_samples)
    try:
        train, held_out = train_test_split(rows, test_size=fraction, random_state=seed)
    except ValueError as error:
        raise ValueError(
            f"early_stopping=True holds out validation_fraction={fraction} of the "
            f"samples, but there are only {len(rows)} (n_samples={len(rows)})."
        ) from error
    return dataset.take(np.sort(train)), dataset.take(np.sort(held_out))


def _fit_data(
    problem: Problem[Any, Objective],
    dataset: Dataset,
    held_out: Dataset | None,
    scaling: Scaling,
    seeds: Seeds,
    map_blocks: Callable[..., Any],
) -> FitData[Objective]:
    objective = problem.make_objective(dataset, scaling, map_blocks)
    validation = None
    if held_out is not None:
        validation = problem.make_objective(held_out, scaling, map_blocks)
    sample, n_rows = objective, problem.n_search_rows(objective)
    if n_rows is not None:
        sample = subsample(objective, n_rows, seeds.subsample)
        if sample.n_samples == objective.n_samples:
            objective = sample
    return FitData(objective, problem.explored(sample), validation)


def _variance(objective: SquaredError) -> float:
    """Of the targets."""
    weights = objective.sample_weight
    mean = np.average(objective.targets, weights=weights)
    return float(np.average((objective.targets - mean) ** 2, weights=weights))


def _descent(
    problem: Problem[Any, Objective],
    sample: Objective,
    starts: Starts,
    scaling: Scaling,
    stopping: Stopping,
    seeds: Seeds,
) -> Solver | None:
    """Gradient descent on all samples or on mini-batches, if the settings ask for it."""
    settings = problem.settings
    if settings.solver == "levenberg-marquardt":
        return None
    assert starts.redraw is not None
    candidates = starts.candidates
    return SGD(
        schedule=_schedule(problem, sample, candidates, scaling, stopping, seeds.theory),
        batch_size=settings.batch_size,
        redraw=starts.redraw,
        seed=seeds.solver,
    )


def _schedule(
    problem: Problem[Any, Objective],
    sample: Objective,
    starts: Candidates,
    scaling: Scaling,
    stopping: Stopping,
    rng: np.random.Generator,
) -> Schedule:
    settings = problem.settings
    if callable(settings.learning_rate):
        return _UserSchedule(settings.learning_rate, scaling)
    curvature = largest_curvature(sample, starts.W, starts.signs, settings.batch_size)

    def rate(setting: str | float, automatic: float) -> float:
        if setting == "auto":
            return automatic / curvature if curvature > 0 else 1.0
        return float(scaling.inner_rate(setting))

    if settings.learning_rate == "two-stage":
        first = rate(settings.learning_rate_init, _FIRST_RATE)
        second = rate(settings.learning_rate_final, _SECOND_RATE)
        return TwoStage(first, second, settings.switch)
    constant = rate(settings.learning_rate_init, _CONSTANT_RATE)
    if settings.learning_rate == "constant":
        return Constant(constant)
    return problem.theory_schedule(sample, starts, stopping, constant, rng)


@dataclass(frozen=True)
class _UserSchedule(Schedule):
    """The user's callable, in the units of the user."""

    rule: Callable[..., Any]
    scaling: Scaling

    def __call__(self, step: int, running: Running) -> Any:
        losses = running.losses
        rate = self.rule(step, self.scaling.losses(losses))
        return self.scaling.inner_rate(_checked_rate(rate, losses))


def _checked_rate(rate: Any, losses: NDArray[np.float64]) -> NDArray[np.float64]:
    shape = losses.shape[1:]
    try:
        rates = np.broadcast_to(np.asarray(rate, dtype=np.float64), shape)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"learning_rate returned {rate!r}; it must return a number, or an array of "
            f"shape {shape}, one number for each restart that runs."
        ) from error
    if not (np.isfinite(rates).all() and (rates > 0).all()):
        raise ValueError(f"learning_rate returned {rates}, which is not positive.")
    return rates
