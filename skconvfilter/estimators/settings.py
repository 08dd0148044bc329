"""Constructor parameters, checked and with their defaults resolved.

Errors name the parameter and what it should be.
"""

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skconvfilter.kernels.layout import PatchLayout
from skconvfilter.model.activations import ACTIVATIONS, Activation
from skconvfilter.model.bank import POOLINGS
from skconvfilter.model.squared_error import COSTLY_WORK, step_work
from skconvfilter.model.validation import check_integer, check_range, real

# More restarts or filters than this are a mistake, which would fill the memory.
_LARGEST_COUNT = 10**6

# Iterations of a solver for one filter on its own, and before the polish, whose job it then
# only is to leave the poor cells that the starts may lie in; and for a bank.
_MAX_ITER = {"sgd": 200, "gd": 1000, "levenberg-marquardt": 100}
_MAX_ITER_BEFORE_POLISH = {"sgd": 2, "gd": 20, "levenberg-marquardt": 100}
_MAX_ITER_OF_BANK = {"levenberg-marquardt": 200, "gd": 3000, "sgd": 200}
_MAX_POLISH = 100
# Up to this many samples the automatic mini-batch is all of them.
_FULL_BATCH, _MINI_BATCH = 200, 16
# Samples of a forward start: so many, or so many for each entry of the filters, of which
# there are fewer where its steps would take long.
_FORWARD_ROWS, _FORWARD_ROWS_PER_PARAMETER, _LEAST_ROWS_PER_PARAMETER = 1000, 20, 10
# Samples of generalized least squares: so many, or so many for each entry of the filters.
# Their time grows with the square, so that there is a largest number; they are not used
# with fewer than so many for each entry.
_GENERALIZED_ROWS, _GENERALIZED_ROWS_PER_PARAMETER = 1000, 5
_MOST_GENERALIZED_ROWS, _LEAST_GENERALIZED_ROWS_PER_PARAMETER = 2000, 2
# Starts of a bank, and the work of one step on the samples of a forward start, see
# `step_work`, that they may take together; and both for data that may be without noise.
_N_INIT_OF_BANK, _FORWARD_BUDGET = 10, 5e7
_N_INIT_WITHOUT_NOISE, _BUDGET_WITHOUT_NOISE = 40, 2e9
# The same of generalized least squares, see `_generalized_work`.
_GENERALIZED_BUDGET = 2.8e9
# With fewer samples for each parameter, all minima fit well but for a penalty: so a penalty
# that is tuned is not 0 in the search before.
_FEW_PER_PARAMETER, _ALPHA_OF_FEW = 2, 1e-3


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How to fit; attributes are named and documented as the estimators' parameters."""

    solver: str
    n_init: int
    learning_rate: str | Callable[..., Any]
    learning_rate_init: str | float
    learning_rate_final: str | float
    switch: Literal["auto"] | int
    batch_size: int
    fit_intercept: bool
    bias: bool
    alpha: float
    tune_alpha: bool  # by steps that follow the search, which is without a penalty
    max_iter: int
    tol: float
    n_iter_no_change: int
    early_stopping: bool
    validation_fraction: float
    diagnostics: bool


@dataclass(frozen=True, kw_only=True)
class FilterSettings(FitSettings):
    """How to fit one filter."""

    init: str | NDArray[np.float64] | Callable[..., Any]
    init_radius: Literal["auto", "theory"] | float
    polish: bool
    max_polish: int
    output_sign: str | int


@dataclass(frozen=True, kw_only=True)
class BankSettings(FitSettings):
    """How to fit a bank."""

    init: str | NDArray[np.float64]  # an array (n_init, n_filters, patch_dim)
    n_filters: int
    activation: Activation
    pooling: str
    output_weights: str
    forward_rows: int
    generalized_rows: int | None  # None: without generalized least squares
    n_init_if_noisy: int
    contraction: Literal["all", "single"]


def check_filter_settings(
    estimator: Any, n_samples: int, layout: PatchLayout
) -> FilterSettings:
    """Read and check the parameters of an estimator of one filter, about to be fitted.

    Raises
    ------
    TypeError, ValueError
        Naming the parameter and what it should be.
    """
    polish = check_boolean("polish", estimator.polish)
    table = _MAX_ITER_BEFORE_POLISH if polish else _MAX_ITER
    rules = ("two-stage", "constant", "theory")
    common = _check_common(estimator, n_samples, max_iter=table, rules=rules)
    alone = common["solver"] == "levenberg-marquardt"
    common["tune_alpha"] &= alone or polish
    if common["tune_alpha"]:
        common["alpha"] = _first_alpha(n_samples, layout.patch_dim)
    return FilterSettings(
        **common,
        init=_check_init(estimator.init, layout),
        init_radius=_check_radius(estimator.init_radius),
        polish=polish,
        max_polish=common["max_iter"] if alone else _MAX_POLISH,
        output_sign=check_option("output_sign", estimator.output_sign, ("auto", 1, -1)),
    )


def check_bank_settings(
    estimator: Any, n_samples: int, layout: PatchLayout
) -> BankSettings:
    """The same for an estimator of a bank."""
    n_filters = check_count("n_filters", estimator.n_filters)
    activation = check_option("activation", estimator.activation, tuple(ACTIVATIONS))
    weights = ("ones", "signs")
    common = _check_common(
        estimator, n_samples, max_iter=_MAX_ITER_OF_BANK, rules=("two-stage", "constant")
    )
    init = _check_bank_init(estimator.init, n_filters, layout)
    forward = isinstance(init, str) and init in ("auto", "forward")
    if forward and common["solver"] != "levenberg-marquardt":
        if init == "forward":
            raise ValueError(
                f"init='forward' is for solver='levenberg-marquardt', got solver="
                f"{common['solver']!r}: use init='random' or init='tensor'."
            )
        # Gradient descent, whose rates follow from the starts, begins where they are.
        init, forward = ("random" if layout.overlaps else "tensor"), False
    n_parameters = n_filters * layout.patch_dim
    # With an output scale the penalty is not on the parameters that are linearised.
    homogeneous = ACTIVATIONS[activation].homogeneity is not None
    common["tune_alpha"] &= common["solver"] == "levenberg-marquardt" and homogeneous
    if common["tune_alpha"]:
        common["alpha"] = _first_alpha(n_samples, n_parameters)
    forward_rows = _n_forward_rows(n_samples, layout, n_parameters)
    n_explored = min(n_samples, forward_rows)
    possible = homogeneous and common["alpha"] == 0
    generalized_rows = _n_generalized_rows(n_explored, n_parameters) if possible else None
    n_init_if_noisy = common["n_init"]
    if common["n_init"] == "auto":
        common["n_init"] = n_init_if_noisy = _N_INIT_OF_BANK
        if forward:
            n_init_if_noisy, common["n_init"] = _n_forward_starts(
                n_explored, generalized_rows, layout, n_filters
            )
    return BankSettings(
        **common,
        init=init,
        n_filters=n_filters,
        activation=ACTIVATIONS[activation],
        pooling=check_option("pooling", estimator.pooling, POOLINGS),
        output_weights=check_option("output_weights", estimator.output_weights, weights),
        forward_rows=forward_rows,
        generalized_rows=generalized_rows,
        n_init_if_noisy=n_init_if_noisy,
        contraction=check_option("contraction", estimator.contraction, ("all", "single")),
    )


def _n_forward_rows(n_samples: int, layout: PatchLayout, n_parameters: int) -> int:
    """Number of samples, at most, that a forward start runs on."""
    n_rows = max(_FORWARD_ROWS, _FORWARD_ROWS_PER_PARAMETER * n_parameters)
    work = step_work(min(n_samples, n_rows), layout.n_patches, n_parameters)
    if work < COSTLY_WORK:
        return n_rows
    return max(_FORWARD_ROWS, _LEAST_ROWS_PER_PARAMETER * n_parameters)


def _n_generalized_rows(n_explored: int, n_parameters: int) -> int | None:
    """Number of samples of generalized least squares; None: too few."""
    n_rows = max(_GENERALIZED_ROWS, _GENERALIZED_ROWS_PER_PARAMETER * n_parameters)
    n_rows = min(n_explored, n_rows, _MOST_GENERALIZED_ROWS)
    enough = n_rows >= _LEAST_GENERALIZED_ROWS_PER_PARAMETER * n_parameters
    return n_rows if enough else None


def _generalized_work(n_rows: int, layout: PatchLayout, n_filters: int) -> float:
    """Time of a start with generalized least squares, as that of a step.

    Most of it is tries of single filters, so many for each filter of the bank.
    """
    of_one = n_rows * (layout.n_patches + n_rows / 2) * layout.patch_dim
    return (n_filters + 2) * of_one


def _n_forward_starts(
    n_explored: int, generalized_rows: int | None, layout: PatchLayout, n_filters: int
) -> tuple[int, int]:
    """Numbers of starts of data with noise, and of data that may be without."""
    work = step_work(n_explored, layout.n_patches, n_filters * layout.patch_dim)
    if_noisy = _from_1_to(_N_INIT_OF_BANK, _FORWARD_BUDGET / work)
    number = _BUDGET_WITHOUT_NOISE / work
    if generalized_rows is not None:
        work = _generalized_work(generalized_rows, layout, n_filters)
        number = _GENERALIZED_BUDGET / work
    return if_noisy, _from_1_to(_N_INIT_WITHOUT_NOISE, number)


def _first_alpha(n_samples: int, n_parameters: int) -> float:
    """The penalty of the search, before it is tuned."""
    return _ALPHA_OF_FEW if n_samples < _FEW_PER_PARAMETER * n_parameters else 0.0


def _from_1_to(largest: int, number: float) -> int:
    return min(max(int(number), 1), largest)


def check_count(name: str, value: Any) -> int:
    """Return `value` as an int from 1 to a million."""
    return check_integer(name, value, minimum=1, maximum=_LARGEST_COUNT)


def check_boolean(name: str, value: Any) -> bool:
    """Return `value` as a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}.")
    return bool(value)


def check_option(name: str, value: Any, options: tuple[Any, ...]) -> Any:
    """Return `value` if it is one of the options."""
    for option in options:
        if isinstance(option, str) and is_option(value, option):
            return option
        if isinstance(value, Integral) and not isinstance(value, bool) and value == option:
            return option
    listed = ", ".join(repr(option) for option in options)
    raise ValueError(f"{name} must be one of {listed}, got {value!r}.")


def is_option(value: Any, option: str) -> bool:
    """Whether `value` is the string `option`; arrays and numbers are not."""
    return isinstance(value, str) and value == option


def check_filters(init: Any, layout: PatchLayout) -> NDArray[np.float64]:
    """Return starts of one filter, float64 of shape (n_init, window_size)."""
    window, size = layout.window_shape, layout.window_size
    expected = (
        "init must be 'ball', a callable, or a filter in the shape of the window, "
        f"{window}, or flat, ({size},), or several along a first axis"
    )
    filters = _numbers_of_init(init, expected)
    shapes = (window, (size,))
    several = filters.ndim > 1 and filters.shape[1:] in shapes and len(filters) > 0
    if filters.shape not in shapes and not several:
        raise ValueError(f"{expected}; got shape {filters.shape}, where patch_dim={size}.")
    return _checked_numbers(filters.reshape(-1, size))


def _check_common(
    estimator: Any, n_samples: int, *, max_iter: dict[str, int], rules: tuple[str, ...]
) -> dict[str, Any]:
    """The fields of FitSettings by name; `max_iter` holds the defaults of each solver."""
    solver = check_option("solver", estimator.solver, tuple(max_iter))
    fit_intercept = check_boolean("fit_intercept", estimator.fit_intercept)
    n_iterations = _check_auto_or_integer("max_iter", estimator.max_iter)
    _check_jobs(estimator.n_jobs)
    _check_verbose(estimator.verbose)
    check_boolean("warm_start", estimator.warm_start)
    alpha = _check_auto_or_real("alpha", estimator.alpha)
    learning_rate = estimator.learning_rate
    if not callable(learning_rate):
        learning_rate = check_option("learning_rate", learning_rate, rules)
    return {
        "solver": solver,
        "n_init": _check_n_init(estimator.n_init),
        "learning_rate": learning_rate,
        "learning_rate_init": _check_auto_or_real(
            "learning_rate_init", estimator.learning_rate_init, open_low=True
        ),
        "learning_rate_final": _check_auto_or_real(
            "learning_rate_final", estimator.learning_rate_final, open_low=True
        ),
        "switch": _check_auto_or_integer("switch", estimator.switch),
        "batch_size": _check_batch_size(
            estimator.batch_size, solver, fit_intercept, n_samples
        ),
        "fit_intercept": fit_intercept,
        "bias": check_boolean("bias", estimator.bias),
        "alpha": 0.0 if alpha == "auto" else alpha,
        "tune_alpha": alpha == "auto",
        "max_iter": max_iter[solver] if n_iterations == "auto" else n_iterations,
        "tol": _check_real("tol", estimator.tol, low=0.0),
        "n_iter_no_change": check_integer(
            "n_iter_no_change", estimator.n_iter_no_change, minimum=1
        ),
        "early_stopping": check_boolean("early_stopping", estimator.early_stopping),
        "validation_fraction": _check_real(
            "validation_fraction",
            estimator.validation_fraction,
            low=0.0,
            high=1.0,
            open_low=True,
        ),
        "diagnostics": check_boolean("diagnostics", estimator.diagnostics),
    }


def _check_n_init(n_init: Any) -> Any:
    return "auto" if is_option(n_init, "auto") else check_count("n_init", n_init)


def _check_real(
    name: str, value: Any, *, low: float, high: float = np.inf, open_low: bool = False
) -> float:
    """Return `value` as a finite float of [low, high), or (low, high) if `open_low`."""
    value = real(name, value)
    inside = (low < value if open_low else low <= value) and value < high
    if not (np.isfinite(value) and inside):
        bracket = "(" if open_low else "["
        raise ValueError(f"{name} must be in {bracket}{low}, {high}), got {value}.")
    return float(value)


def _check_auto_or_integer(name: str, value: Any) -> Any:
    """Return "auto", or `value` as a positive int."""
    return "auto" if is_option(value, "auto") else check_integer(name, value, minimum=1)


def _check_auto_or_real(
    name: str, value: Any, *, open_low: bool = False
) -> Literal["auto"] | float:
    """Return "auto", or `value` as a float of at least, or above, 0."""
    if is_option(value, "auto"):
        return "auto"
    if isinstance(value, str):
        raise ValueError(f"{name} must be 'auto' or a number, got {value!r}.")
    return _check_real(name, value, low=0.0, open_low=open_low)


def _check_jobs(n_jobs: Any) -> None:
    if n_jobs is None:
        return
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral):
        raise TypeError(f"n_jobs must be None or an int, got {n_jobs!r}.")
    if n_jobs == 0:
        raise ValueError("n_jobs must not be 0: use 1, or -1 for all processors.")


def _check_verbose(verbose: Any) -> None:
    if not isinstance(verbose, bool | np.bool_):
        check_integer("verbose", verbose, minimum=0)


def _check_batch_size(
    batch_size: Any, solver: str, fit_intercept: bool, n_samples: int
) -> int:
    """Samples per update, "auto" resolved."""
    batch_size = _check_auto_or_integer("batch_size", batch_size)
    if solver == "gd":
        return n_samples
    if batch_size == "auto":
        return n_samples if n_samples <= _FULL_BATCH else _MINI_BATCH
    if batch_size == 1 and fit_intercept:
        raise ValueError(
            "batch_size must be at least 2 with fit_intercept=True: the intercept is "
            "fitted within each batch. Use a larger batch_size or fit_intercept=False."
        )
    return int(batch_size)


def _check_radius(radius: Any) -> Literal["auto", "theory"] | float:
    if isinstance(radius, str):
        if radius == "auto":
            return "auto"
        if radius == "theory":
            return "theory"
        raise ValueError(
            f"init_radius must be 'auto', 'theory' or a number, got {radius!r}."
        )
    return _check_real("init_radius", radius, low=0.0, open_low=True)


def _check_init(init: Any, layout: PatchLayout) -> Any:
    if is_option(init, "ball") or callable(init):
        return init
    if isinstance(init, str):
        raise ValueError(
            f"init must be 'ball', a callable, or an array of filters, got {init!r}."
        )
    return check_filters(init, layout)


def _check_bank_init(
    init: Any, n_filters: int, layout: PatchLayout
) -> str | NDArray[np.float64]:
    """An option, or the user's starts as float64 (n_init, n_filters, patch_dim)."""
    if isinstance(init, str):
        return str(check_option("init", init, ("auto", "forward", "tensor", "random")))
    expected = (
        "init must be 'auto', 'forward', 'tensor', 'random' or filters of shape "
        f"(n_filters={n_filters}, *{layout.window_shape}), (n_filters, patch_dim="
        f"{layout.patch_dim}) or several such banks along a first axis"
    )
    filters = _numbers_of_init(init, expected)
    windows = {layout.window_shape, (layout.patch_dim,)}
    shapes = {(n_filters, *window) for window in windows}
    several = filters.shape[1:] in shapes and len(filters) > 0
    if filters.shape not in shapes and not several:
        raise ValueError(f"{expected}; got shape {filters.shape}.")
    return _checked_numbers(filters.reshape(-1, n_filters, layout.patch_dim))


def _numbers_of_init(init: Any, expected: str) -> NDArray[Any]:
    try:
        filters = np.asarray(init)
        if filters.dtype.kind not in "fiu":
            raise TypeError
    except (TypeError, ValueError):
        raise TypeError(f"{expected}; got {init!r}, which holds no real numbers.") from None
    return filters


def _checked_numbers(filters: NDArray[Any]) -> NDArray[np.float64]:
    filters = filters.astype(np.float64)
    if not np.isfinite(filters).all():
        raise ValueError("init contains NaN or infinity.")
    check_range("init", filters)
    return filters
