"""The kernels of this machine, and problems to compare them on."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from skconvfilter.kernels.dispatch import available_kernels, choose_kernel
from skconvfilter.kernels.layout import PatchLayout
from tests.kernels.oracle import convolutions, naive_patches, window_layout

DTYPES = [np.float32, np.float64]
KERNELS = {name: choose_kernel(name) for name in available_kernels()}


# Values of the constant entry of every patch, 0 for none; powers of two, so that sums of
# integers stay exact.
CONSTANTS = st.sampled_from([0.0, 0.0, 0.5, 4.0])


class Case(NamedTuple):
    layout: PatchLayout
    samples: np.ndarray
    patches: np.ndarray  # (n_samples, n_patches, patch_dim)
    filters: np.ndarray


@st.composite
def integer_cases(draw):
    """Integers, so that many inner products are exactly 0, and no sum is rounded."""
    convolution = draw(convolutions(padded=False))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_samples, n_filters = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    shape = (n_samples, convolution.n_features)
    values = rng.integers(-3, 4, size=shape).astype(draw(st.sampled_from(DTYPES)))
    layout = window_layout(convolution)._replace(constant=draw(CONSTANTS))
    return Case(
        layout,
        in_larger_array(values, draw(st.sampled_from([-2, -1, 1, 2]))),
        with_constant(naive_patches(values, convolution), layout),
        rng.integers(-3, 4, size=(layout.patch_dim, n_filters)).astype(float),
    )


def with_constant(windows, layout):
    """Patches from their entries: a layout may add one."""
    n_more = layout.patch_dim - windows.shape[2]
    widths = [(0, 0), (0, 0), (0, n_more)]
    return np.pad(windows, widths, constant_values=layout.constant)


def in_larger_array(values, row_step):
    """The values as rows of a read-only array: a read outside of them finds NaN."""
    n_rows, n_columns = values.shape
    larger = np.full((2 * n_rows, n_columns + 3), np.nan, dtype=values.dtype)
    rows = larger[::row_step, 1 : 1 + n_columns][:n_rows]
    rows[...] = values
    larger.flags.writeable = rows.flags.writeable = False
    return rows


@st.composite
def layouts(draw):
    """Convolutions, or patches of any length that overlap, or touch, or are all one."""
    if draw(st.booleans()):
        return window_layout(draw(convolutions(padded=False, max_taps=(60, 8, 4))))
    n_patches, patch_dim = draw(st.integers(1, 30)), draw(st.integers(1, 200))
    step = draw(st.sampled_from([0, 1, 3, patch_dim]))
    return PatchLayout((n_patches,), (step,), (patch_dim,), (1,))


@st.composite
def normal_cases(draw):
    """Normal numbers, for any remainder of samples and of filters."""
    return make_normal_case(
        draw(layouts())._replace(constant=draw(CONSTANTS)),
        n_samples=draw(st.integers(1, 70)),
        n_filters=draw(st.integers(1, 10)),
        dtype=draw(st.sampled_from(DTYPES)),
        seed=draw(st.integers(0, 2**32 - 1)),
        n_unused=draw(st.integers(0, 2)),
    )


def make_normal_case(layout, *, n_samples, n_filters, dtype, seed=0, n_unused=0):
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal((n_samples, layout.span + n_unused)).astype(dtype)
    filters = rng.standard_normal((layout.patch_dim, n_filters))
    windows = samples[:, layout.base[:, np.newaxis] + layout.tap]
    return Case(layout, samples, with_constant(windows, layout), filters)


class Bounds(NamedTuple):
    """How far the results of two kernels on a case may be apart for rounding alone."""

    active_mean_patches: np.ndarray
    mean_activations: np.ndarray
    mean_patches: np.ndarray

    @classmethod
    def of(cls, case):
        """Sums of m terms differ by at most m eps times the sum of their sizes.

        A patch whose inner product may thus have either sign may be active or not.
        """
        k, p = case.patches.shape[1:]
        eps = float(np.finfo(case.samples.dtype).eps)
        patches = case.patches.astype(float)
        filters = case.filters.astype(case.samples.dtype).astype(float)
        sizes = np.abs(patches) @ np.abs(filters)
        at_the_kink = np.abs(patches @ filters) <= 2 * (p + 2) * eps * sizes
        means = 2 * (k + 4) * eps * np.abs(patches).mean(axis=1).T
        doubtful = at_the_kink.transpose(0, 2, 1) @ np.abs(patches) / k
        values = 2 * (p + k + 4) * eps * sizes.mean(axis=1).T
        return cls(doubtful.transpose(1, 2, 0) + means, values, means)


def results(kernel, case):
    """What a kernel makes of a case, in the order of the bounds."""
    return results_of_packed(kernel, kernel.pack(case.samples, case.layout), case)


def results_of_packed(kernel, packed, case):
    return (
        kernel.active_mean_patches(packed, case.layout, case.filters),
        kernel.mean_activations(packed, case.layout, case.filters),
        kernel.mean_patches(packed, case.layout),
    )


def assert_same_to_rounding(ours, theirs, bounds):
    for name, a, b, bound in zip(Bounds._fields, ours, theirs, bounds, strict=True):
        assert a.shape == b.shape == bound.shape, name
        assert a.dtype == b.dtype, name
        excess = np.abs(a.astype(float) - b) - bound
        assert (excess <= 0).all(), f"{name} differ by {excess.max()} more than rounding"
