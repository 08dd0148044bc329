import warnings
from itertools import pairwise

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermeval
from scipy.integrate import quad

from skconvfilter.model.activations import (
    ACTIVATIONS,
    hermite_slope,
    local_convexity_moments,
)

NAMES = ["relu", "leaky_relu", "squared_relu", "sigmoid", "tanh", "erf"]
FUNCTIONS = ["value", "derivative", "second_derivative"]
KINKED = ["relu", "leaky_relu", "squared_relu"]
# From nearly linear to as good as a step.
SCALES = np.array([1e-3, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0])

# Property 3.2 at s = 0.1, 1 and 10: alpha_0, alpha_1, alpha_2, beta_0, beta_2 and rho.
CONVEXITY_TABLE = {
    "relu": [[0.5, 0.39894, 0.5, 0.5, 0.5, 0.09084]] * 3,
    "leaky_relu": [[0.505, 0.39495, 0.505, 0.50005, 0.50005, 0.08904]] * 3,
    "squared_relu": [
        [0.079788, 0.1, 0.15958, 0.02, 0.06, 0.002732],
        [0.79788, 1.0, 1.5958, 2.0, 6.0, 0.2732],
        [7.9788, 10.0, 15.958, 200.0, 600.0, 27.32],
    ],
    "erf": [
        [1.1173, 0.0, 1.0954, 1.2485, 1.2005, 0.00024],
        [0.65147, 0.0, 0.21716, 0.56941, 0.11388, 0.06672],
        [0.07959, 0.0, 0.00039597, 0.063583, 0.00015856, 3.152e-05],
    ],
    "sigmoid": [
        [0.24938, 0.0, 0.24814, 0.06219, 0.061576, 7.659e-07],
        [0.20662, 0.0, 0.14422, 0.044836, 0.023707, 0.002144],
        [0.03926, 0.0, 0.0012283, 0.0066066, 8.3821e-05, 4.822e-05],
    ],
    "tanh": [
        [0.99019, 0.0, 0.97096, 0.98067, 0.94329, 0.000185],
        [0.60571, 0.0, 0.24211, 0.4644, 0.10781, 0.04919],
        [0.079463, 0.0, 0.00064512, 0.053107, 0.00017054, 5.126e-05],
    ],
}


@pytest.fixture(params=NAMES)
def activation(request):
    return ACTIVATIONS[request.param]


def expectation(function, scale):
    """E f(z) of a standard normal z, where f has features at 0 of width 1 / scale."""
    steps = np.array([0.0, 0.3, 1.0, 3.0, 10.0, 40.0]) / max(scale, 1.0)
    ends = np.unique(np.concatenate([steps, [0.5, 1.0, 2.0, 4.0, 7.0, 13.0]]))
    total = 0.0
    for side in (1, -1):
        for a, b in pairwise(ends):
            total += quad(
                lambda z, side=side: function(np.array(side * z)) * np.exp(-z * z / 2),
                a,
                b,
                epsabs=1e-13,
            )[0]
    return total / np.sqrt(2 * np.pi)


def hermite_polynomial(order, z):
    return hermeval(z, [0] * order + [1])


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("relu", [0.0, 0.0, 2.0]),
        ("leaky_relu", [-0.03, 0.0, 2.0]),
        ("squared_relu", [0.0, 0.0, 4.0]),
        ("sigmoid", [0.0474258731775668, 0.5, 0.8807970779778823]),
        ("tanh", [-0.9950547536867305, 0.0, 0.9640275800758169]),
        ("erf", [-0.9999779095030014, 0.0, 0.9953222650189527]),
    ],
)
def test_values(name, values):
    x = np.array([-3.0, 0.0, 2.0])
    np.testing.assert_allclose(ACTIVATIONS[name].value(x), values, rtol=1e-14)


@pytest.mark.parametrize("order", [1, 2])
def test_derivatives_by_finite_differences(activation, order):
    function = getattr(activation, FUNCTIONS[order - 1])
    derivative = getattr(activation, FUNCTIONS[order])
    # Away from the kink; the step is shorter than the way to it.
    x, h = np.concatenate([np.linspace(-6, -0.01, 200), np.linspace(0.01, 6, 200)]), 1e-3
    differences = 8 * (function(x + h) - function(x - h))
    differences -= function(x + 2 * h) - function(x - 2 * h)
    np.testing.assert_allclose(differences / (12 * h), derivative(x), atol=1e-9)


@pytest.mark.parametrize(
    ("name", "slope"), [("relu", 0.0), ("leaky_relu", 0.01), ("squared_relu", 0.0)]
)
def test_derivatives_at_the_kink_are_those_from_below(name, slope):
    activation, zeros = ACTIVATIONS[name], np.array([0.0, -0.0])
    np.testing.assert_array_equal(activation.derivative(zeros), slope)
    np.testing.assert_array_equal(activation.second_derivative(zeros), 0)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(), (2, 3, 4)])
def test_dtype_and_shape_are_kept(activation, function, dtype, shape):
    x = np.ones(shape, dtype=dtype)
    before = x.copy()
    result = getattr(activation, function)(x)
    assert (result.dtype, result.shape) == (dtype, shape)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_preactivations_do_not_warn(activation, function, dtype):
    largest = np.finfo(dtype).max
    x = np.array([-largest, -1e30, -1e3, 1e3, 1e30, largest], dtype=dtype)
    with warnings.catch_warnings(), np.errstate(all="warn", under="ignore"):
        warnings.simplefilter("error")
        result = getattr(activation, function)(x)
    assert not np.isnan(result).any()
    if activation.homogeneity is None:
        limits = activation.value(np.array([-40.0, 40.0], dtype=dtype))
        wanted = np.repeat(limits, 3) if function == "value" else np.zeros(6)
        np.testing.assert_allclose(result, wanted, atol=1e-12)


def test_float32_is_right_to_its_rounding(activation):
    x = np.linspace(-5, 5, 101)
    for function in FUNCTIONS:
        evaluate = getattr(activation, function)
        single = evaluate(x.astype(np.float32))
        np.testing.assert_allclose(single, evaluate(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", range(5))
def test_hermite_coefficients_by_quadrature(activation, order):
    found = activation.hermite(order, SCALES)
    assert found.shape == SCALES.shape
    wanted = [
        expectation(
            lambda z, s=s: activation.value(s * z) * hermite_polynomial(order, z), s
        )
        for s in SCALES
    ]
    np.testing.assert_allclose(found, wanted, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize(
    ("name", "orders"),
    [
        ("relu", {3}),
        ("leaky_relu", {3}),
        ("squared_relu", {4}),
        ("sigmoid", {2, 4}),
        ("tanh", {0, 2, 4}),
        ("erf", {0, 2, 4}),
    ],
)
def test_coefficients_that_vanish_are_exactly_zero(name, orders):
    hermite = ACTIVATIONS[name].hermite
    assert {m for m in range(5) if np.all(hermite(m, SCALES) == 0)} == orders
    assert {m for m in range(5) if np.any(hermite(m, SCALES) == 0)} == orders


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "erf"])
def test_coefficients_keep_their_digits_at_small_and_large_scales(name):
    activation = ACTIVATIONS[name]
    # phi(x) = phi(0) + a x + b x^3 + ... gives c_1 = a s and c_3 = 6 b s^3.
    a, b = {
        "sigmoid": (1 / 4, -1 / 48),
        "tanh": (1, -1 / 3),
        "erf": (2 / np.pi**0.5, -2 / (3 * np.pi**0.5)),
    }[name]
    s = 1e-6
    np.testing.assert_allclose(activation.hermite(1, s), a * s, rtol=1e-10)
    np.testing.assert_allclose(activation.hermite(3, s), 6 * b * s**3, rtol=1e-10)
    # Like a step: of height 2, or 1 for the sigmoid.
    step = (1 if name == "sigmoid" else 2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(activation.hermite(1, 2e3), step, rtol=1e-5)
    np.testing.assert_allclose(activation.hermite(3, 2e3), -step, rtol=1e-5)


@pytest.mark.parametrize("order", range(1, 5))
def test_slopes_of_coefficients_by_finite_differences(activation, order):
    s, h = SCALES[1:], 1e-3 * SCALES[1:]
    hermite = activation.hermite
    differences = 8 * (hermite(order, s + h) - hermite(order, s - h))
    differences -= hermite(order, s + 2 * h) - hermite(order, s - 2 * h)
    slopes = hermite_slope(activation, order, s)
    np.testing.assert_allclose(differences / (12 * h), slopes, atol=1e-9)


def test_homogeneity(activation):
    x, degree = np.linspace(-2, 2, 41), activation.homogeneity
    assert (degree is None) == (activation.name not in KINKED)
    if degree is not None:
        scaled = activation.value(3.0 * x)
        np.testing.assert_allclose(scaled, 3.0**degree * activation.value(x))


def test_local_convexity_moments_are_those_of_the_table(activation):
    moments = local_convexity_moments(activation, np.array([0.1, 1.0, 10.0]))
    wanted = np.transpose(CONVEXITY_TABLE[activation.name])
    np.testing.assert_allclose(np.array(moments), wanted, rtol=1e-3, atol=1e-14)


def test_local_convexity_moments_by_monte_carlo(activation):
    z, s = np.random.default_rng(0).standard_normal(400_000), 0.5
    slopes, moments = activation.derivative(s * z), local_convexity_moments(activation, s)
    for draws, found in [
        (slopes, moments.alpha_0),
        (slopes * z, moments.alpha_1),
        (slopes * z**2, moments.alpha_2),
        (slopes**2, moments.beta_0),
        (slopes**2 * z**2, moments.beta_2),
    ]:
        assert found == pytest.approx(draws.mean(), abs=4 * draws.std() / len(z) ** 0.5)


def test_local_convexity_moments_belong_to_the_coefficients(activation):
    # c_1 = s alpha_0, c_2 = s alpha_1 and c_3 = s (alpha_2 - alpha_0), by parts.
    moments = local_convexity_moments(activation, SCALES)
    hermite = activation.hermite
    np.testing.assert_allclose(hermite(1, SCALES), SCALES * moments.alpha_0, rtol=1e-12)
    np.testing.assert_allclose(hermite(2, SCALES), SCALES * moments.alpha_1, atol=1e-12)
    third = SCALES * (moments.alpha_2 - moments.alpha_0)
    np.testing.assert_allclose(hermite(3, SCALES), third, atol=1e-12)
