"""Convolutions in plain loops over images, apart from the stride logic of the package."""

from itertools import product
from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from skconvfilter.kernels.layout import PatchLayout


class NaiveConvolution(NamedTuple):
    """A window moving over an image of any number of axes, channels last if any."""

    image_shape: tuple[int, ...]
    channels: tuple[int, ...]
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @property
    def sample_shape(self):
        return (*self.image_shape, *self.channels)

    @property
    def n_features(self):
        return int(np.prod(self.sample_shape))

    @property
    def window_shape(self):
        return (*self.kernel_size, *self.channels)

    @property
    def patch_dim(self):
        return int(np.prod(self.window_shape))

    @property
    def starts(self):
        """Where windows begin on each axis: as long as the last tap is on the padding."""
        return [
            range(-pad, size + pad - dilation * (taps - 1), stride)
            for size, pad, dilation, taps, stride in zip(
                self.image_shape,
                self.padding,
                self.dilation,
                self.kernel_size,
                self.stride,
                strict=True,
            )
        ]

    @property
    def grid_shape(self):
        return tuple(len(starts) for starts in self.starts)


def naive_patches(samples, convolution):
    """Patches (n_samples, n_patches, patch_dim) of flat samples."""
    images = samples.reshape(len(samples), *convolution.sample_shape)
    return np.stack([_patches_of_one(image, convolution) for image in images])


def _patches_of_one(image, convolution):
    nothing = np.zeros(convolution.channels, dtype=image.dtype)
    taps = [
        range(0, size * dilation, dilation)
        for size, dilation in zip(
            convolution.kernel_size, convolution.dilation, strict=True
        )
    ]
    patches = []
    for start in product(*convolution.starts):
        patch = []
        for tap in product(*taps):
            pixel = tuple(a + b for a, b in zip(start, tap, strict=True))
            sizes = zip(pixel, convolution.image_shape, strict=True)
            inside = all(0 <= index < size for index, size in sizes)
            patch.append(image[pixel] if inside else nothing)
        patches.append(np.ravel(patch))
    return np.array(patches)


def naive_active_means(patches, filters):
    """Mean over k of 1{w . Z_i > 0} Z_i, shape (n_samples, n_filters, patch_dim)."""
    patches, filters = np.float64(patches), np.float64(filters)
    means = np.zeros((len(patches), filters.shape[1], patches.shape[2]))
    for s, sample in enumerate(patches):
        for r, w in enumerate(filters.T):
            for patch in sample:
                if sum(patch * w) > 0:
                    means[s, r] += patch
            means[s, r] /= len(sample)
    return means


def naive_values(patches, filters):
    """Mean over k of relu(w . Z_i), shape (n_samples, n_filters)."""
    return np.array(
        [
            [np.mean([max(0.0, float(patch @ w)) for patch in sample]) for w in filters.T]
            for sample in np.float64(patches)
        ]
    )


def window_layout(convolution):
    """The layout of a convolution without padding, read off NumPy's window view."""
    n_axes = len(convolution.image_shape)
    reach = [
        dilation * (taps - 1) + 1
        for dilation, taps in zip(
            convolution.dilation, convolution.kernel_size, strict=True
        )
    ]
    # One byte an element: strides count elements.
    image = np.zeros(convolution.sample_shape, dtype=np.int8)
    windows = np.lib.stride_tricks.sliding_window_view(image, reach, tuple(range(n_axes)))
    if convolution.channels:
        windows = np.moveaxis(windows, n_axes, -1)
    windows = windows[
        (
            *(slice(None, None, stride) for stride in convolution.stride),
            *(slice(None, None, dilation) for dilation in convolution.dilation),
        )
    ]
    return PatchLayout(
        windows.shape[:n_axes],
        windows.strides[:n_axes],
        windows.shape[n_axes:],
        windows.strides[n_axes:],
    )


@st.composite
def convolutions(draw, max_axes=3, padded=True, max_taps=(3, 3, 3)):
    """Any small convolution; `max_taps` on an axis if there are one, two or three."""
    n_axes = draw(st.integers(1, max_axes))

    def per_axis(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(n_axes))

    kernel_size = per_axis(1, max_taps[n_axes - 1])
    stride, dilation = per_axis(1, 3), per_axis(1, 2)
    padding = per_axis(0, 2 if padded else 0)
    # The image is as large as the window, and up to three larger.
    image_shape = tuple(
        max(1, dilation * (taps - 1) + 1 - 2 * pad + more)
        for dilation, taps, pad, more in zip(
            dilation, kernel_size, padding, per_axis(0, 3), strict=True
        )
    )
    channels = draw(st.sampled_from([(), (1,), (3,)]))
    return NaiveConvolution(image_shape, channels, kernel_size, stride, padding, dilation)
