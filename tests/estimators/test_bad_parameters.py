"""Parameters that cannot be used: errors that name the parameter and what it should be."""

import sys
from fractions import Fraction

import numpy as np
import pytest

from skconvfilter import ConvPatchExtractor

GEOMETRY_CASES = [
    ({"kernel_size": 9}, ValueError, r"kernel_size=\(9, 9\).*padded sample has \(8, 8\)"),
    ({"kernel_size": (3, 9)}, ValueError, "smaller kernel_size or more padding"),
    ({"dilation": 4}, ValueError, r"dilation=\(4, 4\) reaches over \(9, 9\)"),
    ({"kernel_size": 0}, ValueError, "kernel_size must be at least 1"),
    ({"kernel_size": ()}, ValueError, "kernel_size must not be empty"),
    ({"kernel_size": (3, 3, 3, 3)}, ValueError, "kernel_size=.* has 4 axes"),
    ({"stride": 0}, ValueError, "stride must be at least 1"),
    ({"stride": (1, 0)}, ValueError, "stride must be at least 1"),
    ({"stride": (1, 1, 1)}, ValueError, "stride=.* must be one int or have 2 entries"),
    ({"padding": -1}, ValueError, "padding must be at least 0"),
    ({"padding": 2**16}, ValueError, r"padding=\(65536, 65536\) makes samples longer"),
    ({"padding": 2**70}, ValueError, "padding must be at most 2147483647"),
    ({"stride": 2**31}, ValueError, "stride must be at most 2147483647"),
    ({"padding": "same"}, TypeError, "padding must be an int or a tuple of ints"),
    ({"dilation": 0}, ValueError, "dilation must be at least 1"),
    ({"input_shape": (8, 9)}, ValueError, r"input_shape=\(8, 9\) has 72 .* X has 64"),
    ({"input_shape": (8, -8)}, ValueError, "input_shape must be at least 1"),
    ({"input_shape": (2, 4, 4, 2)}, ValueError, "give kernel_size as a tuple"),
    (
        {"kernel_size": (3, 3), "input_shape": None},
        ValueError,
        r"input_shape must say .* input_shape=\(28, 28\)",
    ),
    (
        {"kernel_size": None, "input_shape": None, "stride": 2},
        ValueError,
        "stride has no meaning without kernel_size",
    ),
    (
        {"kernel_size": None, "input_shape": None, "stride": np.array([2, 2])},
        ValueError,
        "stride has no meaning without kernel_size",
    ),
    (
        {"kernel_size": None, "padding": 1, "dilation": 2},
        ValueError,
        "input_shape, padding, dilation has no meaning without kernel_size",
    ),
]

INTEGERS = ["n_init", "max_iter", "n_iter_no_change", "batch_size", "switch"]
NUMBERS = [
    "init_radius",
    "learning_rate_init",
    "learning_rate_final",
    "alpha",
    "tol",
    "validation_fraction",
]
BOOLEANS = ["polish", "fit_intercept", "early_stopping", "warm_start"]
OPTIONS = {
    "solver": "'sgd', 'gauss-newton', 'gd'",
    "learning_rate": "'two-stage', 'constant'",
    "output_sign": "'auto', 1, -1",
    "init": "'ball', a callable, or an array",
    "init_radius": "'auto', 'theory' or a number",
}

INIT_CASES = {
    "too short": np.ones(8),
    "rows too long": np.ones((4, 10)),
    "no row": np.ones((0, 9)),
    "three axes": np.ones((2, 2, 9)),
    "NaN": np.full(9, np.nan),
    "infinity": np.full((2, 9), np.inf),
    "complex": np.ones(9) + 1j,
    "strings": ["a"] * 9,
    "ragged": [[1.0] * 9, [1.0] * 8],
    "number": 1.0,
    "None": None,
}
RATES = {
    "zero": 0.0,
    "negative": -1.0,
    "NaN": np.nan,
    "infinity": np.inf,
    "None": None,
    "string": "fast",
    "complex": 1j,
    "too few": np.ones(3),
    "column": np.ones((16, 1)),
    "one negative": [1.0, -1.0] * 8,
}


@pytest.fixture
def extractor():
    return ConvPatchExtractor(3, input_shape=(8, 8))


@pytest.mark.parametrize(("params", "error", "message"), GEOMETRY_CASES)
def test_geometry_is_refused(params, error, message, digits, make_model, extractor):
    with pytest.raises(error, match=message):
        make_model(**params).fit(digits.X, digits.y)
    with pytest.raises(error, match=message):
        extractor.set_params(**params).fit(digits.X)


@pytest.mark.parametrize("name", ["kernel_size", "stride", "padding", "dilation"])
@pytest.mark.parametrize("value", [True, 1.0, (1, 1.0), (True, 1), "1", np.nan])
def test_geometry_needs_integers(name, value, digits, make_model, extractor):
    message = f"{name} must be an int or a tuple of ints, got"
    with pytest.raises(TypeError, match=message):
        make_model(**{name: value}).fit(digits.X, digits.y)
    with pytest.raises(TypeError, match=message):
        extractor.set_params(**{name: value}).fit(digits.X)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", [True, 2.0, np.nan, "2", None])
def test_counts_must_be_integers(method, name, value, digits, make_model):
    with pytest.raises(TypeError, match=f"{name} must be an int, got"):
        getattr(make_model(**{name: value}), method)(digits.X, digits.y)


@pytest.mark.parametrize("name", INTEGERS)
@pytest.mark.parametrize("value", [0, -1])
def test_counts_must_be_positive(name, value, digits, make_model):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got {value}"):
        make_model(**{name: value}).fit(digits.X, digits.y)


@pytest.mark.parametrize(
    ("name", "most"),
    [("n_init", 10**6), ("max_iter", sys.maxsize), ("switch", sys.maxsize)],
)
@pytest.mark.parametrize("factor", [1, 2**70])
def test_counts_must_not_be_out_of_reach(name, most, factor, digits, make_model):
    value = factor * (most + 1)
    with pytest.raises(ValueError, match=f"{name} must be at most {most}, got {value}"):
        make_model(**{name: value}).fit(digits.X, digits.y)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_numbers_must_be_finite_and_in_range(name, value, digits, make_model):
    with pytest.raises(ValueError, match=f"{name} must be in .*, got {value}"):
        make_model(**{name: value}).fit(digits.X, digits.y)


@pytest.mark.parametrize("value", [10**400, Fraction(10**400)], ids=["int", "fraction"])
def test_numbers_beyond_the_range_of_floats_are_infinite(value, digits, make_model):
    with pytest.raises(ValueError, match=r"alpha must be in \[0.0, inf\), got inf"):
        make_model(alpha=value).fit(digits.X, digits.y)


@pytest.mark.parametrize("value", [2**70, Fraction(1, 3), np.float32(0.5)], ids=repr)
def test_numbers_may_be_of_any_real_type(value, digits, make_model):
    expected = make_model(alpha=float(value)).fit(digits.X, digits.y).coef_
    model = make_model(alpha=value).fit(digits.X, digits.y)
    np.testing.assert_array_equal(model.coef_, expected)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [True, None, [1.0], 1j])
def test_numbers_must_be_numbers(name, value, digits, make_model):
    with pytest.raises(TypeError, match=f"{name} must be a number, got"):
        make_model(**{name: value}).fit(digits.X, digits.y)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("init_radius", 0.0),
        ("learning_rate_init", 0.0),
        ("learning_rate_final", 0.0),
        ("validation_fraction", 0.0),
        ("validation_fraction", 1.0),
    ],
)
def test_ends_of_open_ranges_are_refused(name, value, digits, make_model):
    with pytest.raises(ValueError, match=f"{name} must be in .*, got {value}"):
        make_model(**{name: value}).fit(digits.X, digits.y)


@pytest.mark.parametrize("name", BOOLEANS)
@pytest.mark.parametrize("value", [1, 0.0, "yes", None])
def test_switches_must_be_booleans(name, value, digits, make_model):
    with pytest.raises(TypeError, match=f"{name} must be True or False, got"):
        make_model(**{name: value}).fit(digits.X, digits.y)


def test_flatten_must_be_boolean(digits, extractor):
    with pytest.raises(TypeError, match="flatten must be True or False, got 1"):
        extractor.set_params(flatten=1).fit(digits.X)


@pytest.mark.parametrize(("name", "options"), OPTIONS.items())
def test_unknown_names_are_refused(name, options, digits, make_model):
    with pytest.raises(ValueError, match=f"{name} must be .*{options}.*got 'adam'"):
        make_model(**{name: "adam"}).fit(digits.X, digits.y)


@pytest.mark.parametrize("value", [0, 2, True, 1.5, None, [1]])
def test_output_sign_must_be_a_sign(value, digits, make_model):
    with pytest.raises(ValueError, match="output_sign must be one of 'auto', 1, -1"):
        make_model(output_sign=value).fit(digits.X, digits.y)


@pytest.mark.parametrize("init", INIT_CASES.values(), ids=INIT_CASES.keys())
def test_starts_must_be_finite_filters(init, digits, make_model):
    with pytest.raises((TypeError, ValueError), match=r"\binit\b"):
        make_model(init=init).fit(digits.X, digits.y)


@pytest.mark.parametrize("init", INIT_CASES.values(), ids=INIT_CASES.keys())
def test_callable_must_return_finite_filters(init, digits, make_model):
    def make_starts(n_init, patch_dim, random_state):
        return init

    with pytest.raises((TypeError, ValueError), match=r"\binit\b"):
        make_model(init=make_starts).fit(digits.X, digits.y)


@pytest.mark.parametrize("rate", RATES.values(), ids=RATES.keys())
def test_schedule_must_return_positive_rates(rate, digits, make_model):
    model = make_model(learning_rate=lambda step, losses: rate)
    with pytest.raises((TypeError, ValueError), match="learning_rate returned"):
        model.fit(digits.X, digits.y)


def test_intercept_needs_batches_of_two(digits, make_model):
    model = make_model(batch_size=1)
    with pytest.raises(ValueError, match=r"batch_size must be at least 2 .* fit_intercept"):
        model.fit(digits.X, digits.y)
    model.set_params(fit_intercept=False).fit(digits.X, digits.y)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0, ValueError, "n_jobs must not be 0: use 1, or -1"),
        (1.0, TypeError, "n_jobs must be None or an int"),
        (True, TypeError, "n_jobs must be None or an int"),
    ],
)
def test_number_of_threads_is_refused(value, error, message, digits, make_model):
    with pytest.raises(error, match=message):
        make_model(n_jobs=value).fit(digits.X, digits.y)


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-1, ValueError, "verbose must be at least 0"),
        (0.5, TypeError, "verbose must be an int"),
        ("yes", TypeError, "verbose must be an int"),
    ],
)
def test_verbosity_is_refused(value, error, message, digits, make_model):
    with pytest.raises(error, match=message):
        make_model(verbose=value).fit(digits.X, digits.y)


@pytest.mark.parametrize("random_state", [np.random.default_rng(0), "seed", 0.5, -1])
def test_random_state_must_be_one_of_scikit_learn(random_state, digits, make_model):
    with pytest.raises(ValueError, match=r"(?i)seed"):
        make_model(random_state=random_state).fit(digits.X, digits.y)


@pytest.mark.parametrize(
    "params",
    [
        {"n_init": np.int64(2), "max_iter": np.int32(3), "n_jobs": np.int64(1)},
        {"kernel_size": np.array([3, 3]), "input_shape": [8, 8], "stride": np.int64(1)},
        {"alpha": np.float32(0.0), "tol": 0, "learning_rate_init": np.float64(0.5)},
        {"polish": np.True_, "early_stopping": np.False_, "verbose": np.int64(0)},
        {"output_sign": np.int64(1)},
    ],
    ids=lambda params: "-".join(params),
)
def test_numbers_of_numpy_are_accepted(params, digits, make_model):
    model = make_model(**params).fit(digits.X, digits.y)
    np.testing.assert_allclose(model.filter_, digits.teacher, rtol=1e-6)
