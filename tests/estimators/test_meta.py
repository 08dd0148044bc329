"""Within scikit-learn's other tools: searches, pipelines, ensembles, data frames."""

from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from joblib import Memory, Parallel, delayed
from sklearn.base import clone
from sklearn.ensemble import BaggingRegressor, StackingRegressor
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import Ridge
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.fixes import parse_version

from skconvfilter import ConvPatchExtractor, ConvReLUFilterRegressor
from tests.estimators.cases import BANK, DIGITS, GEOMETRY, distance

QUICK = {"n_init": 4, "diagnostics": False}
OLD_SKLEARN = parse_version(sklearn.__version__) < parse_version("1.9")


@pytest.fixture
def problem(digits):
    return digits.take(150)


@pytest.fixture
def pipeline():
    return make_pipeline(
        ConvPatchExtractor(**DIGITS),
        ConvReLUFilterRegressor(**QUICK, random_state=0),
    )


def test_search_in_processes_finds_the_window(problem, pipeline):
    search = GridSearchCV(
        pipeline,
        {
            "convpatchextractor__kernel_size": [1, 3, (2, 5)],
            "convrelufilterregressor__alpha": [0.0, 10.0],
        },
        cv=3,
        n_jobs=2,
        error_score="raise",
    )
    search.fit(problem.X, problem.y)
    assert search.best_params_["convpatchextractor__kernel_size"] == 3
    assert search.best_params_["convrelufilterregressor__alpha"] == 0
    best = search.best_estimator_[-1]
    np.testing.assert_allclose(best.filter_, problem.teacher.reshape(3, 3), atol=1e-8)
    assert search.score(problem.X, problem.y) == pytest.approx(1)


def test_flat_rows_need_no_extractor(problem, make_model):
    search = GridSearchCV(
        make_model(**QUICK), {"kernel_size": [2, 3], "padding": [0, 1]}, cv=2
    )
    search.fit(problem.X, problem.y)
    assert search.best_params_ == {"kernel_size": 3, "padding": 0}


@pytest.mark.filterwarnings("ignore:init='tensor'")
@pytest.mark.filterwarnings("ignore:The best restart has not converged")
def test_search_finds_the_number_of_filters_and_the_activation():
    data = BANK.data(snr=np.inf)
    search = GridSearchCV(
        BANK.make(n_init=4),
        {"n_filters": [1, 2], "activation": ["relu", "tanh"]},
        cv=2,
        error_score="raise",
    )
    search.fit(data.X, data.y)
    assert search.best_params_ == {"n_filters": 2, "activation": "relu"}
    assert search.best_score_ == pytest.approx(1)


@pytest.mark.parametrize("form", ["X", "patches", "windows"])
def test_cross_validation_takes_every_form(form, case):
    data = case.data(snr=np.inf)
    prediction = cross_val_predict(case.make_for(form), getattr(data, form), data.y, cv=2)
    np.testing.assert_allclose(prediction, data.y, rtol=1e-6)


def test_pipelines_equal_the_regressor_alone(case):
    data = case.data()
    model = case.make().fit(data.X, data.y)
    pipeline = make_pipeline(ConvPatchExtractor(**GEOMETRY), case.make_for_patches())
    pipeline.fit(data.X, data.y)
    np.testing.assert_allclose(pipeline[-1].coef_, model.coef_, rtol=1e-8)
    np.testing.assert_allclose(pipeline.predict(data.X), model.predict(data.X))
    scaled = make_pipeline(MinMaxScaler(), case.make()).fit(data.X, data.y)
    assert np.isfinite(scaled.predict(data.X)).all()


def test_flat_patches_suit_other_estimators(problem):
    pipeline = make_pipeline(ConvPatchExtractor(**DIGITS, stride=3, flatten=True), Ridge())
    assert cross_val_predict(pipeline, problem.X, problem.y).shape == problem.y.shape


def test_ensembles_are_made_of_it(problem, make_model):
    stack = StackingRegressor(
        [("two", make_model(kernel_size=2, **QUICK)), ("three", make_model(**QUICK))],
        final_estimator=Ridge(alpha=1e-6),
        cv=3,
    ).fit(problem.X, problem.y)
    assert stack.score(problem.X, problem.y) > 0.999
    bagging = BaggingRegressor(
        make_model(**QUICK), n_estimators=3, max_samples=0.8, random_state=0
    ).fit(problem.X, problem.y, sample_weight=np.ones(150))
    assert bagging.score(problem.X, problem.y) > 0.999


def test_weights_are_routed_to_the_regressor(problem, pipeline):
    weights = np.where(np.arange(150) % 3 > 0, 1.0, 0.0)
    y = np.where(weights > 0, problem.y, -50.0)
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline[-1].set_fit_request(sample_weight=True)
        grid = {"convrelufilterregressor__alpha": [0.0, 10.0]}
        # A pipeline's own score does not take weights before scikit-learn 1.8.
        r2 = get_scorer("r2").set_score_request(sample_weight=True)
        search = GridSearchCV(pipeline, grid, cv=3, scoring=r2)
        search.fit(problem.X, y, sample_weight=weights)
        assert search.best_score_ == pytest.approx(1)
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            make_pipeline(ConvReLUFilterRegressor()).fit(
                problem.X, y, sample_weight=weights
            )
    best = search.best_estimator_[-1]
    np.testing.assert_allclose(best.filter_, problem.teacher.reshape(3, 3), atol=1e-8)


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_data_frames_name_the_features(library, case):
    data, names = case.data(), [f"pixel{i}" for i in range(24)]
    frame = library.DataFrame(dict(zip(names, data.X.T, strict=True)))
    if OLD_SKLEARN and library is pl and not hasattr(frame, "__dataframe__"):
        pytest.skip("scikit-learn reads the names in frames of polars 2 from 1.9 on")
    model = case.make().fit(frame, library.Series(data.y))
    assert model.feature_names_in_.tolist() == names
    expected = case.make().fit(data.X, data.y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(model.predict(frame), expected.predict(data.X))
    renamed = library.DataFrame(dict(zip(["x", *names[1:]], data.X.T, strict=True)))
    for other in (frame[names[::-1]], renamed):
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(other)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(data.X)


def test_flat_patches_come_as_a_data_frame(problem):
    extractor = ConvPatchExtractor(**DIGITS, stride=5, flatten=True)
    frame = pd.DataFrame(problem.X, index=np.arange(150) + 7).add_prefix("pixel")
    rows = extractor.set_output(transform="pandas").fit_transform(frame)
    assert rows.columns[:2].tolist() == ["patch0_0", "patch0_1"]
    assert rows.shape == (150, 4 * 9)
    np.testing.assert_array_equal(rows.index, frame.index)


@pytest.mark.parametrize("transform", ["pandas", "polars"])
def test_global_output_of_data_frames_leaves_patches_alone(transform, problem, pipeline):
    expected = pipeline.fit(problem.X, problem.y).predict(problem.X)
    with sklearn.config_context(transform_output=transform):
        patches = pipeline[0].fit_transform(problem.X)
        assert isinstance(patches, np.ndarray)
        prediction = pipeline.fit(problem.X, problem.y).predict(problem.X)
    np.testing.assert_array_equal(prediction, expected)


@pytest.mark.parametrize("fitted", [False, True])
def test_estimators_are_shown_in_notebooks(fitted, problem, pipeline):
    if fitted:
        pipeline.fit(problem.X, problem.y)
    html = pipeline._repr_html_()
    assert "ConvPatchExtractor" in html
    assert "ConvReLUFilterRegressor" in html


@pytest.mark.parametrize("form", ["X", "patches", "windows"])
def test_memory_maps_of_joblib_are_fitted(form, case):
    data, weights = case.data(), np.ones(300)
    model, X = case.make_for(form), getattr(data, form)
    # Every array goes to the processes as a read-only memory map.
    fitted = Parallel(n_jobs=2, max_nbytes=1)(
        delayed(model.fit)(X, data.y, weights) for _ in range(2)
    )
    model.fit(X, data.y, weights)
    for other in fitted:
        # Samples in a file are read in blocks, and sums have another order.
        assert distance(other.coef_, model.coef_) < 1e-8
        np.testing.assert_allclose(other.predict(X), model.predict(X), rtol=1e-7, atol=1e-9)


def test_memory_of_joblib_runs_a_fit_once(case, tmp_path):
    n_fits = 0

    def fit(model, X, y):
        nonlocal n_fits
        n_fits += 1
        return clone(model).fit(X, y)

    data, model = case.data(), case.make(random_state=0)
    cached = Memory(tmp_path, verbose=0).cache(fit)
    fitted, again = (cached(clone(model), data.X, data.y) for _ in range(2))
    assert n_fits == 1
    np.testing.assert_array_equal(again.predict(data.X), fitted.predict(data.X))
    # Other processes make the same hash of it: also of what is fitted.
    known = [joblib.hash(estimator) for estimator in (model, fitted)]
    found = Parallel(n_jobs=2)(delayed(joblib.hash)(e) for e in (model, again))
    assert found == known


def test_select_from_model_needs_a_filter_as_long_as_a_row(problem):
    X, y = problem.X[:, :9], problem.X[:, 0]
    neuron = ConvReLUFilterRegressor(n_init=2, random_state=0)
    assert SelectFromModel(neuron).fit(X, y).transform(X).shape[0] == len(X)
    window = ConvReLUFilterRegressor(3, n_init=2, random_state=0)
    with pytest.raises(IndexError, match=r"size of axis is 9 .*axis is 3"):
        SelectFromModel(window).fit(X, y).transform(X)


def test_fits_in_threads_do_not_meet(case):
    data = case.data()
    params = {"init": "random"} if case.is_bank else {}
    models = [case.make(**params, random_state=seed) for seed in range(6)]
    expected = [clone(model).fit(data.X, data.y) for model in models]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda model: model.fit(data.X, data.y), models))
    for model, alone in zip(models, expected, strict=True):
        np.testing.assert_array_equal(model.coef_, alone.coef_)
        np.testing.assert_array_equal(model.restart_losses_, alone.restart_losses_)


def test_one_model_predicts_in_many_threads(case):
    data = case.data()
    model = case.make().fit(data.X, data.y)
    parts = [data.X[start::8] for start in range(8)]
    expected = [model.predict(part) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for got, alone in zip(pool.map(model.predict, parts), expected, strict=True):
                np.testing.assert_array_equal(got, alone)
