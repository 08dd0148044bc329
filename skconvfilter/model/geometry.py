"""How samples are cut into patches: from window sizes to offsets into flat samples."""

import math
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skconvfilter.kernels.layout import FloatArray, PatchLayout

Float = TypeVar("Float", bound=np.floating[Any])

# Longer padded samples, and larger steps in them, are mistakes.
_MAX_ELEMENTS = 2**31 - 1


@dataclass(frozen=True)
class PatchGeometry:
    """How samples are cut into patches.

    Parameters
    ----------
    layout : PatchLayout
        Where the patches lie in a flat, padded sample.
    sample_shape : tuple of int
        Shape of one sample before padding.
    padding : tuple of int
        Zeros added at both ends of each axis of `sample_shape`.
    """

    layout: PatchLayout
    sample_shape: tuple[int, ...]
    padding: tuple[int, ...]

    def with_constant(self, value: float) -> "PatchGeometry":
        """The same patches with one more entry of that value; 0: without one."""
        return replace(self, layout=self.layout._replace(constant=value))

    def pad(self, samples: FloatArray) -> FloatArray:
        """Add the zeros of the padding: flat samples in, flat samples out."""
        if not any(self.padding):
            return samples
        images = samples.reshape(len(samples), *self.sample_shape)
        widths = [(0, 0), *((width, width) for width in self.padding)]
        return np.pad(images, widths).reshape(len(samples), -1)


class HasConvolution(Protocol):
    """An estimator that knows how flat samples are cut into patches, fitted or not."""

    kernel_size: Any
    input_shape: Any
    stride: Any
    padding: Any
    dilation: Any


@dataclass(frozen=True)
class Convolution:
    """A convolution window moving over samples, as the user describes it.

    Parameters
    ----------
    kernel_size : int or tuple of int, default=None
        Window of the convolution, one entry per spatial axis; an int is used for every
        axis. None: the whole sample is its one patch.
    input_shape : tuple of int, default=None
        Shape of a flat sample: the spatial axes and, if there is one axis more than
        `kernel_size` has, the channels last; for an int `kernel_size`, three axes are
        height, width and channels. None: a one-dimensional signal, (n_features,).
    stride, padding, dilation : int or tuple of int, default=1, 0, 1
        As in ``torch.nn.Conv2d``: step of the window, zeros added at both ends of each
        spatial axis, and step between the taps of the window.
    """

    kernel_size: int | tuple[int, ...] | None = None
    input_shape: tuple[int, ...] | None = None
    stride: int | tuple[int, ...] = 1
    padding: int | tuple[int, ...] = 0
    dilation: int | tuple[int, ...] = 1

    @classmethod
    def of(cls, estimator: HasConvolution) -> "Convolution":
        """The convolution of an estimator, fitted or not.

        An estimator that was fitted to images as such knows their shape from them.

        Raises
        ------
        TypeError
            For an object without these parameters.
        """
        try:
            given = cls(*(getattr(estimator, field.name) for field in fields(cls)))
        except AttributeError as error:
            raise TypeError(
                "estimator must have the parameters kernel_size, input_shape, stride, "
                f"padding and dilation, such as ConvPatchExtractor(3), got {estimator!r}."
            ) from error
        if given.kernel_size is None or given.input_shape is not None:
            return given
        return replace(given, input_shape=getattr(estimator, "input_shape_", None))

    def of_samples(self, shape: tuple[int, ...]) -> "Convolution":
        """The same for samples of that shape, which is not flat, and so `input_shape`.

        Raises
        ------
        ValueError
            If the shape is not `input_shape`, or if it is not clear which axes the window
            moves along.
        """
        if self.input_shape is not None:
            given = integers("input_shape", self.input_shape, minimum=1)
            if given != shape:
                raise ValueError(
                    f"X holds samples of shape {shape}, but input_shape={given}. Flat "
                    "samples, X.reshape(len(X), -1), are read as input_shape says."
                )
            return self
        window = integers("kernel_size", self.kernel_size, minimum=1)
        if isinstance(self.kernel_size, Integral):
            m = window[0]
            raise ValueError(
                f"kernel_size={m} does not determine along which axes of samples of shape "
                f"{shape} the window moves. Use kernel_size={(m,)} for signals, {(m,) * 2} "
                f"for images and {(m,) * 3} for volumes, all with or without a last axis "
                f"of channels, or give input_shape={shape}."
            )
        if len(shape) == len(window) + 1 and shape[0] < shape[-1]:
            all_channels = (shape[0], *window)
            raise ValueError(
                f"Samples of shape {shape} with kernel_size={window} would have "
                f"{shape[-1]} channels. If the channels are the first axis, use "
                f"kernel_size={all_channels}: that window covers all channels and needs no "
                f"transposed X. If they are the last, give input_shape={shape}."
            )
        if len(shape) - len(window) not in (0, 1):
            raise ValueError(
                f"kernel_size={window} has {len(window)} axes, but X holds samples of "
                f"shape {shape}, which must have as many, or one more for the channels. "
                "If X holds patches already, use kernel_size=None."
            )
        return replace(self, input_shape=shape)

    def geometry(self, n_features: int) -> PatchGeometry:
        """How flat samples of that length are cut into patches.

        Raises
        ------
        TypeError, ValueError
            Naming the parameter that is wrong and what it should be.
        """
        if self.kernel_size is None:
            self._refuse_without_window()
            layout = PatchLayout((1,), (n_features,), (n_features,), (1,))
            return PatchGeometry(layout, (n_features,), (0,))
        window = integers("kernel_size", self.kernel_size, minimum=1)
        if self.input_shape is None:
            self._refuse_several_axes()
        input_shape = _check_input_shape(self.input_shape, n_features)
        if isinstance(self.kernel_size, Integral):
            n_axes = _n_axes_of_any(input_shape)
        else:
            n_axes = _n_axes_of(window, input_shape)
        kernel_size = per_axis("kernel_size", window, n_axes, minimum=1)
        stride = per_axis("stride", self.stride, n_axes, minimum=1)
        padding = per_axis("padding", self.padding, n_axes, minimum=0)
        dilation = per_axis("dilation", self.dilation, n_axes, minimum=1)
        channels = input_shape[n_axes:]
        padded = [n + 2 * pad for n, pad in zip(input_shape, padding, strict=False)]
        reach = [d * (n - 1) + 1 for n, d in zip(kernel_size, dilation, strict=True)]
        grid_shape = tuple(
            (n - r) // step + 1 for n, r, step in zip(padded, reach, stride, strict=True)
        )
        if min(grid_shape) < 1:
            raise ValueError(
                f"kernel_size={kernel_size} with dilation={dilation} reaches over "
                f"{tuple(reach)} entries, but a padded sample has {tuple(padded)} "
                f"(n_features={n_features}). Use a smaller kernel_size or more padding."
            )
        if math.prod((*padded, *channels)) > _MAX_ELEMENTS:
            raise ValueError(
                f"padding={padding} makes samples longer than {_MAX_ELEMENTS}."
            )
        steps = _row_major_strides((*padded, *channels))
        layout = PatchLayout(
            grid_shape=grid_shape,
            grid_strides=tuple(s * step for s, step in zip(stride, steps, strict=False)),
            window_shape=(*kernel_size, *channels),
            window_strides=(
                *(d * step for d, step in zip(dilation, steps, strict=False)),
                *steps[n_axes:],
            ),
        )
        return PatchGeometry(layout, input_shape, (*padding, *(0 for _ in channels)))

    def _refuse_several_axes(self) -> None:
        least = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1}
        for name, minimum in least.items():
            value = integers(name, getattr(self, name), minimum)
            if len(value) > 1:
                raise ValueError(
                    f"{name}={value} has several axes: input_shape must say how a row of X "
                    "is laid out, such as input_shape=(28, 28)."
                )

    def _refuse_without_window(self) -> None:
        # Each default is also the least value allowed.
        defaults = {"stride": 1, "padding": 0, "dilation": 1}
        wrong = [
            name
            for name, default in defaults.items()
            if set(integers(name, getattr(self, name), minimum=default)) != {default}
        ]
        if self.input_shape is not None:
            wrong.insert(0, "input_shape")
        if wrong:
            raise ValueError(
                f"{', '.join(wrong)} has no meaning without kernel_size: with "
                "kernel_size=None each row of X is one patch. Give kernel_size too."
            )


def split_bias(filters: FloatArray, constant: float) -> tuple[FloatArray, FloatArray]:
    """Weights (..., window_size) and biases (...,) of filters (..., patch_dim).

    The bias is the weight of the constant entry of the patches, times its value; 0 if
    there is none.
    """
    if constant == 0:
        return filters, np.zeros(filters.shape[:-1], filters.dtype)
    # Contiguous, as they come out of a file: joblib.hash tells layouts apart.
    weights = np.ascontiguousarray(filters[..., :-1])
    return weights, filters[..., -1] * filters.dtype.type(constant)


def join_bias(coef: NDArray[Float], bias: ArrayLike, constant: float) -> NDArray[Float]:
    """Filters (..., patch_dim) from weights and biases, which need a constant entry."""
    if constant == 0:
        return coef
    last = np.broadcast_to(np.asarray(bias) / constant, coef.shape[:-1])
    return np.concatenate([coef, last[..., np.newaxis].astype(coef.dtype)], axis=-1)


def flatten_windows(X: FloatArray) -> tuple[FloatArray, PatchGeometry]:
    """Flat samples and geometry behind an array of patches, without a copy if possible.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_patches, patch_dim) or (n_samples, *grid, *window)
        Patches as given, or a strided window view such as that of
        ``numpy.lib.stride_tricks.sliding_window_view``; of the axes after the first, the
        first half (rounded down) is the grid.

    Returns
    -------
    samples : ndarray of shape (n_samples, n_features)
        A view of the memory behind `X` where every sample of a view lies within no more
        elements than `X` shows of it, else a contiguous copy.
    geometry : PatchGeometry
    """
    n_grid = (X.ndim - 1) // 2
    if not _flat_view_exists(X):
        X = np.ascontiguousarray(X)
    steps = tuple(stride // X.itemsize for stride in X.strides[1:])
    layout = PatchLayout(
        X.shape[1 : 1 + n_grid], steps[:n_grid], X.shape[1 + n_grid :], steps[n_grid:]
    )
    samples = np.lib.stride_tricks.as_strided(
        X, (len(X), layout.span), (X.strides[0], X.itemsize), writeable=False
    )
    return samples, PatchGeometry(layout, (layout.span,), (0,))


def _flat_view_exists(X: FloatArray) -> bool:
    strides = X.strides[1:]
    if min(strides) < 0 or any(stride % X.itemsize for stride in X.strides):
        return False
    reach = sum((n - 1) * s for n, s in zip(X.shape[1:], strides, strict=True))
    span = reach // X.itemsize + 1
    return span <= math.prod(X.shape[1:])


def _row_major_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _check_input_shape(input_shape: Any, n_features: int) -> tuple[int, ...]:
    if input_shape is None:
        return (n_features,)
    shape = integers("input_shape", input_shape, minimum=1)
    if math.prod(shape) != n_features:
        raise ValueError(
            f"input_shape={shape} has {math.prod(shape)} entries, but X has "
            f"{n_features} features (n_features={n_features})."
        )
    return shape


def _n_axes_of(window: tuple[int, ...], input_shape: tuple[int, ...]) -> int:
    """Spatial axes where kernel_size is a tuple: one each."""
    if len(input_shape) - len(window) not in (0, 1):
        raise ValueError(
            f"kernel_size={window} has {len(window)} axes; input_shape={input_shape} "
            "must have as many, or one more for the channels."
        )
    return len(window)


def _n_axes_of_any(input_shape: tuple[int, ...]) -> int:
    """Spatial axes where kernel_size is an int: the third of three is the channels."""
    if len(input_shape) > 3:
        raise ValueError(
            f"input_shape={input_shape} has {len(input_shape)} axes: give kernel_size "
            "as a tuple, so that it is clear which axes the window moves along."
        )
    return min(len(input_shape), 2)


def per_axis(name: str, value: Any, n_axes: int, minimum: int) -> tuple[int, ...]:
    """One int for each spatial axis, from an int for all of them or a tuple.

    Raises
    ------
    TypeError, ValueError
        Naming the parameter.
    """
    values = integers(name, value, minimum)
    if len(values) == 1:
        return values * n_axes
    if len(values) != n_axes:
        raise ValueError(
            f"{name}={values} must be one int or have {n_axes} entries, one per axis of "
            "the window."
        )
    return values


def integers(name: str, value: Any, minimum: int) -> tuple[int, ...]:
    """The ints of a parameter that is an int or a tuple of ints, as a tuple.

    Raises
    ------
    TypeError, ValueError
        Naming the parameter.
    """
    try:
        values = (value,) if isinstance(value, Integral) else tuple(value)
    except TypeError:
        values = (value,)
    for entry in values:
        if isinstance(entry, bool | np.bool_) or not isinstance(entry, Integral):
            raise TypeError(f"{name} must be an int or a tuple of ints, got {value!r}.")
        if int(entry) < minimum:
            raise ValueError(f"{name} must be at least {minimum}, got {value!r}.")
        if int(entry) > _MAX_ELEMENTS:
            raise ValueError(f"{name} must be at most {_MAX_ELEMENTS}, got {value!r}.")
    if not values:
        raise ValueError(f"{name} must not be empty.")
    return tuple(int(entry) for entry in values)
