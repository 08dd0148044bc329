"""Displays in scikit-learn's way: learned filters, and how they were learned."""

from skconvfilter.plotting.convergence import ConvergenceDisplay
from skconvfilter.plotting.filters import FilterDisplay
from skconvfilter.plotting.interpolation import InterpolationDisplay

__all__ = ["ConvergenceDisplay", "FilterDisplay", "InterpolationDisplay"]
