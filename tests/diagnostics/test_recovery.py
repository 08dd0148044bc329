import dataclasses
import tracemalloc

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from skconvfilter import ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_regression
from skconvfilter.diagnostics import interpolation, recovery

GEOMETRY = {"kernel_size": 3, "input_shape": (7, 8, 2), "stride": 2, "padding": 1}


def values_by_loops(patches, w):
    """Mean over the patches of relu(w . patch); patches (n, k, p)."""
    return np.array([np.mean([max(0.0, z @ w) for z in sample]) for sample in patches])


def relative_loss_by_loops(patches, w, teacher):
    labels = values_by_loops(patches, teacher)
    return np.mean((values_by_loops(patches, w) - labels) ** 2) / labels.mean() ** 2


def image_patches(X):
    """The patches of GEOMETRY, shape (n, k, p)."""
    images = np.pad(X.reshape(-1, 7, 8, 2), [(0, 0), (1, 1), (1, 1), (0, 0)])
    windows = sliding_window_view(images, (3, 3), axis=(1, 2))[:, ::2, ::2]
    return np.moveaxis(windows, 3, 5).reshape(len(X), -1, 18)


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


class TestRecovery:
    def test_measures_are_those_of_the_formulas(self, images, filters):
        learned, teacher = filters
        result = recovery(images, learned, teacher, **GEOMETRY)
        w, true = learned.ravel(), teacher.ravel()
        cosine = w @ true / np.linalg.norm(w) / np.linalg.norm(true)
        assert result.angle == pytest.approx(np.arccos(cosine))
        error = np.linalg.norm(w - true) / np.linalg.norm(true)
        assert result.relative_error == pytest.approx(error)
        assert result.relative_error_on_data == pytest.approx(error)
        loss = relative_loss_by_loops(image_patches(images), w, true)
        assert result.relative_loss == pytest.approx(loss)
        assert result.indistinguishable is False

    def test_result_is_frozen_and_of_plain_numbers(self, images, filters):
        result = recovery(images, *filters, **GEOMETRY)
        *numbers, flag = dataclasses.astuple(result)
        assert {type(number) for number in numbers} == {float}
        assert type(flag) is bool
        with pytest.raises(dataclasses.FrozenInstanceError):
            result.angle = 0.0

    def test_every_form_of_the_samples_gives_the_same(self, images, filters):
        learned, teacher = (w[..., 0] for w in filters)
        flat = images[:, :56]
        view = sliding_window_view(flat.reshape(-1, 7, 8), (3, 3), axis=(1, 2))
        expected = recovery(flat, learned, teacher, kernel_size=3, input_shape=(7, 8))
        patches = view.reshape(len(view), -1, 9)
        for X, shape in [(view, (3, 3)), (patches, 9), (patches.tolist(), 9)]:
            result = recovery(X, learned.reshape(shape), teacher.reshape(shape))
            np.testing.assert_allclose(
                dataclasses.astuple(result), dataclasses.astuple(expected), rtol=1e-12
            )

    def test_fitted_estimator_stands_for_its_filter(self):
        X, y, teacher = make_filter_regression(
            200, kernel_size=3, intercept=2, sign=-1, return_teacher=True, random_state=0
        )
        model = ConvReLUFilterRegressor(kernel_size=3, random_state=0).fit(X, y)
        result = recovery(X, model, teacher, kernel_size=3)
        assert result == recovery(X, model.coef_, teacher, kernel_size=3)
        assert result == recovery(X, model.filter_, teacher, kernel_size=3)
        assert result.angle < 1e-12
        assert result.relative_error < 1e-12
        assert result.relative_error_on_data < 1e-12
        assert result.relative_loss < 1e-24

    @pytest.mark.parametrize("angle", [0, 1e-15, 1e-12, 1e-9, 1e-6, 1e-3, 0.3, 1.5])
    @pytest.mark.parametrize("norm", [1, 3, 1e-150, 1e150])
    def test_angles_keep_their_precision_at_both_ends(self, angle, norm):
        X = np.eye(5)
        for sign, expected in [(1, angle), (-1, np.pi - angle)]:
            learned = sign * norm * np.array([np.cos(angle), 0, np.sin(angle), 0, 0])
            result = recovery(X, learned, [norm, 0, 0, 0, 0])
            assert result.angle == pytest.approx(expected, rel=0, abs=1e-15)

    def test_angle_is_that_of_random_filters_too(self):
        rng = np.random.default_rng(0)
        for angle in [1e-8, 1e-4, np.pi - 1e-8]:
            u, v = np.linalg.qr(rng.normal(size=(50, 2)))[0].T
            learned = 7 * (np.cos(angle) * u + np.sin(angle) * v)
            result = recovery(np.eye(50), learned, 0.3 * u)
            assert result.angle == pytest.approx(angle, rel=0, abs=1e-15)

    def test_entry_that_is_always_zero_cannot_be_told(self, images):
        images[:, 3] = 0
        rng = np.random.default_rng(0)
        teacher = rng.normal(size=images.shape[1])
        learned = teacher.copy()
        learned[3] += 5
        result = recovery(images, learned, teacher)
        error = 5 / np.linalg.norm(teacher)
        assert result.relative_error == pytest.approx(error)
        assert result.relative_error_on_data < 1e-14
        assert result.relative_loss == 0
        assert result.indistinguishable is True

    @pytest.mark.parametrize(("n", "k", "p", "rank"), [(3, 1, 5, 3), (500, 9, 25, 24)])
    @pytest.mark.parametrize("mean", [0, 10])
    def test_direction_that_no_patch_has_cannot_be_told(self, n, k, p, rank, mean):
        rng = np.random.default_rng(0)
        X, hidden = hidden_direction(rng, n, k, p, rank)
        X += mean * X[0, 0]
        teacher = rng.normal(size=p)
        teacher *= np.sign(np.mean(X @ teacher))
        result = recovery(X, teacher + 4 * hidden, teacher)
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
        result = recovery(X, learned, teacher)
        assert result.relative_error_on_data == pytest.approx(expected)
        assert result.indistinguishable is False

    @pytest.mark.parametrize(("faintness", "is_seen"), [(1e-5, True), (1e-8, False)])
    def test_faint_directions_are_seen_down_to_the_threshold(self, faintness, is_seen):
        X = np.random.default_rng(0).normal(size=(200, 4))
        X[:, 3] *= faintness
        result = recovery(X, [1, 1, 1, 2], [1, 1, 1, 1])
        assert result.relative_error == pytest.approx(0.5)
        expected = 0.5 if is_seen else 0
        assert result.relative_error_on_data == pytest.approx(expected, abs=1e-7)
        # The values tell what the second moment cannot.
        assert result.indistinguishable is False

    def test_teacher_that_no_patch_has_gives_no_error_on_data(self):
        X, hidden = hidden_direction(np.random.default_rng(0), 50, 2, 6, 5)
        result = recovery(X, 2 * hidden, hidden)
        assert np.isnan(result.relative_error_on_data)
        assert np.isnan(result.relative_loss)
        assert result.relative_error == pytest.approx(1)
        assert result.indistinguishable is True

    def test_zero_teacher_has_no_relative_measures(self, images, filters):
        result = recovery(images, filters[0], np.zeros(18), **GEOMETRY)
        assert np.isnan(dataclasses.astuple(result)[:4]).all()
        assert result.indistinguishable is False
        result = recovery(images, np.zeros(18), np.zeros(18), **GEOMETRY)
        assert np.isnan(dataclasses.astuple(result)[:4]).all()
        assert result.indistinguishable is True

    def test_zero_learned_filter_has_no_angle(self, images, filters):
        result = recovery(images, np.zeros(18), filters[1], **GEOMETRY)
        assert np.isnan(result.angle)
        assert result.relative_error == 1
        assert result.relative_error_on_data == pytest.approx(1)

    def test_dead_teacher_has_no_relative_loss(self):
        X = np.random.default_rng(0).uniform(size=(20, 3))
        result = recovery(X, [1.0, 1, 1], [-1.0, -1, -1])
        assert np.isnan(result.relative_loss)
        assert result.angle == pytest.approx(np.pi)
        assert result.relative_error_on_data == pytest.approx(2)
        assert result.indistinguishable is False
        # Two dead filters have the same values.
        assert recovery(X, [-2.0, -1, -1], [-1.0, -1, -1]).indistinguishable is True

    def test_zero_samples_tell_nothing(self):
        result = recovery(np.zeros((4, 3)), [1.0, 2, 3], [3.0, 2, 1])
        assert np.isnan(result.relative_error_on_data)
        assert np.isnan(result.relative_loss)
        assert result.indistinguishable is True

    @pytest.mark.parametrize(("units", "agree"), [(0.5, True), (1e3, False)])
    def test_values_agree_up_to_rounding_only(self, units, agree):
        X = np.random.default_rng(0).normal(size=(50, 4))
        teacher = np.ones(4)
        learned = teacher * (1 + units * 16 * np.finfo(float).eps)
        assert recovery(X, learned, teacher).indistinguishable is agree

    @pytest.mark.parametrize("of_data", [1e-200, 1e-30, 1e30, 1e200])
    @pytest.mark.parametrize("of_filters", [1e-200, 1e30, 1e100])
    def test_scales_do_not_matter(self, of_data, of_filters, images, filters):
        expected = recovery(images, *filters, **GEOMETRY)
        result = recovery(images * of_data, *(filters * of_filters), **GEOMETRY)
        np.testing.assert_allclose(
            dataclasses.astuple(result), dataclasses.astuple(expected), rtol=1e-12
        )

    @pytest.mark.parametrize("size", [1e-200, 1e-313])
    def test_loss_beside_a_teacher_next_to_nothing_is_infinite(self, size, images, filters):
        learned, teacher = filters
        assert recovery(images, learned, size * teacher, **GEOMETRY).relative_loss == np.inf

    def test_patches_are_not_all_made_at_once(self):
        signals = np.random.default_rng(0).normal(size=(2000, 200))
        teacher = np.ones(64)
        tracemalloc.start()
        try:
            recovery(signals, -teacher, teacher, kernel_size=64)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        all_patches = 2000 * (200 - 64 + 1) * teacher.nbytes
        assert peak < 0.1 * all_patches

    @pytest.mark.parametrize("shape", [(300, 1, 20), (1, 5000, 30), (7, 3000, 10)])
    def test_blocks_of_patches_add_up(self, shape):
        # Only the last patch of the last sample has the last entry.
        X = np.random.default_rng(0).normal(size=shape)
        X[..., -1] = 0
        X[-1, -1, -1] = 1
        teacher = np.ones(shape[-1])
        learned = teacher.copy()
        learned[-1] = 2
        result = recovery(X, learned, teacher)
        assert result.relative_error_on_data == pytest.approx(result.relative_error)

    def test_nothing_given_is_changed(self, images, filters):
        before = images.copy(), filters.copy()
        for array in (images, filters):
            array.flags.writeable = False
        recovery(images, *filters, **GEOMETRY)
        np.testing.assert_array_equal(images, before[0])
        np.testing.assert_array_equal(filters, before[1])


class TestInterpolation:
    def test_losses_are_those_of_the_formula(self, images, filters):
        first, second = filters
        result = interpolation(images, first, second, n_points=7, **GEOMETRY)
        np.testing.assert_allclose(result.alpha, np.arange(7) / 6)
        patches = image_patches(images)
        for alpha, loss in zip(result.alpha, result.relative_loss, strict=True):
            w = (alpha * first + (1 - alpha) * second).ravel()
            expected = relative_loss_by_loops(patches, w, second.ravel())
            assert loss == pytest.approx(expected, rel=1e-10)

    def test_ends_are_the_two_filters(self, images, filters):
        result = interpolation(images, *filters, **GEOMETRY)
        assert result.alpha.shape == result.relative_loss.shape == (51,)
        assert result.alpha.dtype == result.relative_loss.dtype == np.float64
        assert result.alpha[[0, -1]].tolist() == [0, 1]
        assert result.relative_loss[0] == 0
        end = recovery(images, *filters, **GEOMETRY).relative_loss
        assert result.relative_loss[-1] == pytest.approx(end, rel=1e-12)

    @pytest.mark.parametrize("margin", [0.01, 0.1, 0.33, 0.5, 1, 2.7, 24.5])
    def test_margin_goes_on_beyond_both(self, margin, images, filters):
        result = interpolation(images, *filters, margin=margin, **GEOMETRY)
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

    def test_estimators_stand_for_their_filters(self):
        X, y, teacher = make_filter_regression(return_teacher=True, random_state=0)
        model = ConvReLUFilterRegressor(random_state=0).fit(X, y)
        result = interpolation(X, teacher, model)
        expected = interpolation(X, teacher, model.coef_)
        np.testing.assert_array_equal(result.relative_loss, expected.relative_loss)
        assert result.relative_loss.max() < 1e-24

    def test_reflected_filter_lies_behind_a_hump(self):
        # f(-w) = f(w) on data that come in pairs Z, -Z; half-way the model is 0.
        half = np.random.default_rng(0).normal(size=(40, 3, 5))
        X = np.concatenate([half, -half], axis=1)
        teacher = np.ones(5)
        result = interpolation(X, -teacher, teacher, n_points=3)
        labels = values_by_loops(X, teacher)
        null = np.mean(labels**2) / labels.mean() ** 2
        np.testing.assert_allclose(result.relative_loss, [0, null, 0], atol=1e-28)

    @pytest.mark.parametrize("scale", [1e-200, 1e200])
    def test_scales_do_not_matter(self, scale, images, filters):
        expected = interpolation(images, *filters, **GEOMETRY).relative_loss
        scaled = interpolation(images * scale, *(filters / scale), **GEOMETRY)
        np.testing.assert_allclose(scaled.relative_loss, expected, rtol=1e-12)

    @pytest.mark.parametrize("second", [np.zeros(3), [-1.0, -1, -1]])
    def test_second_filter_must_respond(self, second):
        X = np.random.default_rng(0).uniform(size=(20, 3))
        with pytest.raises(ValueError, match="second must respond to X"):
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


@pytest.mark.parametrize(
    ("function", "names"),
    [(recovery, ("learned", "teacher")), (interpolation, ("first", "second"))],
)
class TestBadInput:
    @pytest.mark.parametrize(
        ("wrong", "error", "match"),
        [
            (np.ones(4), ValueError, r"must have the shape \(3,\) of the window"),
            (np.ones((1, 3)), ValueError, r"must have the shape \(3,\) of the window"),
            (1.0, ValueError, r"must have the shape \(3,\) of the window"),
            ([1, np.nan, 1], ValueError, "must be finite"),
            ([1, np.inf, 1], ValueError, "must be finite"),
            ("gabor", TypeError, "must be an array of numbers"),
            (None, TypeError, "must be an array of numbers"),
            ([1j, 0, 0], TypeError, "must be an array of numbers"),
            (ConvReLUFilterRegressor(), TypeError, "must be an array of numbers"),
        ],
    )
    @pytest.mark.parametrize("which", [0, 1])
    def test_wrong_filters_are_refused(self, function, names, wrong, error, match, which):
        filters = [np.ones(3), np.ones(3)]
        filters[which] = wrong
        with pytest.raises(error, match=f"{names[which]} {match}"):
            function(np.eye(3), *filters)

    @pytest.mark.parametrize(
        ("X", "geometry", "match"),
        [
            ([1.0, 2.0, 3.0], {}, "X must have at least two axes"),
            (np.ones((0, 3)), {}, "Found array with 0 sample"),
            (np.ones((2, 0, 3)), {}, "X must have at least two axes, none empty"),
            ([[1.0, np.nan, 1.0]], {}, "Input X contains NaN"),
            ([[1.0, np.inf, 1.0]], {}, "Input X contains infinity"),
            (np.ones((2, 4, 3)), {"kernel_size": 3}, "kernel_size=3 is for flat"),
            (np.ones((2, 4, 3)), {"stride": 2}, "stride has no meaning"),
            (np.ones((2, 3)), {"input_shape": 3}, "input_shape has no meaning"),
            (np.ones((2, 3)), {"kernel_size": 4}, "kernel_size"),
            (np.ones((2, 3)), {"kernel_size": 3, "dilation": 0}, "dilation must be"),
        ],
    )
    def test_wrong_samples_and_windows_are_refused(
        self, function, names, X, geometry, match
    ):
        with pytest.raises(ValueError, match=match):
            function(X, np.ones(3), np.ones(3), **geometry)

    def test_window_shape_is_that_of_the_geometry(self, function, names):
        with pytest.raises(
            ValueError, match=rf"{names[0]} must have the shape \(3, 3, 2\)"
        ):
            function(np.ones((2, 112)), np.ones((3, 3)), np.ones((3, 3)), **GEOMETRY)
