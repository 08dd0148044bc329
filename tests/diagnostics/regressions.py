"""Data with a known filter, and fits of them, that tests of inference share."""

import numpy as np

from skconvfilter import ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_regression

P = 4
TEACHER = np.array([1.0, -0.5, 0.0, 0.8])


def data(n_samples=400, noise=0.3, seed=0, **options):
    """Patches (n_samples, 3, P) and labels."""
    X = np.random.default_rng(seed).standard_normal((n_samples, 3, P))
    options = {"teacher": TEACHER, "noise": noise, "random_state": seed, **options}
    return make_filter_regression(X=X, **options)


def fitted(X, y, sample_weight=None, **options):
    options = {
        "bias": True,
        "n_init": 4,
        "diagnostics": False,
        "random_state": 0,
        **options,
    }
    return ConvReLUFilterRegressor(**options).fit(X, y, sample_weight)
