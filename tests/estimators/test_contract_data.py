"""Both regressors: data that must be fitted, in any unit, of any kind, however poor."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

from tests.estimators.cases import (
    BANK,
    FILTER,
    HOMOGENEITY,
    NAMES,
    distance,
    fit_quietly,
    objective,
)


@cache
def fitted(case, form="X", n_samples=300, **params):
    """A fit to data as they come, with which others are compared; not to be changed."""
    data = case.data().take(n_samples)
    return fit_quietly(case.make_for(form, **params), getattr(data, form), data.y)


# Units -----------------------------------------------------------------------------------

UNITS = [(1e15, 1.0), (1e-15, 1.0), (1.0, 1e15), (1.0, 1e-15), (1e-6, 1e3)]


@pytest.mark.parametrize(("x_unit", "y_unit"), UNITS)
def test_units_of_samples_and_targets_do_not_matter(x_unit, y_unit, recipe):
    data = recipe.data()
    activation = getattr(recipe.make(), "activation", "relu")
    offset = 7 * y_unit if y_unit != 1 else 0.0
    model = fitted(recipe, max_iter=20)
    scaled_data = data._replace(X=x_unit * data.X, y=y_unit * data.y - offset)
    scaled = recipe.fit(scaled_data, max_iter=20)
    # Where filters do not make values as large as one likes, the output scale does.
    w_unit = (y_unit if activation in HOMOGENEITY else 1.0) / x_unit
    assert distance(scaled.coef_ / w_unit, model.coef_) < 1e-5
    expected = model.intercept_ * y_unit - offset
    assert scaled.intercept_ == pytest.approx(expected, rel=1e-6)
    assert scaled.loss_ == pytest.approx(model.loss_ * y_unit**2)
    predicted = (scaled.predict(scaled_data.X) + offset) / y_unit
    np.testing.assert_allclose(predicted, model.predict(data.X), rtol=1e-5, atol=1e-6)
    # The history is in the units of the user too, at the start to every digit.
    factors = {
        "loss": y_unit**2,
        "gradient_norm": y_unit**2 / w_unit,
        "learning_rate": w_unit**2 / y_unit**2,
        "angle": 1.0,
    }
    for name, factor in factors.items():
        first, second = (m.history_[name][:2, 0] for m in (model, scaled))
        rtol, atol = (1e-3, 1e-6) if name == "angle" else (1e-6, 0)
        np.testing.assert_allclose(
            second / factor, first, rtol=rtol, atol=atol, err_msg=name
        )


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_rates_are_in_the_units_of_the_samples_and_penalties_relative(unit, case):
    data = case.data()
    params = {"solver": "gd", "init": np.ones((2, 4) if case.is_bank else 4), "n_init": 1}
    params |= {"polish": False} if not case.is_bank else {}
    params |= {"max_iter": 5, "switch": 2}
    first = case.fit(
        data, learning_rate_init=0.05, learning_rate_final=0.1, alpha=0.02, **params
    )
    rates = first.history_["learning_rate"][1:, 0]
    np.testing.assert_allclose(rates, [0.05, 0.05, 0.1, 0.1, 0.1])
    params["init"] = params["init"] / unit
    second = case.fit(
        data._replace(X=unit * data.X),
        learning_rate_init=0.05 / unit**2,
        learning_rate_final=0.1 / unit**2,
        alpha=0.02,
        **params,
    )
    np.testing.assert_allclose(second.coef_path_ * unit, first.coef_path_, rtol=1e-9)
    assert second.loss_ == pytest.approx(first.loss_)


@pytest.mark.parametrize("unit", [1e-10, 1e10])
def test_units_of_single_precision_samples_do_not_matter(unit, case):
    data = case.data(snr=np.inf)
    X = (unit * data.X).astype(np.float32)
    model = case.make().fit(X, data.y)
    assert model.coef_.dtype == np.float32
    assert distance(unit * model.coef_.astype(float), data.teacher) < 1e-3
    np.testing.assert_allclose(model.predict(X), data.y, atol=1e-2)


@pytest.mark.parametrize("form", ["X", "patches", "windows"])
def test_single_precision_stays_so(form, recipe):
    data = recipe.data(snr=np.inf)
    X = getattr(data, form).astype(np.float32)
    model = fit_quietly(recipe.make_for(form), X, data.y)
    assert model.coef_.dtype == model.coef_path_.dtype == np.float32
    assert model.predict(X).dtype == model.feature_map(X).dtype == np.float32
    assert model.predict(X.astype(np.float64)).dtype == np.float64
    if str(recipe) in ("filter", "filter-lm", "bank"):
        np.testing.assert_allclose(model.predict(X), data.y, rtol=1e-4, atol=1e-4)


def test_targets_with_a_large_offset_are_fitted(case):
    data = case.data(snr=np.inf)
    model = case.fit(data._replace(y=data.y + 1e12))
    # Of the 16 digits of a float, 12 are spent on the offset.
    np.testing.assert_allclose(model.predict(data.X) - 1e12, data.y, atol=3e-2)


# Arrays -----------------------------------------------------------------------------------

# The same numbers in memory in other ways.
LAYOUTS = {
    "list": np.ndarray.tolist,
    "Fortran": np.asfortranarray,
    "every second entry": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "some columns": lambda a: np.concatenate([a, a], axis=-1)[..., : a.shape[-1]],
    "every second row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "reversed entries": lambda a: a[..., ::-1].copy()[..., ::-1],
    "big-endian": lambda a: a.astype(">f8"),
    "unaligned": lambda a: np.frombuffer(b"\0" + a.tobytes(), offset=1).reshape(a.shape),
    "object": lambda a: a.astype(object),
    "longdouble": lambda a: a.astype(np.longdouble),
    "subclass": lambda a: a.view(np.recarray),
}
DTYPES = [np.int8, np.uint8, np.int64, np.float16, ">i4", bool, object, np.longdouble]


def quick(case):
    """A few steps from one start; banks draw random ones the soonest."""
    params = {"n_init": 1, "max_iter": 3}
    return params | {"init": "random"} if case.is_bank else params


@pytest.mark.parametrize("form", ["X", "patches", "windows"])
@pytest.mark.parametrize("change", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_layout_in_memory_does_not_matter(form, change, case):
    data = case.data().take(60)
    X = getattr(data, form)
    expected = fitted(case, form, 60, **quick(case))
    changed = change(np.array(X))
    before = np.array(changed)
    model = fit_quietly(
        case.make_for(form, **quick(case)), changed, change(np.array(data.y))
    )
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-10)
    np.testing.assert_allclose(model.predict(changed), expected.predict(X), rtol=1e-10)
    np.testing.assert_array_equal(changed, before)


@pytest.mark.parametrize("dtype", DTYPES)
def test_other_dtypes_become_double_precision(dtype, case):
    data = case.data().take(60)
    X, y = np.abs(4 * data.X).astype(dtype), np.abs(4 * data.y).astype(dtype)
    model = fit_quietly(case.make(**quick(case)), X, y)
    expected = fit_quietly(case.make(**quick(case)), X.astype(float), y.astype(float))
    assert model.coef_.dtype == model.predict(X).dtype == np.float64
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(model.predict(X), expected.predict(X.astype(float)))


@pytest.mark.parametrize("container", [list, tuple, pd.Series, pd.Index, pd.array])
def test_targets_and_weights_may_be_any_sequence(container, case):
    data, weights = case.data(), np.linspace(1, 2, 300)
    model = case.fit(data._replace(y=container(data.y)), container(weights), **quick(case))
    expected = case.fit(data, weights, **quick(case))
    np.testing.assert_array_equal(model.coef_, expected.coef_)


# Poor data --------------------------------------------------------------------------------

_RNG = np.random.RandomState(0)
_ROWS, _TARGETS = _RNG.standard_normal((20, 4)), _RNG.standard_normal(20)
DEGENERATE = {
    "y constant": (_ROWS, np.full(20, -7.5)),
    "y zero": (_ROWS, np.zeros(20)),
    "y nearly constant": (_ROWS, 1 + 1e-13 * _TARGETS),
    "y one spike": (_ROWS, np.eye(20)[3]),
    "X zero": (np.zeros((20, 4)), _TARGETS),
    "both zero": (np.zeros((20, 4)), np.zeros(20)),
    "both constant": (np.full((20, 4), -3.0), np.full(20, 2.0)),
    "constant features": (np.column_stack([_ROWS[:, :2], np.ones((20, 2))]), _TARGETS),
    "X one constant": (np.full((20, 4), 5.0), _TARGETS),
    "X nearly constant": (5 + 1e-14 * _ROWS, _TARGETS),
    "X negative": (-np.abs(_ROWS), _TARGETS),
    "one sample": (_ROWS[:1], _TARGETS[:1]),
    "one sample twice": (_ROWS[[0, 0]], _TARGETS[[0, 0]]),
    "one sample, two targets": (_ROWS[[0, 0]], np.array([1.0, 2.0])),
    "fewer samples than features": (_ROWS[:3], _TARGETS[:3]),
    "one feature": (_ROWS[:, :1], _TARGETS),
    "one patch of one entry": (_ROWS[:, :1].reshape(20, 1, 1), _TARGETS),
    "patches of one entry": (_ROWS.reshape(20, 4, 1), _TARGETS),
    "patches zero": (np.zeros((20, 2, 3)), _TARGETS),
}
MODELS = {
    **{name: (FILTER, params) for name, params in {
        "filter": {"diagnostics": True},
        "filter sgd": {"polish": False, "max_iter": 3},
        "filter gd": {"solver": "gd", "polish": False, "max_iter": 3},
        "filter lm": {"solver": "levenberg-marquardt"},
        "filter without intercept": {"fit_intercept": False},
        "filter of one sign": {"output_sign": -1, "n_init": 1},
        "filter with early stopping": {"early_stopping": True, "validation_fraction": 0.5},
        "filter by theory": {"init_radius": "theory", "learning_rate": "theory"},
        "filter with penalty": {"alpha": 0.1},
    }.items()},
    **{
        f"bank {name}": (BANK, {"activation": name, "n_init": 2, "max_iter": 30})
        for name in ("relu", "squared_relu", "tanh")
    },
    "bank gd": (BANK, {"solver": "gd", "max_iter": 3, "diagnostics": True}),
    "bank sgd": (BANK, {"solver": "sgd", "max_iter": 3, "output_weights": "signs"}),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:learning_rate='theory'")
@pytest.mark.parametrize(("case", "params"), MODELS.values(), ids=MODELS)
@pytest.mark.parametrize(("X", "y"), DEGENERATE.values(), ids=DEGENERATE.keys())
def test_degenerate_data_are_fitted_with_finite_numbers(X, y, case, params):
    if len(X) == 1:
        params = params | {"early_stopping": False}
    model = fit_quietly(case.make_for_patches(**params), X, y)
    for name in ("coef_", "coef_path_", "intercept_", "loss_", "loss_curve_"):
        assert np.isfinite(getattr(model, name)).all(), name
    prediction = model.predict(X)
    assert prediction.shape == y.shape
    assert np.isfinite(prediction).all()
    squares = np.mean((prediction - y) ** 2)
    # Long filters cancel where X nearly does not vary, and digits are lost; of squares,
    # which the prediction rounds otherwise, all of them.
    cancels = 0 < np.ptp(X) < 1e-9
    is_lost = cancels and params.get("activation") == "squared_relu"
    is_checked = not (model.early_stopping or is_lost)
    if is_checked:
        rel = 0.5 if cancels else 1e-6
        assert model.loss_ == pytest.approx(objective(model, X, y), rel=rel, abs=1e-20)
    if is_checked and model.fit_intercept:
        # Never worse than the mean.
        limit = np.var(y) * (1 + 1e-6) + 1e-18
        assert squares <= limit or (case.is_bank and model.solver != "levenberg-marquardt")
    if model.fit_intercept and len(X) == 1:
        np.testing.assert_allclose(prediction, y)


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("c", [0.0, 3.0, -1e15])
def test_constant_targets_are_predicted(c, activation):
    data = BANK.data().take(100)
    cases = [BANK.make(activation=activation), *([FILTER.make()] * (activation == "relu"))]
    for model in cases:
        model.fit(data.X, np.full(100, c))
        # The values of sigmoids at 0, which the intercept takes back, are not 0.
        atol = 1e-13 if activation == "sigmoid" else 0
        np.testing.assert_allclose(model.predict(data.X), c, rtol=1e-12, atol=atol)
        assert model.loss_ == pytest.approx(0, abs=1e-25)


@pytest.mark.parametrize("params", [{}, {"solver": "gd", "max_iter": 3}], ids=str)
@pytest.mark.parametrize("length", [0.0, 1e6, 1e30])
def test_starts_that_are_far_too_long_end_in_finite_numbers(length, params, case):
    data = case.data()
    init = length * (data.teacher if case.is_bank else data.teacher[0])
    model = case.fit(data, init=init, **params)
    assert np.isfinite(model.coef_).all()
    assert np.isfinite(model.predict(data.X)).all()


def test_a_start_that_is_too_long_leaves_the_field_to_others(case):
    data = case.data(snr=np.inf)
    teacher = data.teacher if case.is_bank else data.teacher[0]
    model = case.fit(data, init=np.stack([1e30 * teacher, teacher + 0.01]))
    assert distance(model.coef_, data.teacher) < 1e-8


def test_a_constant_model_of_varying_targets_warns(case):
    X, y = np.zeros((50, 4)), np.arange(50.0)
    with pytest.warns(ConvergenceWarning, match="constant.*Remedy"):
        case.make_for_patches().fit(X, y)
