"""The objective of one filter, on the kernels."""

from functools import partial

import numpy as np

from skconvfilter.kernels.dispatch import kernel
from skconvfilter.model.forward import pack, row_blocks
from skconvfilter.model.squared_error import Moments, SquaredError


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
    of a long series do, it could take far more, and blocks are packed at every use. So are
    :class:`~skconvfilter.model.blocks.SampleBlocks`, which are not in memory.
    """

    def __init__(self, samples, geometry, targets, **options):
        blocks = row_blocks(len(samples), geometry.layout.patch_dim)
        super().__init__(samples, geometry, targets, blocks, **options)
        # Asked of memory only: blocks from elsewhere are objectives of their own.
        row_bytes = samples.shape[1] * samples.dtype.itemsize
        in_memory = isinstance(samples, np.ndarray)
        self._keeps_packed = in_memory and abs(samples.strides[0]) >= row_bytes
        self._packed = {}

    @property
    def patch_dim(self):
        """Length of a filter."""
        return self.geometry.layout.patch_dim

    @property
    def n_parameters(self):
        """The same: a filter is all that is learned."""
        return self.patch_dim

    def mean_patch_moments(self):
        """Weighted mean (p,) of the samples' mean patches, and their covariance (p, p)."""
        moments = self._total(FilterObjective._mean_patch_moments)
        return moments.mean[0], moments.scatter[0] / moments.weight

    def curvature_bounds(self):
        """That of a filter active on every patch."""
        mean, all_active = self.mean_patch_moments()
        if not self.fit_intercept:
            all_active = all_active + np.outer(mean, mean)
        return [all_active + self.alpha * np.eye(self.patch_dim)]

    @property
    def _like(self):
        return partial(
            FilterObjective,
            geometry=self.geometry,
            alpha=self.alpha,
            fit_intercept=self.fit_intercept,
        )

    def _mean_patch_moments(self, rows):
        means = kernel.mean_patches(self._block(rows), self.geometry.layout)
        columns = means[np.newaxis].astype(np.float64)
        return Moments.of(columns, self.sample_weight[rows], np.zeros(1), full=True)

    def _block(self, rows):
        """Samples packed for the kernel: those of a slice are kept."""
        if not isinstance(rows, slice):
            return pack(np.asarray(self.samples[rows]), self.geometry)
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
