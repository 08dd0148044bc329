"""The objective of one filter: what naive loops and finite differences say it is."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from scipy.optimize import minimize_scalar

from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.geometry import Convolution, flatten_windows
from tests.kernels.cases import KERNELS
from tests.kernels.oracle import naive_values
from tests.model.problems import (
    assert_same,
    make_problem,
    problems,
    signs_of_products,
    steps_within_cell,
)


def tolerance(problem):
    """For quantities of order 1 from sums of some hundred terms."""
    return 100 * np.finfo(problem.samples.dtype).eps


@given(problem=problems())
def test_value_is_that_of_the_best_intercept(problem):
    rtol = tolerance(problem)
    result = problem.objective.value(problem.W, problem.signs)
    np.testing.assert_allclose(result.loss, problem.losses, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(result.intercept, problem.intercepts, rtol=rtol, atol=rtol)
    largest = naive_values(problem.patches, problem.W).max(axis=0)
    np.testing.assert_allclose(result.max_abs_output, largest, rtol=rtol, atol=rtol)
    assert result.gradient is None
    assert result.gauss_newton is None


@given(problem=problems())
def test_higher_orders_repeat_the_lower_ones(problem):
    arguments = problem.W, problem.signs
    value = problem.objective.value(*arguments)
    gradient = problem.objective.gradient(*arguments)
    full = problem.objective.gauss_newton(*arguments)
    assert gradient.gauss_newton is None
    # The value comes from a sum of its own.
    rtol = tolerance(problem)
    assert_same(value, gradient._replace(gradient=None), rtol=rtol, atol=rtol)
    assert_same(gradient, full._replace(gauss_newton=None), rtol=1e-13, atol=1e-13)


@given(problem=problems(dtypes=[np.float64]))
def test_gradient_is_the_slope_of_the_value(problem):
    h = steps_within_cell(problem)

    def losses(W):
        cell = signs_of_products(problem, problem.W)
        np.testing.assert_array_equal(signs_of_products(problem, W), cell)
        return problem.objective.value(W, problem.signs).loss

    slopes = []
    for axis in np.eye(len(problem.W)):
        far, near = (
            losses(problem.W + step * np.outer(axis, h))
            - losses(problem.W - step * np.outer(axis, h))
            for step in (2, 1)
        )
        slopes.append((8 * near - far) / (12 * h))
    gradient = problem.objective.gradient(problem.W, problem.signs).gradient
    atol = 1e-8 + 1e-14 / h.min()
    np.testing.assert_allclose(gradient, np.transpose(slopes), rtol=1e-7, atol=atol)


@given(problem=problems(dtypes=[np.float64]))
def test_gauss_newton_matrix_is_the_hessian_within_a_cell(problem):
    h = steps_within_cell(problem)

    def gradient(W):
        return problem.objective.gradient(W, problem.signs).gradient

    # The gradient is linear within a cell: differences are exact for any step.
    columns = [
        (gradient(problem.W + step) - gradient(problem.W - step)) / (2 * h[:, np.newaxis])
        for step in (np.outer(axis, h) for axis in np.eye(len(problem.W)))
    ]
    hessian = problem.objective.gauss_newton(problem.W, problem.signs).gauss_newton
    atol = 1e-8 + 1e-14 / h.min()
    np.testing.assert_allclose(hessian, np.moveaxis(columns, 0, 2), rtol=1e-7, atol=atol)
    np.testing.assert_allclose(hessian, hessian.transpose(0, 2, 1), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_derivatives_of_many_entries_are_those_of_the_active_samples(fit_intercept):
    # So many that products leave out the samples without an active patch, which are half.
    rng, p = np.random.default_rng(0), 300
    X, w = rng.standard_normal((500, p)) + 0.1, rng.standard_normal(p)
    y, weights = rng.standard_normal(500), rng.uniform(0, 3, 500)
    objective = FilterObjective(
        *flatten_windows(X[:, np.newaxis]),
        y,
        sample_weight=weights,
        fit_intercept=fit_intercept,
    )
    result = objective.gauss_newton(w[:, np.newaxis], np.ones(1))
    J, r = X * (X @ w > 0)[:, np.newaxis], np.maximum(X @ w, 0) - y
    if fit_intercept:
        J, r = (a - np.average(a, axis=0, weights=weights) for a in (J, r))
    shares = weights / weights.sum()
    np.testing.assert_allclose(result.loss, [0.5 * shares @ r**2])
    np.testing.assert_allclose(result.gradient, [J.T @ (shares * r)], atol=1e-12)
    H = J.T @ (shares[:, np.newaxis] * J)
    np.testing.assert_allclose(result.gauss_newton, [H], atol=1e-12)


@given(problem=problems())
def test_gradient_is_that_of_the_formula(problem):
    gradient = problem.objective.gradient(problem.W, problem.signs).gradient
    atol = tolerance(problem)
    np.testing.assert_allclose(gradient, problem.gradients, rtol=atol, atol=atol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_derivative_at_the_kink_is_zero(dtype):
    # At w = (1, 1) the products are 0 and 2 in the first sample, 3 and 0 in the second.
    patches = np.array([[[1, -1], [2, 0]], [[0, 3], [-2, 2]]], dtype=dtype)
    objective = FilterObjective(
        *flatten_windows(patches), np.array([0.0, 1.0]), fit_intercept=False
    )
    W, signs = np.array([[1.0], [1.0]]), np.array([1.0])
    result = objective.gauss_newton(W, signs)
    # Active mean patches (1, 0) and (0, 1.5), errors 1 and 0.5.
    assert result.loss == pytest.approx((1**2 + 0.5**2) / 4)
    np.testing.assert_allclose(result.gradient, [[1 / 2, 1.5 * 0.5 / 2]])
    np.testing.assert_allclose(result.gauss_newton, [[[1 / 2, 0], [0, 1.5**2 / 2]]])
    # Off the kink, on the side where the patch (1, -1) is active: a jump.
    nearby = objective.gradient(W + np.array([[1e-4], [0]]), signs).gradient
    np.testing.assert_allclose(nearby, [[3 / 4, 1 / 8]], atol=1e-3)


@given(problem=problems())
def test_predictions_and_mean_patches_are_those_of_the_loops(problem):
    atol = tolerance(problem)
    values = problem.objective.predict(problem.W, problem.signs)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, problem.fits, rtol=atol, atol=atol)
    mean, covariance = problem.objective.mean_patch_moments()
    means = np.mean(problem.patches, axis=1, dtype=float)
    weights = problem.all_weights / problem.all_weights.sum()
    np.testing.assert_allclose(mean, weights @ means, rtol=atol, atol=atol)
    centred = means - weights @ means
    expected = centred.T @ (centred * weights[:, np.newaxis])
    np.testing.assert_allclose(covariance, expected, rtol=atol, atol=10 * atol)


@given(problem=problems())
def test_validation_loss_takes_the_intercepts_given(problem):
    intercept = np.linspace(-1, 2, len(problem.signs))
    result = problem.objective.validation_loss(problem.W, problem.signs, intercept)
    errors = problem.fits + intercept - problem.targets[:, np.newaxis]
    expected = problem.all_weights @ errors**2 / problem.all_weights.sum() / 2
    np.testing.assert_allclose(result, expected, rtol=tolerance(problem))


def test_best_scale_is_zero_where_values_vary_by_rounding_alone():
    samples = np.tile([[0.1, 0.2, 0.3]], (7, 1))
    targets = np.arange(7.0) + 100
    objective = FilterObjective(samples, Convolution().geometry(3), targets)
    w = np.array([[0.7], [0.2], [0.9]])
    np.testing.assert_array_equal(objective.best_scale(w, np.ones(1)), 0.0)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_best_scale_minimises_the_loss(fit_intercept, seed):
    problem = make_problem(alpha=0.0, fit_intercept=fit_intercept, seed=seed)
    scales = problem.objective.best_scale(problem.W, problem.signs)
    for r, scale in enumerate(scales):

        def loss(factor, r=r):
            # A negative factor is that of a filter with the other sign.
            w, sign = abs(factor) * problem.W[:, [r]], np.sign(factor) * problem.signs[[r]]
            return problem.objective.value(w, sign).loss.item()

        assert scale == pytest.approx(minimize_scalar(loss, bracket=(-1, 1)).x, abs=1e-6)


def test_samples_that_overlap_in_memory_do_not_stay_packed():
    n_samples, length = 3000, 200
    series = np.random.default_rng(0).standard_normal(n_samples + length)
    samples = np.lib.stride_tricks.sliding_window_view(series, length)[:n_samples]
    geometry = Convolution(kernel_size=5).geometry(length)
    objective = FilterObjective(samples, geometry, np.zeros(n_samples))
    tracemalloc.start()
    objective.value(np.ones((5, 1)), np.ones(1))
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Packed, they would take two hundred times the memory of the series.
    assert kept < 0.05 * n_samples * length * samples.itemsize


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_kernel_gives_the_same(name, dtype):
    problem = make_problem(n_samples=40, dtype=dtype)
    arguments, rtol = (problem.W, problem.signs), tolerance(problem)
    ours, theirs = (
        problem.objective_on(problem.samples, kernel=KERNELS[kernel])
        for kernel in (name, "numpy")
    )
    for mine, expected in [(ours, theirs), (o.subset(slice(9)) for o in (ours, theirs))]:
        evaluations = (o.gauss_newton(*arguments) for o in (mine, expected))
        assert_same(*evaluations, rtol=rtol, atol=rtol)
    bounds = (o.curvature_bounds()[0] for o in (ours, theirs))
    np.testing.assert_allclose(*bounds, rtol=rtol, atol=rtol)
