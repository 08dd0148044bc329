"""Random starts: directions, lengths, and what they depend on."""

import numpy as np
import pytest
from scipy.stats import kstest

from skconvfilter.initializers.random_starts import (
    ball_starts,
    filters_with_thresholds,
    random_banks,
    theory_radius,
)
from skconvfilter.model.activations import ACTIVATIONS
from skconvfilter.model.bank_objective import BankObjective, make_bank_objective
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.geometry import flatten_windows
from tests.initializers.teachers import KINDS, NAMES, SIGNED, make_generators


def objective_of(patches, y, fit_intercept=False):
    """An objective on patches (n, k, p), by default as the papers'."""
    patches, y = np.asarray(patches, dtype=float), np.asarray(y, dtype=float)
    return FilterObjective(*flatten_windows(patches), y, fit_intercept=fit_intercept)


def gaussian_objective(n=200, k=1, p=5, *, norm=1.0, sign=1.0, fit_intercept=False):
    """Normal patches labelled by a teacher of some norm."""
    rng = np.random.default_rng(0)
    patches, teacher = rng.standard_normal((n, k, p)), rng.standard_normal(p)
    teacher *= norm / np.linalg.norm(teacher)
    y = sign * np.maximum(patches @ teacher, 0).mean(axis=1)
    return objective_of(patches, y, fit_intercept)


def ball(objective, n_starts, radius="auto"):
    """Starts of positive output sign."""
    return ball_starts(objective, make_generators(n_starts), np.ones(n_starts), radius)


@pytest.mark.parametrize("p", [2, 7])
@pytest.mark.parametrize("radius", [0.01, 3.0])
def test_starts_are_uniform_in_the_ball(p, radius):
    W = ball(gaussian_objective(p=p), 2000, radius)
    assert W.shape == (p, 2000)
    lengths = np.linalg.norm(W, axis=0)
    assert kstest((lengths / radius) ** p, "uniform").pvalue > 1e-3
    # Moments of the uniform distribution on the sphere: E u = 0, E u u' = I / p.
    directions = W / lengths
    np.testing.assert_allclose(directions.mean(axis=1), 0, atol=4 / 2000**0.5)
    second = directions @ directions.T / 2000
    np.testing.assert_allclose(second, np.eye(p) / p, atol=4 / 2000**0.5)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_automatic_length_fits_best(fit_intercept, sign):
    objective = gaussian_objective(k=3, sign=sign, fit_intercept=fit_intercept)
    signs = np.full(40, sign)
    W = ball_starts(objective, make_generators(40), signs)
    # Where targets fall with the activation, reversed too, no length fits well.
    fits = objective.best_scale(W / np.linalg.norm(W, axis=0), signs) > 0
    assert fits.sum() > 30
    loss = objective.value(W, signs).loss
    for factor in (0.0, 0.5, 0.99, 1.01, 2.0):
        assert np.all(loss[fits] < objective.value(factor * W, signs).loss[fits])


@pytest.mark.parametrize("k", [1, 50])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_theory_ball_is_relative_to_the_norm_of_the_teacher(k, fit_intercept):
    objective = gaussian_objective(4000, k, 9, norm=30.0, fit_intercept=fit_intercept)
    unit, W = ball(objective, 40, 1.0), ball(objective, 40, "theory")
    ratios = np.linalg.norm(W, axis=0) / np.linalg.norm(unit, axis=0)
    np.testing.assert_allclose(ratios, ratios[0])
    assert theory_radius(9) == pytest.approx(1 / np.sqrt(18 * np.pi))
    # The norm is estimated, within a few per cent on normal patches.
    assert ratios[0] / theory_radius(9) == pytest.approx(30.0, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("p", "probability"), [(2, 0.380), (25, 0.349)])
def test_share_of_good_starts_is_that_of_theorem_3_4(p, probability):
    n_starts, radius = 4000, theory_radius(p)
    # On this many symmetric patches next to no start is reversed.
    patches = np.random.default_rng(0).standard_normal((400, 1, p))
    objective = objective_of(patches, np.maximum(patches[:, 0, 0], 0))
    W = ball(objective, n_starts, radius)
    distances = np.linalg.norm(W - np.eye(p)[:, [0]], axis=0)
    share = np.mean(distances**2 <= 1 - radius**2)
    error = np.sqrt(probability * (1 - probability) / n_starts)
    assert share == pytest.approx(probability, abs=4 * error)


@pytest.mark.parametrize("radius", ["auto", "theory", 2.0])
def test_starts_dead_on_every_sample_are_reversed(radius):
    # Half of all directions are active on the one patch that there is.
    patch = np.array([1.0, 2.0, -1.0])
    W = ball(objective_of([[patch]], [3.0]), 50, radius)
    assert np.all(patch @ W > 0)
    # Turned about the origin: uniform on the half of the sphere where they live.
    cosine = patch @ W / np.linalg.norm(patch) / np.linalg.norm(W, axis=0)
    assert kstest(cosine, "uniform").pvalue > 1e-3


def test_start_dead_both_ways_is_drawn_again():
    class Listed:
        """Plays a generator's normal draws."""

        def __init__(self, *draws):
            self.draws = [np.array(draw) for draw in draws]

        def standard_normal(self, size):
            return self.draws.pop(0)

        def uniform(self):
            return 1.0

    # The first entry of a patch is always 0: along it nothing is active.
    objective = objective_of([[[0.0, 1.0]], [[0.0, 2.0]]], [1.0, 2.0])
    again = Listed([1.0, 0.0], [-3.0, 0.0], [3.0, 4.0])
    once = Listed([0.0, -2.0])
    W = ball_starts(objective, [again, once], np.ones(2))
    np.testing.assert_allclose(W, np.array([[0.75, 1.0], [0.0, 1.0]]).T)
    assert again.draws == once.draws == []


def test_start_that_fits_reversed_is_reversed():
    patches = np.random.default_rng(0).standard_normal((100, 1, 2))
    objective = objective_of(patches, patches[:, 0, 0], fit_intercept=True)
    drawn = [rng.standard_normal(2) for rng in make_generators(40)]
    W = ball(objective, 40)
    turned = np.sum(W.T * drawn, axis=1) < 0
    assert 5 < turned.sum() < 35
    signs = np.ones(turned.sum())
    assert np.all(objective.best_scale(W[:, turned], signs) > 0)
    assert np.all(objective.best_scale(-W[:, turned], signs) <= 0)


@pytest.mark.parametrize("radius", ["auto", "theory", 2.0])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("patch", [0.0, 1.0])
def test_data_that_says_nothing_ends_with_finite_starts(radius, fit_intercept, patch):
    objective = objective_of(np.full((5, 2, 3), patch), np.zeros(5), fit_intercept)
    W = ball(objective, 6, radius)
    assert W.shape == (3, 6)
    assert np.isfinite(W).all()
    if radius != "theory":
        lengths = np.linalg.norm(W, axis=0)
        assert np.all((lengths > 0) & (lengths <= 2))


@pytest.mark.parametrize("radius", ["auto", 2.0])
def test_start_depends_on_its_own_generator_alone(radius):
    # Some directions are dead both ways here, so that some starts take more draws.
    patches = np.zeros((3, 1, 3))
    patches[0, 0, 0], patches[1, 0] = 1.0, [0.0, -1.0, 1.5]
    objective = objective_of(patches, [1.0, 0.0, 0.0])
    together = ball(objective, 12, radius)
    for i in range(12):
        alone = ball_starts(objective, [make_generators(12)[i]], np.ones(1), radius)
        np.testing.assert_allclose(alone[:, 0], together[:, i], rtol=1e-12)
    assert len(np.unique(together.round(6), axis=1).T) == 12


def bank_objective(
    name="relu", n=300, p=5, *, patches=None, spread=1.0, offset=0.0, **options
):
    """Normal patches, three a sample, with targets of a given spread."""
    rng = np.random.default_rng(0)
    patches = rng.standard_normal((n, 3, p)) if patches is None else patches
    targets = spread * rng.standard_normal(len(patches)) + offset
    options = {"pooling": "sum", "n_filters": 4, **options}
    activation = ACTIVATIONS[name]
    return BankObjective(
        *flatten_windows(patches), targets, activation=activation, **options
    )


def banks(objective, n_banks):
    return random_banks(objective, make_generators(n_banks), np.ones((n_banks, 4)))


def lengths_of(W):
    """Norms of all filters, shape (R, 4)."""
    return np.linalg.norm(W.T.reshape(W.shape[1], 4, -1), axis=2)


def spread_of(values, weights=None):
    centred = values - np.average(values, axis=0, weights=weights)
    return np.sqrt(np.average(centred**2, axis=0, weights=weights))


def test_filters_of_a_bank_point_everywhere():
    U = banks(bank_objective(n=20, p=3), 500).T.reshape(-1, 3)
    U = U / np.linalg.norm(U, axis=1, keepdims=True)
    error = 4 / np.sqrt(len(U))
    np.testing.assert_allclose(U.mean(axis=0), 0, atol=error)
    # Entries of uniform directions in space are uniform themselves.
    assert kstest((U[:, 0] + 1) / 2, "uniform").pvalue > 1e-3
    # Filters of one bank are independent of each other: so are signs of their products.
    pairs = U.reshape(500, 4, 3)
    products = np.sum(pairs[:, 0] * pairs[:, 1], axis=1)
    assert np.abs(np.sign(products).mean()) < 4 / 500**0.5


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("pooling", ["sum", "mean"])
@pytest.mark.parametrize("spread", [1e-9, 1e9])
def test_values_have_the_spread_of_the_targets(name, pooling, spread):
    rng = np.random.default_rng(3)
    weights, signs = rng.uniform(0.1, 2, 300), rng.choice([1.0, -1.0], size=(6, 4))
    options = {"pooling": pooling, "sample_weight": weights, "spread": spread}
    objective = bank_objective(name, offset=3 * spread, **options)
    W = random_banks(objective, make_generators(6), signs)
    spreads = spread_of(objective.predict(W, signs), weights)
    expected = spread_of(objective.targets, weights)
    np.testing.assert_allclose(spreads, expected, rtol=1e-9)
    lengths = lengths_of(W)
    np.testing.assert_allclose(lengths, lengths[:, :1].repeat(4, axis=1))


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "erf"])
@pytest.mark.parametrize("spread", [0.0, 1e9])
def test_preactivations_of_saturating_activations_are_about_one(name, spread):
    weights = np.random.default_rng(3).uniform(0.1, 2, 300)
    objective = bank_objective(name, sample_weight=weights, spread=spread)
    W = banks(objective, 6)
    np.testing.assert_allclose(objective.mean_square_preactivation(W), 1, rtol=1e-9)
    # Whatever the unit of the samples.
    objective.samples = 1e-6 * objective.samples
    np.testing.assert_allclose(banks(objective, 6), 1e6 * W, rtol=1e-9)


@pytest.mark.parametrize("name", KINDS)
def test_bank_depends_on_its_own_generator_alone(name):
    objective = bank_objective(name)
    signs = np.random.default_rng(4).choice([1.0, -1.0], size=(7, 4))
    together = random_banks(objective, make_generators(7), signs)
    for i in range(7):
        alone = random_banks(objective, [make_generators(7)[i]], signs[[i]])
        np.testing.assert_allclose(alone[:, 0], together[:, i], rtol=1e-12)
    assert len(np.unique(together.round(9), axis=1).T) == 7


@pytest.mark.parametrize("name", KINDS)
def test_integer_weights_are_repetitions_and_only_their_ratios_matter(name):
    patches = np.random.default_rng(0).standard_normal((300, 3, 5))
    weights = np.random.default_rng(0).integers(1, 4, 300)
    W = banks(bank_objective(name, sample_weight=weights.astype(float)), 5)
    repeated = bank_objective(name, patches=np.repeat(patches, weights, axis=0))
    repeated.targets = np.repeat(bank_objective(name).targets, weights)
    np.testing.assert_allclose(W, banks(repeated, 5), rtol=1e-10)
    scaled = banks(bank_objective(name, sample_weight=1e-6 * weights), 5)
    np.testing.assert_allclose(W, scaled, rtol=1e-10)


@pytest.mark.parametrize("name", ["relu", "erf"])
def test_lengths_come_from_samples_of_all_parts(name):
    # Samples in ascending order of size: the first thousand alone would mislead.
    objective = bank_objective(name, n=5000)
    objective = objective.subset(np.argsort(np.abs(objective.samples).sum(axis=1)))
    W = banks(objective, 4)
    if name == "relu":
        spread = spread_of(objective.predict(W, np.ones((4, 4))))
        np.testing.assert_allclose(spread, spread_of(objective.targets), rtol=0.1)
    else:
        np.testing.assert_allclose(objective.mean_square_preactivation(W), 1, rtol=0.1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("patch", [0.0, 0.1, -3.0])
def test_patches_that_do_not_vary_give_starts_of_their_size(name, patch):
    # What rounding makes values differ by is no spread to be stretched to the targets'.
    W = banks(bank_objective(name, patches=np.full((50, 3, 5), patch)), 20)
    lengths = lengths_of(W)
    assert lengths.min() > 0
    assert lengths.max() * max(1.0, abs(patch)) < 1e6


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{"spread": 0.0}, {"n": 1}, {"n": 3000, "spread": 0.0}])
def test_targets_that_hardly_vary_give_finite_starts_that_live(name, options):
    # At filters of 0 the gradient is 0: no solver would ever leave them.
    objective = bank_objective(name, **options)
    if objective.n_samples > 1000:
        objective.targets[1] = 1.0
    lengths = lengths_of(banks(objective, 5))
    assert np.isfinite(lengths).all()
    assert lengths.min() > 0


@pytest.mark.parametrize("blank", [False, True])
def test_biases_of_random_filters_are_0_on_a_patch(blank):
    rng = np.random.default_rng(0)
    patches = np.zeros((20, 3, 4)) if blank else rng.uniform(size=(20, 3, 4))
    samples, geometry = flatten_windows(patches)
    objective = make_bank_objective(
        samples,
        geometry.with_constant(0.5),
        np.zeros(20),
        n_filters=2,
        activation=ACTIVATIONS["relu"],
        pooling="mean",
    )
    filters = filters_with_thresholds(objective, 100, rng)
    assert filters.shape == (100, 5)
    np.testing.assert_allclose(np.linalg.norm(filters, axis=1), 1)
    responses = patches.reshape(-1, 4) @ filters[:, :4].T + 0.5 * filters[:, 4]
    assert np.abs(responses).min(axis=0).max() < 1e-12
    if not blank:
        assert np.unique(np.abs(responses).argmin(axis=0)).size > 20


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_far_from_0_random_filters_without_bias_leave_out_the_mean_patch(offset):
    rng = np.random.default_rng(0)
    patches = rng.standard_normal((50, 3, 4)) + offset
    objective = make_bank_objective(
        *flatten_windows(patches),
        np.zeros(50),
        n_filters=2,
        activation=ACTIVATIONS["relu"],
        pooling="mean",
    )
    filters = filters_with_thresholds(objective, 100, rng)
    np.testing.assert_allclose(np.linalg.norm(filters, axis=1), 1)
    active = np.mean(patches.reshape(-1, 4) @ filters.T > 0, axis=0)
    assert ((active > 0.05) & (active < 0.95)).all()
