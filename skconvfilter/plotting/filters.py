"""Display of filters next to each other, on one scale."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array, check_scalar

from skconvfilter.diagnostics.inference import Inference
from skconvfilter.diagnostics.recovery import recovery
from skconvfilter.diagnostics.summary import Summary
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.plotting.validation import fitted_model

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D

# Panels in a row, unless the user asks for another number.
_MAX_COLS = 8
# Width in inches of a row of panels, and of its panels at least and at most.
_ROW_WIDTH, _MIN_WIDTH, _MAX_WIDTH = 10.0, 1.25, 2.6
# Up to this length a filter is drawn with a stem at every entry, beyond it as a line.
_MAX_STEMS = 64
# Between these ratios of height to width images have square pixels; beyond them they
# are stretched to the nearer one, or they would be too narrow to read.
_SQUARE_PIXELS = 1 / 3, 3.0
# Pairs of a true and a learned filter in a row, unless the user asks for another number.
_MAX_PAIRS = 4
# Opacity of weights that cannot be told from zero.
_FADED = 0.25


class FilterDisplay(Summary):
    """Filters next to each other on one scale, such as the true and the learned filter.

    Filters with two axes are drawn as images with one colour scale for all, symmetric
    about 0. Filters with three axes, channels last, have one image per channel, and one
    row each. Filters with one axis are drawn as curves with the same limits.

    It is recommended to use :meth:`from_estimator` or :meth:`from_filters` to create a
    display. All parameters are stored as attributes.

    Parameters
    ----------
    filters : sequence of n_filters array-likes of the same shape
        Each of shape (length,), (height, width) or (height, width, channels).
    titles : sequence of n_filters str, default=None
        Title of each filter, above it, or to the left of it if it has channels.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        The panels. For a new figure, the shape is (n_rows, n_cols), with None where there
        is no panel; otherwise the given axes in their shape.
    figure_ : matplotlib Figure
        Figure that holds the panels.
    images_ : list of matplotlib AxesImage
        Images of all panels, filter by filter; empty for filters with one axis.
    lines_ : list of matplotlib Line2D
        Curves of all filters; empty for filters with more axes.
    colorbar_ : matplotlib Colorbar or None
        The colour bar; None for filters with one axis, or with ``colorbar=False``.

    See Also
    --------
    ConvergenceDisplay : The loss during a fit.

    References
    ----------
    Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018),
    figure 4, shows true and learned filters.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from skconvfilter.datasets import gabor_filter
    >>> from skconvfilter.plotting import FilterDisplay
    >>> filters = [gabor_filter((5, 5)), gabor_filter((5, 5), orientation=0.5)]
    >>> display = FilterDisplay(filters=filters, titles=["vertical", "inclined"])
    >>> display.plot().axes_.shape
    (1, 2)

    ``plt.show()`` would show it.

    >>> plt.close(display.figure_)
    """

    axes_: NDArray[np.object_]
    figure_: Figure | SubFigure
    images_: list[AxesImage]
    lines_: list[Line2D]
    colorbar_: Colorbar | None

    def __init__(
        self, *, filters: Iterable[ArrayLike], titles: Sequence[str] | None = None
    ) -> None:
        self.filters = filters
        self.titles = titles

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        teacher: ArrayLike | None = None,
        axes: Axes | Sequence[Axes] | NDArray[np.object_] | None = None,
        n_cols: int | None = None,
        cmap: str | Colormap = "RdBu_r",
        colorbar: bool = True,
    ) -> FilterDisplay:
        """Draw the filters of an estimator, and the true filters if they are known.

        Parameters
        ----------
        estimator : estimator instance
            A fitted estimator with ``filter_``, such as
            :class:`~skconvfilter.ConvReLUFilterRegressor`, or with ``filters_``, such as
            :class:`~skconvfilter.ConvFilterBankRegressor`, or a fitted pipeline with such
            an estimator as its last step.
        teacher : array-like, default=None
            The true filter, in the shape of ``estimator.filter_`` or one that can be
            reshaped to it. It is drawn first, and the title of the learned filter has the
            angle between the two in degrees. For a bank, all true filters, in the shape of
            ``estimator.filters_`` or flat. Each is followed by the learned filter that
            :func:`~skconvfilter.diagnostics.recovery` matches with it; titles have the
            index of both in their banks.
        axes : matplotlib Axes or array-like of Axes, default=None
            Axes to draw on: one for every filter, or one for every channel of the first
            filter, then of the second, and so on. If None, a new figure is created.
        n_cols : int, default=None
            Largest number of panels in a row of a new figure. If None, at most 8, in rows
            of equal length if possible, with each learned filter next to the true one.
        cmap : str or matplotlib Colormap, default="RdBu_r"
            Colour map of images; its middle colour is 0.
        colorbar : bool, default=True
            Whether to draw a colour bar next to the images.

        Returns
        -------
        display : FilterDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator has neither ``filter_`` nor ``filters_``.
        ValueError
            If `teacher` has another number of entries than the learned filters.

        See Also
        --------
        FilterDisplay.from_filters : Draw given filters.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skconvfilter import ConvReLUFilterRegressor
        >>> from skconvfilter.datasets import make_filter_regression
        >>> from skconvfilter.plotting import FilterDisplay
        >>> X, y, teacher = make_filter_regression(return_teacher=True, random_state=0)
        >>> model = ConvReLUFilterRegressor(random_state=0).fit(X, y)
        >>> display = FilterDisplay.from_estimator(model, teacher=teacher)
        >>> display.axes_.shape
        (1, 2)

        ``plt.show()`` would show it.

        >>> plt.close(display.figure_)
        """
        learned, is_bank = _learned(estimator)
        bank = learned if is_bank else learned[np.newaxis]
        numbers = [f" {j}" for j in range(len(bank))] if is_bank else [""]
        filters, titles = list(bank), [f"learned{number}" for number in numbers]
        if teacher is not None:
            true = _check_teacher(teacher, learned.shape, is_bank).reshape(bank.shape)
            filters, titles = _pairs(true, bank, numbers)
            if n_cols is None and bank.ndim < 4:
                n_cols = _even_n_cols(len(bank))
        display = cls(filters=filters, titles=titles)
        return display.plot(axes, n_cols=n_cols, cmap=cmap, colorbar=colorbar)

    @classmethod
    def from_filters(
        cls,
        filters: Iterable[ArrayLike],
        *,
        titles: Sequence[str] | None = None,
        axes: Axes | Sequence[Axes] | NDArray[np.object_] | None = None,
        n_cols: int | None = None,
        cmap: str | Colormap = "RdBu_r",
        colorbar: bool = True,
    ) -> FilterDisplay:
        """Draw given filters.

        Parameters
        ----------
        filters : sequence of n_filters array-likes of the same shape
            Each of shape (length,), (height, width) or (height, width, channels). An
            array has the filters along its first axis.
        titles : sequence of n_filters str, default=None
            Title of each filter, above it, or to the left of it if it has channels.
        axes : matplotlib Axes or array-like of Axes, default=None
            Axes to draw on: one for every filter, or one for every channel of the first
            filter, then of the second, and so on. If None, a new figure is created.
        n_cols : int, default=None
            Largest number of panels in a row of a new figure. If None, at most 8, in rows
            of equal length if possible.
        cmap : str or matplotlib Colormap, default="RdBu_r"
            Colour map of images; its middle colour is 0.
        colorbar : bool, default=True
            Whether to draw a colour bar next to the images.

        Returns
        -------
        display : FilterDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            As for :meth:`plot`.

        See Also
        --------
        FilterDisplay.from_estimator : Draw a learned filter.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skconvfilter.datasets import random_filter
        >>> from skconvfilter.plotting import FilterDisplay
        >>> bank = [random_filter((5, 5), random_state=seed) for seed in range(12)]
        >>> display = FilterDisplay.from_filters(bank)
        >>> display.axes_.shape
        (2, 6)

        ``plt.show()`` would show it.

        >>> plt.close(display.figure_)
        """
        display = cls(filters=filters, titles=titles)
        return display.plot(axes, n_cols=n_cols, cmap=cmap, colorbar=colorbar)

    @classmethod
    def from_inference(
        cls,
        inference: Inference,
        *,
        level: float | None = None,
        axes: Axes | Sequence[Axes] | NDArray[np.object_] | None = None,
        n_cols: int | None = None,
        cmap: str | Colormap = "RdBu_r",
        colorbar: bool = True,
    ) -> FilterDisplay:
        """Draw a learned filter, or bank of filters, with the intervals of its weights.

        In images, weights whose interval contains 0 are faded, and the half-widths of the
        intervals are drawn next to the filter, on the same scale. For weights that the data
        do not determine, the half-width is drawn as the end of the scale. For signals,
        every weight has its interval as a bar.

        Parameters
        ----------
        inference : Inference
            Result of :func:`skconvfilter.diagnostics.inference`.
        level : float, default=None
            Level of the intervals. If None, that of the result.
        axes : matplotlib Axes or array-like of Axes, default=None
            Axes to draw on: one for every panel. Images have two panels for every filter,
            or for every channel of it. If None, a new figure is created.
        n_cols : int, default=None
            Largest number of panels in a row of a new figure. If None, as in
            :meth:`from_estimator`.
        cmap : str or matplotlib Colormap, default="RdBu_r"
            Colour map of images; its middle colour is 0.
        colorbar : bool, default=True
            Whether to draw a colour bar next to the images.

        Returns
        -------
        display : FilterDisplay
            The display, drawn.

        Raises
        ------
        TypeError, ValueError
            If `inference` or `level` is invalid, and as for :meth:`plot`.

        See Also
        --------
        FilterDisplay.from_estimator : Draw a learned filter alone.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> from skconvfilter import ConvReLUFilterRegressor
        >>> from skconvfilter.datasets import make_filter_regression
        >>> from skconvfilter.diagnostics import inference
        >>> from skconvfilter.plotting import FilterDisplay
        >>> X, y = make_filter_regression(500, n_features=4, noise=0.5, random_state=0)
        >>> model = ConvReLUFilterRegressor(random_state=0).fit(X, y)
        >>> display = FilterDisplay.from_inference(inference(model, X, y, random_state=0))
        >>> display.axes_.shape
        (1, 1)

        ``plt.show()`` would show it.

        >>> plt.close(display.figure_)
        """
        if not isinstance(inference, Inference):
            raise TypeError(
                "inference must be a result of skconvfilter.diagnostics.inference, got "
                f"{inference!r}."
            )
        low, high = np.moveaxis(inference.interval(level), -1, 0)
        coef, half = inference.coef, (high - low) / 2
        numbers = [""]
        if inference.model.is_bank:
            numbers = [f" {j}" for j in range(len(coef))]
        else:
            coef, low, high, half = coef[np.newaxis], low[None], high[None], half[None]
        filters, titles = list(coef), [f"learned{number}" for number in numbers]
        if coef.ndim > 2:
            finite = half[np.isfinite(half)]
            largest = max(np.abs(coef).max(), finite.max(initial=0.0))
            drawn = np.where(np.isfinite(half), half, largest)
            filters = [panel for pair in zip(coef, drawn, strict=True) for panel in pair]
            halves = [f"half-width{number}" for number in numbers]
            titles = [t for pair in zip(titles, halves, strict=True) for t in pair]
            if n_cols is None and coef.ndim < 4:
                n_cols = _even_n_cols(len(coef))
        display = cls(filters=filters, titles=titles)
        display.plot(axes, n_cols=n_cols, cmap=cmap, colorbar=colorbar)
        display._show_intervals(coef, half, (low <= 0) & (0 <= high))
        return display

    def _show_intervals(
        self, coef: FloatArray, half: FloatArray, faded: NDArray[np.bool_]
    ) -> None:
        """Fade images, or draw bars: arrays of shape (n_filters, *window)."""
        if coef.ndim == 2:
            panels: list[Any] = [ax for ax in self.axes_.flat if ax is not None]
            entries = np.arange(coef.shape[1])
            bars = np.where(np.isfinite(half), half, 0.0)
            for ax, weights, lengths in zip(panels, coef, bars, strict=True):
                ax.errorbar(entries, weights, lengths, fmt="none", color="0.3", capsize=2)
            low, high = (coef - bars).min(), (coef + bars).max()
            margin = 0.08 * (max(high, 0.0) - min(low, 0.0)) or 1.0
            for ax in panels:
                ax.set_ylim(min(low, 0.0) - margin, max(high, 0.0) + margin)
            return
        if faded.ndim == 4:
            faded = np.moveaxis(faded, 3, 1).reshape(-1, *faded.shape[1:3])
        n_channels = len(self.images_) // (2 * len(coef))
        # Channels of a filter come first, then those of its half-widths.
        learned = [
            image for j, image in enumerate(self.images_) if j // n_channels % 2 == 0
        ]
        for image, pale in zip(learned, faded, strict=True):
            image.set_alpha(np.where(pale, _FADED, 1.0))

    def plot(
        self,
        axes: Axes | Sequence[Axes] | NDArray[np.object_] | None = None,
        *,
        n_cols: int | None = None,
        cmap: str | Colormap = "RdBu_r",
        colorbar: bool = True,
    ) -> FilterDisplay:
        """Draw the filters.

        Parameters
        ----------
        axes : matplotlib Axes or array-like of Axes, default=None
            Axes to draw on: one for every filter, or one for every channel of the first
            filter, then of the second, and so on. If None, a new figure is created.
        n_cols : int, default=None
            Largest number of panels in a row of a new figure. If None, at most 8, in rows
            of equal length if possible.
        cmap : str or matplotlib Colormap, default="RdBu_r"
            Colour map of images; its middle colour is 0.
        colorbar : bool, default=True
            Whether to draw a colour bar next to the images.

        Returns
        -------
        display : FilterDisplay
            The display, with the attributes that end in an underscore set.

        Raises
        ------
        ValueError
            If the filters are not finite, differ in shape or have more than three axes, or
            if the number of titles or axes is wrong.
        """
        filters = _check_filters(self.filters)
        titles = _check_titles(self.titles, len(filters))
        n_channels = filters.shape[3] if filters.ndim == 4 else 1
        if axes is None:
            self.axes_ = _new_axes(filters, n_channels, n_cols)
        else:
            self.axes_ = _check_axes(axes, len(filters) * n_channels)
        panels: list[Any] = [ax for ax in self.axes_.flat if ax is not None]
        self.figure_ = panels[0].figure
        self.images_, self.lines_, self.colorbar_ = [], [], None
        if filters.ndim == 2:
            self.lines_ = _draw_curves(panels, filters)
            _label_curves(self.axes_, own=axes is None)
        else:
            self.images_ = _draw_images(panels, filters, cmap)
            if colorbar:
                self.colorbar_ = _draw_colorbar(self.axes_, panels, self.images_[0])
        _write_titles(panels, titles, n_channels, crowded=self.axes_.shape[-1] > 4)
        return self


def _learned(estimator: Any) -> tuple[FloatArray, bool]:
    """What an estimator has learned, and whether it is a bank of filters."""
    with suppress(NotFittedError):
        return fitted_model(estimator, "filters_").filters_, True
    return fitted_model(estimator, "filter_").filter_, False


def _pairs(
    teacher: FloatArray, bank: FloatArray, numbers: list[str]
) -> tuple[list[FloatArray], list[str]]:
    """Every true filter followed by the learned one that is matched with it."""
    n_filters = len(bank)
    found = recovery(bank.reshape(n_filters, -1), teacher.reshape(n_filters, -1))
    degrees = np.degrees(found.angles)
    filters, titles = [], []
    for i, j in enumerate(found.permutation):
        note = "" if np.isnan(degrees[i]) else f" ({degrees[i]:.1f}°)"
        filters += [teacher[i], bank[j]]
        titles += [f"true{numbers[i]}", f"learned{numbers[j]}{note}"]
    return filters, titles


def _even_n_cols(n_pairs: int) -> int:
    """Most panels in a row, such that no pair is parted and rows are of one length."""
    rows = -(-n_pairs // _MAX_PAIRS)
    return 2 * -(-n_pairs // rows)


def _check_filters(filters: Iterable[ArrayLike]) -> FloatArray:
    """Filters of one shape as a float64 array, along the first axis."""
    arrays = [_check_numbers("filters", entry) for entry in filters]
    if not arrays:
        raise ValueError("filters must hold at least one filter.")
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ValueError(f"filters must have one shape, got {sorted(shapes)}.")
    if not 1 <= arrays[0].ndim <= 3:
        raise ValueError(
            "filters must have the shape (length,), (height, width) or (height, width, "
            f"channels), got {arrays[0].shape}."
        )
    return np.stack(arrays)


def _check_teacher(teacher: ArrayLike, shape: tuple[int, ...], is_bank: bool) -> FloatArray:
    true = _check_numbers("teacher", teacher)
    as_many = not is_bank or (true.ndim > 1 and len(true) == shape[0])
    if true.size != np.prod(shape) or not as_many:
        raise ValueError(
            f"teacher must have the shape {shape} of the learned filters, or one that "
            f"reshapes to it, got {true.shape}."
        )
    return true.reshape(shape)


def _check_numbers(name: str, given: ArrayLike) -> FloatArray:
    array: FloatArray = check_array(
        given,
        input_name=name,
        dtype=np.float64,
        ensure_2d=False,
        allow_nd=True,
        ensure_min_samples=0,
        ensure_min_features=0,
    )
    if array.size == 0:
        raise ValueError(f"{name} must not be empty, got the shape {array.shape}.")
    return array


def _check_titles(titles: Sequence[str] | None, n_filters: int) -> list[str]:
    if titles is None:
        return [""] * n_filters
    titles = list(titles)
    if len(titles) != n_filters:
        raise ValueError(f"titles must have {n_filters} entries, got {len(titles)}.")
    return titles


def _check_axes(
    given: Axes | Sequence[Axes] | NDArray[np.object_], n_panels: int
) -> NDArray[np.object_]:
    axes = np.atleast_1d(np.asarray(given, dtype=object))
    if axes.size != n_panels:
        raise ValueError(
            f"axes must have {n_panels} entries, one for every panel, got {axes.size}."
        )
    return axes


def _new_axes(
    filters: FloatArray, n_channels: int, n_cols: int | None
) -> NDArray[np.object_]:
    """Axes of a new figure, shape (n_rows, n_cols), None where there is no panel."""
    import matplotlib.pyplot as plt

    if n_cols is not None:
        check_scalar(n_cols, "n_cols", Integral, min_val=1)
    # Panels that follow each other in rows: all filters, or the channels of one.
    n_groups, length = len(filters), n_channels
    if n_channels == 1:
        n_groups, length = 1, len(filters)
    rows = -(-length // (n_cols or _MAX_COLS))
    n_cols = min(n_cols, length) if n_cols else -(-length // rows)
    width = np.clip(_ROW_WIDTH / n_cols, _MIN_WIDTH, _MAX_WIDTH)
    ratio, layout = 0.75, "constrained"
    if filters.ndim > 2:
        ratio = np.clip(filters.shape[1] / filters.shape[2], *_SQUARE_PIXELS)
        # Moves images together whose pixels are square.
        layout = "compressed"
    n_rows = n_groups * rows
    # Room for the colour bar or the numbers at the left, for a line of text above every
    # panel, and for the numbers below curves.
    size = (n_cols * width + 0.9, n_rows * (width * ratio + 0.3))
    if filters.ndim == 2:
        size = (size[0], size[1] + 0.5)
    figure = plt.figure(figsize=size, layout=layout)
    axes = figure.subplots(n_rows, n_cols, squeeze=False)
    for ax in axes.reshape(n_groups, -1)[:, length:].flat:
        ax.remove()
    axes.reshape(n_groups, -1)[:, length:] = None
    return axes


def _draw_images(
    panels: list[Axes], filters: FloatArray, cmap: str | Colormap
) -> list[AxesImage]:
    """Images of the filters, one for every channel, on one symmetric scale."""
    scale = np.abs(filters).max() or 1.0
    if filters.ndim == 4:
        filters = np.moveaxis(filters, 3, 1).reshape(-1, *filters.shape[1:3])
    lowest, highest = _SQUARE_PIXELS
    square = lowest <= filters.shape[1] / filters.shape[2] <= highest
    style: dict[str, Any] = {"cmap": cmap, "aspect": "equal" if square else "auto"}
    images = []
    for ax, image in zip(panels, filters, strict=True):
        images.append(ax.imshow(image, vmin=-scale, vmax=scale, **style))
        ax.set(xticks=[], yticks=[])
    return images


def _draw_colorbar(
    axes: NDArray[np.object_], panels: list[Axes], image: AxesImage
) -> Colorbar:
    """The scale of the colours: as high as the last panel, or as all rows of panels."""
    figure = panels[0].figure
    n_rows = axes.shape[0] if axes.ndim == 2 else 1
    if n_rows == 1:
        return figure.colorbar(image, cax=panels[-1].inset_axes((1.05, 0, 0.06, 1)))
    # Next to many rows it would be as wide as a panel.
    return figure.colorbar(image, ax=panels, aspect=10 * n_rows)


def _draw_curves(panels: list[Axes], filters: FloatArray) -> list[Line2D]:
    """Lines through the entries of filters (n_filters, length), in the same limits."""
    from matplotlib.ticker import MaxNLocator

    low, high = min(filters.min(), 0.0), max(filters.max(), 0.0)
    margin = 0.08 * (high - low) or 1.0
    entries = np.arange(filters.shape[1])
    stems = len(entries) <= _MAX_STEMS
    style: dict[str, Any] = {}
    if stems:
        style = {"linestyle": "none", "marker": "o", "markersize": 4}
    lines = []
    for ax, weights in zip(panels, filters, strict=True):
        ax.axhline(0, color="0.5", linewidth=0.8)
        if stems:
            ax.vlines(entries, 0, weights, color="C0", linewidth=1.5)
        lines += ax.plot(entries, weights, color="C0", **style)
        ax.set_ylim(low - margin, high + margin)
        whole = MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
        ax.xaxis.set_major_locator(whole)
    return lines


def _label_curves(axes: NDArray[np.object_], own: bool) -> None:
    """Label the outermost axes; in a figure of their own the others need no numbers."""
    for index, ax in np.ndenumerate(axes):
        if ax is None:
            continue
        place = ax.get_subplotspec()
        left = place is None or place.is_first_col()
        bottom = place is None or place.is_last_row()
        if own:
            bottom = not any(axes[index[0] + 1 :, index[1]])
            ax.tick_params(labelleft=left, labelbottom=bottom)
        if left:
            ax.set_ylabel("weight")
        if bottom:
            ax.set_xlabel("entry")


def _write_titles(
    panels: list[Axes], titles: list[str], n_channels: int, crowded: bool
) -> None:
    """Name the filters, above their panel or to the left of the first of their channels."""
    size = "small" if crowded else "medium"
    if n_channels == 1:
        for ax, title in zip(panels, titles, strict=True):
            ax.set_title(title, fontsize=size)
        return
    for number, ax in enumerate(panels):
        which, channel = divmod(number, n_channels)
        ax.set_title(f"channel {channel}", fontsize=size)
        if channel == 0:
            ax.set_ylabel(titles[which])
