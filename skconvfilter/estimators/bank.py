"""The regressor: a bank of convolutional filters."""

from functools import partial

import numpy as np

from skconvfilter.estimators.bank_fitting import fit_bank
from skconvfilter.estimators.bank_outcome import bank_attributes, found_bank
from skconvfilter.estimators.bank_settings import check_bank_settings
from skconvfilter.estimators.base import PatchRegressor
from skconvfilter.estimators.data import check_dataset
from skconvfilter.estimators.fitting import Seeds
from skconvfilter.estimators.out_of_core import in_blocks
from skconvfilter.estimators.parallel import block_mapper
from skconvfilter.estimators.report import warn_not_converged, warn_of_bank
from skconvfilter.estimators.state import replace_learnt, unchanged_on_failure
from skconvfilter.estimators.watching import Watch, with_callbacks
from skconvfilter.model.bank import bank_responses, bank_values, check_activation
from skconvfilter.solvers.driver import Status

_REMEDY = {
    Status.MAX_ITER: "increase max_iter, of which solver='gauss-newton' needs least",
    Status.DIVERGED: "lower learning_rate_init",
}


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

    def __init__(
        self,
        n_filters=5,
        *,
        kernel_size=None,
        input_shape=None,
        stride=1,
        padding=0,
        dilation=1,
        activation="relu",
        pooling="sum",
        output_weights="ones",
        solver="gauss-newton",
        init="tensor",
        contraction="all",
        n_init=10,
        learning_rate_init="auto",
        batch_size="auto",
        fit_intercept=True,
        alpha=0.0,
        max_iter="auto",
        tol=1e-4,
        n_iter_no_change=5,
        warm_start=False,
        n_jobs=None,
        random_state=None,
        verbose=0,
    ):
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
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.fit_intercept = fit_intercept
        self.alpha = alpha
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y, sample_weight=None):
        """Fit the filters.

        scikit-learn's callbacks, from its version 1.9 on, see every iteration; if one asks
        for a stop, the fit ends with the best filters so far.

        Parameters
        ----------
        X : array of one of the forms that :class:`ConvReLUFilterRegressor` takes
            Samples, float32 or float64; other dtypes become float64.
        y : array-like of shape (n_samples,)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights; only their ratios matter, and zero leaves a sample out.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        TypeError, ValueError
            For parameters and data that cannot be used; what was learnt before stays.

        Warns
        -----
        ConvergenceWarning
            Where the best start ended without having converged.
        UserWarning
            Where the tensor method gave no start, or what it assumes does not hold; where
            there are fewer samples than entries of the filters.
        """
        with unchanged_on_failure(self):
            dataset, settings, outcome, doubt = self._fit(X, y, sample_weight)
        warn_of_bank(dataset, settings, doubt)
        warn_not_converged(outcome.result.status, _REMEDY)
        return self

    @with_callbacks
    def _fit(self, X, y, sample_weight):
        dataset = check_dataset(self, X, y, sample_weight, reset=True)
        settings = check_bank_settings(self, dataset)
        previous = self._previous_bank(dataset.geometry)
        seeds = Seeds.draw(self.random_state, settings.n_init)
        watch = Watch(self, X, y, sample_weight)
        with block_mapper(self.n_jobs) as map_blocks:
            outcome, doubt = fit_bank(
                dataset,
                settings,
                seeds,
                previous=previous,
                map_blocks=map_blocks,
                callback=watch.callback(partial(found_bank, dataset, settings)),
            )
            learnt = bank_attributes(dataset, settings, outcome, seeds.theory)
        replace_learnt(self, learnt)
        watch.end()
        return dataset, settings, outcome, doubt

    @in_blocks
    def feature_map(self, X):
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
        return bank_responses(samples, geometry, W, check_activation(self.activation))

    def _values(self, samples, geometry, map_blocks):
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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # Sums of rectified responses do not fit any table.
        tags.regressor_tags.poor_score = True
        return tags

    def _previous_bank(self, geometry):
        if not (self.warm_start and hasattr(self, "coef_")):
            return None
        self._check_learnt(geometry)
        if len(self.coef_) != self.n_filters:
            raise ValueError(
                f"n_filters={self.n_filters}, but warm_start=True goes on from the "
                f"{len(self.coef_)} filters that were fitted: keep their number, or fit "
                "anew with warm_start=False."
            )
        coef = np.asarray(self.coef_, dtype=np.float64)
        # Filters of 0, which constant targets leave, would stay.
        return None if coef.size and not coef.any() else (coef, self.output_weights_)
