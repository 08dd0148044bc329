"""Checks of parameters; every error names the parameter."""

import math
import sys
from numbers import Integral, Real
from typing import Any, Protocol

import numpy as np

# Largest entries whose squares, and sums of them, stay within the range of the dtype.
_LIMITS = {"float32": (1e-15, 1e15), "float64": (1e-60, 1e60)}


class Numbers(Protocol):
    """An array, or samples that are read in blocks: all that a range check asks for."""

    @property
    def dtype(self) -> Any: ...

    def min(self) -> Any: ...

    def max(self) -> Any: ...


def check_integer(name, value, *, minimum, maximum=sys.maxsize):
    """The value as an int within bounds."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an int, got {value!r}.")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}.")
    if value > maximum:
        raise ValueError(f"{name} must be at most {maximum}, got {value}.")
    return int(value)


def check_shape(name, value):
    """An int or a sequence of ints, all positive, as a tuple."""
    try:
        sizes = tuple(value)
    except TypeError:
        sizes = (value,)
    if not sizes:
        raise ValueError(f"{name} must not be empty.")
    return tuple(check_integer(name, size, minimum=1) for size in sizes)


def real(name, value):
    """The value as a float, infinite if it is larger than any."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    try:
        return float(value)
    except OverflowError:  # an int, or a fraction
        return math.inf if value > 0 else -math.inf


def check_number(name, value):
    """The value as a finite float."""
    value = real(name, value)
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}.")
    return value


def check_positive(name, value, *, zero=False, infinite=False):
    """The value as a positive float; zero and infinity only where they are allowed."""
    value = real(name, value)
    enough = value > 0 or (zero and value == 0)
    if not enough or (np.isinf(value) and not infinite):
        bound = "at least 0" if zero else "positive"
        finite = "" if infinite else " and finite"
        raise ValueError(f"{name} must be {bound}{finite}, got {value!r}.")
    return value


def real_array(name, value, *, kinds="iuf", what="numbers"):
    """An array of a dtype of these kinds."""
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} must be an array of {what}: {error}") from error
    if array.dtype.kind not in kinds:
        raise TypeError(f"{name} must be an array of {what}, got {value!r}.")
    return array


def check_numbers(name, value):
    """Numbers as a float64 array of one axis, not empty."""
    array = np.atleast_1d(real_array(name, value))
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name} must be one-dimensional and not empty, got {value!r}.")
    return array.astype(np.float64)


def check_filter(name, value, shape):
    """A filter, given in window shape or flat, as a float64 copy in window shape."""
    array = real_array(name, value)
    if array.shape not in (shape, (np.prod(shape),)):
        raise ValueError(
            f"{name} must have the shape {shape} of the window, got {array.shape}."
        )
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be finite.")
    return array.astype(np.float64).reshape(shape)


def check_range(name: str, array: Numbers) -> None:
    """Raise ValueError unless squares of the entries are within the range of the dtype.

    Parameters
    ----------
    name : str
    array : ndarray or SampleBlocks
        Finite and not empty. All zeros are within the range.
    """
    smallest, largest = _LIMITS["float32" if array.dtype == np.float32 else "float64"]
    size = max(abs(float(array.min())), abs(float(array.max())))
    if size and not smallest <= size <= largest:
        raise ValueError(
            f"The largest entry of {name} is {size:.3g} in size, expected from "
            f"{smallest:g} to {largest:g}. Rescale {name}."
        )
