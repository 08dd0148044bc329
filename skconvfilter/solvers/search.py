"""From many starts to one minimum: the three searches that fits are made of."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias, TypeVar

import numpy as np

from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.squared_error import FULL_WORK, Array, SquaredError, step_work
from skconvfilter.solvers.driver import Callback, Solver, Stopping
from skconvfilter.solvers.levenberg_marquardt import LevenbergMarquardt
from skconvfilter.solvers.multistart import Candidates, MultiStart, SearchResult
from skconvfilter.solvers.penalty import tune_penalty

# An early ranking by loss drops starts that would end well, so many are kept for long.
# benchmarks/recovery.py measures what these constants reach.
_EXPLORE_ROWS, _EXPLORE_ROWS_PER_TAP, _LEAST_ROWS_PER_TAP = 1000, 8, 4
_EXPLORE_DAMPING = 1e-2
_EXPLORE_STEPS, _CONTEST_STEPS, _PERTURB_STEPS, _RANK_STEPS = 6, 14, 12, 4
_N_CONTEST, _N_RANKED, _N_POLISHED = 8, 8, 2
_PERTURB_ROUNDS, _N_PERTURBED, _N_PERTURBATIONS = 2, 4, 16
# Where a step takes long: so many steps, each of which gains less than this share, end an
# exploration; and the damping of the steps that follow one without errors.
_COSTLY_PATIENCE, _COSTLY_TOL, _EXACT_DAMPING = 2, 1e-2, 1e-6
# Numbers in the matrices of all starts that are explored.
_MAX_ELEMENTS = 2e7

# Of a sequential search: starts that are advanced together.
_GROUP = 3
# Scores that differ by less than this share are of one minimum, with the filters in another
# order; a minimum that so many starts have found is taken for the lowest.
_SAME_SCORE, _N_AGREEING = 1e-3, 3
# With a loss smaller than this, relative to that of a constant, other minima than that of
# a bank that fits exactly may agree, so that more have to.
_HARDLY_NOISY, _N_AGREEING_WITHOUT_NOISE = 1e-3, 6
# With a smaller loss, relative to that of a constant, the data may be without noise: then a
# bank that fits exactly is worth more starts.
_NEARLY_EXACT = 0.03
# A bank with a loss smaller than this, relative to that of a constant, is exact up to
# rounding, which is more than that of its values if large filters nearly cancel.
_EXACT = 1e-22
# Losses that differ by less than this share differ by rounding.
_SAME_LOSS = 1e-9
# Candidates that end on all samples.
_N_FINALISTS = 2

# Starts of some restarts, and whether the data may be without noise.
Draw: TypeAlias = Callable[[Sequence[int], bool, Callback | None], Candidates]
# New parameters (n_parameters,) for a restart.
Redraw: TypeAlias = Callable[[int], Array]

_Objective = TypeVar("_Objective", bound=SquaredError)


def subsample(objective: _Objective, n_rows: int, rng: np.random.Generator) -> _Objective:
    """The objective, in memory, on at most `n_rows` random samples."""
    if objective.n_samples <= n_rows:
        return objective.in_memory()
    rows = rng.choice(objective.n_samples, n_rows, replace=False)
    return objective.subset(np.sort(rows))


def n_exploration_rows(objective: FilterObjective) -> int:
    """Number of samples that the exploration of starts of one filter needs."""
    layout = objective.geometry.layout
    n_rows = max(_EXPLORE_ROWS, _EXPLORE_ROWS_PER_TAP * layout.patch_dim)
    if step_work(n_rows, layout.n_patches, layout.patch_dim) <= FULL_WORK:
        return n_rows
    return max(_EXPLORE_ROWS, _LEAST_ROWS_PER_TAP * layout.patch_dim)


def explored(sample: FilterObjective) -> FilterObjective:
    """A subsample in the precision that starts of one filter are explored in."""
    return sample.in_single_precision() if sample.is_costly() else sample


def descend(
    objective: SquaredError,
    starts: Candidates,
    solver: Solver,
    stopping: Stopping,
    *,
    tune: bool = False,
    validation: SquaredError | None = None,
    callback: Callback | None = None,
) -> SearchResult:
    """Advance all starts by one solver on all samples; the lowest loss wins.

    Parameters
    ----------
    objective : SquaredError
    starts : Candidates
    solver : Solver
    stopping : Stopping
    tune : bool, default=False
        Whether Levenberg-Marquardt steps follow that choose the penalty, see
        :func:`~skconvfilter.solvers.penalty.tune_penalty`; for that solver only.
    validation : SquaredError, default=None
        If given, its loss decides in place of the training loss.
    callback : Callback, default=None

    Returns
    -------
    result : SearchResult
    """
    search = MultiStart(starts, stopping.floor, validation, callback)
    search.advance(objective, solver, stopping)
    if tune:
        assert isinstance(solver, LevenbergMarquardt)
        objective = tune_penalty(search, objective, solver, stopping)
    return search.finish(objective)


def explore_and_polish(
    objective: FilterObjective,
    sample: FilterObjective,
    starts: Candidates,
    solver: Solver | None,
    stopping: Stopping,
    *,
    max_polish: int,
    rng: np.random.Generator,
    redraw: Redraw | None = None,
    tune: bool = False,
    validation: FilterObjective | None = None,
    callback: Callback | None = None,
) -> SearchResult:
    """Find the best minimum that the starts lead to, and polish it.

    On a subsample, all starts are advanced by `solver` and by a few Levenberg-Marquardt
    steps. The better half continues, also from its reflections; the best few continue, also
    from random perturbations. On all samples, a few steps rank the best, and the first two
    are advanced by Levenberg-Marquardt until they converge. Where a step takes long, fewer
    starts run, those of the lowest loss on a few samples, and fewer continue; the narrowest
    search advances its starts on the subsample until they converge.

    Parameters
    ----------
    objective, starts, stopping, tune, validation, callback
        As for :func:`descend`.
    sample : FilterObjective
        The subsample, see :func:`subsample`.
    solver : Solver or None
        None: begin with the Levenberg-Marquardt steps.
    max_polish : int
        Largest number of the last Levenberg-Marquardt steps.
    rng : numpy.random.Generator
        Draws the perturbations.
    redraw : callable, default=None
        ``redraw(restart)``: parameters (n_parameters,) with which every start is tried once
        more if the best has nearly no error, but some: the data may be without noise.

    Returns
    -------
    result : SearchResult
    """
    search = MultiStart(starts, stopping.floor, validation, callback)
    width, costly = sample.search_width(), sample.is_costly()
    metric = sample.patch_metric()
    exploration = _exploration(sample, objective, stopping, max_polish)

    explore = partial(_explore, search, sample, solver, stopping, exploration, metric, rng)
    explore()
    nearly_exact = _best(search) <= _NEARLY_EXACT * sample.constant_loss(starts.signs)
    if redraw is not None and nearly_exact and not (costly or search.is_settled()):
        first = search.advances[-1]
        search.candidates = _redrawn(starts, redraw)
        explore()
        search.pool([first, search.advances[-1]])
    exact = costly and _best(search) <= exploration.floor
    n_ranked = 1 if search.is_settled() else _share(width, _N_RANKED)
    search.keep(n_ranked)
    polisher = LevenbergMarquardt(metric=metric)
    if exact:
        polisher = replace(polisher, damping=_EXACT_DAMPING)
    if n_ranked > 1:
        search.advance(objective, polisher, replace(stopping, max_iter=_RANK_STEPS))
        search.keep(_share(width, _N_POLISHED))
    last = replace(stopping, max_iter=max_polish, floor=search.floor)
    search.advance(objective, polisher, last)
    if tune:
        objective = tune_penalty(search, objective, polisher, last)
    return search.finish(objective)


def _exploration(
    sample: FilterObjective, objective: FilterObjective, stopping: Stopping, max_polish: int
) -> Stopping:
    """When the first Levenberg-Marquardt steps on the subsample end."""
    if not sample.is_costly():
        return replace(stopping, max_iter=_EXPLORE_STEPS)
    # Steps on the subsample, in single precision, take less time than the last ones.
    coarser = (sample.precision / objective.precision) ** 2
    return replace(
        stopping,
        max_iter=max_polish,
        tol=max(stopping.tol, _COSTLY_TOL),
        n_iter_no_change=_COSTLY_PATIENCE,
        floor=coarser * stopping.floor,
    )


def _explore(
    search: MultiStart,
    sample: FilterObjective,
    solver: Solver | None,
    stopping: Stopping,
    exploration: Stopping,
    metric: Array,
    rng: np.random.Generator,
) -> None:
    """Advance the most promising candidates, and the best of them once more."""
    n_starts = len(search.candidates.restarts)
    search.candidates = _most_promising(sample, search.candidates)
    if solver is not None:
        search.advance(sample, solver, stopping)
        search.keep(n_starts)  # without duplicates
    explorer = LevenbergMarquardt(damping=_EXPLORE_DAMPING, metric=metric)
    search.advance(sample, explorer, exploration)
    # The floor is that of values as large as they vary. Means over patches are often far
    # larger: without their size no filter would be seen to fit to machine precision.
    search.floor = stopping.floor * max(1, _largest_value(search, sample)) ** 2
    # Of several filters that fit, the first to do so depends on rounding: where steps are
    # fast, all of them get there.
    if sample.search_width() == 1 or not (sample.is_costly() or search.is_settled()):
        _compete(search, sample, metric, stopping, rng)


def _compete(
    search: MultiStart,
    sample: FilterObjective,
    metric: Array,
    stopping: Stopping,
    rng: np.random.Generator,
) -> None:
    """Advance the best, their reflections, and perturbations of the best few."""
    width = sample.search_width()
    explorer = LevenbergMarquardt(damping=_EXPLORE_DAMPING, metric=metric)
    search.keep(_share(width, _N_CONTEST))
    search.reflect(_mean_patch_axis(sample))
    search.advance(sample, explorer, replace(stopping, max_iter=_CONTEST_STEPS))
    for _ in range(_PERTURB_ROUNDS):
        if search.is_settled():
            break
        search.keep(_share(width, _N_PERTURBED))
        normal = rng.standard_normal((sample.patch_dim, _share(width, _N_PERTURBATIONS)))
        directions: Array = np.linalg.solve(np.linalg.cholesky(metric).T, normal)
        search.perturb(directions, metric)
        search.advance(sample, explorer, replace(stopping, max_iter=_PERTURB_STEPS))


def _largest_value(search: MultiStart, sample: FilterObjective) -> float:
    """Of the best filter, in absolute value."""
    winner = search.advances[-1].ranking(search.floor)[:1]
    best = search.candidates.take(winner)
    return float(sample.value(best.W, best.signs).max_abs_output[0])


def _share(width: float, count: int) -> int:
    return max(1, int(width * count))


def _most_promising(sample: FilterObjective, starts: Candidates) -> Candidates:
    """As many of the starts as can be explored: those of lowest loss on a few samples."""
    n_starts = len(starts.restarts)
    matrices = n_starts * sample.patch_dim**2
    n_explored = _share(min(sample.search_width(), _MAX_ELEMENTS / matrices), n_starts)
    if n_explored == n_starts:
        return starts
    losses = sample.few().value(starts.W, starts.signs).loss
    return starts.take(np.sort(np.argsort(losses, kind="stable")[:n_explored]))


def _mean_patch_axis(objective: FilterObjective) -> Array:
    """Direction (p,) that the mean patches of the samples share most."""
    mean, covariance = objective.mean_patch_moments()
    return np.linalg.eigh(covariance + np.outer(mean, mean))[1][:, -1]


def sequential_multistart(
    objective: SquaredError,
    sample: SquaredError,
    starts: Candidates,
    solver: Solver,
    stopping: Stopping,
    *,
    n_if_noisy: int | None = None,
    draw: Draw | None = None,
    redraw: Redraw | None = None,
    tune: bool = False,
    validation: SquaredError | None = None,
    callback: Callback | None = None,
) -> SearchResult:
    """Advance one start after another until the best minimum is found.

    The search over starts ends when one fits to machine precision, or when three have found
    the lowest loss, six where it is nearly 0. It runs on a subsample; the best continue on
    all samples. The first start runs alone, so that one that the theory guarantees costs no
    more than itself, and so do those of data that may be without noise.

    Parameters
    ----------
    objective, starts, solver, stopping, tune, validation, callback
        As for :func:`descend`.
    sample : SquaredError
        The subsample that starts are compared on; may be `objective` itself.
    n_if_noisy : int, default=None
        Number of starts after which more follow, one at a time, only as long as the best
        has nearly no error. None: all of them.
    draw : callable, default=None
        ``draw(restarts, nearly_exact, callback)`` gives the starts of some restarts when it
        is their turn, in the place of `starts`, and calls back as a solver does. It is told
        whether the best has nearly no error.
    redraw : callable, default=None
        ``redraw(restart)``: parameters (n_parameters,) with which a start is tried once
        more that has died, which is to say that it fits no better than a constant. Dead
        starts do not count as having found the lowest loss.

    Returns
    -------
    result : SearchResult
    """
    constant_loss = sample.constant_loss(starts.signs)
    stopping = replace(stopping, floor=max(stopping.floor, _EXACT * constant_loss))
    search = MultiStart(starts, stopping.floor, validation, callback)
    dead_loss = (1 - _SAME_LOSS) * constant_loss
    n_starts = len(starts.restarts)
    n_if_noisy = min(n_if_noisy or n_starts, n_starts)
    group, nearly_exact = range(1), False
    while group:
        if draw is None:
            search.candidates = starts.take(group)
        else:
            search.candidates = draw(group, nearly_exact, callback and search.follow)
        search.advance(sample, solver, stopping)
        dead = np.flatnonzero(search.advances[-1].result.loss >= dead_loss)
        if redraw is not None and len(dead) and not _is_settled(search, dead_loss):
            search.candidates = _redrawn(starts.take(np.array(group)[dead]), redraw)
            search.advance(sample, solver, stopping)
        if _is_settled(search, dead_loss):
            break
        nearly_exact = _may_be_exact(search, constant_loss, group.stop - n_if_noisy)
        group = _next_group(group.stop, n_starts, n_if_noisy, nearly_exact)
    search.pool(search.advances)
    if sample is not objective:
        search.keep(1 if search.is_settled() else _N_FINALISTS)
        search.advance(objective, solver, stopping)
    if tune:
        assert isinstance(solver, LevenbergMarquardt)
        objective = tune_penalty(search, objective, solver, stopping)
    return search.finish(objective)


def _may_be_exact(search: MultiStart, constant_loss: float, n_more: int) -> bool:
    """Whether the best start has nearly no error, after some more than there are usually.

    If no start fits much better than the others, there is noise: so the loss that another
    start needs falls with the square of their number.
    """
    nearly_exact = _NEARLY_EXACT / (1 + max(1, n_more + 1) ** 2)
    return _best(search) <= nearly_exact * constant_loss


def _next_group(begun: int, n_starts: int, n_if_noisy: int, nearly_exact: bool) -> range:
    """Starts that are advanced together; none at the end of the search."""
    if begun >= n_if_noisy:
        return range(begun, min(begun + nearly_exact, n_starts))
    # One that fits exactly ends the search.
    together = 1 if nearly_exact else _GROUP
    return range(begun, min(begun + together, n_if_noisy))


def _redrawn(starts: Candidates, redraw: Redraw) -> Candidates:
    W = np.stack([redraw(restart) for restart in starts.restarts], axis=1)
    return replace(starts, W=W)


def _best(search: MultiStart) -> float:
    """The lowest loss of all advances so far, infinite before the first."""
    losses = [advanced.result.loss.min() for advanced in search.advances]
    return float(min(losses, default=np.inf))


def _is_settled(search: MultiStart, dead_loss: float) -> bool:
    """Whether to search no further: one fits, or some that are not dead agree."""
    if search.stopped:
        return True
    scores = np.concatenate([advanced.result.score for advanced in search.advances])
    if scores.min() <= search.floor:
        return True
    losses = np.concatenate([advanced.result.loss for advanced in search.advances])
    agreeing = scores <= (1 + _SAME_SCORE) * scores.min()
    hardly_noisy = losses.min() <= _HARDLY_NOISY * dead_loss
    n_needed = _N_AGREEING_WITHOUT_NOISE if hardly_noisy else _N_AGREEING
    return bool(np.count_nonzero(agreeing & (losses < dead_loss)) >= n_needed)
