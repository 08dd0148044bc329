import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skconvfilter.model.activations import ACTIVATIONS
from skconvfilter.model.bank import (
    activation_maps,
    bank_blocks,
    bank_values,
    block_patches,
    check_activation,
    check_bank,
    check_output_weights,
    pooling_scale,
    preactivations,
)
from skconvfilter.model.forward import model_values
from skconvfilter.model.geometry import Convolution, flatten_windows
from tests.model.banks import FUNCTIONS
from tests.model.problems import make_problem, problems


def naive_bank_values(patches, W, name, v, pooling):
    """Signed sum over the filters of the pooled activations; patches (n, k, p)."""
    values = []
    for sample in np.float64(patches):
        total = 0.0
        for w, sign in zip(W.T, v, strict=True):
            activations = [FUNCTIONS[name][0](float(patch @ w)) for patch in sample]
            total += sign * (sum(activations) if pooling == "sum" else np.mean(activations))
        values.append(total)
    return np.array(values)


def tolerance(problem):
    """What rounding makes of the values: that of every inner product, and of their sum."""
    patches, W = np.float64(problem.patches), np.abs(problem.W)
    sizes = 1 + np.abs(patches) @ W
    return 50 * np.finfo(problem.samples.dtype).eps * (sizes**2).sum(axis=(1, 2)).max()


@given(
    problem=problems(),
    name=st.sampled_from(list(FUNCTIONS)),
    pooling=st.sampled_from(["sum", "mean"]),
    signed=st.booleans(),
)
def test_values_are_those_of_the_loops(problem, name, pooling, signed):
    v = problem.signs if signed else None
    values = bank_values(
        problem.samples,
        problem.geometry,
        problem.W,
        ACTIVATIONS[name],
        output_weights=v,
        pooling=pooling,
    )
    assert values.dtype == np.float64
    all_v = problem.signs if signed else np.ones(problem.W.shape[1])
    W = problem.W.astype(problem.samples.dtype).astype(float)
    expected = naive_bank_values(problem.patches, W, name, all_v, pooling)
    np.testing.assert_allclose(values, expected, rtol=0, atol=tolerance(problem))


@given(problem=problems())
def test_mean_relu_bank_is_the_sum_of_single_filters(problem):
    values = bank_values(
        problem.samples,
        problem.geometry,
        problem.W,
        ACTIVATIONS["relu"],
        output_weights=problem.signs,
        pooling="mean",
    )
    singles = model_values(problem.samples, problem.geometry, problem.W)
    expected = singles @ problem.signs
    np.testing.assert_allclose(values, expected, rtol=0, atol=tolerance(problem))


@given(problem=problems())
def test_patches_of_a_block_are_those_of_the_loops(problem):
    patches = block_patches(problem.samples, problem.geometry)
    np.testing.assert_array_equal(patches, problem.patches)
    assert patches.dtype == problem.samples.dtype
    products = preactivations(patches, problem.W)
    assert products.dtype == problem.samples.dtype
    expected = problem.patches @ problem.W
    np.testing.assert_allclose(products, expected, rtol=0, atol=tolerance(problem))


@pytest.mark.parametrize("n_patches", [1, 3, 7, 8, 20])
def test_patches_one_behind_the_other_are_not_copied(n_patches):
    rng = np.random.default_rng(0)
    samples, W = rng.standard_normal((5, 4 * n_patches)), rng.standard_normal((4, 3))
    geometry = Convolution(4, stride=4).geometry(4 * n_patches)
    patches = block_patches(samples, geometry)
    assert np.shares_memory(patches, samples)
    products = preactivations(patches, W)
    expected = np.einsum("nkp,pt->nkt", samples.reshape(5, n_patches, 4), W)
    np.testing.assert_allclose(products, expected, rtol=1e-12, atol=1e-12)
    X = samples.reshape(5, n_patches, 4)
    assert np.shares_memory(block_patches(*flatten_windows(X)), X)


def test_many_rows_are_as_their_repetitions():
    problem = make_problem(n_samples=100)
    bank = problem.geometry, problem.W, ACTIVATIONS["tanh"]
    tiled = np.tile(problem.samples, (11, 1))
    n_blocks = []

    def map_blocks(function, blocks):
        n_blocks.append(len(blocks))
        return map(function, blocks)

    values, many = (
        bank_values(problem.samples, *bank),
        bank_values(tiled, *bank, map_blocks=map_blocks),
    )
    np.testing.assert_allclose(many, np.tile(values, 11), rtol=1e-13, atol=1e-13)
    maps, many = activation_maps(problem.samples, *bank), activation_maps(tiled, *bank)
    np.testing.assert_allclose(many, np.concatenate([maps] * 11), rtol=1e-13, atol=1e-13)
    pooled = maps.sum(axis=(1, *range(2, maps.ndim)))
    np.testing.assert_allclose(pooled, values, rtol=1e-12, atol=1e-12)
    assert n_blocks == [3]


@given(
    n_samples=st.integers(1, 3000),
    n_patches=st.integers(1, 2000),
    patch_dim=st.integers(1, 500),
    n_filters=st.integers(1, 300),
)
def test_what_is_made_of_a_block_is_small(n_samples, n_patches, patch_dim, n_filters):
    layout = Convolution(patch_dim, stride=patch_dim).geometry(n_patches * patch_dim).layout
    rows = [range(n_samples)[block] for block in bank_blocks(n_samples, layout, n_filters)]
    assert [row for block in rows for row in block] == list(range(n_samples))
    most = max(len(block) for block in rows)
    made = [n_patches * patch_dim, n_patches * n_filters, patch_dim * n_filters]
    assert most <= 16 or most * max(made) <= 2**18


def test_activations_are_checked():
    assert check_activation("erf") is ACTIVATIONS["erf"]
    assert check_activation(ACTIVATIONS["relu"]) is ACTIVATIONS["relu"]
    for wrong in ("softplus", None, ["relu"], np.tanh):
        with pytest.raises(ValueError, match="activation must be one of"):
            check_activation(wrong)


def test_poolings_are_checked():
    assert pooling_scale("sum", 4) == 1
    assert pooling_scale("mean", 4) == 0.25
    for wrong in ("max", None, ["sum"]):
        with pytest.raises(ValueError, match='pooling must be "sum" or "mean"'):
            pooling_scale(wrong, 4)
    problem = make_problem()
    bank = (problem.samples, problem.geometry, problem.W, ACTIVATIONS["relu"])
    with pytest.raises(ValueError, match='pooling must be "sum" or "mean"'):
        bank_values(*bank, pooling="max")


def test_output_weights_are_checked():
    np.testing.assert_array_equal(check_output_weights(None, 3), [1, 1, 1])
    weights = check_output_weights([1, -1, 1], 3)
    np.testing.assert_array_equal(weights, [1, -1, 1])
    assert weights.dtype == np.float64
    for wrong in ([1, 1], [1, 0, 1], [2, 1, 1], "ones", [[1, 1, 1]], [1, np.nan, 1]):
        with pytest.raises(ValueError, match="v must be 1 or -1 for each of the 3"):
            check_output_weights(wrong, 3, "v")


@pytest.mark.parametrize("window_shape", [None, (2, 3)])
@pytest.mark.parametrize("flat", [False, True])
def test_bank_is_flat_float64_and_a_copy(window_shape, flat):
    given = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    if flat:
        given = given.reshape(4, 6)
    bank = check_bank("coef", given, window_shape)
    assert bank.dtype == np.float64
    assert not np.shares_memory(bank, given)
    np.testing.assert_array_equal(bank, given.reshape(4, 6))


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        ("random", TypeError, "coef must be an array of numbers, got 'random'"),
        ([[True]], TypeError, "coef must be an array of numbers"),
        ([[1.0], [1.0, 2.0]], ValueError, "coef must be an array of numbers: "),
        ([1.0, 2.0], ValueError, r"along its first axis, none empty, got the shape \(2,\)"),
        (np.ones((0, 6)), ValueError, "none empty"),
        (np.ones((4, 3, 2)), ValueError, r"the shape \(n_filters, \*\(2, 3\)\), got"),
        (np.ones((4, 5)), ValueError, r"the shape \(n_filters, \*\(2, 3\)\), got"),
        (np.full((4, 6), np.inf), ValueError, "coef must be finite"),
    ],
)
def test_bank_that_cannot_be_used_is_refused(value, error, match):
    with pytest.raises(error, match=match):
        check_bank("coef", value, (2, 3))
