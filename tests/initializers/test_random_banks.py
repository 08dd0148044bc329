"""Random banks to start from: directions, lengths, and what they depend on."""

import numpy as np
import pytest
from scipy.stats import kstest
from skconvfilter.initializers.random_banks import random_banks

from skconvfilter.model.activations import ACTIVATIONS
from skconvfilter.model.bank_objective import BankObjective
from skconvfilter.model.geometry import flatten_windows

HOMOGENEOUS = ["relu", "leaky_relu", "squared_relu"]
SATURATING = ["sigmoid", "tanh", "erf"]


@pytest.fixture
def make_objective():
    """Makes an objective on normal patches with targets of a given spread."""

    def make(
        name="relu",
        n=300,
        k=3,
        p=5,
        *,
        n_filters=4,
        spread=1.0,
        offset=0.0,
        weights=None,
        dtype=float,
        pooling="sum",
        seed=0,
    ):
        rng = np.random.default_rng(seed)
        patches = rng.standard_normal((n, k, p)).astype(dtype)
        targets = spread * rng.standard_normal(n) + offset
        return BankObjective(
            *flatten_windows(patches),
            targets,
            n_filters=n_filters,
            activation=ACTIVATIONS[name],
            pooling=pooling,
            sample_weight=weights,
        )

    return make


def ones(n_banks, n_filters=4):
    return np.ones((n_banks, n_filters))


def lengths_of(W, n_filters=4):
    """Norms of all filters, shape (R, n_filters)."""
    return np.linalg.norm(W.T.reshape(W.shape[1], n_filters, -1), axis=2)


def spread_of(values, weights=None):
    centred = values - np.average(values, axis=0, weights=weights)
    return np.sqrt(np.average(centred**2, axis=0, weights=weights))


@pytest.mark.parametrize("p", [2, 3, 7])
def test_filters_point_everywhere(make_objective, make_generators, p):
    objective = make_objective(n=20, p=p)
    W = random_banks(objective, make_generators(500), ones(500))
    assert W.shape == (4 * p, 500)
    U = W.T.reshape(-1, p)
    U = U / np.linalg.norm(U, axis=1, keepdims=True)
    error = 4 / np.sqrt(len(U))
    np.testing.assert_allclose(U.mean(axis=0), 0, atol=error)
    np.testing.assert_allclose(U.T @ U / len(U), np.eye(p) / p, atol=error)
    # Filters of one bank are independent of each other: so are signs of their products.
    banks = U.reshape(500, 4, p)
    assert np.abs(np.sign(np.sum(banks[:, 0] * banks[:, 1], axis=1)).mean()) < 4 / 500**0.5
    if p == 3:
        # Entries of uniform directions in space are uniform themselves.
        assert kstest((U[:, 0] + 1) / 2, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("name", [*HOMOGENEOUS, *SATURATING])
def test_filters_of_a_bank_have_one_length(make_objective, make_generators, name):
    W = random_banks(make_objective(name), make_generators(6), ones(6))
    lengths = lengths_of(W)
    np.testing.assert_allclose(lengths, lengths[:, :1].repeat(4, axis=1))
    assert len(np.unique(lengths.round(9))) == 6


@pytest.mark.parametrize("name", HOMOGENEOUS)
@pytest.mark.parametrize("pooling", ["sum", "mean"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("spread", [1e-9, 0.5, 1e9])
def test_values_have_the_spread_of_the_targets(
    make_objective, make_generators, name, pooling, weighted, spread
):
    weights = np.random.default_rng(3).uniform(0.1, 2, 300) if weighted else None
    objective = make_objective(
        name, pooling=pooling, weights=weights, spread=spread, offset=3 * spread
    )
    signs = np.random.default_rng(4).choice([1.0, -1.0], size=(6, 4))
    W = random_banks(objective, make_generators(6), signs)
    values = objective.predict(W, signs)
    expected = spread_of(objective.targets, weights)
    np.testing.assert_allclose(spread_of(values, weights), expected, rtol=1e-9)


@pytest.mark.parametrize("name", SATURATING)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("spread", [0.0, 1.0, 1e9])
def test_responses_of_saturating_activations_are_about_one(
    make_objective, make_generators, name, weighted, spread
):
    weights = np.random.default_rng(3).uniform(0.1, 2, 300) if weighted else None
    objective = make_objective(name, weights=weights, spread=spread)
    W = random_banks(objective, make_generators(6), ones(6))
    np.testing.assert_allclose(objective.mean_square_response(W), 1, rtol=1e-9)
    # Whatever the unit of the samples.
    objective.samples = 1e-6 * objective.samples
    far = random_banks(objective, make_generators(6), ones(6))
    np.testing.assert_allclose(far, 1e6 * W, rtol=1e-9)


@pytest.mark.parametrize("name", ["relu", "squared_relu", "tanh"])
def test_start_depends_on_its_own_generator_alone(make_objective, make_generators, name):
    objective = make_objective(name)
    signs = np.random.default_rng(4).choice([1.0, -1.0], size=(7, 4))
    together = random_banks(objective, make_generators(7), signs)
    for i in range(7):
        alone = random_banks(objective, [make_generators(7)[i]], signs[[i]])
        np.testing.assert_allclose(alone[:, 0], together[:, i], rtol=1e-12)
    assert len(np.unique(together.round(9), axis=1).T) == 7
    again = random_banks(objective, make_generators(7), signs)
    np.testing.assert_array_equal(again, together)


@pytest.mark.parametrize("name", ["relu", "squared_relu", "sigmoid"])
def test_integer_weights_are_repetitions(make_objective, make_generators, name):
    weights = np.random.default_rng(0).integers(1, 4, 300).astype(float)
    weighted = make_objective(name, weights=weights)
    repeats = weights.astype(int)
    repeated = make_objective(name)
    repeated = BankObjective(
        np.repeat(repeated.samples, repeats, axis=0),
        repeated.geometry,
        np.repeat(repeated.targets, repeats),
        n_filters=4,
        activation=ACTIVATIONS[name],
        pooling="sum",
    )
    W = random_banks(weighted, make_generators(5), ones(5))
    expected = random_banks(repeated, make_generators(5), ones(5))
    np.testing.assert_allclose(W, expected, rtol=1e-10)


@pytest.mark.parametrize("factor", [1e-100, 3.0, 1e100])
@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_only_ratios_of_weights_matter(make_objective, make_generators, name, factor):
    weights = np.random.default_rng(0).uniform(0.1, 1, 300)
    first, second = (
        random_banks(make_objective(name, weights=w), make_generators(3), ones(3))
        for w in (weights, factor * weights)
    )
    np.testing.assert_allclose(second, first, rtol=1e-10)


@pytest.mark.parametrize("name", [*HOMOGENEOUS, *SATURATING])
def test_single_precision_gives_the_same_starts(make_objective, make_generators, name):
    W = random_banks(make_objective(name), make_generators(5), ones(5))
    single = random_banks(
        make_objective(name, dtype=np.float32), make_generators(5), ones(5)
    )
    assert single.dtype == np.float64
    np.testing.assert_allclose(single, W, rtol=1e-5)


@pytest.mark.parametrize("name", ["relu", "erf"])
def test_lengths_come_from_samples_of_all_parts(make_objective, make_generators, name):
    # Samples in ascending order of size: the first thousand alone would mislead.
    objective = make_objective(name, n=5000)
    order = np.argsort(np.abs(objective.samples).sum(axis=1))
    sorted_one = objective.subset(order)
    W = random_banks(sorted_one, make_generators(4), ones(4))
    if name == "relu":
        spread = spread_of(sorted_one.predict(W, ones(4)))
        np.testing.assert_allclose(spread, spread_of(sorted_one.targets), rtol=0.1)
    else:
        np.testing.assert_allclose(sorted_one.mean_square_response(W), 1, rtol=0.1)


@pytest.mark.parametrize("name", [*HOMOGENEOUS, *SATURATING])
@pytest.mark.parametrize("patch", [0.0, 0.1, -3.0])
def test_patches_that_do_not_vary_give_starts_of_their_size(
    make_objective, make_generators, name, patch
):
    # What rounding makes values differ by is no spread to be stretched to the targets'.
    patches = np.full((50, 3, 5), patch)
    targets = np.random.default_rng(0).standard_normal(50)
    objective = BankObjective(
        *flatten_windows(patches),
        targets,
        n_filters=4,
        activation=ACTIVATIONS[name],
        pooling="sum",
    )
    W = random_banks(objective, make_generators(20), ones(20))
    assert np.isfinite(W).all()
    lengths = lengths_of(W)
    assert lengths.min() > 0
    assert lengths.max() * max(1.0, abs(patch)) < 1e6


@pytest.mark.parametrize("name", [*HOMOGENEOUS, *SATURATING])
def test_targets_that_do_not_vary_give_finite_starts(make_objective, make_generators, name):
    objective = make_objective(name, spread=0.0)
    W = random_banks(objective, make_generators(5), ones(5))
    assert np.isfinite(W).all()


@pytest.mark.parametrize("name", [*HOMOGENEOUS, *SATURATING])
def test_one_sample_gives_finite_starts(make_objective, make_generators, name):
    W = random_banks(make_objective(name, n=1), make_generators(5), ones(5))
    assert np.isfinite(W).all()
    assert lengths_of(W).min() > 0


@pytest.mark.parametrize("name", HOMOGENEOUS)
def test_targets_that_seldom_vary_do_not_give_dead_starts(
    make_objective, make_generators, name
):
    # At filters of 0 the gradient is 0: no solver would ever leave them.
    objective = make_objective(name, n=3000, spread=0.0)
    objective.targets[1] = 1.0
    W = random_banks(objective, make_generators(5), ones(5))
    assert lengths_of(W).min() > 0
