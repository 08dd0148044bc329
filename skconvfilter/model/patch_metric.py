"""The metric in which a change of a filter is as long as it changes preactivations."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skconvfilter.kernels.layout import FloatArray
from skconvfilter.kernels.reference import append_constant
from skconvfilter.model.bank import bank_blocks
from skconvfilter.model.geometry import PatchGeometry

# Patches, for each entry, that their second moment is taken from; and the least share of
# the identity in the metric, without which directions that no patch has would be free.
_PATCHES_PER_ENTRY, _RIDGE, _LEAST_SPREAD = 5000, 1e-3, 1e-9
# Entries of long patches, of which fewer are used: multiply-adds, but some for each entry.
_LONG, _MAX_WORK, _LEAST_PER_ENTRY = 100, 5e8, 4
# Samples that they are from, at least.
_LEAST_SAMPLES = 100


def patch_metric(
    samples: Any, geometry: PatchGeometry, weights: FloatArray
) -> NDArray[np.float64]:
    """Second moment of the patches, of mean eigenvalue 1, and a little of the identity.

    Parameters
    ----------
    samples : ndarray or SampleBlocks of shape (n_samples, n_features)
        The first ones are used.
    geometry : PatchGeometry
    weights : ndarray of shape (n_samples,)

    Returns
    -------
    metric : ndarray of shape (patch_dim, patch_dim)
    """
    moment, mean = patch_moments(samples, geometry, weights)
    scale = float(np.trace(moment)) / len(moment) or 1.0
    # Relative to how patches vary, which an offset of all of them must not hide.
    ridge = _RIDGE * max(1 - float(mean @ mean) / (scale * len(moment)), _LEAST_SPREAD)
    metric: NDArray[np.float64] = moment / scale + ridge * np.eye(len(moment))
    return metric


def patch_moments(
    samples: Any, geometry: PatchGeometry, weights: FloatArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weighted means of ``Z Z'`` and of Z over the patches of the first samples."""
    layout = geometry.layout
    n_patches = _PATCHES_PER_ENTRY * layout.patch_dim
    if layout.patch_dim > _LONG:
        least = _LEAST_PER_ENTRY * layout.patch_dim
        n_patches = max(int(_MAX_WORK / layout.patch_dim**2), least)
    # Neighbours are much alike: better some patches of many samples than all of a few.
    every = max(1, min(len(samples), _LEAST_SAMPLES) * layout.n_patches // n_patches)
    entries = layout.base[::every, np.newaxis] + layout.tap
    moment, total = np.zeros((layout.patch_dim, layout.patch_dim)), 0.0
    mean = np.zeros(layout.patch_dim)
    for rows in bank_blocks(len(samples), layout, 1):
        padded = geometry.pad(np.asarray(samples[rows]))
        patches = append_constant(padded[:, entries], layout)
        roots = np.repeat(np.sqrt(weights[rows]), patches.shape[1])
        flat = roots[:, np.newaxis] * patches.reshape(-1, layout.patch_dim)
        moment += flat.T @ flat
        mean += roots @ flat
        total += patches.shape[1] * weights[rows].sum()
        if rows.stop * patches.shape[1] >= n_patches:
            break
    return moment / total, mean / total
