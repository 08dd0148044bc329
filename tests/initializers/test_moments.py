from itertools import permutations

import numpy as np
import pytest

from skconvfilter.initializers.moments import (
    Bank,
    Polynomial,
    contract,
    empty_bank,
    measured_moments,
    pack,
    packed_squares,
    unpack,
)
from tests.initializers.teachers import KINDS, NAMES, SIGNED, make_data, make_filters


def hermite_tensor(order, x):
    """The tensor He_m(x), entry by entry: a sum over all ways to pair off indices."""
    d, eye = len(x), np.eye(len(x))
    if order == 1:
        return x
    if order == 2:
        return np.outer(x, x) - eye
    if order == 3:
        terms = np.einsum("a,bc->abc", x, eye)
        terms = terms + np.einsum("b,ac->abc", x, eye) + np.einsum("c,ab->abc", x, eye)
        return np.einsum("a,b,c->abc", x, x, x) - terms
    ways = {tuple(sorted((p[:2], p[2:]))) for p in permutations(range(4))}
    pairings = {tuple(sorted(tuple(sorted(pair)) for pair in way)) for way in ways}
    tensor = np.einsum("a,b,c,d->abcd", x, x, x, x)
    squares = np.outer(x, x)
    for first, second in pairings:
        axes = np.argsort(first + second)
        tensor = tensor - np.multiply.outer(squares, eye).transpose(axes)
        tensor = tensor - np.multiply.outer(eye, squares).transpose(axes)
        tensor = tensor + np.multiply.outer(eye, eye).transpose(axes)
    assert tensor.shape == (d,) * 4
    return tensor


def full(order, moment):
    """A packed moment as a tensor."""
    if order < 3:
        return moment
    tensor = unpack(moment)
    if order == 3:
        return tensor
    return np.moveaxis(unpack(np.moveaxis(tensor, 2, 0)), [2, 3], [0, 1])


def powers(order, U, coefficients):
    """Sum of coefficients times powers of columns."""
    letters = "abcd"[:order]
    terms = ",".join(f"{letter}j" for letter in letters)
    return np.einsum(f"{terms},j->{letters}", *[U] * order, coefficients)


def test_packing_keeps_products():
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((2, 4, 4, 3))
    A, B = A + A.transpose(1, 0, 2), B + B.transpose(1, 0, 2)
    np.testing.assert_allclose(unpack(pack(A)), A)
    np.testing.assert_allclose(np.sum(pack(A) * pack(B)), np.sum(A * B))


def test_packed_squares():
    U = np.random.default_rng(0).standard_normal((4, 6))
    squares = np.einsum("aj,bj->abj", U, U)
    np.testing.assert_allclose(packed_squares(U), pack(squares), rtol=1e-14)
    assert packed_squares(np.empty((4, 0))).shape == (10, 0)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_moments_of_a_bank_are_sums_of_powers(order):
    rng = np.random.default_rng(order)
    bank = Bank(make_filters(5, 3, rng), np.array([1.0, -1.0, 1.0]))
    V = np.linalg.qr(rng.standard_normal((5, 4)))[0]
    activation = make_data("relu", 2).activation
    coefficients = bank.signs * activation.hermite(order, bank.lengths)
    wanted = powers(order, bank.filters / bank.lengths, coefficients)
    # All indices but one of the odd orders are in the coordinates V.
    for axis in {1: [], 2: [0, 1], 3: [0, 1], 4: [0, 1, 2, 3]}[order]:
        wanted = np.moveaxis(np.tensordot(wanted, V, axes=(axis, 0)), -1, axis)
    found = full(order, bank.moment(activation, order, V))
    np.testing.assert_allclose(found, wanted, atol=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_contraction(order):
    rng = np.random.default_rng(order)
    V, U = rng.standard_normal((4, 3)), rng.standard_normal((4, 5))
    bank, activation = Bank(V, np.ones(3)), make_data("relu", 2).activation
    if order == 3:
        activation = make_data("tanh", 2).activation
    moment = bank.moment(activation, order, np.eye(4))
    tensor = full(order, moment)
    for j, u in enumerate(U.T):
        wanted = tensor
        for _ in range(order - 1):
            wanted = wanted @ u
        np.testing.assert_allclose(contract(moment, order, U)[:, j], wanted, atol=1e-12)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_measured_moments_are_means_of_hermite_tensors(order):
    rng = np.random.default_rng(order)
    X, errors = rng.standard_normal((3, 7, 2)), rng.standard_normal(7)
    errors -= errors.mean()
    V = np.linalg.qr(rng.standard_normal((3, 2)))[0]
    stream = [(X[:, :4], errors[:4]), (X[:, 4:], errors[4:])]
    moments = measured_moments(stream, V, order)
    assert set(moments) == {1, 2, order}
    for m, moment in moments.items():
        wanted = sum(
            errors[n] / 2 * hermite_tensor(m, X[:, n, i]) for n in range(7) for i in (0, 1)
        )
        for axis in {1: [], 2: [0, 1], 3: [0, 1], 4: [0, 1, 2, 3]}[m]:
            wanted = np.moveaxis(np.tensordot(wanted, V, axes=(axis, 0)), -1, axis)
        np.testing.assert_allclose(full(m, moment), wanted, atol=1e-12)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("order", [2, 3, 4])
def test_measured_moments_are_those_of_the_bank(name, order):
    n_parts, n_samples = 40, 40_000
    data = make_data(name, n_samples, 2, 3, n_patches=2, signed=name in SIGNED, seed=order)
    V = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    errors = (data.targets - data.targets.mean()) / n_samples * n_parts
    parts = np.array_split(data.patches.transpose(2, 0, 1), n_parts, axis=1)
    found = [
        measured_moments([(X, e)], V, order)
        for X, e in zip(parts, np.array_split(errors, n_parts), strict=True)
    ]
    for m in (1, order):
        draws = np.array([moments[m] for moments in found])
        error = draws.std(axis=0, ddof=1) / n_parts**0.5
        wanted = data.bank.moment(data.activation, m, V)
        assert np.all(np.abs(draws.mean(axis=0) - wanted) < 4.5 * error)


@pytest.mark.parametrize("name", NAMES)
def test_values_of_a_bank(name):
    data = make_data(name, 10, signed=name in SIGNED)
    mean = np.linspace(0, 1, 8)
    X = np.ascontiguousarray((data.patches - mean).transpose(2, 0, 1))
    values = data.bank.values(data.activation, X, mean)
    np.testing.assert_allclose(values, data.targets, rtol=1e-12)


@pytest.mark.parametrize("with_squares", [False, True])
def test_values_of_a_polynomial(with_squares):
    rng = np.random.default_rng(0)
    X, b = rng.standard_normal((3, 5, 2)), rng.standard_normal(3)
    D = rng.standard_normal((3, 3)) * with_squares
    D = D + D.T
    wanted = np.einsum("a,ani->n", b, X)
    wanted += (np.einsum("ani,ab,bni->n", X, D, X) - 2 * np.trace(D)) / 2
    np.testing.assert_allclose(Polynomial(b, D).values(X), wanted, atol=1e-12)


def test_an_empty_bank_is_zero():
    data = make_data("relu", 10)
    bank = empty_bank(8)
    for order, shape in [(1, (8,)), (2, (8, 8)), (3, (36, 8)), (4, (36, 36))]:
        moment = bank.moment(data.activation, order, np.eye(8))
        np.testing.assert_array_equal(moment, np.zeros(shape))
