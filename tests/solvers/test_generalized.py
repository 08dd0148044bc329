"""Banks that grow with generalized least squares: exact recovery, the path, stopping."""

import numpy as np
import pytest

from skconvfilter.solvers.generalized import GeneralizedProblem, GeneralizedSearch
from tests.solvers.problems import StopAfter, planted_objective


def make_problem(objective, seed=0):
    return GeneralizedProblem.of(objective, np.random.default_rng(seed))


def search(problem, seed=0, **options):
    rng = np.random.default_rng(seed)
    return GeneralizedSearch(problem, rng, **({"signed": True} | options))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "squared_relu"])
def test_the_bank_behind_the_targets_is_found(activation, bias):
    exact = 0
    for seed in range(5):
        objective = planted_objective(activation, seed=seed, bias=bias)
        bank = search(make_problem(objective)).run()
        assert bank.filters.shape == (2, 9 + bias)
        W, signs = bank.padded(2)
        loss = objective.value(W[:, np.newaxis], signs[np.newaxis]).loss[0]
        assert bank.loss == pytest.approx(loss, rel=1e-6)
        exact += loss < 1e-8
    assert exact >= 4


def test_errors_have_a_share_of_their_degrees_of_freedom():
    objective = planted_objective(n_samples=200)
    problem = make_problem(objective)
    covariance = objective.covariance_of_errors(problem.values)
    root = np.linalg.cholesky(covariance + 1e-12 * np.eye(200))
    for generalized, share in [(problem.coarse, 0.2), (problem.fine, 0.3)]:
        # The objective takes the roots of the weights, which are all alike.
        whitened = generalized.comparable(np.sqrt(200) * root.T)
        assert np.sum(whitened**2) == pytest.approx(200 * share, rel=0.02)


def test_banks_of_all_sizes_have_taken_steps_for_the_squared_error():
    objective = planted_objective(n_filters=4, noise=0.1)
    found = search(make_problem(objective))
    full = found.run()
    smaller = found.smaller_banks()
    assert [len(bank.signs) for bank in smaller] == [1, 2, 3]
    losses = [bank.loss for bank in (*smaller, full)]
    assert losses[0] < 0.5
    assert (np.diff(losses) < 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_output_weights_of_1_only(seed):
    problem = make_problem(planted_objective(n_filters=3, seed=seed))
    assert (search(problem, signed=False).run().signs == 1).all()


def test_starts_choose_random_filters_of_their_own():
    problem = make_problem(planted_objective(n_filters=3, noise=0.3))
    first, again, other = (search(problem, seed).run() for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.filters, again.filters)
    assert not np.allclose(first.filters, other.filters)


def test_random_filters_may_all_have_been_tried():
    objective = planted_objective(n_filters=20, noise=0.1)
    assert search(make_problem(objective)).run().filters.shape == (20, 9)


@pytest.mark.parametrize("n_iterations", [1, 6])
def test_a_callback_sees_the_full_bank_and_may_stop(n_iterations):
    objective = planted_objective(n_filters=3, noise=0.1)
    callback = StopAfter(n_iterations, objective)
    callback.check(search(make_problem(objective), callback=callback).run())


def test_samples_that_do_not_vary_have_a_bank():
    objective = planted_objective(n_samples=50)
    objective.samples[:] = 1.0
    bank = search(make_problem(objective)).run()
    assert np.isfinite(bank.filters).all()
