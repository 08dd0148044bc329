"""What gradient descent did, beside what the theorems promise."""

import math
from dataclasses import dataclass

import numpy as np

from skconvfilter.model.angles import angles_to
from skconvfilter.model.forward import model_values
from skconvfilter.model.objective import FilterObjective


@dataclass(frozen=True, eq=False)
class Path:
    r"""The filters that a fit went through, seen from the teacher.

    Attributes
    ----------
    distances : ndarray of shape (n_iterations + 1,)
        ``|w - w*| / |w*|``.
    angles : ndarray of shape (n_iterations + 1,)
        To the teacher, in radians; NaN for the filter 0.
    contractions : ndarray of shape (n_iterations,)
        Factor of ``|w - w*|**2`` in every iteration; NaN once `precision` was reached.
    convexities : ndarray of shape (n_iterations + 1,)
        :math:`\langle \nabla l(w), w - w^* \rangle / \|w - w^*\|^2` on the samples looked
        at; NaN within `precision` of the teacher, and where a long path was passed over.
    iterations : float
        Iterations until the distance was `precision`; NaN where it never was.
    """

    distances: np.ndarray
    angles: np.ndarray
    contractions: np.ndarray
    convexities: np.ndarray
    iterations: float

    def __str__(self):
        lines = [f"Path: {len(self.contractions)} iterations"]
        factors = self.contractions[np.isfinite(self.contractions)]
        if factors.size:
            lines.append(f"  contraction: {factors.max():.6f} at worst")
        convexities = self.convexities[np.isfinite(self.convexities)]
        if convexities.size:
            lines.append(f"  one-point convexity: {convexities.min():.4g} at least")
        if math.isfinite(self.iterations):
            lines.append(f"  iterations to the precision: {self.iterations:,.0f}")
        return "\n".join(lines)


def follow(filters, subsample, precision, effort):
    """Look at filters (n_iterations + 1, patch_dim) from the teacher of a subsample."""
    away = filters - subsample.teacher
    distances = np.linalg.norm(away, axis=1) / np.linalg.norm(subsample.teacher)
    # What lies within the precision is rounding.
    apart = np.flatnonzero(distances > precision)
    contractions = np.full(len(filters) - 1, np.nan)
    moved = apart[apart < len(contractions)]
    contractions[moved] = (distances[moved + 1] / distances[moved]) ** 2
    convexities = np.full(len(filters), np.nan)
    if apart.size:
        shown = np.linspace(0, len(apart) - 1, min(len(apart), effort.n_on_path))
        looked_at = apart[shown.round().astype(int)]
        convexities[looked_at] = _convexities(
            filters[looked_at], away[looked_at], subsample
        )
    reached = np.flatnonzero(distances <= precision)
    return Path(
        distances=distances,
        angles=angles_to(subsample.teacher, filters),
        contractions=contractions,
        convexities=convexities,
        iterations=float(reached[0]) if reached.size else math.nan,
    )


def _convexities(filters, away, subsample):
    samples, geometry, teacher, _ = subsample
    labels = model_values(samples, geometry, teacher[:, np.newaxis])[:, 0]
    objective = FilterObjective(samples, geometry, labels, fit_intercept=False)
    gradient = objective.gradient(filters.T, np.ones(len(filters))).gradient
    return np.sum(gradient * away, axis=1) / np.sum(away**2, axis=1)
