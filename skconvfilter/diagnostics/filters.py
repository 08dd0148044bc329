"""Filters and banks as users pass them: arrays, or fitted estimators that know more."""

from typing import Any, NamedTuple, Protocol

from numpy.typing import ArrayLike

from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.activations import Activation
from skconvfilter.model.bank import check_activation, check_bank, check_output_weights
from skconvfilter.model.geometry import Convolution, HasConvolution, join_bias
from skconvfilter.model.validation import check_filter, check_range


class FittedFilters(Protocol):
    """A fitted estimator, with a filter or a bank of filters as its `coef_`."""

    coef_: Any


# An array of shape (n_filters, patch_dim) of a bank, or one filter, in window shape or
# flat; or the estimator that has fitted it.
Filters = ArrayLike | FittedFilters


class BankModel(NamedTuple):
    """What a bank makes of the preactivations of its patches."""

    activation: Activation
    pooling: str


def convolution_of(estimator: HasConvolution | None, *filters: Filters) -> Convolution:
    """How flat samples are cut into patches.

    As `estimator` says; without one as the first fitted estimator among the filters says;
    without any, a sample is one patch.
    """
    if estimator is not None:
        return Convolution.of(estimator)
    candidates: tuple[Any, ...] = filters
    for given in candidates:
        if hasattr(given, "coef_") and hasattr(given, "kernel_size"):
            return Convolution.of(given)
    return Convolution()


def bank_model(estimator: HasConvolution | None, *filters: Filters) -> BankModel:
    """Activation and pooling: those of the first that has any, else ReLU and the sum."""
    candidates: tuple[Any, ...] = (estimator, *filters)
    for given in candidates:
        if hasattr(given, "activation") and hasattr(given, "pooling"):
            return BankModel(check_activation(given.activation), given.pooling)
    return BankModel(check_activation("relu"), "sum")


def bias_scaling_of(estimator: HasConvolution | None, *filters: Filters) -> float:
    """Value of the constant entry of the patches by which fitted filters have a bias.

    That of the first fitted estimator that has one, else 0: then filters have no bias.
    """
    candidates: tuple[Any, ...] = (estimator, *filters)
    return next(filter(None, (getattr(g, "bias_scaling_", 0.0) for g in candidates)), 0.0)


def one_filter(
    name: str,
    given: Filters,
    window_shape: tuple[int, ...],
    constant: float,
    bias: float | None = None,
) -> FloatArray:
    """A filter, flat, float64, of a size whose squares stay in range.

    With a constant entry of the patches the bias is its weight: the one given, else that of
    the fitted estimator, else 0.
    """
    w = check_filter(name, coef_of(given), window_shape).ravel()
    check_range(name, w)
    return join_bias(w, bias_of(given) if bias is None else bias, constant)


def bank_rows(
    name: str,
    given: Filters,
    window_shape: tuple[int, ...] | None = None,
    constant: float = 0.0,
    bias: ArrayLike | None = None,
) -> FloatArray:
    """Filters of a bank as rows (n_filters, patch_dim), float64, likewise."""
    rows = check_bank(name, coef_of(given), window_shape)
    check_range(name, rows)
    return join_bias(rows, bias_of(given) if bias is None else bias, constant)


def coef_of(given: Filters) -> Any:
    """The filters of a fitted estimator, else what is given."""
    return getattr(given, "coef_", given)


def bias_of(given: Filters) -> Any:
    """The biases of a fitted estimator; those of arrays are 0."""
    return getattr(given, "bias_", 0.0)


def bank_weights(
    name: str, weights: ArrayLike | None, given: Filters, n_filters: int
) -> FloatArray:
    """Output weights: those given, else those of the fitted bank, else all 1.

    They are multiplied by the output scale of a fitted bank.
    """
    if weights is None:
        weights = getattr(given, "output_weights_", None)
    scale: float = getattr(given, "output_scale_", 1.0)
    return scale * check_output_weights(weights, n_filters, name)
