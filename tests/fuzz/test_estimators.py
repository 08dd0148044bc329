"""Whatever the estimators are given: finite numbers, or an error that explains itself."""

import copy

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from skconvfilter import (
    ConvFilterBankRegressor,
    ConvPatchExtractor,
    ConvReLUFilterRegressor,
)
from skconvfilter.model.activations import ACTIVATIONS
from tests.fuzz.strategies import JUNK, data, explained, numbers, some

GEOMETRY = ["kernel_size", "input_shape", "stride", "padding", "dilation"]
# By the name of a parameter, which means the same for every estimator.
OPTIONS = {
    "activation": st.sampled_from(list(ACTIVATIONS)),
    "alpha": st.sampled_from([0.0, 1e-3, 1.0, 1e3, "auto"]),
    "batch_size": st.just("auto") | st.integers(1, 40),
    "contraction": st.sampled_from(["all", "single"]),
    "bias": st.booleans(),
    "diagnostics": st.booleans(),
    "early_stopping": st.booleans(),
    "fit_intercept": st.booleans(),
    "init": st.sampled_from(["ball", "auto", "forward", "random", "tensor"]),
    "init_radius": st.sampled_from(["auto", "theory", 0.1, 10]),
    "learning_rate": st.sampled_from(
        ["two-stage", "constant", "theory", lambda step, losses: 0.1]
    ),
    "learning_rate_final": st.just("auto") | numbers(0, 10),
    "learning_rate_init": st.just("auto") | numbers(0, 10),
    "max_iter": st.integers(1, 5),
    "n_filters": st.integers(1, 3),
    "n_init": st.integers(1, 3),
    "n_iter_no_change": st.integers(1, 4),
    "n_jobs": st.sampled_from([None, 1, 2]),
    "output_sign": st.sampled_from(["auto", 1, -1]),
    "output_weights": st.sampled_from(["ones", "signs"]),
    "polish": st.booleans(),
    "pooling": st.sampled_from(["sum", "mean"]),
    "random_state": st.integers(0, 3),
    "solver": st.sampled_from(["sgd", "levenberg-marquardt", "gd"]),
    "switch": st.just("auto") | st.integers(1, 3),
    "tol": st.sampled_from([0, 1e-12, 1e-2, 1.0]),
    "validation_fraction": numbers(0, 1),
    "verbose": st.booleans(),
    "warm_start": st.booleans(),
}
REGRESSORS = {
    "filter": ConvReLUFilterRegressor(n_init=2, max_iter=3, random_state=0),
    "bank": ConvFilterBankRegressor(2, n_init=2, max_iter=3, random_state=0),
}
MODELS = st.sampled_from(list(REGRESSORS.values()))


def options_of(model):
    """Options for all parameters of an estimator but those of its window."""
    return {name: OPTIONS[name] for name in model.get_params() if name not in GEOMETRY}


def assert_finite(model, X):
    """All that predictions are made of, and they themselves."""
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.intercept_)
    predictions = model.predict(X)
    assert predictions.shape == (len(X),)
    assert predictions.dtype == model.coef_.dtype
    assert np.isfinite(predictions).all()
    assert len(model.feature_map(X)) == len(X)


def fit_and_use(model, data, methods):
    X, _, y, weights = data
    for method in methods:
        if not hasattr(model, method):  # early stopping hides partial_fit
            return
        before = copy.copy(vars(model))
        try:
            getattr(model, method)(X, y, weights)
        except (ValueError, TypeError):
            assert vars(model).keys() == before.keys()
            assert all(vars(model)[name] is before[name] for name in before)
            raise
        assert_finite(model, X)


def drawn(draws, model, window, **params):
    """A copy of a model with the window, and with a few of its options."""
    params = window | draws.draw(some(options_of(model))) | params
    return copy.deepcopy(model).set_params(**params)


METHODS = st.lists(st.sampled_from(["fit", "fit", "partial_fit"]), min_size=1, max_size=2)


@pytest.mark.parametrize("model", REGRESSORS.values(), ids=REGRESSORS.keys())
@given(data(), st.data(), METHODS)
def test_fits_give_numbers_or_errors(model, data, draws, methods):
    with explained():
        fit_and_use(drawn(draws, model, data[1]), data, methods)


@given(data(), st.data(), MODELS, st.integers(0, 3))
def test_dask_gives_numbers_or_errors(data, draws, model, n_cuts):
    da = pytest.importorskip("dask.array")
    X, window, y, weights = data
    cuts = np.linspace(0, len(X), n_cuts + 2).astype(int)
    X = da.from_array(X, chunks=(tuple(np.diff(cuts)), *X.shape[1:]))
    with explained():
        fit_and_use(drawn(draws, model, window), (X, window, y, weights), ["fit"])


class Observer:
    """A callback that predicts at every step, and asks for a stop after some of them."""

    def __init__(self, X, stop_after):
        self.X = X
        self.stop_after = stop_after
        self.n_ended = 0

    def setup(self, estimator, context):
        self.n_ended = 0

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, **known):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, **known):
        if fitted_estimator is not None:
            assert np.isfinite(fitted_estimator.predict(self.X)).all()
        self.n_ended += 1
        return self.n_ended == self.stop_after


@pytest.mark.skipif(
    not hasattr(ConvReLUFilterRegressor, "set_callbacks"),
    reason="scikit-learn has callbacks from 1.9",
)
@given(data(), st.data(), MODELS, st.integers(0, 9))
def test_fits_with_callbacks_give_numbers_or_errors(data, draws, model, stop_after):
    model = drawn(draws, model, data[1]).set_callbacks(Observer(data[0], stop_after))
    with explained():
        fit_and_use(model, data, ["fit", "fit"])


@given(data(), some(dict.fromkeys(GEOMETRY, JUNK) | {"flatten": st.booleans()}))
def test_extractor_gives_patches_or_errors(data, params):
    X, window = data[:2]
    extractor = ConvPatchExtractor(**window | params)
    with explained():
        patches = extractor.fit(X).transform(X)
        assert len(patches) == len(X)
        assert np.isfinite(patches).all()
        if extractor.flatten:
            assert patches.shape[1:] == extractor.get_feature_names_out().shape


@given(data(), some(dict.fromkeys(GEOMETRY, JUNK), junk=1.0), MODELS)
def test_any_window_gives_numbers_or_errors(data, params, model):
    with explained():
        fit_and_use(copy.deepcopy(model).set_params(**data[1] | params), data, ["fit"])


@given(
    MODELS | st.just(ConvPatchExtractor()),
    st.sampled_from(["X", "y", "sample_weight"]),
    JUNK,
    st.sampled_from(["fit", "partial_fit", "predict", "score", "feature_map", "transform"]),
)
def test_junk_for_data_gives_numbers_or_errors(model, name, junk, method):
    assume(hasattr(model, method))
    X = np.random.default_rng(0).standard_normal((20, 3))
    arguments = {"X": X, "y": np.maximum(X[:, 0], 0), "sample_weight": None} | {name: junk}
    if method in ("predict", "feature_map", "transform"):
        arguments = {"X": arguments["X"]}
    elif isinstance(model, ConvPatchExtractor):
        del arguments["sample_weight"]
    with explained():
        model = copy.deepcopy(model).fit(X, np.maximum(X[:, 1], 0))
        result = getattr(model, method)(**arguments)
        if method in ("fit", "partial_fit"):
            result = result.transform(X) if hasattr(model, "transform") else result.coef_
        assert np.isfinite(result).all()
