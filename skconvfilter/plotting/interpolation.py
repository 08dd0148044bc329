"""Display of the loss on the line through two filters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from skconvfilter.diagnostics.filters import Filters
from skconvfilter.diagnostics.recovery import interpolation
from skconvfilter.diagnostics.summary import Summary
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.geometry import HasConvolution

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

# Losses below are zero to machine precision: about the square of the rounding unit of
# float64.
_LOWEST = 1e-30


class InterpolationDisplay(Summary):
    r"""Relative loss on the line through two filters.

    The filters are :math:`\alpha w_1 + (1 - \alpha) w_2`, and the loss is relative to
    the values of :math:`w_2`, the teacher:

    .. math::

        \frac{\frac{1}{n} \sum_n
              (f(\alpha w_1 + (1 - \alpha) w_2, Z_n) - f(w_2, Z_n))^2}
             {\left( \frac{1}{n} \sum_n f(w_2, Z_n) \right)^2}.

    It is drawn on a logarithmic axis. Losses below 1e-30, such as the loss 0 of the
    teacher, are drawn at a tenth of the smallest loss above 1e-30, or at 1e-30 if there is
    none. If the line extends beyond the filters, dotted lines mark the two filters.

    It is recommended to use :meth:`from_filters` to create a display. All parameters are
    stored as attributes.

    Parameters
    ----------
    alpha : array-like of shape (n_points,)
        Weight of the first filter; 0 is the second filter, 1 the first.
    relative_loss : array-like of shape (n_points,)
        Relative loss at these points.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Axes with the line.
    figure_ : matplotlib Figure
        Figure that holds the axes.
    line_ : matplotlib Line2D
        The relative loss against alpha.

    See Also
    --------
    skconvfilter.diagnostics.interpolation : The numbers that are drawn.
    FilterDisplay : Two filters next to each other.

    References
    ----------
    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    figure 5, shows this line between learned and true filters.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skconvfilter.plotting import InterpolationDisplay
    >>> display = InterpolationDisplay(
    ...     alpha=[0.0, 0.5, 1.0], relative_loss=[0.0, 2e-5, 1e-5])
    >>> display.plot().ax_.get_yscale()
    'log'

    ``plt.show()`` would show it.

    >>> plt.close(display.figure_)
    """

    ax_: Axes
    figure_: Figure | SubFigure
    line_: Line2D

    def __init__(self, *, alpha: ArrayLike, relative_loss: ArrayLike) -> None:
        self.alpha = alpha
        self.relative_loss = relative_loss

    @classmethod
    def from_filters(
        cls,
        X: ArrayLike,
        first: Filters,
        second: Filters,
        *,
        n_points: int = 51,
        margin: float = 0.0,
        estimator: HasConvolution | None = None,
        ax: Axes | None = None,
        line_kw: dict[str, Any] | None = None,
    ) -> InterpolationDisplay:
        """Draw the loss on the line through two filters.

        Parameters
        ----------
        X : array-like of shape ``(n_samples, ...)``
            Patches of shape (n_samples, n_patches, patch_dim), a window view, or flat
            samples.
        first, second : array-like or fitted estimator
            The filters, such as the learned and the true one, in the shape of the window
            or flat, or fitted estimators, whose `coef_` is used.
        n_points : int, default=51
            Number of points, at least 2 and at least ``2 + 2 * margin``.
        margin : float, default=0.0
            How far the line extends beyond both filters, in units of their distance.
        estimator : estimator, default=None
            Defines how flat samples are cut into patches. Any estimator of this package can
            be used, such as :class:`~skconvfilter.ConvPatchExtractor`, fitted or not. If
            None, the first of the two filters that is a fitted estimator is used; otherwise
            a flat sample is one patch.
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        line_kw : dict, default=None
            Keyword arguments of ``Axes.plot`` for the line.

        Returns
        -------
        display : InterpolationDisplay
            The display, drawn.

        Raises
        ------
        TypeError, ValueError
            If a parameter is invalid, or if the values of `second` are all zero, see
            :func:`skconvfilter.diagnostics.interpolation`.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skconvfilter import ConvReLUFilterRegressor
        >>> from skconvfilter.datasets import make_filter_regression
        >>> from skconvfilter.plotting import InterpolationDisplay
        >>> model = ConvReLUFilterRegressor(kernel_size=3, random_state=0)
        >>> X, y, teacher = make_filter_regression(
        ...     100, model, noise=0.1, return_teacher=True, random_state=0)
        >>> display = InterpolationDisplay.from_filters(X, model.fit(X, y), teacher)
        >>> bool(display.relative_loss.max() < 0.1)
        True

        ``plt.show()`` would show it.

        >>> plt.close(display.figure_)
        """
        result = interpolation(
            X, first, second, n_points=n_points, margin=margin, estimator=estimator
        )
        display = cls(alpha=result.alpha, relative_loss=result.relative_loss)
        return display.plot(ax, line_kw=line_kw)

    def plot(
        self, ax: Axes | None = None, *, line_kw: dict[str, Any] | None = None
    ) -> InterpolationDisplay:
        """Draw the loss.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on. If None, a new figure is created.
        line_kw : dict, default=None
            Keyword arguments of ``Axes.plot`` for the line. With a label, a legend is also
            drawn.

        Returns
        -------
        display : InterpolationDisplay
            The display, with the attributes that end in an underscore set.

        Raises
        ------
        ValueError
            If the shapes of `alpha` and `relative_loss` disagree.
        """
        import matplotlib.pyplot as plt

        alpha = np.asarray(self.alpha, dtype=np.float64)
        losses = np.asarray(self.relative_loss, dtype=np.float64)
        if alpha.ndim != 1 or alpha.shape != losses.shape:
            raise ValueError(
                "alpha and relative_loss must have the same shape (n_points,), got "
                f"{alpha.shape} and {losses.shape}."
            )
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        ax.set_yscale("log")
        (self.line_,) = ax.plot(alpha, _without_zeros(losses), **(line_kw or {}))
        if np.any((alpha < 0) | (alpha > 1)):
            for end in (0, 1):
                ax.axvline(end, color="0.7", linestyle=":", linewidth=0.8, zorder=1)
        ax.set_xlabel("weight of the first filter\n(0: the second filter, 1: the first)")
        ax.set_ylabel("relative loss against the second filter")
        if "label" in (line_kw or {}):
            ax.legend(loc="best")
        self.ax_ = ax
        self.figure_ = ax.figure
        return self


def _without_zeros(losses: FloatArray) -> FloatArray:
    """Losses that a logarithmic axis can show."""
    is_zero = losses < _LOWEST
    lowest = np.fmin.reduce(losses[~is_zero], initial=np.inf) / 10
    return np.where(is_zero, lowest if np.isfinite(lowest) else _LOWEST, losses)
