"""Display of gamma, L, disagreement and cross norms against the angle to the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from skconvfilter.diagnostics.filters import Filters
from skconvfilter.diagnostics.smoothness import Smoothness, smoothness
from skconvfilter.diagnostics.summary import Summary
from skconvfilter.kernels.layout import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

Quantity = Literal["gamma", "L", "disagreement", "cross"]

_LABELS = {
    "gamma": r"$\gamma$",
    "L": "$L$",
    "disagreement": r"disagreement, $\lambda_{+-}$",
    "cross": "cross norms",
}
_MARKERS = {"gamma": "o", "L": "s", "disagreement": "^", "cross": "D"}


class SmoothnessDisplay(Summary):
    r"""Curves of gamma, L, disagreement and cross norms against the angle to the teacher.

    A filter is easy to learn if gamma is not far below L. Lines are the held-out values,
    bands their intervals, and dashed lines the certified bounds, if there are any. These
    are lower bounds for gamma and upper bounds for the others.

    It is recommended to use :meth:`from_samples` to create a display. All parameters are
    stored as attributes.

    Parameters
    ----------
    result : Smoothness
        Result of :func:`skconvfilter.diagnostics.smoothness`.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the lines.
    figure_ : matplotlib Figure
        Figure that holds the axes.
    lines_ : dict of matplotlib Line2D
        The line of each quantity, by name.

    See Also
    --------
    skconvfilter.diagnostics.smoothness : The numbers that are drawn.

    References
    ----------
    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    Assumptions 3.1 and 3.2.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> from skconvfilter.plotting import SmoothnessDisplay
    >>> X = np.random.default_rng(0).standard_normal((3000, 1, 3))
    >>> display = SmoothnessDisplay.from_samples(X, np.ones(3), [0.5, 1.0, 1.5])
    >>> list(display.lines_)
    ['gamma', 'L']

    ``plt.show()`` would show it.

    >>> plt.close(display.figure_)
    """

    ax_: Axes
    figure_: Figure | SubFigure
    lines_: dict[str, Line2D]

    def __init__(self, *, result: Smoothness) -> None:
        self.result = result

    @classmethod
    def from_samples(
        cls,
        X: ArrayLike,
        teacher: Filters,
        angles: ArrayLike | None = None,
        *,
        quantities: Sequence[Quantity] = ("gamma", "L"),
        ax: Axes | None = None,
        line_kw: dict[str, Any] | None = None,
        **options: Any,
    ) -> SmoothnessDisplay:
        """Estimate the quantities and draw them.

        Parameters
        ----------
        X : array-like of shape ``(n_samples, ...)``
            Patches of shape (n_samples, n_patches, patch_dim), a window view, or flat
            samples.
        teacher : array-like or fitted estimator
            The true filter, in the shape of the window or flat.
        angles : array-like of shape (n_angles,), default=None
            Angles to the teacher, in radians from 0 to pi. If None, nine angles from pi/18
            to pi/2.
        quantities : sequence of {"gamma", "L", "disagreement", "cross"}, \
                default=("gamma", "L")
            The quantities to draw.
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        line_kw : dict, default=None
            Keyword arguments of ``Axes.plot`` for the lines of held-out values.
        **options
            Other parameters of :func:`skconvfilter.diagnostics.smoothness`, such as
            `estimator` and `random_state`.

        Returns
        -------
        display : SmoothnessDisplay
            The display, drawn.

        Raises
        ------
        TypeError, ValueError
            As for :func:`skconvfilter.diagnostics.smoothness` and :meth:`plot`.

        Warns
        -----
        UserWarning
            As for :func:`skconvfilter.diagnostics.smoothness`.
        """
        display = cls(result=smoothness(X, teacher, angles, **options))
        return display.plot(ax, quantities=quantities, line_kw=line_kw)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        quantities: Sequence[Quantity] = ("gamma", "L"),
        line_kw: dict[str, Any] | None = None,
    ) -> SmoothnessDisplay:
        """Draw the quantities.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        quantities : sequence of {"gamma", "L", "disagreement", "cross"}, \
                default=("gamma", "L")
            The quantities to draw.
        line_kw : dict, default=None
            Keyword arguments of ``Axes.plot`` for the lines of held-out values.

        Returns
        -------
        display : SmoothnessDisplay
            The display, with the attributes that end in an underscore set.

        Raises
        ------
        ValueError
            For an unknown quantity.
        """
        import matplotlib.pyplot as plt

        unknown = [name for name in quantities if name not in _LABELS]
        if unknown or not quantities:
            raise ValueError(
                f"quantities must be some of {list(_LABELS)}, got {list(quantities)}."
            )
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        degrees = np.degrees(self.result.angles)
        ax.set_yscale("log")
        self.lines_ = {}
        for name in quantities:
            estimate = getattr(self.result, name)
            values, interval, certified = (
                _without_zeros(array)
                for array in (estimate.value, estimate.interval, estimate.certified)
            )
            style: dict[str, Any] = {"marker": _MARKERS[name], "markersize": 4}
            style |= {"label": _LABELS[name]} | (line_kw or {})
            (line,) = ax.plot(degrees, values, **style)
            color = line.get_color()
            ax.fill_between(degrees, *interval.T, color=color, alpha=0.25, linewidth=0)
            ax.plot(degrees, certified, color=color, linestyle="--", linewidth=0.8)
            self.lines_[name] = line
        ax.set_xlabel("angle to the teacher in degrees")
        ax.set_ylabel("eigenvalue or norm")
        ax.legend(loc="best")
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


def _without_zeros(values: FloatArray) -> FloatArray:
    """What a logarithmic axis can show; NaN for the rest."""
    return np.where(values > 0, values, np.nan)
