"""Which theorems of the paper apply to given data, and what they promise."""

import math
import warnings
from dataclasses import asdict, dataclass, field

import numpy as np

from skconvfilter.diagnostics.convexity import OnePointConvexity, one_point_convexity
from skconvfilter.diagnostics.initialization import (
    ball_success_bound,
    ball_success_probability,
    restarts_needed,
)
from skconvfilter.diagnostics.smoothness import Smoothness, smoothness
from skconvfilter.model.samples import check_any_samples, cut_into_patches
from skconvfilter.model.validation import check_filter, check_positive

HOLDS, MAY_HOLD, REFUTED = "holds", "may hold", "refuted"
DOES_NOT_APPLY = "does not apply"

_N_ANGLES, _N_RADII = 9, 6


@dataclass(frozen=True)
class TheoremCheck:
    """A theorem beside the numbers of its condition.

    Attributes
    ----------
    theorem : str
    condition : str
        In the words of the paper, corrected where it slips.
    verdict : {"holds", "may hold", "refuted", "does not apply"}
        "holds": by bounds that need no search, for the samples at hand. "refuted": by
        filters that were found. "may hold": neither.
    numbers : dict of float
    step : float
        Step size allowed for gradient descent; NaN where there is none.
    contraction : float
        Factor of ``|w - w*|**2`` in every step of that size, at most; NaN likewise.
    iterations : float
        Steps until ``|w - w*|`` is `precision` times ``|w*|``; NaN likewise.
    """

    theorem: str
    condition: str
    verdict: str
    numbers: dict = field(default_factory=dict)
    step: float = math.nan
    contraction: float = math.nan
    iterations: float = math.nan


@dataclass(frozen=True)
class Certificate:
    """What :func:`certificate` says; ``print`` shows it as a report.

    Attributes
    ----------
    relative_distance : float
        ``|w_0 - w*| / |w*|`` of the start.
    phi_0 : float
        Its arcsine, the largest angle to the teacher met on the way; NaN for a distance
        of 1 or more.
    precision : float
        Relative distance to which iterations are counted.
    checks : tuple of TheoremCheck
    smoothness : Smoothness
        The estimates at angles up to `phi_0`.
    convexity : OnePointConvexity
        The estimates on shells up to the start.
    """

    relative_distance: float
    phi_0: float
    precision: float
    checks: tuple
    smoothness: Smoothness
    convexity: OnePointConvexity

    def __str__(self):
        angle = f"{math.degrees(self.phi_0):.1f} degrees"
        lines = [
            f"Start: |w_0 - w*| / |w*| = {self.relative_distance:.3f}, phi_0 = {angle}",
            f"Data: {self.smoothness.n_samples} samples of {self.smoothness.n_patches} "
            f"patches of length {self.smoothness.patch_dim}",
        ]
        for check in self.checks:
            lines += ["", f"{check.theorem}: {check.verdict}", f"  {check.condition}"]
            lines += [f"  {name} = {value:.4g}" for name, value in check.numbers.items()]
            if math.isfinite(check.step):
                lines.append(
                    f"  step {check.step:.3g}: contraction {check.contraction:.6f}, "
                    f"{check.iterations:,.0f} iterations to {self.precision:g}"
                )
        return "\n".join(lines)

    def to_dict(self):
        """The same as nested dicts, lists, strings and numbers."""
        return _plain(asdict(self))


def certificate(
    X,
    teacher,
    initial=None,
    *,
    kernel_size=None,
    input_shape=None,
    stride=1,
    padding=0,
    dilation=1,
    precision=1e-6,
    max_samples=None,
    confidence=0.95,
    random_state=None,
):
    r"""Check the conditions of the theorems on data, and say what those that hold promise.

    Gradient descent on the population of which the samples are drawn, without noise, from
    a start :math:`w_0`, with :math:`\phi_0 = \arcsin(\|w_0 - w^*\| / \|w^*\|)`. Steps and
    rates follow from the estimates, with the factor 2 that the printed proofs lose: where
    :math:`\langle \nabla l(w), w - w^* \rangle \ge g \|w - w^*\|^2` and
    :math:`\|\nabla l(w)\| \le G \|w - w^*\|`, a step of :math:`g / G^2` multiplies
    :math:`\|w - w^*\|^2` by at most :math:`1 - g^2 / G^2`. Theorem 3.1 of [1]_ has
    :math:`g = \gamma(\phi_0) - 6 L_{cross}`, which is negative for independent Gaussian
    patches; one-point convexity estimates g and G as they are.

    Parameters
    ----------
    X, teacher, kernel_size, input_shape, stride, padding, dilation, max_samples, \
            confidence, random_state
        As for :func:`~skconvfilter.diagnostics.smoothness`.
    initial : array-like, default=None
        The start, in the shape of the window or flat. None: at the distance that
        Theorem 3.4 gives from the ball of radius ``|w*| / sqrt(2 pi patch_dim)``.
    precision : float, default=1e-6
        Relative distance to the teacher to which iterations are counted.

    Returns
    -------
    certificate : Certificate

    Raises
    ------
    TypeError, ValueError
        For data, filters and parameters that cannot be used.

    References
    ----------
    .. [1] S. S. Du, J. D. Lee, Y. Tian, "When is a Convolutional Filter Easy to Learn?",
       ICLR 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skconvfilter.diagnostics import certificate
    >>> X = np.random.default_rng(0).standard_normal((5_000, 2, 3))
    >>> result = certificate(X, np.ones(3), 0.5 * np.ones(3), random_state=0)
    >>> {check.theorem: check.verdict for check in result.checks}["Theorem 3.1"]
    'refuted'
    """
    convolution = {
        "kernel_size": kernel_size,
        "input_shape": input_shape,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }
    precision = check_positive("precision", precision)
    _, geometry = cut_into_patches(check_any_samples(X)[:1], convolution)
    distance = _relative_distance(initial, teacher, geometry.layout)
    phi_0 = math.asin(distance) if distance < 1 else math.nan
    options = {
        **convolution,
        "max_samples": max_samples,
        "confidence": confidence,
        "random_state": random_state,
    }
    angles = np.zeros(1)
    if geometry.layout.patch_dim > 1:
        angles = np.linspace(0, phi_0 if distance < 1 else np.pi / 2, _N_ANGLES + 1)
    with warnings.catch_warnings():
        # That few patches lie in a narrow wedge shows as NaN, and leaves the others.
        warnings.filterwarnings("ignore", "At the angles", UserWarning)
        smooth = smoothness(X, teacher, angles, **options)
    radii = distance * np.linspace(0, 1, _N_RADII + 1)[1:]
    convex = one_point_convexity(X, teacher, radii if distance else [1e-3], **options)
    start = _Start(distance, phi_0, precision)
    return Certificate(
        relative_distance=distance,
        phi_0=phi_0,
        precision=precision,
        checks=(
            _theorem_2_2(smooth, start),
            _theorem_3_1(smooth, start),
            _theorem_3_2(smooth, start),
            _theorem_3_4(smooth.patch_dim),
            _convexity(convex, start),
        ),
        smoothness=smooth,
        convexity=convex,
    )


@dataclass(frozen=True)
class _Start:
    distance: float
    phi_0: float
    precision: float

    def promise(self, g, G):
        """Step, contraction and iterations that constants g and G allow."""
        if not (g > 0 and G > 0 and self.distance < 1):
            return {}
        contraction = 1 - (g / G) ** 2
        ratio = max(self.distance / self.precision, 1.0)
        iterations = 2 * math.log(ratio) / -math.log1p(-((g / G) ** 2))
        return {
            "step": g / G**2,
            "contraction": contraction,
            "iterations": math.ceil(iterations),
        }


def _theorem_2_2(smooth, start):
    name, condition = "Theorem 2.2", "one patch: gamma > 0 up to phi_0 < pi/2"
    if smooth.n_patches > 1:
        return TheoremCheck(name, condition, DOES_NOT_APPLY)
    gamma, certified = _least(smooth.gamma), _least(smooth.gamma_certified)
    high = _least(smooth.gamma_interval[:, 1])
    verdict = _verdict(start.distance < 1, certified > 0, high <= 0)
    beta = _or_zero(smooth.beta)
    numbers = {"gamma(phi_0)": gamma, "certified gamma(phi_0)": certified, "beta": beta}
    promise = start.promise(gamma, np.nanmax(smooth.L) + 4 * beta)
    return TheoremCheck(name, condition, verdict, numbers, **promise)


def _theorem_3_1(smooth, start):
    condition = "gamma > 6 L_cross up to phi_0 < pi/2"
    gamma, cross, beta = (
        _least(smooth.gamma),
        _or_zero(smooth.L_cross),
        _or_zero(smooth.beta),
    )
    good = smooth.angles > 0
    lowest_cross = np.nanmax(
        smooth.cross_interval[good, 0] / smooth.angles[good], initial=0
    )
    highest_gamma = _least(smooth.gamma_interval[:, 1])
    certified = smooth.n_patches == 1 and _least(smooth.gamma_certified) > 0
    refuted = highest_gamma <= 6 * lowest_cross
    verdict = _verdict(start.distance < 1, certified, refuted)
    numbers = {"gamma(phi_0)": gamma, "6 L_cross": 6 * cross, "beta": beta}
    steepness = np.nanmax(smooth.L) + 10 * cross + 4 * beta
    promise = start.promise(gamma - 6 * cross, steepness)
    return TheoremCheck("Theorem 3.1", condition, verdict, numbers, **promise)


def _theorem_3_2(smooth, start):
    condition = "phi_0 < phi*, the largest angle with gamma >= 6 L_cross (for SGD)"
    enough = np.minimum.accumulate(smooth.gamma) >= 6 * _or_zero(smooth.L_cross)
    phi_star = float(smooth.angles[enough].max()) if enough.any() else math.nan
    refuted = not enough.any() or phi_star < start.phi_0
    verdict = _verdict(start.distance < 1, False, refuted)
    numbers = {"phi* of the angles looked at": phi_star, "phi_0": start.phi_0}
    return TheoremCheck("Theorem 3.2", condition, verdict, numbers)


def _theorem_3_4(patch_dim):
    alpha = 1 / math.sqrt(2 * math.pi * patch_dim)
    probability = float(ball_success_probability(patch_dim, alpha))
    numbers = {
        "radius of the ball relative to |w*|": alpha,
        "probability of a start within sqrt(1 - radius**2)": probability,
        "the paper's bound of it": float(ball_success_bound(patch_dim, alpha)),
        "starts needed for 99 %": restarts_needed(probability),
    }
    condition = "w_0 uniform in a ball of radius at most |w*| / sqrt(2 pi p)"
    return TheoremCheck("Theorem 3.4", condition, HOLDS, numbers)


def _convexity(convex, start):
    condition = "<grad l(w), w - w*> >= g |w - w*|**2 on every shell up to the start"
    g, G = float(convex.convexity.min()), float(convex.steepness.max())
    refuted = bool((convex.convexity_interval[:, 1] < 0).any())
    verdict = _verdict(True, False, refuted)
    numbers = {"g": g, "G": G}
    return TheoremCheck(
        "One-point convexity", condition, verdict, numbers, **start.promise(g, G)
    )


def _verdict(possible, certified, refuted):
    if not possible or refuted:
        return REFUTED
    return HOLDS if certified else MAY_HOLD


def _least(values):
    """The envelope at phi_0: gamma need not fall with the angle."""
    return float(np.nanmin(values)) if np.isfinite(values).any() else math.nan


def _or_zero(value):
    """0 where no angle had patches enough: then nothing disagrees."""
    return 0.0 if math.isnan(value) else value


def _relative_distance(initial, teacher, layout):
    teacher = check_filter("teacher", teacher, layout.window_shape).ravel()
    if initial is None:
        return math.sqrt(1 - 1 / (2 * math.pi * layout.patch_dim))
    initial = check_filter("initial", initial, layout.window_shape).ravel()
    norm = np.linalg.norm(teacher)
    if norm == 0:
        raise ValueError("teacher is zero: no start has a relative distance to it.")
    return float(np.linalg.norm(initial - teacher) / norm)


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value
