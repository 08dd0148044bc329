"""The oracles against averages over many patches, and against one another."""

from functools import lru_cache

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats.qmc import Sobol

from skconvfilter.datasets.patches import make_angular_patches
from tests.diagnostics import oracles
from tests.diagnostics.oracles import (
    QUANTITIES,
    gaussian_moments,
    hardest_filter,
    one_point_convexity,
    planar_extreme,
    planar_filters,
    population_gradient,
    population_loss,
    sample_moments,
    section_4_moments,
)

N_SAMPLES = 2**19
ANGLES = [0.2, 0.9, np.pi / 2, 2.5]
TEACHER = np.array([0.6, -1.5, 1.1])
CLOSED_FORMS = {name: getattr(oracles, name) for name in QUANTITIES}


@lru_cache(maxsize=2)
def normal_patches(n_patches, patch_dim, seed=0):
    """Draws of N(0, I) from shifted Sobol points: means have errors of some 1e-4."""
    dim = n_patches * patch_dim
    uniform = Sobol(dim, scramble=False).random(N_SAMPLES)
    uniform = (uniform + np.random.default_rng(seed).uniform(size=dim)) % 1
    patches = ndtri(uniform).reshape(N_SAMPLES, n_patches, patch_dim)
    patches.flags.writeable = False
    return patches


def filter_at(phi, teacher, seed=0):
    """A filter of any norm at an angle to the teacher, in a random direction."""
    unit = teacher / np.linalg.norm(teacher)
    across = np.random.default_rng(seed).standard_normal(len(teacher))
    across -= (across @ unit) * unit
    return 1.7 * (np.cos(phi) * unit + np.sin(phi) * across / np.linalg.norm(across))


def random_root(stds, seed=0):
    """Symmetric, with the standard deviations along random axes."""
    normal = np.random.default_rng(seed).standard_normal((len(stds), len(stds)))
    axes = np.linalg.qr(normal)[0]
    return axes * stds @ axes.T


def assert_close(moments, expected, atol):
    for name in moments._fields:
        actual, desired = getattr(moments, name), getattr(expected, name)
        np.testing.assert_allclose(actual, desired, rtol=0, atol=atol, err_msg=name)
    for name in QUANTITIES:
        assert moments.quantity(name) == pytest.approx(expected.quantity(name), abs=atol)


@pytest.mark.slow
class TestMoments:
    @pytest.mark.parametrize("n_patches", [1, 3])
    @pytest.mark.parametrize("kind", ["gaussian", "correlated entries", "sphere"])
    def test_are_averages(self, n_patches, kind):
        root = random_root([1.5, 0.8, 0.4]) if kind == "correlated entries" else np.eye(3)
        patches = normal_patches(n_patches, 3)
        if kind == "sphere":
            patches = patches / np.linalg.norm(patches, axis=-1, keepdims=True)
        for seed, phi in enumerate(ANGLES):
            w = filter_at(phi, TEACHER, seed)
            expected = gaussian_moments(
                w, TEACHER, n_patches, root=root, sphere=kind == "sphere"
            )
            assert_close(sample_moments(patches @ root, w, TEACHER), expected, 4e-4)

    @pytest.mark.parametrize("n_patches", [1, 7])
    @pytest.mark.parametrize("patch_dim", [2, 9])
    @pytest.mark.parametrize("sphere", [False, True])
    @pytest.mark.parametrize("phi", [0, 1e-6, *ANGLES, np.pi])
    def test_have_the_closed_forms(self, n_patches, patch_dim, sphere, phi):
        teacher = np.random.default_rng(1).standard_normal(patch_dim)
        w = filter_at(phi, teacher)
        moments = gaussian_moments(w, teacher, n_patches, sphere=sphere)
        for name, closed_form in CLOSED_FORMS.items():
            expected = closed_form(phi, n_patches, patch_dim if sphere else None)
            assert moments.quantity(name) == pytest.approx(expected, abs=1e-14)
        assert np.linalg.norm(moments.mp, 2) == pytest.approx(moments.disagreement)

    @pytest.mark.parametrize("phi", ANGLES)
    def test_take_the_teacher_to_the_gradient_of_one_patch(self, phi):
        w = filter_at(phi, TEACHER)
        norm = np.linalg.norm(TEACHER)
        expected = (np.pi - phi) * TEACHER + norm * np.sin(phi) * w / np.linalg.norm(w)
        actual = gaussian_moments(w, TEACHER).pp @ TEACHER
        np.testing.assert_allclose(actual, expected / (2 * np.pi), atol=1e-15)


class TestSuprema:
    @pytest.mark.parametrize("n_patches", [1, 2, 4, 64])
    @pytest.mark.parametrize("sphere", [None, 9])
    def test_no_slope_is_larger(self, n_patches, sphere):
        phi = np.linspace(0, np.pi / 2, 20_001)[1:]
        for supremum, quantity in [
            (oracles.beta, oracles.disagreement),
            (oracles.L_cross, oracles.cross),
        ]:
            largest = np.max(quantity(phi, n_patches, sphere) / phi)
            assert supremum(n_patches, sphere) == pytest.approx(largest, abs=1e-8)

    def test_known_values(self):
        betas = [oracles.beta(k) for k in (1, 2, 3, 4)]
        assert betas == pytest.approx([1 / np.pi, 0.16618, 0.12245, 0.10323], abs=5e-6)
        for k in (5, 64):
            at_right_angle = (1 + 2 / np.pi + (k - 1) / np.pi) / (2 * np.pi * k)
            assert oracles.beta(k) == pytest.approx(at_right_angle, rel=1e-12)
        assert oracles.beta(10**7) == pytest.approx(1 / (2 * np.pi**2), rel=1e-6)
        for p in (2, 9):
            assert oracles.beta(sphere=p) == pytest.approx(1 / (np.pi * p), rel=1e-12)
        for k in (1, 2, 64):
            expected = 0.173206 * (1 - 1 / k)
            assert oracles.L_cross(k) == pytest.approx(expected, abs=5e-7)
            assert oracles.cross(0.694847, k) / 0.694847 == pytest.approx(
                oracles.L_cross(k), rel=1e-12
            )
        assert oracles.gamma(0, 3) == pytest.approx(1 / 6)
        assert oracles.L(0, 3) == pytest.approx((np.pi + 2) / (6 * np.pi))


@pytest.mark.slow
class TestHardestFilter:
    @pytest.mark.parametrize("name", QUANTITIES)
    @pytest.mark.parametrize("phi", [0.3, 1.4])
    def test_has_the_closed_form_if_isotropic(self, name, phi):
        value, w = hardest_filter(name, phi, TEACHER, 3, root=np.eye(3))
        assert value == pytest.approx(CLOSED_FORMS[name](phi, 3), rel=1e-12)
        assert w @ TEACHER == pytest.approx(np.cos(phi) * np.linalg.norm(TEACHER))

    @pytest.mark.parametrize("name", QUANTITIES)
    @pytest.mark.parametrize(("n_patches", "patch_dim"), [(2, 3), (4, 3), (4, 9)])
    def test_nothing_is_harder(self, name, n_patches, patch_dim):
        root = random_root(np.arange(1, patch_dim + 1) ** -0.5)
        teacher, phi = np.eye(patch_dim)[0], np.pi / 4
        value, w = hardest_filter(name, phi, teacher, n_patches, root=root)
        attained = gaussian_moments(w, teacher, n_patches, root=root).quantity(name)
        assert value == pytest.approx(attained, rel=1e-12)
        again, _ = hardest_filter(
            name, phi, teacher, n_patches, root=root, n_starts=10, n_local=10
        )
        assert value == pytest.approx(again, rel=1e-9)

        # Neither far from it nor near it.
        rng = np.random.default_rng(1)
        across = rng.standard_normal((1500, patch_dim))
        across[500:] *= np.repeat([0.1, 1e-3], 500)[:, np.newaxis]
        across[500:] += w / np.sin(phi)
        across[:, 0] = 0
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        others = np.cos(phi) * teacher + np.sin(phi) * across
        values = gaussian_moments(others, teacher, n_patches, root=root).quantity(name)
        sign = 1 if name == "gamma" else -1
        best = sign * np.min(sign * values)
        assert sign * (best - value) >= -1e-14
        assert patch_dim > 3 or value == pytest.approx(best, rel=1e-5)


@pytest.mark.slow
class TestSection4:
    @pytest.mark.parametrize("sigma", [0.1, 1.0, np.inf])
    def test_is_what_the_data_set_has(self, sigma):
        teacher = np.array([1.0, 0.0])
        X, _ = make_angular_patches(
            N_SAMPLES, 2, sigma=sigma, teacher=teacher, random_state=0
        )
        for phi in ANGLES:
            expected = section_4_moments(phi, sigma)
            moments = sample_moments(X[:, np.newaxis], planar_filters(phi)[0], teacher)
            assert_close(moments, expected, 2e-3)
        for name in QUANTITIES:
            value, _ = planar_extreme(name, X[:, np.newaxis], phi)
            assert value == pytest.approx(expected.quantity(name), abs=2e-3)

    @pytest.mark.parametrize("phi", [0, *ANGLES, np.pi])
    def test_uniform_angles_are_the_circle(self, phi):
        moments = section_4_moments(phi, np.inf)
        circle = gaussian_moments(planar_filters(phi)[0], np.array([1.0, 0.0]), sphere=True)
        assert_close(moments, circle, 1e-14)


@pytest.mark.slow
class TestPopulation:
    @pytest.mark.parametrize("n_patches", [1, 4])
    def test_loss_and_gradient_are_averages(self, n_patches):
        patches = normal_patches(n_patches, 3)
        for phi in ANGLES:
            w = filter_at(phi, TEACHER)
            responses = patches @ w
            means = np.einsum("nk,nkp->np", responses > 0, patches) / n_patches
            errors = means @ w - np.maximum(patches @ TEACHER, 0).mean(axis=1)
            loss, gradient = np.mean(errors**2) / 2, errors @ means / N_SAMPLES
            assert population_loss(w, TEACHER, n_patches) == pytest.approx(loss, rel=1e-3)
            np.testing.assert_allclose(
                population_gradient(w, TEACHER, n_patches), gradient, atol=1e-3
            )

    @pytest.mark.parametrize("n_patches", [1, 3])
    def test_gradient_is_that_of_the_loss(self, n_patches):
        w = np.stack([filter_at(phi, TEACHER) for phi in ANGLES])
        steps = 1e-5 * np.eye(3)[:, np.newaxis]
        ahead, behind = (
            population_loss(w + sign * steps, TEACHER, n_patches) for sign in (1, -1)
        )
        np.testing.assert_allclose(
            population_gradient(w, TEACHER, n_patches), (ahead - behind).T / 2e-5, atol=1e-9
        )

    @pytest.mark.parametrize(
        ("n_patches", "printed"),
        [
            (1, [0.4984, 0.4841, 0.4514, 0.4162, 0.3752, 0.3181, 0.2675]),
            (2, [0.2492, 0.2420, 0.2253, 0.2069, 0.1851, 0.1541, 0.1275]),
            (4, [0.1246, 0.1209, 0.1122, 0.1021, 0.0896, 0.0712, 0.0556]),
            (16, [0.0311, 0.0302, 0.0274, 0.0235, 0.0179, 0.0084, 0.0001]),
            (64, [0.0078, 0.0075, 0.0061, 0.0038, -0.0001, -0.0074, -0.0141]),
        ],
    )
    def test_one_point_convexity(self, n_patches, printed):
        radii = [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99]
        values = [one_point_convexity(radius, n_patches) for radius in radii]
        assert np.round(values, 4).tolist() == printed

    @pytest.mark.parametrize("n_patches", [1, 4])
    def test_no_filter_on_the_sphere_is_less_convex(self, n_patches):
        away = np.random.default_rng(0).standard_normal((100_000, 3))
        radius = 0.7 * np.linalg.norm(TEACHER)
        away *= radius / np.linalg.norm(away, axis=1, keepdims=True)
        gradient = population_gradient(TEACHER + away, TEACHER, n_patches)
        least = np.min(np.sum(gradient * away, axis=1)) / radius**2
        assert one_point_convexity(0.7, n_patches) == pytest.approx(least, rel=1e-6)

    @pytest.mark.parametrize(
        ("patch_dim", "alpha", "printed"),
        [(9, 0.1, 0.390), (25, 0.05, 0.404), (3, 0.6, None)],
    )
    def test_good_starts(self, patch_dim, alpha, printed):
        exact = oracles.good_start_probability(patch_dim, alpha)
        assert printed is None or exact == pytest.approx(printed, abs=5e-4)
        rng = np.random.default_rng(0)
        starts = rng.standard_normal((200_000, patch_dim))
        starts /= np.linalg.norm(starts, axis=1, keepdims=True)
        starts *= alpha * rng.uniform(size=(len(starts), 1)) ** (1 / patch_dim)
        starts[:, 0] -= 1  # w0 - w*
        share = np.mean(np.sum(starts**2, axis=1) <= 1 - alpha**2)
        assert share == pytest.approx(exact, abs=3e-3)


class TestAnySample:
    @pytest.fixture(params=range(3))
    def case(self, request):
        """Patches of no particular distribution, not all live, w and a teacher."""
        rng = np.random.default_rng(request.param)
        patches = rng.standard_t(3, size=(40, 5, 4)) + rng.standard_normal((40, 1, 4))
        return patches, rng.standard_normal(4), rng.standard_normal(4)

    def test_moments_add_up_to_the_gradient(self, case):
        patches, w, teacher = case
        gradient = np.zeros(4)
        for sample in patches:
            active = sum((z for z in sample if w @ z > 0), np.zeros(4)) / len(sample)
            target = sum(max(teacher @ z, 0) for z in sample) / len(sample)
            gradient += (active @ w - target) * active / len(patches)
        m = sample_moments(patches, w, teacher)
        blocks = (
            m.pp @ (w - teacher)
            + (m.pp_pm + m.pp_pm.T + m.pm) @ w
            - (m.pp_mp + m.pp_pm.T + m.pm_mp) @ teacher
        )
        np.testing.assert_allclose(blocks, gradient, rtol=1e-11, atol=1e-13)
