"""gamma, L, beta and L_cross: how easy a filter is to learn on given data."""

import warnings
from dataclasses import dataclass

import numpy as np

from skconvfilter.diagnostics.brackets import brackets, no_brackets
from skconvfilter.diagnostics.sampling import Subsample, check_confidence, hold_out
from skconvfilter.diagnostics.search import (
    QUANTITIES,
    DirectionSearch,
    PatchSample,
    contributions,
)
from skconvfilter.diagnostics.sphere import THOROUGH
from skconvfilter.model.events import TeacherEvents
from skconvfilter.model.validation import check_numbers

_N_ANGLES = 9
# Patches per entry of the filter on either side of the wedge between filter and teacher,
# below which second moments over it are noise.
_PATCHES_PER_ENTRY = 20


@dataclass(frozen=True, eq=False)
class Smoothness:
    r"""The quantities of Assumptions 3.1 and 3.2, as :func:`smoothness` estimates them.

    With :math:`\bar Z_{++}`, :math:`\bar Z_{+-}`, :math:`\bar Z_{-+}` the means of a
    sample's patches that are active for both a filter and the teacher, for the filter
    alone and for the teacher alone, at each angle :math:`\phi` over all filters at that
    angle to the teacher:

    * `gamma`: least eigenvalue of :math:`E \bar Z_{++} \bar Z_{++}^T`, minimised;
    * `L`: its largest eigenvalue, maximised;
    * `disagreement`: largest eigenvalue of :math:`E \bar Z_{+-} \bar Z_{+-}^T`, maximised;
    * `cross`: sum of the spectral norms of :math:`E \bar Z_{++} \bar Z_{+-}^T`,
      :math:`E \bar Z_{++} \bar Z_{-+}^T` and :math:`E \bar Z_{+-} \bar Z_{-+}^T`,
      maximised.

    Each has three companions. The value itself is *held out*: the most extreme filter and
    vectors found on one half of the samples, evaluated on the other half, and the mean of
    both ways. It is unbiased for these filters and vectors, and so, up to noise, an upper
    bound for gamma and a lower bound for the others. `*_searched` is the value on the half
    that was searched: too extreme by noise. `*_certified` is a bound from the other side
    that needs no search, for these samples: a lower one for gamma (one patch per sample
    only), an upper one for the others; NaN where there is none.

    Attributes
    ----------
    angles : ndarray of shape (n_angles,)
        In radians.
    gamma, L, disagreement, cross : ndarray of shape (n_angles,)
        Held-out values; NaN where too few patches lie between filter and teacher.
    gamma_interval, L_interval, disagreement_interval, cross_interval : ndarray
        Of shape (n_angles, 2): bootstrap interval of the held-out values, for the filters
        and vectors found: what others would change it does not cover. Where patches vary
        far more in some directions than in others, the true gamma lies below its interval
        by up to a quarter of the value.
    gamma_searched, L_searched, disagreement_searched, cross_searched : ndarray
        Of shape (n_angles,): values on the half that was searched.
    gamma_certified, L_certified, disagreement_certified, cross_certified : ndarray
        Of shape (n_angles,): bounds that need no search.
    beta : float
        Largest ``disagreement / angle`` up to pi/2: a lower bound for beta of Assumption
        3.1. NaN where no angle has enough patches.
    L_cross : float
        Largest ``cross / angle``: a lower bound for L_cross of Assumption 3.2.
    n_samples : int
        Samples that were looked at.
    n_patches, patch_dim : int
        Patches per sample, and their length.
    """

    angles: np.ndarray
    gamma: np.ndarray
    gamma_interval: np.ndarray
    gamma_searched: np.ndarray
    gamma_certified: np.ndarray
    L: np.ndarray
    L_interval: np.ndarray
    L_searched: np.ndarray
    L_certified: np.ndarray
    disagreement: np.ndarray
    disagreement_interval: np.ndarray
    disagreement_searched: np.ndarray
    disagreement_certified: np.ndarray
    cross: np.ndarray
    cross_interval: np.ndarray
    cross_searched: np.ndarray
    cross_certified: np.ndarray
    beta: float
    L_cross: float
    n_samples: int
    n_patches: int
    patch_dim: int


def smoothness(
    X,
    teacher,
    angles=None,
    *,
    kernel_size=None,
    input_shape=None,
    stride=1,
    padding=0,
    dilation=1,
    max_samples=None,
    confidence=0.95,
    random_state=None,
):
    """Estimate gamma, L, beta and L_cross of some data for a teacher.

    A filter is easy to learn where gamma is large beside L, beta and L_cross: Theorems 2.2
    and 3.1 of [1]_. The extremes over all filters at an angle are searched for: the best of
    64 random directions, and of the principal axes of the patches, are refined by steps
    along the gradient of the quantity with smoothed indicators; each angle also starts from
    the filters found at the next smaller and the next larger one.

    Parameters
    ----------
    X : array-like of shape ``(n_samples, ...)``
        Samples, in any of the forms that the estimators accept.
    teacher : array-like
        The filter, in the shape of the window or flat. A fitted filter may stand for it.
    angles : array-like of shape (n_angles,), default=None
        Angles to the teacher, in radians from 0 to pi. None: nine from pi/18 to pi/2.
    kernel_size : int or tuple of int, default=None
        The convolution window, for flat samples only. None: a flat sample is one patch.
    input_shape : int or tuple of int, default=None
        Shape behind a flat sample, channels last. None: a signal.
    stride, padding, dilation : int or tuple of int, default=1, 0, 1
        How the window moves, as in ``torch.nn.Conv2d``.
    max_samples : int, default=None
        Random samples that are looked at. None: 20,000, but no more than hold 2**23
        entries of patches (500 at least).
    confidence : float, default=0.95
        Of the bootstrap intervals.
    random_state : int, RandomState instance or None, default=None
        Draws the samples, the halves and the directions.

    Returns
    -------
    result : Smoothness
        The estimates at every angle.

    Raises
    ------
    TypeError, ValueError
        For data, filters and parameters that cannot be used.

    Warns
    -----
    UserWarning
        Where an angle has too few patches on which filter and teacher disagree: its
        disagreement and cross are NaN.

    See Also
    --------
    certificate : What the theorems make of the estimates.
    skconvfilter.plotting.SmoothnessDisplay : Draw the estimates.

    References
    ----------
    .. [1] S. S. Du, J. D. Lee, Y. Tian, "When is a Convolutional Filter Easy to Learn?",
       ICLR 2018.

    Examples
    --------
    Independent normal patches, two in a sample, where gamma is (pi - angle - sin angle) /
    (4 pi):

    >>> import numpy as np
    >>> from skconvfilter.diagnostics import smoothness
    >>> X = np.random.default_rng(0).standard_normal((10_000, 2, 5))
    >>> angles = np.array([np.pi / 4, np.pi / 2])
    >>> result = smoothness(X, np.ones(5), angles, random_state=0)
    >>> exact = (np.pi - angles - np.sin(angles)) / (4 * np.pi)
    >>> bool((abs(result.gamma / exact - 1) < 0.1).all())
    True
    """
    convolution = {
        "kernel_size": kernel_size,
        "input_shape": input_shape,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
    }
    confidence = check_confidence(confidence)
    subsample = Subsample.draw(X, teacher, convolution, max_samples, random_state)
    angles = _check_angles(angles, subsample.geometry.layout.patch_dim)
    result, scarce = estimate_smoothness(subsample, angles, confidence)
    if scarce:
        warnings.warn(
            f"At the angles {np.round(scarce, 4).tolist()} fewer than "
            f"{_PATCHES_PER_ENTRY} patches per entry of the filter lie between filter "
            "and teacher: disagreement and cross are NaN there. Pass more samples, or "
            "larger angles.",
            stacklevel=2,
        )
    return result


def estimate_smoothness(subsample, angles, confidence, effort=THOROUGH):
    """Estimate on checked data.

    Returns
    -------
    result : Smoothness
    scarce : list of float
        Angles at which too few patches lie between filter and teacher.
    """
    samples, geometry, teacher, rng = subsample
    layout = geometry.layout
    folds = [_Fold(half, geometry, teacher, rng, effort) for half in subsample.halves()]
    columns, scarce = _search_all(folds, angles, confidence, rng)
    if len(samples) * layout.n_patches <= effort.n_certified:
        bounds = brackets(samples, geometry, teacher, angles)
    else:
        bounds = no_brackets(angles)
    columns |= {f"{name}_certified": bound for name, bound in bounds._asdict().items()}
    result = Smoothness(
        angles=angles,
        beta=_largest_ratio(columns["disagreement"], angles),
        L_cross=_largest_ratio(columns["cross"], angles),
        n_samples=len(samples),
        n_patches=layout.n_patches,
        patch_dim=layout.patch_dim,
        **columns,
    )
    return result, scarce


class _Fold:
    """Half of the samples, and the search on it."""

    def __init__(self, samples, geometry, teacher, rng, effort):
        self.events = TeacherEvents(samples, geometry, teacher)
        n_patches = effort.n_gradient_patches
        self.patches = PatchSample.draw(samples, geometry, teacher, n_patches, rng)
        self.search = DirectionSearch(self.events, self.patches, rng, effort)
        self.n_patches = len(samples) * geometry.layout.n_patches

    def has_enough(self, angle):
        """Whether a filter at the angle disagrees with the teacher on enough patches."""
        needed = _PATCHES_PER_ENTRY * self.patches.patches.shape[1]
        share = self.patches.share_of_disagreement(self.search.filters(angle))
        return share / 2 * self.n_patches >= needed


def _search_all(folds, angles, confidence, rng):
    """Held-out values, intervals and values searched, by quantity; and scarce angles."""
    shape = len(angles)
    columns = {}
    for name in QUANTITIES:
        columns[name] = np.full(shape, np.nan)
        columns[f"{name}_interval"] = np.full((shape, 2), np.nan)
        columns[f"{name}_searched"] = np.full(shape, np.nan)
    scarce = []
    sweeps = [fold.search.sweep(angles) for fold in folds]
    for i, (angle, *found) in enumerate(zip(angles, *sweeps, strict=True)):
        enough = 0 < angle and all(fold.has_enough(angle) for fold in folds)
        if not enough and angle > 0:
            scarce.append(angle)
        for name in QUANTITIES:
            if name in ("disagreement", "cross") and not enough and angle > 0:
                continue
            if name not in found[0]:
                columns[name][i] = columns[f"{name}_searched"][i] = 0.0
                columns[f"{name}_interval"][i] = 0.0
                continue
            held_out = [
                contributions(other.events, own[name])
                for own, other in zip(found, folds[::-1], strict=True)
            ]
            mean, interval = hold_out(held_out, confidence, rng)
            columns[name][i], columns[f"{name}_interval"][i] = mean, interval
            columns[f"{name}_searched"][i] = np.mean([own[name].value for own in found])
    return columns, scarce


def _largest_ratio(values, angles):
    good = (angles > 0) & (angles <= np.pi / 2 + 1e-12) & np.isfinite(values)
    return float(np.max(values[good] / angles[good])) if good.any() else float("nan")


def _check_angles(angles, patch_dim):
    if angles is None:
        angles = np.linspace(np.pi / 18, np.pi / 2, _N_ANGLES)
    angles = check_numbers("angles", angles)
    if not ((angles >= 0) & (angles <= np.pi)).all():
        raise ValueError(f"angles must lie between 0 and pi, got {angles.tolist()}.")
    if patch_dim == 1 and not np.isin(angles, (0.0, np.pi)).all():
        raise ValueError(
            "patches of length patch_dim=1 have no filter at an angle other than 0 and pi "
            f"to the teacher, got angles={angles.tolist()}."
        )
    return angles
