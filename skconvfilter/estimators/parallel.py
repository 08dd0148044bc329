"""Threads over blocks of samples: as many as `n_jobs` says, and no hidden ones."""

from contextlib import contextmanager
from functools import cache

from joblib import Parallel, delayed, effective_n_jobs
from threadpoolctl import ThreadpoolController

# Fewer blocks are done sooner than threads are set to work on them.
_MIN_BLOCKS = 3


@contextmanager
def block_mapper(n_jobs):
    """A ``map`` that runs in `n_jobs` threads and yields the results in order.

    The blocks do not depend on the number of threads and are merged in their order, so
    neither does the result. BLAS, whose products are small here, is held to the thread
    that calls it: threads of its own would contend with these, and sum in another order.
    """
    with _threadpools().limit(limits=1, user_api="blas"):
        if effective_n_jobs(n_jobs) == 1:
            yield map
            return
        with Parallel(n_jobs, require="sharedmem", return_as="generator") as parallel:

            def map_blocks(function, blocks):
                if len(blocks) < _MIN_BLOCKS:
                    return map(function, blocks)
                return parallel(delayed(function)(block) for block in blocks)

            yield map_blocks


@cache
def _threadpools():
    # To look for the libraries takes a millisecond, longer than a small prediction.
    return ThreadpoolController()
