"""Display of the loss of every restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skconvfilter.diagnostics.summary import Summary
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.plotting.validation import fitted_model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

# Relative losses are drawn within these. The lower one stands for zero: it is about
# the square of the rounding unit of float64.
_LOWEST, _HIGHEST = 1e-32, 1e32
# The axis ends at this many times the largest loss at a start: restarts that diverge
# leave the picture, so that the others can be seen.
_HEADROOM = 100.0


class ConvergenceDisplay(Summary):
    r"""Relative loss against iteration, for every restart.

    The relative loss is the mean squared error over the squared mean of the targets,

    .. math::

        \frac{\frac{1}{n} \sum_n (f(w, Z_n) - y_n)^2}
             {\left( \frac{1}{n} \sum_n y_n \right)^2}.

    It is drawn on a logarithmic axis; losses below 1e-32, including zero, are drawn at
    1e-32. A dot marks where a restart ended, because it had converged or was discarded for
    better ones. On the line of the best restart, marks show where stage two of the learning
    rate and the Levenberg-Marquardt steps of the polish begin.

    It is recommended to use :meth:`from_estimator` to create a display. All parameters
    are stored as attributes.

    Parameters
    ----------
    iteration : array-like of shape (n_iterations,)
        The iterations.
    relative_loss : array-like of shape (n_iterations, n_init)
        Relative losses; NaN where a restart was not running.
    stage : array-like of shape (n_iterations, n_init)
        Stage of each iteration of a restart: "start"; "stage 1" or "stage 2" for an epoch
        in that stage of the learning rate; "theory" for an epoch with the learning rate of
        the theory; "polish" for a Levenberg-Marquardt step; "" where the restart was not
        running.
    best_restart : int
        Index of the best restart.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the lines.
    figure_ : matplotlib Figure
        Figure that holds the axes.
    lines_ : list of n_init matplotlib Line2D
        Lines of all restarts, over the iterations at which they were running.
    marks_ : dict of matplotlib Line2D
        Marks on the line of the best restart, by label, "stage two" and "polish"; each only
        if there is such an iteration.

    See Also
    --------
    FilterDisplay : The filter that was learned.

    References
    ----------
    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    figure 3, shows such curves for several starts.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skconvfilter.plotting import ConvergenceDisplay
    >>> display = ConvergenceDisplay(
    ...     iteration=[0, 1, 2],
    ...     relative_loss=[[1.0, 2.0], [0.1, 0.5], [1e-9, float("nan")]],
    ...     stage=[["start", "start"], ["stage 1", "stage 1"], ["polish", ""]],
    ...     best_restart=0,
    ... )
    >>> len(display.plot().lines_)
    2

    ``plt.show()`` would show it.

    >>> plt.close(display.figure_)
    """

    ax_: Axes
    figure_: Figure | SubFigure
    lines_: list[Line2D]
    marks_: dict[str, Line2D]

    def __init__(
        self,
        *,
        iteration: ArrayLike,
        relative_loss: ArrayLike,
        stage: ArrayLike,
        best_restart: int,
    ) -> None:
        self.iteration = iteration
        self.relative_loss = relative_loss
        self.stage = stage
        self.best_restart = best_restart

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        ax: Axes | None = None,
        restart_kw: dict[str, Any] | None = None,
        best_kw: dict[str, Any] | None = None,
        mark_kw: dict[str, Any] | None = None,
    ) -> ConvergenceDisplay:
        """Draw the losses of the restarts of an estimator.

        Parameters
        ----------
        estimator : estimator instance
            A fitted :class:`~skconvfilter.ConvReLUFilterRegressor` or
            :class:`~skconvfilter.ConvFilterBankRegressor`, or a fitted pipeline with one as
            its last step.
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        restart_kw : dict, default=None
            Keyword arguments of ``Axes.plot`` for the restarts other than the best.
        best_kw : dict, default=None
            Keyword arguments of ``Axes.plot`` for the best restart.
        mark_kw : dict, default=None
            Keyword arguments of ``Axes.plot`` for the marks on the line of the best
            restart.

        Returns
        -------
        display : ConvergenceDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator has no ``history_``.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skconvfilter import ConvReLUFilterRegressor
        >>> from skconvfilter.datasets import make_filter_regression
        >>> from skconvfilter.plotting import ConvergenceDisplay
        >>> X, y = make_filter_regression(random_state=0)
        >>> model = ConvReLUFilterRegressor(random_state=0).fit(X, y)
        >>> display = ConvergenceDisplay.from_estimator(model)
        >>> display.ax_.get_yscale()
        'log'

        ``plt.show()`` would show it.

        >>> plt.close(display.figure_)
        """
        model = fitted_model(estimator, "history_")
        display = cls(
            iteration=model.history_["iteration"],
            relative_loss=model.history_["relative_loss"],
            stage=model.history_["stage"],
            best_restart=model.best_restart_,
        )
        return display.plot(ax, restart_kw=restart_kw, best_kw=best_kw, mark_kw=mark_kw)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        restart_kw: dict[str, Any] | None = None,
        best_kw: dict[str, Any] | None = None,
        mark_kw: dict[str, Any] | None = None,
    ) -> ConvergenceDisplay:
        """Draw the losses.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        restart_kw : dict, default=None
            Keyword arguments of ``Axes.plot`` for the restarts other than the best.
        best_kw : dict, default=None
            Keyword arguments of ``Axes.plot`` for the best restart.
        mark_kw : dict, default=None
            Keyword arguments of ``Axes.plot`` for the marks on the line of the best
            restart.

        Returns
        -------
        display : ConvergenceDisplay
            The display, with the attributes that end in an underscore set.

        Raises
        ------
        ValueError
            If the shapes of `iteration`, `relative_loss` and `stage` disagree.
        """
        import matplotlib.pyplot as plt
        from matplotlib.ticker import MaxNLocator

        iteration, losses, stage = self._arrays()
        best = self.best_restart
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        ax.set_yscale("log")
        self.lines_ = _draw_restarts(ax, iteration, losses, best, restart_kw, best_kw)
        self.marks_ = _draw_marks(
            ax, iteration, losses[:, best], stage[:, best], self.lines_[best], mark_kw
        )
        _limit_diverged(ax, losses)
        whole = MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
        ax.xaxis.set_major_locator(whole)
        ax.set_xlabel(_iteration_label(stage))
        ax.set_ylabel("relative loss\n(mean squared error / squared mean of y)")
        ax.legend(loc="best")
        self.ax_ = ax
        self.figure_ = ax.figure
        return self

    def _arrays(self) -> tuple[NDArray[Any], FloatArray, NDArray[np.str_]]:
        """The parameters as arrays, with losses that a logarithmic axis can show."""
        iteration = np.asarray(self.iteration)
        losses = np.asarray(self.relative_loss, dtype=np.float64)
        stage = np.asarray(self.stage, dtype=str)
        if losses.ndim != 2 or stage.shape != losses.shape:
            raise ValueError(
                "relative_loss and stage must have the same shape (n_iterations, "
                f"n_init), got {losses.shape} and {stage.shape}."
            )
        if iteration.shape != losses.shape[:1]:
            raise ValueError(
                f"iteration must have the shape {losses.shape[:1]}, got {iteration.shape}."
            )
        return iteration, np.clip(losses, _LOWEST, _HIGHEST), stage


def _draw_restarts(
    ax: Axes,
    iteration: NDArray[Any],
    losses: FloatArray,
    best: int,
    restart_kw: dict[str, Any] | None,
    best_kw: dict[str, Any] | None,
) -> list[Line2D]:
    """One line per restart, the best one on top and first in the legend."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    winner: dict[str, Any] = {"label": f"best restart (number {best})", "color": "C0"}
    winner |= {"linewidth": 2.0, "zorder": 3} | normalize_kwargs(best_kw or {}, Line2D)
    others: dict[str, Any] = {"label": "other restarts", "color": "0.7"}
    others |= {"linewidth": 0.8, "zorder": 2} | normalize_kwargs(restart_kw or {}, Line2D)
    unnamed = others | {"label": "_nolegend_"}
    rest = [restart for restart in range(losses.shape[1]) if restart != best]
    styles = [winner, others] + [unnamed] * len(rest)
    lines = {}
    for restart, style in zip([best, *rest], styles, strict=False):
        ran = ~np.isnan(losses[:, restart])
        x, y = iteration[ran], losses[ran, restart]
        # A dot tells where the restart ended, and shows one that is a single point.
        dot: dict[str, Any] = {
            "marker": ".",
            "markersize": 5,
            "markevery": range(len(x))[-1:],
        }
        (lines[restart],) = ax.plot(x, y, **(dot | style))
    return [lines[restart] for restart in range(len(lines))]


def _draw_marks(
    ax: Axes,
    iteration: NDArray[Any],
    loss: FloatArray,
    stage: NDArray[np.str_],
    line: Line2D,
    mark_kw: dict[str, Any] | None,
) -> dict[str, Line2D]:
    """Marks at the first iterations of stage two and of the polish, by label."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"linestyle": "none", "markersize": 7}
    style |= {"markeredgewidth": 1.5}
    style |= {"color": line.get_color(), "markerfacecolor": ax.get_facecolor()}
    style |= {"zorder": line.get_zorder() + 1} | normalize_kwargs(mark_kw or {}, Line2D)
    begins = {
        "stage two": (stage == "stage 2", "o"),
        "polish": (stage == "polish", "D"),
    }
    marks = {}
    for label, (within, marker) in begins.items():
        first = np.flatnonzero(within)[:1]
        if len(first):
            (marks[label],) = ax.plot(
                iteration[first],
                loss[first],
                **{"marker": marker, "label": f"{label} begins", **style},
            )
    return marks


def _limit_diverged(ax: Axes, losses: FloatArray) -> None:
    """Let the losses of diverging restarts leave the picture."""
    highest = _HEADROOM * np.fmax.reduce(losses[0], initial=_LOWEST)
    if np.fmax.reduce(losses, axis=None, initial=_LOWEST) > highest:
        ax.set_ylim(top=highest)


def _iteration_label(stage: NDArray[np.str_]) -> str:
    """What an iteration is, by the stages that were run."""
    units = []
    if np.isin(stage, ["stage 1", "stage 2", "theory"]).any():
        units.append("epochs")
    if (stage == "polish").any():
        units.append("Levenberg-Marquardt steps")
    return f"iteration ({', then '.join(units)})" if units else "iteration"
