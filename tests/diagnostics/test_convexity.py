import numpy as np
import pytest

from skconvfilter.diagnostics.convexity import one_point_convexity
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.forward import model_values
from skconvfilter.model.geometry import flatten_windows

RADII = [0.01, 0.3, 0.7, 0.99]
# Of the population, from the closed form of its gradient; by patches per sample.
GAUSSIAN = {
    1: [0.4984, 0.4514, 0.3752, 0.2675],
    4: [0.1246, 0.1122, 0.0896, 0.0556],
}


def gaussian_patches(n_patches, n_samples=20_000, patch_dim=9, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples, n_patches, patch_dim))
    return X, rng.standard_normal(patch_dim)


@pytest.mark.slow
@pytest.mark.parametrize("n_patches", GAUSSIAN)
def test_independent_gaussian_patches_have_that_of_the_closed_form(n_patches):
    X, teacher = gaussian_patches(n_patches)
    result = one_point_convexity(X, teacher, RADII, random_state=0)
    expected = np.array(GAUSSIAN[n_patches])
    scale = expected[0]
    np.testing.assert_allclose(
        result.convexity.value, expected, rtol=0.05, atol=0.01 * scale
    )
    # What is searched on the same samples is too low by noise.
    assert (result.convexity.searched < result.convexity.value + 0.005 * scale).all()
    low, high = result.convexity.interval.T
    assert ((low < result.convexity.value) & (result.convexity.value < high)).all()
    assert np.isnan(result.convexity.certified).all()


def test_gradient_steps_contract_as_predicted():
    X, teacher = gaussian_patches(2)
    radius = 0.5
    result = one_point_convexity(X, teacher, [radius], random_state=0)
    samples, geometry = flatten_windows(X)
    labels = model_values(samples, geometry, teacher[:, np.newaxis])[:, 0]
    objective = FilterObjective(samples, geometry, labels, fit_intercept=False)
    V = np.random.default_rng(1).standard_normal((9, 50))
    away = radius * np.linalg.norm(teacher) * V / np.linalg.norm(V, axis=0)
    W = teacher[:, np.newaxis] + away
    gradient = objective.gradient(W, np.ones(50)).gradient.T
    moved = away - result.step * gradient
    factors = (moved**2).sum(axis=0) / (away**2).sum(axis=0)
    assert factors.max() <= result.contraction[0] + 0.01


def test_scale_of_the_teacher_plays_no_part():
    X, teacher = gaussian_patches(3, n_samples=500, patch_dim=4)
    small, large = (
        one_point_convexity(X, scale * teacher, [0.3, 0.9], random_state=0)
        for scale in (1e-3, 1e3)
    )
    np.testing.assert_allclose(small.convexity.value, large.convexity.value, rtol=1e-9)
    np.testing.assert_allclose(small.step, large.step, rtol=1e-9)


def test_where_it_is_not_positive_no_step_is_said_to_contract():
    X, teacher = gaussian_patches(64, n_samples=4000, patch_dim=9)
    result = one_point_convexity(X, teacher, [0.99], random_state=0)
    assert result.convexity.value[0] < 0
    assert result.step[0] == 0
    assert result.contraction[0] == 1


def test_patches_of_one_entry_have_two_directions():
    X = np.random.default_rng(0).standard_normal((4000, 1, 1))
    result = one_point_convexity(X, [1.0], [0.5], random_state=0)
    # w z - w* z on the half of the samples where z is positive, whichever side w is on.
    assert result.convexity.value[0] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("radii", "error"),
    [
        *(([radius], ValueError) for radius in [0.0, -1.0, 1e-13, np.nan, np.inf]),
        ([], ValueError),
        ("a", TypeError),
        (1j, TypeError),
    ],
)
def test_radii_must_be_positive_numbers(radii, error):
    X, teacher = gaussian_patches(1, n_samples=10, patch_dim=3)
    with pytest.raises(error, match="radii must be"):
        one_point_convexity(X, teacher, radii)


def test_filters_that_no_patch_activates_have_no_steepness():
    # All patches are opposite to the teacher: its neighbours answer to none of them.
    X = -np.abs(np.random.default_rng(0).standard_normal((50, 2, 3)))
    result = one_point_convexity(X, np.ones(3), [0.01], random_state=0)
    assert result.steepness[0] == result.convexity.value[0] == result.step[0] == 0
    assert result.contraction[0] == 1
