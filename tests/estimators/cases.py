"""What the tests fit: estimators, samples, and the filters that made the targets.

Targets are made here, by a window view and by :class:`ConvPatchExtractor`, which has tests
of its own, so that nothing hangs on the package's data makers.
"""

import warnings
from dataclasses import dataclass, field
from functools import cache
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skconvfilter import (
    ConvFilterBankRegressor,
    ConvPatchExtractor,
    ConvReLUFilterRegressor,
)
from skconvfilter.model.activations import ACTIVATIONS

NAMES = list(ACTIVATIONS)
# Those whose values grow with a power of the filters.
HOMOGENEITY = {"relu": 1, "leaky_relu": 1, "squared_relu": 2}

# Images of which no two patches overlap, and digits, of which they do.
GEOMETRY = {"kernel_size": 2, "input_shape": (4, 6), "stride": 2}
DIGITS = {"kernel_size": 3, "input_shape": (8, 8)}  # with the default stride, 1


class Data(NamedTuple):
    """Flat images, targets, and the filters (n_filters, patch_dim) that made them."""

    X: np.ndarray
    y: np.ndarray
    teacher: np.ndarray
    signs: np.ndarray
    geometry: dict

    @property
    def windows(self):
        """The patches, as a view of shape (n_samples, *grid, *window)."""
        size, stride = self.geometry["kernel_size"], self.geometry.get("stride", 1)
        images = self.X.reshape(-1, *self.geometry["input_shape"])
        windows = sliding_window_view(images, (size, size), axis=(1, 2))
        return windows[:, ::stride, ::stride]

    @property
    def patches(self):
        """The patches, as an array of shape (n_samples, n_patches, patch_dim)."""
        return self.windows.reshape(len(self.X), -1, self.teacher.shape[1])

    def take(self, n_samples):
        """The first samples."""
        return self._replace(X=self.X[:n_samples], y=self.y[:n_samples])


def make_filters(n_filters, patch_dim, seed=0):
    """Filters (n_filters, patch_dim): a matrix of condition number 2 if they are few."""
    rng = np.random.default_rng([seed, n_filters, patch_dim])
    W = rng.standard_normal((n_filters, patch_dim))
    if n_filters > patch_dim:
        return W
    U, _, V = np.linalg.svd(W, full_matrices=False)
    return U * np.linspace(2, 1, n_filters) @ V


def label(model, X, *, n_filters=None, signs=None, intercept=0.0, snr=np.inf, seed=0):
    """Targets of a random teacher with the window and the activation of `model`.

    Returns
    -------
    data : Data
    """
    geometry = {
        name: getattr(model, name)
        for name in ("kernel_size", "input_shape", "stride", "padding", "dilation")
    }
    patches = X
    if np.ndim(X) == 2:
        patches = ConvPatchExtractor(**geometry).fit_transform(X)
    is_bank = isinstance(model, ConvFilterBankRegressor)
    window = patches.shape[1 + (patches.ndim - 1) // 2 :]
    patches = patches.reshape(len(X), -1, int(np.prod(window)))
    teacher = make_filters(
        (n_filters or model.n_filters) if is_bank else 1, patches.shape[2], seed
    )
    signs = np.ones(len(teacher)) if signs is None else np.asarray(signs)
    phi = ACTIVATIONS[model.activation if is_bank else "relu"].value
    maps = phi(patches @ teacher.T)
    pooled = maps.sum(axis=1) if is_bank and model.pooling == "sum" else maps.mean(axis=1)
    y = pooled @ signs + intercept
    rng = np.random.default_rng([seed, 1])
    y = y + rng.standard_normal(len(y)) * y.std() / np.sqrt(snr)
    for array in (X, y, teacher):
        array.flags.writeable = False
    return Data(X, y, teacher, signs, geometry)


@dataclass(frozen=True, eq=False)
class Case:
    """An estimator with some parameters, and data with noise that it can fit."""

    name: str
    estimator: type
    params: dict = field(default_factory=dict)

    def __str__(self):
        return self.name

    @property
    def is_bank(self):
        return self.estimator is ConvFilterBankRegressor

    @property
    def signs(self):
        """Name of the attribute with the sign of each filter."""
        return "output_weights_" if self.is_bank else "sign_"

    @property
    def descends(self):
        """Whether gradient descent takes part."""
        return self.make().solver != "levenberg-marquardt"

    def make(self, **params):
        """An unfitted estimator for flat images."""
        return self.make_for_patches(**(GEOMETRY | params))

    def make_for_patches(self, **params):
        """An unfitted estimator for patches, without diagnostics unless asked for."""
        common = {"random_state": 0, "diagnostics": False}
        return self.estimator(**(common | self.params | params))

    def make_for(self, form, **params):
        """An unfitted estimator for "X", "patches" or "windows"."""
        return (self.make if form == "X" else self.make_for_patches)(**params)

    def data(self, n_samples=300, *, snr=4.0, intercept=2.0):
        """Normal images; targets of a bank of two filters, or of one."""
        params = self.make().get_params()
        model = {key: params[key] for key in ("activation", "pooling") if key in params}
        return _data(self.estimator, n_samples, snr, intercept, **model)

    def fit(self, data, weights=None, **params):
        """An estimator with these parameters, fitted to the rows of the data."""
        return fit_quietly(self.make(**params), data.X, data.y, weights)


@cache
def _data(estimator, n_samples, snr, intercept, **params):
    if params:
        params["n_filters"] = 2
    X = np.random.default_rng(0).standard_normal((n_samples, 24))
    return label(estimator(**GEOMETRY, **params), X, snr=snr, intercept=intercept)


# The model of the paper on banks.
PAPER = {
    "init": "tensor",
    "output_weights": "ones",
    "pooling": "sum",
    "bias": False,
}

FILTER = Case("filter", ConvReLUFilterRegressor, {"n_init": 4})
BANK = Case("bank", ConvFilterBankRegressor, {"n_filters": 2, "n_init": 2})
CASES = [FILTER, BANK]
# Every way to fit.
RECIPES = [
    FILTER,
    Case("filter-sgd", ConvReLUFilterRegressor, {"polish": False, "n_init": 4}),
    Case(
        "filter-gd", ConvReLUFilterRegressor, {"solver": "gd", "polish": False, "n_init": 4}
    ),
    Case("filter-bias", ConvReLUFilterRegressor, {"bias": True, "n_init": 4}),
    Case(
        "filter-lm",
        ConvReLUFilterRegressor,
        {"solver": "levenberg-marquardt", "polish": False, "n_init": 4},
    ),
    BANK,
    Case("bank-paper", ConvFilterBankRegressor, PAPER | {"n_filters": 2, "n_init": 3}),
    Case(
        "bank-random",
        ConvFilterBankRegressor,
        {"n_filters": 2, "init": "random", "n_init": 3},
    ),
    Case(
        "bank-tanh",
        ConvFilterBankRegressor,
        {"n_filters": 2, "activation": "tanh", "n_init": 2},
    ),
    Case(
        "bank-gd",
        ConvFilterBankRegressor,
        {"n_filters": 2, "solver": "gd", "n_init": 2, "max_iter": 30},
    ),
    Case(
        "bank-sgd",
        ConvFilterBankRegressor,
        {
            "n_filters": 2,
            "init": "random",
            "solver": "sgd",
            "n_init": 2,
            "max_iter": 8,
            "pooling": "sum",
        },
    ),
]


@cache
def digits(n_samples=1797):
    """Images of digits, labelled by one filter; 1797 are several blocks for threads."""
    X = load_digits().data[:n_samples] / 16
    return label(make_digits_model(), X)


def make_digits_model(**params):
    """A regressor of one filter for images of digits."""
    return ConvReLUFilterRegressor(**(DIGITS | {"random_state": 0} | params))


def fit_quietly(model, *args):
    """A fit that need not converge, nor find what the tensor method assumes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        for message in ("init='tensor'", "There are fewer samples"):
            warnings.filterwarnings("ignore", message)
        return model.fit(*args)


def values_by_loops(model, patches):
    """Predictions for patches of shape (n, k, p), from the formula."""
    is_bank = isinstance(model, ConvFilterBankRegressor)
    phi = ACTIVATIONS[model.activation if is_bank else "relu"].value
    filters = np.atleast_2d(np.float64(model.coef_))
    signs = np.atleast_1d(model.sign_) if not is_bank else model.output_weights_
    scale = model.output_scale_ if is_bank else 1
    biases = np.atleast_1d(np.float64(model.bias_))
    values = []
    for sample in np.float64(patches):
        total = model.intercept_
        for w, c, v in zip(filters, biases, signs, strict=True):
            activations = [float(phi(np.dot(w, patch) + c)) for patch in sample]
            summed = is_bank and model.pooling == "sum"
            total += scale * v * sum(activations) / (1 if summed else len(sample))
        values.append(total)
    return np.array(values)


def objective(model, X, y, weights=None):
    """The objective that the documentation states."""
    squares = np.average((model.predict(X) - y) ** 2, weights=weights)
    norms = np.sum(np.float64(model.coef_) ** 2)
    if model.bias_scaling_ > 0:
        norms += np.sum(np.square(model.bias_) / model.bias_scaling_**2)
    scale = getattr(model, "output_scale_", 1)
    return (squares + model.penalty_ * scale**2 * norms) / 2


def distance(coef, expected, signs=None, expected_signs=None):
    """Between filters in any order, relative to the norm of the second."""
    found, wanted = np.atleast_2d(np.float64(coef)), np.atleast_2d(expected)
    if signs is not None:
        found, wanted = _signed(found, signs), _signed(wanted, expected_signs)
    orders = permutations(range(len(found)))
    nearest = min(np.linalg.norm(found[list(order)] - wanted) for order in orders)
    return nearest / np.linalg.norm(wanted)


def _signed(filters, signs):
    """Filters with their signs as one more entry, of the size of the others."""
    lengths = np.linalg.norm(filters, axis=1)
    return np.column_stack([filters, np.ravel(signs) * lengths])
