"""One start after another, the most promising first, until the best minimum is found."""

import numpy as np

from skconvfilter.solvers.driver import SolverResult
from skconvfilter.solvers.race import Candidates, Race

# Starts that are advanced together, after the first alone.
_GROUP = 3
# Losses that differ by less than this share are of one minimum, filters in another order;
# a minimum that so many starts have found is taken for the lowest.
_SAME_LOSS, _N_AGREEING = 1e-3, 3
# Candidates that end on all samples.
_N_FINAL = 2


def portfolio(objective, sample, starts, solver, stopping, *, callback=None):
    """Advance starts until one fits to rounding, or three have found the lowest loss.

    On a subsample; the best go on on all samples. The first start runs alone, so that one
    that the theory vouches for is all that is paid for where it succeeds.

    Parameters
    ----------
    objective, sample : SquaredError
        On all samples, and on those that starts are compared on; may be the same.
    starts : Candidates
    solver : SGD or LevenbergMarquardt
    stopping : Stopping
    callback : callable, default=None
        See :func:`~skconvfilter.solvers.driver.run`.

    Returns
    -------
    result : SearchResult
    """
    race = Race(starts, stopping.floor, None, callback)
    ended = []
    for group in _groups(len(starts.restarts)):
        race.candidates = starts.take(group)
        race.advance(sample, solver, stopping)
        ended.append((race.candidates, race.result))
        scores = np.concatenate([r.score for _, r in ended])
        if race.stopped or _is_settled(scores, stopping.floor):
            break
    race.candidates, race.result = _joined(ended)
    if sample is not objective:
        race.keep(1 if race.is_settled() else _N_FINAL)
        race.advance(objective, solver, stopping)
    return race.finish(objective)


def _groups(n_starts):
    return [[0], *(range(i, min(i + _GROUP, n_starts)) for i in range(1, n_starts, _GROUP))]


def _is_settled(scores, floor):
    if scores.min() <= floor:
        return True
    lowest = np.isfinite(scores) & (scores <= (1 + _SAME_LOSS) * scores.min())
    return np.count_nonzero(lowest) >= _N_AGREEING


def _joined(ended):
    """Candidates of several groups and their results as one; of histories none."""
    candidates, results = zip(*ended, strict=True)
    names = ("signs", "intercept", "loss", "score")
    parts = {
        name: np.concatenate([getattr(result, name) for result in results])
        for name in names
    }
    together = SolverResult(
        W=np.hstack([result.W for result in results]),
        status=[status for result in results for status in result.status],
        history={},
        **parts,
    )
    signs = np.concatenate([group.signs for group in candidates])
    restarts = np.concatenate([group.restarts for group in candidates])
    return Candidates(together.W, signs, restarts), together
