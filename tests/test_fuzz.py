"""Whatever the public API is given, it returns numbers, or an error that explains itself.

CONTRIBUTING.md says how to run many examples.
"""

import copy
import io
import warnings
from contextlib import contextmanager, redirect_stdout, suppress
from decimal import Decimal, InvalidOperation
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.exceptions import NotFittedError

from skconvfilter import (
    ConvFilterBankRegressor,
    ConvPatchExtractor,
    ConvReLUFilterRegressor,
    datasets,
    diagnostics,
)
from skconvfilter.model.activations import ACTIVATIONS

DTYPES = [np.float64, np.float32, np.float16, np.int16, np.uint8, np.bool_, object, ">f4"]
# Factors of samples and targets, most often none.
SCALES = st.sampled_from([1.0, 1.0, 1.0, 1e-3, 1e6, 1e150, 1e-150, 1e300, 1e-310])

ARRAYS = hnp.arrays(
    st.sampled_from([np.float64, np.int8, np.bool_, np.complex128, "U2"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
# What no parameter takes, or few.
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(["", "auto", "x", "ones", "relu", b"ball"]),
    st.sampled_from([np.nan, np.inf, -np.inf, 1j, 2**70, -(2**70), 1e300, 5e-324]),
    st.sampled_from([10**400, Fraction(1, 3), Fraction(10**400), Decimal("sNaN")]),
    st.integers(-2, 4),
    st.floats(-2, 2),
    st.sampled_from(
        [{}, [], (), (0,), [[]], [1, "x"], object, np.array(2), np.zeros((0, 3))]
    ),
    st.lists(st.integers(-1, 4), max_size=3),
    ARRAYS,
    ARRAYS.map(lambda array: array.astype(object)),
    st.just(np.array(Decimal("sNaN"), dtype=object)),
)


@contextmanager
def explained():
    """Errors that are documented, and warnings for users, are part of the answer."""
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        # Of NumPy's warnings none is for users; they are RuntimeWarnings.
        warnings.simplefilter("ignore", UserWarning)
        try:
            yield
        except (ValueError, TypeError, NotFittedError) as error:
            # A message that names something is a sentence.
            if len(str(error).split()) < 4:
                raise AssertionError(f"unclear: {error!r}") from error
            event("error")
        except InvalidOperation:
            event("signal")  # a signalling NaN among the data does what it is there for


@st.composite
def some(draw, options, junk=0.15):
    """Keyword arguments: a few options, and now and then junk for one of them."""
    names = draw(st.lists(st.sampled_from(sorted(options)), unique=True, max_size=5))
    params = {name: draw(options[name]) for name in names}
    if draw(st.floats(0, 1)) < junk:
        params[draw(st.sampled_from(sorted(options)))] = draw(JUNK)
    return params


@st.composite
def windows(draw):
    """The shape of a sample, and a window over it, which may not fit."""
    n_axes = draw(st.integers(1, 2))
    sizes = st.lists(st.integers(2, 6), min_size=n_axes, max_size=n_axes)
    per_axis = st.lists(st.integers(1, 3), min_size=n_axes, max_size=n_axes).map(tuple)
    shape = draw(sizes)
    channels = draw(st.sampled_from([(), (), (1,), (2,)]))
    window = {
        "kernel_size": draw(per_axis),
        "input_shape": (*shape, *channels),
        "stride": draw(st.sampled_from([1, 1, 2]) | per_axis),
        "padding": draw(st.sampled_from([0, 0, 1, 3])),
        "dilation": draw(st.sampled_from([1, 1, 2])),
    }
    if channels == () and draw(st.booleans()):
        window["kernel_size"] = window["kernel_size"][0]
    return window


@st.composite
def data(draw):
    """Samples of some form, the window parameters for them, targets and weights."""
    n_samples = draw(st.sampled_from([1, 2, 3, 8, 20, 30]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    form = draw(st.sampled_from(["window", "window", "rows", "patches", "views"]))
    window = draw(windows()) if form == "window" else {}
    shape = {
        "window": (int(np.prod(window.get("input_shape", 1))),),
        "rows": (draw(st.integers(1, 6)),),
        "patches": (draw(st.integers(1, 4)), draw(st.integers(1, 6))),
        "views": (5, 6),
    }[form]
    kind = draw(st.sampled_from(["normal", "normal", "normal", "integers", "constant"]))
    X = {
        "normal": rng.standard_normal,
        "integers": lambda size: rng.integers(-2, 3, size).astype(float),
        "constant": lambda size: np.full(size, draw(st.sampled_from([0.0, 1.0, -2.0]))),
    }[kind]((n_samples, *shape))
    y = np.maximum(X.reshape(n_samples, -1)[:, :2].sum(axis=1), 0)
    y = draw(st.sampled_from([y, y + rng.standard_normal(n_samples), -y, 0 * y + 3, 0 * y]))
    X = X * draw(SCALES)
    y = y * draw(SCALES) + draw(st.sampled_from([0.0, 0.0, 1e12]))
    dtype = draw(st.sampled_from([np.float64, np.float64, *DTYPES]))
    with np.errstate(all="ignore"):
        X = X.astype(dtype)
    if draw(st.integers(0, 19)) == 0:
        X = X.astype(object if X.dtype == object else np.float64)
        X.flat[0] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    if form == "views":
        X = sliding_window_view(X, (2, 3), axis=(1, 2))
    weights = draw(
        st.none()
        | st.just(np.ones(n_samples))
        | st.just(rng.integers(0, 3, n_samples))
        | st.floats(-1, 2)
    )
    return X, window, y, weights


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


def numpy_takes_or_refuses(junk):
    """Whether scikit-learn can say what is wrong, if anything."""
    with suppress(TypeError, ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            np.asarray(junk, dtype=float)
        except OverflowError:
            return False
    return True


@given(
    st.sampled_from(FITTED),
    st.sampled_from(["X", "y", "sample_weight"]),
    JUNK.filter(numpy_takes_or_refuses),
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


FILTERS = hnp.arrays(
    np.float64, st.sampled_from([(3,), (2, 3), (3, 3)]), elements=st.floats(-3, 3)
)
PATCHES = st.builds(
    lambda n, k, scale: scale * np.random.default_rng(n).standard_normal((n, k, 3)),
    st.integers(1, 60),
    st.integers(1, 3),
    SCALES,
)
ACTIVATION = st.sampled_from(list(ACTIVATIONS))
SIGNS = st.none() | st.just([1, -1]) | st.just([1, 1])
FRACTIONS = st.floats(0, 1)
SHAPES = st.sampled_from([3, (4,), (5, 3), (2, 3, 2)])
SHARED = {"random_state": st.integers(0, 3)}
MADE = {
    "n_samples": st.integers(1, 20),
    "kernel_size": st.sampled_from([3, (2,), (2, 3)]),
    "input_shape": st.sampled_from([12, (7,), (4, 5), (4, 4, 2)]),
    "stride": st.integers(1, 3),
    "padding": st.integers(0, 2),
    "dilation": st.integers(1, 2),
    "noise": st.floats(0, 3),
    "snr": st.none() | st.floats(0.1, 100),
    "intercept": st.floats(-3, 3),
    "return_teacher": st.booleans(),
    **SHARED,
}
# Arguments of each function of data, and of each diagnostic, that must and that may be.
MAKERS = {
    "gabor_filter": (
        {"window_shape": SHAPES},
        {
            "wavelength": st.just("auto") | st.floats(0.5, 9),
            "orientation": st.floats(-7, 7),
            "phase": st.floats(-7, 7),
            "sigma": st.just("auto") | st.floats(0.1, 9),
        },
    ),
    "random_filter": ({"window_shape": SHAPES}, SHARED),
    "make_angular_patches": (
        {},
        {
            "n_samples": st.integers(1, 20),
            "patch_dim": st.integers(1, 5),
            "sigma": st.floats(0, 9),
            "teacher": st.none() | FILTERS,
            **SHARED,
        },
    ),
    "make_close_patches": (
        {},
        {
            "n_samples": st.integers(1, 20),
            "n_patches": st.integers(1, 3),
            "patch_dim": st.integers(1, 5),
            "spread": st.floats(0, 9),
            "sigma": st.floats(0, 9),
            **SHARED,
        },
    ),
    "make_filter_regression": (
        {"n_samples": MADE["n_samples"]},
        {**MADE, "sign": st.sampled_from([1, -1]), "teacher": FILTERS},
    ),
    "make_filter_bank_regression": (
        {"n_samples": MADE["n_samples"]},
        {
            **MADE,
            "n_filters": st.integers(1, 3),
            "activation": ACTIVATION,
            "pooling": st.sampled_from(["sum", "mean"]),
            "condition_number": st.floats(1, 9),
            "teacher": FILTERS,
            "output_weights": SIGNS,
        },
    ),
}
TWO_BANKS = {"coef": FILTERS, "teacher": FILTERS}
OF_BANKS = {
    "output_weights": SIGNS,
    "teacher_output_weights": SIGNS,
    "activation": ACTIVATION,
}
ESTIMATES = {
    "max_samples": st.none() | st.integers(1, 50),
    "confidence": FRACTIONS,
    **SHARED,
}
DIAGNOSTICS = {
    "ball_success_bound": ({"patch_dim": st.integers(1, 99), "alpha": st.floats(0, 1)}, {}),
    "ball_success_probability": (
        {"patch_dim": st.integers(1, 99), "alpha": st.floats(0, 1)},
        {},
    ),
    "restarts_needed": ({"probability": FRACTIONS}, {"confidence": FRACTIONS}),
    "bank_recovery": (TWO_BANKS, OF_BANKS),
    "match_filters": (TWO_BANKS, OF_BANKS),
    "population_loss": (
        {**TWO_BANKS, "n_patches": st.integers(1, 4)},
        {**OF_BANKS, "pooling": st.sampled_from(["sum", "mean"])},
    ),
    "local_convexity": (
        {"X": PATCHES, "coef": FILTERS},
        {"activation": ACTIVATION, "output_weights": SIGNS, **SHARED},
    ),
    "recovery": ({"X": PATCHES, "learned": FILTERS, "teacher": FILTERS}, {}),
    "interpolation": (
        {"X": PATCHES, "first": FILTERS, "second": FILTERS},
        {"n_points": st.integers(1, 9), "margin": st.floats(0, 2)},
    ),
    "smoothness": (
        {"X": PATCHES, "teacher": FILTERS},
        {"angles": st.lists(st.floats(0, 3.2), max_size=2), **ESTIMATES},
    ),
    "one_point_convexity": (
        {"X": PATCHES, "teacher": FILTERS},
        {"radii": st.lists(st.floats(0, 1), max_size=2), **ESTIMATES},
    ),
    "certificate": (
        {"X": PATCHES, "teacher": FILTERS},
        {"initial": FILTERS, "precision": st.floats(0, 1), **ESTIMATES},
    ),
}


@st.composite
def calls(draw, functions):
    """The name of a function and arguments, one of which may be junk."""
    name = draw(st.sampled_from(sorted(functions)))
    needed, optional = functions[name]
    arguments = {key: draw(strategy) for key, strategy in needed.items()}
    if optional:
        arguments |= draw(some(optional, junk=0))
    if draw(st.integers(0, 4)) == 0:
        arguments[draw(st.sampled_from(sorted({**needed, **optional})))] = draw(JUNK)
    return name, arguments


@given(calls(MAKERS))
def test_makers_give_finite_data_or_errors(call):
    name, arguments = call
    with explained():
        result = getattr(datasets, name)(**arguments)
        for array in result if isinstance(result, tuple) else (result,):
            assert np.isfinite(array).all()


@given(calls(DIAGNOSTICS))
def test_diagnostics_give_results_or_errors(call):
    name, arguments = call
    with explained():
        # They say with NaN where nothing can be said.
        assert getattr(diagnostics, name)(**arguments) is not None


def test_every_public_function_is_fuzzed():
    for module, functions in ((datasets, MAKERS), (diagnostics, DIAGNOSTICS)):
        public = {n for n in module.__all__ if n[0].islower()} - {"load_mnist"}
        assert functions.keys() == public


# Invariances ------------------------------------------------------------------------------


@st.composite
def problems(draw):
    """Patches and noisy targets on which fits are no matter of luck."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n_patches, patch_dim = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    X = rng.standard_normal((60, n_patches, patch_dim))
    y = np.maximum(X @ rng.standard_normal(patch_dim), 0).mean(axis=1)
    return X, y + 0.01 * rng.standard_normal(60), rng


REGRESSORS = [
    ConvReLUFilterRegressor(random_state=0, n_init=8, diagnostics=False),
    ConvFilterBankRegressor(1, pooling="mean", random_state=0, output_weights="signs"),
]


@pytest.mark.parametrize("model", REGRESSORS, ids=["one", "bank"])
@settings(max_examples=max(10, settings().max_examples // 10))
@given(problems(), st.integers(-60, 60), st.integers(-60, 60), st.integers(1, 3))
def test_symmetries_of_the_data_are_those_of_the_fit(model, problem, a, b, repetitions):
    X, y, rng = problem
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        fit = copy.deepcopy(model).fit
        expected = fit(X, y).predict(X)
        scaled = fit(2.0**a * X, 2.0**b * y).predict(2.0**a * X)
        np.testing.assert_allclose(scaled, 2.0**b * expected, atol=1e-6 * 2.0**b)
        patches, rows = rng.permutation(X.shape[1]), rng.permutation(len(X))
        permuted = fit(X[rows][:, patches], y[rows]).predict(X)
        np.testing.assert_allclose(permuted, expected, atol=1e-6)
        weights = rng.integers(1, 1 + repetitions, len(X))
        repeated = fit(np.repeat(X, weights, axis=0), np.repeat(y, weights)).predict(X)
        np.testing.assert_allclose(fit(X, y, weights).predict(X), repeated, atol=1e-6)
