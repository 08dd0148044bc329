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
from tests.fuzz.strategies import JUNK, JUNK_DATA, data, explained, some

COMMON = {
    "n_init": st.integers(1, 3),
    "learning_rate_init": st.just("auto") | st.floats(0, 10) | st.just(1e200),
    "batch_size": st.just("auto") | st.integers(1, 40),
    "fit_intercept": st.booleans(),
    "alpha": st.sampled_from([0.0, 1e-3, 1.0, 1e10, 1e300]),
    "tol": st.sampled_from([0, 1e-12, 1e-2, 1.0]),
    "n_iter_no_change": st.integers(1, 4),
    "warm_start": st.booleans(),
    "n_jobs": st.sampled_from([None, 1, 2]),
    "verbose": st.booleans(),
}
ONE = COMMON | {
    "solver": st.sampled_from(["sgd", "gauss-newton", "gd"]),
    "init_radius": st.sampled_from(["auto", "theory", 0.1, 1e100]),
    "learning_rate": st.sampled_from(
        ["two-stage", "constant", "theory", lambda step, losses: 0.1]
    ),
    "learning_rate_final": st.just("auto") | st.floats(0, 10),
    "switch": st.just("auto") | st.integers(1, 3),
    "polish": st.booleans(),
    "output_sign": st.sampled_from(["auto", 1, -1]),
    "early_stopping": st.booleans(),
    "validation_fraction": st.floats(0, 1),
    "diagnostics": st.booleans(),
}
BANK = COMMON | {
    "n_filters": st.integers(1, 3),
    "activation": st.sampled_from(list(ACTIVATIONS)),
    "pooling": st.sampled_from(["sum", "mean"]),
    "output_weights": st.sampled_from(["ones", "signs"]),
    "solver": st.sampled_from(["sgd", "gauss-newton", "gd"]),
    "init": st.sampled_from(["tensor", "random"]),
    "contraction": st.sampled_from(["all", "single"]),
}
SEEDED = {"random_state": 0, "n_init": 2, "max_iter": 3}


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
        before = copy.copy(vars(model))
        try:
            getattr(model, method)(X, y, weights)
        except AttributeError:
            assert model.early_stopping  # hides partial_fit
            return
        except (ValueError, TypeError):
            assert vars(model).keys() == before.keys()
            assert all(vars(model)[name] is before[name] for name in before)
            raise
        assert_finite(model, X)


@given(data(), some(ONE), st.lists(st.sampled_from(["fit", "partial_fit"]), max_size=2))
def test_regressor_gives_numbers_or_errors(data, params, methods):
    model = ConvReLUFilterRegressor(**SEEDED | data[1] | params)
    with explained():
        fit_and_use(model, data, ["fit", *methods] if not methods else methods)


@given(data(), some(BANK))
def test_bank_gives_numbers_or_errors(data, params):
    model = ConvFilterBankRegressor(**{"n_filters": 2} | SEEDED | data[1] | params)
    with explained():
        fit_and_use(model, data, ["fit", "fit"])


MODELS = st.one_of(
    st.tuples(st.just(ConvReLUFilterRegressor), some(ONE)),
    st.tuples(st.just(ConvFilterBankRegressor), some(BANK)),
)


@given(data(), MODELS, st.integers(0, 3))
def test_dask_gives_numbers_or_errors(data, model, n_cuts):
    da = pytest.importorskip("dask.array")
    X, window, y, weights = data
    make, params = model
    cuts = np.linspace(0, len(X), n_cuts + 2).astype(int)
    X = da.from_array(X, chunks=(tuple(np.diff(cuts)), *X.shape[1:]))
    with explained():
        fit_and_use(make(**SEEDED | window | params), (X, window, y, weights), ["fit"])


class Onlooker:
    """A callback that uses what it is shown, and asks for a stop after some iterations."""

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
@given(data(), MODELS, st.integers(0, 9))
def test_watched_fits_give_numbers_or_errors(data, model, stop_after):
    X, window, _, _ = data
    make, params = model
    model = make(**SEEDED | window | params).set_callbacks(Onlooker(X, stop_after))
    with explained():
        fit_and_use(model, data, ["fit", "fit"])


WINDOW = ["kernel_size", "input_shape", "stride", "padding", "dilation"]


@given(data(), some(dict.fromkeys(WINDOW, JUNK) | {"flatten": st.booleans()}))
def test_extractor_gives_patches_or_errors(data, params):
    X, window = data[:2]
    extractor = ConvPatchExtractor(**window | params)
    with explained():
        patches = extractor.fit(X).transform(X)
        assert len(patches) == len(X)
        assert np.isfinite(patches).all()
        if extractor.flatten:
            assert patches.shape[1:] == extractor.get_feature_names_out().shape


@given(data(), some(dict.fromkeys(WINDOW, JUNK), junk=1.0), st.booleans())
def test_any_window_gives_numbers_or_errors(data, params, bank):
    make = ConvFilterBankRegressor if bank else ConvReLUFilterRegressor
    with explained():
        fit_and_use(make(**SEEDED | data[1] | params), data, ["fit"])


FITTED = [
    ConvReLUFilterRegressor(n_init=2, random_state=0, max_iter=3),
    ConvFilterBankRegressor(1, n_init=2, random_state=0, max_iter=3),
    ConvPatchExtractor(),
]


@given(
    st.sampled_from(FITTED),
    st.sampled_from(["X", "y", "sample_weight"]),
    JUNK_DATA,
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
