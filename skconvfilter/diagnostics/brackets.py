"""Bounds on the quantities of the theory that need no search, for the samples at hand.

Whatever filter makes an angle phi with the teacher, a patch on which the two disagree makes
an angle within phi of pi/2 with the teacher. So sums over all such patches bound the sums
over those of any one filter.
"""

from typing import NamedTuple

import numpy as np

from skconvfilter.kernels.reference import patch_windows
from skconvfilter.model.forward import row_blocks


def no_brackets(angles):
    """In place of bounds that are not asked for."""
    return Brackets(*np.full((4, len(angles)), np.nan))


class Brackets(NamedTuple):
    """One-sided bounds at every angle; NaN where there is none."""

    gamma: np.ndarray  # lower bound, for one patch per sample only
    L: np.ndarray  # upper bound
    disagreement: np.ndarray  # upper bound
    cross: np.ndarray  # upper bound


def brackets(samples, geometry, teacher, angles):
    r"""Bounds at every angle, exact for the samples (not for what they are drawn from).

    By Jensen's inequality the second moment of a mean over patches is at most the mean of
    the patches' own, which gives :math:`L` and the disagreement; norms of cross moments are
    at most means of products of norms, over pairs of different patches. With one patch per
    sample, a patch within :math:`\pi/2 - \phi` of the teacher is active for every filter
    at the angle :math:`\phi`, which bounds gamma from below.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_features), float64
    geometry : PatchGeometry
    teacher : ndarray of shape (patch_dim,)
    angles : ndarray of shape (n_angles,)

    Returns
    -------
    brackets : Brackets
    """
    layout = geometry.layout
    unit = teacher / np.linalg.norm(teacher)
    sums = None
    for rows in row_blocks(len(samples), layout.n_patches * layout.patch_dim):
        windows = patch_windows(geometry.pad(samples[rows]), layout)
        patches = windows.reshape(len(windows), layout.n_patches, layout.patch_dim)
        block = _block_sums(patches, unit, angles)
        sums = block if sums is None else [a + b for a, b in zip(sums, block, strict=True)]
    n_patches = len(samples) * layout.n_patches
    cone, active, wedge = (_extreme_eigenvalues(total / n_patches) for total in sums[:3])
    gamma = np.full(len(angles), np.nan)
    if layout.n_patches == 1:
        gamma = cone[:, 0]
    cross = sums[3] / (len(samples) * layout.n_patches**2)
    return Brackets(gamma, np.full(len(angles), active[0, 1]), wedge[:, 1], cross)


def _block_sums(patches, unit, angles):
    """Sums over a block: second moments by region, and products of norms."""
    norms = np.linalg.norm(patches, axis=2)
    # Blank patches count nowhere: NaN is on no side.
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = np.clip((patches @ unit) / norms, -1, 1)
    beyond = np.arccos(cosine) - np.pi / 2  # of the teacher's boundary; negative: active
    active = beyond <= 0
    cone, wedge, cross = [], [], []
    for angle in angles:
        cone.append(_second_moment(patches, beyond <= -angle))
        outside = (beyond >= 0) & (beyond <= angle)
        inside = active & (beyond >= -angle)
        wedge.append(_second_moment(patches, outside))
        sum_active, sum_outside, sum_inside = (
            (norms * region).sum(axis=1) for region in (active, outside, inside)
        )
        same_patch = (norms**2 * inside).sum(axis=1)
        pairs = sum_active * (sum_outside + sum_inside) - same_patch
        cross.append((pairs + sum_outside * sum_inside).sum())
    return [
        np.array(cone),
        _second_moment(patches, active)[np.newaxis],
        np.array(wedge),
        np.array(cross),
    ]


def _second_moment(patches, region):
    chosen = patches[region]
    return chosen.T @ chosen


def _extreme_eigenvalues(matrices):
    return np.linalg.eigvalsh(matrices)[:, [0, -1]]
