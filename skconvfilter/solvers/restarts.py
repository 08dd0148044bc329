"""From many starts to one filter: explore all, rank late, reflect, polish the best."""

from dataclasses import replace

import numpy as np

from skconvfilter.solvers.gauss_newton import LevenbergMarquardt
from skconvfilter.solvers.race import Race

# An early ranking by loss drops starts that would end well, so many are kept for long.
# benchmarks/recovery.py measures what these constants reach.
_EXPLORE_ROWS, _EXPLORE_ROWS_PER_TAP = 1000, 8
_EXPLORE_DAMPING = 1e-2
_EXPLORE_STEPS, _CONTEST_STEPS, _KICK_STEPS, _FINAL_STEPS = 6, 14, 12, 4
_N_CONTEST, _N_FINAL, _N_POLISH = 8, 8, 2
_KICK_ROUNDS, _N_KICKED, _N_KICKS = 2, 4, 16
# Multiply-adds that a Gauss-Newton step of all starts may take: where patches are long it
# bounds how many of them are explored, and with them time and memory.
_EXPLORE_BUDGET = 2e9


def descend(objective, starts, solver, stopping, *, validation=None, callback=None):
    """Advance all starts by one solver on all samples; the lowest loss wins.

    Parameters
    ----------
    objective : FilterObjective
    starts : Candidates
    solver : SGD or LevenbergMarquardt
    stopping : Stopping
    validation : FilterObjective, default=None
        Where given, its loss decides in place of the training loss.
    callback : callable, default=None
        See :func:`~skconvfilter.solvers.driver.run`.

    Returns
    -------
    result : SearchResult
    """
    race = Race(starts, stopping.floor, validation, callback)
    race.advance(objective, solver, stopping)
    return race.finish(objective)


def subsample(objective, rng):
    """The objective, in memory, on as many samples as the exploration of starts needs."""
    n_rows = max(_EXPLORE_ROWS, _EXPLORE_ROWS_PER_TAP * objective.patch_dim)
    if objective.n_samples <= n_rows:
        return objective.in_memory()
    rows = rng.choice(objective.n_samples, n_rows, replace=False)
    return objective.subset(np.sort(rows))


def explore_and_polish(
    objective,
    sample,
    starts,
    solver,
    stopping,
    *,
    max_polish,
    rng,
    validation=None,
    callback=None,
):
    """Find the best minimum that the starts lead to, and go to its bottom.

    On a subsample: all starts are advanced by `solver` (None: not at all) and by a few
    Levenberg-Marquardt steps; the better half goes on, each also from its reflection; the
    best few go on from where random kicks put them, too. On all samples: a few steps to
    rank the best, and Levenberg-Marquardt to the end from the first two.

    Parameters
    ----------
    objective, starts, stopping, validation, callback
        As for :func:`descend`.
    sample : FilterObjective
        The subsample, see :func:`subsample`.
    solver : SGD or None
    max_polish : int
        Largest number of the last Levenberg-Marquardt steps.
    rng : numpy.random.Generator
        Draws the kicks.

    Returns
    -------
    result : SearchResult
    """
    race = Race(starts, stopping.floor, validation, callback)
    if solver is not None:
        race.advance(sample, solver, stopping)
    n_explored = _n_explored(sample)
    race.keep(n_explored)
    explorer = LevenbergMarquardt(damping=_EXPLORE_DAMPING)
    race.advance(sample, explorer, replace(stopping, max_iter=_EXPLORE_STEPS))
    race.keep(min(_N_CONTEST, n_explored))
    race.reflect(_mean_patch_axis(sample))
    race.advance(sample, explorer, replace(stopping, max_iter=_CONTEST_STEPS))
    for _ in range(_KICK_ROUNDS):
        if race.is_settled() or n_explored < _N_KICKED + _N_KICKS:
            break
        race.keep(_N_KICKED)
        race.kick(rng.standard_normal((objective.patch_dim, _N_KICKS)))
        race.advance(sample, explorer, replace(stopping, max_iter=_KICK_STEPS))
    race.keep(1 if race.is_settled() else min(_N_FINAL, n_explored))
    polisher = LevenbergMarquardt()
    race.advance(objective, polisher, replace(stopping, max_iter=_FINAL_STEPS))
    race.keep(_N_POLISH)
    race.advance(objective, polisher, replace(stopping, max_iter=max_polish))
    return race.finish(objective)


def _n_explored(objective):
    patch_dim = objective.patch_dim
    work = objective.n_samples * patch_dim**2 + patch_dim**3 / 3
    return max(2, int(_EXPLORE_BUDGET / work))


def _mean_patch_axis(objective):
    """Direction that the mean patches of the samples share most."""
    mean, covariance = objective.mean_patch_moments()
    return np.linalg.eigh(covariance + np.outer(mean, mean))[1][:, -1]
