"""Angles between filters."""

import numpy as np


def angles_to(w, filters):
    """Angles in radians, from 0 to pi, of filters (..., p) to one (p,); NaN for zeros."""
    with np.errstate(divide="ignore", invalid="ignore"):
        units = filters / np.linalg.norm(filters, axis=-1, keepdims=True)
        unit = w / np.linalg.norm(w)
    apart = np.linalg.norm(units - unit, axis=-1)
    # Unlike the arc cosine it keeps its precision near 0 and pi.
    return 2 * np.arctan2(apart, np.linalg.norm(units + unit, axis=-1))
