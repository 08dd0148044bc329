"""The objective of one filter, on the kernels."""

import numpy as np

from skconvfilter.kernels.dispatch import kernel
from skconvfilter.model.forward import joined, pack, row_blocks
from skconvfilter.model.squared_error import SquaredError


class FilterObjective(SquaredError):
    r"""Squared error of ``sign * mean_i relu(w . Z_i) + b`` against targets.

    .. math::

        f(w, Z) = \frac{s}{k} \sum_{i=1}^k \mathrm{relu}(w \cdot Z_i)

    Its derivative is the signed active mean patch. Parameters are those of
    :class:`~skconvfilter.model.squared_error.SquaredError` but for the blocks.

    Notes
    -----
    Samples are packed for the kernel, block by block when they are first used, and stay
    so: this takes as much memory as they do. Where samples overlap in memory, as windows
    of a long series do, it could take far more, and blocks are packed at every use.
    """

    def __init__(self, samples, geometry, targets, **options):
        blocks = row_blocks(len(samples), geometry.layout.patch_dim)
        super().__init__(samples, geometry, targets, blocks, **options)
        row_bytes = samples.shape[1] * samples.itemsize
        self._keeps_packed = abs(samples.strides[0]) >= row_bytes
        self._packed = {}

    @property
    def patch_dim(self):
        """Length of a filter."""
        return self.geometry.layout.patch_dim

    @property
    def n_parameters(self):
        """The same: a filter is all that is learned."""
        return self.patch_dim

    def subset(self, rows):
        """The objective on some of the rows."""
        targets, options = self.options_of(rows)
        return FilterObjective(self.samples[rows], self.geometry, targets, **options)

    def mean_patches(self):
        """Mean patch of every sample, shape (n_samples, p), float64."""

        def block_means(rows):
            return kernel.mean_patches(self._block(rows), self.geometry.layout)

        return joined(self.map_blocks(block_means, self._blocks))

    def curvature_bounds(self):
        """That of a filter active on every patch."""
        mean_patches = self.mean_patches()
        weights = self.sample_weight / self.sample_weight.sum()
        if self.fit_intercept:
            mean_patches = mean_patches - weights @ mean_patches
        all_active = mean_patches.T @ (mean_patches * weights[:, np.newaxis])
        return [all_active + self.alpha * np.eye(self.patch_dim)]

    def _block(self, rows):
        """Samples packed for the kernel: those of a slice are kept."""
        if not isinstance(rows, slice):
            return pack(self.samples[rows], self.geometry)
        packed = self._packed.get(rows.start)
        if packed is None:
            packed = pack(self.samples[rows], self.geometry)
            if self._keeps_packed:
                self._packed[rows.start] = packed
        return packed

    def _values(self, packed, W, signs):
        values = kernel.mean_activations(packed, self.geometry.layout, W)
        return signs[:, np.newaxis] * values.astype(np.float64)

    def _columns(self, packed, targets, W, signs):
        """Signed active mean patches and, last, errors (R, p + 1, n); and the peaks."""
        A = kernel.active_mean_patches(packed, self.geometry.layout, W)
        columns = np.empty((len(signs), self.patch_dim + 1, len(targets)))
        np.multiply(A, signs[:, np.newaxis, np.newaxis], out=columns[:, :-1])
        values = (W.T[:, np.newaxis] @ columns[:, :-1])[:, 0]
        np.subtract(values, targets, out=columns[:, -1])
        return columns, np.abs(values).max(axis=1)
