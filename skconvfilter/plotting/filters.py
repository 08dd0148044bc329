"""Filters side by side on one scale."""

from contextlib import suppress

import numpy as np
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array

from skconvfilter.diagnostics.banks import match_filters
from skconvfilter.model.angles import angles_to
from skconvfilter.plotting.panels import (
    draw_colorbar,
    draw_curves,
    draw_images,
    label_curves,
    new_axes,
    write_titles,
)
from skconvfilter.plotting.validation import fitted_model

# Pairs of a true and a learned filter in a row, unless the user asks for another number.
_MAX_PAIRS = 4


class FilterDisplay:
    """Filters side by side on one scale, such as the true one beside the learned one.

    Filters with two axes are drawn as images with one colour scale for all, symmetric
    about 0. Those with three axes, channels last, have one such image per channel and
    start a row each. Those with one axis are drawn as curves with the same limits.

    It is recommended to use :meth:`from_estimator` or :meth:`from_filters` to create a
    display. All parameters are stored as attributes.

    Parameters
    ----------
    filters : sequence of n_filters array-likes of the same shape
        Each of shape (length,), (height, width) or (height, width, channels).
    titles : sequence of n_filters str, default=None
        What to write above each filter, or beside it where it has channels.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        The panels. On a figure of its own, of shape (n_rows, n_cols) with None where
        there is no panel; else the axes given, in their shape.
    figure_ : matplotlib Figure
        Figure that holds the panels.
    images_ : list of matplotlib AxesImage
        Image of every panel, filter by filter; empty for filters with one axis.
    lines_ : list of matplotlib Line2D
        Curve of every filter; empty for filters with more axes.
    colorbar_ : matplotlib Colorbar or None
        None for filters with one axis or if not asked for.

    See Also
    --------
    ConvergenceDisplay : How the loss fell on the way to a filter.

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

    def __init__(self, *, filters, titles=None):
        self.filters = filters
        self.titles = titles

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        teacher=None,
        axes=None,
        n_cols=None,
        cmap="RdBu_r",
        colorbar=True,
    ):
        """Draw what an estimator has learned, beside the true filters if they are known.

        Parameters
        ----------
        estimator : estimator instance
            A fitted one with ``filter_``, such as
            :class:`~skconvfilter.ConvReLUFilterRegressor`, or with ``filters_``, a bank;
            or a fitted pipeline of which it is the last step.
        teacher : array-like, default=None
            The true filter, in the shape of ``estimator.filter_`` or any that reshapes
            to it. It is drawn first, and the learned filter's title tells the angle
            between the two in degrees. For a bank it holds all true filters, in the
            shape of ``estimator.filters_`` or with flat filters. Each is followed by the
            learned filter that :func:`~skconvfilter.diagnostics.match_filters` finds for
            it; titles tell the number of either in its own bank.
        axes : matplotlib Axes or array-like of Axes, default=None
            One for every filter, or for every channel of the first filter, then of the
            second, and so on. None: a new figure.
        n_cols : int, default=None
            Most panels in a row of a new figure. None: 8, in rows of equal length as
            far as that goes, without parting a true filter from the learned one.
        cmap : str or matplotlib Colormap, default="RdBu_r"
            Colours of images; the one in the middle stands for 0.
        colorbar : bool, default=True
            Whether to draw the scale of the colours beside the images.

        Returns
        -------
        display : FilterDisplay
            The display, drawn.

        Raises
        ------
        NotFittedError
            If the estimator has neither ``filter_`` nor ``filters_``.
        ValueError
            If `teacher` has another number of entries than what was learned.

        See Also
        --------
        FilterDisplay.from_filters : Draw filters at hand.

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
        filters, titles = bank, [f"learned{number}" for number in numbers]
        if teacher is not None:
            teacher = _check_teacher(teacher, learned.shape, is_bank).reshape(bank.shape)
            filters, titles = _pairs(teacher, bank, numbers)
            if n_cols is None and bank.ndim < 4:
                n_cols = _even_n_cols(len(bank))
        display = cls(filters=filters, titles=titles)
        return display.plot(axes, n_cols=n_cols, cmap=cmap, colorbar=colorbar)

    @classmethod
    def from_filters(
        cls,
        filters,
        *,
        titles=None,
        axes=None,
        n_cols=None,
        cmap="RdBu_r",
        colorbar=True,
    ):
        """Draw filters at hand.

        Parameters
        ----------
        filters : sequence of n_filters array-likes of the same shape
            Each of shape (length,), (height, width) or (height, width, channels). An
            array holds the filters along its first axis.
        titles : sequence of n_filters str, default=None
            What to write above each filter, or beside it where it has channels.
        axes : matplotlib Axes or array-like of Axes, default=None
            One for every filter, or for every channel of the first filter, then of the
            second, and so on. None: a new figure.
        n_cols : int, default=None
            Most panels in a row of a new figure. None: 8, in rows of equal length as
            far as that goes.
        cmap : str or matplotlib Colormap, default="RdBu_r"
            Colours of images; the one in the middle stands for 0.
        colorbar : bool, default=True
            Whether to draw the scale of the colours beside the images.

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

    def plot(self, axes=None, *, n_cols=None, cmap="RdBu_r", colorbar=True):
        """Draw the filters.

        Parameters
        ----------
        axes : matplotlib Axes or array-like of Axes, default=None
            One for every filter, or for every channel of the first filter, then of the
            second, and so on. None: a new figure.
        n_cols : int, default=None
            Most panels in a row of a new figure. None: 8, in rows of equal length as
            far as that goes.
        cmap : str or matplotlib Colormap, default="RdBu_r"
            Colours of images; the one in the middle stands for 0.
        colorbar : bool, default=True
            Whether to draw the scale of the colours beside the images.

        Returns
        -------
        display : FilterDisplay
            The display itself, with the attributes that end in an underscore set.

        Raises
        ------
        ValueError
            If the filters are not finite, differ in shape or have more than three axes,
            or if there is another number of titles than of filters, or of axes than of
            panels.
        """
        filters = _check_filters(self.filters)
        titles = _check_titles(self.titles, len(filters))
        n_channels = filters.shape[3] if filters.ndim == 4 else 1
        if axes is None:
            self.axes_ = new_axes(filters, n_channels, n_cols)
        else:
            self.axes_ = _check_axes(axes, len(filters) * n_channels)
        panels = [ax for ax in self.axes_.flat if ax is not None]
        self.figure_ = panels[0].figure
        self.images_, self.lines_, self.colorbar_ = [], [], None
        if filters.ndim == 2:
            self.lines_ = draw_curves(panels, filters)
            label_curves(self.axes_, own=axes is None)
        else:
            self.images_ = draw_images(panels, filters, cmap)
            if colorbar:
                self.colorbar_ = draw_colorbar(self.axes_, panels, self.images_[0])
        write_titles(panels, titles, n_channels, crowded=self.axes_.shape[-1] > 4)
        return self


def _learned(estimator):
    """What an estimator has learned, and whether it is a bank of filters."""
    with suppress(NotFittedError):
        return fitted_model(estimator, "filters_").filters_, True
    return fitted_model(estimator, "filter_").filter_, False


def _pairs(teacher, bank, numbers):
    """Every true filter followed by the learned one that is matched with it."""
    filters, titles = [], []
    for true, j, number in zip(teacher, match_filters(bank, teacher), numbers, strict=True):
        angle = np.degrees(angles_to(true.ravel(), bank[j].ravel()))
        note = "" if np.isnan(angle) else f" ({angle:.1f}°)"
        filters += [true, bank[j]]
        titles += [f"true{number}", f"learned{numbers[j]}{note}"]
    return filters, titles


def _even_n_cols(n_pairs):
    """Most panels in a row, such that no pair is parted and rows are of one length."""
    rows = -(-n_pairs // _MAX_PAIRS)
    return 2 * -(-n_pairs // rows)


def _check_filters(filters):
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


def _check_teacher(teacher, shape, is_bank):
    teacher = _check_numbers("teacher", teacher)
    as_many = not is_bank or (teacher.ndim > 1 and len(teacher) == shape[0])
    if teacher.size != np.prod(shape) or not as_many:
        raise ValueError(
            f"teacher must have the shape {shape} of what was learned, or one that "
            f"reshapes to it, got {teacher.shape}."
        )
    return teacher.reshape(shape)


def _check_numbers(name, array):
    array = check_array(
        array,
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


def _check_titles(titles, n_filters):
    if titles is None:
        return [""] * n_filters
    titles = list(titles)
    if len(titles) != n_filters:
        raise ValueError(f"titles must have {n_filters} entries, got {len(titles)}.")
    return titles


def _check_axes(axes, n_panels):
    axes = np.atleast_1d(np.asarray(axes, dtype=object))
    if axes.size != n_panels:
        raise ValueError(
            f"axes must have {n_panels} entries, one for every panel, got {axes.size}."
        )
    return axes
