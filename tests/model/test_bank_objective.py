"""The objective of banks: what naive loops and finite differences say it is."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skconvfilter.model.activations import ACTIVATIONS
from skconvfilter.model.bank_objective import BankObjective, make_bank_objective
from skconvfilter.model.geometry import flatten_windows
from tests.model.banks import banks, make_banks
from tests.model.problems import assert_same, signs_of_products, steps_within_cell


@given(banks=banks())
def test_predictions_are_those_of_the_loops(banks):
    values = banks.objective.predict(banks.W, banks.signs)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, banks.values, rtol=0, atol=banks.rounding)


# Of these, values have no output scale.
HOMOGENEOUS = ("relu", "leaky_relu", "squared_relu")


@given(banks=banks(HOMOGENEOUS))
def test_value_is_that_of_the_best_intercept(banks):
    result = banks.objective.value(banks.W, banks.signs)
    errors, _ = banks.centred
    weights, alpha = banks.data.all_weights, banks.data.alpha
    losses = np.average(errors**2, axis=0, weights=weights)
    losses += alpha * np.sum(banks.filters**2, axis=(1, 2))
    spread = 1 + np.abs(errors).max() + np.abs(banks.values).max()
    atol = banks.rounding * spread
    np.testing.assert_allclose(result.loss, losses / 2, rtol=1e-12, atol=atol)
    intercepts = np.zeros(len(losses))
    if banks.data.fit_intercept:
        misses = banks.data.targets[:, np.newaxis] - banks.values
        intercepts = np.average(misses, axis=0, weights=weights)
    np.testing.assert_allclose(result.intercept, intercepts, rtol=0, atol=atol)
    largest = np.abs(banks.values).max(axis=0)
    np.testing.assert_allclose(result.max_abs_output, largest, rtol=0, atol=atol)
    assert result.gradient is None
    assert result.gauss_newton is None


@given(banks=banks(HOMOGENEOUS))
def test_gradient_and_gauss_newton_matrix_are_those_of_the_loops(banks):
    result = banks.objective.gauss_newton(banks.W, banks.signs)
    errors, jacobians = banks.centred
    shares = banks.data.all_weights / banks.data.all_weights.sum()
    size = banks.rounding * (1 + np.abs(jacobians).max())
    for r, (J, e) in enumerate(zip(jacobians, errors.T, strict=True)):
        gradient = J.T @ (shares * e) + banks.data.alpha * banks.W[:, r]
        np.testing.assert_allclose(
            result.gradient[r], gradient, rtol=1e-12, atol=size * (1 + np.abs(e).max())
        )
        matrix = J.T @ (shares[:, np.newaxis] * J) + banks.data.alpha * np.eye(len(banks.W))
        np.testing.assert_allclose(
            result.gauss_newton[r], matrix, rtol=1e-12, atol=size * (1 + np.abs(J).max())
        )


@given(banks=banks(HOMOGENEOUS))
def test_higher_orders_repeat_the_lower_ones(banks):
    arguments = banks.W, banks.signs
    value = banks.objective.value(*arguments)
    gradient = banks.objective.gradient(*arguments)
    full = banks.objective.gauss_newton(*arguments)
    size = 1 + np.abs(banks.values).max() + np.abs(banks.data.targets).max()
    atol = 1e-13 * size * (size + np.abs(banks.jacobians).max())
    assert_same(gradient, full._replace(gauss_newton=None), rtol=1e-12, atol=atol)
    # The kernels compute values alone in the dtype of the samples.
    atol = atol + banks.rounding * size
    assert_same(value, gradient._replace(gradient=None), rtol=1e-12, atol=atol)


@given(banks=banks(HOMOGENEOUS, dtypes=[np.float64]))
def test_gradient_is_the_slope_of_the_value(banks):
    every_filter = banks.data._replace(W=banks.filters.reshape(-1, banks.p).T)
    cell = signs_of_products(every_filter, every_filter.W)
    kinked = banks.name.endswith("relu")
    h = steps_within_cell(every_filter).min() if kinked else 1e-3

    def losses(W):
        if kinked:
            filters = W.T.reshape(-1, banks.p).T
            np.testing.assert_array_equal(signs_of_products(every_filter, filters), cell)
        return banks.objective.value(W, banks.signs).loss

    slopes = []
    for axis in np.eye(len(banks.W))[:, :, np.newaxis]:
        far, near = (
            losses(banks.W + step * h * axis) - losses(banks.W - step * h * axis)
            for step in (2, 1)
        )
        slopes.append((8 * near - far) / (12 * h))
    result = banks.objective.gradient(banks.W, banks.signs)
    atol = (1e-8 + 1e-14 / h) * (1 + result.loss.max())
    np.testing.assert_allclose(result.gradient, np.transpose(slopes), rtol=1e-7, atol=atol)


saturating = pytest.mark.parametrize("name", ["sigmoid", "tanh", "erf"])


@saturating
@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_output_scale_is_the_best_one(fit_intercept, alpha, name):
    options = {"n_samples": 40, "alpha": alpha, "fit_intercept": fit_intercept}
    banks = make_banks(name=name, pooling="mean", **options)
    scales, scaled = banks.with_best_scale
    result = banks.objective.gauss_newton(banks.W, banks.signs)
    np.testing.assert_allclose(result.scale, scales, rtol=1e-9)
    errors, _ = scaled.centred
    weights = banks.data.all_weights
    squares = np.average(errors**2, axis=0, weights=weights)
    squares += alpha * np.square(scales) * np.sum(banks.filters**2, axis=(1, 2))
    np.testing.assert_allclose(result.loss, squares / 2, rtol=1e-10)

    # The scale is relative to the signs, and signs that have it are the best.
    for signs in (scaled.signs, 100 * banks.signs):
        again = banks.objective.gauss_newton(banks.W, signs)
        others = {name: getattr(result, name) for name in ("scale", "max_abs_output")}
        assert_same(again._replace(**others), result, rtol=1e-8, atol=1e-12)
        total = again.scale * signs[:, 0]
        np.testing.assert_allclose(total, scaled.signs[:, 0], rtol=1e-9)
    intercepts = result.intercept
    losses = banks.objective.validation_loss(banks.W, scaled.signs, intercepts)
    penalties = alpha * np.square(scales) * np.sum(banks.filters**2, axis=(1, 2))
    np.testing.assert_allclose(losses, result.loss - penalties / 2, rtol=1e-9)


@saturating
@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_derivatives_are_those_at_the_best_output_scale(fit_intercept, alpha, name):
    options = {"n_samples": 40, "alpha": alpha, "fit_intercept": fit_intercept}
    banks = make_banks(name=name, pooling="mean", **options)
    scales, scaled = banks.with_best_scale
    result = banks.objective.gauss_newton(banks.W, banks.signs)

    def losses_at(step):
        return banks.objective.value(banks.W + step, banks.signs).loss

    h, axes = 1e-4, np.eye(len(banks.W))[:, :, np.newaxis]
    slopes = [(losses_at(h * axis) - losses_at(-h * axis)) / (2 * h) for axis in axes]
    np.testing.assert_allclose(result.gradient, np.transpose(slopes), rtol=1e-5, atol=1e-8)

    # The Gauss-Newton matrix is that of derivatives without their part along the values.
    _, jacobians = scaled.centred
    weights = banks.data.all_weights
    shares = np.sqrt(weights / weights.sum())
    values = scaled.values
    if fit_intercept:
        values = values - np.average(values, axis=0, weights=weights)
    for r, (J, fit) in enumerate(zip(jacobians, values.T, strict=True)):
        root = np.sqrt(alpha) * scales[r]
        J = np.vstack([shares[:, np.newaxis] * J, root * np.eye(J.shape[1])])
        along = np.concatenate([shares * fit, root * banks.W[:, r]])
        J -= np.outer(along, along @ J) / (along @ along)
        np.testing.assert_allclose(result.gauss_newton[r], J.T @ J, rtol=1e-7, atol=1e-10)


def test_errors_that_vanish_with_the_best_scale_are_seen_to():
    banks = make_banks(name="tanh", n_samples=200, n_banks=1, alpha=0.0)
    exact = banks.with_data(targets=3e3 * banks.values[:, 0] + 5.0)
    first = exact.objective.value(exact.W, exact.signs)
    assert first.scale == pytest.approx(3e3, rel=1e-12)
    again = exact.objective.value(exact.W, first.scale * exact.signs)
    assert again.loss[0] < 1e-28 * exact.data.targets.var()


def test_values_that_do_not_vary_have_no_scale():
    banks = make_banks(name="sigmoid", alpha=0.0)
    blank = banks.with_data(samples=np.zeros_like(banks.data.samples))
    result = blank.objective.gauss_newton(blank.W, blank.signs)
    np.testing.assert_array_equal(result.scale, 1)
    np.testing.assert_allclose(result.gradient, 0, atol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("name", "targets", "gradient"),
    [
        ("relu", [1, 2], [1, 1.5]),
        ("leaky_relu", [1, 2], [0.995, 1.505]),
        ("squared_relu", [3, 8], [4, 9]),
    ],
)
def test_derivative_at_the_kink_is_that_from_below(name, targets, gradient, dtype):
    # At w = (1, 1) the products are 0 and 2 in the first sample, 3 and 0 in the second;
    # the errors are 1 in both.
    patches = np.array([[[1, -1], [2, 0]], [[0, 3], [-2, 2]]], dtype=dtype)
    objective = make_bank_objective(
        *flatten_windows(patches),
        np.array(targets, dtype=float),
        n_filters=1,
        activation=ACTIVATIONS[name],
        pooling="sum",
        fit_intercept=False,
    )
    result = objective.gradient(np.ones((2, 1)), np.ones((1, 1)))
    assert result.loss[0] == pytest.approx(0.5)
    np.testing.assert_allclose(result.gradient[0], gradient, rtol=1e-6)


def test_order_of_filters_is_the_order_of_the_gradient():
    banks = make_banks(n_filters=4)
    order = [2, 0, 3, 1]
    shuffled = banks._replace(filters=banks.filters[:, order], signs=banks.signs[:, order])
    result = banks.objective.gauss_newton(banks.W, banks.signs)
    other = shuffled.objective.gauss_newton(shuffled.W, shuffled.signs)
    np.testing.assert_allclose(other.loss, result.loss, rtol=1e-13)
    by_filter = result.gradient.reshape(2, 4, -1)[:, order]
    np.testing.assert_allclose(other.gradient, by_filter.reshape(2, -1), rtol=1e-10)
    blocks = result.gauss_newton.reshape(2, 4, banks.p, 4, banks.p)
    blocks = blocks[:, order][:, :, :, order].reshape(other.gauss_newton.shape)
    np.testing.assert_allclose(other.gauss_newton, blocks, rtol=1e-10, atol=1e-13)


@given(banks=banks())
def test_mean_square_preactivation_is_that_of_the_loops(banks):
    result = banks.objective.mean_square_preactivation(banks.W)
    assert result.shape == (len(banks.filters),)
    weights = banks.data.all_weights
    for r, bank in enumerate(banks.filters):
        squares = (np.float64(banks.data.patches) @ bank.T) ** 2
        expected = np.average(squares.mean(axis=(1, 2)), weights=weights)
        assert result[r] == pytest.approx(expected, rel=1e-5, abs=banks.rounding)
        if banks.data.samples.dtype == np.float64:
            assert result[r] == pytest.approx(expected, rel=1e-11, abs=1e-13)


@given(banks=banks())
def test_values_of_filters_are_those_of_banks_of_one(banks):
    filters = banks.filters[0]
    values = banks.objective.values_of_filters(filters)
    assert values.dtype == np.float64
    singles = banks._replace(
        filters=filters[:, np.newaxis], signs=np.ones((len(filters), 1))
    )
    assert values.shape == singles.values.shape
    np.testing.assert_allclose(values, singles.values, rtol=0, atol=banks.rounding)
    # With the signs of a bank they add up to its value.
    expected = banks.objective.predict(banks.W, banks.signs)[:, 0]
    np.testing.assert_allclose(values @ banks.signs[0], expected, atol=banks.rounding)


@given(banks=banks())
def test_patches_come_in_order(banks):
    patches = np.concatenate(list(banks.objective.patch_blocks()))
    np.testing.assert_array_equal(patches, banks.data.patches)
    assert patches.dtype == banks.data.samples.dtype


@given(banks=banks(), constant=st.sampled_from([0.0, 1.5]))
def test_rectifiers_on_kernels_are_those_on_matrix_products(banks, constant):
    options = {
        "n_filters": banks.filters.shape[1],
        "activation": ACTIVATIONS["relu" if banks.name == "relu" else "leaky_relu"],
        "pooling": banks.pooling,
    } | banks.data.options
    layout = banks.data.geometry.layout._replace(constant=constant)
    geometry = replace(banks.data.geometry, layout=layout)
    data = banks.data.samples.astype(np.float64), geometry, banks.data.targets
    on_kernels = make_bank_objective(*data, **options)
    on_products = BankObjective(*data, **options)
    assert type(on_kernels) is not BankObjective
    rng = np.random.default_rng(0)
    W = rng.standard_normal((on_products.n_parameters, len(banks.signs)))
    assert_same(
        on_kernels.gauss_newton(W, banks.signs),
        on_products.gauss_newton(W, banks.signs),
        rtol=1e-9,
        atol=1e-9,
    )
    np.testing.assert_allclose(
        on_kernels.predict(W, banks.signs),
        on_products.predict(W, banks.signs),
        rtol=1e-9,
        atol=1e-9,
    )


def error_covariance(banks, values, ridge):
    """The covariance of the errors, and what takes their weighted mean away."""
    objective = banks.objective
    shares = objective.sample_weight / objective.sample_weight.sum()
    centring = np.eye(len(shares)) - objective.fit_intercept * np.outer(
        np.ones(len(shares)), shares
    )
    centred = centring @ values
    centred /= np.sqrt(shares @ centred**2)
    covariance = centred @ centred.T / values.shape[1]
    if objective.fit_intercept and banks.name in ("relu", "leaky_relu"):
        linear = centring @ banks.data.patches.mean(axis=1)
        power = np.sum(shares @ linear**2)
        covariance += 40 * linear @ linear.T / power
    return covariance + ridge * np.diag(1 / shares), centring


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_generalized_least_squares_are_those_of_the_covariance(name, fit_intercept):
    banks = make_banks(name=name, n_samples=30, alpha=0.0, fit_intercept=fit_intercept)
    objective, ridge = banks.objective, 1e-2
    random = np.random.default_rng(3).standard_normal((50, banks.p))
    values = objective.values_of_filters(random)
    covariance, centring = error_covariance(banks, values, ridge)
    inverse = np.linalg.inv(covariance)
    generalized = objective.generalized(objective.covariance_of_errors(values), ridge)
    result = generalized.gauss_newton(banks.W, banks.signs)
    assert result.loss.dtype == np.float64
    errors = centring @ (banks.values - banks.data.targets[:, np.newaxis])
    tight = {"rtol": 1e-4, "atol": 1e-5}  # single precision
    for r, (jacobian, e) in enumerate(zip(banks.jacobians, errors.T, strict=True)):
        J = centring @ jacobian
        size = np.abs(J.T @ inverse @ J).max()
        assert result.loss[r] == pytest.approx(e @ inverse @ e / 2, rel=1e-4)
        np.testing.assert_allclose(
            result.gradient[r] / size, J.T @ inverse @ e / size, **tight
        )
        np.testing.assert_allclose(
            result.gauss_newton[r] / size, J.T @ inverse @ J / size, **tight
        )
    misses = fit_intercept * (banks.data.targets[:, np.newaxis] - banks.values)
    intercepts = np.average(misses, axis=0, weights=banks.data.all_weights)
    np.testing.assert_allclose(result.intercept, intercepts, atol=1e-12)
    # The gain of one filter is that of its best factor.
    bank, signs = banks.filters[0], banks.signs[0]
    gains, factors = generalized.fits(generalized.comparable(values.T), bank, signs)
    rest = centring @ (banks.data.targets - banks.values[:, 0])
    for v, gain, factor in zip((centring @ values).T, gains, factors, strict=True):
        best = v @ inverse @ rest / (v @ inverse @ v)
        assert factor == pytest.approx(best, rel=1e-3, abs=1e-4)
        assert gain == pytest.approx(best * (v @ inverse @ rest), rel=1e-3, abs=1e-4)


def test_weights_of_generalized_least_squares_are_repetitions():
    banks = make_banks(name="relu", n_samples=20, alpha=0.0)
    repeats = np.arange(20) % 3 + 1
    repeated = banks.with_data(
        samples=np.repeat(banks.data.samples, repeats, axis=0),
        targets=np.repeat(banks.data.targets, repeats),
        weights=None,
    )
    random = np.random.default_rng(3).standard_normal((50, banks.p))
    losses = []
    for each in (banks.with_data(weights=repeats.astype(float)), repeated):
        objective = each.objective
        covariance = objective.covariance_of_errors(objective.values_of_filters(random))
        generalized = objective.generalized(covariance, 1e-2)
        losses.append(generalized.value(banks.W, banks.signs).loss)
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_generalized_least_squares_of_values_that_do_not_vary():
    objective = make_banks(name="squared_relu", n_samples=20, alpha=0.0).objective
    covariance = objective.covariance_of_errors(np.zeros((20, 5)))
    assert not covariance.any()
    generalized = objective.generalized(covariance, 1e-4)
    squares = [
        np.sum(each.comparable(objective.targets) ** 2) for each in (objective, generalized)
    ]
    assert squares[1] == pytest.approx(1e4 * squares[0], rel=1e-4)


@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_a_bank_that_adapts_explains_what_its_derivatives_do(name):
    banks = make_banks(name=name, n_samples=60, alpha=0.0)
    objective, bank, signs = banks.objective, banks.filters[0], banks.signs[0]
    random = np.random.default_rng(3).standard_normal((50, banks.p))
    values = objective.values_of_filters(random)
    generalized = objective.generalized(objective.covariance_of_errors(values), 1e-2)
    adapting = generalized.adapting(bank, signs)
    whitened = generalized.comparable(values.T)
    J = generalized.comparable(banks.jacobians[0].T).T
    explained = J @ np.linalg.lstsq(J, whitened.T, rcond=1e-2)[0]
    found = adapting.comparable(values.T)
    np.testing.assert_allclose(found, whitened - explained.T, atol=1e-3 * whitened.max())
    assert np.sum(found**2) < 0.9 * np.sum(whitened**2)
    # Without filters, nothing is explained.
    none = generalized.adapting(bank[:0], signs[:0])
    np.testing.assert_array_equal(none.comparable(values.T), whitened)


@pytest.mark.parametrize("bias", [0.0, 0.5])
@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_filters_that_are_reflected_are_turned_back(name, bias):
    banks = make_banks(name=name, n_samples=60, alpha=0.0, fit_intercept=True)
    banks = banks.with_data(geometry=banks.data.geometry.with_constant(bias))
    rng = np.random.default_rng(0)
    filters = rng.standard_normal((3, banks.p + (bias > 0)))
    signs = np.array([1.0, -1.0, 1.0])
    objective = banks.objective
    objective.targets = objective.values_of_filters(filters) @ signs
    for turned in ([1, 1, 1], [-1, 1, 1], [1, -1, -1], [-1, -1, -1]):
        given = np.array(turned)[:, np.newaxis] * filters
        np.testing.assert_array_equal(objective.reflected(given, signs), filters)


def test_without_linear_models_no_filter_is_reflected():
    for name, fit_intercept in [("relu", False), ("squared_relu", True)]:
        objective = make_banks(name=name, alpha=0.0, fit_intercept=fit_intercept).objective
        filters = np.random.default_rng(0).standard_normal((2, objective.patch_dim))
        reflected = objective.reflected(filters, np.ones(2))
        np.testing.assert_array_equal(reflected, filters)


def test_random_patches_are_patches_that_vary():
    objective = make_banks(name="relu", n_samples=20, alpha=0.0).objective
    objective.samples[:10] = 0.0
    rng = np.random.default_rng(0)
    windows = objective.random_patches(40, rng)
    every = np.concatenate(list(objective.patch_blocks())).reshape(-1, windows.shape[1])
    assert 0 < len(windows) <= 40
    for window in windows:
        assert (every == window).all(axis=1).any()
        assert np.ptp(window) > 0
    objective.samples[:] = 0.0
    assert len(objective.random_patches(40, rng)) == 0
