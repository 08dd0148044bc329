import numpy as np
import pytest

from skconvfilter.model.geometry import flatten_windows
from skconvfilter.model.objective import FilterObjective
from skconvfilter.model.squared_error import Evaluation
from skconvfilter.solvers.driver import Status, Stopping, run
from skconvfilter.solvers.gauss_newton import LevenbergMarquardt


def minimise(objective, W, n_steps=60, *, floor=1e-28, tol=1e-4, patience=5, damping=1e-3):
    """Levenberg-Marquardt from starts of positive output sign."""
    solver = LevenbergMarquardt(damping=damping)
    stopping = Stopping(n_steps, tol, patience, floor)
    return run(solver, objective, W, np.ones(W.shape[1]), stopping)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 1e-3])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_undamped_step_lands_on_the_minimum_of_the_cell(
    gaussian_problem, active_means, fit_intercept, alpha, weighted, sign
):
    rng = np.random.default_rng(5)
    weights = rng.uniform(0.2, 3, 40) if weighted else np.ones(40)
    problem = gaussian_problem(
        n=40,
        k=3,
        noise=1e-3,
        sign=sign,
        sample_weight=weights if weighted else None,
        alpha=alpha,
        fit_intercept=fit_intercept,
    )
    objective, start = problem.objective, problem.teacher + 1e-3 * rng.standard_normal(5)
    solver = LevenbergMarquardt(damping=1e-14)
    state = solver.init(objective, start[:, np.newaxis], np.array([sign]))
    solver.step(objective, state, np.array([0]))

    # Ridge regression on the active mean patches, as least squares with rows added.
    A = active_means(problem.patches, start)
    root = np.sqrt(weights / weights.sum())[:, np.newaxis]
    columns = np.column_stack([sign * A, np.full(40, float(fit_intercept))])
    penalty = np.sqrt(alpha) * np.eye(5, 6)
    rows = np.vstack([root * columns, penalty])
    answers = np.append(root[:, 0] * objective.targets, np.zeros(5))
    *expected, intercept = np.linalg.lstsq(rows, answers)[0]
    np.testing.assert_array_equal(
        problem.patches @ start > 0, problem.patches @ np.array(expected) > 0
    )
    np.testing.assert_allclose(state.W[:, 0], expected, rtol=1e-8)
    np.testing.assert_allclose(state.evaluation.intercept, intercept, atol=1e-9)
    gradient = objective.gradient(state.W, np.array([sign])).gradient
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_loss_never_rises(digits_problem, fit_intercept):
    objective = digits_problem(n=200, noise=0.3, fit_intercept=fit_intercept).objective
    W = np.random.default_rng(0).standard_normal((9, 12))
    loss = minimise(objective, W, patience=100).history["loss"]
    assert np.all(np.diff(loss, axis=0) <= 0)
    assert np.all(loss[-1] < loss[0])


class Bowl:
    """Half the curvature times |w|^2, with a Gauss-Newton matrix that may be wrong."""

    def __init__(self, curvature, claimed):
        self.curvature, self.claimed = curvature, claimed

    def gauss_newton(self, W, signs):
        n_filters, patch_dim = W.shape[1], W.shape[0]
        return Evaluation(
            loss=0.5 * self.curvature * np.sum(W**2, axis=0),
            intercept=np.zeros(n_filters),
            peak=np.ones(n_filters),
            gradient=self.curvature * W.T,
            gauss_newton=np.tile(self.claimed * np.eye(patch_dim), (n_filters, 1, 1)),
        )


def one_step(objective):
    """Filters and dampings before and after one step."""
    solver = LevenbergMarquardt(damping=1e-3)
    state = solver.init(objective, np.array([[1.0], [2.0]]), np.ones(1))
    before = state.W.copy(), state.memory["damping"].copy()
    solver.step(objective, state, np.array([0]))
    return *before, state


def test_step_as_good_as_predicted_lowers_the_damping():
    W, damping, state = one_step(Bowl(1.0, claimed=1.0))
    assert np.all(np.abs(state.W) < 0.01 * W)
    assert state.memory["damping"] < damping


def test_step_much_worse_than_predicted_is_taken_and_raises_the_damping():
    # The step goes to -0.95 w: the gain is a twentieth of what is predicted.
    W, damping, state = one_step(Bowl(1.95, claimed=1.0))
    np.testing.assert_allclose(state.W, -0.95 * W, rtol=0.01)
    assert state.memory["damping"] > damping


def test_step_that_raises_the_loss_is_not_taken_and_raises_the_damping():
    objective = Bowl(4.0, claimed=1.0)
    W, damping, state = one_step(objective)
    np.testing.assert_array_equal(state.W, W)
    np.testing.assert_array_equal(
        state.evaluation.loss, objective.gauss_newton(W, np.ones(1)).loss
    )
    assert state.memory["damping"] > damping


def test_damping_rises_until_a_step_is_taken():
    result = minimise(Bowl(100.0, claimed=1.0), np.ones((2, 1)), patience=20)
    assert result.loss < 1e-3 * result.history["loss"][0]


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_teacher_without_negative_entries_on_images_is_no_error(
    digits_problem, fit_intercept
):
    # Every patch is active: only the mean patches are seen, and they are nearly parallel.
    teacher = np.linspace(0, 1, 9)
    problem = digits_problem(teacher=teacher, fit_intercept=fit_intercept)
    W = np.random.default_rng(0).uniform(0.1, 1, (9, 3))
    result = minimise(problem.objective, W)
    assert np.isfinite(result.W).all()
    assert np.all(result.loss < 1e-20 * problem.power)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_duplicate_and_empty_features_are_no_error(gaussian_problem, fit_intercept):
    problem = gaussian_problem(fit_intercept=fit_intercept)
    p, empty = len(problem.teacher), np.zeros((*problem.patches.shape[:2], 1))
    patches = np.concatenate([problem.patches, problem.patches, empty], axis=2)
    targets = problem.objective.targets
    objective = FilterObjective(
        *flatten_windows(patches), targets, fit_intercept=fit_intercept
    )
    rng = np.random.default_rng(0)
    W = np.tile(problem.teacher, 2)[:, np.newaxis] / 2
    W = np.vstack([W + 0.1 * rng.standard_normal(W.shape), [[3.0]]])
    result = minimise(objective, W)
    assert result.loss < 1e-20 * problem.power
    np.testing.assert_allclose(
        result.W[:p, 0] + result.W[p : 2 * p, 0], problem.teacher, rtol=1e-8
    )
    assert result.W[-1] == 3.0


def test_fewer_samples_than_parameters_are_no_error(gaussian_problem):
    problem = gaussian_problem(n=3, p=8)
    result = minimise(problem.objective, np.random.default_rng(0).standard_normal((8, 4)))
    assert np.isfinite(result.W).all()
    assert np.all(result.loss <= result.history["loss"][0])


def test_dead_filter_stays_put(digits_problem):
    problem = digits_problem(fit_intercept=False)
    near = problem.teacher + 1e-3
    result = minimise(problem.objective, np.column_stack([np.full(9, -1.0), near]))
    np.testing.assert_array_equal(result.W[:, 0], -1.0)
    assert result.loss[0] == pytest.approx(problem.power / 2)
    assert result.status == [Status.CONVERGED] * 2
    assert result.loss[1] < 1e-20 * problem.power


@pytest.mark.parametrize("maker", ["gaussian_problem", "digits_problem"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_local_convergence_is_fast_and_to_the_last_digit(request, maker, fit_intercept):
    problem = request.getfixturevalue(maker)(n=300, fit_intercept=fit_intercept)
    noise = np.random.default_rng(0).standard_normal(len(problem.teacher))
    start = problem.teacher + 0.02 * np.linalg.norm(problem.teacher) * noise
    result = minimise(problem.objective, start[:, np.newaxis], n_steps=10)
    assert 2 * result.loss < 1e-24 * problem.power
    np.testing.assert_allclose(result.W[:, 0], problem.teacher, rtol=1e-8)
    assert abs(result.intercept[0]) < 1e-10


def test_restarts_together_equal_each_alone(digits_problem):
    objective = digits_problem(n=200, noise=0.1).objective
    W = np.random.default_rng(1).standard_normal((9, 5))
    together = minimise(objective, W, n_steps=8, patience=2, tol=0.1)
    n_steps = np.isfinite(together.history["loss"]).sum(axis=0)
    assert len(set(n_steps)) > 1
    for restart in range(5):
        column = [restart]
        alone = minimise(objective, W[:, column], n_steps=8, patience=2, tol=0.1)
        assert alone.status[0] is together.status[restart]
        np.testing.assert_allclose(alone.W, together.W[:, column], rtol=1e-6)
        mine = alone.history["loss"]
        theirs = together.history["loss"][: len(mine), column]
        assert len(mine) == n_steps[restart]
        np.testing.assert_allclose(mine, theirs, rtol=1e-9)


def test_history_names_the_stage_and_no_learning_rate(gaussian_problem):
    objective = gaussian_problem(noise=0.1).objective
    history = minimise(objective, np.ones((5, 1)), n_steps=2).history
    assert history["stage"][:, 0].tolist() == ["start", "polish", "polish"]
    assert np.isnan(history["learning_rate"]).all()
