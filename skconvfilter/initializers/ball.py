"""Random starts in a ball about the origin."""

import numpy as np

from skconvfilter.model.squared_error import ROUNDING_UNITS

# Draws after which a start that activates no sample is taken as it is.
_MAX_DRAWS = 20


def ball_starts(objective, generators, signs, radius="auto"):
    r"""One start per generator.

    With a number for `radius` the starts are uniform in the ball of that radius, as
    Theorem 3.4 of [1]_ asks. The theorem's radius is relative to the norm of the teacher,
    which nobody knows; ``"theory"`` puts :func:`estimate_teacher_norm` in its place. With
    ``"auto"`` a direction is uniform on the sphere, turned round if only its opposite fits
    the targets with a positive length, and gets the length that fits them best: that needs
    no norm, and was never worse in recovery.

    A start that activates no sample has zero gradient, so it is turned round and, if that
    is dead too, drawn again.

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


def theory_radius(patch_dim):
    """Largest radius of Theorem 3.4, relative to the norm of the teacher."""
    return 1 / np.sqrt(2 * np.pi * patch_dim)


def estimate_teacher_norm(objective, directions):
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


def _live_directions(objective, generators, signs, turn_to_fit):
    directions = np.empty((objective.patch_dim, len(generators)))
    scale = np.zeros(len(generators))
    wanted = np.arange(len(generators))
    for _ in range(_MAX_DRAWS):
        drawn = _unit_directions([generators[i] for i in wanted], objective.patch_dim)
        both = np.hstack([drawn, -drawn])
        fits = objective.best_scale(both, np.tile(signs[wanted], 2))
        as_drawn, turned = np.split(fits, 2)
        turn = as_drawn == 0
        if turn_to_fit:
            turn |= (as_drawn < 0) & (turned > 0)
        directions[:, wanted] = np.where(turn, -drawn, drawn)
        scale[wanted] = np.where(turn, turned, as_drawn)
        wanted = wanted[scale[wanted] == 0]
        if len(wanted) == 0:
            break
    return directions, scale


def _unit_directions(generators, patch_dim):
    draws = np.array([rng.standard_normal(patch_dim) for rng in generators]).T
    return draws / np.linalg.norm(draws, axis=0)
