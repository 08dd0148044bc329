import numpy as np
import pytest
from scipy.stats import kstest
from skconvfilter.initializers.ball import ball_starts, theory_radius


def positive(n_starts):
    return np.ones(n_starts)


def peaks(objective, W):
    """Largest mean activation of a sample; 0: the filter is dead."""
    return objective.value(W, positive(W.shape[1])).peak


@pytest.mark.parametrize("p", [2, 3, 7])
@pytest.mark.parametrize("radius", [0.01, 3.0])
def test_starts_are_uniform_in_the_ball(gaussian_objective, make_generators, p, radius):
    n_starts = 2000
    objective = gaussian_objective(p=p)
    W = ball_starts(objective, make_generators(n_starts), positive(n_starts), radius)
    assert W.shape == (p, n_starts)
    lengths = np.linalg.norm(W, axis=0)
    assert kstest((lengths / radius) ** p, "uniform").pvalue > 1e-3
    # Moments of the uniform distribution on the sphere: E u = 0, E u u' = I / p.
    directions = W / lengths
    np.testing.assert_allclose(directions.mean(axis=1), 0, atol=4 / n_starts**0.5)
    second = directions @ directions.T / n_starts
    np.testing.assert_allclose(second, np.eye(p) / p, atol=4 / n_starts**0.5)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_automatic_length_fits_best(
    gaussian_objective, make_generators, fit_intercept, sign
):
    objective = gaussian_objective(k=3, sign=sign, fit_intercept=fit_intercept)
    signs = np.full(40, sign)
    W = ball_starts(objective, make_generators(40), signs)
    directions = W / np.linalg.norm(W, axis=0)
    # Where targets fall with the activation, turned round too, no length fits well.
    fits = objective.best_scale(directions, signs) > 0
    assert fits.sum() > 30
    loss = objective.value(W, signs).loss
    for factor in (0.0, 0.5, 0.99, 1.01, 2.0):
        assert np.all(loss[fits] < objective.value(factor * W, signs).loss[fits])


def test_automatic_length_follows_the_unit_of_the_targets(
    gaussian_objective, make_generators
):
    W = ball_starts(gaussian_objective(), make_generators(5), positive(5))
    scaled = gaussian_objective(norm=1e6)
    expected = 1e6 * W
    W = ball_starts(scaled, make_generators(5), positive(5))
    np.testing.assert_allclose(W, expected)


@pytest.mark.parametrize("p", [1, 2, 25])
def test_theory_radius(p):
    assert theory_radius(p) == pytest.approx(1 / np.sqrt(2 * np.pi * p))


@pytest.mark.parametrize("k", [1, 4, 50])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_theory_ball_is_relative_to_the_norm_of_the_teacher(
    gaussian_objective, make_generators, k, fit_intercept
):
    objective = gaussian_objective(n=4000, k=k, p=9, norm=30.0, fit_intercept=fit_intercept)
    unit = ball_starts(objective, make_generators(40), positive(40), 1.0)
    W = ball_starts(objective, make_generators(40), positive(40), "theory")
    ratios = np.linalg.norm(W, axis=0) / np.linalg.norm(unit, axis=0)
    np.testing.assert_allclose(ratios, ratios[0])
    # The norm is estimated, within a few per cent on normal patches.
    assert ratios[0] / theory_radius(9) == pytest.approx(30.0, rel=0.05)


@pytest.mark.parametrize(("p", "probability"), [(2, 0.380), (9, 0.357), (25, 0.349)])
def test_share_of_good_starts_is_that_of_theorem_3_4(
    objective_of, make_generators, p, probability
):
    n_starts, radius = 4000, theory_radius(p)
    # On this many symmetric patches next to no start is turned round.
    patches = np.random.default_rng(0).standard_normal((400, 1, p))
    objective = objective_of(patches, np.maximum(patches[:, 0, 0], 0))
    W = ball_starts(objective, make_generators(n_starts), positive(n_starts), radius)
    distances = np.linalg.norm(W - np.eye(p)[:, [0]], axis=0)
    share = np.mean(distances**2 <= 1 - radius**2)
    error = np.sqrt(probability * (1 - probability) / n_starts)
    assert share == pytest.approx(probability, abs=4 * error)


@pytest.mark.parametrize("radius", ["auto", "theory", 2.0])
def test_starts_dead_on_every_sample_are_turned_round(
    objective_of, make_generators, radius
):
    # Half of all directions are active on the one patch that there is.
    patch = np.array([1.0, 2.0, -1.0])
    objective = objective_of([[patch]], [3.0])
    W = ball_starts(objective, make_generators(50), positive(50), radius)
    assert np.all(patch @ W > 0)
    # Turned about the origin: uniform on the half of the sphere where they live.
    cosine = patch @ W / np.linalg.norm(patch) / np.linalg.norm(W, axis=0)
    assert kstest(cosine, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_starts_live_on_patches_that_are_all_alike(
    objective_of, make_generators, fit_intercept
):
    rng = np.random.default_rng(0)
    patches = 1 + 0.1 * rng.standard_normal((30, 2, 4))
    y = patches.mean(axis=1) @ [1.0, -1.0, 2.0, 0.5]
    objective = objective_of(patches, y, fit_intercept=fit_intercept)
    W = ball_starts(objective, make_generators(100), positive(100), 1.0)
    assert np.all(peaks(objective, W) > 0)


def test_start_dead_both_ways_is_drawn_again(objective_of):
    class Listed:
        """Plays a generator's normal draws."""

        def __init__(self, *draws):
            self.draws = [np.array(draw) for draw in draws]

        def standard_normal(self, size):
            return self.draws.pop(0)

    # The first entry of a patch is always 0: along it nothing is active.
    objective = objective_of([[[0.0, 1.0]], [[0.0, 2.0]]], [1.0, 2.0])
    again = Listed([1.0, 0.0], [-3.0, 0.0], [3.0, 4.0])
    once = Listed([0.0, -2.0])
    W = ball_starts(objective, [again, once], positive(2))
    np.testing.assert_allclose(W, np.array([[0.75, 1.0], [0.0, 1.0]]).T)
    assert again.draws == once.draws == []


def test_start_that_fits_turned_round_is_turned_round(objective_of, make_generators):
    rng = np.random.default_rng(0)
    patches = rng.standard_normal((100, 1, 2))
    objective = objective_of(patches, patches[:, 0, 0], fit_intercept=True)
    drawn = [rng.standard_normal(2) for rng in make_generators(40)]
    W = ball_starts(objective, make_generators(40), positive(40)).T
    turned = np.sum(W * drawn, axis=1) < 0
    assert 5 < turned.sum() < 35
    starts, signs = W[turned].T, positive(turned.sum())
    assert np.all(objective.best_scale(starts, signs) > 0)
    assert np.all(objective.best_scale(-starts, signs) <= 0)


@pytest.mark.parametrize("radius", ["auto", "theory", 2.0])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("patch", [0.0, 1.0])
def test_data_that_says_nothing_ends_with_finite_starts(
    objective_of, make_generators, radius, fit_intercept, patch
):
    patches, y = np.full((5, 2, 3), patch), np.zeros(5)
    objective = objective_of(patches, y, fit_intercept=fit_intercept)
    W = ball_starts(objective, make_generators(6), positive(6), radius)
    assert W.shape == (3, 6)
    assert np.isfinite(W).all()
    if radius != "theory":
        lengths = np.linalg.norm(W, axis=0)
        assert np.all((lengths > 0) & (lengths <= 2))


@pytest.mark.parametrize("radius", ["auto", 2.0])
def test_start_depends_on_its_own_generator_alone(objective_of, make_generators, radius):
    # Some directions are dead both ways here, so that some starts take more draws.
    patches = np.zeros((3, 1, 3))
    patches[0, 0, 0], patches[1, 0] = 1.0, [0.0, -1.0, 1.0]
    objective = objective_of(patches, [1.0, 0.0, 0.0])
    together = ball_starts(objective, make_generators(12), positive(12), radius)
    for i in range(12):
        generator = make_generators(12)[i]
        alone = ball_starts(objective, [generator], positive(1), radius)
        np.testing.assert_allclose(alone[:, 0], together[:, i], rtol=1e-12)
    assert len(np.unique(together.round(6), axis=1).T) == 12
