"""The order of the gallery, and thumbnails that show one panel of a figure."""

from pathlib import Path

from matplotlib import pyplot as plt
from sphinx_gallery.scrapers import matplotlib_scraper

# The quick start first; the figures of the paper in the paper's order.
ORDER = [
    "plot_quickstart.py",
    "plot_signal_filter.py",
    "plot_colour_images.py",
    "plot_mnist_grid_search.py",
    "plot_weights_and_noise.py",
    "plot_window_size.py",
    "plot_stroke_thickness.py",
    "plot_slant.py",
    "plot_filter_bank.py",
    "plot_filter_bank_images.py",
    "plot_figure_3a_smoothness.py",
    "plot_figure_3b_closeness.py",
    "plot_figures_3c_3d_mnist.py",
    "plot_figures_4_5_filters.py",
    "plot_two_stage_learning_rate.py",
    "plot_random_restarts.py",
    "plot_beyond_the_paper.py",
]
# How the title of the panel in a thumbnail begins; elsewhere it is the largest panel.
PANELS = {
    "plot_colour_images.py": "Response",
    "plot_figures_3c_3d_mnist.py": "3d",
    "plot_quickstart.py": "learned",
    "plot_signal_filter.py": "Filter",
}


# Panels in thumbnails are at most this wide in inches, or their labels would be too small.
WIDTH = 4.0


def order(filename):
    """Key to sort examples by; an example that is not listed stops the build."""
    return ORDER.index(filename)


def scrape(block, block_vars, gallery_conf):
    """The figures of an example, after an image of one panel for the thumbnail.

    The first image becomes the thumbnail; pages show the others only.
    """
    numbers = plt.get_fignums()
    if numbers and not len(block_vars["image_path_iterator"]):
        figure = plt.figure(numbers[0])
        figure.canvas.draw()
        title = PANELS.get(Path(block_vars["src_file"]).name, "")
        panels = [ax for ax in figure.axes if ax.get_title().startswith(title)]
        panel = max(panels, key=lambda ax: ax.bbox.width * ax.bbox.height)
        size = figure.get_size_inches()
        narrower = min(1, WIDTH * figure.dpi / panel.bbox.width)
        figure.set_size_inches(size[0] * narrower, size[1])
        figure.canvas.draw()
        # Another pass of the layout, when the image is saved, would move the panel.
        engine = figure.get_layout_engine()
        figure.set_layout_engine("none")
        inches = panel.get_tightbbox().transformed(figure.dpi_scale_trans.inverted())
        path = next(block_vars["image_path_iterator"])
        figure.savefig(path, bbox_inches=inches.padded(0.05), dpi=200)
        figure.set_layout_engine(engine)
        figure.set_size_inches(size)
    return matplotlib_scraper(block, block_vars, gallery_conf)
