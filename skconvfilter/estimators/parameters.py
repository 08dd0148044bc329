"""Checks of constructor parameters: errors name the parameter and what it should be."""

from numbers import Integral, Real

import numpy as np


def check_integer(name, value, *, minimum):
    """Return `value` as an int that is at least `minimum`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an int, got {value!r}.")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}.")
    return int(value)


def check_real(name, value, *, low, high=np.inf, open_low=False):
    """Return `value` as a finite float of [low, high), or (low, high) if `open_low`."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    inside = (low < value if open_low else low <= value) and value < high
    if not (np.isfinite(value) and inside):
        bracket = "(" if open_low else "["
        raise ValueError(f"{name} must be in {bracket}{low}, {high}), got {value}.")
    return float(value)


def check_boolean(name, value):
    """Return `value` as a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}.")
    return bool(value)


def check_option(name, value, options):
    """Return `value` if it is one of the options."""
    for option in options:
        if isinstance(value, type(option)) and value == option:
            return option
    listed = ", ".join(repr(option) for option in options)
    raise ValueError(f"{name} must be one of {listed}, got {value!r}.")


def is_option(value, option):
    """Whether `value` is the string `option`; arrays and numbers are not."""
    return isinstance(value, str) and value == option
