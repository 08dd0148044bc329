"""What users pass as arrays: the numbers inside, and refusals of what holds none."""

import datetime
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DATES = (np.datetime64, np.timedelta64, datetime.date, datetime.timedelta)


def is_dask(array: object) -> bool:
    """Whether this is a dask collection, of any kind."""
    graph = getattr(array, "__dask_graph__", None)
    if not callable(graph):
        return False
    # Other containers have the method, too, and then nothing to show if they hold no dask
    # collection. To make the graph of a dask data frame takes long.
    return _library(array) == "dask" or graph() is not None


def contents(array: Any, name: str) -> Any:
    """The array, data frame or dask collection that an argument is or holds.

    Lists become arrays, tensors of PyTorch their values on the CPU, and arrays of xarray
    what they are made of.

    Parameters
    ----------
    array : object
    name : str
        Of the argument, for errors.

    Raises
    ------
    TypeError, ValueError
        For what holds no numbers, or would lose their meaning, with the remedy.
    """
    library = _library(array)
    if library == "xarray":
        if not hasattr(array, "data"):
            raise TypeError(
                f"{name} is a {type(array).__name__} of xarray: pass one of its arrays, "
                f'{name}["..."], with the samples along the first axis.'
            )
        array = array.data
        library = _library(array)
    if library == "torch":
        array = array.detach().cpu()
        # NumPy has no bfloat16.
        array = (array.double() if "bfloat16" in str(array.dtype) else array).numpy()
    elif library == "pint":
        raise TypeError(
            f"{name} is a quantity of pint: pass its numbers, {name}.magnitude."
        )
    elif library == "polars" and hasattr(array, "collect"):
        raise TypeError(f"{name} is a LazyFrame of polars: pass {name}.collect().")
    elif isinstance(array, list | tuple):
        array = _as_array(array, name)
    if not is_dask(array):
        _refuse_what_is_no_number(array, name)
    return array


def float_dtype(array: Any) -> np.dtype[Any]:
    """In which dtype to compute: float32 if all is in single precision, else float64."""
    dtypes = _dtypes(array)
    single = dtypes and all(_is_single(dtype) for dtype in dtypes)
    return np.dtype(np.float32 if single else np.float64)


def _library(array: object) -> str:
    return type(array).__module__.partition(".")[0]


def _as_array(sequence: Any, name: str) -> NDArray[Any]:
    if _library(next(iter(sequence), None)) == "torch":
        sequence = [contents(row, name) for row in sequence]
    try:
        array = np.asarray(sequence)
    except ValueError:
        raise _different_lengths(name) from None
    return array


def _different_lengths(name: str) -> ValueError:
    return ValueError(
        f"{name} is inhomogeneous: its rows have different lengths. Pad them to one "
        "length; 'Samples of different lengths' in the user guide shows how."
    )


def _dtypes(array: Any) -> list[Any]:
    """Those of the columns of a data frame, or that of an array."""
    if _library(array) == "pyarrow":
        types = array.schema.types if hasattr(array, "schema") else [array.type]
        return [np.dtype(found.to_pandas_dtype()) for found in types]
    found = getattr(array, "dtypes", None)
    if found is None:
        found = getattr(array, "dtype", None)
    if found is None:
        return []
    return list(found) if isinstance(found, Iterable) else [found]


def _is_single(dtype: Any) -> bool:
    # The dtypes of pandas that are not NumPy's know what comes closest.
    dtype = getattr(dtype, "numpy_dtype", dtype)
    if isinstance(dtype, np.dtype):
        return dtype.kind == "f" and dtype.itemsize == 4
    return str(dtype) == "Float32"


def _refuse_what_is_no_number(array: Any, name: str) -> None:
    for dtype in _dtypes(array):
        kind = getattr(dtype, "kind", None)
        temporal = getattr(dtype, "is_temporal", None)
        if kind in ("M", "m") or (callable(temporal) and temporal()):
            raise _dates(name)
        if kind == "V" and isinstance(array, np.ndarray):
            raise TypeError(
                f"{name} has the dtype {dtype}, which is not numeric: pass the fields of a "
                f"structured array as columns, or {name}.astype(float)."
            )
    if isinstance(array, np.ndarray) and array.dtype.kind == "O":
        if any(issubclass(found, _DATES) for found in set(map(type, array.flat))):
            raise _dates(name)
        if array.ndim == 1 and array.size and np.ndim(array[0]) > 0:
            raise _different_lengths(name)


def _dates(name: str) -> TypeError:
    return TypeError(
        f"{name} holds dates or durations, which are no numbers, and have no unit of their "
        "own. Convert durations to numbers: durations / numpy.timedelta64(1, 's'), or with "
        "pandas .dt.total_seconds(). Subtract a reference from dates first."
    )
