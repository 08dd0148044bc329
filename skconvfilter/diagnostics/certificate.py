"""Which theorems of the paper apply to given data, and what they promise."""

import math
from dataclasses import asdict, dataclass

import numpy as np

from skconvfilter.diagnostics.convexity import (
    LEAST_RADIUS,
    OnePointConvexity,
    estimate_convexity,
)
from skconvfilter.diagnostics.path import Path, follow
from skconvfilter.diagnostics.sampling import Subsample, check_confidence
from skconvfilter.diagnostics.smoothness import Smoothness, estimate_smoothness
from skconvfilter.diagnostics.sphere import THOROUGH
from skconvfilter.diagnostics.theorems import (
    Profile,
    Start,
    TheoremCheck,
    convexity,
    corollary_3_1,
    largest_good_angle,
    theorem_2_1,
    theorem_2_2,
    theorem_3_1,
    theorem_3_2,
    theorem_3_3,
    theorem_3_4,
)
from skconvfilter.model.validation import check_filter, check_positive


@dataclass(frozen=True, eq=False)
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
        Theorems 2.1, 2.2 and 3.1 to 3.4, Corollary 3.1, and one-point convexity.
    smoothness : Smoothness
        The estimates at angles up to `phi_0` and beyond.
    convexity : OnePointConvexity
        The estimates on shells up to the start.
    path : Path or None
        What a fit did, if its path was given.
    """

    relative_distance: float
    phi_0: float
    precision: float
    checks: tuple
    smoothness: Smoothness
    convexity: OnePointConvexity
    path: Path | None

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
        if self.path is not None:
            lines += ["", str(self.path)]
        return "\n".join(lines)

    def to_dict(self):
        """Give the same as nested dicts, lists, strings and numbers.

        Returns
        -------
        report : dict
            The attributes by name.
        """
        return _plain(asdict(self))

    @classmethod
    def from_dict(cls, fields):
        """The certificate of which ``dataclasses.asdict`` made these fields.

        Parameters
        ----------
        fields : dict
            Fields by name, those of the parts in dicts of their own.

        Returns
        -------
        certificate : Certificate
            With the arrays of the fields, not copies.

        Raises
        ------
        ValueError
            For other fields than those of a certificate.
        """
        try:
            parts = {
                "checks": tuple(TheoremCheck(**check) for check in fields["checks"]),
                "smoothness": Smoothness(**fields["smoothness"]),
                "convexity": OnePointConvexity(**fields["convexity"]),
                "path": None if fields["path"] is None else Path(**fields["path"]),
            }
            return cls(**{**fields, **parts})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not the fields of a certificate: {error}") from error


def certificate(
    X,
    teacher,
    initial=None,
    *,
    path=None,
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
    X : array-like of shape ``(n_samples, ...)``
        Samples, in any of the forms that the estimators accept.
    teacher : array-like
        The filter, in the shape of the window or flat. A fitted filter may stand for it.
    initial : array-like, default=None
        The start, in the shape of the window or flat. None: at the distance that
        Theorem 3.4 gives from the ball of radius ``|w*| / sqrt(2 pi patch_dim)``.
    path : array-like of shape (n_iterations + 1, patch_dim), default=None
        Filters that a fit went through, its start first, to set beside the promises.
    kernel_size : int or tuple of int, default=None
        The convolution window, for flat samples only. None: a flat sample is one patch.
    input_shape : int or tuple of int, default=None
        Shape behind a flat sample, channels last. None: a signal.
    stride, padding, dilation : int or tuple of int, default=1, 0, 1
        How the window moves, as in ``torch.nn.Conv2d``.
    precision : float, default=1e-6
        Relative distance to the teacher to which iterations are counted, at least 1e-12.
    max_samples : int, default=None
        Random samples that are looked at. None: as for :func:`smoothness`.
    confidence : float, default=0.95
        Of the bootstrap intervals.
    random_state : int, RandomState instance or None, default=None
        Draws the samples, the halves and the directions.

    Returns
    -------
    certificate : Certificate
        The theorems, each with a verdict, and the estimates behind it.

    Raises
    ------
    TypeError, ValueError
        For data, filters and parameters that cannot be used.

    See Also
    --------
    smoothness : The estimates of gamma, L, beta and L_cross alone.
    one_point_convexity : Those of one-point convexity alone.

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
    if precision < LEAST_RADIUS:
        raise ValueError(f"precision must be at least {LEAST_RADIUS}, got {precision}.")
    confidence = check_confidence(confidence)
    subsample = Subsample.draw(X, teacher, convolution, max_samples, random_state)
    initial, path = _check_start(initial, path, subsample.geometry.layout)
    return certify(subsample, initial, path, precision, confidence)


def certify(subsample, initial, path, precision, confidence, effort=THOROUGH):
    """The same on checked data."""
    layout = subsample.geometry.layout
    distance = _relative_distance(initial, subsample.teacher)
    phi_0 = math.asin(distance) if distance < 1 else math.nan
    # That few patches lie in a narrow wedge shows as NaN, and leaves the others.
    smooth, _ = estimate_smoothness(
        subsample, _angles(phi_0, layout, effort), confidence, effort
    )
    radii = max(distance, precision) * np.linspace(0, 1, effort.n_radii + 1)[1:]
    convex = estimate_convexity(subsample, radii, confidence, effort)
    start = Start(distance, phi_0, precision)
    near = Profile.of(smooth, phi_0)
    phi_star = largest_good_angle(smooth)
    return Certificate(
        relative_distance=distance,
        phi_0=phi_0,
        precision=precision,
        checks=(
            theorem_2_1(near, subsample, initial),
            theorem_2_2(near, start),
            theorem_3_1(near, start),
            theorem_3_2(phi_star, start),
            theorem_3_3(subsample),
            theorem_3_4(layout.patch_dim),
            corollary_3_1(phi_star, layout.patch_dim),
            convexity(convex, start),
        ),
        smoothness=smooth,
        convexity=convex,
        path=None if path is None else follow(path, subsample, precision, effort),
    )


def _angles(phi_0, layout, effort):
    """Angles to look at: up to the start's, and some beyond."""
    if layout.patch_dim == 1:
        return np.zeros(1)
    if math.isnan(phi_0):
        return np.linspace(0, np.pi / 2, effort.n_angles)
    beyond = np.linspace(phi_0, np.pi / 2, effort.n_beyond + 1)[1:]
    return np.append(np.linspace(0, phi_0, effort.n_angles), beyond)


def _relative_distance(initial, teacher):
    if initial is None:
        return math.sqrt(1 - 1 / (2 * math.pi * len(teacher)))
    return float(np.linalg.norm(initial - teacher) / np.linalg.norm(teacher))


def _check_start(initial, path, layout):
    """Start and path as flat filters, None where there is none."""
    if path is not None:
        if initial is not None:
            raise ValueError("path begins with the start: give initial or path, not both.")
        shape = np.shape(path)
        if len(shape) != 2 or shape[0] == 0 or shape[1] != layout.patch_dim:
            raise ValueError(
                "path must have the shape (n_iterations + 1, patch_dim), with "
                f"patch_dim={layout.patch_dim}, got {shape}."
            )
        path = check_filter("path", path, shape)
        return path[0], path
    if initial is not None:
        initial = check_filter("initial", initial, layout.window_shape).ravel()
    return initial, None


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value.item() if isinstance(value, np.generic) else value
