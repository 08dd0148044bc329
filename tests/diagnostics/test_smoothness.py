import numpy as np
import pytest

from skconvfilter.diagnostics import smoothness
from tests.diagnostics import oracles

QUANTITIES = ["gamma", "L", "disagreement", "cross"]
ANGLES = np.array([np.pi / 8, np.pi / 4, np.pi / 2])


def unit_sphere(shape, rng):
    X = rng.standard_normal(shape)
    return X / np.linalg.norm(X, axis=-1, keepdims=True)


def assert_close(result, expected, rtol):
    for name in QUANTITIES:
        values, exact = getattr(result, name).value, expected[name]
        # Noise is relative to the size of the moments, L, not to a small gamma or cross.
        np.testing.assert_allclose(values, exact, rtol=rtol, atol=1e-3 * result.L.value[0])


@pytest.mark.slow
class TestAgainstClosedForms:
    """Half of 20,000 samples leave some 3 % of noise: 6 % is two standard errors."""

    @pytest.mark.parametrize(("n_patches", "sphere"), [(1, False), (2, True), (4, False)])
    def test_independent_isotropic_patches(self, n_patches, sphere):
        rng, p = np.random.default_rng(0), 5
        angles = ANGLES[::2]
        draw = unit_sphere if sphere else lambda shape, rng: rng.standard_normal(shape)
        X, teacher = draw((20_000, n_patches, p), rng), rng.standard_normal(p)
        result = smoothness(X, teacher, angles, random_state=0)
        dim = p if sphere else None
        expected = {
            name: getattr(oracles, name)(angles, n_patches, dim) for name in QUANTITIES
        }
        assert_close(result, expected, rtol=0.06)
        ratio = max(expected["disagreement"] / angles)
        assert result.beta == pytest.approx(ratio, rel=0.06)
        assert result.L_cross == pytest.approx(max(expected["cross"] / angles), abs=0.01)

    def test_identical_patches_are_one_patch(self):
        rng = np.random.default_rng(0)
        X = np.repeat(rng.standard_normal((10_000, 1, 5)), 3, axis=1)
        result = smoothness(X, np.ones(5), ANGLES, random_state=0)
        expected = {name: getattr(oracles, name)(ANGLES) for name in QUANTITIES}
        assert_close(result, expected, rtol=0.08)
        assert result.L_cross == pytest.approx(0, abs=1e-12)

    def test_correlated_entries(self):
        # Random directions alone miss the extremes here by 40 %.
        rng, p = np.random.default_rng(0), 9
        Q = np.linalg.qr(rng.standard_normal((p, p)))[0]
        root = Q * np.append([1.5, 1.0], np.full(p - 2, 0.3)) @ Q.T
        X, teacher = rng.standard_normal((10_000, 4, p)) @ root, rng.standard_normal(p)
        angle = np.pi / 4
        result = smoothness(X, teacher, [angle], random_state=0)
        for name in QUANTITIES:
            exact, _ = oracles.hardest_filter(name, angle, teacher, 4, root=root)
            assert getattr(result, name).value[0] == pytest.approx(exact, rel=0.08), name

    @pytest.mark.parametrize("sigma", [0.6, np.inf])
    def test_the_mixture_of_section_4_in_the_plane(self, sigma):
        rng = np.random.default_rng(0)
        z = rng.uniform(-np.pi / 2, np.pi / 2, 20_000)
        if np.isfinite(sigma):
            z = sigma * rng.standard_normal(60_000)
            z = z[np.abs(z) < np.pi / 2][:20_000]
        angle = z + np.pi * rng.integers(2, size=len(z))
        X = np.column_stack([np.cos(angle), np.sin(angle)])
        result = smoothness(X, [1.0, 0.0], ANGLES, random_state=0)
        exact = [oracles.section_4_moments(phi, sigma) for phi in ANGLES]
        for name in ("gamma", "L", "disagreement"):
            expected = [getattr(moments, name) for moments in exact]
            np.testing.assert_allclose(
                getattr(result, name).value, expected, rtol=0.06, atol=2e-3, err_msg=name
            )


@pytest.fixture(scope="module")
def power_result():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((6000, 1, 6)) * np.arange(1, 7) ** -0.5
    return X, smoothness(X, np.ones(6), ANGLES, random_state=0)


def test_values_lie_between_what_is_searched_and_what_is_certified(power_result):
    _, result = power_result
    gamma = result.gamma
    assert (gamma.searched <= gamma.value * 1.05).all()
    assert (gamma.certified <= gamma.searched).all()
    for upper in (result.L, result.disagreement):
        assert (upper.certified >= 0.95 * upper.searched).all()


def test_certified_bounds_hold_for_every_filter_of_the_samples(power_result):
    X, result = power_result
    rng, unit = np.random.default_rng(2), np.ones(6) / np.sqrt(6)
    V = rng.standard_normal((200, 6))
    V -= np.outer(V @ unit, unit)
    V /= np.linalg.norm(V, axis=1, keepdims=True)
    for i, angle in enumerate(ANGLES):
        for v in V:
            moments = oracles.sample_moments(
                X, np.cos(angle) * unit + np.sin(angle) * v, unit
            )
            assert moments.gamma >= result.gamma.certified[i] - 1e-12
            assert moments.L <= result.L.certified[i] + 1e-12
            assert moments.disagreement <= result.disagreement.certified[i] + 1e-12


def test_cross_bound_holds_for_every_filter_of_the_samples():
    rng = np.random.default_rng(0)
    X, teacher = rng.standard_normal((800, 3, 3)), np.array([1.0, 0.0, 0.0])
    result = smoothness(X, teacher, ANGLES, random_state=0)
    assert np.isnan(result.gamma.certified).all()
    for i, angle in enumerate(ANGLES):
        for turn in np.linspace(0, 2 * np.pi, 50):
            v = np.array([0.0, np.cos(turn), np.sin(turn)])
            moments = oracles.sample_moments(
                X, np.cos(angle) * teacher + np.sin(angle) * v, teacher
            )
            assert moments.cross <= result.cross.certified[i] + 1e-12
            assert moments.disagreement <= result.disagreement.certified[i] + 1e-12
            assert moments.L <= result.L.certified[i] + 1e-12


def test_gamma_of_two_patches_need_not_fall_with_the_angle():
    patches = np.tile(oracles.non_monotone_patches(), (500, 1, 1))
    with pytest.warns(UserWarning, match=r"At the angles \[0.1, 0.7\]"):
        result = smoothness(patches, [1.0, 0.0], [0.1, 0.7, 0.9], random_state=0)
    np.testing.assert_allclose(result.gamma.value[:2], 0, atol=1e-12)
    assert result.gamma.value[2] > 0.05


def test_scale_of_samples_is_squared_and_that_of_the_teacher_plays_no_part():
    rng = np.random.default_rng(0)
    X, teacher = rng.standard_normal((600, 2, 3)), rng.standard_normal(3)
    result = smoothness(X, teacher, [1.0], random_state=0)
    scaled = smoothness(8 * X, 1e-6 * teacher, [1.0], random_state=0)
    for name in QUANTITIES:
        expected = 64 * getattr(result, name).value
        np.testing.assert_allclose(getattr(scaled, name).value, expected, rtol=1e-9)


class TestEdges:
    X = np.random.default_rng(0).standard_normal((2000, 2, 3))

    def test_at_the_angle_0_nothing_disagrees(self):
        result = smoothness(self.X, [1.0, 0, 0], [0.0], random_state=0)
        assert result.disagreement.value[0] == pytest.approx(0, abs=1e-12)
        assert result.cross.value[0] == pytest.approx(0, abs=1e-12)
        assert result.gamma.value[0] == pytest.approx(1 / 4, rel=0.1)
        assert np.isnan(result.beta)

    def test_at_the_angle_pi_nothing_agrees(self):
        result = smoothness(self.X, [1.0, 0, 0], [np.pi], random_state=0)
        assert result.gamma.value[0] == pytest.approx(0, abs=1e-12)
        assert result.L.value[0] == pytest.approx(0, abs=1e-12)

    def test_patches_of_one_entry(self):
        X = np.random.default_rng(0).standard_normal((2000, 1, 1))
        result = smoothness(X, [2.0], [0.0, np.pi], random_state=0)
        np.testing.assert_allclose(result.gamma.value, [0.5, 0], atol=0.05)
        with pytest.raises(ValueError, match="patch_dim=1"):
            smoothness(X, [2.0], [1.0])

    def test_all_patches_on_one_side_leave_nothing_to_disagree_on(self):
        X = np.abs(self.X) + 1
        with pytest.warns(UserWarning, match="fewer than 20 patches per entry"):
            result = smoothness(X, [1.0, 1.0, 1.0], [0.05], random_state=0)
        assert np.isnan(result.disagreement.value).all()
        assert np.isnan(result.cross.value).all()
        assert np.isfinite(result.gamma.value).all()

    def test_too_few_samples_in_a_wedge_give_nan_and_a_warning(self):
        with pytest.warns(UserWarning, match="fewer than 20 patches per entry"):
            result = smoothness(self.X[:40], [1.0, 0, 0], [0.01, 1.5], random_state=0)
        assert np.isnan(result.disagreement.value[0])
        assert np.isnan(result.disagreement.interval[0]).all()

    def test_blank_patches_only(self):
        with pytest.warns(UserWarning, match="fewer than 20"):
            result = smoothness(np.zeros((50, 2, 3)), [1.0, 0, 0], [1.0], random_state=0)
        np.testing.assert_array_equal(result.gamma.value, 0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"teacher": [0.0, 0, 0]}, ValueError, "teacher is zero"),
        ({"angles": [-0.1]}, ValueError, "angles must lie between 0 and pi"),
        ({"angles": [4.0]}, ValueError, "angles must lie between 0 and pi"),
        ({"angles": [np.nan]}, ValueError, "angles must lie"),
        ({"angles": []}, ValueError, "angles must be one-dimensional"),
        ({"angles": "x"}, TypeError, "angles must be an array of numbers"),
        ({"confidence": 1.0}, ValueError, "confidence must lie"),
        ({"max_samples": 1}, ValueError, "max_samples must be at least 2"),
        ({"X": np.ones((1, 2, 3))}, ValueError, "n_samples=1"),
    ],
)
def test_bad_input_is_named(arguments, error, message):
    rng = np.random.default_rng(0)
    good = {"X": rng.standard_normal((30, 2, 3)), "teacher": [1.0, 0, 0], "angles": [1.0]}
    with pytest.raises(error, match=message):
        smoothness(**(good | arguments))


@pytest.mark.slow
def test_values_do_not_depend_on_the_order_of_the_angles():
    # Correlated patches, where a search near the teacher alone ends in a poor optimum.
    rng = np.random.default_rng(70002)
    rotation = np.linalg.qr(rng.standard_normal((9, 9)))[0]
    scale = rotation * np.arange(1, 10) ** -0.5 @ rotation.T
    X = rng.standard_normal((5000, 4, 9)) @ scale
    teacher = rng.standard_normal(9)
    angles = np.array([np.pi / 8, np.pi / 2])
    upwards, downwards, alone = (
        smoothness(X, teacher, order, random_state=0)
        for order in (angles, angles[::-1], angles[:1])
    )
    for name in QUANTITIES:
        values = getattr(upwards, name).value
        np.testing.assert_array_equal(getattr(downwards, name).value[::-1], values, name)
        assert getattr(alone, name).value[0] == pytest.approx(values[0], rel=1e-3)
    # What oracles.hardest_filter finds on the population.
    assert upwards.cross.value[0] == pytest.approx(0.06418, rel=0.05)
