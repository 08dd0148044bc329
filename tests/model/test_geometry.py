import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from skconvfilter import ConvPatchExtractor
from skconvfilter.kernels.reference import patch_windows
from skconvfilter.model.geometry import Convolution, flatten_windows
from tests.kernels.oracle import convolutions, naive_patches
from tests.model.problems import geometry_of


def read_patches(samples, geometry):
    """All patches of the geometry, shape (n_samples, *grid, *window)."""
    return patch_windows(geometry.pad(samples), geometry.layout)


def conv2d_output_sizes(convolution):
    """The formula in the documentation of torch.nn.Conv2d."""
    return tuple(
        int(np.floor((size + 2 * padding - dilation * (taps - 1) - 1) / stride + 1))
        for size, padding, dilation, taps, stride in zip(
            convolution.image_shape,
            convolution.padding,
            convolution.dilation,
            convolution.kernel_size,
            convolution.stride,
            strict=True,
        )
    )


@given(convolution=convolutions(), dtype=st.sampled_from([np.float32, np.float64]))
def test_patches_are_those_of_torch_conv2d(convolution, dtype):
    geometry = geometry_of(convolution)
    samples = np.arange(1, 2 * convolution.n_features + 1, dtype=dtype).reshape(2, -1)
    windows = read_patches(samples, geometry)
    assert windows.dtype == dtype
    assert windows.shape[1:] == (
        *conv2d_output_sizes(convolution),
        *convolution.window_shape,
    )
    expected = naive_patches(samples, convolution)
    np.testing.assert_array_equal(windows.reshape(expected.shape), expected)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (((30,), 3), ((30,), (3,))),
        (((30,), 3, 2, 1, 2), ((30,), (3,), (2,), (1,), (2,))),
        (((5, 6), 2, (2,), (1,), (2,)), ((5, 6), (2, 2), (2, 2), (1, 1), (2, 2))),
        (((2, 5, 3), 2, 2, 1, 2), ((2, 5, 3), (2, 2), (2, 2), (1, 1), (2, 2))),
        ((None, 3), ((30,), (3,))),
        ((30, 3), ((30,), (3,))),
        (([5, 6], [2, 3]), ((5, 6), (2, 3))),
        ((np.array([5, 6]), np.int64(2), np.array([1, 2])), ((5, 6), (2, 2), (1, 2))),
    ],
)
def test_short_forms(short, long):
    def geometry(input_shape, kernel_size, *rest):
        return Convolution(kernel_size, input_shape, *rest).geometry(30)

    assert geometry(*short) == geometry(*long)


def test_a_kernel_of_one_axis_less_than_the_sample_spans_the_channels():
    samples = np.arange(30.0).reshape(1, 30)
    geometry = Convolution((2,), (10, 3), padding=1).geometry(30)
    windows = read_patches(samples, geometry)
    assert windows.shape == (1, 11, 2, 3)
    np.testing.assert_array_equal(windows[0, 4], [[9, 10, 11], [12, 13, 14]])
    np.testing.assert_array_equal(windows[0, 0], [[0, 0, 0], [0, 1, 2]])


def test_without_kernel_size_a_sample_is_its_one_patch():
    samples = np.arange(12.0).reshape(3, 4)
    windows = read_patches(samples, Convolution().geometry(4))
    np.testing.assert_array_equal(windows, samples[:, np.newaxis])


def test_padding_takes_rows_of_a_larger_array_and_leaves_them_alone():
    rows = np.arange(60.0, dtype=np.float32).reshape(6, 10)[::2, 2:8]
    before = rows.copy()
    padded = Convolution((2, 2), (2, 3), padding=(1, 0)).geometry(6).pad(rows)
    assert padded.dtype == np.float32
    np.testing.assert_array_equal(padded[:, 3:9], before)
    np.testing.assert_array_equal(padded[:, [0, 1, 2, 9, 10, 11]], 0)
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("rows", [np.ones((3, 6)), np.ones((3, 12))[:, ::2]])
def test_no_padding_makes_no_copy(rows):
    assert Convolution((2, 2), (2, 3)).geometry(6).pad(rows) is rows


def on_image(**parameters):
    """Parameters of a 2-D window over images of 4 x 5."""
    return {"kernel_size": (2, 2), "input_shape": (4, 5), **parameters}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"input_shape": (4, 5)}, "input_shape has no meaning without kernel_size"),
        ({"stride": np.array([1, 2])}, "stride has no meaning without kernel_size"),
        ({"padding": 1, "dilation": 2}, "padding, dilation has no meaning without"),
        ({"kernel_size": (2, 2)}, r"kernel_size=\(2, 2\) has several axes: input_shape"),
        (on_image(input_shape=(4, 6)), r"\(4, 6\) has 24 entries, .*\(n_features=20\)"),
        (on_image(input_shape=(20,)), r"has 2 axes; input_shape=\(20,\)"),
        (on_image(input_shape=(1, 4, 5, 1)), r"has 2 axes; input_shape=\(1, 4, 5, 1\)"),
        (on_image(kernel_size=(2, 2, 2)), r"kernel_size=\(2, 2, 2\) has 3 axes"),
        (
            on_image(kernel_size=1, input_shape=(2, 2, 5, 1)),
            r"input_shape=\(2, 2, 5, 1\) has 4 axes: give kernel_size as a tuple",
        ),
        (
            on_image(kernel_size=5),
            r"kernel_size=\(5, 5\) with dilation=\(1, 1\) reaches over \(5, 5\) "
            r"entries, .* \(4, 5\) \(n_features=20\)",
        ),
        ({"kernel_size": 8, "dilation": 3}, r"dilation=\(3,\) reaches over \(22,\)"),
        ({"kernel_size": 2, "padding": 2**31 - 1}, "makes samples longer than 2147483647"),
        ({"kernel_size": 2, "padding": 2**31}, "padding must be at most 2147483647"),
        *(
            (
                on_image(**{name: (1, 1, 1)}),
                rf"{name}=\(1, 1, 1\) must be one int or have 2",
            )
            for name in ["stride", "padding", "dilation"]
        ),
        *(
            ({"kernel_size": 2, name: ()}, f"{name} must not be empty")
            for name in ["kernel_size", "stride", "padding", "dilation", "input_shape"]
        ),
        *(
            ({"kernel_size": 2, name: value}, f"{name} must be at least {least}, got")
            for name, value, least in [
                ("kernel_size", 0, 1),
                ("stride", (-1,), 1),
                ("padding", -1, 0),
                ("dilation", 0, 1),
                ("input_shape", (-4, -5), 1),
            ]
        ),
    ],
)
def test_refuses_values_naming_the_parameter(parameters, message):
    with pytest.raises(ValueError, match=message):
        Convolution(**parameters).geometry(20)


@pytest.mark.parametrize(
    "value",
    [2.0, "2", True, (2.5,), (True,), (None,), ((1, 2), 3)],
)
@pytest.mark.parametrize(
    ("name", "kernel_size"),
    [
        ("kernel_size", 2),
        *((n, k) for n in ["stride", "padding", "dilation"] for k in [2, None]),
    ],
)
def test_refuses_what_is_no_int_naming_the_parameter(name, kernel_size, value):
    with pytest.raises(TypeError, match=rf"{name} must be an int or a tuple of ints, got"):
        Convolution(**{"kernel_size": kernel_size, name: value}).geometry(20)


def test_an_estimator_has_its_convolution():
    options = {"input_shape": (6, 5), "stride": 2, "padding": 1, "dilation": (1, 2)}
    extractor = ConvPatchExtractor(kernel_size=3, **options)
    assert Convolution.of(extractor) == Convolution(3, **options)


RNG = np.random.default_rng(0)
PATCHES = RNG.standard_normal((5, 4, 3))
IMAGES = RNG.standard_normal((4, 9, 8))
COLOURS = RNG.standard_normal((4, 6, 7, 3))
SERIES = RNG.standard_normal(60)
RECORDS = np.zeros(60, dtype=[("value", "f8"), ("quality", "f4")])
RECORDS["value"] = SERIES

VIEWS = {
    "contiguous": PATCHES,
    "float32": PATCHES.astype(np.float32),
    "one sample": PATCHES[:1],
    "one patch": PATCHES[:, :1],
    "one entry": PATCHES[:1, :1, :1],
    "transposed": PATCHES.transpose(0, 2, 1),
    "rows of a larger array": PATCHES[::2, 1:],
    "reversed samples": PATCHES[::-1],
    "signals": sliding_window_view(IMAGES[:, 0], 3, axis=1),
    "images": sliding_window_view(IMAGES, (3, 2), axis=(1, 2)),
    "images with strides": sliding_window_view(IMAGES, (3, 3), axis=(1, 2))[:, ::2, ::3],
    "images with dilation": sliding_window_view(IMAGES, (5, 3), axis=(1, 2))[..., ::2, :],
    "colours": sliding_window_view(COLOURS, (3, 2, 3), axis=(1, 2, 3))[:, :, :, 0],
    "overlapping samples": sliding_window_view(sliding_window_view(SERIES, 20), 5, axis=1),
    "the same patch again": np.broadcast_to(PATCHES[:, :1], (5, 4, 3)),
    "the same sample again": np.broadcast_to(PATCHES[:1], (5, 4, 3)),
}
SCATTERED = {
    "reversed patches": PATCHES[:, ::-1],
    "reversed entries": PATCHES[:, :, ::-1],
    "Fortran order": np.asfortranarray(PATCHES),
    "samples last": np.moveaxis(PATCHES, 0, -1),
    "every second entry": PATCHES[:, :, ::2],
    "corner of an image": IMAGES[:, :3, :3],
    "field of records": sliding_window_view(
        sliding_window_view(RECORDS["value"], 20), 5, axis=1
    ),
}


@pytest.mark.parametrize("name", [*VIEWS, *SCATTERED])
def test_flattened_windows_read_back_as_they_were(name):
    X = {**VIEWS, **SCATTERED}[name]
    before = X.copy()
    samples, geometry = flatten_windows(X)
    np.testing.assert_array_equal(read_patches(samples, geometry), before)
    assert samples.dtype == X.dtype
    assert samples.ndim == 2
    assert np.shares_memory(samples, X) == (name in VIEWS)


@given(data=st.data())
def test_any_view_reads_back(data):
    n_axes = data.draw(st.sampled_from([3, 5]))
    sizes = [data.draw(st.integers(1, 4)) for _ in range(n_axes)]
    array = np.arange(float(np.prod(sizes))).reshape(sizes)
    steps = [data.draw(st.sampled_from([-2, -1, 1, 2])) for _ in range(n_axes)]
    X = array[tuple(slice(None, None, step) for step in steps)]
    X = X.transpose(data.draw(st.permutations(range(n_axes))))
    samples, geometry = flatten_windows(X)
    np.testing.assert_array_equal(read_patches(samples, geometry), X)


@pytest.mark.parametrize(
    ("shape", "grid_shape", "window_shape"),
    [
        ((2, 3, 4), (3,), (4,)),
        ((2, 3, 4, 5), (3,), (4, 5)),
        ((2, 3, 4, 5, 6), (3, 4), (5, 6)),
        ((2, 3, 4, 5, 6, 1), (3, 4), (5, 6, 1)),
        ((2, 2, 3, 4, 2, 2, 3), (2, 3, 4), (2, 2, 3)),
    ],
)
def test_first_half_of_the_axes_is_the_grid(shape, grid_shape, window_shape):
    layout = flatten_windows(np.ones(shape))[1].layout
    assert layout.grid_shape == grid_shape
    assert layout.window_shape == window_shape


def test_flattened_windows_see_no_element_beyond_those_shown():
    memory = np.full(32, np.nan)
    memory[3:29] = 1  # three overlapping samples of four patches, and no more
    X = as_strided(memory[3:], (3, 4, 4), (8 * 8, 2 * 8, 8))
    samples, _ = flatten_windows(X)
    assert samples.shape == (3, 10)
    assert np.isfinite(samples).all()


def test_flattened_windows_cannot_be_written_through():
    samples, _ = flatten_windows(PATCHES)
    assert not samples.flags.writeable
