import numpy as np
import pytest

from skconvfilter.solvers.curvature import largest_curvature
from skconvfilter.solvers.driver import Status, Stopping, run
from tests.solvers.problems import (
    DIGITS,
    active_means,
    digits_problem,
    gaussian_problem,
    make_sgd,
    random_starts,
)


def naive_curvature(problem, W, batch_size):
    """Eigenvalues of the second moments of active mean patches, written out."""
    objective = problem.objective
    weights = objective.sample_weight / objective.sample_weight.sum()
    features = [active_means(problem.patches, w) for w in W.T]
    features.append(problem.patches.mean(axis=1))
    largest = []
    for A in features:
        A = A - (weights @ A if objective.fit_intercept else 0.0)
        matrix = (weights * A.T) @ A + objective.alpha * np.eye(A.shape[1])
        top, spread = np.linalg.eigvalsh(matrix)[-1], 0.0
        if batch_size < len(A):
            spread = (top + np.trace(matrix)) / batch_size
        largest.append(top + spread)
    return max(largest)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("batch_size", [1, 16, 100])
@pytest.mark.parametrize("problem_of", [gaussian_problem, digits_problem])
def test_is_the_largest_eigenvalue_and_the_spread_of_batches(
    fit_intercept, alpha, batch_size, problem_of
):
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.1, 3, 100)
    problem = problem_of(
        n=100, fit_intercept=fit_intercept, alpha=alpha, sample_weight=weights
    )
    W, signs = rng.standard_normal((len(problem.teacher), 3)), np.array([1.0, -1.0, 1.0])
    curvature = largest_curvature(problem.objective, W, signs, batch_size)
    assert curvature == pytest.approx(naive_curvature(problem, W, batch_size))


@pytest.mark.parametrize("dead", [False, True])
def test_is_nearly_the_largest_eigenvalue_of_long_matrices(dead):
    problem = gaussian_problem(n=400, k=2, p=150, fit_intercept=False)
    W = np.random.default_rng(0).standard_normal((150, 2))
    if dead:
        W[:] = 0
    curvature = largest_curvature(problem.objective, W, np.ones(2), 400)
    expected = naive_curvature(problem, W, 400)
    assert curvature == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("batch_size", [16, 2500])
def test_is_nearly_that_of_all_samples_where_there_are_many(batch_size):
    problem = gaussian_problem(n=2500, fit_intercept=False)
    W = np.random.default_rng(0).standard_normal((5, 2))
    curvature = largest_curvature(problem.objective, W, np.ones(2), batch_size)
    expected = naive_curvature(problem, W, batch_size)
    assert curvature == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_is_zero_where_nothing_varies(fit_intercept):
    problem = digits_problem(images=np.zeros((20, 64)), fit_intercept=fit_intercept)
    W = np.random.default_rng(0).standard_normal((9, 2))
    assert largest_curvature(problem.objective, W, np.ones(2), 16) == 0.0


def test_sees_the_mean_patches_where_the_filters_are_dead():
    objective = digits_problem(n=100, fit_intercept=False).objective
    dead, active = -np.ones((9, 1)), np.ones((9, 1))
    curvature = largest_curvature(objective, dead, np.ones(1), 16)
    expected = largest_curvature(objective, active, np.ones(1), 16)
    assert curvature == pytest.approx(expected)
    assert curvature > 0


DEVIATIONS = DIGITS.std(axis=0)
Z_SCORES = (DIGITS - DIGITS.mean(axis=0)) / np.where(DEVIATIONS > 0, DEVIATIONS, 1)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("images", [DIGITS, 1e-4 * DIGITS, Z_SCORES])
def test_gradient_descent_with_its_inverse_descends(images, fit_intercept):
    objective = digits_problem(200, images=images, fit_intercept=fit_intercept).objective
    starts = random_starts(objective, 6)
    rate = 1 / largest_curvature(objective, starts.W, starts.signs, 200)
    solver = make_sgd(rate, batch_size=200)
    result = run(solver, objective, starts.W, starts.signs, Stopping(40, 0.0, 99))
    loss = result.history["loss"]
    assert result.status == [Status.MAX_ITER] * 6
    assert np.all(np.diff(loss, axis=0) <= 1e-12 * loss[0])
    assert np.all(loss[-1] < loss[0])
