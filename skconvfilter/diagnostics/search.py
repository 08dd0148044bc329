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

from skconvfilter.diagnostics.sphere import THOROUGH, Point, climb, random_directions
from skconvfilter.model.events import BOTH, FILTER, TEACHER

# Random directions that are refined beside the one found at the angle before.
_N_LATER_STARTS = 1
# An axis that is the teacher's but for this has no direction away from it.
_SMALLEST_AXIS = 1e-6


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

    quantity: str
    value: float  # of the quantity, on the samples searched
    w: np.ndarray  # (p,), the filter
    terms: list  # of Term


def contributions(events, extreme):
    """What every sample adds to a quantity at a filter and vectors found elsewhere."""
    probes = _probes(extreme.terms)
    (projections,) = events.projections(extreme.w[:, np.newaxis], [probes])
    return (projections[0::2] * projections[1::2]).sum(axis=0)


class DirectionSearch:
    """Searches at several angles, each starting where its neighbours ended.

    Parameters
    ----------
    events : TeacherEvents
    patches : PatchSample
    rng : numpy.random.Generator
    effort : Effort
    """

    def __init__(self, events, patches, rng, effort=THOROUGH):
        self.events = events
        self.patches = patches
        self.effort = effort
        teacher = events.teacher
        self.unit = teacher / np.linalg.norm(teacher)
        self.directions = random_directions(
            effort.n_directions, len(teacher), rng, self.unit
        )
        if effort.thorough and len(teacher) > 2:
            axes = patches.principal_axes(self.unit)
            self.directions = np.column_stack([self.directions, axes, -axes])
        # Of one patch the three events exclude each other, so that nothing crosses.
        only = events.layout.n_patches == 1
        self.quantities = [name for name in QUANTITIES if not (only and name == "cross")]

    def sweep(self, angles):
        """The most extreme filter found for each quantity at every angle.

        Each angle starts where the next smaller one ended, and from random directions;
        then, on the way back, from where the next larger one did: near the teacher the
        quantities have optima that only a search from afar avoids.

        Parameters
        ----------
        angles : ndarray of shape (n_angles,)
            In any order.

        Returns
        -------
        extremes : list of dict of Extreme
            By quantity; "cross" is missing where it is 0 throughout.
        """
        ladder = np.unique(angles)
        if self.effort.thorough and 0 < ladder[-1] < np.pi / 2:
            ladder = np.append(ladder, np.pi / 2)
        found, last = {}, {}
        for angle in ladder:
            last = found[angle] = self._extremes(angle, self._starts(angle, last))
        if self.effort.thorough:
            for angle in ladder[-2::-1]:
                points = [*found[angle].values(), *self._continued(angle, last)]
                last = found[angle] = self._extremes(angle, points)
        return [found[angle] for angle in angles]

    def _extremes(self, angle, points):
        """The best points by quantity, those refined that have not been."""
        if self._has_choice(angle):

            def evaluate(V, owners):
                names = [owner.quantity for owner in owners]
                columns = {
                    name: [r for r, own in enumerate(names) if own == name]
                    for name in set(names)
                }
                found = {
                    name: iter(moved)
                    for name, moved in self._evaluate(angle, V, columns).items()
                }
                return [next(found[name]) for name in names]

            points = climb(points, self._slopes, evaluate, self.effort.n_steps)
        return {
            name: max(
                (point for point in points if point.quantity == name),
                key=lambda point: point.score,
            )
            for name in self.quantities
        }

    def _has_choice(self, angle):
        """Whether there are more filters at the angle than the directions at hand."""
        return len(self.unit) > 2 and 0 < angle < np.pi

    def filters(self, angle, V=None):
        """Filters at an angle to the teacher, along some directions or the random ones."""
        V = self.directions if V is None else V
        return np.cos(angle) * self.unit[:, np.newaxis] + np.sin(angle) * V

    def _starts(self, angle, last):
        """For each quantity the best fresh directions, and the last one found."""
        # At 0 and pi all directions lead to the same filter.
        fresh = self.directions if 0 < angle < np.pi else self.directions[:, :1]
        n_fresh = fresh.shape[1]
        columns = {name: list(range(n_fresh)) for name in self.quantities}
        starts = self._continued(angle, last)
        for name, points in self._evaluate(angle, fresh, columns).items():
            n_starts = max(1, self.effort.n_starts // len(QUANTITIES[name].pairs))
            best = sorted(points, key=lambda point: -point.score)
            starts += best[: _N_LATER_STARTS if last else n_starts]
        return starts

    def _continued(self, angle, last):
        """The points that the directions of others lead to at an angle."""
        if not last:
            return []
        columns = {name: [i] for i, name in enumerate(last)}
        V = np.column_stack([extreme.v for extreme in last.values()])
        return [point for (point,) in self._evaluate(angle, V, columns).values()]

    def _evaluate(self, angle, V, columns):
        """Points by quantity, at those of the directions that `columns` names for it."""
        W = self.filters(angle, V)
        wanted = [
            (a, b, own) for name, own in columns.items() for a, b in QUANTITIES[name].pairs
        ]
        moments = iter(self.events.moments(W, wanted))
        points = {}
        for name, own in columns.items():
            pairs, sign = QUANTITIES[name]
            solved = [_extreme_term(pair, next(moments), sign) for pair in pairs]
            totals = sum(values for values, _ in solved)
            points[name] = [
                Extreme(
                    quantity=name,
                    score=sign * totals[i],
                    value=totals[i],
                    v=V[:, r],
                    w=W[:, r],
                    terms=[terms[i] for _, terms in solved],
                )
                for i, r in enumerate(own)
            ]
        return points

    def _slopes(self, extremes):
        """Gradients of the smoothed quantity, to more or less, on the sphere."""
        W = np.column_stack([extreme.w for extreme in extremes])
        projections = self.events.projections(W, [_probes(e.terms) for e in extremes])
        slopes = []
        for extreme, own in zip(extremes, projections, strict=True):
            sign = QUANTITIES[extreme.quantity].sign
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
    def draw(cls, samples, geometry, teacher, n_patches, rng):
        """Random ones, with replacement, of all patches of some samples."""
        layout = geometry.layout
        n_patches = min(n_patches, len(samples) * layout.n_patches)
        sample = np.sort(rng.integers(len(samples), size=n_patches))
        base = layout.base[rng.integers(layout.n_patches, size=n_patches)]
        padded = geometry.pad(samples)
        patches = padded[sample[:, np.newaxis], base[:, np.newaxis] + layout.tap]
        return cls(patches, sample, teacher)

    def principal_axes(self, unit):
        """Unit vectors orthogonal to one: along which patches vary much, or little.

        Where they vary unevenly, extreme filters lie near these.
        """
        axes = np.linalg.eigh(self.patches.T @ self.patches)[1]
        axes -= np.outer(unit, unit @ axes)
        lengths = np.linalg.norm(axes, axis=0)
        aside = lengths > _SMALLEST_AXIS
        return axes[:, aside] / lengths[aside]

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
