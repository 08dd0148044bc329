"""From the result of a search to fitted attributes in the user's units."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skconvfilter.estimators.data import Dataset
from skconvfilter.model.angles import angles_to
from skconvfilter.model.geometry import split_bias
from skconvfilter.solvers.multistart import SearchResult

# Losses and rates: floats or arrays of them.
Numbers = Any


class Scaling(NamedTuple):
    """Targets of unit size: from the user's units to those of a fit, and back."""

    target_shift: float
    target_scale: float  # 0: the targets are constant; negative: their sign is changed
    # The model's values grow with this power of its filters; None: with none, but they have
    # a factor, the output scale.
    homogeneity: float | None = 1

    @classmethod
    def of(
        cls,
        targets: NDArray[np.float64],
        weights: NDArray[np.float64] | None,
        *,
        centre: bool,
        homogeneity: float | None = 1,
        either_sign: bool = False,
    ) -> "Scaling":
        """Scaling that brings these targets to unit size.

        With `either_sign`, also to one of the two signs, so that fits of y and -y are the
        same: to that in which they are skewed to the right.
        """
        largest = np.abs(targets).max()
        if largest == 0:
            return cls(0.0, 0.0, homogeneity)
        shift = float(np.average(targets, weights=weights)) if centre else 0.0
        scale = float(np.sqrt(np.average((targets - shift) ** 2, weights=weights)))
        if scale <= np.finfo(float).eps * largest:
            scale = 0.0
        if either_sign and scale > 0:
            # Some target decides if all are symmetric about their mean.
            units = (targets - shift) / scale
            skewness = np.average(units**3, weights=weights) or units[np.argmax(units != 0)]
            scale = float(np.copysign(scale, skewness))
        return cls(shift, scale, homogeneity)

    @property
    def filter_scale(self) -> float:
        """What the filters of a fit are multiplied by."""
        if self.homogeneity is None:
            return 1.0
        return float(abs(self.target_scale) ** (1 / self.homogeneity))

    def targets(self, targets: NDArray[np.float64]) -> NDArray[np.float64]:
        """Targets in the units of the fit."""
        if self.target_scale == 0:
            return np.zeros_like(targets)
        shifted = targets - self.target_shift
        if np.abs(shifted).max() <= 4 * np.finfo(float).eps * abs(self.target_shift):
            return np.zeros_like(targets)
        return shifted / self.target_scale

    def penalty(self, alpha: float) -> float:
        """L2 penalty in the units of the user."""
        # With an output scale it is on the filters times that scale, as large as targets.
        return alpha if self.homogeneity is None else alpha / self._ratio

    def inner_rate(self, rate: Numbers) -> Numbers:
        """Learning rate in the units of the fit."""
        return rate / self._ratio

    def rate(self, rate: Numbers) -> Numbers:
        """Learning rate in the units of the user."""
        return rate * self._ratio

    def inner_filters(self, filters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Filters in the units of the fit, 0 for constant targets."""
        if self.target_scale == 0:
            return np.zeros_like(filters)
        return filters / self.filter_scale

    def filters(self, filters: NDArray[np.float64]) -> NDArray[np.float64]:
        """Filters in the units of the user."""
        return filters * self.filter_scale

    def inner_signs(self, signs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Output weights, 1 and -1, in the units of the fit."""
        return -signs if self.target_scale < 0 else signs

    def signs(
        self, signs: NDArray[np.float64], *, free: bool
    ) -> tuple[NDArray[np.int_], float]:
        """Output weights, 1 and -1, and the output scale, in the units of the user.

        Unless the weights are `free`, they are 1, and the scale may be negative.
        """
        if self.homogeneity is not None:
            return self.inner_signs(signs).astype(int), 1.0
        scaled = self.target_scale * signs
        if not free:
            return np.ones(len(signs), dtype=int), float(scaled[0])
        return np.where(scaled < 0, -1, 1), float(np.abs(scaled[0]))

    def intercept(self, intercept: float) -> float:
        """Intercept in the units of the user."""
        return self.target_shift + self.target_scale * intercept

    def losses(self, losses: Numbers) -> Numbers:
        """Losses in the units of the user."""
        # Infinite losses of constant targets are 0 times infinity.
        with np.errstate(over="ignore", invalid="ignore"):
            return losses * self.target_scale**2

    def gradients(self, gradients: Numbers) -> Numbers:
        """Gradients in the units of the user."""
        return gradients * self.filter_scale / self._ratio

    @property
    def _ratio(self) -> float:
        """Of the squares of the scales of filters and targets; 1 for constant targets."""
        if self.target_scale == 0 or self.homogeneity == 1:
            return 1.0
        return (self.filter_scale / self.target_scale) ** 2


class FitResult(NamedTuple):
    """What a search found, and the units in which it is expressed."""

    search: SearchResult
    scaling: Scaling
    held_out_variance: float | None  # of the targets held out, if there are
    start_warning: str | None  # what the user should know of the starts
    is_constant: bool  # whether the best filters are dead although the targets vary


def search_attributes(
    dataset: Dataset, result: FitResult, coef_shape: tuple[int, ...]
) -> dict[str, Any]:
    """What a search leaves behind, whatever the model."""
    search, scaling = result.search, result.scaling
    history = _history(dataset, result)
    scaled_filters = np.abs(search.sign).max() * search.w
    squares = _mean_squares(search.loss, search.alpha, scaled_filters)
    ran = np.isfinite(search.history["loss"][:, search.best_restart])
    path: NDArray[np.floating[Any]]
    path = scaling.filters(search.history["filters"][ran, search.best_restart])
    with np.errstate(over="ignore", invalid="ignore"):
        path = path.astype(dataset.samples.dtype)
    layout = dataset.geometry.layout
    path = path.reshape(-1, *coef_shape[:-1], layout.patch_dim)
    coef_path, bias_path = split_bias(path, layout.constant)
    fitted = {
        "loss_": float(scaling.losses(search.loss)),
        "relative_loss_": float(_relative(squares, dataset, scaling)),
        "alpha_": search.alpha / dataset.patch_unit**2,
        "penalty_": scaling.penalty(search.alpha),
        "n_iter_": max(1, int(ran.sum()) - 1),
        "loss_curve_": history["loss"][ran, search.best_restart],
        "coef_path_": coef_path,
        "bias_path_": bias_path,
        "restart_losses_": scaling.losses(search.restart_losses),
        "best_restart_": search.best_restart,
        "n_samples_seen_": dataset.n_samples,
        "history_": history,
    }
    if search.path:
        fitted["path_"] = {
            "n_filters": search.path["n_filters"],
            "loss": scaling.losses(search.path["loss"]),
        }
    if result.held_out_variance is not None:
        if search.path:
            scores = _r2(search.path["score"], result.held_out_variance)
            fitted["path_"]["validation_score"] = scores
        fitted |= _validation_attributes(search, result.held_out_variance, ran)
    return fitted


def filter_attributes(
    dataset: Dataset, w: NDArray[np.float64], sign: float, intercept: float
) -> dict[str, Any]:
    """What predictions of one filter need; raises as :func:`checked_filters`."""
    coef, bias = checked_filters(dataset, w, intercept)
    return {
        "coef_": coef,
        "filter_": coef.reshape(dataset.geometry.layout.window_shape),
        "bias_": float(bias),
        "bias_scaling_": dataset.geometry.layout.constant,
        "intercept_": float(intercept),
        "sign_": int(sign),
    }


def checked_filters(
    dataset: Dataset, filters: NDArray[np.float64], intercept: float
) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
    """Weights and biases of filters (..., patch_dim), in the dtype of the samples.

    Raises
    ------
    ValueError
        Where they, or the intercept, leave its range.
    """
    with np.errstate(over="ignore"):
        rounded = np.asarray(filters).astype(dataset.samples.dtype)
        coef, bias = split_bias(rounded, dataset.geometry.layout.constant)
        finite = np.isfinite(rounded).all() and np.isfinite(coef.dtype.type(intercept))
    if not finite:
        raise ValueError(
            f"the filter that fits y exceeds the range of {coef.dtype}: the values of X "
            "are too small compared with those of y. Rescale them."
        )
    return coef, bias


def _history(dataset: Dataset, result: FitResult) -> dict[str, NDArray[Any]]:
    scaling, raw = result.scaling, result.search.history
    scaled_filters = raw["scale"][:, :, np.newaxis] * raw["filters"]
    squares = _mean_squares(raw["loss"], raw["alpha"], scaled_filters)
    with np.errstate(over="ignore", invalid="ignore"):
        history = {
            "iteration": np.arange(len(raw["loss"])),
            "loss": scaling.losses(raw["loss"]),
            "relative_loss": _relative(squares, dataset, scaling),
            "gradient_norm": scaling.gradients(raw["gradient_norm"]),
            "learning_rate": scaling.rate(raw["learning_rate"]),
            "angle": angles_to(result.search.w, raw["filters"]),
            "stage": raw["stage"],
        }
        if result.held_out_variance is not None:
            history["validation_loss"] = scaling.losses(raw["score"])
    return history


def _mean_squares(losses: Numbers, alpha: Numbers, filters: NDArray[np.float64]) -> Numbers:
    """Mean squared errors at filters (..., p): the losses without the penalty."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = 2 * losses - alpha * np.sum(filters**2, axis=-1)
    return np.where(np.isinf(losses), losses, squares)


def _relative(squares: Numbers, dataset: Dataset, scaling: Scaling) -> Numbers:
    """Mean squared errors over the squared mean of the targets, infinite if that is 0."""
    if scaling.target_scale == 0:
        return np.zeros_like(squares)
    mean = np.average(dataset.targets, weights=dataset.weights)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        return squares * np.divide(scaling.target_scale, abs(mean)) ** 2


def _validation_attributes(
    search: SearchResult, variance: float, ran: NDArray[np.bool_]
) -> dict[str, Any]:
    scores = _r2(search.history["score"][ran, search.best_restart], variance)
    best = _r2(np.array([search.score]), variance)[0]
    return {"validation_scores_": scores, "best_validation_score_": float(best)}


def _r2(losses: NDArray[np.float64], variance: float) -> NDArray[np.float64]:
    """R^2; of constant targets 1 where they are met and 0 elsewhere, as r2_score has it."""
    if variance == 0:
        return np.where(losses == 0, 1.0, 0.0)
    return 1 - 2 * losses / variance
