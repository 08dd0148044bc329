"""Banks of filters: what they recover and know, and how they go with scikit-learn."""

import copy
import pickle
import re
from functools import cache
from itertools import chain
from typing import NamedTuple

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skconvfilter import (
    ConvFilterBankRegressor,
    ConvPatchExtractor,
    ConvReLUFilterRegressor,
)
from skconvfilter.datasets import make_filter_bank_regression, make_filter_regression
from skconvfilter.diagnostics import bank_recovery, local_convexity
from skconvfilter.estimators import bank_fitting
from skconvfilter.model.activations import ACTIVATIONS

NAMES = list(ACTIVATIONS)
# How many times longer filters are for targets four times as large.
GROWTH = {"relu": 4.0, "leaky_relu": 4.0, "squared_relu": 2.0}

RECIPES = {
    "default": {},
    "random": {"init": "random", "n_init": 3},
    "signs": {"output_weights": "signs"},
    "tanh": {"activation": "tanh"},
    "GD": {"solver": "gd", "n_init": 2, "max_iter": 30},
    "SGD": {"solver": "sgd", "n_init": 2, "max_iter": 5},
}


GEOMETRY = {"input_shape": 15, "kernel_size": 5, "stride": 5}


class Problem(NamedTuple):
    """Samples of three patches of length five, and the bank that made the targets."""

    X: np.ndarray
    y: np.ndarray
    teacher: np.ndarray  # (n_filters, 5)
    signs: np.ndarray
    activation: str

    @property
    def patches(self):
        return self.X.reshape(len(self.X), 3, 5)

    def take(self, n_samples):
        return self._replace(X=self.X[:n_samples], y=self.y[:n_samples])


@pytest.fixture(scope="session")
def make_bank_problem():
    """Makes problems: normal patches that do not overlap, and a random teacher."""

    @cache
    def make(n_samples=800, activation="relu", output_weights="ones", **options):
        X, y, teacher, *signs = make_filter_bank_regression(
            n_samples,
            **GEOMETRY,
            activation=activation,
            output_weights=output_weights,
            return_teacher=True,
            **({"n_filters": 2, "random_state": 0} | options),
        )
        signs = signs[0] if signs else np.ones(len(teacher))
        for array in (X, y, teacher):
            array.flags.writeable = False
        return Problem(X, y, teacher, signs, activation)

    return make


@pytest.fixture(scope="session")
def make_noisy(make_bank_problem):
    """Makes problems with an intercept and noise of a quarter of the signal's variance."""

    def make(params):
        activation = params.get("activation", "relu")
        return make_bank_problem(activation=activation, snr=4, intercept=2.0)

    return make


@pytest.fixture(scope="session")
def relu(make_bank_problem):
    """Targets of a ReLU bank and an intercept."""
    return make_bank_problem(intercept=2.0)


@pytest.fixture(scope="session")
def noisy(make_noisy):
    """The same, and noise."""
    return make_noisy({})


@pytest.fixture
def make_bank():
    """Makes regressors for the problems: ``make_bank(n_init=4)``."""

    def make(**params):
        return ConvFilterBankRegressor(
            **({"n_filters": 2, "random_state": 0} | GEOMETRY | params)
        )

    return make


@pytest.fixture
def make_patch_bank():
    """Makes regressors for patches as given."""

    def make(**params):
        return ConvFilterBankRegressor(**({"n_filters": 2, "random_state": 0} | params))

    return make


def distance(coef, expected):
    """Between banks whose filters are in any order, relative to the second."""
    return bank_recovery(coef, expected).relative_error


def relative_error(model, problem):
    return bank_recovery(
        model,
        problem.teacher,
        output_weights=model.output_weights_,
        teacher_output_weights=problem.signs,
        activation=problem.activation,
    ).relative_error


def values_by_loops(model, patches):
    """Predictions for patches of shape (n, k, p)."""
    phi = ACTIVATIONS[model.activation].value
    values = []
    for sample in np.float64(patches):
        total = 0.0
        for w, v in zip(np.float64(model.coef_), model.output_weights_, strict=True):
            activations = [float(phi(np.dot(w, patch))) for patch in sample]
            pooled = sum(activations) if model.pooling == "sum" else np.mean(activations)
            total += v * pooled
        values.append(total)
    return np.array(values) + model.intercept_


def objective_of(model, X, y, weights=None):
    squares = np.average((model.predict(X) - y) ** 2, weights=weights)
    return (squares + model.alpha * np.sum(np.float64(model.coef_) ** 2)) / 2


# Recovery ---------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("pooling", ["sum", "mean"])
@pytest.mark.parametrize("intercept", [None, 3.0])
def test_teacher_is_recovered(activation, pooling, intercept):
    geometry = {"input_shape": 18, "kernel_size": 6, "stride": 6}
    X, y, teacher = make_filter_bank_regression(
        1500,
        n_filters=3,
        **geometry,
        activation=activation,
        pooling=pooling,
        intercept=intercept or 0.0,
        return_teacher=True,
        random_state=1,
    )
    model = ConvFilterBankRegressor(
        3,
        **geometry,
        activation=activation,
        pooling=pooling,
        fit_intercept=intercept is not None,
        random_state=0,
    ).fit(X, y)
    assert bank_recovery(model, teacher).relative_error < 1e-8
    assert model.intercept_ == pytest.approx(intercept or 0.0, abs=1e-9)
    np.testing.assert_array_equal(model.output_weights_, 1)
    assert model.score(X, y) == pytest.approx(1)
    np.testing.assert_allclose(model.predict(X), y, atol=1e-8)


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("seed", [0, 1])
def test_teacher_with_signs_is_recovered(activation, seed, make_bank_problem, make_bank):
    problem = make_bank_problem(1500, activation, "signs", n_filters=3, random_state=seed)
    model = make_bank(n_filters=3, activation=activation, output_weights="signs")
    model.fit(problem.X, problem.y)
    assert relative_error(model, problem) < 1e-8
    assert set(model.output_weights_) <= {1, -1}
    np.testing.assert_allclose(model.predict(problem.X), problem.y, atol=1e-8)


@pytest.mark.parametrize("activation", NAMES)
def test_single_precision_stays_so(activation, make_bank_problem, make_bank):
    problem = make_bank_problem(1500, activation)
    X = problem.X.astype(np.float32)
    model = make_bank(activation=activation).fit(X, problem.y)
    for name in ("coef_", "filters_", "init_coef_"):
        assert getattr(model, name).dtype == np.float32, name
    assert model.predict(X).dtype == model.feature_map(X).dtype == np.float32
    assert model.predict(X.astype(np.float64)).dtype == np.float64
    assert relative_error(model, problem) < 1e-4
    np.testing.assert_allclose(model.predict(X), problem.y, atol=1e-3)


GEOMETRIES = {
    "images": {"kernel_size": 3, "input_shape": (9, 9), "stride": 3},
    "channels": {"kernel_size": 2, "input_shape": (4, 6, 2), "stride": 2},
    "signal with channels": {"kernel_size": (3,), "input_shape": (12, 2), "stride": 3},
    "gaps": {"kernel_size": 2, "input_shape": (8, 8), "stride": 3},
    "whole sample": {"kernel_size": (3, 2), "input_shape": (3, 2)},
    "overlap": {"kernel_size": 3, "input_shape": (6, 6)},
    "padding": {"kernel_size": 3, "input_shape": (6, 6), "stride": 3, "padding": 3},
    "dilation": {"kernel_size": 2, "input_shape": (7, 7), "dilation": 2, "stride": 2},
}


@pytest.mark.filterwarnings("ignore:The patches overlap")
@pytest.mark.filterwarnings("ignore:init='tensor'")
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_filters_of_every_geometry_are_recovered(geometry):
    X, y, teacher = make_filter_bank_regression(
        800, n_filters=2, **geometry, return_teacher=True, random_state=0
    )
    model = ConvFilterBankRegressor(2, **geometry, random_state=0).fit(X, y)
    assert model.filters_.shape == teacher.shape
    assert bank_recovery(model.filters_, teacher).relative_error < 1e-8
    patches = ConvPatchExtractor(**geometry).fit_transform(X)
    patches = patches.reshape(len(X), -1, teacher[0].size)
    np.testing.assert_allclose(model.predict(X), values_by_loops(model, patches))


@pytest.mark.parametrize("contraction", ["all", "single"])
@pytest.mark.parametrize("activation", ["relu", "squared_relu", "tanh"])
def test_both_contractions_lead_to_the_teacher(
    contraction, activation, make_bank_problem, make_bank
):
    problem = make_bank_problem(3000, activation, random_state=3)
    model = make_bank(activation=activation, contraction=contraction)
    model.fit(problem.X, problem.y)
    assert relative_error(model, problem) < 1e-8
    if contraction == "all":
        assert model.best_restart_ == 0
        assert distance(model.init_coef_, problem.teacher) < 0.2


@pytest.mark.parametrize("activation", NAMES)
def test_patches_of_any_covariance_will_do(activation, make_bank):
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((5, 5)) + np.eye(5)
    X = (rng.standard_normal((2000, 3, 5)) @ mixing).reshape(2000, 15)
    X, y, teacher = make_filter_bank_regression(
        X=X,
        n_filters=2,
        kernel_size=5,
        stride=5,
        activation=activation,
        return_teacher=True,
        random_state=0,
    )
    model = make_bank(activation=activation).fit(X, y)
    assert bank_recovery(model, teacher).relative_error < 1e-8


@pytest.mark.filterwarnings("ignore:init='tensor' gave no start")
def test_overlapping_patches_are_fitted_with_a_warning():
    window = {"kernel_size": 3, "input_shape": (8, 8)}
    X, y, teacher = make_filter_bank_regression(
        800, n_filters=3, **window, return_teacher=True, random_state=0
    )
    model = ConvFilterBankRegressor(3, **window, random_state=0)
    with pytest.warns(UserWarning, match=r"patches overlap.*stride=kernel_size"):
        model.fit(X, y)
    assert bank_recovery(model.filters_, teacher).relative_error < 1e-8
    # Whoever does not ask for the tensor method is not told of its assumptions.
    model.set_params(init="random").fit(X, y)
    assert bank_recovery(model.filters_, teacher).relative_error < 1e-8


@pytest.mark.filterwarnings("ignore:init='tensor'")
def test_bank_on_images_of_digits(digits):
    window = {"kernel_size": 4, "input_shape": (8, 8), "stride": 4}
    X, y, _ = make_filter_bank_regression(
        X=digits.X, n_filters=2, **window, return_teacher=True, random_state=0
    )
    model = ConvFilterBankRegressor(2, **window, random_state=0).fit(X, y)
    # The first column of the images is blank, so that filters are not unique.
    assert model.score(X, y) > 0.999


PATCH_FORMS = {
    "patches": lambda patches: patches,
    "windows": lambda patches: sliding_window_view(
        patches.reshape(len(patches), -1), 5, axis=1
    )[:, ::5],
    "nested lists": lambda patches: patches.tolist(),
    "list of arrays": lambda patches: list(patches),
}


@pytest.mark.parametrize("form", PATCH_FORMS.values(), ids=PATCH_FORMS.keys())
def test_every_form_of_patches_gives_the_same_fit(form, noisy, make_bank, make_patch_bank):
    X = form(noisy.patches)
    expected = make_bank().fit(noisy.X, noisy.y)
    model = make_patch_bank().fit(X, noisy.y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-9)
    np.testing.assert_allclose(model.predict(X), expected.predict(noisy.X), rtol=1e-12)
    assert model.n_features_in_ == 5
    assert model.filters_.shape == (2, 5)
    assert model.feature_map(X).shape == (800, 2, 3)


def test_window_view_of_images_has_filters_in_its_shape():
    X, y, teacher = make_filter_bank_regression(
        600, n_filters=2, kernel_size=3, input_shape=(9, 9), stride=3,
        return_teacher=True, random_state=0,
    )  # fmt: skip
    windows = sliding_window_view(X.reshape(-1, 9, 9), (3, 3), axis=(1, 2))[:, ::3, ::3]
    model = ConvFilterBankRegressor(2, random_state=0).fit(windows, y)
    assert model.filters_.shape == (2, 3, 3)
    assert model.feature_map(windows).shape == (600, 2, 3, 3)
    assert bank_recovery(model.filters_, teacher).relative_error < 1e-8


def test_row_without_a_window_is_one_patch():
    X, y, teacher = make_filter_bank_regression(
        1500, n_filters=2, input_shape=None, return_teacher=True, random_state=0
    )
    model = ConvFilterBankRegressor(2, random_state=0).fit(X, y)
    assert model.n_features_in_ == 10
    assert bank_recovery(model, teacher).relative_error < 1e-8


@pytest.mark.parametrize("sign", [1, -1])
def test_one_filter_is_that_of_the_regressor_of_one(sign, make_bank):
    X, y = make_filter_regression(800, **GEOMETRY, sign=sign, snr=100, random_state=0)
    model = make_bank(n_filters=1, pooling="mean", output_weights="signs").fit(X, y)
    single = ConvReLUFilterRegressor(**GEOMETRY, random_state=0).fit(X, y)
    assert model.output_weights_ == single.sign_ == sign
    np.testing.assert_allclose(model.coef_[0], single.coef_, atol=0.01)
    assert model.loss_ == pytest.approx(single.loss_, rel=1e-3)


# Fitted attributes ------------------------------------------------------------------------


@pytest.mark.parametrize("params", [{}, {"pooling": "mean"}, {"output_weights": "signs"}])
@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.filterwarnings("ignore:The best restart has not converged")
@pytest.mark.filterwarnings("ignore:init='tensor'")
def test_prediction_follows_the_formula(activation, params, noisy, make_bank):
    model = make_bank(activation=activation, n_init=2, **params)
    model.fit(noisy.X, noisy.y - noisy.y.mean())
    model.coef_ = model.coef_ + np.linspace(-1, 1, 10).reshape(2, 5)
    expected = values_by_loops(model, noisy.patches)
    np.testing.assert_allclose(model.predict(noisy.X), expected, rtol=1e-10, atol=1e-10)
    maps = model.feature_map(noisy.X)
    assert maps.shape == (800, 2, 3)
    responses = np.einsum("nkp,tp->ntk", noisy.patches, model.coef_)
    np.testing.assert_allclose(maps, ACTIVATIONS[activation].value(responses), atol=1e-10)
    pooled = maps.sum(axis=2) if model.pooling == "sum" else maps.mean(axis=2)
    values = pooled @ model.output_weights_ + model.intercept_
    np.testing.assert_allclose(model.predict(noisy.X), values, rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("ignore:The best restart has not converged")
@pytest.mark.parametrize("params", RECIPES.values(), ids=RECIPES.keys())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fitted_attributes_are_what_the_documentation_says(
    params, dtype, make_noisy, make_bank
):
    problem = make_noisy(params)
    X = problem.X.astype(dtype)
    model = make_bank(n_filters=3, **params).fit(X, problem.y)
    n_init, rows = model.n_init, len(model.history_["iteration"])
    for name in ("coef_", "filters_", "init_coef_"):
        assert getattr(model, name).shape == (3, 5), name
        assert getattr(model, name).dtype == dtype, name
    np.testing.assert_array_equal(model.filters_, model.coef_)
    assert model.output_weights_.shape == (3,)
    assert model.output_weights_.dtype.kind == "i"
    for name in ("intercept_", "loss_", "relative_loss_", "condition_number_", "rho_"):
        assert type(getattr(model, name)) is float, name
    assert type(model.lambda_) is float
    assert type(model.n_iter_) is int
    assert type(model.best_restart_) is int
    assert 1 <= model.n_iter_
    assert model.loss_curve_.shape == (model.n_iter_ + 1,)
    assert model.restart_losses_.shape == (n_init,)
    assert 0 <= model.best_restart_ < n_init
    assert model.restart_losses_[model.best_restart_] == pytest.approx(
        model.loss_, rel=1e-6
    )
    assert np.nanmin(model.restart_losses_) == pytest.approx(model.loss_, rel=1e-6)
    low, high = model.hessian_extremes_
    assert type(low) is type(high) is float
    assert low < high
    assert (model.n_samples_seen_, model.n_features_in_) == (800, 15)
    for name in (
        "loss",
        "relative_loss",
        "gradient_norm",
        "learning_rate",
        "angle",
        "stage",
    ):
        assert model.history_[name].shape == (rows, n_init), name
    ran = np.isfinite(model.history_["loss"])
    np.testing.assert_array_equal(model.history_["stage"] != "", ran)
    best = model.best_restart_
    curve = model.history_["loss"][ran[:, best], best]
    np.testing.assert_array_equal(model.loss_curve_, curve)
    np.testing.assert_array_equal(np.isfinite(model.restart_losses_), ran.any(axis=0))


def test_history_calls_every_start_so(noisy, make_bank):
    stages = make_bank(init="random", n_init=5).fit(noisy.X, noisy.y).history_["stage"]
    for column in stages.T[(stages != "").any(axis=0)]:
        assert column[column != ""][0] == "start"


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("alpha", [0.0, 0.01])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_loss_is_the_objective(activation, alpha, fit_intercept, make_noisy, make_bank):
    noisy, weights = make_noisy({"activation": activation}), np.linspace(0.1, 3, 800)
    model = make_bank(
        activation=activation, alpha=alpha, fit_intercept=fit_intercept, n_init=2
    ).fit(noisy.X, noisy.y, weights)
    expected = objective_of(model, noisy.X, noisy.y, weights)
    assert model.loss_ == pytest.approx(expected, rel=1e-9)
    assert model.loss_curve_[-1] == pytest.approx(expected, rel=1e-6)
    mean = np.average(noisy.y, weights=weights)
    squares = np.average((model.predict(noisy.X) - noisy.y) ** 2, weights=weights)
    assert model.relative_loss_ == pytest.approx(squares / mean**2, rel=1e-9)
    if not fit_intercept:
        assert model.intercept_ == 0.0
    # A minimum: no filter near by is better.
    rng = np.random.default_rng(0)
    for _ in range(5):
        beside = copy.copy(model)
        beside.coef_ = model.coef_ + 1e-3 * rng.standard_normal((2, 5))
        if fit_intercept:
            residuals = noisy.y - beside.predict(noisy.X)
            beside.intercept_ += np.average(residuals, weights=weights)
        assert objective_of(beside, noisy.X, noisy.y, weights) > expected * (1 - model.tol)


def test_start_is_where_the_loss_begins(noisy, make_bank):
    model = make_bank(n_init=4).fit(noisy.X, noisy.y)
    start = copy.copy(model)
    start.coef_ = model.init_coef_
    start.intercept_ += np.mean(noisy.y - start.predict(noisy.X))
    assert model.loss_curve_[0] == pytest.approx(objective_of(start, noisy.X, noisy.y))
    assert model.loss_curve_[0] > model.loss_


@pytest.mark.parametrize("init", ["tensor", "random"])
@pytest.mark.parametrize("seed", range(3))
def test_fit_that_begins_on_a_subsample_ends_on_all_samples(
    init, seed, make_bank_problem, make_bank, monkeypatch
):
    monkeypatch.setattr(bank_fitting, "_COMPARE_ROWS", 300)
    monkeypatch.setattr(bank_fitting, "_COMPARE_ROWS_PER_ENTRY", 1)
    noisy = make_bank_problem(1200, snr=4, n_filters=3, random_state=seed)
    model = make_bank(n_filters=3, init=init, n_init=5).fit(noisy.X, noisy.y)
    expected = objective_of(model, noisy.X, noisy.y)
    assert model.loss_ == pytest.approx(expected)
    assert model.loss_curve_[-1] == pytest.approx(expected)
    assert np.nanmin(model.restart_losses_) == pytest.approx(expected)
    # At most two of the starts go on on all samples.
    ran = np.isfinite(model.history_["loss"])
    assert 1 <= ran[-1].sum() <= 2
    best = ran[:, model.best_restart_]
    assert model.n_iter_ == np.count_nonzero(best) - 1
    assert (np.diff(model.loss_curve_) != 0).any()


@pytest.mark.parametrize("params", [{}, {"pooling": "mean"}, {"output_weights": "signs"}])
@pytest.mark.parametrize("activation", NAMES)
def test_convexity_is_that_of_the_diagnostics(activation, params, make_bank):
    X, y = make_filter_bank_regression(
        400,
        n_filters=2,
        **GEOMETRY,
        activation=activation,
        snr=10,
        random_state=0,
        **params,
    )
    model = make_bank(activation=activation, **params).fit(X, y)
    expected = local_convexity(
        X,
        model,
        activation,
        y=y - model.intercept_,
        output_weights=model.output_weights_,
        pooling=model.pooling,
        **GEOMETRY,
    )
    np.testing.assert_allclose(
        model.hessian_extremes_, expected.hessian_extremes, rtol=1e-7, atol=1e-9
    )
    assert model.condition_number_ == pytest.approx(expected.condition_number)
    assert model.lambda_ == pytest.approx(expected.lambda_)
    assert model.rho_ == pytest.approx(expected.rho)
    assert model.hessian_extremes_[0] > 0


@pytest.mark.filterwarnings("ignore:init='tensor'")
def test_filters_that_many_banks_share_are_not_locally_unique(relu, make_bank):
    few = relu.take(9)
    with pytest.warns(UserWarning, match="n_samples=9.*n_filters"):
        model = make_bank().fit(few.X, few.y)
    assert model.hessian_extremes_[0] == pytest.approx(0, abs=1e-9)


def test_fitted_attributes_are_arrays_numbers_and_containers(relu, make_bank):
    # What skops loads without trust.
    model = make_bank(output_weights="signs").fit(relu.X, relu.y)

    def leaves(value):
        if isinstance(value, dict):
            return chain.from_iterable(map(leaves, value.values()))
        return chain.from_iterable(map(leaves, value)) if type(value) is tuple else [value]

    for name in vars(model).keys() - model.get_params().keys():
        for leaf in leaves(vars(model)[name]):
            assert type(leaf) in (int, float, str, np.ndarray, np.float64, np.int64), name


# Units and symmetries ---------------------------------------------------------------------


@pytest.mark.parametrize("activation", GROWTH)
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_targets_four_times_as_large_change_no_digit(
    activation, fit_intercept, make_noisy, make_bank
):
    noisy = make_noisy({"activation": activation})
    params = {"activation": activation, "fit_intercept": fit_intercept, "n_init": 3}
    model = make_bank(**params).fit(noisy.X, noisy.y)
    scaled = make_bank(**params).fit(noisy.X, 4 * noisy.y)
    np.testing.assert_array_equal(scaled.coef_, GROWTH[activation] * model.coef_)
    np.testing.assert_array_equal(scaled.predict(noisy.X), 4 * model.predict(noisy.X))
    assert scaled.loss_ == 16 * model.loss_
    assert scaled.relative_loss_ == model.relative_loss_


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("factor", [0.5, 1024.0])
def test_samples_times_a_power_of_two_change_no_digit(
    activation, factor, make_noisy, make_bank
):
    noisy = make_noisy({"activation": activation})
    y = noisy.y
    model = make_bank(activation=activation, n_init=2).fit(noisy.X, y)
    scaled = make_bank(activation=activation, n_init=2).fit(factor * noisy.X, y)
    np.testing.assert_array_equal(factor * scaled.coef_, model.coef_)
    np.testing.assert_array_equal(scaled.predict(factor * noisy.X), model.predict(noisy.X))
    assert scaled.loss_ == model.loss_


@pytest.mark.parametrize("activation", GROWTH)
@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e100, 1e-100])
def test_units_of_targets_do_not_matter(activation, scale, make_noisy, make_bank):
    noisy = make_noisy({"activation": activation})
    params = {"activation": activation, "n_init": 3}
    model = make_bank(**params).fit(noisy.X, noisy.y)
    scaled = make_bank(**params).fit(noisy.X, scale * noisy.y)
    growth = scale ** (np.log(GROWTH[activation]) / np.log(4))
    assert distance(scaled.coef_ / growth, model.coef_) < 1e-6
    assert scaled.intercept_ / scale == pytest.approx(model.intercept_)
    assert scaled.relative_loss_ == pytest.approx(model.relative_loss_)
    np.testing.assert_allclose(
        scaled.predict(noisy.X) / scale, model.predict(noisy.X), rtol=1e-6
    )


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e100, 1e-100, 1e250, 1e-250])
def test_units_of_samples_do_not_matter(activation, scale, make_noisy, make_bank):
    problem = make_noisy({"activation": activation})
    X, y = problem.X, problem.y
    model = make_bank(activation=activation, n_init=2).fit(X, y)
    scaled = make_bank(activation=activation, n_init=2).fit(scale * X, y)
    assert distance(scale * scaled.coef_, model.coef_) < 1e-4
    np.testing.assert_allclose(scaled.predict(scale * X), model.predict(X), atol=1e-3)
    assert scaled.loss_ == pytest.approx(model.loss_, rel=1e-6)


@pytest.mark.filterwarnings("ignore:The best restart has not converged")
@pytest.mark.parametrize("activation", GROWTH)
def test_history_is_in_the_units_of_the_user(activation, make_noisy, make_bank):
    noisy = make_noisy({"activation": activation})
    params = {"activation": activation, "solver": "gd", "max_iter": 5, "init": "random"}
    model = make_bank(**params).fit(noisy.X, noisy.y)
    scaled = make_bank(**params).fit(noisy.X, 4 * noisy.y)
    growth = GROWTH[activation]
    factors = {
        "loss": 16,
        "relative_loss": 1,
        "gradient_norm": 16 / growth,
        "learning_rate": growth**2 / 16,
        "angle": 1,
    }
    for name, factor in factors.items():
        expected = factor * model.history_[name]
        np.testing.assert_allclose(scaled.history_[name], expected, rtol=1e-9, err_msg=name)
    # A rate that is given is that of the same steps.
    rate = np.nanmax(scaled.history_["learning_rate"])
    given = make_bank(**params, learning_rate_init=float(rate)).fit(noisy.X, 4 * noisy.y)
    np.testing.assert_allclose(given.coef_, scaled.coef_, rtol=1e-9)


def test_number_of_patches_may_change(noisy, make_patch_bank):
    model = make_patch_bank().fit(noisy.patches, noisy.y)
    fewer = noisy.patches[:, :2]
    np.testing.assert_allclose(model.predict(fewer), values_by_loops(model, fewer))
    rows = noisy.patches[:, 1]
    expected = values_by_loops(model, rows[:, np.newaxis])
    np.testing.assert_allclose(model.predict(rows), expected)


def test_order_of_patches_and_samples_does_not_matter(noisy, make_patch_bank):
    model = make_patch_bank().fit(noisy.patches, noisy.y)
    order = np.random.default_rng(0).permutation(800)
    X = noisy.patches[order][:, [2, 0, 1]]
    shuffled = make_patch_bank().fit(X, noisy.y[order])
    assert distance(shuffled.coef_, model.coef_) < 1e-6


# Options ----------------------------------------------------------------------------------


@pytest.mark.parametrize("params", RECIPES.values(), ids=RECIPES.keys())
@pytest.mark.filterwarnings("ignore:The best restart has not converged")
def test_penalty_shrinks_the_filters(params, make_noisy, make_bank):
    noisy = make_noisy(params)
    norms = [
        np.linalg.norm(make_bank(alpha=alpha, **params).fit(noisy.X, noisy.y).coef_)
        for alpha in (0.0, 0.05, 0.5, 5.0)
    ]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < 0.5 * norms[0]


@pytest.mark.filterwarnings("ignore:The best restart has not converged")
@pytest.mark.parametrize("activation", NAMES)
def test_gradient_descent_descends(activation, make_bank_problem, make_bank):
    problem = make_bank_problem(activation=activation)
    model = make_bank(
        activation=activation, solver="gd", init="random", n_init=1, max_iter=100
    ).fit(problem.X, problem.y)
    curve = model.loss_curve_
    assert curve.max() == curve[0]
    assert np.mean(np.diff(curve) <= 1e-12 * curve[0]) > 0.9
    assert model.loss_ < 0.5 * curve[0]
    assert model.loss_ == pytest.approx(objective_of(model, problem.X, problem.y), rel=1e-6)


@pytest.mark.filterwarnings("ignore:The best restart has not converged")
@pytest.mark.parametrize("solver", ["gd", "sgd"])
@pytest.mark.parametrize("activation", NAMES)
def test_gradient_descent_nears_the_teacher_from_the_tensor_start(
    solver, activation, make_bank_problem, make_bank
):
    problem = make_bank_problem(1500, activation)
    max_iter = 150 if solver == "gd" else 4
    model = make_bank(activation=activation, solver=solver, n_init=1, max_iter=max_iter)
    model.fit(problem.X, problem.y)
    assert relative_error(model, problem) < 0.3 * distance(
        model.init_coef_, problem.teacher
    )
    assert model.loss_ < 0.1 * model.loss_curve_[0]


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("seed", range(3))
def test_fit_that_has_converged_is_at_the_bottom(
    activation, seed, make_bank_problem, make_bank
):
    problem = make_bank_problem(300, activation, snr=4, n_filters=3, random_state=seed)
    params = {"n_filters": 3, "activation": activation, "max_iter": 500}
    params["init"] = np.random.default_rng(seed).standard_normal((3, 5))
    model = make_bank(**params).fit(problem.X, problem.y)
    patient = make_bank(n_iter_no_change=50, **params).fit(problem.X, problem.y)
    assert model.loss_ <= patient.loss_ * 1.001


def test_starts_may_be_given(noisy, make_bank):
    rng = np.random.default_rng(0)
    banks = rng.standard_normal((4, 2, 5))
    model = make_bank(init=banks, n_init=10).fit(noisy.X, noisy.y)
    assert model.restart_losses_.shape == (4,)
    np.testing.assert_allclose(model.init_coef_, banks[model.best_restart_], rtol=1e-12)
    one = make_bank(init=banks[model.best_restart_]).fit(noisy.X, noisy.y)
    np.testing.assert_allclose(one.coef_, model.coef_, rtol=1e-9)
    assert one.restart_losses_.shape == (1,)
    nearby = make_bank(init=noisy.teacher.tolist()).fit(noisy.X, noisy.y)
    assert nearby.best_restart_ == 0


def test_starts_may_have_the_shape_of_windows():
    window = {"kernel_size": 3, "input_shape": (6, 6), "stride": 3}
    X, y, teacher = make_filter_bank_regression(
        300, n_filters=2, **window, return_teacher=True, random_state=0
    )
    expected = None
    for init in (teacher, teacher.reshape(2, 9), teacher[np.newaxis]):
        model = ConvFilterBankRegressor(2, **window, init=init, random_state=0).fit(X, y)
        expected = model.coef_ if expected is None else expected
        np.testing.assert_array_equal(model.coef_, expected)


def test_signs_of_given_starts_are_those_that_fit(make_bank_problem, make_bank):
    problem = make_bank_problem(output_weights="signs", n_filters=3, random_state=1)
    assert set(problem.signs) == {1, -1}
    model = make_bank(n_filters=3, init=problem.teacher + 0.01, output_weights="signs")
    model.fit(problem.X, problem.y)
    np.testing.assert_array_equal(model.output_weights_, problem.signs)
    assert relative_error(model, problem) < 1e-8


def test_fit_that_runs_out_of_iterations_says_so(noisy, make_bank):
    model = make_bank(max_iter=1, init="random", n_init=2)
    with pytest.warns(ConvergenceWarning, match="increase max_iter"):
        model.fit(noisy.X, noisy.y)
    assert model.n_iter_ == 1


@pytest.mark.parametrize("rate", [1e6, 1e300])
@pytest.mark.parametrize("solver", ["gd", "sgd"])
@pytest.mark.parametrize("activation", ["relu", "squared_relu"])
def test_far_too_large_rates_end_in_a_warning(rate, solver, activation, noisy, make_bank):
    model = make_bank(
        activation=activation, solver=solver, learning_rate_init=rate, n_init=2
    )
    with pytest.warns(ConvergenceWarning, match="lower learning_rate_init"):
        model.fit(noisy.X, noisy.y)
    assert np.isfinite(model.coef_).all()
    assert model.loss_ <= np.nanmin(model.history_["loss"][0]) * (1 + 1e-9)


@pytest.mark.parametrize(
    "params", [{"max_iter": 1}, {"solver": "gd", "learning_rate_init": 1e9}]
)
def test_remedies_are_parameters_of_the_bank(params, noisy, make_bank):
    with pytest.warns(ConvergenceWarning) as caught:
        make_bank(init="random", n_init=1, **params).fit(noisy.X, noisy.y)
    (message,) = [str(warning.message) for warning in caught]
    for name in ConvReLUFilterRegressor().get_params().keys() - make_bank().get_params():
        assert not re.search(rf"\b{name}\b", message)


def test_progress_is_printed_only_on_demand(noisy, make_bank, capsys):
    model = make_bank(n_init=3).fit(noisy.X, noisy.y)
    model.predict(noisy.X)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    model = make_bank(n_init=3, verbose=1).fit(noisy.X, noisy.y)
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["phase", "iteration", "running", "unexplained", "seconds"]
    assert len(lines) == len(model.history_["iteration"]) - 1
    assert {len(line) for line in lines} == {len(header)}


@pytest.mark.parametrize("activation", NAMES)
def test_progress_is_told_as_a_share_of_variance(activation, make_noisy, make_bank, capsys):
    noisy = make_noisy({"activation": activation})
    model = make_bank(activation=activation, init="random", n_init=1, verbose=1)
    model.fit(noisy.X, noisy.y)
    last = capsys.readouterr().out.splitlines()[-1]
    share = 2 * model.loss_ / noisy.y.var()
    assert float(last.split()[-2]) == pytest.approx(share, rel=1e-3)


# Weights, threads, randomness -------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The best restart has not converged")
@pytest.mark.parametrize("params", RECIPES.values(), ids=RECIPES.keys())
def test_zero_weight_leaves_a_sample_out(params, make_noisy, make_bank):
    noisy = make_noisy(params)
    weights = np.random.RandomState(0).randint(0, 2, 800) * 0.5
    X, y = noisy.X.copy(), noisy.y.copy()
    X[weights == 0], y[weights == 0] = 1e6, -1e6
    model = make_bank(**params).fit(X, y, weights)
    kept = weights > 0
    expected = make_bank(**params).fit(noisy.X[kept], noisy.y[kept])
    assert distance(model.coef_, expected.coef_) < 1e-7
    assert model.hessian_extremes_ == pytest.approx(expected.hessian_extremes_, rel=1e-6)
    assert model.n_samples_seen_ == kept.sum()


@pytest.mark.filterwarnings("ignore:The best restart has not converged")
@pytest.mark.filterwarnings("ignore:init='tensor'")
@pytest.mark.parametrize("params", RECIPES.values(), ids=RECIPES.keys())
def test_integer_weights_are_repetitions(params, make_noisy, make_bank):
    noisy = make_noisy(params)
    # Few enough samples for full batches, whose order does not matter.
    few = noisy.take(80)
    weights = np.random.RandomState(0).randint(1, 4, 80)
    model = make_bank(**params).fit(few.X, few.y, weights)
    repeated = make_bank(**params).fit(
        np.repeat(few.X, weights, axis=0), np.repeat(few.y, weights)
    )
    assert distance(model.coef_, repeated.coef_) < 1e-4
    assert model.loss_ == pytest.approx(repeated.loss_, rel=1e-6)


def test_weights_are_repetitions_to_the_hessian(noisy, make_bank):
    few = noisy.take(200)
    weights = np.random.RandomState(0).randint(1, 9, 200)
    model = make_bank().fit(few.X, few.y, weights)
    repeated = make_bank().fit(np.repeat(few.X, weights, axis=0), np.repeat(few.y, weights))
    assert repeated.n_samples_seen_ < 1000
    np.testing.assert_allclose(
        model.hessian_extremes_, repeated.hessian_extremes_, rtol=1e-6
    )


@pytest.mark.parametrize("unit", [2.0, 1e-300, 1e300])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_only_ratios_of_weights_matter(unit, activation, make_noisy, make_bank):
    params = {"activation": activation, "n_init": 2}
    noisy, weights = make_noisy(params), np.linspace(0.1, 1, 800)
    X, y = noisy.X, noisy.y
    model = make_bank(**params).fit(X, y, weights * unit)
    expected = make_bank(**params).fit(X, y, weights)
    assert distance(model.coef_, expected.coef_) < 1e-5
    ones = make_bank(**params).fit(X, y, np.full(800, unit))
    unweighted = make_bank(**params).fit(X, y)
    np.testing.assert_array_equal(ones.coef_, unweighted.coef_)


@pytest.mark.parametrize("params", RECIPES.values(), ids=RECIPES.keys())
@pytest.mark.filterwarnings("ignore:The best restart has not converged")
def test_threads_change_nothing(params, make_bank_problem, make_bank):
    # Several of the blocks that threads work on.
    many = make_bank_problem(3000, params.get("activation", "relu"), snr=4)
    params = params | {"n_init": 2, "max_iter": 3}
    one, two, three = (
        make_bank(n_jobs=n_jobs, **params).fit(many.X, many.y) for n_jobs in (1, 2, 3)
    )
    for other in (two, three):
        np.testing.assert_array_equal(other.coef_, one.coef_)
        np.testing.assert_array_equal(other.init_coef_, one.init_coef_)
        np.testing.assert_array_equal(other.restart_losses_, one.restart_losses_)
        assert other.hessian_extremes_ == one.hessian_extremes_
        for name, values in one.history_.items():
            np.testing.assert_array_equal(other.history_[name], values, err_msg=name)
        np.testing.assert_array_equal(other.predict(many.X), one.predict(many.X))


@pytest.mark.filterwarnings("ignore:The best restart has not converged")
@pytest.mark.parametrize("recipe", ["random", "SGD"])
def test_random_state_decides_a_fit(recipe, noisy, make_bank):
    def coef(random_state):
        params = {"init": "random", "max_iter": 2} | RECIPES[recipe]
        model = make_bank(random_state=random_state, **(params | {"max_iter": 2}))
        return model.fit(noisy.X, noisy.y).coef_

    np.testing.assert_array_equal(coef(3), coef(3))
    np.testing.assert_array_equal(coef(np.random.RandomState(3)), coef(3))
    assert not np.array_equal(coef(3), coef(4))


def test_global_random_state_is_used_only_where_asked_for(noisy, make_bank):
    # NumPy's legacy generator is what scikit-learn takes for random_state=None.
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make_bank(init="random", n_init=2).fit(noisy.X, noisy.y)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    losses = []
    for _ in range(2):
        np.random.seed(7)  # noqa: NPY002
        model = make_bank(init="random", n_init=2, random_state=None)
        losses.append(model.fit(noisy.X, noisy.y).restart_losses_)
    np.testing.assert_array_equal(*losses)


# State ------------------------------------------------------------------------------------


def test_warm_start_goes_on_from_the_filters(noisy, make_bank):
    model = make_bank(solver="gd", init="random", n_init=3, max_iter=3, warm_start=True)
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        model.fit(noisy.X, noisy.y)
    first, coef = model.loss_, model.coef_
    assert model.restart_losses_.shape == (3,)
    model.set_params(solver="gauss-newton", max_iter=100).fit(noisy.X, noisy.y)
    assert model.restart_losses_.shape == (1,)
    assert model.loss_curve_[0] == pytest.approx(first)
    np.testing.assert_allclose(model.init_coef_, coef, rtol=1e-12)
    assert model.loss_ < first


@pytest.mark.parametrize("activation", NAMES)
def test_warm_start_at_the_minimum_stays_there(activation, make_bank_problem, make_bank):
    problem = make_bank_problem(activation=activation, output_weights="signs")
    model = make_bank(activation=activation, output_weights="signs", warm_start=True)
    expected = model.fit(problem.X, problem.y).coef_
    signs = model.output_weights_
    model.fit(problem.X, problem.y)
    np.testing.assert_allclose(model.coef_, expected, rtol=1e-9)
    np.testing.assert_array_equal(model.output_weights_, signs)


def test_warm_start_needs_the_same_patches(noisy, make_bank):
    model = make_bank(warm_start=True).fit(noisy.X, noisy.y)
    expected = model.predict(noisy.X)
    model.set_params(kernel_size=3)
    with pytest.raises(ValueError, match=r"patch_dim=3.*warm_start"):
        model.fit(noisy.X, noisy.y)
    model.set_params(kernel_size=5)
    np.testing.assert_array_equal(model.predict(noisy.X), expected)


@pytest.mark.parametrize("n_filters", [1, 3])
def test_warm_start_needs_as_many_filters(n_filters, noisy, make_bank):
    model = make_bank(warm_start=True).fit(noisy.X, noisy.y)
    expected = model.predict(noisy.X)
    model.set_params(n_filters=n_filters)
    with pytest.raises(ValueError, match=rf"n_filters={n_filters}.*warm_start"):
        model.fit(noisy.X, noisy.y)
    model.set_params(n_filters=2)
    np.testing.assert_array_equal(model.predict(noisy.X), expected)


def test_output_weights_changed_since_are_obeyed(noisy, make_bank):
    model = make_bank(output_weights="signs", warm_start=True).fit(noisy.X, -noisy.y)
    assert -1 in model.output_weights_
    model.set_params(output_weights="ones").fit(noisy.X, -noisy.y)
    np.testing.assert_array_equal(model.output_weights_, 1)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_intercept_changed_since_is_obeyed(fit_intercept, noisy, make_bank):
    model = make_bank(fit_intercept=not fit_intercept, warm_start=True)
    model.fit(noisy.X, noisy.y).set_params(fit_intercept=fit_intercept)
    model.fit(noisy.X, noisy.y)
    assert bool(model.intercept_) == fit_intercept


def test_warm_start_after_constant_targets_learns(relu, make_bank):
    model = make_bank(warm_start=True).fit(relu.X, np.ones(800))
    np.testing.assert_array_equal(model.coef_, 0)
    model.fit(relu.X, relu.y)
    assert model.score(relu.X, relu.y) > 0.99


def test_refit_without_warm_start_forgets(noisy, make_bank):
    model = make_bank(output_weights="signs").fit(noisy.X, -noisy.y)
    frame = pd.DataFrame(noisy.X).add_prefix("x")
    model.set_params(output_weights="ones").fit(frame, noisy.y)
    model.fit(noisy.X, noisy.y)
    expected = make_bank().fit(noisy.X, noisy.y)
    assert vars(model).keys() == vars(expected).keys()
    np.testing.assert_array_equal(model.coef_, expected.coef_)


def test_unfitted_bank_says_so(relu, make_bank):
    for use in ("predict", "feature_map"):
        with pytest.raises(NotFittedError, match="ConvFilterBankRegressor"):
            getattr(make_bank(), use)(relu.X)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("copier", ["pickle", "joblib", "deepcopy"])
def test_copies_predict_alike(copier, dtype, relu, make_bank, tmp_path):
    X = relu.X.astype(dtype)
    model = make_bank(output_weights="signs").fit(X, relu.y)
    if copier == "pickle":
        restored = pickle.loads(pickle.dumps(model))
    elif copier == "joblib":
        joblib.dump(model, tmp_path / "model")
        restored = joblib.load(tmp_path / "model", mmap_mode="r")
    else:
        restored = copy.deepcopy(model)
    np.testing.assert_array_equal(restored.predict(X), model.predict(X))
    np.testing.assert_array_equal(restored.feature_map(X), model.feature_map(X))
    restored.set_params(warm_start=True).fit(X, relu.y)
    model.set_params(warm_start=True).fit(X, relu.y)
    np.testing.assert_array_equal(restored.predict(X), model.predict(X))


def test_clones_have_the_parameters_and_nothing_else(relu, make_bank):
    model = make_bank(init=np.ones((1, 2, 5)) + relu.teacher).fit(relu.X, relu.y)
    copied = clone(model)
    assert vars(copied).keys() == model.get_params().keys()
    copied.fit(relu.X, relu.y)
    np.testing.assert_array_equal(copied.coef_, model.coef_)


def test_no_method_changes_a_parameter(relu):
    params = {
        "n_filters": np.int64(2),
        "kernel_size": [5],
        "input_shape": np.array([15]),
        "stride": (5,),
        "init": relu.teacher + 0.1,
        "random_state": np.random.RandomState(0),
    }
    before = copy.deepcopy(params)
    model = ConvFilterBankRegressor(**params)
    model.fit(relu.X, relu.y).predict(relu.X)
    model.feature_map(relu.X)
    for name, value in params.items():
        assert model.get_params()[name] is value, name
    assert params["kernel_size"] == before["kernel_size"]
    np.testing.assert_array_equal(params["init"], before["init"])


# Within scikit-learn's tools --------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:init='tensor'")
@pytest.mark.filterwarnings("ignore:The best restart has not converged")
def test_search_finds_the_number_of_filters_and_the_activation(relu, make_bank):
    search = GridSearchCV(
        make_bank(n_init=4),
        {"n_filters": [1, 2], "activation": ["relu", "tanh"]},
        cv=2,
        error_score="raise",
    )
    few = relu.take(400)
    search.fit(few.X, few.y)
    assert search.best_params_ == {"n_filters": 2, "activation": "relu"}
    assert search.best_score_ == pytest.approx(1)


def test_pipelines_equal_the_regressor_alone(noisy, make_bank):
    model = make_bank().fit(noisy.X, noisy.y)
    pipeline = make_pipeline(
        ConvPatchExtractor(5, stride=5), ConvFilterBankRegressor(2, random_state=0)
    ).fit(noisy.X, noisy.y)
    np.testing.assert_allclose(pipeline[-1].coef_, model.coef_, rtol=1e-9)
    np.testing.assert_allclose(pipeline.predict(noisy.X), model.predict(noisy.X))
    scaled = make_pipeline(StandardScaler(), make_bank()).fit(noisy.X, noisy.y)
    assert scaled.score(noisy.X, noisy.y) > 0.5
    copied = clone(pipeline.set_params(convfilterbankregressor__n_filters=3))
    assert copied[-1].n_filters == 3


@pytest.mark.parametrize("form", ["X", "patches"])
def test_cross_validation_takes_every_form(form, relu, make_bank, make_patch_bank):
    model = make_bank() if form == "X" else make_patch_bank()
    prediction = cross_val_predict(model, getattr(relu, form), relu.y, cv=2)
    np.testing.assert_allclose(prediction, relu.y, rtol=1e-6)


def test_data_frames_name_the_features(relu, make_bank):
    frame = pd.DataFrame(relu.X).add_prefix("x")
    model = make_bank().fit(frame, pd.Series(relu.y))
    assert model.feature_names_in_.tolist() == frame.columns.tolist()
    expected = make_bank().fit(relu.X, relu.y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(model.predict(frame), expected.predict(relu.X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[frame.columns[::-1]])
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(relu.X)


def test_tags_tell_what_is_taken(make_bank):
    tags = make_bank().__sklearn_tags__()
    assert tags.estimator_type == "regressor"
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    assert not tags.target_tags.multi_output
    assert not tags.non_deterministic
