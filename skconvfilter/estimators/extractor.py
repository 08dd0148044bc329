"""The transformer from images and signals to their patches."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from skconvfilter.estimators.base import (
    PersistentEstimator,
    TransformerMixin,
    available_if,
)
from skconvfilter.estimators.data import check_flat_samples
from skconvfilter.estimators.fitted_state import unchanged_on_failure
from skconvfilter.estimators.settings import check_boolean
from skconvfilter.kernels.reference import patch_windows
from skconvfilter.model.geometry import Convolution


class ConvPatchExtractor(TransformerMixin, PersistentEstimator):
    """Extract the patches of images or signals, as a view if the geometry allows it.

    Unlike scikit-learn's ``PatchExtractor`` it has a stride, and keeps one row per sample
    and the dtype, so that it can be used in a pipeline before a regressor.

    Parameters
    ----------
    kernel_size : int or tuple of int, default=None
        Window of the convolution, one entry per spatial axis; an int is used for every
        axis. If None, the whole row is one patch.
    input_shape : tuple of int, default=None
        Shape of a flat row: ``(length,)``, ``(height, width)`` or
        ``(height, width, channels)``; in general the axes of `kernel_size`, and one more
        for channels. If None, ``(n_features,)``, a signal.
    stride, padding, dilation : int or tuple of int, default=1, 0, 1
        As in :class:`torch.nn.Conv2d`.
    flatten : bool, default=False
        Whether to return a 2-D array with the patches of a sample in one row, for
        estimators that need 2-D input; this copies the patches.

    Attributes
    ----------
    n_features_in_ : int
        Number of features of a row.
    input_shape_ : tuple of int
        Shape of a sample, if `X` is not 2-D and `input_shape` is None. Flat samples are
        reshaped to it.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features, if `X` has them.

    See Also
    --------
    ConvReLUFilterRegressor : Accepts flat rows without an extractor, and copies no patches.

    Examples
    --------
    >>> import numpy as np
    >>> from skconvfilter import ConvPatchExtractor
    >>> X = np.arange(2.0 * 6 * 6).reshape(2, 36)
    >>> ConvPatchExtractor(3, input_shape=(6, 6), stride=3).fit_transform(X).shape
    (2, 2, 2, 3, 3)
    >>> ConvPatchExtractor(3, input_shape=(6, 6), flatten=True).fit_transform(X).shape
    (2, 144)
    """

    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    def __init__(
        self,
        kernel_size: int | Sequence[int] | None = None,
        *,
        input_shape: int | Sequence[int] | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        flatten: bool = False,
    ) -> None:
        self.kernel_size = kernel_size
        self.input_shape = input_shape
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.flatten = flatten

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters against the shape of `X`; nothing is learned.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or ``(n_samples, *input_shape)``
            Flat samples, or images and signals that are not flat.
        y : object, default=None
            Not used.

        Returns
        -------
        self : object
            The extractor.

        Raises
        ------
        TypeError, ValueError
            For invalid parameters or data. The extractor keeps its state.
        """
        with unchanged_on_failure(self):
            check_boolean("flatten", self.flatten)
            check_flat_samples(self, X, reset=True)
        return self

    def transform(self, X: Any) -> NDArray[np.floating[Any]]:
        """Cut samples into patches.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features) or ``(n_samples, *input_shape)``
            Samples, float32 or float64; other dtypes are converted to float64.

        Returns
        -------
        patches : ndarray of shape ``(n_samples, *grid, *window)``, dtype of `X`
            A read-only view of `X`, or of a padded copy. For signals with channels the
            window is (kernel_size * channels,), so that the result is not mistaken for
            images. With `flatten`, the shape is (n_samples, n_patches * patch_dim).

        Raises
        ------
        NotFittedError
            If the extractor is not fitted.
        TypeError, ValueError
            For an invalid `X`, or another number of features than in `fit`.
        """
        check_is_fitted(self)
        samples, geometry = check_flat_samples(self, X, reset=False)
        patches = patch_windows(geometry.pad(samples), geometry.layout)
        if self.flatten:
            return patches.reshape(len(samples), -1)
        if patches.ndim == 4:
            return patches.reshape(*patches.shape[:2], -1)
        return patches

    @available_if(lambda self: self.flatten)
    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> NDArray[np.object_]:
        """Name the columns with ``flatten=True``: ``patch{i}_{t}``.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Only checked against the names seen in `fit`.

        Returns
        -------
        names : ndarray of str, shape (n_patches * patch_dim,)
            Patch i and its entry t, both from 0.

        Raises
        ------
        NotFittedError
            If the extractor is not fitted.
        AttributeError
            With ``flatten=False``, for which the output has no columns.
        ValueError
            For other names than those seen in `fit`.
        """
        check_is_fitted(self)
        geometry = Convolution.of(self).geometry(self.n_features_in_)
        _check_feature_names_in(self, input_features)
        n_patches, patch_dim = geometry.layout.n_patches, geometry.layout.patch_dim
        names = [f"patch{i}_{t}" for i in range(n_patches) for t in range(patch_dim)]
        return np.array(names, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
