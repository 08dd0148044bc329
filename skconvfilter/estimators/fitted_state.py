"""Fitted attributes: what they must be before they are used, and how they are replaced."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

# No fit leaves filters with larger entries. Squares of these are in range.
_LARGEST = 1e140


@dataclass(frozen=True)
class _Expected:
    """What the numbers of an attribute must be."""

    valid: Callable[[NDArray[Any]], Any]
    words: str
    per_filter: bool = False  # else it is one number


def _finite(numbers: NDArray[Any]) -> Any:
    return np.abs(numbers) <= _LARGEST


def _counts(least: int) -> _Expected:
    def valid(numbers: NDArray[Any]) -> Any:
        return (numbers >= least) & (numbers == np.floor(numbers))

    return _Expected(valid, f"an integer of at least {least}")


_SIGNS = _Expected(lambda signs: np.abs(signs) == 1, "1 or -1", per_filter=True)
_NUMBER = _Expected(_finite, "a finite number")
_NUMBERS = _Expected(_finite, "finite numbers", per_filter=True)
# All that predictions need, and a stream in addition.
_PREDICTS = {
    "coef_": _NUMBERS,
    "bias_": _NUMBERS,
    "sign_": _SIGNS,
    "output_weights_": _SIGNS,
    "output_scale_": _NUMBER,
    "intercept_": _NUMBER,
    "n_features_in_": _counts(1),
}
_STREAMS = {
    "bias_scaling_": _Expected(lambda u: (u >= 0) & _finite(u), "a finite number"),
    "n_iter_": _counts(0),
    "n_samples_seen_": _counts(0),
}
_OF_BANKS = {"output_weights_", "output_scale_"}
PREDICTION_ATTRIBUTES = frozenset(_PREDICTS)


def check_fitted_state(estimator: Any, *, stream: bool = False) -> None:
    """Check that an estimator is fitted, and that what it is going to use is in order.

    Parameters
    ----------
    estimator : PatchRegressor
    stream : bool, default=False
        Whether it goes on with `partial_fit`.

    Raises
    ------
    NotFittedError
        Before a fit.
    ValueError
        Naming the attribute that is missing, or is not as a fit leaves it.
    """
    check_is_fitted(estimator)
    shape = np.shape(_fitted(estimator, "coef_"))
    if len(shape) != estimator._n_coef_axes:
        raise ValueError(
            f"The fitted coef_ has shape {shape}, expected {estimator._n_coef_axes} axes: "
            "it has been changed, or the file it came from is corrupted. Fit again."
        )
    others = {"sign_"} if "output_weights_" == estimator._signs else _OF_BANKS
    for name, expected in (_PREDICTS | (_STREAMS if stream else {})).items():
        if name not in others:
            _check_attribute(estimator, name, expected, shape)


def check_patch_dim(estimator: Any, patch_dim: int) -> None:
    """Raise ValueError unless the filters are for patches of this length."""
    shape = np.shape(estimator.coef_)
    if shape[-1] != patch_dim:
        raise ValueError(
            f"The fitted coef_ has shape {shape}, but the patches of X have "
            f"patch_dim={patch_dim}: pass X with the patches that were fitted, or fit "
            "again without warm_start."
        )


def _check_attribute(
    estimator: Any, name: str, expected: _Expected, coef_shape: tuple[int, ...]
) -> None:
    value = _fitted(estimator, name)
    shape = np.shape(value)
    if expected.per_filter and name != "coef_" and shape != coef_shape[:-1]:
        raise ValueError(
            f"The fitted coef_ has shape {coef_shape}, but {name} has shape {shape}: there "
            "must be one for each filter. Fit again."
        )
    numbers = np.asarray(value)
    if numbers.dtype.kind == "O":
        numbers = np.asarray(numbers.tolist())
    in_order = (
        (expected.per_filter or shape == ())
        and not np.ma.isMaskedArray(value)
        and numbers.dtype.kind in "iuf"
        and bool(np.all(expected.valid(numbers.astype(np.float64))))
    )
    if not in_order:
        raise ValueError(
            f"The fitted {name} must be {expected.words}: it has been changed, or the file "
            "it came from is corrupted. Fit again."
        )


def _fitted(estimator: Any, name: str) -> Any:
    try:
        return getattr(estimator, name)
    except AttributeError:
        raise ValueError(f"The fitted {name} is missing. Fit again.") from None


@contextmanager
def unchanged_on_failure(estimator: Any) -> Iterator[None]:
    """Restore all attributes if the block raises, an interrupt included."""
    attributes = vars(estimator).copy()
    try:
        yield
    except BaseException:
        # In one step, which another interrupt cannot divide.
        estimator.__dict__ = attributes
        raise


def replace_fitted(estimator: Any, fitted: dict[str, Any]) -> None:
    """Put new fitted attributes, the state of a stream included, in place of all old ones.

    What validation has just set stays.
    """
    validated = ("n_features_in_", "feature_names_in_", "input_shape_")
    kept = {
        name: value
        for name, value in vars(estimator).items()
        if name in validated or not (name.endswith("_") or name == "_stream")
    }
    estimator.__dict__ = kept | fitted  # in one step
