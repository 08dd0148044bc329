"""Displays in scikit-learn's way: filters, how they were learned, what theory says."""

from skconvfilter.plotting.convergence import ConvergenceDisplay
from skconvfilter.plotting.filters import FilterDisplay
from skconvfilter.plotting.interpolation import InterpolationDisplay
from skconvfilter.plotting.smoothness import SmoothnessDisplay

__all__ = [
    "ConvergenceDisplay",
    "FilterDisplay",
    "InterpolationDisplay",
    "SmoothnessDisplay",
]
