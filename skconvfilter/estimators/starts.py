"""The starts that the settings ask for, in the units of a fit."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skconvfilter.estimators.fit import FitData, FittedFilters, Seeds, Starts
from skconvfilter.estimators.results import Scaling
from skconvfilter.estimators.settings import (
    BankSettings,
    FilterSettings,
    check_filters,
    is_option,
)
from skconvfilter.initializers.linear_start import linear_start
from skconvfilter.initializers.random_starts import ball_starts, random_banks
from skconvfilter.initializers.tensor import MomentsVanish, TensorStart, tensor_start
from skconvfilter.kernels.layout import PatchLayout
from skconvfilter.model.bank_objective import BankObjective
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.geometry import join_bias
from skconvfilter.solvers.driver import Callback
from skconvfilter.solvers.forward import Bank, ForwardSearch
from skconvfilter.solvers.generalized import (
    DEGREES_OF_FREEDOM,
    GeneralizedProblem,
    GeneralizedSearch,
)
from skconvfilter.solvers.multistart import Candidates
from skconvfilter.solvers.search import subsample


def filter_starts(
    objective: FilterObjective,
    settings: FilterSettings,
    seeds: Seeds,
    scaling: Scaling,
    fitted: FittedFilters | None = None,
) -> Candidates:
    """Starts of one filter."""
    if fitted is not None:
        W = scaling.inner_filters(fitted.W)[:, np.newaxis]
        signs = np.array([chosen_sign(settings, float(fitted.signs))])
    elif not is_option(settings.init, "ball"):
        layout = objective.geometry.layout
        filters = _given_filters(settings, seeds, layout)
        W = scaling.inner_filters(join_bias(filters, 0.0, layout.constant).T)
        signs = _given_or_fitting_signs(objective, W, settings.output_sign)
    else:
        W, signs = _ball(objective, settings, seeds, scaling)
        if settings.polish and settings.init_radius == "auto":
            _put_linear_start(objective, settings, W, signs)
    if scaling.target_scale == 0:
        # Constant targets: the filter 0 is exact, and no other is better.
        W = np.zeros_like(W)
    return Candidates(W, signs, np.arange(len(signs)))


def filter_redraw(
    objective: FilterObjective,
    starts: Candidates,
    settings: FilterSettings,
    seeds: Seeds,
    scaling: Scaling,
) -> Callable[[int], NDArray[np.float64]]:
    """New starts for restarts that die, each restart from a stream of its own."""
    radius = _inner_radius(settings, scaling)
    streams = _redraw_streams(starts, seeds)

    def redraw(restart: int) -> NDArray[np.float64]:
        sign = starts.signs[[restart]]
        return ball_starts(objective, [streams[restart]], sign, radius)[:, 0]

    return redraw


def chosen_sign(settings: FilterSettings, present: float) -> float:
    """The sign that the settings ask for, else the present one."""
    return float(present if settings.output_sign == "auto" else settings.output_sign)


def bank_starts(
    data: FitData[BankObjective],
    settings: BankSettings,
    seeds: Seeds,
    scaling: Scaling,
    fitted: FittedFilters | None = None,
) -> Starts:
    """Starts of a bank; that of the tensor method, if it is asked for, is the first."""
    sample = data.sample
    W, signs = np.zeros((sample.n_parameters, 1)), np.ones((1, settings.n_filters))
    if not sample.targets.any() and data.objective.value(W, signs).loss[0] == 0:
        # Filters of 0 are exact.
        return Starts(Candidates(W, signs, np.arange(1)))
    if fitted is not None:
        if settings.output_weights == "signs":
            signs = scaling.inner_signs(fitted.signs)[np.newaxis]
        W = scaling.inner_filters(fitted.W).reshape(-1, 1)
        return Starts(Candidates(W, signs, np.arange(1)))
    layout = sample.geometry.layout
    if not isinstance(settings.init, str):
        filters = scaling.inner_filters(join_bias(settings.init, 0.0, layout.constant))
        signs = _fitting_signs(sample, filters, settings)
        W = filters.reshape(len(filters), -1).T
        return Starts(Candidates(W, signs, np.arange(len(filters))))
    W, signs = _random_starts(sample, settings, seeds)
    warning = None
    forward = dict(enumerate(seeds.starts)) if settings.init in ("auto", "forward") else {}
    if settings.init == "tensor" or (settings.init == "auto" and not layout.overlaps):
        try:
            start = _tensor_start(data, settings, seeds.theory)
            filters = join_bias(start.W.T, 0.0, layout.constant)
            if start.warning is None or settings.init == "tensor":
                W[:, 0], signs[0] = filters.ravel(), start.signs
                forward.pop(0, None)
            if start.warning is not None:
                warning = f"init='tensor' gave a doubtful start: {start.warning}"
        except MomentsVanish as error:
            warning = f"init='tensor' gave no start: {error} A random one takes its place."
    if settings.init == "auto":
        warning = None
    return Starts(Candidates(W, signs, np.arange(len(signs))), warning, forward=forward)


class ForwardStarts:
    """Forward starts, each of which is searched for when it is its turn.

    Parameters
    ----------
    sample : BankObjective
        The subsample that starts are compared on.
    settings : BankSettings
    starts : Starts
        With the generators of those that are forward starts.
    floor : float
        A loss that is zero to machine precision.
    rng : numpy.random.Generator
        Draws subsamples, and random filters for generalized least squares.
    """

    def __init__(
        self,
        sample: BankObjective,
        settings: BankSettings,
        starts: Starts,
        floor: float,
        rng: np.random.Generator,
    ) -> None:
        explored = subsample(sample, settings.forward_rows, rng)
        self._explored = explored.in_single_precision()
        self._settings = settings
        self._starts = starts
        self._floor = floor
        self._rng = rng
        self._searches: dict[int, ForwardSearch | GeneralizedSearch] = {}
        self._generalized: dict[int, GeneralizedProblem] = {}

    def draw(
        self, restarts: Sequence[int], nearly_exact: bool, callback: Callback | None
    ) -> Candidates:
        """The starts of some restarts; `nearly_exact`: the data may be without noise."""
        drawn = self._starts.candidates.take(restarts)
        for column, restart in enumerate(restarts):
            if restart in self._starts.forward:
                search = self._make_search(restart, nearly_exact, callback)
                bank = search.run().padded(self._explored.n_filters)
                drawn.W[:, column], drawn.signs[column] = bank
                self._searches[restart] = search
        return drawn

    def smaller_banks(self, restart: int) -> list[Bank]:
        """Those through which the bank of a restart has grown, if it has."""
        search = self._searches.get(restart)
        return [] if search is None else search.smaller_banks()

    def _make_search(
        self, restart: int, nearly_exact: bool, callback: Callback | None
    ) -> ForwardSearch | GeneralizedSearch:
        rng = self._starts.forward[restart]
        signed = self._settings.output_weights == "signs"
        if nearly_exact and self._settings.generalized_rows is not None:
            problem = self._problem(restart % len(DEGREES_OF_FREEDOM))
            return GeneralizedSearch(problem, rng, signed=signed, callback=callback)
        return ForwardSearch(
            self._explored, rng, signed=signed, floor=self._floor, callback=callback
        )

    def _problem(self, turn: int) -> GeneralizedProblem:
        """Generalized least squares; those of different turns find other banks."""
        if turn not in self._generalized:
            assert self._settings.generalized_rows is not None
            few = subsample(self._explored, self._settings.generalized_rows, self._rng)
            degrees = DEGREES_OF_FREEDOM[turn]
            self._generalized[turn] = GeneralizedProblem.of(few, self._rng, degrees)
        return self._generalized[turn]


def bank_redraw(
    objective: BankObjective, starts: Candidates, seeds: Seeds
) -> Callable[[int], NDArray[np.float64]]:
    """New banks for restarts that die, each restart from a stream of its own."""
    streams = _redraw_streams(starts, seeds)

    def redraw(restart: int) -> NDArray[np.float64]:
        return random_banks(objective, [streams[restart]], starts.signs[[restart]])[:, 0]

    return redraw


def _redraw_streams(starts: Candidates, seeds: Seeds) -> list[np.random.Generator]:
    return [np.random.default_rng(s) for s in seeds.redraw.spawn(len(starts.signs))]


def _inner_radius(
    settings: FilterSettings, scaling: Scaling
) -> Literal["auto", "theory"] | float:
    if isinstance(settings.init_radius, str):
        return settings.init_radius
    return float(scaling.inner_filters(np.array(settings.init_radius)))


def _ball(
    objective: FilterObjective, settings: FilterSettings, seeds: Seeds, scaling: Scaling
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    radius = _inner_radius(settings, scaling)
    if settings.output_sign == "auto" and settings.n_init == 1:
        # The one start is drawn for both signs, and the sign that fits better has it.
        streams = [*seeds.starts, deepcopy(seeds.starts[0])]
        signs = np.array([1.0, -1.0])
        W = ball_starts(objective, streams, signs, radius)
        better = np.argmin(objective.value(W, signs).loss)
        return W[:, [better]], signs[[better]]
    if settings.output_sign == "auto":
        signs = np.where(np.arange(settings.n_init) % 2 == 0, 1.0, -1.0)
    else:
        signs = np.full(settings.n_init, float(settings.output_sign))
    return ball_starts(objective, seeds.starts, signs, radius), signs


def _put_linear_start(
    objective: FilterObjective,
    settings: FilterSettings,
    W: NDArray[np.float64],
    signs: NDArray[np.float64],
) -> None:
    """Where few starts can run, let the first of the better sign be a linear model's."""
    if objective.search_width() == 1:
        return
    allowed = (1.0, -1.0) if settings.output_sign == "auto" else (settings.output_sign,)
    w, sign = linear_start(objective, np.array(allowed, dtype=float))
    if w.any():
        # A single start takes the sign, too.
        restart = int(np.argmax(signs == sign))
        W[:, restart], signs[restart] = w, sign


def _given_filters(
    settings: FilterSettings, seeds: Seeds, layout: PatchLayout
) -> NDArray[np.float64]:
    """The user's starts, shape (n_init, window_size)."""
    init: Any = settings.init
    if callable(init):
        init = init(settings.n_init, layout.window_size, seeds.init)
    return check_filters(init, layout)


def _given_or_fitting_signs(
    objective: FilterObjective, W: NDArray[np.float64], output_sign: str | int
) -> NDArray[np.float64]:
    if output_sign != "auto":
        return np.full(W.shape[1], float(output_sign))
    return np.where(objective.best_scale(W, np.ones(W.shape[1])) < 0, -1.0, 1.0)


def _tensor_start(
    data: FitData[BankObjective], settings: BankSettings, rng: np.random.Generator
) -> TensorStart:
    # The tensor method reads patches, often: of samples that are not in memory it sees
    # those of the subsample.
    objective = data.objective if data.objective.is_in_memory else data.sample
    layout = objective.geometry.layout
    pooled = layout.n_patches if settings.pooling == "mean" else 1

    def patch_blocks() -> Iterator[NDArray[np.floating[Any]]]:
        # A constant entry has no moments: biases start at 0.
        return (patches[..., : layout.window_size] for patches in objective.patch_blocks())

    return tensor_start(
        patch_blocks,
        pooled * objective.targets,
        settings.n_filters,
        settings.activation,
        sample_weight=objective.sample_weight,
        signed=settings.output_weights == "signs",
        contraction=settings.contraction,
        random_state=rng,
    )


def _random_starts(
    objective: BankObjective, settings: BankSettings, seeds: Seeds
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    signs = np.array([_drawn_signs(settings, rng) for rng in seeds.starts])
    W = random_banks(objective, seeds.starts, signs)
    if objective.fits_scale and settings.output_weights == "ones":
        # The negative filters have a positive output scale.
        W = np.where(objective.best_scale(W, signs) < 0, -W, W)
    return W, signs


def _drawn_signs(settings: BankSettings, rng: np.random.Generator) -> NDArray[np.float64]:
    if settings.output_weights == "ones":
        return np.ones(settings.n_filters)
    return rng.choice([1.0, -1.0], size=settings.n_filters)


def _fitting_signs(
    objective: BankObjective, filters: NDArray[np.float64], settings: BankSettings
) -> NDArray[np.float64]:
    """Output weights of given filters (n_banks, n_filters, p): those that fit best."""
    if settings.output_weights == "ones":
        return np.ones(filters.shape[:2])
    roots = np.sqrt(objective.sample_weight)
    signs = []
    for bank in filters:
        values = objective.values_of_filters(bank)
        if settings.fit_intercept:
            values = values - np.average(values, axis=0, weights=objective.sample_weight)
        lengths = np.linalg.lstsq(
            roots[:, np.newaxis] * values, roots * objective.targets, rcond=None
        )[0]
        signs.append(np.where(lengths < 0, -1.0, 1.0))
    return np.array(signs)
