"""The transformer from images and signals to pooled responses of fitted filters."""

from collections.abc import Sequence
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.frozen import FrozenEstimator
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from skconvfilter.estimators.base import (
    PatchRegressor,
    PersistentEstimator,
    TransformerMixin,
)
from skconvfilter.estimators.fitted_state import replace_fitted, unchanged_on_failure
from skconvfilter.estimators.out_of_core import in_blocks
from skconvfilter.estimators.threads import block_mapper
from skconvfilter.model.bank import check_activation
from skconvfilter.model.geometry import integers, per_axis
from skconvfilter.model.pooling import STATISTICS, check_cells, pooled_responses

if TYPE_CHECKING:
    # scikit-learn has no types.
    class MetaEstimatorMixin: ...

    def _routing_enabled() -> bool: ...
    def clone(estimator: Any) -> Any: ...
    def get_tags(estimator: Any) -> Any: ...
else:
    from sklearn.base import MetaEstimatorMixin, clone
    from sklearn.utils import get_tags
    from sklearn.utils.metadata_routing import _routing_enabled

# Letters of the axes of a cell in the names of features: time; row and column; depth too.
_AXES = {1: "t", 2: "rc", 3: "drc"}


class ConvFeatureExtractor(MetaEstimatorMixin, TransformerMixin, PersistentEstimator):
    r"""Responses of fitted filters, pooled over a coarse grid, as features.

    A regressor of this package predicts from the mean response of each filter over all
    positions, so it measures amounts. This transformer fits such a regressor, and computes
    statistics of the responses of each filter in each cell of a grid over the positions.
    For filter j, a set of positions C and responses
    :math:`a_{ij} = \phi(w_j \cdot Z_i + c_j)`, the mean is

    .. math::

        m_{jC} = \frac{1}{|C|} \sum_{i \in C} a_{ij}

    and the standard deviation is that of the same responses. A linear model of these
    features can predict targets that depend on where a pattern is.

    Parameters
    ----------
    estimator : ConvReLUFilterRegressor or ConvFilterBankRegressor
        The regressor whose filters are used. A clone of it is fitted, unless it is a
        ``sklearn.frozen.FrozenEstimator`` around a fitted regressor.
    grid : int or tuple of int, default=1
        Number of cells along each spatial axis; an int is used for every axis. If 1, all
        positions are one cell.
    statistics : sequence of {"mean", "std", "max"}, default=("mean",)
        Statistics of the responses in a cell: mean, standard deviation, maximum.

    Attributes
    ----------
    estimator_ : ConvReLUFilterRegressor or ConvFilterBankRegressor
        The fitted regressor.
    grid_ : tuple of int
        Number of cells along each axis.
    n_features_in_ : int
        Number of features of a 2-D `X`; otherwise the length of a patch.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features, if `X` has them.

    See Also
    --------
    ConvPatchExtractor : Extracts patches, without a fit.
    ConvFilterBankRegressor : Predicts from the means over all positions.

    Notes
    -----
    The transformer is supervised. In a cross-validation it must be a step of the pipeline
    that is validated, so that its filters are fitted again to the training part of every
    split. Features that are computed once for all samples depend on the targets of the test
    samples, and scores are then too high.

    For the same reason, a model that is fitted to the features of the training samples may
    overfit, because the filters were fitted to the same targets. A bank has few parameters,
    so this is relevant only for few samples.

    The responses at all positions are stored for one block of samples at a time, in the
    `n_jobs` threads of `estimator`.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import RidgeCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skconvfilter import ConvFeatureExtractor, ConvFilterBankRegressor
    >>> X, y = load_digits(return_X_y=True)
    >>> bank = ConvFilterBankRegressor(
    ...     2, kernel_size=3, input_shape=(8, 8), diagnostics=False, random_state=0
    ... )
    >>> model = make_pipeline(
    ...     ConvFeatureExtractor(bank, grid=3, statistics=("mean", "std")),
    ...     StandardScaler(),
    ...     RidgeCV([0.1, 1, 10]),
    ... )
    >>> model.fit(X[:500], y[:500])[0].transform(X).shape
    (1797, 36)
    >>> model[0].get_feature_names_out()[:2].tolist()
    ['filter0_mean_r0c0', 'filter0_mean_r0c1']
    >>> model.score(X[500:], y[500:]) > model[0].estimator_.score(X[500:], y[500:])
    True
    """

    estimator_: PatchRegressor
    grid_: tuple[int, ...]
    n_features_in_: int
    feature_names_in_: NDArray[np.object_]

    def __init__(
        self,
        estimator: Any,
        *,
        grid: int | Sequence[int] = 1,
        statistics: Sequence[str] = ("mean",),
    ) -> None:
        self.estimator = estimator
        self.grid = grid
        self.statistics = statistics

    def fit(self, X: Any, y: Any = None, **fit_params: Any) -> Self:
        """Fit the regressor.

        Parameters
        ----------
        X : array of one of the forms that the regressor accepts
            Samples.
        y : array-like of shape (n_samples,)
            Targets.
        **fit_params : dict
            Passed to the `fit` of the regressor, such as `sample_weight`; with metadata
            routing enabled, the metadata that the regressor requests.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        TypeError, ValueError
            For invalid parameters or data. The transformer keeps its state.

        Warns
        -----
        ConvergenceWarning, UserWarning
            As for the regressor.
        """
        with unchanged_on_failure(self):
            regressor = self._regressor()
            self._check_statistics()
            integers("grid", self.grid, minimum=1)
            if not isinstance(self.estimator, FrozenEstimator):
                if _routing_enabled():
                    routed = process_routing(self, "fit", **fit_params)
                    fit_params = routed.estimator.fit
                regressor = clone(regressor).fit(X, y, **fit_params)
            vars(self).pop("feature_names_in_", None)
            fitted = {"estimator_": regressor, "grid_": self._cells(regressor, X)}
            for name in ("n_features_in_", "feature_names_in_"):
                if hasattr(regressor, name):
                    fitted[name] = getattr(regressor, name)
            replace_fitted(self, fitted)
        return self

    @in_blocks
    def transform(self, X: Any) -> NDArray[np.floating[Any]]:
        """Pool the responses of the filters.

        Parameters
        ----------
        X : array of one of the forms that the regressor accepts
            Samples.

        Returns
        -------
        features : ndarray of shape (n_samples, n_filters * n_statistics * n_cells)
            In the dtype of `X` and the order of :meth:`get_feature_names_out`; a lazy dask
            array if `X` is a dask array.

        Raises
        ------
        NotFittedError
            If the transformer is not fitted.
        TypeError, ValueError
            As for the regressor's `predict`, and if there are more cells than positions.
        """
        check_is_fitted(self)
        regressor = self.estimator_
        samples, geometry = regressor._samples(X)
        geometry, filters = regressor._with_bias(geometry)
        with block_mapper(regressor.n_jobs) as map_blocks:
            pooled = pooled_responses(
                samples,
                geometry,
                np.atleast_2d(filters).T,
                check_activation(getattr(regressor, "activation", "relu")),
                cells=self.grid_,
                statistics=self.statistics,
                map_blocks=map_blocks,
            )
        return pooled.reshape(len(samples), -1)

    def get_feature_names_out(
        self, input_features: ArrayLike | None = None
    ) -> NDArray[np.object_]:
        """Name the features by filter, statistic and cell, such as ``filter0_mean_r0c2``.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Only checked against the names seen in `fit`.

        Returns
        -------
        names : ndarray of str, shape (n_filters * n_statistics * n_cells,)
            Cells are numbered from 0, along time (t) for signals, rows (r) and columns (c)
            for images, and also depth (d) for volumes; a single cell has no name.

        Raises
        ------
        NotFittedError
            If the transformer is not fitted.
        ValueError
            For other names than those seen in `fit`.
        """
        check_is_fitted(self)
        _check_feature_names_in(self, input_features)
        axes = _AXES.get(len(self.grid_), ascii_lowercase)
        cells = [""]
        if max(self.grid_) > 1:
            cells = [
                "_" + "".join(f"{axis}{i}" for axis, i in zip(axes, cell, strict=False))
                for cell in np.ndindex(*self.grid_)
            ]
        n_filters = len(np.atleast_2d(self.estimator_.coef_))
        names = [
            f"filter{j}_{statistic}{cell}"
            for j in range(n_filters)
            for statistic in self.statistics
            for cell in cells
        ]
        return np.array(names, dtype=object)

    def get_metadata_routing(self) -> Any:
        """Route the metadata of `fit` to the regressor's.

        Returns
        -------
        routing : MetadataRouter
            See scikit-learn's user guide on metadata routing.
        """
        return MetadataRouter(owner=self).add(
            estimator=self.estimator,
            method_mapping=MethodMapping().add(caller="fit", callee="fit"),
        )

    def _regressor(self) -> Any:
        frozen = isinstance(self.estimator, FrozenEstimator)
        regressor = self.estimator.estimator if frozen else self.estimator
        if not isinstance(regressor, PatchRegressor):
            raise TypeError(
                "estimator must be a ConvReLUFilterRegressor or a ConvFilterBankRegressor, "
                f"or a FrozenEstimator around a fitted one, got {self.estimator!r}."
            )
        if frozen:
            check_is_fitted(regressor)
        return regressor

    def _check_statistics(self) -> None:
        names = self.statistics
        if isinstance(names, str) or not isinstance(names, Sequence | np.ndarray):
            raise TypeError(
                "statistics must be a sequence of names, such as ('mean', 'std'), got "
                f"{names!r}."
            )
        known = all(isinstance(name, str) and name in STATISTICS for name in names)
        if not (len(names) and known and len(set(names)) == len(names)):
            raise ValueError(
                f"statistics must hold one or more of {list(STATISTICS)}, each once, got "
                f"{names!r}."
            )

    def _cells(self, regressor: PatchRegressor, X: Any) -> tuple[int, ...]:
        """Cells along each axis of the grid of patches; raises if there are too many."""
        one = X[:1] if hasattr(X, "__getitem__") else np.asarray(X)[:1]
        geometry = regressor._samples(one)[1]
        cells = per_axis("grid", self.grid, len(geometry.layout.grid_shape), minimum=1)
        check_cells(cells, geometry)
        return cells

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.estimator).input_tags
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
