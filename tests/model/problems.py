"""Small regression problems, and their loss and gradient straight from the formulas."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.geometry import Convolution, PatchGeometry
from skconvfilter.model.squared_error import Evaluation
from tests.kernels.oracle import (
    NaiveConvolution,
    convolutions,
    naive_active_means,
    naive_patches,
    naive_values,
)


class Problem(NamedTuple):
    """Data, and filters to evaluate the objective at."""

    geometry: PatchGeometry
    patches: np.ndarray  # (n, k, p), what the oracle makes of the samples
    samples: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None
    alpha: float
    fit_intercept: bool
    W: np.ndarray
    signs: np.ndarray

    @property
    def data(self):
        return self

    def with_data(self, **changes):
        return self._replace(**changes)

    def with_filters(self, filters):
        """The same data, and these filters, shape (R, p)."""
        return self._replace(W=filters.T, signs=self.signs[: len(filters)])

    @property
    def options(self):
        return {
            "sample_weight": self.weights,
            "alpha": self.alpha,
            "fit_intercept": self.fit_intercept,
        }

    @property
    def objective(self):
        return self.objective_on(self.samples)

    def objective_on(self, samples, **options):
        return FilterObjective(
            samples, self.geometry, self.targets, **self.options | options
        )

    @property
    def fits(self):
        """Signed values without intercept, shape (n, R)."""
        return self.signs * naive_values(self.patches, self.W)

    @property
    def intercepts(self):
        """Weighted least squares on a column of ones, for every filter."""
        n_filters = self.W.shape[1]
        if not self.fit_intercept:
            return np.zeros(n_filters)
        root = np.sqrt(self.all_weights)[:, np.newaxis]
        residuals = self.targets[:, np.newaxis] - self.fits
        (intercepts,) = np.linalg.lstsq(root, root * residuals)[0]
        return intercepts

    @property
    def all_weights(self):
        return np.ones(len(self.samples)) if self.weights is None else self.weights

    @property
    def errors(self):
        return self.fits + self.intercepts - self.targets[:, np.newaxis]

    @property
    def losses(self):
        squares = np.average(self.errors**2, axis=0, weights=self.all_weights)
        return (squares + self.alpha * np.sum(self.W**2, axis=0)) / 2

    @property
    def gradients(self):
        """Of the losses, with derivative 0 at 0; the best intercept adds nothing."""
        A = self.signs[:, np.newaxis] * naive_active_means(self.patches, self.W)
        products = A * self.errors[:, :, np.newaxis]
        gradients = np.average(products, axis=0, weights=self.all_weights)
        return gradients + self.alpha * self.W.T


def geometry_of(naive):
    """What the package makes of a convolution."""
    window = naive.kernel_size, naive.sample_shape
    convolution = Convolution(*window, naive.stride, naive.padding, naive.dilation)
    return convolution.geometry(naive.n_features)


def make_problem(
    convolution=None,
    n_samples=11,
    n_filters=3,
    *,
    dtype=np.float64,
    weighted=True,
    alpha=0.1,
    fit_intercept=True,
    seed=0,
):
    """Normal data; by default a padded and strided convolution over images."""
    if convolution is None:
        convolution = NaiveConvolution((5, 4), (2,), (3, 2), (1, 2), (1, 0), (1, 1))
    rng = np.random.default_rng(seed)
    shape = (n_samples, convolution.n_features)
    samples = rng.standard_normal(shape).astype(dtype)
    return Problem(
        geometry_of(convolution),
        naive_patches(samples, convolution),
        samples,
        targets=rng.normal(1, 1, n_samples),
        weights=rng.uniform(0.1, 3, n_samples) if weighted else None,
        alpha=alpha,
        fit_intercept=fit_intercept,
        W=rng.standard_normal((convolution.patch_dim, n_filters)),
        signs=rng.choice([-1.0, 1.0], n_filters),
    )


@st.composite
def problems(draw, dtypes=(np.float32, np.float64), alphas=(0.0, 0.3)):
    """Normal data in any small geometry."""
    return make_problem(
        draw(convolutions(max_axes=2)),
        n_samples=draw(st.integers(1, 8)),
        n_filters=draw(st.integers(1, 3)),
        dtype=draw(st.sampled_from(dtypes)),
        weighted=draw(st.booleans()),
        alpha=draw(st.sampled_from(alphas)),
        fit_intercept=draw(st.booleans()),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


def assert_same(result, expected, **tolerances):
    """All that two evaluations hold is the same."""
    for field, ours, theirs in zip(Evaluation._fields, result, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_allclose(ours, theirs, err_msg=field, **tolerances)


def signs_of_products(problem, W):
    """Which patches are active for the filters, (n, k, R): constant within a cell."""
    return np.sign(problem.patches @ W)


def steps_within_cell(problem):
    """A step (R,) for each filter: twice it along any axis changes no sign."""
    products = np.abs(problem.patches @ problem.W)
    largest = np.abs(problem.patches).max(axis=2, keepdims=True)
    reach = np.full(products.shape, np.inf)
    np.divide(products, largest, out=reach, where=largest > 0)
    return np.minimum(reach.min(axis=(0, 1)) / 3, 0.01)
