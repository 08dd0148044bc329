"""Random starts in a ball about the origin."""

import numpy as np

# Draws after which a start that activates no sample is taken as it is.
_MAX_DRAWS = 20


def ball_starts(objective, generators, signs, radius="auto"):
    r"""One start per generator, uniform in direction.

    With a number for `radius` the starts are uniform in the ball of that radius, as
    Theorem 3.4 of [1]_ asks. The theorem's radius is relative to the norm of the teacher,
    which nobody knows; ``"theory"`` puts :func:`estimate_teacher_norm` in its place, and
    ``"auto"`` gives each direction the length that fits the targets best, which needs no
    teacher and was never worse in recovery.

    A start that activates no sample has zero gradient, so it is turned round and, if that
    is dead too, drawn again. A start that fits better turned round than as drawn when the
    targets ask for a negative length is turned round as well.

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
    directions, scale = _live_directions(objective, generators, signs)
    if radius == "auto":
        # Where the targets do not vary with a direction, its length decides nothing.
        return directions * np.where(scale == 0, 1.0, np.abs(scale))
    if radius == "theory":
        radius = theory_radius(objective.patch_dim) * estimate_teacher_norm(scale)
    shrink = [rng.uniform() ** (1 / objective.patch_dim) for rng in generators]
    return directions * (radius * np.array(shrink))


def theory_radius(patch_dim):
    """Largest radius of Theorem 3.4, relative to the norm of the teacher."""
    return 1 / np.sqrt(2 * np.pi * patch_dim)


def estimate_teacher_norm(scale):
    """Norm of the teacher, from the factors that fit unit directions to the targets.

    The median over directions: right within a few per cent on Gaussian patches, and
    within a factor of four either way on images.
    """
    return float(np.median(np.abs(scale)))


def _live_directions(objective, generators, signs):
    directions = np.empty((objective.patch_dim, len(generators)))
    scale = np.zeros(len(generators))
    wanted = np.arange(len(generators))
    for _ in range(_MAX_DRAWS):
        drawn = _unit_directions([generators[i] for i in wanted], objective.patch_dim)
        both = np.hstack([drawn, -drawn])
        fits = objective.best_scale(both, np.tile(signs[wanted], 2))
        as_drawn, turned = np.split(fits, 2)
        turn = (as_drawn <= 0) & ((turned > 0) | (as_drawn == 0))
        directions[:, wanted] = np.where(turn, -drawn, drawn)
        scale[wanted] = np.where(turn, turned, as_drawn)
        wanted = wanted[scale[wanted] == 0]
        if len(wanted) == 0:
            break
    return directions, scale


def _unit_directions(generators, patch_dim):
    draws = np.array([rng.standard_normal(patch_dim) for rng in generators]).T
    return draws / np.linalg.norm(draws, axis=0)
