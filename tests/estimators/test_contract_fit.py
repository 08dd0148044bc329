"""Both regressors: every form of X, predictions, the objective, fitted attributes."""

import copy
import tracemalloc

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.metrics import r2_score

from skconvfilter import ConvPatchExtractor
from skconvfilter.model.activations import ACTIVATIONS
from tests.estimators.cases import (
    FILTER,
    GEOMETRY,
    distance,
    fit_quietly,
    objective,
    values_by_loops,
)

PATCH_FORMS = {
    "patches": lambda data: data.patches,
    "windows": lambda data: data.windows,
    "extracted": lambda data: ConvPatchExtractor(**GEOMETRY).fit_transform(data.X),
    "copied windows": lambda data: data.windows.copy(),
    "nested lists": lambda data: data.patches.tolist(),
    "list of arrays": lambda data: list(data.patches),
}
# Fits that end in a minimum.
CONVERGE = ("filter", "filter-lm", "filter-bias", "bank", "bank-paper", "bank-random")


def preactivations(model, patches):
    """Of patches (n, k, p), shape (n, n_filters, k)."""
    products = np.einsum("nkp,tp->ntk", patches, np.atleast_2d(model.coef_))
    return products + np.atleast_1d(model.bias_)[:, np.newaxis]


@pytest.mark.parametrize("form", PATCH_FORMS.values(), ids=PATCH_FORMS.keys())
def test_every_form_of_patches_gives_the_same_fit(form, case):
    data = case.data()
    X, grid, window = form(data), (6,), (4,)
    if np.ndim(X) == 5:
        grid, window = (2, 3), (2, 2)
    expected = case.make().fit(data.X, data.y)
    model = case.make_for_patches().fit(X, data.y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8)
    np.testing.assert_allclose(model.predict(X), expected.predict(data.X), rtol=1e-8)
    filters = model.filters_ if case.is_bank else model.filter_[np.newaxis]
    assert filters.shape[1:] == window
    np.testing.assert_array_equal(filters.ravel(), model.coef_.ravel())
    maps = model.feature_map(X)
    assert maps.shape == (300, *model.coef_.shape[:-1], *grid)
    assert (model.n_features_in_, expected.n_features_in_) == (4, 24)


def test_row_without_a_window_is_one_patch(case):
    data = case.data()
    rows = data.patches[:, 0]
    model = fit_quietly(case.make_for_patches(), rows, data.y)
    expected = fit_quietly(case.make_for_patches(), rows[:, np.newaxis], data.y)
    assert model.n_features_in_ == 4
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-9)


def test_number_of_patches_may_change(case):
    data = case.data()
    model = case.make_for_patches().fit(data.patches, data.y)
    for patches in (data.patches[:, :2], data.patches[:, [1]]):
        expected = values_by_loops(model, patches)
        np.testing.assert_allclose(model.predict(patches), expected)
    # A row is a sample of one patch.
    np.testing.assert_allclose(model.predict(data.patches[:, 1]), expected)


def test_order_of_patches_and_samples_does_not_matter(case):
    data, rng = case.data(), np.random.default_rng(0)
    model = case.make_for_patches().fit(data.patches, data.y)
    samples, patches = rng.permutation(300), rng.permutation(6)
    shuffled = case.make_for_patches().fit(
        data.patches[samples][:, patches], data.y[samples]
    )
    # Rounding may decide between minima in neighbouring cells.
    assert distance(shuffled.coef_, model.coef_) < 1e-3


def test_what_a_window_view_does_not_show_plays_no_part(case):
    data = case.data()
    images = data.X.reshape(-1, 4, 6).copy()
    # Columns 2 and 3 lie between windows four columns apart.
    images[:, :, 2:4] = np.nan
    view = sliding_window_view(images, (2, 2), axis=(1, 2))[:, ::2, ::4]
    model = case.make_for_patches().fit(view, data.y)
    expected = case.make_for_patches().fit(view.copy(), data.y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-8)
    np.testing.assert_allclose(model.predict(view), expected.predict(view.copy()))


@pytest.mark.parametrize("form", ["X", "windows"])
def test_patches_are_never_stored(form):
    images = np.random.RandomState(0).standard_normal((3000, 16, 16))
    y = images[:, 0, 0]
    params = {"n_init": 4, "diagnostics": False}
    if form == "X":
        params |= {"input_shape": (16, 16), "kernel_size": 3, "stride": 1}
        X = images.reshape(3000, -1)
    else:
        X = sliding_window_view(images, (3, 3), axis=(1, 2))
    model = FILTER.make_for_patches(**params)
    tracemalloc.start()
    try:
        model.fit(X, y).predict(X)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # All patches would be seven times the images.
    assert peak < 2.5 * images.nbytes


# Predictions ------------------------------------------------------------------------------


def test_prediction_follows_the_formula(recipe):
    data = recipe.data()
    model = recipe.fit(data._replace(y=5.0 - data.y), max_iter=2)
    model.coef_ = model.coef_ + np.linspace(-1, 1, model.coef_.size).reshape(
        model.coef_.shape
    )
    expected = values_by_loops(model, data.patches)
    np.testing.assert_allclose(model.predict(data.X), expected, rtol=1e-11, atol=1e-11)

    maps = model.feature_map(data.X).reshape(300, -1, 6)
    phi = ACTIVATIONS[getattr(model, "activation", "relu")].value
    expected = phi(preactivations(model, data.patches))
    np.testing.assert_allclose(maps, expected, rtol=1e-12, atol=1e-12)
    pooled = (
        maps.sum(axis=2) if getattr(model, "pooling", "") == "sum" else maps.mean(axis=2)
    )
    signs = getattr(model, "output_scale_", 1) * np.atleast_1d(getattr(model, recipe.signs))
    values = pooled @ signs + model.intercept_
    np.testing.assert_allclose(model.predict(data.X), values, rtol=1e-11, atol=1e-11)


def test_score_is_the_weighted_share_of_variance(case):
    data, weights = case.data(), np.linspace(0, 1, 300)
    model = case.fit(data)
    prediction = model.predict(data.X)
    assert model.score(data.X, data.y) == r2_score(data.y, prediction)
    assert model.score(data.X, data.y, sample_weight=weights) == r2_score(
        data.y, prediction, sample_weight=weights
    )


# The objective ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "weighted", "fit_intercept"),
    [(0.0, False, True), (0.05, True, True), (0.01, True, False)],
)
def test_loss_is_the_documented_objective(alpha, weighted, fit_intercept, recipe):
    data = recipe.data()
    weights = np.linspace(0.1, 3, 300) if weighted else None
    params = {"alpha": alpha, "fit_intercept": fit_intercept}
    model = recipe.fit(data, weights, **params)
    expected = objective(model, data.X, data.y, weights)
    assert model.loss_ == pytest.approx(expected, rel=1e-9)
    errors = model.predict(data.X) - data.y
    squares = np.average(errors**2, weights=weights)
    mean = np.average(data.y, weights=weights)
    assert model.relative_loss_ == pytest.approx(squares / mean**2, rel=1e-9)
    if fit_intercept:
        # The intercept is the best one for the filters.
        assert np.average(errors, weights=weights) == pytest.approx(0, abs=1e-10)
    else:
        assert model.intercept_ == 0.0
    if str(recipe) not in CONVERGE:
        return
    # A minimum: no filters near by are better.
    signs = np.asarray(getattr(model, recipe.signs))
    rng = np.random.default_rng(0)
    for _ in range(5):
        near = copy.copy(model)
        near.coef_ = model.coef_ + 1e-3 * rng.standard_normal(model.coef_.shape)
        near.bias_ = model.bias_ + 1e-3 * model.bias * rng.standard_normal(signs.shape)
        if fit_intercept:
            near.intercept_ += np.average(data.y - near.predict(data.X), weights=weights)
        worse = objective(near, data.X, data.y, weights)
        assert worse > expected * (1 - model.tol)


def test_path_leads_from_the_start_to_the_filters(recipe):
    data = recipe.data()
    model = recipe.fit(data)
    start = copy.copy(model)
    start.coef_, start.bias_ = model.coef_path_[0], model.bias_path_[0]
    if getattr(model, "output_scale_", 1) != 1:
        # The best one for the filters, as the intercept is.
        start.output_scale_ *= np.polyfit(start.predict(data.X), data.y, 1)[0]
    start.intercept_ += np.mean(data.y - start.predict(data.X))
    assert model.loss_curve_[0] == pytest.approx(objective(start, data.X, data.y))
    assert model.loss_curve_[0] > model.loss_
    best = np.argmin(model.loss_curve_)
    np.testing.assert_allclose(model.coef_path_[best], model.coef_, rtol=1e-6)
    np.testing.assert_allclose(model.bias_path_[best], model.bias_, rtol=1e-6)


# Attributes -------------------------------------------------------------------------------

HISTORY = {
    "loss": float,
    "relative_loss": float,
    "gradient_norm": float,
    "learning_rate": float,
    "angle": float,
    "stage": str,
}
THEORY = {
    "filter": ("gamma_", "L_", "beta_", "L_cross_", "phi_0_"),
    "bank": ("condition_number_", "lambda_", "rho_"),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fitted_attributes_are_those_documented(dtype, recipe):
    data = recipe.data()
    model = fit_quietly(
        recipe.make(n_init=3, diagnostics=True), data.X.astype(dtype), data.y
    )
    shape = (2, 4) if recipe.is_bank else (4,)
    arrays = {
        "coef_": shape,
        "filters_" if recipe.is_bank else "filter_": (*shape[:-1], 2, 2),
        "coef_path_": (model.n_iter_ + 1, *shape),
        "bias_path_": (model.n_iter_ + 1, *shape[:-1]),
    }
    for name, expected in arrays.items():
        assert getattr(model, name).shape == expected, name
        assert getattr(model, name).dtype == dtype, name
    assert model.loss_curve_.shape == (model.n_iter_ + 1,)
    assert model.restart_losses_.shape == (3,)
    theory = THEORY["bank" if recipe.is_bank else "filter"]
    for name in ("intercept_", "loss_", "relative_loss_", *theory):
        assert type(getattr(model, name)) is float, name
    for name in ("n_iter_", "best_restart_", "n_samples_seen_", "n_features_in_"):
        assert type(getattr(model, name)) is int, name
    assert (model.n_samples_seen_, model.n_features_in_) == (300, 24)
    signs = getattr(model, recipe.signs)
    assert np.shape(signs) == np.shape(model.bias_) == shape[:-1]
    assert bool(model.bias_scaling_) == model.bias
    assert np.asarray(signs).dtype.kind == "i"
    assert set(np.ravel(signs)) <= {1, -1}
    if recipe.is_bank:
        low, high = model.hessian_extremes_
        assert type(low) is type(high) is float
        assert low < high
    known = vars(recipe.make()).keys()
    documented = recipe.estimator.__doc__
    for name in vars(model).keys() - known:
        assert f"{name} " in documented or f"{name}," in documented, name


def test_without_diagnostics_there_is_no_theory(case):
    data = case.data()
    model, without = (case.fit(data, diagnostics=d) for d in (True, False))
    np.testing.assert_array_equal(without.coef_, model.coef_)
    theory = {"certificate_", "hessian_extremes_", *THEORY["filter"], *THEORY["bank"]}
    assert vars(model).keys() - vars(without).keys() <= theory
    assert not vars(without).keys() & theory


def test_history_describes_every_restart(recipe):
    data = recipe.data()
    model = recipe.fit(data, n_init=5)
    history = model.history_
    assert history.keys() == {"iteration", *HISTORY}
    rows = len(history["iteration"])
    np.testing.assert_array_equal(history["iteration"], np.arange(rows))
    assert all(history[name].shape == (rows, 5) for name in HISTORY)
    ran = history["stage"] != ""
    for name in ("loss", "relative_loss", "gradient_norm"):
        np.testing.assert_array_equal(np.isfinite(history[name]), ran)
    relative = 2 * history["loss"] / data.y.mean() ** 2
    np.testing.assert_allclose(history["relative_loss"], relative)


def test_history_names_the_stages(recipe):
    model = recipe.fit(recipe.data(), n_init=5)
    stage = model.history_["stage"]
    ran = stage != ""
    for column in stage[:, ran.any(axis=0)].T:
        assert column[column != ""][0] == "start"
    stages = {"stage 1", "stage 2"} if recipe.descends else set()
    if model.solver == "levenberg-marquardt" or getattr(model, "polish", False):
        stages |= {"polish"}
    assert set(stage[ran]) <= stages | {"start"}
    # Gradient descent has a learning rate, and nothing else has.
    has_rate = np.isin(stage, ["stage 1", "stage 2"])
    np.testing.assert_array_equal(np.isfinite(model.history_["learning_rate"]), has_rate)


def test_history_and_curves_agree(recipe):
    model = recipe.fit(recipe.data(), n_init=5)
    history, best = model.history_, model.best_restart_
    ran = history["stage"] != ""
    own, began = ran[:, best], ran.any(axis=0)
    assert model.n_iter_ == own.sum() - 1
    np.testing.assert_array_equal(model.loss_curve_, history["loss"][own, best])
    np.testing.assert_array_equal(np.isfinite(model.restart_losses_), began)
    assert np.nanmin(model.restart_losses_) == pytest.approx(model.loss_, rel=1e-9)
    assert model.restart_losses_[best] == pytest.approx(model.loss_, rel=1e-9)
    # So few samples that no phase works on a subsample: nothing on the way is better.
    assert model.loss_ <= np.nanmin(history["loss"]) * (1 + 1e-9)
    if str(recipe) in CONVERGE:
        assert model.loss_curve_[-1] == pytest.approx(model.loss_, rel=1e-6)
        if not recipe.is_bank:
            angle = history["angle"][own, best]
            assert 0 <= angle.min() <= angle.max() <= np.pi
            assert angle[-1] == pytest.approx(0, abs=1e-6)


def test_tags_tell_what_is_taken(case):
    tags = case.make_for_patches().__sklearn_tags__()
    assert tags.estimator_type == "regressor"
    assert tags.input_tags.two_d_array
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    assert tags.target_tags.required
    assert not tags.target_tags.multi_output
    assert not tags.non_deterministic
    # What cannot fit any table says so.
    assert tags.regressor_tags.poor_score == case.is_bank
    if not case.is_bank:
        for params in (GEOMETRY, {"fit_intercept": False}, {"output_sign": 1}):
            model = case.make_for_patches(**params)
            assert model.__sklearn_tags__().regressor_tags.poor_score
