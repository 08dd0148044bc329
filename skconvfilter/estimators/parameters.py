"""Checks of constructor parameters: errors name the parameter and what it should be."""

from numbers import Integral

import numpy as np

from skconvfilter.model.validation import check_integer, real

# A number of restarts or filters beyond this one is a mistake, which would fill the memory.
_LARGEST_COUNT = 10**6


def check_count(name, value):
    """Return `value` as an int from 1 to a million."""
    return check_integer(name, value, minimum=1, maximum=_LARGEST_COUNT)


def check_real(name, value, *, low, high=np.inf, open_low=False):
    """Return `value` as a finite float of [low, high), or (low, high) if `open_low`."""
    value = real(name, value)
    inside = (low < value if open_low else low <= value) and value < high
    if not (np.isfinite(value) and inside):
        bracket = "(" if open_low else "["
        raise ValueError(f"{name} must be in {bracket}{low}, {high}), got {value}.")
    return value


def check_boolean(name, value):
    """Return `value` as a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}.")
    return bool(value)


def check_option(name, value, options):
    """Return `value` if it is one of the options."""
    for option in options:
        if isinstance(option, str) and is_option(value, option):
            return option
        if isinstance(value, Integral) and not isinstance(value, bool) and value == option:
            return option
    listed = ", ".join(repr(option) for option in options)
    raise ValueError(f"{name} must be one of {listed}, got {value!r}.")


def check_filters(init):
    """Return starts as float64 filters of shape (n_init, patch_dim)."""
    expected = (
        "init must be 'ball', a callable, or filters of shape (patch_dim,) or "
        "(n_init, patch_dim)"
    )
    try:
        filters = np.asarray(init)
        if filters.dtype.kind not in "fiu":
            raise TypeError
    except (TypeError, ValueError):
        raise TypeError(f"{expected}; got {init!r}, which holds no real numbers.") from None
    filters = np.atleast_2d(filters).astype(np.float64)
    if filters.ndim != 2 or filters.size == 0:
        raise ValueError(f"{expected}; got shape {np.shape(init)}.")
    if not np.isfinite(filters).all():
        raise ValueError("init contains NaN or infinity.")
    return filters


def check_auto_or_integer(name, value, minimum):
    """Return "auto", or `value` as an int that is at least `minimum`."""
    if is_option(value, "auto"):
        return value
    return check_integer(name, value, minimum=minimum)


def check_rate(name, rate):
    """Return "auto", or a positive rate as a float."""
    if is_option(rate, "auto"):
        return rate
    return check_real(name, rate, low=0.0, open_low=True)


def check_jobs(n_jobs):
    """Refuse what cannot be a number of threads."""
    if n_jobs is None:
        return
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral):
        raise TypeError(f"n_jobs must be None or an int, got {n_jobs!r}.")
    if n_jobs == 0:
        raise ValueError("n_jobs must not be 0: use 1, or -1 for all processors.")


def check_verbose(verbose):
    """Refuse what is neither a bool nor an int of at least 0."""
    if not isinstance(verbose, bool | np.bool_):
        check_integer("verbose", verbose, minimum=0)


def is_option(value, option):
    """Whether `value` is the string `option`; arrays and numbers are not."""
    return isinstance(value, str) and value == option
