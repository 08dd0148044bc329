import dataclasses
import tracemalloc
from itertools import permutations

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from skconvfilter import (
    ConvFilterBankRegressor,
    ConvPatchExtractor,
    ConvReLUFilterRegressor,
)
from skconvfilter.datasets import make_filter_regression
from skconvfilter.diagnostics import interpolation, recovery
from skconvfilter.model.activations import ACTIVATIONS
from skconvfilter.model.bank import bank_values
from skconvfilter.model.geometry import flatten_windows

WINDOW = ConvPatchExtractor(3, input_shape=(7, 8, 2), stride=2, padding=1)
ODD, NOT_ODD = ["sigmoid", "tanh", "erf"], ["relu", "leaky_relu", "squared_relu"]


def values_by_loops(patches, w):
    """Mean over the patches of relu(w . patch); patches (n, k, p)."""
    return np.array([np.mean([max(0.0, z @ w) for z in sample]) for sample in patches])


def relative_loss_by_loops(patches, w, teacher):
    labels = values_by_loops(patches, teacher)
    return np.mean((values_by_loops(patches, w) - labels) ** 2) / labels.mean() ** 2


def image_patches(X):
    """The patches of WINDOW, shape (n, k, p)."""
    images = np.pad(X.reshape(-1, 7, 8, 2), [(0, 0), (1, 1), (1, 1), (0, 0)])
    windows = sliding_window_view(images, (3, 3), axis=(1, 2))[:, ::2, ::2]
    return np.moveaxis(windows, 3, 5).reshape(len(X), -1, 18)


def bank(activation, pooling="sum"):
    return ConvFilterBankRegressor(activation=activation, pooling=pooling)


def random_banks(n_filters, patch_dim, seed=0):
    return np.random.default_rng(seed).standard_normal((2, n_filters, patch_dim))


def numbers(result):
    return np.concatenate([np.ravel(value) for value in dataclasses.astuple(result)])


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(size=(30, 7 * 8 * 2))


@pytest.fixture
def filters():
    return np.random.default_rng(1).normal(size=(2, 3, 3, 2))


def hidden_direction(rng, n, k, p, rank):
    """Patches in a random subspace, and a unit vector orthogonal to it."""
    basis = np.linalg.qr(rng.normal(size=(p, p)))[0]
    X = rng.normal(size=(n, k, rank)) @ basis[:, :rank].T
    return X, basis[:, -1]


class TestOneFilter:
    def test_measures_are_those_of_the_formulas(self, images, filters):
        learned, teacher = filters
        result = recovery(learned, teacher, images, estimator=WINDOW)
        w, true = learned.ravel(), teacher.ravel()
        cosine = w @ true / np.linalg.norm(w) / np.linalg.norm(true)
        assert result.angle == pytest.approx(np.arccos(cosine))
        error = np.linalg.norm(w - true) / np.linalg.norm(true)
        assert result.relative_error == pytest.approx(error)
        assert result.relative_error_on_data == pytest.approx(error)
        loss = relative_loss_by_loops(image_patches(images), w, true)
        assert result.relative_loss == pytest.approx(loss)
        assert result.indistinguishable is False
        assert result.permutation.tolist() == [0]
        assert result.angles.tolist() == [result.angle]
        assert result.relative_errors == pytest.approx([error])

    def test_without_data_the_measures_on_data_are_missing(self, images, filters):
        learned, teacher = filters.reshape(2, 18)
        result = recovery(learned, teacher)
        full = recovery(learned, teacher, images, estimator=WINDOW)
        assert (result.angle, result.relative_error) == (full.angle, full.relative_error)
        assert np.isnan([result.relative_error_on_data, result.relative_loss]).all()
        assert result.indistinguishable is None
        model = ConvReLUFilterRegressor()
        model.coef_ = learned
        assert recovery(model, teacher.reshape(3, 6)).angle == full.angle
        assert recovery(learned.reshape(3, 6), model).angle == 0

    def test_filter_of_a_fit_is_the_true_one(self):
        model = ConvReLUFilterRegressor(kernel_size=3, random_state=0)
        X, y, teacher = make_filter_regression(
            200, model, intercept=2, sign=-1, return_teacher=True, random_state=0
        )
        result = recovery(model.fit(X, y), teacher, X)
        assert result.angle < 1e-12
        assert result.relative_error < 1e-12
        assert result.relative_error_on_data < 1e-12
        assert result.relative_loss < 1e-24

    @pytest.mark.parametrize("angle", [0, 1e-15, 1e-9, 1e-3, 1.5])
    @pytest.mark.parametrize("norm", [1, 3e-50])
    def test_angles_keep_their_precision_at_both_ends(self, angle, norm):
        u, v = np.linalg.qr(np.random.default_rng(0).normal(size=(50, 2)))[0].T
        for first, second in [(np.eye(5)[0], np.eye(5)[2]), (u, v)]:
            for sign, expected in [(1, angle), (-1, np.pi - angle)]:
                learned = np.cos(angle) * first + np.sin(angle) * second
                result = recovery(sign * norm * learned, 0.3 * norm * first)
                assert result.angle == pytest.approx(expected, rel=0, abs=1e-15)

    @pytest.mark.parametrize(("n", "k", "p", "rank"), [(3, 1, 5, 3), (500, 9, 25, 24)])
    @pytest.mark.parametrize("mean", [0, 10])
    def test_direction_that_no_patch_has_cannot_be_told(self, n, k, p, rank, mean):
        rng = np.random.default_rng(0)
        X, hidden = hidden_direction(rng, n, k, p, rank)
        X += mean * X[0, 0]
        teacher = rng.normal(size=p)
        teacher *= np.sign(np.mean(X @ teacher))
        result = recovery(teacher + 4 * hidden, teacher, X)
        assert result.relative_error == pytest.approx(4 / np.linalg.norm(teacher))
        assert result.relative_error_on_data < 1e-10
        assert result.relative_loss < 1e-24
        assert result.indistinguishable is True

    def test_error_on_data_is_of_the_projections(self):
        rng = np.random.default_rng(0)
        X, _ = hidden_direction(rng, 40, 3, 8, 5)
        learned, teacher = rng.normal(size=(2, 8))
        basis = np.linalg.svd(X.reshape(-1, 8))[2][:5]
        expected = np.linalg.norm(basis @ (learned - teacher))
        expected /= np.linalg.norm(basis @ teacher)
        result = recovery(learned, teacher, X)
        assert result.relative_error_on_data == pytest.approx(expected)
        assert result.indistinguishable is False

    @pytest.mark.parametrize(("faintness", "is_seen"), [(1e-5, True), (1e-8, False)])
    def test_faint_directions_are_seen_down_to_the_threshold(self, faintness, is_seen):
        X = np.random.default_rng(0).normal(size=(200, 4))
        X[:, 3] *= faintness
        result = recovery([1, 1, 1, 2], [1, 1, 1, 1], X)
        assert result.relative_error == pytest.approx(0.5)
        expected = 0.5 if is_seen else 0
        assert result.relative_error_on_data == pytest.approx(expected, abs=1e-7)
        # The values tell what the second moment cannot.
        assert result.indistinguishable is False

    def test_teacher_that_no_patch_has_gives_no_error_on_data(self):
        X, hidden = hidden_direction(np.random.default_rng(0), 50, 2, 6, 5)
        result = recovery(2 * hidden, hidden, X)
        assert np.isnan(result.relative_error_on_data)
        assert np.isnan(result.relative_loss)
        assert result.relative_error == pytest.approx(1)
        assert result.indistinguishable is True

    def test_zero_filters_have_no_angle_and_no_relative_measures(self, images, filters):
        zero = np.zeros(18)
        for learned in (filters[0], zero):
            result = recovery(learned, zero, images, estimator=WINDOW)
            assert np.isnan(numbers(result)[1:-1]).all()
            assert result.indistinguishable is bool(learned is zero)
        result = recovery(zero, filters[1], images, estimator=WINDOW)
        assert np.isnan(result.angle)
        assert result.relative_error == 1
        assert result.relative_error_on_data == pytest.approx(1)

    def test_dead_teacher_has_no_relative_loss(self):
        X = np.random.default_rng(0).uniform(size=(20, 3))
        result = recovery([1.0, 1, 1], [-1.0, -1, -1], X)
        assert np.isnan(result.relative_loss)
        assert result.angle == pytest.approx(np.pi)
        assert result.relative_error_on_data == pytest.approx(2)
        assert result.indistinguishable is False
        # Two dead filters have the same values.
        assert recovery([-2.0, -1, -1], [-1.0, -1, -1], X).indistinguishable is True

    def test_zero_samples_tell_nothing(self):
        result = recovery([1.0, 2, 3], [3.0, 2, 1], np.zeros((4, 3)))
        assert np.isnan(result.relative_error_on_data)
        assert np.isnan(result.relative_loss)
        assert result.indistinguishable is True

    @pytest.mark.parametrize(("units", "agree"), [(0.5, True), (1e3, False)])
    def test_values_agree_to_machine_precision_only(self, units, agree):
        X = np.random.default_rng(0).normal(size=(50, 4))
        teacher = np.ones(4)
        learned = teacher * (1 + units * 16 * np.finfo(float).eps)
        assert recovery(learned, teacher, X).indistinguishable is agree
        # Likewise for banks; squares have twice the relative error.
        for name in ("relu", "tanh", "squared_relu"):
            banks = np.array([learned, learned / 2]), np.array([teacher, teacher / 2])
            result = recovery(*banks, X, estimator=bank(name))
            assert result.indistinguishable is agree

    @pytest.mark.parametrize("of_data", [1e-30, 1e30])
    @pytest.mark.parametrize("of_filters", [1e-20, 1e30])
    def test_scales_do_not_matter(self, of_data, of_filters, images, filters):
        given = {"estimator": WINDOW}
        expected = recovery(*filters, images, **given)
        result = recovery(*(filters * of_filters), images * of_data, **given)
        np.testing.assert_allclose(numbers(result), numbers(expected), rtol=1e-12)

    def test_patches_are_not_all_made_at_once(self):
        signals = np.random.default_rng(0).normal(size=(1000, 200))
        teacher = np.ones(64)
        tracemalloc.start()
        try:
            recovery(-teacher, teacher, signals, estimator=ConvPatchExtractor(64))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        all_patches = 1000 * (200 - 64 + 1) * teacher.nbytes
        assert peak < 0.15 * all_patches

    @pytest.mark.parametrize("shape", [(300, 1, 20), (7, 3000, 10)])
    def test_blocks_of_patches_add_up(self, shape):
        # Only the last patch of the last sample has the last entry.
        X = np.random.default_rng(0).normal(size=shape)
        X[..., -1] = 0
        X[-1, -1, -1] = 1
        teacher = np.ones(shape[-1])
        learned = teacher.copy()
        learned[-1] = 2
        result = recovery(learned, teacher, X)
        assert result.relative_error_on_data == pytest.approx(result.relative_error)

    def test_nothing_given_is_changed(self, images, filters):
        before = images.copy(), filters.copy()
        for array in (images, filters):
            array.flags.writeable = False
        recovery(*filters, images, estimator=WINDOW)
        np.testing.assert_array_equal(images, before[0])
        np.testing.assert_array_equal(filters, before[1])


class TestBanks:
    @pytest.mark.parametrize("n_filters", [1, 2, 5])
    @pytest.mark.parametrize("seed", range(3))
    def test_no_order_is_nearer(self, n_filters, seed):
        coef, teacher = random_banks(n_filters, 3, seed)
        permutation = recovery(coef, teacher).permutation
        distances = [
            np.linalg.norm(coef[list(order)] - teacher)
            for order in permutations(range(n_filters))
        ]
        assert sorted(permutation) == list(range(n_filters))
        found = np.linalg.norm(coef[permutation] - teacher)
        assert found == pytest.approx(min(distances), rel=1e-14)

    def test_measures_are_those_of_the_formulas(self):
        coef, teacher = random_banks(5, 7)
        result = recovery(coef, teacher)
        matched = coef[result.permutation]
        error = np.linalg.norm(matched - teacher) / np.linalg.norm(teacher)
        assert result.relative_error == pytest.approx(error)
        norms = np.linalg.norm(teacher, axis=1)
        errors = np.linalg.norm(matched - teacher, axis=1) / norms
        np.testing.assert_allclose(result.relative_errors, errors)
        cosines = (matched * teacher).sum(axis=1) / norms
        angles = np.arccos(cosines / np.linalg.norm(matched, axis=1))
        np.testing.assert_allclose(result.angles, angles)
        assert result.angle == max(result.angles)

    @pytest.mark.parametrize("activation", ACTIVATIONS)
    @pytest.mark.parametrize("pooling", ["sum", "mean"])
    def test_measures_on_data_are_those_of_the_formulas(self, activation, pooling):
        rng = np.random.default_rng(0)
        X, hidden = hidden_direction(rng, 40, 3, 8, 5)
        coef, teacher = random_banks(2, 8)
        v, v_true = np.array([1, -1]), np.array([1, 1])
        weights = {"output_weights": v, "teacher_output_weights": v_true}
        given = {"estimator": bank(activation, pooling), **weights}
        result = recovery(coef, teacher, X, **given)
        samples, geometry = flatten_windows(X)
        values, labels = (
            bank_values(
                samples,
                geometry,
                rows.T,
                ACTIVATIONS[activation],
                output_weights=own,
                pooling=pooling,
            )
            for rows, own in [(coef, v), (teacher, v_true)]
        )
        loss = np.mean((values - labels) ** 2) / labels.mean() ** 2
        assert result.relative_loss == pytest.approx(loss)
        assert result.indistinguishable is False
        moved = recovery(teacher[::-1] + hidden, teacher, X, estimator=given["estimator"])
        assert moved.permutation.tolist() == [1, 0]
        assert moved.relative_error > 0.1
        assert moved.relative_error_on_data < 1e-12
        assert moved.relative_loss < 1e-24
        assert moved.indistinguishable is True

    @pytest.mark.parametrize("error", [0, 1e-15, 1e-9, 1e-3])
    @pytest.mark.parametrize("scale", [1, 1e-25])
    def test_small_errors_keep_their_precision(self, error, scale):
        teacher = scale * np.eye(3)[[2, 0, 1]]
        across = scale * np.eye(3)[[0, 1, 2]]
        result = recovery((teacher + error * across)[::-1], teacher)
        assert result.relative_error == pytest.approx(error, rel=1e-12, abs=1e-18)
        np.testing.assert_allclose(result.angles, np.arctan(error), rtol=1e-12)

    def test_zero_filters_have_no_angle(self):
        teacher = np.array([[0.0, 0.0], [1.0, 0.0]])
        result = recovery(teacher[::-1], teacher)
        assert result.relative_error == 0
        np.testing.assert_array_equal(result.relative_errors, [np.nan, 0])
        np.testing.assert_array_equal(result.angles, [np.nan, 0])
        result = recovery(teacher, np.zeros((2, 2)))
        assert np.isnan(result.relative_error)
        assert np.isnan(result.angles).all()

    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_without_output_weights_no_sign_is_free(self, activation):
        teacher = np.array([[1.0, 0.0], [-1.0, 0.0]])
        result = recovery(-teacher, teacher, estimator=bank(activation))
        np.testing.assert_array_equal(result.permutation, [1, 0])

    @pytest.mark.parametrize("activation", ODD)
    def test_signs_move_between_odd_filters_and_their_output_weights(self, activation):
        _, teacher = random_banks(4, 5)
        signs = np.array([1, 1, 1, -1])
        order = [2, 0, 3, 1]
        flipped = np.array([-1, 1, -1, 1])
        moved = (flipped[:, np.newaxis] * teacher)[order]
        weights = {
            "output_weights": (flipped * signs)[order],
            "teacher_output_weights": signs,
        }
        X = np.random.default_rng(1).standard_normal((50, 3, 5))
        result = recovery(moved, teacher, X, estimator=bank(activation), **weights)
        np.testing.assert_array_equal(np.array(order)[result.permutation], np.arange(4))
        assert result.relative_error == 0
        np.testing.assert_allclose(result.angles, 0, atol=1e-15)
        # The values are the same, but for a constant of the sigmoid.
        assert result.indistinguishable is (activation != "sigmoid")

    def test_output_scale_of_a_fitted_bank_counts_in_the_values(self):
        _, teacher = random_banks(4, 5)
        learned = bank("tanh")
        learned.coef_, learned.output_weights_ = -teacher, np.ones(4)
        X = np.random.default_rng(1).standard_normal((50, 3, 5))
        for scale, same in ((-1.0, True), (2.0, False)):
            learned.output_scale_ = scale
            result = recovery(learned, teacher, X)
            assert (result.relative_error == 0) is same
            assert result.indistinguishable is same

    @pytest.mark.parametrize("activation", NOT_ODD)
    def test_wrong_output_weight_is_an_error_elsewhere(self, activation):
        teacher = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
        given = {"teacher_output_weights": [1, -1], "estimator": bank(activation)}
        right = recovery(teacher[::-1], teacher, output_weights=[-1, 1], **given)
        np.testing.assert_array_equal(right.permutation, [1, 0])
        assert right.relative_error == 0
        # A filter at an acute angle with the right weight is nearer.
        wrong = recovery(teacher[::-1], teacher, output_weights=[1, -1], **given)
        np.testing.assert_array_equal(wrong.permutation, [0, 1])
        one_wrong = recovery(teacher, teacher, output_weights=[1, 1], **given)
        np.testing.assert_array_equal(one_wrong.permutation, [0, 1])
        np.testing.assert_allclose(one_wrong.relative_errors, [0, np.sqrt(2)])
        np.testing.assert_allclose(one_wrong.angles, [0, np.pi / 2])

    def test_values_without_a_mean_have_no_relative_loss(self):
        X = np.array([[1.0], [-1.0]])
        result = recovery([[2.0]], [[1.0]], X, estimator=bank("tanh"))
        assert np.isnan(result.relative_loss)
        assert result.indistinguishable is False

    @pytest.mark.parametrize(
        ("parameters", "error", "match"),
        [
            ({"learned": np.ones((3, 4))}, ValueError, "filters, got 3 and 2"),
            ({"learned": np.ones((2, 3))}, ValueError, "one length, got 3 and 4 entries"),
            ({"learned": np.ones(4)}, ValueError, r"teacher must have the shape \(4,\)"),
            ({"learned": "tensor"}, TypeError, "learned must be an array of numbers"),
            ({"learned": [[1.0], [1.0, 2.0]]}, ValueError, "learned must be an array"),
            ({"teacher": np.ones(4)}, ValueError, "teacher must hold filters along its"),
            ({"teacher": np.full((2, 4), np.nan)}, ValueError, "teacher must be finite"),
            ({"teacher": np.full((2, 4), 1e80)}, ValueError, "Rescale teacher"),
            ({"output_weights": [1]}, ValueError, "^output_weights must be 1 or -1"),
            ({"teacher_output_weights": [1, 2]}, ValueError, "^teacher_output_weights"),
            ({"estimator": bank("softplus")}, ValueError, "activation must be one of"),
            ({"X": np.ones((5, 3))}, ValueError, r"learned must have the shape \(n_filt"),
        ],
    )
    def test_error_names_the_wrong_parameter(self, parameters, error, match):
        banks = {"learned": np.ones((2, 4)), "teacher": np.eye(2, 4)}
        with pytest.raises(error, match=match):
            recovery(**(banks | parameters))


class TestInterpolation:
    def test_losses_are_those_of_the_formula(self, images, filters):
        first, second = filters
        result = interpolation(images, first, second, n_points=7, estimator=WINDOW)
        np.testing.assert_allclose(result.alpha, np.arange(7) / 6)
        patches = image_patches(images)
        for alpha, loss in zip(result.alpha, result.relative_loss, strict=True):
            w = (alpha * first + (1 - alpha) * second).ravel()
            expected = relative_loss_by_loops(patches, w, second.ravel())
            assert loss == pytest.approx(expected, rel=1e-10)

    def test_ends_are_the_two_filters(self, images, filters):
        result = interpolation(images, *filters, estimator=WINDOW)
        assert result.alpha.shape == result.relative_loss.shape == (51,)
        assert result.alpha.dtype == result.relative_loss.dtype == np.float64
        assert result.alpha[[0, -1]].tolist() == [0, 1]
        assert result.relative_loss[0] == 0
        end = recovery(*filters, images, estimator=WINDOW).relative_loss
        assert result.relative_loss[-1] == pytest.approx(end, rel=1e-12)

    @pytest.mark.parametrize("margin", [0.01, 0.33, 1, 24.5])
    def test_margin_goes_on_beyond_both(self, margin, images, filters):
        result = interpolation(images, *filters, margin=margin, estimator=WINDOW)
        alpha = result.alpha
        assert len(alpha) == 51
        if margin > 0.01:
            assert alpha[[0, -1]] == pytest.approx([-margin, 1 + margin])
        assert np.all(np.diff(alpha) > 0)
        assert np.sum(alpha == 0) == np.sum(alpha == 1) == 1
        assert result.relative_loss[alpha == 0] == 0
        step = (1 + 2 * margin) / 50
        even = np.linspace(-margin, 1 + margin, 51)
        assert np.abs(alpha - even).max() <= step / 2 * (1 + 1e-9)
        assert np.sum(np.abs(alpha - even) > 1e-12) <= 2

    def test_reflected_filter_lies_behind_a_hump(self):
        # f(-w) = f(w) on data that come in pairs Z, -Z; half-way the model is 0.
        half = np.random.default_rng(0).normal(size=(40, 3, 5))
        X = np.concatenate([half, -half], axis=1)
        teacher = np.ones(5)
        result = interpolation(X, -teacher, teacher, n_points=3)
        labels = values_by_loops(X, teacher)
        null = np.mean(labels**2) / labels.mean() ** 2
        np.testing.assert_allclose(result.relative_loss, [0, null, 0], atol=1e-28)

    @pytest.mark.parametrize("second", [np.zeros(3), [-1.0, -1, -1]])
    def test_second_filter_must_respond(self, second):
        X = np.random.default_rng(0).uniform(size=(20, 3))
        with pytest.raises(ValueError, match="second has the value zero"):
            interpolation(X, np.ones(3), second)

    @pytest.mark.parametrize(
        ("parameters", "error", "match"),
        [
            ({"n_points": 1}, ValueError, "n_points must be at least 2, got 1"),
            ({"n_points": 5.0}, TypeError, "n_points must be an int"),
            ({"n_points": 5, "margin": 2}, ValueError, r"at least 2 \+ 2 \* margin"),
            ({"margin": -0.1}, ValueError, "margin must be at least 0"),
            ({"margin": np.nan}, ValueError, "margin must be at least 0"),
            ({"margin": "wide"}, TypeError, "margin must be a number"),
        ],
    )
    def test_wrong_grids_are_refused(self, parameters, error, match):
        with pytest.raises(error, match=match):
            interpolation(np.eye(3), np.ones(3), np.ones(3), **parameters)
