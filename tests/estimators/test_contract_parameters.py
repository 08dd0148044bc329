"""Parameters that cannot be used: errors that name the parameter and what it should be."""

import re

import numpy as np
import pytest

from skconvfilter import ConvPatchExtractor
from tests.estimators.cases import BANK, CASES, FILTER, GEOMETRY, distance

INTEGERS = ["n_filters", "n_init", "max_iter", "n_iter_no_change", "batch_size", "switch"]
NUMBERS = [
    "init_radius",
    "learning_rate_init",
    "learning_rate_final",
    "alpha",
    "tol",
    "validation_fraction",
]
BOOLEANS = ["polish", "fit_intercept", "early_stopping", "warm_start", "diagnostics"]
OPTIONS = {
    FILTER: {
        "solver": "'sgd', 'gd', 'levenberg-marquardt'",
        "learning_rate": "'two-stage', 'constant', 'theory'",
        "output_sign": "'auto', 1, -1",
        "init": "'ball', a callable, or an array",
        "init_radius": "'auto', 'theory' or a number",
    },
    BANK: {
        "activation": "'relu', 'leaky_relu', 'squared_relu', 'sigmoid', 'tanh', 'erf'",
        "pooling": "'sum', 'mean'",
        "output_weights": "'ones', 'signs'",
        "solver": "'levenberg-marquardt', 'gd', 'sgd'",
        "learning_rate": "'two-stage', 'constant'",
        "contraction": "'all', 'single'",
        "init": "'tensor', 'random'",
    },
}
# What each kind of parameter does not take.
BAD = [
    *((name, v, TypeError, "{} must be an int, got") for name in INTEGERS
      for v in (True, 2.0, "2", None)),
    *((name, v, ValueError, "{} must be at least 1, got {!r}") for name in INTEGERS
      for v in (0, -1)),
    ("n_init", 10**6 + 1, ValueError, "{} must be at most 1000000, got {!r}"),
    ("n_filters", 10**6 + 1, ValueError, "{} must be at most 1000000, got {!r}"),
    *((name, v, ValueError, "{} must be in .*, got {!r}") for name in NUMBERS
      for v in (np.nan, np.inf, -1.0)),
    *((name, v, TypeError, "{} must be a number, got") for name in NUMBERS
      for v in (True, None, [1.0], 1j)),
    *((name, 0.0, ValueError, "{} must be in .*, got {!r}") for name in NUMBERS
      if name not in ("alpha", "tol")),
    ("validation_fraction", 1.0, ValueError, "{} must be in .*, got {!r}"),
    *((name, v, TypeError, "{} must be True or False, got") for name in BOOLEANS
      for v in (1, 0.0, "yes", None)),
    *(("output_sign", v, ValueError, "{} must be one of 'auto', 1, -1")
      for v in (0, 2, True, 1.5, None, [1])),
    *((name, v, ValueError, "{} must be one of")
      for name in ("activation", "pooling", "output_weights", "contraction", "solver")
      for v in (None, 1, ["relu"])),
    ("batch_size", 1, ValueError, "{} must be at least 2 with fit_intercept"),
    ("n_jobs", 0, ValueError, "{} must not be 0: use 1, or -1"),
    ("n_jobs", 1.0, TypeError, "{} must be None or an int"),
    ("n_jobs", True, TypeError, "{} must be None or an int"),
    ("verbose", -1, ValueError, "{} must be at least 0"),
    ("verbose", 0.5, TypeError, "{} must be an int"),
    *(("random_state", v, ValueError, "(?i)seed")
      for v in (np.random.default_rng(0), "seed", 0.5, -1)),
]  # fmt: skip

# For a window of two rows and columns that moves over images of four rows and six columns.
GEOMETRIES = [
    ({"kernel_size": 7}, ValueError, r"kernel_size=\(7, 7\).*padded sample has \(4, 6\)"),
    ({"kernel_size": (3, 9)}, ValueError, "smaller kernel_size or more padding"),
    ({"dilation": 5}, ValueError, r"dilation=\(5, 5\) reaches over \(6, 6\)"),
    ({"kernel_size": 0}, ValueError, "kernel_size must be at least 1"),
    ({"kernel_size": ()}, ValueError, "kernel_size must not be empty"),
    ({"kernel_size": (2, 2, 2, 2)}, ValueError, "kernel_size=.* has 4 axes"),
    ({"stride": 0}, ValueError, "stride must be at least 1"),
    ({"stride": (1, 0)}, ValueError, "stride must be at least 1"),
    ({"stride": (1, 1, 1)}, ValueError, "stride=.* must be one int or have 2 entries"),
    ({"padding": -1}, ValueError, "padding must be at least 0"),
    ({"padding": 2**16}, ValueError, r"padding=\(65536, 65536\) makes samples longer"),
    ({"padding": "same"}, TypeError, "padding must be an int or a tuple of ints"),
    ({"dilation": 0}, ValueError, "dilation must be at least 1"),
    ({"input_shape": (4, 7)}, ValueError, r"input_shape=\(4, 7\) has 28 .* X has 24"),
    ({"input_shape": (4, -6)}, ValueError, "input_shape must be at least 1"),
    ({"input_shape": (2, 2, 3, 2)}, ValueError, "give kernel_size as a tuple"),
    (
        {"kernel_size": (2, 2), "input_shape": None},
        ValueError,
        r"input_shape must say .* input_shape=\(28, 28\)",
    ),
    (
        {"kernel_size": None, "input_shape": None},
        ValueError,
        "stride has no meaning without kernel_size",
    ),
    (
        {"kernel_size": None, "stride": np.array([1, 1]), "padding": 1},
        ValueError,
        "input_shape, padding has no meaning without kernel_size",
    ),
    *(
        ({name: v}, TypeError, f"{name} must be an int or a tuple of ints, got")
        for name in ("kernel_size", "stride", "padding", "dilation")
        for v in (True, 1.0, (1, 1.0), "1")
    ),
]
# Per patches of 4 entries, and for a bank of two filters.
STARTS = {
    FILTER: {
        "too short": np.ones(3),
        "rows too long": np.ones((4, 5)),
        "no row": np.ones((0, 4)),
        "three axes": np.ones((2, 2, 4)),
        "ragged": [[1.0] * 4, [1.0] * 3],
    },
    BANK: {
        "one filter": np.ones(4),
        "too few filters": np.ones((1, 4)),
        "too short": np.ones((2, 3)),
        "transposed": np.ones((4, 2)),
        "banks of another size": np.ones((5, 3, 4)),
        "no bank": np.ones((0, 2, 4)),
        "four axes": np.ones((1, 1, 2, 4)),
        "ragged": [[1.0] * 4, [1.0] * 3],
        "callable": np.ones,
    },
}
BAD_NUMBERS = {
    "NaN": np.full((2, 4), np.nan),
    "infinity": np.full((2, 4), np.inf),
    "complex": np.ones((2, 4)) + 1j,
    "strings": [["a"] * 4] * 2,
    "booleans": np.ones((2, 4), dtype=bool),
    "number": 1.0,
    "None": None,
    "out of range": np.full((2, 4), 1e80),
}
RATES = [0.0, -1.0, np.nan, np.inf, None, "fast", 1j, np.ones(3), [1.0, -1.0] * 8]


def test_bad_values_are_refused_with_the_name_of_the_parameter(case):
    data, names = case.data(), case.make().get_params()
    for name, value, error, message in BAD:
        if name in names:
            model = case.make(**{name: value})
            with pytest.raises(error, match=message.format(name, value)):
                model.fit(data.X, data.y)
            if hasattr(model, "partial_fit"):
                with pytest.raises(error, match=message.format(name, value)):
                    model.partial_fit(data.X, data.y)


@pytest.mark.parametrize(
    ("case", "name", "options"),
    [(case, *option) for case, table in OPTIONS.items() for option in table.items()],
    ids=str,
)
def test_unknown_options_are_refused(case, name, options):
    data = case.data()
    for value in ("adam", "", name.upper()):
        message = f"{name} must be .*{re.escape(options)}.*got {value!r}"
        with pytest.raises(ValueError, match=message):
            case.make(**{name: value}).fit(data.X, data.y)


@pytest.mark.parametrize(("params", "error", "message"), GEOMETRIES, ids=str)
def test_geometry_is_refused(params, error, message):
    data = FILTER.data()
    for case in CASES:
        with pytest.raises(error, match=message):
            case.make(**params).fit(data.X, data.y)
    with pytest.raises(error, match=message):
        ConvPatchExtractor(**(GEOMETRY | params)).fit(data.X)


def test_flatten_must_be_boolean():
    extractor = ConvPatchExtractor(**GEOMETRY, flatten=1)
    with pytest.raises(TypeError, match="flatten must be True or False, got 1"):
        extractor.fit(FILTER.data().X)


@pytest.mark.parametrize("given", ["array", "callable"])
def test_starts_must_be_finite_filters(given, case):
    data = case.data()
    for init in (STARTS[case] | BAD_NUMBERS).values():
        if given == "callable" and case.is_bank:
            continue
        value = init if given == "array" else lambda *args, init=init: init
        with pytest.raises((TypeError, ValueError), match=r"\binit\b"):
            case.make(init=value).fit(data.X, data.y)


def test_schedule_must_return_positive_rates(case):
    data = case.data()
    for rate in RATES:
        model = case.make(solver="gd", learning_rate=lambda *args, rate=rate: rate)
        with pytest.raises((TypeError, ValueError), match="learning_rate returned"):
            model.fit(data.X, data.y)


def test_single_samples_are_batches_without_an_intercept(case):
    data = case.data().take(30)
    params = {
        "solver": "sgd",
        "batch_size": 1,
        "n_init": 2,
        "fit_intercept": False,
        "max_iter": 2,
    }
    assert np.isfinite(case.fit(data, **params).predict(data.X)).all()


@pytest.mark.parametrize(
    "params",
    [
        {"n_init": np.int32(3), "n_jobs": np.int64(1), "verbose": np.int64(0)},
        {"kernel_size": np.array([2, 2]), "input_shape": [4, 6], "stride": np.int64(2)},
        {"alpha": np.float32(0.0), "tol": 0, "learning_rate_init": np.float64(0.5)},
        {"fit_intercept": np.True_, "early_stopping": np.False_},
        {"solver": np.str_("levenberg-marquardt"), "max_iter": np.int64(99)},
    ],
    ids=lambda params: "-".join(params),
)
def test_values_of_numpy_are_accepted(params, case):
    data = case.data(snr=np.inf)
    model = case.make(**params).fit(data.X, data.y)
    assert distance(model.coef_, data.teacher) < 1e-6


def test_signs_of_numpy_are_accepted():
    data = FILTER.data()
    assert FILTER.fit(data, output_sign=np.int64(-1)).sign_ == -1


def test_starts_may_have_the_shape_of_the_window():
    data = FILTER.data()
    filters = np.random.default_rng(0).standard_normal((3, 2, 2))
    for starts, shape in ((filters[0], (4,)), (filters, (3, 4))):
        expected = FILTER.make(init=starts.reshape(shape)).fit(data.X, data.y)
        model = FILTER.make(init=starts).fit(data.X, data.y)
        np.testing.assert_array_equal(model.coef_, expected.coef_)
        called = FILTER.make(init=lambda *_, given=starts: given).fit(data.X, data.y)
        np.testing.assert_array_equal(called.coef_, expected.coef_)
    again = FILTER.make(init=model.filter_).fit(data.X, data.y)
    np.testing.assert_allclose(again.coef_, model.coef_, rtol=1e-6)
    with pytest.raises(ValueError, match=r"shape of the window, \(2, 2\), or flat, \(4,\)"):
        FILTER.make(init=np.ones((2, 3))).fit(data.X, data.y)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kernel_size", (2, 2)),
        ("stride", (2, 1)),
        ("padding", (1, 0)),
        ("dilation", [1, 2]),
    ],
)
def test_several_axes_need_an_input_shape(name, value, case):
    params = {"input_shape": None, "stride": 1, name: value}
    data = case.data()
    with pytest.raises(ValueError, match=f"{name}=.* has several axes: input_shape must"):
        case.make(**params).fit(data.X, data.y)
