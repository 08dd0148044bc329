"""Responses of filters, pooled over the cells of a coarse grid, block by block."""

from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.activations import Activation
from skconvfilter.model.bank import activation_maps
from skconvfilter.model.forward import MapBlocks, row_blocks
from skconvfilter.model.geometry import PatchGeometry


def _mean(responses: FloatArray) -> NDArray[np.floating[Any]]:
    return responses.mean(axis=-1, dtype=np.float64)


def _std(responses: FloatArray) -> NDArray[np.floating[Any]]:
    return responses.std(axis=-1, dtype=np.float64)


def _max(responses: FloatArray) -> NDArray[np.floating[Any]]:
    return responses.max(axis=-1)


# Statistics of the responses in a cell, which are the last axis.
STATISTICS: dict[str, Callable[[FloatArray], NDArray[np.floating[Any]]]] = {
    "mean": _mean,
    "std": _std,
    "max": _max,
}


def pooled_responses(
    samples: FloatArray,
    geometry: PatchGeometry,
    W: FloatArray,
    activation: Activation,
    *,
    cells: tuple[int, ...],
    statistics: Sequence[str],
    map_blocks: MapBlocks = map,
) -> FloatArray:
    """Statistics of ``phi(w_j . Z_i)`` over the patches in every cell of a grid.

    The responses at all positions exist for one block of samples at a time.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_features)
    geometry : PatchGeometry
    W : ndarray of shape (patch_dim, n_filters)
        Filters as columns.
    activation : Activation
    cells : tuple of int
        Number of cells along each axis of the grid of patches. Along an axis their sizes
        differ by at most one patch.
    statistics : sequence of str
        Names in ``STATISTICS``.
    map_blocks : callable, default=map
        Applies a function to an iterable of blocks and yields the results in order.

    Returns
    -------
    pooled : ndarray of shape (n_samples, n_filters, n_statistics, n_cells)
        In the dtype of the samples; the cells are in row-major order.

    Raises
    ------
    ValueError
        If an axis has fewer patches than cells.
    """
    check_cells(cells, geometry)
    regions = _regions(geometry.layout.grid_shape, cells)
    shape = (W.shape[1], len(statistics), len(regions))
    pooled = np.empty((len(samples), *shape), dtype=samples.dtype)

    def pool_block(rows: slice) -> None:
        maps = activation_maps(samples[rows], geometry, W, activation)
        for i, region in enumerate(regions):
            responses = maps[:, :, *region].reshape(*maps.shape[:2], -1)
            for j, name in enumerate(statistics):
                pooled[rows, :, j, i] = STATISTICS[name](responses)

    n_responses = W.shape[1] * geometry.layout.n_patches
    for _ in map_blocks(pool_block, row_blocks(len(samples), n_responses)):
        pass
    return pooled


def check_cells(cells: tuple[int, ...], geometry: PatchGeometry) -> None:
    """Raise ValueError if an axis of the grid of patches has fewer patches than cells."""
    grid_shape = geometry.layout.grid_shape
    if any(n < n_cells for n, n_cells in zip(grid_shape, cells, strict=True)):
        raise ValueError(
            f"grid={cells} has more cells than there are positions of the window, "
            f"{grid_shape}: use a smaller grid, or a smaller stride."
        )


def _regions(
    grid_shape: tuple[int, ...], cells: tuple[int, ...]
) -> list[tuple[slice, ...]]:
    edges = [
        [i * n // n_cells for i in range(n_cells + 1)]
        for n, n_cells in zip(grid_shape, cells, strict=True)
    ]
    return list(product(*([slice(*pair) for pair in pairwise(axis)] for axis in edges)))
