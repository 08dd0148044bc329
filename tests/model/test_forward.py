import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from skconvfilter.kernels.dispatch import kernel
from skconvfilter.model.forward import activation_map, model_values, pack, row_blocks
from tests.kernels.oracle import naive_active_means, naive_values
from tests.model.problems import make_problem, problems


def tolerance(problem):
    return 100 * np.finfo(problem.samples.dtype).eps


@given(problem=problems())
def test_model_values_are_those_of_the_loops(problem):
    values = model_values(problem.samples, problem.geometry, problem.W)
    assert values.dtype == np.float64
    expected = naive_values(problem.patches, problem.W)
    np.testing.assert_allclose(values, expected, rtol=0, atol=tolerance(problem))


@given(problem=problems())
def test_packed_samples_have_the_padding(problem):
    packed = pack(problem.samples, problem.geometry)
    A = kernel.active_mean_patches(packed, problem.geometry.layout, problem.W)
    expected = naive_active_means(problem.patches, problem.W.astype(A.dtype))
    expected = expected.transpose(1, 2, 0)
    np.testing.assert_allclose(A, expected, rtol=0, atol=tolerance(problem))


@given(problem=problems())
def test_activation_map_has_the_relu_of_every_patch(problem):
    w = problem.W[:, 0]
    maps = activation_map(problem.samples, problem.geometry, w)
    assert maps.dtype == problem.samples.dtype
    assert maps.shape[1:] == problem.geometry.layout.grid_shape
    expected = np.maximum(problem.patches @ w, 0)
    flat = maps.reshape(expected.shape)
    np.testing.assert_allclose(flat, expected, rtol=0, atol=tolerance(problem))


def test_many_rows_are_as_their_repetitions():
    problem = make_problem(n_samples=100)
    geometry, tiled = problem.geometry, np.tile(problem.samples, (11, 1))
    assert len(row_blocks(len(tiled), len(problem.W))) == 3
    values = model_values(problem.samples, geometry, problem.W)
    many = model_values(tiled, geometry, problem.W)
    np.testing.assert_allclose(many, np.tile(values, (11, 1)), rtol=0, atol=1e-14)
    maps = activation_map(problem.samples, geometry, problem.W[:, 0])
    many = activation_map(tiled, geometry, problem.W[:, 0])
    expected = np.concatenate([maps] * 11)
    np.testing.assert_allclose(many, expected, rtol=0, atol=1e-14)


@given(
    n_samples=st.integers(1, 3000),
    patch_dim=st.one_of(st.integers(1, 2000), st.just(10**7)),
)
def test_blocks_cut_the_rows_in_order(n_samples, patch_dim):
    blocks = row_blocks(n_samples, patch_dim)
    rows = [range(n_samples)[block] for block in blocks]
    assert [row for block in rows for row in block] == list(range(n_samples))
    most = max(len(block) for block in rows)
    assert most <= 512
    # All but the last fill the lanes of the compiled kernels.
    assert all(len(block) % 16 == 0 for block in rows[:-1])
    assert most <= 16 or most * patch_dim <= 2**18
