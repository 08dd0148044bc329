"""The theorems of the paper, each with the numbers of its condition."""

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from skconvfilter.diagnostics.convexity import OnePointConvexity
from skconvfilter.diagnostics.initialization import (
    ball_success_bound,
    ball_success_probability,
    restarts_needed,
)
from skconvfilter.diagnostics.sampling import Subsample
from skconvfilter.diagnostics.smoothness import Smoothness
from skconvfilter.diagnostics.summary import Summary
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.kernels.reference import all_patches
from skconvfilter.model.forward import model_values, row_blocks
from skconvfilter.model.geometry import PatchGeometry

Verdict = Literal["holds", "may hold", "refuted", "does not apply"]

# Patches whose lengths differ by less than this share have one length.
_SAME_LENGTH = 1e-6
# Widths of the band about the teacher's boundary that are tried for Theorem 3.3, and how
# many patches must lie in one to count.
_BANDS, _MIN_IN_BAND = np.linspace(np.pi / 36, np.pi / 2, 18), 100


@dataclass(frozen=True, repr=False)
class TheoremCheck(Summary):
    """A theorem and the numbers of its condition, checked by :func:`certificate`.

    Attributes
    ----------
    theorem : str
        Name of the theorem, such as "Theorem 3.1".
    condition : str
        Condition of the paper, corrected if the printed one is wrong.
    verdict : {"holds", "may hold", "refuted", "does not apply"}
        "holds" if bounds that need no search prove the condition for these samples,
        "refuted" if filters were found that violate it, and "may hold" otherwise.
    numbers : dict of float
        The numbers of the condition, by name.
    step : float
        Step size allowed for gradient descent; NaN if there is none.
    contraction : float
        Upper bound of the factor of ``|w - w*|**2`` in a step of that size; NaN if there is
        none.
    iterations : float
        Number of steps until ``|w - w*|`` is `precision` times ``|w*|``; NaN if there is
        none.
    """

    theorem: str
    condition: str
    verdict: Verdict
    numbers: dict[str, float] = field(default_factory=dict)
    step: float = math.nan
    contraction: float = math.nan
    iterations: float = math.nan


@dataclass(frozen=True)
class Start:
    """Where gradient descent begins, and the precision at which it may end."""

    distance: float  # relative to the norm of the teacher
    phi_0: float
    precision: float

    def guaranteed_rate(self, g: float, G: float) -> dict[str, float]:
        """Step, contraction and iterations by name; empty where nothing is guaranteed.

        For constants with ``<grad l(w), w - w*> >= g |w - w*|**2`` and ``|grad l(w)| <= G
        |w - w*|``.
        """
        if not (g > 0 and G > 0 and self.distance < 1):
            return {}
        share = min((g / G) ** 2, 1.0)
        return {
            "step": g / G**2,
            "contraction": 1 - share,
            "iterations": self._iterations(share),
        }

    def _iterations(self, share: float) -> float:
        """Steps to the precision if each takes a share of the squared distance."""
        if self.distance <= self.precision:
            return 0
        if share == 1:
            return 1
        return math.ceil(2 * math.log(self.distance / self.precision) / -math.log1p(-share))


@dataclass(frozen=True)
class Profile:
    """Constants over all angles up to that of the start."""

    n_patches: int
    gamma: float  # the least, for it need not fall with the angle
    gamma_high: float  # end of its interval
    gamma_certified: float
    L: float
    beta: float
    L_cross: float
    L_cross_low: float  # end of its interval

    @property
    def constants(self) -> tuple[float, float]:
        """g and G of Theorem 3.1; of Theorem 2.2 for one patch, where L_cross is 0."""
        g = self.gamma - 6 * self.L_cross
        return g, self.L + 10 * self.L_cross + 4 * self.beta

    @classmethod
    def of(cls, smooth: Smoothness, phi_0: float) -> "Profile":
        """Those of a :class:`Smoothness` up to an angle, NaN for pi/2.

        beta and L_cross are those of all angles, as in the paper: at small angles, where
        they may be largest, few patches show them.
        """
        near = smooth.angles <= (np.pi / 2 if math.isnan(phi_0) else phi_0) + 1e-12
        good = smooth.angles > 0
        lows = smooth.cross.interval[good, 0] / smooth.angles[good]
        return cls(
            n_patches=smooth.n_patches,
            gamma=float(smooth.gamma.value[near].min()),
            gamma_high=float(smooth.gamma.interval[near, 1].min()),
            gamma_certified=float(smooth.gamma.certified[near].min()),
            L=float(smooth.L.value[near].max()),
            beta=smooth.beta,
            L_cross=smooth.L_cross,
            L_cross_low=float(lows[np.isfinite(lows)].max(initial=0.0)),
        )


def largest_good_angle(smooth: Smoothness) -> float:
    """phi*: the largest angle evaluated up to which gamma is at least 6 L_cross."""
    profiles = [Profile.of(smooth, angle) for angle in smooth.angles]
    good = [
        angle
        for angle, profile in zip(smooth.angles, profiles, strict=True)
        if angle <= np.pi / 2 and profile.gamma >= 6 * profile.L_cross
    ]
    return float(max(good)) if good else math.nan


def theorem_2_1(
    near: Profile, subsample: Subsample, initial: FloatArray | None
) -> TheoremCheck:
    """Positive definite second moments, and a start below the loss of 0."""
    name = "Theorem 2.1"
    condition = "one patch: E zz' over any two half-spaces positive definite; l(w_0) < l(0)"
    if near.n_patches > 1:
        return TheoremCheck(name, condition, "does not apply")
    numbers, ratio = {"gamma(phi_0)": near.gamma}, 0.0
    if initial is not None:
        filters = np.column_stack([initial, subsample.teacher])
        values = model_values(subsample.samples, subsample.geometry, filters)
        power = np.mean(values[:, 1] ** 2)
        ratio = float(np.mean((values[:, 0] - values[:, 1]) ** 2) / power) if power else 1.0
        numbers["l(w_0) / l(0)"] = ratio
    verdict = _verdict(False, near.gamma_high <= 0 or ratio >= 1)
    return TheoremCheck(name, condition, verdict, numbers)


def theorem_2_2(near: Profile, start: Start) -> TheoremCheck:
    """Gradient descent with one patch."""
    name, condition = "Theorem 2.2", "one patch: gamma > 0 up to phi_0 < pi/2"
    if near.n_patches > 1:
        return TheoremCheck(name, condition, "does not apply")
    verdict = _verdict(
        near.gamma_certified > 0, near.gamma_high <= 0 or start.distance >= 1
    )
    numbers = {
        "gamma(phi_0)": near.gamma,
        "certified gamma(phi_0)": near.gamma_certified,
        "L": near.L,
        "beta": near.beta,
    }
    rate = start.guaranteed_rate(*near.constants)
    return TheoremCheck(name, condition, verdict, numbers, **rate)


def theorem_3_1(near: Profile, start: Start) -> TheoremCheck:
    """Gradient descent with any number of patches."""
    certified = near.n_patches == 1 and near.gamma_certified > 0
    refuted = near.gamma_high <= 6 * near.L_cross_low or start.distance >= 1
    numbers = {
        "gamma(phi_0)": near.gamma,
        "6 L_cross": 6 * near.L_cross,
        "L": near.L,
        "beta": near.beta,
    }
    return TheoremCheck(
        "Theorem 3.1",
        "gamma > 6 L_cross up to phi_0 < pi/2",
        _verdict(certified, refuted),
        numbers,
        **start.guaranteed_rate(*near.constants),
    )


def theorem_3_2(phi_star: float, start: Start) -> TheoremCheck:
    """Stochastic gradient descent."""
    refuted = not start.phi_0 < phi_star
    return TheoremCheck(
        "Theorem 3.2",
        "SGD: phi_0 < phi*, the largest angle with gamma >= 6 L_cross",
        _verdict(False, refuted),
        {"phi* of the angles evaluated": phi_star, "phi_0": start.phi_0},
    )


def theorem_3_3(subsample: Subsample) -> TheoremCheck:
    """Patches of one length near their mean: its bound of L_cross, corrected.

    The condition must hold for bands of all widths up to pi/2, not just up to the spread
    of the patches. Then a filter at the angle phi and the teacher disagree on a share of
    at most mu phi of the patches, and L_cross is at most mu times their squared length.
    The bound of gamma that is printed with it is wrong and not checked.
    """
    name = "Theorem 3.3"
    condition = "unit patches: P(a patch within phi of the teacher's boundary) <= mu phi"
    closeness = _closeness(*subsample[:3])
    if closeness is None:
        return TheoremCheck(name, condition, "does not apply")
    length, spread, beyond = closeness
    counts = np.array([np.count_nonzero(beyond <= width) for width in _BANDS])
    shares = counts / (len(beyond) * _BANDS)
    mu = float(shares[counts >= _MIN_IN_BAND].max(initial=0.0))
    numbers = {
        "rho, the largest angle of a patch to the mean": spread,
        "mu": mu,
        "bound of L_cross": mu * length**2,
    }
    return TheoremCheck(name, condition, "may hold", numbers)


def theorem_3_4(patch_dim: int) -> TheoremCheck:
    """The ball that starts are drawn from."""
    alpha = 1 / math.sqrt(2 * math.pi * patch_dim)
    return TheoremCheck(
        "Theorem 3.4",
        "w_0 uniform in a ball of radius at most |w*| / sqrt(2 pi p)",
        "holds",
        {"radius relative to |w*|": alpha} | _odds(patch_dim, alpha),
    )


def corollary_3_1(phi_star: float, patch_dim: int) -> TheoremCheck:
    """The ball that SGD may start in: its radius is |w*| cos(phi*)."""
    name, condition = "Corollary 3.1", "cos(phi*) < 1 / sqrt(8 pi p)"
    limit = 1 / math.sqrt(8 * math.pi * patch_dim)
    if math.isnan(phi_star):
        return TheoremCheck(name, condition, "refuted")
    alpha = max(math.cos(phi_star), np.finfo(float).tiny)
    numbers = {"cos(phi*)": alpha, "1 / sqrt(8 pi p)": limit}
    return TheoremCheck(
        name, condition, _verdict(False, alpha >= limit), numbers | _odds(patch_dim, alpha)
    )


def convexity(convex: OnePointConvexity, start: Start) -> TheoremCheck:
    """The inequality that the proofs need, estimated directly."""
    g, G = float(convex.convexity.value.min()), float(convex.steepness.max())
    refuted = bool((convex.convexity.interval[:, 1] < 0).any())
    return TheoremCheck(
        "One-point convexity",
        "<grad l(w), w - w*> >= g |w - w*|**2 on every sphere up to the start",
        _verdict(False, refuted),
        {"g": g, "G": G},
        **start.guaranteed_rate(g, G),
    )


def _verdict(certified: bool, refuted: bool) -> Verdict:
    if refuted:
        return "refuted"
    return "holds" if certified else "may hold"


def _odds(patch_dim: int, alpha: float) -> dict[str, float]:
    probability = float(ball_success_probability(patch_dim, alpha))
    return {
        "probability of |w_0 - w*| <= |w*| sqrt(1 - radius**2)": probability,
        "the paper's bound of it": float(ball_success_bound(patch_dim, alpha)),
        "starts needed for 99 %": restarts_needed(probability),
    }


def _closeness(
    samples: FloatArray, geometry: PatchGeometry, teacher: FloatArray
) -> tuple[float, float, FloatArray] | None:
    """Length of patches, their largest angle to a sample's mean, angles to the boundary.

    Blank patches are left out; None where the others are not of one length.
    """
    unit = teacher / np.linalg.norm(teacher)
    shortest, longest, beyond, spread = np.inf, 0.0, [], 0.0
    layout = geometry.layout
    for rows in row_blocks(len(samples), layout.n_patches * layout.patch_dim):
        patches = all_patches(geometry.pad(samples[rows]), layout)
        norms = np.linalg.norm(patches, axis=2)
        shown = norms > 0
        shortest = min(shortest, norms[shown].min(initial=np.inf))
        longest = max(longest, norms.max())
        if longest - shortest > _SAME_LENGTH * longest:
            return None
        mean = patches.mean(axis=1)
        scale = norms * np.linalg.norm(mean, axis=1)[:, np.newaxis]
        good = scale > 0
        cosine = np.einsum("nkp,np->nk", patches, mean)[good] / scale[good]
        spread = max(spread, float(np.arccos(np.clip(cosine, -1, 1)).max(initial=0.0)))
        sine = np.clip(patches[shown] @ unit / norms[shown], -1, 1)
        beyond.append(np.abs(np.arcsin(sine)))
    return (float(longest), spread, np.concatenate(beyond)) if longest > 0 else None
