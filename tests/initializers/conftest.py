import numpy as np
import pytest

from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.geometry import flatten_windows


@pytest.fixture(scope="session")
def objective_of():
    """Makes an objective from patches (n, k, p) and targets, by default as the papers'."""

    def make(patches, y, **settings):
        settings = {"fit_intercept": False, **settings}
        samples, geometry = flatten_windows(np.asarray(patches, dtype=float))
        return FilterObjective(samples, geometry, np.asarray(y, dtype=float), **settings)

    return make


@pytest.fixture(scope="session")
def gaussian_objective(objective_of):
    """Makes an objective of normal patches labelled by a teacher of some norm."""

    def make(n=200, k=1, p=5, *, norm=1.0, sign=1.0, seed=0, **settings):
        rng = np.random.default_rng(seed)
        patches, teacher = rng.standard_normal((n, k, p)), rng.standard_normal(p)
        teacher *= norm / np.linalg.norm(teacher)
        y = sign * np.maximum(patches @ teacher, 0).mean(axis=1)
        return objective_of(patches, y, **settings)

    return make


@pytest.fixture(scope="session")
def make_generators():
    """Makes one generator per start."""

    def make(n_starts, seed=0):
        return [np.random.default_rng([seed, i]) for i in range(n_starts)]

    return make
