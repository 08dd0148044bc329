"""From what users pass as X, y and weights to flat samples, targets and weights."""

import math
import warnings
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.validation import validate_data

from skconvfilter.estimators.out_of_core import (
    check_chunks,
    is_mapped,
    load_columns,
    sample_blocks,
)
from skconvfilter.model.containers import contents, float_dtype, is_dask
from skconvfilter.model.forward import root_mean_square
from skconvfilter.model.geometry import Convolution, PatchGeometry, flatten_windows
from skconvfilter.model.process_state import sklearn_checks
from skconvfilter.model.samples import refuse_lazy_and_masked, refuse_masked
from skconvfilter.model.validation import check_range

# Samples that the size of the patches is taken from.
_SCALING_ROWS = 500
# Of the smallest square image that rows are taken for, not to warn of every short signal.
_MIN_SIDE = 8


@dataclass(frozen=True)
class Dataset:
    """Checked data of a fit."""

    samples: Any  # ndarray or SampleBlocks of shape (n_samples, n_features)
    geometry: PatchGeometry
    targets: NDArray[np.float64]  # (n_samples,)
    weights: NDArray[np.float64] | None  # (n_samples,), positive and at most 1
    weight_unit: float = 1.0  # what the user's weights were divided by
    patch_unit: float = 1.0  # size of the entries of the patches

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return len(self.targets)

    def check_range(self) -> None:
        """Raise ValueError for samples or targets whose squares leave the range.

        Of samples that are not in memory this is the first pass, which checks them.
        """
        check_range("X", self.samples)
        check_range("y", self.targets)

    def take(self, rows: Any) -> "Dataset":
        """Some of the rows."""
        weights = None if self.weights is None else self.weights[rows]
        return replace(
            self, samples=self.samples[rows], targets=self.targets[rows], weights=weights
        )

    def without_zero_weights(self) -> "Dataset":
        """Only the samples that count."""
        if self.weights is None or self.weights.min() > 0:
            return self
        return self.take(self.weights > 0)

    def with_unit(self, value: float = 0.0) -> "Dataset":
        """The same with the size of its patches; 0: the root mean square of the first."""
        if value == 0:
            some = np.asarray(self.samples[:_SCALING_ROWS], dtype=np.float64)
            weights = None if self.weights is None else self.weights[:_SCALING_ROWS]
            value = root_mean_square(some, self.geometry, weights) or 1.0
        return replace(self, patch_unit=value)

    def with_constant(self) -> "Dataset":
        """The same with a constant entry in every patch, by which filters have a bias.

        It is the size of the patches, so that they are as large in its direction as in
        others.
        """
        return replace(self, geometry=self.geometry.with_constant(self.patch_unit))


def check_dataset(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    reset: bool,
    in_memory: bool = False,
) -> Dataset:
    """Samples, targets and weights of a fit; see the functions below.

    Targets and weights are taken for small: they are loaded where they are dask arrays.

    Returns
    -------
    dataset : Dataset
        Without the samples of zero weight.
    """
    samples, geometry = check_samples(estimator, X, reset=reset, in_memory=in_memory)
    y, sample_weight = load_columns(y=y, sample_weight=sample_weight)
    targets = check_targets(estimator, y)
    check_consistent_length(samples, targets)
    weights, unit = check_weights(sample_weight, len(samples))
    dataset = Dataset(samples, geometry, targets, weights, unit)
    return dataset.without_zero_weights()


def check_samples(
    estimator: Any, X: Any, *, reset: bool, in_memory: bool = False
) -> tuple[Any, PatchGeometry]:
    """Flat samples and their geometry, for the window parameters of `estimator`.

    Sets or checks ``n_features_in_``: the number of features of a 2-D `X`, the length of
    a patch where `X` holds patches (a 2-D row without a window is one patch).

    Dask arrays and mapped files stay where they are, but with `in_memory`, which refuses
    the former. Their entries are checked when they are first used.

    Returns
    -------
    samples : ndarray or SampleBlocks of shape (n_samples, n_features), float64 or float32
    geometry : PatchGeometry

    Raises
    ------
    TypeError, ValueError
        For what cannot be samples, naming X and the shape that is expected.
    """
    X = contents(X, "X")
    elsewhere = not in_memory and (is_dask(X) or is_mapped(X))
    if elsewhere and is_dask(X):
        check_chunks(X)
    n_axes = getattr(X, "ndim", 2)
    if n_axes <= 2 or estimator.kernel_size is not None:
        return check_flat_samples(estimator, X, reset=reset, elsewhere=elsewhere)
    if n_axes == 4:
        raise ValueError(
            f"X of shape {X.shape} is ambiguous. Images: give kernel_size, such as "
            "kernel_size=(3, 3), or put a ConvPatchExtractor before the regressor. "
            "Patches: pass them as (n_samples, n_patches, patch_dim)."
        )
    return _check_patches(estimator, X, reset, elsewhere)


def check_flat_samples(
    estimator: Any, X: Any, *, reset: bool, elsewhere: bool = False
) -> tuple[Any, PatchGeometry]:
    """The same for flat samples, and images or signals as such, without patches."""
    X = contents(X, "X")
    if not elsewhere:
        refuse_lazy_and_masked(X, "X")
    if reset:
        # That of a former fit.
        vars(estimator).pop("input_shape_", None)
    convolution = Convolution.of(estimator)
    if getattr(X, "ndim", 2) > 2:
        X, convolution = _flatten(X, convolution)
        if reset and estimator.input_shape is None:
            estimator.input_shape_ = convolution.input_shape
    dtype = float_dtype(X)
    with sklearn_checks():
        X = validate_data(
            estimator, X, reset=reset, dtype=dtype, skip_check_array=elsewhere
        )
    if not elsewhere and X.strides[1] != X.itemsize:
        X = np.ascontiguousarray(X)
    geometry = convolution.geometry(X.shape[1])
    if reset:
        _warn_of_image_as_signal(convolution, X.shape[1])
    if elsewhere:
        X = sample_blocks(X, dtype, geometry.layout.patch_dim)
    return X, geometry


def _flatten(X: Any, convolution: Convolution) -> tuple[Any, Convolution]:
    """Flat samples, and the convolution that knows the shape they had."""
    if issparse(X):
        raise TypeError(
            "Sparse data with more than two axes are unsupported: use X.toarray()."
        )
    if convolution.kernel_size is None:
        raise ValueError(
            f"X has shape {X.shape}: without kernel_size only flat samples, of shape "
            "(n_samples, n_features), can be used. Give kernel_size, such as "
            "kernel_size=(3, 3) for images."
        )
    shape = tuple(map(int, X.shape[1:]))
    # Not -1: there may be no samples.
    return X.reshape(X.shape[0], math.prod(shape)), convolution.of_samples(shape)


def _warn_of_image_as_signal(convolution: Convolution, n_features: int) -> None:
    side = math.isqrt(n_features)
    is_signal = convolution.input_shape is None and isinstance(
        convolution.kernel_size, Integral
    )
    if is_signal and side >= _MIN_SIDE and side**2 == n_features:
        m = convolution.kernel_size
        warnings.warn(
            f"Rows of {n_features} features are read as signals. If they are flat images, "
            f"set input_shape={(side, side)}; if they are signals, set kernel_size={(m,)} "
            "to avoid this warning.",
            UserWarning,
            stacklevel=2,
        )


def check_targets(estimator: Any, y: Any) -> NDArray[np.float64]:
    """Targets as a float64 vector.

    Raises
    ------
    TypeError, ValueError
        For targets that are missing, not numbers, not finite or not one-dimensional.
    """
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the "
            "target y is None."
        )
    y = contents(y, "y")
    refuse_masked(y, "y")
    if _holds_strings(y):
        raise ValueError("y holds strings; it must hold numbers.")
    with sklearn_checks():
        y = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")
        if y.ndim == 2 and y.shape[1] > 1:
            raise ValueError(
                f"y should be a 1d array, got an array of shape {y.shape} instead: a model "
                "has one target. For several use sklearn.multioutput.MultiOutputRegressor, "
                "or fit one model for each column."
            )
        return column_or_1d(y, warn=True)


def check_weights(
    sample_weight: Any, n_samples: int
) -> tuple[NDArray[np.float64] | None, float]:
    """Weights as a float64 vector of at most 1, or None, and what they were divided by.

    Only ratios of weights matter, and sums and squares of what is at most 1 stay in range.

    Raises
    ------
    ValueError
        For weights that are negative, not finite, of the wrong shape or zero altogether.
    """
    if sample_weight is None:
        return None, 1.0
    sample_weight = contents(sample_weight, "sample_weight")
    refuse_masked(sample_weight, "sample_weight")
    if isinstance(sample_weight, Real):
        sample_weight = np.full(n_samples, sample_weight)
    with sklearn_checks():
        weights = check_array(
            sample_weight,
            dtype=np.float64,
            ensure_2d=False,
            ensure_non_negative=True,
            input_name="sample_weight",
        )
    if weights.shape != (n_samples,):
        raise ValueError(
            f"sample_weight has shape {weights.shape}, expected ({n_samples},)."
        )
    unit = float(weights.max())
    if unit == 0:
        raise ValueError(
            "sample_weight: all weights are zero. At least one weight must be positive."
        )
    return weights / unit, unit


def _holds_strings(y: Any) -> bool:
    y = np.asarray(y)
    if y.dtype.kind == "O":
        return any(isinstance(target, str | bytes) for target in y.ravel())
    return y.dtype.kind in "UST"


def _without_gaps(samples: NDArray[Any], geometry: PatchGeometry) -> NDArray[Any]:
    """Samples with 0 for what lies between the patches, if that is not finite."""
    shown = np.zeros(samples.shape[1], dtype=bool)
    shown[(geometry.layout.base[:, np.newaxis] + geometry.layout.tap).ravel()] = True
    if samples.dtype.kind != "f" or np.isfinite(samples[:, ~shown]).all():
        return samples
    return np.where(shown, samples, samples.dtype.type(0))


def _check_patches(
    estimator: Any, X: Any, reset: bool, elsewhere: bool
) -> tuple[Any, PatchGeometry]:
    if not elsewhere:
        refuse_lazy_and_masked(X, "X")
    if issparse(X):
        raise TypeError(
            "Sparse data with more than two axes are unsupported: use X.toarray()."
        )
    if min(X.shape) == 0:
        raise ValueError(
            f"X has shape {X.shape}: at least one sample, one patch and a patch_dim of "
            "one are needed."
        )
    dtype = float_dtype(X)
    if elsewhere:
        # Blocks are flattened where they are, into rows without gaps.
        geometry = flatten_windows(np.empty((1, *X.shape[1:])))[1]
        samples: Any = sample_blocks(X, dtype, geometry.layout.patch_dim)
    else:
        samples, geometry = flatten_windows(np.asarray(X))
        samples = _without_gaps(samples, geometry)
        with sklearn_checks():
            samples = check_array(samples, dtype=dtype, input_name="X")
    patch_dim = geometry.layout.patch_dim
    if reset:
        estimator.n_features_in_ = patch_dim
        vars(estimator).pop("feature_names_in_", None)
    elif patch_dim != estimator.n_features_in_:
        raise ValueError(
            f"X has patches of length patch_dim={patch_dim} (shape {X.shape}), but "
            f"{type(estimator).__name__} was fitted with patch_dim="
            f"{estimator.n_features_in_}."
        )
    return samples, geometry
