"""Biases: the weight of a constant entry of every patch."""

import numpy as np
import pytest

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_bank_regression, make_filter_regression
from skconvfilter.diagnostics import (
    certificate,
    local_convexity,
    population_loss,
    recovery,
    smoothness,
)
from tests.estimators.cases import GEOMETRY, fit_quietly

DIGITS = {"kernel_size": 3, "input_shape": (8, 8)}
QUICK = {"random_state": 0, "diagnostics": False}


def make_filter(**params):
    return ConvReLUFilterRegressor(**(DIGITS | QUICK | {"bias": True} | params))


def make_bank(**params):
    return ConvFilterBankRegressor(2, **(GEOMETRY | QUICK | {"n_init": 3} | params))


@pytest.fixture(scope="module")
def biased(digits):
    """Digits, labelled by a filter with a bias: X, y, filter and bias."""
    X, bias = digits.X, -0.7
    y, teacher = make_filter_regression(
        X=X, estimator=make_filter(), bias=bias, return_teacher=True, random_state=0
    )[1:]
    return X, y, teacher, bias


@pytest.fixture(scope="module")
def fitted(biased):
    return make_filter().fit(*biased[:2])


@pytest.fixture(scope="module")
def bank():
    """Normal images, labelled by a bank with biases: X, y, filters, signs, biases."""
    biases = np.array([0.5, -0.4])
    X, y, teacher, signs = make_filter_bank_regression(
        800,
        make_bank(),
        bias=biases,
        output_weights="signs",
        return_teacher=True,
        random_state=3,
    )
    return X, y, teacher, signs, biases


def with_constant(X, value):
    """The patches of digits with a constant entry, (n_samples, 36, 10)."""
    windows = np.lib.stride_tricks.sliding_window_view(
        X.reshape(-1, 8, 8), (3, 3), axis=(1, 2)
    )
    patches = windows.reshape(len(X), 36, 9)
    return np.concatenate([patches, np.full((len(X), 36, 1), value)], axis=2)


# Recovery ---------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_a_filter_with_a_bias_is_recovered(offset, biased):
    X, y, teacher, bias = biased
    model = make_filter().fit(X + offset, y)
    np.testing.assert_allclose(model.filter_, teacher, atol=1e-9)
    assert model.bias_ == pytest.approx(bias - offset * teacher.sum(), rel=1e-9)


def test_a_bias_that_is_not_needed_is_0(digits):
    model = make_filter().fit(digits.X, digits.y)
    np.testing.assert_allclose(model.coef_, digits.teacher[0], atol=1e-10)
    assert model.bias_ == pytest.approx(0, abs=1e-10)


def test_a_bank_with_biases_is_recovered(bank):
    X, y, teacher, signs, biases = bank
    model = make_bank().fit(X, y)
    found = recovery(model, teacher, X, teacher_output_weights=signs, teacher_bias=biases)
    assert found.relative_error < 1e-9
    assert found.indistinguishable
    np.testing.assert_allclose(model.bias_[found.permutation], biases, atol=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("offset", [10.0, 100.0])
def test_an_offset_of_the_samples_does_not_hide_the_filter(sign, offset, digits):
    # A zero-sum filter does not see it, but nearly all random filters see nothing else.
    teacher = digits.teacher[0] - digits.teacher[0].mean()
    X = digits.X[:800] + offset
    model = make_filter(bias=False)
    y = make_filter_regression(
        X=X, estimator=model, teacher=teacher.reshape(3, 3), sign=sign
    )[1]
    np.testing.assert_allclose(model.fit(X, y).coef_, teacher, atol=1e-8)


# The same as a constant entry -------------------------------------------------------------


def test_a_bias_is_the_weight_of_a_constant_entry(biased, fitted):
    X, y, _, _ = biased
    scale = fitted.bias_scaling_
    explicit = ConvReLUFilterRegressor(**QUICK).fit(with_constant(X, scale), y)
    expected = np.append(fitted.coef_, fitted.bias_ / scale)
    np.testing.assert_allclose(explicit.coef_, expected, atol=1e-9)
    squares = np.mean(with_constant(X[:500], 1.0)[..., :-1] ** 2)
    assert scale == pytest.approx(np.sqrt(squares))


def test_the_penalty_counts_it(biased):
    X, y, _, _ = biased
    model = make_filter(alpha=1e-3).fit(X, y)
    scale = model.bias_scaling_
    patches = with_constant(X, scale)
    # The constant entry makes the patches as large in the mean as they are without.
    explicit = ConvReLUFilterRegressor(alpha=1e-3, **QUICK).fit(patches, y)
    assert model.loss_ == pytest.approx(explicit.loss_, rel=1e-6)


def test_diagnostics_see_it(biased, fitted):
    X, _y, _, _ = biased
    scale = fitted.bias_scaling_
    w = np.append(fitted.coef_, fitted.bias_ / scale)
    angles = {"angles": [0.8, 1.5], "random_state": 0}
    found = smoothness(X, fitted, **angles)
    expected = smoothness(with_constant(X, scale), w, **angles)
    for name in ("gamma", "L"):
        values = (getattr(result, name).value for result in (found, expected))
        np.testing.assert_allclose(*values, rtol=1e-6, atol=1e-9)
    path = np.column_stack([fitted.coef_path_, fitted.bias_path_ / scale])
    assert certificate(X, fitted, path=path, random_state=0).path.distances[-1] < 1e-9


def test_diagnostics_of_banks_see_it(bank):
    X, y, _, _, _ = bank
    model = make_bank(diagnostics=True).fit(X, y)
    found = local_convexity(X, model, y=y - model.intercept_)
    np.testing.assert_allclose(model.hessian_extremes_, found.hessian_extremes, rtol=1e-6)
    with pytest.raises(ValueError, match="biases has no closed form"):
        population_loss(model, model, n_patches=6)


# Predictions ------------------------------------------------------------------------------


def test_a_padded_pixel_is_0_and_the_bias_counts(biased):
    X, _, teacher, _ = biased
    model, bias = make_filter(padding=1), 0.05
    y = make_filter_regression(X=X - 1, estimator=model, teacher=teacher, bias=bias)[1]
    model.fit(X - 1, y)
    np.testing.assert_allclose(model.filter_, teacher, atol=1e-9)
    maps = model.feature_map(np.zeros((1, 64)))
    assert maps.shape == (1, 8, 8)
    np.testing.assert_allclose(maps, bias)


def test_float32_stays_float32(biased, bank):
    X, y, _, bias = biased
    model = make_filter().fit(X.astype(np.float32), y)
    assert model.predict(X[:5].astype(np.float32)).dtype == np.float32
    assert model.bias_ == pytest.approx(bias, rel=1e-3)
    X, y, _, _, _ = bank
    assert make_bank().fit(X.astype(np.float32), y).bias_.dtype == np.float32


@pytest.mark.parametrize("make", [make_filter, make_bank])
def test_without_it_the_bias_is_0(make, digits):
    shape = make().input_shape
    X = digits.X[:200, : int(np.prod(shape))]
    model = fit_quietly(make(bias=False), X, digits.y[:200])
    assert not np.any(model.bias_)
    assert model.bias_scaling_ == 0


# Going on ---------------------------------------------------------------------------------


def test_a_warm_start_goes_on_with_it(biased):
    X, y, _, bias = biased
    model = make_filter(warm_start=True).fit(X, y)
    again = model.set_params(n_init=1).fit(X, y)
    assert again.n_iter_ == 1
    assert again.bias_ == pytest.approx(bias)
    # Without the bias the filter is where the next fit starts.
    coef = again.coef_
    plain = again.set_params(bias=False).fit(X, y)
    np.testing.assert_allclose(plain.coef_path_[0], coef)


def test_a_stream_learns_it(biased):
    X, y, teacher, bias = biased
    model = make_filter()
    for rows in np.array_split(np.arange(len(X)), 6):
        model.partial_fit(X[rows], y[rows])
    scale = model.bias_scaling_
    model.partial_fit(X[:50] * 3, y[:50])
    assert model.bias_scaling_ == scale
    model = make_filter().fit(X, y).partial_fit(X, y)
    np.testing.assert_allclose(model.filter_, teacher, atol=1e-6)
    assert model.bias_ == pytest.approx(bias, abs=1e-6)
    plain = model.set_params(bias=False).partial_fit(X, y)
    assert plain.bias_ == 0


def test_given_starts_have_no_bias(biased, bank):
    X, y, teacher, _ = biased
    model = make_filter(init=teacher.ravel()).fit(X, y)
    assert model.bias_path_[0] == 0
    np.testing.assert_allclose(model.coef_path_[0], teacher.ravel())
    X, y, teacher, _, _ = bank
    np.testing.assert_array_equal(make_bank(init=teacher).fit(X, y).bias_path_[0], 0)


@pytest.mark.parametrize("make", [make_filter, make_bank])
@pytest.mark.parametrize("wrong", ["yes", 1, None])
def test_anything_but_true_and_false_is_refused(wrong, make):
    X = np.random.default_rng(0).standard_normal((20, int(np.prod(make().input_shape))))
    with pytest.raises(TypeError, match="bias must be True or False"):
        make(bias=wrong).fit(X, X[:, 0])


def test_wrong_biases_of_teachers_are_refused(biased, fitted):
    X, _, teacher, _ = biased
    with pytest.raises(ValueError, match="bias must be finite"):
        make_filter_regression(X=X, estimator=fitted, bias=np.nan)
    with pytest.raises(ValueError, match="one for each of the 2 filters"):
        make_filter_bank_regression(5, make_bank(), bias=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="bias of teacher must be one number"):
        recovery(fitted, teacher, X, teacher_bias=[1.0, 2.0])
    with pytest.raises(ValueError, match="teacher_bias must be finite"):
        recovery(fitted, teacher, X, teacher_bias=np.inf)
