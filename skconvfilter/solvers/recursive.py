"""Gauss-Newton on a stream: recursive least squares on the active mean patches."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skconvfilter.kernels.dispatch import kernel
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.forward import pack
from skconvfilter.model.geometry import PatchGeometry
from skconvfilter.model.squared_error import Array


class StreamState(NamedTuple):
    """R filters on a stream; the last parameter of each is the intercept."""

    theta: Array  # (R, p + 1)
    signs: Array  # (R,)
    # Discounted sums of the features' outer products, (R, p + 1, p + 1), and of features
    # times targets, (R, p + 1).
    moments: Array
    cross_moments: Array
    error: Array  # (R,), discounted sum of squared errors before each update
    weight: float  # discounted sum of weights
    weight_unit: float  # what the weights are divided by; 0 before any are known
    n_seen: int


def start_stream(W: Array, signs: Array, intercept: float | Array = 0.0) -> StreamState:
    """State before any sample, from filters (p, R)."""
    patch_dim, n_filters = W.shape
    return StreamState(
        theta=np.column_stack([W.T, np.broadcast_to(intercept, n_filters)]),
        signs=signs,
        moments=np.zeros((n_filters, patch_dim + 1, patch_dim + 1)),
        cross_moments=np.zeros((n_filters, patch_dim + 1)),
        error=np.zeros(n_filters),
        weight=0.0,
        weight_unit=0.0,
        n_seen=0,
    )


def seed_moments(
    state: StreamState, samples: FloatArray, geometry: PatchGeometry, n_samples: int
) -> StreamState:
    """Give the filters of a state the weight of `n_samples` samples like these."""
    W = state.theta[:, :-1].T
    A = kernel.active_mean_patches(pack(samples, geometry), geometry.layout, W)
    power = np.mean(np.square(A, dtype=np.float64))
    scale = np.append(np.full(len(W), power), 1.0) * n_samples
    moments = np.tile(np.diag(scale), (len(state.signs), 1, 1))
    return state._replace(
        moments=moments,
        cross_moments=np.einsum("rpq,rq->rp", moments, state.theta),
        n_seen=n_samples,
    )


@dataclass(frozen=True)
class RecursiveLeastSquares:
    """Updates filters with the samples of a stream, in a memory that does not grow.

    Samples are forgotten as newer ones come, because their patches were active for older
    filters; the memory is half of what has been seen.

    Parameters
    ----------
    alpha : float
        L2 penalty, relative to the mean squared error.
    fit_intercept : bool
    damping : float, default=1e-4
        Damping towards the present filter, relative to the mean eigenvalue of the moments.
    memory : float, default=20
        Length of the shortest memory, in samples for each parameter.
    """

    alpha: float
    fit_intercept: bool
    damping: float = 1e-4
    memory: float = 20

    def update(
        self,
        state: StreamState,
        samples: FloatArray,
        geometry: PatchGeometry,
        targets: Array,
        weights: Array,
    ) -> StreamState:
        """Take in a block of samples, a few more than there are parameters at a time.

        Parameters
        ----------
        state : StreamState
        samples : ndarray of shape (n_samples, n_features)
        geometry : PatchGeometry
        targets, weights : ndarray of shape (n_samples,)

        Returns
        -------
        state : StreamState
        """
        n_parameters = state.theta.shape[1]
        n_batches = max(1, int(len(samples) / (1.25 * n_parameters)))
        for rows in np.array_split(np.arange(len(samples)), n_batches):
            W = state.theta[:, :-1].T
            packed = pack(samples[rows], geometry)
            A = kernel.active_mean_patches(packed, geometry.layout, W)
            state = self._update(state, A, targets[rows], weights[rows])
        return state

    def _update(
        self, state: StreamState, A: FloatArray, targets: Array, weights: Array
    ) -> StreamState:
        """One step with the active mean patches A (R, p, n) of some samples."""
        n_parameters = state.theta.shape[1]
        features = np.ones((len(state.signs), n_parameters, len(targets)))
        features[:, :-1] = A * state.signs[:, np.newaxis, np.newaxis]
        if not self.fit_intercept:
            features[:, -1] = 0.0
        errors = np.einsum("rq,rqn->rn", state.theta, features) - targets
        memory = max(self.memory * n_parameters, state.n_seen / 2)
        keep = np.exp(-len(targets) / memory)
        weighted = features * weights
        moments = keep * state.moments + weighted @ features.transpose(0, 2, 1)
        cross_moments = keep * state.cross_moments + weighted @ targets
        weight = keep * state.weight + weights.sum()
        return state._replace(
            theta=self._solve(moments, cross_moments, state.theta, weight),
            moments=moments,
            cross_moments=cross_moments,
            error=keep * state.error + errors**2 @ weights,
            weight=weight,
            n_seen=state.n_seen + len(targets),
        )

    def _solve(
        self, moments: Array, cross_moments: Array, theta: Array, weight: float
    ) -> Array:
        """Least squares, damped towards `theta` so that unseen directions stay."""
        n_parameters = theta.shape[1]
        trace = np.trace(moments[:, :-1, :-1], axis1=1, axis2=2)
        damping = self.damping * trace / (n_parameters - 1)
        # A filter that has met no active patch yet keeps its values.
        damping[damping == 0] = 1.0
        towards = np.multiply.outer(damping, np.ones(n_parameters))
        # The intercept's own feature is 1: it needs only to be kept regular.
        towards[:, -1] = self.damping * np.maximum(moments[:, -1, -1], 1.0)
        penalty = towards.copy()
        penalty[:, :-1] += self.alpha * weight
        left = moments + penalty[:, :, np.newaxis] * np.eye(n_parameters)
        right = cross_moments + towards * theta
        return np.linalg.solve(left, right[:, :, np.newaxis])[:, :, 0]
