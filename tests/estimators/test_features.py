"""The transformer from samples to pooled responses of fitted filters."""

import pickle
from functools import cache

import numpy as np
import pandas as pd
import pytest
import sklearn
import skops.io
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skconvfilter import ConvFeatureExtractor, ConvPatchExtractor
from tests.estimators.cases import BANK, FILTER

ALL = ("mean", "std", "max")


@cache
def fitted(case, form="X", **params):
    """A regressor that is fitted; not to be changed."""
    data = case.data().take(60)
    return case.make_for(form, n_init=1, **params).fit(getattr(data, form), data.y)


def extractor_of(regressor, **params):
    return ConvFeatureExtractor(FrozenEstimator(regressor), **params)


def maps_of(regressor, X):
    """Responses, (n_samples, n_filters, *grid)."""
    maps = regressor.feature_map(X)
    is_bank = np.ndim(regressor.coef_) == 2
    return maps if is_bank else maps[:, np.newaxis]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_features_are_statistics_of_the_feature_map(case, dtype):
    X = case.data().X[:7].astype(dtype)
    regressor = fitted(case)
    maps = maps_of(regressor, X)
    # 2 x 3 positions; of three columns the first cell has one and the second has two.
    regions = [maps[..., :1, :1], maps[..., :1, 1:], maps[..., 1:, :1], maps[..., 1:, 1:]]
    expected = np.stack(
        [[getattr(cell, name)(axis=(2, 3)) for cell in regions] for name in ALL]
    )
    expected = expected.transpose(2, 3, 0, 1).reshape(7, -1)
    features = extractor_of(regressor, grid=2, statistics=ALL).fit(X).transform(X)
    assert features.dtype == dtype
    assert_allclose(features, expected, rtol=1e-6, atol=1e-6)


def test_many_blocks_and_threads_give_the_same(case):
    X = np.random.default_rng(0).standard_normal((100_000, 24)).astype(np.float32)
    regressor = clone(case.make(n_init=1)).fit(X[:50], case.data().y[:50])
    extractor = extractor_of(regressor, grid=(1, 3), statistics=["std"]).fit(X[:5])
    features = extractor.transform(X)
    maps = maps_of(regressor, X[-3:])
    assert_allclose(features[-3:], maps.std(axis=2).reshape(3, -1), rtol=1e-5)
    regressor.set_params(n_jobs=2)
    assert_array_equal(extractor.transform(X), features)


def test_names_follow_the_columns(case):
    regressor = fitted(case)
    X = case.data().X[:5]
    extractor = extractor_of(regressor, grid=(1, 3), statistics=("std", "mean")).fit(X)
    names = extractor.get_feature_names_out().tolist()
    assert len(names) == len(set(names)) == extractor.transform(X).shape[1]
    assert names[:4] == [
        "filter0_std_r0c0",
        "filter0_std_r0c1",
        "filter0_std_r0c2",
        "filter0_mean_r0c0",
    ]
    means = extractor.set_params(grid=1, statistics=["mean"]).fit(X)
    last = len(maps_of(regressor, X)[0]) - 1
    assert means.get_feature_names_out()[-1] == f"filter{last}_mean"
    # The mean over all positions is what the regressor predicts from.
    assert_allclose(
        means.transform(X) @ np.atleast_1d(getattr(regressor, case.signs)),
        regressor.predict(X) - regressor.intercept_,
    )


def test_patches_have_one_axis_of_positions(case):
    patches = case.data().patches[:5]
    extractor = extractor_of(fitted(case, "patches"), grid=3).fit(patches)
    assert extractor.get_feature_names_out()[2] == "filter0_mean_t2"
    fewer = extractor.transform(patches[:, :4])
    assert fewer.shape == extractor.transform(patches).shape
    with pytest.raises(ValueError, match=r"grid=\(3,\) has more cells .*\(2,\)"):
        extractor.transform(patches[:, :2])


def test_a_clone_is_fitted_and_weights_reach_it(case):
    data = case.data().take(60)
    weights = np.random.default_rng(0).uniform(size=60)
    model = case.make(n_init=1)
    extractor = ConvFeatureExtractor(model).fit(data.X, data.y, sample_weight=weights)
    assert not hasattr(model, "coef_")
    expected = clone(model).fit(data.X, data.y, weights)
    assert_array_equal(extractor.estimator_.coef_, expected.coef_)
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(
            ConvFeatureExtractor(model.set_fit_request(sample_weight=True)),
            Ridge().set_fit_request(sample_weight=False),
        ).fit(data.X, data.y, sample_weight=weights)
    assert_array_equal(pipeline[0].estimator_.coef_, expected.coef_)


def test_a_grid_search_reaches_all_parameters():
    data = BANK.data(120)
    pipeline = make_pipeline(ConvFeatureExtractor(BANK.make(n_init=1)), Ridge())
    name = "convfeatureextractor"
    search = GridSearchCV(
        pipeline,
        {
            f"{name}__grid": [1, 2],
            f"{name}__estimator__kernel_size": [2, (1, 2)],
            f"{name}__estimator__n_filters": [1, 2],
        },
        cv=2,
        error_score="raise",
    ).fit(data.X, data.y)
    assert search.best_params_[f"{name}__estimator__kernel_size"] == 2
    assert search.best_score_ > 0.3


def test_the_frame_of_an_output_has_the_names():
    data = FILTER.data().take(60)
    frame = pd.DataFrame(data.X).add_prefix("x")
    extractor = ConvFeatureExtractor(FILTER.make(n_init=1), grid=2)
    found = extractor.set_output(transform="pandas").fit_transform(frame, data.y)
    assert found.columns.tolist() == extractor.get_feature_names_out().tolist()
    assert extractor.feature_names_in_.tolist() == list(frame)
    with pytest.raises(ValueError, match="feature names should match"):
        extractor.transform(frame[frame.columns[::-1]])
    extractor.fit(data.X, data.y)
    assert not hasattr(extractor, "feature_names_in_")


def test_dask_arrays_stay_lazy(case):
    da = pytest.importorskip("dask.array")
    data = case.data().take(60)
    X = da.from_array(data.X, chunks=(25, -1))
    extractor = ConvFeatureExtractor(case.make(n_init=1), grid=2).fit(X, data.y)
    features = extractor.transform(X)
    assert isinstance(features, da.Array)
    assert features.shape == extractor.transform(data.X).shape
    assert_array_equal(features.compute(), extractor.transform(data.X))


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"grid": 0}, ValueError, "grid must be at least 1, got 0"),
        ({"grid": 1.5}, TypeError, "grid must be an int or a tuple of ints"),
        ({"grid": (2, 2, 2)}, ValueError, "grid=.* one int or have 2 entries"),
        ({"grid": 3}, ValueError, r"grid=\(3, 3\) has more cells .*\(2, 3\).*smaller"),
        ({"statistics": "mean"}, TypeError, r"statistics must be a sequence .*'mean'"),
        ({"statistics": ()}, ValueError, "statistics must hold one or more"),
        ({"statistics": ("mean", "sum")}, ValueError, r"\['mean', 'std', 'max'\].*sum"),
        ({"statistics": ("max", "max")}, ValueError, "each once"),
        ({"estimator": Ridge()}, TypeError, r"estimator must be a Conv.*Ridge\(\)"),
        ({"estimator": ConvPatchExtractor()}, TypeError, "estimator must be a Conv"),
        ({"estimator": FrozenEstimator(FILTER.make())}, NotFittedError, "not fitted"),
    ],
)
def test_wrong_parameters_leave_the_transformer_as_it_was(params, error, message):
    data = FILTER.data().take(60)
    extractor = extractor_of(fitted(FILTER), grid=2).fit(data.X)
    before = extractor.transform(data.X)
    changed = clone(extractor).fit(data.X).set_params(**params)
    with pytest.raises(error, match=message):
        changed.fit(data.X, data.y)
    changed.set_params(**extractor.get_params(deep=False))
    assert_array_equal(changed.transform(data.X), before)


def test_targets_are_needed():
    with pytest.raises(ValueError, match="requires y to be passed"):
        ConvFeatureExtractor(FILTER.make()).fit(FILTER.data().X)
    with pytest.raises(NotFittedError, match="ConvFeatureExtractor"):
        ConvFeatureExtractor(FILTER.make()).transform(FILTER.data().X)


def test_files_restore_the_transformer(case):
    X = case.data().X[:5]
    extractor = ConvFeatureExtractor(case.make(n_init=1), grid=2)
    extractor.fit(case.data().X[:60], case.data().y[:60])
    data = skops.io.dumps(extractor)
    trusted = skops.io.get_untrusted_types(data=data)
    assert all(name.startswith("skconvfilter.estimators.") for name in trusted)
    restored = [pickle.loads(pickle.dumps(extractor)), skops.io.loads(data, trusted)]
    for copy in restored:
        assert_array_equal(copy.transform(X), extractor.transform(X))
        copy.estimator_.coef_ = copy.estimator_.coef_ * np.nan
        with pytest.raises(ValueError, match="coef_ must be finite"):
            copy.transform(X)
