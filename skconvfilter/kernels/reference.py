"""The NumPy kernels: plain enough to be the oracle, chunked so that they stay in cache.

The derivative of the ReLU at 0 is taken as 0 here, once for the whole package: a patch
is active when ``w . z > 0``, strictly.
"""

import numpy as np
from numpy.lib.stride_tricks import as_strided

# Elements of the patches that are materialised at a time: 2**17 float64 are 1 MiB, which
# stays in the second-level cache of current machines.
_CHUNK_ELEMENTS = 2**17


def active_mean_patches(samples, layout, filters):
    """Mean over the patches of the active ones, for several filters at once.

    ``A[s, r] = (1/k) sum_i 1{filters[:, r] . Z_i > 0} Z_i`` with ``Z_1 .. Z_k`` the
    patches of sample ``s``. The model's value is ``A[s, r] . filters[:, r]``.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_features), float32 or float64
        Flat samples; each row must be contiguous.
    layout : PatchLayout
        Where the patches lie in a row.
    filters : ndarray of shape (patch_dim, n_filters)
        The filters, as columns; cast to the dtype of the samples.

    Returns
    -------
    A : ndarray of shape (n_samples, n_filters, patch_dim), dtype of the samples
    """
    filters = np.ascontiguousarray(filters.T, dtype=samples.dtype)
    n_filters, patch_dim = filters.shape
    A = np.empty((len(samples), n_filters, patch_dim), dtype=samples.dtype)
    for rows, patches in _patch_chunks(samples, layout):
        active = (filters @ patches > 0).astype(samples.dtype)
        np.matmul(active, patches.transpose(0, 2, 1), out=A[rows])
    A /= layout.n_patches
    return A


def patch_responses(samples, layout, filters):
    """Inner product of every patch with every filter.

    Parameters
    ----------
    samples, layout, filters
        As for :func:`active_mean_patches`.

    Returns
    -------
    responses : ndarray of shape (n_samples, n_filters, n_patches), dtype of the samples
    """
    filters = np.ascontiguousarray(filters.T, dtype=samples.dtype)
    shape = (len(samples), len(filters), layout.n_patches)
    responses = np.empty(shape, dtype=samples.dtype)
    for rows, patches in _patch_chunks(samples, layout):
        np.matmul(filters, patches, out=responses[rows])
    return responses


def mean_patches(samples, layout):
    """Mean over all patches of each sample, shape (n_samples, patch_dim), float64."""
    n_grid = len(layout.grid_shape)
    windows = patch_windows(samples, layout)
    means = windows.mean(axis=tuple(range(1, 1 + n_grid)), dtype=np.float64)
    return means.reshape(len(samples), layout.patch_dim)


def patch_windows(samples, layout):
    """The patches as a read-only view of shape (n_samples, *grid, *window)."""
    _check_samples(samples, layout)
    shape = (len(samples), *layout.grid_shape, *layout.window_shape)
    steps = (*layout.grid_strides, *layout.window_strides)
    strides = (samples.strides[0], *(samples.itemsize * step for step in steps))
    return as_strided(samples, shape, strides, writeable=False)


def _patch_chunks(samples, layout):
    """Yield row slices and their patches, copied to (n_rows, patch_dim, n_patches)."""
    n_grid, n_window = len(layout.grid_shape), len(layout.window_shape)
    # The grid is innermost: its rows are long runs, so that the copy is fast.
    grid_last = (0, *range(1 + n_grid, 1 + n_grid + n_window), *range(1, 1 + n_grid))
    windows = patch_windows(samples, layout).transpose(grid_last)
    n_rows = max(1, _CHUNK_ELEMENTS // (layout.patch_dim * layout.n_patches))
    buffer = np.empty((min(n_rows, len(samples)), *windows.shape[1:]), samples.dtype)
    for start in range(0, len(samples), n_rows):
        chunk = windows[start : start + n_rows]
        patches = buffer[: len(chunk)]
        np.copyto(patches, chunk)
        yield (
            slice(start, start + len(chunk)),
            patches.reshape(len(chunk), layout.patch_dim, layout.n_patches),
        )


def _check_samples(samples, layout):
    # The view below would read whatever memory it is told to: refuse what is not there.
    # NumPy gives no meaning to the strides of axes of length 1 and of empty arrays.
    contiguous = samples.strides[-1] == samples.itemsize or samples[:1].size <= 1
    if samples.ndim != 2 or not contiguous:
        raise ValueError("samples must be a 2-D array with contiguous rows.")
    if samples.shape[1] < layout.span or layout.base.min() + layout.tap.min() < 0:
        raise ValueError(
            f"the patches reach to element {layout.span - 1} of a sample, "
            f"but samples have {samples.shape[1]} elements."
        )
