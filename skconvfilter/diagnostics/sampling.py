"""What the estimates of the theory's quantities share: subsamples, halves, intervals."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from skconvfilter.diagnostics.filters import (
    Filters,
    bias_scaling_of,
    convolution_of,
    one_filter,
)
from skconvfilter.diagnostics.summary import Summary
from skconvfilter.kernels.layout import FloatArray, PatchLayout
from skconvfilter.model.geometry import HasConvolution, PatchGeometry
from skconvfilter.model.samples import check_any_samples, cut_into_patches
from skconvfilter.model.validation import check_integer, check_number, check_range

# Samples that are evaluated by default: at most, and at least.
_MAX_SAMPLES, _MIN_SAMPLES = 20_000, 500
_MAX_ELEMENTS = 2**23
# Of many samples the bootstrap draws groups: their means have the same spread about the
# mean of all, and there are fewer to draw.
_N_BOOTSTRAP, _MAX_GROUPS = 200, 500


@dataclass(frozen=True, eq=False, repr=False)
class Estimate(Summary):
    """Estimate of an extreme, from :func:`smoothness` or :func:`one_point_convexity`.

    The extreme is over many filters. The search uses one half of the samples and the
    evaluation the other, and vice versa. The arrays have one entry for every angle or
    radius.

    Attributes
    ----------
    value : ndarray of shape (n,)
        Held-out value: the most extreme filter (and vectors) found on one half of the
        samples, evaluated on the other half, averaged over both directions. It is unbiased
        for these filters and thus, up to noise, less extreme than the true value. NaN if
        there are too few patches.
    interval : ndarray of shape (n, 2)
        Bootstrap interval of the value for the filters found. It does not cover the effect
        of other filters.
    searched : ndarray of shape (n,)
        The value on the half used for the search, too extreme because of noise.
    certified : ndarray of shape (n,)
        A bound from the other side that needs no search, for these samples. NaN if there is
        none.
    """

    value: FloatArray
    interval: FloatArray
    searched: FloatArray
    certified: FloatArray


class Subsample(NamedTuple):
    """Random samples in random order, and the teacher they are compared with."""

    samples: FloatArray  # (n_samples, n_features), float64
    geometry: PatchGeometry
    teacher: FloatArray  # (patch_dim,)
    rng: np.random.Generator

    @classmethod
    def draw(
        cls,
        X: ArrayLike,
        teacher: Filters,
        estimator: HasConvolution | None,
        max_samples: int | None,
        random_state: int | np.random.RandomState | None,
    ) -> "Subsample":
        """Check what a user passed, and draw.

        Raises
        ------
        TypeError, ValueError
            Naming the parameter that is wrong.
        """
        convolution = convolution_of(estimator, teacher)
        constant = bias_scaling_of(estimator, teacher)
        data: NDArray[Any] = check_any_samples(X)
        check_range("X", data)
        if len(data) < 2:
            raise ValueError(
                "X has one sample (n_samples=1), but the estimates need at least two."
            )
        _, geometry = cut_into_patches(data[:1], convolution, constant)
        w = one_filter("teacher", teacher, geometry.layout.window_shape, constant)
        if not w.any():
            raise ValueError("teacher is zero, so angles to it are undefined.")
        size = subsample_size(max_samples, geometry.layout, _MAX_ELEMENTS, minimum=2)
        seeds = check_random_state(random_state).randint(2**31, size=4)
        rng = np.random.default_rng(seeds)
        rows = rng.permutation(len(data))[:size]
        samples, geometry = cut_into_patches(data, convolution, constant, rows)
        return cls(samples, geometry, w, rng)

    def halves(self) -> list[FloatArray]:
        """The samples in two parts."""
        return np.array_split(self.samples, 2)


def subsample_size(
    max_samples: int | None, layout: PatchLayout, max_elements: int, minimum: int
) -> int:
    """The samples to evaluate: as many as a user allows, or a bounded number of entries."""
    if max_samples is not None:
        return check_integer("max_samples", max_samples, minimum=minimum)
    n_entries = layout.n_patches * layout.patch_dim
    return min(_MAX_SAMPLES, max(_MIN_SAMPLES, max_elements // n_entries))


def hold_out(
    contributions: list[FloatArray], confidence: float, rng: np.random.Generator
) -> tuple[float, FloatArray]:
    """Mean of what two halves say, each of what was found on the other, and its interval.

    Parameters
    ----------
    contributions : list of two ndarrays
        What every sample of a half adds to the mean.
    confidence : float
        Of the percentile bootstrap over samples.
    rng : numpy.random.Generator

    Returns
    -------
    mean : float
    interval : ndarray of shape (2,)
    """
    means = np.zeros(_N_BOOTSTRAP)
    for values in contributions:
        n_groups = min(len(values), _MAX_GROUPS)
        edges = np.linspace(0, len(values), n_groups + 1).astype(int)
        groups = np.add.reduceat(values, edges[:-1]) / np.diff(edges)
        draws = rng.integers(n_groups, size=(_N_BOOTSTRAP, n_groups))
        means += groups[draws].mean(axis=1) / len(contributions)
    tail = (1 - confidence) / 2
    mean = np.mean([values.mean() for values in contributions])
    return float(mean), np.quantile(means, [tail, 1 - tail])


def check_confidence(confidence: float, name: str = "confidence") -> float:
    """A confidence as a float between 0 and 1."""
    confidence = check_number(name, confidence)
    if not 0 < confidence < 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {confidence!r}.")
    return confidence
