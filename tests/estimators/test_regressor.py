"""The regressor: every form of X, the model it fits, predictions, scores, tags."""

import tracemalloc

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.datasets import load_digits
from sklearn.metrics import r2_score

from skconvfilter import ConvPatchExtractor, ConvReLUFilterRegressor
from skconvfilter.datasets import make_angular_patches, make_filter_regression


def values_by_loops(model, patches):
    """Predictions for patches of shape (n, k, p)."""
    means = []
    for sample in patches:
        responses = [max(0.0, float(np.dot(model.coef_, patch))) for patch in sample]
        means.append(np.mean(responses))
    return model.sign_ * np.array(means) + model.intercept_


def extracted(problem):
    return ConvPatchExtractor(3, input_shape=(8, 8)).fit_transform(problem.X)


PATCH_FORMS = {
    "patches": lambda problem: problem.patches,
    "windows": lambda problem: problem.windows,
    "extracted": extracted,
    "copied windows": lambda problem: problem.windows.copy(),
    "nested lists": lambda problem: problem.patches.tolist(),
    "list of arrays": lambda problem: list(problem.patches),
}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("intercept", [0.0, 3.0])
def test_filter_of_the_teacher_is_recovered_from_digits(sign, intercept, make_model):
    X, y, teacher = make_filter_regression(
        X=load_digits().data[:400] / 16,
        kernel_size=3,
        input_shape=(8, 8),
        sign=sign,
        intercept=intercept,
        return_teacher=True,
        random_state=1,
    )
    model = make_model().fit(X, y)
    np.testing.assert_allclose(model.filter_, teacher, atol=1e-9)
    np.testing.assert_array_equal(model.filter_.ravel(), model.coef_)
    assert model.sign_ == sign
    assert model.intercept_ == pytest.approx(intercept, abs=1e-9)
    assert model.score(X, y) == pytest.approx(1)


@pytest.mark.parametrize("form", PATCH_FORMS.values(), ids=PATCH_FORMS.keys())
def test_every_form_of_patches_gives_the_same_fit(
    form, digits, make_model, make_patch_model
):
    X = form(digits)
    expected = make_model().fit(digits.X, digits.y)
    model = make_patch_model().fit(X, digits.y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-9)
    np.testing.assert_allclose(model.predict(X), expected.predict(digits.X), rtol=1e-12)
    assert model.filter_.shape == np.shape(X)[2 if np.ndim(X) == 3 else 3 :]
    assert model.n_features_in_ == 9


@pytest.mark.parametrize("form", ["X", "patches", "windows"])
def test_single_precision_stays_so(form, digits, make_model, make_patch_model):
    X = getattr(digits._replace(X=digits.X.astype(np.float32)), form)
    model = (make_model() if form == "X" else make_patch_model()).fit(X, digits.y)
    assert model.coef_.dtype == model.filter_.dtype == np.float32
    assert model.predict(X).dtype == model.feature_map(X).dtype == np.float32
    assert model.predict(X.astype(np.float64)).dtype == np.float64
    np.testing.assert_allclose(model.coef_, digits.teacher.ravel(), rtol=1e-3)
    np.testing.assert_allclose(model.predict(X), digits.y, rtol=1e-4)


@pytest.mark.parametrize("form", ["rows", "windows"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_patches_are_never_stored(form, dtype, make_model, make_patch_model):
    images = np.random.RandomState(0).standard_normal((3000, 16, 16)).astype(dtype)
    y = images[:, 0, 0].astype(float)
    if form == "rows":
        model, X = make_model(input_shape=(16, 16)), images.reshape(3000, -1)
    else:
        model, X = make_patch_model(), sliding_window_view(images, (3, 3), axis=(1, 2))
    # Estimates of the theory take what a few hundred samples need, however many there are.
    model.set_params(n_init=4, diagnostics=False)
    tracemalloc.start()
    try:
        model.fit(X, y).predict(X)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # All patches would be seven times the images.
    assert peak < 2.5 * images.nbytes


GEOMETRIES = {
    "padding": {"kernel_size": 3, "input_shape": (6, 7), "padding": 1},
    "uneven padding": {"kernel_size": (3, 2), "input_shape": (6, 7), "padding": (2, 0)},
    "dilation": {"kernel_size": 3, "input_shape": (8, 8), "dilation": 2},
    "stride": {"kernel_size": 3, "input_shape": (9, 9), "stride": (2, 3)},
    "no overlap": {"kernel_size": 4, "input_shape": (8, 8), "stride": 4},
    "all": {
        "kernel_size": (2, 3),
        "input_shape": (7, 8),
        "stride": (1, 2),
        "padding": (1, 2),
        "dilation": (3, 2),
    },
    "channels": {"kernel_size": 2, "input_shape": (5, 6, 3)},
    "padded channels": {"kernel_size": 3, "input_shape": (5, 6, 2), "padding": 1},
    "signal": {"kernel_size": 5, "input_shape": (20,)},
    "signal with channels": {"kernel_size": (3,), "input_shape": (12, 2), "dilation": 2},
    "volume": {"kernel_size": (2, 2, 2), "input_shape": (4, 4, 4)},
    "whole image": {"kernel_size": (3, 3), "input_shape": (3, 3)},
    "one entry": {"kernel_size": 1, "input_shape": (3, 3)},
}


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_filters_of_every_geometry_are_recovered(geometry):
    X, y, teacher = make_filter_regression(
        500, **geometry, return_teacher=True, random_state=0
    )
    model = ConvReLUFilterRegressor(**geometry, random_state=0).fit(X, y)
    assert model.filter_.shape == teacher.shape
    np.testing.assert_allclose(model.filter_, teacher, atol=1e-8)
    # The extractor cuts the same patches.
    extractor = ConvPatchExtractor(**geometry)
    patches = extractor.fit_transform(X).reshape(len(X), -1, teacher.size)
    np.testing.assert_allclose(model.predict(X), values_by_loops(model, patches))


def test_row_without_a_window_is_a_signal_or_one_patch():
    X, y, teacher = make_filter_regression(
        300, kernel_size=3, return_teacher=True, random_state=0
    )
    model = ConvReLUFilterRegressor(3, random_state=0).fit(X, y)
    np.testing.assert_allclose(model.coef_, teacher, atol=1e-9)

    X, y, teacher = make_angular_patches(300, 6, return_teacher=True, random_state=0)
    model = ConvReLUFilterRegressor(random_state=0).fit(X, y)
    np.testing.assert_allclose(model.coef_, teacher, atol=1e-9)
    assert model.n_features_in_ == 6


def test_model_without_intercept_is_that_of_the_paper(digits, make_model):
    model = make_model(fit_intercept=False, output_sign=1).fit(digits.X, digits.y)
    assert model.intercept_ == 0.0
    assert model.sign_ == 1
    np.testing.assert_allclose(model.filter_, digits.teacher, atol=1e-9)


def test_prediction_follows_the_formula(digits, make_model):
    model = make_model().fit(digits.X, 5.0 - digits.y)
    model.coef_ = model.coef_ + np.linspace(-1, 1, 9)
    expected = values_by_loops(model, digits.patches)
    assert model.sign_ == -1
    np.testing.assert_allclose(model.predict(digits.X), expected, rtol=1e-12)


def test_response_map_has_the_grid_and_the_mean_of_the_prediction(digits, make_model):
    model = make_model().fit(digits.X, 5.0 - digits.y)
    model.coef_ = model.coef_ + np.linspace(-1, 1, 9)
    response = model.feature_map(digits.X)
    assert response.shape == (300, 6, 6)
    assert response.min() == 0.0
    raw = np.einsum("nijkl,kl->nij", digits.windows, model.coef_.reshape(3, 3))
    np.testing.assert_allclose(response, np.maximum(raw, 0), atol=1e-14)
    means = model.sign_ * response.mean(axis=(1, 2)) + model.intercept_
    np.testing.assert_allclose(model.predict(digits.X), means, rtol=1e-12)


@pytest.mark.parametrize(
    ("form", "grid"), [("patches", (36,)), ("windows", (6, 6))], ids=str
)
def test_response_map_of_patches_has_their_grid(form, grid, digits, make_patch_model):
    X = getattr(digits, form)
    model = make_patch_model().fit(X, digits.y)
    assert model.feature_map(X).shape == (300, *grid)


def test_number_of_patches_may_change(digits, make_patch_model):
    model = make_patch_model().fit(digits.patches, digits.y)
    fewer = digits.patches[:, 5:17]
    np.testing.assert_allclose(model.predict(fewer), values_by_loops(model, fewer))
    # A row is a sample of one patch.
    rows = digits.patches[:, 20]
    expected = values_by_loops(model, rows[:, np.newaxis])
    np.testing.assert_allclose(model.predict(rows), expected)


def test_order_of_patches_does_not_matter(digits, make_patch_model):
    order = np.random.RandomState(0).permutation(36)
    model = make_patch_model().fit(digits.patches, digits.y)
    shuffled = make_patch_model().fit(digits.patches[:, order], digits.y)
    np.testing.assert_allclose(shuffled.coef_, model.coef_, rtol=1e-9)


@pytest.mark.parametrize("params", [{}, {"polish": False}], ids=["polish", "SGD"])
@pytest.mark.parametrize("power", [-6, -1, 3])
def test_units_of_samples_and_targets_do_not_matter(power, params, noise, make_model):
    model = make_model(**params).fit(noise.X, noise.y)
    scaled = make_model(**params).fit(noise.X * 10.0**power, noise.y * 100 - 7)
    unit = 100 / 10.0**power
    np.testing.assert_allclose(scaled.coef_ / unit, model.coef_, rtol=1e-5)
    assert scaled.intercept_ == pytest.approx(model.intercept_ * 100 - 7)
    assert scaled.loss_ == pytest.approx(model.loss_ * 1e4)
    np.testing.assert_allclose(scaled.loss_curve_, model.loss_curve_ * 1e4, rtol=1e-5)
    for name, factor in [("gradient_norm", 1e4 / unit), ("learning_rate", unit**2 / 1e4)]:
        np.testing.assert_allclose(
            scaled.history_[name], model.history_[name] * factor, rtol=1e-3, atol=1e-12
        )


def test_score_is_the_weighted_share_of_variance(noise, make_model):
    model = make_model().fit(noise.X, noise.y)
    weights = np.linspace(0, 1, 400)
    prediction = model.predict(noise.X)
    assert model.score(noise.X, noise.y) == r2_score(noise.y, prediction)
    assert model.score(noise.X, noise.y, sample_weight=weights) == r2_score(
        noise.y, prediction, sample_weight=weights
    )


def test_tags_tell_what_is_taken(make_model, make_patch_model):
    tags = make_patch_model().__sklearn_tags__()
    assert tags.estimator_type == "regressor"
    assert tags.input_tags.two_d_array
    assert tags.input_tags.three_d_array
    assert not tags.input_tags.sparse
    assert not tags.input_tags.allow_nan
    assert tags.target_tags.required
    assert not tags.target_tags.multi_output
    assert not tags.non_deterministic
    assert not tags.regressor_tags.poor_score
    # What cannot fit any table says so.
    for model in (
        make_model(),
        make_patch_model(fit_intercept=False),
        make_patch_model(output_sign=1),
    ):
        assert model.__sklearn_tags__().regressor_tags.poor_score
