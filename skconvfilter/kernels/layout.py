"""Where the patches of a sample lie: constant strides over a flat vector."""

import math
from typing import NamedTuple

import numpy as np


class PatchLayout(NamedTuple):
    """Patches as `base[i] + tap[t]` offsets into one flat sample.

    Every geometry of the package (images, signals, channels, dilation, ready-made
    patches) has constant strides, so four small tuples say it all; `base` and `tap`
    follow from them.

    Parameters
    ----------
    grid_shape, grid_strides : tuple of int
        How many patches there are along each axis of the grid of patches, and the
        step between neighbours, in elements of the flat sample.
    window_shape, window_strides : tuple of int
        The same for the entries of one patch.
    """

    grid_shape: tuple[int, ...]
    grid_strides: tuple[int, ...]
    window_shape: tuple[int, ...]
    window_strides: tuple[int, ...]

    @property
    def n_patches(self):
        """Patches per sample, k in the formulas."""
        return int(math.prod(self.grid_shape))

    @property
    def patch_dim(self):
        """Length of a patch, p in the formulas."""
        return int(math.prod(self.window_shape))

    @property
    def base(self):
        """Offset of the first entry of each patch, shape (n_patches,)."""
        return _offsets(self.grid_shape, self.grid_strides)

    @property
    def tap(self):
        """Offset of each entry within its patch, shape (patch_dim,)."""
        return _offsets(self.window_shape, self.window_strides)

    @property
    def span(self):
        """Length of the shortest flat sample that holds all patches."""
        return int(self.base.max() + self.tap.max()) + 1


def _offsets(shape, strides):
    offsets = np.zeros(1, dtype=np.intp)
    for size, stride in zip(shape, strides, strict=True):
        offsets = (offsets[:, np.newaxis] + np.arange(size) * stride).ravel()
    return offsets
