import numpy as np
import pytest
from hypothesis import given

from skconvfilter.kernels import reference
from skconvfilter.kernels.reference import preactivations, patch_windows
from tests.kernels.cases import integer_cases
from tests.kernels.oracle import NaiveConvolution, window_layout

# Every function of samples and layout, for patches of six entries.
FILTERS = np.random.default_rng(0).integers(-3, 4, size=(6, 3))
FUNCTIONS = {
    "active_mean_patches": lambda *args: reference.active_mean_patches(*args, FILTERS),
    "mean_activations": lambda *args: reference.mean_activations(*args, FILTERS),
    "mean_patches": reference.mean_patches,
    "preactivations": lambda *args: preactivations(*args, FILTERS),
}


def test_samples_are_packed_as_they_are():
    samples = np.ones((3, 36))
    convolution = NaiveConvolution((6, 6), (), (3, 2), (1, 2), (0, 0), (1, 1))
    assert reference.pack(samples, window_layout(convolution)) is samples


@given(case=integer_cases())
def test_patch_responses_are_inner_products(case):
    found = preactivations(case.samples, case.layout, case.filters)
    assert found.dtype == case.samples.dtype
    expected = [
        [[z @ w for z in sample] for w in case.filters.T] for sample in case.patches
    ]
    np.testing.assert_array_equal(found, expected)


@given(case=integer_cases())
def test_patch_windows_are_a_read_only_view(case):
    windows = patch_windows(case.samples, case.layout)
    assert windows.shape[1:] == (*case.layout.grid_shape, *case.layout.window_shape)
    np.testing.assert_array_equal(windows.reshape(case.patches.shape), case.patches)
    assert np.shares_memory(windows, case.samples)
    assert not patch_windows(case.samples.copy(), case.layout).flags.writeable


@pytest.mark.parametrize("chunk_elements", [1, 200, 10**9])
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_size_of_the_chunks_is_invisible(monkeypatch, function, chunk_elements):
    # 12 patches of 6 entries: chunks of one sample, of two and of all seven.
    convolution = NaiveConvolution((6, 6), (), (3, 2), (1, 2), (0, 0), (1, 1))
    samples = np.random.default_rng(0).standard_normal((7, 36))
    expected = function(samples, window_layout(convolution))
    monkeypatch.setattr(reference, "_CHUNK_ELEMENTS", chunk_elements)
    result = function(samples, window_layout(convolution))
    np.testing.assert_allclose(result, expected, rtol=1e-14, atol=1e-15)
