"""Samples that are read a block at a time and never held whole: from a file, or by Dask."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.forward import MapBlocks

T = TypeVar("T")


class Block(NamedTuple):
    """Some rows of a source: an array, or a delayed one."""

    number: int  # what the user knows it by
    source: Any
    rows: NDArray[np.intp] | None  # increasing; None: all
    n_rows: int


# Smallest and largest entry of a source, and what is wrong with it, if anything.
Inspection: TypeAlias = tuple[float, float, str | None]


class SampleBlocks:
    """Samples behind some sources: read, cast and flattened whenever a block is used.

    An objective takes it in place of an array of shape (n_samples, n_features), and is
    then the sum of the objectives on the blocks. An index selects rows without reading
    them; ``numpy.asarray`` reads them all.

    Parameters
    ----------
    blocks : list of Block
        In the order of the samples, none of them empty.
    shape : tuple of int
        Shape of a sample in the sources.
    dtype : dtype
        In which samples are read, float32 or float64.

    Attributes
    ----------
    random_access : bool
        Whether reading a few rows costs no more than these rows, not their whole blocks.
    """

    random_access = True

    @classmethod
    def of_file(cls, array: NDArray[Any], dtype: np.dtype[Any], rows: list[slice]) -> Self:
        """Samples behind an array that is mapped to a file.

        Parameters
        ----------
        array : ndarray of shape (n_samples, ...)
        dtype : dtype
            In which they are to be read, float32 or float64.
        rows : list of slice
            Consecutive ones, that are read at a time.
        """
        views = [array[part] for part in rows]
        blocks = [Block(i, view, None, len(view)) for i, view in enumerate(views)]
        return cls(blocks, array.shape[1:], dtype)

    def __init__(
        self, blocks: list[Block], shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self._blocks = blocks
        self._shape = shape
        self.dtype = dtype
        self._stops = np.cumsum([block.n_rows for block in blocks])
        self._whole: SampleBlocks = self

    def __len__(self) -> int:
        return int(self._stops[-1])

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of samples and of features."""
        return len(self), int(np.prod(self._shape))

    def min(self) -> float:
        """Smallest entry of all sources."""
        return self._whole._extremes[0]

    def max(self) -> float:
        """Largest entry of all sources."""
        return self._whole._extremes[1]

    def __getitem__(self, rows: slice | NDArray[Any]) -> Self:
        """Some of the rows: a slice, a mask, or increasing indices."""
        rows = np.arange(len(self))[rows]
        if np.any(rows[1:] < rows[:-1]):
            raise IndexError("rows must be in increasing order.")
        places, starts = np.unique(
            np.searchsorted(self._stops, rows, side="right"), return_index=True
        )
        parts = np.split(rows, starts[1:]) if len(starts) else []
        blocks = []
        for place, part in zip(places, parts, strict=True):
            block = self._blocks[place]
            local = part - (self._stops[place] - block.n_rows)
            if block.rows is not None:
                local = block.rows[local]
            blocks.append(block._replace(rows=local, n_rows=len(local)))
        selected = type(self)(blocks, self._shape, self.dtype)
        selected._whole = self._whole
        return selected

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> FloatArray:
        samples = np.concatenate(list(self.each(_itself, self.split())))
        return samples if dtype is None else samples.astype(dtype, copy=False)

    def split(self, *columns: FloatArray | None) -> list[Any]:
        """The entries of columns, (n_samples,) or None, that belong to each block.

        Returns
        -------
        parts : list
            What :meth:`each` and :meth:`reduce` take, already where the samples are.
        """
        starts = self._stops - [block.n_rows for block in self._blocks]
        return [
            (block.rows, *(None if c is None else c[start:stop] for c in columns))
            for block, start, stop in zip(self._blocks, starts, self._stops, strict=True)
        ]

    def each(
        self, function: Callable[..., T], parts: Any, map_blocks: MapBlocks = map
    ) -> Iterable[T]:
        """Yield ``function(samples, *columns)`` of every block, in order.

        Parameters
        ----------
        function : callable
        parts : list
            What :meth:`split` returned.
        map_blocks : callable, default=map
            Threads, for blocks that are read here.
        """

        def of_block(task: tuple[Any, Any]) -> T:
            source, part = task
            return apply(function, self.dtype, source, part)

        sources = [block.source for block in self._blocks]
        return map_blocks(of_block, list(zip(sources, parts, strict=True)))

    def reduce(
        self,
        function: Callable[..., T],
        merge: Callable[[Iterable[T]], T],
        parts: Any,
        map_blocks: MapBlocks = map,
    ) -> T:
        """Merge ``function(samples, *columns)`` of all blocks, in their order.

        ``merge`` takes results of consecutive blocks as an iterable, and returns another.
        """
        return merge(self.each(function, parts, map_blocks))

    @functools.cached_property
    def _extremes(self) -> tuple[float, float]:
        """Smallest and largest entry; the first pass over the samples, which checks them.

        Raises
        ------
        ValueError
            For blocks that are not what was announced, and numbers that are not finite.
        """
        inspect = functools.partial(_inspect, self._shape)
        found = list(self._inspected(inspect))
        for block, stop, (_, _, problem) in zip(
            self._blocks, self._stops, found, strict=True
        ):
            if problem is not None:
                raise ValueError(
                    f"Input X {problem} in block {block.number}, "
                    f"rows {stop - block.n_rows} to {stop - 1}."
                )
        low, high, _ = zip(*found, strict=True)
        return min(low), max(high)

    def _inspected(self, inspect: Callable[[Any, int], Inspection]) -> Iterable[Inspection]:
        """The results of ``inspect(source, n_rows)`` for every block."""
        return [inspect(block.source, block.n_rows) for block in self._blocks]


def apply(function: Callable[..., T], dtype: np.dtype[Any], source: Any, part: Any) -> T:
    """What the function returns for the samples (n_rows, n_features) of one block."""
    rows, *columns = part
    samples = np.asarray(source if rows is None else source[rows])
    samples = np.ascontiguousarray(samples.reshape(len(samples), -1), dtype=dtype)
    return function(samples, *columns)


def _itself(samples: FloatArray) -> FloatArray:
    return samples


def _inspect(shape: tuple[int, ...], source: Any, n_rows: int) -> Inspection:
    """Smallest and largest entry of a source, and what is wrong with it, if anything."""
    if not isinstance(source, np.ndarray) or np.ma.isMaskedArray(source):
        return 0.0, 0.0, f"holds a {type(source).__name__} in place of an array"
    if source.dtype.kind not in "fiub":
        return 0.0, 0.0, f"holds {source.dtype} in place of real numbers"
    if source.shape != (n_rows, *shape):
        announced = (n_rows, *shape)
        return 0.0, 0.0, f"has shape {source.shape} where {announced} was announced"
    low, high = float(source.min()), float(source.max())
    if not np.isfinite([low, high]).all():
        return 0.0, 0.0, f"contains {'NaN' if np.isnan(low) else 'infinity'}"
    return low, high, None
