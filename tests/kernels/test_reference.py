import numpy as np
import pytest
from hypothesis import given

from skconvfilter.kernels import reference
from skconvfilter.kernels.layout import PatchLayout
from skconvfilter.kernels.reference import all_patches, patch_windows, preactivations
from tests.kernels.cases import integer_cases

FILTERS = np.random.default_rng(0).integers(-3, 4, size=(6, 3))


def test_samples_are_packed_as_they_are():
    samples = np.ones((3, 41))
    layout = PatchLayout((3, 4), (12, 1), (3, 2), (6, 1))
    assert reference.pack(samples, layout) is samples


@given(case=integer_cases())
def test_preactivations_are_inner_products(case):
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
    n_entries = case.layout.window_size
    flat = windows.reshape(*case.patches.shape[:2], n_entries)
    np.testing.assert_array_equal(flat, case.patches[:, :, :n_entries])
    np.testing.assert_array_equal(all_patches(case.samples, case.layout), case.patches)
    assert np.shares_memory(windows, case.samples)
    assert not patch_windows(case.samples.copy(), case.layout).flags.writeable


@pytest.mark.parametrize(
    ("n_samples", "layout"),
    [
        # Chunks of 1820 samples, and of one.
        (4000, PatchLayout((3, 4), (12, 1), (3, 2), (6, 1))),
        (3, PatchLayout((30_000,), (1,), (6,), (1,))),
    ],
)
def test_size_of_the_chunks_is_invisible(n_samples, layout):
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((n_samples, layout.span))
    patches = samples[:, layout.base[:, np.newaxis] + layout.tap]
    products = patches @ FILTERS
    active = (products > 0).astype(float)
    expected = {
        "preactivations": products.transpose(0, 2, 1),
        "mean_activations": np.maximum(products, 0).mean(axis=1).T,
        "active_mean_patches": (active.transpose(0, 2, 1) @ patches).transpose(1, 2, 0)
        / layout.n_patches,
    }
    for name, values in expected.items():
        found = getattr(reference, name)(samples, layout, FILTERS)
        np.testing.assert_allclose(found, values, rtol=0, atol=1e-12)
