"""Whatever the functions are given: results, or an error that explains itself."""

import inspect

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skconvfilter import ConvFilterBankRegressor, datasets, diagnostics
from skconvfilter.model.activations import ACTIVATIONS
from tests.fuzz.strategies import SCALES, explained, numbers, some

# All filters of a call have one shape.
FILTERS = st.shared(st.sampled_from([(3,), (3,), (2, 3)]), key="shape").flatmap(
    lambda shape: hnp.arrays(np.float64, shape, elements=numbers(-3, 3))
)
PATCHES = st.builds(
    lambda n, k, scale: scale * np.random.default_rng(n).standard_normal((n, k, 3)),
    st.integers(1, 60),
    st.integers(1, 3),
    SCALES,
)
SIGNS = st.sampled_from([None, None, [1, -1]])
BANK = {
    "n_filters": st.integers(1, 3),
    "activation": st.sampled_from(list(ACTIVATIONS)),
    "pooling": st.sampled_from(["sum", "mean"]),
}
WINDOW = {
    "kernel_size": st.sampled_from([None, 3, (2,), (2, 3)]),
    "input_shape": st.sampled_from([None, 12, (7,), (4, 5), (4, 4, 2)]),
    "stride": st.integers(1, 3),
    "padding": st.integers(0, 2),
    "dilation": st.integers(1, 2),
}
SHARED = {
    "output_weights": SIGNS,
    "random_state": st.integers(0, 3),
    "teacher": FILTERS,
}
# Arguments of the functions of a module, by name.
ARGUMENTS = {
    datasets: SHARED
    | {
        "bias": numbers(-3, 3),
        "condition_number": numbers(1, 9),
        "estimator": st.builds(ConvFilterBankRegressor, **BANK, **WINDOW),
        "intercept": numbers(-3, 3),
        "n_features": st.none() | st.integers(1, 20),
        "n_patches": st.integers(1, 3),
        "n_samples": st.integers(1, 20),
        "noise": numbers(0, 3),
        "orientation": numbers(-7, 7),
        "patch_dim": st.integers(1, 5),
        "phase": numbers(-7, 7),
        "return_teacher": st.booleans(),
        "sigma": numbers(0, 9),
        "sign": st.sampled_from([1, -1]),
        "snr": st.none() | numbers(0.1, 100),
        "spread": numbers(0, 9),
        "wavelength": st.just("auto") | numbers(0.5, 9),
        "window_shape": st.sampled_from([3, (4,), (5, 3), (2, 3, 2)]),
    },
    diagnostics: SHARED
    | {
        "X": PATCHES,
        "alpha": numbers(0, 1),
        "angles": st.lists(numbers(0, 3.2), max_size=2),
        "bias": st.none() | numbers(-3, 3),
        "coef": FILTERS,
        "confidence": numbers(0, 1),
        # Most draws of X are patches, which have no window.
        "estimator": st.none() | st.builds(ConvFilterBankRegressor, **BANK),
        "first": FILTERS,
        "initial": FILTERS,
        "learned": FILTERS,
        "margin": numbers(0, 2),
        "max_samples": st.none() | st.integers(1, 50),
        "n_patches": st.integers(1, 4),
        "n_points": st.integers(1, 9),
        "patch_dim": st.integers(1, 99),
        "precision": numbers(0, 1),
        "probability": numbers(0, 1),
        "radii": st.lists(numbers(0, 1), max_size=2),
        "second": FILTERS,
        "teacher_bias": st.none() | numbers(-3, 3),
        "teacher_output_weights": SIGNS,
    },
}
# Samples of makers are drawn by these, and results of fits are made by fits.
LEFT_OUT = {datasets: {"X"}, diagnostics: {"path", "y"}}


def public_functions(module):
    # Files, fitted estimators and lists of samples have tests of their own.
    names = set(module.__all__) - {"load_mnist", "inference", "pad_patches"}
    return sorted(name for name in names if inspect.isfunction(getattr(module, name)))


@st.composite
def calls(draw, module):
    """A function of the module and its arguments, one of which may be junk."""
    function = getattr(module, draw(st.sampled_from(public_functions(module))))
    parameters = inspect.signature(function).parameters
    strategies = {
        name: ARGUMENTS[module][name] for name in parameters if name not in LEFT_OUT[module]
    }
    required = [
        name for name in parameters if parameters[name].default is inspect.Parameter.empty
    ]
    arguments = {name: draw(strategies[name]) for name in required}
    if "n_samples" in parameters:
        arguments["n_samples"] = draw(strategies["n_samples"])
    return function, arguments | draw(some(strategies))


@given(calls(datasets))
def test_makers_give_finite_data_or_errors(call):
    function, arguments = call
    with explained():
        result = function(**arguments)
        for array in result if isinstance(result, tuple) else (result,):
            assert np.isfinite(array).all()


@given(calls(diagnostics))
def test_diagnostics_give_results_or_errors(call):
    function, arguments = call
    with explained():
        # Results have NaN where nothing can be said.
        assert function(**arguments) is not None
