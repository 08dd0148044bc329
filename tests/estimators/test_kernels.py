"""Fits with every kernel of this machine, and fitted arrays that somebody has changed."""

import sys

import numpy as np
import pytest

from skconvfilter.kernels import dispatch
from skconvfilter.kernels.dispatch import available_kernels, choose_kernel
from skconvfilter.model import forward, objective
from skconvfilter.model.forward import row_blocks
from skconvfilter.solvers import recursive

OTHERS = available_kernels()[:-1] or ["numpy"]


def use(monkeypatch, name):
    """Put a kernel in the place of the chosen one, wherever that has been imported."""
    present = dispatch.kernel
    users = [
        module
        for module_name, module in sys.modules.items()
        if module_name.startswith("skconvfilter.")
        and getattr(module, "kernel", None) is present
    ]
    assert {dispatch, forward, objective, recursive} <= set(users)
    for module in users:
        monkeypatch.setattr(module, "kernel", choose_kernel(name))


@pytest.fixture(params=available_kernels())
def kernel(request, monkeypatch):
    use(monkeypatch, request.param)
    return request.param


def learnt(model):
    """All fitted arrays and numbers."""
    state = {name: value for name, value in vars(model).items() if name.endswith("_")}
    if "certificate_" in state:
        state["certificate_"] = str(state["certificate_"].to_dict())
    return state | {f"history {name}": v for name, v in state.pop("history_", {}).items()}


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("name", OTHERS)
def test_filters_and_predictions_are_those_of_numpy(
    name, method, digits, make_model, monkeypatch
):
    use(monkeypatch, "numpy")
    expected = getattr(make_model(), method)(digits.X, digits.y)
    predictions = expected.predict(digits.X)
    use(monkeypatch, name)
    model = getattr(make_model(), method)(digits.X, digits.y)
    assert model.sign_ == expected.sign_
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=0, atol=1e-11)
    np.testing.assert_allclose(model.intercept_, expected.intercept_, rtol=0, atol=1e-11)
    np.testing.assert_allclose(model.predict(digits.X), predictions, rtol=0, atol=1e-11)
    # A fitted model may be used where there is another kernel.
    np.testing.assert_allclose(expected.predict(digits.X), predictions, rtol=1e-13)


def test_every_kernel_recovers_the_teacher(kernel, digits, make_model):
    model = make_model().fit(digits.X, digits.y)
    np.testing.assert_allclose(model.coef_, digits.teacher.ravel(), rtol=0, atol=1e-12)
    maps = model.feature_map(digits.X)
    means = model.sign_ * maps.mean(axis=(1, 2)) + model.intercept_
    np.testing.assert_allclose(model.predict(digits.X), means, rtol=0, atol=1e-13)


def test_float32_stays_float32(kernel, digits, make_model):
    X = digits.X.astype(np.float32)
    model = make_model().fit(X, digits.y)
    np.testing.assert_allclose(model.coef_, digits.teacher.ravel(), rtol=0, atol=1e-4)
    np.testing.assert_allclose(model.predict(X), digits.y, rtol=0, atol=1e-4)
    for fitted in (model, make_model().partial_fit(X, digits.y)):
        assert fitted.coef_.dtype == np.float32
        assert fitted.predict(X).dtype == fitted.feature_map(X).dtype == np.float32


def test_results_do_not_depend_on_the_number_of_threads(kernel, all_digits, make_model):
    assert len(row_blocks(len(all_digits.X), 9)) > 3
    models = [
        make_model(n_jobs=n_jobs, n_init=4).fit(all_digits.X, all_digits.y)
        for n_jobs in (1, 2, 3)
    ]
    expected = learnt(models[0])
    for model in models[1:]:
        assert learnt(model).keys() == expected.keys()
        for name, value in learnt(model).items():
            np.testing.assert_array_equal(value, expected[name], err_msg=name)
        np.testing.assert_array_equal(
            model.predict(all_digits.X), models[0].predict(all_digits.X)
        )


# Arrays that cannot be filters of nine numbers, whatever the kernel.
WRONG = {
    "shorter": np.ones(8),
    "huge": np.ones(10**6),
    "empty": np.ones(0),
    "2-D": np.ones((9, 1)),
    "str": np.full(9, "x"),
    "bytes": np.full(9, b"x"),
    "objects": np.full(9, object()),
    "None": None,
    "NaN": np.full(9, np.nan),
    "infinite": np.where(np.arange(9) == 4, np.inf, 1.0),
    "complex": np.ones(9) * 1j,
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("method", ["predict", "feature_map"])
def test_arrays_that_are_no_filter_are_refused(kernel, method, wrong, digits, make_model):
    model = make_model(n_init=1).fit(digits.X, digits.y)
    model.coef_ = wrong
    with pytest.raises(ValueError, match="fitted coef_"):
        getattr(model, method)(digits.X)


# The same numbers in other arrays.
SAME = {
    "float32": lambda w: w.astype(np.float32),
    "float16": lambda w: w.astype(np.float16),
    "long double": lambda w: w.astype(np.longdouble),
    "int": lambda w: w.astype(np.int8),
    "objects": lambda w: w.astype(object),
    "other byte order": lambda w: w.astype(w.dtype.newbyteorder("S")),
    "strided": lambda w: np.repeat(w, 2)[::2],
    "backwards": lambda w: w[::-1].copy()[::-1],
    "at an odd address": lambda w: np.frombuffer(b"." + w.tobytes(), offset=1),
    "list": lambda w: w.tolist(),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
@pytest.mark.parametrize("method", ["predict", "feature_map"])
def test_the_same_numbers_in_another_array_predict_the_same(
    kernel, method, change, digits, make_model
):
    model = make_model(n_init=1).fit(digits.X, digits.y)
    model.coef_ = np.round(model.coef_ * 8)
    expected = getattr(model, method)(digits.X)
    model.coef_ = change(model.coef_)
    if isinstance(model.coef_, np.ndarray):
        model.coef_.flags.writeable = False
    result = getattr(model, method)(digits.X)
    np.testing.assert_allclose(result, expected, rtol=1e-13, atol=1e-13)
