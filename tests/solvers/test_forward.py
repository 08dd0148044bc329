"""Banks that grow: the new filter, the path, exact recovery, stopping."""

import numpy as np
import pytest

from skconvfilter import ConvFilterBankRegressor
from skconvfilter.datasets import make_filter_bank_regression
from skconvfilter.model.activations import ACTIVATIONS
from skconvfilter.model.bank_objective import make_bank_objective
from skconvfilter.model.geometry import Convolution
from skconvfilter.model.squared_error import SquaredError
from skconvfilter.solvers.forward import ForwardSearch

WINDOW = {"kernel_size": 3, "input_shape": (6, 6)}


def make_objective(
    activation="relu", n_filters=2, n_samples=400, seed=0, noise=0.0, bias=False
):
    """The objective of a bank on normal images that a bank of two has labelled."""
    model = ConvFilterBankRegressor(2, activation=activation, **WINDOW)
    biases = [0.3, -0.5] if bias else 0.0
    X, y = make_filter_bank_regression(
        n_samples,
        model,
        output_weights=[1, -1],
        noise=noise,
        bias=biases,
        random_state=seed,
    )
    return make_bank_objective(
        X,
        Convolution.of(model).geometry(36).with_constant(float(bias)),
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
    found = search(make_objective(activation, n_filters=4, noise=0.1))
    bank = found.run()
    assert bank.filters.shape == (4, 9)
    losses = [found.path[size].loss for size in (1, 2, 3, 4)]
    assert (np.diff(losses) <= 0).all()
    assert [len(smaller.signs) for smaller in found.smaller_banks()] == [1, 2, 3]


def test_the_bank_behind_the_targets_is_found():
    exact = [search(make_objective(seed=seed)).run().loss < 1e-10 for seed in range(5)]
    assert sum(exact) >= 4


@pytest.mark.parametrize("activation", ["relu", "squared_relu"])
def test_the_bank_is_found_where_steps_take_long(monkeypatch, activation):
    monkeypatch.setattr(SquaredError, "is_costly", lambda self: True)
    exact = [
        search(make_objective(activation, seed=seed)).run().loss < 1e-10
        for seed in range(5)
    ]
    assert sum(exact) >= 4


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_one_more_filter_beside_others_is_a_larger_bank(activation):
    objective = make_objective(activation, noise=0.1)
    filters, signs = np.random.default_rng(0).standard_normal((2, 9)), np.array([-1.0, 1.0])
    beside = objective.beside(filters[:1], signs[:1])
    alone = beside.value(filters[1:].T, signs[np.newaxis, 1:])
    both = objective.value(filters.reshape(-1, 1), signs[np.newaxis])
    assert alone.loss[0] == pytest.approx(both.loss[0])


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_linear_models_are_those_of_filters_with_a_large_bias(activation):
    objective = make_objective(activation, bias=True, noise=0.1)
    objective.sample_weight = np.random.default_rng(0).uniform(0.1, 2, 400)
    columns, targets, _ = objective.linear_models()
    w = np.append(np.linspace(-1, 1, 9), 100.0)
    values = objective.values_of_filters(w[np.newaxis])[:, 0]
    shares = objective.sample_weight / objective.sample_weight.sum()
    roots = np.sqrt(shares)
    np.testing.assert_allclose(columns @ w[:9], roots * (values - shares @ values))
    errors = objective.targets - values
    loss = 0.5 * shares @ (errors - shares @ errors) ** 2
    assert 0.5 * np.sum((targets - columns @ w[:9]) ** 2) == pytest.approx(loss)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_a_reflection_differs_by_a_linear_model(activation):
    objective = make_objective(activation, bias=True)
    w = np.append(np.linspace(-1, 1, 9), 0.3)
    values, reflected = objective.values_of_filters(np.stack([w, -w])).T
    difference = (values - reflected - np.mean(values - reflected)) / 20
    columns, _, slope = objective.linear_models()
    np.testing.assert_allclose(slope * columns @ w[:9], difference)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_beside_a_linear_filter_the_bank_is_found(activation):
    for seed in range(5):
        found = search(make_objective(activation, seed=seed, bias=True), relaxed=True)
        bank = found.run()
        assert bank.loss < 1e-10
        # The linear filter has gone.
        assert np.abs(bank.filters[:, -1]).max() < 10


@pytest.mark.parametrize("bias", [False, True])
def test_the_path_beside_a_linear_filter_has_banks_without_it(bias):
    found = search(make_objective(n_filters=3, noise=0.1, bias=bias), relaxed=True)
    found.run()
    assert list(found.path) == [1, 2, 3]
    for size, bank in found.path.items():
        assert bank.filters.shape == (size, 9 + bias)
        assert not bias or np.abs(bank.filters[:, -1]).max() < 10


def test_filters_without_bias_have_one_for_a_while_only():
    for seed in range(5):
        objective = make_objective(seed=seed)
        bank = search(objective, relaxed=True).run()
        assert bank.filters.shape == (2, 9)
        W, signs = bank.padded(2)
        assert objective.value(W[:, np.newaxis], signs[np.newaxis]).loss[0] < 1e-10


@pytest.mark.parametrize("relaxed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "squared_relu"])
def test_with_generalized_least_squares_the_bank_is_found(activation, bias, relaxed):
    exact = 0
    for seed in range(5):
        objective = make_objective(activation, seed=seed, bias=bias)
        found = search(objective, relaxed=relaxed, ridge=1e-4)
        W, signs = found.run().padded(2)
        loss = objective.value(W[:, np.newaxis], signs[np.newaxis]).loss[0]
        exact += loss < 1e-8
        assert list(found.path) == [1, 2]
    assert exact >= 4


@pytest.mark.parametrize("seed", range(3))
def test_generalized_least_squares_take_output_weights_of_1_only(seed):
    objective = make_objective(n_filters=3, seed=seed)
    assert (search(objective, signed=False, ridge=1e-4).run().signs == 1).all()


@pytest.mark.parametrize(
    ("activation", "alpha"), [("tanh", 0.0), ("relu", 0.1)], ids=["scale", "penalty"]
)
def test_least_squares_that_cannot_be_generalized_are_not(activation, alpha):
    objective = make_objective(activation, n_filters=3).with_alpha(alpha)
    plain, generalized = search(objective).run(), search(objective, ridge=1e-4).run()
    np.testing.assert_array_equal(generalized.filters, plain.filters)


def test_without_linear_models_there_is_nothing_to_relax():
    objective = make_objective("tanh", n_filters=3)
    plain, relaxed = search(objective).run(), search(objective, relaxed=True).run()
    np.testing.assert_array_equal(relaxed.filters, plain.filters)


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


@pytest.mark.parametrize("option", [{"relaxed": True}, {"ridge": 1e-4}])
def test_a_callback_sees_no_other_problem(option):
    def callback(snapshot):
        raise AssertionError

    search(make_objective(noise=0.1, bias=True), callback=callback, **option).run()
