"""Values and activation maps of single filters, block by block."""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from skconvfilter.kernels.dispatch import Kernel, kernel
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.kernels.reference import preactivations
from skconvfilter.model.geometry import PatchGeometry

# Applies a function to an iterable of blocks and yields the results in order.
MapBlocks: TypeAlias = Callable[..., Iterable[Any]]

# Rows that one task works on: long enough for matrix products to pay, short enough that
# what is made of a block, a patch per sample and filter, stays smaller than the data.
# Multiples of the samples that lie side by side in the compiled kernels.
_BLOCK_ROWS, _BLOCK_ELEMENTS, _ROWS_IN_LANES = 512, 2**18, 16
_MOMENT_ELEMENTS = 2**21


def row_blocks(n_samples: int, patch_dim: int, least_rows: int = 1) -> list[slice]:
    """Slices that cut the rows into blocks."""
    n_rows = max(least_rows, min(_BLOCK_ROWS, _BLOCK_ELEMENTS // patch_dim))
    n_rows = max(1, n_rows // _ROWS_IN_LANES) * _ROWS_IN_LANES
    return [slice(start, start + n_rows) for start in range(0, n_samples, n_rows)]


def moment_blocks(n_samples: int, n_parameters: int) -> list[slice]:
    """The same for matrices of parameters: long blocks, or to add them up takes longer."""
    least_rows = min(2 * n_parameters, _MOMENT_ELEMENTS // n_parameters)
    return row_blocks(n_samples, n_parameters, least_rows)


def pack(samples: FloatArray, geometry: PatchGeometry, kernel: Kernel = kernel) -> Any:
    """One block of samples in the form that the kernel takes."""
    return kernel.pack(geometry.pad(samples), geometry.layout)


class PackedBlocks:
    """Blocks of samples packed for a kernel; those of a slice are kept.

    Packed samples take as much memory as they do. Samples that overlap in memory, as the
    windows of a long series do, could take far more and are packed at every use.
    """

    def __init__(self, samples: Any, geometry: PatchGeometry, kernel: Kernel) -> None:
        self._samples = samples
        self._geometry = geometry
        self._kernel = kernel
        self._kept: dict[int, Any] = {}
        self._keeps = isinstance(samples, np.ndarray) and (
            abs(samples.strides[0]) >= samples.shape[1] * samples.itemsize
        )

    def __call__(self, rows: slice | NDArray[np.integer[Any]]) -> Any:
        """The samples of some rows, packed."""
        if not (self._keeps and isinstance(rows, slice)):
            return self._pack(rows)
        packed = self._kept.get(rows.start)
        if packed is None:
            packed = self._kept[rows.start] = self._pack(rows)
        return packed

    def _pack(self, rows: slice | NDArray[np.integer[Any]]) -> Any:
        return pack(np.asarray(self._samples[rows]), self._geometry, self._kernel)


def root_mean_square(
    samples: FloatArray, geometry: PatchGeometry, weights: FloatArray | None
) -> float:
    """Of the entries of all patches of a few samples."""
    packed = pack(np.square(samples), geometry)
    squares = kernel.mean_patches(packed, geometry.layout).mean(axis=0)
    return float(np.sqrt(np.average(squares, weights=weights)))


def model_values(
    samples: FloatArray,
    geometry: PatchGeometry,
    W: FloatArray,
    map_blocks: MapBlocks = map,
) -> NDArray[np.float64]:
    """Mean over the patches of ``relu(W[:, r] . Z_i)``, shape (n_samples, R), float64.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_features)
    geometry : PatchGeometry
    W : ndarray of shape (patch_dim, R)
        Filters as columns.
    map_blocks : callable, default=map
        Applies a function to an iterable of blocks and yields the results in order.
    """

    def block_values(rows: slice) -> FloatArray:
        return kernel.mean_activations(pack(samples[rows], geometry), geometry.layout, W)

    return joined(map_blocks(block_values, row_blocks(len(samples), len(W))))


def joined(blocks: Iterable[FloatArray]) -> NDArray[np.float64]:
    """Arrays (m, n_block) of consecutive blocks as one, shape (n_samples, m), float64."""
    return np.concatenate(list(blocks), axis=1, dtype=np.float64).T


def activation_map(
    samples: FloatArray, geometry: PatchGeometry, w: FloatArray
) -> FloatArray:
    """``relu(w . Z_i)`` of every patch, shape (n_samples, *grid), dtype of the samples."""
    maps = np.empty((len(samples), geometry.layout.n_patches), dtype=samples.dtype)
    for rows in row_blocks(len(samples), len(w)):
        block = geometry.pad(samples[rows])
        products = preactivations(block, geometry.layout, w[:, np.newaxis])
        np.maximum(products[:, 0], 0, out=maps[rows])
    return maps.reshape(len(samples), *geometry.layout.grid_shape)
