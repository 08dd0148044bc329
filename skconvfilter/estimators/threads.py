"""Threads over blocks of samples: as many as `n_jobs` says, and no hidden ones."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import chain
from typing import Any

from joblib import effective_n_jobs
from threadpoolctl import OpenBLASController, ThreadpoolController

from skconvfilter.model.process_state import SharedContext

# Fewer blocks are done sooner than threads are set to work on them.
_MIN_BLOCKS = 3
# A thread takes runs of blocks, long ones because each costs a handover, but several, so
# that a thread that is held up leaves work to the others.
_RUNS_PER_THREAD = 3


@contextmanager
def block_mapper(n_jobs: int | None) -> Iterator[Callable[..., Any]]:
    """A ``map`` that runs in `n_jobs` threads and yields the results in order.

    The blocks do not depend on the number of threads and are merged in their order, so
    neither does the result. BLAS, whose products are small here, is held to the thread
    that calls it: threads of its own would contend with these, and sum in another order.
    """
    with _one_blas_thread.held():
        n_threads = effective_n_jobs(n_jobs)
        if n_threads == 1:
            yield map
            return
        with ThreadPoolExecutor(n_threads) as threads:

            def map_blocks(
                function: Callable[..., Any], blocks: Sequence[Any]
            ) -> Iterable[Any]:
                if len(blocks) < _MIN_BLOCKS:
                    return map(function, blocks)
                size = -(-len(blocks) // (_RUNS_PER_THREAD * n_threads))
                runs = [blocks[i : i + size] for i in range(0, len(blocks), size)]
                results = threads.map(lambda run: [*map(function, run)], runs)
                return chain.from_iterable(results)

            yield map_blocks


@cache
def _blas() -> ThreadpoolController:
    # To look for the libraries takes a millisecond, longer than a small prediction.
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def _limit_blas() -> Iterator[None]:
    # What is limited already, by whomever, is left alone: to restore a limit that somebody
    # else has lifted since would make it permanent.
    limited = [
        (library, library.num_threads)
        for library in _blas().lib_controllers
        if library.num_threads > 1
    ]
    try:
        for library, _ in limited:
            library.set_num_threads(1)
        yield
    finally:
        _let_any_thread_set_limits()
        for library, n_threads in limited:
            library.set_num_threads(n_threads)
        _let_any_thread_set_limits()


def _let_any_thread_set_limits() -> None:
    # From threadpoolctl 3.8 on only the thread that has set a limit may set another.
    if hasattr(OpenBLASController, "clear_controlling_thread"):
        OpenBLASController.clear_controlling_thread(force=True)


_one_blas_thread = SharedContext(_limit_blas)
