"""Where statements of the paper fail, on samples small enough to see it by hand."""

import numpy as np
import pytest
from numpy.polynomial.legendre import leggauss

from tests.diagnostics import oracles
from tests.diagnostics.oracles import (
    circle_patches,
    correlated_patches,
    non_monotone_patches,
    planar_extreme,
    planar_filters,
    sample_moments,
    straddling_patches,
)

TEACHER = np.array([1.0, 0.0])


def extreme(name, patches, phi):
    return planar_extreme(name, patches, phi)[0]


class TestRotationInvariance:
    """Patches invariant to rotations do not have gamma = L."""

    @pytest.mark.parametrize("phi", [0.5, 1.5, 2.5, 3.0])
    def test_gamma_is_not_L(self, phi):
        patches = circle_patches(100_000)
        gamma, L = (extreme(name, patches, phi) for name in ("gamma", "L"))
        assert gamma == pytest.approx((np.pi - phi - np.sin(phi)) / (4 * np.pi), abs=1e-5)
        assert L == pytest.approx((np.pi - phi + np.sin(phi)) / (4 * np.pi), abs=1e-5)

    def test_their_ratio_has_no_bound(self):
        phi = np.pi - np.array([1.0, 0.1, 0.01])
        ratios = oracles.L(phi) / oracles.gamma(phi)
        assert np.all(ratios > [10, 1e3, 1e5])


class TestMonotonicity:
    """For several patches gamma need not decrease with the angle."""

    @pytest.mark.parametrize("phi", [0, 0.3, 0.78])
    def test_gamma_is_zero_up_to_pi_over_4(self, phi):
        assert extreme("gamma", non_monotone_patches(), phi) == pytest.approx(0, abs=1e-16)

    def test_gamma_is_not_zero_beyond(self):
        # Z++ is (1, 1)/2 or (1, 0), so E Z++Z++' = [[5, 1], [1, 1]]/8.
        gamma = extreme("gamma", non_monotone_patches(), 0.9)
        assert gamma == pytest.approx((3 - np.sqrt(5)) / 8)
        assert gamma == pytest.approx(0.0955, abs=5e-5)

    @pytest.mark.parametrize("seed", range(2))
    def test_for_one_patch_gamma_and_L_decrease(self, seed):
        patches = np.random.default_rng(seed).standard_normal((60, 1, 2))
        phi = np.linspace(0, np.pi, 100)
        for name in ("gamma", "L"):
            values = [extreme(name, patches, angle) for angle in phi]
            assert np.max(np.diff(values)) < 1e-15


class TestIndependentPatches:
    """Theorem 3.1 asks for gamma > 6 L_cross, but these are learned without it."""

    @pytest.mark.parametrize("k", [2, 4, 1000])
    def test_theorem_3_1_says_nothing(self, k):
        assert 6 * oracles.L_cross(k) == pytest.approx(1.0392 * (1 - 1 / k), abs=5e-5)
        assert 6 * oracles.L_cross(k) > 2 * oracles.gamma(0, k)

    @pytest.mark.parametrize("k", [2, 4, 5, 1000])
    def test_sharper_constants_help_few_patches(self, k):
        # The term to be below gamma is at most a + (a + b + c) / sin(phi).
        phi = np.linspace(0, np.pi / 2, 1001)[1:]
        a = (1 - 1 / k) * np.sin(phi) / (4 * np.pi)
        needed = a + oracles.cross(phi, k) / np.sin(phi)
        assert needed.max() < 6 * oracles.L_cross(k)
        certified = oracles.gamma(phi, k) - np.maximum.accumulate(needed)
        assert (certified[0] > 0) == (k <= 4)  # as k - 1 < pi
        for i in (10, 100, 500):
            exact = oracles.one_point_convexity(np.sin(phi[i]), k)
            assert certified[i] < exact

    @pytest.mark.parametrize("k", [2, 4, 16])
    def test_gradient_descent_contracts(self, k):
        assert all(
            oracles.one_point_convexity(radius, k) > 0 for radius in (0.01, 0.5, 0.9)
        )


def correlated_cross(phi, tau, k, n_nodes=200):
    """cross of patches from N(0, I_2) of correlation tau < 1, by quadrature over angles.

    For two patches at angles s and t the radii integrate to J(tau cos(s - t)), the
    second derivative of (pi/2 + arcsin x) / sqrt(1 - x^2).
    """
    nodes, weights = leggauss(n_nodes)

    def rule(low, high):
        angles = (low + high) / 2 + (high - low) / 2 * nodes
        units = np.stack([np.cos(angles), np.sin(angles)])
        return angles, units * weights * (high - low) / 2

    def norm(first, second):
        (s, left), (t, right) = rule(*first), rule(*second)
        x = tau * np.cos(s[:, np.newaxis] - t)
        square = 1 - x**2
        J = 3 * x / square**2
        J += (np.pi / 2 + np.arcsin(x)) * (1 + 2 * x**2) / square**2.5
        scale = (1 - tau**2) ** 2 / (4 * np.pi**2)
        return np.linalg.norm(scale * left @ J @ right.T, 2)

    right_angle = np.pi / 2
    pp, pm = (phi - right_angle, right_angle), (right_angle, right_angle + phi)
    mp = (-right_angle, phi - right_angle)
    return (1 - 1 / k) * (norm(pp, pm) + norm(pp, mp) + norm(pm, mp))


def correlated_slope(tau, k):
    """The limit of cross(phi) / phi at 0, for patches of correlation tau < 1."""
    return (1 - 1 / k) / np.pi * np.sqrt(tau**2 + (1 - tau**2) / 4)


class TestCorrelatedPatches:
    """Patches alike do not have a small L_cross unless they are the same."""

    @pytest.mark.parametrize("k", [2, 5])
    @pytest.mark.parametrize("phi", [0.1, 1.0, np.pi / 2])
    def test_quadrature_has_the_closed_form_if_independent(self, k, phi):
        assert correlated_cross(phi, 0, k) == pytest.approx(oracles.cross(phi, k))

    @pytest.mark.parametrize("tau", [0, 0.5, 0.99])
    def test_limit(self, tau):
        slopes = [correlated_cross(phi, tau, 2) / phi for phi in (2e-4, 1e-4)]
        assert 2 * slopes[1] - slopes[0] == pytest.approx(
            correlated_slope(tau, 2), rel=1e-5
        )

    def test_limit_increases_up_to_identical_patches(self):
        slopes = [correlated_slope(tau, 2) for tau in (0, 0.5, 0.9, 0.99, 0.999)]
        assert slopes == pytest.approx([0.0796, 0.1053, 0.1474, 0.1580, 0.1590], abs=6e-5)
        patches = correlated_patches(100, 2, 2, 1.0, np.random.default_rng(0))
        assert sample_moments(patches, planar_filters(0.1)[0], TEACHER).cross == 0


class TestClosePatches:
    """Theorem 3.3: patches within rho of their mean.

    It claims gamma >= gamma_avg - 4 (1 - cos(rho)) and L_cross <= 3 mu, where no more
    than mu phi of the mass is within phi of the teacher's boundary, for phi <= rho.
    """

    PHI, RHO = 0.5, 0.01

    @pytest.fixture
    def patches(self):
        return straddling_patches(self.PHI, self.RHO)

    def test_assumptions_hold_with_mu_zero(self, patches):
        means = patches.mean(axis=1)
        np.testing.assert_allclose(np.linalg.norm(patches, axis=-1), 1)
        cosines = np.einsum("nkp,np->nk", patches, means)
        cosines /= np.linalg.norm(means, axis=1, keepdims=True)
        assert np.all(cosines >= np.cos(self.RHO) - 1e-15)
        to_boundary = np.abs(np.arcsin(patches @ TEACHER))
        assert np.all(to_boundary > self.RHO)

    def test_gamma_is_far_below_that_of_the_means(self, patches):
        gamma, w = planar_extreme("gamma", patches, self.PHI)
        means = patches.mean(axis=1, keepdims=True)
        gamma_avg = sample_moments(means, w, TEACHER).gamma
        assert gamma_avg == pytest.approx(0.498, abs=1e-3)
        assert gamma == pytest.approx(0.125, abs=1e-3)
        assert gamma < gamma_avg - 4 * (1 - np.cos(self.RHO)) - 0.37
        assert extreme("gamma", means, self.PHI) == pytest.approx(gamma_avg)

    def test_L_cross_is_not_zero(self, patches):
        # Z++ and Z-+ are on either side of the filter's boundary, which mu leaves alone.
        assert extreme("cross", patches, self.RHO) == 0
        cross = extreme("cross", patches, self.PHI)
        assert cross == pytest.approx(1 / 8)
        filters = planar_filters(self.PHI)
        between = [
            np.linalg.norm(sample_moments(patches, w, TEACHER).pp_mp) for w in filters
        ]
        assert max(between) == pytest.approx(cross)

    @pytest.mark.parametrize("seed", range(2))
    def test_L_cross_is_at_most_3_mu_if_mu_holds_at_every_angle(self, seed):
        # Neither closeness nor exchangeable patches are needed.
        angles = np.random.default_rng(seed).uniform(-np.pi, np.pi, (50, 3))
        patches = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        for phi in np.linspace(0.05, np.pi / 2, 20):
            near = np.abs(np.arcsin(patches @ TEACHER)) <= phi
            mass = max(np.mean(near & (patches[..., 1] * side > 0)) for side in (1, -1))
            assert extreme("cross", patches, phi) <= 3 * mass

    @pytest.mark.parametrize("seed", range(2))
    @pytest.mark.parametrize("phi", [0.1, 0.5, 1.5])
    def test_gamma_loses_at_most_the_mass_that_changes_sides(self, seed, phi):
        rng = np.random.default_rng(seed)
        angles = rng.uniform(-np.pi, np.pi, (200, 1)) + rng.uniform(-0.05, 0.05, (200, 3))
        patches = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
        for sample in (patches, straddling_patches(phi, 0.01)):
            means = sample.mean(axis=1, keepdims=True)
            for w in planar_filters(phi):
                of_patches, of_means = (
                    (z @ w > 0) & (z @ TEACHER > 0) for z in (sample, means)
                )
                moved = np.mean(np.any(of_patches != of_means, axis=1))
                gamma, gamma_avg = (
                    sample_moments(z, w, TEACHER).gamma for z in (sample, means)
                )
                assert gamma >= gamma_avg - moved - 1e-15
