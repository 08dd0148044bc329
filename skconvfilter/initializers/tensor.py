"""The tensor method: a start near the filters, from moments of the targets."""

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from skconvfilter.initializers.decomposition import banks_along, joint_directions, slices
from skconvfilter.initializers.moment_fit import fit_moments
from skconvfilter.initializers.moments import (
    Bank,
    Polynomial,
    measured_moments,
    unpack,
)
from skconvfilter.initializers.whitening import WhiteSamples
from skconvfilter.model.activations import Activation
from skconvfilter.model.squared_error import ROUNDING_UNITS

# Rounds at most. One is the last that leaves more than this part of what its predecessor
# left, or less than this share of the variance of the targets.
_MAX_ROUNDS, _SLOW, _SMALL_SHARE = 4, 0.9, 1e-3
# Where there are at least twice as many samples, about so many make the first bank.
_MANY_SAMPLES = 2**14
# A subspace is first looked for in so many directions, and two more for each filter.
_EXTRA_DIRECTIONS = 8


class MomentsVanish(ValueError):
    """The data give no tensor start, for the reason that the message states."""


class TensorStart(NamedTuple):
    """Filters, the longest on white patches first, and the signs of their outputs."""

    W: np.ndarray  # (patch_dim, n_filters)
    signs: np.ndarray  # (n_filters,), 1.0 or -1.0
    doubt: str | None = None  # why it may be no better than a random one


def tensor_start(
    patch_blocks,
    targets,
    n_filters,
    activation,
    *,
    sample_weight=None,
    signed=False,
    contraction="all",
    random_state,
):
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

    The lowest order of 2 and more at which c_m does not vanish tells the subspace of the
    filters, the next one (or the same) what they are in it, and the first their signs:
    orders 1, 2 and 4 for the ReLU, 1, 2 and 3 for its square, 1 and 3 for odd functions.

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
        "single" is the paper's algorithm: moments are contracted with one random vector
        and decomposed once. It is there to be compared with.
    random_state : int, SeedSequence, Generator or None
        For random vectors and, in many directions, projections.

    Returns
    -------
    start : TensorStart

    Raises
    ------
    MomentsVanish
        If the data give no start: constant targets, more filters than directions in which
        patches vary, or moments of 0. Moments no larger than those of noise are doubted:
        the start is as good as any random one.

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

    The first round takes patches for normal ones of mean 0; on others it errs. Where they
    are not too far from it, as with a mean below their spread, later rounds mend that.
    Where they are, as heavy tails are, a random start may be better.

    Time and memory are linear in the number of samples; beside the data, memory is needed
    for a few numbers of each. For t filters, moments of order 4 take t^4 / 4 numbers.

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
    rng = np.random.default_rng(random_state)
    settings = _Settings(activation, n_filters, signed, contraction == "single", rng)
    start, stride = None, len(targets) // _MANY_SAMPLES
    if stride > 1 and not settings.single:
        thinned = partial(_every, stride, patch_blocks)
        with suppress(MomentsVanish):
            start = _run(thinned, targets[::stride], sample_weight[::stride], settings)
    return _run(patch_blocks, targets, sample_weight, settings, start)


def _every(stride, blocks):
    """The blocks with every so many samples only."""
    n_skipped = 0
    for block in blocks():
        yield block[n_skipped::stride]
        n_skipped = (n_skipped - len(block)) % stride


@dataclass(frozen=True)
class _Settings:
    """What :func:`tensor_start` was asked for."""

    activation: Activation
    n_filters: int
    signed: bool
    single: bool
    rng: np.random.Generator

    @property
    def orders(self):
        """The lowest orders, of 2 and more, that do not vanish: two, or the only one."""
        return [m for m in (2, 3, 4) if self.activation.hermite(m, 1.0) != 0][:2]


def _run(blocks, targets, weights, settings, start=None):
    """The start from given samples, or a better one than that given."""
    if not weights.any():
        raise MomentsVanish("The weights of all samples are 0.")
    samples = WhiteSamples(blocks, targets, weights)
    rounding = ROUNDING_UNITS * np.finfo(np.float64).eps * np.abs(targets).max()
    if samples.variance <= rounding**2:
        raise MomentsVanish("The targets are constant.")
    if settings.n_filters > samples.rank:
        raise MomentsVanish(
            f"{settings.n_filters} filters cannot be linearly independent: patches of "
            f"length {samples.patch_dim} vary in {samples.rank} directions."
        )
    bank = _nothing(samples.rank)
    if start is not None:
        filters = np.linalg.lstsq(samples.basis, start.W, rcond=None)[0]
        bank = Bank(filters, start.signs)
    rounds = _Rounds(samples, settings)
    bank = rounds.run(bank)
    # The order of eigenvectors, in which filters are found, is one of rounding.
    order = np.argsort(-bank.lengths)
    W = samples.basis @ bank.filters[:, order]
    return TensorStart(W, bank.signs[order], rounds.doubt)


def _nothing(rank):
    """A bank without filters."""
    return Bank(np.empty((rank, 0)), np.empty(0))


class _Remainder(NamedTuple):
    """What a bank leaves unexplained."""

    errors: np.ndarray  # (n_samples,), of mean 0
    power: float  # their weighted mean square
    first: np.ndarray  # (d,), their first moment


class _Rounds:
    """Banks of white patches, each from the moments of what the one before leaves."""

    def __init__(self, samples, settings):
        self.samples = samples
        self.settings = settings
        self.activation = settings.activation
        self.doubt = None

    def run(self, bank):
        """The best bank: of all rounds, or the given one if it explains anything."""
        bank, left = self._left_by(bank)
        if not left.power < self.samples.variance:
            bank, left = self._left_by(_nothing(self.samples.rank))
        for _ in range(_MAX_ROUNDS):
            is_first, power = not bank.filters.size, left.power
            try:
                found = self._bank_with(*self._moments(bank, left))
            except MomentsVanish:
                if is_first:
                    raise
                break
            if self.settings.single:
                return found
            found, left = self._left_by(found)
            if not (is_first or left.power < power):
                break
            bank = found
            small = _SMALL_SHARE * self.samples.variance
            if not is_first and (left.power > _SLOW * power or left.power < small):
                break
        return bank

    def _left_by(self, bank):
        """The bank, scaled to fit best where its activation allows, and what it leaves."""
        samples, degree = self.samples, self.activation.homogeneity
        if not bank.filters.size:
            return bank, _Remainder(samples.targets, samples.variance, samples.first)
        values = partial(bank.values, self.activation, mean=samples.mean)
        no_frame = np.empty((samples.rank, 0))
        measured, errors = self._measure(samples.targets, values, no_frame, 2)
        first = measured[1]
        errors -= samples.weights @ errors
        fit = samples.targets - errors
        product = samples.weights @ (fit * samples.targets)
        if degree and product > 0:
            scale = product / (samples.weights @ fit**2)
            bank = bank._replace(filters=scale ** (1 / degree) * bank.filters)
            errors += (1 - scale) * fit
            first = first + (1 - scale) * (samples.first - first)
        return bank, _Remainder(errors, samples.weights @ errors**2, first)

    def _moments(self, bank, left):
        """A basis of the filters' subspace, and the moments of the targets in it."""
        regress, orders = self.samples.regress, self.settings.orders
        known = partial(bank.moment, self.activation)
        find = self._subspace_of_squares if orders[0] == 2 else self._subspace_of_cubes
        V, removed = find(bank, left)
        measured, _ = self._measure(left.errors, removed.values, V, orders[-1])
        moments = {1: V.T @ (known(1, V) + removed.linear + regress(measured[1]))}
        for order in orders:
            moments[order] = known(order, V) + measured[order]
        if 2 in orders:
            moments[2] += V.T @ removed.quadratic @ V
        if 3 in orders:
            moments[3] = moments[3] @ V
        return V, moments

    def _subspace_of_squares(self, bank, left):
        """A basis by the moment of order 2, and what is to be removed for higher orders."""
        eye = np.eye(self.samples.rank)
        known = bank.moment(self.activation, 2, eye)
        removed = Polynomial(self.samples.regress(left.first), 0 * eye)
        for _ in range(self._n_passes(bank)):
            measured, errors = self._measure(left.errors, removed.values, eye, 2)
            moment = known + removed.quadratic + measured[2]
            values, vectors = np.linalg.eigh(moment)
            # Of noise, half of the sum of squares belongs to positive eigenvalues.
            sizes = np.abs(values) if self.settings.signed else np.maximum(values, 0)
            square = (1 if self.settings.signed else 2) * (sizes @ sizes)
            self._weigh_against_chance(bank, 2, square, len(eye), errors)
            largest = np.argsort(-sizes)[: self.settings.n_filters]
            V = vectors[:, largest]
            linear = removed.linear + self.samples.regress(measured[1])
            removed = Polynomial(linear, (V * values[largest]) @ V.T - known)
        return V, removed

    def _subspace_of_cubes(self, bank, left):
        """The same by the moment of order 3, of which one index is left as it is."""
        rank, n_filters, rng = self.samples.rank, self.settings.n_filters, self.settings.rng
        n_kept = min(rank, 2 * n_filters + _EXTRA_DIRECTIONS)
        removed = Polynomial(self.samples.regress(left.first), np.zeros((rank, rank)))
        V = bank.filters
        if not V.size:
            V = rng.standard_normal((rank, n_kept))
            V[:, 0] = removed.linear
        for _ in range(self._n_passes(bank)):
            frame = np.linalg.qr(V)[0]
            measured, errors = self._measure(left.errors, removed.values, frame, 3)
            moment = bank.moment(self.activation, 3, frame) + measured[3]
            square = np.sum(moment**2)
            self._weigh_against_chance(bank, 3, square, frame.shape[1], errors)
            if self.settings.single:
                moment = np.tensordot(rng.standard_normal(len(frame.T)), unpack(moment), 1)
            V = np.linalg.svd(moment, full_matrices=False)[2][:n_filters].T
            linear = removed.linear + self.samples.regress(measured[1])
            removed = removed._replace(linear=linear)
        return V, removed

    def _n_passes(self, bank):
        """Twice where nothing is known of the subspace: the first time is a rough one."""
        return 1 if bank.filters.size else 2

    def _measure(self, targets, explained, frame, order):
        """Moments of what is left of targets, and what is left."""
        k = frame.shape[1]
        errors = np.empty_like(targets)

        def stream():
            for rows, X in self.samples.chunks(k * (k + 1) // 2 if order > 2 else k):
                errors[rows] = targets[rows] - explained(X)
                yield X, self.samples.weights[rows] * errors[rows]

        return measured_moments(stream(), frame, order), errors

    def _weigh_against_chance(self, bank, order, square, k, errors):
        """Doubt a moment of order 2 or 3 no larger than chance and rounding make it.

        It is refused where it is no larger than rounding makes it, or is of a further
        round.

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
            f"The moment of order {order} of the targets, which {self.activation.name} "
            "filters are told by, is no larger than chance or rounding makes it."
        )
        if square <= size * rounding * (1 + margin):
            raise MomentsVanish(moment)
        if square <= size * (noise + rounding) * (1 + margin):
            if bank.filters.size:
                raise MomentsVanish(moment)
            self.doubt = moment

    def _bank_with(self, V, moments):
        """The bank in the subspace whose moments these are."""
        decomposed = moments
        if self.settings.single:
            third = moments.get(3)
            if third is None:
                direction = self.settings.rng.standard_normal(self.settings.n_filters)
                third = np.tensordot(direction, unpack(moments[4]), axes=1).T
            decomposed = {3: third}
        U = joint_directions(slices(decomposed))
        banks = banks_along(self.activation, U, moments, signed=self.settings.signed)
        if not banks:
            raise MomentsVanish("The moments are those of filters with negative outputs.")
        if self.settings.single:
            bank = banks[0]
        else:
            fits = [fit_moments(self.activation, moments, bank) for bank in banks]
            bank, _ = min(fits, key=itemgetter(1))
        return bank._replace(filters=V @ bank.filters)
