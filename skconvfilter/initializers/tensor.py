"""The tensor method: a start near the filters, from moments of the targets."""

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from skconvfilter.initializers.decomposition import (
    banks_along,
    fit_moments,
    joint_directions,
    slices,
)
from skconvfilter.initializers.moments import (
    Bank,
    Polynomial,
    empty_bank,
    measured_moments,
    unpack,
)
from skconvfilter.initializers.whitening import WhiteSamples
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.activations import Activation
from skconvfilter.model.squared_error import ROUNDING_UNITS, Array

# A round is the last if it leaves more than this part of what its predecessor left, or less
# than this share of the variance of the targets.
_SLOW, _SMALL_SHARE = 0.9, 1e-3
# A subspace is first searched for in so many directions, and two more for each filter.
_EXTRA_DIRECTIONS = 8


# Returns a fresh iterator over arrays (n_block, n_patches, patch_dim).
PatchBlocks: TypeAlias = Callable[[], Iterator[FloatArray]]


class MomentsVanish(ValueError):
    """The data give no tensor start, for the reason that the message states."""


class TensorStart(NamedTuple):
    """Filters, the longest on white patches first, and the signs of their outputs."""

    W: Array  # (patch_dim, n_filters)
    signs: Array  # (n_filters,), 1.0 or -1.0, times the output scale
    warning: str | None = None  # why it may be no better than a random one


def tensor_start(
    patch_blocks: PatchBlocks,
    targets: Array,
    n_filters: int,
    activation: Activation,
    *,
    sample_weight: Array | None = None,
    signed: bool = False,
    contraction: Literal["all", "single"] = "all",
    random_state: int | np.random.SeedSequence | np.random.Generator | None,
) -> TensorStart:
    r"""Filters near those that made the targets, by the tensor method of [1]_.

    The model is

    .. math::

        y = \sum_j v_j \sum_i \phi(w_j \cdot z_i) + \mathrm{constant} + \mathrm{noise}

    with independent patches :math:`z_i \sim N(0, \Sigma)` and linearly independent
    filters. In coordinates x where patches are white, the moment of y with the m-th
    Hermite tensor of a patch is

    .. math::

        E[y\, He_m(x)] = \sum_j v_j c_m(\|w_j\|) \bar w_j^{\otimes m},
        \qquad c_m(s) = E[\phi(s z) He_m(z)].

    The lowest order of 2 and more at which c_m does not vanish determines the subspace of
    the filters, the next one (or the same) the filters within it, and the first their
    signs: orders 1, 2 and 4 for the ReLU, 1, 2 and 3 for its square, 1 and 3 for odd
    functions.

    Parameters
    ----------
    patch_blocks : callable
        Returns a fresh iterator over arrays (n_block, n_patches, patch_dim), float32 or
        float64, that hold the patches of all samples in order. Patches do not overlap.
    targets : ndarray of shape (n_samples,)
    n_filters : int
    activation : Activation
    sample_weight : ndarray of shape (n_samples,), default=None
        Weights of at least 0; None is all ones.
    signed : bool, default=False
        Whether the signs v are unknown. An odd activation leaves them 1, since there -1
        is the sign of the filter.
    contraction : {"all", "single"}, default="all"
        "single" is the paper's algorithm, for comparison: moments are contracted with one
        random vector and decomposed once.
    random_state : int, SeedSequence, Generator or None
        For random vectors and, in many directions, projections.

    Returns
    -------
    start : TensorStart

    Raises
    ------
    MomentsVanish
        If the data give no start: constant targets, more filters than directions in which
        patches vary, or moments of 0. For moments no larger than those of noise the start
        has a warning: it is as good as any random one.

    Notes
    -----
    Beyond the paper:

    1. The error of a moment is in proportion to what is left of y when it is measured. So
       the lower orders are removed before a higher one is measured, by least squares for
       the linear part. In further rounds, what the bank of the round before explains is
       removed, and its own moments, known in closed form, are added. So the teacher is a
       fixed point, whatever the distribution of the patches.
    2. The decomposition takes all slices of all moments, and no half of the samples is
       kept for a step of its own.
    3. All moments are then fitted by least squares, lengths and directions at once.

    The first round assumes that patches are normal with mean 0. Where they nearly are, as
    with a mean below their spread, later rounds correct the error. Where they are not, as
    with heavy tails, a random start may be better.

    Time and memory are linear in the number of samples; apart from the data, memory is
    needed for a few numbers of each. For t filters, moments of order 4 take t^4 / 4
    numbers.

    References
    ----------
    .. [1] K. Zhong, Z. Song, I. S. Dhillon, "Learning Non-overlapping Convolutional Neural
       Networks with Multiple Kernels", 2017: the initialisation by tensor methods.
    .. [2] K. Zhong, Z. Song, P. Jain, P. L. Bartlett, I. S. Dhillon, "Recovery Guarantees
       for One-hidden-layer Neural Networks", ICML 2017, section 5: its algorithm, for one
       patch and with output signs.
    """
    if sample_weight is None:
        sample_weight = np.ones(len(targets))
    method = TensorMethod(
        activation,
        n_filters,
        signed,
        single=contraction == "single",
        rng=np.random.default_rng(random_state),
    )
    return method.start(patch_blocks, targets, sample_weight)


@dataclass(frozen=True)
class TensorMethod:
    """What :func:`tensor_start` was asked for, and what it costs at most.

    Parameters
    ----------
    activation, n_filters, signed
        As of :func:`tensor_start`.
    single : bool
        Whether ``contraction="single"``.
    rng : numpy.random.Generator
    n_rounds : int, default=4
        Largest number of banks, each from what the one before leaves unexplained.
    many_samples : int, default=2**14
        Where there are at least twice as many, about so many make a first start, which
        all of them improve.
    """

    activation: Activation
    n_filters: int
    signed: bool
    single: bool
    rng: np.random.Generator
    n_rounds: int = 4
    many_samples: int = 2**14

    @property
    def orders(self) -> list[int]:
        """The lowest orders, of 2 and more, that do not vanish: two, or the only one."""
        return [m for m in (2, 3, 4) if self.activation.hermite(m, 1.0) != 0][:2]

    def start(self, blocks: PatchBlocks, targets: Array, weights: Array) -> TensorStart:
        """The start; many samples are first thinned out."""
        first, stride = None, len(targets) // self.many_samples
        if stride > 1 and not self.single:
            thinned = partial(_every, stride, blocks)
            with suppress(MomentsVanish):
                first = self.improve(None, thinned, targets[::stride], weights[::stride])
        return self.improve(first, blocks, targets, weights)

    def improve(
        self,
        start: TensorStart | None,
        blocks: PatchBlocks,
        targets: Array,
        weights: Array,
    ) -> TensorStart:
        """A start from given samples, or from these and a start that explains part of it.

        Parameters
        ----------
        start : TensorStart or None
        blocks : callable
        targets, weights : ndarray of shape (n_samples,)
        """
        if not weights.any():
            raise MomentsVanish("The weights of all samples are 0.")
        samples = WhiteSamples(blocks, targets, weights)
        rounding = ROUNDING_UNITS * np.finfo(np.float64).eps * np.abs(targets).max()
        if samples.variance <= rounding**2:
            raise MomentsVanish("The targets are constant.")
        if self.n_filters > samples.rank:
            raise MomentsVanish(
                f"{self.n_filters} filters cannot be linearly independent: patches of "
                f"length {samples.patch_dim} vary in {samples.rank} directions."
            )
        bank = empty_bank(samples.rank)
        if start is not None:
            filters = np.linalg.lstsq(samples.basis, start.W, rcond=None)[0]
            bank = Bank(filters.astype(np.float64), start.signs)
        rounds = _Rounds(samples, self)
        bank = rounds.run(bank)
        # The order of eigenvectors, in which filters are found, is one of rounding.
        order = np.argsort(-bank.lengths)
        W = samples.basis @ bank.filters[:, order]
        return TensorStart(W, bank.signs[order], rounds.warning)


def _every(stride: int, blocks: PatchBlocks) -> Iterator[FloatArray]:
    """The blocks with every so many samples only."""
    n_skipped = 0
    for block in blocks():
        yield block[n_skipped::stride]
        n_skipped = (n_skipped - len(block)) % stride


class Residual(NamedTuple):
    """What a bank leaves unexplained."""

    errors: Array  # (n_samples,), of mean 0
    power: float  # their weighted mean square
    first: Array  # (d,), their first moment


class _Rounds:
    """Banks of white patches, each from the moments of what the one before leaves."""

    def __init__(self, samples: WhiteSamples, method: TensorMethod) -> None:
        self.samples = samples
        self.method = method
        self.activation = method.activation
        self.warning: str | None = None

    def run(self, bank: Bank) -> Bank:
        """The best bank: of all rounds, or the given one if it explains anything."""
        n_rounds = self.method.n_rounds
        bank, residual = self._fit(bank)
        if not residual.power < self.samples.variance:
            bank = self._next_bank(*self._fit(empty_bank(self.samples.rank)))
            if self.method.single:
                return bank
            bank, residual = self._fit(bank)
            n_rounds -= 1
        return self._refine(bank, residual, n_rounds)

    def _refine(self, bank: Bank, residual: Residual, n_rounds: int) -> Bank:
        """Further rounds, for as long as they lower the residual enough."""
        for _ in range(n_rounds):
            try:
                found, left = self._fit(self._next_bank(bank, residual))
            except MomentsVanish:
                return bank
            if not left.power < residual.power:
                return bank
            is_slow = left.power > _SLOW * residual.power
            bank, residual = found, left
            if is_slow or residual.power < _SMALL_SHARE * self.samples.variance:
                return bank
        return bank

    def _next_bank(self, bank: Bank, residual: Residual) -> Bank:
        return self._bank_with(*self._moments(bank, residual))

    def _fit(self, bank: Bank) -> tuple[Bank, Residual]:
        """The bank, scaled to fit best, and what it leaves."""
        samples, degree = self.samples, self.activation.homogeneity
        if not bank.filters.size:
            return bank, Residual(samples.targets, samples.variance, samples.first)
        values = partial(bank.values, self.activation, mean=samples.mean)
        no_frame = np.empty((samples.rank, 0))
        measured, errors = self._measure(samples.targets, values, no_frame, 2)
        first = measured[1]
        errors -= samples.weights @ errors
        fit = samples.targets - errors
        product = samples.weights @ (fit * samples.targets)
        if product > 0:
            scale = product / (samples.weights @ fit**2)
            if degree is None:
                bank = bank._replace(signs=scale * bank.signs)
            else:
                bank = bank._replace(filters=scale ** (1 / degree) * bank.filters)
            errors += (1 - scale) * fit
            first = first + (1 - scale) * (samples.first - first)
        return bank, Residual(errors, float(samples.weights @ errors**2), first)

    def _moments(self, bank: Bank, residual: Residual) -> tuple[Array, dict[int, Array]]:
        """A basis of the filters' subspace, and the moments of the targets in it.

        A moment of the targets is the sum of those of the bank and of a polynomial, both
        known in closed form, and of what is measured on the targets without these two.
        """
        regress, orders = self.samples.regress, self.method.orders
        of_bank = partial(bank.moment, self.activation)
        by_squares = orders[0] == 2
        find = self._subspace_of_squares if by_squares else self._subspace_of_cubes
        V, removed = find(bank, residual)
        measured, _ = self._measure(residual.errors, removed.values, V, orders[-1])
        moments = {1: V.T @ (of_bank(1, V) + removed.linear + regress(measured[1]))}
        for order in orders:
            moments[order] = of_bank(order, V) + measured[order]
        if 2 in orders:
            moments[2] += V.T @ removed.quadratic @ V
        if 3 in orders:
            moments[3] = moments[3] @ V
        return V, moments

    def _subspace_of_squares(
        self, bank: Bank, residual: Residual
    ) -> tuple[Array, Polynomial]:
        """A basis of the filters' subspace by the moment of order 2.

        Also returns the polynomial to remove before higher orders are measured: the linear
        fit, and the moment of order 2 that the bank does not have.
        """
        eye = np.eye(self.samples.rank)
        of_bank = bank.moment(self.activation, 2, eye)
        removed = self._linear_fit(residual)
        for _ in range(self._n_passes(bank)):
            measured, errors = self._measure(residual.errors, removed.values, eye, 2)
            moment = of_bank + removed.quadratic + measured[2]
            eigenvalues, eigenvectors = np.linalg.eigh(moment)
            if self.method.signed:
                sizes = np.abs(eigenvalues)
                square = sizes @ sizes
            else:
                # Of noise, half of the sum of squares belongs to positive eigenvalues.
                sizes = np.maximum(eigenvalues, 0)
                square = 2 * (sizes @ sizes)
            self._compare_with_chance(bank, 2, square, len(eye), errors)
            largest = np.argsort(-sizes)[: self.method.n_filters]
            V = eigenvectors[:, largest]
            removed = Polynomial(
                removed.linear + self.samples.regress(measured[1]),
                (V * eigenvalues[largest]) @ V.T - of_bank,
            )
        return V, removed

    def _subspace_of_cubes(
        self, bank: Bank, residual: Residual
    ) -> tuple[Array, Polynomial]:
        """The same by the moment of order 3, if that of order 2 vanishes.

        Two of its three indices are measured in a frame: the bank's filters or, without a
        bank, random directions. All rows of the moment together span the subspace.
        """
        rank, n_filters, rng = self.samples.rank, self.method.n_filters, self.method.rng
        removed = self._linear_fit(residual)
        V = bank.filters
        if not V.size:
            n_directions = min(rank, 2 * n_filters + _EXTRA_DIRECTIONS)
            V = rng.standard_normal((rank, n_directions))
            V[:, 0] = removed.linear
        for _ in range(self._n_passes(bank)):
            frame = np.linalg.qr(V)[0]
            measured, errors = self._measure(residual.errors, removed.values, frame, 3)
            moment = bank.moment(self.activation, 3, frame) + measured[3]
            square = np.sum(moment**2)
            self._compare_with_chance(bank, 3, square, frame.shape[1], errors)
            if self.method.single:
                moment = np.tensordot(rng.standard_normal(len(frame.T)), unpack(moment), 1)
            V = np.linalg.svd(moment, full_matrices=False)[2][:n_filters].T
            linear = removed.linear + self.samples.regress(measured[1])
            removed = removed._replace(linear=linear)
        return V, removed

    def _linear_fit(self, residual: Residual) -> Polynomial:
        rank = self.samples.rank
        return Polynomial(self.samples.regress(residual.first), np.zeros((rank, rank)))

    def _n_passes(self, bank: Bank) -> int:
        """Two where nothing is known of the subspace: the first is a rough one."""
        return 1 if bank.filters.size else 2

    def _measure(
        self, targets: Array, explained: Callable[[Array], Array], frame: Array, order: int
    ) -> tuple[dict[int, Array], Array]:
        """Moments of what is left of targets, and what is left."""
        k = frame.shape[1]
        errors = np.empty_like(targets)

        def stream() -> Iterator[tuple[Array, Array]]:
            for rows, X in self.samples.chunks(k * (k + 1) // 2 if order > 2 else k):
                errors[rows] = targets[rows] - explained(X)
                yield X, self.samples.weights[rows] * errors[rows]

        return measured_moments(stream(), frame, order), errors

    def _compare_with_chance(
        self, bank: Bank, order: int, square: float, k: int, errors: Array
    ) -> None:
        """Warn of a moment of order 2 or 3 no larger than chance and rounding make it.

        If it is no larger than rounding makes it, or in a further round, MomentsVanish is
        raised.

        If errors and patches have nothing to do with each other, the expected square of a
        moment is that of a mean of errors times ``E |He_m(x)|^2``. Each of the different
        entries of the Hermite tensor, with all indices but one in k dimensions, adds m! to
        the latter.
        """
        samples = self.samples
        size = k * (k + 1) * (samples.rank + 2 if order == 3 else 1)
        noise = np.sum((samples.weights * errors) ** 2) / samples.n_patches
        rounding = samples.variance * (ROUNDING_UNITS * samples.precision) ** 2
        # Twice the standard deviation of a chi-squared number.
        margin = 2 * np.sqrt(2 * math.factorial(order) / size)
        moment = (
            f"The moment of order {order} of the targets, which determines the "
            f"{self.activation.name} filters, is no larger than chance or rounding makes "
            "it."
        )
        if square <= size * rounding * (1 + margin):
            raise MomentsVanish(moment)
        if square <= size * (noise + rounding) * (1 + margin):
            if bank.filters.size:
                raise MomentsVanish(moment)
            self.warning = moment

    def _bank_with(self, V: Array, moments: dict[int, Array]) -> Bank:
        """The bank in the subspace whose moments these are."""
        decomposed = moments
        if self.method.single:
            third = moments.get(3)
            if third is None:
                direction = self.method.rng.standard_normal(self.method.n_filters)
                third = np.tensordot(direction, unpack(moments[4]), axes=1).T
            decomposed = {3: third}
        U = joint_directions(slices(decomposed))
        banks = banks_along(self.activation, U, moments, signed=self.method.signed)
        if not banks:
            raise MomentsVanish("The moments are those of filters with negative outputs.")
        if self.method.single:
            bank = banks[0]
        else:
            fits = [fit_moments(self.activation, moments, bank) for bank in banks]
            bank, _ = min(fits, key=itemgetter(1))
        return bank._replace(filters=V @ bank.filters)
