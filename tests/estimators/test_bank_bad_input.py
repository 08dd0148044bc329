"""Banks and what cannot be used: errors that name it, or a fit of finite numbers."""

import itertools
import re
import threading
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy
import scipy.sparse as sp
from skconvfilter.solvers.gauss_newton import LevenbergMarquardt
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.utils.fixes import parse_version

from skconvfilter import ConvFilterBankRegressor
from skconvfilter.datasets import make_filter_bank_regression
from skconvfilter.diagnostics import bank_recovery
from skconvfilter.estimators import bank as bank_module
from skconvfilter.estimators import bank_fitting
from skconvfilter.model import bank_objective
from skconvfilter.model.activations import ACTIVATIONS
from skconvfilter.solvers.sgd import SGD

GEOMETRY = {"input_shape": 12, "kernel_size": 4, "stride": 4}
NAMES = list(ACTIVATIONS)
HOMOGENEITY = {"relu": 1, "leaky_relu": 1, "squared_relu": 2}
SATURATING = ["sigmoid", "tanh", "erf"]

INTEGERS = ["n_filters", "n_init", "max_iter", "n_iter_no_change", "batch_size"]
NUMBERS = ["learning_rate_init", "alpha", "tol"]
BOOLEANS = ["fit_intercept", "warm_start"]
OPTIONS = {
    "activation": "'relu', 'leaky_relu', 'squared_relu', 'sigmoid', 'tanh', 'erf'",
    "pooling": "'sum', 'mean'",
    "output_weights": "'ones', 'signs'",
    "solver": "'gauss-newton', 'gd', 'sgd'",
    "contraction": "'all', 'single'",
    "init": "'tensor', 'random'",
}
INIT_CASES = {
    "one filter": np.ones(4),
    "too few filters": np.ones((1, 4)),
    "too many filters": np.ones((3, 4)),
    "too short": np.ones((2, 3)),
    "transposed": np.ones((4, 2)),
    "banks of another size": np.ones((5, 3, 4)),
    "no bank": np.ones((0, 2, 4)),
    "four axes": np.ones((1, 1, 2, 4)),
    "NaN": np.full((2, 4), np.nan),
    "infinity": np.full((3, 2, 4), np.inf),
    "complex": np.ones((2, 4)) + 1j,
    "booleans": np.ones((2, 4), dtype=bool),
    "strings": [["a"] * 4] * 2,
    "ragged": [[1.0] * 4, [1.0] * 3],
    "number": 1.0,
    "None": None,
    "callable": np.ones,
}
GEOMETRY_CASES = [
    ({"kernel_size": 13}, ValueError, r"kernel_size=\(13,\).*padded sample has \(12,\)"),
    ({"kernel_size": 0}, ValueError, "kernel_size must be at least 1"),
    ({"kernel_size": 4.0}, TypeError, "kernel_size must be an int or a tuple of ints"),
    ({"kernel_size": (2, 2)}, ValueError, r"kernel_size=\(2, 2\) has 2 axes"),
    ({"stride": 0}, ValueError, "stride must be at least 1"),
    ({"stride": "4"}, TypeError, "stride must be an int or a tuple of ints"),
    ({"padding": -1}, ValueError, "padding must be at least 0"),
    ({"dilation": 4}, ValueError, r"dilation=\(4,\) reaches over \(13,\)"),
    ({"input_shape": (3, 5)}, ValueError, r"input_shape=\(3, 5\) has 15 .* X has 12"),
    ({"kernel_size": None, "input_shape": None}, ValueError, "stride has no meaning"),
]
OTHERS = [
    ({"n_jobs": 0}, ValueError, "n_jobs must not be 0"),
    ({"n_jobs": 1.0}, TypeError, "n_jobs must be None or an int"),
    ({"n_jobs": True}, TypeError, "n_jobs must be None or an int"),
    ({"verbose": -1}, ValueError, "verbose must be at least 0"),
    ({"verbose": "yes"}, TypeError, "verbose must be an int"),
    ({"random_state": "seed"}, ValueError, "(?i)seed"),
    ({"random_state": np.random.default_rng(0)}, ValueError, "(?i)seed"),
    ({"learning_rate_init": 0.0}, ValueError, "learning_rate_init must be in"),
    ({"learning_rate_init": "fast"}, TypeError, "learning_rate_init must be a number"),
    ({"max_iter": "all"}, TypeError, "max_iter must be an int"),
    ({"batch_size": 1}, ValueError, "batch_size must be at least 2 with fit_intercept"),
]

# Places where a fit may be interrupted: parameters, owner and name of a function, which
# call of it.
FIT_POINTS = [
    ({}, bank_module, "check_bank_settings", 1),
    ({}, bank_fitting, "tensor_start", 1),
    ({}, bank_fitting, "random_banks", 1),
    ({}, LevenbergMarquardt, "init", 1),
    ({}, LevenbergMarquardt, "step", 2),
    ({"solver": "gd"}, bank_fitting, "largest_curvature", 1),
    ({"solver": "sgd"}, SGD, "step", 2),
    ({}, bank_objective.BankObjective, "value", 1),
    ({}, bank_module, "bank_attributes", 1),
    ({}, bank_module, "replace_learnt", 1),
]


class Lazy:
    """Has what one sees of a dask array; must never be loaded."""

    __dask_graph__ = None

    def __init__(self, shape):
        self.shape = shape
        self.ndim = len(shape)
        self.dtype = np.dtype(float)

    def __len__(self):
        return self.shape[0]

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("the array has been loaded")


def sparse(array):
    if array.ndim > 2 and parse_version(scipy.__version__) < parse_version("1.15"):
        pytest.skip("SciPy has sparse arrays of three axes from 1.15 on")
    return sp.coo_array(array)


def masked(array):
    return np.ma.masked_array(array, mask=np.zeros(np.shape(array), dtype=bool))


def with_entry(array, value):
    array = np.array(array, dtype=np.result_type(array, value))
    array[(1,) * array.ndim] = value
    return array


def fit_quietly(model, *args, **kwargs):
    """A fit that need not converge, nor find what the tensor method assumes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The best restart has not converged")
        warnings.filterwarnings("ignore", "init='tensor'")
        warnings.filterwarnings("ignore", "There are fewer samples")
        return model.fit(*args, **kwargs)


def assert_finite(model, X):
    for name in ("coef_", "init_coef_", "intercept_"):
        assert np.isfinite(getattr(model, name)).all(), name
    prediction = model.predict(X)
    assert np.isfinite(prediction).all()
    return prediction


def assert_loss_is_that_of_the_prediction(model, X, y):
    squares = np.mean((model.predict(X) - y) ** 2)
    assert model.loss_ == pytest.approx(squares / 2, rel=1e-6, abs=1e-20)


@pytest.fixture
def make_bank():
    """Makes regressors for the problems: ``make_bank(n_init=4)``."""

    def make(**params):
        options = {"n_filters": 2, "n_init": 2, "random_state": 0} | GEOMETRY
        return ConvFilterBankRegressor(**(options | params))

    return make


@pytest.fixture(scope="session")
def teach():
    """Makes samples of three patches of length four, and targets of a random bank."""

    def make(activation="relu", n_samples=200, **options):
        return make_filter_bank_regression(
            n_samples,
            n_filters=2,
            **GEOMETRY,
            activation=activation,
            return_teacher=True,
            random_state=0,
            **options,
        )

    return make


@pytest.fixture(scope="session")
def data(teach):
    X, y, _ = teach()
    return X, y


# Parameters -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", [True, 2.0, np.nan, "2", None, [2]])
def test_counts_must_be_integers(name, value, data, make_bank):
    with pytest.raises(TypeError, match=f"{name} must be an int, got"):
        make_bank(**{name: value}).fit(*data)


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", [0, -1])
def test_counts_must_be_positive(name, value, data, make_bank):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got {value}"):
        make_bank(**{name: value}).fit(*data)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_numbers_must_be_finite_and_in_range(name, value, data, make_bank):
    with pytest.raises(ValueError, match=f"{name} must be in .*, got {value}"):
        make_bank(**{name: value}).fit(*data)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [True, None, [1.0], 1j])
def test_numbers_must_be_numbers(name, value, data, make_bank):
    with pytest.raises(TypeError, match=f"{name} must be a number, got"):
        make_bank(**{name: value}).fit(*data)


@pytest.mark.parametrize("name", BOOLEANS)
@pytest.mark.parametrize("value", [1, 0.0, "yes", None])
def test_switches_must_be_booleans(name, value, data, make_bank):
    with pytest.raises(TypeError, match=f"{name} must be True or False, got"):
        make_bank(**{name: value}).fit(*data)


@pytest.mark.parametrize(("name", "options"), OPTIONS.items())
@pytest.mark.parametrize("value", ["max", "", "RELU"])
def test_unknown_names_are_refused(name, options, value, data, make_bank):
    message = f"{name} must be .*{re.escape(options)}.*got {value!r}"
    with pytest.raises(ValueError, match=message):
        make_bank(**{name: value}).fit(*data)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "init"])
@pytest.mark.parametrize("value", [None, 1, True, ["relu"], np.tanh, np.ones(2)], ids=str)
def test_names_must_be_strings(name, value, data, make_bank):
    with pytest.raises((TypeError, ValueError), match=f"{name} must be one of"):
        make_bank(**{name: value}).fit(*data)


@pytest.mark.parametrize("init", INIT_CASES.values(), ids=INIT_CASES.keys())
@pytest.mark.parametrize("output_weights", ["ones", "signs"])
def test_starts_must_be_finite_banks(init, output_weights, data, make_bank):
    with pytest.raises((TypeError, ValueError), match=r"\binit\b"):
        make_bank(init=init, output_weights=output_weights).fit(*data)


@pytest.mark.parametrize(
    ("params", "error", "message"), [*GEOMETRY_CASES, *OTHERS], ids=str
)
def test_other_parameters_are_refused(params, error, message, data, make_bank):
    with pytest.raises(error, match=message):
        make_bank(**params).fit(*data)


def test_single_samples_are_batches_without_an_intercept(data, make_bank):
    model = make_bank(solver="sgd", batch_size=1, fit_intercept=False, max_iter=2)
    assert_finite(fit_quietly(model, *data), data[0])


@pytest.mark.parametrize(
    "params",
    [
        {"n_filters": np.int64(2), "n_init": np.int32(2), "n_jobs": np.int64(1)},
        {"kernel_size": np.array([4]), "input_shape": [12], "stride": np.int64(4)},
        {"alpha": np.float32(0.0), "tol": 0, "learning_rate_init": np.float64(0.5)},
        {"fit_intercept": np.True_, "verbose": np.int64(0), "max_iter": np.int64(99)},
        {"activation": np.str_("relu"), "pooling": np.str_("sum")},
    ],
    ids=lambda params: "-".join(params),
)
def test_values_of_numpy_are_accepted(params, teach, make_bank):
    X, y, teacher = teach()
    model = make_bank(**params).fit(X, y)
    assert bank_recovery(model, teacher).relative_error < 1e-8


# Data that are refused --------------------------------------------------------------------


@pytest.mark.parametrize("form", ["rows", "patches"])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda X: with_entry(X, np.nan), ValueError, "Input X contains NaN"),
        (lambda X: with_entry(X, np.inf), ValueError, "X contains inf"),
        (lambda X: with_entry(X, 1j), ValueError, "Complex data"),
        (lambda X: np.full(X.shape, "pixel"), ValueError, "string"),
        (masked, TypeError, r"X is a masked array.*X\.filled\(value\)"),
        (lambda X: Lazy(X.shape), TypeError, r"X is a dask .*X\.compute\(\)"),
        (sparse, TypeError, "toarray"),
        (lambda X: X[:0], ValueError, "sample"),
        (lambda X: X[:, :0], ValueError, r"0 feature|at least one .* patch"),
        (lambda X: X[0, 0], ValueError, "scalar array|Reshape your data"),
        (lambda X: X.reshape(200, 2, 2, 3), ValueError, r"X\.reshape|ConvPatchExtractor"),
    ],
    ids=[
        "NaN",
        "infinity",
        "complex",
        "strings",
        "masked",
        "lazy",
        "sparse",
        "no samples",
        "nothing to see",
        "too few axes",
        "images",
    ],
)
def test_samples_are_refused(form, change, error, message, data, make_bank):
    X, y = data
    model = make_bank()
    if form == "patches":
        X = X.reshape(200, 3, 4)
        model.set_params(kernel_size=None, input_shape=None, stride=1)
    with pytest.raises(error, match=message):
        model.fit(change(X), y)
    model.fit(X, y)
    for use in (model.predict, model.feature_map):
        with pytest.raises(error, match=message):
            use(change(X))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda y: None, ValueError, "requires y to be passed, but the target y is None"),
        (lambda y: with_entry(y, np.nan), ValueError, "Input y contains NaN"),
        (lambda y: with_entry(y, -np.inf), ValueError, "Input y contains inf"),
        (lambda y: y + 1j, ValueError, "Complex data"),
        (lambda y: y.astype(str), ValueError, "y holds strings"),
        (lambda y: y[:20], ValueError, "inconsistent numbers of samples.*200, 20"),
        (lambda y: np.column_stack([y, y]), ValueError, r"1d array.*\(200, 2\)"),
        (masked, TypeError, r"y is a masked array.*y\.filled\(value\)"),
        (lambda y: sp.csr_array(y[:, np.newaxis]), TypeError, "[Ss]parse"),
    ],
    ids=[
        "None",
        "NaN",
        "infinity",
        "complex",
        "strings",
        "too few",
        "two columns",
        "masked",
        "sparse",
    ],
)
def test_targets_are_refused(change, error, message, data, make_bank):
    X, y = data
    with pytest.raises(error, match=message):
        make_bank().fit(X, change(y))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda w: 0 * w, ValueError, "sample_weight: all weights are zero"),
        (lambda w: with_entry(w, -1.0), ValueError, "Negative values in .*sample_weight"),
        (lambda w: with_entry(w, np.nan), ValueError, "sample_weight contains NaN"),
        (lambda w: with_entry(w, np.inf), ValueError, "sample_weight contains inf"),
        (lambda w: w[:, np.newaxis], ValueError, r"sample_weight.*\(200, 1\).*\(200,\)"),
        (lambda w: w[:9], ValueError, r"sample_weight has shape \(9,\).*\(200,\)"),
        (masked, TypeError, "sample_weight is a masked array"),
    ],
    ids=["zero", "negative", "NaN", "infinity", "column", "too few", "masked"],
)
def test_weights_are_refused(change, error, message, data, make_bank):
    X, y = data
    with pytest.raises(error, match=message):
        make_bank().fit(X, y, sample_weight=change(np.ones(200)))


def test_targets_in_a_column_are_taken_with_a_warning(data, make_bank):
    X, y = data
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        model = make_bank().fit(X, y[:, np.newaxis])
    np.testing.assert_array_equal(model.coef_, make_bank().fit(X, y).coef_)


@pytest.mark.parametrize("use", ["predict", "feature_map"])
def test_samples_of_another_shape_are_refused(use, data, make_bank):
    X, y = data
    use_rows = getattr(make_bank().fit(X, y), use)
    with pytest.raises(
        ValueError, match=r"X has 11 features, but .* expecting 12 features"
    ):
        use_rows(X[:, :11])
    patches = X.reshape(200, 3, 4)
    with pytest.raises(ValueError, match=r"X has shape \(200, 3, 4\), expected"):
        use_rows(patches)
    model = ConvFilterBankRegressor(2, random_state=0).fit(patches, y)
    with pytest.raises(ValueError, match=r"patch_dim=3.*fitted with patch_dim=4"):
        getattr(model, use)(patches[:, :, :3])


# Data that a fit must survive -------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The best restart has not converged")
@pytest.mark.parametrize("activation", NAMES)
def test_more_filters_than_entries_of_a_patch_are_fitted_with_a_warning(
    activation, teach, make_bank
):
    X, y, _ = teach(activation)
    model = make_bank(activation=activation, n_filters=6)
    with pytest.warns(UserWarning, match="init='tensor' gave no start.*6 filters"):
        model.fit(X, y)
    assert model.coef_.shape == (6, 4)
    assert_finite(model, X)
    assert model.score(X, y) > 0.99


@pytest.mark.filterwarnings("ignore:The best restart has not converged")
@pytest.mark.filterwarnings("ignore:init='tensor'")
@pytest.mark.parametrize("n_samples", [1, 2, 7])
@pytest.mark.parametrize("activation", NAMES)
def test_fewer_samples_than_entries_are_fitted_with_a_warning(
    n_samples, activation, data, make_bank
):
    X, y = data
    model = make_bank(activation=activation)
    message = rf"n_samples={n_samples}\).*n_filters \* patch_dim = 8"
    with pytest.warns(UserWarning, match=message):
        model.fit(X[:n_samples], y[:n_samples])
    assert_finite(model, X)
    if n_samples == 1:
        np.testing.assert_allclose(model.predict(X[:1]), y[:1])


@pytest.mark.filterwarnings("ignore:The best restart has not converged")
def test_enough_samples_are_no_reason_to_warn(data, make_bank):
    X, y = data
    make_bank(init="random").fit(X[:8], y[:8])


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("targets", ["even", "odd", "noise"])
@pytest.mark.parametrize("output_weights", ["ones", "signs"])
def test_targets_without_the_moments_needed_are_fitted(
    activation, targets, output_weights, data, make_bank
):
    # With every sample comes its negative: all moments of odd, or of even, order vanish.
    X = np.vstack([data[0], -data[0]])
    y = {
        "even": np.abs(X[:, :4]).sum(axis=1),
        "odd": X @ np.linspace(-1, 1, 12),
        "noise": np.random.default_rng(0).standard_normal(400),
    }[targets]
    model = make_bank(activation=activation, output_weights=output_weights)
    prediction = assert_finite(fit_quietly(model, X, y), X)
    assert np.mean((prediction - y) ** 2) <= np.var(y) * (1 + 1e-6)


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("c", [0.0, 3.0, -3.0, 1e300, 1e-300])
@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_constant_targets_are_predicted(activation, c, pooling, data, make_bank):
    X, _ = data
    model = make_bank(activation=activation, pooling=pooling).fit(X, np.full(200, c))
    # The values at filters of 0, which the intercept takes back, are not 0 here.
    atol = 1e-13 if activation == "sigmoid" else 0
    np.testing.assert_allclose(model.predict(X), c, rtol=1e-12, atol=atol)
    assert model.loss_ == pytest.approx(0, abs=atol**2)
    assert_finite(model, X)


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("c", [0.0, 3.0, -3.0])
def test_constant_targets_without_intercept_are_fitted(activation, c, data, make_bank):
    X, _ = data
    y = np.full(200, c)
    model = fit_quietly(make_bank(activation=activation, fit_intercept=False), X, y)
    assert_finite(model, X)
    assert model.intercept_ == 0
    assert_loss_is_that_of_the_prediction(model, X, y)
    if activation != "sigmoid":
        # Not worse than filters of 0.
        assert model.loss_ <= c**2 / 2 * (1 + 1e-3)


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("entry", [0.0, 2.0, -0.3])
def test_constant_samples_are_fitted(activation, fit_intercept, entry, data, make_bank):
    X, y = np.full((200, 12), entry), data[1]
    model = make_bank(activation=activation, fit_intercept=fit_intercept)
    prediction = assert_finite(fit_quietly(model, X, y), X)
    np.testing.assert_allclose(prediction, prediction[0])
    assert_loss_is_that_of_the_prediction(model, X, y)
    if fit_intercept:
        # Nothing but the mean can be known.
        np.testing.assert_allclose(prediction, y.mean())


_RNG = np.random.RandomState(0)
_ROWS, _TARGETS = _RNG.standard_normal((20, 12)), _RNG.standard_normal(20)
DEGENERATE = {
    "constant features": (np.hstack([_ROWS[:, :6], np.ones((20, 6))]), _TARGETS),
    "X negative": (-np.abs(_ROWS), _TARGETS),
    "X a hair from constant": (5 + 1e-14 * _ROWS, _TARGETS),
    "one sample twice": (_ROWS[[0, 0]], _TARGETS[[0, 0]]),
    "one sample, two targets": (_ROWS[[0, 0]], np.array([1.0, 2.0])),
    "y a hair from constant": (_ROWS, 1 + 1e-13 * _TARGETS),
    "y far from 0": (_ROWS, 1e12 + _TARGETS),
    "y one spike": (_ROWS, np.eye(20)[3]),
}


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("solver", ["gauss-newton", "gd", "sgd"])
@pytest.mark.parametrize(("X", "y"), DEGENERATE.values(), ids=DEGENERATE.keys())
def test_degenerate_data_are_fitted_with_finite_numbers(
    activation, solver, X, y, make_bank
):
    max_iter = "auto" if solver == "gauss-newton" else 3
    model = make_bank(activation=activation, solver=solver, max_iter=max_iter)
    prediction = assert_finite(fit_quietly(model, X, y), X)
    if solver == "gauss-newton":
        # Never worse than the mean.
        limit = np.var(y) * (1 + 1e-9) + 1e-18 * np.mean(y**2)
        assert np.mean((prediction - y) ** 2) <= limit


@pytest.mark.parametrize("shape", [(30, 1), (30, 1, 1), (30, 3, 1)])
@pytest.mark.parametrize("activation", NAMES)
def test_patches_of_one_entry_are_fitted(shape, activation):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal(shape), rng.standard_normal(30)
    model = ConvFilterBankRegressor(1, activation=activation, random_state=0)
    prediction = assert_finite(fit_quietly(model, X, y), X)
    # Not worse than the mean, which a filter near 0 predicts.
    assert np.mean((prediction - y) ** 2) <= np.var(y) * (1 + 1e-3)


# Huge and tiny ----------------------------------------------------------------------------

SCALES = [1e100, 1e-100, 1e200, 1e-200, 1e300, 1e-300]


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("solver", ["gauss-newton", "gd"])
def test_scale_of_samples_does_not_matter(activation, scale, solver, teach, make_bank):
    X, y, _ = teach(activation)
    params = {"activation": activation, "solver": solver}
    if solver == "gd":
        params |= {"init": "random", "max_iter": 3}
    expected = fit_quietly(make_bank(**params), X, y)
    model = fit_quietly(make_bank(**params), scale * X, y)
    assert bank_recovery(scale * model.coef_, expected.coef_).relative_error < 1e-7
    prediction = assert_finite(model, scale * X)
    np.testing.assert_allclose(prediction, expected.predict(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("activation", HOMOGENEITY)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("solver", ["gauss-newton", "gd"])
def test_scale_of_targets_does_not_matter(activation, scale, solver, teach, make_bank):
    X, y, _ = teach(activation)
    params = {"activation": activation, "solver": solver}
    if solver == "gd":
        params |= {"init": "random", "max_iter": 3}
    expected = fit_quietly(make_bank(**params), X, y)
    model = fit_quietly(make_bank(**params), X, scale * y)
    coef = model.coef_ / scale ** (1 / HOMOGENEITY[activation])
    assert bank_recovery(coef, expected.coef_).relative_error < 1e-7
    prediction = assert_finite(model, X) / scale
    np.testing.assert_allclose(prediction, expected.predict(X), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("activation", HOMOGENEITY)
@pytest.mark.parametrize("solver", ["gauss-newton", "gd", "sgd"])
@pytest.mark.parametrize("alpha", [0.0, 1e-3])
def test_targets_of_the_least_numbers_fit(activation, solver, alpha, teach, make_bank):
    X, y, _ = teach(activation)
    params = {"activation": activation, "solver": solver, "alpha": alpha}
    model = fit_quietly(make_bank(**params, max_iter=3), X, 1e-310 * y)
    prediction = assert_finite(model, X)
    assert np.square(prediction / 1e-310 - y).mean() <= np.square(y).mean()


@pytest.mark.parametrize("activation", SATURATING)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("solver", "fit_intercept"),
    [("gauss-newton", False), ("gauss-newton", True), ("gd", True), ("sgd", True)],
)
def test_targets_that_no_bounded_values_reach_end_in_finite_numbers_or_a_clear_error(
    activation, scale, solver, fit_intercept, teach, make_bank
):
    X, y, _ = teach(activation)
    max_iter = "auto" if solver == "gauss-newton" else 3
    model = make_bank(
        activation=activation, solver=solver, max_iter=max_iter, fit_intercept=fit_intercept
    )
    try:
        fit_quietly(model, X, scale * y)
    except ValueError as error:
        # Not every case is an error, so pytest.raises does not do.
        assert re.search("[Rr]escale", str(error))  # noqa: PT017
        assert scale > 1
        return
    for name in ("coef_", "init_coef_", "intercept_"):
        assert np.isfinite(getattr(model, name)).all(), name
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e35])
def test_scale_of_single_precision_samples_does_not_matter(
    activation, scale, teach, make_bank
):
    X, y, teacher = teach(activation)
    X = (scale * X).astype(np.float32)
    model = fit_quietly(make_bank(activation=activation), X, y)
    assert model.coef_.dtype == np.float32
    assert bank_recovery(scale * model.coef_.astype(float), teacher).relative_error < 1e-3
    np.testing.assert_allclose(assert_finite(model, X), y, atol=1e-2)


@pytest.mark.parametrize(
    ("activation", "dtype", "x_scale", "y_scale"),
    [
        ("relu", np.float64, 1e-310, 1.0),
        ("tanh", np.float64, 1e-310, 1.0),
        ("relu", np.float64, 1e-200, 1e200),
        ("squared_relu", np.float64, 1e-200, 1e250),
        ("leaky_relu", np.float32, 1.0, 1e60),
        ("squared_relu", np.float32, 1e-20, 1e60),
    ],
)
def test_filters_out_of_range_are_an_error(
    activation, dtype, x_scale, y_scale, teach, make_bank
):
    X, y, _ = teach(activation)
    with pytest.raises(
        ValueError, match=f"exceeds the range of {np.dtype(dtype)}.*Rescale"
    ):
        fit_quietly(
            make_bank(activation=activation), (x_scale * X).astype(dtype), y_scale * y
        )


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("solver", ["gauss-newton", "gd", "sgd"])
@pytest.mark.parametrize("output_weights", ["ones", "signs"])
@pytest.mark.parametrize("length", [0.0, 300.0, 1e100, 1e200])
def test_starts_that_are_far_too_long_end_in_finite_numbers(
    activation, solver, output_weights, length, teach, make_bank
):
    X, y, teacher = teach(activation)
    model = make_bank(
        activation=activation,
        solver=solver,
        output_weights=output_weights,
        init=length * teacher,
        max_iter=3,
    )
    assert_finite(fit_quietly(model, X, y), X)


def test_start_that_is_too_long_leaves_the_field_to_others(teach, make_bank):
    X, y, teacher = teach()
    init = [1e200 * teacher, 1e200 * teacher, teacher + 0.01]
    model = make_bank(init=init).fit(X, y)
    assert bank_recovery(model, teacher).relative_error < 1e-8


@pytest.mark.parametrize("alpha", [1e-300, 1e100, 1e300])
@pytest.mark.parametrize("scale", [1.0, 1e200, 1e-200])
@pytest.mark.parametrize("activation", ["relu", "squared_relu", "tanh"])
def test_extreme_penalties_end_in_finite_numbers(
    alpha, scale, activation, teach, make_bank
):
    X, y, _ = teach(activation)
    model = fit_quietly(make_bank(activation=activation, alpha=alpha), scale * X, y)
    assert_finite(model, scale * X)


# State ------------------------------------------------------------------------------------


def assert_unchanged(estimator, state):
    """The attributes are the very objects that they were."""
    now = vars(estimator)
    assert now.keys() == state.keys()
    for name, value in state.items():
        assert now[name] is value, name


@pytest.fixture(params=["unfitted", "fitted"])
def model(request, data, make_bank):
    """A model with what it may have learnt before."""
    X, y = data
    model = make_bank()
    return model if request.param == "unfitted" else model.fit(X[:100], y[:100])


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.full((200, 12), np.nan), np.ones(200)),
        (np.ones((200, 12)), np.full(200, np.inf)),
        (np.ones((200, 12)), np.ones(199)),
        (np.ones((200, 11)), np.ones(200)),
        (pd.DataFrame(np.ones((200, 12))).add_prefix("x"), None),
    ],
    ids=["NaN in X", "infinity in y", "fewer targets", "other features", "no targets"],
)
def test_bad_data_leave_the_state(X, y, model):
    state = vars(model).copy()
    with pytest.raises(ValueError, match=r"NaN|inf|inconsistent|features|None"):
        model.fit(X, y)
    assert_unchanged(model, state)


@pytest.mark.parametrize(
    "params", [{"n_init": 0}, {"kernel_size": 13}, {"init": "x"}, {"activation": "x"}]
)
def test_bad_parameters_leave_the_state(params, data, make_bank):
    X, y = data
    model = make_bank().fit(X, y)
    expected = model.predict(X)
    before = model.get_params()
    state = vars(model.set_params(**params)).copy()
    with pytest.raises(ValueError, match=next(iter(params))):
        model.fit(X[:50], y[:50])
    assert_unchanged(model, state)
    model.set_params(**before)
    np.testing.assert_array_equal(model.predict(X), expected)


@pytest.mark.parametrize(("params", "owner", "name", "number"), FIT_POINTS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_interrupts_leave_the_state(
    params, owner, name, number, error, model, data, monkeypatch
):
    X, y = data
    fitted = hasattr(model, "coef_")
    expected = model.predict(X) if fitted else None
    original, calls = getattr(owner, name), itertools.count(1)

    def interrupted(*args, **kwargs):
        if next(calls) == number:
            raise error
        return original(*args, **kwargs)

    state = vars(model.set_params(**params)).copy()
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, interrupted)
        with pytest.raises(error):
            model.fit(X + np.linspace(0, 1, 12), y)
    assert_unchanged(model, state)
    if fitted:
        np.testing.assert_array_equal(model.predict(X), expected)
    else:
        with pytest.raises(NotFittedError):
            model.predict(X)


def test_errors_in_threads_propagate_and_leave_the_state(teach, make_bank, monkeypatch):
    X, y, _ = teach(n_samples=3000)
    model = make_bank(n_jobs=2).fit(X, y)
    state = vars(model).copy()
    original = bank_objective.block_patches

    def block_patches(*args):
        if threading.current_thread() is threading.main_thread():
            return original(*args)
        raise MemoryError("full")

    monkeypatch.setattr(bank_objective, "block_patches", block_patches)
    with pytest.raises(MemoryError, match="full"):
        model.fit(X, y)
    assert_unchanged(model, state)


def test_filters_out_of_range_leave_the_state(model, data):
    X, y = data
    state = vars(model).copy()
    with pytest.raises(ValueError, match="Rescale"):
        model.fit(1e-310 * X, y)
    assert_unchanged(model, state)


@pytest.mark.parametrize(
    "coef",
    [
        np.ones((2, 3)),
        np.ones((2, 5)),
        np.ones((1, 4)),
        np.ones((3, 4)),
        np.ones((0, 4)),
        np.ones(4),
        np.ones(8),
        np.ones((2, 2, 2)),
        np.ones((2, 4, 1)),
        np.float64(1.0),
    ],
    ids=np.shape,
)
@pytest.mark.parametrize("use", ["predict", "feature_map", "fit"])
def test_corrupted_filters_are_refused(use, coef, data, make_bank):
    X, y = data
    model = make_bank(warm_start=True).fit(X, y)
    model.coef_ = coef
    with pytest.raises(ValueError, match=r"coef_ has shape .*"):
        getattr(model, use)(*([X, y] if use == "fit" else [X]))


@pytest.mark.parametrize(
    "weights", [np.ones(1), np.ones(3), np.ones((2, 1)), 1], ids=np.shape
)
@pytest.mark.parametrize("use", ["predict", "fit"])
def test_corrupted_output_weights_are_refused(use, weights, data, make_bank):
    X, y = data
    model = make_bank(warm_start=True).fit(X, y)
    model.output_weights_ = weights
    with pytest.raises(ValueError, match="output_weights_ has shape"):
        getattr(model, use)(*([X, y] if use == "fit" else [X]))
