import numpy as np
import pytest
from scipy.stats import kstest, truncnorm

from skconvfilter.datasets import make_angular_patches, make_close_patches

MAKERS = [make_angular_patches, make_close_patches]


def angles_between(first, second):
    """Angles in [0, pi] of unit vectors along the last axis."""
    return np.arccos(np.clip(np.sum(first * second, axis=-1), -1, 1))


@pytest.mark.parametrize("patch_dim", [2, 10])
@pytest.mark.parametrize("sigma", [0, 0.2, 1e6, np.inf])
def test_angular_patches_have_unit_norm(patch_dim, sigma):
    X, y, teacher = make_angular_patches(
        200, patch_dim, sigma=sigma, return_teacher=True, random_state=0
    )
    assert X.shape == (200, patch_dim)
    assert y.shape == (200,)
    assert teacher.shape == (patch_dim,)
    assert X.dtype == y.dtype == teacher.dtype == np.float64
    assert np.linalg.norm(teacher) == pytest.approx(1)
    np.testing.assert_allclose(np.linalg.norm(X, axis=1), 1)
    for patch, target in zip(X, y, strict=True):
        assert target == pytest.approx(max(0.0, sum(patch * teacher)), abs=1e-15)


@pytest.mark.parametrize("sigma", [0.1, 1.0, 1e5])
def test_angle_to_the_nearer_end_is_a_truncated_normal(sigma):
    X, _, teacher = make_angular_patches(
        4000, sigma=sigma, return_teacher=True, random_state=0
    )
    angles = angles_between(X, teacher)
    assert np.mean(angles < np.pi / 2) == pytest.approx(0.5, abs=4 * 0.5 / 4000**0.5)
    folded = np.minimum(angles, np.pi - angles)
    half_normal = truncnorm(0, np.pi / 2 / sigma, scale=sigma)
    assert kstest(folded, half_normal.cdf).pvalue > 1e-3
    error = 4 * half_normal.std() / 4000**0.5
    assert folded.mean() == pytest.approx(half_normal.mean(), abs=error)


@pytest.mark.parametrize("sigma", [1e9, np.inf])
def test_angle_is_uniform_in_the_limit(sigma):
    X, _, teacher = make_angular_patches(
        4000, sigma=sigma, return_teacher=True, random_state=0
    )
    angles = angles_between(X, teacher)
    assert kstest(angles, "uniform", args=(0, np.pi)).pvalue > 1e-3


@pytest.mark.parametrize("sigma", [0, 1e-12])
def test_patches_are_the_two_ends_in_the_limit(sigma):
    X, y, teacher = make_angular_patches(
        50, sigma=sigma, return_teacher=True, random_state=0
    )
    np.testing.assert_allclose(np.abs(X @ teacher), 1)
    assert set(np.round(y, 9)) == {0.0, 1.0}


def test_both_turns_in_the_plane_are_as_likely():
    X, _, teacher = make_angular_patches(
        4000, 2, sigma=np.inf, return_teacher=True, random_state=0
    )
    turn = np.arctan2(teacher[0] * X[:, 1] - teacher[1] * X[:, 0], X @ teacher)
    assert kstest(turn, "uniform", args=(-np.pi, 2 * np.pi)).pvalue > 1e-3


def test_directions_off_the_teacher_are_uniform():
    teacher = np.array([0.0, 0.0, 0.0, 2.0])
    X, _ = make_angular_patches(6000, 4, teacher=teacher, random_state=0)
    across = X[:, :3] / np.linalg.norm(X[:, :3], axis=1, keepdims=True)
    # Moments of the uniform distribution on the sphere: E u = 0, E u u' = I / 3.
    np.testing.assert_allclose(across.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(across.T @ across / 6000, np.eye(3) / 3, atol=0.02)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("maker", MAKERS)
def test_norm_of_the_teacher_scales_the_targets_alone(maker, scale):
    teacher = np.array([1.0, -2.0, 2.0]) / 3
    X, y = maker(20, patch_dim=3, teacher=teacher, random_state=0)
    scaled_X, scaled_y, scaled_teacher = maker(
        20, patch_dim=3, teacher=scale * teacher, return_teacher=True, random_state=0
    )
    np.testing.assert_allclose(scaled_X, X)
    np.testing.assert_allclose(scaled_y, scale * y, atol=1e-15 * scale)
    np.testing.assert_array_equal(scaled_teacher, scale * teacher)


def test_close_patches_are_labelled_by_the_model():
    X, y, teacher = make_close_patches(
        40, n_patches=3, patch_dim=6, return_teacher=True, random_state=0
    )
    assert X.shape == (40, 3, 6)
    assert X.dtype == y.dtype == teacher.dtype == np.float64
    np.testing.assert_allclose(np.linalg.norm(X, axis=2), 1)
    for sample, target in zip(X, y, strict=True):
        responses = [max(0.0, float(np.dot(patch, teacher))) for patch in sample]
        assert target == pytest.approx(sum(responses) / 3)


def test_close_patches_without_spread_are_all_the_centre():
    kwargs = {"sigma": 0.7, "return_teacher": True, "random_state": 0}
    X, y, teacher = make_close_patches(500, spread=0, **kwargs)
    np.testing.assert_array_equal(X, np.repeat(X[:, :1], 5, axis=1))
    centres, centre_y, same_teacher = make_angular_patches(500, **kwargs)
    np.testing.assert_array_equal(teacher, same_teacher)
    np.testing.assert_allclose(X[:, 0], centres)
    np.testing.assert_allclose(y, centre_y, atol=1e-15)


@pytest.mark.parametrize("spread", [0.2, 2.0])
def test_close_patches_spread_about_their_centre(spread):
    # The centres are +-teacher for sigma = 0, which shows the angles to them.
    X, _, teacher = make_close_patches(
        1500, n_patches=3, spread=spread, sigma=0, return_teacher=True, random_state=0
    )
    # Folded at a right angle: which end is the centre is not known for a wide spread.
    angles = angles_between(X, teacher).ravel()
    folded = np.minimum(angles, np.pi - angles)
    expected = truncnorm(-np.pi / spread, np.pi / spread, scale=spread)

    def cdf(angle):
        near = expected.cdf(angle) - expected.cdf(-angle)
        return near + 2 * (expected.cdf(np.pi) - expected.cdf(np.pi - angle))

    assert kstest(folded, cdf).pvalue > 1e-3


@pytest.mark.parametrize("maker", MAKERS)
def test_random_state_makes_the_data(maker):
    first = maker(random_state=5, return_teacher=True)
    same = maker(random_state=np.random.RandomState(5), return_teacher=True)
    other = maker(random_state=6, return_teacher=True)
    for one, two, three in zip(first, same, other, strict=True):
        np.testing.assert_array_equal(one, two)
        assert not np.allclose(one, three)
    assert len(maker()) == 2


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"n_samples": 0}, ValueError, "n_samples must be at least 1"),
        ({"n_samples": 1.5}, TypeError, "n_samples must be an int"),
        ({"patch_dim": 1}, ValueError, "patch_dim must be at least 2"),
        ({"patch_dim": None}, TypeError, "patch_dim must be an int"),
        ({"sigma": -1}, ValueError, "sigma must be at least 0"),
        ({"sigma": np.nan}, ValueError, "sigma must be at least 0"),
        ({"sigma": "wide"}, TypeError, "sigma must be a number"),
        ({"teacher": np.ones(9)}, ValueError, r"teacher must have the shape \(10,\)"),
        ({"teacher": np.ones((1, 10))}, ValueError, "teacher must have the shape"),
        ({"teacher": np.zeros(10)}, ValueError, "teacher must not be zero"),
        ({"teacher": np.full(10, np.nan)}, ValueError, "teacher must be finite"),
        ({"teacher": np.full(10, 1e80)}, ValueError, "Rescale teacher"),
        ({"teacher": "random"}, TypeError, "teacher must be an array of numbers"),
        ({"random_state": "seed"}, ValueError, "cannot be used to seed"),
    ],
)
def test_error_names_the_wrong_parameter(maker, parameters, error, match):
    with pytest.raises(error, match=match):
        maker(**parameters)


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"n_patches": 0}, ValueError, "n_patches must be at least 1"),
        ({"n_patches": True}, TypeError, "n_patches must be an int"),
        ({"spread": -0.5}, ValueError, "spread must be at least 0"),
        ({"spread": None}, TypeError, "spread must be a number"),
    ],
)
def test_error_names_the_wrong_parameter_of_close_patches(parameters, error, match):
    with pytest.raises(error, match=match):
        make_close_patches(**parameters)


def steps_of_gradient_descent(patches, y, teacher, seed):
    """Steps of 0.5 from norm 0.5 at 1.2 rad until |w - w*|^2 < 1e-4 |w*|^2."""
    rng = np.random.RandomState(1000 + seed)
    across = rng.normal(size=len(teacher))
    across -= across @ teacher * teacher
    across /= np.linalg.norm(across)
    w = 0.5 * (np.cos(1.2) * teacher + np.sin(1.2) * across)
    n, k, p = patches.shape
    flat = patches.reshape(n * k, p)
    for step in range(1, 6001):
        responses = flat @ w
        active = (responses > 0).reshape(n, k)
        errors = (responses.reshape(n, k) * active).mean(axis=1) - y
        weights = (active * errors[:, np.newaxis] / (n * k)).ravel()
        w -= 0.5 * (weights @ flat)
        if np.sum((w - teacher) ** 2) < 1e-4:
            return step
    return np.inf


def test_gradient_descent_slows_down_for_spiky_angles():
    """The paper's Figure 3a, which also tells that sigma is a standard deviation."""
    medians = []
    for sigma in (0.2, 0.3, 0.5, 1.0):
        steps = []
        for seed in range(2):
            X, y, teacher = make_angular_patches(
                2000, sigma=sigma, return_teacher=True, random_state=seed
            )
            patches = X[:, np.newaxis]
            steps.append(steps_of_gradient_descent(patches, y, teacher, seed))
        medians.append(np.median(steps))
    assert np.all(np.diff(medians) < 0)
    # Medians of an independent implementation with other seeds.
    np.testing.assert_allclose(medians, [3887, 1801, 748, 390], rtol=0.3)


def test_gradient_descent_slows_down_for_patches_far_apart():
    """The paper's Figure 3b, over the variance of the spread."""
    medians = []
    for variance in (0.0, 0.25, 1.0, 4.0):
        steps = []
        for seed in range(2):
            X, y, teacher = make_close_patches(
                1000, spread=np.sqrt(variance), return_teacher=True, random_state=seed
            )
            steps.append(steps_of_gradient_descent(X, y, teacher, seed))
        medians.append(np.median(steps))
    assert np.all(np.diff(medians) > 0)
