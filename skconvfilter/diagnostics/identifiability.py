"""Whether data determine a fitted filter: open directions, nonlinearity, other minima."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.special import chdtri
from scipy.stats import norm

from skconvfilter.diagnostics.linearized import FEW_ROWS, FitAtHand, squared_distance
from skconvfilter.diagnostics.summary import Summary
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.activations import Activation
from skconvfilter.model.bank import bank_blocks, block_patches
from skconvfilter.model.squared_error import Array, SquaredError

# A fit whose next step is longer than this, in standard errors, is at no minimum.
_MAX_STEP = 1.0
# The least probability of a rival that counts, and of a distance that makes it another.
_LEAST_PROBABILITY = 1e-3
# Starts of the search for rivals; steps on some samples, and of the best on all. Rivals
# with a hopeless likelihood ratio on some samples get fewer: only to report the best one.
_N_STARTS, _FIRST_STEPS, _N_FINALISTS, _LAST_STEPS, _N_RIVALS = 4, 10, 2, 8, 3
_HOPELESS, _HOPELESS_STEPS = 100.0, 1
# Steps end once the likelihood ratio to the next one is below this.
_SETTLED = 0.1


@dataclass(frozen=True, eq=False, repr=False)
class Rival(Summary):
    """Another minimum of the loss, part of the result of :func:`inference`.

    Attributes
    ----------
    coef : ndarray of the shape of `Inference.coef`
        The filter or filters.
    bias : ndarray of shape (n_filters,)
        The biases; zeros if none are fitted.
    loss : float
        The objective at this minimum.
    likelihood_ratio : float
        ``n log(loss / loss of the fit)``; negative if this minimum fits better.
    pvalue : float
        Upper bound of the probability that the ratio is this large if the rival generated
        the data.
    """

    coef: FloatArray
    bias: FloatArray
    loss: float
    likelihood_ratio: float
    pvalue: float


@dataclass(frozen=True, eq=False, repr=False)
class Identifiability(Summary):
    """Whether the data determine the parameters, part of :func:`inference`.

    Attributes
    ----------
    eigenvalues : ndarray of shape (n_params,)
        Eigenvalues of the information matrix, for derivatives of unit length, in descending
        order.
    open_directions : ndarray of shape (n_open, n_params)
        Directions of the parameters that change no fitted value, as rows.
    nonlinearity : float
        Deviation of the fitted values from their linear approximation within the confidence
        region of constant derivatives, relative to their changes. The standard errors allow
        for it, but tests of many parameters at once reject too often above about 0.45.
    step : float
        Length of the next Gauss-Newton step, in standard errors of the parameter that
        changes most.
    rivals : tuple of Rival
        Other minima, the best first, found by a short search from reflected and random
        filters.
    restart_ratios : ndarray of shape (n_restarts - 1,)
        ``n log(loss / loss of the fit)`` of the other restarts of the fit, in ascending
        order; empty for other data than those of the fit. Many restarts end near the same
        minimum.
    doubts : tuple of str
        Reasons not to trust the intervals; empty if there are none.
    """

    eigenvalues: FloatArray
    open_directions: FloatArray
    nonlinearity: float
    step: float
    rivals: tuple[Rival, ...]
    restart_ratios: FloatArray
    doubts: tuple[str, ...]


def check_identifiability(fit: FitAtHand, rng: np.random.Generator) -> Identifiability:
    """Run all checks."""
    linearization, model = fit.linearization, fit.model
    indices, factors = model.order()
    # Unit columns are those of parameters times their lengths.
    directions = linearization.open / linearization.lengths
    directions = directions[:, indices] * factors
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    filters, signs = model.column(model.filters)
    loss = float(fit.objective.value(filters, signs).loss[0])
    step = 0.0 if fit.is_exact else _relative_step(fit)
    rivals = _rivals(fit, loss, rng)
    found = Identifiability(
        eigenvalues=linearization.singular_values**2,
        open_directions=directions,
        nonlinearity=fit.nonlinearity,
        step=step,
        rivals=rivals,
        restart_ratios=_restart_ratios(fit, loss),
        doubts=(),
    )
    return Identifiability(**{**vars(found), "doubts": tuple(_doubts(fit, found))})


def _doubts(fit: FitAtHand, found: Identifiability) -> list[str]:
    doubts = []
    if fit.is_exact:
        doubts.append(
            "The fit is exact to machine precision: intervals have zero width, and the "
            "noise cannot be estimated."
        )
    n_open = len(found.open_directions)
    if n_open:
        means = "depend on the penalty" if fit.penalty.any() else "are infinite"
        doubts.append(
            f"{n_open} direction(s) of the parameters change no fitted value: the "
            f"intervals of all weights involved {means}."
        )
    if fit.linearization.leverages.max() > 1 - 1e-6:
        doubts.append("One sample alone determines a direction of the parameters.")
    if found.step > _MAX_STEP:
        doubts.append(
            f"The fit is not at a minimum of the loss on these data: the next step is "
            f"{found.step:.2g} standard errors long. Pass the data of the fit, and let the "
            "fit converge."
        )
    for rival in found.rivals[:1]:
        if rival.pvalue > _LEAST_PROBABILITY:
            better = "better" if rival.likelihood_ratio < -1 else "equally well"
            doubts.append(
                f"Another filter fits these data {better}: rivals[0], with a likelihood "
                f"ratio of {rival.likelihood_ratio:.1f} (p = {rival.pvalue:.2g})."
            )
    return doubts


def _relative_step(fit: FitAtHand) -> float:
    step = np.abs(fit.linearization.step(fit.penalty * fit.model.theta))
    errors = np.sqrt(np.diag(fit.region))
    return float(np.max(step[errors > 0] / errors[errors > 0], initial=0.0))


def _restart_ratios(fit: FitAtHand, loss: float) -> Array:
    estimator = fit.model.estimator
    # Streams have none.
    losses = getattr(estimator, "restart_losses_", None)
    if losses is None or not np.isclose(loss, estimator.loss_, rtol=1e-3, atol=0):
        return np.empty(0)
    others = np.delete(losses, estimator.best_restart_)
    ratios = fit.likelihood_ratio(others[np.isfinite(others)], loss)
    return np.sort(ratios)


def _rivals(fit: FitAtHand, loss: float, rng: np.random.Generator) -> tuple[Rival, ...]:
    """Other minima: from reflections and random filters, on some samples, then on all."""
    model = fit.model
    if not model.filters.any():
        return ()
    part, _ = fit.some_rows(FEW_ROWS)
    starts = _starts(model.filters, _mean_patch_axis(part), rng)
    signs = np.repeat(model.column(model.filters)[1], starts.shape[1], axis=0)
    ends, losses = _polish(part, starts, signs, _FIRST_STEPS)
    share = part.n_samples / fit.objective.n_samples
    if share < 1:
        ranking = np.argsort(losses)
        distinct = [_is_distinct(fit, ends[:, j], share) for j in ranking]
        best = ranking[distinct][:_N_FINALISTS]
        if not best.size:
            return ()
        at_fit = part.value(*model.column(model.filters)).loss[0]
        hopeless = losses[best] > at_fit * np.exp(_HOPELESS / part.n_samples)
        n_steps = _HOPELESS_STEPS if hopeless[0] else _LAST_STEPS
        best = best[:1] if hopeless[0] else best[~hopeless]
        ends, losses = _polish(fit.objective, ends[:, best], signs[best], n_steps)
    rivals: list[Rival] = []
    layout = model.geometry.layout
    for j in np.argsort(losses):
        if len(rivals) == _N_RIVALS or not _is_distinct(fit, ends[:, j]):
            continue
        filters = ends[:, j].reshape(model.filters.shape)
        ratio = float(fit.likelihood_ratio(losses[[j]], loss)[0])
        coef = filters[:, : layout.window_size].reshape(model.coef_shape)
        bias = filters[:, layout.window_size :].sum(axis=1) * layout.constant
        pvalue = float(norm.sf(np.sqrt(ratio))) if ratio > 0 else 1.0
        rivals.append(Rival(coef, bias, float(losses[j]), ratio, pvalue))
    return tuple(rivals)


def _starts(filters: Array, axis: Array, rng: np.random.Generator) -> Array:
    """Filters to look for other minima from, as columns: reflections and random ones.

    Where the mean patches of all samples point the same way, a filter and its reflection
    about this axis differ in value by little: the values are half of mean ``|w . Z_i|``
    plus half of ``w . mean Z_i``.
    """
    reflected = 2 * np.outer(filters @ axis, axis) - filters
    starts = []
    for sign in (1, -1):
        for j in range(len(filters)):
            start = filters.copy()
            start[j] = sign * reflected[j]
            starts.append(start)
    starts += [reflected, -filters] if len(filters) > 1 else [-filters]
    lengths = np.linalg.norm(filters, axis=1, keepdims=True)
    while len(starts) < _N_STARTS:
        random = rng.standard_normal(filters.shape)
        starts.append(random * lengths / np.linalg.norm(random, axis=1, keepdims=True))
    return np.stack([start.ravel() for start in starts], axis=1)


def _mean_patch_axis(objective: SquaredError) -> Array:
    """Direction (p,) that the mean patches of the samples share most."""
    geometry, means = objective.geometry, []
    for rows in bank_blocks(objective.n_samples, geometry.layout, 1):
        patches = block_patches(np.asarray(objective.samples[rows]), geometry)
        means.append(patches.mean(axis=1))
    stacked = np.concatenate(means)
    axis: Array = np.linalg.eigh(stacked.T @ stacked)[1][:, -1]
    return axis


def _polish(
    objective: SquaredError, W: Array, signs: Array, n_steps: int
) -> tuple[Array, Array]:
    """A few damped Gauss-Newton steps from every column, and the losses."""
    W = W.copy()
    here = objective.gauss_newton(W, signs)
    damping, running = np.full(W.shape[1], 1e-3), np.arange(W.shape[1])
    for _ in range(n_steps):
        now = here.take(running)
        assert now.gradient is not None
        assert now.gauss_newton is not None
        scale = np.trace(now.gauss_newton, axis1=1, axis2=2) / len(W)
        shift = np.where(scale > 0, damping[running] * scale, 1.0)
        matrices = now.gauss_newton + shift[:, np.newaxis, np.newaxis] * np.eye(len(W))
        step = np.linalg.solve(matrices, now.gradient[:, :, np.newaxis])[:, :, 0].T
        there = objective.gauss_newton(W[:, running] - step, signs[running])
        lower = there.loss < now.loss
        W[:, running[lower]] -= step[:, lower]
        here = here.put(running[lower], there.take(lower))
        factor = np.where(lower, 0.1, 6.0)
        damping[running] = np.maximum(damping[running] * factor, 1e-14)
        least = now.loss * np.exp(-_SETTLED / objective.n_samples)
        running = running[~lower | (there.loss <= least)]
        if not running.size:
            break
    return W, here.loss


def _is_distinct(fit: FitAtHand, end: Array, share: float = 1.0) -> bool:
    """Whether it is beyond the confidence region, in whichever order filters come.

    The region is wider for ends on a share of the samples.
    """
    model = fit.model
    filters = end.reshape(model.filters.shape)
    activation: Activation | None = getattr(fit.objective, "activation", None)
    # Of an odd activation, a filter of the other output sign is the negative filter.
    odd = activation is not None and activation.hermite(2, 1.0) == 0
    cost = cdist(model.filters, filters, "sqeuclidean")
    factors = np.ones(cost.shape)
    signs = np.sign(model.signs)
    products = np.outer(signs, signs)
    if odd:
        factors = products
        signed = signs[:, np.newaxis]
        cost = cdist(signed * model.filters, signed * filters, "sqeuclidean")
    else:
        cost[products < 0] = 4 * cost.max() + 1
    mine, theirs = linear_sum_assignment(cost)
    matched = factors[mine, theirs][:, np.newaxis] * filters[theirs]
    # The intercept and the output scale of the other minimum are its own.
    region = fit.region[: end.size, : end.size] / share
    distance, df = squared_distance((matched - model.filters).ravel(), region)
    return bool(distance > chdtri(df, _LEAST_PROBABILITY))
