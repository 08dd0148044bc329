"""What the compiled kernels add to the contract: lanes, tiles, and checks of memory."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings

from skconvfilter.kernels import reference
from skconvfilter.kernels.layout import PatchLayout
from tests.kernels.cases import (
    DTYPES,
    KERNELS,
    Bounds,
    Case,
    assert_same_to_rounding,
    make_normal_case,
    normal_cases,
    results,
    results_of_packed,
)

compiled = pytest.importorskip(
    "skconvfilter.kernels.compiled",
    reason="the compiled kernels are not installed",
    exc_type=ImportError,
)

INSTRUCTION_SETS = compiled.instruction_sets()
every_set = pytest.mark.parametrize(
    "kernel", [compiled.Kernel(name) for name in INSTRUCTION_SETS], ids=INSTRUCTION_SETS
)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)

# 3 x 2 windows in rows of 7, as far as element 46.
GRID = PatchLayout((5, 4), (7, 1), (3, 2), (7, 1))
# As many as lanes of either dtype, one fewer and one more.
N_SAMPLES = [7, 8, 15, 16, 17]


def integer_case(n_samples, n_filters, dtype):
    rng = np.random.default_rng(0)
    samples = rng.integers(-3, 4, size=(n_samples, 49)).astype(dtype)
    return Case(GRID, samples, None, rng.integers(-3, 4, size=(6, n_filters)).astype(float))


def test_every_instruction_set_takes_part():
    assert list(KERNELS) == [*INSTRUCTION_SETS, "numpy"]
    assert INSTRUCTION_SETS[-1] == "baseline"
    assert [compiled.Kernel(name).name for name in INSTRUCTION_SETS] == INSTRUCTION_SETS


@every_set
@settings(max_examples=150)
@given(case=normal_cases())
def test_results_are_those_of_the_reference(kernel, case):
    ours, theirs = results(kernel, case), results(reference, case)
    assert_same_to_rounding(ours, theirs, Bounds.of(case))


@every_set
@every_dtype
@pytest.mark.parametrize("step", [1, 4001])
def test_results_for_long_patches_are_those_of_the_reference(kernel, dtype, step):
    layout = PatchLayout((13,), (step,), (4001,), (1,))
    case = make_normal_case(layout, n_samples=19, n_filters=7, dtype=dtype)
    ours, theirs = results(kernel, case), results(reference, case)
    assert_same_to_rounding(ours, theirs, Bounds.of(case))


# Windows of 8 x 20 in images of 10 x 40, and one that is as long in a series.
WIDE = PatchLayout((3, 21), (40, 1), (8, 20), (40, 1))
LONG_LAYOUTS = {
    "rows of tiles": WIDE,
    "with a constant": WIDE._replace(constant=0.5),
    "every other patch": WIDE._replace(grid_shape=(3, 10), grid_strides=(40, 2)),
    "few patches in a row": WIDE._replace(grid_shape=(3, 3)),
    "gaps in the window": PatchLayout((3, 2), (40, 1), (8, 20), (40, 2)),
    "one run": PatchLayout((201,), (1,), (200,), (1,)),
}
PIXELS = np.arange(400)
ZEROS = {
    "none": PIXELS < 0,
    "padding": np.pad(
        np.zeros((4, 24), dtype=bool), [(3, 3), (8, 8)], constant_values=True
    ),
    "upper half": PIXELS < 200,
    "some columns": PIXELS % 7 == 3,
    "all": PIXELS >= 0,
}


@every_set
@every_dtype
@pytest.mark.parametrize("zero", ZEROS.values(), ids=ZEROS)
@pytest.mark.parametrize("layout", LONG_LAYOUTS.values(), ids=LONG_LAYOUTS)
def test_zeros_in_all_samples_change_nothing(kernel, dtype, zero, layout):
    rng = np.random.default_rng(0)
    samples = np.where(zero.ravel(), 0, rng.integers(-3, 4, size=(19, 400))).astype(dtype)
    filters = rng.integers(-3, 4, size=(layout.patch_dim, 3)).astype(float)
    rtol = 8 * np.finfo(dtype).eps
    for R in (1, 3):
        case = Case(layout, samples, None, filters[:, :R])
        for ours, theirs in zip(
            results(kernel, case), results(reference, case), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)
    gated = [k.pack(samples, layout) for k in (kernel, reference)]
    ours, theirs = (
        k.active_mean_patches(packed, layout, filters[:, :1], filters[:, 1])
        for k, packed in zip((kernel, reference), gated, strict=True)
    )
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)


@every_set
def test_an_element_that_is_zero_in_other_samples_counts(kernel):
    case = make_normal_case(WIDE, n_samples=19, n_filters=1, dtype=np.float64)
    samples = np.where(ZEROS["padding"].ravel(), 0, case.samples)
    case = case._replace(samples=samples)
    expected = [result[..., :-1] for result in results(kernel, case)]
    samples[-1, :20] = np.nan
    ours = results(kernel, case)
    for mine, theirs in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(mine[..., :-1], theirs)
    assert np.isnan(ours[1][0, -1])


@every_set
@every_dtype
@pytest.mark.parametrize("step", [1, 2])
def test_any_number_of_patches_fits_the_tiles(kernel, dtype, step):
    rng = np.random.default_rng(0)
    for n_patches in range(1, 28):
        layout = PatchLayout((n_patches,), (step,), (3,), (1,))
        samples = rng.integers(-3, 4, size=(3, layout.span)).astype(dtype)
        case = Case(layout, samples, None, rng.integers(-3, 4, size=(3, 7)))
        ours, theirs = results(kernel, case), results(reference, case)
        for mine, expected in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine, expected, rtol=2 * np.finfo(dtype).eps)


@every_set
@every_dtype
@pytest.mark.parametrize("n_samples", N_SAMPLES)
def test_samples_lie_in_aligned_lanes_and_the_rest_is_zero(kernel, dtype, n_samples):
    case = integer_case(n_samples, 1, dtype)
    groups, n, _ = kernel.pack(case.samples, GRID)
    n_lanes = 64 // case.samples.itemsize
    assert n == n_samples
    assert groups.shape == (-(-n // n_lanes), 49, n_lanes)
    assert groups.dtype == dtype
    assert groups.ctypes.data % 64 == 0
    rows = groups.transpose(0, 2, 1).reshape(-1, 49)
    np.testing.assert_array_equal(rows[:n], case.samples)
    np.testing.assert_array_equal(rows[n:], 0)
    assert not np.shares_memory(groups, case.samples)


@every_set
@every_dtype
@pytest.mark.parametrize("n_samples", N_SAMPLES)
@pytest.mark.parametrize("n_filters", [1, 4, 7])
def test_a_sample_that_is_not_finite_stays_in_its_lane(kernel, dtype, n_samples, n_filters):
    # The last one has neighbours before it, and lanes without a sample behind it.
    case = integer_case(n_samples, n_filters, dtype)
    expected = [result[..., :-1] for result in results(kernel, case)]
    for bad in (np.nan, np.inf, -np.inf):
        case.samples[-1] = bad
        ours = results(kernel, case)
        for mine, theirs in zip(ours, expected, strict=True):
            np.testing.assert_array_equal(mine[..., :-1], theirs)
        assert not np.isfinite(ours[2][:, -1]).any()


@every_set
@every_dtype
@pytest.mark.parametrize("n_samples", N_SAMPLES)
def test_what_lies_in_lanes_without_a_sample_never_shows(kernel, dtype, n_samples):
    case = integer_case(n_samples, 7, dtype)
    expected = results(kernel, case)
    packed = kernel.pack(case.samples, GRID)
    empty = -n_samples % packed.groups.shape[2]
    if empty:
        packed.groups[-1, :, -empty:] = np.nan
    ours = results_of_packed(kernel, packed, case)
    for mine, theirs in zip(ours, expected, strict=True):
        assert mine.shape[-1] == n_samples
        np.testing.assert_array_equal(mine, theirs)


@every_set
@every_dtype
@pytest.mark.parametrize("n_filters", [1, 2, 3, 4, 7, 10])
def test_a_filter_does_not_depend_on_the_others(kernel, dtype, n_filters):
    case = integer_case(33, n_filters, dtype)
    batch = results(kernel, case)
    rtol = 2 * np.finfo(dtype).eps
    for r in range(n_filters):
        A, values, _ = results(kernel, case._replace(filters=case.filters[:, [r]]))
        np.testing.assert_allclose(batch[0][[r]], A, rtol=rtol)
        np.testing.assert_allclose(batch[1][[r]], values, rtol=rtol)
        others = np.where(np.arange(n_filters) == r, case.filters, np.nan)
        A, values, _ = results(kernel, case._replace(filters=others))
        np.testing.assert_array_equal(A[r], batch[0][r])
        np.testing.assert_array_equal(values[r], batch[1][r])


@every_set
@every_dtype
def test_calls_in_threads_give_the_same_bits(kernel, dtype):
    layout = PatchLayout((20, 20), (24, 1), (5, 5), (24, 1))
    case = make_normal_case(layout, n_samples=40, n_filters=5, dtype=dtype)
    expected = results(kernel, case)
    with ThreadPoolExecutor(4) as threads:
        for ours in threads.map(lambda _: results(kernel, case), range(8)):
            for mine, theirs in zip(ours, expected, strict=True):
                np.testing.assert_array_equal(mine, theirs)


@every_set
@every_dtype
@pytest.mark.parametrize("n_bytes", [0, 1], ids=["odd address", "odd steps"])
def test_samples_that_are_not_aligned_are_packed(kernel, dtype, n_bytes):
    case = integer_case(17, 3, dtype)
    fields = {"names": ["x"], "formats": [(dtype, 49)], "offsets": [1]}
    fields["itemsize"] = (49 + 1) * case.samples.itemsize + n_bytes
    odd = np.zeros(17, dtype=fields)["x"]
    odd[...] = case.samples
    assert not odd.flags.aligned
    for mine, theirs in zip(
        results(kernel, case._replace(samples=odd)), results(kernel, case), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


@every_set
@pytest.mark.parametrize("dtype", ["f2", "i8", "c16", "O", ">f8"])
def test_samples_of_other_dtypes_are_refused(kernel, dtype):
    with pytest.raises(TypeError, match="float32 or float64"):
        kernel.pack(np.zeros((17, 49), dtype=dtype), GRID)


@pytest.mark.parametrize("name", ["", "numpy", "AVX2"])
def test_unknown_instruction_sets_are_refused(name):
    with pytest.raises(ValueError, match="baseline"):
        compiled.Kernel(name)


def aligned_copy(array, offset=0):
    """A contiguous copy that begins `offset` bytes behind a multiple of 64."""
    array = np.asarray(array)
    buffer = np.empty(array.nbytes + 128, dtype=np.uint8)
    start = -buffer.ctypes.data % 64 + offset
    copy = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


# What may be wrong with packed samples: 17 of them, in two groups or in three.
PACKED = {
    "half of the lanes": lambda g, n: (aligned_copy(g[:, :, ::2]), n),
    "twice the lanes": lambda g, n: (aligned_copy(np.concatenate([g, g], axis=2)), n),
    "another shape": lambda g, n: (g.reshape(len(g), -1, 4), n),
    "no lanes": lambda g, n: (aligned_copy(g[:, :, :0]), n),
    "misaligned": lambda g, n: (aligned_copy(g, offset=g.itemsize), n),
    "at an odd address": lambda g, n: (aligned_copy(g, offset=1), n),
    "not contiguous": lambda g, n: (aligned_copy(np.repeat(g, 2, axis=1))[:, ::2], n),
    "backwards": lambda g, n: (g[::-1], n),
    "transposed": lambda g, n: (g.transpose(0, 2, 1), n),
    "Fortran": lambda g, n: (np.asfortranarray(g), n),
    "one group": lambda g, n: (g[0], n),
    "no groups": lambda g, n: (g[:0], n),
    "a group fewer": lambda g, n: (g[:-1], n),
    "too few features": lambda g, n: (aligned_copy(g[:, :46]), n),
    "no features": lambda g, n: (aligned_copy(g[:, :0]), n),
    "other byte order": lambda g, n: (aligned_copy(g.astype(g.dtype.newbyteorder(">"))), n),
    **{
        f"dtype {dtype}": lambda g, n, dtype=dtype: (aligned_copy(g.view(dtype)), n)
        for dtype in ("i4", "i8", "f2", "c8", "c16", "u1")
    },
    "objects": lambda g, n: (g.astype(object), n),
    "no sample": lambda g, n: (g, 0),
    "less than no sample": lambda g, n: (g, -1),
    "fewer samples": lambda g, n: (g, (len(g) - 1) * g.shape[2]),
    "more samples": lambda g, n: (g, len(g) * g.shape[2] + 1),
    "huge n_samples": lambda g, n: (g, 2**62),
    "n_samples None": lambda g, n: (g, None),
    "n_samples 17.0": lambda g, n: (g, 17.0),
}


@every_set
@every_dtype
@pytest.mark.parametrize("change", PACKED.values(), ids=PACKED)
def test_corrupted_packed_samples_are_refused(kernel, dtype, change):
    case = integer_case(17, 3, dtype)
    packed = kernel.pack(case.samples, GRID)
    groups, n_samples = change(packed.groups, packed.n_samples)
    wrong = packed._replace(groups=groups, n_samples=n_samples)
    assert_refused(kernel, wrong, GRID, case.filters)


@every_set
@every_dtype
@pytest.mark.parametrize(
    "change",
    [
        lambda nonzero: nonzero[:1],
        lambda nonzero: nonzero[:, :-1],
        lambda nonzero: nonzero[0],
        lambda nonzero: nonzero.astype(float),
        lambda nonzero: nonzero[:, ::-1],
    ],
)
def test_corrupted_positions_of_zeros_are_refused(kernel, dtype, change):
    case = make_normal_case(WIDE, n_samples=3, n_filters=1, dtype=dtype)
    packed = kernel.pack(np.where(ZEROS["padding"].ravel(), 0, case.samples), WIDE)
    wrong = packed._replace(nonzero=change(packed.nonzero))
    assert_refused(kernel, wrong, WIDE, case.filters)


@every_set
@pytest.mark.parametrize("position", [-(2**40), 2**40])
def test_wrong_positions_of_zeros_read_nothing_outside(kernel, position):
    case = make_normal_case(WIDE, n_samples=3, n_filters=1, dtype=np.float64)
    packed = kernel.pack(np.where(ZEROS["padding"].ravel(), 0, case.samples), WIDE)
    nonzero = np.full_like(packed.nonzero, position)
    results_of_packed(kernel, packed._replace(nonzero=nonzero), case)


def offsets(base, tap):
    """What a layout is to the kernels."""
    return SimpleNamespace(base=base, tap=tap, patch_dim=6, constant=0.0)


INDICES = np.arange(6)
LAYOUTS = {
    "one element beyond": PatchLayout((5, 4), (7, 1), (3, 2), (7, 18)),
    "far beyond": PatchLayout((2,), (10**9,), (6,), (1,)),
    "negative grid": PatchLayout((2,), (-1,), (6,), (1,)),
    "negative window": PatchLayout((2,), (7,), (6,), (-1,)),
    "no patches": PatchLayout((0,), (1,), (6,), (1,)),
    "offsets that wrap": PatchLayout((5,), (2**62,), (6,), (1,)),
    "sums that wrap": offsets(INDICES + 2**62, INDICES + 2**62),
    "one huge tap": offsets(INDICES, np.where(INDICES == 3, 2**62, INDICES)),
    "one negative base": offsets(INDICES - 1, INDICES + 1),
    "bases of 4 bytes": offsets(INDICES.astype("i4"), INDICES),
    "float bases": offsets(INDICES.astype(float), INDICES),
    "2-D bases": offsets(INDICES[:, np.newaxis], INDICES),
    "steps": offsets(INDICES[::2], INDICES),
    "other byte order": offsets(INDICES.astype(">i8"), INDICES),
    "a list": offsets(INDICES.tolist(), INDICES),
}


@every_set
@every_dtype
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_that_do_not_fit_the_samples_are_refused(kernel, dtype, layout):
    case = integer_case(17, 3, dtype)
    packed = kernel.pack(case.samples, GRID)
    assert_refused(kernel, packed, layout, case.filters)


@every_set
@every_dtype
@pytest.mark.parametrize(
    "filters",
    [
        np.ones((5, 3)),
        np.ones((3, 6)),
        np.ones(6),
        np.ones((6, 3, 1)),
        np.full((6, 3), "x"),
    ],
    ids=lambda filters: f"{np.shape(filters)} {filters.dtype}",
)
def test_filters_of_wrong_shape_or_dtype_are_refused(kernel, dtype, filters):
    packed = kernel.pack(np.ones((17, 49), dtype=dtype), GRID)
    for function in (kernel.active_mean_patches, kernel.mean_activations):
        with pytest.raises((TypeError, ValueError)):
            function(packed, GRID, filters)


def assert_refused(kernel, packed, layout, filters):
    with pytest.raises((TypeError, ValueError)):
        kernel.active_mean_patches(packed, layout, filters)
    with pytest.raises((TypeError, ValueError)):
        kernel.mean_activations(packed, layout, filters)
    with pytest.raises((TypeError, ValueError)):
        kernel.mean_patches(packed, layout)
