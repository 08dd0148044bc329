"""Whatever the functions are given: results, or an error that explains itself."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from skconvfilter import datasets, diagnostics
from skconvfilter.model.activations import ACTIVATIONS
from tests.fuzz.strategies import JUNK, JUNK_DATA, SCALES, explained, some

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
        key = draw(st.sampled_from(sorted({**needed, **optional})))
        arguments[key] = draw(JUNK_DATA if key == "X" else JUNK)
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
