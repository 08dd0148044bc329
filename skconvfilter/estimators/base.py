"""What regressors over patches share: predictions, and checks of what they are from."""

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_is_fitted

from skconvfilter.estimators.data import check_samples
from skconvfilter.estimators.out_of_core import in_blocks, load_columns
from skconvfilter.estimators.parallel import block_mapper
from skconvfilter.estimators.state import PersistentEstimator
from skconvfilter.estimators.watching import CallbackSupportMixin


class PatchRegressor(CallbackSupportMixin, RegressorMixin, PersistentEstimator):
    """Base of regressors whose `coef_` has the length of a patch as its last axis.

    Subclasses define ``_values(samples, geometry, map_blocks)``, float64 predictions, how
    many axes their `coef_` has, and the name of the attribute with the sign of each filter.
    """

    _n_coef_axes: int
    _signs: str

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
            Predictions; for a dask array `X` a dask array, which is lazy.

        Raises
        ------
        NotFittedError
            Before a fit.
        TypeError, ValueError
            For an `X` that cannot be used, or with patches of another length; for fitted
            attributes that no fit has left so, as in a corrupted file.
        """
        samples, geometry = self._samples(X)
        with block_mapper(self.n_jobs) as map_blocks:
            values = self._values(samples, geometry, map_blocks)
        return values.astype(samples.dtype)

    def score(self, X, y, sample_weight=None):
        """Coefficient of determination R^2 of the predictions.

        Parameters
        ----------
        X : array of one of the forms that :meth:`fit` takes
            Samples.
        y : array-like of shape (n_samples,)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights.

        Returns
        -------
        score : float
            At most 1; 0 is what the weighted mean of `y` reaches.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            As for :meth:`predict`, and for targets and weights that cannot be used.
        """
        predicted, y, sample_weight = load_columns(
            predicted=self.predict(X), y=y, sample_weight=sample_weight
        )
        return r2_score(y, predicted, sample_weight=sample_weight)

    def _samples(self, X):
        """Flat samples and geometry of what a fitted estimator is to look at."""
        check_is_fitted(self)
        samples, geometry = check_samples(self, X, reset=False)
        self._check_learnt(geometry)
        return samples, geometry

    def _check_learnt(self, geometry):
        """Raise ValueError unless what was learnt is sound, and for patches like these."""
        shape, patch_dim = np.shape(self._learnt("coef_")), geometry.layout.patch_dim
        if len(shape) != self._n_coef_axes or shape[-1] != patch_dim:
            raise ValueError(
                f"The fitted coef_ has shape {shape}, but the patches of X have "
                f"patch_dim={patch_dim}: pass X with the patches that were fitted, or fit "
                "anew without warm_start."
            )
        one_per_filter = np.shape(self._learnt(self._signs))
        if one_per_filter != shape[:-1]:
            raise ValueError(
                f"The fitted coef_ has shape {shape}, but {self._signs} has shape "
                f"{one_per_filter}: there must be one for each filter. Fit anew."
            )
        self._check_numbers("coef_", np.isfinite, "finite numbers")
        self._check_numbers("intercept_", np.isfinite, "a finite number")
        self._check_numbers(self._signs, lambda signs: np.abs(signs) == 1, "1 or -1")

    def _check_numbers(self, name, valid, expected):
        numbers = np.asarray(self._learnt(name))
        if numbers.dtype.kind == "O":
            numbers = np.asarray(numbers.tolist())
        if numbers.dtype.kind not in "iuf" or not valid(numbers).all():
            raise ValueError(
                f"The fitted {name} must be {expected}: it has been changed, or the file "
                "it came from is corrupted. Fit anew."
            )

    def _learnt(self, name):
        try:
            return getattr(self, name)
        except AttributeError:
            raise ValueError(f"The fitted {name} is missing. Fit anew.") from None
