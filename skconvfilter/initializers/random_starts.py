"""Random starts: single filters in a ball about the origin, and banks of filters."""

from typing import Literal

import numpy as np

from skconvfilter.kernels.layout import PatchLayout
from skconvfilter.model.bank_objective import BankObjective
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.squared_error import ROUNDING_UNITS, Array

# Draws after which a start that activates no sample is taken as it is.
_MAX_DRAWS = 20
# Samples that the lengths of a bank's filters are taken from.
_MAX_ROWS = 1000
# Share of the starts whose bias is 0, if filters have one.
_WITHOUT_BIAS = 0.5
# Share of the starts that are orthogonal to the mean patch, also for samples far from 0,
# where the others see nothing else.
_ORTHOGONAL, _MOSTLY_ORTHOGONAL = 0.5, 0.9


def ball_starts(
    objective: FilterObjective,
    generators: list[np.random.Generator],
    signs: Array,
    radius: float | Literal["theory", "auto"] = "auto",
) -> Array:
    r"""One start per generator.

    With a number for `radius` the starts are uniform in the ball of that radius, as
    Theorem 3.4 of [1]_ asks. The theorem's radius is relative to the norm of the teacher,
    which is unknown; ``"theory"`` replaces it by :func:`estimate_teacher_norm`. With
    ``"auto"`` a direction is uniform on the sphere, reversed if only its opposite fits the
    targets with a positive length, and gets the length that fits them best: that needs no
    norm, and was never worse in recovery.

    A start that activates no sample has zero gradient, so it is reversed and, if that is
    dead too, drawn again.

    Parameters
    ----------
    objective : FilterObjective
    generators : list of numpy.random.Generator
        One per start, so that a start depends on its own seed alone.
    signs : ndarray of shape (R,)
        Output signs of the starts.
    radius : float, "theory" or "auto", default="auto"

    Returns
    -------
    W : ndarray of shape (patch_dim, R)

    References
    ----------
    .. [1] S. S. Du, J. D. Lee, Y. Tian, "When is a Convolutional Filter Easy to Learn?",
       ICLR 2018, Theorem 3.4 and Corollary 3.1.
    """
    directions, scale = _live_directions(objective, generators, signs, radius == "auto")
    if radius == "auto":
        # Where no length fits better than another, the start must only be alive.
        return directions * np.where(scale == 0, 1.0, np.abs(scale))
    if radius == "theory":
        norm = estimate_teacher_norm(objective, directions)
        radius = theory_radius(objective.patch_dim) * norm
    shrink = [rng.uniform() ** (1 / objective.patch_dim) for rng in generators]
    return directions * (radius * np.array(shrink))


def theory_radius(patch_dim: int) -> float:
    """Largest radius of Theorem 3.4, relative to the norm of the teacher."""
    return float(1 / np.sqrt(2 * np.pi * patch_dim))


def estimate_teacher_norm(objective: FilterObjective, directions: Array) -> float:
    """Norm of the teacher, from the power of the targets and of unit directions' values.

    Both powers are about the means where there is an intercept. Gaussian patches give
    every direction the same power, and the estimate is right up to the noise of a sample;
    on images it is right within a factor of two or so.

    Parameters
    ----------
    objective : FilterObjective
    directions : ndarray of shape (patch_dim, R)
        Unit vectors.

    Returns
    -------
    norm : float
        0.0 where no direction's values vary.
    """
    signs = np.ones(directions.shape[1])
    powers, _, target_power, mean_squares = objective.products(directions, signs)
    power = np.median(powers)
    rounding = (ROUNDING_UNITS * objective.precision) ** 2 * mean_squares.max()
    return float(np.sqrt(target_power / power)) if power > rounding else 0.0


def _live_directions(
    objective: FilterObjective,
    generators: list[np.random.Generator],
    signs: Array,
    auto: bool,
) -> tuple[Array, Array]:
    """Unit directions (p, R), and the scales (R,) with which they fit the targets best."""
    if objective.search_width() < 1:
        objective = objective.few()
    directions = np.empty((objective.patch_dim, len(generators)))
    moments = (*objective.mean_patch_moments(), ROUNDING_UNITS * objective.precision)
    share = _MOSTLY_ORTHOGONAL if objective.is_far_from_zero() else _ORTHOGONAL
    scale = np.zeros(len(generators))
    wanted = np.arange(len(generators))
    for _ in range(_MAX_DRAWS):
        streams = [generators[i] for i in wanted]
        drawn = unit_directions(streams, objective.geometry.layout, balanced=auto)
        if auto:
            drawn = _partly_orthogonal(drawn, share, *moments, streams)
        both = np.hstack([drawn, -drawn])
        fits = objective.best_scale(both, np.tile(signs[wanted], 2))
        as_drawn, opposite = np.split(fits, 2)
        reverse = as_drawn == 0
        if auto:
            reverse |= (as_drawn < 0) & (opposite > 0)
        directions[:, wanted] = np.where(reverse, -drawn, drawn)
        scale[wanted] = np.where(reverse, opposite, as_drawn)
        wanted = wanted[scale[wanted] == 0]
        if len(wanted) == 0:
            break
    return directions, scale


def _partly_orthogonal(
    directions: Array,
    share: float,
    mean_patch: Array,
    covariance: Array,
    rounding: float,
    generators: list[np.random.Generator],
) -> Array:
    """Directions, a share of them without their part along the mean patch.

    Far from 0 all patches are much alike, and most directions see nothing else. Where the
    mean patches of samples do not vary otherwise, directions stay as they are.
    """
    axis = mean_patch / (np.linalg.norm(mean_patch) or 1.0)
    parts = axis @ directions
    parts[[rng.uniform() >= share for rng in generators]] = 0
    rest = directions - np.outer(axis, parts)
    powers = np.einsum("pr,pq,qr->r", rest, covariance, rest)
    seen = powers > rounding**2 * (mean_patch @ mean_patch + np.trace(covariance))
    lengths = np.where(seen, np.linalg.norm(rest, axis=0), 1.0)
    return np.where(seen, rest / lengths, directions)


def unit_directions(
    generators: list[np.random.Generator], layout: PatchLayout, *, balanced: bool
) -> Array:
    """A random direction per generator, as columns (patch_dim, n).

    If `balanced`, half of them have no bias: the teacher may have none.
    """
    draws = np.array([rng.standard_normal(layout.patch_dim) for rng in generators]).T
    if balanced and layout.constant != 0:
        draws[-1, [rng.uniform() < _WITHOUT_BIAS for rng in generators]] = 0
    return draws / np.linalg.norm(draws, axis=0)


def common_direction(objective: BankObjective) -> Array | None:
    """That in which all patches of samples far from 0 are much alike; None of others."""
    if not objective.is_far_from_zero():
        return None
    axes: Array = np.linalg.eigh(objective.patch_metric())[1]
    return axes[:, -1]


def filters_with_thresholds(
    objective: BankObjective, n_filters: int, rng: np.random.Generator
) -> Array:
    """Random filters (n_filters, patch_dim) of length 1, with kinks among the patches.

    If they have biases, each is 0 on one of the patches of the samples; else they are
    random directions, without the one that all patches of samples far from 0 share.
    """
    layout = objective.geometry.layout
    if layout.constant == 0:
        filters = unit_directions([rng] * n_filters, layout, balanced=False).T
        common = common_direction(objective)
        if common is not None:
            filters -= np.outer(filters @ common, common)
    else:
        directions = rng.standard_normal((n_filters, layout.window_size))
        windows = objective.random_patches(n_filters, rng)
        thresholds = np.zeros(n_filters)
        if len(windows):
            on = np.resize(windows, directions.shape)
            thresholds = np.einsum("np,np->n", directions, on, dtype=np.float64)
        filters = np.column_stack([directions, -thresholds / layout.constant])
    return filters / np.linalg.norm(filters, axis=1, keepdims=True)


def random_banks(
    objective: BankObjective, generators: list[np.random.Generator], signs: Array
) -> Array:
    """One bank per generator, of filters in random directions.

    The filters of a bank have one length, derived from the data: where the activation is
    homogeneous it gives the values of the bank the spread of the targets, else
    preactivations the root mean square 1, about which saturating activations bend.

    Parameters
    ----------
    objective : BankObjective
    generators : list of numpy.random.Generator
        One per bank, so that a start depends on its own seed alone.
    signs : ndarray of shape (R, n_filters)
        Output weights of the banks.

    Returns
    -------
    W : ndarray of shape (n_parameters, R)
    """
    shape = (objective.n_filters, objective.patch_dim)
    directions = np.array([rng.standard_normal(shape) for rng in generators])
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    W = directions.reshape(len(generators), -1).T
    if objective.n_samples > _MAX_ROWS:
        rows = np.linspace(0, objective.n_samples - 1, _MAX_ROWS).astype(int)
        objective = objective.subset(rows)
    homogeneity = objective.activation.homogeneity
    if homogeneity is None:
        power = objective.mean_square_preactivation(W)
        return W / np.sqrt(np.where(power > 0, power, 1.0))
    weights = objective.sample_weight
    columns = np.column_stack([objective.targets, objective.predict(W, signs)])
    columns -= np.average(columns, axis=0, weights=weights)
    wanted, *spread = np.sqrt(np.average(columns**2, axis=0, weights=weights))
    varies = np.array(spread) > objective.rounding(homogeneity)
    ratio = np.divide(wanted, spread, out=np.ones(len(spread)), where=varies)
    # Targets that are constant here may vary elsewhere, and a filter of 0 is dead.
    return W * np.where(ratio > 0, ratio, 1.0) ** (1 / homogeneity)
