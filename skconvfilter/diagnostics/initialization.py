"""Probability that a random start is good, and the number of starts needed."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import beta, betainc, betaincc, hyp2f1

from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.validation import check_number, real_array

# Up to here a cap is found from a series, beyond it from its share of a ball: the series
# fails where alpha is near 1, the share and its factor leave float64 where it is small.
_SMALL_ALPHA = math.sqrt(0.5)

# Relative error that the number of starts may have from the rounding of 0.999999 and such.
_ROUNDING = 1e-9


def ball_success_probability(
    patch_dim: ArrayLike, alpha: ArrayLike
) -> np.float64 | FloatArray:
    r"""Exact probability that a start drawn from a small ball is good.

    The start :math:`w_0` is uniform in the ball of radius :math:`\alpha \|w^*\|` about
    the origin in :math:`p` dimensions. It is good if it is nearer to the true filter than
    the origin is, by the margin that the theory requires:

    .. math::

        P\left( \|w_0 - w^*\| \le \sqrt{1 - \alpha^2}\, \|w^*\| \right)
        = \frac12 I_{1 - \alpha^2}\left( \frac{p + 1}{2}, \frac12 \right)
        + \frac12 \left( \frac{1 - \alpha^2}{\alpha^2} \right)^{p/2}
          I_{\alpha^2}\left( \frac{p + 1}{2}, \frac12 \right),

    with :math:`I` the regularised incomplete beta function. The two terms are the caps
    that the plane through the intersection of the spheres cuts off the two balls. The value
    decreases from 1/2 for small :math:`\alpha` to 0 at 1. It is accurate to a few rounding
    units of 1/2 for any dimension and radius.

    Parameters
    ----------
    patch_dim : int or array-like of int
        Length p of a patch, at least 1.
    alpha : float or array-like of float
        Radius of the ball over the norm of the true filter, above 0 and at most 1.
        `patch_dim` and `alpha` broadcast.

    Returns
    -------
    probability : float or ndarray, float64
        A number, or an array of the broadcast shape.

    Raises
    ------
    TypeError, ValueError
        If `patch_dim` does not consist of positive ints or `alpha` of numbers above 0 and
        at most 1, or if their shapes do not broadcast.

    See Also
    --------
    ball_success_bound : The paper's bound.
    restarts_needed : Number of starts for such a probability.

    Notes
    -----
    The paper differs in three places. After Theorem 3.4 it bounds a failure probability
    from below, but means the success probability. In section 3.2 it requires a start with
    :math:`\|w_0 - w^*\| < \|w^*\| \cos\phi^*`; the correct factor is :math:`\sin\phi^*`,
    and :math:`\cos\phi^*` is the radius of the ball. Its bound of the deviation from 1/2 is
    too large by a factor of about :math:`\pi`. A larger :math:`\alpha` does not help,
    because the required distance and the probability both decrease.

    References
    ----------
    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    Theorem 3.4 and Corollary 3.1; the exact value is not in the paper.

    Examples
    --------
    >>> from skconvfilter.diagnostics import ball_success_probability
    >>> f"{ball_success_probability(9, 0.1):.3f}"
    '0.390'
    >>> ball_success_probability([9, 25], [[0.1], [0.05]]).round(3)
    array([[0.39 , 0.313],
           [0.445, 0.404]])
    """
    p, alpha = _check_ball(patch_dim, alpha)
    a = (p + 1) / 2
    # I_{1 - x}(a, 1/2) = 1 - I_x(1/2, a), and x = alpha^2 loses nothing where it is small.
    own_cap = betaincc(0.5, a, alpha**2) / 2
    return (own_cap + _target_cap(p, a, alpha))[()]


def ball_success_bound(patch_dim: ArrayLike, alpha: ArrayLike) -> np.float64 | FloatArray:
    r"""The paper's lower bound of the probability that a start from a ball is good.

    .. math::

        P\left( \|w_0 - w^*\| \le \sqrt{1 - \alpha^2}\, \|w^*\| \right)
        \ge \frac12 - \alpha \sqrt{\frac{\pi p}{2}}
        \qquad\text{for } \alpha \le \frac{1}{\sqrt{2 \pi p}},

    with :math:`w_0` uniform in the ball of radius :math:`\alpha \|w^*\|` about the
    origin. At the largest such :math:`\alpha` the bound is 0. For larger values it is
    negative and thus trivial; the negative value is returned.

    Parameters
    ----------
    patch_dim : int or array-like of int
        Length p of a patch, at least 1.
    alpha : float or array-like of float
        Radius of the ball over the norm of the true filter, above 0 and at most 1.
        `patch_dim` and `alpha` broadcast.

    Returns
    -------
    bound : float or ndarray, float64
        A number, or an array of the broadcast shape.

    Raises
    ------
    TypeError, ValueError
        As for :func:`ball_success_probability`.

    See Also
    --------
    ball_success_probability : The exact value, and errors in the paper.

    Notes
    -----
    The factor :math:`\sqrt{\pi p / 2}` is about :math:`\pi` times as large as necessary:
    the exact value is near :math:`1/2 - \alpha \sqrt{p / (2 \pi)}` for small
    :math:`\alpha`.

    References
    ----------
    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    Theorem 3.4. Corollary 3.1 has the ball of radius
    :math:`\|w^*\| \cos\phi^* < \|w^*\| / \sqrt{8 \pi p}`, where the bound exceeds 1/4.

    Examples
    --------
    >>> from skconvfilter.diagnostics import ball_success_bound
    >>> f"{ball_success_bound(9, 0.1):.3f}"
    '0.124'
    >>> f"{ball_success_bound(9, 0.5):.3f}"
    '-1.380'
    """
    p, alpha = _check_ball(patch_dim, alpha)
    return (0.5 - alpha * np.sqrt(np.pi * p / 2))[()]


def restarts_needed(probability: float, confidence: float = 0.99) -> float:
    r"""Number of independent starts of which at least one succeeds with high probability.

    The smallest :math:`n \ge 1` with :math:`1 - (1 - q)^n \ge c`, to machine precision, for
    the probability :math:`q` of one start and the confidence :math:`c`,

    .. math::

        n = \left\lceil \frac{\log(1 - c)}{\log(1 - q)} \right\rceil.

    Parameters
    ----------
    probability : float
        Probability q that one start succeeds, from 0 to 1.
    confidence : float, default=0.99
        Probability c that at least one start succeeds, above 0 and below 1.

    Returns
    -------
    n : int or float
        An int, at least 1; 1 for ``probability=1``. ``math.inf`` if no number of starts is
        enough, that is, for ``probability=0``, or a probability so small that the number
        exceeds the range of float64.

    Raises
    ------
    TypeError, ValueError
        If `probability` or `confidence` is not a number in its range.

    See Also
    --------
    ball_success_probability : Probability of a start from a ball.

    References
    ----------
    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    section 3.2.

    Examples
    --------
    Corollary 3.1 guarantees a probability of 1/4; the exact value is larger.

    >>> from skconvfilter.diagnostics import ball_success_probability, restarts_needed
    >>> restarts_needed(0.25)
    17
    >>> restarts_needed(ball_success_probability(25, 0.05))
    9
    """
    q = check_number("probability", probability)
    if not 0 <= q <= 1:
        raise ValueError(f"probability must be from 0 to 1, got {q!r}.")
    c = check_number("confidence", confidence)
    if not 0 < c < 1:
        raise ValueError(f"confidence must be above 0 and below 1, got {c!r}.")
    if q in (0, 1):
        return 1 if q else math.inf
    n = math.log1p(-c) / math.log1p(-q)
    # Rounding must not ask for one start more where the quotient is a whole number.
    return max(1, math.ceil(n * (1 - _ROUNDING))) if math.isfinite(n) else math.inf


def _target_cap(p: FloatArray, a: FloatArray, alpha: FloatArray) -> FloatArray:
    """Share of the start's ball that lies in the cap cut off the target's ball.

    ``((1 - alpha^2) / alpha^2)^(p/2) I_{alpha^2}(a, 1/2) / 2`` with ``a = (p + 1) / 2``.
    """
    small = np.minimum(alpha, _SMALL_ALPHA)
    large = np.maximum(alpha, _SMALL_ALPHA)
    # I_x(a, 1/2) = x^a 2F1(a, 1/2; a + 1; x) / (a B(a, 1/2)), where the powers of alpha
    # cancel but for one. The series has positive terms and no factor here exceeds 1.
    shrink = np.exp(p / 2 * np.log1p(-(small**2)))
    series = hyp2f1(0.5, a, a + 1, small**2) / (2 * a * beta(a, 0.5))
    # 1 - alpha^2 as a product keeps its precision near 1.
    ratio = (1 - large) * (1 + large) / large**2
    direct = ratio ** (p / 2) * betainc(a, 0.5, large**2) / 2
    return np.where(alpha <= _SMALL_ALPHA, small * shrink * series, direct)


def _check_ball(patch_dim: ArrayLike, alpha: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Both as float64 arrays that broadcast."""
    dims = real_array("patch_dim", patch_dim, kinds="iu", what="positive ints")
    if not np.all(dims >= 1):
        raise ValueError(f"patch_dim must be at least 1, got {patch_dim!r}.")
    radii = real_array("alpha", alpha)
    if not np.all((radii > 0) & (radii <= 1)):
        raise ValueError(f"alpha must be above 0 and at most 1, got {alpha!r}.")
    try:
        np.broadcast_shapes(dims.shape, radii.shape)
    except ValueError as error:
        raise ValueError(
            f"patch_dim and alpha must broadcast, got the shapes {dims.shape} and "
            f"{radii.shape}."
        ) from error
    return dims.astype(np.float64), radii.astype(np.float64)
