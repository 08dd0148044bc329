import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skconvfilter.kernels.dispatch import kernel
from skconvfilter.model import forward
from skconvfilter.model.forward import (
    joined,
    model_values,
    pack,
    response_map,
    row_blocks,
)
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


def test_joined_blocks_are_one_float64_array_with_the_samples_first():
    blocks = [np.full((2, n), n, dtype=np.float32) for n in (3, 1)]
    result = joined(iter(blocks))
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, [[3, 3]] * 3 + [[1, 1]])


@given(problem=problems())
def test_response_map_has_the_relu_of_every_patch(problem):
    w = problem.W[:, 0]
    maps = response_map(problem.samples, problem.geometry, w)
    assert maps.dtype == problem.samples.dtype
    assert maps.shape[1:] == problem.geometry.layout.grid_shape
    expected = np.maximum(problem.patches @ w, 0)
    flat = maps.reshape(expected.shape)
    np.testing.assert_allclose(flat, expected, rtol=0, atol=tolerance(problem))


@given(problem=problems())
def test_model_value_is_the_mean_of_the_response_map(problem):
    w = problem.W[:, 0]
    maps = response_map(problem.samples, problem.geometry, w)
    values = model_values(problem.samples, problem.geometry, w[:, np.newaxis])[:, 0]
    means = maps.mean(axis=tuple(range(1, maps.ndim)))
    np.testing.assert_allclose(means, values, rtol=0, atol=tolerance(problem))


@pytest.mark.parametrize("block", [{"_BLOCK_ROWS": 1}, {"_BLOCK_ELEMENTS": 40}])
def test_blocks_are_invisible(monkeypatch, block):
    problem = make_problem(n_samples=41)
    w = problem.W[:, 0]
    maps = response_map(problem.samples, problem.geometry, w)
    values = model_values(problem.samples, problem.geometry, problem.W)
    for name, size in block.items():
        monkeypatch.setattr(forward, name, size)
    assert len(row_blocks(len(problem.samples), len(w))) == 3
    same_maps = response_map(problem.samples, problem.geometry, w)
    np.testing.assert_allclose(same_maps, maps, rtol=1e-14, atol=1e-14)
    same_values = model_values(problem.samples, problem.geometry, problem.W)
    np.testing.assert_allclose(same_values, values, rtol=1e-14, atol=1e-14)


@given(
    n_samples=st.integers(1, 3000),
    patch_dim=st.one_of(st.integers(1, 2000), st.just(10**7)),
)
def test_blocks_cut_the_rows_in_order(n_samples, patch_dim):
    blocks = row_blocks(n_samples, patch_dim)
    rows = [range(n_samples)[block] for block in blocks]
    assert [row for block in rows for row in block] == list(range(n_samples))
    most = max(len(block) for block in rows)
    assert most <= forward._BLOCK_ROWS
    # All but the last fill the lanes of the compiled kernels.
    assert all(len(block) % 16 == 0 for block in rows[:-1])
    assert most <= 16 or most * patch_dim <= forward._BLOCK_ELEMENTS
