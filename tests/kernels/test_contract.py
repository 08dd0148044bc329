"""What every kernel does, that of NumPy and those of all instruction sets."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings

from skconvfilter.kernels.layout import PatchLayout
from skconvfilter.kernels.reference import patch_windows, preactivations
from tests.kernels.cases import (
    DTYPES,
    KERNELS,
    Case,
    in_larger_array,
    integer_cases,
    results,
)
from tests.kernels.oracle import (
    NaiveConvolution,
    naive_active_means,
    naive_patches,
    naive_values,
    window_layout,
)

every_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)

# Four patches of two entries, and of six.
PAIRS = PatchLayout((4,), (2,), (2,), (1,))
LONG = PatchLayout((5,), (2,), (6,), (1,))  # spans 14 elements


def loop_results(case):
    """What the results should be, in the same order."""
    filters = case.filters.astype(case.samples.dtype)
    return (
        naive_active_means(case.patches, filters).transpose(1, 2, 0),
        naive_values(case.patches, filters).T,
        case.patches.mean(axis=1, dtype=float).T,
    )


def assert_results_are_those_of_the_loops(kernel, case, **units):
    eps = np.finfo(case.samples.dtype).eps
    tolerances = {name: number * eps for name, number in units.items()}
    for ours, expected in zip(results(kernel, case), loop_results(case), strict=True):
        assert ours.dtype == case.samples.dtype
        np.testing.assert_allclose(ours, expected, **tolerances)


@every_kernel
@settings(max_examples=100)
@given(case=integer_cases())
def test_results_are_those_of_the_loops(kernel, case):
    # The sums are exact, and then divided.
    assert_results_are_those_of_the_loops(kernel, case, rtol=2)


@every_kernel
@every_dtype
def test_rounding_of_any_numbers_is_that_of_the_dtype(kernel, dtype):
    convolution = NaiveConvolution((9, 8), (2,), (3, 2), (2, 1), (0, 0), (1, 2))
    rng = np.random.default_rng(0)
    samples = rng.standard_normal((4, convolution.n_features)).astype(dtype)
    case = Case(
        window_layout(convolution),
        samples,
        naive_patches(samples, convolution),
        rng.standard_normal((convolution.patch_dim, 5)),
    )
    assert_results_are_those_of_the_loops(kernel, case, rtol=0, atol=10)


@every_kernel
@every_dtype
@pytest.mark.parametrize("row_step", [-2, 2])
def test_rows_may_lie_anywhere(kernel, dtype, row_step):
    # More samples than lie side by side in lanes.
    values = np.random.default_rng(0).standard_normal((35, 14)).astype(dtype)
    filters = np.random.default_rng(1).standard_normal((6, 3))
    rows = in_larger_array(values, row_step)
    ours = results(kernel, Case(LONG, rows, None, filters))
    for mine, expected in zip(
        ours, results(kernel, Case(LONG, values, None, filters)), strict=True
    ):
        np.testing.assert_array_equal(mine, expected)


@every_kernel
@every_dtype
@pytest.mark.parametrize("n_filters", [1, 2, 4, 7])
def test_a_patch_at_the_kink_is_inactive(kernel, dtype, n_filters):
    # Inner products with (1, -1): 0, 0, 2 and -2.
    samples = np.array([[2, 2, -3, -3, 3, 1, 1, 3]], dtype=dtype)
    filters = np.tile([[1.0], [-1.0]], n_filters)
    A, values, _ = results(kernel, Case(PAIRS, samples, None, filters))
    np.testing.assert_array_equal(A, np.tile([[3 / 4], [1 / 4]], (n_filters, 1, 1)))
    np.testing.assert_array_equal(values, np.full((n_filters, 1), 2 / 4))


@every_kernel
@given(case=integer_cases())
def test_a_gate_lets_only_patches_count_that_are_active_for_it_too(kernel, case):
    gate, *_ = case.filters.T
    packed = kernel.pack(case.samples, case.layout)
    A = kernel.active_mean_patches(packed, case.layout, case.filters, gate)
    inside = case.patches * ((case.patches @ gate) > 0)[:, :, np.newaxis]
    expected = naive_active_means(inside, case.filters)
    eps = np.finfo(A.dtype).eps
    np.testing.assert_allclose(A.transpose(2, 0, 1), expected, rtol=4 * eps, atol=4 * eps)


@every_kernel
@pytest.mark.parametrize("length", [1, 3])
def test_a_gate_of_another_length_is_refused(kernel, length):
    packed = kernel.pack(np.ones((3, 8)), PAIRS)
    with pytest.raises(ValueError, match=r"must have shape \(2, n_filters\)"):
        kernel.active_mean_patches(packed, PAIRS, np.ones((2, 1)), np.ones(length))


@every_kernel
@every_dtype
def test_no_patch_is_active_for_the_zero_filter(kernel, dtype):
    samples = np.random.default_rng(0).standard_normal((3, 8)).astype(dtype)
    filters = np.array([[0.0, -0.0, 0.0], [0.0, -0.0, -0.0]])
    A, values, _ = results(kernel, Case(PAIRS, samples, None, filters))
    np.testing.assert_array_equal(A, 0)
    np.testing.assert_array_equal(values, 0)


@every_kernel
@every_dtype
@pytest.mark.parametrize("n_filters", [1, 4, 7])
def test_no_patch_is_active_for_a_nan_filter_and_its_value_is_nan(kernel, dtype, n_filters):
    samples = np.random.default_rng(0).standard_normal((3, 8)).astype(dtype)
    filters = np.tile([[1.0], [np.nan]], n_filters)
    with np.errstate(invalid="ignore"):
        A, values, _ = results(kernel, Case(PAIRS, samples, None, filters))
    np.testing.assert_array_equal(A, 0)
    assert np.isnan(values).all()


@every_kernel
@every_dtype
@pytest.mark.parametrize(("n_samples", "n_filters"), [(0, 3), (5, 0), (0, 0)])
def test_no_samples_or_no_filters_give_empty_results(kernel, dtype, n_samples, n_filters):
    samples = np.ones((n_samples, 8), dtype=dtype)
    A, values, means = results(kernel, Case(PAIRS, samples, None, np.ones((2, n_filters))))
    assert A.shape == (n_filters, 2, n_samples)
    assert values.shape == (n_filters, n_samples)
    assert means.shape == (2, n_samples)
    assert A.dtype == values.dtype == means.dtype == dtype


@every_kernel
@every_dtype
@pytest.mark.parametrize(
    "convert",
    [np.asfortranarray, np.int8, np.float32, lambda W: np.repeat(W, 2, axis=1)[:, ::2]],
    ids=["Fortran", "int8", "float32", "strided"],
)
def test_filters_are_cast_to_the_dtype_of_the_samples(kernel, dtype, convert):
    samples = np.random.default_rng(0).standard_normal((3, 14)).astype(dtype)
    filters = np.random.default_rng(1).integers(-3, 4, size=(6, 3)).astype(float)
    expected = results(kernel, Case(LONG, samples, None, filters))
    converted = convert(filters)
    converted.flags.writeable = False
    ours = results(kernel, Case(LONG, samples, None, converted))
    for mine, theirs in zip(ours, expected, strict=True):
        assert mine.dtype == dtype
        np.testing.assert_array_equal(mine, theirs)


@every_kernel
def test_results_belong_to_the_caller(kernel):
    case = Case(PAIRS, np.ones((3, 8)), None, np.ones((2, 3)))
    packed = kernel.pack(case.samples, PAIRS)
    for _ in range(2):
        A = kernel.active_mean_patches(packed, PAIRS, case.filters)
        np.testing.assert_array_equal(A, 1)
        A[...] = np.nan


READERS = {f"{name}.pack": kernel.pack for name, kernel in KERNELS.items()} | {
    "patch_windows": patch_windows,
    "preactivations": partial(preactivations, filters=np.ones((6, 1))),
}


UNREADABLE = {
    "too short": (np.ones((20, 14))[:, :13], LONG, r"element 13 .* 13 elements"),
    "one element": (np.ones((20, 14))[:, :1], LONG, r"element 13 .* 1 elements"),
    **{
        f"begin before, {axis}": (np.ones((3, 50)), layout, "patches reach")
        for axis, layout in {
            "grid": PatchLayout((5,), (-2,), (6,), (1,)),
            "window": PatchLayout((5,), (2,), (6,), (-1,)),
            "second axis": PatchLayout((3, 2), (2, -1), (6,), (1,)),
        }.items()
    },
    **{
        f"{len(shape)}-D": (np.ones(shape), LONG, "2-D array")
        for shape in [(14,), (1, 14, 1)]
    },
    **{
        name: (samples, LONG, "contiguous rows")
        for name, samples in {
            "stepped": np.ones((3, 28))[:, ::2],
            "reversed": np.ones((3, 14))[:, ::-1],
            "Fortran": np.ones((3, 14), order="F"),
            "broadcast": np.broadcast_to(np.ones((3, 1)), (3, 14)),
        }.items()
    },
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    ("samples", "layout", "message"), UNREADABLE.values(), ids=UNREADABLE
)
def test_samples_that_cannot_be_read_are_refused(reader, samples, layout, message):
    with pytest.raises(ValueError, match=message):
        reader(samples, layout)


@pytest.mark.parametrize(
    ("filters", "shape"),
    [(np.ones((5, 2)), "(5, 2)"), (np.ones((2, 6)), "(2, 6)"), (np.ones(6), "(6,)")],
    ids=["short", "transposed", "1-D"],
)
@every_kernel
def test_filters_of_another_shape_are_refused(kernel, filters, shape):
    packed = kernel.pack(np.ones((3, 14)), LONG)
    for function in (kernel.active_mean_patches, kernel.mean_activations):
        with pytest.raises(ValueError, match=r"\(6, n_filters\), not") as caught:
            function(packed, LONG, filters)
        assert str(caught.value).endswith(f"not {shape}.")


def test_preactivations_refuse_filters_of_another_shape():
    with pytest.raises(ValueError, match=r"\(6, n_filters\), not \(5, 2\)"):
        preactivations(np.ones((3, 14)), LONG, np.ones((5, 2)))
