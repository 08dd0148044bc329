"""Samples in the chunks of a Dask array: the work goes to them, and sums come back."""

from collections.abc import Callable, Iterable
from typing import Any, Self

import numpy as np

from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.blocks import Block, Inspection, SampleBlocks, T, apply
from skconvfilter.model.forward import MapBlocks
from skconvfilter.model.process_state import SharedContext

# Results that are merged at a time, on the workers. The tree, and so the rounding of the
# sum, depends on the number of chunks alone.
_FAN_IN = 8
# Of more chunks than these, small ones are merged to blocks of so many entries.
_MANY_CHUNKS, _BLOCK_ELEMENTS = 64, 2**18


class DaskBlocks(SampleBlocks):
    """Samples whose sources are delayed chunks.

    Chunks are computed anew in every pass, unless the user has persisted the array. What
    goes to the workers is the function, what comes back its results.
    """

    random_access = False

    @classmethod
    def of_array(cls, array: Any, dtype: np.dtype[Any]) -> Self:
        """Samples behind a Dask array of known chunks, along its first axis only.

        Blocks are known by the numbers of their first chunks.
        """
        groups = _groups(array)
        firsts = [0, *np.cumsum([len(group) for group in groups])]
        if len(groups) < array.numblocks[0]:
            array = array.rechunk({0: tuple(sum(group) for group in groups)})
        chunks = zip(firsts, _delayed_chunks(array), array.chunks[0], strict=False)
        blocks = [
            Block(int(first), chunk, None, int(n_rows))
            for first, chunk, n_rows in chunks
            if n_rows > 0
        ]
        return cls(blocks, array.shape[1:], dtype)

    def split(self, *columns: FloatArray | None) -> Any:
        """As in memory; a part is sent once, and sent again if its worker is lost."""
        keep = _delayed(_part)
        parts = [keep(*part) for part in super().split(*columns)]
        with _large_graphs.held():
            return _dask().persist(*parts)

    def each(
        self, function: Callable[..., T], parts: Any, map_blocks: MapBlocks = map
    ) -> Iterable[T]:
        """As in memory, but all at once."""
        return _compute(self._tasks(function, parts))

    def reduce(
        self,
        function: Callable[..., T],
        merge: Callable[[Iterable[T]], T],
        parts: Any,
        map_blocks: MapBlocks = map,
    ) -> T:
        """As in memory, in a tree."""
        merge = _delayed(merge)
        results = self._tasks(function, parts)
        while len(results) > 1:
            groups = range(0, len(results), _FAN_IN)
            results = [merge(results[i : i + _FAN_IN]) for i in groups]
        return _compute(results)[0]

    def _tasks(self, function: Callable[..., T], parts: Any) -> list[Any]:
        # As a task of its own, it is sent once and not with every chunk.
        function = _delayed(function)
        task = _delayed(_apply)
        return [
            task(function, self.dtype, block.source, part, block.number, self._shape)
            for block, part in zip(self._blocks, parts, strict=True)
        ]

    def _inspected(self, inspect: Callable[[Any, int], Inspection]) -> Iterable[Inspection]:
        task = _delayed(inspect)
        return _compute([task(block.source, block.n_rows) for block in self._blocks])


def _groups(array: Any) -> list[list[int]]:
    """The sizes of consecutive chunks that make a block: one, unless there are many small.

    A chunk costs a millisecond in every pass, whatever its size.
    """
    chunks = [int(n_rows) for n_rows in array.chunks[0]]
    if len(chunks) <= _MANY_CHUNKS:
        return [[n_rows] for n_rows in chunks]
    most = max(1, _BLOCK_ELEMENTS // max(1, int(np.prod(array.shape[1:]))))
    groups: list[list[int]] = []
    for n_rows in chunks:
        if groups and sum(groups[-1]) + n_rows <= most:
            groups[-1].append(n_rows)
        else:
            groups.append([n_rows])
    return groups


def _delayed_chunks(array: Any) -> list[Any]:
    """The chunks, each with the part of the optimized graph that makes it."""
    from dask.delayed import Delayed
    from dask.optimization import cull

    (array,) = _dask().optimize(array)
    graph = dict(array.__dask_graph__())
    keys = _flat(array.__dask_keys__())
    return [Delayed(key, cull(graph, [key])[0]) for key in keys]


def _flat(keys: Any) -> list[Any]:
    """Keys in nested lists, one level for each axis."""
    return (
        [key for part in keys for key in _flat(part)] if isinstance(keys, list) else [keys]
    )


def _compute(tasks: list[Any]) -> Any:
    # The graphs of the chunks are optimized; to do it again takes as long as a pass.
    return _dask().compute(*tasks, optimize_graph=False)


def _apply(
    function: Callable[..., T],
    dtype: np.dtype[Any],
    source: Any,
    part: Any,
    number: int,
    shape: tuple[int, ...],
) -> T:
    """What the function returns for a block that is still what the first pass has seen."""
    rows, *columns = part
    if rows is None:
        n_rows = next(
            (len(column) for column in columns if column is not None), len(source)
        )
        same = len(source) == n_rows
    else:
        same = not len(rows) or rows[-1] < len(source)
    if not (
        same and source.shape[1:] == shape and np.isfinite(np.sum(source, dtype=float))
    ):
        raise ValueError(
            f"Input X has changed in block {number} since it was checked: other shapes, or "
            "numbers that are not finite. A fit reads X several times: pass X.persist(), "
            "or store X in a file first."
        )
    return apply(function, dtype, source, part)


def _dask() -> Any:
    """The package, which is an optional extra."""
    import dask

    return dask


def _allow_large_graphs() -> Any:
    # Dask warns of large graphs, as they are mistakes where they are sent repeatedly.
    return _dask().config.set({"distributed.admin.large-graph-warning-threshold": 2**62})


_large_graphs = SharedContext(_allow_large_graphs)


def _delayed(function: Callable[..., Any]) -> Any:
    return _dask().delayed(function, pure=False)


def _part(*part: Any) -> tuple[Any, ...]:
    return part
