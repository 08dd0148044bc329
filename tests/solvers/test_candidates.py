import numpy as np
import pytest

from skconvfilter.datasets import gabor_filter, random_filter
from skconvfilter.model.forward import model_values
from skconvfilter.model.geometry import convolution_geometry
from skconvfilter.solvers.race import Candidates


@pytest.fixture
def unit_axis():
    axis = np.random.default_rng(3).standard_normal(6)
    return axis / np.linalg.norm(axis)


@pytest.fixture
def candidates():
    W = np.random.default_rng(0).standard_normal((6, 3))
    return Candidates(W, np.array([1.0, -1.0, 1.0]), np.array([4, 0, 7]))


def test_reflections_come_behind_with_sign_and_restart(candidates, unit_axis):
    both = candidates.with_reflections(unit_axis)
    assert both.W.shape == (6, 6)
    np.testing.assert_array_equal(both.W[:, :3], candidates.W)
    np.testing.assert_array_equal(both.signs, [1, -1, 1, 1, -1, 1])
    np.testing.assert_array_equal(both.restarts, [4, 0, 7, 4, 0, 7])


def test_reflection_keeps_the_axis_and_turns_what_is_across(candidates, unit_axis):
    reflected = candidates.with_reflections(unit_axis).W[:, 3:]
    along = unit_axis @ candidates.W
    np.testing.assert_allclose(unit_axis @ reflected, along)
    across = candidates.W - np.outer(unit_axis, along)
    np.testing.assert_allclose(reflected - np.outer(unit_axis, along), -across)
    norms = np.linalg.norm(candidates.W, axis=0)
    np.testing.assert_allclose(np.linalg.norm(reflected, axis=0), norms)


def test_reflecting_twice_changes_nothing(candidates, unit_axis):
    once = candidates.with_reflections(unit_axis).take([3, 4, 5])
    twice = once.with_reflections(unit_axis).take([3, 4, 5])
    np.testing.assert_allclose(twice.W, candidates.W)
    np.testing.assert_array_equal(twice.restarts, candidates.restarts)


def test_kicks_come_behind_and_are_relative_to_the_norm(candidates):
    directions = np.random.default_rng(1).standard_normal((6, 2)) * [0.1, 10.0]
    kicked = candidates.with_kicks(directions)
    np.testing.assert_array_equal(kicked.W[:, :3], candidates.W)
    np.testing.assert_array_equal(kicked.signs, [1, -1, 1, 1, 1, -1, -1, 1, 1])
    np.testing.assert_array_equal(kicked.restarts, [4, 0, 7, 4, 4, 0, 0, 7, 7])
    moves = kicked.W[:, 3:] - np.repeat(candidates.W, 2, axis=1)
    lengths = np.linalg.norm(moves, axis=0)
    units = directions / np.linalg.norm(directions, axis=0)
    np.testing.assert_allclose(moves / lengths, np.tile(units, 3))
    share = lengths / np.repeat(np.linalg.norm(candidates.W, axis=0), 2)
    assert share.min() > 0
    np.testing.assert_allclose(share, share[0])


@pytest.fixture(scope="module")
def framed_values(digits):
    """Makes model values (n, R) of 3x3 filters on digits inside a blank border."""
    images = np.pad(digits[:400].reshape(-1, 8, 8) / 16, ((0, 0), (2, 2), (2, 2)))
    geometry = convolution_geometry(144, 3, (12, 12))
    return lambda W: model_values(images.reshape(-1, 144), geometry, W)


def relative_losses(values, others):
    return np.mean((values - others) ** 2, axis=0) / np.mean(values, axis=0) ** 2


def with_reflections_about_the_mean_patch(W):
    # Every pixel is seen by every tap of the window, so mean patches are constant.
    axis = np.full(len(W), len(W) ** -0.5)
    n_filters = W.shape[1]
    return Candidates(W, np.ones(n_filters), np.arange(n_filters)).with_reflections(axis)


def test_filter_of_zero_sum_and_its_reflection_are_alike_on_framed_images(framed_values):
    turns = np.linspace(0, np.pi, 6, endpoint=False)
    gabors = [gabor_filter((3, 3), orientation=turn).ravel() for turn in turns]
    candidates = with_reflections_about_the_mean_patch(np.column_stack(gabors))
    values, reflected = np.split(framed_values(candidates.W), 2, axis=1)
    assert np.all(relative_losses(values, reflected) < 1e-4)
    # A constant is far worse: the values do vary.
    assert np.all(relative_losses(values, values.mean(axis=0)) > 0.01)


def test_random_filter_is_nearer_its_reflection_than_its_opposite(framed_values):
    W = np.column_stack([random_filter(9, random_state=seed) for seed in range(30)])
    candidates = with_reflections_about_the_mean_patch(W)
    values, reflected = np.split(framed_values(candidates.W), 2, axis=1)
    gap = relative_losses(values, reflected)
    opposite = relative_losses(values, framed_values(-W))
    assert np.all(gap <= opposite)
    assert np.median(gap) < 0.05 * np.median(opposite)
