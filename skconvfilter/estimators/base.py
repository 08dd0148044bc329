"""What the estimators share: the fit, predictions, checks of fitted state, persistence."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score

from skconvfilter.diagnostics.certificate import Certificate, certificate_from_dict
from skconvfilter.estimators.callbacks import (
    CallbackSupportMixin,
    FitCallbacks,
    with_callbacks,
)
from skconvfilter.estimators.data import (
    Dataset,
    check_dataset,
    check_samples,
    check_weights,
)
from skconvfilter.estimators.fit import FittedFilters, Problem, Seeds, prepare, run_fit
from skconvfilter.estimators.fitted_state import (
    check_fitted_state,
    check_patch_dim,
    replace_fitted,
    unchanged_on_failure,
)
from skconvfilter.estimators.out_of_core import in_blocks, load_columns
from skconvfilter.estimators.results import FitResult, search_attributes
from skconvfilter.estimators.threads import block_mapper
from skconvfilter.model.geometry import PatchGeometry, join_bias
from skconvfilter.model.process_state import sklearn_checks
from skconvfilter.solvers.driver import Status
from skconvfilter.version import __version__, documentation_url

if TYPE_CHECKING:
    # scikit-learn has no types. Type checkers and editors are to know these parts of it:
    # to them, what is derived from an unknown class may have any attribute.
    Method = TypeVar("Method", bound=Callable[..., Any])

    class BaseEstimator:
        def get_params(self, deep: bool = True) -> dict[str, Any]: ...
        def set_params(self, **params: Any) -> Self: ...
        @classmethod
        def _get_param_names(cls) -> list[str]: ...
        def __getstate__(self) -> dict[str, Any]: ...
        def __setstate__(self, state: dict[str, Any]) -> None: ...
        def __sklearn_tags__(self) -> Any: ...

    class RegressorMixin: ...

    class TransformerMixin:
        def fit_transform(self, X: Any, y: Any = None) -> NDArray[np.floating[Any]]: ...
        def set_output(self, *, transform: str | None = None) -> Self: ...

    class InconsistentVersionWarning(UserWarning):
        estimator_name: str
        current_sklearn_version: str
        original_sklearn_version: str

        def __init__(self, **versions: str) -> None: ...

    def available_if(check: Callable[[Any], bool]) -> Callable[[Method], Method]: ...
else:
    from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
    from sklearn.exceptions import InconsistentVersionWarning
    from sklearn.utils.metaestimators import available_if

__all__ = [
    "PatchRegressor",
    "PersistentEstimator",
    "TransformerMixin",
    "VersionWarning",
    "available_if",
]


class VersionWarning(InconsistentVersionWarning):
    """An estimator comes from a file that another version of this package wrote."""

    def __init__(self, estimator_name: str, original_version: str) -> None:
        super().__init__(
            estimator_name=estimator_name,
            current_sklearn_version=__version__,
            original_sklearn_version=original_version,
        )

    def __str__(self) -> str:
        return (
            f"This {self.estimator_name} was saved by version "
            f"{self.original_sklearn_version} of skconvfilter, but the version here is "
            f"{self.current_sklearn_version}: predictions may be wrong. Install the "
            "former version, or fit again."
        )


class PersistentEstimator(BaseEstimator):
    """An estimator whose state, in a file, is plain and knows the package's version.

    In notebooks, scikit-learn links it to its page of the documentation.
    """

    _doc_link_module = "skconvfilter"

    @property
    def _doc_link_template(self) -> str:
        pages = documentation_url()
        return f"{pages}generated/skconvfilter.{{estimator_name}}.html" if pages else ""

    def __getstate__(self) -> dict[str, Any]:
        state = {**super().__getstate__(), "_skconvfilter_version": __version__}
        if isinstance(state.get("certificate_"), Certificate):
            state["certificate_"] = state["certificate_"].to_dict()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        version = state.pop("_skconvfilter_version", "unknown")
        if version != __version__:
            warnings.warn(VersionWarning(type(self).__name__, version), stacklevel=2)
        missing = sorted(set(self._get_param_names()) - set(state))
        if missing:
            raise ValueError(
                f"The file of this {type(self).__name__} has no {', '.join(missing)}: it "
                "is corrupted, or was written by another version. Fit again."
            )
        if isinstance(state.get("certificate_"), dict):
            state["certificate_"] = certificate_from_dict(state["certificate_"])
        super().__setstate__(state)


class PatchRegressor(CallbackSupportMixin, RegressorMixin, PersistentEstimator, ABC):
    """Base of regressors whose `coef_` has the entries of a window as its last axis.

    Everything that does not depend on the model is here. A subclass says what its model is
    by the abstract methods below, and by

    * ``_n_coef_axes``: the number of axes of its `coef_`;
    * ``_signs``: the name of the attribute with the sign of each filter;
    * ``_remedies``: what to do about a fit that ended with a status.
    """

    _n_coef_axes: ClassVar[int]
    _signs: ClassVar[str]
    _remedies: ClassVar[dict[Status, str]]

    n_jobs: int | None
    random_state: Any
    warm_start: bool
    early_stopping: bool

    coef_: NDArray[np.floating[Any]]
    bias_: Any  # float of one filter, ndarray of shape (n_filters,) of a bank
    bias_scaling_: float
    intercept_: float
    alpha_: float
    penalty_: float
    loss_: float
    relative_loss_: float
    n_iter_: int
    loss_curve_: NDArray[np.float64]
    coef_path_: NDArray[np.floating[Any]]
    bias_path_: NDArray[np.floating[Any]]
    restart_losses_: NDArray[np.float64]
    best_restart_: int
    history_: dict[str, NDArray[Any]]
    validation_scores_: NDArray[np.float64]
    best_validation_score_: float
    n_samples_seen_: int
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    @abstractmethod
    def _problem(self, dataset: Dataset) -> Problem[Any, Any]:
        """The problem of a fit to these data; raises for parameters that are wrong."""

    @abstractmethod
    def _values(
        self, samples: Any, geometry: PatchGeometry, map_blocks: Callable[..., Any]
    ) -> NDArray[np.float64]:
        """Predictions (n_samples,) for flat samples."""

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        X_val: Any = None,
        y_val: ArrayLike | None = None,
    ) -> Self:
        """Fit the model.

        scikit-learn's callbacks (from version 1.9 on) are called after every iteration. If
        a callback requests a stop, the fit ends with the best filters so far.

        Parameters
        ----------
        X : array of one of the forms listed in the description of the class
            Samples, float32 or float64; other dtypes are converted to float64.
        y : array-like of shape (n_samples,)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights. Only their ratios matter; samples with weight zero are ignored.
        X_val : array of one of the forms of `X`, default=None
            With ``early_stopping=True``, validation samples to use instead of a random part
            of `X`. Pass them if samples are not independent, for example overlapping
            windows of a series or images of the same person, because a random part is then
            too similar to the rest.
        y_val : array-like of shape (n_validation_samples,), default=None
            Targets of `X_val`.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        TypeError, ValueError
            For invalid parameters or data. The estimator keeps its state.

        Warns
        -----
        ConvergenceWarning
            If the best restart has not converged.
        UserWarning
            If the data do not meet the assumptions of the parameters.
        """
        with unchanged_on_failure(self):
            problem, dataset, result = self._fit(X, y, sample_weight, X_val, y_val)
        for message in problem.warnings(dataset, result):
            warnings.warn(message, UserWarning, stacklevel=2)
        if result.is_constant:
            warnings.warn(
                "The fitted model is constant: no start led to filters that predict y "
                "better than its mean. Remedy: increase n_init, decrease alpha, or "
                "subtract the mean from X.",
                ConvergenceWarning,
                stacklevel=2,
            )
        status = result.search.status
        if status in self._remedies:
            warnings.warn(
                f"The best restart has not converged: {status.value}. "
                f"Remedy: {self._remedies[status]}.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    @with_callbacks
    def _fit(
        self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any
    ) -> tuple[Problem[Any, Any], Dataset, FitResult]:
        dataset = check_dataset(self, X, y, sample_weight, reset=True)
        problem = self._problem(dataset)
        dataset = prepare(problem, dataset)
        held_out = self._validation_data(problem, X_val, y_val, dataset.patch_unit)
        filters = self._fitted_filters(dataset.geometry)
        seeds = Seeds.draw(self.random_state, problem.settings.n_init)
        callbacks = FitCallbacks(self, X, y, sample_weight)
        prediction_attributes = partial(problem.prediction_attributes, dataset)
        with block_mapper(self.n_jobs) as map_blocks:
            result = run_fit(
                problem,
                dataset,
                seeds,
                held_out=held_out,
                fitted=filters,
                map_blocks=map_blocks,
                callback=callbacks.on_iteration(prediction_attributes),
            )
            fitted = prediction_attributes(result.scaling, result.search)
            fitted |= search_attributes(dataset, result, fitted["coef_"].shape)
            if problem.settings.diagnostics:
                fitted |= problem.theory_attributes(dataset, result, seeds.theory)
        replace_fitted(self, fitted)
        callbacks.on_fit_end(result.search, fitted["loss_"])
        return problem, dataset, result

    def _validation_data(
        self, problem: Problem[Any, Any], X_val: Any, y_val: Any, patch_unit: float
    ) -> Dataset | None:
        """The user's samples for early stopping, as the fit uses its own."""
        if X_val is None and y_val is None:
            return None
        if X_val is None or y_val is None:
            raise ValueError("Pass X_val and y_val together: one of them is None.")
        if not self.early_stopping:
            raise ValueError(
                "X_val and y_val are used only with early_stopping=True: set it, or do "
                "not pass them."
            )
        try:
            held_out = check_dataset(self, X_val, y_val, None, reset=False)
            return prepare(problem, held_out, patch_unit)
        except (TypeError, ValueError) as error:
            raise type(error)(f"X_val and y_val (called X and y here): {error}") from error

    @in_blocks
    def predict(self, X: Any) -> NDArray[np.floating[Any]]:
        """Predict targets.

        Parameters
        ----------
        X : array of one of the forms that :meth:`fit` accepts
            If samples are given as patches, their number may differ from that in
            :meth:`fit`.

        Returns
        -------
        y : ndarray of shape (n_samples,), dtype of `X`
            Predictions; a lazy dask array if `X` is a dask array.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError, ValueError
            For an invalid `X`, patches of another length than in :meth:`fit`, or fitted
            attributes that have been changed, for example in a corrupted file.
        """
        samples, geometry = self._samples(X)
        with block_mapper(self.n_jobs) as map_blocks:
            values = self._values(samples, geometry, map_blocks)
        return values.astype(samples.dtype)

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Coefficient of determination R^2 of the predictions.

        Parameters
        ----------
        X : array of one of the forms that :meth:`fit` accepts
            Samples.
        y : array-like of shape (n_samples,)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights.

        Returns
        -------
        score : float
            At most 1; a model that predicts the weighted mean of `y` has a score of 0.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            As for :meth:`predict`, and for invalid targets or weights.
        """
        predicted, y, sample_weight = load_columns(
            predicted=self.predict(X), y=y, sample_weight=sample_weight
        )
        if sample_weight is not None:
            sample_weight = check_weights(sample_weight, len(predicted))[0]
        with sklearn_checks():
            return r2_score(y, predicted, sample_weight=sample_weight)

    def _samples(self, X: Any) -> tuple[NDArray[Any], PatchGeometry]:
        """Flat samples and geometry for a method of a fitted estimator."""
        check_fitted_state(self)
        samples, geometry = check_samples(self, X, reset=False)
        check_patch_dim(self, geometry.layout.window_size)
        return samples, geometry

    def _fitted_filters(self, geometry: PatchGeometry) -> FittedFilters | None:
        """Filters that a warm start goes on from."""
        if not (self.warm_start and hasattr(self, "coef_")):
            return None
        check_fitted_state(self)
        check_patch_dim(self, geometry.layout.window_size)
        coef = np.asarray(self.coef_, dtype=np.float64)
        if not coef.any():
            # Filters of 0, which constant targets leave, are active nowhere and would stay.
            return None
        W = join_bias(coef, self.bias_, geometry.layout.constant)
        return FittedFilters(W, getattr(self, self._signs))

    def _with_bias(
        self, geometry: PatchGeometry
    ) -> tuple[PatchGeometry, NDArray[np.floating[Any]]]:
        """Patches with an entry for the biases, and the filters for these patches."""
        constant = float(np.any(self.bias_))
        coef = np.asarray(self.coef_)
        coef = coef.astype(np.result_type(coef, self.bias_), copy=False)
        filters = join_bias(coef, self.bias_, constant)
        return geometry.with_constant(constant), filters
