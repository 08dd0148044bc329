"""The search for the filter at an angle to the teacher where a quantity is extreme.

What the theory calls gamma, L and so on at an angle is the least or largest eigenvalue of
a second moment over *all* filters at that angle. Random directions miss it by up to half
where patches are correlated, so the best few are refined: steps on the sphere along the
gradient of the quantity with its extreme vectors held and its indicators made smooth,
taken only where the quantity itself gets more extreme.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skconvfilter.diagnostics.sphere import Point, climb, random_directions
from skconvfilter.model.events import BOTH, FILTER, TEACHER

_N_DIRECTIONS, _N_STARTS, _N_LATER_STARTS = 64, 4, 1
# Patches that a gradient is taken from: a direction to try need not be exact.
_GRADIENT_PATCHES = 2**15


class Quantity(NamedTuple):
    """A sum of extreme singular values of second moments ``E Z_a Z_b'``."""

    pairs: tuple  # of (event, event)
    sign: int  # 1: the largest over the filters, -1: the least


QUANTITIES = {
    "gamma": Quantity(((BOTH, BOTH),), -1),
    "L": Quantity(((BOTH, BOTH),), 1),
    "disagreement": Quantity(((FILTER, FILTER),), 1),
    "cross": Quantity(((BOTH, FILTER), (BOTH, TEACHER), (FILTER, TEACHER)), 1),
}


class Term(NamedTuple):
    """``left' E[Z_a Z_b'] right``: one of the singular values of a quantity."""

    a: str
    left: np.ndarray
    b: str
    right: np.ndarray


@dataclass(kw_only=True)
class Extreme(Point):
    """A filter at an angle, by its direction away from the teacher."""

    value: float  # of the quantity, on the samples searched
    w: np.ndarray  # (p,), the filter
    terms: list  # of Term


def contributions(events, extreme):
    """What every sample adds to a quantity at a filter and vectors found elsewhere."""
    probes = _probes(extreme.terms)
    (projections,) = events.projections(extreme.w[:, np.newaxis], [probes])
    return (projections[0::2] * projections[1::2]).sum(axis=0)


class DirectionSearch:
    """Searches at one angle after another, each starting where the last one ended.

    Parameters
    ----------
    events : TeacherEvents
    patches : PatchSample
    rng : numpy.random.Generator
    """

    def __init__(self, events, patches, rng):
        self.events = events
        self.patches = patches
        teacher = events.teacher
        self.unit = teacher / np.linalg.norm(teacher)
        self.directions = random_directions(_N_DIRECTIONS, len(teacher), rng, self.unit)
        self.last = {name: [] for name in QUANTITIES}

    def extremes(self, angle):
        """The most extreme filter found for each quantity.

        Returns
        -------
        extremes : dict of Extreme
        """
        found = {}
        for name, quantity in QUANTITIES.items():

            def evaluate(V, quantity=quantity):
                return self._evaluate(quantity, angle, V)

            def slopes(extremes, quantity=quantity):
                return self._slopes(extremes, quantity.sign)

            points = self._starts(name, evaluate)
            if len(self.unit) > 2 and 0 < angle < np.pi:
                points = climb(points, slopes, evaluate)
            found[name] = max(points, key=lambda point: point.score)
            self.last[name] = [found[name].v]
        return found

    def filters(self, angle, V=None):
        """Filters at an angle to the teacher, along some directions or the random ones."""
        V = self.directions if V is None else V
        return np.cos(angle) * self.unit[:, np.newaxis] + np.sin(angle) * V

    def _starts(self, name, evaluate):
        last = self.last[name]
        points = evaluate(np.column_stack([*last, self.directions]))
        fresh = sorted(points[len(last) :], key=lambda point: -point.score)
        n_terms = len(QUANTITIES[name].pairs)
        n_fresh = _N_LATER_STARTS if last else max(1, _N_STARTS // n_terms)
        return points[: len(last)] + fresh[:n_fresh]

    def _evaluate(self, quantity, angle, V):
        W = self.filters(angle, V)
        moments = self.events.moments(W, quantity.pairs)
        solved = [
            _extreme_term(pair, matrices, quantity.sign)
            for pair, matrices in zip(quantity.pairs, moments, strict=True)
        ]
        totals = sum(values for values, _ in solved)
        return [
            Extreme(
                score=quantity.sign * totals[r],
                value=totals[r],
                v=V[:, r],
                w=W[:, r],
                terms=[terms[r] for _, terms in solved],
            )
            for r in range(V.shape[1])
        ]

    def _slopes(self, extremes, sign):
        """Gradients of the smoothed quantity, to more or less, on the sphere."""
        W = np.column_stack([extreme.w for extreme in extremes])
        projections = self.events.projections(W, [_probes(e.terms) for e in extremes])
        slopes = []
        for extreme, own in zip(extremes, projections, strict=True):
            slope = sign * self.patches.slope(extreme, own)
            for axis in (self.unit, extreme.v):
                slope = slope - (axis @ slope) * axis
            slopes.append(slope)
        return slopes


class PatchSample:
    """Some patches, for gradients of smoothed quantities.

    Parameters
    ----------
    patches : ndarray of shape (m, patch_dim)
    sample : ndarray of shape (m,)
        Number of the sample that each is from.
    teacher : ndarray of shape (patch_dim,)
    """

    def __init__(self, patches, sample, teacher):
        self.patches = patches
        self.sample = sample
        self.inside = patches @ teacher > 0

    @classmethod
    def draw(cls, samples, geometry, teacher, rng):
        """Random ones, with replacement, of all patches of some samples."""
        layout = geometry.layout
        n_patches = min(_GRADIENT_PATCHES, len(samples) * layout.n_patches)
        sample = np.sort(rng.integers(len(samples), size=n_patches))
        base = layout.base[rng.integers(layout.n_patches, size=n_patches)]
        padded = geometry.pad(samples)
        patches = padded[sample[:, np.newaxis], base[:, np.newaxis] + layout.tap]
        return cls(patches, sample, teacher)

    def share_of_disagreement(self, W):
        """Mean share of the patches that are active for only one of filter and teacher."""
        differ = (self.patches @ W > 0) != self.inside[:, np.newaxis]
        return float(differ.mean())

    def slope(self, extreme, projections):
        """Gradient with regard to the filter, up to a positive factor.

        The indicator of being active is replaced by a logistic function of the response,
        and the vectors of the quantity are held.
        """
        responses = self.patches @ extreme.w
        scaled = responses / (extreme.width * (responses.std() or 1.0))
        # The derivative of the logistic function.
        density = 0.25 / np.cosh(np.clip(scaled, -30, 30) / 2) ** 2
        weights = np.zeros(len(responses))
        probes = _probes(extreme.terms)
        for j, (event, probe) in enumerate(probes):
            # Each factor of a term changes while the other one, its neighbour, is held.
            other = projections[j ^ 1]
            side = ~self.inside if event == FILTER else self.inside
            sign = -1 if event == TEACHER else 1
            weights += sign * side * other[self.sample] * (self.patches @ probe)
        return (density * weights) @ self.patches


def _extreme_term(pair, matrices, sign):
    """Extreme singular values of (R, p, p) matrices, and their vectors."""
    a, b = pair
    if a == b:
        values, vectors = np.linalg.eigh(matrices)
        which = -1 if sign > 0 else 0
        values, left = values[:, which], vectors[:, :, which]
        right = left
    else:
        U, values, Vt = np.linalg.svd(matrices)
        values, left, right = values[:, 0], U[:, :, 0], Vt[:, 0]
    return values, [Term(a, u, b, v) for u, v in zip(left, right, strict=True)]


def _probes(terms):
    return [probe for t in terms for probe in ((t.a, t.left), (t.b, t.right))]
