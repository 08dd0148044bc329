"""The objective of banks: what naive loops and finite differences say it is."""

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skconvfilter.model import forward, squared_error
from skconvfilter.model.activations import ACTIVATIONS
from skconvfilter.model.bank import bank_values
from skconvfilter.model.bank_objective import BankObjective
from skconvfilter.model.geometry import flatten_windows
from skconvfilter.model.squared_error import Evaluation
from tests.kernels.oracle import NaiveConvolution
from tests.model.problems import (
    Problem,
    make_problem,
    problems,
    signs_of_responses,
    steps_within_cell,
)

# Values and derivatives, written out.
FUNCTIONS = {
    "relu": (lambda x: max(0.0, x), lambda x: float(x > 0)),
    "leaky_relu": (lambda x: max(0.01 * x, x), lambda x: 1.0 if x > 0 else 0.01),
    "squared_relu": (lambda x: max(0.0, x) ** 2, lambda x: 2 * max(0.0, x)),
    "sigmoid": (
        lambda x: 1 / (1 + math.exp(-x)),
        lambda x: math.exp(-x) / (1 + math.exp(-x)) ** 2,
    ),
    "tanh": (math.tanh, lambda x: 1 / math.cosh(x) ** 2),
    "erf": (math.erf, lambda x: 2 / math.sqrt(math.pi) * math.exp(-(x**2))),
}
POOLINGS = ["sum", "mean"]


class Banks(NamedTuple):
    """Data, and several banks of filters to evaluate the objective at."""

    data: Problem
    name: str
    pooling: str
    filters: np.ndarray  # (R, t, p)
    signs: np.ndarray  # (R, t)

    @property
    def W(self):
        return self.filters.reshape(len(self.filters), -1).T

    @property
    def objective(self):
        return BankObjective(
            self.data.samples,
            self.data.geometry,
            self.data.targets,
            n_filters=self.filters.shape[1],
            activation=ACTIVATIONS[self.name],
            pooling=self.pooling,
            sample_weight=self.data.weights,
            alpha=self.data.alpha,
            fit_intercept=self.data.fit_intercept,
        )

    def take(self, banks):
        return self._replace(filters=self.filters[banks], signs=self.signs[banks])

    def with_data(self, **changes):
        return self._replace(data=self.data._replace(**changes))

    @property
    def scale(self):
        """What the sum over patches is multiplied by."""
        return 1.0 if self.pooling == "sum" else 1 / self.data.patches.shape[1]

    @property
    def values(self):
        """Values without intercept, by loops, shape (n, R)."""
        function, _ = FUNCTIONS[self.name]
        values = np.zeros((len(self.data.patches), len(self.filters)))
        for n, sample in enumerate(np.float64(self.data.patches)):
            for r, (bank, signs) in enumerate(zip(self.filters, self.signs, strict=True)):
                for w, sign in zip(bank, signs, strict=True):
                    total = sum(function(float(patch @ w)) for patch in sample)
                    values[n, r] += sign * self.scale * total
        return values

    @property
    def jacobians(self):
        """Derivatives of the values by all entries, by loops, shape (R, n, t p)."""
        _, slope = FUNCTIONS[self.name]
        patches = np.float64(self.data.patches)
        jacobians = np.zeros((len(self.filters), len(patches), *self.filters.shape[1:]))
        for r, (bank, signs) in enumerate(zip(self.filters, self.signs, strict=True)):
            for n, sample in enumerate(patches):
                for j, (w, sign) in enumerate(zip(bank, signs, strict=True)):
                    for patch in sample:
                        factor = sign * self.scale * slope(float(patch @ w))
                        jacobians[r, n, j] += factor * patch
        return jacobians.reshape(len(self.filters), len(patches), -1)

    @property
    def centred(self):
        """Errors (n, R) and Jacobians with what the best intercept takes removed."""
        errors = self.values - self.data.targets[:, np.newaxis]
        jacobians = self.jacobians
        if self.data.fit_intercept:
            weights = self.data.all_weights
            errors -= np.average(errors, axis=0, weights=weights)
            jacobians -= np.average(jacobians, axis=1, weights=weights)[:, np.newaxis]
        return errors, jacobians

    @property
    def rounding(self):
        """What rounding may make of values; squares of it have the size of losses."""
        eps = np.finfo(self.data.samples.dtype).eps
        sizes = 1 + np.abs(self.data.patches) @ np.abs(self.filters.reshape(-1, self.p).T)
        return 50 * eps * (sizes**2).sum(axis=(1, 2)).max()

    @property
    def p(self):
        return self.filters.shape[2]


def make_banks(data=None, name="tanh", pooling="sum", n_banks=2, n_filters=3, **options):
    data = make_problem(**options) if data is None else data
    rng = np.random.default_rng(1)
    filters = rng.standard_normal((n_banks, n_filters, data.geometry.layout.patch_dim))
    filters = filters.astype(data.samples.dtype).astype(float)
    signs = rng.choice([-1.0, 1.0], size=(n_banks, n_filters))
    return Banks(data, name, pooling, 0.7 * filters, signs)


@st.composite
def banks(draw, names=tuple(FUNCTIONS), **options):
    """Some banks of filters, with data in any small geometry."""
    return make_banks(
        draw(problems(**options)),
        draw(st.sampled_from(names)),
        draw(st.sampled_from(POOLINGS)),
        n_banks=draw(st.integers(1, 3)),
        n_filters=draw(st.integers(1, 3)),
    )


def assert_same(result, expected, **tolerances):
    """All that two evaluations hold is the same."""
    for field, ours, theirs in zip(Evaluation._fields, result, expected, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None:
            np.testing.assert_allclose(ours, theirs, err_msg=field, **tolerances)


@given(banks=banks())
def test_predictions_are_those_of_the_loops(banks):
    values = banks.objective.predict(banks.W, banks.signs)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, banks.values, rtol=0, atol=banks.rounding)


@given(banks=banks())
def test_predictions_are_the_values_of_single_banks(banks):
    values = banks.objective.predict(banks.W, banks.signs)
    for r, (filters, signs) in enumerate(zip(banks.filters, banks.signs, strict=True)):
        expected = bank_values(
            banks.data.samples,
            banks.data.geometry,
            filters.T,
            ACTIVATIONS[banks.name],
            output_weights=signs,
            pooling=banks.pooling,
        )
        atol = banks.rounding
        np.testing.assert_allclose(values[:, r], expected, rtol=0, atol=atol)


@given(banks=banks())
def test_value_is_that_of_the_best_intercept(banks):
    result = banks.objective.value(banks.W, banks.signs)
    errors, _ = banks.centred
    weights, alpha = banks.data.all_weights, banks.data.alpha
    losses = np.average(errors**2, axis=0, weights=weights)
    losses += alpha * np.sum(banks.filters**2, axis=(1, 2))
    spread = 1 + np.abs(errors).max() + np.abs(banks.values).max()
    atol = banks.rounding * spread
    np.testing.assert_allclose(result.loss, losses / 2, rtol=1e-12, atol=atol)
    intercepts = np.zeros(len(losses))
    if banks.data.fit_intercept:
        misses = banks.data.targets[:, np.newaxis] - banks.values
        intercepts = np.average(misses, axis=0, weights=weights)
    np.testing.assert_allclose(result.intercept, intercepts, rtol=0, atol=atol)
    peaks = np.abs(banks.values).max(axis=0)
    np.testing.assert_allclose(result.peak, peaks, rtol=0, atol=atol)
    assert result.gradient is None
    assert result.gauss_newton is None


@given(banks=banks())
def test_gradient_and_gauss_newton_matrix_are_those_of_the_loops(banks):
    result = banks.objective.gauss_newton(banks.W, banks.signs)
    errors, jacobians = banks.centred
    shares = banks.data.all_weights / banks.data.all_weights.sum()
    size = banks.rounding * (1 + np.abs(jacobians).max())
    for r, (J, e) in enumerate(zip(jacobians, errors.T, strict=True)):
        gradient = J.T @ (shares * e) + banks.data.alpha * banks.W[:, r]
        np.testing.assert_allclose(
            result.gradient[r], gradient, rtol=1e-12, atol=size * (1 + np.abs(e).max())
        )
        matrix = J.T @ (shares[:, np.newaxis] * J) + banks.data.alpha * np.eye(len(banks.W))
        np.testing.assert_allclose(
            result.gauss_newton[r], matrix, rtol=1e-12, atol=size * (1 + np.abs(J).max())
        )


@given(banks=banks())
def test_higher_orders_repeat_the_lower_ones(banks):
    arguments = banks.W, banks.signs
    value = banks.objective.value(*arguments)
    gradient = banks.objective.gradient(*arguments)
    full = banks.objective.gauss_newton(*arguments)
    size = 1 + np.abs(banks.values).max() + np.abs(banks.data.targets).max()
    atol = 1e-13 * size * (size + np.abs(banks.jacobians).max())
    assert_same(value, gradient._replace(gradient=None), rtol=1e-12, atol=atol)
    assert_same(gradient, full._replace(gauss_newton=None), rtol=1e-12, atol=atol)


@given(banks=banks(dtypes=[np.float64]))
def test_gradient_is_the_slope_of_the_value(banks):
    every_filter = banks.data._replace(W=banks.filters.reshape(-1, banks.p).T)
    cell = signs_of_responses(every_filter, every_filter.W)
    kinked = banks.name.endswith("relu")
    h = steps_within_cell(every_filter).min() if kinked else 1e-3

    def losses(W):
        if kinked:
            filters = W.T.reshape(-1, banks.p).T
            np.testing.assert_array_equal(signs_of_responses(every_filter, filters), cell)
        return banks.objective.value(W, banks.signs).loss

    slopes = []
    for axis in np.eye(len(banks.W))[:, :, np.newaxis]:
        far, near = (
            losses(banks.W + step * h * axis) - losses(banks.W - step * h * axis)
            for step in (2, 1)
        )
        slopes.append((8 * near - far) / (12 * h))
    result = banks.objective.gradient(banks.W, banks.signs)
    atol = (1e-8 + 1e-14 / h) * (1 + result.loss.max())
    np.testing.assert_allclose(result.gradient, np.transpose(slopes), rtol=1e-7, atol=atol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("name", "targets", "gradient"),
    [
        ("relu", [1, 2], [1, 1.5]),
        ("leaky_relu", [1, 2], [0.995, 1.505]),
        ("squared_relu", [3, 8], [4, 9]),
    ],
)
def test_derivative_at_the_kink_is_that_from_below(name, targets, gradient, dtype):
    # At w = (1, 1) the responses are 0 and 2 in the first sample, 3 and 0 in the second;
    # the errors are 1 in both.
    patches = np.array([[[1, -1], [2, 0]], [[0, 3], [-2, 2]]], dtype=dtype)
    objective = BankObjective(
        *flatten_windows(patches),
        np.array(targets, dtype=float),
        n_filters=1,
        activation=ACTIVATIONS[name],
        pooling="sum",
        fit_intercept=False,
    )
    result = objective.gradient(np.ones((2, 1)), np.ones((1, 1)))
    assert result.loss[0] == pytest.approx(0.5)
    np.testing.assert_allclose(result.gradient[0], gradient, rtol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_banks_together_are_as_each_alone(monkeypatch, name, pooling, dtype):
    banks = make_banks(
        name=name, pooling=pooling, n_banks=5, n_filters=2, n_samples=40, dtype=dtype
    )
    rtol = 20 * np.finfo(dtype).eps
    alone = [banks.take([r]) for r in range(5)]
    for n_elements in (2**16, 1):
        # So small that models are no longer worked on all at once.
        monkeypatch.setattr(squared_error, "_MAX_COLUMN_ELEMENTS", n_elements)
        for order in ("value", "gradient", "gauss_newton"):
            together = getattr(banks.objective, order)(banks.W, banks.signs)
            for r, bank in enumerate(alone):
                single = getattr(bank.objective, order)(bank.W, bank.signs)
                size = np.nanmax(
                    [np.abs(part).max() for part in single if part is not None]
                )
                part = together.take([r])
                assert_same(part, single, rtol=rtol, atol=rtol * (1 + size))


def test_order_of_filters_is_the_order_of_the_gradient():
    banks = make_banks(n_filters=4)
    order = [2, 0, 3, 1]
    shuffled = banks._replace(filters=banks.filters[:, order], signs=banks.signs[:, order])
    result = banks.objective.gauss_newton(banks.W, banks.signs)
    other = shuffled.objective.gauss_newton(shuffled.W, shuffled.signs)
    np.testing.assert_allclose(other.loss, result.loss, rtol=1e-13)
    by_filter = result.gradient.reshape(2, 4, -1)[:, order]
    np.testing.assert_allclose(other.gradient, by_filter.reshape(2, -1), rtol=1e-10)
    blocks = result.gauss_newton.reshape(2, 4, banks.p, 4, banks.p)
    blocks = blocks[:, order][:, :, :, order].reshape(other.gauss_newton.shape)
    np.testing.assert_allclose(other.gauss_newton, blocks, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("fit_intercept", "batch_size"),
    [(False, 1), (False, 2), (False, 6), (True, 2), (True, 3), (True, 6)],
)
@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_mean_over_all_batches_is_the_gradient(name, fit_intercept, batch_size, weighted):
    banks = make_banks(
        name=name, n_samples=6, weighted=weighted, fit_intercept=fit_intercept
    )
    objective, arguments = banks.objective, (banks.W, banks.signs)
    gradients = [
        objective.batch_gradient(*arguments, np.array(rows))
        for rows in combinations(range(6), batch_size)
    ]
    expected = objective.gradient(*arguments).gradient
    np.testing.assert_allclose(np.mean(gradients, axis=0), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("block", [{"_BLOCK_ROWS": 1}, {"_BLOCK_ELEMENTS": 40}])
def test_blocks_are_invisible(monkeypatch, block, fit_intercept, dtype):
    banks = make_banks(n_samples=41, fit_intercept=fit_intercept, dtype=dtype)
    arguments = banks.W, banks.signs

    def everything():
        objective = banks.objective
        return len(list(objective.patch_blocks())), [
            *objective.value(*arguments)[:3],
            *objective.gradient(*arguments)[:4],
            *objective.gauss_newton(*arguments),
            objective.predict(*arguments),
            objective.mean_square_response(banks.W),
            objective.values_of_filters(banks.filters[0]),
            np.concatenate(list(objective.patch_blocks())),
        ]

    n_blocks, arrays = everything()
    assert n_blocks == 1
    for name, size in block.items():
        monkeypatch.setattr(forward, name, size)
    n_blocks, same = everything()
    assert n_blocks == 3
    rtol = 10 * np.finfo(dtype).eps
    for ours, theirs in zip(same, arrays, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)


def backwards(function, blocks):
    """A map that works on the blocks from the last to the first."""
    return reversed([function(block) for block in reversed(list(blocks))])


def test_any_ordered_map_of_blocks_gives_the_same_bits(monkeypatch):
    monkeypatch.setattr(forward, "_BLOCK_ROWS", 16)
    banks = make_banks(n_samples=41)
    with ThreadPoolExecutor(3) as threads:
        objectives = [banks.objective for _ in range(3)]
        objectives[1].map_blocks = backwards
        objectives[2].map_blocks = threads.map
        results = [o.gauss_newton(banks.W, banks.signs) for o in objectives]
        values = [o.predict(banks.W, banks.signs) for o in objectives]
    for result, value in zip(results[1:], values[1:], strict=True):
        assert_same(result, results[0], rtol=0)
        np.testing.assert_array_equal(value, values[0])


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("name", ["squared_relu", "sigmoid"])
def test_integer_weights_are_repetitions(name, fit_intercept):
    banks = make_banks(name=name, fit_intercept=fit_intercept)
    repeats = np.array([1, 2, 3, 1, 1, 5, 2, 1, 1, 1, 4])
    weighted = banks.with_data(weights=repeats.astype(float)).objective
    repeated = banks.with_data(
        samples=np.repeat(banks.data.samples, repeats, axis=0),
        targets=np.repeat(banks.data.targets, repeats),
        weights=None,
    ).objective
    arguments = banks.W, banks.signs
    assert_same(
        weighted.gauss_newton(*arguments),
        repeated.gauss_newton(*arguments),
        rtol=1e-12,
        atol=1e-12,
    )
    np.testing.assert_allclose(
        weighted.mean_square_response(banks.W),
        repeated.mean_square_response(banks.W),
        rtol=1e-12,
    )


@pytest.mark.parametrize("factor", [1e-100, 0.3, 1e100])
def test_only_ratios_of_weights_matter(factor):
    banks = make_banks()
    scaled = banks.with_data(weights=factor * banks.data.weights).objective
    arguments = banks.W, banks.signs
    expected = banks.objective.gauss_newton(*arguments)
    assert_same(scaled.gauss_newton(*arguments), expected, rtol=1e-11)
    np.testing.assert_allclose(
        scaled.batch_gradient(*arguments, np.arange(5)),
        banks.objective.batch_gradient(*arguments, np.arange(5)),
        rtol=1e-11,
    )


@pytest.mark.parametrize("offset", [0, 1e8])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_loss_at_the_teacher_is_rounding_error(name, offset):
    # Squares of sums subtracted from sums of squares would leave some 1e-16.
    banks = make_banks(name=name, n_samples=101, alpha=0.0)
    values = banks.objective.predict(banks.W, banks.signs)[:, 0]
    objective = banks.with_data(targets=values + offset).objective
    result = objective.gradient(banks.W, banks.signs)
    size = np.abs(values).max() + offset
    assert result.loss[0] <= 1e-28 * size**2
    assert result.intercept[0] == pytest.approx(offset, abs=1e-12, rel=1e-14)
    assert np.abs(result.gradient[0]).max() <= 1e-13 * size * np.abs(banks.W).max()


@pytest.mark.parametrize("name", ["relu", "squared_relu"])
def test_dead_banks_have_no_peak_and_only_the_slope_of_the_penalty(name):
    banks = make_banks(name=name, n_banks=3, alpha=0.5)
    banks.filters[1] = -np.abs(banks.filters[1])
    banks.filters[2] = 0
    banks = banks.with_data(samples=np.abs(banks.data.samples))
    result = banks.objective.gauss_newton(banks.W, banks.signs)
    assert result.peak[0] > 0
    np.testing.assert_array_equal(result.peak[1:], 0)
    np.testing.assert_array_equal(result.gradient[1:], 0.5 * banks.W.T[1:])
    identity = np.eye(len(banks.W))
    np.testing.assert_array_equal(result.gauss_newton[1:], [0.5 * identity] * 2)


@pytest.mark.parametrize(
    "rows", [slice(2, 7), np.array([8, 0, 3]), np.array([4]), np.arange(11) % 3 == 0]
)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_subset_is_the_objective_of_its_rows(rows, pooling):
    banks = make_banks(name="erf", pooling=pooling)
    part = banks.with_data(
        patches=banks.data.patches[rows],
        samples=banks.data.samples[rows],
        targets=banks.data.targets[rows],
        weights=banks.data.weights[rows],
    )
    subset = banks.objective.subset(rows)
    assert isinstance(subset, BankObjective)
    assert subset.n_samples == len(part.data.samples)
    arguments = banks.W, banks.signs
    np.testing.assert_allclose(subset.predict(*arguments), part.values, rtol=1e-12)
    assert_same(
        subset.gauss_newton(*arguments), part.objective.gauss_newton(*arguments), rtol=0
    )


@given(banks=banks())
def test_mean_square_response_is_that_of_the_loops(banks):
    result = banks.objective.mean_square_response(banks.W)
    assert result.shape == (len(banks.filters),)
    weights = banks.data.all_weights
    for r, bank in enumerate(banks.filters):
        squares = (np.float64(banks.data.patches) @ bank.T) ** 2
        expected = np.average(squares.mean(axis=(1, 2)), weights=weights)
        assert result[r] == pytest.approx(expected, rel=1e-5, abs=banks.rounding)
        if banks.data.samples.dtype == np.float64:
            assert result[r] == pytest.approx(expected, rel=1e-11, abs=1e-13)


@given(banks=banks())
def test_values_of_filters_are_those_of_banks_of_one(banks):
    filters = banks.filters[0]
    values = banks.objective.values_of_filters(filters)
    assert values.dtype == np.float64
    singles = banks._replace(
        filters=filters[:, np.newaxis], signs=np.ones((len(filters), 1))
    )
    assert values.shape == singles.values.shape
    np.testing.assert_allclose(values, singles.values, rtol=0, atol=banks.rounding)
    # With the signs of a bank they add up to its value.
    expected = banks.objective.predict(banks.W, banks.signs)[:, 0]
    np.testing.assert_allclose(values @ banks.signs[0], expected, atol=banks.rounding)


@given(banks=banks())
def test_patches_come_in_order(banks):
    patches = np.concatenate(list(banks.objective.patch_blocks()))
    np.testing.assert_array_equal(patches, banks.data.patches)
    assert patches.dtype == banks.data.samples.dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sizes_and_precision(dtype):
    objective = make_banks(dtype=dtype, n_filters=4).objective
    assert (objective.n_samples, objective.patch_dim) == (11, 12)
    assert (objective.n_filters, objective.n_parameters) == (4, 48)
    assert objective.precision == np.finfo(dtype).eps
    assert objective.curvature_bounds() == []


def test_evaluations_leave_everything_as_it_was():
    convolution = NaiveConvolution((6,), (), (3,), (3,), (0,), (1,))
    banks = make_banks(make_problem(convolution), name="sigmoid")
    objective = banks.objective
    arrays = (objective.samples, objective.targets, banks.filters, banks.signs)
    before = [array.copy() for array in arrays]
    objective.gauss_newton(banks.W, banks.signs)
    objective.batch_gradient(banks.W, banks.signs, np.array([1, 4, 2]))
    objective.values_of_filters(banks.filters[0])
    for ours, theirs in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
