"""Interrupts at any line of a fit."""

import copy
import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

import skconvfilter
from skconvfilter import (
    ConvFilterBankRegressor,
    ConvPatchExtractor,
    ConvReLUFilterRegressor,
)
from skconvfilter.model import process_state

PACKAGE = Path(skconvfilter.__file__).parent
COMMON = {"kernel_size": 2, "n_init": 2, "max_iter": 1, "random_state": 0}
CASES = {
    "fit": (ConvReLUFilterRegressor(**COMMON), "fit"),
    "descent": (
        ConvReLUFilterRegressor(
            **COMMON, polish=False, early_stopping=True, diagnostics=False
        ),
        "fit",
    ),
    "partial_fit": (ConvReLUFilterRegressor(**COMMON), "partial_fit"),
    "bank": (ConvFilterBankRegressor(2, **COMMON, warm_start=True), "fit"),
    "extractor": (ConvPatchExtractor(3), "fit"),
}


class Fault(BaseException):
    """Like KeyboardInterrupt, which a test runner takes for its own."""


@cache
def samples(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((20, 4))
    return X, np.maximum(X[:, 1:3].sum(axis=1), 0) + 0.1 * rng.standard_normal(20)


def quietly(function, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args)


@cache
def fitted(name):
    """A fitted estimator; not to be changed."""
    estimator, method = CASES[name]
    return quietly(getattr(clone(estimator), method), *samples())


def with_fault(function, number):
    """Call, with a fault before the given line of the package that is run, if any.

    Returns
    -------
    n_lines : int
        Lines that were run.
    """
    n_lines = 0

    def on_line(frame, event, arg):
        nonlocal n_lines
        if event == "line":
            n_lines += 1
            if n_lines == number:
                raise Fault
        return on_line

    def on_call(frame, event, arg):
        file = frame.f_code.co_filename
        # A fault before the end of a with statement would leave its lock locked. Signals do
        # not come there: they wait for the end of a call, or of a loop.
        seen = file.startswith(str(PACKAGE)) and file != process_state.__file__
        return on_line if seen else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        function()
    except Fault:
        assert number is None or n_lines == number
    finally:
        sys.settrace(before)
    return n_lines


def refit(name, number):
    """Fit a fitted estimator to other samples, with a fault."""
    estimator = copy.deepcopy(fitted(name))
    before = vars(estimator).copy()
    method = getattr(estimator, CASES[name][1])
    n_lines = quietly(with_fault, lambda: method(*samples(1)), number)
    return estimator, before, n_lines


@cache
def refitted(name):
    """The same without a fault, and the number of lines that it runs."""
    estimator, _, n_lines = refit(name, None)
    return estimator, n_lines


def assert_same(estimator, expected):
    assert vars(estimator).keys() == vars(expected).keys()
    if hasattr(expected, "coef_"):
        np.testing.assert_array_equal(estimator.coef_, expected.coef_)
        X = samples()[0]
        np.testing.assert_array_equal(estimator.predict(X), expected.predict(X))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@settings(max_examples=max(12, settings().max_examples // 4))
@given(share=st.floats(0, 1))
def test_a_fault_at_any_line_leaves_the_old_state_or_the_new(name, share):
    expected, n_lines = refitted(name)
    number = 1 + round(share * (n_lines - 1))
    estimator, before, _ = refit(name, number)
    now = vars(estimator)
    if now.keys() == before.keys() and all(now[key] is before[key] for key in now):
        assert_same(quietly(getattr(estimator, CASES[name][1]), *samples(1)), expected)
    else:
        # It came after the fit, while the user was being warned.
        assert_same(estimator, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_fault_at_the_last_lines_leaves_a_whole_state(name):
    expected, n_lines = refitted(name)
    states = []
    for number in range(max(1, n_lines - 40), n_lines + 1, 2):
        estimator, before, _ = refit(name, number)
        old = all(vars(estimator).get(key) is before[key] for key in before)
        states.append("old" if old else "new")
        assert_same(estimator, fitted(name) if old else expected)
    assert states[0] == "old" or name == "extractor"


@pytest.mark.parametrize("name", ["fit", "bank"])
def test_a_second_fault_leaves_a_whole_state(name):
    # Impatient users press Ctrl-C again, while the first one undoes what was done.
    def learning_rate(step, losses):
        raise Fault

    def fit(number):
        estimator = copy.deepcopy(fitted(name))
        estimator.set_params(solver="gd", learning_rate=learning_rate)
        n_lines = with_fault(lambda: estimator.fit(*samples(1)), number)
        np.testing.assert_array_equal(estimator.predict(X), fitted(name).predict(X))
        return n_lines

    X = samples()[0]
    fit(None)  # fills caches
    n_lines = fit(None)
    for number in range(n_lines - 30, n_lines + 1):
        fit(number)
