"""What follows a fit: scikit-learn's callbacks, and the table of ``verbose``."""

import math
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self, TypeVar

from skconvfilter.estimators.results import Scaling
from skconvfilter.solvers.driver import Snapshot
from skconvfilter.solvers.multistart import SearchResult

if TYPE_CHECKING:
    # scikit-learn has no types.
    Method = TypeVar("Method", bound=Callable[..., Any])

    class CallbackSupportMixin:
        def set_callbacks(self, *callbacks: Any) -> Self: ...

    def with_callbacks(method: Method) -> Method: ...
else:
    try:
        from sklearn.callback import CallbackSupportMixin, with_callbacks
    except ImportError:  # scikit-learn < 1.9

        class CallbackSupportMixin:
            """No callbacks."""

        def with_callbacks(method):
            """The method itself."""
            return method


__all__ = ["CallbackSupportMixin", "FitCallbacks", "with_callbacks"]

# From an Incumbent and the Scaling of a fit to the attributes that predictions need, by
# name. It may raise ValueError where there are none.
Attributes = Callable[..., dict[str, Any]]

# When ``verbose=1`` prints a line: after that time, or at that part of the loss printed.
_SECONDS_PER_LINE, _LOWER_LOSS = 1.0, 0.1


class FitCallbacks:
    """Those that follow one fit of an estimator, from its beginning on."""

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any) -> None:
        self._table = _Table(estimator.verbose) if estimator.verbose else None
        # Without callbacks not even a task is made. The mixin offers no public way to ask.
        followed = getattr(estimator, "_skl_callbacks", None)
        self._tasks = _Tasks(estimator, X, y, sample_weight) if followed else None

    def on_iteration(self, attributes: Attributes) -> Callable[..., bool] | None:
        """A callback for the search, or None if nobody follows.

        It is called as ``callback(snapshot, scaling, variance)``, with the variance of the
        targets in the units of the fit, and returns whether to stop.
        """
        if self._table is None and self._tasks is None:
            return None
        return partial(self._end_iteration, attributes)

    def on_fit_end(self, search: SearchResult, loss: float) -> None:
        """The estimator is fitted, with a loss in the units of the user."""
        if self._table is not None:
            self._table.end(search, loss)
        if self._tasks is not None:
            self._tasks.end()

    def _end_iteration(
        self, attributes: Attributes, snapshot: Snapshot, scaling: Scaling, variance: float
    ) -> bool:
        if self._table is not None:
            self._table.add(snapshot, variance)
        if self._tasks is None:
            return False
        return self._tasks.end_iteration(partial(attributes, scaling, snapshot.incumbent))


class _Tasks:
    """A fit as scikit-learn's callbacks see it: a task, with a subtask per iteration.

    An iteration begins where the one before ended. The last one, which only the end of the
    search shows to be none, stays empty.
    """

    def __init__(self, estimator: Any, X: Any, y: Any, sample_weight: Any) -> None:
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._known = {"estimator": estimator, "X": X, "y": y, "metadata": metadata}
        self._fit = estimator._init_callback_context(max_subtasks=None)
        self._fit.call_on_fit_task_begin(**self._known)
        self._iteration: Any = None
        self._begin_iteration()

    def end_iteration(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """Whether a callback asks for a stop."""

        def reconstruction_attributes() -> dict[str, Any] | None:
            try:
                return attributes()
            except ValueError:  # the filter is beyond the range of its dtype
                return None

        stop = self._iteration.call_on_fit_task_end(
            **self._known, reconstruction_attributes=reconstruction_attributes
        )
        self._iteration = None
        if not stop:
            self._begin_iteration()
        return bool(stop)

    def end(self) -> None:
        if self._iteration is not None:
            self._iteration.call_on_fit_task_end(estimator=self._known["estimator"])
        self._fit.call_on_fit_task_end(**self._known, reconstruction_attributes={})

    def _begin_iteration(self) -> None:
        self._iteration = self._fit.subcontext(task_name="iteration")
        self._iteration.call_on_fit_task_begin(**self._known)


class _Table:
    """Prints where the search stands, with the share of the variance that is left.

    With ``verbose=1`` that is a line for the first iteration, then one a second, and one
    where the best loss has fallen to a tenth since the last line; with more, a line for
    every iteration.
    """

    def __init__(self, verbose: int) -> None:
        self._every_iteration = verbose > 1
        self._n_iterations = 0
        self._begin = perf_counter()
        self._printed_at, self._printed_loss = -math.inf, math.inf

    def add(self, snapshot: Snapshot, variance: float) -> None:
        self._n_iterations += 1
        loss, seconds = snapshot.incumbent.loss, perf_counter() - self._begin
        due = seconds >= self._printed_at + _SECONDS_PER_LINE
        if not (self._every_iteration or due or loss <= _LOWER_LOSS * self._printed_loss):
            return
        if self._n_iterations == 1:
            self._print("phase     iteration  running  unexplained   seconds")
        self._printed_at, self._printed_loss = seconds, loss
        self._print(
            f"{snapshot.stage:8}{self._n_iterations:11d}{snapshot.n_running:9d}"
            f"{2 * loss / variance:13.3e}{seconds:10.2f}"
        )

    def end(self, search: SearchResult, loss: float) -> None:
        self._print(
            f"end: {search.status.value}; best_restart_={search.best_restart}, "
            f"loss_={loss:.4g}, {self._n_iterations} iterations, "
            f"{perf_counter() - self._begin:.1f} seconds"
        )

    @staticmethod
    def _print(line: str) -> None:
        # In a pipe lines would wait for each other.
        print(line, flush=True)
