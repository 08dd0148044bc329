import math

import numpy as np
import pytest
from scipy.integrate import quad

from skconvfilter.diagnostics import (
    ball_success_bound,
    ball_success_probability,
    restarts_needed,
)


def uniform_in_ball(n, p, rng):
    draws = rng.standard_normal((n, p))
    draws /= np.linalg.norm(draws, axis=1, keepdims=True)
    return draws * rng.uniform(size=(n, 1)) ** (1 / p)


@pytest.mark.parametrize("p", [1, 2, 25])
def test_probability_is_that_of_random_starts(p):
    n = 100_000
    starts = uniform_in_ball(n, p, np.random.default_rng(p))
    true = np.eye(p)[0]
    for alpha in [0.02, 0.05, 0.1, 0.3, 0.6, 0.9]:
        distance = np.linalg.norm(alpha * starts - true, axis=1)
        share = np.mean(distance <= np.sqrt(1 - alpha**2))
        expected = ball_success_probability(p, alpha)
        # Four standard errors.
        tolerance = 4 * np.sqrt(expected * (1 - expected) / n)
        assert share == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(("p", "alpha", "value"), [(9, 0.1, 0.390), (25, 0.05, 0.404)])
def test_known_values(p, alpha, value):
    assert ball_success_probability(p, alpha) == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize("alpha", [1e-6, 0.1, 0.5, 0.7, 0.7072, 0.9, 1.0])
def test_one_dimension_is_a_share_of_an_interval(alpha):
    # Of [-alpha, alpha] the good starts are those above 1 - sqrt(1 - alpha^2).
    expected = (alpha - alpha**2 / (1 + np.sqrt(1 - alpha**2))) / (2 * alpha)
    assert ball_success_probability(1, alpha) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("p", [2, 3, 90])
@pytest.mark.parametrize("alpha", [1e-3, 0.4, 0.70710678, 0.97])
def test_probability_is_the_volume_of_two_caps(p, alpha):
    # Slices of both balls at height x; the balls' spheres meet at alpha^2.
    def slices(x, radius):
        return max(0, 1 - (x / radius) ** 2) ** ((p - 1) / 2) / radius

    target = np.sqrt(1 - alpha**2)
    whole = quad(slices, -alpha, alpha, args=(alpha,), epsabs=0, limit=200)[0]
    own = quad(slices, alpha**2, alpha, args=(alpha,), epsabs=0, limit=200)[0]
    other = quad(slices, target**2, target, args=(target,), epsabs=0, limit=200)[0]
    expected = (own + other * (target / alpha) ** p) / whole
    assert ball_success_probability(p, alpha) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("p", [1, 2, 25, 784, 10**6])
def test_probability_falls_from_one_half_to_zero(p):
    alpha = np.concatenate([np.logspace(-12, -1, 100), np.linspace(0.11, 1, 500)])
    probability = ball_success_probability(p, alpha)
    assert np.all(np.diff(probability) <= 0)
    assert probability[0] == pytest.approx(0.5, abs=1e-9)
    assert probability[-1] == 0


# From 60-digit arithmetic.
@pytest.mark.parametrize(
    ("p", "alpha", "value"),
    [
        (784, 0.05, 0.080825865),
        (784, 0.5, 3.4639851e-51),
        (784, 0.9, 6.7487752e-285),
        (10**4, 1e-3, 0.46017513),
        (10**4, 0.3, 2.2428401e-207),
        (10**6, 1e-3, 0.15865537),
    ],
)
def test_large_dimensions_keep_their_precision(p, alpha, value):
    assert ball_success_probability(p, alpha) == pytest.approx(value, rel=1e-7)


@pytest.mark.parametrize("p", [1, 9, 784])
def test_bound_is_never_above_the_exact_value(p):
    alpha = np.linspace(1e-6, 1 / np.sqrt(2 * np.pi * p), 200)
    bound = ball_success_bound(p, alpha)
    assert np.all(bound <= ball_success_probability(p, alpha))
    assert bound[-1] == pytest.approx(0, abs=1e-15)
    assert ball_success_bound(p, 1) < 0


@pytest.mark.parametrize("p", [1, 9, 1000])
def test_bound_is_loose_by_pi(p):
    alpha = 1e-7
    exact = 0.5 - ball_success_probability(p, alpha)
    bound = 0.5 - ball_success_bound(p, alpha)
    assert bound / exact == pytest.approx(np.pi * (1 + 0.75 / p), rel=0.2 / p)


@pytest.mark.parametrize("function", [ball_success_probability, ball_success_bound])
def test_arguments_broadcast(function):
    p, alpha = np.array([2, 9, 25]), np.array([[0.05], [0.5]])
    table = function(p, alpha)
    assert table.shape == (2, 3)
    assert table.dtype == np.float64
    for i, j in np.ndindex(2, 3):
        value = function(int(p[j]), float(alpha[i, 0]))
        assert isinstance(value, float)
        assert table[i, j] == value
    np.testing.assert_array_equal(function([2, 9], 0.5), function([2, 9], [0.5, 0.5]))


@pytest.mark.parametrize("function", [ball_success_probability, ball_success_bound])
@pytest.mark.parametrize(
    ("p", "alpha", "error", "match"),
    [
        (0, 0.1, ValueError, "patch_dim must be at least 1"),
        (2.0, 0.1, TypeError, "patch_dim must be an array of positive ints"),
        ([[2], [1, 2]], 0.1, ValueError, "patch_dim must be an array"),
        (2, 0.0, ValueError, "alpha must be above 0 and at most 1"),
        (2, 1.1, ValueError, "alpha must be above 0 and at most 1"),
        (2, [0.1, np.nan], ValueError, "alpha must be above 0 and at most 1"),
        (2, None, TypeError, "alpha must be an array of numbers"),
        ([2, 3], [0.1] * 3, ValueError, "patch_dim and alpha must broadcast"),
    ],
)
def test_wrong_balls_are_refused(function, p, alpha, error, match):
    with pytest.raises(error, match=match):
        function(p, alpha)


@pytest.mark.parametrize("probability", [1e-6, 0.124, 0.5, 0.999])
@pytest.mark.parametrize("confidence", [0.001, 0.9, 0.99])
def test_number_of_restarts_is_the_smallest(probability, confidence):
    n = restarts_needed(probability, confidence)
    assert isinstance(n, int)
    assert n >= 1
    assert 1 - (1 - probability) ** n >= confidence * (1 - 1e-9)
    assert n == 1 or 1 - (1 - probability) ** (n - 1) < confidence


@pytest.mark.parametrize(
    ("probability", "confidence", "n"),
    [
        (0.9, 0.99, 2),
        (0.9, 0.999999, 6),
        (0.5, 0.75, 2),
        (0.5, 0.5, 1),
        (0.5, 0.51, 2),
        (1, 0.99, 1),
        (1 - 1e-16, 0.99, 1),
        (0, 0.99, math.inf),
    ],
)
def test_whole_numbers_and_the_ends(probability, confidence, n):
    assert restarts_needed(probability, confidence) == n


def test_restarts_succeed_as_often_as_said():
    q = ball_success_probability(9, 0.3)
    n = restarts_needed(q, confidence=0.9)
    starts = 0.3 * uniform_in_ball(20_000 * n, 9, np.random.default_rng(0))
    good = np.linalg.norm(starts - np.eye(9)[0], axis=1) <= np.sqrt(1 - 0.3**2)
    share = good.reshape(-1, n).any(axis=1).mean()
    assert share == pytest.approx(1 - (1 - q) ** n, abs=0.01)
    assert 0.9 <= 1 - (1 - q) ** n < 0.95


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((-0.1,), ValueError, "probability must be from 0 to 1"),
        ((np.nan,), ValueError, "probability must be finite"),
        (([0.5],), TypeError, "probability must be a number"),
        ((0.5, 1), ValueError, "confidence must be above 0 and below 1"),
        ((0.5, None), TypeError, "confidence must be a number"),
    ],
)
def test_wrong_probabilities_are_refused(arguments, error, match):
    with pytest.raises(error, match=match):
        restarts_needed(*arguments)
