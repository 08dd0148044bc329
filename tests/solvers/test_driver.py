from types import SimpleNamespace

import numpy as np
import pytest

from skconvfilter.estimators.threads import block_mapper
from skconvfilter.model.squared_error import Evaluation
from skconvfilter.solvers.driver import Solver, SolverState, Status, Stopping, run
from skconvfilter.solvers.levenberg_marquardt import LevenbergMarquardt
from tests.solvers.problems import gaussian_problem, make_sgd

NAN, INF = np.nan, np.inf
CONVERGED, DIVERGED, MAX_ITER = Status.CONVERGED, Status.DIVERGED, Status.MAX_ITER


class Script(Solver):
    """A solver that plays losses of shape (n_iterations + 1, R).

    After iteration t every entry of a filter is t, and its intercept is 10 t.
    """

    def __init__(self, losses, bad_filters=()):
        self.losses = np.array(losses, dtype=float)
        self.bad_filters = bad_filters  # (iteration, restart) where W is infinite
        self.calls = []

    def init(self, objective, W, signs):
        n_filters = W.shape[1]
        zeros, ones = np.zeros(n_filters), np.ones(n_filters)
        gradient = np.full((n_filters, len(W)), 3.0)
        evaluation = Evaluation(self.losses[0].copy(), zeros, ones, ones, gradient)
        return SolverState.start(W, signs, evaluation)

    def step(self, objective, state, running):
        self.calls.append(running.tolist())
        iteration = len(self.calls)
        loss = self.losses[iteration, running]
        part = state.evaluation.take(running)
        part = part._replace(loss=loss, intercept=np.full(len(running), 10.0 * iteration))
        state.evaluation = state.evaluation.put(running, part)
        state.W[:, running] = iteration
        for when, restart in self.bad_filters:
            if when == iteration:
                state.W[0, restart] = np.inf
        state.learning_rate[running] = 0.5
        state.stage[running] = "going"


class ScriptedValidation:
    """Validation losses (n_iterations + 1, R) of the filters that a Script makes."""

    def __init__(self, losses):
        self.losses = np.array(losses, dtype=float)

    def validation_loss(self, W, signs, intercept):
        iterations = W[0].astype(int)
        np.testing.assert_array_equal(intercept, 10.0 * iterations)
        return self.losses[iterations, np.arange(W.shape[1])]


def columns(*losses):
    """Losses of each restart as one array (n_iterations + 1, R)."""
    return np.array(losses, dtype=float).T


def play(*losses, tol=1e-3, n_iter_no_change=100, floor=0.0, max_iter=None, **options):
    """Solver and result of a Script of these losses, one list for each restart."""
    solver = losses[0] if isinstance(losses[0], Script) else Script(columns(*losses))
    n_iterations, n_filters = solver.losses.shape
    if max_iter is None:
        max_iter = n_iterations - 1
    stopping = Stopping(max_iter, tol, n_iter_no_change, floor)
    W, signs = np.zeros((2, n_filters)), np.ones(n_filters)
    # A script needs no samples.
    objective = SimpleNamespace(alpha=0.0)
    return solver, run(solver, objective, W, signs, stopping, **options)


def test_stops_at_max_iter():
    solver, result = play([16, 8, 4, 2, 1, 0.5], max_iter=3)
    assert solver.calls == [[0]] * 3
    assert result.status == [MAX_ITER]
    assert result.loss == [2]


def test_no_iterations_return_the_starts():
    solver, result = play([5], [7])
    assert solver.calls == []
    np.testing.assert_array_equal(result.loss, [5, 7])
    np.testing.assert_array_equal(result.W, np.zeros((2, 2)))
    assert len(result.history["loss"]) == 1


@pytest.mark.parametrize(
    ("losses", "n_iter_no_change", "n_iterations"),
    [
        ([8, 4, 2, *[2] * 10], 1, 3),
        ([8, 4, 2, *[2] * 10], 3, 5),
        # Progress starts patience anew, but ups and downs above the best are none.
        ([8, 8, 4, 4, 2, 2, 1, 1, 1, 1, 1], 2, 8),
        ([8, 1, 6, 3, 6, 3, 6, 3, 6], 4, 5),
    ],
)
def test_patience_counts_iterations_without_progress(
    losses, n_iter_no_change, n_iterations
):
    solver, result = play(losses, n_iter_no_change=n_iter_no_change)
    assert len(solver.calls) == n_iterations
    assert result.status == [CONVERGED]


@pytest.mark.parametrize("unit", [1e-30, 1e30])
@pytest.mark.parametrize(("share", "n_iterations"), [(0.2, 12), (0.05, 2)])
def test_tol_is_relative_to_the_best_score(unit, share, n_iterations):
    losses = unit * (1 - share) ** np.arange(13)
    solver, result = play(losses, tol=0.1, n_iter_no_change=2)
    assert len(solver.calls) == n_iterations
    # What is too little for progress is still better.
    assert result.loss == losses[n_iterations]


def test_restart_that_ends_far_above_its_start_has_diverged():
    losses = [4, 3, 70, 900, 900], [4, 3, 3.5, 3.9, 3.9], [4, 50, 600, 1, 1]
    _, result = play(*losses, n_iter_no_change=2)
    assert result.status == [DIVERGED, CONVERGED, DIVERGED]
    np.testing.assert_array_equal(result.loss, [3, 3, 4])


def test_floor_ends_a_restart_at_once():
    losses = [8, 4, 0.5, 0.4, 0.3], [8, 7, 6, 5, 4], [0.5, 0.4, 0.3, 0.2, 0.1]
    solver, result = play(*losses, floor=0.5)
    assert solver.calls == [[0, 1], [0, 1], [1], [1]]
    assert result.status == [CONVERGED, MAX_ITER, CONVERGED]
    np.testing.assert_array_equal(result.loss, [0.5, 4, 0.5])


def test_best_iterate_is_kept_when_later_ones_are_worse():
    _, result = play([5, 2, 9, 3], [5, 4, 3, 2], [1, 2, 3, 4])
    np.testing.assert_array_equal(result.loss, [2, 2, 1])
    np.testing.assert_array_equal(result.score, result.loss)
    np.testing.assert_array_equal(result.W, [[1, 3, 0]] * 2)
    np.testing.assert_array_equal(result.intercept, [10, 30, 0])


@pytest.mark.parametrize("bad", [INF, NAN])
def test_diverged_restart_keeps_its_best_while_others_go_on(bad):
    solver, result = play([5, 3, bad, 1], [5, 4, 3, 2], [bad, 1, 1, 1])
    assert solver.calls == [[0, 1], [0, 1], [1]]
    assert result.status == [DIVERGED, MAX_ITER, DIVERGED]
    np.testing.assert_array_equal(result.loss[:2], [3, 2])
    np.testing.assert_array_equal(result.W, [[1, 3, 0]] * 2)


def test_filter_that_is_not_finite_has_diverged_whatever_its_loss():
    script = Script(columns([5, 3, 1, 0.5], [5, 4, 3, 2]), bad_filters=[(2, 0)])
    _, result = play(script)
    assert result.status == [DIVERGED, MAX_ITER]
    np.testing.assert_array_equal(result.W, [[1, 3]] * 2)
    np.testing.assert_array_equal(result.loss, [3, 2])


def test_ended_restarts_are_not_advanced():
    losses = [8, 4, 4, 4, 4, 4], [9, NAN, 1, 1, 1, 1], [32, 16, 8, 4, 2, 1]
    solver, result = play(*losses, n_iter_no_change=2)
    assert solver.calls == [[0, 1, 2], [0, 2], [0, 2], [2], [2]]
    assert result.status == [CONVERGED, DIVERGED, MAX_ITER]
    np.testing.assert_array_equal(result.W[0], [1, 0, 5])


def test_history_has_a_row_for_every_iteration_blank_where_a_restart_did_not_run():
    _, result = play([8, 4, 2, 1], [8, 0, 9, 9], [8, NAN, 9, 9])
    history = result.history
    assert history["filters"].shape == (4, 3, 2)
    np.testing.assert_array_equal(history["filters"][:, 0, 0], [0, 1, 2, 3])
    np.testing.assert_array_equal(history["loss"][:, 0], [8, 4, 2, 1])
    np.testing.assert_array_equal(history["loss"][:, 1], [8, 0, NAN, NAN])
    np.testing.assert_allclose(history["gradient_norm"][:, 0], 3 * np.sqrt(2))
    np.testing.assert_array_equal(history["learning_rate"][:, 0], [NAN, 0.5, 0.5, 0.5])
    assert history["stage"][:, 0].tolist() == ["start", "going", "going", "going"]
    for name in ("score", "gradient_norm", "learning_rate", "filters"):
        assert np.isnan(history[name][2:, 1:]).all()
    for ended in (1, 2):
        assert history["stage"][:, ended].tolist() == ["start", "going", "", ""]


def test_callback_is_told_of_the_best_iterate_so_far():
    seen = []
    validation = ScriptedValidation(columns([9, 5, 7, 3], [9, 4, 6, 5], [0, 1, 1, 1]))
    losses = [8, 6, 5, 4], [8, 7, 3, 2], [NAN, 1, 1, 1]
    validation.losses[0, 2] = NAN
    play(*losses, validation=validation, callback=seen.append)
    assert [(snapshot.stage, snapshot.n_running) for snapshot in seen] == [("going", 2)] * 3
    best = [snapshot.incumbent for snapshot in seen]
    assert [incumbent.score for incumbent in best] == [4, 4, 3]
    assert [incumbent.loss for incumbent in best] == [7, 7, 4]
    # The filters of an iteration are its number, and intercepts ten times that.
    assert [incumbent.w.tolist() for incumbent in best] == [[1, 1], [1, 1], [3, 3]]
    assert [incumbent.intercept for incumbent in best] == [10, 10, 30]
    assert all(incumbent.sign == 1 for incumbent in best)


def test_callback_can_stop():
    seen = []

    def callback(snapshot):
        seen.append(snapshot)
        return len(seen) == 2

    losses = [8, 4, 2, 1], [8, 0, 9, 9], [8, 4, 9, 9]
    solver, result = play(*losses, callback=callback)
    assert solver.calls == [[0, 1, 2], [0, 2]]
    assert result.status == [Status.STOPPED, CONVERGED, Status.STOPPED]
    np.testing.assert_array_equal(result.loss, [2, 0, 4])
    assert len(result.history["loss"]) == 3


def test_validation_decides_what_is_best():
    validation = ScriptedValidation(columns([9, 5, 7, 8], [9, 8, 7, 6]))
    _, result = play([8, 4, 2, 1], [8, 4, 2, 3], validation=validation)
    np.testing.assert_array_equal(result.W[0], [1, 3])
    np.testing.assert_array_equal(result.score, [5, 6])
    np.testing.assert_array_equal(result.loss, [4, 3])
    np.testing.assert_array_equal(result.history["score"][:, 0], [9, 5, 7, 8])
    np.testing.assert_array_equal(result.history["loss"][:, 0], [8, 4, 2, 1])


def test_validation_decides_when_to_stop():
    losses = columns([9, 5, 6, 7, 4, 4], [9, 5, 4, 3, 2, 1], [9, 5, INF, 1, 1, 1])
    solver, result = play(
        [64, 32, 16, 8, 4, 2],
        [1, 2, 3, 4, 5, 6],
        [8, 4, 2, 1, 0.5, 0.2],
        n_iter_no_change=2,
        validation=ScriptedValidation(losses),
    )
    assert solver.calls == [[0, 1, 2]] * 2 + [[0, 1]] + [[1]] * 2
    assert result.status == [CONVERGED, MAX_ITER, DIVERGED]
    np.testing.assert_array_equal(result.score, [5, 1, 5])


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_overflow_is_an_outcome_without_warning(n_jobs):
    with block_mapper(n_jobs) as map_blocks:
        problem = gaussian_problem(n=1100, map_blocks=map_blocks)
        W = np.random.default_rng(0).standard_normal((5, 2))
        # Full batches, so that overflow happens wherever the blocks are worked on.
        solver = make_sgd(1e30, batch_size=1100)
        result = run(solver, problem.objective, W, np.ones(2), Stopping(20, 1e-4, 99))
    assert result.status == [DIVERGED] * 2
    np.testing.assert_array_equal(result.W, W)
    assert np.isfinite(result.loss).all()


@pytest.mark.parametrize("solver", [make_sgd(0.5), LevenbergMarquardt()])
def test_solvers_leave_the_starts_alone(solver):
    objective = gaussian_problem(n=60).objective
    W, signs = np.random.default_rng(0).standard_normal((5, 2)), np.ones(2)
    before = W.copy()
    result = run(solver, objective, W, signs, Stopping(3, 0.0, 5))
    np.testing.assert_array_equal(W, before)
    assert not np.array_equal(result.W, before)
