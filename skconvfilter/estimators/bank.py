"""The regressor of a bank of convolutional filters."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skconvfilter.estimators.base import PatchRegressor
from skconvfilter.estimators.data import Dataset
from skconvfilter.estimators.fit import FitData, FittedFilters, Problem, Seeds, Starts
from skconvfilter.estimators.out_of_core import in_blocks
from skconvfilter.estimators.results import FitResult, Scaling, checked_coef
from skconvfilter.estimators.settings import BankSettings, check_bank_settings
from skconvfilter.estimators.starts import bank_redraw, bank_starts
from skconvfilter.estimators.theory import bank_theory
from skconvfilter.model.bank import activation_maps, bank_values, check_activation
from skconvfilter.model.bank_objective import BankObjective
from skconvfilter.model.geometry import PatchGeometry
from skconvfilter.solvers.driver import Callback, Solver, Status, Stopping
from skconvfilter.solvers.levenberg_marquardt import LevenbergMarquardt
from skconvfilter.solvers.multistart import Candidates, SearchResult
from skconvfilter.solvers.search import sequential_multistart

# Samples on which starts are compared: so many, or so many for each entry of the filters.
_COMPARE_ROWS, _COMPARE_ROWS_PER_ENTRY = 10_000, 20
# Damping after a step that was not taken, as activations bend, and that up to which steps
# are tried shorter before a start is given up: kinks may be close.
_RECOVERY, _PATIENCE = 1e-4, 1e2


class ConvFilterBankRegressor(PatchRegressor):
    r"""A bank of convolutional filters with one activation, learned from (X, y).

    The prediction for a sample with patches :math:`Z_1, \dots, Z_k` is

    .. math:: \hat y = \sum_{j=1}^{t} v_j \sum_{i=1}^{k} \phi(w_j \cdot Z_i) + b,

    or that with the mean over patches in place of the inner sum, and the fit minimises,
    with weights :math:`\omega_n`,

    .. math::

        \frac{1}{2 \sum_n \omega_n} \sum_n \omega_n (\hat y_n - y_n)^2
        + \frac{\alpha}{2} \sum_j \|w_j\|^2 .

    This is the model of [1]_ (there with all v = 1 and b = 0) and its algorithm, the tensor
    method followed by descent. Filters found by the tensor method lie near the true ones
    if patches do not overlap, are about normal and independent, and samples are many; from
    there descent must succeed. Correlated patches are whitened first. Where the start is
    poor all the same, as it may be on images, random starts take over: the fit goes on
    until a start fits to rounding, three have found the same lowest loss, or `n_init` are
    used up.

    `X` is of one of the forms that :class:`ConvReLUFilterRegressor` takes; of a dask array
    and of a file the tensor method sees a subsample of 10,000. Filters come in no
    particular order.

    Parameters
    ----------
    n_filters : int, default=5
        Number t of filters, at most a million.
    kernel_size : int or tuple of int, default=None
        Window of the convolution, one entry per spatial axis; an int serves every axis.
        None: patches come as given.
    input_shape : tuple of int, default=None
        Shape behind a flat row, channels last. None: ``(n_features,)``, a signal.
    stride, padding, dilation : int or tuple of int, default=1, 0, 1
        As in ``torch.nn.Conv2d``. ``stride=kernel_size``: patches do not overlap.
    activation : str, default="relu"
        The function phi of a response: "relu", "leaky_relu", "squared_relu", "sigmoid",
        "tanh" or "erf"; the slope of "leaky_relu" below 0 is 0.01.
    pooling : {"sum", "mean"}, default="sum"
        Whether activations are summed up over the patches or averaged.
    output_weights : {"ones", "signs"}, default="ones"
        "ones": all v are 1. "signs": each is 1 or -1, whichever the start suggests.
    solver : {"gauss-newton", "gd", "sgd"}, default="gauss-newton"
        Levenberg-Marquardt steps, gradient descent as in [1]_, or its stochastic form.
    init : {"tensor", "random"} or array, default="tensor"
        The first start: the tensor method's, or random as all others are; or filters of
        shape ``(n_filters, patch_dim)``, or of the shape of windows, or several such banks.
    contraction : {"all", "single"}, default="all"
        How the tensor method uses a tensor: all its slices, or, as in [1]_, one random
        contraction of them, which is less precise.
    n_init : int, default=10
        Largest number of starts, at most a million.
    learning_rate_init : "auto" or float, default="auto"
        Learning rate of "gd" and "sgd". "auto": 1 over the largest curvature of the loss
        at the starts.
    batch_size : "auto" or int, default="auto"
        Samples per update of "sgd". "auto": all of up to 200 samples, else 16.
    fit_intercept : bool, default=True
        Whether to fit b, else b = 0.
    alpha : float, default=0.0
        L2 penalty.
    max_iter : "auto" or int, default="auto"
        Largest number of iterations of a start. "auto": 200 steps of "gauss-newton", 3000
        of "gd", 200 epochs of "sgd".
    tol : float, default=1e-4
        An iteration makes progress if it takes more than this share off the loss.
    n_iter_no_change : int, default=5
        Iterations without progress after which a start has converged.
    warm_start : bool, default=False
        Whether a fitted estimator goes on from its filters in place of new starts.
    n_jobs : int, default=None
        Threads over blocks of samples; the result does not depend on it.
    random_state : int, RandomState instance or None, default=None
        Randomness of starts, mini-batches and subsamples.
    verbose : int, default=0
        Whether to print a line for every iteration: its phase, its number, the restarts
        that ran, what the best one so far leaves of the variance of `y`, and the time.

    Attributes
    ----------
    coef_ : ndarray of shape (n_filters, patch_dim)
        The filters, in the dtype of `X`.
    filters_ : ndarray of shape ``(n_filters, *window)``
        The same in window shape.
    output_weights_ : ndarray of shape (n_filters,), int
        The v.
    intercept_ : float
        b.
    init_coef_ : ndarray of shape (n_filters, patch_dim)
        The start that led to the filters.
    loss_ : float
        The objective at the filters.
    relative_loss_ : float
        Mean squared error over the squared mean of y.
    n_iter_ : int
        Iterations that the best start took.
    loss_curve_ : ndarray of shape (`n_iter_` + 1,)
        Its loss; of more than 10,000 samples on a subsample at first.
    restart_losses_ : ndarray of shape (n_starts,)
        Objective on all samples where each start ended; NaN if it was not needed. There
        are `n_init` starts, as many as `init` holds, or one that goes on.
    best_restart_ : int
        The start that won; the tensor method's is 0.
    history_ : dict of ndarray
        As of :class:`ConvReLUFilterRegressor`, starts one after the other.
    hessian_extremes_ : tuple of float
        Least and largest eigenvalue of the Hessian of the squared error at the filters, on
        a subsample. A positive least one: the filters are locally unique, and gradient
        descent near them converges at a linear rate. NaN, as the constants below, for
        filters of 0 and beyond 1e60.
    condition_number_, lambda_, rho_ : float
        The constants of [1]_ that govern the Hessian: the condition number of the filters,
        the product of their singular values over the smallest, and rho of Property 3.2;
        see :func:`~skconvfilter.diagnostics.local_convexity`.
    n_samples_seen_ : int
        Samples of positive weight in `X`.
    n_features_in_ : int
        Features of a 2-D `X`, else the length of a patch.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features, where `X` has them.

    See Also
    --------
    ConvReLUFilterRegressor : One filter, on patches that may overlap.
    skconvfilter.diagnostics.bank_recovery : Compare what was learned with the truth.

    References
    ----------
    .. [1] K. Zhong, Z. Song, I. S. Dhillon, "Learning Non-overlapping Convolutional Neural
       Networks with Multiple Kernels", 2017.

    Examples
    --------
    >>> from skconvfilter import ConvFilterBankRegressor
    >>> from skconvfilter.datasets import make_filter_bank_regression
    >>> from skconvfilter.diagnostics import bank_recovery
    >>> X, y, teacher = make_filter_bank_regression(
    ...     2000, n_filters=3, input_shape=24, kernel_size=8, stride=8,
    ...     return_teacher=True, random_state=0
    ... )
    >>> model = ConvFilterBankRegressor(
    ...     n_filters=3, kernel_size=8, stride=8, random_state=0
    ... ).fit(X, y)
    >>> bank_recovery(model, teacher).relative_error < 1e-6
    True
    """

    _n_coef_axes, _signs = 2, "output_weights_"
    _remedies = {
        Status.MAX_ITER: "increase max_iter, or use solver='levenberg-marquardt'",
        Status.DIVERGED: "lower learning_rate_init and learning_rate_final",
    }

    filters_: NDArray[np.floating[Any]]
    output_weights_: NDArray[np.int_]
    hessian_extremes_: tuple[float, float]
    condition_number_: float
    lambda_: float
    rho_: float

    def __init__(
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
        pooling: Literal["sum", "mean"] = "sum",
        output_weights: Literal["ones", "signs"] = "ones",
        solver: Literal["levenberg-marquardt", "gd", "sgd"] = "levenberg-marquardt",
        init: Literal["tensor", "random"] | ArrayLike = "tensor",
        contraction: Literal["all", "single"] = "all",
        n_init: int = 10,
        learning_rate: Literal["two-stage", "constant"] | Callable[..., ArrayLike] = "two-stage",
        learning_rate_init: Literal["auto"] | float = "auto",
        learning_rate_final: Literal["auto"] | float = "auto",
        switch: Literal["auto"] | int = "auto",
        batch_size: Literal["auto"] | int = "auto",
        fit_intercept: bool = True,
        alpha: float = 0.0,
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
        """Activation of every filter at every position, ``phi(w_j . Z_i)``.

        Parameters
        ----------
        X : array of one of the forms that :meth:`fit` takes
            Samples.

        Returns
        -------
        activations : ndarray of shape ``(n_samples, n_filters, *grid)``, dtype of `X`
            Their sums, or means, over the grid, times `output_weights_`, and the sum of
            those over the filters plus `intercept_`, are the prediction.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            As for :meth:`predict`.
        """
        samples, geometry = self._samples(X)
        W = np.asarray(self.coef_).T
        return activation_maps(samples, geometry, W, check_activation(self.activation))

    def _values(
        self, samples: Any, geometry: PatchGeometry, map_blocks: Callable[..., Any]
    ) -> NDArray[np.float64]:
        values = bank_values(
            samples,
            geometry,
            np.asarray(self.coef_, dtype=np.float64).T,
            check_activation(self.activation),
            output_weights=self.output_weights_,
            pooling=self.pooling,
            map_blocks=map_blocks,
        )
        return values + self.intercept_

    def _fitted_filters(self, geometry: PatchGeometry) -> FittedFilters | None:
        fitted = super()._fitted_filters(geometry)
        if fitted is not None and len(fitted.coef) != self.n_filters:
            raise ValueError(
                f"n_filters={self.n_filters}, but warm_start=True goes on from the "
                f"{len(fitted.coef)} filters that were fitted: keep their number, or fit "
                "anew with warm_start=False."
            )
        return fitted

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # Sums of rectified preactivations do not fit any table.
        tags.regressor_tags.poor_score = True
        return tags


@dataclass(frozen=True)
class BankProblem(Problem[BankObjective]):
    """A bank: one start after another, the most promising first."""

    settings: BankSettings
    mini_batch_remedies = "solver='gd'"

    @property
    def homogeneity(self) -> float | None:
        return self.settings.activation.homogeneity

    @property
    def draws_mini_batches(self) -> bool:
        return self.settings.solver == "sgd"

    def make_objective(
        self, dataset: Dataset, scaling: Scaling, map_blocks: Callable[..., Any] = map
    ) -> BankObjective:
        return BankObjective(
            dataset.samples,
            dataset.geometry,
            scaling.targets(dataset.targets),
            n_filters=self.settings.n_filters,
            activation=self.settings.activation,
            pooling=self.settings.pooling,
            sample_weight=dataset.weights,
            alpha=scaling.penalty(self.settings.alpha),
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
        starts: Candidates,
        solver: Solver | None,
        stopping: Stopping,
        rng: np.random.Generator,
        callback: Callback | None,
    ) -> SearchResult:
        sample = data.sample
        if solver is None:
            solver = LevenbergMarquardt(recovery=_RECOVERY, patience=_PATIENCE)
        else:
            # Gradient descent runs on all samples from its first step on.
            sample = data.objective
        return sequential_multistart(
            data.objective,
            sample,
            starts,
            solver,
            stopping,
            validation=data.validation,
            callback=callback,
        )

    def prediction_attributes(
        self, dataset: Dataset, scaling: Scaling, found: Any
    ) -> dict[str, Any]:
        layout, n_filters = dataset.geometry.layout, self.settings.n_filters
        intercept = scaling.intercept(found.intercept)
        coef = checked_coef(dataset, scaling.filters(found.w), intercept)
        return {
            "coef_": coef.reshape(n_filters, layout.patch_dim),
            "filters_": coef.reshape(n_filters, *layout.window_shape),
            "output_weights_": found.sign.astype(int),
            "intercept_": float(intercept),
        }

    def theory_attributes(
        self, dataset: Dataset, result: FitResult, rng: np.random.Generator
    ) -> dict[str, Any]:
        fitted = self.prediction_attributes(dataset, result.scaling, result.search)
        return bank_theory(dataset, self.settings, fitted, rng)

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
                f"There are fewer samples (n_samples={dataset.n_samples}) than entries of "
                f"the filters (n_filters * patch_dim = {n_entries}), so that many filters "
                "fit equally well. Pass more samples, or use fewer or smaller filters."
            )
