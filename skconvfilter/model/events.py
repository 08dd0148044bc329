"""Mean patches by event: active for a filter, for the teacher, or for both."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from skconvfilter.kernels.dispatch import kernel
from skconvfilter.kernels.layout import FloatArray, PatchLayout
from skconvfilter.model.forward import pack, row_blocks
from skconvfilter.model.geometry import PatchGeometry

# The events: a patch is active for both, for the filter alone, for the teacher alone.
BOTH, FILTER, TEACHER = "both", "filter", "teacher"


class TeacherEvents:
    r"""Mean patches of samples by event, for a teacher and other filters.

    For a filter w and the teacher w* every patch is active for both, for one or for none.
    Let :math:`\bar Z_{++}` be the sum over the patches of a sample that are active for
    both, divided by k, :math:`\bar Z_{+-}` the same for those active for w alone and
    :math:`\bar Z_{-+}` for the teacher alone. The theory uses their second moments. A patch
    with an inner product of 0 counts as inactive.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_features), float64
        Flat samples.
    geometry : PatchGeometry
        How they are cut into patches.
    teacher : ndarray of shape (patch_dim,)
    """

    def __init__(
        self,
        samples: FloatArray,
        geometry: PatchGeometry,
        teacher: FloatArray,
    ) -> None:
        self.n_samples: int = len(samples)
        self.layout: PatchLayout = geometry.layout
        self.teacher = teacher
        blocks = row_blocks(len(samples), len(teacher))
        self._packed = [pack(samples[rows], geometry) for rows in blocks]
        self._active = [
            kernel.active_mean_patches(packed, self.layout, teacher[:, np.newaxis])[0]
            for packed in self._packed
        ]

    def mean_patches(
        self, W: FloatArray, wanted: Collection[str] = (BOTH, FILTER, TEACHER)
    ) -> Iterator[dict[str, FloatArray]]:
        """Yield mean patches of shape (R, p, n_block) by event, block by block.

        Parameters
        ----------
        W : ndarray of shape (patch_dim, R)
            The filters w, as columns.
        wanted : collection of {BOTH, FILTER, TEACHER}
            Events that are needed; the others may be missing.
        """
        for packed, teacher_active in zip(self._packed, self._active, strict=True):
            both = kernel.active_mean_patches(packed, self.layout, W, self.teacher)
            means = {BOTH: both}
            if FILTER in wanted:
                means[FILTER] = kernel.active_mean_patches(packed, self.layout, W) - both
            if TEACHER in wanted:
                means[TEACHER] = teacher_active - both
            yield means

    def moments(
        self, W: FloatArray, wanted: Sequence[tuple[str, str, Any]]
    ) -> list[FloatArray]:
        """Second moments ``E Z_a Z_b'``.

        Parameters
        ----------
        W : ndarray of shape (patch_dim, R)
        wanted : list of (a, b, columns)
            Pairs of events, each with the indices of the filters that are asked for.

        Returns
        -------
        moments : list of ndarray of shape (n_columns, p, p)
        """
        totals: list[Any] = [0.0] * len(wanted)
        events = {event for a, b, _ in wanted for event in (a, b)}
        for means in self.mean_patches(W, events):
            for i, (a, b, columns) in enumerate(wanted):
                products = means[a][columns] @ means[b][columns].transpose(0, 2, 1)
                totals[i] = totals[i] + products
        return [total / self.n_samples for total in totals]

    def projections(
        self, W: FloatArray, probes: Sequence[Sequence[tuple[str, FloatArray]]]
    ) -> list[FloatArray]:
        """Inner products of probes with mean patches, for every sample.

        Parameters
        ----------
        W : ndarray of shape (patch_dim, R)
        probes : list of R lists of (event, ndarray of shape (patch_dim,))

        Returns
        -------
        projections : list of R ndarrays of shape (n_probes, n_samples)
        """
        wanted = {event for own in probes for event, _ in own}
        blocks = [
            [[u @ means[event][r] for event, u in own] for r, own in enumerate(probes)]
            for means in self.mean_patches(W, wanted)
        ]
        return [np.hstack([block[r] for block in blocks]) for r in range(len(probes))]
