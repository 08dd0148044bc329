"""Threads over blocks of samples."""

from contextlib import contextmanager

from joblib import Parallel, delayed, effective_n_jobs


@contextmanager
def block_mapper(n_jobs):
    """A ``map`` that runs in `n_jobs` threads and yields the results in order.

    The blocks do not depend on the number of threads and are merged in their order, so
    neither does the result.
    """
    if effective_n_jobs(n_jobs) == 1:
        yield map
        return
    with Parallel(n_jobs, require="sharedmem", return_as="generator") as parallel:

        def map_blocks(function, blocks):
            if len(blocks) == 1:
                return map(function, blocks)
            return parallel(delayed(function)(block) for block in blocks)

        yield map_blocks
