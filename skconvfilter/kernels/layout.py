"""Where the patches of a sample lie: constant strides over a flat vector."""

import math
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]

# Entries of a window from which on kernels may treat it run by run.
LONG_WINDOW = 128


class PatchLayout(NamedTuple):
    """Patches as `base[i] + tap[t]` offsets into one flat sample.

    Every geometry of the package (images, signals, channels, dilation, ready-made
    patches) has constant strides, so four small tuples suffice; `base` and `tap`
    follow from them.

    Parameters
    ----------
    grid_shape, grid_strides : tuple of int
        How many patches there are along each axis of the grid of patches, and the
        step between neighbours, in elements of the flat sample.
    window_shape, window_strides : tuple of int
        The same for the entries of one patch.
    constant : float, default=0.0
        Every patch has one more entry, the last, of this value: with it a filter has a
        threshold. 0: there is none.
    """

    grid_shape: tuple[int, ...]
    grid_strides: tuple[int, ...]
    window_shape: tuple[int, ...]
    window_strides: tuple[int, ...]
    constant: float = 0.0

    @property
    def n_patches(self) -> int:
        """Patches per sample, k in the formulas."""
        return int(math.prod(self.grid_shape))

    @property
    def patch_dim(self) -> int:
        """Length of a patch, p in the formulas; the constant is counted."""
        return self.window_size + (self.constant != 0)

    @property
    def window_size(self) -> int:
        """Number of entries of a patch that come from the sample."""
        return int(math.prod(self.window_shape))

    @property
    def base(self) -> NDArray[np.intp]:
        """Offset of the first entry of each patch, shape (n_patches,), read-only."""
        return _offsets(self.grid_shape, self.grid_strides)

    @property
    def tap(self) -> NDArray[np.intp]:
        """Offset of each entry within its patch, shape (window_size,), read-only."""
        return _offsets(self.window_shape, self.window_strides)

    @property
    def span(self) -> int:
        """Length of the shortest flat sample that holds all patches."""
        return _reach(*self[:4])[1] + 1

    @property
    def overlaps(self) -> bool:
        """Whether an entry of a sample is in several patches."""
        entries = self.base[:, np.newaxis] + self.tap
        return np.unique(entries).size < entries.size


def check_samples(samples: FloatArray, layout: PatchLayout) -> None:
    """Raise an error unless these are flat samples that hold all patches.

    Code that reads memory by offsets does not notice where an array ends.
    """
    if samples.dtype not in (np.float32, np.float64):
        raise TypeError(f"samples must be float32 or float64, not {samples.dtype}.")
    # NumPy gives no meaning to the strides of axes of length 1 and of empty arrays.
    if samples.ndim != 2 or not (
        samples.strides[1] == samples.itemsize or samples[:1].size <= 1
    ):
        raise ValueError("samples must be a 2-D array with contiguous rows.")
    if samples.shape[1] < layout.span or _reach(*layout[:4])[0] < 0:
        raise ValueError(
            f"the patches reach to element {layout.span - 1} of a sample, "
            f"but samples have {samples.shape[1]} elements."
        )


def nearest_nonzero(samples: FloatArray, layout: PatchLayout) -> NDArray[np.intp] | None:
    """The elements next to each that are not 0 in all samples, or None where all count.

    Long windows on padded images are 0 for the most part: with these positions a kernel
    finds quickly where a run of entries begins and ends that are not. Short windows take
    less time without.

    Returns
    -------
    positions : ndarray of shape (2, n_features) or None
        The next one, the element itself included, and the last one; `n_features` and -1
        where there is none.
    """
    if layout.window_size < LONG_WINDOW:
        return None
    nonzero = samples.any(axis=0)
    if nonzero.all():
        return None
    elements = np.arange(nonzero.size)
    following = np.where(nonzero, elements, nonzero.size)[::-1]
    last = np.maximum.accumulate(np.where(nonzero, elements, -1))
    return np.stack([np.minimum.accumulate(following)[::-1], last])


def check_filters(filters: FloatArray, patch_dim: int) -> None:
    """Raise ValueError unless these rows are filters for patches of that length."""
    if filters.ndim != 2 or filters.shape[1] != patch_dim:
        raise ValueError(
            f"filters must have shape ({patch_dim}, n_filters), not {filters.shape[::-1]}."
        )


# Every step of a fit needs the same numbers.
@lru_cache(maxsize=64)
def _reach(*layout: tuple[int, ...]) -> tuple[int, int]:
    """The first and the last element of a sample that are in a patch."""
    base, tap = _offsets(*layout[:2]), _offsets(*layout[2:])
    return int(base.min() + tap.min()), int(base.max() + tap.max())


@lru_cache(maxsize=64)
def _offsets(shape: tuple[int, ...], strides: tuple[int, ...]) -> NDArray[np.intp]:
    offsets = np.zeros(1, dtype=np.intp)
    for size, stride in zip(shape, strides, strict=True):
        offsets = (offsets[:, np.newaxis] + np.arange(size) * stride).ravel()
    offsets.flags.writeable = False
    return offsets
