"""Standard errors, intervals and tests of fitted filters, against independent formulas."""

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_bank_regression, make_filter_regression
from skconvfilter.diagnostics import inference
from tests.diagnostics.regressions import TEACHER, P, data, fitted


def design(X, model):
    """Derivatives of the predictions by coef_, bias_ and intercept_, written out."""
    active = (X @ model.coef_ + model.bias_ > 0)[..., np.newaxis]
    columns = [model.sign_ * (active * X).mean(axis=1)]
    if model.bias_scaling_:
        columns.append(model.sign_ * active.mean(axis=1))
    if model.fit_intercept:
        columns.append(np.ones((len(X), 1)))
    return np.hstack(columns)


@pytest.fixture(scope="module")
def problem():
    X, y = data(bias=0.2, intercept=1.0)
    model = fitted(X, y)
    return X, y, model


def covariance_of(kind, J, r, weights, groups):
    """The textbook formulas for whitened derivatives."""
    J, r = J * np.sqrt(weights)[:, None], r * np.sqrt(weights)
    n, p = J.shape
    inverse = np.linalg.inv(J.T @ J)
    leverages = np.einsum("np,pq,nq->n", J, inverse, J)
    if kind == "classical":
        return inverse * (r @ r) / (n - p)
    if kind == "cluster":
        sums = np.array([(J * r[:, None])[groups == g].sum(axis=0) for g in set(groups)])
        factor = len(sums) / (len(sums) - 1) * (n - 1) / (n - p)
        return factor * inverse @ sums.T @ sums @ inverse
    if kind == "HC3":
        r = r / (1 - leverages)
    return inverse @ (J.T * r**2) @ J @ inverse


@pytest.mark.parametrize("kind", ["classical", "HC0", "HC3", "cluster"])
@pytest.mark.parametrize("weighted", [False, True])
def test_standard_errors_are_those_of_least_squares_on_active_mean_patches(kind, weighted):
    # With so little noise no patch becomes active within the confidence region.
    X, y = data(bias=0.2, intercept=1.0, noise=1e-5)
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.5, 2, len(y)) if weighted else np.ones(len(y))
    groups = rng.integers(40, size=len(y))
    model = fitted(X, y, weights)
    result = inference(
        model, X, y, sample_weight=7 * weights, covariance=kind, groups=groups
    )
    r = y - model.predict(X)
    expected = covariance_of(kind, design(X, model), r, weights / weights.mean(), groups)
    assert_allclose(result.covariance_, expected, rtol=1e-6, atol=1e-6 * expected.max())
    assert_allclose(result.bse, np.sqrt(np.diag(expected)), rtol=1e-6)
    df = groups.max() if kind == "cluster" else len(y) - P - 2
    assert_allclose(result.df_resid_inference, df)
    low, high = result.conf_int(0.9).T
    assert_allclose(high - low, 2 * stats.t.ppf(0.95, df) * result.bse)
    assert_allclose(result.pvalues, 2 * stats.t.sf(np.abs(result.tvalues), df))


def inference_near_the_kink(w, x):
    """For 50 samples of 1 and 50 of x < 0, and a weight w > 0 of few standard errors."""
    X = np.tile([[1.0], [x]], (50, 1))
    noise = np.tile([1.0, 1.0, -1.0, -1.0], 25)
    y = noise + np.where(X[:, 0] > 0, w, 0.0)
    model = fitted(X, y, bias=False, fit_intercept=False, output_sign=1)
    assert_allclose(model.coef_, w)
    return inference(model, X, y, covariance="classical")


def test_standard_errors_allow_for_derivatives_that_change():
    # The textbook standard error s is larger than w. At w + s the derivatives are those at
    # w. At w - s < 0 the samples of 1 have the value 0, so that their scores have changed
    # by -H w in place of -H s.
    result = inference_near_the_kink(0.05, x=-1.0)
    s, w = np.sqrt(result.scale / 50), 0.05
    slope, rest = (s + w) / (2 * s), (s - w) / 2
    assert_allclose(result.bse, np.sqrt(s**2 + rest**2) / slope)
    assert_allclose(result.identifiability.nonlinearity, 0.5 * np.sqrt(2) * (s - w) / s)


def test_standard_errors_average_derivatives_where_the_loss_is_nearly_flat():
    # Beyond the kink, the values of the samples of -10 change ten times as fast.
    result = inference_near_the_kink(0.01, x=-10.0)
    assert result.identifiability.nonlinearity > 2
    assert_allclose(result.bse, np.sqrt(result.scale / 50 / ((1 + 10**2) / 2)))


def test_standard_errors_do_not_depend_on_the_random_state(problem):
    X, y, model = problem
    first, second = (inference(model, X, y, random_state=seed) for seed in (0, 1))
    assert first.bse.tolist() == second.bse.tolist()


def test_names_and_order_of_the_parameters(problem):
    X, y, model = problem
    result = inference(model, X, y)
    assert result.names == ("w[0]", "w[1]", "w[2]", "w[3]", "bias", "intercept")
    expected = [*model.coef_, model.bias_, model.intercept_]
    assert_allclose(result.params, expected, rtol=1e-12)


def test_measures_of_fit_are_those_of_statsmodels(problem):
    X, y, model = problem
    result = inference(model, X, y)
    squares = np.sum((y - model.predict(X)) ** 2)
    n, p = len(y), P + 2
    total = np.sum((y - y.mean()) ** 2)
    llf = -n / 2 * (np.log(2 * np.pi * squares / n) + 1)
    assert_allclose(result.df_model, p)
    assert_allclose(result.scale, squares / (n - p))
    assert_allclose(result.rsquared, 1 - squares / total)
    assert_allclose(result.rsquared_adj, 1 - squares / total * (n - 1) / (n - p))
    assert_allclose(result.llf, llf)
    assert_allclose(result.aic, 2 * p - 2 * llf)
    assert_allclose(result.bic, p * np.log(n) - 2 * llf)


def test_units_of_samples_and_targets_carry_over(problem):
    X, y, model = problem
    result = inference(model, X, y, random_state=0)
    scaled = inference(fitted(100 * X, 3 * y), 100 * X, 3 * y, random_state=0)
    factors = np.array([0.03] * P + [3.0, 3.0])
    assert_allclose(scaled.bse, result.bse * factors, rtol=1e-6)
    nonlinearities = [r.identifiability.nonlinearity for r in (result, scaled)]
    assert_allclose(*nonlinearities, rtol=1e-6)


def test_weights_of_zero_leave_samples_out(problem):
    X, y, model = problem
    weights = np.r_[np.zeros(50), np.ones(len(y) - 50)]
    model = fitted(X, y, weights)
    result = inference(model, X, y, sample_weight=weights)
    expected = inference(model, X[50:], y[50:])
    assert_allclose(result.bse, expected.bse, rtol=1e-12)
    assert result.nobs == len(y) - 50


def test_flat_images_have_the_shape_of_the_window():
    options = {"kernel_size": 3, "input_shape": (6, 6)}
    X = np.random.default_rng(0).standard_normal((300, 36))
    unfitted = ConvReLUFilterRegressor(**options)
    _, y = make_filter_regression(X=X, estimator=unfitted, noise=0.1, random_state=0)
    result = inference(fitted(X, y, **options), X, y)
    arrays = result.coef, result.stderr, result.statistic, result.pvalue
    assert [array.shape for array in arrays] == 4 * [(3, 3)]
    assert result.interval().shape == (3, 3, 2)
    assert result.names[5] == "w[1, 2]"
    assert_allclose(result.statistic, result.coef / result.stderr)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_derivatives_of_banks_are_those_of_their_predictions(activation):
    bank = ConvFilterBankRegressor(
        2, activation=activation, pooling="sum", output_weights="signs", init="random",
        n_init=3, bias=True, random_state=0, diagnostics=False,
    )  # fmt: skip
    X = np.random.default_rng(0).standard_normal((300, 2, 3))
    X, y, *_ = make_filter_bank_regression(
        X=X, estimator=bank, output_weights=np.array([1.0, -1.0]), snr=1e6,
        return_teacher=True, random_state=0,
    )  # fmt: skip
    bank.fit(X, y)
    result = inference(bank, X, y, covariance="classical", random_state=0)
    assert result.coef.shape == (2, 3)
    scales = ("output_scale",) * (activation == "tanh")
    assert result.names[6:] == ("bias[0]", "bias[1]", *scales, "intercept")
    columns = []
    for step in 1e-5 * np.eye(len(result.params)):
        ends = []
        for sign in (1, -1):
            moved = result.params + sign * step
            shifted = ConvFilterBankRegressor(**bank.get_params())
            vars(shifted).update(vars(bank))
            shifted.coef_, shifted.bias_ = moved[:6].reshape(2, 3), moved[6:8]
            if scales:
                shifted.output_scale_ = moved[8]
            shifted.intercept_ = moved[-1]
            ends.append(shifted.predict(X))
        columns.append((ends[0] - ends[1]) / 2e-5)
    J = np.stack(columns, axis=1)
    expected = np.linalg.inv(J.T @ J) * result.scale
    # Preactivations within a step of the kink spoil few of the differences.
    assert_allclose(result.bse, np.sqrt(np.diag(expected)), rtol=1e-2)


def test_an_output_scale_with_a_penalty_has_no_errors():
    bank = ConvFilterBankRegressor(1, activation="tanh", alpha=0.1, n_init=1)
    X = np.random.default_rng(0).standard_normal((100, 2, 3))
    bank.fit(X, X[:, 0, 0])
    with pytest.raises(ValueError, match=r"alpha=0.1 .* output scale.*alpha=0"):
        inference(bank, X, X[:, 0, 0])


def test_a_penalty_counts_in_the_number_of_parameters(problem):
    X, y, _ = problem
    model = fitted(X, y, alpha=0.1)
    result = inference(model, X, y)
    J = design(X, model)
    J[:, P] *= model.bias_scaling_  # the penalty is on the bias in these units
    penalty = len(y) * model.penalty_ * np.diag([1.0] * (P + 1) + [0.0])
    hat = np.trace(np.linalg.solve(J.T @ J + penalty, J.T @ J))
    assert_allclose(result.df_model, hat)
    assert hat < P + 1.5
    assert "biased towards 0" in str(result)


@pytest.mark.slow
def test_intervals_hold_the_true_weights_as_often_as_they_say():
    held = []
    for seed in range(40):
        X, y = data(seed=seed)
        low, high = inference(fitted(X, y, bias=False), X, y).interval().T
        held.append((low <= TEACHER) & (TEACHER <= high))
    assert 0.91 < np.mean(held) < 0.98


@pytest.mark.slow
def test_intervals_hold_where_the_derivatives_change():
    held, textbook = [], []
    for seed in range(60):
        X, y = data(60, noise=1.0, seed=seed)
        # From the true filter: other minima are not what is tested.
        model = fitted(
            X, y, bias=False, init=TEACHER, n_init=1, output_sign=1, polish=False,
            solver="levenberg-marquardt",
        )  # fmt: skip
        result = inference(model, X, y, covariance="classical")
        J = design(X, model)
        errors = np.sqrt(np.diag(np.linalg.inv(J.T @ J)) * result.scale)[:P]
        away = np.abs(result.coef - TEACHER) / stats.t.ppf(0.975, result.df_resid)
        held.append(away < result.stderr)
        textbook.append(away < errors)
    assert 0.93 < np.mean(held) < 0.98
    assert np.mean(textbook) < np.mean(held) - 0.015


def test_unequal_noise_is_seen_by_hc3_only():
    rng = np.random.default_rng(0)
    X, clean = data(2000, noise=0.0)
    # Noise where the first entry is large: its weight is less certain.
    y = clean + 0.3 * np.abs(X[:, :, 0]).sum(axis=1) * rng.standard_normal(len(X))
    model = fitted(X, y)
    robust = inference(model, X, y)
    classical = inference(model, X, y, covariance="classical")
    ratio = robust.stderr / classical.stderr
    assert ratio[0] > 1.1
    assert ratio[0] > ratio[1:].max()


def test_wald_test_of_one_weight_is_its_t_test(problem):
    X, y, model = problem
    result = inference(model, X, y)
    test = result.wald_test([0, 0, 1, 0])
    assert_allclose(test.statistic, result.statistic[2] ** 2)
    assert_allclose(test.pvalue, result.pvalue[2])
    assert (test.df_num, test.df_denom) == (1, result.df_resid)


def test_wald_tests_of_masks_sums_and_equal_parts(problem):
    X, y, model = problem
    result = inference(model, X, y)
    mask = TEACHER != 0
    zero = result.wald_test(mask)
    assert_allclose(zero.statistic, result.wald_test(np.eye(P)[mask]).statistic)
    assert zero.pvalue < 1e-10
    true = result.wald_test(np.eye(P), TEACHER)
    assert 0.01 < true.pvalue
    total = result.params @ [1, 1, 1, 1, 0, 0]
    error = np.sqrt(result.covariance_[:P, :P].sum())
    assert_allclose(result.wald_test(np.ones(P)).statistic, (total / error) ** 2)


@pytest.mark.parametrize(
    ("R", "message"),
    [
        (np.ones(3), "R must have rows of 6 entries"),
        (np.ones((2, P)), "independent"),
        (np.zeros(P), "independent"),
        ("w", "R must be an array"),
    ],
)
def test_wald_test_refuses(R, message, problem):
    X, y, model = problem
    with pytest.raises((TypeError, ValueError), match=message):
        inference(model, X, y).wald_test(R)


def test_prediction_intervals(problem):
    X, y, model = problem
    result = inference(model, X, y, covariance="classical")
    new, clean = data(3000, noise=0.0, seed=9, bias=0.2, intercept=1.0)
    found = result.predict_interval(new, 0.9)
    assert_allclose(found.mean, model.predict(new))
    J = design(new, model)
    expected = np.sqrt(np.einsum("np,pq,nq->n", J, result.covariance_, J))
    assert_allclose(found.stderr, expected, rtol=1e-6)
    observed = clean + 0.3 * np.random.default_rng(0).standard_normal(len(clean))
    low, high = found.observation_interval.T
    assert 0.88 < np.mean((low <= observed) & (observed <= high)) < 0.92
    low, high = found.mean_interval.T
    assert_allclose((low + high) / 2, found.mean)
    assert (high - low < np.ptp(found.observation_interval, axis=1)).all()


def test_table_shows_every_parameter_and_level(problem):
    X, y, model = problem
    result = inference(model, X, y, level=0.9)
    text, html = str(result), result._repr_html_()
    for shown in (*result.names, "R-squared", "AIC, BIC", "P>|t|", "[0.05", "0.95]"):
        assert shown in text
        assert shown.replace(">", "&gt;") in html
    assert "No doubts" in text


def test_tables_of_large_windows_are_cut():
    X = np.random.default_rng(0).standard_normal((300, 80))
    _, y = make_filter_regression(X=X, noise=0.1, random_state=0)
    text = str(inference(fitted(X, y), X, y))
    assert len(re.findall(r"^w\[", text, re.MULTILINE)) < 80
    assert "..." in text
    assert "intercept" in text


def test_fewer_samples_than_parameters_are_refused():
    X, y = data(5)
    with pytest.raises(ValueError, match="n_samples=5"):
        inference(fitted(X, y), X, y)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"covariance": "HC9"}, ValueError, "covariance must be one of"),
        ({"covariance": "cluster"}, ValueError, "needs groups"),
        ({"covariance": "cluster", "groups": np.zeros(400)}, ValueError, "only one group"),
        ({"groups": np.zeros(3)}, ValueError, "groups must have one entry"),
        ({"level": 1.0}, ValueError, "level must lie between 0 and 1"),
        ({"level": "high"}, TypeError, "level must be a number"),
        ({"bootstrap": 1}, ValueError, "bootstrap must be 0 or at least 2"),
        ({"bootstrap": 2.5}, TypeError, "bootstrap must be an int"),
        ({"sample_weight": np.ones(3)}, ValueError, "sample_weight must have the shape"),
        ({"sample_weight": np.zeros(400)}, ValueError, "sample_weight"),
        ({"sample_weight": -np.ones(400)}, ValueError, "sample_weight"),
    ],
)
def test_parameters_are_refused(options, error, message, problem):
    X, y, model = problem
    with pytest.raises(error, match=message):
        inference(model, X, y, **options)


def test_data_and_estimators_are_refused(problem):
    X, y, model = problem
    with pytest.raises(TypeError, match="Call fit first"):
        inference(ConvReLUFilterRegressor(), X, y)
    with pytest.raises(ValueError, match="inconsistent"):
        inference(model, X, y[1:])
    with pytest.raises(ValueError, match="NaN"):
        inference(model, X, np.full(len(y), np.nan))
    with pytest.raises(ValueError, match="coef_ must have the shape"):
        inference(model, X[..., 1:], y)


def test_results_show_themselves_in_one_line(problem):
    X, y, model = problem
    result = inference(model, X, y, bootstrap=2, random_state=0)
    found = result.identifiability, result.bootstrap, result.wald_test(np.ones(P))
    for shown in (result, *found, *found[0].rivals, result.predict_interval(X[:2])):
        assert repr(shown).startswith(type(shown).__name__ + "(")
        assert len(repr(shown)) <= 250
    assert "doubts=[]" in repr(found[0])


def test_single_precision_and_lists_are_taken(problem):
    X, y, model = problem
    expected = inference(model, X, y, random_state=0)
    single = X.astype(np.float32)
    found = inference(fitted(single, y), single, y, bootstrap=2, random_state=0)
    assert_allclose(found.bse, expected.bse, rtol=1e-3)
    assert found.identifiability.doubts == ()
    lists = inference(model, X.tolist(), y.tolist(), random_state=0)
    assert_allclose(lists.bse, expected.bse)
