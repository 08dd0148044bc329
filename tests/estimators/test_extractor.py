"""The transformer from flat samples to patches."""

import numpy as np
import pandas as pd
import pytest

from skconvfilter import ConvPatchExtractor

# Geometry, and the shapes of the grid and of the window in the output.
GEOMETRIES = {
    "image": ({"kernel_size": 3, "input_shape": (5, 6)}, (3, 4), (3, 3)),
    "stride": (
        {"kernel_size": (2, 3), "input_shape": (7, 8), "stride": (2, 3)},
        (3, 2),
        (2, 3),
    ),
    "dilation": (
        {"kernel_size": 2, "input_shape": (6, 6), "dilation": (2, 3)},
        (4, 3),
        (2, 2),
    ),
    "padding": (
        {"kernel_size": 3, "input_shape": (4, 5), "padding": (1, 2)},
        (4, 7),
        (3, 3),
    ),
    "all": (
        {
            "kernel_size": (3, 2),
            "input_shape": (6, 7),
            "stride": (2, 1),
            "padding": 1,
            "dilation": (1, 2),
        },
        (3, 7),
        (3, 2),
    ),
    "channels": ({"kernel_size": 2, "input_shape": (4, 5, 3)}, (3, 4), (2, 2, 3)),
    "padded channels": (
        {"kernel_size": 3, "input_shape": (3, 4, 2), "padding": 1, "stride": 2},
        (2, 2),
        (3, 3, 2),
    ),
    "volume": (
        {"kernel_size": (2, 2, 2), "input_shape": (3, 4, 5), "stride": (1, 2, 3)},
        (2, 2, 2),
        (2, 2, 2),
    ),
}
SIGNALS = {
    "signal": ({"kernel_size": 4, "input_shape": (10,), "stride": 2}, (4,), (4,)),
    "signal without shape": ({"kernel_size": 4, "dilation": 2}, (4,), (4,)),
    "channels": ({"kernel_size": (2,), "input_shape": (5, 2)}, (4,), (2, 2)),
    "dilated channels": (
        {"kernel_size": (2,), "input_shape": (5, 2), "dilation": 3, "padding": 1},
        (4,),
        (2, 2),
    ),
}


def patches_by_loops(X, params, grid, window):
    """Patches of shape (n, *grid, *window), entry by entry."""
    n_axes = len(grid)
    shape = params.get("input_shape", X.shape[1:])

    def per_axis(name, default):
        return np.broadcast_to(params.get(name, default), n_axes)

    padding = per_axis("padding", 0)
    widths = [(0, 0), *((pad, pad) for pad in padding)]
    widths += [(0, 0)] * (len(shape) - n_axes)
    images = np.pad(X.reshape(len(X), *shape), widths)
    patches = np.empty((len(X), *grid, *window), dtype=X.dtype)
    for position in np.ndindex(*grid):
        for tap in np.ndindex(*window):
            index = np.multiply(position, per_axis("stride", 1))
            index += np.multiply(tap[:n_axes], per_axis("dilation", 1))
            entry = (slice(None), *index, *tap[n_axes:])
            patches[(slice(None), *position, *tap)] = images[entry]
    return patches


def samples_for(params, dtype=np.float64):
    n_features = int(np.prod(params.get("input_shape", (10,))))
    return np.random.RandomState(0).standard_normal((3, n_features)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("params", "grid", "window"), GEOMETRIES.values(), ids=GEOMETRIES.keys()
)
def test_patches_are_those_of_the_window(params, grid, window, dtype):
    X = samples_for(params, dtype)
    patches = ConvPatchExtractor(**params).fit_transform(X)
    assert patches.dtype == dtype
    expected = patches_by_loops(X, params, grid, window)
    np.testing.assert_array_equal(patches, expected)
    assert np.shares_memory(patches, X) == ("padding" not in params)
    assert not patches.flags.writeable


@pytest.mark.parametrize(("params", "grid", "window"), SIGNALS.values(), ids=SIGNALS.keys())
def test_patches_of_signals_have_three_axes(params, grid, window):
    X = samples_for(params)
    patches = ConvPatchExtractor(**params).fit_transform(X)
    expected = patches_by_loops(X, params, grid, window)
    # Four axes would be taken for images.
    np.testing.assert_array_equal(patches, expected.reshape(3, *grid, -1))
    if "dilation" not in params and "padding" not in params:
        assert np.shares_memory(patches, X)


@pytest.mark.parametrize(
    ("params", "grid", "window"),
    [*GEOMETRIES.values(), *SIGNALS.values()],
    ids=[*GEOMETRIES.keys(), *(f"signal, {name}" for name in SIGNALS)],
)
def test_flat_patches_lie_one_after_the_other(params, grid, window):
    X = samples_for(params)
    extractor = ConvPatchExtractor(**params, flatten=True).fit(X)
    rows = extractor.transform(X)
    expected = patches_by_loops(X, params, grid, window).reshape(3, -1)
    np.testing.assert_array_equal(rows, expected)
    assert not np.shares_memory(rows, X)
    names = extractor.get_feature_names_out()
    n_patches, patch_dim = np.prod(grid), np.prod(window)
    assert len(names) == rows.shape[1] == n_patches * patch_dim
    assert names[0] == "patch0_0"
    assert names[patch_dim - 1] == f"patch0_{patch_dim - 1}"
    assert names[-1] == f"patch{n_patches - 1}_{patch_dim - 1}"
    assert len(set(names)) == len(names)


def test_without_a_window_a_row_is_its_one_patch():
    X = samples_for({})
    patches = ConvPatchExtractor().fit_transform(X)
    assert np.shares_memory(patches, X)
    np.testing.assert_array_equal(patches, X[:, np.newaxis])
    rows = ConvPatchExtractor(flatten=True).fit_transform(X)
    np.testing.assert_array_equal(rows, X)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool, np.float16, ">f8", object])
def test_other_dtypes_become_double_precision(dtype):
    X = np.arange(20).reshape(2, 10).astype(dtype)
    before = X.copy()
    patches = ConvPatchExtractor(3).fit_transform(X)
    assert patches.dtype == np.float64
    np.testing.assert_array_equal(patches[0, :, 0], X[0, :8].astype(float))
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    "change",
    [np.asfortranarray, lambda X: X[::-1, ::-1], lambda X: np.repeat(X, 2, axis=1)[:, ::2]],
    ids=["Fortran", "reversed", "strided"],
)
def test_layout_in_memory_does_not_matter(change):
    params = {"kernel_size": 2, "input_shape": (3, 4)}
    X = change(samples_for(params))
    patches = ConvPatchExtractor(**params).fit_transform(X)
    expected = patches_by_loops(np.ascontiguousarray(X), params, (2, 3), (2, 2))
    np.testing.assert_array_equal(patches, expected)


def test_samples_of_another_number_are_transformed_alike():
    params = {"kernel_size": 2, "input_shape": (3, 4)}
    X = samples_for(params)
    extractor = ConvPatchExtractor(**params).fit(X)
    np.testing.assert_array_equal(extractor.transform(X[:1]), extractor.transform(X)[:1])
    assert extractor.n_features_in_ == 12


def test_names_of_features_are_checked():
    frame = pd.DataFrame(np.ones((2, 4)), columns=list("abcd"))
    extractor = ConvPatchExtractor(2, flatten=True).fit(frame)
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
