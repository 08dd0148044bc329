"""Candidates in competition: which run, which are left, and what became of each restart."""

from dataclasses import dataclass, replace

import numpy as np

from skconvfilter.solvers.driver import Status, run

# Length of a kick relative to the filter's.
_KICK_LENGTH = 1.0
# Relative difference of losses that the order of summation can make.
_TIE = 1e-9
# Relative distance below which two filters are on their way to the same minimum.
_SAME_FILTER = 1e-2


@dataclass(frozen=True)
class SearchResult:
    """The best parameters and what became of every restart."""

    w: np.ndarray  # (p,)
    sign: float | np.ndarray  # or, of a bank, signs
    intercept: float
    loss: float
    score: float  # validation loss where there is a validation set, else `loss`
    status: Status
    best_restart: int
    restart_losses: np.ndarray  # (n_init,), on all samples; NaN if it never ran
    history: dict  # of arrays (n_iterations + 1, n_init), "filters" with (.., p) behind


@dataclass(frozen=True)
class Candidates:
    """Filters in competition, each with the number of the restart it stems from."""

    W: np.ndarray  # (p, R)
    signs: np.ndarray  # (R,), or of banks (R, n_filters)
    restarts: np.ndarray  # (R,)

    def take(self, columns):
        """Some of them."""
        return Candidates(self.W[:, columns], self.signs[columns], self.restarts[columns])

    def with_kicks(self, directions):
        """Each also moved by a share of its norm along each of the directions (p, n)."""
        units = directions / np.linalg.norm(directions, axis=0)
        n_kicks = units.shape[1]
        lengths = _KICK_LENGTH * np.linalg.norm(self.W, axis=0)
        kicks = np.repeat(lengths, n_kicks) * np.tile(units, len(lengths))
        return Candidates(
            np.hstack([self.W, np.repeat(self.W, n_kicks, axis=1) + kicks]),
            np.concatenate([self.signs, np.repeat(self.signs, n_kicks, axis=0)]),
            np.concatenate([self.restarts, np.repeat(self.restarts, n_kicks)]),
        )

    def with_reflections(self, axis):
        """Each also as its reflection about a direction: w' = 2 (axis . w) axis - w.

        Where the mean patches of all samples point the same way, w and w' differ in value
        by little (the model is half of mean |w . Z_i| plus half of w . mean Z_i): the
        reflection of a poor local minimum is then close to a good one.
        """
        reflected = 2 * np.outer(axis, axis @ self.W) - self.W
        return Candidates(
            np.hstack([self.W, reflected]),
            np.concatenate([self.signs, self.signs]),
            np.concatenate([self.restarts, self.restarts]),
        )


class Race:
    """Candidates, the results of the last solver, and the record of every restart."""

    def __init__(self, starts, floor, validation, callback):
        self.candidates = starts
        self.floor = floor
        self.validation = validation
        self.callback = callback
        self.signs = starts.signs  # of the restarts
        self.latest = starts.W.copy()
        self.ran = np.zeros(len(starts.signs), dtype=bool)
        self.result = None
        self.histories = []
        self.objective = None
        self.leader = None  # of all candidates so far, on the samples of `objective`
        self.stopped = False  # by the callback

    def advance(self, objective, solver, stopping):
        """Run a solver on every candidate; after a stop, only evaluate them."""
        if self.stopped:
            stopping = replace(stopping, max_iter=0)
        if objective is not self.objective:
            self.objective, self.leader = objective, None
        self.result = run(
            solver,
            objective,
            self.candidates.W,
            self.candidates.signs,
            stopping,
            validation=self.validation,
            callback=None if self.callback is None else self._watch,
        )
        self.candidates = replace(self.candidates, W=self.result.W)
        # From worst to best, so that a restart's best candidate is written last.
        order = self._ranking()[::-1]
        restarts = self.candidates.restarts[order]
        self.latest[:, restarts] = self.result.W[:, order]
        self.ran[restarts] = True
        self.histories.append(self._per_restart(order, restarts))

    def keep(self, n_candidates):
        """Drop all but the best distinct ones; before any solver ran, all but the first.

        Many starts end in the same minimum, and would crowd out the others.
        """
        if self.result is None:
            best = np.arange(min(n_candidates, len(self.signs)))
        else:
            best = np.sort(self._merge_and_rank()[:n_candidates])
        self.candidates = self.candidates.take(best)

    def reflect(self, axis):
        """Double the candidates by their reflections."""
        self.candidates = self.candidates.with_reflections(axis)

    def kick(self, directions):
        """Share kicks along directions (p, n) out among the candidates."""
        n_each = directions.shape[1] // len(self.candidates.signs)
        self.candidates = self.candidates.with_kicks(directions[:, :n_each])

    def is_settled(self):
        """Whether to search no further: one fits to rounding, or a stop was asked for."""
        return self.stopped or self.result.score.min() <= self.floor

    def finish(self, objective):
        """The winner, and the loss of every restart on all samples."""
        result = self.result
        winner = self._ranking()[0]
        restart_losses = objective.value(self.latest, self.signs).loss
        restart_losses[~self.ran] = np.nan
        history = self.histories[0]
        for phase in self.histories[1:]:
            history = _joined(history, phase)
        return SearchResult(
            w=result.W[:, winner],
            sign=result.signs[winner],
            intercept=float(result.intercept[winner]),
            loss=float(result.loss[winner]),
            score=float(result.score[winner]),
            status=Status.STOPPED if self.stopped else result.status[winner],
            best_restart=int(self.candidates.restarts[winner]),
            restart_losses=restart_losses,
            history=history,
        )

    def _watch(self, snapshot):
        if self.leader is None or snapshot.leader.score < self.leader.score:
            self.leader = snapshot.leader
        self.stopped = bool(self.callback(snapshot._replace(leader=self.leader)))
        return self.stopped

    def _ranking(self):
        """Columns from best to worst; what only rounding tells apart, lowest first."""
        score = np.maximum(self.result.score, self.floor)
        score[score <= score.min() * (1 + _TIE)] = score.min()
        return np.argsort(score, kind="stable")

    def _merge_and_rank(self):
        """Columns of distinct filters, from best to worst.

        A restart whose best filter is all but equal to that of a better one has ended
        there: what else stems from it goes on in the name of the other.
        """
        W, signs, restarts = (
            self.candidates.W,
            self.candidates.signs,
            self.candidates.restarts,
        )
        heirs = {}
        kept = []
        for column in self._ranking():
            with np.errstate(over="ignore"):
                steps = np.linalg.norm(W[:, kept] - W[:, [column]], axis=0)
                near = steps <= _SAME_FILTER * np.linalg.norm(W[:, column])
            same = np.all(signs[kept] == signs[column], axis=tuple(range(1, signs.ndim)))
            twins = np.flatnonzero(near & same)
            if len(twins) == 0:
                kept.append(column)
                heir = restarts[column]
            else:
                heir = restarts[kept[twins[0]]]
            heirs.setdefault(restarts[column], heirs.get(heir, heir))
        merged = np.array([heirs[restart] for restart in restarts])
        self.candidates = replace(self.candidates, restarts=merged)
        return np.array(kept)

    def _per_restart(self, order, restarts):
        history = {}
        for name, values in self.result.history.items():
            blank = "" if values.dtype.kind == "U" else np.nan
            shape = (len(values), len(self.signs), *values.shape[2:])
            history[name] = np.full(shape, blank, dtype=values.dtype)
            history[name][:, restarts] = values[:, order]
        return history


def _joined(history, phase):
    """Histories one after the other.

    A phase begins where its filters were put, be it by a reflection or on other samples:
    that takes the place of where the last one left them.
    """
    history = {name: values.copy() for name, values in history.items()}
    n_rows = len(history["stage"])
    new = phase["stage"][0] != ""
    ran = history["stage"] != ""
    first = new & ~ran.any(axis=0)
    # The row where each restart was last; the last one for those that begin here.
    last = np.where(first, n_rows - 1, n_rows - 1 - np.argmax(ran[::-1], axis=0))
    for name, values in history.items():
        if name == "stage":
            values[last[first], first] = "start"
        elif name != "learning_rate":
            values[last[new], new] = phase[name][0, new]
    return {
        name: np.concatenate([values, phase[name][1:]]) for name, values in history.items()
    }
