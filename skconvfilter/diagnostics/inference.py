"""Inference for the weights of a fitted filter: standard errors, intervals, tests."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.utils import check_random_state

from skconvfilter.diagnostics.covariance import COVARIANCES, Linearization
from skconvfilter.diagnostics.fitted import (
    FittedData,
    FittedModel,
    check_fitted,
    fitted_samples,
)
from skconvfilter.diagnostics.identifiability import Identifiability, check_identifiability
from skconvfilter.diagnostics.linearized import FitAtHand, linearize
from skconvfilter.diagnostics.resampling import Bootstrap, bootstrap_fits
from skconvfilter.diagnostics.sampling import check_confidence
from skconvfilter.diagnostics.summary import Summary
from skconvfilter.diagnostics.tables import Table
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.validation import check_integer, real_array

# Parts of a row of R along open directions that are zero but for rounding.
_NO_PART = 1e-6
# Rows of the table: of more parameters the first ones and what is not a weight.
_MAX_ROWS = 60


@dataclass(frozen=True, eq=False, repr=False)
class WaldTest(Summary):
    """Test of linear restrictions, from `wald_test` of :func:`inference`.

    Attributes
    ----------
    statistic : float
        F statistic: the Wald statistic over the number of restrictions.
    pvalue : float
        p value from the F distribution with these degrees of freedom.
    df_num, df_denom : float
        Number of restrictions, and degrees of freedom of the t statistics.
    """

    statistic: float
    pvalue: float
    df_num: float
    df_denom: float


@dataclass(frozen=True, eq=False, repr=False)
class PredictionInterval(Summary):
    """Intervals of predictions, from `predict_interval` of :func:`inference`.

    Attributes
    ----------
    mean : ndarray of shape (n_samples,)
        The predictions.
    stderr : ndarray of shape (n_samples,)
        Their standard errors; infinite for predictions that the data do not determine.
    mean_interval : ndarray of shape (n_samples, 2)
        Interval of the regression function.
    observation_interval : ndarray of shape (n_samples, 2)
        Interval of a new observation, whose noise has the variance `Inference.scale`.
    """

    mean: FloatArray
    stderr: FloatArray
    mean_interval: FloatArray
    observation_interval: FloatArray


@dataclass(frozen=True, eq=False, repr=False)
class Inference(Summary):
    """Result of :func:`inference`; ``print`` shows it as a table.

    Attributes
    ----------
    names : tuple of str
        Names of the parameters: all weights, then the biases, then the intercept.
    params : ndarray of shape (n_params,)
        The parameters.
    covariance_ : ndarray of shape (n_params, n_params)
        Covariance of the estimates in directions that the data determine.
    covariance_type : str
        "HC3", "HC0", "classical" or "cluster".
    level : float
        Default level of the intervals.
    nobs : int
        Number of samples with positive weight.
    df_model : float
        Effective number of parameters, including the intercept; with `alpha`, the trace of
        the matrix that maps targets to predictions.
    df_resid : float
        ``nobs - df_model``.
    df_resid_inference : float
        Degrees of freedom of the t statistics: `df_resid`, or the number of clusters minus
        1.
    scale : float
        Variance of the residuals, ``sum of squares / df_resid``; with weights, the variance
        for a sample of average weight.
    rsquared, rsquared_adj : float
        R^2, and the same with mean squares in place of sums; NaN for constant targets.
    llf, aic, bic : float
        Gaussian log-likelihood, ``-2 llf + 2 df_model`` and ``-2 llf + log(nobs)
        df_model``.
    identifiability : Identifiability
        Whether the data determine the parameters; read its `doubts` first.
    bootstrap : Bootstrap or None
        The fits to resamples, with ``bootstrap > 0``.
    linearization : Linearization
        The derivatives of the fitted values.
    model : FittedModel
        The fitted regression function.
    """

    names: tuple[str, ...]
    params: FloatArray
    covariance_: FloatArray
    covariance_type: str
    level: float
    nobs: int
    df_model: float
    df_resid: float
    df_resid_inference: float
    scale: float
    rsquared: float
    rsquared_adj: float
    llf: float
    aic: float
    bic: float
    identifiability: Identifiability
    bootstrap: Bootstrap | None
    linearization: Linearization
    model: FittedModel

    @property
    def bse(self) -> FloatArray:
        """Standard errors of all parameters, of shape (n_params,).

        They are infinite for parameters that neither the data nor a penalty determine.
        """
        errors = np.sqrt(np.maximum(np.diag(self.covariance_), 0))
        errors[np.abs(self._undetermined).max(axis=0, initial=0) > _NO_PART] = np.inf
        return errors

    @property
    def tvalues(self) -> FloatArray:
        """Parameters divided by their standard errors, of shape (n_params,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.params / self.bse

    @property
    def pvalues(self) -> FloatArray:
        """Two-sided p values for each parameter being 0, of shape (n_params,)."""
        tails: FloatArray = 2 * stats.t.sf(np.abs(self.tvalues), self.df_resid_inference)
        return tails

    def conf_int(self, level: float | None = None) -> FloatArray:
        """Compute the intervals of all parameters.

        Parameters
        ----------
        level : float, default=None
            Level of the intervals. If None, that of the result.

        Returns
        -------
        intervals : ndarray of shape (n_params, 2)
            Lower and upper limits.
        """
        half = self._quantile(level) * self.bse
        return np.stack([self.params - half, self.params + half], axis=-1)

    @property
    def coef(self) -> FloatArray:
        """Weights in the shape of the window; for a bank, after an axis for the filters."""
        return self._in_window(self.params)

    @property
    def stderr(self) -> FloatArray:
        """Standard errors of the weights, in the shape of `coef`."""
        return self._in_window(self.bse)

    @property
    def statistic(self) -> FloatArray:
        """The t statistics of the weights, in the shape of `coef`."""
        return self._in_window(self.tvalues)

    @property
    def pvalue(self) -> FloatArray:
        """Two-sided p values for each weight being 0, in the shape of `coef`."""
        return self._in_window(self.pvalues)

    def interval(self, level: float | None = None) -> FloatArray:
        """Compute the intervals of the weights.

        Parameters
        ----------
        level : float, default=None
            Level of the intervals. If None, that of the result.

        Returns
        -------
        intervals : ndarray of shape ``(*coef.shape, 2)``
            Lower and upper limits.
        """
        return self._in_window(self.conf_int(level))

    def wald_test(self, R: ArrayLike, q: ArrayLike = 0.0) -> WaldTest:
        """Test whether ``R @ params`` equals `q`.

        Parameters
        ----------
        R : array-like
            Restrictions, of shape (n_params,) or (n_restrictions, n_params). Restrictions
            of weights only may have the shape of `coef`, or this shape after an axis for
            the restrictions. A boolean array in the shape of `coef` selects weights that
            are tested together.
        q : float or array-like of shape (n_restrictions,), default=0.0
            The values.

        Returns
        -------
        test : WaldTest
            The F statistic and its p value.

        Raises
        ------
        TypeError, ValueError
            If `R` has another shape, if its rows are not independent, or if they depend on
            directions that the data do not determine.
        """
        rows = self._restrictions(R)
        values = rows @ self.params - np.broadcast_to(real_array("q", q), len(rows))
        if np.abs(rows @ self._undetermined.T).max(initial=0) > _NO_PART * np.abs(rows).max(
            initial=0
        ):
            raise ValueError(
                "R depends on a direction of the parameters that the data do not "
                "determine, see identifiability.open_directions."
            )
        spread = rows @ self.covariance_ @ rows.T
        sizes = np.sqrt(np.diag(spread))
        if not sizes.all() or np.linalg.matrix_rank(
            spread / np.outer(sizes, sizes), hermitian=True
        ) < len(rows):
            raise ValueError(
                "The estimates of the rows of R must be linearly independent and have "
                "positive standard errors. Leave out rows that depend on others; without "
                "noise there is no test."
            )
        statistic = float(values @ np.linalg.solve(spread, values) / len(rows))
        df = float(len(rows)), self.df_resid_inference
        return WaldTest(statistic, float(stats.f.sf(statistic, *df)), *df)

    def predict_interval(
        self, X: ArrayLike, level: float | None = None
    ) -> PredictionInterval:
        """Predict with intervals, for the mean and for a new observation.

        Parameters
        ----------
        X : array-like of shape ``(n_samples, ...)``
            Samples, in a form that the estimator accepts.
        level : float, default=None
            Level of the intervals. If None, that of the result.

        Returns
        -------
        intervals : PredictionInterval
            The predictions and both kinds of intervals.

        Raises
        ------
        TypeError, ValueError
            For an invalid `X`.
        """
        samples, geometry = fitted_samples(self.model.estimator, X)
        model = FittedModel.of(self.model.estimator, geometry)
        ones = np.ones(len(samples))
        objective = model.objective(samples, 0 * ones, ones)
        derivatives, residuals = model.jacobian(objective)
        indices, factors = self.model.order()
        derivatives = derivatives[:, indices] / factors
        variance = np.einsum("np,pq,nq->n", derivatives, self.covariance_, derivatives)
        stderr = np.sqrt(np.maximum(variance, 0))
        parts = np.abs(derivatives @ self._undetermined.T).max(axis=1, initial=0)
        stderr[parts > _NO_PART * np.linalg.norm(derivatives, axis=1)] = np.inf
        half = self._quantile(level) * np.stack([stderr, np.hypot(stderr, self.scale**0.5)])
        mean, observation = (
            np.stack([-residuals - h, -residuals + h], axis=1) for h in half
        )
        return PredictionInterval(-residuals, stderr, mean, observation)

    def __str__(self) -> str:
        return _table(self).text()

    def _repr_html_(self) -> str:
        return _table(self).html()

    @property
    def _undetermined(self) -> FloatArray:
        """Directions (n, n_params) that neither data nor a penalty determine."""
        penalized = float(self.model.estimator.penalty_) > 0
        directions = self.identifiability.open_directions
        return directions[:0] if penalized else directions

    def _quantile(self, level: float | None) -> float:
        level = self.level if level is None else check_confidence(level, "level")
        return float(stats.t.isf((1 - level) / 2, self.df_resid_inference))

    def _in_window(self, values: FloatArray) -> FloatArray:
        shape = self.model.coef_shape
        return values[: np.prod(shape)].reshape(*shape, *values.shape[1:])

    def _restrictions(self, R: ArrayLike) -> FloatArray:
        """Restrictions as rows (n_restrictions, n_params)."""
        rows = real_array("R", R, kinds="biuf")
        shape, n_params = self.model.coef_shape, len(self.params)
        n_weights = int(np.prod(shape))
        if rows.dtype == bool and rows.shape == shape:
            rows = np.eye(n_weights)[rows.ravel()]
        elif rows.shape in (shape, (n_params,)):
            rows = rows.reshape(1, -1)
        elif rows.shape[1:] == shape:
            rows = rows.reshape(len(rows), -1)
        if rows.ndim != 2 or rows.shape[1] not in (n_weights, n_params) or not len(rows):
            raise ValueError(
                f"R must have rows of {n_params} entries, one for each parameter, or the "
                f"shape {shape} of coef, got the shape {np.shape(R)}."
            )
        padded = np.zeros((len(rows), n_params))
        padded[:, : rows.shape[1]] = rows
        return padded


def inference(
    estimator: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    covariance: Literal["HC3", "HC0", "classical", "cluster"] = "HC3",
    groups: ArrayLike | None = None,
    level: float = 0.95,
    bootstrap: int = 0,
    n_jobs: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Inference:
    r"""Standard errors, intervals and tests for the weights of a fitted filter or bank.

    A fit is a nonlinear least-squares problem, and the derivatives J of the predictions
    with respect to the weights are known. For one filter they are its active mean patches,
    for the intercept they are 1. With the residuals r and sample weights :math:`\omega`,
    the covariance of the estimates is

    .. math::

        G^{-1} \Big(\sum_n \omega_n^2 r_n^2 J_n J_n^\top + R \Big) G^{-\top}

    for noise of unequal variance ("HC0", [1]_). For constant derivatives, R is 0 and G is
    :math:`H = \sum_n \omega_n J_n J_n^\top + n \lambda I`, with the penalty
    :math:`\lambda`, `penalty_`, of the weights. However, derivatives jump where patches
    become active or inactive. So G and R are the slope and the mean square residual of a
    regression: of the changes of :math:`\sum_n \omega_n J_n f_n` on moves of the
    parameters within the confidence region (cf. [4]_). Where the loss is nearly flat, as
    for most filters on photographs, so that these jumps prevail, :math:`J_n J_n^\top` is
    averaged over this region in place of it, and R is 0. "HC3" [2]_ divides each r by one
    minus its leverage. "classical" assumes equal variances, and "cluster" [3]_ assumes
    independent groups. These approximations hold for many samples, and only if the data
    determine the filter, which `identifiability` of the result checks.

    Parameters
    ----------
    estimator : ConvReLUFilterRegressor or ConvFilterBankRegressor
        The fitted regressor.
    X : array-like of shape ``(n_samples, ...)``
        The samples of the fit. They and their derivatives are held in memory.
    y : array-like of shape (n_samples,)
        The targets of the fit.
    sample_weight : array-like of shape (n_samples,), default=None
        The weights of the fit; only their ratios matter. "classical" treats them as inverse
        variances.
    covariance : {"HC3", "HC0", "classical", "cluster"}, default="HC3"
        Assumption on the noise, see above.
    groups : array-like of shape (n_samples,), default=None
        The group of each sample, for ``covariance="cluster"``. The bootstrap then resamples
        groups.
    level : float, default=0.95
        Level of the intervals.
    bootstrap : int, default=0
        Number of resamples, 0 or at least 2. A model is fitted to each of them, starting
        from the fit, to check the approximation.
    n_jobs : int, default=None
        Number of processes for the bootstrap, as in joblib. It does not affect the result.
    random_state : int, RandomState instance or None, default=None
        Determines the resamples and the starts of the search for other minima.

    Returns
    -------
    result : Inference
        Estimates, standard errors, tests and checks.

    Raises
    ------
    TypeError, ValueError
        For invalid data or parameters, and for fewer samples than parameters.

    See Also
    --------
    recovery : Compares a filter with a known one.
    skconvfilter.plotting.FilterDisplay.from_inference : Draw the result.

    Notes
    -----
    With ``alpha > 0``, estimates are biased towards 0. The penalty shortens the intervals,
    and they need not contain the true weights.

    References
    ----------
    .. [1] H. White, "A Heteroskedasticity-Consistent Covariance Matrix Estimator and a
       Direct Test for Heteroskedasticity", Econometrica 48, 1980; for nonlinear least
       squares, "Maximum Likelihood Estimation of Misspecified Models", Econometrica 50,
       1982.
    .. [2] J. G. MacKinnon, H. White, "Some Heteroskedasticity-Consistent Covariance Matrix
       Estimators with Improved Finite Sample Properties", Journal of Econometrics 29, 1985.
    .. [3] K.-Y. Liang, S. L. Zeger, "Longitudinal Data Analysis Using Generalized Linear
       Models", Biometrika 73, 1986.
    .. [4] D. Zeng, D. Y. Lin, "Efficient Resampling Methods for Nonsmooth Estimating
       Functions", Biostatistics 9, 2008.

    Examples
    --------
    >>> import numpy as np
    >>> from skconvfilter import ConvReLUFilterRegressor
    >>> from skconvfilter.datasets import make_filter_regression
    >>> from skconvfilter.diagnostics import inference
    >>> X, y, teacher = make_filter_regression(
    ...     2000, n_features=3, noise=0.5, teacher=[1.0, 0.0, -1.0], return_teacher=True,
    ...     random_state=2)
    >>> model = ConvReLUFilterRegressor(bias=False, random_state=0).fit(X, y)
    >>> result = inference(model, X, y, random_state=0)
    >>> low, high = result.interval().T
    >>> bool(((low < teacher) & (teacher < high)).all())
    True
    >>> (result.pvalue > 0.05).tolist()  # weights that may be 0
    [False, True, False]
    >>> result.identifiability.doubts
    ()
    """
    level = check_confidence(level, "level")
    kind = _check_covariance(covariance, groups)
    bootstrap = check_integer("bootstrap", bootstrap, minimum=0)
    if bootstrap == 1:
        raise ValueError("bootstrap must be 0 or at least 2, got 1.")
    seeds = check_random_state(random_state).randint(2**31, size=(2, 4))
    model, data = check_fitted(estimator, X, y, sample_weight, groups)
    fit = linearize(model, data, kind)
    indices, factors = model.order()
    params = model.theta[indices] * factors
    spread = fit.covariance[np.ix_(indices, indices)] * np.outer(factors, factors)
    resamples = None
    if bootstrap:
        whole = FittedData(**{**vars(data), "samples": np.asarray(X)[data.kept]})
        resamples = bootstrap_fits(
            model, whole, (params, spread), bootstrap, level, n_jobs, seeds[0]
        )
    return Inference(
        names=tuple(model.names()),
        params=params,
        covariance_=spread,
        covariance_type=kind,
        level=level,
        identifiability=check_identifiability(fit, np.random.default_rng(seeds[1])),
        bootstrap=resamples,
        linearization=fit.linearization,
        model=model,
        **_goodness(fit, None if kind != "cluster" else data.groups),
    )


def _goodness(fit: FitAtHand, groups: Any) -> dict[str, Any]:
    """How well the model fits, by the names of statsmodels."""
    y, weights, linearization = fit.data.y, fit.data.weights, fit.linearization
    nobs, df_model = len(y), linearization.n_effective
    df_resid = nobs - df_model
    squares = float(linearization.residuals @ linearization.residuals)
    centre = np.average(y, weights=weights) if fit.model.has_intercept else 0.0
    total = float(weights @ (y - centre) ** 2)
    unexplained = squares / total if total > 0 else np.nan
    ratio = (nobs - fit.model.has_intercept) / df_resid
    with np.errstate(divide="ignore"):
        llf = -0.5 * nobs * (np.log(2 * np.pi * squares / nobs) + 1)
    llf = float(llf + 0.5 * np.log(weights).sum())
    return {
        "nobs": nobs,
        "df_model": df_model,
        "df_resid": df_resid,
        "df_resid_inference": df_resid if groups is None else float(groups.max()),
        "scale": linearization.scale,
        "rsquared": 1 - unexplained,
        "rsquared_adj": 1 - unexplained * ratio,
        "llf": llf,
        "aic": -2 * llf + 2 * df_model,
        "bic": -2 * llf + float(np.log(nobs)) * df_model,
    }


def _table(result: Inference) -> Table:
    facts = [
        ("Model", type(result.model.estimator).__name__),
        ("No. observations", f"{result.nobs}"),
        ("Df model, residuals", f"{result.df_model:.4g}, {result.df_resid:.6g}"),
        ("R-squared, adjusted", f"{result.rsquared:.4f}, {result.rsquared_adj:.4f}"),
        ("Scale", f"{result.scale:.4g}"),
        ("Log-likelihood", f"{result.llf:.5g}"),
        ("AIC, BIC", f"{result.aic:.5g}, {result.bic:.5g}"),
        ("Covariance type", result.covariance_type),
    ]
    tail = (1 - result.level) / 2
    columns = ["", "coef", "std err", "t", "P>|t|", f"[{tail:.4g}", f"{1 - tail:.4g}]"]
    numbers = (result.params, result.bse, result.tvalues, result.pvalues)
    rows = [
        [
            name,
            *(f"{x:.4g}" for x in (w, e)),
            f"{t:.2f}",
            f"{p:.3f}",
            f"{a:.4g}",
            f"{b:.4g}",
        ]
        for name, w, e, t, p, a, b in zip(
            result.names, *numbers, *result.conf_int().T, strict=True
        )
    ]
    if len(rows) > _MAX_ROWS:
        n_last = len(rows) - result.coef.size
        first = max(_MAX_ROWS - n_last, 0)
        rows = [*rows[:first], ["...", *[""] * 6], *rows[len(rows) - n_last :]]
    return Table(facts, columns, rows, _notes(result))


def _notes(result: Inference) -> list[str]:
    notes = [f"Doubt: {doubt}" for doubt in result.identifiability.doubts]
    if result.bootstrap is not None:
        share = 100 * result.bootstrap.elsewhere
        notes.append(
            f"Bootstrap: {len(result.bootstrap.params)} resamples, {share:.0f} % of which "
            "end at another minimum."
        )
    if float(result.model.estimator.penalty_) > 0:
        notes.append(
            "alpha > 0: the estimates are biased towards 0, and the intervals need not "
            "contain the true weights."
        )
    return notes or ["No doubts about identifiability."]


def _check_covariance(covariance: Any, groups: Any) -> str:
    if not isinstance(covariance, str) or covariance not in COVARIANCES:
        raise ValueError(
            f"covariance must be one of {list(COVARIANCES)}, got {covariance!r}."
        )
    if covariance == "cluster" and groups is None:
        raise ValueError('covariance="cluster" needs groups, the group of each sample.')
    return covariance
