import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skconvfilter.datasets import gabor_filter, random_filter


def gabor_by_loops(height, width, wavelength, orientation, phase, sigma):
    envelope, wave = np.zeros((height, width)), np.zeros((height, width))
    for row in range(height):
        for column in range(width):
            y, x = row - (height - 1) / 2, column - (width - 1) / 2
            along = x * np.cos(orientation) + y * np.sin(orientation)
            envelope[row, column] = np.exp(-(x**2 + y**2) / (2 * sigma**2))
            wave[row, column] = np.cos(2 * np.pi * along / wavelength + phase)
    kernel = envelope * (wave - np.sum(envelope * wave) / np.sum(envelope))
    return kernel / np.sqrt(np.sum(kernel**2))


@pytest.mark.parametrize("shape", [(5, 5), (4, 7)])
@pytest.mark.parametrize(("orientation", "phase"), [(0.0, np.pi / 2), (-2.0, 1.0)])
def test_gabor_filter_is_its_formula(shape, orientation, phase):
    kernel = gabor_filter(
        shape, wavelength=3.3, orientation=orientation, phase=phase, sigma=1.7
    )
    expected = gabor_by_loops(*shape, 3.3, orientation, phase, 1.7)
    np.testing.assert_allclose(kernel, expected, rtol=0, atol=1e-14)
    assert kernel.dtype == np.float64


def test_gabor_filter_defaults():
    expected = gabor_by_loops(5, 7, 0.8 * 7, 0.0, 0.0, 7 / 4)
    np.testing.assert_allclose(gabor_filter((5, 7)), expected, atol=1e-14)


@given(
    shape=st.one_of(st.integers(3, 30), st.tuples(st.integers(3, 12), st.integers(3, 12))),
    orientation=st.floats(-10, 10),
    phase=st.floats(-10, 10),
)
def test_gabor_filter_has_zero_sum_and_unit_norm(shape, orientation, phase):
    kernel = gabor_filter(shape, orientation=orientation, phase=phase)
    assert kernel.shape == (shape if isinstance(shape, tuple) else (shape,))
    assert abs(kernel.sum()) < 1e-6  # rounding is magnified where little wave is left
    assert np.linalg.norm(kernel) == pytest.approx(1)


def test_gabor_filter_has_stripes_across_its_orientation():
    # A wide envelope, so that a vertical stripe is one value times the envelope.
    kernel = gabor_filter((7, 7), orientation=0, sigma=1e6)
    np.testing.assert_allclose(kernel, np.broadcast_to(kernel[0], (7, 7)))
    quarter_turn = gabor_filter((7, 7), orientation=np.pi / 2, sigma=1e6)
    np.testing.assert_allclose(quarter_turn, kernel.T)


def test_gabor_filter_phase_sets_the_symmetry():
    even = gabor_filter((5, 6), orientation=0.3)
    odd = gabor_filter((5, 6), orientation=0.3, phase=np.pi / 2)
    np.testing.assert_allclose(even, even[::-1, ::-1], atol=1e-15)
    np.testing.assert_allclose(odd, -odd[::-1, ::-1], atol=1e-15)


def test_gabor_filter_in_one_dimension_ignores_the_orientation():
    kernel = gabor_filter(9, wavelength=4, phase=0.2, sigma=2)
    row = gabor_by_loops(1, 9, 4, 0.0, 0.2, 2)[0]
    np.testing.assert_allclose(kernel, row, atol=1e-14)
    np.testing.assert_array_equal(
        gabor_filter((9,), wavelength=4, orientation=1.0, phase=0.2, sigma=2), kernel
    )


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        (2, {}),
        ((1, 5), {"orientation": np.pi / 2}),
        (5, {"sigma": 1e-3}),
        (5, {"wavelength": 1e12}),
    ],
)
def test_gabor_filter_refuses_to_vanish(shape, parameters):
    with pytest.raises(ValueError, match="leave no wave in a window of shape"):
        gabor_filter(shape, **parameters)


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"window_shape": (3, 3, 3)}, ValueError, "window_shape must have one or two"),
        ({"window_shape": 1}, ValueError, "window_shape must have one or two axes"),
        ({"window_shape": ()}, ValueError, "window_shape must not be empty"),
        ({"window_shape": (3, 0)}, ValueError, "window_shape must be at least 1"),
        ({"window_shape": 2.5}, TypeError, "window_shape must be an int"),
        ({"window_shape": (3, True)}, TypeError, "window_shape must be an int"),
        ({"window_shape": "55"}, TypeError, "window_shape must be an int"),
        ({"wavelength": 0}, ValueError, "wavelength must be positive and finite"),
        ({"wavelength": np.inf}, ValueError, "wavelength must be positive and finite"),
        ({"wavelength": "long"}, ValueError, 'wavelength must be "auto" or a number'),
        ({"wavelength": None}, TypeError, "wavelength must be a number"),
        ({"sigma": -1.0}, ValueError, "sigma must be positive and finite"),
        ({"sigma": np.nan}, ValueError, "sigma must be positive and finite"),
        ({"orientation": np.inf}, ValueError, "orientation must be finite"),
        ({"orientation": "up"}, TypeError, "orientation must be a number"),
        ({"phase": np.nan}, ValueError, "phase must be finite"),
        ({"phase": True}, TypeError, "phase must be a number"),
    ],
)
def test_gabor_filter_names_the_wrong_parameter(parameters, error, match):
    with pytest.raises(error, match=match):
        gabor_filter(**{"window_shape": (5, 5), **parameters})


@pytest.mark.parametrize("shape", [4, (3, 5, 2), 1])
def test_random_filter_has_its_shape_and_unit_norm(shape):
    w = random_filter(shape, random_state=0)
    assert w.shape == (shape if isinstance(shape, tuple) else (shape,))
    assert w.dtype == np.float64
    assert np.linalg.norm(w) == pytest.approx(1)


def test_random_filter_is_uniform_on_the_sphere():
    rng = np.random.RandomState(0)
    filters = np.array([random_filter(5, random_state=rng) for _ in range(4000)])
    # Moments of the uniform distribution: E w = 0, E w w' = I / p.
    np.testing.assert_allclose(filters.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(filters.T @ filters / 4000, np.eye(5) / 5, atol=0.02)


def test_random_filter_follows_the_random_state():
    first = random_filter((3, 3), random_state=3)
    np.testing.assert_array_equal(first, random_filter((3, 3), random_state=3))
    assert not np.array_equal(first, random_filter((3, 3), random_state=4))
    state = np.random.RandomState(3)
    np.testing.assert_array_equal(first, random_filter((3, 3), random_state=state))
    assert not np.array_equal(first, random_filter((3, 3), random_state=state))


def test_random_filter_names_the_wrong_parameter():
    with pytest.raises(ValueError, match="window_shape must be at least 1"):
        random_filter((3, -1))
    with pytest.raises(TypeError, match="window_shape must be an int"):
        random_filter(None)
