"""Covariance of least squares estimates: classical, for unequal noise, and for clusters."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from skconvfilter.model.squared_error import Array

Covariance = Literal["HC3", "HC0", "classical", "cluster"]
COVARIANCES = ("HC3", "HC0", "classical", "cluster")

# Of the singular values of the derivatives, with columns of unit length, those below this
# share of the largest one are zero but for rounding.
_OPEN = 1e-8
# Leverages are at most 1; a sample that alone determines a direction has residual 0.
_LEAST_SLACK = 1e-8


@dataclass(frozen=True)
class Linearization:
    """Least squares for the derivatives at an estimate, with a ridge penalty.

    With the derivatives A, the penalty P and the pseudo-inverse of ``H = A'A + P`` as
    ``V S^-2 V'``, the rows of `influence` are ``A V / S``: for one sample each. Columns are
    first brought to unit length, so that units of parameters do not matter.
    """

    lengths: Array  # (m,) of the columns
    singular_values: Array  # (m,) of the derivatives alone, descending
    open: Array  # (n_open, m), orthonormal rows: directions without derivatives
    root: Array  # (m, r): V / S, in the units of the parameters
    influence: Array  # (n_samples, r)
    residuals: Array  # (n_samples,), weighted

    @classmethod
    def of(cls, derivatives: Array, residuals: Array, penalty: Array) -> "Linearization":
        """From weighted derivatives (n, m) and residuals (n,), and the penalty (m,)."""
        lengths = np.linalg.norm(derivatives, axis=0)
        lengths[lengths <= _OPEN**2 * lengths.max()] = 1.0
        triangle = np.linalg.qr(derivatives / lengths, mode="r")
        values, directions = np.linalg.svd(triangle)[1:]
        is_open = values <= _OPEN * values[0] if values[0] > 0 else values == 0
        penalized = np.vstack([triangle, np.diag(np.sqrt(penalty) / lengths)])
        strengths, axes = np.linalg.svd(penalized, full_matrices=False)[1:]
        kept = strengths > _OPEN * max(strengths[0], values[0], np.finfo(float).tiny)
        root = axes[kept].T / strengths[kept] / lengths[:, np.newaxis]
        return cls(
            lengths, values, directions[is_open], root, derivatives @ root, residuals
        )

    @property
    def leverages(self) -> Array:
        """Share of each sample in its own fitted value, (n_samples,)."""
        return np.einsum("nr,nr->n", self.influence, self.influence)

    @property
    def n_effective(self) -> float:
        """Effective number of parameters: the sum of the leverages."""
        return float(self.leverages.sum())

    @property
    def scale(self) -> float:
        """Variance of the residuals, with the degrees of freedom that are left."""
        squares = self.residuals @ self.residuals
        return float(squares / (len(self.residuals) - self.n_effective))

    def step(self, penalized: Array) -> Array:
        """Gauss-Newton step; `penalized` is the penalty times the parameters."""
        return self.root @ (self.influence.T @ self.residuals - self.root.T @ penalized)

    def meat(self, kind: str, groups: Any = None) -> Array:
        """Covariance (r, r) of the products of the rows of influence and the noise."""
        if kind == "classical":
            return self.scale * (self.influence.T @ self.influence)
        if kind == "cluster":
            return self._between_groups(groups)
        residuals = self.residuals
        if kind == "HC3":
            residuals = residuals / np.maximum(1 - self.leverages, _LEAST_SLACK)
        scores = self.influence * residuals[:, np.newaxis]
        return scores.T @ scores

    def _between_groups(self, groups: Any) -> Array:
        n_groups, n_samples = groups.max() + 1, len(groups)
        sums = np.zeros((n_groups, self.influence.shape[1]))
        np.add.at(sums, groups, self.influence * self.residuals[:, np.newaxis])
        left = n_samples - self.n_effective
        factor = n_groups / (n_groups - 1) * (n_samples - 1) / left
        return factor * (sums.T @ sums)
