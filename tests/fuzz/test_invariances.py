"""Changes of the data under which fits are equivariant or invariant."""

import copy
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor


@st.composite
def problems(draw):
    """Patches and noisy targets on which every start finds the best filter."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n_patches, patch_dim = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    X = rng.standard_normal((60, n_patches, patch_dim))
    y = np.maximum(X @ rng.standard_normal(patch_dim), 0).mean(axis=1)
    return X, y + 0.01 * rng.standard_normal(60), rng


REGRESSORS = [
    ConvReLUFilterRegressor(random_state=0, n_init=8, diagnostics=False),
    ConvFilterBankRegressor(1, pooling="mean", random_state=0, output_weights="signs"),
]


@pytest.mark.parametrize("model", REGRESSORS, ids=["one", "bank"])
@settings(max_examples=max(10, settings().max_examples // 10))
@given(problems(), st.integers(-40, 40), st.integers(-40, 40), st.integers(1, 3))
def test_symmetries_of_the_data_are_those_of_the_fit(model, problem, a, b, repetitions):
    X, y, rng = problem
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fit = copy.deepcopy(model).fit
        expected = fit(X, y).predict(X)
        scaled = fit(2.0**a * X, 2.0**b * y).predict(2.0**a * X)
        np.testing.assert_allclose(scaled, 2.0**b * expected, atol=1e-6 * 2.0**b)
        patches, rows = rng.permutation(X.shape[1]), rng.permutation(len(X))
        permuted = fit(X[rows][:, patches], y[rows]).predict(X)
        np.testing.assert_allclose(permuted, expected, atol=1e-6)
        weights = rng.integers(1, 1 + repetitions, len(X))
        repeated = fit(np.repeat(X, weights, axis=0), np.repeat(y, weights)).predict(X)
        np.testing.assert_allclose(fit(X, y, weights).predict(X), repeated, atol=1e-6)
