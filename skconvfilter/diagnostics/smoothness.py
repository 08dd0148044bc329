"""gamma, L, beta and L_cross: how easy a filter is to learn on given data."""

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skconvfilter.diagnostics.filters import Filters
from skconvfilter.diagnostics.sampling import (
    Estimate,
    Subsample,
    check_confidence,
    hold_out,
)
from skconvfilter.diagnostics.search import (
    QUANTITIES,
    THOROUGH,
    DirectionSearch,
    Extreme,
    PatchSample,
    SearchBudget,
    contributions,
)
from skconvfilter.diagnostics.summary import Summary
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.kernels.reference import all_patches
from skconvfilter.model.events import TeacherEvents
from skconvfilter.model.forward import row_blocks
from skconvfilter.model.geometry import HasConvolution, PatchGeometry
from skconvfilter.model.validation import check_numbers

_N_ANGLES = 9
# Patches per entry of the filter on either side of the wedge between filter and teacher,
# below which second moments over it are noise.
_PATCHES_PER_ENTRY = 20


@dataclass(frozen=True, eq=False, repr=False)
class Smoothness(Summary):
    r"""Result of :func:`smoothness`, the quantities of Assumptions 3.1 and 3.2.

    Let :math:`\bar Z_{++}`, :math:`\bar Z_{+-}` and :math:`\bar Z_{-+}` be the sums of the
    patches of a sample that are active for both a filter and the teacher, for the filter
    only and for the teacher only, divided by the number of all patches. For each angle, the
    following quantities are minimised or maximised over all filters at that angle to the
    teacher:

    * `gamma`: smallest eigenvalue of :math:`E \bar Z_{++} \bar Z_{++}^T`, minimised;
    * `L`: its largest eigenvalue, maximised;
    * `disagreement`: largest eigenvalue of :math:`E \bar Z_{+-} \bar Z_{+-}^T`, maximised;
    * `cross`: sum of the spectral norms of :math:`E \bar Z_{++} \bar Z_{+-}^T`,
      :math:`E \bar Z_{++} \bar Z_{-+}^T` and :math:`E \bar Z_{+-} \bar Z_{-+}^T`,
      maximised.

    Up to noise, `value` and `searched` are upper bounds of gamma and lower bounds of the
    others. `certified` is a lower bound of gamma, for one patch per sample only, and an
    upper bound of the others.

    Attributes
    ----------
    angles : ndarray of shape (n_angles,)
        Angles in radians.
    gamma, L, disagreement, cross : Estimate
        Estimates at every angle, with `value`, `interval`, `searched` and `certified`. The
        value is NaN if too few patches lie between filter and teacher. If patches vary far
        more in some directions than in others, the true gamma lies below its interval by
        up to a quarter of the value.
    beta : float
        Largest ``disagreement / angle`` up to pi/2: a lower bound for beta of Assumption
        3.1. NaN if no angle has enough patches.
    L_cross : float
        Largest ``cross / angle``: a lower bound for L_cross of Assumption 3.2.
    n_samples : int
        Number of samples that were evaluated.
    n_patches, patch_dim : int
        Patches per sample, and their length.
    """

    angles: FloatArray
    gamma: Estimate
    L: Estimate
    disagreement: Estimate
    cross: Estimate
    beta: float
    L_cross: float
    n_samples: int
    n_patches: int
    patch_dim: int


def smoothness(
    X: ArrayLike,
    teacher: Filters,
    angles: ArrayLike | None = None,
    *,
    estimator: HasConvolution | None = None,
    max_samples: int | None = None,
    confidence: float = 0.95,
    random_state: int | np.random.RandomState | None = None,
) -> Smoothness:
    """Estimate gamma, L, beta and L_cross on data for a given true filter.

    A filter is easy to learn if gamma is large compared with L, beta and L_cross, see
    Theorems 2.2 and 3.1 of [1]_. The extremes over all filters at an angle are found by a
    search. The best of 64 random directions and of the principal axes of the patches are
    refined by steps along the gradient of the quantity with smoothed indicators. At each
    angle, the search also starts from the filters found at the next smaller and the next
    larger angle.

    Parameters
    ----------
    X : array-like of shape ``(n_samples, ...)``
        Patches of shape (n_samples, n_patches, patch_dim), a window view, or flat samples.
    teacher : array-like or fitted estimator
        The true filter, in the shape of the window or flat, or a fitted estimator, whose
        `coef_` is used.
    angles : array-like of shape (n_angles,), default=None
        Angles to the teacher, in radians from 0 to pi. If None, nine angles from pi/18 to
        pi/2.
    estimator : estimator, default=None
        Defines how flat samples are cut into patches. Any estimator of this package can be
        used, such as :class:`~skconvfilter.ConvPatchExtractor`, fitted or not. If None, the
        teacher is used if it is a fitted estimator; otherwise a flat sample is one patch.
    max_samples : int, default=None
        Largest number of samples that are evaluated, drawn at random. If None, 20,000, or
        fewer (at least 500) if their patches have more than 2**23 entries.
    confidence : float, default=0.95
        Level of the bootstrap intervals.
    random_state : int, RandomState instance or None, default=None
        Determines the samples, the halves and the directions that are drawn.

    Returns
    -------
    result : Smoothness
        The estimates at every angle.

    Raises
    ------
    TypeError, ValueError
        For invalid data, filters or parameters.

    Warns
    -----
    UserWarning
        If filter and teacher disagree on too few patches at an angle; disagreement and
        cross are NaN there.

    See Also
    --------
    certificate : Checks the conditions of the theorems by these estimates.
    skconvfilter.plotting.SmoothnessDisplay : Draw the estimates.

    References
    ----------
    .. [1] S. S. Du, J. D. Lee, Y. Tian, "When is a Convolutional Filter Easy to Learn?",
       ICLR 2018.

    Examples
    --------
    For two independent normal patches in a sample, gamma is (pi - angle - sin angle) /
    (4 pi):

    >>> import numpy as np
    >>> from skconvfilter.diagnostics import smoothness
    >>> X = np.random.default_rng(0).standard_normal((10_000, 2, 5))
    >>> angles = np.array([np.pi / 4, np.pi / 2])
    >>> result = smoothness(X, np.ones(5), angles, random_state=0)
    >>> exact = (np.pi - angles - np.sin(angles)) / (4 * np.pi)
    >>> bool((abs(result.gamma.value / exact - 1) < 0.1).all())
    True
    """
    confidence = check_confidence(confidence)
    subsample = Subsample.draw(X, teacher, estimator, max_samples, random_state)
    checked = _check_angles(angles, subsample.geometry.layout.patch_dim)
    result, scarce = estimate_smoothness(subsample, checked, confidence)
    if scarce:
        warnings.warn(
            f"At the angles {np.round(scarce, 4).tolist()} fewer than "
            f"{_PATCHES_PER_ENTRY} patches per entry of the filter lie between filter "
            "and teacher: disagreement and cross are NaN there. Pass more samples, or "
            "larger angles.",
            stacklevel=2,
        )
    return result


def estimate_smoothness(
    subsample: Subsample,
    angles: FloatArray,
    confidence: float,
    budget: SearchBudget = THOROUGH,
) -> tuple[Smoothness, list[float]]:
    """Estimate on checked data.

    Returns
    -------
    result : Smoothness
    scarce : list of float
        Angles at which too few patches lie between filter and teacher.
    """
    samples, geometry, teacher, rng = subsample
    layout = geometry.layout
    folds = [_Fold(half, geometry, teacher, rng, budget) for half in subsample.halves()]
    scarce = [angle for angle in angles if not all(f.has_enough(angle) for f in folds)]
    if len(samples) * layout.n_patches <= budget.n_certified:
        certified = bounds(samples, geometry, teacher, angles)
    else:
        certified = Bounds(*np.full((4, len(angles)), np.nan))
    estimates = _estimate_all(folds, angles, scarce, certified, confidence, rng)
    result = Smoothness(
        angles=angles,
        **estimates,
        beta=_largest_ratio(estimates["disagreement"].value, angles),
        L_cross=_largest_ratio(estimates["cross"].value, angles),
        n_samples=len(samples),
        n_patches=layout.n_patches,
        patch_dim=layout.patch_dim,
    )
    return result, scarce


class _Fold:
    """Half of the samples, and the search on it."""

    def __init__(
        self,
        samples: FloatArray,
        geometry: PatchGeometry,
        teacher: FloatArray,
        rng: np.random.Generator,
        budget: SearchBudget,
    ) -> None:
        self.events = TeacherEvents(samples, geometry, teacher)
        n_patches = budget.n_gradient_patches
        self.patches = PatchSample.draw(samples, geometry, teacher, n_patches, rng)
        self.search = DirectionSearch(self.events, self.patches, rng, budget)
        self.n_patches = len(samples) * geometry.layout.n_patches

    def has_enough(self, angle: float) -> bool:
        """Whether a filter at the angle disagrees with the teacher on enough patches.

        At 0 none is needed: nothing disagrees there.
        """
        if angle == 0:
            return True
        needed = _PATCHES_PER_ENTRY * self.patches.patches.shape[1]
        share = self.patches.share_of_disagreement(self.search.filters(angle))
        return share / 2 * self.n_patches >= needed


def _estimate_all(
    folds: list[_Fold],
    angles: FloatArray,
    scarce: list[float],
    certified: "Bounds",
    confidence: float,
    rng: np.random.Generator,
) -> dict[str, Estimate]:
    """The estimates by quantity."""
    n_angles = len(angles)
    estimates = {
        name: Estimate(
            value=np.full(n_angles, np.nan),
            interval=np.full((n_angles, 2), np.nan),
            searched=np.full(n_angles, np.nan),
            certified=getattr(certified, name),
        )
        for name in QUANTITIES
    }
    sweeps = [fold.search.sweep(angles) for fold in folds]
    for i, (angle, *found) in enumerate(zip(angles, *sweeps, strict=True)):
        for name, estimate in estimates.items():
            if angle in scarce and name in ("disagreement", "cross"):
                continue
            held_out = _held_out(name, found, folds, confidence, rng)
            estimate.value[i], estimate.interval[i], estimate.searched[i] = held_out
    return estimates


def _held_out(
    name: str,
    found: list[dict[str, Extreme]],
    folds: list[_Fold],
    confidence: float,
    rng: np.random.Generator,
) -> tuple[float, FloatArray, float]:
    """Value, interval and value searched, of what either fold has found at an angle."""
    if name not in found[0]:
        return 0.0, np.zeros(2), 0.0
    extremes = [own[name] for own in found]
    parts = [
        contributions(other.events, extreme)
        for extreme, other in zip(extremes, folds[::-1], strict=True)
    ]
    value, interval = hold_out(parts, confidence, rng)
    return value, interval, float(np.mean([extreme.value for extreme in extremes]))


def _largest_ratio(values: FloatArray, angles: FloatArray) -> float:
    good = (angles > 0) & (angles <= np.pi / 2 + 1e-12) & np.isfinite(values)
    return float(np.max(values[good] / angles[good])) if good.any() else float("nan")


def _check_angles(given: ArrayLike | None, patch_dim: int) -> FloatArray:
    if given is None:
        given = np.linspace(np.pi / 18, np.pi / 2, _N_ANGLES)
    angles: FloatArray = check_numbers("angles", given)
    if not ((angles >= 0) & (angles <= np.pi)).all():
        raise ValueError(f"angles must lie between 0 and pi, got {angles.tolist()}.")
    if patch_dim == 1 and not np.isin(angles, (0.0, np.pi)).all():
        raise ValueError(
            "patches of length patch_dim=1 have no filter at an angle other than 0 and pi "
            f"to the teacher, got angles={angles.tolist()}."
        )
    return angles


class Bounds(NamedTuple):
    """One-sided bounds at every angle; NaN where there is none."""

    gamma: FloatArray  # lower bound, for one patch per sample only
    L: FloatArray  # upper bound
    disagreement: FloatArray  # upper bound
    cross: FloatArray  # upper bound


def bounds(
    samples: FloatArray,
    geometry: PatchGeometry,
    teacher: FloatArray,
    angles: FloatArray,
) -> Bounds:
    r"""Bounds that need no search, exact for the samples (not for their distribution).

    Whatever filter makes an angle :math:`\phi` with the teacher, a patch on which the two
    disagree makes an angle within :math:`\phi` of :math:`\pi/2` with the teacher. So sums
    over all such patches bound the sums over those of any one filter.

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
    bounds : Bounds
    """
    layout = geometry.layout
    unit = teacher / np.linalg.norm(teacher)
    total = _RegionSums.zeros(len(angles), layout.patch_dim)
    for rows in row_blocks(len(samples), layout.n_patches * layout.patch_dim):
        patches = all_patches(geometry.pad(samples[rows]), layout)
        block = _RegionSums.of(patches, unit, angles)
        total = _RegionSums(*(a + b for a, b in zip(total, block, strict=True)))
    n_patches = len(samples) * layout.n_patches
    gamma = np.full(len(angles), np.nan)
    if layout.n_patches == 1:
        gamma = np.linalg.eigvalsh(total.cone / n_patches)[:, 0]
    L = np.linalg.eigvalsh(total.active / n_patches)[-1]
    return Bounds(
        gamma=gamma,
        L=np.full(len(angles), L),
        disagreement=np.linalg.eigvalsh(total.wedge / n_patches)[:, -1],
        cross=total.cross / (n_patches * layout.n_patches),
    )


class _RegionSums(NamedTuple):
    """Sums over patches: second moments by region, and products of norms."""

    active: FloatArray  # (p, p), of the patches that are active for the teacher
    cone: FloatArray  # (n_angles, p, p), of those that are for all filters at the angle
    wedge: FloatArray  # (n_angles, p, p), of those that only other filters may be active on
    cross: FloatArray  # (n_angles,), over pairs of patches

    @classmethod
    def zeros(cls, n_angles: int, patch_dim: int) -> "_RegionSums":
        moments = np.zeros((n_angles, patch_dim, patch_dim))
        return cls(np.zeros((patch_dim, patch_dim)), moments, moments, np.zeros(n_angles))

    @classmethod
    def of(cls, patches: FloatArray, unit: FloatArray, angles: FloatArray) -> "_RegionSums":
        """Those of one block (n, k, p)."""
        norms = np.linalg.norm(patches, axis=2)
        # Blank patches count nowhere: NaN is on no side.
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine = np.clip((patches @ unit) / norms, -1, 1)
        beyond = np.arccos(cosine) - np.pi / 2  # the teacher's boundary; negative: active
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
        everywhere = _second_moment(patches, active)
        return cls(everywhere, np.array(cone), np.array(wedge), np.array(cross))


def _second_moment(patches: FloatArray, region: NDArray[np.bool_]) -> FloatArray:
    chosen = patches[region]
    return chosen.T @ chosen
