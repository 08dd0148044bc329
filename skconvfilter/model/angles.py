"""Angles between filters."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skconvfilter.kernels.layout import FloatArray


def angles_to(w: FloatArray, filters: FloatArray) -> NDArray[np.floating[Any]]:
    """Angles in radians, from 0 to pi, of filters (..., p) to one (p,); NaN for zeros."""
    units, unit = _directions(filters), _directions(w)
    apart = np.linalg.norm(units - unit, axis=-1)
    # Unlike the arc cosine it keeps its precision near 0 and pi.
    return 2 * np.arctan2(apart, np.linalg.norm(units + unit, axis=-1))


def _directions(filters: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        # The squares of what remains do not overflow.
        filters = filters / np.abs(filters).max(axis=-1, keepdims=True)
        return filters / np.linalg.norm(filters, axis=-1, keepdims=True)
