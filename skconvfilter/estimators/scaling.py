"""The units in which a fit is done: targets of unit size, samples within range."""

from typing import NamedTuple

import numpy as np

from skconvfilter.model.blocks import scaled

# Beyond these exponents squares, or the filters that answer them, leave the range of the
# dtype. Only then are the samples copied; a power of two keeps their digits.
_SAFE_EXPONENT = {np.dtype(np.float64): 160, np.dtype(np.float32): 40}
_HUGE = 1e200


class Scaling(NamedTuple):
    """From the user's units to those of a fit, and back."""

    sample_exponent: int  # samples are divided by 2**sample_exponent
    target_shift: float
    target_scale: float  # 0: the targets are constant
    # The model's values grow with this power of its filters; None: with none, so that the
    # targets keep their scale.
    homogeneity: float | None = 1

    @property
    def filter_scale(self):
        """What the filters of a fit, of samples in its units, are multiplied by."""
        if self.homogeneity is None:
            return 1.0
        return self.target_scale ** (1 / self.homogeneity)

    @classmethod
    def of(cls, samples, targets, weights, *, centre, homogeneity=1):
        """Scaling that brings these data to unit size."""
        exponent = int(np.frexp(max(samples.max(), -samples.min()))[1])
        if abs(exponent) <= _SAFE_EXPONENT[samples.dtype]:
            exponent = 0
        largest = np.abs(targets).max()
        if largest == 0:
            return cls(exponent, 0.0, float(homogeneity is None), homogeneity)
        relative = targets / largest
        shift = np.average(relative, weights=weights) if centre else 0.0
        deviation = np.sqrt(np.average((relative - shift) ** 2, weights=weights))
        if deviation <= np.finfo(float).eps:
            deviation = 0.0
        scale = 1.0 if homogeneity is None else float(deviation * largest)
        return cls(exponent, float(shift * largest), scale, homogeneity)

    def samples(self, samples):
        """Samples in the units of the fit; the same array where it may be."""
        if self.sample_exponent == 0:
            return samples
        return scaled(samples, -self.sample_exponent)

    def targets(self, targets):
        """Targets in the units of the fit."""
        if self.target_scale == 0:
            return np.zeros_like(targets)
        shifted = targets - self.target_shift
        if np.abs(shifted).max() <= 4 * np.finfo(float).eps * abs(self.target_shift):
            return np.zeros_like(targets)
        return shifted / self.target_scale

    def penalty(self, alpha):
        """L2 penalty in the units of the fit."""
        # A penalty beyond all bounds makes the filter 0 as well as an infinite one.
        return float(min(_shift(alpha, -2 * self.sample_exponent, self._ratio()), _HUGE))

    def rate(self, rate):
        """Learning rate in the units of the fit."""
        return _shift(rate, 2 * self.sample_exponent, 1 / self._ratio())

    def outer_rate(self, rate):
        """Learning rate in the units of the user."""
        return _shift(rate, -2 * self.sample_exponent, self._ratio())

    def inner_filters(self, filters):
        """Filters in the units of the fit, 0 for constant targets."""
        if self.target_scale == 0:
            return np.zeros_like(filters)
        with np.errstate(over="ignore"):
            return _shift(filters / self.filter_scale, self.sample_exponent)

    def filters(self, filters):
        """Filters in the units of the user."""
        return _shift(filters, -self.sample_exponent, self.filter_scale)

    def intercept(self, intercept):
        """Intercept in the units of the user."""
        return self.target_shift + self.target_scale * intercept

    def losses(self, losses):
        """Losses in the units of the user."""
        with np.errstate(over="ignore", invalid="ignore"):
            return losses * np.square(np.float64(self.target_scale))

    def gradients(self, gradients):
        """Gradients in the units of the user."""
        factor = self.filter_scale / self._ratio()
        return _shift(gradients, self.sample_exponent, factor)

    def _ratio(self):
        """Of the squares of the scales of filters and targets; 1 for constant targets."""
        if self.target_scale == 0 or self.homogeneity == 1:
            return 1.0
        with np.errstate(over="ignore"):
            ratio = np.square(np.float64(self.filter_scale / self.target_scale))
        # Finite for the smallest of targets too, so that a penalty of 0 stays 0.
        return float(min(ratio, np.finfo(float).max))


def _shift(numbers, exponent, factor=1.0):
    """Multiply by 2**exponent and a factor; infinite beyond the range of numbers."""
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(numbers, exponent) * factor
