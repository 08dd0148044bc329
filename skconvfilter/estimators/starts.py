"""The starts that the settings ask for, in the units of a fit."""

from copy import deepcopy

import numpy as np

from skconvfilter.estimators.parameters import check_filters, is_option
from skconvfilter.initializers.ball import ball_starts
from skconvfilter.solvers.race import Candidates

# Entries of a start beyond which its loss on samples within range could overflow.
LONGEST_START = {np.dtype(np.float64): 1e90, np.dtype(np.float32): 1e20}


def draw_starts(objective, settings, seeds, scaling, previous=None):
    """The starts that the settings ask for, or the filter to go on from."""
    if previous is not None:
        coef, sign = previous
        W = scaling.inner_filters(coef)[:, np.newaxis]
        signs = np.array([chosen_sign(settings, sign)])
    elif not is_option(settings.init, "ball"):
        filters = _given_filters(settings, seeds, objective.patch_dim)
        W = _within_range(objective, scaling.inner_filters(filters.T))
        signs = _given_or_fitting_signs(objective, W, settings.output_sign)
    else:
        W, signs = _ball(objective, settings, seeds, scaling)
    if scaling.target_scale == 0:
        # Constant targets: the filter 0 is exact, and no other is better.
        W = np.zeros_like(W)
    return Candidates(_within_range(objective, W), signs, np.arange(len(signs)))


def chosen_sign(settings, present):
    """The sign that the settings ask for, else the present one."""
    return float(present if settings.output_sign == "auto" else settings.output_sign)


def _within_range(objective, W):
    """Starts so long that their losses would be infinite, shortened."""
    longest = LONGEST_START[objective.samples.dtype]
    with np.errstate(over="ignore"):
        return np.clip(W, -longest, longest)


def _inner_radius(objective, settings, scaling):
    if isinstance(settings.init_radius, str):
        return settings.init_radius
    radius = scaling.inner_filters(np.float64(settings.init_radius))
    return float(_within_range(objective, radius))


def _ball(objective, settings, seeds, scaling):
    radius = _inner_radius(objective, settings, scaling)
    if settings.output_sign == "auto" and settings.n_init == 1:
        # The one start is drawn for both signs, and the sign that fits better has it.
        streams = [*seeds.starts, deepcopy(seeds.starts[0])]
        signs = np.array([1.0, -1.0])
        W = ball_starts(objective, streams, signs, radius)
        better = np.argmin(objective.value(W, signs).loss)
        return W[:, [better]], signs[[better]]
    signs = _drawn_signs(settings.output_sign, settings.n_init)
    return ball_starts(objective, seeds.starts, signs, radius), signs


def _drawn_signs(output_sign, n_init):
    if output_sign == "auto":
        return np.where(np.arange(n_init) % 2 == 0, 1.0, -1.0)
    return np.full(n_init, float(output_sign))


def _given_filters(settings, seeds, patch_dim):
    """The user's starts, shape (n_init, patch_dim)."""
    if callable(settings.init):
        init = check_filters(settings.init(settings.n_init, patch_dim, seeds.init))
    else:
        init = settings.init
    if init.shape[1] != patch_dim:
        raise ValueError(
            f"init holds filters of length {init.shape[1]}, but a patch has length "
            f"patch_dim={patch_dim}."
        )
    return init


def _given_or_fitting_signs(objective, W, output_sign):
    if output_sign != "auto":
        return np.full(W.shape[1], float(output_sign))
    return np.where(objective.best_scale(W, np.ones(W.shape[1])) < 0, -1.0, 1.0)


def make_redraw(objective, starts, settings, seeds, scaling):
    """New starts for restarts that die, each restart from a stream of its own."""
    radius = _inner_radius(objective, settings, scaling)
    streams = [np.random.default_rng(s) for s in seeds.redraw.spawn(len(starts.signs))]

    def redraw(restart):
        sign = starts.signs[[restart]]
        return ball_starts(objective, [streams[restart]], sign, radius)[:, 0]

    return redraw
