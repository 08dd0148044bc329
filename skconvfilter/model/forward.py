"""The model's value and its response map, block by block."""

import numpy as np

from skconvfilter.kernels.reference import active_mean_patches, patch_responses

# Rows that one task works on: long enough for matrix products to pay, short enough that
# what is made of a block, a patch per sample and filter, stays small beside the data.
_BLOCK_ROWS, _BLOCK_ELEMENTS = 512, 2**18


def row_blocks(n_samples, patch_dim):
    """Slices that cut the rows into blocks."""
    n_rows = max(1, min(_BLOCK_ROWS, _BLOCK_ELEMENTS // patch_dim))
    return [slice(start, start + n_rows) for start in range(0, n_samples, n_rows)]


def active_means(samples, geometry, W):
    """Active mean patches (n, R, p) and model values (n, R) of one block of samples."""
    A = active_mean_patches(geometry.pad(samples), geometry.layout, W)
    return A, np.einsum("nrp,pr->nr", A, W)


def model_values(samples, geometry, W, map_blocks=map):
    """Mean over the patches of ``relu(W[:, r] . Z_i)``, shape (n_samples, R).

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_features)
    geometry : PatchGeometry
    W : ndarray of shape (patch_dim, R)
        Filters as columns.
    map_blocks : callable, default=map
        Applies a function to an iterable of blocks and yields the results in order.
    """

    def values(rows):
        return active_means(samples[rows], geometry, W)[1]

    return np.concatenate(list(map_blocks(values, row_blocks(len(samples), len(W)))))


def response_map(samples, geometry, w):
    """``relu(w . Z_i)`` of every patch, shape (n_samples, *grid), dtype of the samples."""
    maps = np.empty((len(samples), geometry.layout.n_patches), dtype=samples.dtype)
    for rows in row_blocks(len(samples), len(w)):
        block = geometry.pad(samples[rows])
        responses = patch_responses(block, geometry.layout, w[:, np.newaxis])
        np.maximum(responses[:, 0], 0, out=maps[rows])
    return maps.reshape(len(samples), *geometry.layout.grid_shape)
