"""Displays of filters, convergence and the theory, following scikit-learn's conventions."""

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
