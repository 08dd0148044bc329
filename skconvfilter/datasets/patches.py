"""The synthetic distributions of section 4 of the paper, unit patches at random angles."""

from typing import Literal, overload

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erf, erfinv
from sklearn.utils import check_random_state

from skconvfilter.datasets.filters import random_filter
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.forward import model_values
from skconvfilter.model.geometry import flatten_windows
from skconvfilter.model.validation import (
    check_filter,
    check_integer,
    check_positive,
    check_range,
)


@overload
def make_angular_patches(
    n_samples: int = 100,
    patch_dim: int = 10,
    *,
    sigma: float = 1.0,
    teacher: ArrayLike | None = None,
    return_teacher: Literal[False] = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[FloatArray, FloatArray]: ...


@overload
def make_angular_patches(
    n_samples: int = 100,
    patch_dim: int = 10,
    *,
    sigma: float = 1.0,
    teacher: ArrayLike | None = None,
    return_teacher: Literal[True],
    random_state: int | np.random.RandomState | None = None,
) -> tuple[FloatArray, FloatArray, FloatArray]: ...


def make_angular_patches(
    n_samples: int = 100,
    patch_dim: int = 10,
    *,
    sigma: float = 1.0,
    teacher: ArrayLike | None = None,
    return_teacher: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[FloatArray, FloatArray] | tuple[FloatArray, FloatArray, FloatArray]:
    r"""Regression problem with one unit patch per sample, at random angles to the teacher.

    A patch is :math:`Z = \cos(a)\, w^* / \|w^*\| + \sin(a)\, u` with :math:`u` uniform
    on the unit sphere orthogonal to the teacher :math:`w^*`. The angle has the mixture
    density

    .. math::

        a \sim \tfrac12 N(0, \sigma^2)\big|_{[-\pi/2, \pi/2]}
            + \tfrac12 N(-\pi, \sigma^2)\big|_{[-3\pi/2, -\pi/2]},

    that is, normal distributions about :math:`w^*` and :math:`-w^*`, each truncated to its
    half of the circle. The targets are :math:`y = \mathrm{relu}(w^* \cdot Z)`. For smaller
    :math:`\sigma`, patches vary less in the directions orthogonal to the teacher,
    :math:`L(\phi) / \gamma(\phi)` is larger, and gradient descent is slower.

    Parameters
    ----------
    n_samples : int, default=100
        Number of samples.
    patch_dim : int, default=10
        Length p of a patch, at least 2.
    sigma : float, default=1.0
        Standard deviation of the angle in radians before truncation, from 0 to ``np.inf``,
        for which the angle is uniform.
    teacher : array-like of shape (patch_dim,), default=None
        The filter that computes the targets, with a positive norm. If None, a random unit
        filter.
    return_teacher : bool, default=False
        Whether to return the filter.
    random_state : int, RandomState instance or None, default=None
        Determines the teacher and the patches. Pass an int for reproducible data.

    Returns
    -------
    X : ndarray of shape (n_samples, patch_dim), float64
        Patches of unit norm.
    y : ndarray of shape (n_samples,), float64
        The targets.
    teacher : ndarray of shape (patch_dim,), float64
        Only if `return_teacher` is True.

    Raises
    ------
    TypeError, ValueError
        If a parameter is invalid.

    See Also
    --------
    make_close_patches : Several patches per sample.

    Notes
    -----
    The paper writes :math:`N(0, \sigma)` and defines the angle in a plane only. With
    :math:`\sigma` as the standard deviation and :math:`u` uniform, gradient descent is slow
    for small :math:`\sigma`, as in Figure 3a. For an infinite `sigma`, patches are uniform
    on the circle in two dimensions; in more dimensions patches near the teacher are more
    frequent than under rotation invariance.

    References
    ----------
    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    section 4 and Figure 3a; Definition 2.1 for L and gamma.

    Examples
    --------
    >>> import numpy as np
    >>> from skconvfilter.datasets import make_angular_patches
    >>> X, y, teacher = make_angular_patches(
    ...     500, patch_dim=6, sigma=0.3, return_teacher=True, random_state=0)
    >>> X.shape, y.shape, bool(np.allclose(np.linalg.norm(X, axis=1), 1))
    ((500, 6), (500,), True)
    >>> bool(np.median(np.abs(X @ teacher)) > 0.95)
    True
    """
    n_samples = check_integer("n_samples", n_samples, minimum=1)
    patch_dim = check_integer("patch_dim", patch_dim, minimum=2)
    sigma = check_positive("sigma", sigma, zero=True, infinite=True)
    rng = check_random_state(random_state)
    w = _check_or_draw_teacher(teacher, patch_dim, rng)
    X = _angular_patches(n_samples, sigma, w, rng)
    y = np.maximum(X @ w, 0)
    return (X, y, w) if return_teacher else (X, y)


@overload
def make_close_patches(
    n_samples: int = 100,
    n_patches: int = 5,
    patch_dim: int = 10,
    *,
    spread: float = 1.0,
    sigma: float = 1.0,
    teacher: ArrayLike | None = None,
    return_teacher: Literal[False] = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[FloatArray, FloatArray]: ...


@overload
def make_close_patches(
    n_samples: int = 100,
    n_patches: int = 5,
    patch_dim: int = 10,
    *,
    spread: float = 1.0,
    sigma: float = 1.0,
    teacher: ArrayLike | None = None,
    return_teacher: Literal[True],
    random_state: int | np.random.RandomState | None = None,
) -> tuple[FloatArray, FloatArray, FloatArray]: ...


def make_close_patches(
    n_samples: int = 100,
    n_patches: int = 5,
    patch_dim: int = 10,
    *,
    spread: float = 1.0,
    sigma: float = 1.0,
    teacher: ArrayLike | None = None,
    return_teacher: bool = False,
    random_state: int | np.random.RandomState | None = None,
) -> tuple[FloatArray, FloatArray] | tuple[FloatArray, FloatArray, FloatArray]:
    r"""Regression problem with several unit patches per sample about a common centre.

    The centre :math:`Z` of a sample is a patch of :func:`make_angular_patches`; each of
    its patches is :math:`Z_i = \cos(b_i)\, Z + \sin(b_i)\, u_i` with :math:`u_i`
    uniform on the unit sphere orthogonal to :math:`Z` and
    :math:`b_i \sim N(0, \sigma_2^2)` truncated to :math:`[-\pi, \pi)`. The targets are
    :math:`y = \frac{1}{k} \sum_i \mathrm{relu}(w^* \cdot Z_i)`. For smaller
    :math:`\sigma_2`, patches are closer and gradient descent is faster.

    Parameters
    ----------
    n_samples : int, default=100
        Number of samples.
    n_patches : int, default=5
        Number k of patches per sample.
    patch_dim : int, default=10
        Length p of a patch, at least 2.
    spread : float, default=1.0
        Standard deviation :math:`\sigma_2` of the angle between a patch and its centre, in
        radians before truncation, from 0 (all patches of a sample are equal) to ``np.inf``
        (the angle is uniform).
    sigma : float, default=1.0
        Standard deviation of the angle between a centre and the teacher, as in
        :func:`make_angular_patches`; 1 in the paper.
    teacher : array-like of shape (patch_dim,), default=None
        The filter that computes the targets, with a positive norm. If None, a random unit
        filter.
    return_teacher : bool, default=False
        Whether to return the filter.
    random_state : int, RandomState instance or None, default=None
        Determines the teacher and the patches. Pass an int for reproducible data.

    Returns
    -------
    X : ndarray of shape (n_samples, n_patches, patch_dim), float64
        Patches of unit norm.
    y : ndarray of shape (n_samples,), float64
        The targets.
    teacher : ndarray of shape (patch_dim,), float64
        Only if `return_teacher` is True.

    Raises
    ------
    TypeError, ValueError
        If a parameter is invalid.

    See Also
    --------
    make_angular_patches : One patch per sample.

    References
    ----------
    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    section 4 and Figure 3b; Theorem 3.3 for closeness.

    Examples
    --------
    >>> from skconvfilter.datasets import make_close_patches
    >>> X, y = make_close_patches(200, n_patches=8, spread=0.5, random_state=0)
    >>> X.shape, y.shape
    ((200, 8, 10), (200,))
    """
    n_samples = check_integer("n_samples", n_samples, minimum=1)
    n_patches = check_integer("n_patches", n_patches, minimum=1)
    patch_dim = check_integer("patch_dim", patch_dim, minimum=2)
    spread = check_positive("spread", spread, zero=True, infinite=True)
    sigma = check_positive("sigma", sigma, zero=True, infinite=True)
    rng = check_random_state(random_state)
    w = _check_or_draw_teacher(teacher, patch_dim, rng)
    centres = _angular_patches(n_samples, sigma, w, rng)
    angles = _truncated_normal(spread, np.pi, (n_samples, n_patches), rng)
    X = _at_angles(centres[:, np.newaxis], angles, rng)
    samples, geometry = flatten_windows(X)
    y = model_values(samples, geometry, w[:, np.newaxis])[:, 0]
    return (X, y, w) if return_teacher else (X, y)


def _check_or_draw_teacher(
    teacher: ArrayLike | None, patch_dim: int, rng: np.random.RandomState
) -> FloatArray:
    if teacher is None:
        return random_filter(patch_dim, random_state=rng)
    w = check_filter("teacher", teacher, (patch_dim,))
    check_range("teacher", w)
    if not np.any(w):
        raise ValueError("teacher must not be zero: it has no direction.")
    return w


def _angular_patches(
    n_samples: int, sigma: float, teacher: FloatArray, rng: np.random.RandomState
) -> FloatArray:
    """Patches of the mixture of section 4, shape (n_samples, patch_dim)."""
    angles = _truncated_normal(sigma, np.pi / 2, n_samples, rng)
    angles -= np.pi * (rng.uniform(size=n_samples) < 0.5)
    scaled = teacher / np.abs(teacher).max()  # its norm neither over- nor underflows
    return _at_angles(scaled / np.linalg.norm(scaled), angles, rng)


def _truncated_normal(
    std: float, bound: float, size: int | tuple[int, ...], rng: np.random.RandomState
) -> FloatArray:
    """Draws of N(0, std^2) truncated to [-bound, bound]; an infinite std is uniform."""
    uniform = rng.uniform(-1, 1, size=size)
    if std == 0:
        return np.zeros(size)
    if np.isinf(std):
        return bound * uniform
    # By the inverse distribution function, written with erf because that keeps its
    # relative precision where std is much larger than the bound.
    mass = erf(bound / std / np.sqrt(2))
    draws = std * (np.sqrt(2) * erfinv(mass * uniform))
    return np.clip(draws, -bound, bound)


def _at_angles(
    centres: FloatArray, angles: FloatArray, rng: np.random.RandomState
) -> FloatArray:
    """Unit vectors at the angles (..., ) to unit centres (..., p), else uniform."""
    directions = rng.standard_normal((*angles.shape, centres.shape[-1]))
    along = np.sum(directions * centres, axis=-1, keepdims=True)
    directions -= along * centres
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    angles = angles[..., np.newaxis]
    return np.cos(angles) * centres + np.sin(angles) * directions
