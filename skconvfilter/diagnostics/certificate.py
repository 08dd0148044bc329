"""Certificates: which theorems apply to given data, and the rates that they guarantee."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skconvfilter.diagnostics.convexity import (
    LEAST_RADIUS,
    OnePointConvexity,
    estimate_convexity,
)
from skconvfilter.diagnostics.filters import Filters, one_filter
from skconvfilter.diagnostics.sampling import Estimate, Subsample, check_confidence
from skconvfilter.diagnostics.search import THOROUGH, SearchBudget
from skconvfilter.diagnostics.smoothness import Smoothness, estimate_smoothness
from skconvfilter.diagnostics.summary import Summary
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
from skconvfilter.kernels.layout import FloatArray, PatchLayout
from skconvfilter.model.angles import angles_to
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.forward import model_values
from skconvfilter.model.geometry import HasConvolution
from skconvfilter.model.validation import check_filter, check_positive, check_range


@dataclass(frozen=True, eq=False, repr=False)
class Path(Summary):
    r"""The filters during a fit, compared with the teacher.

    Attributes
    ----------
    distances : ndarray of shape (n_iterations + 1,)
        ``|w - w*| / |w*|``.
    angles : ndarray of shape (n_iterations + 1,)
        Angles to the teacher in radians; NaN for a zero filter.
    contractions : ndarray of shape (n_iterations,)
        Factor of ``|w - w*|**2`` in every iteration; NaN after `precision` was reached.
    convexities : ndarray of shape (n_iterations + 1,)
        :math:`\langle \nabla l(w), w - w^* \rangle / \|w - w^*\|^2` on the subsample; NaN
        within `precision` of the teacher, and for filters of a long path that were not
        evaluated.
    iterations : float
        Number of iterations until the distance was `precision`; NaN if this was not
        reached.
    """

    distances: FloatArray
    angles: FloatArray
    contractions: FloatArray
    convexities: FloatArray
    iterations: float

    def __str__(self) -> str:
        lines = [f"Path: {len(self.contractions)} iterations"]
        factors = self.contractions[np.isfinite(self.contractions)]
        if factors.size:
            lines.append(f"  contraction: {factors.max():.6f} at worst")
        convexities = self.convexities[np.isfinite(self.convexities)]
        if convexities.size:
            lines.append(f"  one-point convexity: {convexities.min():.4g} at least")
        if math.isfinite(self.iterations):
            lines.append(f"  iterations to the precision: {self.iterations:,.0f}")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False, repr=False)
class Certificate(Summary):
    """Result of :func:`certificate`; ``print`` shows it as a report.

    Attributes
    ----------
    relative_distance : float
        ``|w_0 - w*| / |w*|`` for the start w_0.
    phi_0 : float
        The arcsine of this distance, the largest angle to the teacher during descent; NaN
        for a distance of 1 or more.
    precision : float
        Relative distance up to which iterations are counted.
    checks : tuple of TheoremCheck
        Theorems 2.1, 2.2 and 3.1 to 3.4, Corollary 3.1, and one-point convexity.
    smoothness : Smoothness
        The estimates at angles up to `phi_0` and beyond.
    convexity : OnePointConvexity
        The estimates on spheres up to the start.
    path : Path or None
        The path of a fit, if one was given.
    """

    relative_distance: float
    phi_0: float
    precision: float
    checks: tuple[TheoremCheck, ...]
    smoothness: Smoothness
    convexity: OnePointConvexity
    path: Path | None

    def _rows(self) -> list[tuple[str, ...]]:
        return [(check.theorem, check.verdict, check.condition) for check in self.checks]

    def __repr__(self) -> str:
        theorems: dict[str, list[str]] = {}
        for check in self.checks:
            theorems.setdefault(check.verdict, []).append(check.theorem)
        verdicts = (f"{verdict}: {', '.join(names)}" for verdict, names in theorems.items())
        return f"Certificate({'; '.join(verdicts)})"

    def __str__(self) -> str:
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

    def to_dict(self) -> dict[str, Any]:
        """Convert the certificate to nested dicts of arrays, numbers and strings.

        Returns
        -------
        fields : dict
            The attributes by name, with copies of the arrays. For JSON, use
            ``json.dumps(fields, default=np.ndarray.tolist)``.
        """
        return asdict(self)


def certificate_from_dict(fields: Mapping[str, Any]) -> Certificate:
    """The inverse of :meth:`Certificate.to_dict`; arrays are not copied.

    Raises
    ------
    ValueError
        For other fields than those of a certificate.
    """
    try:
        smooth, convex, path = (fields[n] for n in ("smoothness", "convexity", "path"))
        estimates = {
            name: Estimate(**smooth[name])
            for name in ("gamma", "L", "disagreement", "cross")
        }
        parts = {
            "checks": tuple(TheoremCheck(**check) for check in fields["checks"]),
            "smoothness": Smoothness(**{**smooth, **estimates}),
            "convexity": OnePointConvexity(
                **{**convex, "convexity": Estimate(**convex["convexity"])}
            ),
            "path": None if path is None else Path(**path),
        }
        return Certificate(**{**fields, **parts})
    except (KeyError, TypeError) as error:
        raise ValueError(f"not the fields of a certificate: {error}") from error


def certificate(
    X: ArrayLike,
    teacher: Filters,
    initial: ArrayLike | None = None,
    *,
    estimator: HasConvolution | None = None,
    path: ArrayLike | None = None,
    precision: float = 1e-6,
    max_samples: int | None = None,
    confidence: float = 0.95,
    random_state: int | np.random.RandomState | None = None,
) -> Certificate:
    r"""Check the conditions of the theorems on data, and compute the guaranteed rates.

    The theorems concern gradient descent on the population of the samples, without noise,
    from a start :math:`w_0`, with :math:`\phi_0 = \arcsin(\|w_0 - w^*\| / \|w^*\|)`. Steps
    and rates follow from the estimates, with a factor of 2 that is missing in the printed
    proofs. If :math:`\langle \nabla l(w), w - w^* \rangle \ge g \|w - w^*\|^2` and
    :math:`\|\nabla l(w)\| \le G \|w - w^*\|`, a step of :math:`g / G^2` multiplies
    :math:`\|w - w^*\|^2` by at most :math:`1 - g^2 / G^2`. Theorem 3.1 of [1]_ has :math:`g
    = \gamma(\phi_0) - 6 L_{cross}`, which is negative for independent Gaussian patches;
    one-point convexity estimates g and G directly.

    Parameters
    ----------
    X : array-like of shape ``(n_samples, ...)``
        Patches of shape (n_samples, n_patches, patch_dim), a window view, or flat samples.
    teacher : array-like or fitted estimator
        The true filter, in the shape of the window or flat, or a fitted estimator, whose
        `coef_` is used.
    initial : array-like, default=None
        The start, in the shape of the window or flat. If None, only its distance is used,
        that of Theorem 3.4 for the ball of radius ``|w*| / sqrt(2 pi patch_dim)``.
    estimator : estimator, default=None
        Defines how flat samples are cut into patches. Any estimator of this package can be
        used, such as :class:`~skconvfilter.ConvPatchExtractor`, fitted or not. If None, the
        teacher is used if it is a fitted estimator; otherwise a flat sample is one patch.
    path : array-like of shape (n_iterations + 1, patch_dim), default=None
        Filters during a fit, from the start on, to compare with the guaranteed rates. If
        the teacher has a bias, the last entry of each filter is its bias, divided by the
        `bias_scaling_` of the teacher.
    precision : float, default=1e-6
        Relative distance to the teacher up to which iterations are counted, at least 1e-12.
    max_samples : int, default=None
        Largest number of samples that are evaluated, drawn at random. If None, as for
        :func:`smoothness`.
    confidence : float, default=0.95
        Level of the bootstrap intervals.
    random_state : int, RandomState instance or None, default=None
        Determines the samples, the halves and the directions that are drawn.

    Returns
    -------
    certificate : Certificate
        The theorems, each with a verdict, and the estimates.

    Raises
    ------
    TypeError, ValueError
        For invalid data, filters or parameters.

    See Also
    --------
    smoothness : Estimates gamma, L, beta and L_cross only.
    one_point_convexity : Estimates one-point convexity only.

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
    precision = check_positive("precision", precision)
    if precision < LEAST_RADIUS:
        raise ValueError(f"precision must be at least {LEAST_RADIUS}, got {precision}.")
    confidence = check_confidence(confidence)
    subsample = Subsample.draw(X, teacher, estimator, max_samples, random_state)
    start, filters = _check_start(initial, path, subsample.geometry.layout)
    return certify(subsample, start, filters, precision, confidence)


def certify(
    subsample: Subsample,
    initial: FloatArray | None,
    path: FloatArray | None,
    precision: float,
    confidence: float,
    budget: SearchBudget = THOROUGH,
) -> Certificate:
    """The same on checked data: flat filters, the path as rows."""
    layout = subsample.geometry.layout
    distance = _relative_distance(initial, subsample.teacher)
    phi_0 = math.asin(distance) if distance < 1 else math.nan
    # That few patches lie in a narrow wedge shows as NaN, and leaves the others.
    smooth, _ = estimate_smoothness(
        subsample, _angles(phi_0, layout, budget), confidence, budget
    )
    radii = max(distance, precision) * np.linspace(0, 1, budget.n_radii + 1)[1:]
    convex = estimate_convexity(subsample, radii, confidence, budget)
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
        path=None if path is None else _compare(path, subsample, precision, budget),
    )


def _angles(phi_0: float, layout: PatchLayout, budget: SearchBudget) -> FloatArray:
    """Angles to evaluate: up to the start's, and some beyond."""
    if layout.patch_dim == 1:
        return np.zeros(1)
    if math.isnan(phi_0):
        return np.linspace(0, np.pi / 2, budget.n_angles)
    beyond = np.linspace(phi_0, np.pi / 2, budget.n_beyond + 1)[1:]
    return np.append(np.linspace(0, phi_0, budget.n_angles), beyond)


def _relative_distance(initial: FloatArray | None, teacher: FloatArray) -> float:
    if initial is None:
        return math.sqrt(1 - 1 / (2 * math.pi * len(teacher)))
    return float(np.linalg.norm(initial - teacher) / np.linalg.norm(teacher))


def _check_start(
    initial: ArrayLike | None, path: ArrayLike | None, layout: PatchLayout
) -> tuple[FloatArray | None, FloatArray | None]:
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
        filters = check_filter("path", path, shape)
        check_range("path", filters)
        return filters[0], filters
    if initial is not None:
        return one_filter("initial", initial, layout.window_shape, layout.constant), None
    return None, None


def _compare(
    filters: FloatArray, subsample: Subsample, precision: float, budget: SearchBudget
) -> Path:
    """The filters (n_iterations + 1, patch_dim) of a path, and the teacher."""
    away = filters - subsample.teacher
    distances = np.linalg.norm(away, axis=1) / np.linalg.norm(subsample.teacher)
    # Differences within the precision are rounding errors.
    apart = np.flatnonzero(distances > precision)
    contractions = np.full(len(filters) - 1, np.nan)
    moved = apart[apart < len(contractions)]
    contractions[moved] = (distances[moved + 1] / distances[moved]) ** 2
    convexities = np.full(len(filters), np.nan)
    if apart.size:
        shown = np.linspace(0, len(apart) - 1, min(len(apart), budget.n_on_path))
        evaluated = apart[shown.round().astype(int)]
        convexities[evaluated] = _convexities(
            filters[evaluated], away[evaluated], subsample
        )
    reached = np.flatnonzero(distances <= precision)
    return Path(
        distances=distances,
        angles=angles_to(subsample.teacher, filters),
        contractions=contractions,
        convexities=convexities,
        iterations=float(reached[0]) if reached.size else math.nan,
    )


def _convexities(filters: FloatArray, away: FloatArray, subsample: Subsample) -> FloatArray:
    samples, geometry, teacher, _ = subsample
    labels = model_values(samples, geometry, teacher[:, np.newaxis])[:, 0]
    objective = FilterObjective(samples, geometry, labels, fit_intercept=False)
    gradient = objective.gradient(filters.T, np.ones(len(filters))).gradient
    assert gradient is not None
    return np.sum(gradient * away, axis=1) / np.sum(away**2, axis=1)
