"""A fitted regressor as a nonlinear regression: parameters, derivatives and errors."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from skconvfilter.diagnostics.filters import bank_model, bank_rows, bank_weights, one_filter
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.bank_objective import make_bank_objective
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.geometry import Convolution, PatchGeometry
from skconvfilter.model.samples import check_any_samples, cut_into_patches, refuse_masked
from skconvfilter.model.squared_error import Array, SquaredError
from skconvfilter.model.validation import check_positive, check_range

_NEEDED = ("coef_", "bias_", "bias_scaling_", "intercept_", "penalty_", "kernel_size")


@dataclass(frozen=True)
class FittedModel:
    """The regression function of a fitted regressor.

    Its parameters here are the filters, each with the weight of the constant entry of the
    patches if it has a bias, the output scale and the intercept, if there are. The user's
    parameters are all weights, then the biases, then the same.
    """

    estimator: Any
    geometry: PatchGeometry
    filters: Array  # (n_filters, patch_dim)
    signs: Array  # (n_filters,), of a bank times the output scale
    intercept: float
    scale: float  # the output scale, 1 without one

    @classmethod
    def of(cls, estimator: Any, geometry: PatchGeometry) -> "FittedModel":
        """The model of a fitted estimator for patches of this geometry."""
        layout = geometry.layout
        window = layout.window_shape
        if hasattr(estimator, "output_weights_"):
            rows = bank_rows("estimator.coef_", estimator, window, layout.constant)
            filters = rows.astype(np.float64)
            weights = bank_weights("output_weights", None, estimator, len(filters))
            signs = weights.astype(np.float64)
        else:
            w = one_filter("estimator.coef_", estimator, window, layout.constant)
            filters = w[np.newaxis].astype(np.float64)
            signs = np.array([float(estimator.sign_)])
        scale = float(getattr(estimator, "output_scale_", 1.0))
        return cls(estimator, geometry, filters, signs, float(estimator.intercept_), scale)

    @property
    def is_bank(self) -> bool:
        """Whether there are several filters."""
        return np.ndim(self.estimator.coef_) > 1

    @property
    def coef_shape(self) -> tuple[int, ...]:
        """Shape of the weights: that of the window, of a bank after the filters."""
        window = self.geometry.layout.window_shape
        return (len(self.filters), *window) if self.is_bank else window

    @property
    def has_intercept(self) -> bool:
        """Whether the intercept is fitted."""
        return bool(self.estimator.fit_intercept)

    @property
    def has_scale(self) -> bool:
        """Whether the output scale is fitted."""
        return self.is_bank and bank_model(self.estimator).activation.homogeneity is None

    @property
    def theta(self) -> Array:
        """The parameters."""
        scale = [self.scale] if self.has_scale else []
        intercept = [self.intercept] if self.has_intercept else []
        return np.concatenate([self.filters.ravel(), scale, intercept])

    @property
    def n_params(self) -> int:
        """Number of parameters."""
        return self.filters.size + self.has_scale + self.has_intercept

    def order(self) -> tuple[Array, Array]:
        """Indices and factors: the user's parameters are ``theta[indices] * factors``."""
        layout = self.geometry.layout
        numbers = np.arange(self.filters.size).reshape(self.filters.shape)
        weights, biases = np.split(numbers, [layout.window_size], axis=1)
        indices = np.concatenate([weights.ravel(), biases.ravel()])
        factors = np.repeat([1.0, layout.constant], [weights.size, biases.size])
        last = np.arange(self.filters.size, self.n_params)
        return np.append(indices, last), np.append(factors, np.ones(len(last)))

    def names(self) -> list[str]:
        """Names of the user's parameters."""
        names = [f"w{list(index)}" for index in np.ndindex(self.coef_shape)]
        if self.geometry.layout.constant:
            several = range(len(self.filters))
            names += [f"bias[{j}]" for j in several] if self.is_bank else ["bias"]
        names += ["output_scale"] * self.has_scale
        return names + ["intercept"] * self.has_intercept

    def objective(self, samples: FloatArray, y: Array, weights: Array) -> SquaredError:
        """The squared error that was minimised, on some samples."""
        options: dict[str, Any] = {
            "sample_weight": weights,
            "alpha": float(self.estimator.penalty_),
            "fit_intercept": self.has_intercept,
        }
        if not self.is_bank:
            return FilterObjective(samples, self.geometry, y, **options)
        activation, pooling = bank_model(self.estimator)
        options |= {"activation": activation, "pooling": pooling}
        n_filters = len(self.filters)
        return make_bank_objective(
            samples, self.geometry, y, n_filters=n_filters, **options
        )

    def column(self, filters: Array) -> tuple[Array, Array]:
        """Filters of this size and the signs in the form that objectives take."""
        signs = self.signs[np.newaxis] if self.is_bank else self.signs
        return filters.reshape(-1, 1), signs

    def moved(self, move: Array) -> "FittedModel":
        """The model with parameters ``theta + move``."""
        n_weights = self.filters.size
        scale = self.scale + (move[n_weights] if self.has_scale else 0)
        return replace(
            self,
            filters=self.filters + move[:n_weights].reshape(self.filters.shape),
            signs=self.signs * scale / self.scale,
            intercept=self.intercept + (move[-1] if self.has_intercept else 0),
            scale=scale,
        )

    def jacobian(self, objective: SquaredError) -> tuple[Array, Array]:
        """Derivatives (n_samples, n_params) and residuals (n_samples,)."""
        derivatives, errors = objective.jacobian(*self.column(self.filters))
        if self.has_scale:
            values = errors + objective.targets
            derivatives = np.column_stack([derivatives, values / self.scale])
        if self.has_intercept:
            derivatives = np.column_stack([derivatives, np.ones(len(errors))])
        return derivatives, -(errors + self.intercept)


@dataclass(frozen=True)
class FittedData:
    """The samples that a model was fitted to, those of weight zero left out."""

    samples: FloatArray  # (n_samples, n_features), float64
    y: Array
    weights: Array  # of mean 1
    groups: Any  # (n_samples,) integers from 0, or None
    kept: Any  # (n_given,) bool


def check_fitted(
    estimator: Any, X: ArrayLike, y: ArrayLike, sample_weight: Any, groups: Any
) -> tuple[FittedModel, FittedData]:
    """Check what a user passed.

    Raises
    ------
    TypeError, ValueError
        Naming the parameter that is wrong.
    """
    samples, geometry = fitted_samples(estimator, X)
    refuse_masked(y, "y")
    targets = column_or_1d(
        check_array(y, dtype=np.float64, ensure_2d=False, input_name="y"), warn=True
    )
    check_consistent_length(samples, targets)
    check_range("y", targets)
    weights = _check_weights(sample_weight, len(targets))
    kept = weights > 0
    if groups is not None:
        groups = _check_groups(groups, kept)
    weights = weights[kept] / weights[kept].mean()
    samples = samples if kept.all() else samples[kept]
    data = FittedData(samples, targets[kept], weights, groups, kept)
    model = FittedModel.of(estimator, geometry)
    if len(data.y) <= model.n_params:
        raise ValueError(
            f"There are {len(data.y)} samples of positive weight "
            f"(n_samples={len(data.y)}) for {model.n_params} parameters: standard errors "
            "need more samples than parameters. Pass more samples, or use a smaller window."
        )
    check_positive("estimator.penalty_", estimator.penalty_, zero=True)
    if model.has_scale and estimator.penalty_ > 0:
        raise ValueError(
            f"alpha={estimator.alpha_} penalizes the filters times the output scale, for "
            "which standard errors are unavailable: fit with alpha=0."
        )
    if model.has_scale and estimator.output_scale_ == 0:
        raise ValueError(
            "The output scale is 0, so that the filters have no effect: there are no "
            "standard errors."
        )
    return model, data


def fitted_samples(estimator: Any, X: ArrayLike) -> tuple[FloatArray, PatchGeometry]:
    """Flat samples and geometry, as a fitted regressor sees them."""
    missing = [name for name in _NEEDED if not hasattr(estimator, name)]
    if missing:
        raise TypeError(
            "estimator must be a fitted ConvReLUFilterRegressor or "
            f"ConvFilterBankRegressor; {estimator!r} has no {missing[0]}. Call fit first."
        )
    array = check_any_samples(X)
    check_range("X", array)
    constant = float(estimator.bias_scaling_)
    return cut_into_patches(array, Convolution.of(estimator), constant)


def _check_weights(sample_weight: Any, n_samples: int) -> Array:
    if sample_weight is None:
        return np.ones(n_samples)
    weights: Array = check_array(
        sample_weight,
        dtype=np.float64,
        ensure_2d=False,
        ensure_non_negative=True,
        input_name="sample_weight",
    )
    if weights.shape != (n_samples,) or not weights.any():
        raise ValueError(
            f"sample_weight must have the shape ({n_samples},) of y, and not be zero "
            f"throughout; its shape is {weights.shape}."
        )
    return weights


def _check_groups(groups: Any, kept: Any) -> Any:
    """Groups of the samples that are kept, as integers from 0."""
    groups = column_or_1d(groups)
    if len(groups) != len(kept):
        raise ValueError(
            f"groups must have one entry for each of the {len(kept)} samples, got "
            f"{len(groups)}."
        )
    numbers = np.unique(groups[kept], return_inverse=True)[1]
    if numbers.max() == 0:
        raise ValueError(
            "groups has only one group, but the noise is estimated from differences "
            'between groups. Pass the group of every sample, or use covariance="HC3".'
        )
    return numbers
