import numpy as np
import pytest

from skconvfilter.solvers.curvature import largest_curvature
from skconvfilter.solvers.driver import Status, Stopping, run


def naive_curvature(problem, active_means, W):
    """Largest eigenvalue of the second moments of active mean patches, written out."""
    objective = problem.objective
    weights = objective.sample_weight / objective.sample_weight.sum()
    features = [active_means(problem.patches, w) for w in W.T]
    features.append(problem.patches.mean(axis=1))
    largest = []
    for A in features:
        centre = weights @ A if objective.fit_intercept else 0.0
        matrix = objective.alpha * np.eye(A.shape[1])
        for weight, row in zip(weights, A - centre, strict=True):
            matrix = matrix + weight * np.outer(row, row)
        largest.append(np.linalg.eigvalsh(matrix)[-1])
    return max(largest)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("maker", ["gaussian_problem", "digits_problem"])
def test_is_the_largest_eigenvalue(
    request, active_means, fit_intercept, alpha, weighted, maker
):
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.1, 3, 100) if weighted else None
    make = request.getfixturevalue(maker)
    problem = make(n=100, fit_intercept=fit_intercept, alpha=alpha, sample_weight=weights)
    W = rng.standard_normal((len(problem.teacher), 3))
    curvature = largest_curvature(problem.objective, W, np.array([1.0, -1.0, 1.0]))
    assert curvature == pytest.approx(naive_curvature(problem, active_means, W))


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("scale", [1e-4, 16.0, 1e6])
def test_grows_with_the_square_of_the_scale(digits_problem, digits, fit_intercept, scale):
    W, signs = np.random.default_rng(0).standard_normal((9, 2)), np.ones(2)
    settings = {"n": 100, "fit_intercept": fit_intercept}
    unit = digits_problem(images=digits, **settings).objective
    scaled = digits_problem(images=scale * digits, **settings).objective
    expected = scale**2 * largest_curvature(unit, W, signs)
    assert largest_curvature(scaled, W, signs) == pytest.approx(expected)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_is_zero_where_nothing_varies(digits_problem, fit_intercept):
    images = np.zeros((20, 64))
    problem = digits_problem(images=images, fit_intercept=fit_intercept)
    W = np.random.default_rng(0).standard_normal((9, 2))
    assert largest_curvature(problem.objective, W, np.ones(2)) == 0.0


def test_sees_the_mean_patches_where_the_filters_are_dead(digits_problem):
    objective = digits_problem(n=100, fit_intercept=False).objective
    dead, active = -np.ones((9, 1)), np.ones((9, 1))
    curvature = largest_curvature(objective, dead, np.ones(1))
    assert curvature == pytest.approx(largest_curvature(objective, active, np.ones(1)))
    assert curvature > 0


def as_they_are(images):
    return images


def scaled_to_one(images):
    return images / 16


def tiny(images):
    return 1e-4 * images


def z_scored(images):
    deviations = images.std(axis=0)
    return (images - images.mean(axis=0)) / np.where(deviations > 0, deviations, 1)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("preprocess", [as_they_are, scaled_to_one, tiny, z_scored])
def test_gradient_descent_with_its_inverse_descends(
    digits_problem, digits, make_starts, make_sgd, preprocess, fit_intercept
):
    images = preprocess(digits)
    objective = digits_problem(n=200, images=images, fit_intercept=fit_intercept).objective
    starts = make_starts(objective, 6)
    rate = 1 / largest_curvature(objective, starts.W, starts.signs)
    solver = make_sgd(rate, batch_size=200)
    result = run(solver, objective, starts.W, starts.signs, Stopping(40, 0.0, 99))
    loss = result.history["loss"]
    assert result.status == [Status.MAX_ITER] * 6
    assert np.all(np.diff(loss, axis=0) <= 1e-12 * loss[0])
    assert np.all(loss[-1] < loss[0])
