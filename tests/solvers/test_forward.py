"""Banks that grow: the new filter, the path, exact recovery, stopping."""

import numpy as np
import pytest

from skconvfilter.model.squared_error import SquaredError
from skconvfilter.solvers.forward import ForwardSearch
from tests.solvers.problems import StopAfter, planted_objective


def search(objective, seed=0, **options):
    rng = np.random.default_rng(seed)
    return ForwardSearch(objective, rng, **({"signed": True, "floor": 1e-20} | options))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "squared_relu", "tanh"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_gain_of_a_filter_is_that_of_least_squares(activation, fit_intercept):
    rng = np.random.default_rng(1)
    objective = planted_objective(activation, noise=0.3)
    objective.fit_intercept = fit_intercept
    objective.sample_weight = rng.uniform(0.1, 2, objective.n_samples)
    filters, bank = rng.standard_normal((5, 9)), rng.standard_normal((2, 9))
    columns = objective.comparable(objective.values_of_filters(filters).T)
    gains, factors = objective.fits(columns, bank, np.array([1.0, -1.0]))
    left = objective.targets - objective.values_of_filters(bank) @ [1, -1]
    roots = np.sqrt(objective.sample_weight / objective.sample_weight.sum())
    ones = roots[:, np.newaxis] * np.ones((len(roots), int(fit_intercept)))
    before = np.linalg.lstsq(ones, roots * left, rcond=None)[0]
    squares = np.sum((roots * left - ones @ before) ** 2)
    for w, gain, factor in zip(filters, gains, factors, strict=True):
        values = objective.values_of_filters(w[np.newaxis])
        columns = np.hstack([roots[:, np.newaxis] * values, ones])
        solution = np.linalg.lstsq(columns, roots * left, rcond=None)[0]
        assert factor == pytest.approx(solution[0])
        after = np.sum((roots * left - columns @ solution) ** 2)
        assert gain == pytest.approx(squares - after)


@pytest.mark.parametrize("activation", ["relu", "squared_relu", "tanh"])
def test_every_size_is_better_than_the_one_before(activation):
    found = search(planted_objective(activation, n_filters=4, noise=0.1))
    bank = found.run()
    assert bank.filters.shape == (4, 9)
    losses = [found.path[size].loss for size in (1, 2, 3, 4)]
    assert (np.diff(losses) <= 0).all()
    assert [len(smaller.signs) for smaller in found.smaller_banks()] == [1, 2, 3]


def test_the_bank_behind_the_targets_is_found():
    exact = [search(planted_objective(seed=seed)).run().loss < 1e-10 for seed in range(5)]
    assert sum(exact) >= 4


@pytest.mark.parametrize("activation", ["relu", "squared_relu"])
def test_the_bank_is_found_where_steps_take_long(monkeypatch, activation):
    monkeypatch.setattr(SquaredError, "is_costly", lambda self: True)
    exact = [
        search(planted_objective(activation, seed=seed)).run().loss < 1e-10
        for seed in range(5)
    ]
    assert sum(exact) >= 4


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_one_more_filter_beside_others_is_a_larger_bank(activation):
    objective = planted_objective(activation, noise=0.1)
    filters, signs = np.random.default_rng(0).standard_normal((2, 9)), np.array([-1.0, 1.0])
    beside = objective.beside(filters[:1], signs[:1])
    alone = beside.value(filters[1:].T, signs[np.newaxis, 1:])
    both = objective.value(filters.reshape(-1, 1), signs[np.newaxis])
    assert alone.loss[0] == pytest.approx(both.loss[0])


def test_a_bank_that_is_exact_grows_no_further():
    objective = planted_objective(n_filters=5)
    found = search(objective, floor=1e-3)
    bank = found.run()
    size = len(bank.signs)
    assert size < 5
    assert bank.loss <= 1e-3
    W, signs = bank.padded(5)
    assert not W.reshape(5, 9)[size:].any()
    loss = objective.value(W[:, np.newaxis], signs[np.newaxis]).loss[0]
    assert loss == pytest.approx(bank.loss, rel=1e-6)


def test_output_weights_of_1_only():
    objective = planted_objective(n_filters=3)
    objective.targets = -np.abs(objective.targets)
    assert (search(objective, signed=False).run().signs == 1).all()


@pytest.mark.parametrize("n_iterations", [1, 20])
def test_a_callback_sees_the_full_bank_and_may_stop(n_iterations):
    objective = planted_objective(n_filters=3, noise=0.1)
    callback = StopAfter(n_iterations, objective)
    callback.check(search(objective, callback=callback).run())
