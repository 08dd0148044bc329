"""What regressors over patches share: predictions, and a check of what they are for."""

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from skconvfilter.estimators.data import check_samples
from skconvfilter.estimators.out_of_core import in_blocks, load_columns
from skconvfilter.estimators.parallel import block_mapper


class PatchRegressor(RegressorMixin, BaseEstimator):
    """Base of regressors whose `coef_` has the length of a patch as its last axis.

    Subclasses define ``_values(samples, geometry, map_blocks)``, float64 predictions, and
    how many axes their `coef_` has.
    """

    _n_coef_axes: int

    @in_blocks
    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : array of one of the forms listed above
            The number of patches may differ from that of the samples fitted, where
            patches come as given.

        Returns
        -------
        y : ndarray of shape (n_samples,), dtype of `X`
            For a dask array `X` a dask array, which is lazy.
        """
        samples, geometry = self._samples(X)
        with block_mapper(self.n_jobs) as map_blocks:
            values = self._values(samples, geometry, map_blocks)
        return values.astype(samples.dtype)

    def score(self, X, y, sample_weight=None):
        """Coefficient of determination R^2 of the predictions.

        Parameters
        ----------
        X, y, sample_weight
            As for :meth:`fit`.

        Returns
        -------
        score : float
        """
        predicted, y, sample_weight = load_columns(
            predicted=self.predict(X), y=y, sample_weight=sample_weight
        )
        return r2_score(y, predicted, sample_weight=sample_weight)

    def _samples(self, X):
        """Flat samples and geometry of what a fitted estimator is to look at."""
        check_is_fitted(self)
        samples, geometry = check_samples(self, X, reset=False)
        self._check_filter_length(geometry)
        return samples, geometry

    def _check_filter_length(self, geometry):
        shape, patch_dim = np.shape(self.coef_), geometry.layout.patch_dim
        if len(shape) != self._n_coef_axes or shape[-1] != patch_dim:
            raise ValueError(
                f"The fitted coef_ has shape {shape}, but the patches of X have "
                f"patch_dim={patch_dim}: pass X with the patches that were fitted, or fit "
                "anew without warm_start."
            )
