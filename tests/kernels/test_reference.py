from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skconvfilter.kernels import reference
from skconvfilter.kernels.layout import PatchLayout
from skconvfilter.kernels.reference import (
    active_mean_patches,
    mean_patches,
    patch_responses,
    patch_windows,
)
from tests.kernels.oracle import (
    Convolution,
    convolutions,
    naive_active_means,
    naive_patches,
    window_layout,
)

DTYPES = [np.float32, np.float64]
# Every kernel as a function of samples and layout, for patches of six entries.
FILTERS = np.random.default_rng(0).integers(-3, 4, size=(6, 3))
KERNELS = {
    "active_mean_patches": lambda *args: active_mean_patches(*args, FILTERS),
    "patch_responses": lambda *args: patch_responses(*args, FILTERS),
    "mean_patches": mean_patches,
    "patch_windows": patch_windows,
}


class Case(NamedTuple):
    layout: PatchLayout
    samples: np.ndarray
    patches: np.ndarray  # what the oracle makes of the samples
    filters: np.ndarray


@st.composite
def cases(draw):
    """Integers, so that many a response is exactly 0, and no sum is rounded."""
    convolution = draw(convolutions(padded=False))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_samples, n_filters = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    shape = (n_samples, convolution.n_features)
    values = rng.integers(-3, 4, size=shape).astype(draw(st.sampled_from(DTYPES)))
    return Case(
        window_layout(convolution),
        in_larger_array(values, draw(st.sampled_from([-2, -1, 1, 2]))),
        naive_patches(values, convolution),
        rng.integers(-3, 4, size=(convolution.patch_dim, n_filters)).astype(float),
    )


def in_larger_array(values, row_step):
    """The values as rows of a read-only array: whoever reads beside them finds NaN."""
    n_rows, n_columns = values.shape
    larger = np.full((2 * n_rows, n_columns + 3), np.nan, dtype=values.dtype)
    rows = larger[::row_step, 1 : 1 + n_columns][:n_rows]
    rows[...] = values
    larger.flags.writeable = rows.flags.writeable = False
    return rows


@given(case=cases())
def test_active_mean_patches_are_those_of_the_loops(case):
    A = active_mean_patches(case.samples, case.layout, case.filters)
    assert A.dtype == case.samples.dtype
    expected = naive_active_means(case.patches, case.filters)
    eps = np.finfo(A.dtype).eps
    np.testing.assert_allclose(A, expected, rtol=4 * eps, atol=4 * eps)


@given(case=cases())
def test_patch_responses_are_inner_products(case):
    responses = patch_responses(case.samples, case.layout, case.filters)
    assert responses.dtype == case.samples.dtype
    expected = [
        [[z @ w for z in sample] for w in case.filters.T] for sample in case.patches
    ]
    np.testing.assert_array_equal(responses, expected)


@given(case=cases())
def test_mean_patches_are_means_over_the_patches(case):
    means = mean_patches(case.samples, case.layout)
    expected = np.mean(case.patches, axis=1, dtype=float)
    np.testing.assert_allclose(means, expected, rtol=1e-15, atol=1e-15)


@given(case=cases())
def test_patch_windows_are_a_read_only_view(case):
    windows = patch_windows(case.samples, case.layout)
    assert windows.shape[1:] == (*case.layout.grid_shape, *case.layout.window_shape)
    np.testing.assert_array_equal(windows.reshape(case.patches.shape), case.patches)
    assert np.shares_memory(windows, case.samples)
    assert not patch_windows(case.samples.copy(), case.layout).flags.writeable


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_of_any_numbers_is_that_of_the_dtype(dtype):
    convolution = Convolution((9, 8), (2,), (3, 2), (2, 1), (0, 0), (1, 2))
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((4, convolution.n_features)).astype(dtype)
    filters = rng.standard_normal((convolution.patch_dim, 5))
    A = active_mean_patches(samples, window_layout(convolution), filters)
    patches = naive_patches(samples, convolution)
    expected = naive_active_means(patches, filters.astype(dtype))
    np.testing.assert_allclose(A, expected, rtol=0, atol=10 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_filters", [1, 4])
def test_a_patch_at_the_kink_is_inactive(dtype, n_filters):
    # Inner products with (1, -1): 0, 0, 2 and -2.
    samples = np.array([[2, 2, -3, -3, 3, 1, 1, 3]], dtype=dtype)
    layout = PatchLayout((4,), (2,), (2,), (1,))
    filters = np.tile([[1.0], [-1.0]], n_filters)
    A = active_mean_patches(samples, layout, filters)
    np.testing.assert_array_equal(A, np.tile([3 / 4, 1 / 4], (1, n_filters, 1)))


def test_no_patch_is_active_for_the_zero_filter():
    layout = PatchLayout((4,), (2,), (2,), (1,))
    samples = np.random.default_rng(0).standard_normal((3, 8))
    A = active_mean_patches(samples, layout, np.array([[0.0, -0.0], [0.0, -0.0]]))
    np.testing.assert_array_equal(A, 0)


def test_mean_patches_of_float32_are_summed_in_float64():
    samples = np.array([[2**24, 1, 1, 1, 1]], dtype=np.float32)
    means = mean_patches(samples, PatchLayout((5,), (1,), (1,), (1,)))
    assert means.dtype == np.float64
    assert means.item() == (2**24 + 4) / 5


@pytest.mark.parametrize("chunk_elements", [1, 200, 10**9])
@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
def test_size_of_the_chunks_is_invisible(monkeypatch, kernel, chunk_elements):
    # 12 patches of 6 entries: chunks of one sample, of two and of all seven.
    convolution = Convolution((6, 6), (), (3, 2), (1, 2), (0, 0), (1, 1))
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((7, 36))
    expected = kernel(samples, window_layout(convolution))
    monkeypatch.setattr(reference, "_CHUNK_ELEMENTS", chunk_elements)
    result = kernel(samples, window_layout(convolution))
    np.testing.assert_allclose(result, expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
class TestRefuses:
    layout = PatchLayout((5,), (2,), (6,), (1,))  # spans 14 elements

    @pytest.mark.parametrize("n_features", [1, 6, 13])
    def test_samples_that_end_before_the_last_patch(self, kernel, n_features):
        samples = np.ones((20, 14))[:, :n_features]
        with pytest.raises(ValueError, match=rf"element 13 .* {n_features} elements"):
            kernel(samples, self.layout)

    @pytest.mark.parametrize(
        "layout",
        [
            PatchLayout((5,), (-2,), (6,), (1,)),
            PatchLayout((5,), (2,), (6,), (-1,)),
            PatchLayout((3, 2), (2, -1), (6,), (1,)),
        ],
    )
    def test_patches_that_begin_before_the_sample(self, kernel, layout):
        with pytest.raises(ValueError, match="patches reach"):
            kernel(np.ones((3, 50)), layout)

    @pytest.mark.parametrize("shape", [(14,), (1, 14, 1), (2, 2, 14)])
    def test_samples_that_are_not_2d(self, kernel, shape):
        with pytest.raises(ValueError, match="2-D array"):
            kernel(np.ones(shape), self.layout)

    @pytest.mark.parametrize(
        "samples",
        [
            np.ones((3, 28))[:, ::2],
            np.ones((3, 14))[:, ::-1],
            np.ones((3, 14), order="F"),
            np.broadcast_to(np.ones((3, 1)), (3, 14)),
        ],
        ids=["stepped", "reversed", "Fortran", "broadcast"],
    )
    def test_rows_that_are_not_contiguous(self, kernel, samples):
        with pytest.raises(ValueError, match="contiguous rows"):
            kernel(samples, self.layout)
