"""Panels with a filter, or a channel of one, each."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_scalar

# Panels in a row, unless the user asks for another number.
_MAX_COLS = 8
# Width in inches of a row of panels, and of its panels at least and at most.
_ROW_WIDTH, _MIN_WIDTH, _MAX_WIDTH = 10.0, 1.25, 2.6
# Up to this length a filter is drawn with a stem at every entry, beyond it as a line.
_MAX_STEMS = 64
# Between these ratios of height to width images have square pixels; beyond them they
# are stretched to the nearer one, or they would be too narrow to read.
_SQUARE_PIXELS = 1 / 3, 3.0


def new_axes(filters, n_channels, n_cols):
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


def draw_images(panels, filters, cmap):
    """Images of the filters, one for every channel, on one symmetric scale."""
    scale = np.abs(filters).max() or 1.0
    if filters.ndim == 4:
        filters = np.moveaxis(filters, 3, 1).reshape(-1, *filters.shape[1:3])
    lowest, highest = _SQUARE_PIXELS
    square = lowest <= filters.shape[1] / filters.shape[2] <= highest
    style = {"cmap": cmap, "aspect": "equal" if square else "auto"}
    images = []
    for ax, image in zip(panels, filters, strict=True):
        images.append(ax.imshow(image, vmin=-scale, vmax=scale, **style))
        ax.set(xticks=[], yticks=[])
    return images


def draw_colorbar(axes, panels, image):
    """The scale of the colours: as high as the last panel, or as all rows of panels."""
    figure = panels[0].figure
    n_rows = axes.shape[0] if axes.ndim == 2 else 1
    if n_rows == 1:
        return figure.colorbar(image, cax=panels[-1].inset_axes([1.05, 0, 0.06, 1]))
    # Beside many rows it would be as wide as a panel.
    return figure.colorbar(image, ax=panels, aspect=10 * n_rows)


def draw_curves(panels, filters):
    """Lines through the entries of filters (n_filters, length), in the same limits."""
    from matplotlib.ticker import MaxNLocator

    low, high = min(filters.min(), 0.0), max(filters.max(), 0.0)
    margin = 0.08 * (high - low) or 1.0
    entries = np.arange(filters.shape[1])
    stems = len(entries) <= _MAX_STEMS
    lines = []
    for ax, weights in zip(panels, filters, strict=True):
        ax.axhline(0, color="0.5", linewidth=0.8)
        if stems:
            ax.vlines(entries, 0, weights, color="C0", linewidth=1.5)
        style = {"linestyle": "none", "marker": "o", "markersize": 4} if stems else {}
        lines += ax.plot(entries, weights, color="C0", **style)
        ax.set_ylim(low - margin, high + margin)
        whole = MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
        ax.xaxis.set_major_locator(whole)
    return lines


def label_curves(axes, own):
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


def write_titles(panels, titles, n_channels, crowded):
    """Name the filters, above their panel or beside the first of their channels."""
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
