import dataclasses
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermeval
from numpy.polynomial.legendre import leggauss

from skconvfilter.diagnostics import bank_recovery, match_filters, population_loss
from skconvfilter.model.activations import ACTIVATIONS
from skconvfilter.model.bank import bank_values
from skconvfilter.model.geometry import flatten_windows

CLOSED_FORMS = ["relu", "leaky_relu", "squared_relu", "erf"]
ODD, NOT_ODD = ["sigmoid", "tanh", "erf"], ["relu", "leaky_relu", "squared_relu"]


def random_banks(n_filters, patch_dim, seed=0):
    return np.random.default_rng(seed).standard_normal((2, n_filters, patch_dim))


class TestMatchFilters:
    @pytest.mark.parametrize("n_filters", [1, 2, 5])
    @pytest.mark.parametrize("seed", range(5))
    def test_no_order_is_nearer(self, n_filters, seed):
        coef, teacher = random_banks(n_filters, 3, seed)
        permutation = match_filters(coef, teacher)
        distances = [
            np.linalg.norm(coef[list(order)] - teacher)
            for order in permutations(range(n_filters))
        ]
        assert sorted(permutation) == list(range(n_filters))
        found = np.linalg.norm(coef[permutation] - teacher)
        assert found == pytest.approx(min(distances), rel=1e-14)

    def test_order_is_that_of_the_teacher(self):
        _, teacher = random_banks(6, 8)
        order = np.random.default_rng(1).permutation(6)
        permutation = match_filters(teacher[order] + 1e-3, teacher)
        np.testing.assert_array_equal(order[permutation], np.arange(6))

    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_without_output_weights_no_sign_is_free(self, activation):
        teacher = np.array([[1.0, 0.0], [-1.0, 0.0]])
        permutation = match_filters(-teacher, teacher, activation=activation)
        np.testing.assert_array_equal(permutation, [1, 0])

    @pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
    def test_scale_plays_no_part(self, scale):
        coef, teacher = random_banks(4, 3)
        permutation = match_filters(scale * coef, scale * teacher)
        np.testing.assert_array_equal(permutation, match_filters(coef, teacher))

    def test_windows_and_estimators_stand_for_their_filters(self):
        coef, teacher = random_banks(4, 6)
        expected = match_filters(coef, teacher)
        windows = coef.reshape(4, 2, 3)
        for given in (windows, coef.tolist(), SimpleNamespace(coef_=coef)):
            np.testing.assert_array_equal(match_filters(given, teacher), expected)
        given = SimpleNamespace(coef_=teacher)
        np.testing.assert_array_equal(match_filters(coef, given), expected)


class TestBankRecovery:
    def test_measures_are_those_of_the_formulas(self):
        coef, teacher = random_banks(5, 7)
        result = bank_recovery(coef, teacher)
        matched = coef[match_filters(coef, teacher)]
        np.testing.assert_array_equal(coef[result.permutation], matched)
        error = np.linalg.norm(matched - teacher) / np.linalg.norm(teacher)
        assert result.relative_error == pytest.approx(error)
        norms = np.linalg.norm(teacher, axis=1)
        errors = np.linalg.norm(matched - teacher, axis=1) / norms
        np.testing.assert_allclose(result.relative_errors, errors)
        cosines = (matched * teacher).sum(axis=1) / norms
        angles = np.arccos(cosines / np.linalg.norm(matched, axis=1))
        np.testing.assert_allclose(result.angles, angles)

    def test_result_is_frozen(self):
        result = bank_recovery(*random_banks(2, 3))
        assert type(result.relative_error) is float
        with pytest.raises(dataclasses.FrozenInstanceError):
            result.relative_error = 0.0

    @pytest.mark.parametrize("error", [0, 1e-15, 1e-9, 1e-3])
    @pytest.mark.parametrize("scale", [1, 1e-290, 1e290])
    def test_small_errors_keep_their_precision(self, error, scale):
        teacher = scale * np.eye(3)[[2, 0, 1]]
        across = scale * np.eye(3)[[0, 1, 2]]
        result = bank_recovery((teacher + error * across)[::-1], teacher)
        assert result.relative_error == pytest.approx(error, rel=1e-12, abs=1e-18)
        np.testing.assert_allclose(result.angles, np.arctan(error), rtol=1e-12)

    def test_zero_filters_have_no_angle(self):
        teacher = np.array([[0.0, 0.0], [1.0, 0.0]])
        result = bank_recovery(teacher[::-1], teacher)
        assert result.relative_error == 0
        np.testing.assert_array_equal(result.relative_errors, [np.nan, 0])
        np.testing.assert_array_equal(result.angles, [np.nan, 0])
        result = bank_recovery(teacher, np.zeros((2, 2)))
        assert np.isnan(result.relative_error)
        assert np.isnan(result.angles).all()

    @pytest.mark.parametrize("activation", ODD)
    def test_signs_move_between_odd_filters_and_their_output_weights(self, activation):
        _, teacher = random_banks(4, 5)
        signs = np.array([1, -1, -1, 1])
        order = [2, 0, 3, 1]
        flipped = np.array([-1, 1, -1, 1])
        result = bank_recovery(
            (flipped[:, np.newaxis] * teacher)[order],
            teacher,
            output_weights=(flipped * signs)[order],
            teacher_output_weights=signs,
            activation=activation,
        )
        np.testing.assert_array_equal(np.array(order)[result.permutation], np.arange(4))
        assert result.relative_error == 0
        np.testing.assert_allclose(result.angles, 0, atol=1e-15)

    @pytest.mark.parametrize("activation", ODD)
    def test_odd_banks_with_moved_signs_have_the_same_values(self, activation):
        # Up to a constant, which is what the recovery above relies on.
        _, teacher = random_banks(4, 5)
        samples, geometry = flatten_windows(
            np.random.default_rng(1).standard_normal((50, 3, 5))
        )
        signs = np.array([1.0, -1.0, -1.0, 1.0])
        first, second = (
            bank_values(
                samples,
                geometry,
                (v[:, np.newaxis] * teacher).T,
                ACTIVATIONS[activation],
                output_weights=v * signs,
            )
            for v in (np.ones(4), np.array([-1.0, 1.0, -1.0, 1.0]))
        )
        assert np.ptp(first - second) < 1e-12

    @pytest.mark.parametrize("activation", NOT_ODD)
    def test_wrong_output_weight_is_an_error_elsewhere(self, activation):
        teacher = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
        kwargs = {"teacher_output_weights": [1, -1], "activation": activation}
        right = bank_recovery(teacher[::-1], teacher, output_weights=[-1, 1], **kwargs)
        np.testing.assert_array_equal(right.permutation, [1, 0])
        assert right.relative_error == 0
        # A filter at an acute angle with the right weight is nearer.
        wrong = bank_recovery(teacher[::-1], teacher, output_weights=[1, -1], **kwargs)
        np.testing.assert_array_equal(wrong.permutation, [0, 1])
        one_wrong = bank_recovery(teacher, teacher, output_weights=[1, 1], **kwargs)
        np.testing.assert_array_equal(one_wrong.permutation, [0, 1])
        np.testing.assert_allclose(one_wrong.relative_errors, [0, np.sqrt(2)])
        np.testing.assert_allclose(one_wrong.angles, [0, np.pi / 2])

    @pytest.mark.parametrize(
        ("parameters", "error", "match"),
        [
            ({"coef": np.ones((3, 4))}, ValueError, "filters, got 3 and 2"),
            ({"coef": np.ones((2, 3))}, ValueError, "one length, got 3 and 4 entries"),
            ({"coef": np.ones(4)}, ValueError, "coef must hold filters along its first"),
            ({"coef": "tensor"}, TypeError, "coef must be an array of numbers"),
            ({"teacher": np.full((2, 4), np.nan)}, ValueError, "teacher must be finite"),
            ({"output_weights": [1]}, ValueError, "^output_weights must be 1 or -1"),
            ({"teacher_output_weights": [1, 2]}, ValueError, "^teacher_output_weights"),
            ({"activation": "softplus"}, ValueError, "activation must be one of"),
        ],
    )
    def test_error_names_the_wrong_parameter(self, parameters, error, match):
        banks = {"coef": np.ones((2, 4)), "teacher": np.eye(2, 4)}
        for function in (bank_recovery, match_filters):
            with pytest.raises(error, match=match):
                function(**(banks | parameters))


def coefficients(name, order, scales):
    """E phi(s z) He_m(z) / sqrt(m!) for every s: up to 4 the package's, else quadrature."""
    root = np.sqrt(np.prod(np.arange(1.0, order + 1)))
    if order <= 4:
        return ACTIVATIONS[name].hermite(order, scales) / root
    nodes, weights = leggauss(300)
    z = np.concatenate([7 * (nodes + 1), -7 * (nodes + 1)])
    density = np.tile(7 * weights, 2) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    polynomial = hermeval(z, np.eye(order + 1)[order]) / root
    return ACTIVATIONS[name].value(np.multiply.outer(scales, z)) @ (density * polynomial)


def expanded_loss(coef, teacher, n_patches, name, max_order):
    """Sum of the first terms of the Hermite expansion of the loss, all at least 0."""
    U = np.vstack([coef, teacher])
    signs = np.repeat([1.0, -1.0], [len(coef), len(teacher)])
    norms = np.linalg.norm(U, axis=1)
    cosines = U @ U.T / np.outer(norms, norms)
    loss = (n_patches * signs @ coefficients(name, 0, norms)) ** 2
    for order in range(1, max_order + 1):
        v = signs * coefficients(name, order, norms)
        loss += n_patches * v @ cosines**order @ v
    return loss / 2


class TestPopulationLoss:
    @pytest.mark.parametrize("activation", CLOSED_FORMS)
    @pytest.mark.parametrize("pooling", ["sum", "mean"])
    @pytest.mark.parametrize("signed", [False, True])
    def test_loss_is_that_of_normal_patches(self, activation, pooling, signed):
        n_filters, patch_dim, n_patches = 3, 5, 4
        coef, teacher = random_banks(n_filters, patch_dim)
        v, v_true = ([1, -1, 1], [-1, -1, 1]) if signed else (None, None)
        exact = population_loss(
            coef,
            teacher,
            n_patches,
            activation,
            pooling=pooling,
            output_weights=v,
            teacher_output_weights=v_true,
        )
        X = np.random.default_rng(1).standard_normal((100_000, n_patches, patch_dim))
        samples, geometry = flatten_windows(X)
        values, labels = (
            bank_values(
                samples,
                geometry,
                bank.T,
                ACTIVATIONS[activation],
                output_weights=None if weights is None else np.array(weights),
                pooling=pooling,
            )
            for bank, weights in [(coef, v), (teacher, v_true)]
        )
        losses = (values - labels) ** 2 / 2
        z = (losses.mean() - exact) / (losses.std() / np.sqrt(len(losses)))
        assert abs(z) < 4

    # What is left beyond 40 orders falls with a power of the order, or exponentially.
    @pytest.mark.parametrize(
        ("activation", "left"),
        [("relu", 1e-3), ("leaky_relu", 1e-3), ("squared_relu", 1e-5), ("erf", 1e-9)],
    )
    def test_loss_is_that_of_its_hermite_expansion(self, activation, left):
        coef, teacher = random_banks(3, 5)
        if activation == "erf":
            coef, teacher = coef / 3, teacher / 3
        exact = population_loss(coef, teacher, 4, activation)
        few, many = (expanded_loss(coef, teacher, 4, activation, m) for m in (4, 40))
        assert 0 < few < many < exact * (1 + 1e-12)
        assert many > exact * (1 - left)

    @pytest.mark.parametrize("activation", CLOSED_FORMS)
    @pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
    def test_the_teacher_in_any_order_has_no_loss(self, activation, scale):
        teacher = scale * random_banks(5, 8)[1]
        power = population_loss(np.zeros((1, 8)), teacher, 3, activation)
        loss = population_loss(teacher[::-1], teacher, 3, activation)
        assert 0 <= loss < 1e-14 * power

    @pytest.mark.parametrize("activation", CLOSED_FORMS)
    def test_loss_grows_with_the_square_of_a_small_error(self, activation):
        error, teacher = random_banks(3, 5)
        small, large = (
            population_loss(teacher + step * error, teacher, 2, activation)
            for step in (1e-4, 2e-4)
        )
        assert large / small == pytest.approx(4, rel=1e-2)

    def test_numbers_of_filters_may_differ(self):
        _, teacher = random_banks(3, 5)
        # relu is homogeneous: two halves of a filter make it whole.
        halves = np.repeat(teacher, 2, axis=0) / 2
        assert population_loss(halves, teacher, 4) < 1e-13

    @pytest.mark.parametrize("activation", CLOSED_FORMS)
    def test_parallel_and_opposite_filters(self, activation):
        u = np.array([[0.6, 0.8]])
        X = np.random.default_rng(0).standard_normal((200_000, 1, 2))
        for factor in (-2.0, -1.0, 0.0, 0.5):
            value = ACTIVATIONS[activation].value
            errors = value(factor * (X @ u[0])) - value(X @ u[0])
            losses = errors[:, 0] ** 2 / 2
            standard_error = losses.std() / np.sqrt(len(losses))
            exact = population_loss(factor * u, u, 1, activation)
            assert abs(losses.mean() - exact) < 4 * standard_error

    def test_long_filters_of_erf_keep_their_precision(self):
        # Of the sign of the response: they differ where the two disagree, by 2.
        u, v = np.eye(2)
        for angle in (1e-3, 1.0, 3.0):
            w = 1e9 * (np.cos(angle) * u + np.sin(angle) * v)
            loss = population_loss([w], [1e9 * u], 1, "erf")
            assert loss == pytest.approx(2 * angle / np.pi, rel=1e-6)

    @pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
    def test_others_have_no_closed_form(self, activation):
        with pytest.raises(ValueError, match=f'"{activation}" has no closed form'):
            population_loss(*random_banks(2, 3), 2, activation)

    @pytest.mark.parametrize(
        ("parameters", "error", "match"),
        [
            ({"n_patches": 0}, ValueError, "n_patches must be at least 1"),
            ({"n_patches": 2.0}, TypeError, "n_patches must be an int"),
            ({"coef": np.ones((2, 3))}, ValueError, "one length, got 3 and 4 entries"),
            ({"pooling": "max"}, ValueError, 'pooling must be "sum" or "mean"'),
            ({"activation": None}, ValueError, "activation must be one of"),
            ({"output_weights": [1]}, ValueError, "^output_weights must be 1 or -1"),
            ({"teacher_output_weights": [1]}, ValueError, "^teacher_output_weights"),
        ],
    )
    def test_error_names_the_wrong_parameter(self, parameters, error, match):
        given = {"coef": np.ones((2, 4)), "teacher": np.eye(3, 4), "n_patches": 2}
        with pytest.raises(error, match=match):
            population_loss(**(given | parameters))
