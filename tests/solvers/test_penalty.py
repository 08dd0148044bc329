"""The penalty by restricted maximum likelihood, against a direct computation."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.datasets import load_digits

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_regression
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.geometry import flatten_windows
from skconvfilter.solvers.penalty import likeliest_penalty

N, P = 120, 6


def linear_problem(noise, *, fit_intercept, alpha=0.0, weights=None):
    """One positive patch a sample and a positive filter: the model is linear."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0.1, 1, (N, 1, P)) * np.geomspace(1, 0.05, P)
    w = rng.uniform(0.5, 1, P)
    y = X[:, 0] @ w + noise * rng.standard_normal(N)
    samples, geometry = flatten_windows(X)
    objective = FilterObjective(
        samples, geometry, y, alpha=alpha, fit_intercept=fit_intercept,
        sample_weight=weights,
    )  # fmt: skip
    return X[:, 0], y, w, objective


def likelihood_of(X, y, weights, *, fit_intercept):
    """Twice the negative restricted log-likelihood, from the covariance of the targets."""
    root = np.sqrt(weights)
    X, y = X * root[:, np.newaxis], y * root
    total = weights.sum()

    def deviance(log_alpha):
        covariance = np.eye(N) + X @ X.T / (total * np.exp(log_alpha))
        inverse = np.linalg.inv(covariance)
        logdet = np.linalg.slogdet(covariance)[1]
        quadratic, n_free = y @ inverse @ y, N
        if fit_intercept:
            information = root @ inverse @ root
            quadratic -= (root @ inverse @ y) ** 2 / information
            logdet += np.log(information)
            n_free -= 1
        return n_free * np.log(quadratic) + logdet

    return deviance


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.03])
def test_it_maximises_the_restricted_likelihood(alpha, fit_intercept, weighted):
    weights = np.linspace(0.5, 1.5, N) if weighted else np.ones(N)
    X, y, w, objective = linear_problem(
        0.3, fit_intercept=fit_intercept, alpha=alpha, weights=weights
    )
    found = likeliest_penalty(objective, w[:, np.newaxis], np.ones(1))
    deviance = likelihood_of(X, y, weights, fit_intercept=fit_intercept)
    bounds = np.log(found) - 3, np.log(found) + 3
    best = minimize_scalar(deviance, bounds=bounds, method="bounded").x
    assert np.log(found) == pytest.approx(best, abs=1e-3)


def test_it_is_zero_for_exact_data_and_dead_filters():
    _, _, w, objective = linear_problem(0.0, fit_intercept=False)
    assert likeliest_penalty(objective, w[:, np.newaxis], np.ones(1)) == 0
    assert likeliest_penalty(objective, -w[:, np.newaxis], np.ones(1)) == 0


@pytest.mark.parametrize("unit", [1e-3, 255.0])
def test_fits_with_it_are_equivariant(unit):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((150, 40))
    y = np.maximum(X @ rng.standard_normal(40), 0) + 3 * rng.standard_normal(150)
    model = ConvReLUFilterRegressor(alpha="auto", diagnostics=False, random_state=0)
    first = model.fit(X, y)
    alpha, coef, prediction = first.alpha_, first.coef_, first.predict(X)
    second = model.fit(unit * X, y / unit)
    assert alpha > 0
    assert second.alpha_ == pytest.approx(alpha, rel=1e-3)
    np.testing.assert_allclose(second.coef_ * unit**2, coef, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(second.predict(unit * X) * unit, prediction, rtol=1e-3)


def test_it_predicts_better_where_there_are_few_noisy_samples():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((1150, 40))
    y = np.maximum(X @ rng.standard_normal(40), 0) + 3 * rng.standard_normal(1150)
    model = ConvReLUFilterRegressor(diagnostics=False, random_state=0)
    plain = model.fit(X[:150], y[:150]).score(X[150:], y[150:])
    tuned = model.set_params(alpha="auto").fit(X[:150], y[:150])
    assert tuned.score(X[150:], y[150:]) > plain + 0.1


def test_the_fit_ends_at_a_minimum_for_it():
    images = load_digits().data
    for seed in range(5):
        rng = np.random.default_rng(seed)
        X = images[rng.choice(len(images), 100, replace=False)]
        response = X @ rng.standard_normal(64)
        y = np.maximum(response - np.quantile(response, 0.7), 0)
        y += 0.1 * y.std() * rng.standard_normal(100)
        model = ConvReLUFilterRegressor(alpha="auto", diagnostics=False, random_state=0)
        loss = model.fit(X, y).loss_
        model.set_params(alpha=model.alpha_, warm_start=True)
        # Another descent from there finds little more.
        assert model.fit(X, y).loss_ > 0.8 * loss


def test_planted_filters_stay_exact_with_it():
    model = ConvReLUFilterRegressor(5, alpha="auto", diagnostics=False, random_state=0)
    X, y, teacher = make_filter_regression(
        400, n_features=20, estimator=model, return_teacher=True, random_state=0
    )
    model.fit(X, y)
    assert model.alpha_ == model.penalty_ == 0
    np.testing.assert_allclose(model.coef_, teacher, rtol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        ConvReLUFilterRegressor(2, alpha="auto", polish=False, solver="gd"),
        ConvFilterBankRegressor(2, kernel_size=2, alpha="auto", solver="gd"),
        ConvFilterBankRegressor(2, kernel_size=2, alpha="auto", activation="tanh"),
    ],
    ids=["filter", "bank", "output scale"],
)
def test_it_is_zero_where_it_cannot_be_chosen(model):
    rng = np.random.default_rng(3)
    X, y = rng.standard_normal((60, 6)), rng.standard_normal(60)
    model.set_params(max_iter=2, n_init=2, diagnostics=False, random_state=0)
    with pytest.warns(match="."):
        model.fit(X, y)
    assert model.alpha_ == 0


@pytest.mark.parametrize("alpha", ["best", -1.0, None, np.nan])
def test_other_values_are_refused(alpha):
    X = np.random.default_rng(4).standard_normal((20, 3))
    with pytest.raises((TypeError, ValueError), match="alpha must be"):
        ConvReLUFilterRegressor(alpha=alpha).fit(X, X[:, 0])
