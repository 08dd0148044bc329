"""The regressor of one convolutional filter: ReLU, average pooling."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skconvfilter.diagnostics.certificate import Certificate
from skconvfilter.estimators.base import (
    PatchRegressor,
    available_if,
)
from skconvfilter.estimators.data import Dataset, check_dataset
from skconvfilter.estimators.fit import (
    FitData,
    FittedFilters,
    Problem,
    Seeds,
    Starts,
    prepare,
)
from skconvfilter.estimators.fitted_state import (
    check_fitted_state,
    check_patch_dim,
    replace_fitted,
    unchanged_on_failure,
)
from skconvfilter.estimators.out_of_core import in_blocks
from skconvfilter.estimators.results import FitResult, Scaling, filter_attributes
from skconvfilter.estimators.settings import (
    FilterSettings,
    check_filter_settings,
    is_option,
)
from skconvfilter.estimators.starts import filter_redraw, filter_starts
from skconvfilter.estimators.streaming import can_stream, continue_stream
from skconvfilter.estimators.theory import filter_theory, theory_schedule
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.forward import activation_map, model_values
from skconvfilter.model.geometry import PatchGeometry
from skconvfilter.solvers.driver import Callback, Solver, Status, Stopping
from skconvfilter.solvers.levenberg_marquardt import LevenbergMarquardt
from skconvfilter.solvers.multistart import Candidates, SearchResult
from skconvfilter.solvers.schedules import Schedule
from skconvfilter.solvers.search import (
    descend,
    explore_and_polish,
    explored,
    n_exploration_rows,
)


class ConvReLUFilterRegressor(PatchRegressor):
    r"""Regression with one convolutional filter, a ReLU and average pooling.

    The prediction for a sample with patches :math:`Z_1, \dots, Z_k` is

    .. math:: \hat y = s \, \frac{1}{k} \sum_{i=1}^{k} \max(w \cdot Z_i + c, 0) + b,

    and the fit minimises, with sample weights :math:`\omega_n`,

    .. math::

        \frac{1}{2 \sum_n \omega_n} \sum_n \omega_n (\hat y_n - y_n)^2
        + \frac{\alpha}{2} \left(u^2 \|w\|^2 + c^2\right) ,

    with the root mean square u of the patches. With
    ``fit_intercept=False, output_sign=1, polish=False`` this is the model and the algorithm
    of [1]_: stochastic gradient descent from random starts, with a two-stage learning rate.
    By default, Levenberg-Marquardt steps follow, also from the reflections of the best
    filters. They recover the filter from noiseless labels, where gradient descent stalls at
    a small loss. The data need not be scaled, because the fit is equivariant to the scale
    of `X` and `y`.

    `X` may be larger than memory, as a :class:`numpy.memmap` or a dask array that is
    chunked along the samples only. `X` has one of these forms:

    * 2-D, with ``kernel_size=None``: each row is one patch (a single neuron);
    * 2-D, with `kernel_size` and `input_shape`: each row is a flat image or signal, over
      which the window moves; the patches are never stored;
    * with `kernel_size` as a tuple, images or signals that are not flat:
      ``(n_samples, length)``, ``(n_samples, height, width)``,
      ``(n_samples, depth, height, width)``, each with or without a last axis of channels;
    * 3-D ``(n_samples, n_patches, patch_dim)``, with ``kernel_size=None``: patches;
    * a window view ``(n_samples, *grid, *window)`` of images, as
      :func:`numpy.lib.stride_tricks.sliding_window_view` or :class:`ConvPatchExtractor`
      returns it, used without a copy.

    Parameters
    ----------
    kernel_size : int or tuple of int, default=None
        Window of the convolution, one entry per spatial axis; an int is used for every
        axis. If None, `X` holds patches.
    input_shape : tuple of int, default=None
        Shape of a flat row: ``(length,)``, ``(height, width)`` or
        ``(height, width, channels)``; in general the axes of `kernel_size`, and one more
        for channels. If None, ``(n_features,)``, a signal.
    stride, padding, dilation : int or tuple of int, default=1, 0, 1
        As in :class:`torch.nn.Conv2d`.
    solver : {"sgd", "levenberg-marquardt", "gd"}, default="sgd"
        Method of the first phase: stochastic gradient descent (equation 2 of [1]_),
        Levenberg-Marquardt steps, or gradient descent on all samples.
    init : "ball", array or callable, default="ball"
        The starts. If "ball", random directions with a norm set by `init_radius`. An array
        holds one or several filters, in the shape of the window or flat, ``(patch_dim,)``
        or ``(n_init, patch_dim)``. A callable ``init(n_init, patch_dim, random_state)``
        returns such an array.
    init_radius : "auto", "theory" or float, default="auto"
        Norm of random starts. If "auto", the norm that fits `y` best in each direction. If
        a number, starts are uniform in the ball of that radius. If "theory", the radius is
        that of Theorem 3.4, ``1 / sqrt(2 pi patch_dim)`` times an estimate of the norm of
        the true filter.
    n_init : int, default=16
        Number of starts, at most a million. With `polish`, and if patches are long or
        many, the first start is the filter of ridge regression on the mean patches, and
        only the starts with the lowest loss on a few samples are run. If the best loss is
        then below 3 % of that of a constant, but not 0, the data may be without noise:
        unless steps take long, as many more starts are tried.
    learning_rate : {"two-stage", "constant", "theory"} or callable, default="two-stage"
        Schedule of "sgd" and "gd". If "theory", the step of Theorem 3.1 (2.2 for one patch)
        is used, at the distance from the filter of a quick fit. If its condition fails, for
        example with an intercept or a penalty, the step of "constant" is used, with a
        warning. A callable ``learning_rate(step, losses)`` gets the number of the update,
        from 0, and the losses of shape (n_epochs + 1, n_running) at the start and after
        every epoch. It returns one rate, or one for each running restart.
    learning_rate_init, learning_rate_final : "auto" or float, default="auto"
        Learning rates of stage one, or of all steps, and of stage two. If "auto", 1 and 1.5
        divided by the largest curvature of the loss at the starts and for the mean patches.
    switch : "auto" or int, default="auto"
        Epoch after which stage two begins. If "auto", each restart switches after its
        first epoch that reduces the loss by less than a tenth.
    batch_size : "auto" or int, default="auto"
        Samples per update of "sgd". If "auto", 16, or all if there are at most 200.
    polish : bool, default=True
        Whether Levenberg-Marquardt steps and reflections follow the first phase. The first
        phase then runs on a subsample of ``max(1000, 8 * patch_dim)`` samples, or of
        ``max(1000, 4 * patch_dim)`` if patches are long or many, where it may be in single
        precision.
    bias : bool, default=False
        Whether to fit the bias c, as in ``torch.nn.Conv2d``. If False, c = 0, as in [1]_.
        On real images a bias often lowers the error. The theory then applies to patches
        with a constant entry (see `bias_scaling_`), for which gamma is close to 0.
    fit_intercept : bool, default=True
        Whether to fit b. If False, b = 0.
    output_sign : {"auto", 1, -1}, default="auto"
        The sign s. If "auto", half of the random starts have each sign, and the better sign
        is selected; given starts, and a single start, get the sign that fits better.
    alpha : "auto" or float, default=0.0
        L2 penalty, relative to the size of the patches, so that the same grid can be used
        for data in any unit. If "auto", it is chosen by restricted maximum likelihood for
        the linearized model at the end of the search, and the filter is fitted again with
        it. It is 0 for exact fits, and for fits that do not end with Levenberg-Marquardt
        steps. With fewer than two samples for each parameter, the search before it has a
        penalty of 1e-3.
    max_iter : "auto" or int, default="auto"
        Largest number of iterations of `solver`: epochs of "sgd", steps of the others. If
        "auto", 2, 20 and 100 for "sgd", "gd" and "levenberg-marquardt", and 200 and 1000
        for the first two if `polish` is False.
    tol : float, default=1e-4
        An iteration makes progress if it reduces the loss by more than this fraction.
    n_iter_no_change : int, default=5
        Iterations without progress after which a restart has converged.
    early_stopping : bool, default=False
        Whether to keep the iterate, and the restart, with the lowest loss on validation
        data: the `X_val` and `y_val` passed to `fit`, or else `validation_fraction` of the
        samples, which are held out.
    validation_fraction : float, default=0.1
        Fraction of the samples that is held out.
    warm_start : bool, default=False
        Whether to start from the filter of the previous fit.
    diagnostics : bool, default=True
        Whether to estimate the quantities of the theory, with the fitted filter in place of
        the true one.
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
    coef_ : ndarray of shape (patch_dim,)
        The filter w, in the dtype of `X`.
    filter_ : ndarray of the shape of the window
        The filter in the shape of the window.
    bias_ : float
        The bias c; 0.0 without `bias`.
    bias_scaling_ : float
        The root mean square u of (some of) the patches; 0.0 without `bias`. A bias is the
        weight of a constant entry of the patches. Starts, penalty, angles and the
        quantities of the theory are those of the filter ``(w, c / u)`` for the patches
        ``(Z_i, u)``.
    intercept_ : float
        The intercept b.
    sign_ : int
        The sign s.
    alpha_ : float
        The `alpha` that was used.
    penalty_ : float
        The penalty in the units of the loss, the factor of half of ``|w|^2 + c^2 / u^2``.
    loss_ : float
        The objective at the fitted filter.
    relative_loss_ : float
        Mean squared error over the squared mean of `y`, as in [1]_.
    n_iter_ : int
        Number of iterations of the best restart.
    loss_curve_ : ndarray of shape (`n_iter_` + 1,)
        Loss of the best restart; on the subsample until the last phase.
    coef_path_ : ndarray of shape (`n_iter_` + 1, patch_dim)
        Filters of the best restart, from its start on.
    bias_path_ : ndarray of shape (`n_iter_` + 1,)
        Biases of the best restart.
    restart_losses_ : ndarray of shape (n_init,)
        Objective on all samples at the end of each restart; NaN if it did not run.
    best_restart_ : int
        Index of the best restart.
    history_ : dict of ndarray
        "iteration" has the shape (n_iterations + 1,). "loss", "relative_loss",
        "gradient_norm", "learning_rate", "angle" (to the final filter, in radians), "stage"
        ("start", "stage 1", "stage 2", "theory", "polish") and, with early stopping,
        "validation_loss" have the shape (n_iterations + 1, n_init), with NaN or "" where a
        restart was not running.
    phi_0_ : float
        With `diagnostics`, ``arcsin(|w_0 - w| / |w|)`` for the start w_0 of the best
        restart; NaN if w_0 is farther from w than 0 is.
    gamma_, L_ : float
        With `diagnostics`, gamma and L of Assumption 3.1 up to the angle `phi_0_`, or up to
        pi/2 if it is NaN. They are estimated from a few hundred samples by a short search;
        `gamma_` tends to be too large, the others too small. NaN for too few samples, a
        zero filter, or patches so long or so many that estimates would take longer than the
        fit. :func:`~skconvfilter.diagnostics.smoothness` is more precise and slower.
    beta_, L_cross_ : float
        With `diagnostics`, beta of Assumption 3.1 and L_cross of Assumption 3.2.
    certificate_ : Certificate or None
        With `diagnostics`, the theorems that apply and their guarantees, see
        :func:`~skconvfilter.diagnostics.certificate`.
    validation_scores_ : ndarray of shape (`n_iter_` + 1,)
        With early stopping, R^2 of the best restart on the validation data.
    best_validation_score_ : float
        With early stopping, R^2 of the fitted filter on the validation data, the highest
        of the last phase.
    n_samples_seen_ : int
        Number of samples with positive weight in `X`; for `partial_fit`, in all calls.
    n_features_in_ : int
        Number of features of a 2-D `X`; otherwise the length of a patch.
    input_shape_ : tuple of int
        Shape of a sample, if `X` is not 2-D and `input_shape` is None. Flat samples are
        reshaped to it.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features, if `X` has them.

    See Also
    --------
    ConvFilterBankRegressor : Several filters at once.
    ConvPatchExtractor : Extracts the patches in a separate step.

    References
    ----------
    .. [1] S. S. Du, J. D. Lee, Y. Tian, "When is a Convolutional Filter Easy to Learn?",
       ICLR 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skconvfilter import ConvReLUFilterRegressor
    >>> from skconvfilter.datasets import make_filter_regression
    >>> model = ConvReLUFilterRegressor(3, input_shape=(8, 8), random_state=0)
    >>> X, y, teacher = make_filter_regression(
    ...     500, model, return_teacher=True, random_state=0)
    >>> bool(np.allclose(model.fit(X, y).filter_, teacher))
    True
    """

    _n_coef_axes, _signs = 1, "sign_"
    _remedies: ClassVar[dict[Status, str]] = {
        Status.MAX_ITER: "increase max_iter, or set polish=True",
        Status.DIVERGED: "lower learning_rate_init and learning_rate_final",
    }

    filter_: NDArray[np.floating[Any]]
    sign_: int
    phi_0_: float
    gamma_: float
    L_: float
    beta_: float
    L_cross_: float
    certificate_: Certificate | None

    def __init__(
        self,
        kernel_size: int | Sequence[int] | None = None,
        *,
        input_shape: int | Sequence[int] | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        solver: Literal["sgd", "levenberg-marquardt", "gd"] = "sgd",
        init: Literal["ball"] | ArrayLike | Callable[..., ArrayLike] = "ball",
        init_radius: Literal["auto", "theory"] | float = "auto",
        n_init: int = 16,
        learning_rate: Literal["two-stage", "constant", "theory"]
        | Callable[..., ArrayLike] = "two-stage",
        learning_rate_init: Literal["auto"] | float = "auto",
        learning_rate_final: Literal["auto"] | float = "auto",
        switch: Literal["auto"] | int = "auto",
        batch_size: Literal["auto"] | int = "auto",
        polish: bool = True,
        bias: bool = False,
        fit_intercept: bool = True,
        output_sign: Literal["auto", 1, -1] = "auto",
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
        self.kernel_size = kernel_size
        self.input_shape = input_shape
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.solver = solver
        self.init = init
        self.init_radius = init_radius
        self.n_init = n_init
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.learning_rate_final = learning_rate_final
        self.switch = switch
        self.batch_size = batch_size
        self.polish = polish
        self.bias = bias
        self.fit_intercept = fit_intercept
        self.output_sign = output_sign
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

    def _problem(self, dataset: Dataset) -> "FilterProblem":
        return FilterProblem(
            check_filter_settings(self, dataset.n_samples, dataset.geometry.layout)
        )

    @available_if(can_stream)
    def partial_fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Update the filter with a block of samples of a stream.

        The method is recursive Gauss-Newton: least squares on the patches that are active
        for the current filter, where older samples are forgotten as the number of samples
        doubles. The first call draws `n_init` starts; `coef_` is the one that predicted
        recent samples best before it was fitted to them. The worse half is drawn again from
        time to time, and soon after the errors have risen, so that the filter adapts if the
        distribution changes. After `fit`, the stream starts from the fitted filter.

        `solver` and its learning rates are not used. Attributes of the search and the
        theory, such as `history_`, are removed; `loss_` is that of the predictions, and
        `n_iter_` increases by 1.

        Parameters
        ----------
        X, y, sample_weight : as for :meth:`fit`
            The next samples.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        TypeError, ValueError, AttributeError
            As for :meth:`fit`; AttributeError with ``early_stopping=True``: use `fit`.
        """
        with unchanged_on_failure(self):
            first = not hasattr(self, "coef_")
            if not first:
                check_fitted_state(self, stream=True)
            dataset = check_dataset(self, X, y, sample_weight, reset=first, in_memory=True)
            problem = self._problem(dataset)
            if not first:
                check_patch_dim(self, dataset.geometry.layout.window_size)
            # The constant entry of the patches stays the same throughout a stream.
            dataset = prepare(problem, dataset, getattr(self, "bias_scaling_", 0.0))
            seeds = Seeds.draw(self.random_state, problem.settings.n_init)
            fitted, stream = continue_stream(self, dataset, problem, seeds)
            replace_fitted(self, fitted | {"_stream": stream})
        return self

    @in_blocks
    def feature_map(self, X: Any) -> NDArray[np.floating[Any]]:
        """Activation of the filter at every position, ``max(w . Z_i + c, 0)``.

        Parameters
        ----------
        X : array of one of the forms that :meth:`fit` accepts
            Samples.

        Returns
        -------
        activations : ndarray of shape ``(n_samples, *grid)``, dtype of `X`
            Their mean over the grid, times `sign_`, plus `intercept_`, is the prediction.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            As for :meth:`predict`.
        """
        samples, geometry = self._samples(X)
        return activation_map(samples, *self._with_bias(geometry))

    def _values(
        self, samples: Any, geometry: PatchGeometry, map_blocks: Callable[..., Any]
    ) -> NDArray[np.float64]:
        geometry, w = self._with_bias(geometry)
        W = w.astype(np.float64)[:, np.newaxis]
        values = model_values(samples, geometry, W, map_blocks)[:, 0]
        return self.sign_ * values + self.intercept_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # A model of one sign, and a window that shares its weights, cannot fit any table.
        signed = self.fit_intercept and self.output_sign == "auto"
        tags.regressor_tags.poor_score = not signed or self.kernel_size is not None
        return tags


@dataclass(frozen=True)
class FilterProblem(Problem[FilterSettings, FilterObjective]):
    """One filter: explored from many starts on a subsample, and polished."""

    settings: FilterSettings
    homogeneity = 1
    either_sign = False
    mini_batch_remedies = "polish=True, solver='gd'"

    @property
    def draws_mini_batches(self) -> bool:
        return self.settings.solver == "sgd" and not self.settings.polish

    def make_objective(
        self, dataset: Dataset, scaling: Scaling, map_blocks: Callable[..., Any] = map
    ) -> FilterObjective:
        return FilterObjective(
            dataset.samples,
            dataset.geometry,
            scaling.targets(dataset.targets),
            sample_weight=dataset.weights,
            alpha=self.settings.alpha * dataset.patch_unit**2,
            fit_intercept=self.settings.fit_intercept,
            map_blocks=map_blocks,
        )

    def n_search_rows(self, objective: FilterObjective) -> int | None:
        # Without a polish all starts run to their end, on all samples.
        return n_exploration_rows(objective) if self.settings.polish else None

    def explored(self, sample: FilterObjective) -> FilterObjective:
        return explored(sample) if self.settings.polish else sample

    def draw_starts(
        self,
        data: FitData[FilterObjective],
        scaling: Scaling,
        seeds: Seeds,
        fitted: FittedFilters | None,
    ) -> Starts:
        return Starts(filter_starts(data.sample, self.settings, seeds, scaling, fitted))

    def make_redraw(
        self, sample: FilterObjective, starts: Candidates, scaling: Scaling, seeds: Seeds
    ) -> Callable[[int], NDArray[np.float64]]:
        return filter_redraw(sample, starts, self.settings, seeds, scaling)

    def search(
        self,
        data: FitData[FilterObjective],
        starts: Starts,
        solver: Solver | None,
        stopping: Stopping,
        rng: np.random.Generator,
        callback: Callback | None,
    ) -> SearchResult:
        options: dict[str, Any] = {
            "tune": self.settings.tune_alpha,
            "validation": data.validation,
            "callback": callback,
        }
        if not self.settings.polish:
            solver = solver or LevenbergMarquardt(metric=data.sample.patch_metric())
            return descend(data.objective, starts.candidates, solver, stopping, **options)
        # A start of one's own, a fitted filter, and a single start are used as they are.
        n_starts, n_init = len(starts.candidates.restarts), self.settings.n_init
        drawn = is_option(self.settings.init, "ball") and 1 < n_init == n_starts
        return explore_and_polish(
            data.objective,
            data.sample,
            starts.candidates,
            solver,
            stopping,
            max_polish=self.settings.max_polish,
            rng=rng,
            redraw=starts.redraw if drawn else None,
            **options,
        )

    def theory_schedule(
        self,
        sample: FilterObjective,
        starts: Candidates,
        stopping: Stopping,
        otherwise: float,
        rng: np.random.Generator,
    ) -> Schedule:
        batch_size = self.settings.batch_size
        return theory_schedule(sample, starts, stopping, otherwise, batch_size, rng)

    def prediction_attributes(
        self, dataset: Dataset, scaling: Scaling, found: Any
    ) -> dict[str, Any]:
        intercept = scaling.intercept(found.intercept)
        return filter_attributes(dataset, scaling.filters(found.w), found.sign, intercept)

    def theory_attributes(
        self, dataset: Dataset, result: FitResult, rng: np.random.Generator
    ) -> dict[str, Any]:
        return filter_theory(dataset, result, rng)

    def warnings(self, dataset: Dataset, result: FitResult) -> Iterator[str]:
        if self.settings.learning_rate != "theory":
            return
        stages = result.search.history["stage"][:, result.search.best_restart]
        n_others, n_allowed = (np.count_nonzero(stages == s) for s in ("stage 1", "theory"))
        if n_others > 0:
            yield (
                f"learning_rate='theory': Theorem 3.1 allowed {n_allowed} of the "
                f"{n_others + n_allowed} gradient iterations of the best restart; the "
                "others took the steps of 'constant'. The theorem does not apply with "
                "fit_intercept=True or alpha > 0, where gamma <= 6 L_cross, and far from "
                "the filter: see skconvfilter.diagnostics.certificate."
            )
