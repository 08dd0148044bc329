"""Samples in the chunks of a Dask array: the work goes to them, and sums come back."""

from skconvfilter.model.blocks import Block, Reader, SampleBlocks, apply

# Results that are merged at a time, on the workers. The tree follows from the number of
# chunks alone: so does the sum, and whoever asks for it gets one result.
_FAN_IN = 8


class DaskBlocks(SampleBlocks):
    """Samples whose sources are delayed chunks.

    Chunks are computed anew in every pass, unless the user has persisted the array. What
    goes to the workers is the function, what comes back its results.
    """

    random_access = False

    @classmethod
    def of_array(cls, array, dtype):
        """Samples behind a Dask array of known chunks, along its first axis only."""
        chunks = zip(
            array.to_delayed(optimize_graph=True).ravel(), array.chunks[0], strict=True
        )
        blocks = [
            Block(i, chunk, None, int(n_rows))
            for i, (chunk, n_rows) in enumerate(chunks)
            if n_rows > 0
        ]
        return cls(blocks, array.shape[1:], Reader(dtype))

    def split(self, *columns):
        """As in memory; a part is sent once, and sent again if its worker is lost."""
        import dask

        keep = dask.delayed(_part, pure=False)
        parts = [keep(*part) for part in super().split(*columns)]
        # Dask warns of large graphs, as they are mistakes where they are sent repeatedly.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": 2**62}):
            return dask.persist(*parts)

    def each(self, function, parts, map_blocks=map):
        """As in memory, but all at once."""
        return _computed(self._tasks(function, parts))

    def reduce(self, function, merge, parts, map_blocks=map):
        """As in memory, in a tree."""
        import dask

        merge = dask.delayed(merge, pure=False)
        results = self._tasks(function, parts)
        while len(results) > 1:
            groups = range(0, len(results), _FAN_IN)
            results = [merge(results[i : i + _FAN_IN]) for i in groups]
        return _computed(results)[0]

    def _tasks(self, function, parts):
        import dask

        # As a task of its own, it is sent once and not with every chunk.
        function = dask.delayed(function, pure=False)
        task = dask.delayed(apply, pure=False)
        return [
            task(function, self._reader, block.source, part)
            for block, part in zip(self._blocks, parts, strict=True)
        ]

    def _inspected(self, inspect):
        import dask

        task = dask.delayed(inspect, pure=False)
        return _computed([task(block.source, block.n_rows) for block in self._blocks])


def _computed(tasks):
    import dask

    return dask.compute(*tasks)


def _part(*part):
    return part
