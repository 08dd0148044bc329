"""ONNX graphs predict what their estimators predict."""

import copy
import sys
import warnings
from functools import cache

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler

from skconvfilter import (
    ConvFilterBankRegressor,
    ConvPatchExtractor,
    ConvReLUFilterRegressor,
    __version__,
)
from skconvfilter.model.activations import ACTIVATIONS
from skconvfilter.onnx import register_converters, to_onnx

# Shape of a sample, and the window over it.
GEOMETRIES = {
    "signal": ((12,), {"kernel_size": 3}),
    "signal, all options": (
        (20,),
        {"kernel_size": 4, "stride": 2, "padding": 3, "dilation": 2},
    ),
    "signal of channels": (
        (20,),
        {"kernel_size": (3,), "input_shape": (10, 2), "padding": 1},
    ),
    "image": ((30,), {"kernel_size": 3, "input_shape": (6, 5)}),
    "image, one option for each axis": (
        (42,),
        {
            "kernel_size": (3, 2),
            "input_shape": (7, 6),
            "stride": (2, 1),
            "padding": (1, 2),
            "dilation": (2, 3),
        },
    ),
    "image of channels": (
        (84,),
        {"kernel_size": (2, 3), "input_shape": (7, 6, 2), "stride": (1, 3), "padding": 2},
    ),
    "volume": ((60,), {"kernel_size": (2, 2, 3), "input_shape": (3, 4, 5), "stride": 2}),
    "one patch of all": ((6,), {"kernel_size": 6}),
    "rows that are one patch": ((5,), {}),
    "patches": ((4, 5), {}),
    "windows of images": ((3, 2, 2, 4), {}),
}


@cache
def fitted(kind, geometry="image", **params):
    """A regressor on noise, with its samples; not to be changed."""
    shape, window = GEOMETRIES[geometry]
    rng = np.random.default_rng(len(geometry))
    X = rng.standard_normal((80, *shape)).astype(np.float32)
    y = X.reshape(80, -1)[:, 0] - 2 + rng.standard_normal(80)
    common = {**window, **params, "n_init": 2, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        if kind == "one":
            return ConvReLUFilterRegressor(**common, diagnostics=False).fit(X, y), X
        bank = ConvFilterBankRegressor(3, **common, init="random", max_iter=3)
        return bank.fit(X, y), X


@pytest.fixture
def run():
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

    def run(estimator, X):
        model = to_onnx(estimator)
        onnx.checker.check_model(model, full_check=True)
        if estimator.kernel_size is None:
            X = X.reshape(len(X), -1, estimator.n_features_in_)
        (y,) = runtime.InferenceSession(model.SerializeToString()).run(None, {"X": X})
        return y

    return run


def assert_equal(y, estimator, X):
    expected = estimator.predict(X)
    assert y.shape == expected.shape
    assert y.dtype == expected.dtype == np.float32
    assert expected.std() > 0
    np.testing.assert_allclose(y, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


@pytest.mark.parametrize("kind", ["one", "bank"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_graphs_of_every_geometry_predict_alike(geometry, kind, run):
    estimator, X = fitted(kind, geometry)
    for samples in (X, X[:1]):
        assert run(estimator, samples).shape == (len(samples),)
    assert_equal(run(estimator, X), estimator, X)


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        ("one", {"output_sign": -1}),
        ("one", {"fit_intercept": False}),
        *(("bank", {"activation": name, "pooling": "mean"}) for name in ACTIVATIONS),
        ("bank", {"pooling": "sum", "output_weights": "signs"}),
    ],
    ids=str,
)
def test_graphs_of_every_model_predict_alike(kind, params, run):
    estimator, X = fitted(kind, **params)
    assert_equal(run(estimator, X), estimator, X)


def test_graphs_of_other_dtypes_are_in_single_precision(run):
    estimator, X = fitted("one")
    double = copy.deepcopy(estimator).fit(X.astype(np.float64), X[:, 0])
    assert double.coef_.dtype == np.float64
    np.testing.assert_allclose(run(double, X), double.predict(X), rtol=0, atol=1e-5)


def test_the_number_of_patches_is_free(run):
    estimator, X = fitted("one", "patches")
    fewer = np.ascontiguousarray(X[:, :2])
    assert_equal(run(estimator, fewer), estimator, fewer)


def test_graphs_say_who_made_them():
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    model = to_onnx(fitted("one")[0])
    assert (model.producer_name, model.producer_version) == ("skconvfilter", __version__)
    assert model.graph.name == "ConvReLUFilterRegressor"


@pytest.mark.parametrize(
    "other", [LinearRegression(), ConvPatchExtractor(), ConvReLUFilterRegressor]
)
def test_other_estimators_are_refused(other):
    with pytest.raises(TypeError, match="estimator must be a ConvReLUFilterRegressor or"):
        to_onnx(other)


@pytest.mark.parametrize("kind", [ConvReLUFilterRegressor, ConvFilterBankRegressor])
def test_unfitted_estimators_are_refused(kind):
    with pytest.raises(NotFittedError, match=kind.__name__):
        to_onnx(kind())


def test_without_onnx_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'skconvfilter\[onnx\]'"):
        to_onnx(fitted("one")[0])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("coef_", np.full(9, 1e39), "coef_ is out of the range of float32"),
        ("coef_", np.full(9, 1e-39), "coef_ is out of the range of float32"),
        ("intercept_", 1e39, "intercept_ is out of the range of float32"),
        ("coef_", np.full(9, np.nan), "coef_ must be finite"),
        ("coef_", np.ones(8), "coef_ has shape"),
        ("intercept_", np.zeros(3), "intercept_ must be a finite number"),
        ("sign_", 0, "sign_ must be 1 or -1"),
        ("n_features_in_", 31, "n_features=31"),
    ],
)
def test_what_float32_cannot_hold_and_corruption_are_refused(name, value, message):
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    estimator = copy.deepcopy(fitted("one")[0])
    setattr(estimator, name, value)
    with pytest.raises(ValueError, match=message):
        to_onnx(estimator)


@pytest.mark.filterwarnings("ignore")  # of skl2onnx
@pytest.mark.parametrize("kind", ["filter", "bank"])
def test_skl2onnx_converts_pipelines(kind):
    skl2onnx = pytest.importorskip("skl2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    register_converters()
    shape, window = GEOMETRIES["image of channels"]
    X = np.random.default_rng(0).standard_normal((100, *shape)).astype(np.float32)
    cls = ConvReLUFilterRegressor if kind == "filter" else ConvFilterBankRegressor
    model = cls(**window, n_init=2, random_state=0)
    pipeline = make_pipeline(MaxAbsScaler(), model).fit(X, X[:, :9].clip(0).sum(axis=1))
    graph = skl2onnx.to_onnx(pipeline, X[:1]).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (values,) = session.run(None, {"X": X})
    np.testing.assert_allclose(values[:, 0], pipeline.predict(X), rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore")  # of skl2onnx
def test_skl2onnx_has_no_input_for_patches():
    skl2onnx = pytest.importorskip("skl2onnx")
    register_converters()
    X = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    model = ConvReLUFilterRegressor(n_init=2, random_state=0).fit(X, X[:, 0].clip(0))
    with pytest.raises(ValueError, match=r"without kernel_size .* use skconvfilter\.onnx"):
        skl2onnx.to_onnx(model, X[:1])


def test_without_skl2onnx_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match="pip install skl2onnx"):
        register_converters()
