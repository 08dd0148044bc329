"""Gauss-Newton on a stream: recursive least squares on the active mean patches."""

from typing import NamedTuple

import numpy as np

from skconvfilter.kernels.dispatch import kernel
from skconvfilter.model.forward import pack

# Damping towards the present filter, relative to the mean eigenvalue.
_DAMPING = 1e-4
# Parameters times this is the shortest memory, in samples.
_MEMORY_PER_PARAMETER = 20


class StreamState(NamedTuple):
    """R filters on a stream; the last parameter of each is the intercept."""

    theta: np.ndarray  # (R, p + 1)
    signs: np.ndarray  # (R,)
    moments: np.ndarray  # (R, p + 1, p + 1), discounted sum of features' outer products
    answers: np.ndarray  # (R, p + 1), discounted sum of features times targets
    error: np.ndarray  # (R,), discounted sum of squared errors before each update
    weight: float  # discounted sum of weights
    weight_unit: float  # what the weights are divided by; 0 before any are known
    n_seen: int


def start_stream(W, signs, intercept=0.0):
    """State before any sample, from filters (p, R)."""
    patch_dim, n_filters = W.shape
    return StreamState(
        theta=np.column_stack([W.T, np.broadcast_to(intercept, n_filters)]),
        signs=signs,
        moments=np.zeros((n_filters, patch_dim + 1, patch_dim + 1)),
        answers=np.zeros((n_filters, patch_dim + 1)),
        error=np.zeros(n_filters),
        weight=0.0,
        weight_unit=0.0,
        n_seen=0,
    )


def trust_start(state, samples, geometry, n_samples):
    """Give the filters of a state the weight of `n_samples` samples like these."""
    W = state.theta[:, :-1].T
    A = kernel.active_mean_patches(pack(samples, geometry), geometry.layout, W)
    power = np.mean(np.square(A, dtype=np.float64))
    scale = np.append(np.full(len(W), power), 1.0) * n_samples
    moments = np.tile(np.diag(scale), (len(state.signs), 1, 1))
    return state._replace(
        moments=moments,
        answers=np.einsum("rpq,rq->rp", moments, state.theta),
        n_seen=n_samples,
    )


def update_stream(state, samples, geometry, targets, weights, *, alpha, fit_intercept):
    """Take in a block of samples, a little more than a filter's length at a time.

    Samples are forgotten as newer ones come, because their patches were active for older
    filters; the memory is half of what has been seen.

    Returns
    -------
    state : StreamState
    """
    n_parameters = state.theta.shape[1]
    n_batches = max(1, int(len(samples) / (1.25 * n_parameters)))
    for rows in np.array_split(np.arange(len(samples)), n_batches):
        state = _update(
            state,
            samples[rows],
            geometry,
            targets[rows],
            weights[rows],
            alpha=alpha,
            fit_intercept=fit_intercept,
        )
    return state


def _update(state, samples, geometry, targets, weights, *, alpha, fit_intercept):
    n_parameters = state.theta.shape[1]
    W = state.theta[:, :-1].T
    A = kernel.active_mean_patches(pack(samples, geometry), geometry.layout, W)
    features = np.ones((len(state.signs), n_parameters, len(samples)))
    features[:, :-1] = A * state.signs[:, np.newaxis, np.newaxis]
    if not fit_intercept:
        features[:, -1] = 0.0
    errors = np.einsum("rq,rqn->rn", state.theta, features) - targets
    memory = max(_MEMORY_PER_PARAMETER * n_parameters, state.n_seen / 2)
    keep = np.exp(-len(samples) / memory)
    weighted = features * weights
    moments = keep * state.moments + weighted @ features.transpose(0, 2, 1)
    answers = keep * state.answers + weighted @ targets
    weight = keep * state.weight + weights.sum()
    theta = _solve(moments, answers, state.theta, alpha * weight)
    return StreamState(
        theta=theta,
        signs=state.signs,
        moments=moments,
        answers=answers,
        error=keep * state.error + errors**2 @ weights,
        weight=weight,
        weight_unit=state.weight_unit,
        n_seen=state.n_seen + len(samples),
    )


def _solve(moments, answers, theta, ridge):
    """Least squares, damped towards `theta` so that unseen directions stay."""
    n_parameters = theta.shape[1]
    trace = np.trace(moments[:, :-1, :-1], axis1=1, axis2=2)
    damping = _DAMPING * trace / (n_parameters - 1)
    # A filter that has met no active patch yet keeps its values.
    damping[damping == 0] = 1.0
    towards = np.multiply.outer(damping, np.ones(n_parameters))
    # The intercept's own feature is 1: it needs only to be kept regular.
    towards[:, -1] = _DAMPING * np.maximum(moments[:, -1, -1], 1.0)
    penalty = towards.copy()
    penalty[:, :-1] += ridge
    left = moments + penalty[:, :, np.newaxis] * np.eye(n_parameters)
    right = answers + towards * theta
    return np.linalg.solve(left, right[:, :, np.newaxis])[:, :, 0]
