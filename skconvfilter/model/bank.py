"""A bank of filters: its parts, its values and their derivatives, block by block."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skconvfilter.kernels.dispatch import kernel
from skconvfilter.kernels.layout import FloatArray, PatchLayout
from skconvfilter.kernels.reference import patch_windows
from skconvfilter.model.activations import ACTIVATIONS, Activation
from skconvfilter.model.forward import MapBlocks, pack, row_blocks
from skconvfilter.model.geometry import PatchGeometry
from skconvfilter.model.validation import real_array

POOLINGS = ("sum", "mean")

# Patches from which on one matrix product per sample, which stays in cache, is faster
# than one for the block.
_MIN_PATCHES = 8


def bank_values(
    samples: FloatArray,
    geometry: PatchGeometry,
    W: FloatArray,
    activation: Activation,
    *,
    output_weights: FloatArray | None = None,
    pooling: str = "sum",
    map_blocks: MapBlocks = map,
) -> NDArray[np.float64]:
    r"""Values of a bank of filters, shape (n_samples,), float64.

    .. math::

        f(W, Z) = s \sum_{j=1}^t v_j \sum_{i=1}^k \phi(w_j \cdot Z_i)

    over the k patches of a sample and the t filters, with :math:`s = 1` for the sum over
    patches and :math:`s = 1 / k` for their mean.

    Parameters
    ----------
    samples : ndarray of shape (n_samples, n_features), float32 or float64
        Flat samples; preactivations and activations are of their dtype.
    geometry : PatchGeometry
    W : ndarray of shape (patch_dim, n_filters)
        Filters as columns.
    activation : Activation
    output_weights : ndarray of shape (n_filters,), default=None
        The v of the filters. None: all 1, as in [1]_.
    pooling : {"sum", "mean"}, default="sum"
        "sum" is that of [1]_.
    map_blocks : callable, default=map
        Applies a function to an iterable of blocks and yields the results in order.

    Returns
    -------
    values : ndarray of shape (n_samples,), float64

    Raises
    ------
    ValueError
        For another pooling, or filters that are not of the length of a patch.

    References
    ----------
    .. [1] K. Zhong, Z. Song, I. S. Dhillon, "Learning Non-overlapping Convolutional Neural
       Networks with Multiple Kernels", 2017.
    """
    layout = geometry.layout
    scale = pooling_scale(pooling, layout.n_patches)
    v = np.ones(W.shape[1]) if output_weights is None else output_weights
    slope = slope_below_zero(activation)
    if slope is not None:

        def rectified_values(rows: slice) -> NDArray[np.float64]:
            packed = pack(samples[rows], geometry)
            return v @ mean_rectified(packed, layout, W, slope)

        blocks = row_blocks(len(samples), layout.patch_dim)
        values = np.concatenate(list(map_blocks(rectified_values, blocks)))
        return scale * layout.n_patches * values

    def block_values(rows: slice) -> FloatArray:
        patches = block_patches(samples[rows], geometry)
        activations = activation.value(preactivations(patches, W))
        return activations.sum(axis=1, dtype=np.float64) @ v

    blocks = bank_blocks(len(samples), geometry.layout, W.shape[1])
    return scale * np.concatenate(list(map_blocks(block_values, blocks)))


def activation_maps(
    samples: FloatArray, geometry: PatchGeometry, W: FloatArray, activation: Activation
) -> FloatArray:
    """``phi(w_j . Z_i)`` of every filter and patch, shape (n_samples, n_filters, *grid)."""
    layout, n_filters = geometry.layout, W.shape[1]
    maps = np.empty((len(samples), n_filters, layout.n_patches), dtype=samples.dtype)
    for rows in bank_blocks(len(samples), layout, n_filters):
        products = preactivations(block_patches(samples[rows], geometry), W)
        maps[rows] = activation.value(products).transpose(0, 2, 1)
    return maps.reshape(len(samples), n_filters, *layout.grid_shape)


def bank_jacobian(
    patches: FloatArray,
    preactivations: FloatArray,
    activation: Activation,
    weights: FloatArray,
) -> FloatArray:
    r"""Derivatives of a bank's values by its filters, for the patches of one block.

    .. math::

        \partial f / \partial w_j = s\, v_j \sum_{i=1}^k \phi'(w_j \cdot Z_i) Z_i

    Parameters
    ----------
    patches : ndarray of shape (n_samples, n_patches, patch_dim)
        What :func:`block_patches` returned.
    preactivations : ndarray of shape (n_samples, n_patches, n_filters)
        What :func:`preactivations` returned.
    activation : Activation
    weights : ndarray of shape (n_filters,)
        The products s v.

    Returns
    -------
    jacobian : ndarray of shape (n_samples, n_filters, patch_dim), dtype of the patches
    """
    slopes = activation.derivative(preactivations)
    slopes *= weights
    return np.matmul(slopes.transpose(0, 2, 1), patches)


def slope_below_zero(activation: Activation) -> float | None:
    """Of a ReLU or a leaky ReLU, which the kernels compute; None of other activations."""
    if activation.name not in ("relu", "leaky_relu"):
        return None
    return -float(activation.value(np.array(-1.0)))


def mean_rectified(
    packed: Any, layout: PatchLayout, W: FloatArray, slope: float
) -> NDArray[np.float64]:
    r"""Means of a rectifier over the patches, (n_filters, n_samples), by the kernels.

    A leaky ReLU of slope a is :math:`a x + (1 - a) \mathrm{relu}(x)`.
    """
    values = kernel.mean_activations(packed, layout, W).astype(np.float64)
    if slope > 0:
        means = W.T @ kernel.mean_patches(packed, layout)
        values = slope * means + (1 - slope) * values
    return values


def bank_blocks(n_samples: int, layout: PatchLayout, n_filters: int) -> list[slice]:
    """Slices that cut the rows into blocks: all that is made of one stays small.

    That is its patches, a preactivation per patch and filter, and its Jacobian.
    """
    row_elements = max(
        layout.n_patches * max(layout.patch_dim, n_filters), n_filters * layout.patch_dim
    )
    return row_blocks(n_samples, row_elements)


def block_patches(samples: FloatArray, geometry: PatchGeometry) -> FloatArray:
    """The patches of one block, shape (n_samples, n_patches, patch_dim).

    A view where the patches of a sample lie one behind the other and have no constant; else
    a copy in which the patches are innermost, so that its runs in memory are long.
    """
    layout = geometry.layout
    windows = patch_windows(geometry.pad(samples), layout)
    if windows.flags.c_contiguous and not layout.constant:
        return windows.reshape(len(samples), layout.n_patches, layout.patch_dim)
    n_grid = len(layout.grid_shape)
    grid_last = (0, *range(1 + n_grid, windows.ndim), *range(1, 1 + n_grid))
    windows = windows.transpose(grid_last)
    shape = (len(samples), layout.patch_dim, layout.n_patches)
    columns = np.empty(shape, samples.dtype)
    columns[:, : layout.window_size].reshape(windows.shape)[...] = windows
    columns[:, layout.window_size :] = layout.constant
    return columns.transpose(0, 2, 1)


def preactivations(patches: FloatArray, W: FloatArray) -> FloatArray:
    """``W[:, j] . Z_i`` for every patch, (n_samples, n_patches, n_filters), their dtype."""
    W = W.astype(patches.dtype, copy=False)
    if patches.flags.c_contiguous and patches.shape[1] < _MIN_PATCHES:
        flat = patches.reshape(-1, patches.shape[2]) @ W
        return flat.reshape(*patches.shape[:2], -1)
    return np.matmul(patches, W)


def check_activation(activation: str | Activation) -> Activation:
    """An :class:`Activation`, given as such or by its name."""
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str) and activation in ACTIVATIONS:
        return ACTIVATIONS[activation]
    raise ValueError(f"activation must be one of {list(ACTIVATIONS)}, got {activation!r}.")


def check_bank(
    name: str, value: ArrayLike, window_shape: tuple[int, ...] | None = None
) -> NDArray[np.float64]:
    """A bank of filters, in window shape or flat, as a float64 copy (n_filters, p).

    Parameters
    ----------
    name : str
    value : array-like of shape (n_filters, *window) or (n_filters, patch_dim)
    window_shape : tuple of int, default=None
        The shape of a filter. None: any; all but the first axis are the window's.

    Raises
    ------
    TypeError, ValueError
        Naming the parameter.
    """
    array = real_array(name, value)
    if array.ndim < 2 or not array.size:
        raise ValueError(
            f"{name} must hold filters along its first axis, none empty, got the shape "
            f"{array.shape}."
        )
    window = array.shape[1:]
    if window_shape is not None and window not in (window_shape, (np.prod(window_shape),)):
        raise ValueError(
            f"{name} must have the shape (n_filters, *{window_shape}), got {array.shape}."
        )
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be finite.")
    return array.astype(np.float64).reshape(len(array), -1)


def check_output_weights(
    output_weights: ArrayLike | None, n_filters: int, name: str = "output_weights"
) -> NDArray[np.float64]:
    """Output weights, 1 or -1 for every filter, as float64; None is all 1."""
    if output_weights is None:
        return np.ones(n_filters)
    weights = np.asarray(output_weights)
    if weights.shape != (n_filters,) or not np.isin(weights, (1, -1)).all():
        raise ValueError(
            f"{name} must be 1 or -1 for each of the {n_filters} filters, got "
            f"{output_weights!r}."
        )
    return weights.astype(np.float64)


def pooling_scale(pooling: str, n_patches: int) -> float:
    """What the sum over patches is multiplied by."""
    if not isinstance(pooling, str) or pooling not in POOLINGS:
        raise ValueError(f'pooling must be "sum" or "mean", got {pooling!r}.')
    return 1.0 if pooling == "sum" else 1.0 / n_patches
