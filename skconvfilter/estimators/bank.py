"""The regressor of a bank of convolutional filters."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skconvfilter.estimators.base import PatchRegressor
from skconvfilter.estimators.data import Dataset
from skconvfilter.estimators.fit import FitData, FittedFilters, Problem, Seeds, Starts
from skconvfilter.estimators.out_of_core import in_blocks
from skconvfilter.estimators.results import FitResult, Scaling, checked_filters
from skconvfilter.estimators.settings import BankSettings, check_bank_settings
from skconvfilter.estimators.starts import ForwardStarts, bank_redraw, bank_starts
from skconvfilter.estimators.theory import bank_theory
from skconvfilter.model.bank import activation_maps, bank_values, check_activation
from skconvfilter.model.bank_objective import BankObjective, make_bank_objective
from skconvfilter.model.geometry import PatchGeometry
from skconvfilter.solvers.driver import Callback, Solver, Status, Stopping
from skconvfilter.solvers.forward import evaluated_path
from skconvfilter.solvers.levenberg_marquardt import LevenbergMarquardt
from skconvfilter.solvers.multistart import Candidates, SearchResult
from skconvfilter.solvers.search import sequential_multistart

# Samples on which starts are compared: so many, or so many for each entry of the filters.
_COMPARE_ROWS, _COMPARE_ROWS_PER_ENTRY = 10_000, 20
# Damping after a step that was not taken, as activations bend, and that up to which steps
# are tried shorter before a start is given up: kinks may be close.
_RECOVERY, _PATIENCE = 1e-4, 1e2


class ConvFilterBankRegressor(PatchRegressor):
    r"""Regression with a bank of convolutional filters and one activation.

    The prediction for a sample with patches :math:`Z_1, \dots, Z_k` is

    .. math::

        \hat y = s \sum_{j=1}^{t} \frac{v_j}{k} \sum_{i=1}^{k}
            \phi(w_j \cdot Z_i + c_j) + b,

    with output weights v of 1 and -1. The output scale s is fitted for "sigmoid", "tanh"
    and "erf", whose values are bounded; for the other activations the norms of the filters
    determine the scale, and s is 1. The fit minimises, with sample weights
    :math:`\omega_n` and the root mean square u of the patches,

    .. math::

        \frac{1}{2 \sum_n \omega_n} \sum_n \omega_n (\hat y_n - y_n)^2
        + \frac{\alpha s^2}{2} \sum_j \left(u^2 \|w_j\|^2 + c_j^2\right) .

    With ``output_weights="ones", pooling="sum", bias=False, fit_intercept=False`` this is
    the model of [1]_, and ``init="tensor"`` its algorithm: the tensor method, followed by
    descent. If patches do not overlap and are approximately normal and independent, and if
    there are many samples, the filters that the tensor method finds are close to the true
    ones, and descent from there succeeds. Correlated patches are whitened first.

    Images do not meet these conditions. For them, the fit uses forward starts. The bank
    grows one filter at a time, each the best of several random ones for the residuals, and
    after each step all filters are fitted together. The bank grows beyond `n_filters` and
    is then pruned. `path_` has the loss of every size. The search ends when a start fits to
    machine precision, when three have found the same lowest loss, or six if it is nearly 0,
    or after `n_init` starts.

    `X` has one of the forms that :class:`ConvReLUFilterRegressor` accepts. For a dask array
    or a memory-mapped file, starts are found on a subsample of 10,000 samples. The order of
    the filters has no meaning. There is no ``partial_fit``, because the recursion of
    :class:`ConvReLUFilterRegressor` is only valid for a single ReLU filter.

    Parameters
    ----------
    n_filters : int, default=5
        Number t of filters, at most a million.
    kernel_size : int or tuple of int, default=None
        Window of the convolution, one entry per spatial axis; an int is used for every
        axis. If None, `X` holds patches.
    input_shape : tuple of int, default=None
        Shape of a flat row, channels last. If None, ``(n_features,)``, a signal.
    stride, padding, dilation : int or tuple of int, default=1, 0, 1
        As in :class:`torch.nn.Conv2d`. With ``stride=kernel_size``, patches do not overlap.
    activation : str, default="relu"
        The function phi of a preactivation: "relu", "leaky_relu", "squared_relu",
        "sigmoid", "tanh" or "erf". The slope of "leaky_relu" below 0 is 0.01.
    pooling : {"mean", "sum"}, default="mean"
        Whether activations are averaged or summed over the patches.
    output_weights : {"signs", "ones"}, default="signs"
        If "signs", each v is 1 or -1, chosen with the start. If "ones", all are 1.
    solver : {"levenberg-marquardt", "gd", "sgd"}, default="levenberg-marquardt"
        Levenberg-Marquardt steps, gradient descent as in [1]_, or its stochastic form.
    init : {"auto", "forward", "tensor", "random"} or array, default="auto"
        The starts. If "forward", each bank is grown as described above. If "tensor", the
        first start comes from the tensor method, and the others are random. If "random",
        directions are random, with norms for which the predictions have the spread of `y`.
        If "auto", the first start comes from the tensor method if patches do not overlap
        and the moments agree with its assumptions, and the others are forward starts. An
        array holds one or several banks, each of shape ``(n_filters, patch_dim)`` or with
        filters in the shape of the window; their biases start at 0.
    contraction : {"all", "single"}, default="all"
        Whether the tensor method uses all slices of a tensor, or only one random
        contraction of them, as in [1]_, which is less precise.
    n_init : "auto" or int, default="auto"
        Largest number of starts, at most a million. If "auto", 10; for forward starts, from
        1 to 10, as many as take a few seconds. If the loss is then below 1.5 % of the
        variance of `y`, the data may be without noise, and up to 40 are tried as long as
        the loss falls far enough: before further start k it must be below
        3 % / (1 + k^2).
    learning_rate : {"two-stage", "constant"} or callable, default="two-stage"
        Schedule of "gd" and "sgd", as for :class:`ConvReLUFilterRegressor`. "theory" is
        unavailable, because [1]_ gives the step size only up to constants.
    learning_rate_init, learning_rate_final : "auto" or float, default="auto"
        Learning rates of stage one, or of all steps, and of stage two. If "auto", 1 and 1.5
        divided by the largest curvature of the loss at the starts.
    switch : "auto" or int, default="auto"
        Epoch after which stage two begins. If "auto", each restart switches after its
        first epoch that reduces the loss by less than a tenth.
    batch_size : "auto" or int, default="auto"
        Samples per update of "sgd". If "auto", 16, or all if there are at most 200.
    bias : bool, default=True
        Whether to fit the biases c, as in ``torch.nn.Conv2d``. If False, they are 0.
    fit_intercept : bool, default=True
        Whether to fit b. If False, b = 0.
    alpha : "auto" or float, default=0.0
        L2 penalty of the filters times the output scale, relative to the size of the
        patches and, for "squared_relu", to the size of filters that fit targets of unit
        variance. If "auto", it is chosen as for :class:`ConvReLUFilterRegressor`; it is 0
        for activations with an output scale. It is most useful for banks of many filters on
        noisy data.
    max_iter : "auto" or int, default="auto"
        Largest number of iterations of a start. If "auto", 200 steps of
        "levenberg-marquardt", 3000 steps of "gd" or 200 epochs of "sgd".
    tol : float, default=1e-4
        An iteration makes progress if it reduces the loss by more than this fraction.
    n_iter_no_change : int, default=5
        Iterations without progress after which a start has converged.
    early_stopping : bool, default=False
        Whether to keep the iterate, and the restart, with the lowest loss on validation
        data: the `X_val` and `y_val` passed to `fit`, or else `validation_fraction` of the
        samples, which are held out.
    validation_fraction : float, default=0.1
        Fraction of the samples that is held out.
    warm_start : bool, default=False
        Whether to start from the filters of the previous fit.
    diagnostics : bool, default=True
        Whether to compute `hessian_extremes_`, `condition_number_`, `lambda_` and `rho_`.
    n_jobs : int, default=None
        Number of threads over blocks of samples. It does not affect the result.
    random_state : int, RandomState instance or None, default=None
        Determines the starts, mini-batches, subsample and validation split. Pass an int
        for reproducible results.
    verbose : int, default=0
        If 1, print at most one line every second, and one for each tenfold decrease of the
        best loss. A line has the phase, the iteration, the number of running restarts, the
        share of the variance of `y` that the best one leaves unexplained, and the time. The
        last line gives the reason why the fit ended. If 2, print a line for every
        iteration.

    Attributes
    ----------
    coef_ : ndarray of shape (n_filters, patch_dim)
        The filters, in the dtype of `X`.
    filters_ : ndarray of shape ``(n_filters, *window)``
        The filters in the shape of the window.
    output_weights_ : ndarray of shape (n_filters,), int
        The output weights v.
    output_scale_ : float
        The output scale s; 1 for activations without one. It can be negative only with
        ``output_weights="ones"``.
    bias_ : ndarray of shape (n_filters,)
        The biases c; zeros without `bias`.
    bias_scaling_ : float
        The root mean square u of (some of) the patches; 0.0 without `bias`. The biases
        are the weights of a constant entry of the patches, see
        :class:`ConvReLUFilterRegressor`.
    intercept_ : float
        The intercept b.
    alpha_ : float
        The `alpha` that was used.
    penalty_ : float
        The penalty in the units of the loss, the factor of half of the sum of
        ``s^2 (|w_j|^2 + c_j^2 / u^2)``.
    loss_ : float
        The objective at the fitted filters.
    relative_loss_ : float
        Mean squared error over the squared mean of `y`.
    n_iter_ : int
        Number of iterations of the best start.
    loss_curve_ : ndarray of shape (`n_iter_` + 1,)
        Loss of the best start; if there are more than 10,000 samples, on a subsample at
        first.
    coef_path_ : ndarray of shape (`n_iter_` + 1, n_filters, patch_dim)
        Filters of the best start, from the start itself on.
    bias_path_ : ndarray of shape (`n_iter_` + 1, n_filters)
        Biases of the best start.
    restart_losses_ : ndarray of shape (n_starts,)
        Objective on all samples at the end of each start; NaN if it was not needed. There
        are `n_init` starts, or as many as `init` holds, or one for a warm start.
    best_restart_ : int
        Index of the best start; the start of the tensor method is 0.
    path_ : dict of ndarray
        "n_filters", "loss" and, with early stopping, "validation_score", each of shape
        (n_sizes,), for the banks of all sizes through which the best start has grown; the
        last entry is the fitted bank. Without a forward start there is only this entry.
    history_ : dict of ndarray
        As for :class:`ConvReLUFilterRegressor`, one start after the other. It does not
        contain the steps in which a forward start grows.
    validation_scores_ : ndarray of shape (`n_iter_` + 1,)
        With early stopping, R^2 of the best start on the validation data.
    best_validation_score_ : float
        With early stopping, R^2 of the fitted filters on the validation data.
    hessian_extremes_ : tuple of float
        With `diagnostics`, the smallest and largest eigenvalue of the Hessian of the
        squared error at the filters, on a subsample. If the smallest is positive, the
        filters are locally unique, and gradient descent near them converges at a linear
        rate. NaN, like the constants below, if all filters are 0.
    condition_number_, lambda_, rho_ : float
        With `diagnostics`, the constants of [1]_ in the bounds of the Hessian: the
        condition number of the filters, the product of their singular values, each divided
        by the smallest, and rho of Property 3.2; see
        :func:`~skconvfilter.diagnostics.local_convexity`.
    n_samples_seen_ : int
        Number of samples with positive weight in `X`.
    n_features_in_ : int
        Number of features of a 2-D `X`; otherwise the length of a patch.
    input_shape_ : tuple of int
        Shape of a sample, if `X` is not 2-D and `input_shape` is None. Flat samples are
        reshaped to it.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features, if `X` has them.

    See Also
    --------
    ConvReLUFilterRegressor : One filter, on patches that may overlap.
    skconvfilter.diagnostics.recovery : Compare fitted filters with the true ones.

    References
    ----------
    .. [1] K. Zhong, Z. Song, I. S. Dhillon, "Learning Non-overlapping Convolutional Neural
       Networks with Multiple Kernels", 2017.

    Examples
    --------
    >>> from skconvfilter import ConvFilterBankRegressor
    >>> from skconvfilter.datasets import make_filter_bank_regression
    >>> from skconvfilter.diagnostics import recovery
    >>> model = ConvFilterBankRegressor(
    ...     n_filters=3, kernel_size=8, stride=8, input_shape=(24,), random_state=0
    ... )
    >>> X, y, teacher = make_filter_bank_regression(
    ...     2000, model, return_teacher=True, random_state=0
    ... )
    >>> recovery(model.fit(X, y), teacher).relative_error < 1e-6
    True
    """

    _n_coef_axes, _signs = 2, "output_weights_"
    _remedies: ClassVar[dict[Status, str]] = {
        Status.MAX_ITER: "increase max_iter, or use solver='levenberg-marquardt'",
        Status.DIVERGED: "lower learning_rate_init and learning_rate_final",
    }

    filters_: NDArray[np.floating[Any]]
    output_weights_: NDArray[np.int_]
    output_scale_: float
    hessian_extremes_: tuple[float, float]
    condition_number_: float
    lambda_: float
    rho_: float
    path_: dict[str, NDArray[Any]]

    # scikit-learn has a line for every parameter: hence the silenced rule on statements.
    def __init__(  # noqa: PLR0915
        self,
        n_filters: int = 5,
        *,
        kernel_size: int | Sequence[int] | None = None,
        input_shape: int | Sequence[int] | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        activation: Literal[
            "relu", "leaky_relu", "squared_relu", "sigmoid", "tanh", "erf"
        ] = "relu",
        pooling: Literal["sum", "mean"] = "mean",
        output_weights: Literal["ones", "signs"] = "signs",
        solver: Literal["levenberg-marquardt", "gd", "sgd"] = "levenberg-marquardt",
        init: Literal["auto", "forward", "tensor", "random"] | ArrayLike = "auto",
        contraction: Literal["all", "single"] = "all",
        n_init: Literal["auto"] | int = "auto",
        learning_rate: Literal["two-stage", "constant"]
        | Callable[..., ArrayLike] = "two-stage",
        learning_rate_init: Literal["auto"] | float = "auto",
        learning_rate_final: Literal["auto"] | float = "auto",
        switch: Literal["auto"] | int = "auto",
        batch_size: Literal["auto"] | int = "auto",
        bias: bool = True,
        fit_intercept: bool = True,
        alpha: Literal["auto"] | float = 0.0,
        max_iter: Literal["auto"] | int = "auto",
        tol: float = 1e-4,
        n_iter_no_change: int = 5,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        warm_start: bool = False,
        diagnostics: bool = True,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_filters = n_filters
        self.kernel_size = kernel_size
        self.input_shape = input_shape
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.activation = activation
        self.pooling = pooling
        self.output_weights = output_weights
        self.solver = solver
        self.init = init
        self.contraction = contraction
        self.n_init = n_init
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.learning_rate_final = learning_rate_final
        self.switch = switch
        self.batch_size = batch_size
        self.bias = bias
        self.fit_intercept = fit_intercept
        self.alpha = alpha
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.diagnostics = diagnostics
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def _problem(self, dataset: Dataset) -> "BankProblem":
        layout = dataset.geometry.layout
        return BankProblem(check_bank_settings(self, dataset.n_samples, layout))

    @in_blocks
    def feature_map(self, X: Any) -> NDArray[np.floating[Any]]:
        """Activation of every filter at every position, ``phi(w_j . Z_i + c_j)``.

        Parameters
        ----------
        X : array of one of the forms that :meth:`fit` accepts
            Samples.

        Returns
        -------
        activations : ndarray of shape ``(n_samples, n_filters, *grid)``, dtype of `X`
            Their sums, or means, over the grid, times `output_weights_`, summed over the
            filters, times `output_scale_`, plus `intercept_`, are the prediction.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            As for :meth:`predict`.
        """
        samples, geometry = self._samples(X)
        geometry, filters = self._with_bias(geometry)
        activation = check_activation(self.activation)
        return activation_maps(samples, geometry, filters.T, activation)

    def _values(
        self, samples: Any, geometry: PatchGeometry, map_blocks: Callable[..., Any]
    ) -> NDArray[np.float64]:
        geometry, filters = self._with_bias(geometry)
        values = bank_values(
            samples,
            geometry,
            filters.astype(np.float64).T,
            check_activation(self.activation),
            output_weights=self.output_scale_ * self.output_weights_,
            pooling=self.pooling,
            map_blocks=map_blocks,
        )
        return values + self.intercept_

    def _fitted_filters(self, geometry: PatchGeometry) -> FittedFilters | None:
        fitted = super()._fitted_filters(geometry)
        if fitted is not None and len(fitted.W) != self.n_filters:
            raise ValueError(
                f"n_filters={self.n_filters}, but warm_start=True continues from the "
                f"{len(fitted.W)} fitted filters: use the same n_filters, or "
                "warm_start=False."
            )
        return fitted

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # Sums of rectified preactivations do not fit any table.
        tags.regressor_tags.poor_score = True
        return tags


@dataclass(frozen=True)
class BankProblem(Problem[BankSettings, BankObjective]):
    """A bank: one start after another, the most promising first."""

    settings: BankSettings
    mini_batch_remedies = "solver='gd'"

    @property
    def homogeneity(self) -> float | None:
        return self.settings.activation.homogeneity

    @property
    def either_sign(self) -> bool:
        # An output scale has either sign.
        return self.settings.output_weights == "signs" and self.homogeneity is not None

    @property
    def draws_mini_batches(self) -> bool:
        return self.settings.solver == "sgd"

    def make_objective(
        self, dataset: Dataset, scaling: Scaling, map_blocks: Callable[..., Any] = map
    ) -> BankObjective:
        return make_bank_objective(
            dataset.samples,
            dataset.geometry,
            scaling.targets(dataset.targets),
            n_filters=self.settings.n_filters,
            activation=self.settings.activation,
            pooling=self.settings.pooling,
            sample_weight=dataset.weights,
            alpha=self.settings.alpha * dataset.patch_unit**2,
            fit_intercept=self.settings.fit_intercept,
            map_blocks=map_blocks,
        )

    def n_search_rows(self, objective: BankObjective) -> int | None:
        return max(_COMPARE_ROWS, _COMPARE_ROWS_PER_ENTRY * objective.n_parameters)

    def draw_starts(
        self,
        data: FitData[BankObjective],
        scaling: Scaling,
        seeds: Seeds,
        fitted: FittedFilters | None,
    ) -> Starts:
        return bank_starts(data, self.settings, seeds, scaling, fitted)

    def make_redraw(
        self, sample: BankObjective, starts: Candidates, scaling: Scaling, seeds: Seeds
    ) -> Callable[[int], NDArray[np.float64]]:
        return bank_redraw(sample, starts, seeds)

    def search(
        self,
        data: FitData[BankObjective],
        starts: Starts,
        solver: Solver | None,
        stopping: Stopping,
        rng: np.random.Generator,
        callback: Callback | None,
    ) -> SearchResult:
        sample = data.sample
        if solver is None:
            metric = sample.patch_metric()
            solver = LevenbergMarquardt(
                recovery=_RECOVERY, patience=_PATIENCE, metric=metric, secant=True
            )
        else:
            # Gradient descent runs on all samples from its first step on.
            sample = data.objective
        forward = None
        if starts.forward:
            forward = ForwardStarts(data.sample, self.settings, starts, stopping.floor, rng)
        found = sequential_multistart(
            data.objective,
            sample,
            starts.candidates,
            solver,
            stopping,
            n_if_noisy=self.settings.n_init_if_noisy,
            draw=None if forward is None else forward.draw,
            # The user's starts are used as they are.
            redraw=starts.redraw if isinstance(self.settings.init, str) else None,
            tune=self.settings.tune_alpha,
            validation=data.validation,
            callback=callback,
        )
        smaller = [] if forward is None else forward.smaller_banks(found.best_restart)
        objective = data.objective.with_alpha(found.alpha)
        path = evaluated_path(smaller, found, objective, data.validation)
        return replace(found, path=path)

    def size_of_values(self, dataset: Dataset, scaling: Scaling) -> float:
        # Sums over filters and patches are often far larger than they vary: without their
        # size no start would be seen to fit to machine precision.
        if scaling.target_scale == 0 or not dataset.targets.any():
            return 1.0
        power = np.average(dataset.targets**2, weights=dataset.weights)
        return float(np.sqrt(power) / abs(scaling.target_scale))

    def prediction_attributes(
        self, dataset: Dataset, scaling: Scaling, found: Any
    ) -> dict[str, Any]:
        layout, n_filters = dataset.geometry.layout, self.settings.n_filters
        intercept = scaling.intercept(found.intercept)
        filters = scaling.filters(found.w).reshape(n_filters, layout.patch_dim)
        coef, bias = checked_filters(dataset, filters, intercept)
        free = self.settings.output_weights == "signs"
        weights, scale = scaling.signs(found.sign, free=free)
        return {
            "coef_": coef,
            "filters_": coef.reshape(n_filters, *layout.window_shape),
            "bias_": bias,
            "bias_scaling_": layout.constant,
            "output_weights_": weights,
            "output_scale_": scale,
            "intercept_": float(intercept),
        }

    def theory_attributes(
        self, dataset: Dataset, result: FitResult, rng: np.random.Generator
    ) -> dict[str, Any]:
        return bank_theory(dataset, self.settings, result, rng)

    def warnings(self, dataset: Dataset, result: FitResult) -> Iterator[str]:
        layout = dataset.geometry.layout
        if result.start_warning is not None:
            yield result.start_warning
        init = self.settings.init
        if layout.overlaps and isinstance(init, str) and init == "tensor":
            yield (
                "The patches overlap, but init='tensor' assumes independent ones: the "
                "filters may come from a random start. Use stride=kernel_size, or "
                "init='random'."
            )
        n_entries = self.settings.n_filters * layout.patch_dim
        if dataset.n_samples < n_entries:
            yield (
                f"There are fewer samples (n_samples={dataset.n_samples}) than weights and "
                f"biases of the filters ({n_entries}), so that many filters fit equally "
                "well. Pass more samples, or use fewer or smaller filters."
            )
