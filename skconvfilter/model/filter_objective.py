"""The objective of one filter, on the kernels."""

from collections.abc import Callable
from functools import partial
from typing import Any, Self

import numpy as np

from skconvfilter.kernels.dispatch import Kernel, kernel
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.blocks import SampleBlocks
from skconvfilter.model.forward import PackedBlocks, moment_blocks
from skconvfilter.model.geometry import PatchGeometry
from skconvfilter.model.squared_error import Array, Moments, Rows, SquaredError


class FilterObjective(SquaredError):
    r"""Squared error of ``sign * mean_i relu(w . Z_i) + b`` against targets.

    .. math::

        f(w, Z) = \frac{s}{k} \sum_{i=1}^k \mathrm{relu}(w \cdot Z_i)

    Its derivative is the signed active mean patch.

    Parameters
    ----------
    samples, geometry, targets, **options
        As of :class:`~skconvfilter.model.squared_error.SquaredError`.
    kernel : Kernel, default=the one chosen for this machine
        Blocks of samples that are elsewhere are evaluated with the one chosen there.

    Notes
    -----
    Samples in memory are packed for the kernel, block by block when they are first used,
    see :class:`~skconvfilter.model.forward.PackedBlocks`.
    """

    on_kernels = True

    def __init__(
        self,
        samples: FloatArray | SampleBlocks,
        geometry: PatchGeometry,
        targets: Array,
        *,
        kernel: Kernel = kernel,
        **options: Any,
    ) -> None:
        blocks = moment_blocks(len(samples), geometry.layout.patch_dim)
        super().__init__(samples, geometry, targets, blocks, **options)
        self._kernel = kernel
        self._packed = PackedBlocks(samples, geometry, kernel)

    @property
    def n_parameters(self) -> int:
        """Length of a filter, the only parameters."""
        return self.patch_dim

    def mean_patch_moments(self) -> tuple[Array, Array]:
        """Weighted mean (p,) of the samples' mean patches, and their covariance (p, p)."""
        moments = self._total(_mean_patch_moments)
        return moments.mean[0, :-1], moments.scatter[0, :-1, :-1] / moments.weight

    def mean_patch_regression(self) -> tuple[Array, Array, float]:
        """Moments of the targets and the samples' mean patches, as a regression needs them.

        They are weighted, and about the means where there is an intercept.

        Returns
        -------
        covariance : ndarray of shape (p, p)
        products : ndarray of shape (p,)
            Of mean patches and targets.
        power : float
            Of the targets.
        """
        moments = self._total(_mean_patch_moments)
        scatter = moments.scatter[0] / moments.weight
        if not self.fit_intercept:
            scatter = scatter + np.outer(moments.mean[0], moments.mean[0])
        return scatter[:-1, :-1], scatter[:-1, -1], float(scatter[-1, -1])

    def curvature_bounds(self) -> list[Array]:
        """The curvature of a filter that is active on every patch."""
        mean, all_active = self.mean_patch_moments()
        if not self.fit_intercept:
            all_active = all_active + np.outer(mean, mean)
        return [all_active + self.alpha * np.eye(self.patch_dim)]

    def _on(self, samples: Any, rows: Rows = slice(None), **options: Any) -> Self:
        part = super()._on(samples, rows, **options)
        part._kernel = self._kernel
        part._packed = PackedBlocks(part.samples, part.geometry, self._kernel)
        return part

    @property
    def _like(self) -> Callable[..., Self]:
        return partial(
            type(self),
            geometry=self.geometry,
            alpha=self.alpha,
            fit_intercept=self.fit_intercept,
        )

    def _block(self, rows: Rows) -> Any:
        """Samples packed for the kernel."""
        return self._packed(rows)

    def _values(self, packed: Any, W: FloatArray, signs: Array) -> Array:
        values = self._kernel.mean_activations(packed, self.geometry.layout, W)
        return signs[:, np.newaxis] * values.astype(np.float64)

    def _columns(
        self, packed: Any, targets: Array, W: FloatArray, signs: Array
    ) -> tuple[Array, Array]:
        A = self._kernel.active_mean_patches(packed, self.geometry.layout, W)
        columns = np.empty((len(signs), self.patch_dim + 1, len(targets)))
        np.multiply(A, signs[:, np.newaxis, np.newaxis], out=columns[:, :-1])
        values = (W.T[:, np.newaxis] @ columns[:, :-1])[:, 0]
        np.subtract(values, targets, out=columns[:, -1])
        return columns, values


def _mean_patch_moments(objective: FilterObjective, rows: Rows) -> Moments:
    """Of the mean patches and, last, the targets."""
    block = objective._block(rows)
    means = objective._kernel.mean_patches(block, objective.geometry.layout)
    columns = np.vstack([means, objective.targets[rows]])[np.newaxis].astype(np.float64)
    n_columns = columns.shape[1]
    return Moments.of(columns, objective.sample_weight[rows], np.zeros(1), n_columns)
