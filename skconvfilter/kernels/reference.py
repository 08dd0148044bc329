"""The NumPy kernel: plain enough to be the oracle, chunked so that it stays in cache.

This module is a :class:`~skconvfilter.kernels.dispatch.Kernel`, which says what its
functions take and return.
"""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import as_strided

from skconvfilter.kernels.layout import (
    FloatArray,
    PatchLayout,
    check_filters,
    check_samples,
)

name = "numpy"

# Elements of the patches that are materialised at a time: 2**17 float64 are 1 MiB, which
# stays in the second-level cache of current machines.
_CHUNK_ELEMENTS = 2**17


def pack(samples: FloatArray, layout: PatchLayout) -> FloatArray:
    """The samples as they are, checked."""
    check_samples(samples, layout)
    return samples


def active_mean_patches(
    packed: FloatArray,
    layout: PatchLayout,
    filters: FloatArray,
    gate: FloatArray | None = None,
) -> FloatArray:
    """Mean over the patches of the active ones, (n_filters, patch_dim, n_samples)."""
    filters = _rows(filters, packed, layout)
    if gate is not None:
        gate_row = _rows(gate[:, np.newaxis], packed, layout)
    A = np.empty((len(packed), *filters.shape), dtype=packed.dtype)
    for rows, patches in _patch_chunks(packed, layout):
        active = (filters @ patches > 0).astype(packed.dtype)
        if gate is not None:
            active *= gate_row @ patches > 0
        np.matmul(active, patches.transpose(0, 2, 1), out=A[rows])
    A /= layout.n_patches
    return A.transpose(1, 2, 0)


def mean_activations(
    packed: FloatArray, layout: PatchLayout, filters: FloatArray
) -> FloatArray:
    """Mean over the patches of their activations, (n_filters, n_samples)."""
    filters = _rows(filters, packed, layout)
    values = np.empty((len(packed), len(filters)), dtype=packed.dtype)
    for rows, patches in _patch_chunks(packed, layout):
        np.mean(np.maximum(filters @ patches, 0), axis=2, out=values[rows])
    return values.T


def mean_patches(packed: FloatArray, layout: PatchLayout) -> FloatArray:
    """Mean over all patches, (patch_dim, n_samples)."""
    n_grid = len(layout.grid_shape)
    windows = patch_windows(packed, layout)
    means = windows.mean(axis=tuple(range(1, 1 + n_grid)))
    means = means.reshape(len(packed), layout.window_size)
    return append_constant(means, layout).T


def all_patches(samples: FloatArray, layout: PatchLayout) -> FloatArray:
    """The patches (n_samples, n_patches, patch_dim), a view where that is possible."""
    windows = patch_windows(samples, layout)
    flat = windows.reshape(len(samples), layout.n_patches, layout.window_size)
    return append_constant(flat, layout)


def append_constant(windows: FloatArray, layout: PatchLayout) -> FloatArray:
    """Patches (..., patch_dim) from their entries (..., window_size)."""
    if not layout.constant:
        return windows
    shape = (*windows.shape[:-1], 1)
    return np.concatenate(
        [windows, np.full(shape, layout.constant, windows.dtype)], axis=-1
    )


def preactivations(
    samples: FloatArray, layout: PatchLayout, filters: FloatArray
) -> FloatArray:
    """Inner product of every patch with every filter.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_features), float32 or float64
        Flat samples; each row must be contiguous.
    layout : PatchLayout
    filters : ndarray of shape (patch_dim, n_filters)

    Returns
    -------
    products : ndarray of shape (n_samples, n_filters, n_patches), dtype of the samples
    """
    filters = _rows(filters, samples, layout)
    shape = (len(samples), len(filters), layout.n_patches)
    products = np.empty(shape, dtype=samples.dtype)
    for rows, patches in _patch_chunks(samples, layout):
        np.matmul(filters, patches, out=products[rows])
    return products


def patch_windows(samples: FloatArray, layout: PatchLayout) -> FloatArray:
    """The patches as a read-only view of shape (n_samples, *grid, *window)."""
    check_samples(samples, layout)
    shape = (len(samples), *layout.grid_shape, *layout.window_shape)
    steps = (*layout.grid_strides, *layout.window_strides)
    strides = (samples.strides[0], *(samples.itemsize * step for step in steps))
    return as_strided(samples, shape, strides, writeable=False)


def _rows(filters: FloatArray, samples: FloatArray, layout: PatchLayout) -> FloatArray:
    """The filters as contiguous rows, in the dtype of the samples."""
    rows = np.ascontiguousarray(filters.T, dtype=samples.dtype)
    check_filters(rows, layout.patch_dim)
    return rows


def _patch_chunks(
    samples: FloatArray, layout: PatchLayout
) -> Iterator[tuple[slice, FloatArray]]:
    """Yield row slices and their patches, copied to (n_rows, patch_dim, n_patches)."""
    n_grid, n_window = len(layout.grid_shape), len(layout.window_shape)
    # The grid is innermost: its rows are long runs, so that the copy is fast.
    grid_last = (0, *range(1 + n_grid, 1 + n_grid + n_window), *range(1, 1 + n_grid))
    windows = patch_windows(samples, layout).transpose(grid_last)
    n_rows = max(1, _CHUNK_ELEMENTS // (layout.patch_dim * layout.n_patches))
    shape = (min(n_rows, len(samples)), layout.patch_dim, layout.n_patches)
    # The constant stays from chunk to chunk.
    buffer = np.full(shape, layout.constant, samples.dtype)
    for start in range(0, len(samples), n_rows):
        chunk = windows[start : start + n_rows]
        entries = buffer[: len(chunk), : layout.window_size]
        np.copyto(entries.reshape(chunk.shape), chunk)
        yield slice(start, start + len(chunk)), buffer[: len(chunk)]
