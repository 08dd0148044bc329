"""Hermite moments of targets: of data, of a bank of filters, and contracted with vectors.

A moment of order m is the symmetric tensor ``M_m = E[y He_m(x)]`` of targets y and one
white patch x. Two indices are kept packed into one, a pair: M_3 is an array (n_pairs, d)
and M_4 is (n_pairs, n_pairs). Where the two differ, the entry is multiplied by the square
root of 2, so that products of packed arrays are those of the tensors.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skconvfilter.model.activations import Activation
from skconvfilter.model.squared_error import Array

_ROOT_2 = np.sqrt(2.0)


class Bank(NamedTuple):
    """Filters of white patches, and the signs of their outputs, times a common factor."""

    filters: Array  # (d, n_filters)
    signs: Array  # (n_filters,)

    @property
    def lengths(self) -> Array:
        """Norms of the filters."""
        return np.linalg.norm(self.filters, axis=0)

    def values(self, activation: Activation, X: Array, mean: Array) -> Array:
        """Model values of samples with patches X (d, n_samples, n_patches) + mean (d,)."""
        d, n_samples, n_patches = X.shape
        preactivations = self.filters.T @ X.reshape(d, -1)
        preactivations += (mean @ self.filters)[:, np.newaxis]
        values = self.signs @ activation.value(preactivations)
        return values.reshape(n_samples, n_patches) @ np.ones(n_patches)

    def moment(self, activation: Activation, order: int, V: Array) -> Array:
        r"""Moment for independent standard normal patches.

        .. math::

            E[y\, He_m(x)] = \sum_j v_j c_m(\|w_j\|) \bar w_j^{\otimes m}

        Its coordinates are those of :func:`measured_moments`.
        """
        coefficients = self.signs * activation.hermite(order, self.lengths)
        U = self.filters / self.lengths
        if order == 1:
            return U @ coefficients
        inside = V.T @ U
        left = inside if order == 2 else packed_squares(inside)
        right = {2: inside, 3: U, 4: left}[order]
        return (left * coefficients) @ right.T


def empty_bank(rank: int) -> Bank:
    """A bank without filters."""
    return Bank(np.empty((rank, 0)), np.empty(0))


class Polynomial(NamedTuple):
    """A sum over white patches of ``b . x + x' D x / 2``, less its mean."""

    linear: Array  # b (d,)
    quadratic: Array  # D (d, d)

    def values(self, X: Array) -> Array:
        """At samples with patches X (d, n_samples, n_patches)."""
        d, n_samples, n_patches = X.shape
        X = X.reshape(d, -1)
        values = self.linear @ X - np.trace(self.quadratic) / 2
        if self.quadratic.any():
            products = self.quadratic @ X
            products *= X
            values += products.sum(axis=0) / 2
        return values.reshape(n_samples, n_patches) @ np.ones(n_patches)


def pair_indices(d: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Rows, columns and factors of the pairs."""
    rows, columns = np.triu_indices(d)
    return rows, columns, np.where(rows == columns, 1.0, _ROOT_2)


def packed_squares(U: Array) -> Array:
    """``u u'`` of every column of U (d, n), packed, shape (n_pairs, n)."""
    d = len(U)
    squares = np.empty((d * (d + 1) // 2, U.shape[1]))
    start = 0
    for i in range(d):
        stop = start + d - i
        np.multiply(U[i] * _ROOT_2, U[i:], out=squares[start:stop])
        squares[start] /= _ROOT_2
        start = stop
    return squares


def pack(matrices: Array) -> Array:
    """Symmetric matrices (d, d, ...), packed, shape (n_pairs, ...)."""
    rows, columns, factors = pair_indices(len(matrices))
    return (matrices[rows, columns].T * factors).T


def unpack(packed: Array) -> Array:
    """The inverse of :func:`pack`."""
    d = int(np.sqrt(2 * len(packed)))
    rows, columns, factors = pair_indices(d)
    matrices = np.empty((d, d, *packed.shape[1:]))
    matrices[rows, columns] = matrices[columns, rows] = (packed.T / factors).T
    return matrices


def contract(moment: Array, order: int, U: Array) -> Array:
    """``M_m(u, ..., u, .)`` for every column of U (d, n), shape (d, n)."""
    if order == 1:
        return np.repeat(moment[:, np.newaxis], U.shape[1], axis=1)
    if order == 2:
        return moment @ U
    squares = packed_squares(U)
    if order == 3:
        return moment.T @ squares
    return np.einsum("abj,bj->aj", unpack(moment @ squares), U)


def measured_moments(
    stream: Iterable[tuple[Array, Array]], V: Array, order: int
) -> dict[int, Array]:
    """Moments of errors with the white patches of the samples.

    Parameters
    ----------
    stream : iterable of (ndarray, ndarray)
        White patches (d, n_rows, n_patches) of the samples that come next, and their
        errors (n_rows,) times their weights. All weights add up to 1; but for a moment of
        order 1 alone, their products with the errors must add up to 0.
    V : ndarray of shape (d, k)
        Orthonormal columns, the coordinates that moments of order 2 and more are in.
    order : {2, 3, 4}
        The highest of them.

    Returns
    -------
    moments : dict of ndarray
        1: shape (d,); 2: shape (k, k); `order`: packed, where one index of a moment of
        order 3 remains as it is, shape (k (k + 1) / 2, d).
    """
    d, k = V.shape
    n_pairs = k * (k + 1) // 2
    first, second = np.zeros(d), np.zeros((k, k))
    highest = np.zeros((n_pairs, d if order == 3 else n_pairs))
    for X, errors in stream:
        n_patches = X.shape[2]
        weights = np.repeat(errors / n_patches, n_patches)
        X = X.reshape(len(X), -1)
        Y = V.T @ X
        first += X @ weights
        second += (Y * weights) @ Y.T
        if order == 3:
            highest += packed_squares(Y) @ (X * weights).T
        elif order == 4:
            highest += _weighted_fourth_powers(Y, weights)
    moments = {1: first, 2: second}
    if order == 3:
        moments[3] = highest - _third_correction(first, V)
    elif order == 4:
        moments[4] = highest - _fourth_correction(second)
    return moments


def _weighted_fourth_powers(Y: Array, weights: Array) -> Array:
    """Sum of ``w y y y y`` over the columns of Y, packed.

    Positive and negative w are summed separately, since the product of an array with
    itself costs half.
    """
    n_pairs = len(Y) * (len(Y) + 1) // 2
    total = np.zeros((n_pairs, n_pairs))
    for sign in (1, -1):
        chosen = sign * weights > 0
        squares = packed_squares(Y[:, chosen] * np.abs(weights[chosen]) ** 0.25)
        total += sign * (squares @ squares.T)
    return total


def _third_correction(first: Array, V: Array) -> Array:
    """``x^3 - He_3``: the three products of x and I, packed."""
    rows, columns, factors = pair_indices(V.shape[1])
    inside = V.T @ first
    crossed = (
        inside[rows, np.newaxis] * V.T[columns] + inside[columns, np.newaxis] * V.T[rows]
    )
    return np.outer(pack(np.eye(len(inside))), first) + factors[:, np.newaxis] * crossed


def _fourth_correction(second: Array) -> Array:
    """``x^4 - He_4``: the six products of xx' and I, packed.

    The products of I and I have the factor 0, the sum of the errors.
    """
    k = len(second)
    rows, columns, factors = pair_indices(k)
    eye = np.eye(k)
    crossed = sum(
        second[np.ix_(a, c)] * eye[np.ix_(b, d)]
        for a, b in ((rows, columns), (columns, rows))
        for c, d in ((rows, columns), (columns, rows))
    )
    apart = np.outer(pack(second), pack(eye))
    return apart + apart.T + crossed * np.outer(factors, factors)
