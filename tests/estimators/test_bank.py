"""The regressor of a bank: recovery for every activation, starts, convexity, warnings."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_bank_regression, make_filter_regression
from skconvfilter.diagnostics import local_convexity
from tests.estimators.cases import (
    BANK,
    NAMES,
    PAPER,
    distance,
    fit_quietly,
    label,
    objective,
)

SIGNALS = {"kernel_size": 5, "input_shape": 15, "stride": 5}

stops_early = pytest.mark.filterwarnings("ignore:The best restart has not converged")
poor_start = pytest.mark.filterwarnings("ignore:init='tensor'")
each_activation = pytest.mark.parametrize("activation", NAMES)


def make_bank(n_filters=2, **params):
    """A regressor for signals of three patches of length five."""
    common = {"random_state": 0, "diagnostics": False}
    return ConvFilterBankRegressor(n_filters, **(SIGNALS | common | params))


def signals(n_samples, model, **options):
    """Normal signals, labelled by a random bank of the model's kind."""
    n_features = int(np.prod(model.input_shape or 15))
    X = np.random.default_rng(1).standard_normal((n_samples, n_features))
    return label(model, X, **options)


# Recovery ---------------------------------------------------------------------------------


@each_activation
@pytest.mark.parametrize(("pooling", "intercept"), [("sum", 3.0), ("mean", 0.0)])
def test_teacher_is_recovered(activation, pooling, intercept):
    model = make_bank(
        3, activation=activation, pooling=pooling, fit_intercept=intercept != 0
    )
    data = signals(1500, model, intercept=intercept)
    model.fit(data.X, data.y)
    assert distance(model.coef_, data.teacher) < 1e-8
    assert model.intercept_ == pytest.approx(intercept, abs=1e-8)
    np.testing.assert_array_equal(model.output_weights_, 1)
    np.testing.assert_allclose(model.predict(data.X), data.y, atol=1e-8)


@each_activation
def test_teacher_with_signs_is_recovered(activation):
    model = make_bank(3, activation=activation, output_weights="signs")
    data = signals(1500, model, signs=[1, -1, 1])
    model.fit(data.X, data.y)
    np.testing.assert_allclose(model.predict(data.X), data.y, atol=1e-8)
    assert set(model.output_weights_) <= {1, -1}
    if activation in ("relu", "leaky_relu", "squared_relu"):
        found = model.coef_, data.teacher, model.output_weights_, data.signs
    else:
        # The other sign is as good for the negative filter.
        signs = model.output_weights_[:, np.newaxis], data.signs[:, np.newaxis]
        found = signs[0] * model.coef_, signs[1] * data.teacher
    assert distance(*found) < 1e-8


GEOMETRIES = {
    "images": {"kernel_size": 3, "input_shape": (9, 9), "stride": 3},
    "channels": {"kernel_size": 2, "input_shape": (4, 6, 2), "stride": 2},
    "signal with channels": {"kernel_size": (3,), "input_shape": (12, 2), "stride": 3},
    "gaps": {"kernel_size": 2, "input_shape": (8, 8), "stride": 3},
    "whole sample": {"kernel_size": (3, 2), "input_shape": (3, 2), "stride": 1},
    "padding": {"kernel_size": 3, "input_shape": (6, 6), "stride": 3, "padding": 3},
    "dilation": {"kernel_size": 2, "input_shape": (7, 7), "dilation": 2, "stride": 2},
}


@pytest.mark.filterwarnings("ignore:The patches overlap")
@poor_start
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_filters_of_every_geometry_are_recovered(geometry):
    model = make_bank(**geometry)
    data = signals(800, model)
    model.fit(data.X, data.y)
    assert distance(model.coef_, data.teacher) < 1e-8
    assert model.filters_.reshape(2, -1).shape == model.coef_.shape


@pytest.mark.parametrize("contraction", ["all", "single"])
@pytest.mark.parametrize("activation", ["relu", "squared_relu", "tanh"])
def test_both_contractions_lead_to_the_teacher(contraction, activation):
    model = make_bank(activation=activation, contraction=contraction)
    data = signals(3000, model)
    model.fit(data.X, data.y)
    assert distance(model.coef_, data.teacher) < 1e-8
    if contraction == "all":
        assert model.best_restart_ == 0
        assert distance(model.coef_path_[0], data.teacher) < 0.2


@each_activation
def test_patches_of_any_covariance_will_do(activation):
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((5, 5)) + np.eye(5)
    X = (rng.standard_normal((2000, 3, 5)) @ mixing).reshape(2000, 15)
    model = make_bank(activation=activation)
    data = label(model, X)
    assert distance(model.fit(X, data.y).coef_, data.teacher) < 1e-8


@pytest.mark.filterwarnings("ignore:init='tensor'")
def test_overlapping_patches_are_fitted_with_a_warning():
    model = make_bank(3, kernel_size=3, input_shape=(8, 8), stride=1, init="tensor")
    data = signals(800, model)
    with pytest.warns(UserWarning, match=r"patches overlap.*stride=kernel_size"):
        model.fit(data.X, data.y)
    assert distance(model.coef_, data.teacher) < 1e-8
    # Whoever does not ask for the tensor method is not told of its assumptions.
    model.set_params(init="random").fit(data.X, data.y)
    assert distance(model.coef_, data.teacher) < 1e-8


@poor_start
def test_bank_on_images_of_digits(digits):
    model = make_bank(kernel_size=4, input_shape=(8, 8), stride=4)
    data = label(model, digits.X)
    # The first column of the images is blank, so that filters are not unique.
    assert model.fit(data.X, data.y).score(data.X, data.y) > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("bias", [False, True])
def test_bank_on_overlapping_windows_of_mnist_is_recovered(mnist, bias):
    model = ConvFilterBankRegressor(
        4, kernel_size=5, input_shape=(28, 28), bias=bias, random_state=0, diagnostics=False
    )
    X, y = make_filter_bank_regression(
        X=mnist[0][:1000],
        estimator=model,
        output_weights=[1, -1, 1, -1],
        bias=[0.3, -0.3, -0.5, 0.1] if bias else 0.0,
        random_state=2,
    )
    # Steps for the squared error alone end in other minima.
    assert model.fit(X, y).loss_ < 1e-20 * np.var(y)


@pytest.mark.parametrize("sign", [1, -1])
def test_one_filter_is_that_of_the_regressor_of_one(sign):
    model = make_bank(1, bias=False)
    data = signals(800, model, signs=[sign], snr=100)
    model.fit(data.X, data.y)
    single = ConvReLUFilterRegressor(**SIGNALS, random_state=0).fit(data.X, data.y)
    assert model.output_weights_ == single.sign_ == sign
    np.testing.assert_allclose(model.coef_[0], single.coef_, atol=0.01)
    assert model.loss_ == pytest.approx(single.loss_, rel=1e-3)


@stops_early
@each_activation
@pytest.mark.parametrize(
    "params",
    [
        {"init": "tensor"},
        {"init": "forward"},
        {"init": "random"},
        {"init": "random", "solver": "sgd"},
    ],
    ids=["tensor", "forward", "random", "sgd"],
)
def test_fits_follow_the_size_and_the_sign_of_the_targets(params, activation):
    model = make_bank(activation=activation, n_init=2, max_iter=4, **params)
    data = signals(300, model, signs=[1, -1], intercept=2.0, snr=4)
    expected = fit_quietly(model, data.X, data.y)
    loss, values = expected.loss_, expected.predict(data.X)
    assert expected.score(data.X, data.y) > 0.2
    factor = -1024.0
    scaled = fit_quietly(model, data.X, factor * data.y)
    assert scaled.loss_ == pytest.approx(factor**2 * loss, rel=1e-6)
    predicted = scaled.predict(data.X) / factor
    np.testing.assert_allclose(predicted, values, rtol=1e-5, atol=1e-6)


@stops_early
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "erf"])
def test_an_output_scale_follows_the_sign_of_the_targets(activation):
    model = make_bank(activation=activation, output_weights="ones", n_init=2, max_iter=4)
    model.set_params(init="forward")
    data = signals(300, model, intercept=2.0, snr=4)
    values = fit_quietly(model, data.X, data.y).predict(data.X)
    scale = model.output_scale_
    reversed_values = fit_quietly(model, data.X, -data.y).predict(data.X)
    np.testing.assert_allclose(reversed_values, -values, rtol=1e-5, atol=1e-6)
    assert model.output_scale_ == pytest.approx(-scale, rel=1e-5)


def test_output_scale_is_that_of_the_targets():
    model = make_bank(2, activation="tanh", output_weights="ones")
    data = signals(1500, model)
    model.fit(data.X, -1000 * data.y)
    # Of an odd activation, the negative filters have the negative scale.
    assert abs(model.output_scale_) == pytest.approx(1000)
    assert distance(model.coef_, -np.sign(model.output_scale_) * data.teacher) < 1e-8
    np.testing.assert_array_equal(model.output_weights_, 1)
    assert make_bank(2).fit(data.X, data.y).output_scale_ == 1.0


def test_penalty_does_not_favour_short_filters_of_a_large_scale():
    # It is on their products, which are what linear activations make of them.
    model = make_bank(2, activation="tanh", alpha=1e-2, n_init=2)
    data = signals(400, model)
    values = fit_quietly(model, data.X, data.y).predict(data.X)
    assert 0.3 < np.linalg.norm(model.coef_) / np.linalg.norm(data.teacher) < 3
    scaled = fit_quietly(model, data.X, 100 * data.y).predict(data.X) / 100
    np.testing.assert_allclose(scaled, values, rtol=1e-3, atol=1e-3 * values.std())


# Search -----------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["tensor", "random"])
def test_fit_that_begins_on_a_subsample_ends_on_all_samples(init):
    # More samples than starts are compared on.
    data = BANK.data(11_000)
    model = BANK.make(init=init, n_init=5).fit(data.X, data.y)
    expected = objective(model, data.X, data.y)
    assert model.loss_ == pytest.approx(expected)
    assert model.loss_curve_[-1] == pytest.approx(expected)
    assert np.nanmin(model.restart_losses_) == pytest.approx(expected)
    # At most two of the starts go on with all samples.
    ran = np.isfinite(model.history_["loss"])
    assert 1 <= ran[-1].sum() <= 2
    assert model.n_iter_ == np.count_nonzero(ran[:, model.best_restart_]) - 1


@stops_early
@each_activation
def test_gradient_descent_descends(activation):
    model = make_bank(
        activation=activation,
        **PAPER | {"solver": "gd", "init": "random", "n_init": 1, "max_iter": 100},
    )
    data = signals(800, model)
    curve = model.fit(data.X, data.y).loss_curve_
    assert curve.max() == curve[0]
    assert np.mean(np.diff(curve) <= 1e-12 * curve[0]) > 0.9
    assert model.loss_ < 0.5 * curve[0]


@pytest.mark.slow
@stops_early
@pytest.mark.parametrize(("solver", "max_iter"), [("gd", 150), ("sgd", 4)])
@each_activation
def test_gradient_descent_nears_the_teacher_from_the_tensor_start(
    solver, max_iter, activation
):
    model = make_bank(activation=activation, solver=solver, n_init=1, max_iter=max_iter)
    data = signals(1500, model)
    model.fit(data.X, data.y)
    start, end = (distance(w, data.teacher) for w in (model.coef_path_[0], model.coef_))
    # An output scale and long filters, or a larger one and shorter filters, fit alike.
    assert end < (0.3 if activation.endswith("relu") else 0.6) * start
    assert model.loss_ < 0.1 * model.loss_curve_[0]


@each_activation
def test_fit_that_has_converged_is_at_the_bottom(activation):
    init = np.random.default_rng(0).standard_normal((3, 5))
    model = make_bank(3, activation=activation, max_iter=500, init=init)
    data = signals(300, model, snr=4)
    loss = model.fit(data.X, data.y).loss_
    patient = model.set_params(n_iter_no_change=50).fit(data.X, data.y)
    assert loss <= patient.loss_ * 1.005


# Starts -----------------------------------------------------------------------------------


def test_starts_may_be_given():
    data = BANK.data()
    banks = np.random.default_rng(0).standard_normal((4, 2, 4))
    model = BANK.fit(data, init=banks, n_init=10)
    assert model.restart_losses_.shape == (4,)
    start = banks[model.best_restart_]
    np.testing.assert_allclose(model.coef_path_[0], start, rtol=1e-12)
    # One bank, as a list and in the shape of the windows.
    for init in (start, start.tolist(), start.reshape(2, 2, 2)):
        one = BANK.fit(data, init=init)
        assert one.restart_losses_.shape == (1,)
        np.testing.assert_allclose(one.coef_, model.coef_, rtol=1e-9)


def test_signs_of_given_starts_are_those_that_fit():
    model = make_bank(3, output_weights="signs")
    data = signals(800, model, signs=[1, -1, 1])
    model.set_params(init=data.teacher + 0.01).fit(data.X, data.y)
    np.testing.assert_array_equal(model.output_weights_, data.signs)
    assert distance(model.coef_, data.teacher) < 1e-8


# Convexity --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        *({"activation": name} for name in NAMES),
        {"pooling": "mean"},
        {"output_weights": "signs"},
    ],
    ids=str,
)
def test_convexity_is_that_of_the_diagnostics(params):
    model = make_bank(diagnostics=True, **params)
    data = signals(400, model, snr=10)
    model.fit(data.X, data.y)
    expected = local_convexity(data.X, model, y=data.y - model.intercept_)
    np.testing.assert_allclose(
        model.hessian_extremes_, expected.hessian_extremes, rtol=1e-7, atol=1e-9
    )
    assert model.condition_number_ == pytest.approx(expected.condition_number)
    assert model.lambda_ == pytest.approx(expected.lambda_)
    assert model.rho_ == pytest.approx(expected.rho)
    assert model.hessian_extremes_[0] > 0


def test_weights_are_repetitions_to_the_hessian():
    few, weights = BANK.data().take(200), np.random.RandomState(0).randint(1, 9, 200)
    params = {"diagnostics": True, "init": few.teacher, "bias": False}
    model = BANK.fit(few, weights, **params)
    X, y = np.repeat(few.X, weights, axis=0), np.repeat(few.y, weights)
    repeated = BANK.fit(few._replace(X=X, y=y), **params)
    assert repeated.n_samples_seen_ < 1000
    extremes = repeated.hessian_extremes_
    np.testing.assert_allclose(model.hessian_extremes_, extremes, rtol=1e-6)


def test_of_filters_of_zero_the_convexity_is_nan():
    data = BANK.data()
    model = BANK.make(diagnostics=True).fit(data.X, np.ones(300))
    numbers = model.condition_number_, model.lambda_, model.rho_
    assert np.isnan([*model.hessian_extremes_, *numbers]).all()


# Warnings ---------------------------------------------------------------------------------


@poor_start
@stops_early
@pytest.mark.parametrize("n_samples", [2, 7])
def test_fewer_samples_than_entries_are_fitted_with_a_warning(n_samples):
    data, model = BANK.data(), BANK.make(diagnostics=True)
    message = rf"n_samples={n_samples}\).*weights and biases of the filters \(10\)"
    with pytest.warns(UserWarning, match=message):
        model.fit(data.X[:n_samples], data.y[:n_samples])
    # Many banks fit: none is locally unique.
    assert model.hessian_extremes_[0] == pytest.approx(0, abs=1e-9)


@stops_early
def test_enough_samples_are_no_reason_to_warn():
    data = BANK.data()
    BANK.make(init="random").fit(data.X[:10], data.y[:10])


@stops_early
@pytest.mark.parametrize("activation", ["relu", "squared_relu", "tanh"])
def test_more_filters_than_entries_of_a_patch_are_fitted_with_a_warning(activation):
    model = BANK.make(activation=activation, n_filters=6, init="tensor")
    data = label(model, BANK.data().X, n_filters=2)
    with pytest.warns(UserWarning, match="init='tensor' gave no start.*6 filters"):
        model.fit(data.X, data.y)
    assert model.coef_.shape == (6, 4)
    assert model.score(data.X, data.y) > 0.99


@pytest.mark.slow
@each_activation
@pytest.mark.parametrize(
    ("targets", "output_weights"), [("even", "ones"), ("odd", "signs"), ("noise", "signs")]
)
def test_targets_without_the_moments_needed_are_fitted(activation, targets, output_weights):
    # With every sample comes its negative: all moments of odd, or of even, order vanish.
    X = BANK.data().X[:150]
    X = np.vstack([X, -X])
    y = {
        "even": np.abs(X[:, :4]).sum(axis=1),
        "odd": X @ np.linspace(-1, 1, 24),
        "noise": np.random.default_rng(0).standard_normal(300),
    }[targets]
    model = BANK.make(activation=activation, output_weights=output_weights, n_init=2)
    prediction = fit_quietly(model, X, y).predict(X)
    assert np.mean((prediction - y) ** 2) <= np.var(y) * (1 + 1e-6)


@pytest.mark.parametrize("random_state", [0, 6])
def test_dead_starts_on_data_far_from_zero_are_no_success(random_state):
    X = load_digits().data
    window = {"kernel_size": 3, "input_shape": (8, 8)}
    bank = ConvFilterBankRegressor(1, init="random", random_state=random_state, **window)
    teacher = np.random.default_rng(random_state).standard_normal((3, 3))
    y = make_filter_regression(
        X=X, estimator=ConvReLUFilterRegressor(**window), teacher=teacher
    )[1]
    assert bank.fit(X + 100, y).score(X + 100, y) > 0.9
