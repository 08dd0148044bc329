"""The search for the filter at an angle to the teacher where a quantity is extreme.

What the theory calls gamma, L and so on at an angle is the least or largest eigenvalue of
a second moment over *all* filters at that angle. Random directions miss it by up to half
where patches are correlated, so the best few are refined: steps on the sphere along the
gradient of the quantity with its extreme vectors held and its indicators made smooth,
taken only where the quantity itself gets more extreme.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from skconvfilter.kernels.layout import FloatArray
from skconvfilter.kernels.reference import append_constant
from skconvfilter.model.events import BOTH, FILTER, TEACHER, TeacherEvents
from skconvfilter.model.geometry import PatchGeometry

# Angles by which a point is moved: at first, and at least; the factors for the next step
# after one that helped and one that did not; and how many lengths are tried at a time.
_FIRST_STEP, _MIN_STEP, _LONGER, _SHORTER, _N_TRIES = 0.5, 1e-3, 1.5, 0.4, 2
# Width of smoothed indicators, in standard deviations of what they are functions of. It is
# halved where no step helps; at the least one a point is left where it is.
_FIRST_WIDTH, _LEAST_WIDTH = 0.3, 0.3 * 0.5**2
# Random directions that are refined, besides the best filter of the angle before.
_N_LATER_STARTS = 1
# An axis that is the teacher's but for this has no direction away from it.
_SMALLEST_AXIS = 1e-6


class SearchBudget(NamedTuple):
    """How many filters, samples and steps the estimates may take."""

    n_directions: int  # random ones, to begin with
    n_starts: int  # best of them that are refined
    n_steps: int  # of the refinement, at most
    n_gradient_patches: int  # for the slopes of the refinement, which need not be exact
    n_angles: int  # from 0 to that of the start
    n_beyond: int  # angles beyond it
    n_radii: int  # of shells up to the start
    n_on_path: int  # filters of a path that are evaluated
    n_certified: float  # patches beyond which no bounds without search are computed
    thorough: bool  # whether to search along principal axes, and at angles up and down


THOROUGH = SearchBudget(64, 4, 20, 2**15, 8, 3, 6, 1000, np.inf, True)


@dataclass(frozen=True, kw_only=True)
class Point:
    """A direction and its score, and how the ascent goes on from it."""

    v: FloatArray  # (p,), a unit vector
    score: float  # the larger, the better
    settled: bool = False  # whether an ascent has ended here
    step: float = _FIRST_STEP  # angle by which it is moved next
    width: float = _FIRST_WIDTH  # of the smoothed indicators of its next slope


P = TypeVar("P", bound=Point)


def ascend(
    points: Sequence[P],
    slopes: Callable[[list[P]], list[FloatArray]],
    evaluate: Callable[[FloatArray, list[P]], list[P]],
    n_steps: int,
) -> list[P]:
    """Move points on the sphere along slopes of something smooth while their scores rise.

    Of a few steps of different length the best is taken if it is better than none. If not,
    the slope is taken anew of something less smooth, a few times.

    Parameters
    ----------
    points : list of Point
        Those that are settled stay where they are.
    slopes : callable
        ``slopes(points)`` returns a tangent of the sphere at each, uphill.
    evaluate : callable
        ``evaluate(V, origins)`` returns the points at directions (p, R), which were moved
        from the R points `origins`.
    n_steps : int

    Returns
    -------
    points : list of Point
        New ones, all settled.
    """
    points = list(points)
    for _ in range(n_steps):
        moving = [
            i
            for i, point in enumerate(points)
            if not point.settled and point.width > _LEAST_WIDTH
        ]
        if not moving:
            break
        here = [points[i] for i in moving]
        lengths = [point.step * _SHORTER ** np.arange(_N_TRIES) for point in here]
        directions = [
            _moved(point.v, slope, own)
            for point, slope, own in zip(here, slopes(here), lengths, strict=True)
        ]
        origins = [point for point in here for _ in range(_N_TRIES)]
        trials = evaluate(np.hstack(directions), origins)
        for j, i in enumerate(moving):
            own = trials[j * _N_TRIES : (j + 1) * _N_TRIES]
            points[i] = _better(points[i], own, lengths[j])
    return [replace(point, settled=True) for point in points]


def random_directions(
    n_directions: int,
    patch_dim: int,
    rng: np.random.Generator,
    orthogonal_to: FloatArray | None = None,
) -> FloatArray:
    """Unit vectors, as columns, orthogonal to a unit vector where one is given.

    Where there are only two, those; where there is none, 0.
    """
    if patch_dim == 1:
        return np.array([[1.0, -1.0]]) if orthogonal_to is None else np.zeros((1, 1))
    if orthogonal_to is not None and patch_dim == 2:
        orthogonal = np.array([-orthogonal_to[1], orthogonal_to[0]])
        return np.column_stack([orthogonal, -orthogonal])
    V: FloatArray = rng.standard_normal((patch_dim, n_directions))
    if orthogonal_to is not None:
        V -= np.outer(orthogonal_to, orthogonal_to @ V)
    return V / np.linalg.norm(V, axis=0)


def _moved(v: FloatArray, slope: FloatArray, lengths: FloatArray) -> FloatArray:
    """A direction moved by some angles along a slope, as columns."""
    norm = np.linalg.norm(slope)
    along = slope / norm if norm > 0 else slope
    V = np.outer(v, np.cos(lengths)) + np.outer(along, np.sin(lengths))
    return V / np.linalg.norm(V, axis=0)


def _better(point: P, trials: list[P], lengths: FloatArray) -> P:
    """The best trial if it improves on the point; else the point, with a shorter step."""
    j = max(range(len(trials)), key=lambda j: trials[j].score)
    if trials[j].score > point.score:
        step = min(float(lengths[j]) * _LONGER, _FIRST_STEP)
        return replace(trials[j], step=step, width=point.width)
    step = max(point.step * _SHORTER, _MIN_STEP)
    return replace(point, step=step, width=point.width * 0.5)


class Quantity(NamedTuple):
    """A sum of extreme singular values of second moments ``E Z_a Z_b'``."""

    pairs: tuple[tuple[str, str], ...]  # of events
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
    left: FloatArray
    b: str
    right: FloatArray


@dataclass(frozen=True, kw_only=True)
class Extreme(Point):
    """A filter at an angle, by its direction away from the teacher."""

    quantity: str
    value: float  # of the quantity, on the samples searched
    w: FloatArray  # (p,), the filter
    terms: list[Term]


def contributions(events: TeacherEvents, extreme: Extreme) -> FloatArray:
    """What every sample adds to a quantity at a filter and vectors found elsewhere."""
    probes = _probes(extreme.terms)
    (projections,) = events.projections(extreme.w[:, np.newaxis], [probes])
    lefts, rights = projections[0::2], projections[1::2]
    return (lefts * rights).sum(axis=0)


class PatchSample:
    """Some patches, for gradients of smoothed quantities.

    Parameters
    ----------
    patches : ndarray of shape (m, patch_dim)
    sample : ndarray of shape (m,)
        Number of the sample that each is from.
    teacher : ndarray of shape (patch_dim,)
    """

    def __init__(
        self, patches: FloatArray, sample: NDArray[np.integer], teacher: FloatArray
    ) -> None:
        self.patches = patches
        self.sample = sample
        self.inside: NDArray[np.bool_] = patches @ teacher > 0

    @classmethod
    def draw(
        cls,
        samples: FloatArray,
        geometry: PatchGeometry,
        teacher: FloatArray,
        n_patches: int,
        rng: np.random.Generator,
    ) -> "PatchSample":
        """Random ones, with replacement, of all patches of some samples."""
        layout = geometry.layout
        n_patches = min(n_patches, len(samples) * layout.n_patches)
        sample = np.sort(rng.integers(len(samples), size=n_patches))
        base = layout.base[rng.integers(layout.n_patches, size=n_patches)]
        padded = geometry.pad(samples)
        patches = padded[sample[:, np.newaxis], base[:, np.newaxis] + layout.tap]
        return cls(append_constant(patches, layout), sample, teacher)

    def principal_axes(self, unit: FloatArray) -> FloatArray:
        """Unit vectors orthogonal to one: along which patches vary much, or little.

        Where they vary unevenly, extreme filters lie near these.
        """
        axes = np.linalg.eigh(self.patches.T @ self.patches)[1]
        axes -= np.outer(unit, unit @ axes)
        lengths = np.linalg.norm(axes, axis=0)
        aside = lengths > _SMALLEST_AXIS
        return axes[:, aside] / lengths[aside]

    def share_of_disagreement(self, W: FloatArray) -> float:
        """Mean share of the patches that are active for only one of filter and teacher."""
        differ = (self.patches @ W > 0) != self.inside[:, np.newaxis]
        return float(differ.mean())

    def slope(self, extreme: Extreme, projections: FloatArray) -> FloatArray:
        """Gradient with respect to the filter, up to a positive factor.

        The indicator of being active is replaced by a logistic function of the
        preactivation, and the vectors of the quantity are held.

        Parameters
        ----------
        extreme : Extreme
        projections : ndarray of shape (2 * n_terms, n_samples)
            Of every term, the inner products of its left vector with the mean patches of
            the event a, and of its right vector with those of b.
        """
        preactivations = self.patches @ extreme.w
        scaled = preactivations / (extreme.width * (preactivations.std() or 1.0))
        # The derivative of the logistic function.
        density = 0.25 / np.cosh(np.clip(scaled, -30, 30) / 2) ** 2
        weights = np.zeros(len(preactivations))
        lefts, rights = projections[0::2], projections[1::2]
        for term, left, right in zip(extreme.terms, lefts, rights, strict=True):
            # The product rule: each factor changes while the other one is held.
            weights += self._change(term.a, term.left, right)
            weights += self._change(term.b, term.right, left)
        return (density * weights) @ self.patches

    def _change(self, event: str, probe: FloatArray, held: FloatArray) -> FloatArray:
        """How a factor changes with the indicators, for every patch; `held` by sample."""
        side = ~self.inside if event == FILTER else self.inside
        sign = -1 if event == TEACHER else 1
        return sign * side * held[self.sample] * (self.patches @ probe)


class DirectionSearch:
    """Searches at several angles, each starting where its neighbours ended.

    Parameters
    ----------
    events : TeacherEvents
    patches : PatchSample
    rng : numpy.random.Generator
    budget : SearchBudget
    """

    def __init__(
        self,
        events: TeacherEvents,
        patches: PatchSample,
        rng: np.random.Generator,
        budget: SearchBudget = THOROUGH,
    ) -> None:
        self.events = events
        self.patches = patches
        self.budget = budget
        teacher = events.teacher
        self.unit: FloatArray = teacher / np.linalg.norm(teacher)
        self.directions: FloatArray = random_directions(
            budget.n_directions, len(teacher), rng, self.unit
        )
        if budget.thorough and len(teacher) > 2:
            axes = patches.principal_axes(self.unit)
            self.directions = np.column_stack([self.directions, axes, -axes])
        # Of one patch the three events exclude each other, so that nothing crosses.
        only = events.layout.n_patches == 1
        self.quantities: list[str] = [
            name for name in QUANTITIES if not (only and name == "cross")
        ]

    def sweep(self, angles: FloatArray) -> list[dict[str, Extreme]]:
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
        if self.budget.thorough and 0 < ladder[-1] < np.pi / 2:
            ladder = np.append(ladder, np.pi / 2)
        found: dict[float, dict[str, Extreme]] = {}
        last: dict[str, Extreme] = {}
        for angle in ladder:
            last = found[angle] = self._most_extreme(angle, self._starts(angle, last))
        if self.budget.thorough:
            for angle in ladder[-2::-1]:
                points = [*found[angle].values(), *self._continued(angle, last)]
                last = found[angle] = self._most_extreme(angle, points)
        return [found[angle] for angle in angles]

    def filters(self, angle: float, V: FloatArray | None = None) -> FloatArray:
        """Filters at an angle to the teacher, along some directions or the random ones."""
        V = self.directions if V is None else V
        return np.cos(angle) * self.unit[:, np.newaxis] + np.sin(angle) * V

    def _starts(self, angle: float, last: dict[str, Extreme]) -> list[Extreme]:
        """For each quantity the best fresh directions, and the last one found."""
        # At 0 and pi all directions lead to the same filter.
        fresh = self.directions if 0 < angle < np.pi else self.directions[:, :1]
        columns = {name: list(range(fresh.shape[1])) for name in self.quantities}
        starts = self._continued(angle, last)
        for name, points in self._evaluate(angle, fresh, columns).items():
            n_starts = max(1, self.budget.n_starts // len(QUANTITIES[name].pairs))
            best = sorted(points, key=lambda point: -point.score)
            starts += best[: _N_LATER_STARTS if last else n_starts]
        return starts

    def _continued(self, angle: float, last: dict[str, Extreme]) -> list[Extreme]:
        """The points that the directions of others lead to at an angle."""
        if not last:
            return []
        columns = {name: [i] for i, name in enumerate(last)}
        V = np.column_stack([extreme.v for extreme in last.values()])
        return [point for (point,) in self._evaluate(angle, V, columns).values()]

    def _most_extreme(self, angle: float, points: list[Extreme]) -> dict[str, Extreme]:
        """The best point of each quantity, after the refinement of all that are new."""
        # In two dimensions, and at 0 and pi, the directions at hand are all there are.
        if len(self.unit) > 2 and 0 < angle < np.pi:

            def evaluate(V: FloatArray, origins: list[Extreme]) -> list[Extreme]:
                return self._evaluate_moved(angle, V, origins)

            points = ascend(points, self._slopes, evaluate, self.budget.n_steps)
        best: dict[str, Extreme] = {}
        for name in self.quantities:
            own = [point for point in points if point.quantity == name]
            best[name] = max(own, key=lambda point: point.score)
        return best

    def _evaluate_moved(
        self, angle: float, V: FloatArray, origins: list[Extreme]
    ) -> list[Extreme]:
        """The point at each direction, for the quantity of the point it was moved from."""
        columns: dict[str, list[int]] = {}
        for r, origin in enumerate(origins):
            columns.setdefault(origin.quantity, []).append(r)
        points: dict[int, Extreme] = {}
        for name, moved in self._evaluate(angle, V, columns).items():
            points.update(zip(columns[name], moved, strict=True))
        return [points[r] for r in range(len(origins))]

    def _evaluate(
        self, angle: float, V: FloatArray, columns: dict[str, list[int]]
    ) -> dict[str, list[Extreme]]:
        """Points by quantity, at those of the directions that `columns` names for it."""
        W = self.filters(angle, V)
        wanted = {
            (name, pair): (*pair, own)
            for name, own in columns.items()
            for pair in QUANTITIES[name].pairs
        }
        computed = self.events.moments(W, list(wanted.values()))
        moments = dict(zip(wanted, computed, strict=True))
        points = {}
        for name, own in columns.items():
            pairs, sign = QUANTITIES[name]
            solved = [_extreme_term(pair, moments[name, pair], sign) for pair in pairs]
            totals = np.sum([values for values, _ in solved], axis=0)
            points[name] = [
                Extreme(
                    quantity=name,
                    score=sign * total,
                    value=total,
                    v=V[:, r],
                    w=W[:, r],
                    terms=[terms[i] for _, terms in solved],
                )
                for i, (r, total) in enumerate(zip(own, totals, strict=True))
            ]
        return points

    def _slopes(self, extremes: list[Extreme]) -> list[FloatArray]:
        """Approximate gradients of the smoothed quantity, on the sphere."""
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


def _extreme_term(
    pair: tuple[str, str], matrices: FloatArray, sign: int
) -> tuple[FloatArray, list[Term]]:
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


def _probes(terms: list[Term]) -> list[tuple[str, FloatArray]]:
    """The vectors of all terms with their events, left and right in turn."""
    return [probe for t in terms for probe in ((t.a, t.left), (t.b, t.right))]
