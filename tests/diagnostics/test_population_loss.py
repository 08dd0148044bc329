"""The expected loss of banks, against Monte Carlo and Hermite expansions."""

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermeval
from numpy.polynomial.legendre import leggauss

from skconvfilter import ConvFilterBankRegressor
from skconvfilter.diagnostics import population_loss
from skconvfilter.model.activations import ACTIVATIONS
from skconvfilter.model.bank import bank_values
from skconvfilter.model.geometry import flatten_windows

CLOSED_FORMS = ["relu", "leaky_relu", "squared_relu", "erf"]
NODES, WEIGHTS = leggauss(300)


def bank(activation, pooling="sum"):
    return ConvFilterBankRegressor(activation=activation, pooling=pooling)


def random_banks(n_filters, patch_dim, seed=0):
    return np.random.default_rng(seed).standard_normal((2, n_filters, patch_dim))


def coefficients(name, order, scales):
    """E phi(s z) He_m(z) / sqrt(m!) for every s: up to 4 the package's, else quadrature."""
    root = np.sqrt(np.prod(np.arange(1.0, order + 1)))
    if order <= 4:
        return ACTIVATIONS[name].hermite(order, scales) / root
    z = np.concatenate([7 * (NODES + 1), -7 * (NODES + 1)])
    density = np.tile(7 * WEIGHTS, 2) * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
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
            estimator=bank(activation, pooling),
            output_weights=v,
            teacher_output_weights=v_true,
        )
        X = np.random.default_rng(1).standard_normal((100_000, n_patches, patch_dim))
        samples, geometry = flatten_windows(X)
        values, labels = (
            bank_values(
                samples,
                geometry,
                own.T,
                ACTIVATIONS[activation],
                output_weights=None if weights is None else np.array(weights),
                pooling=pooling,
            )
            for own, weights in [(coef, v), (teacher, v_true)]
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
        exact = population_loss(coef, teacher, 4, estimator=bank(activation))
        few, many = (expanded_loss(coef, teacher, 4, activation, m) for m in (4, 40))
        assert 0 < few < many < exact * (1 + 1e-12)
        assert many > exact * (1 - left)

    @pytest.mark.parametrize("activation", CLOSED_FORMS)
    @pytest.mark.parametrize("scale", [1e-3, 1e3])
    def test_the_teacher_in_any_order_has_no_loss(self, activation, scale):
        teacher = scale * random_banks(5, 8)[1]
        power = population_loss(np.zeros((1, 8)), teacher, 3, estimator=bank(activation))
        loss = population_loss(teacher[::-1], teacher, 3, estimator=bank(activation))
        assert 0 <= loss < 1e-14 * power

    @pytest.mark.parametrize("activation", CLOSED_FORMS)
    def test_loss_grows_with_the_square_of_a_small_error(self, activation):
        error, teacher = random_banks(3, 5)
        small, large = (
            population_loss(teacher + step * error, teacher, 2, estimator=bank(activation))
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
            exact = population_loss(factor * u, u, 1, estimator=bank(activation))
            assert abs(losses.mean() - exact) < 4 * standard_error

    def test_long_filters_of_erf_keep_their_precision(self):
        # Of the sign of the response: they differ where the two disagree, by 2.
        u, v = np.eye(2)
        for angle in (1e-3, 1.0, 3.0):
            w = 1e9 * (np.cos(angle) * u + np.sin(angle) * v)
            loss = population_loss([w], [1e9 * u], 1, estimator=bank("erf"))
            assert loss == pytest.approx(2 * angle / np.pi, rel=1e-6)

    @pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
    def test_others_have_no_closed_form(self, activation):
        with pytest.raises(ValueError, match=f'"{activation}" has no closed form'):
            population_loss(*random_banks(2, 3), 2, estimator=bank(activation))

    @pytest.mark.parametrize(
        ("parameters", "error", "match"),
        [
            ({"n_patches": 0}, ValueError, "n_patches must be at least 1"),
            ({"n_patches": 2.0}, TypeError, "n_patches must be an int"),
            ({"coef": np.ones((2, 3))}, ValueError, "one length, got 3 and 4 entries"),
            (
                {"estimator": bank("relu", "max")},
                ValueError,
                'pooling must be "sum" or "mean"',
            ),
            ({"estimator": bank(None)}, ValueError, "activation must be one of"),
            ({"output_weights": [1]}, ValueError, "^output_weights must be 1 or -1"),
            ({"teacher_output_weights": [1]}, ValueError, "^teacher_output_weights"),
        ],
    )
    def test_error_names_the_wrong_parameter(self, parameters, error, match):
        given = {"coef": np.ones((2, 4)), "teacher": np.eye(3, 4), "n_patches": 2}
        with pytest.raises(error, match=match):
            population_loss(**(given | parameters))
