from dataclasses import replace

import numpy as np
import pytest

from skconvfilter.initializers.decomposition import (
    banks_along,
    fit_moments,
    fitting_signs,
    joint_directions,
    joint_rotation,
    lengths_short_of_a_step,
    moment_misfit,
    slices,
)
from skconvfilter.initializers.moments import Bank
from skconvfilter.model.activations import ACTIVATIONS
from tests.initializers.teachers import NAMES, SIGNED, Data, make_filters

ORDERS = {"relu": [2, 4], "leaky_relu": [2, 4], "squared_relu": [2, 3]}


def make_problem(name, n_filters, *, signed=False, condition=2.0, seed=0):
    """A bank, in as many dimensions as it has filters, and its exact moments."""
    rng = np.random.default_rng(seed)
    filters = 2 / condition * make_filters(n_filters, n_filters, rng, condition)
    # The output signs of an odd activation are 1: there, -1 is the sign of the filter.
    is_signed = signed and name in SIGNED
    signs = rng.choice([-1.0, 1.0], n_filters) if is_signed else np.ones(n_filters)
    bank, activation = Bank(filters, signs), ACTIVATIONS[name]
    orders = [1, *ORDERS.get(name, [3])]
    eye = np.eye(n_filters)
    moments = {order: bank.moment(activation, order, eye) for order in orders}
    return Data(activation, None, None, bank), moments


def joint_offdiagonal(matrices):
    eye = np.eye(matrices.shape[1])
    return np.abs(matrices * (1 - eye)).max()


def random_rotation(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]


@pytest.mark.parametrize("d", [1, 7])
def test_joint_rotation_diagonalises(d):
    Q, rng = random_rotation(d), np.random.default_rng(1)
    matrices = (Q * rng.standard_normal((5, 1, d))) @ Q.T
    before = matrices.copy()
    R = joint_rotation(matrices)
    np.testing.assert_array_equal(matrices, before)
    np.testing.assert_allclose(R.T @ R, np.eye(d), atol=1e-12)
    assert joint_offdiagonal(R.T @ matrices @ R) < 1e-7


@pytest.mark.parametrize("definite", [True, False])
@pytest.mark.parametrize("d", [1, 2, 6])
def test_joint_directions_need_neither_orthogonal_nor_definite(d, definite):
    rng = np.random.default_rng(d)
    U = rng.standard_normal((d, d)) + 2 * random_rotation(d)
    U /= np.linalg.norm(U, axis=0)
    weights = rng.standard_normal((3 * d, 1, d))
    matrices = (U * (np.abs(weights) if definite else weights)) @ U.T
    cosines = np.abs(joint_directions(matrices).T @ U)
    np.testing.assert_allclose(cosines.max(axis=0), 1, atol=1e-9)
    np.testing.assert_allclose(cosines.max(axis=1), 1, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_slices_are_diagonal_in_the_directions(name):
    data, moments = make_problem(name, 4)
    inverse = np.linalg.inv(data.bank.filters)
    matrices = slices(moments)
    np.testing.assert_allclose(matrices, matrices.transpose(0, 2, 1))
    assert joint_offdiagonal(inverse @ matrices @ inverse.T) < 1e-12
    # Scaled so that their squares add up to those of the moments, each over m!.
    factorial = {2: 2, 3: 6, 4: 24}
    wanted = sum(np.sum(M**2) / factorial[m] for m, M in moments.items() if m > 1)
    assert np.sum(matrices**2) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("name", "signed"),
    [(name, False) for name in NAMES] + [(name, True) for name in [*SIGNED, "tanh"]],
)
@pytest.mark.parametrize(("n_filters", "condition"), [(1, 2.0), (2, 10.0), (10, 2.0)])
def test_exact_moments_give_the_filters(name, signed, n_filters, condition):
    data, moments = make_problem(name, n_filters, signed=signed, condition=condition)
    U = joint_directions(slices(moments))
    banks = banks_along(data.activation, U, moments, signed=signed)
    # Lengths are exact where they follow from a power, else the nearest that is tried.
    assert data.error(*banks[0]) < (1e-6 if name in SIGNED else 0.1)
    bank, misfit = fit_moments(data.activation, moments, banks[0])
    assert data.error(*bank) < 1e-6
    assert misfit < 1e-12


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_negative_outputs_are_found_or_refused(name):
    data, moments = make_problem(name, 4)
    negative = {order: -moment for order, moment in moments.items()}
    U = joint_directions(slices(negative))
    banks = banks_along(data.activation, U, negative, signed=True)
    np.testing.assert_array_equal(banks[0].signs, -1)
    np.testing.assert_allclose(banks[0].lengths.max(), data.bank.lengths.max(), rtol=1e-6)
    assert banks_along(data.activation, U, negative, signed=False) == []


@pytest.mark.parametrize("n_columns", [1, 3, 12, 20])
def test_signs_that_fit(n_columns):
    rng = np.random.default_rng(n_columns)
    columns = rng.standard_normal((20, n_columns))
    signs = rng.choice([-1.0, 1.0], n_columns)
    target = columns @ signs + 0.1 * rng.standard_normal(20)
    choices = fitting_signs(columns, target)
    np.testing.assert_array_equal(choices[0], signs)
    assert set(np.abs(choices).ravel()) == {1.0}
    assert len(np.unique(choices, axis=0)) == len(choices) <= 4
    misfits = np.linalg.norm(choices @ columns.T - target, axis=1)
    assert np.all(np.diff(misfits) >= 0)


def test_signs_are_searched_where_least_squares_are_wrong():
    # Two columns that are nearly one: least squares give them opposite signs.
    columns = np.array([[1.0, 1.0], [0.0, 0.01]])
    target = np.array([2.0, -0.02])
    assert np.prod(np.linalg.solve(columns, target)) < 0
    np.testing.assert_array_equal(fitting_signs(columns, target)[0], [1.0, 1.0])


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "erf"])
def test_lengths_short_of_a_step(name):
    activation = ACTIVATIONS[name]
    lengths = lengths_short_of_a_step(activation)
    assert np.all(np.diff(lengths) > 0)
    assert lengths[0] < 0.05
    share = activation.hermite(1, lengths[-1]) / activation.hermite(1, 1e4)
    assert share == pytest.approx(0.97, abs=1e-3)


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "erf"])
def test_a_bank_of_steps_is_shortened_and_else_left_alone(name):
    # No derivative of a step's moments leads anywhere.
    data, moments = make_problem(name, 1)
    steps = data.bank._replace(filters=1e12 * data.bank.filters)
    bank, _ = fit_moments(data.activation, moments, steps)
    longest = lengths_short_of_a_step(data.activation)[-1]
    np.testing.assert_allclose(bank.filters, longest * np.sign(data.bank.filters))


@pytest.mark.parametrize("name", NAMES)
def test_misfit_and_its_derivatives(name):
    data, moments = make_problem(name, 4, signed=name in SIGNED)
    activation, (W, signs) = data.activation, data.bank
    rng = np.random.default_rng(0)
    W, direction = W + 0.2 * rng.standard_normal(W.shape), rng.standard_normal(W.shape)

    def evaluate(W):
        return moment_misfit(activation, moments, Bank(W, signs))

    # Whole tensors for the value: of all orders, over the factorials.
    value, gradient, hessian, bank = evaluate(W)
    factorial = {1: 1, 2: 2, 3: 6, 4: 24}
    scales = bank.signs / signs
    if activation.homogeneity is None:
        np.testing.assert_allclose(scales, scales[0])
        assert scales[0] != 1
        for scale in (0.99, 1.01):  # the best one
            other = moment_misfit(
                replace(activation, homogeneity=1), moments, Bank(W, scale * bank.signs)
            )
            assert other[0] > value
    else:
        np.testing.assert_array_equal(scales, 1)
    differences = [
        (bank.moment(activation, m, np.eye(4)) - M, factorial[m])
        for m, M in moments.items()
    ]
    wanted = 0.5 * sum(np.sum(D**2) / f for D, f in differences)
    assert value == pytest.approx(wanted, rel=1e-10)
    h, along = 1e-4, direction.T.ravel()
    slope = (evaluate(W + h * direction)[0] - evaluate(W - h * direction)[0]) / (2 * h)
    assert gradient @ along == pytest.approx(slope, rel=1e-5)
    # Where all moments fit, the Gauss-Newton matrix is the Hessian.
    W = data.bank.filters
    _, gradient, hessian, _ = evaluate(W)
    np.testing.assert_allclose(gradient, 0, atol=1e-9)
    up, down = evaluate(W + h * direction)[1], evaluate(W - h * direction)[1]
    np.testing.assert_allclose(hessian @ along, (up - down) / (2 * h), rtol=1e-4, atol=1e-6)
