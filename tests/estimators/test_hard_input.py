"""Data that must be fitted, however unusual: degenerate, extreme, of any kind of array."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

from skconvfilter import ConvReLUFilterRegressor

MODELS = {
    "default": {},
    "SGD": {"polish": False, "max_iter": 3},
    "GD": {"solver": "gd", "polish": False, "max_iter": 3},
    "Gauss-Newton": {"solver": "gauss-newton"},
    "no intercept": {"fit_intercept": False},
    "one sign": {"output_sign": -1, "n_init": 1},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.5},
    "theory": {"init_radius": "theory"},
    "penalty": {"alpha": 0.1},
}

_RNG = np.random.RandomState(0)
_ROWS, _TARGETS = _RNG.standard_normal((20, 4)), _RNG.standard_normal(20)
DEGENERATE = {
    "constant y": (_ROWS, np.full(20, -7.5)),
    "y zero": (_ROWS, np.zeros(20)),
    "X zero": (np.zeros((20, 4)), _TARGETS),
    "both zero": (np.zeros((20, 4)), np.zeros(20)),
    "X and y constant": (np.full((20, 4), -3.0), np.full(20, 2.0)),
    "constant features": (np.column_stack([_ROWS[:, :2], np.ones((20, 2))]), _TARGETS),
    "X one constant": (np.full((20, 4), 5.0), _TARGETS),
    "X negative": (-np.abs(_ROWS), _TARGETS),
    "one sample twice": (_ROWS[[0, 0]], _TARGETS[[0, 0]]),
    "one sample, two targets": (_ROWS[[0, 0]], np.array([1.0, 2.0])),
    "fewer samples than features": (_ROWS[:3], _TARGETS[:3]),
    "one feature": (_ROWS[:, :1], _TARGETS),
    "one patch of one entry": (_ROWS[:, :1].reshape(20, 1, 1), _TARGETS),
    "patches of one entry": (_ROWS.reshape(20, 4, 1), _TARGETS),
    "patches zero": (np.zeros((20, 2, 3)), _TARGETS),
}

SCALES = [1e150, 1e-150, 1e200, 1e-200, 1e300, 1e-300]

# The same numbers in memory in other ways.
LAYOUTS = {
    "list": np.ndarray.tolist,
    "Fortran": np.asfortranarray,
    "every second entry": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "some columns": lambda a: np.concatenate([a, a], axis=-1)[..., : a.shape[-1]],
    "every second row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "reversed rows": lambda a: a[::-1].copy()[::-1],
    "reversed entries": lambda a: a[..., ::-1].copy()[..., ::-1],
    "big-endian": lambda a: a.astype(">f8"),
    "unaligned": lambda a: np.frombuffer(b"\0" + a.tobytes(), offset=1).reshape(a.shape),
    "object": lambda a: a.astype(object),
    "longdouble": lambda a: a.astype(np.longdouble),
    "subclass": lambda a: a.view(np.recarray),
}
DTYPES = [np.int8, np.uint8, np.int64, np.float16, ">i4", bool, object, np.longdouble]


def fit_quietly(model, *args, **kwargs):
    """A fit that need not converge."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*args, **kwargs)


@pytest.fixture
def problem(digits):
    return digits.take(100)


@pytest.mark.parametrize("params", MODELS.values(), ids=MODELS.keys())
@pytest.mark.parametrize(("X", "y"), DEGENERATE.values(), ids=DEGENERATE.keys())
def test_degenerate_data_are_fitted_with_finite_numbers(X, y, params):
    model = fit_quietly(ConvReLUFilterRegressor(random_state=0, **params), X, y)
    for name in ("coef_", "intercept_", "loss_", "restart_losses_", "loss_curve_"):
        assert np.isfinite(getattr(model, name)).all(), name
    prediction = model.predict(X)
    assert prediction.shape == y.shape
    assert np.isfinite(prediction).all()
    if model.fit_intercept and not model.early_stopping:
        # Never worse than the mean.
        assert np.mean((prediction - y) ** 2) <= np.var(y) * (1 + 1e-9) + 1e-18


@pytest.mark.parametrize("params", MODELS.values(), ids=MODELS.keys())
@pytest.mark.parametrize("shape", [(1, 4), (1, 2, 4), (1, 1), (1, 3, 1)])
def test_one_sample_is_fitted(shape, params):
    if params.get("early_stopping"):
        params = {}
    X, y = np.random.RandomState(0).standard_normal(shape), np.array([3.0])
    model = fit_quietly(ConvReLUFilterRegressor(random_state=0, **params), X, y)
    assert np.isfinite(model.coef_).all()
    if model.fit_intercept:
        np.testing.assert_allclose(model.predict(X), y)


@pytest.mark.parametrize("c", [0.0, -7.5, 1e-300, 1e300])
def test_constant_targets_are_predicted(c, problem, make_model):
    model = make_model().fit(problem.X, np.full(100, c))
    np.testing.assert_allclose(model.predict(problem.X), c, rtol=1e-12)


def test_validation_scores_of_constant_targets_are_numbers(problem, make_model):
    model = make_model(early_stopping=True).fit(problem.X, np.full(100, 2.5))
    # As sklearn.metrics.r2_score has it for perfect predictions.
    assert model.best_validation_score_ == 1.0
    assert model.validation_scores_.max() == 1.0


def test_targets_with_a_large_offset(problem, make_model):
    model = make_model().fit(problem.X, problem.y + 1e12)
    # Of the 16 digits of a float, 12 are spent on the offset.
    np.testing.assert_allclose(model.predict(problem.X) - 1e12, problem.y, atol=1e-3)


@pytest.mark.parametrize("params", [{}, {"polish": False, "max_iter": 3}])
@pytest.mark.parametrize("scale", SCALES)
def test_scale_of_samples_does_not_matter(scale, params, problem, make_model):
    expected = fit_quietly(make_model(**params), problem.X, problem.y)
    model = fit_quietly(make_model(**params), problem.X * scale, problem.y)
    np.testing.assert_allclose(model.coef_ * scale, expected.coef_, rtol=1e-9)
    prediction = model.predict(problem.X * scale)
    np.testing.assert_allclose(prediction, expected.predict(problem.X), rtol=1e-9)


@pytest.mark.parametrize("params", [{}, {"polish": False, "max_iter": 3}])
@pytest.mark.parametrize("scale", SCALES)
def test_scale_of_targets_does_not_matter(scale, params, problem, make_model):
    expected = fit_quietly(make_model(**params), problem.X, problem.y)
    model = fit_quietly(make_model(**params), problem.X, problem.y * scale)
    np.testing.assert_allclose(model.coef_ / scale, expected.coef_, rtol=1e-9)
    prediction = model.predict(problem.X) / scale
    np.testing.assert_allclose(prediction, expected.predict(problem.X), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e20, 1e-20, 1e60, 1e-60])
def test_penalty_scales_with_the_samples(scale, problem, make_model):
    expected = make_model(alpha=1e-3).fit(problem.X, problem.y)
    model = make_model(alpha=1e-3 * scale**2).fit(problem.X * scale, problem.y)
    np.testing.assert_allclose(model.coef_ * scale, expected.coef_, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_penalty_beside_samples_of_extreme_scale(scale, problem, make_model):
    model = make_model(alpha=1.0).fit(problem.X * scale, problem.y)
    assert np.isfinite(model.coef_).all()
    # Overwhelming beside the small samples, nothing beside the large ones.
    explained = model.score(problem.X * scale, problem.y)
    assert explained == pytest.approx(1.0 if scale > 1 else 0.0)


@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e37])
def test_scale_of_single_precision_samples_does_not_matter(scale, problem, make_model):
    X = (problem.X * scale).astype(np.float32)
    model = make_model().fit(X, problem.y)
    assert model.coef_.dtype == np.float32
    np.testing.assert_allclose(model.filter_ * scale, problem.teacher, rtol=1e-3)
    np.testing.assert_allclose(model.predict(X), problem.y, rtol=1e-4)


@pytest.mark.parametrize(
    ("dtype", "x_scale", "y_scale"),
    [(np.float64, 1e-310, 1.0), (np.float64, 1e-200, 1e200), (np.float32, 1.0, 1e60)],
)
def test_filter_out_of_range_is_an_error(dtype, x_scale, y_scale, problem, make_model):
    X = (problem.X * x_scale).astype(dtype)
    message = f"exceeds the range of {np.dtype(dtype)}.*Rescale"
    with pytest.raises(ValueError, match=message):
        make_model().fit(X, problem.y * y_scale)


@pytest.mark.parametrize("form", ["X", "patches", "windows"])
@pytest.mark.parametrize("change", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layout_in_memory_does_not_matter(form, change, problem, make_model, request):
    X = getattr(problem, form)
    make = make_model if form == "X" else request.getfixturevalue("make_patch_model")
    expected = make().fit(X, problem.y)
    changed = change(np.array(X))
    before = np.array(changed)
    model = make().fit(changed, change(np.array(problem.y)))
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(model.predict(changed), expected.predict(X))
    np.testing.assert_array_equal(changed, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_dtypes_become_double_precision(dtype, problem, make_model):
    X, y = np.round(problem.X * 16).astype(dtype), np.round(problem.y * 64).astype(dtype)
    model = make_model().fit(X, y)
    expected = make_model().fit(X.astype(float), y.astype(float))
    assert model.coef_.dtype == model.predict(X).dtype == np.float64
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X.astype(float)))


@pytest.mark.parametrize("container", [list, tuple, pd.Series, pd.Index, pd.array])
def test_targets_and_weights_may_be_any_sequence(container, problem, make_model):
    weights = np.linspace(1, 2, 100)
    model = make_model().fit(problem.X, container(problem.y), container(weights))
    expected = make_model().fit(problem.X, problem.y, weights)
    np.testing.assert_array_equal(model.coef_, expected.coef_)


def test_samples_may_be_a_read_only_memory_map(problem, make_model, tmp_path):
    path = tmp_path / "X.npy"
    np.save(path, problem.X)
    X = np.load(path, mmap_mode="r")
    model = make_model().fit(X, problem.y)
    expected = make_model().fit(problem.X, problem.y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(model.predict(X), expected.predict(problem.X))


def test_targets_out_of_the_range_of_the_samples_are_an_error(problem, make_model):
    X = problem.X.astype(np.float32)
    with pytest.raises(ValueError, match="range of float32"):
        make_model().fit(X, np.full(100, 1e60))


@pytest.mark.parametrize(
    "params", [{"init": np.full(9, 1e200)}, {"init_radius": 1e200}], ids=["init", "radius"]
)
@pytest.mark.parametrize("polish", [True, False])
def test_starts_that_are_far_too_long_end_in_finite_numbers(
    params, polish, problem, make_model
):
    model = fit_quietly(make_model(polish=polish, **params), problem.X, problem.y)
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.predict(problem.X)).all()


def test_what_a_window_view_does_not_show_plays_no_part(problem, make_patch_model):
    images = problem.X.reshape(-1, 8, 8).copy()
    # Columns 3 and 4 lie between windows five columns apart.
    images[:, :, 3:5] = np.nan
    view = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(1, 2))[:, :, ::5]
    model = make_patch_model().fit(view, problem.y)
    expected = make_patch_model().fit(view.copy(), problem.y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-9)
    np.testing.assert_allclose(model.predict(view), expected.predict(view.copy()))


@pytest.mark.parametrize("rate", [1e6, 1e12, 1e300])
@pytest.mark.parametrize(
    "params",
    [
        {"learning_rate": "two-stage"},
        {"learning_rate": "constant"},
        {"solver": "gd"},
        {"solver": "gd", "fit_intercept": False},
    ],
    ids=str,
)
def test_far_too_large_rates_end_in_a_warning(rate, params, problem, make_model):
    rates = {"learning_rate_init": rate, "learning_rate_final": rate}
    model = make_model(polish=False, max_iter=50, **rates, **params)
    # The loss rises without bound: that it falls no longer is no convergence.
    with pytest.warns(ConvergenceWarning, match="lower learning_rate_init"):
        model.fit(problem.X, problem.y)
    assert np.isfinite(model.coef_).all()
    # The best iterate is no worse than the best start.
    assert model.loss_ <= model.history_["loss"][0].min() * (1 + 1e-9)
    assert model.loss_ == pytest.approx(model.restart_losses_.min(), rel=1e-9)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_penalties_and_starts_beyond_bounds_end_in_numbers(
    fit_intercept, problem, make_model
):
    params = {"alpha": 1e300, "init_radius": 1e100, "n_init": 1}
    model = make_model(fit_intercept=fit_intercept, **params)
    fit_quietly(model, problem.X, problem.y)
    # The penalty of the start is infinite, and so is the loss.
    assert model.loss_ == model.relative_loss_ == np.inf
    assert np.isfinite(model.predict(problem.X)).all()
    model.partial_fit(problem.X, problem.y)
    assert np.isfinite(model.loss_)
    assert np.isfinite(model.predict(problem.X)).all()
    streamed = make_model(fit_intercept=fit_intercept, **params)
    streamed.partial_fit(problem.X, problem.y)
    assert np.isfinite(streamed.loss_)
    assert np.isfinite(streamed.predict(problem.X)).all()


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_rates_are_in_the_units_of_the_samples(scale, problem, make_model):
    model = make_model(polish=False, max_iter=5, learning_rate_init=0.1)
    with pytest.warns(ConvergenceWarning, match="learning_rate_init|max_iter"):
        model.fit(problem.X * scale, problem.y)
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("rate", [1e100, 1e300])
def test_far_too_large_rates_end_in_a_warning_with_threads(rate, all_digits, make_model):
    model = make_model(
        solver="gd", polish=False, n_init=4, n_jobs=2, learning_rate_init=rate
    )
    with pytest.warns(ConvergenceWarning, match="lower learning_rate_init"):
        model.fit(all_digits.X, all_digits.y)
    assert np.isfinite(model.coef_).all()


def test_restarts_that_diverge_leave_the_field_to_the_others(noise, make_model):
    def learning_rate(step, losses):
        rates = np.full(losses.shape[1], 0.1)
        if len(rates) == 9:
            rates[::2] = 1e300
        return rates

    model = make_model(
        polish=False, max_iter=10, learning_rate=learning_rate, init=np.eye(9) - 0.1
    )
    model = fit_quietly(model, noise.X, noise.y)
    assert model.best_restart_ % 2 == 1
    assert model.loss_ < 0.9 * model.history_["loss"][0].min()
    assert np.isfinite(model.coef_).all()


@pytest.mark.parametrize("params", [{"n_init": 1}, {}, {"polish": False}], ids=str)
def test_radius_far_beyond_the_filter_is_shortened(params):
    X, y = 1e149 * _ROWS[:, :1], 1e-151 * np.maximum(_ROWS[:, 0], 0)
    model = ConvReLUFilterRegressor(init_radius=0.1, random_state=0, **params)
    assert np.isfinite(fit_quietly(model, X, y).predict(X)).all()


def test_infinities_of_both_signs_are_an_error_and_no_warning(problem, make_model):
    X = problem.X.copy()
    X[0, :2] = np.inf, -np.inf
    with pytest.raises(ValueError, match="X contains infinity"):
        make_model().fit(X, problem.y)
    # Finite numbers of which the sum is not.
    large = np.where(_ROWS > 0, 3e38, -3e38).astype(np.float32)
    model = fit_quietly(ConvReLUFilterRegressor(random_state=0), large, _TARGETS)
    assert np.isfinite(model.predict(large)).all()
