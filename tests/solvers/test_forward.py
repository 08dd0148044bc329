"""Banks that grow: the new filter, the path, exact recovery, stopping."""

import numpy as np
import pytest

from skconvfilter import ConvFilterBankRegressor
from skconvfilter.datasets import make_filter_bank_regression
from skconvfilter.model.activations import ACTIVATIONS
from skconvfilter.model.bank_objective import make_bank_objective
from skconvfilter.model.geometry import Convolution
from skconvfilter.solvers.forward import ForwardSearch

WINDOW = {"kernel_size": 3, "input_shape": (6, 6)}


def make_objective(activation="relu", n_filters=2, n_samples=400, seed=0, noise=0.0):
    """The objective of a bank on normal images that a bank of two has labelled."""
    model = ConvFilterBankRegressor(2, activation=activation, **WINDOW)
    X, y = make_filter_bank_regression(
        n_samples, model, output_weights=[1, -1], noise=noise, random_state=seed
    )
    return make_bank_objective(
        X,
        Convolution.of(model).geometry(36),
        y / y.std(),
        n_filters=n_filters,
        activation=ACTIVATIONS[activation],
        pooling="mean",
    )


def search(objective, seed=0, **options):
    rng = np.random.default_rng(seed)
    return ForwardSearch(objective, rng, **({"signed": True, "floor": 1e-20} | options))


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "squared_relu", "tanh"])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_gain_of_a_filter_is_that_of_least_squares(activation, fit_intercept):
    rng = np.random.default_rng(1)
    objective = make_objective(activation, noise=0.3)
    objective.fit_intercept = fit_intercept
    objective.sample_weight = rng.uniform(0.1, 2, objective.n_samples)
    filters, bank = rng.standard_normal((5, 9)), rng.standard_normal((2, 9))
    gains, factors = objective.fits_of_filters(filters, bank, np.array([1.0, -1.0]))
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
    found = search(make_objective(activation, n_filters=4, noise=0.1))
    bank = found.run()
    assert bank.filters.shape == (4, 9)
    losses = [found.path[size].loss for size in (1, 2, 3, 4)]
    assert (np.diff(losses) <= 0).all()
    assert [len(smaller.signs) for smaller in found.smaller_banks()] == [1, 2, 3]


def test_the_bank_behind_the_targets_is_found():
    exact = [search(make_objective(seed=seed)).run().loss < 1e-10 for seed in range(5)]
    assert sum(exact) >= 4


def test_a_bank_that_is_exact_grows_no_further():
    objective = make_objective(n_filters=5)
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
    objective = make_objective(n_filters=3)
    objective.targets = -np.abs(objective.targets)
    assert (search(objective, signed=False).run().signs == 1).all()


@pytest.mark.parametrize("n_iterations", [1, 20])
def test_a_callback_sees_the_full_bank_and_may_stop(n_iterations):
    objective, seen = make_objective(n_filters=3, noise=0.1), []

    def callback(snapshot):
        assert snapshot.stage == "forward"
        assert snapshot.incumbent.w.shape == (27,)
        assert snapshot.incumbent.sign.shape == (3,)
        seen.append(snapshot.incumbent.loss)
        return len(seen) == n_iterations

    bank = search(objective, callback=callback).run()
    assert len(seen) == n_iterations
    assert bank.loss <= min(seen) * (1 + 1e-9)
