"""State of the whole process that threads change together: put back when all are done."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Lock, RLock
from typing import Any
from weakref import WeakSet

import numpy as np

_checking = RLock()


class SharedContext:
    """A context for many threads: the first enters it, the last leaves it.

    A context that saves a setting of the process and restores it must not overlap with
    itself: what the last thread to leave restores is what it has found, which is the
    changed setting if another thread was there before it.

    Parameters
    ----------
    enter : callable
        Without arguments, returns the context manager.

    Examples
    --------
    >>> from contextlib import nullcontext
    >>> from skconvfilter.model.process_state import SharedContext
    >>> shared = SharedContext(nullcontext)
    >>> with shared.held(), shared.held():  # entered once
    ...     pass
    """

    def __init__(self, enter: Callable[[], AbstractContextManager[Any]]) -> None:
        self._enter = enter
        self._lock = Lock()
        self._context = ExitStack()
        self._holders: WeakSet[_Holder] = WeakSet()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be in the context."""
        # Not counted: an interrupt may come before it is there, or before it leaves, and
        # then it is gone with this frame.
        holder = _Holder()
        try:
            with self._lock:
                if not self._holders:
                    self._context.close()
                    self._context.enter_context(self._enter())
                self._holders.add(holder)
            yield
        finally:
            with self._lock:
                self._holders.discard(holder)
                if not self._holders:
                    self._context.close()


class _Holder:
    """A thread that is in the context."""


@contextmanager
def sklearn_checks() -> Iterator[None]:
    """For scikit-learn's checks of arrays: one thread after the other.

    They change the warning filters of the process for a moment. To see whether all numbers
    are finite they sum up, which may overflow either way.
    """
    with _checking, np.errstate(over="ignore", invalid="ignore"):
        yield
