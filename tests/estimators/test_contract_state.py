"""What an estimator knows: after failures, interrupts, refits, warm starts, corruption."""

import copy
import itertools
from functools import cache

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skconvfilter import ConvPatchExtractor
from tests.estimators.cases import (
    BANK,
    FILTER,
    GEOMETRY,
    distance,
    fit_quietly,
    objective,
)

QUICK = {"n_init": 2, "max_iter": 5}
FAILURES = {
    "NaN in X": lambda X, y: (np.where(X > 0.9, np.nan, X), y),
    "inf in y": lambda X, y: (X, np.where(y == y[0], np.inf, y)),
    "fewer targets": lambda X, y: (X, y[:-1]),
    "other n_features": lambda X, y: (X[:, :23], y),
    "no targets": lambda X, y: (X, None),
    "out of range": lambda X, y: (1e80 * X, y),
}


def state_of(estimator):
    return vars(estimator).copy()


def assert_unchanged(estimator, state):
    """The attributes are the very objects that they were."""
    now = vars(estimator)
    assert now.keys() == state.keys()
    for name, value in state.items():
        assert now[name] is value, name


# An estimator, a method that fits, and what was done before.
FITTING = [(FILTER, "fit"), (FILTER, "partial_fit"), (BANK, "fit")]
PASTS = [
    (case, method, past)
    for case, method in FITTING
    for past in ("unfitted", "fit", "partial_fit")
    if (case, past) != (BANK, "partial_fit")
]


def with_past(case, past, **params):
    return copy.deepcopy(_with_past(case, past, **params))


@cache
def _with_past(case, past, **params):
    model, data = case.make(**(QUICK | params)), case.data().take(60)
    return model if past == "unfitted" else fit_by(model, past, data)


def fit_by(model, method, data):
    if method == "fit":
        return fit_quietly(model, data.X, data.y)
    return model.partial_fit(data.X, data.y)


# Failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("change", FAILURES.values(), ids=FAILURES.keys())
@pytest.mark.parametrize(("case", "method", "past"), PASTS, ids=str)
def test_bad_data_leave_the_state(change, case, method, past):
    data, model = case.data().take(60), with_past(case, past)
    state = state_of(model)
    with pytest.raises(ValueError, match=r"NaN|inf|inconsistent|features|None|Rescale"):
        getattr(model, method)(*change(data.X, data.y))
    assert_unchanged(model, state)


@pytest.mark.parametrize(
    "params",
    [{"n_init": 0}, {"kernel_size": 9}, {"init": "x"}, {"learning_rate": "x"}],
    ids=str,
)
@pytest.mark.parametrize(("case", "method"), FITTING, ids=str)
def test_bad_parameters_leave_the_state(params, case, method):
    data, model = case.data().take(60), with_past(case, "fit")
    expected, before = model.predict(data.X), model.get_params()
    state = state_of(model.set_params(**params))
    with pytest.raises(ValueError, match=next(iter(params))):
        getattr(model, method)(data.X, data.y)
    assert_unchanged(model, state)
    model.set_params(**before)
    np.testing.assert_array_equal(model.predict(data.X), expected)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("past", ["unfitted", "fit"])
def test_interrupts_leave_the_state(past, number, error, case):
    data, calls = case.data().take(60), itertools.count(1)

    def learning_rate(step, losses):
        if next(calls) == number:
            raise error
        return 1e-3

    model = with_past(case, past)
    state = state_of(model.set_params(solver="gd", learning_rate=learning_rate, n_jobs=2))
    with pytest.raises(error):
        model.fit(data.X, data.y)
    assert_unchanged(model, state)
    if past == "unfitted":
        with pytest.raises(NotFittedError):
            model.predict(data.X)


@pytest.mark.parametrize("use", ["predict", "feature_map", "score"])
def test_unfitted_estimators_say_so(use, case):
    data, model = case.data(), case.make()
    arguments = (data.X, data.y) if use == "score" else (data.X,)
    with pytest.raises(NotFittedError, match=type(model).__name__):
        getattr(model, use)(*arguments)
    with pytest.raises(NotFittedError, match="ConvPatchExtractor"):
        ConvPatchExtractor().transform(data.X)


def test_extractor_keeps_its_state_when_a_fit_fails():
    X = FILTER.data().X
    extractor = ConvPatchExtractor(**GEOMETRY).fit(X)
    state = state_of(extractor)
    with pytest.raises(ValueError, match="input_shape"):
        extractor.fit(X[:, :23])
    assert_unchanged(extractor, state)


# Refits -----------------------------------------------------------------------------------


def test_refit_leaves_nothing_stale(case):
    data = case.data().take(100)
    model = case.make(early_stopping=True, diagnostics=True, **QUICK)
    fit_quietly(model, pd.DataFrame(data.X).add_prefix("x"), data.y)
    model.set_params(early_stopping=False, diagnostics=False)
    fit_quietly(model, data.X, data.y)
    expected = case.fit(data, **QUICK)
    assert vars(model).keys() == vars(expected).keys()
    assert "validation_loss" not in model.history_
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    if not case.is_bank:
        keys = vars(model.partial_fit(data.X, data.y)).keys()
        assert keys == vars(clone(model).partial_fit(data.X, data.y)).keys()
        fit_quietly(model, data.X, data.y)
        assert vars(model).keys() == vars(expected).keys()
        np.testing.assert_array_equal(model.coef_, expected.coef_)


def test_feature_names_go_where_patches_have_none(case):
    data = case.data().take(60)
    rows = pd.DataFrame(data.patches[:, 0]).add_prefix("x")
    model = fit_quietly(case.make_for_patches(**QUICK), rows, data.y)
    assert model.n_features_in_ == len(model.feature_names_in_) == 4
    fit_quietly(model, data.patches[:, :, :3], data.y)
    assert model.n_features_in_ == 3
    assert not hasattr(model, "feature_names_in_")


def test_no_method_changes_a_parameter(case):
    data = case.data()
    params = {
        "kernel_size": [2, 2],
        "input_shape": np.array([4, 6]),
        "stride": (2, 2),
        "init": np.ones((3, 2, 4)) if case.is_bank else np.eye(4),
        "learning_rate": lambda step, losses: 0.1,
        "random_state": np.random.RandomState(0),
        "n_init": np.int64(3),
    }
    before = {name: copy.deepcopy(params[name]) for name in ("kernel_size", "init")}
    model = fit_quietly(case.make(**params), data.X, data.y)
    model.predict(data.X), model.feature_map(data.X)
    if not case.is_bank:
        model.partial_fit(data.X, data.y)
    for name, value in params.items():
        assert model.get_params()[name] is value, name
    assert params["kernel_size"] == before["kernel_size"]
    np.testing.assert_array_equal(params["init"], before["init"])


def test_clones_have_the_parameters_and_nothing_else(case):
    data = case.data()
    init = np.ones((2, 2, 4)) + np.arange(4) if case.is_bank else np.eye(4)[:3]
    model = case.fit(data, init=init)
    copied = clone(model)
    assert vars(copied).keys() == model.get_params().keys()
    fit_quietly(copied, data.X, data.y)
    np.testing.assert_array_equal(copied.coef_, model.coef_)


# Warm starts ------------------------------------------------------------------------------


def test_warm_start_goes_on_from_the_filters(recipe):
    data = recipe.data()
    params = {"solver": "gd", "max_iter": 3, "init": recipe.make().init, "n_init": 3}
    params |= {"init": "random"} if recipe.is_bank else {"polish": False}
    model = recipe.make(warm_start=True, **params)
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        model.fit(data.X, data.y)
    first, coef = model.loss_, model.coef_
    assert model.restart_losses_.shape == (3,)
    model.set_params(solver=recipe.make().solver, max_iter=100)
    fit_quietly(model, data.X, data.y)
    assert model.restart_losses_.shape == (1,)
    assert model.history_["loss"].shape[1] == 1
    assert model.loss_curve_[0] == pytest.approx(first)
    np.testing.assert_allclose(model.coef_path_[0], coef, rtol=1e-12)
    assert model.loss_ < first


def test_warm_start_at_the_minimum_stays_there(case):
    data = case.data(snr=np.inf)
    params = {"output_weights": "signs"} if case.is_bank else {}
    model = case.make(warm_start=True, **params).fit(data.X, 5 - data.y)
    expected, signs = model.coef_, getattr(model, case.signs)
    model.fit(data.X, 5 - data.y)
    np.testing.assert_allclose(model.coef_, expected, rtol=1e-8)
    np.testing.assert_array_equal(getattr(model, case.signs), signs)


@pytest.mark.parametrize(
    ("case", "params", "message"),
    [
        (FILTER, {"kernel_size": 1}, r"patch_dim=1.*warm_start"),
        (BANK, {"kernel_size": 1}, r"patch_dim=1.*warm_start"),
        (BANK, {"n_filters": 1}, r"n_filters=1.*warm_start"),
        (BANK, {"n_filters": 3}, r"n_filters=3.*warm_start"),
    ],
    ids=str,
)
def test_warm_start_needs_the_same_filters(case, params, message):
    data = case.data().take(60)
    model = with_past(case, "fit", warm_start=True)
    expected, before = model.predict(data.X), model.get_params()
    with pytest.raises(ValueError, match=message):
        model.set_params(**params).fit(data.X, data.y)
    model.set_params(**before)
    np.testing.assert_array_equal(model.predict(data.X), expected)


def test_warm_start_after_constant_targets_draws_new_starts(case):
    data = case.data(snr=np.inf)
    model = case.make(warm_start=True).fit(data.X, np.ones(300))
    np.testing.assert_array_equal(model.coef_, 0)
    model.fit(data.X, data.y)
    assert distance(model.coef_, data.teacher) < 1e-6
    expected = case.make().fit(data.X, data.y)
    np.testing.assert_array_equal(model.coef_, expected.coef_)


@pytest.mark.parametrize(
    ("case", "method", "params"),
    [
        *((*fitting, {"fit_intercept": False}) for fitting in FITTING),
        (FILTER, "fit", {"output_sign": -1}),
        (FILTER, "partial_fit", {"output_sign": -1}),
        (BANK, "fit", {"output_weights": "ones"}),
    ],
    ids=str,
)
def test_parameters_changed_since_are_obeyed(case, method, params):
    data = case.data().take(60)
    if case.is_bank:
        data = data._replace(y=-data.y)
    before = {"output_weights": "signs"} if case.is_bank else {}
    before |= {"warm_start": True} | QUICK
    expected = fit_by(case.make(**(before | params)), method, data)
    model = fit_by(case.make(**before), method, data).set_params(**params)
    fit_by(model, method, data)
    assert bool(model.intercept_) == bool(expected.intercept_) == model.fit_intercept
    if "fit_intercept" not in params:
        signs = getattr(model, case.signs)
        np.testing.assert_array_equal(signs, getattr(expected, case.signs))


# Corruption -------------------------------------------------------------------------------


def uses(case):
    names = ["predict", "feature_map", "fit"]
    return names if case.is_bank else [*names, "partial_fit"]


def apply(model, use, data):
    arguments = (data.X, data.y) if "fit" in use else (data.X,)
    return getattr(model, use)(*arguments)


SHAPES = {
    FILTER: [(3,), (5,), (4, 1), (1, 4), (), (0,)],
    BANK: [(2, 3), (2, 5), (1, 4), (3, 4), (0, 4), (4,), (8,), (2, 2, 2), ()],
}
VALUES = {
    "str": "x",
    "bytes": b"x",
    "objects": object(),
    "None": None,
    "NaN": np.nan,
    "infinite": np.inf,
    "complex": 1j,
}


def test_corrupted_shapes_are_refused(case):
    data = case.data().take(60)
    for shape in SHAPES[case]:
        model = with_past(case, "fit", warm_start=True)
        model.coef_ = np.ones(shape)
        for use in uses(case):
            with pytest.raises(ValueError, match=r"coef_ has shape"):
                apply(model, use, data)
    for signs in (np.ones(1), np.ones(3), np.ones((2, 1))):
        model = with_past(case, "fit", warm_start=True)
        setattr(model, case.signs, signs)
        for use in uses(case):
            with pytest.raises(ValueError, match=f"{case.signs} has shape"):
                apply(model, use, data)


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_corrupted_numbers_are_refused(value, case):
    data = case.data().take(60)
    scale = ("output_scale_",) * case.is_bank
    for name in ("coef_", "bias_", "intercept_", case.signs, *scale):
        model = with_past(case, "fit", warm_start=True)
        setattr(model, name, np.full(np.shape(getattr(model, name)), value))
        for use in uses(case):
            with pytest.raises(ValueError, match=f"fitted {name}"):
                apply(model, use, data)
        delattr(model, name)
        with pytest.raises(ValueError, match=f"The fitted {name} is missing"):
            model.predict(data.X)


@pytest.mark.parametrize("value", [[0.0, 1.0], "x", 0, 1.5], ids=repr)
def test_numbers_of_features_and_samples_are_checked(value, case):
    data = case.data().take(60)
    names = {"n_features_in_": [use for use in uses(case) if use != "fit"]}
    if not case.is_bank:
        names |= {"n_samples_seen_": ["partial_fit"], "n_iter_": ["partial_fit"]}
    for name, name_uses in names.items():
        model = with_past(case, "fit", warm_start=True)
        setattr(model, name, -1 if value == 0 else value)
        for use in name_uses:
            with pytest.raises(ValueError, match=f"fitted {name} must be an integer"):
                apply(model, use, data)
        delattr(model, name)
        for use in name_uses:
            with pytest.raises(ValueError, match=f"The fitted {name} is missing"):
                apply(model, use, data)


@pytest.mark.parametrize("value", [[1.0], [[1.0], [2.0]], np.arange(60.0)], ids=str)
def test_an_intercept_is_one_number(value, case):
    data = case.data().take(60)
    model = with_past(case, "fit", warm_start=True)
    model.intercept_ = np.array(value)
    for use in uses(case):
        with pytest.raises(ValueError, match="fitted intercept_ must be a finite number"):
            apply(model, use, data)


def test_masks_and_filters_that_no_fit_leaves_are_refused(case):
    data = case.data().take(60)
    model = with_past(case, "fit", warm_start=True)
    hidden = np.zeros(np.shape(model.coef_), dtype=bool)
    hidden[..., 0] = True
    for coef in (np.ma.MaskedArray(model.coef_, hidden), 1e200 * model.coef_):
        model.coef_ = coef
        for use in uses(case):
            with pytest.raises(ValueError, match="fitted coef_ must be finite numbers"):
                apply(model, use, data)


# The same numbers in other arrays.
SAME = {
    "float32": lambda w: w.astype(np.float32),
    "float16": lambda w: w.astype(np.float16),
    "long double": lambda w: w.astype(np.longdouble),
    "int": lambda w: w.astype(np.int8),
    "objects": lambda w: w.astype(object),
    "other byte order": lambda w: w.astype(w.dtype.newbyteorder("S")),
    "strided": lambda w: np.repeat(w, 2, axis=-1)[..., ::2],
    "at an odd address": lambda w: np.frombuffer(b"." + w.tobytes(), offset=1).reshape(
        w.shape
    ),
    "list": lambda w: w.tolist(),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_the_same_numbers_in_another_array_predict_the_same(change, case):
    data = case.data().take(60)
    model = with_past(case, "fit")
    model.coef_ = np.round(model.coef_ * 8)
    expected = [apply(model, use, data) for use in ("predict", "feature_map")]
    model.coef_ = change(model.coef_)
    for use, values in zip(("predict", "feature_map"), expected, strict=True):
        np.testing.assert_allclose(apply(model, use, data), values, rtol=1e-12, atol=1e-12)
    assert objective(model, data.X, data.y) > 0
