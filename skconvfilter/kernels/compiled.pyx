# cython: language_level=3, boundscheck=False, wraparound=False
# cython: freethreading_compatible=True
"""The compiled kernels: checked arrays in, arrays out; the loops are in C.

Samples lie side by side in SIMD lanes (see ``lanes.h``), which makes every load
contiguous whatever the geometry. Nothing here trusts its caller: what could make the C
code read or write outside an array is refused, in every call.
"""

import math
from typing import NamedTuple

import numpy as np

from skconvfilter.kernels.layout import (
    LONG_WINDOW,
    check_filters,
    check_samples,
    nearest_nonzero,
)

cdef extern from "lanes.h" nogil:
    enum:
        GROUP_BYTES
        MAX_FILTERS
        MAX_INSTRUCTION_SETS

    ctypedef struct lanes_problem:
        Py_ssize_t n_groups, n_features, n_patches, patch_dim, n_filters
        const Py_ssize_t *base
        const Py_ssize_t *tap
        const void *gate
        Py_ssize_t has_bias
        const Py_ssize_t *next_nonzero
        const Py_ssize_t *last_nonzero
        Py_ssize_t run_length, long_runs

    ctypedef void (*lanes_kernel)(
        const lanes_problem *, const void *, const void *, void *, void *
    ) noexcept

    ctypedef struct lanes_kernels:
        lanes_kernel active_mean_patches, mean_activations, mean_patches

    ctypedef struct lanes_instruction_set:
        const char *name
        lanes_kernels f32, f64

    Py_ssize_t lanes_instruction_sets(const lanes_instruction_set **)
    void lanes_pack_f32(const float *, Py_ssize_t, Py_ssize_t, Py_ssize_t, float *)
    void lanes_pack_f64(const double *, Py_ssize_t, Py_ssize_t, Py_ssize_t, double *)

ctypedef fused real:
    float
    double

ctypedef enum kernel_number:
    ACTIVE_MEAN_PATCHES
    MEAN_ACTIVATIONS
    MEAN_PATCHES

# What the Python side expects of this module; it changes with the functions below.
INTERFACE = 3

# Entries of a run from which on windows are treated run by run.
_LONG_RUN = 8


class PackedSamples(NamedTuple):
    """Samples in lanes."""

    groups: np.ndarray  # (n_groups, n_features, n_lanes), aligned to GROUP_BYTES
    n_samples: int
    nonzero: np.ndarray | None  # (2, n_features), see layout.nearest_nonzero


def instruction_sets():
    """Names of the instruction sets that this machine has, best first."""
    cdef const lanes_instruction_set *sets[MAX_INSTRUCTION_SETS]
    cdef Py_ssize_t n_sets = lanes_instruction_sets(sets)
    return [sets[i].name.decode() for i in range(n_sets)]


cdef class Kernel:
    """The kernels for one instruction set.

    Parameters
    ----------
    instruction_set : str
        One of :func:`instruction_sets`.
    """

    cdef const lanes_instruction_set *_set

    def __cinit__(self, str instruction_set):
        cdef const lanes_instruction_set *sets[MAX_INSTRUCTION_SETS]
        cdef Py_ssize_t i, n_sets = lanes_instruction_sets(sets)
        for i in range(n_sets):
            if sets[i].name.decode() == instruction_set:
                self._set = sets[i]
                return
        raise ValueError(
            f"this machine has no instruction set {instruction_set!r}, "
            f"only {', '.join(instruction_sets())}."
        )

    @property
    def name(self):
        """Name of the instruction set."""
        return self._set.name.decode()

    def pack(self, samples, layout):
        """Put samples side by side in lanes.

        Parameters
        ----------
        samples : ndarray of shape (n_samples, n_features), float32 or float64
            Flat samples; each row must be contiguous.
        layout : PatchLayout
            Its patches must lie within a row.

        Returns
        -------
        packed : PackedSamples
            A copy.
        """
        check_samples(samples, layout)
        if not samples.flags.aligned or samples.strides[0] % samples.itemsize:
            samples = samples.copy()
        nonzero = nearest_nonzero(samples, layout)
        if samples.dtype == np.float32:
            return PackedSamples(_pack[float](samples), len(samples), nonzero)
        return PackedSamples(_pack[double](samples), len(samples), nonzero)

    def active_mean_patches(self, packed, layout, filters, gate=None):
        """Shape (n_filters, patch_dim, n_samples); see ``dispatch.Kernel``."""
        return self._run(packed, layout, filters, ACTIVE_MEAN_PATCHES, gate)

    def mean_activations(self, packed, layout, filters):
        """Shape (n_filters, n_samples); see ``dispatch.Kernel``."""
        return self._run(packed, layout, filters, MEAN_ACTIVATIONS)[:, 0]

    def mean_patches(self, packed, layout):
        """Shape (patch_dim, n_samples); see ``dispatch.Kernel``."""
        # Stands for a filter that is active on every patch.
        filters = np.zeros((layout.patch_dim, 1))
        return self._run(packed, layout, filters, MEAN_PATCHES)[0]

    cdef _run(self, packed, layout, filters, kernel_number what, gate=None):
        groups, n, nonzero = packed
        base, tap = layout.base, layout.tap
        filters = _rows(filters, groups, layout)
        if gate is not None:
            gate = _rows(gate[:, np.newaxis], groups, layout)[0]
        if groups.dtype == np.float32:
            out = _run[float](
                &self._set.f32, what, groups, n, nonzero, base, tap, filters, gate
            )
        else:
            out = _run[double](
                &self._set.f64, what, groups, n, nonzero, base, tap, filters, gate
            )
        if layout.constant and what != MEAN_ACTIVATIONS:
            out[:, -1] *= layout.constant
        return out


def _rows(filters, groups, layout):
    """The filters as contiguous rows, in the dtype of the samples.

    The weight of the constant becomes what it adds to every preactivation.
    """
    rows = np.require(filters.T, groups.dtype, ["C", "ALIGNED"])
    check_filters(rows, layout.patch_dim)
    if layout.constant:
        rows = rows.copy()
        rows[:, -1] *= layout.constant
    return rows


cdef _pack(const real[:, :] samples):
    cdef Py_ssize_t n_samples = samples.shape[0], n_features = samples.shape[1]
    cdef Py_ssize_t n_lanes = GROUP_BYTES // sizeof(real)
    cdef Py_ssize_t n_groups = (n_samples + n_lanes - 1) // n_lanes
    cdef Py_ssize_t row_step = samples.strides[0] // <Py_ssize_t>sizeof(real)
    cdef real[:, :, ::1] out
    groups = _empty((n_groups, n_features, n_lanes), np.dtype(f"f{sizeof(real)}"))
    if n_groups > 0:
        out = groups
        with nogil:
            if real is float:
                lanes_pack_f32(
                    &samples[0, 0], n_samples, row_step, n_features, &out[0, 0, 0]
                )
            else:
                lanes_pack_f64(
                    &samples[0, 0], n_samples, row_step, n_features, &out[0, 0, 0]
                )
    return groups


cdef _run(
    const lanes_kernels *kernels,
    kernel_number what,
    const real[:, :, ::1] groups,
    Py_ssize_t n_samples,
    const Py_ssize_t[:, ::1] nonzero,
    const Py_ssize_t[::1] base,
    const Py_ssize_t[::1] tap,
    const real[:, ::1] filters,
    const real[::1] gate,
):
    cdef lanes_problem problem
    cdef lanes_kernel kernel
    cdef real[:, :, ::1] out
    cdef real[::1] scratch
    cdef Py_ssize_t n_lanes = GROUP_BYTES // sizeof(real)
    problem.n_groups, problem.n_features = groups.shape[0], groups.shape[1]
    problem.n_patches, problem.patch_dim = base.shape[0], tap.shape[0]
    problem.n_filters = filters.shape[0]
    problem.has_bias = filters.shape[1] - problem.patch_dim
    _check_filters(
        problem.has_bias in (0, 1) and (gate is None or gate.shape[0] == filters.shape[1])
    )
    _check_groups(
        groups.shape[2] == n_lanes
        and (problem.n_groups - 1) * n_lanes < n_samples <= problem.n_groups * n_lanes
        and n_samples >= 0
    )
    _check_offsets(base, tap, problem.n_features)
    _check_groups(
        nonzero is None
        or (nonzero.shape[0] == 2 and nonzero.shape[1] == problem.n_features)
    )
    n_rows = 1 if what == MEAN_ACTIVATIONS else filters.shape[1]
    dtype = np.dtype(f"f{sizeof(real)}")
    result = _empty((problem.n_filters, n_rows, problem.n_groups * n_lanes), dtype)
    if result.size > 0:
        size = filters.shape[1] * (MAX_FILTERS * n_lanes + problem.n_filters)
        out, scratch = result, _empty((size,), dtype)
        problem.base, problem.tap = &base[0], &tap[0]
        problem.gate = NULL if gate is None else &gate[0]
        problem.run_length, problem.long_runs = problem.patch_dim, 0
        problem.next_nonzero = problem.last_nonzero = NULL
        run_length = _run_length(tap)
        if problem.patch_dim >= LONG_WINDOW and run_length >= _LONG_RUN:
            problem.run_length, problem.long_runs = run_length, 1
            if nonzero is not None:
                problem.next_nonzero = &nonzero[0, 0]
                problem.last_nonzero = &nonzero[1, 0]
        _check_groups(<size_t>&groups[0, 0, 0] % GROUP_BYTES == 0)
        if what == ACTIVE_MEAN_PATCHES:
            kernel = kernels.active_mean_patches
        elif what == MEAN_ACTIVATIONS:
            kernel = kernels.mean_activations
        else:
            kernel = kernels.mean_patches
        with nogil:
            kernel(&problem, &groups[0, 0, 0], &filters[0, 0], &scratch[0], &out[0, 0, 0])
    return result[:, :, :n_samples]


cdef _check_filters(bint good):
    if not good:
        raise ValueError("the filters have another length than the patches.")


cdef _check_groups(bint good):
    if not good:
        raise ValueError("these are not packed samples: pass what pack returned.")


cdef _check_offsets(
    const Py_ssize_t[::1] base, const Py_ssize_t[::1] tap, Py_ssize_t n_features
):
    cdef Py_ssize_t furthest_base = _furthest(base, n_features)
    cdef Py_ssize_t furthest_tap = _furthest(tap, n_features)
    if min(furthest_base, furthest_tap) < 0 or furthest_base + furthest_tap >= n_features:
        raise ValueError(f"the patches reach beyond the {n_features} elements of a sample.")


cdef Py_ssize_t _run_length(const Py_ssize_t[::1] tap) noexcept nogil:
    """The entries of a patch are runs of so many neighbours; 1 if runs differ."""
    cdef Py_ssize_t i, length = 0
    for i in range(tap.shape[0]):
        if length == 0 and tap[i] != tap[0] + i:
            length = i
        if length > 0 and tap[i] != tap[i - i % length] + i % length:
            return 1
    if length == 0:
        return tap.shape[0]
    return length if tap.shape[0] % length == 0 else 1


cdef Py_ssize_t _furthest(
    const Py_ssize_t[::1] offsets, Py_ssize_t n_features
) noexcept nogil:
    """The largest offset; -1 if there is none, or one is outside of any sample."""
    cdef Py_ssize_t i, furthest = -1
    for i in range(offsets.shape[0]):
        if not 0 <= offsets[i] < n_features:
            return -1
        furthest = max(furthest, offsets[i])
    return furthest


cdef _empty(shape, dtype):
    """An array that begins on a boundary of GROUP_BYTES, as the loads of the kernels do."""
    size = math.prod(shape) * dtype.itemsize
    buffer = np.empty(size + GROUP_BYTES, dtype=np.uint8)
    cdef unsigned char[::1] view = buffer
    start = -<Py_ssize_t>(<size_t>&view[0] % GROUP_BYTES) % GROUP_BYTES
    return buffer[start : start + size].view(dtype).reshape(shape)
