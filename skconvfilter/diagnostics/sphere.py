"""Ascent on a sphere of directions, several at once, for functions that are not smooth."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_FIRST_STEP, _LONGER, _SHORTER, _MIN_STEP = 0.5, 1.5, 0.4, 1e-3
_N_TRIES = 2
# Width of smoothed indicators, in standard deviations of what they are functions of, and
# how often it is halved where no step helps.
_FIRST_WIDTH, _N_HALVINGS = 0.3, 2


class Effort(NamedTuple):
    """How closely to look, and how hard to search."""

    n_directions: int  # random ones, to begin with
    n_starts: int  # best of them that are refined
    n_steps: int  # of the refinement, at most
    n_gradient_patches: int  # that its slopes are taken from: they need not be exact
    n_angles: int  # from 0 to that of the start
    n_beyond: int  # angles beyond it
    n_radii: int  # of shells up to the start
    n_on_path: int  # filters of a path that are looked at
    n_certified: float  # patches beyond which there are no bounds without search
    thorough: bool  # whether to look along principal axes, and at angles up and down


THOROUGH = Effort(64, 4, 20, 2**15, 8, 3, 6, 1000, np.inf, True)


@dataclass(kw_only=True)
class Point:
    """A direction, and what it is worth."""

    v: np.ndarray  # (p,), a unit vector
    score: float  # the larger, the better
    rested: bool = False  # whether it has been moved until nothing helped
    step: float = _FIRST_STEP  # angle by which it is moved next
    width: float = _FIRST_WIDTH  # of the smoothed indicators of its next slope


def climb(points, slopes, evaluate, n_steps):
    """Move points along slopes of something smooth, as long as their scores rise.

    Of a few steps of different length the best is taken if it is better than none. If not,
    the slope is taken anew of something less smooth, a few times.

    Parameters
    ----------
    points : list of Point
    slopes : callable
        ``slopes(points)`` returns a tangent of the sphere at each, uphill.
    evaluate : callable
        ``evaluate(V, owners)`` returns the points at directions (p, R), where they are
        moved from the points `owners`.
    n_steps : int

    Returns
    -------
    points : list of Point
        Where they ended.
    """
    points = list(points)
    running = [i for i, point in enumerate(points) if not point.rested]
    for _ in range(n_steps):
        if not running:
            break
        here = [points[i] for i in running]
        lengths = np.array([point.step * _SHORTER ** np.arange(_N_TRIES) for point in here])
        moved = [
            _moved(point.v, slope, own)
            for point, slope, own in zip(here, slopes(here), lengths, strict=True)
        ]
        owners = [point for point in here for _ in range(_N_TRIES)]
        trials = evaluate(np.hstack(moved), owners)
        for j, i in enumerate(running):
            own = trials[j * _N_TRIES : (j + 1) * _N_TRIES]
            points[i] = _best(points[i], own, lengths[j])
        smallest = _FIRST_WIDTH * 0.5**_N_HALVINGS
        running = [i for i in running if points[i].width > smallest]
    for point in points:
        point.rested = True
    return points


def random_directions(n_directions, patch_dim, rng, orthogonal_to=None):
    """Unit vectors, as columns, orthogonal to a unit vector where one is given.

    Where there are only two, those; where there is none, 0.
    """
    if patch_dim == 1:
        return np.array([[1.0, -1.0]]) if orthogonal_to is None else np.zeros((1, 1))
    if orthogonal_to is not None and patch_dim == 2:
        orthogonal = np.array([-orthogonal_to[1], orthogonal_to[0]])
        return np.column_stack([orthogonal, -orthogonal])
    V = rng.standard_normal((patch_dim, n_directions))
    if orthogonal_to is not None:
        V -= np.outer(orthogonal_to, orthogonal_to @ V)
    return V / np.linalg.norm(V, axis=0)


def _moved(v, slope, lengths):
    """A direction moved by some angles along a slope, as columns."""
    norm = np.linalg.norm(slope)
    along = slope / norm if norm > 0 else slope
    V = np.outer(v, np.cos(lengths)) + np.outer(along, np.sin(lengths))
    return V / np.linalg.norm(V, axis=0)


def _best(point, trials, lengths):
    j = max(range(len(trials)), key=lambda j: trials[j].score)
    if trials[j].score > point.score:
        trials[j].step = min(lengths[j] * _LONGER, _FIRST_STEP)
        trials[j].width = point.width
        return trials[j]
    point.width *= 0.5
    point.step = max(point.step * _SHORTER, _MIN_STEP)
    return point
