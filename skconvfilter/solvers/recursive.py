"""Gauss-Newton on a stream: recursive least squares on the active mean patches."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skconvfilter.kernels.dispatch import kernel
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.forward import pack
from skconvfilter.model.geometry import PatchGeometry
from skconvfilter.model.squared_error import Array

# Filters are drawn again after that many of the shortest memories, if it is also that share
# of all samples, or if the errors of the last ones are that many times those before.
_MEMORIES_BETWEEN, _SHARE_BETWEEN, _RISE = 3, 0.125, 2.0
# Filters are good on the last samples up to this multiple of the least error.
_GOOD = 1.1


class StreamState(NamedTuple):
    """R filters on a stream; the last parameter of each is the intercept."""

    theta: Array  # (R, p + 1)
    signs: Array  # (R,)
    # Discounted sums of the features' outer products, (R, p + 1, p + 1), and of features
    # times targets, (R, p + 1).
    moments: Array
    cross_moments: Array
    error: Array  # (R,), discounted sum of squared errors before each update
    weight: Array  # (R,), discounted sum of weights
    # The same two, of the last samples only: discounted with the shortest memory.
    recent_error: Array
    recent_weight: Array
    age: Array  # (R,), samples that each filter has seen
    weight_unit: float  # what the weights are divided by; 0 before any are known
    patch_unit: float  # size of the entries of the patches; 0 before any are known
    n_seen: int
    n_redrawn: int  # `n_seen` when filters were last drawn again


def start_stream(W: Array, signs: Array, intercept: float | Array = 0.0) -> StreamState:
    """State before any sample, from filters (p, R)."""
    patch_dim, n_filters = W.shape
    return StreamState(
        theta=np.column_stack([W.T, np.broadcast_to(intercept, n_filters)]),
        signs=signs,
        moments=np.zeros((n_filters, patch_dim + 1, patch_dim + 1)),
        cross_moments=np.zeros((n_filters, patch_dim + 1)),
        error=np.zeros(n_filters),
        weight=np.zeros(n_filters),
        recent_error=np.zeros(n_filters),
        recent_weight=np.zeros(n_filters),
        age=np.zeros(n_filters),
        weight_unit=0.0,
        patch_unit=0.0,
        n_seen=0,
        n_redrawn=0,
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
        age=np.full(len(state.signs), float(n_samples)),
        n_seen=n_samples,
        n_redrawn=n_samples,
    )


@dataclass(frozen=True)
class RecursiveLeastSquares:
    """Updates filters with the samples of a stream, in a memory that does not grow.

    Samples are forgotten as newer ones come, because their patches were active for older
    filters; the memory of a filter is half of what it has seen.

    In time all filters come to few minima, where they would stay whatever the samples. So
    half of them are drawn again from time to time, and soon after errors have risen.
    Filters compete by their errors on the last samples.

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

    def chunk_size(self, n_parameters: int) -> int:
        """Samples between two times at which filters may be drawn again."""
        return int(_MEMORIES_BETWEEN * self.memory * n_parameters)

    def best(self, state: StreamState) -> int:
        """The filter that predicts best.

        Of those that are good on the last samples, it is the best on all that it remembers:
        an old filter has averaged over more noise than a new one.
        """
        grown = self._is_grown(state)
        recent = _mean_errors(state.recent_error, state.recent_weight, grown)
        good = grown & (recent <= _GOOD * recent.min())
        return int(np.argmin(_mean_errors(state.error, state.weight, good)))

    def is_redraw_due(self, state: StreamState) -> bool:
        """Whether it is time to draw filters anew."""
        n_parameters = state.theta.shape[1]
        n_since = state.n_seen - state.n_redrawn
        if n_since < self.chunk_size(n_parameters):
            return False
        best = [self.best(state)]
        mean = state.error[best] / state.weight[best]
        recent = state.recent_error[best] / state.recent_weight[best]
        return bool(n_since >= _SHARE_BETWEEN * state.n_seen or recent[0] > _RISE * mean[0])

    def redraw(self, state: StreamState, n_kept: int, fresh: StreamState) -> StreamState:
        """Some filters of a state, the best of the last samples, and fresh ones."""
        recent = _mean_errors(
            state.recent_error, state.recent_weight, self._is_grown(state)
        )
        recent[self.best(state)] = -1.0
        kept = np.sort(np.argsort(recent, kind="stable")[:n_kept])
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(state, name)[kept], getattr(fresh, name)])
            for name in StreamState._fields
            if isinstance(getattr(state, name), np.ndarray)
        }
        return state._replace(**joined, n_redrawn=state.n_seen)

    def _is_grown(self, state: StreamState) -> NDArray[np.bool_]:
        """Which filters have seen enough to compete: the oldest, at least."""
        least = min(self.memory * state.theta.shape[1], state.age.max())
        return np.asarray(state.age >= least)

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
        shortest = self.memory * n_parameters
        keep = np.exp(-len(targets) / np.maximum(shortest, state.age / 2))
        keep_recent = np.exp(-len(targets) / shortest)
        weighted = features * weights
        moments = keep[:, np.newaxis, np.newaxis] * state.moments
        moments += weighted @ features.transpose(0, 2, 1)
        cross_moments = keep[:, np.newaxis] * state.cross_moments + weighted @ targets
        weight = keep * state.weight + weights.sum()
        squares = errors**2 @ weights
        return state._replace(
            theta=self._solve(moments, cross_moments, state.theta, weight),
            moments=moments,
            cross_moments=cross_moments,
            error=keep * state.error + squares,
            weight=weight,
            recent_error=keep_recent * state.recent_error + squares,
            recent_weight=keep_recent * state.recent_weight + weights.sum(),
            age=state.age + len(targets),
            n_seen=state.n_seen + len(targets),
        )

    def _solve(
        self, moments: Array, cross_moments: Array, theta: Array, weight: Array
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
        penalty[:, :-1] += self.alpha * weight[:, np.newaxis]
        left = moments + penalty[:, :, np.newaxis] * np.eye(n_parameters)
        right = cross_moments + towards * theta
        return np.linalg.solve(left, right[:, :, np.newaxis])[:, :, 0]


def _mean_errors(error: Array, weight: Array, chosen: NDArray[np.bool_]) -> Array:
    """Mean squared errors (R,), infinite for those not chosen."""
    return np.divide(error, weight, out=np.full(len(error), np.inf), where=chosen)
