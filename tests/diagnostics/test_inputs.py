"""What all diagnostics of samples share: forms of X, estimators, and errors."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from skconvfilter import (
    ConvFilterBankRegressor,
    ConvPatchExtractor,
    ConvReLUFilterRegressor,
)
from skconvfilter.datasets import make_filter_bank_regression
from skconvfilter.diagnostics import (
    certificate,
    interpolation,
    local_convexity,
    one_point_convexity,
    population_loss,
    recovery,
    smoothness,
)

WINDOW = {"kernel_size": 3, "input_shape": (6, 7)}
IMAGES = np.random.default_rng(0).standard_normal((300, 42))
FILTERS = np.random.default_rng(1).standard_normal((2, 3, 3))

# Each as a function of samples and a filter, with the name of that parameter.
ON_SAMPLES = {
    "smoothness": (
        lambda X, w, **options: smoothness(X, w, [1.0], random_state=0, **options),
        "teacher",
    ),
    "one_point_convexity": (
        lambda X, w, **options: one_point_convexity(X, w, [0.5], random_state=0, **options),
        "teacher",
    ),
    "certificate": (
        lambda X, w, **options: certificate(X, w, random_state=0, **options),
        "teacher",
    ),
    "interpolation": (
        lambda X, w, **options: interpolation(X, -np.ravel(FILTERS[0]), w, **options),
        "second",
    ),
    "recovery": (
        lambda X, w, **options: recovery(np.ravel(FILTERS[0]), w, X, **options),
        "teacher",
    ),
    "local_convexity": (lambda X, w, **options: local_convexity(X, w, **options), "coef"),
}
# A certificate draws its subsample as the others do, but takes long.
QUICK = [name for name in ON_SAMPLES if name != "certificate"]


def numbers(result):
    """All numbers of a result, in one list."""
    if dataclasses.is_dataclass(result):
        fields = dataclasses.fields(result)
        return [x for field in fields for x in numbers(getattr(result, field.name))]
    if isinstance(result, dict):
        return [x for value in result.values() for x in numbers(value)]
    if isinstance(result, tuple | list | np.ndarray):
        return [x for value in result for x in numbers(value)]
    return [] if isinstance(result, str) or result is None else [float(result)]


def one_or_bank(name, w):
    return w[np.newaxis] if name == "local_convexity" else w


@pytest.mark.parametrize("name", QUICK)
def test_every_form_of_the_samples_gives_the_same(name):
    function, _ = ON_SAMPLES[name]
    w = one_or_bank(name, FILTERS[1])
    flat = w.reshape(*w.shape[:-2], 9)
    expected = numbers(function(IMAGES, w, estimator=ConvPatchExtractor(**WINDOW)))
    view = sliding_window_view(IMAGES.reshape(-1, 6, 7), (3, 3), axis=(1, 2))
    patches = view.reshape(len(view), -1, 9)
    for X, given in [(view, w), (view, flat), (patches, flat), (patches.tolist(), flat)]:
        # To machine precision, of sums in another order; but for residuals near 0.
        actual = numbers(function(X, given))
        np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("name", QUICK)
def test_fitted_estimator_stands_for_its_filter_and_its_window(name):
    function, _ = ON_SAMPLES[name]
    kind = ConvFilterBankRegressor if name == "local_convexity" else ConvReLUFilterRegressor
    model = kind(**WINDOW)
    model.coef_ = one_or_bank(name, FILTERS[1].ravel())
    expected = numbers(function(IMAGES, model.coef_, estimator=kind(**WINDOW)))
    np.testing.assert_array_equal(numbers(function(IMAGES, model)), expected)
    # The estimator goes before.
    whole = SimpleNamespace(**WINDOW, coef_=model.coef_, stride=2, padding=0, dilation=1)
    result = function(IMAGES, whole, estimator=model)
    np.testing.assert_array_equal(numbers(result), expected)


def test_bank_has_the_activation_pooling_and_weights_of_a_fitted_one():
    bank = ConvFilterBankRegressor(2, **WINDOW, activation="erf", pooling="mean")
    X, _, coef, signs = make_filter_bank_regression(
        300, bank, output_weights="signs", return_teacher=True, random_state=1
    )
    model = ConvFilterBankRegressor(**bank.get_params())
    model.coef_, model.output_weights_ = coef.reshape(2, 9), signs
    other = np.random.default_rng(2).standard_normal((2, 9))
    weights = {"output_weights": signs, "estimator": bank}
    assert numbers(local_convexity(X, model)) == numbers(
        local_convexity(X, coef, **weights)
    )
    result, expected = recovery(model, other, X), recovery(coef, other, X, **weights)
    assert numbers(result) == numbers(expected)
    assert np.isfinite(numbers(result)).all()
    loss = population_loss(model, other, 20)
    assert loss == population_loss(model.coef_, other, 20, **weights)
    assert loss != population_loss(model.coef_, other, 20)


def test_estimators_for_other_data_are_refused():
    for function, _ in ON_SAMPLES.values():
        with pytest.raises(TypeError, match=r"estimator must have the parameters kernel_"):
            function(IMAGES, np.ones(42), estimator=3)
        with pytest.raises(
            ValueError, match="kernel_size=3 is for flat samples, but X has"
        ):
            function(np.ones((9, 4, 3)), np.ones(3), estimator=ConvPatchExtractor(3))
    with pytest.raises(TypeError, match="teacher must be an array of numbers"):
        smoothness(IMAGES, ConvReLUFilterRegressor(**WINDOW))  # not fitted


@pytest.mark.parametrize("name", ON_SAMPLES)
@pytest.mark.parametrize(
    ("X", "match"),
    [
        ([1.0, 2.0, 3.0], "X must have at least two axes"),
        (np.ones((4, 0, 9)), "X must have at least two axes, none empty"),
        (np.full((4, 9), np.nan), "Input X contains NaN"),
        (np.full((4, 9), 1e80), r"largest entry of X is 1e\+80 in size.*Rescale X"),
        (np.full((4, 9), 1e-80), r"largest entry of X is 1e-80 in size.*Rescale X"),
    ],
)
def test_wrong_samples_are_refused(name, X, match):
    function, _ = ON_SAMPLES[name]
    with pytest.raises(ValueError, match=match):
        function(X, one_or_bank(name, np.ones(9)))


@pytest.mark.parametrize("name", ON_SAMPLES)
@pytest.mark.parametrize(
    ("wrong", "error", "match"),
    [
        (np.ones(4), ValueError, "must have the shape"),
        (np.array([*np.ones(8), np.nan]), ValueError, "must be finite"),
        (np.full(9, 1e80), ValueError, r"is 1e\+80 in size.*Rescale"),
        (np.full(9, 1j), TypeError, "must be an array of numbers"),
        ("gabor", TypeError, "must be an array of numbers"),
    ],
)
def test_wrong_filters_are_refused(name, wrong, error, match):
    function, parameter = ON_SAMPLES[name]
    if not isinstance(wrong, str):
        wrong = one_or_bank(name, wrong)
    with pytest.raises(error, match=f"{parameter} {match}"):
        function(np.eye(9), wrong)


def test_subsample_has_the_size_asked_for():
    X, w = np.random.default_rng(0).standard_normal((700, 2)), np.ones(2)
    for function, options in [
        (smoothness, {"angles": [1.0]}),
        (one_point_convexity, {"radii": [0.5]}),
        (local_convexity, {}),
    ]:
        teacher = w[np.newaxis] if function is local_convexity else w
        sizes = [
            function(X, teacher, **options, max_samples=n).n_samples for n in (600, None)
        ]
        assert sizes == [600, 700]
    # More patches per sample, and a bounded number of their entries is evaluated.
    long = np.random.default_rng(0).standard_normal((600, 3500))
    window = ConvPatchExtractor(5)
    result = one_point_convexity(long, np.ones(5), [0.5], estimator=window, random_state=0)
    assert result.n_samples == 500
