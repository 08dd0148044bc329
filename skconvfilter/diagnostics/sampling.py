"""What the estimates of the theory's quantities share: subsamples, halves, intervals."""

from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from skconvfilter.model.geometry import PatchGeometry
from skconvfilter.model.samples import check_any_samples, cut_into_patches
from skconvfilter.model.validation import check_filter, check_integer, check_number

# Samples that are looked at by default, and entries of their patches.
_MAX_SAMPLES, _MAX_ELEMENTS, _MIN_SAMPLES = 20_000, 2**23, 500
# Of many samples the bootstrap draws groups: their means have the same spread about the
# mean of all, and there are fewer to draw.
_N_BOOTSTRAP, _MAX_GROUPS = 200, 500
_SMALLEST, _LARGEST = 1e-60, 1e60


class Subsample(NamedTuple):
    """Random samples in random order, and the teacher they are seen from."""

    samples: np.ndarray  # (n_samples, n_features), float64
    geometry: PatchGeometry
    teacher: np.ndarray  # (patch_dim,)
    rng: np.random.Generator

    @classmethod
    def draw(cls, X, teacher, convolution, max_samples, random_state):
        """Check what a user passed, and draw.

        Raises
        ------
        TypeError, ValueError
            Naming the parameter that is wrong.
        """
        X = check_any_samples(X)
        check_range("X", X)
        if len(X) < 2:
            raise ValueError(
                "X has one sample (n_samples=1): estimates need two halves to hold one out."
            )
        _, geometry = cut_into_patches(X[:1], convolution)
        layout = geometry.layout
        teacher = check_filter("teacher", teacher, layout.window_shape).ravel()
        if not teacher.any():
            raise ValueError("teacher is zero: no filter makes an angle with it.")
        check_range("teacher", teacher)
        if max_samples is None:
            n_entries = layout.n_patches * layout.patch_dim
            max_samples = min(_MAX_SAMPLES, max(_MIN_SAMPLES, _MAX_ELEMENTS // n_entries))
        else:
            max_samples = check_integer("max_samples", max_samples, minimum=2)
        seeds = check_random_state(random_state).randint(2**31, size=4)
        rng = np.random.default_rng(seeds)
        rows = rng.permutation(len(X))[:max_samples]
        samples, geometry = cut_into_patches(X, convolution, rows)
        return cls(samples, geometry, teacher, rng)

    def halves(self):
        """The samples in two parts."""
        return np.array_split(self.samples, 2)


def hold_out(contributions, confidence, rng):
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
    return mean, np.quantile(means, [tail, 1 - tail])


def check_range(name, array):
    """Raise ValueError for sizes of which products of four leave the range of numbers."""
    largest = max(float(array.max()), -float(array.min()))
    if largest != 0 and not _SMALLEST < largest < _LARGEST:
        raise ValueError(
            f"The largest entry of {name} is {largest:.0e} in size, expected from "
            f"{_SMALLEST:.0e} to {_LARGEST:.0e}. Rescale {name}."
        )


def check_confidence(confidence):
    """A confidence as a float between 0 and 1."""
    confidence = check_number("confidence", confidence)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence!r}.")
    return confidence
