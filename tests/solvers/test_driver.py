import numpy as np
import pytest

from skconvfilter.estimators.parallel import block_mapper
from skconvfilter.model.squared_error import Evaluation
from skconvfilter.solvers.driver import SolverState, Status, Stopping, run
from skconvfilter.solvers.gauss_newton import LevenbergMarquardt

NAN, INF = np.nan, np.inf


class Script:
    """A solver that plays losses of shape (n_iterations + 1, R).

    After iteration t every entry of a filter is t, and its intercept is 10 t.
    """

    def __init__(self, losses, bad_filters=()):
        self.losses = np.array(losses, dtype=float)
        self.bad_filters = bad_filters  # (iteration, restart) where W is infinite
        self.calls = []

    def init(self, objective, W, signs):
        n_filters = W.shape[1]
        evaluation = Evaluation(
            loss=self.losses[0].copy(),
            intercept=np.zeros(n_filters),
            peak=np.ones(n_filters),
            gradient=np.full((n_filters, len(W)), 3.0),
        )
        rates = np.full(n_filters, np.nan)
        stage = np.full(n_filters, "start", dtype="U8")
        return SolverState(W.copy(), signs, evaluation, rates, stage)

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


def play(losses, *, tol=1e-3, n_iter_no_change=100, floor=0.0, max_iter=None, **options):
    """Solver and result of a Script whose filters have two entries."""
    solver = losses if isinstance(losses, Script) else Script(losses)
    n_iterations, n_filters = solver.losses.shape
    if max_iter is None:
        max_iter = n_iterations - 1
    stopping = Stopping(max_iter, tol, n_iter_no_change, floor)
    W, signs = np.zeros((2, n_filters)), np.ones(n_filters)
    return solver, run(solver, None, W, signs, stopping, **options)


def columns(*losses):
    """Losses of each restart as one array (n_iterations + 1, R)."""
    return np.array(losses, dtype=float).T


def test_stops_at_max_iter():
    solver, result = play(columns([16, 8, 4, 2, 1, 0.5]), max_iter=3)
    assert solver.calls == [[0]] * 3
    assert result.status == [Status.MAX_ITER]
    assert result.loss == [2]


def test_no_iterations_return_the_starts():
    solver, result = play(columns([5], [7]))
    assert solver.calls == []
    np.testing.assert_array_equal(result.loss, [5, 7])
    np.testing.assert_array_equal(result.W, np.zeros((2, 2)))
    assert len(result.history["loss"]) == 1


@pytest.mark.parametrize("n_iter_no_change", [1, 3])
def test_patience_counts_iterations_without_progress(n_iter_no_change):
    losses = columns([8, 4, 2, *[2] * 10])
    solver, result = play(losses, n_iter_no_change=n_iter_no_change)
    assert len(solver.calls) == 2 + n_iter_no_change
    assert result.status == [Status.CONVERGED]


def test_progress_starts_patience_anew():
    losses = columns([8, 8, 4, 4, 2, 2, 1, 1, 1, 1, 1])
    solver, result = play(losses, n_iter_no_change=2)
    assert len(solver.calls) == 8
    assert result.status == [Status.CONVERGED]


@pytest.mark.parametrize("unit", [1e-200, 1.0, 1e200])
@pytest.mark.parametrize(("share", "n_iterations"), [(0.2, 12), (0.05, 2)])
def test_tol_is_relative_to_the_best_score(unit, share, n_iterations):
    losses = columns(unit * (1 - share) ** np.arange(13))
    solver, result = play(losses, tol=0.1, n_iter_no_change=2)
    assert len(solver.calls) == n_iterations
    # What is too little for progress is still better.
    assert result.loss == losses[n_iterations]


def test_restart_that_ends_far_above_its_start_has_diverged():
    losses = columns([4, 3, 70, 900, 900], [4, 3, 3.5, 3.9, 3.9], [4, 50, 600, 1, 1])
    _, result = play(losses, n_iter_no_change=2)
    statuses = [Status.DIVERGED, Status.CONVERGED, Status.DIVERGED]
    assert result.status == statuses
    np.testing.assert_array_equal(result.loss, [3, 3, 4])


def test_ups_and_downs_above_the_best_are_no_progress():
    solver, _ = play(columns([8, 1, 6, 3, 6, 3, 6, 3, 6]), n_iter_no_change=4)
    assert len(solver.calls) == 5


def test_floor_ends_a_restart_at_once():
    losses = columns([8, 4, 0.5, 0.4, 0.3], [8, 7, 6, 5, 4], [0.5, 0.4, 0.3, 0.2, 0.1])
    solver, result = play(losses, floor=0.5)
    assert solver.calls == [[0, 1], [0, 1], [1], [1]]
    converged = Status.CONVERGED
    assert result.status == [converged, Status.MAX_ITER, converged]
    np.testing.assert_array_equal(result.loss, [0.5, 4, 0.5])


def test_best_iterate_is_kept_when_later_ones_are_worse():
    _, result = play(columns([5, 2, 9, 3], [5, 4, 3, 2], [1, 2, 3, 4]))
    np.testing.assert_array_equal(result.loss, [2, 2, 1])
    np.testing.assert_array_equal(result.score, result.loss)
    np.testing.assert_array_equal(result.W, [[1, 3, 0]] * 2)
    np.testing.assert_array_equal(result.intercept, [10, 30, 0])


@pytest.mark.parametrize("bad", [INF, NAN])
def test_diverged_restart_keeps_its_best_while_others_go_on(bad):
    solver, result = play(columns([5, 3, bad, 1], [5, 4, 3, 2]))
    assert solver.calls == [[0, 1], [0, 1], [1]]
    assert result.status == [Status.DIVERGED, Status.MAX_ITER]
    np.testing.assert_array_equal(result.loss, [3, 2])
    np.testing.assert_array_equal(result.W, [[1, 3]] * 2)
    np.testing.assert_array_equal(result.intercept, [10, 30])


def test_filter_that_is_not_finite_has_diverged_whatever_its_loss():
    script = Script(columns([5, 3, 1, 0.5], [5, 4, 3, 2]), bad_filters=[(2, 0)])
    _, result = play(script)
    assert result.status == [Status.DIVERGED, Status.MAX_ITER]
    np.testing.assert_array_equal(result.W, [[1, 3]] * 2)
    np.testing.assert_array_equal(result.loss, [3, 2])


@pytest.mark.parametrize("bad", [INF, NAN])
def test_start_without_a_finite_loss_is_not_advanced(bad):
    solver, result = play(columns([bad, 1], [5, 4]))
    assert solver.calls == [[1]]
    assert result.status == [Status.DIVERGED, Status.MAX_ITER]


def test_ended_restarts_are_not_advanced():
    losses = columns([8, 4, 4, 4, 4, 4], [9, NAN, 1, 1, 1, 1], [32, 16, 8, 4, 2, 1])
    solver, result = play(losses, n_iter_no_change=2)
    assert solver.calls == [[0, 1, 2], [0, 2], [0, 2], [2], [2]]
    statuses = [Status.CONVERGED, Status.DIVERGED, Status.MAX_ITER]
    assert result.status == statuses
    np.testing.assert_array_equal(result.W[0], [1, 0, 5])


def test_stops_when_all_have_ended():
    solver, result = play(columns([8, 0, 5, 5], [8, 4, 0, 5]))
    assert len(solver.calls) == 2
    assert result.status == [Status.CONVERGED] * 2
    assert len(result.history["loss"]) == 3


def test_history_has_a_row_for_the_start_and_for_every_iteration():
    _, result = play(columns([8, 4, 2, 1], [8, 0, 9, 9], [8, 7, 6, 5]))
    history = result.history
    names = {"loss", "score", "gradient_norm", "learning_rate", "stage", "filters"}
    assert names <= set(history)
    assert history["filters"].shape == (4, 3, 2)
    assert all(history[name].shape == (4, 3) for name in names - {"filters"})
    np.testing.assert_array_equal(history["filters"][:, 2, 0], [0, 1, 2, 3])
    np.testing.assert_array_equal(history["loss"][:, 0], [8, 4, 2, 1])
    np.testing.assert_allclose(history["gradient_norm"][:, 0], 3 * np.sqrt(2))
    np.testing.assert_array_equal(history["learning_rate"][:, 0], [NAN, 0.5, 0.5, 0.5])
    assert history["stage"][:, 0].tolist() == ["start", "going", "going", "going"]


def test_history_is_blank_where_a_restart_did_not_run():
    _, result = play(columns([8, 4, 2, 1], [8, 0, 9, 9], [8, NAN, 9, 9]))
    history = result.history
    for name in ("score", "gradient_norm", "learning_rate", "filters"):
        assert np.isnan(history[name][2:, 1:]).all()
    np.testing.assert_array_equal(history["loss"][:, 1], [8, 0, NAN, NAN])
    assert history["stage"][:, 1].tolist() == ["start", "going", "", ""]
    assert history["stage"][:, 2].tolist() == ["start", "going", "", ""]


def test_callback_is_called_once_an_iteration():
    seen = []
    play(columns([8, 4, 2, 1], [8, 0, 9, 9]), callback=seen.append)
    assert [snapshot.n_running for snapshot in seen] == [2, 1, 1]
    assert all(snapshot.stage == "going" for snapshot in seen)


def test_callback_is_told_of_the_best_iterate_so_far():
    seen = []
    validation = ScriptedValidation(columns([9, 5, 7, 3], [9, 4, 6, 5]))
    losses = columns([8, 6, 5, 4], [8, 7, 3, 2])
    play(losses, validation=validation, callback=seen.append)
    leaders = [snapshot.leader for snapshot in seen]
    assert [leader.score for leader in leaders] == [4, 4, 3]
    assert [leader.loss for leader in leaders] == [7, 7, 4]
    # The filters of an iteration are its number, and intercepts ten times that.
    assert [leader.w.tolist() for leader in leaders] == [[1, 1], [1, 1], [3, 3]]
    assert [leader.intercept for leader in leaders] == [10, 10, 30]
    assert all(leader.sign == 1 for leader in leaders)


def test_callback_can_stop():
    seen = []

    def callback(snapshot):
        seen.append(snapshot)
        return len(seen) == 2

    losses = columns([8, 4, 2, 1], [8, 0, 9, 9], [8, 4, 9, 9])
    solver, result = play(losses, callback=callback)
    assert solver.calls == [[0, 1, 2], [0, 2]]
    assert result.status == [Status.STOPPED, Status.CONVERGED, Status.STOPPED]
    np.testing.assert_array_equal(result.loss, [2, 0, 4])
    assert len(result.history["loss"]) == 3


def test_callback_is_not_called_when_nothing_runs():
    seen = []
    play(columns([0, 1, 1]), callback=lambda *args: seen.append(args))
    assert seen == []


def test_validation_decides_what_is_best():
    validation = ScriptedValidation(columns([9, 5, 7, 8], [9, 8, 7, 6]))
    _, result = play(columns([8, 4, 2, 1], [8, 4, 2, 3]), validation=validation)
    np.testing.assert_array_equal(result.W[0], [1, 3])
    np.testing.assert_array_equal(result.score, [5, 6])
    np.testing.assert_array_equal(result.loss, [4, 3])
    np.testing.assert_array_equal(result.history["score"][:, 0], [9, 5, 7, 8])
    np.testing.assert_array_equal(result.history["loss"][:, 0], [8, 4, 2, 1])


def test_validation_decides_when_to_stop():
    validation = ScriptedValidation(columns([9, 5, 6, 7, 4, 4], [9, 5, 4, 3, 2, 1]))
    losses = columns([64, 32, 16, 8, 4, 2], [1, 2, 3, 4, 5, 6])
    solver, result = play(losses, n_iter_no_change=2, validation=validation)
    assert solver.calls == [[0, 1]] * 3 + [[1]] * 2
    assert result.status == [Status.CONVERGED, Status.MAX_ITER]
    assert result.score[0] == 5


def test_validation_loss_that_is_not_finite_is_divergence():
    validation = ScriptedValidation(columns([9, 5, INF, 1], [9, 8, 7, 6]))
    solver, result = play(columns([8, 4, 2, 1], [8, 4, 2, 1]), validation=validation)
    assert solver.calls == [[0, 1], [0, 1], [1]]
    assert result.status[0] is Status.DIVERGED
    assert result.score[0] == 5


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_overflow_is_an_outcome_without_warning(gaussian_problem, make_sgd, n_jobs):
    with block_mapper(n_jobs) as map_blocks:
        problem = gaussian_problem(n=1100, map_blocks=map_blocks)
        W = np.random.default_rng(0).standard_normal((5, 2))
        # Full batches, so that overflow happens wherever the blocks are worked on.
        solver = make_sgd(1e100, batch_size=1100)
        result = run(solver, problem.objective, W, np.ones(2), Stopping(9, 1e-4, 5))
    assert result.status == [Status.DIVERGED] * 2
    np.testing.assert_array_equal(result.W, W)
    assert np.isfinite(result.loss).all()


@pytest.mark.parametrize("name", ["sgd", "levenberg-marquardt"])
def test_solvers_leave_the_starts_alone(gaussian_problem, make_sgd, name):
    objective = gaussian_problem(n=60).objective
    W, signs = np.random.default_rng(0).standard_normal((5, 2)), np.ones(2)
    before = W.copy()
    solver = make_sgd(0.5) if name == "sgd" else LevenbergMarquardt()
    result = run(solver, objective, W, signs, Stopping(3, 0.0, 5))
    np.testing.assert_array_equal(W, before)
    assert not np.array_equal(result.W, before)
