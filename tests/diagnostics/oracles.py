"""What diagnostics estimate, exact: closed forms, quadratures, and sums over samples.

Two signs say on which side of w and of the teacher w* a patch is, + where the neuron is
active: Z+- is the mean over the k patches z of a sample of z 1{w.z > 0, w*.z <= 0}.
Identical patches have the closed forms of one patch.
"""

from typing import NamedTuple

import numpy as np
from scipy.integrate import quad_vec
from scipy.linalg import null_space
from scipy.optimize import minimize, minimize_scalar
from scipy.special import betainc, erf, gammaln

# Matrices whose singular values add up to a quantity, and which of them: 0 the largest.
QUANTITIES = {
    "gamma": (("pp",), -1),
    "L": (("pp",), 0),
    "disagreement": (("pm",), 0),
    "cross": (("pp_pm", "pp_mp", "pm_mp"), 0),
}


class Moments(NamedTuple):
    """E Z++Z++', E Z++Z+-' and so on, each (..., p, p), and the quantities they give."""

    pp: np.ndarray
    pm: np.ndarray
    mp: np.ndarray
    pp_pm: np.ndarray
    pp_mp: np.ndarray
    pm_mp: np.ndarray

    def quantity(self, name):
        """The smallest (gamma) or largest singular values that `name` stands for."""
        fields, which = QUANTITIES[name]
        matrices = np.stack([getattr(self, field) for field in fields])
        return np.linalg.svd(matrices, compute_uv=False)[..., which].sum(axis=0)

    @property
    def gamma(self):
        return self.quantity("gamma")

    @property
    def L(self):
        return self.quantity("L")

    @property
    def disagreement(self):
        return self.quantity("disagreement")

    @property
    def cross(self):
        return self.quantity("cross")


def sample_moments(patches, w, teacher):
    """Moments of a sample (n, k, p), every sample as likely as any other."""
    plus, star = patches @ w > 0, patches @ teacher > 0
    k = patches.shape[1]
    pp, pm, mp = (
        np.einsum("nk,nkp->np", active.astype(float), patches) / k
        for active in (plus & star, plus & ~star, ~plus & star)
    )
    pairs = [(pp, pp), (pm, pm), (mp, mp), (pp, pm), (pp, mp), (pm, mp)]
    return Moments(*(a.T @ b / len(patches) for a, b in pairs))


def planar_filters(phi):
    """The two unit filters of length 2 at an angle to the teacher (1, 0)."""
    return np.array([[np.cos(phi), np.sin(phi)], [np.cos(phi), -np.sin(phi)]])


def planar_extreme(name, patches, phi):
    """A quantity of a sample of patches of length 2, exact, and the filter it is at.

    The teacher is (1, 0). There are only two directions at an angle to it.
    """
    filters = planar_filters(phi)
    values = [sample_moments(patches, w, np.eye(2)[0]).quantity(name) for w in filters]
    best = np.argmin(values) if name == "gamma" else np.argmax(values)
    return values[best], filters[best]


# Independent Gaussian patches, and patches uniform on the unit sphere of R^p.


def gaussian_moments(w, teacher, n_patches=1, *, root=None, sphere=False):
    """Moments of independent patches from N(0, root root'), for any w of shape (..., p).

    `root` is the identity or symmetric. With `sphere` the patches are root s with s
    uniform on the unit sphere.
    """
    if root is None:
        return _isotropic_moments(w, teacher, n_patches, sphere)
    isotropic = _isotropic_moments(w @ root, root @ teacher, n_patches, sphere)
    return Moments(*(root @ matrix @ root for matrix in isotropic))


def _isotropic_moments(w, teacher, n_patches, sphere):
    w, teacher = _unit(w), _unit(teacher)
    bisector, across = _unit(w + teacher), _unit(w - teacher)
    half_angle = _half_angle(w, teacher)
    wedges = [
        _wedge(np.pi / 2 - half_angle, bisector, across, sphere),
        _wedge(half_angle, across, bisector, sphere),
        _wedge(half_angle, -across, bisector, sphere),
    ]
    between = 1 - 1 / n_patches

    def products(i, j):
        return between * _outer(wedges[i][0], wedges[j][0])

    return Moments(
        *(wedges[i][1] / n_patches + products(i, i) for i in range(3)),
        *(products(i, j) for i, j in [(0, 1), (0, 2), (1, 2)]),
    )


def _wedge(half, centre, normal, sphere):
    """E z 1 and E zz' 1 of N(0, I) on the wedge of a half-angle about a unit vector."""
    p = centre.shape[-1]
    second, first = _scales(p if sphere else None)
    mean = np.sin(half) * centre / np.sqrt(2 * np.pi)
    half = half[..., np.newaxis]
    in_plane = _outer(centre, centre) - _outer(normal, normal)
    square = half / np.pi * np.eye(p) + np.sin(2 * half) / (2 * np.pi) * in_plane
    return first**0.5 * mean, second * square


def _scales(sphere):
    """1 / E|g|^2 and 1 / (E|g|)^2 of g from N(0, I_p), what a patch of unit norm loses."""
    if sphere is None:
        return 1.0, 1.0
    mean_norm = 2**0.5 * np.exp(gammaln((sphere + 1) / 2) - gammaln(sphere / 2))
    return 1 / sphere, mean_norm**-2


def _unit(x):
    """Unit vectors, but zero for zero."""
    norm = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(norm == 0, 1, norm)


def _half_angle(a, b):
    """Half the angle between unit vectors, shape (..., 1), precise at every angle."""
    sums, differences = (np.linalg.norm(x, axis=-1) for x in (a + b, a - b))
    return np.arctan2(differences, sums)[..., np.newaxis]


def _outer(a, b):
    return a[..., :, np.newaxis] * b[..., np.newaxis, :]


# In all that follows `sphere` is p for patches on the unit sphere, None for N(0, I_p).


def gamma(phi, n_patches=1, sphere=None):
    """The smallest eigenvalue of E Z++Z++'."""
    second, _ = _scales(sphere)
    return second * (np.pi - phi - np.sin(phi)) / (2 * np.pi * n_patches)


def L(phi, n_patches=1, sphere=None):
    """The largest eigenvalue of E Z++Z++'."""
    second, first = _scales(sphere)
    own = second * (np.pi - phi + np.sin(phi))
    between = first * (n_patches - 1) * np.cos(phi / 2) ** 2
    return (own + between) / (2 * np.pi * n_patches)


def disagreement(phi, n_patches=1, sphere=None):
    """The largest eigenvalue of E Z+-Z+-', which is that of E Z-+Z-+' too."""
    second, first = _scales(sphere)
    own = second * (phi + np.sin(phi))
    between = first * (n_patches - 1) * np.sin(phi / 2) ** 2
    return (own + between) / (2 * np.pi * n_patches)


def cross(phi, n_patches=1, sphere=None):
    """|E Z++Z+-'| + |E Z++Z-+'| + |E Z+-Z-+'|."""
    _, first = _scales(sphere)
    norms = (2 * np.sin(phi) + 1 - np.cos(phi)) / (4 * np.pi)
    return first * (1 - 1 / n_patches) * norms


def beta(n_patches=1, sphere=None):
    """Supremum of disagreement(phi) / phi over (0, pi/2]."""
    return _slope(disagreement, n_patches, sphere)


def L_cross(n_patches=1, sphere=None):
    """Supremum of cross(phi) / phi over (0, pi/2]."""
    return _slope(cross, n_patches, sphere)


def _slope(quantity, n_patches, sphere):
    def slope(phi):
        return quantity(phi, n_patches, sphere) / phi

    # There is at most one maximum inside.
    inside = minimize_scalar(lambda phi: -slope(phi), bounds=(1e-9, np.pi / 2))
    return max(slope(1e-9), -inside.fun, slope(np.pi / 2))


def hardest_filter(name, phi, teacher, n_patches=1, *, root, n_starts=200, n_local=6):
    """A quantity of patches from N(0, root root') at an angle, and the filter it is at.

    Searches the sphere of directions orthogonal to the teacher: the best of many random
    ones are refined by L-BFGS. Exact in all but name: there is no proof that the best
    local optimum is the global one.
    """
    fields, which = QUANTITIES[name]
    sign = 1 if name == "gamma" else -1
    teacher = _unit(teacher)
    basis = null_space(teacher[np.newaxis])

    def filters(x):
        return np.cos(phi) * teacher + np.sin(phi) * _unit(x) @ basis.T

    def loss(x):
        moments = gaussian_moments(filters(x), teacher, n_patches, root=root)
        left, values, right = np.linalg.svd(
            np.stack([getattr(moments, field) for field in fields])
        )
        # With the singular vectors held the derivative is the same.
        left, right = left[..., which] @ root, right[:, which] @ root
        step = 1e-5 * np.linalg.norm(x) * np.eye(len(x))
        moments = _isotropic_moments(
            filters(x + np.stack([step, -step])) @ root, root @ teacher, n_patches, False
        )
        near = sum(
            np.einsum("p,...pq,q->...", a, getattr(moments, field), b)
            for a, field, b in zip(left, fields, right, strict=True)
        )
        slope = (near[0] - near[1]) / (2e-5 * np.linalg.norm(x))
        return sign * values[:, which].sum(), sign * slope

    starts = np.random.default_rng(0).standard_normal((n_starts, len(teacher) - 1))
    moments = gaussian_moments(filters(starts), teacher, n_patches, root=root)
    order = np.argsort(sign * moments.quantity(name))
    options = {"ftol": 1e-13, "gtol": 1e-9}
    results = [
        minimize(loss, _unit(start), method="L-BFGS-B", jac=True, options=options)
        for start in starts[order[:n_local]]
    ]
    best = min(results, key=lambda result: result.fun)
    return sign * best.fun, filters(best.x)


# One unit patch in the plane at an angle of any density to the teacher (1, 0).


def planar_moments(density, phi):
    """Moments for w at an angle phi >= 0, from the density of the patch's angle.

    Those of the other direction are the moments of the mirrored density, mirrored.
    """

    def integral(low, high):
        def integrand(angle):
            z = np.array([np.cos(angle), np.sin(angle)])
            return density(angle) * _outer(z, z)

        return quad_vec(integrand, low, high, epsabs=1e-13, points=(0, np.pi))[0]

    quarter, zero = np.pi / 2, np.zeros((2, 2))
    return Moments(
        integral(phi - quarter, quarter),
        integral(quarter, quarter + phi),
        integral(-quarter, phi - quarter),
        *(zero, zero, zero),
    )


def section_4_moments(phi, sigma):
    """Of make_angular_patches in two dimensions. Both directions have the same."""

    def density(angle):
        if np.isinf(sigma):
            return 1 / (2 * np.pi)
        # A normal distribution about the nearer one of w* and -w*, truncated half-way.
        z = (np.mod(angle + np.pi / 2, np.pi) - np.pi / 2) / sigma
        mass = 2 * erf(np.pi / (2 * sigma) / 2**0.5)
        return np.exp(-(z**2) / 2) / (np.sqrt(2 * np.pi) * sigma * mass)

    return planar_moments(density, phi)


# The population problem with independent Gaussian patches.


def _geometry(w, teacher):
    """Angle and norms of w (..., p) and the teacher, each (..., 1), and w's direction."""
    unit, norm = _unit(w), np.linalg.norm(w, axis=-1, keepdims=True)
    return 2 * _half_angle(unit, _unit(teacher)), norm, np.linalg.norm(teacher), unit


def population_loss(w, teacher, n_patches=1):
    """1/2 E (f(w, Z) - f(w*, Z))^2."""
    phi, a, b, _ = _geometry(w, teacher)
    own = (a**2 + b**2) / 2 - a * b * (np.sin(phi) + (np.pi - phi) * np.cos(phi)) / np.pi
    loss = (own + (n_patches - 1) * (a - b) ** 2 / (2 * np.pi)) / (2 * n_patches)
    return loss[..., 0]


def population_gradient(w, teacher, n_patches=1):
    """The gradient of that, shape (..., p) as w."""
    phi, a, b, unit = _geometry(w, teacher)
    own = w / 2 - ((np.pi - phi) * teacher + b * np.sin(phi) * unit) / (2 * np.pi)
    return (own + (n_patches - 1) * (a - b) * unit / (2 * np.pi)) / n_patches


def one_point_convexity(radius, n_patches=1):
    """Least <gradient, w - w*> / |w - w*|^2 over |w - w*| = radius |w*|.

    Gradient descent with small steps contracts where it is positive.
    """
    teacher = np.array([1.0, 0.0])  # the plane of w and w* is all that matters

    def convexity(angle):
        away = radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        gradient = population_gradient(teacher + away, teacher, n_patches)
        return np.sum(gradient * away, axis=-1) / radius**2

    angles, step = np.linspace(0, np.pi, 1001, retstep=True)
    start = angles[np.argmin(convexity(angles))]
    bounds = (max(start - step, 0), min(start + step, np.pi))
    return min(
        minimize_scalar(convexity, bounds=bounds, options={"xatol": 1e-9}).fun,
        convexity(start),
    )


def good_start_probability(patch_dim, alpha):
    """P(|w0 - w*|^2 <= (1 - alpha^2) |w*|^2), w0 uniform in the ball of radius alpha |w*|.

    Theorem 3.4 bounds it from below by 1/2 - alpha sqrt(pi p / 2).
    """
    p, square = patch_dim, alpha**2
    cap = betainc((p + 1) / 2, 1 / 2, 1 - square)
    volume = np.exp(p / 2 * np.log1p(-square) - p * np.log(alpha))
    return (cap + volume * betainc((p + 1) / 2, 1 / 2, square)) / 2


# A sample that contradicts the paper, as patches (n, k, p).


def non_monotone_patches():
    """gamma is 0 up to an angle of pi/4 to the teacher (1, 0), and not beyond."""
    return np.array([[[1, 1], [1, -1]], [[1, 0.05], [1, -0.05]]])
