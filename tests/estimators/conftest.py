from typing import NamedTuple

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_digits

from skconvfilter import ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_regression


class Problem(NamedTuple):
    """Flat 8x8 images, and targets that a known 3x3 filter has made of them."""

    X: np.ndarray
    y: np.ndarray
    teacher: np.ndarray

    @property
    def windows(self):
        """The patches, as a view of shape (n_samples, 6, 6, 3, 3)."""
        return sliding_window_view(self.X.reshape(-1, 8, 8), (3, 3), axis=(1, 2))

    @property
    def patches(self):
        """The patches, as an array of shape (n_samples, 36, 9)."""
        return self.windows.reshape(len(self.X), 36, 9)

    def take(self, n_samples):
        """The first samples."""
        return Problem(self.X[:n_samples], self.y[:n_samples], self.teacher)


def _problem(X, **options):
    X, y, teacher = make_filter_regression(
        X=X,
        kernel_size=3,
        input_shape=(8, 8),
        return_teacher=True,
        random_state=0,
        **options,
    )
    for array in (X, y, teacher):
        array.flags.writeable = False
    return Problem(X, y, teacher)


@pytest.fixture(scope="session")
def digits():
    """300 images of digits."""
    return _problem(load_digits().data[:300] / 16)


@pytest.fixture(scope="session")
def all_digits():
    """1797 images of digits: several of the blocks that threads work on."""
    return _problem(load_digits().data / 16)


@pytest.fixture(scope="session")
def noise():
    """400 images of normal noise, whose targets have noise and an intercept too."""
    X = np.random.RandomState(0).standard_normal((400, 64))
    return _problem(X, snr=4, intercept=2.0)


@pytest.fixture
def make_model():
    """Makes regressors for the problems: ``make_model(n_init=4)``."""

    def make(**params):
        window = {"kernel_size": 3, "input_shape": (8, 8), "random_state": 0}
        return ConvReLUFilterRegressor(**(window | params))

    return make


@pytest.fixture
def make_patch_model():
    """Makes regressors for patches as given: ``make_patch_model(n_init=4)``."""

    def make(**params):
        return ConvReLUFilterRegressor(**({"random_state": 0} | params))

    return make
