"""Checks of parameters; every error names the parameter."""

import sys
from numbers import Integral, Real
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Dtype: TypeAlias = Literal["float32", "float64"]

# Sizes of the largest entry for which products of squares are within the dtype's range.
_LIMITS = {"float32": (1e-15, 1e15), "float64": (1e-60, 1e60)}


class Numbers(Protocol):
    """An array, or samples that are read in blocks: all that a range check asks for."""

    @property
    def dtype(self) -> Any: ...

    def min(self) -> Any: ...

    def max(self) -> Any: ...


def check_integer(
    name: str, value: Any, *, minimum: int, maximum: int = sys.maxsize
) -> int:
    """The value as an int within bounds."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an int, got {value!r}.")
    number = int(value)
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {number}.")
    if number > maximum:
        raise ValueError(f"{name} must be at most {maximum}, got {number}.")
    return number


def check_shape(name: str, value: Any) -> tuple[int, ...]:
    """An int or a sequence of ints, all positive, as a tuple."""
    try:
        sizes = tuple(value)
    except TypeError:
        sizes = (value,)
    if not sizes:
        raise ValueError(f"{name} must not be empty.")
    return tuple(check_integer(name, size, minimum=1) for size in sizes)


def real(name: str, value: Any) -> float:
    """The value as a float."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r}.")
    return float(value)


def check_number(name: str, value: Any) -> float:
    """The value as a finite float."""
    value = real(name, value)
    if not np.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value!r}.")
    return value


def check_positive(
    name: str, value: Any, *, zero: bool = False, infinite: bool = False
) -> float:
    """The value as a positive float; zero and infinity only where they are allowed."""
    value = real(name, value)
    enough = value > 0 or (zero and value == 0)
    if not enough or (np.isinf(value) and not infinite):
        bound = "at least 0" if zero else "positive"
        finite = "" if infinite else " and finite"
        raise ValueError(f"{name} must be {bound}{finite}, got {value!r}.")
    return value


def real_array(
    name: str, value: ArrayLike, *, kinds: str = "iuf", what: str = "numbers"
) -> NDArray[Any]:
    """An array of a dtype of these kinds."""
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} must be an array of {what}: {error}") from error
    if array.dtype.kind not in kinds:
        raise TypeError(f"{name} must be an array of {what}, got {value!r}.")
    return array


def check_numbers(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """Numbers as a float64 array of one axis, not empty."""
    array = np.atleast_1d(real_array(name, value))
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name} must be one-dimensional and not empty, got {value!r}.")
    return array.astype(np.float64)


def check_filter(
    name: str, value: ArrayLike, shape: tuple[int, ...]
) -> NDArray[np.float64]:
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
    dtype: Dtype = "float32" if array.dtype == np.float32 else "float64"
    if not is_in_range(array, dtype):
        smallest, largest = _LIMITS[dtype]
        raise ValueError(
            f"The largest entry of {name} is {_size(array):.3g} in size, expected from "
            f"{smallest:g} to {largest:g}. Rescale {name}."
        )


def is_in_range(array: Numbers, dtype: Dtype) -> bool:
    """Whether squares of finite entries are within the range of a dtype, or all are 0."""
    smallest, largest = _LIMITS[dtype]
    size = _size(array)
    return size == 0 or smallest <= size <= largest


def _size(array: Numbers) -> float:
    return max(abs(float(array.min())), abs(float(array.max())))
