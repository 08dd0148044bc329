"""Samples in any form that users pass, for functions that are not estimators."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_array

from skconvfilter.model.containers import contents, is_dask
from skconvfilter.model.geometry import Convolution, PatchGeometry, flatten_windows
from skconvfilter.model.process_state import sklearn_checks


def refuse_lazy_and_masked(array: object, name: str) -> None:
    """Raise where NumPy would silently load, or unmask, an array."""
    if is_dask(array):
        raise TypeError(
            f"{name} is a dask array, which would be loaded into memory whole. If it fits "
            f"there, pass {name}.compute(), else one block after the other: "
            f"{name}.blocks[i].compute()."
        )
    refuse_masked(array, name)


def refuse_masked(array: object, name: str) -> None:
    """Raise where NumPy would silently unmask an array."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array, whose mask would be ignored. "
            f"Fill it, {name}.filled(value), or drop the masked samples."
        )


def check_any_samples(X: ArrayLike) -> NDArray[Any]:
    """The array of samples: flat ones, patches, or a window view.

    Raises
    ------
    TypeError, ValueError
        For dask and masked arrays, fewer than two axes, empty ones and numbers that are not
        finite.
    """
    X = contents(X, "X")
    refuse_lazy_and_masked(X, "X")
    with sklearn_checks():
        array: NDArray[Any] = check_array(X, input_name="X", ensure_2d=False, allow_nd=True)
    if array.ndim < 2 or not array.size:
        raise ValueError(f"X must have at least two axes, none empty, got {array.shape}.")
    return array


def cut_into_patches(
    X: NDArray[Any],
    convolution: Convolution,
    constant: float = 0.0,
    rows: slice | NDArray[np.integer[Any]] = slice(None),
) -> tuple[NDArray[np.float64], PatchGeometry]:
    """Flat float64 samples and their geometry.

    Parameters
    ----------
    X : ndarray
        What :func:`check_any_samples` returned.
    convolution : Convolution
    constant : float, default=0.0
        Value of one more entry of every patch, by which filters have a bias; 0: none.
    rows : slice or ndarray of int, default=slice(None)
        The samples that are wanted.

    Returns
    -------
    samples : ndarray of shape (n_samples, n_features), float64
    geometry : PatchGeometry
    """
    if X.ndim == 2:
        samples, geometry = X, convolution.geometry(X.shape[1])
    elif convolution.kernel_size is not None:
        raise ValueError(
            f"kernel_size={convolution.kernel_size} is for flat samples, but X has "
            f"{X.ndim} axes: it is already cut into patches."
        )
    else:
        # Refuses what has no meaning without a window; the patches are those of X.
        convolution.geometry(1)
        samples, geometry = flatten_windows(X)
    geometry = geometry.with_constant(constant)
    # Flat first: as float64 a window view would hold every element many times.
    return np.ascontiguousarray(samples[rows], dtype=np.float64), geometry
