"""What all objectives have in common, whatever the model."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations

import numpy as np
import pytest

from skconvfilter.model.blocks import SampleBlocks
from tests.model.banks import make_banks
from tests.model.problems import assert_same, make_problem

MODELS = {
    "filter": make_problem,
    "relu bank": partial(make_banks, name="relu"),
    "tanh bank": partial(make_banks, name="tanh", pooling="mean"),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
intercept = pytest.mark.parametrize("fit_intercept", [False, True])


def assert_objectives_are_the_same(ours, theirs, W, signs, rtol):
    for order in ("value", "gradient", "gauss_newton"):
        evaluations = (getattr(o, order)(W, signs) for o in (ours, theirs))
        assert_same(*evaluations, rtol=rtol, atol=0.1 * rtol)
    assert_sums_are_the_same(ours, theirs, W, signs, rtol)


def assert_sums_are_the_same(ours, theirs, W, signs, rtol):
    intercepts = np.linspace(-1, 1, len(signs))
    for mine, expected in [
        *zip(ours.products(W, signs), theirs.products(W, signs), strict=True),
        (ours.best_scale(W, signs), theirs.best_scale(W, signs)),
        *(zip(*(o.curvature_bounds() for o in (ours, theirs)), strict=True)),
        [o.validation_loss(W, signs, intercepts) for o in (ours, theirs)],
    ]:
        np.testing.assert_allclose(mine, expected, rtol=rtol, atol=0.1 * rtol)


@every_model
@intercept
def test_many_rows_are_as_their_repetitions(make, fit_intercept):
    # One block of rows, and three that end elsewhere.
    case = make(n_samples=100, fit_intercept=fit_intercept)
    data = case.data
    tiled = case.with_data(
        samples=np.tile(data.samples, (11, 1)),
        targets=np.tile(data.targets, 11),
        weights=np.tile(data.weights, 11),
    )
    assert len(tiled.objective._blocks) == 3
    arguments = case.W, case.signs
    assert_objectives_are_the_same(tiled.objective, case.objective, *arguments, 1e-11)
    values = case.objective.predict(*arguments)
    many = tiled.objective.predict(*arguments)
    np.testing.assert_allclose(many, np.tile(values, (11, 1)), rtol=1e-12, atol=1e-13)


@every_model
@intercept
def test_integer_weights_are_repetitions(make, fit_intercept):
    case = make(fit_intercept=fit_intercept)
    repeats = np.array([1, 2, 3, 1, 1, 5, 2, 1, 1, 1, 4])
    weighted = case.with_data(weights=repeats.astype(float)).objective
    repeated = case.with_data(
        samples=np.repeat(case.data.samples, repeats, axis=0),
        targets=np.repeat(case.data.targets, repeats),
        weights=None,
    ).objective
    assert_objectives_are_the_same(weighted, repeated, case.W, case.signs, 1e-11)


@every_model
def test_only_ratios_of_weights_matter(make):
    case = make()
    scaled = case.with_data(weights=1e-12 * case.data.weights).objective
    arguments = case.W, case.signs
    assert_objectives_are_the_same(scaled, case.objective, *arguments, 1e-11)
    gradients = (
        o.batch_gradient(*arguments, np.arange(5)) for o in (scaled, case.objective)
    )
    np.testing.assert_allclose(*gradients, rtol=1e-11)


@every_model
@intercept
@pytest.mark.parametrize("weighted", [False, True])
def test_samples_may_be_in_blocks_elsewhere(make, fit_intercept, weighted):
    case = make(n_samples=41, weighted=weighted, fit_intercept=fit_intercept)
    samples, here, arguments = case.data.samples, case.objective, (case.W, case.signs)
    rows = [slice(start, start + 7) for start in range(0, 41, 7)]
    there = case.objective_on(SampleBlocks.of_file(samples, samples.dtype, rows))
    assert here.is_in_memory
    assert not there.is_in_memory
    assert_objectives_are_the_same(there, here, *arguments, 1e-11)
    batch = np.array([30, 2, 8, 40, 11])
    gradients = [o.batch_gradient(*arguments, batch) for o in (there, here)]
    np.testing.assert_allclose(*gradients, rtol=1e-12, atol=1e-14)
    assert here.in_memory() is here
    for part, expected in [
        (there.in_memory(), here),
        (there.subset(np.sort(batch)), here.subset(np.sort(batch))),
    ]:
        assert part.is_in_memory
        assert_same(part.value(*arguments), expected.value(*arguments), rtol=1e-14)


def backwards(function, blocks):
    """A map that works on the blocks from the last to the first."""
    return reversed([function(block) for block in reversed(list(blocks))])


@every_model
def test_any_ordered_map_of_blocks_gives_the_same_bits(make):
    case = make(n_samples=1100)
    with ThreadPoolExecutor(3) as threads:
        objectives = [
            case.objective_on(case.data.samples, map_blocks=map_blocks)
            for map_blocks in (map, backwards, threads.map)
        ]
        results = [o.gauss_newton(case.W, case.signs) for o in objectives]
        values = [o.predict(case.W, case.signs) for o in objectives]
    for result, value in zip(results[1:], values[1:], strict=True):
        assert_same(result, results[0], rtol=0)
        np.testing.assert_array_equal(value, values[0])


@every_model
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_models_together_are_as_each_alone(make, dtype):
    # More than are evaluated at a time on a block of so many rows.
    sizes = {"n_filters": 30} if make is make_problem else {"n_filters": 4, "n_banks": 9}
    case = make(n_samples=500, dtype=dtype, **sizes)
    rtol = 50 * np.finfo(dtype).eps
    for order in ("value", "gradient", "gauss_newton"):
        evaluate = getattr(case.objective, order)
        together = evaluate(case.W, case.signs)
        for r in (0, 4, -1):
            single = evaluate(case.W[:, [r]], case.signs[[r]])
            size = max(np.abs(part).max() for part in single if part is not None)
            assert_same(together.take([r]), single, rtol=rtol, atol=rtol * (1 + size))


@every_model
@pytest.mark.parametrize("offset", [0, 1e8])
def test_loss_at_the_teacher_is_rounding_error(make, offset):
    # Squares of sums subtracted from sums of squares would leave some 1e-16.
    case = make(n_samples=1100, alpha=0.0)
    values = case.objective.predict(case.W, case.signs)[:, 0]
    objective = case.with_data(targets=values + offset).objective
    result = objective.gradient(case.W, case.signs)
    size = np.abs(values).max() + offset
    assert result.loss[0] <= 1e-28 * size**2
    assert result.intercept[0] == pytest.approx(offset, abs=1e-12, rel=1e-14)
    assert np.abs(result.gradient[0]).max() <= 1e-13 * size * np.abs(case.W).max()


@pytest.mark.parametrize("make", [MODELS["filter"], MODELS["relu bank"]])
def test_dead_models_have_no_output_and_only_the_slope_of_the_penalty(make):
    case = make(alpha=0.5)
    w = case.W[: len(case.data.W), 0]
    case = case.with_data(samples=np.abs(case.data.samples))
    case = case.with_filters(np.stack([-np.abs(w), 0 * w]))
    result = case.objective.gauss_newton(case.W, case.signs)
    np.testing.assert_array_equal(result.max_abs_output, 0)
    np.testing.assert_array_equal(result.gradient, 0.5 * case.W.T)
    np.testing.assert_array_equal(result.gauss_newton, [0.5 * np.eye(len(case.W))] * 2)
    np.testing.assert_array_equal(case.objective.best_scale(case.W, case.signs), 0)


@pytest.mark.parametrize("make", [MODELS["filter"], MODELS["relu bank"]])
@pytest.mark.parametrize("order", ["value", "gradient", "gauss_newton"])
def test_diverged_models_have_an_infinite_loss(make, order):
    case = make()
    result = getattr(case.objective, order)(1e200 * case.W, case.signs)
    assert not np.isfinite(result.loss).any()


@every_model
@intercept
def test_constant_loss_is_that_of_filters_of_zero(make, fit_intercept):
    problem = make(n_samples=30, fit_intercept=fit_intercept, alpha=0.1)
    zeros = problem.objective.value(0 * problem.W, problem.signs)
    constant = problem.objective.constant_loss(problem.signs)
    assert constant == pytest.approx(zeros.loss[0], rel=1e-12)


@every_model
@pytest.mark.parametrize("rows", [slice(2, 7), np.array([8, 0, 3]), np.arange(11) % 3 == 0])
def test_subset_is_the_objective_of_its_rows(make, rows):
    case = make()
    part = case.with_data(
        samples=case.data.samples[rows],
        targets=case.data.targets[rows],
        weights=case.data.weights[rows],
    ).objective
    subset = case.objective.subset(rows)
    assert type(subset) is type(part)
    assert subset.n_samples == part.n_samples
    arguments = case.W, case.signs
    assert_same(subset.gauss_newton(*arguments), part.gauss_newton(*arguments), rtol=0)


@every_model
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sizes_and_precision(make, dtype):
    case = make(dtype=dtype)
    objective = case.objective
    sizes = objective.n_samples, objective.patch_dim, objective.n_parameters
    assert sizes == (11, 12, len(case.W))
    assert objective.precision == np.finfo(dtype).eps


@every_model
def test_take_and_put_some_of_the_models(make):
    case = make()
    indices = np.array([1, 0])
    whole = case.objective.gradient(case.W, case.signs)
    part = whole.take(indices)
    before = whole.loss.copy()
    changed = whole.put(indices, part._replace(loss=np.array([7.0, 8.0])))
    np.testing.assert_array_equal(changed.loss, [8, 7, *before[2:]])
    np.testing.assert_array_equal(changed.gradient, whole.gradient)
    np.testing.assert_array_equal(whole.loss, before)
    assert part.gauss_newton is None
    assert changed.gauss_newton is None


@every_model
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("fit_intercept", "batch_size"),
    [(False, 1), (False, 2), (False, 6), (True, 2), (True, 3), (True, 6)],
)
def test_mean_over_all_batches_is_the_gradient(make, fit_intercept, batch_size, weighted):
    case = make(n_samples=6, weighted=weighted, fit_intercept=fit_intercept)
    objective, arguments = case.objective, (case.W, case.signs)
    # That of the best output scale is the gradient, which signs in use have.
    scale = objective.value(*arguments).scale
    arguments = case.W, (case.signs.T * scale).T
    gradients = [
        objective.batch_gradient(*arguments, np.array(rows[::-1]))
        for rows in combinations(range(6), batch_size)
    ]
    expected = objective.gradient(*arguments).gradient
    np.testing.assert_allclose(np.mean(gradients, axis=0), expected, rtol=1e-11, atol=1e-13)


@every_model
def test_single_row_with_intercept_gives_the_slope_of_the_penalty(make):
    # The best intercept fits one row exactly, so it says nothing of the parameters.
    case = make(alpha=0.7)
    result = case.objective.batch_gradient(case.W, case.signs, np.array([3]))
    np.testing.assert_array_equal(result, 0.7 * case.W.T)


@every_model
def test_evaluations_leave_everything_as_it_was(make):
    case = make()
    objective = case.objective
    arrays = (objective.samples, objective.targets, case.W, case.signs)
    before = [array.copy() for array in arrays]
    objective.gauss_newton(case.W, case.signs)
    objective.batch_gradient(case.W, case.signs, np.array([1, 4, 2]))
    for ours, theirs in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
