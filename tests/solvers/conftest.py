from typing import NamedTuple

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_digits

from skconvfilter.datasets import random_filter
from skconvfilter.initializers.ball import ball_starts
from skconvfilter.model.geometry import convolution_geometry, flatten_windows
from skconvfilter.model.objective import FilterObjective
from skconvfilter.solvers.race import Candidates
from skconvfilter.solvers.schedules import Constant, Schedule
from skconvfilter.solvers.sgd import SGD


class Problem(NamedTuple):
    """Targets that a known filter has made."""

    objective: FilterObjective
    teacher: np.ndarray  # (p,)
    patches: np.ndarray  # (n, k, p)

    @property
    def power(self):
        """Mean square of the targets."""
        return np.mean(self.objective.targets**2)


@pytest.fixture(scope="session")
def digits():
    """Images of digits, flat, with pixels from 0 to 16."""
    return load_digits().data


@pytest.fixture(scope="session")
def gaussian_problem():
    """Makes problems with independent normal patches."""

    def make(n=300, k=4, p=5, seed=0, noise=0.0, sign=1.0, **settings):
        rng = np.random.default_rng(seed)
        patches = rng.standard_normal((n, k, p))
        teacher = rng.standard_normal(p)
        y = sign * np.maximum(patches @ teacher, 0).mean(axis=1)
        y += noise * rng.standard_normal(n)
        objective = FilterObjective(*flatten_windows(patches), y, **settings)
        return Problem(objective, teacher, patches)

    return make


@pytest.fixture(scope="session")
def digits_problem(digits):
    """Makes problems with 3x3 windows on images of digits, by default with pixels to 1."""

    def make(n=400, teacher=0, noise=0.0, images=None, **settings):
        images = digits[:n] / 16 if images is None else images[:n]
        if np.ndim(teacher) == 0:
            teacher = random_filter(9, random_state=teacher)
        windows = sliding_window_view(images.reshape(-1, 8, 8), (3, 3), axis=(1, 2))
        patches = windows.reshape(len(images), 36, 9)
        y = np.maximum(patches @ teacher, 0).mean(axis=1)
        y += noise * y.std() * np.random.default_rng(1).standard_normal(len(y))
        geometry = convolution_geometry(64, 3, (8, 8))
        return Problem(FilterObjective(images, geometry, y, **settings), teacher, patches)

    return make


@pytest.fixture(scope="session")
def active_means():
    """Mean over a sample's patches of those with ``w . Z_i > 0``, written out."""

    def compute(patches, w):
        active = (patches @ w > 0)[:, :, np.newaxis]
        return (active * patches).sum(axis=1) / patches.shape[1]

    return compute


@pytest.fixture(scope="session")
def make_starts():
    """Makes random starts of positive output sign."""

    def make(objective, n_starts=16, seed=0):
        generators = [np.random.default_rng([seed, i]) for i in range(n_starts)]
        signs = np.ones(n_starts)
        W = ball_starts(objective, generators, signs)
        return Candidates(W, signs, np.arange(n_starts))

    return make


@pytest.fixture(scope="session")
def make_sgd():
    """Makes SGD from a rate, a schedule or a function, for starts that do not die."""

    class Own(Schedule):
        def __init__(self, rule):
            self.rule = rule

        def __call__(self, step, running):
            return self.rule(step, running.losses)

    def no_redraw(restart):
        raise AssertionError(f"restart {restart} has died")

    def make(schedule, batch_size=16, redraw=no_redraw, seed=0):
        if not isinstance(schedule, Schedule):
            schedule = Own(schedule) if callable(schedule) else Constant(schedule)
        return SGD(schedule, batch_size, redraw, seed)

    return make
