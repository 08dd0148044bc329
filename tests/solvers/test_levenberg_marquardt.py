import numpy as np
import pytest

from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.geometry import flatten_windows
from skconvfilter.model.squared_error import Evaluation
from skconvfilter.solvers.driver import Status, Stopping, run
from skconvfilter.solvers.levenberg_marquardt import LevenbergMarquardt
from tests.solvers.problems import active_means, digits_problem, gaussian_problem


def minimise(objective, W, n_steps=60, *, tol=1e-4, patience=5, **options):
    """Levenberg-Marquardt from starts of positive output sign."""
    stopping = Stopping(n_steps, tol, patience, floor=1e-28)
    return run(LevenbergMarquardt(**options), objective, W, np.ones(W.shape[1]), stopping)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 1e-3])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_undamped_step_lands_on_the_minimum_of_the_cell(fit_intercept, alpha, sign):
    rng = np.random.default_rng(5)
    weights = rng.uniform(0.2, 3, 40)
    problem = gaussian_problem(
        n=40,
        k=3,
        noise=1e-3,
        sign=sign,
        sample_weight=weights,
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
    rows = np.vstack([root * columns, np.sqrt(alpha) * np.eye(5, 6)])
    targets = np.append(root[:, 0] * objective.targets, np.zeros(5))
    *expected, intercept = np.linalg.lstsq(rows, targets)[0]
    np.testing.assert_array_equal(
        problem.patches @ start > 0, problem.patches @ np.array(expected) > 0
    )
    np.testing.assert_allclose(state.W[:, 0], expected, rtol=1e-8)
    np.testing.assert_allclose(state.evaluation.intercept, intercept, atol=1e-9)
    gradient = objective.gradient(state.W, np.array([sign])).gradient
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_loss_never_rises(fit_intercept):
    objective = digits_problem(n=200, noise=0.3, fit_intercept=fit_intercept).objective
    W = np.random.default_rng(0).standard_normal((9, 12))
    loss = minimise(objective, W, patience=100).history["loss"]
    assert np.all(np.diff(loss, axis=0) <= 0)
    assert np.all(loss[-1] < loss[0])


class Bowl:
    """Half the curvature times |w|^2, with a Gauss-Newton matrix that claims 1."""

    alpha = 0.0

    def __init__(self, curvature, fast=False):
        self.curvature, self.fast, self.n_matrices = curvature, fast, 0

    def has_fast_values(self):
        return self.fast

    def value(self, W, signs):
        return self._evaluate(W)._replace(gradient=None, gauss_newton=None)

    def gauss_newton(self, W, signs):
        self.n_matrices += 1
        return self._evaluate(W)

    def _evaluate(self, W):
        patch_dim, n_filters = W.shape
        return Evaluation(
            0.5 * self.curvature * np.sum(W**2, axis=0),
            np.zeros(n_filters),
            np.ones(n_filters),
            np.ones(n_filters),
            self.curvature * W.T,
            np.tile(np.eye(patch_dim), (n_filters, 1, 1)),
        )


@pytest.mark.parametrize(
    ("curvature", "end", "factor"),
    [
        (1.0, 0.0, 0.1),  # as good as predicted
        (1.7, -0.7, 1.0),  # the gain is 0.3 of what is predicted
        (1.95, -0.95, 2.0),  # a twentieth
        (4.0, 1.0, 6.0),  # the loss would rise: rejected
    ],
)
def test_damping_follows_the_gain(curvature, end, factor):
    solver, W = LevenbergMarquardt(damping=1e-3), np.array([[1.0], [2.0]])
    objective = Bowl(curvature)
    state = solver.init(objective, W, np.ones(1))
    solver.step(objective, state, np.array([0]))
    np.testing.assert_allclose(state.W, end * W, atol=0.01)
    assert state.memory["damping"] == pytest.approx(factor * 1e-3)
    expected = objective.gauss_newton(state.W, np.ones(1))
    np.testing.assert_array_equal(state.evaluation.loss, expected.loss)


@pytest.mark.parametrize(("patience", "n_steps"), [(0.0, 3), (0.1, 6)])
def test_rejected_steps_count_only_from_a_damping_on(patience, n_steps):
    # Dampings are 1e-3, 6e-3, 3.6e-2, 0.216, 1.3, 7.8: all are too small here.
    solver, stopping = LevenbergMarquardt(patience=patience), Stopping(20, 1e-4, 3)
    result = run(solver, Bowl(100.0), np.ones((2, 1)), np.ones(1), stopping)
    assert result.status == [Status.CONVERGED]
    assert len(result.history["loss"]) == 1 + n_steps


class CurvedValues:
    """Half the mean of ``(w . z + c |w|^2 / 2 - y)^2`` over four samples.

    The Gauss-Newton matrix lacks c times the mean error, times the identity.
    """

    alpha = 0.0

    def __init__(self):
        rng = np.random.default_rng(0)
        self.Z, self.y = rng.standard_normal((4, 2)), rng.standard_normal(4) - 5

    def has_fast_values(self):
        return False

    def gauss_newton(self, W, signs):
        w, c = W[:, 0], 0.5
        errors = self.Z @ w + c * w @ w / 2 - self.y
        J = self.Z + c * w
        loss, ones = [0.5 * np.mean(errors**2)], np.ones(1)
        parts = (J.T @ errors / 4)[np.newaxis], (J.T @ J / 4)[np.newaxis]
        return Evaluation(np.array(loss), np.zeros(1), ones, ones, *parts)


def test_curvature_of_errors_is_learned_from_the_steps():
    n_steps, losses = [], []
    for secant in (False, True):
        result = minimise(CurvedValues(), np.ones((2, 1)), tol=1e-14, secant=secant)
        n_steps.append(len(result.history["loss"]))
        losses.append(result.loss[0])
    np.testing.assert_allclose(*losses, rtol=1e-8)
    assert n_steps[1] < 0.7 * n_steps[0], n_steps


def test_nothing_is_learned_where_errors_vanish():
    problem = digits_problem(n=200)
    W = problem.teacher[:, np.newaxis] * 1.1
    result = minimise(problem.objective, W, secant=True)
    assert result.loss[0] < 1e-25


def test_damping_rises_until_a_step_is_taken():
    W, objective = np.ones((2, 1)), Bowl(100.0)
    slow = minimise(objective, W, patience=20)
    fast = minimise(objective, W, patience=20, recovery=10.0)
    for result in (slow, fast):
        assert result.loss < 1e-3 * result.history["loss"][0]
    n_slow, n_fast = (np.argmin(r.history["loss"][:, 0] >= 100) for r in (slow, fast))
    assert n_fast < n_slow


def test_matrices_are_not_computed_for_steps_that_are_rejected():
    results, n_matrices = [], []
    for fast in (True, False):
        objective = Bowl(100.0, fast)
        results.append(minimise(objective, np.ones((2, 1)), patience=20))
        n_matrices.append(objective.n_matrices)
    first, second = (result.history["loss"] for result in results)
    np.testing.assert_array_equal(first, second)
    n_rejected = np.count_nonzero(np.diff(first[:, 0]) == 0)
    assert n_rejected > 0
    assert n_matrices[0] == n_matrices[1] - n_rejected


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_teacher_without_negative_entries_on_images_is_no_error(fit_intercept):
    # Every patch is active: only the mean patches are seen, and they are nearly parallel.
    problem = digits_problem(teacher=np.linspace(0, 1, 9), fit_intercept=fit_intercept)
    W = np.random.default_rng(0).uniform(0.1, 1, (9, 3))
    result = minimise(problem.objective, W)
    assert np.isfinite(result.W).all()
    assert np.all(result.loss < 1e-20 * problem.power)


def test_duplicate_and_empty_features_are_no_error():
    problem = gaussian_problem()
    p, empty = len(problem.teacher), np.zeros((*problem.patches.shape[:2], 1))
    patches = np.concatenate([problem.patches, problem.patches, empty], axis=2)
    objective = FilterObjective(*flatten_windows(patches), problem.objective.targets)
    W = np.tile(problem.teacher, 2)[:, np.newaxis] / 2
    W = W + 0.1 * np.random.default_rng(0).standard_normal(W.shape)
    result = minimise(objective, np.vstack([W, [[3.0]]]))
    assert result.loss < 1e-20 * problem.power
    found = result.W[:p, 0] + result.W[p : 2 * p, 0]
    np.testing.assert_allclose(found, problem.teacher, rtol=1e-8)
    assert result.W[-1] == 3.0


def test_dead_filter_stays_put():
    problem = digits_problem(fit_intercept=False)
    near = problem.teacher + 1e-3
    result = minimise(problem.objective, np.column_stack([np.full(9, -1.0), near]))
    np.testing.assert_array_equal(result.W[:, 0], -1.0)
    assert result.loss[0] == pytest.approx(problem.power / 2)
    assert result.status == [Status.CONVERGED] * 2
    assert result.loss[1] < 1e-20 * problem.power


@pytest.mark.parametrize("problem_of", [gaussian_problem, digits_problem])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_local_convergence_is_fast_and_to_the_last_digit(problem_of, fit_intercept):
    problem = problem_of(n=300, fit_intercept=fit_intercept)
    noise = np.random.default_rng(0).standard_normal(len(problem.teacher))
    start = problem.teacher + 0.02 * np.linalg.norm(problem.teacher) * noise
    result = minimise(problem.objective, start[:, np.newaxis], n_steps=10)
    assert 2 * result.loss < 1e-24 * problem.power
    np.testing.assert_allclose(result.W[:, 0], problem.teacher, rtol=1e-8)
    assert abs(result.intercept[0]) < 1e-10


def test_restarts_together_equal_each_alone():
    objective = digits_problem(n=200, noise=0.1).objective
    W = np.random.default_rng(1).standard_normal((9, 5))
    together = minimise(objective, W, n_steps=8, patience=2, tol=0.1)
    n_steps = np.isfinite(together.history["loss"]).sum(axis=0)
    assert len(set(n_steps)) > 1
    for restart in range(5):
        alone = minimise(objective, W[:, [restart]], n_steps=8, patience=2, tol=0.1)
        assert alone.status[0] is together.status[restart]
        np.testing.assert_allclose(alone.W, together.W[:, [restart]], rtol=1e-6)
        assert len(alone.history["loss"]) == n_steps[restart]
