"""Whether the data determine a filter: open directions, rivals, resamples."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_bank_regression, make_filter_regression
from skconvfilter.diagnostics import inference
from tests.diagnostics.regressions import TEACHER, P, data, fitted


@pytest.fixture(scope="module")
def problem():
    X, y = data(bias=0.2, intercept=1.0)
    model = fitted(X, y)
    return X, y, model


def test_a_pixel_that_is_always_zero_is_left_open():
    X, _ = data()
    X[:, :, 1] = 0
    _, y = make_filter_regression(X=X, teacher=TEACHER, noise=0.3, random_state=0)
    result = inference(fitted(X, y), X, y)
    assert np.isinf(result.stderr).tolist() == [False, True, False, False]
    assert result.pvalue[1] == 1
    directions = result.identifiability.open_directions
    assert_allclose(np.abs(directions), np.eye(6)[[1]], atol=1e-12)
    assert "1 direction(s)" in result.identifiability.doubts[0]
    with pytest.raises(ValueError, match="do not determine"):
        result.wald_test(np.ones(P))
    assert result.wald_test([1, 0, 0, 0]).pvalue < 1e-6
    new = np.zeros((1, 1, P))
    new[0, 0, 0] = 1
    assert np.isfinite(result.predict_interval(new).stderr[0])
    new[0, 0, 1] = 1
    assert np.isinf(result.predict_interval(new).stderr[0])


def test_a_pixel_that_only_one_sample_shows_is_doubted():
    X, _ = data()
    X[1:, :, 1] = 0
    X[0] = [5.0, 1.0, 0.0, 0.0]
    _, y = make_filter_regression(X=X, teacher=TEACHER, noise=0.3, random_state=0)
    doubts = inference(fitted(X, y), X, y).identifiability.doubts
    assert doubts == ("One sample alone determines a direction of the parameters.",)


def test_equal_pixels_leave_only_their_difference_open():
    X, _ = data()
    X[:, :, 1] = X[:, :, 0]
    _, y = make_filter_regression(X=X, teacher=TEACHER, noise=0.3, random_state=0)
    result = inference(fitted(X, y), X, y)
    assert np.isinf(result.stderr).tolist() == [True, True, False, False]
    assert result.wald_test([1, 1, 0, 0]).pvalue < 1e-6
    penalized = inference(fitted(X, y, alpha=1e-3), X, y)
    assert np.isfinite(penalized.stderr).all()
    assert "penalty" in penalized.identifiability.doubts[0]


def test_two_filters_that_fit_as_well_are_doubted():
    # The mean patch of every sample is zero: w and -w have the same values.
    rng = np.random.default_rng(0)
    half = rng.standard_normal((400, 2, P))
    X = np.concatenate([half, -half], axis=1)
    _, y = make_filter_regression(X=X, teacher=TEACHER, noise=0.2, random_state=0)
    model = fitted(X, y, bias=False)
    found = inference(model, X, y, random_state=0).identifiability
    assert_allclose(found.rivals[0].coef, -model.coef_, atol=1e-3)
    assert abs(found.rivals[0].likelihood_ratio) < 0.1
    assert any("fits these data equally well" in doubt for doubt in found.doubts)


def test_a_fit_that_missed_the_better_filter_is_doubted():
    # The mean patches are small: the negative of the filter is another minimum.
    half = np.random.default_rng(0).standard_normal((400, 2, P))
    X = np.concatenate([half, -0.8 * half], axis=1)
    _, y = make_filter_regression(X=X, teacher=TEACHER, noise=0.05, random_state=0)
    poor = fitted(
        X, y, bias=False, solver="levenberg-marquardt", polish=False, init=-TEACHER,
        output_sign=1, n_init=1,
    )  # fmt: skip
    assert poor.coef_ @ TEACHER < 0
    found = inference(poor, X, y, random_state=0).identifiability
    assert found.rivals[0].likelihood_ratio < 0
    assert_allclose(found.rivals[0].coef, TEACHER, atol=0.05)
    assert any("better" in doubt for doubt in found.doubts)


def test_permuted_filters_of_a_bank_are_no_rivals():
    bank = ConvFilterBankRegressor(
        2, pooling="mean", output_weights="ones", init="random", n_init=4,
        bias=False, random_state=0, diagnostics=False,
    )  # fmt: skip
    X = np.random.default_rng(0).standard_normal((500, 2, 3))
    _, y = make_filter_bank_regression(X=X, estimator=bank, snr=50, random_state=0)
    found = inference(bank.fit(X, y), X, y, random_state=0).identifiability
    assert all(rival.likelihood_ratio > 10 for rival in found.rivals)
    assert found.doubts == ()


def test_other_data_than_those_fitted_are_doubted(problem):
    _, _, model = problem
    X, y = data(seed=5, teacher=-TEACHER)
    found = inference(model, X, y).identifiability
    assert found.step > 1
    assert found.restart_ratios.size == 0
    assert any("not at a minimum" in doubt for doubt in found.doubts)


def test_noiseless_data_have_intervals_of_no_width_and_it_is_said():
    X, y = data(noise=0.0)
    result = inference(fitted(X, y, bias=False), X, y)
    assert result.stderr.max() < 1e-8
    assert "exact" in result.identifiability.doubts[0]
    assert "exact" in str(result)
    with pytest.raises(ValueError, match="without noise there is no test"):
        inference(fitted(X, np.ones(len(X))), X, np.ones(len(X))).wald_test([0] * 5 + [1])


def test_constant_targets_determine_nothing_but_the_intercept():
    X, _ = data()
    result = inference(fitted(X, np.full(len(X), 2.0)), X, np.full(len(X), 2.0))
    assert np.isinf(result.stderr).all()
    assert np.isfinite(result.bse[-1])
    assert np.isnan(result.rsquared)
    assert str(result)


@pytest.mark.slow
def test_bootstrap_agrees_with_standard_errors_on_easy_data(problem):
    X, y, model = problem
    result = inference(model, X, y, bootstrap=40, random_state=0)
    found = result.bootstrap
    ratio = found.params.std(axis=0) / result.bse
    assert ((0.7 < ratio) & (ratio < 1.4)).all()
    assert found.elsewhere < 0.05
    assert found.conf_int.shape == (6, 2)
    assert "40 resamples" in str(result)
    again = inference(model, X, y, bootstrap=40, random_state=0, n_jobs=2)
    assert_allclose(again.bootstrap.params, found.params)


def test_bootstrap_draws_groups_and_leaves_the_estimator_as_it_was(problem):
    X, y, model = problem
    before = dict(vars(model))
    groups = np.repeat(np.arange(8), 50)
    found = inference(model, X, y, bootstrap=5, groups=groups, random_state=0).bootstrap
    assert len(found.params) == 5
    assert vars(model) == before


def test_bootstrap_of_a_bank_goes_on_from_its_filters():
    bank = ConvFilterBankRegressor(
        2, kernel_size=3, stride=3, input_shape=(6,), pooling="mean", n_init=4,
        output_weights="signs", init="random", bias=True, random_state=0,
        diagnostics=False,
    )  # fmt: skip
    X = np.random.default_rng(0).standard_normal((600, 6))
    _, y = make_filter_bank_regression(X=X, estimator=bank, snr=50, random_state=0)
    found = inference(bank.fit(X, y), X, y, bootstrap=5, random_state=0).bootstrap
    assert found.elsewhere == 0


def test_filters_of_a_stream_have_standard_errors():
    X, y = data(3000)
    model = ConvReLUFilterRegressor(bias=True, n_init=2, random_state=0)
    for part in np.array_split(np.arange(3000), 6):
        model.partial_fit(X[part], y[part])
    result = inference(model, X, y, random_state=0)
    assert np.isfinite(result.bse).all()
    assert result.identifiability.restart_ratios.size == 0
