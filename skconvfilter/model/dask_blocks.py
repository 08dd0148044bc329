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


class DaskBlocks(SampleBlocks):
    """Samples whose sources are delayed chunks.

    Chunks are computed anew in every pass, unless the user has persisted the array. What
    goes to the workers is the function, what comes back its results.
    """

    random_access = False

    @classmethod
    def of_array(cls, array: Any, dtype: np.dtype[Any]) -> Self:
        """Samples behind a Dask array of known chunks, along its first axis only."""
        chunks = zip(
            array.to_delayed(optimize_graph=True).ravel(), array.chunks[0], strict=True
        )
        blocks = [
            Block(i, chunk, None, int(n_rows))
            for i, (chunk, n_rows) in enumerate(chunks)
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
        return _dask().compute(*self._tasks(function, parts))

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
        return _dask().compute(*results)[0]

    def _tasks(self, function: Callable[..., T], parts: Any) -> list[Any]:
        # As a task of its own, it is sent once and not with every chunk.
        function = _delayed(function)
        task = _delayed(apply)
        return [
            task(function, self.dtype, block.source, part)
            for block, part in zip(self._blocks, parts, strict=True)
        ]

    def _inspected(self, inspect: Callable[[Any, int], Inspection]) -> Iterable[Inspection]:
        task = _delayed(inspect)
        return _dask().compute(
            *[task(block.source, block.n_rows) for block in self._blocks]
        )


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
