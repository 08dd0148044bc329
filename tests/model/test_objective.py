import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from scipy.optimize import minimize_scalar

from skconvfilter.model import forward
from skconvfilter.model.geometry import Convolution, flatten_windows
from skconvfilter.model.objective import FilterObjective
from skconvfilter.model.squared_error import Evaluation
from tests.kernels.oracle import naive_values
from tests.model.problems import (
    make_problem,
    problems,
    signs_of_responses,
    steps_within_cell,
)


def tolerance(problem):
    """For quantities of order 1 from sums of some hundred terms."""
    return 100 * np.finfo(problem.samples.dtype).eps


def assert_same(result, expected, **tolerances):
    """All that two evaluations hold is the same."""
    for field, ours, theirs in zip(Evaluation._fields, result, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_allclose(ours, theirs, err_msg=field, **tolerances)


@given(problem=problems())
def test_value_is_that_of_the_best_intercept(problem):
    rtol = tolerance(problem)
    result = problem.objective.value(problem.W, problem.signs)
    np.testing.assert_allclose(result.loss, problem.losses, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(result.intercept, problem.intercepts, rtol=rtol, atol=rtol)
    peak = naive_values(problem.patches, problem.W).max(axis=0)
    np.testing.assert_allclose(result.peak, peak, rtol=rtol, atol=rtol)
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
        cell = signs_of_responses(problem, problem.W)
        np.testing.assert_array_equal(signs_of_responses(problem, W), cell)
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


@given(problem=problems())
def test_gradient_is_that_of_the_formula(problem):
    gradient = problem.objective.gradient(problem.W, problem.signs).gradient
    atol = tolerance(problem)
    np.testing.assert_allclose(gradient, problem.gradients, rtol=atol, atol=atol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_derivative_at_the_kink_is_zero(dtype):
    # At w = (1, 1) the responses are 0 and 2 in the first sample, 3 and 0 in the second.
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
    beside = objective.gradient(W + np.array([[1e-4], [0]]), signs).gradient
    np.testing.assert_allclose(beside, [[3 / 4, 1 / 8]], atol=1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("block", [{"_BLOCK_ROWS": 1}, {"_BLOCK_ELEMENTS": 40}])
def test_blocks_are_invisible(monkeypatch, block, fit_intercept, dtype):
    problem = make_problem(n_samples=41, fit_intercept=fit_intercept, dtype=dtype)
    arguments = problem.W, problem.signs

    def everything():
        objective = problem.objective
        return [
            objective.value(*arguments),
            objective.gradient(*arguments),
            objective.gauss_newton(*arguments),
        ], [
            *objective.mean_patch_moments(),
            objective.predict(*arguments),
            objective.best_scale(*arguments),
        ]

    evaluations, arrays = everything()
    for name, size in block.items():
        monkeypatch.setattr(forward, name, size)
    assert len(forward.row_blocks(len(problem.samples), len(problem.W))) == 3
    same_evaluations, same_arrays = everything()
    for ours, theirs in zip(same_evaluations, evaluations, strict=True):
        assert_same(ours, theirs, rtol=1e-13, atol=1e-14)
    for ours, theirs in zip(same_arrays, arrays, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-14)


def backwards(function, blocks):
    """A map that works on the blocks from the last to the first."""
    return reversed([function(block) for block in reversed(list(blocks))])


def test_any_ordered_map_of_blocks_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr(forward, "_BLOCK_ROWS", 16)
    problem = make_problem(n_samples=41)
    with ThreadPoolExecutor(3) as threads:
        objectives = [problem.objective for _ in range(3)]
        objectives[1].map_blocks = backwards
        objectives[2].map_blocks = threads.map
        expected, *others = (
            objective.gauss_newton(problem.W, problem.signs) for objective in objectives
        )
        values, *other_values = (
            objective.predict(problem.W, problem.signs) for objective in objectives
        )
    for result in others:
        assert_same(result, expected, rtol=0)
    for result in other_values:
        np.testing.assert_array_equal(result, values)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_integer_weights_are_repetitions(fit_intercept):
    problem = make_problem(fit_intercept=fit_intercept)
    repeats = np.array([1, 2, 3, 1, 1, 5, 2, 1, 1, 1, 4])
    weighted = problem._replace(weights=repeats.astype(float)).objective
    repeated = problem._replace(
        samples=np.repeat(problem.samples, repeats, axis=0),
        targets=np.repeat(problem.targets, repeats),
        weights=None,
    ).objective
    arguments = problem.W, problem.signs
    assert_same(
        weighted.gauss_newton(*arguments), repeated.gauss_newton(*arguments), rtol=1e-12
    )
    np.testing.assert_allclose(
        weighted.best_scale(*arguments), repeated.best_scale(*arguments), rtol=1e-12
    )


@pytest.mark.parametrize("factor", [1e-100, 0.3, 1e100])
def test_only_ratios_of_weights_matter(factor):
    problem = make_problem()
    scaled = problem._replace(weights=factor * problem.weights)
    arguments, rows = (problem.W, problem.signs), np.arange(5)
    assert_same(
        scaled.objective.gauss_newton(*arguments),
        problem.objective.gauss_newton(*arguments),
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        scaled.objective.batch_gradient(*arguments, rows),
        problem.objective.batch_gradient(*arguments, rows),
        rtol=1e-12,
    )
    np.testing.assert_allclose(
        scaled.objective.best_scale(*arguments),
        problem.objective.best_scale(*arguments),
        rtol=1e-12,
    )


@pytest.mark.parametrize("offset", [0, 1e8])
@pytest.mark.parametrize("block_rows", [16, 512])
def test_loss_at_the_teacher_is_rounding_error(monkeypatch, block_rows, offset):
    # Squares of sums subtracted from sums of squares would leave some 1e-16.
    monkeypatch.setattr(forward, "_BLOCK_ROWS", block_rows)
    problem = make_problem(n_samples=101, alpha=0.0)
    targets = problem.fits[:, 0] + offset
    result = problem._replace(targets=targets).objective.gradient(problem.W, problem.signs)
    assert result.loss[0] <= 1e-28 * np.mean(targets**2)
    assert result.intercept[0] == pytest.approx(offset, abs=1e-12, rel=1e-14)
    assert np.abs(result.gradient[0]).max() <= 1e-14 * np.abs(targets).max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_dead_filter_has_no_peak_and_only_the_slope_of_the_penalty(dtype):
    problem = make_problem(dtype=dtype, alpha=0.5)
    samples, dead = np.abs(problem.samples), -np.abs(problem.W[:, 0])
    W = np.stack([problem.W[:, 0], dead, 0 * dead], axis=1)
    problem = problem._replace(samples=samples, W=W, signs=np.ones(3))
    result = problem.objective.gauss_newton(W, problem.signs)
    assert result.peak[0] > 0
    np.testing.assert_array_equal(result.peak[1:], 0)
    np.testing.assert_array_equal(result.gradient[1:], 0.5 * W.T[1:])
    np.testing.assert_array_equal(result.gauss_newton[1:], [0.5 * np.eye(len(W))] * 2)
    np.testing.assert_array_equal(problem.objective.best_scale(W, problem.signs)[1:], 0)


@pytest.mark.parametrize("alpha", [0.0, 1e200])
@pytest.mark.parametrize("order", ["value", "gradient", "gauss_newton"])
def test_filters_beyond_bounds_have_an_infinite_loss(order, alpha):
    problem = make_problem(alpha=alpha)
    result = getattr(problem.objective, order)(1e200 * problem.W, problem.signs)
    assert not np.isfinite(result.loss).any()


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


@pytest.mark.parametrize("seed", range(5))
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


@pytest.mark.parametrize(
    "rows", [slice(2, 7), np.array([8, 0, 3]), np.array([4]), np.arange(11) % 3 == 0]
)
def test_subset_is_the_objective_of_its_rows(rows):
    problem = make_problem()
    part = problem._replace(
        patches=problem.patches[rows],
        samples=problem.samples[rows],
        targets=problem.targets[rows],
        weights=problem.weights[rows],
    )
    subset = problem.objective.subset(rows)
    assert subset.n_samples == len(part.samples)
    result = subset.gradient(problem.W, problem.signs)
    np.testing.assert_allclose(result.loss, part.losses, rtol=1e-12)
    np.testing.assert_allclose(result.gradient, part.gradients, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sizes_and_precision(dtype):
    objective = make_problem(dtype=dtype).objective
    assert (objective.n_samples, objective.patch_dim) == (11, 12)
    assert objective.precision == np.finfo(dtype).eps


def test_evaluation_take_and_put():
    problem = make_problem()
    indices = np.array([2, 0])
    whole = problem.objective.gradient(problem.W, problem.signs)
    part = whole.take(indices)
    alone = problem.objective.gradient(problem.W[:, indices], problem.signs[indices])
    assert_same(part, alone, rtol=1e-13, atol=1e-13)
    before = whole.loss.copy()
    changed = whole.put(indices, part._replace(loss=np.array([7.0, 8.0])))
    np.testing.assert_array_equal(changed.loss, [8, before[1], 7])
    np.testing.assert_array_equal(changed.gradient, whole.gradient)
    np.testing.assert_array_equal(whole.loss, before)
    assert changed.gauss_newton is None


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
