"""Samples that are not in memory: dask arrays, and arrays that are mapped to files."""

import warnings
from collections.abc import Callable, Iterable
from copy import copy
from functools import partial, wraps
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from skconvfilter.estimators.fitted_state import PREDICTION_ATTRIBUTES
from skconvfilter.model.blocks import SampleBlocks
from skconvfilter.model.containers import contents, is_dask
from skconvfilter.model.dask_blocks import DaskBlocks
from skconvfilter.model.forward import row_blocks

# How long to wait for a worker before saying so.
_SECONDS_FOR_WORKERS = 5
# Entries of a file that are read at a time for predictions.
_MAX_ELEMENTS = 2**20
# What predictions and features need; the rest of a fitted estimator need not be sent.
_NEEDED = PREDICTION_ATTRIBUTES | {"input_shape_", "estimator_", "grid_"}


def is_mapped(X: Any) -> bool:
    """Whether these are numbers in a file, which are never copied whole."""
    return isinstance(X, np.memmap) and X.ndim > 1 and X.size > 0 and X.dtype.kind in "fiub"


def sample_blocks(X: Any, dtype: np.dtype[Any], patch_dim: int) -> SampleBlocks:
    """The samples of a fit behind a dask array or a mapped one, read in this dtype."""
    if is_dask(X):
        _warn_without_workers()
        return DaskBlocks.of_array(X, dtype)
    return SampleBlocks.of_file(X, dtype, row_blocks(len(X), patch_dim))


def _warn_without_workers() -> None:
    """Warn of a cluster without workers, for which dask waits in silence."""
    import dask.base

    client = getattr(dask.base.get_scheduler(), "__self__", None)
    if client is None:  # no cluster
        return
    try:
        client.wait_for_workers(1, timeout=_SECONDS_FOR_WORKERS)
    except TimeoutError:
        warnings.warn(
            "The dask cluster has no workers. The fit waits for one; to limit the wait, "
            "start the cluster with the setting distributed.scheduler.no-workers-timeout "
            "of dask.",
            UserWarning,
            stacklevel=2,
        )


def check_chunks(X: Any, *, sizes_known: bool = True) -> None:
    """Refuse what is no dask array of samples, each in one chunk.

    Raises
    ------
    TypeError, ValueError
        Naming the remedy.
    """
    # A delayed object has any attribute, but delayed.
    if not isinstance(getattr(X, "chunks", None), tuple):
        raise TypeError(
            "X is a dask collection, but not a dask array: pass "
            "X.to_dask_array(lengths=True) if X is a dask DataFrame, or X.compute() if it "
            "fits into memory."
        )
    if X.dtype.kind not in "fiub":
        raise ValueError(f"X must hold real numbers, got a dask array of dtype {X.dtype}.")
    if X.ndim < 2:
        raise ValueError(f"Expected 2D array, got a dask array X of shape {X.shape}.")
    if np.isnan(X.shape[1:]).any() or (sizes_known and np.isnan(X.shape[0])):
        raise ValueError(
            "The chunks of the dask array X have unknown sizes: call "
            "X.compute_chunk_sizes() first."
        )
    if any(len(chunks) > 1 for chunks in X.chunks[1:]):
        axes = ", ".join(f"{axis}: -1" for axis in range(1, X.ndim))
        raise ValueError(
            f"The dask array X is chunked along its features, into {X.numblocks} chunks, "
            f"but each sample must be in one chunk: pass X.rechunk({{{axes}}})."
        )
    if 0 in X.shape:
        raise ValueError(
            f"X has shape {X.shape}: at least one sample and one feature are needed "
            "(0 sample(s) or 0 feature(s) found)."
        )


def load_columns(**arrays: Any) -> Iterable[Any]:
    """Small arrays in memory: those that are dask arrays are computed, at once.

    Parameters
    ----------
    **arrays : array-like or None
        By name, for errors.

    Raises
    ------
    ValueError
        For dask arrays of more than one axis, which may be large.
    """
    arrays = {name: contents(array, name) for name, array in arrays.items()}
    lazy = {name: array for name, array in arrays.items() if is_dask(array)}
    for name, array in lazy.items():
        shape = getattr(array, "shape", None)
        if not isinstance(shape, tuple) or len(shape) != 1:
            raise ValueError(f"{name} must be a 1d array, got {array!r}.")
    if lazy:
        import dask.base

        arrays |= zip(lazy, dask.base.compute(*lazy.values()), strict=True)
    return arrays.values()


def refuse_mini_batches(samples: Any, batch_size: int, remedies: str) -> None:
    """Refuse random samples where every one of them would be read with its block.

    Raises
    ------
    ValueError
        Naming the remedies.
    """
    few = isinstance(samples, DaskBlocks) and len(samples) >= 2 * batch_size
    if few:
        raise ValueError(
            "solver='sgd' draws mini-batches from all samples, which is impossible for a "
            f"dask array: use {remedies}, or solver='levenberg-marquardt', or pass one "
            "block after the other to partial_fit."
        )


Method = TypeVar("Method", bound=Callable[..., Any])


def in_blocks(method: Method) -> Method:
    """Let a method of `X` alone, one row in and one row out, run on blocks of rows.

    On a dask array it is lazy: the result is a dask array. From a file as many rows are
    read at a time as take little memory.
    """

    @wraps(method)
    def run(self: Any, X: Any) -> Any:
        X = contents(X, "X")
        if is_dask(X):
            check_chunks(X, sizes_known=False)
            # Checks what can be checked at once, and shows what will come out.
            row = method(self, np.zeros((1, *X.shape[1:]), X.dtype))
            return X.map_blocks(
                partial(_of_block, method, _strip_for_predict(self), row[:0]),
                chunks=(X.chunks[0], *((size,) for size in row.shape[1:])),
                drop_axis=list(range(1, X.ndim)),
                new_axis=list(range(1, row.ndim)),
                meta=row[:0],
            )
        if is_mapped(X):
            n_rows = max(1, _MAX_ELEMENTS // (X.size // len(X)))
            starts = range(0, len(X), n_rows)
            parts = [method(self, np.asarray(X[i : i + n_rows])) for i in starts]
            return np.concatenate(parts)
        return method(self, X)

    return cast(Method, run)  # it has the signature of the method


def _of_block(
    method: Callable[..., Any], estimator: Any, empty: NDArray[Any], block: Any
) -> NDArray[Any]:
    return method(estimator, block) if len(block) else empty


def _strip_for_predict(estimator: Any) -> Any:
    """A copy with nothing but parameters and what predictions need."""
    light = copy(estimator)
    for name in list(vars(light)):
        if name == "_stream" or (name.endswith("_") and name not in _NEEDED):
            delattr(light, name)
    if hasattr(light, "estimator_"):
        light.estimator_ = _strip_for_predict(light.estimator_)
    return light
