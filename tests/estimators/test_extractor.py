"""The transformer from flat samples to patches."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given

from skconvfilter import ConvPatchExtractor
from tests.kernels.oracle import convolutions, naive_patches


def samples(n_features, dtype=np.float64):
    return np.random.RandomState(0).standard_normal((3, n_features)).astype(dtype)


@given(convolutions())
def test_patches_are_those_of_the_window(convolution):
    params = {
        "kernel_size": convolution.kernel_size,
        "input_shape": convolution.sample_shape,
        "stride": convolution.stride,
        "padding": convolution.padding,
        "dilation": convolution.dilation,
    }
    for dtype in (np.float64, np.float32):
        X = samples(convolution.n_features, dtype)
        expected = naive_patches(X, convolution)
        patches = ConvPatchExtractor(**params).fit_transform(X)
        assert patches.dtype == dtype
        window = convolution.window_shape
        if len(convolution.grid_shape) == 1:
            # Four axes would be taken for images.
            window = (convolution.patch_dim,)
        assert patches.shape == (3, *convolution.grid_shape, *window)
        np.testing.assert_array_equal(patches.reshape(expected.shape), expected)
        if patches.ndim > 3:
            assert np.shares_memory(patches, X) == (max(convolution.padding) == 0)
            assert not patches.flags.writeable

        extractor = ConvPatchExtractor(**params, flatten=True).fit(X)
        rows = extractor.transform(X)
        np.testing.assert_array_equal(rows, expected.reshape(3, -1))
        names = extractor.get_feature_names_out()
        n_patches, patch_dim = expected.shape[1:]
        assert len(set(names)) == len(names) == rows.shape[1]
        assert names[0] == "patch0_0"
        assert names[patch_dim - 1] == f"patch0_{patch_dim - 1}"
        assert names[-1] == f"patch{n_patches - 1}_{patch_dim - 1}"


def test_without_a_window_a_row_is_its_one_patch():
    X = samples(10)
    patches = ConvPatchExtractor().fit_transform(X)
    assert np.shares_memory(patches, X)
    np.testing.assert_array_equal(patches, X[:, np.newaxis])
    rows = ConvPatchExtractor(flatten=True).fit_transform(X)
    np.testing.assert_array_equal(rows, X)


@pytest.mark.parametrize(
    "change",
    [
        *(
            lambda X, dtype=dtype: X.astype(dtype)
            for dtype in ("u1", "?", "f2", ">f8", "O")
        ),
        np.asfortranarray,
        lambda X: X[::-1, ::-1],
        lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    ],
)
def test_dtype_and_layout_in_memory_do_not_matter(change):
    X = change(np.arange(24.0).reshape(2, 12))
    before = X.copy()
    patches = ConvPatchExtractor(2, input_shape=(3, 4)).fit_transform(X)
    assert patches.dtype == np.float64
    expected = ConvPatchExtractor(2, input_shape=(3, 4)).fit_transform(
        X.astype(float).copy()
    )
    np.testing.assert_array_equal(patches, expected)
    np.testing.assert_array_equal(X, before)


def test_names_of_features_are_checked():
    frame = pd.DataFrame(np.ones((2, 4)), columns=list("abcd"))
    extractor = ConvPatchExtractor(2, flatten=True).fit(frame)
    assert extractor.n_features_in_ == 4
    assert extractor.feature_names_in_.tolist() == list("abcd")
    assert len(extractor.get_feature_names_out(list("abcd"))) == 6
    with pytest.raises(ValueError, match="input_features is not equal to feature_names_in"):
        extractor.get_feature_names_out(list("abcx"))
    with pytest.raises(ValueError, match="feature names should match"):
        extractor.transform(frame[list("badc")])


def test_patches_as_arrays_have_no_feature_names():
    extractor = ConvPatchExtractor(2).fit(np.ones((2, 4)))
    assert not hasattr(extractor, "get_feature_names_out")
    assert not hasattr(extractor, "set_output")


def test_tags_tell_that_the_dtype_is_kept():
    tags = ConvPatchExtractor().__sklearn_tags__()
    assert tags.transformer_tags.preserves_dtype == ["float64", "float32"]
    assert not tags.input_tags.sparse
    assert not tags.target_tags.required
