import numpy as np
from hypothesis import given

from skconvfilter.kernels.layout import PatchLayout, nearest_nonzero
from tests.kernels.oracle import convolutions, naive_patches, window_layout


@given(convolution=convolutions(padded=False))
def test_offsets_are_those_of_the_windows(convolution):
    layout = window_layout(convolution)
    index = np.arange(convolution.n_features)
    (expected,) = naive_patches(index[np.newaxis], convolution)
    np.testing.assert_array_equal(layout.base[:, np.newaxis] + layout.tap, expected)
    assert (layout.n_patches, layout.patch_dim) == expected.shape
    assert layout.span == expected.max() + 1


def test_row_major_order_of_grid_and_window():
    layout = PatchLayout((2, 3), (20, 2), (2, 2), (10, 1))
    np.testing.assert_array_equal(layout.base, [0, 2, 4, 20, 22, 24])
    np.testing.assert_array_equal(layout.tap, [0, 1, 10, 11])
    assert (layout.n_patches, layout.patch_dim, layout.span) == (6, 4, 36)


def test_no_axes_are_one_patch_of_one_entry():
    layout = PatchLayout((), (), (), ())
    assert (layout.n_patches, layout.patch_dim, layout.span) == (1, 1, 1)


def test_nearest_elements_that_are_not_zero():
    layout = PatchLayout((2,), (1,), (128,), (1,))
    samples = np.zeros((2, 129))
    assert nearest_nonzero(samples + 1, layout) is None
    samples[0, 3], samples[1, 5] = 1, np.nan
    following, last = nearest_nonzero(samples, layout)
    np.testing.assert_array_equal(following[:7], [3, 3, 3, 3, 5, 5, 129])
    np.testing.assert_array_equal(last[:7], [-1, -1, -1, 3, 3, 5, 5])
    # Short windows are faster without.
    assert nearest_nonzero(samples, layout._replace(window_shape=(127,))) is None
