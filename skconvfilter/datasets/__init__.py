"""Data from known filters, distributions of the paper, MNIST, and padding of patches."""

from skconvfilter.datasets.filters import gabor_filter, random_filter
from skconvfilter.datasets.mnist import load_mnist
from skconvfilter.datasets.padding import pad_patches
from skconvfilter.datasets.patches import make_angular_patches, make_close_patches
from skconvfilter.datasets.regression import (
    make_filter_bank_regression,
    make_filter_regression,
)

__all__ = [
    "gabor_filter",
    "load_mnist",
    "make_angular_patches",
    "make_close_patches",
    "make_filter_bank_regression",
    "make_filter_regression",
    "pad_patches",
    "random_filter",
]
