import numpy as np
import pytest

from skconvfilter.solvers.curvature import largest_curvature
from skconvfilter.solvers.driver import Status, Stopping, run


def naive_curvature(problem, active_means, W, batch_size):
    """Eigenvalues of the second moments of active mean patches, written out."""
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
        top, spread = np.linalg.eigvalsh(matrix)[-1], 0.0
        if batch_size < len(A):
            spread = (top + np.trace(matrix)) / batch_size
        largest.append(top + spread)
    return max(largest)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch_size", [1, 16, 100])
@pytest.mark.parametrize("maker", ["gaussian_problem", "digits_problem"])
def test_is_the_largest_eigenvalue_and_the_spread_of_batches(
    request, active_means, fit_intercept, alpha, weighted, batch_size, maker
):
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.1, 3, 100) if weighted else None
    make = request.getfixturevalue(maker)
    problem = make(n=100, fit_intercept=fit_intercept, alpha=alpha, sample_weight=weights)
    W, signs = rng.standard_normal((len(problem.teacher), 3)), np.array([1.0, -1.0, 1.0])
    curvature = largest_curvature(problem.objective, W, signs, batch_size)
    expected = naive_curvature(problem, active_means, W, batch_size)
    assert curvature == pytest.approx(expected)


def test_batch_of_all_samples_or_more_has_no_spread(gaussian_problem):
    objective = gaussian_problem(n=100).objective
    W, signs = np.random.default_rng(0).standard_normal((5, 2)), np.ones(2)
    whole, more, half = (
        largest_curvature(objective, W, signs, size) for size in (100, 1000, 50)
    )
    assert whole == more < half


@pytest.mark.parametrize("batch_size", [16, 2500])
def test_is_nearly_that_of_all_samples_where_there_are_many(
    gaussian_problem, active_means, batch_size
):
    problem = gaussian_problem(n=2500, fit_intercept=False)
    W = np.random.default_rng(0).standard_normal((5, 2))
    curvature = largest_curvature(problem.objective, W, np.ones(2), batch_size)
    expected = naive_curvature(problem, active_means, W, batch_size)
    assert curvature == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("scale", [1e-4, 16.0, 1e6])
def test_grows_with_the_square_of_the_scale(digits_problem, digits, fit_intercept, scale):
    W, signs = np.random.default_rng(0).standard_normal((9, 2)), np.ones(2)
    settings = {"n": 100, "fit_intercept": fit_intercept}
    unit = digits_problem(images=digits, **settings).objective
    scaled = digits_problem(images=scale * digits, **settings).objective
    expected = scale**2 * largest_curvature(unit, W, signs, 16)
    assert largest_curvature(scaled, W, signs, 16) == pytest.approx(expected)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_is_zero_where_nothing_varies(digits_problem, fit_intercept):
    images = np.zeros((20, 64))
    problem = digits_problem(images=images, fit_intercept=fit_intercept)
    W = np.random.default_rng(0).standard_normal((9, 2))
    assert largest_curvature(problem.objective, W, np.ones(2), 16) == 0.0


def test_sees_the_mean_patches_where_the_filters_are_dead(digits_problem):
    objective = digits_problem(n=100, fit_intercept=False).objective
    dead, active = -np.ones((9, 1)), np.ones((9, 1))
    curvature = largest_curvature(objective, dead, np.ones(1), 16)
    expected = largest_curvature(objective, active, np.ones(1), 16)
    assert curvature == pytest.approx(expected)
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
    rate = 1 / largest_curvature(objective, starts.W, starts.signs, 200)
    solver = make_sgd(rate, batch_size=200)
    result = run(solver, objective, starts.W, starts.signs, Stopping(40, 0.0, 99))
    loss = result.history["loss"]
    assert result.status == [Status.MAX_ITER] * 6
    assert np.all(np.diff(loss, axis=0) <= 1e-12 * loss[0])
    assert np.all(loss[-1] < loss[0])
