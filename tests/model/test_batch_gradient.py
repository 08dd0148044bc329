from itertools import combinations

import numpy as np
import pytest

from tests.model.problems import make_problem


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_batch_of_all_rows_gives_the_gradient(fit_intercept, weighted):
    problem = make_problem(fit_intercept=fit_intercept, weighted=weighted)
    rows = np.random.default_rng(0).permutation(len(problem.samples))
    result = problem.objective.batch_gradient(problem.W, problem.signs, rows)
    np.testing.assert_allclose(result, problem.gradients, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch_size", [2, 3, 5])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_mean_over_all_batches_is_the_gradient(fit_intercept, batch_size, weighted):
    problem = make_problem(n_samples=6, weighted=weighted, fit_intercept=fit_intercept)
    gradients = [
        problem.objective.batch_gradient(problem.W, problem.signs, np.array(rows))
        for rows in combinations(range(6), batch_size)
    ]
    mean = np.mean(gradients, axis=0)
    np.testing.assert_allclose(mean, problem.gradients, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("weighted", [False, True])
def test_mean_over_single_rows_is_the_gradient_without_intercept(weighted):
    problem = make_problem(n_samples=6, weighted=weighted, fit_intercept=False)
    gradients = [
        problem.objective.batch_gradient(problem.W, problem.signs, np.array([row]))
        for row in range(6)
    ]
    mean = np.mean(gradients, axis=0)
    np.testing.assert_allclose(mean, problem.gradients, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_single_row_with_intercept_gives_the_slope_of_the_penalty(alpha):
    # The best intercept fits one row exactly, so it says nothing of the filter.
    problem = make_problem(alpha=alpha)
    result = problem.objective.batch_gradient(problem.W, problem.signs, np.array([3]))
    np.testing.assert_array_equal(result, alpha * problem.W.T)


def test_batches_of_tiny_weights_are_finite():
    problem = make_problem(weighted=False)
    weights = np.r_[np.full(3, 1e-170), np.ones(len(problem.samples) - 3)]
    objective = problem._replace(weights=weights).objective
    assert np.isfinite(
        objective.batch_gradient(problem.W, problem.signs, np.arange(3))
    ).all()


def test_batches_leave_the_objective_as_it_was():
    problem = make_problem()
    objective = problem.objective
    before = objective.samples.copy(), objective.targets.copy(), problem.W.copy()
    objective.batch_gradient(problem.W, problem.signs, np.array([1, 4, 2]))
    after = objective.samples, objective.targets, problem.W
    for ours, theirs in zip(after, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
