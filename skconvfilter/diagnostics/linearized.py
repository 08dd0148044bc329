"""A fit with its derivatives, and its covariance for derivatives that jump."""

from dataclasses import dataclass, replace

import numpy as np

from skconvfilter.diagnostics.covariance import Linearization
from skconvfilter.diagnostics.fitted import FittedData, FittedModel
from skconvfilter.kernels.layout import FloatArray
from skconvfilter.model.squared_error import Array, SquaredError

# Residuals, relative to y, that are zero but for rounding.
_EXACT = 1e-10
# Pairs of moves within the confidence region: one for each parameter, up to this number.
_MAX_PAIRS = 64
# Samples that moves are evaluated on, and rivals are first seen on.
_ROWS = 1000
# Variances of moves, relative to the largest one, that are zero but for rounding.
_FLAT = 1e-14


@dataclass(frozen=True)
class FitAtHand:
    """What inference and its checks need of a fit."""

    model: FittedModel
    data: FittedData
    objective: SquaredError
    derivatives: Array  # (n_samples, n_params), weighted
    linearization: Linearization
    penalty: Array  # (n_params,)
    covariance: Array  # (n_params, n_params) of the parameters in the units of the model
    nonlinearity: float

    @property
    def is_exact(self) -> bool:
        """Whether residuals are zero but for rounding."""
        squares = self.linearization.residuals @ self.linearization.residuals
        return bool(squares <= len(self.data.y) * self._floor)

    @property
    def _floor(self) -> float:
        return _EXACT**2 * float(np.average(self.data.y**2, weights=self.data.weights))

    def likelihood_ratio(self, losses: Array, loss: float) -> Array:
        """``n log`` of the ratio of losses to one, both at least what rounding leaves."""
        floor = max(self._floor / 2, np.finfo(float).tiny)
        return len(self.data.y) * np.log(np.maximum(losses, floor) / max(loss, floor))

    def some_rows(self) -> tuple[SquaredError, FloatArray]:
        """The objective on evenly spaced samples, and their indices."""
        n_rows = min(len(self.data.y), max(_ROWS, 8 * self.model.n_params))
        rows = np.linspace(0, len(self.data.y) - 1, n_rows).astype(int)
        return self.objective.subset(rows), rows


def linearize(model: FittedModel, data: FittedData, kind: str) -> FitAtHand:
    """Derivatives, and a covariance that allows for their change.

    The estimate solves ``J(theta)' r(theta) = 0``. Between it and the true parameters, at
    the distance d, predictions change by ``S d``, where S is the mean of J on the way. So
    ``d = (J' S)^-1 J' noise``. As S is unknown, its mean over the confidence region is
    used: the least squares slope of the changes by moves within it.
    """
    objective = model.objective(data.samples, data.y, data.weights)
    derivatives, residuals = model.jacobian(objective)
    roots = np.sqrt(data.weights)
    derivatives = derivatives * roots[:, np.newaxis]
    penalty = np.zeros(model.n_params)
    penalty[: model.filters.size] = objective.alpha * len(roots)
    linearization = Linearization.of(derivatives, residuals * roots, penalty)
    covariance = linearization.covariance(kind, data.groups)
    fit = FitAtHand(
        model, data, objective, derivatives, linearization, penalty, covariance, 0.0
    )
    if fit.is_exact:
        return fit
    moves, inverse = _moves(covariance)
    nonlinearity, scores = _departures(fit, moves)
    slope = np.eye(len(scores)) + scores @ inverse @ linearization.root
    covariance = linearization.covariance(kind, data.groups, slope)
    return replace(fit, covariance=covariance, nonlinearity=nonlinearity)


def _moves(covariance: Array) -> tuple[Array, Array]:
    """Moves (n_params, n_pairs) on the ellipsoid of mean size, and their pseudo-inverse.

    Through the correlations, so that units do not matter. Directions are always the same
    ones, so that standard errors are no matter of chance.
    """
    n_params = len(covariance)
    errors = np.sqrt(np.diag(covariance))
    lengths = np.where(errors > 0, errors, 1.0)
    values, axes = np.linalg.eigh(covariance / np.outer(lengths, lengths))
    flat = values <= _FLAT * values[-1]
    roots = np.sqrt(np.where(flat, 0, values))
    inverse_roots = np.divide(1, roots, out=np.zeros(n_params), where=~flat)
    normal = np.random.default_rng(0).standard_normal((n_params, min(n_params, _MAX_PAIRS)))
    directions = np.linalg.qr(normal)[0] * np.sqrt(n_params)
    moves = lengths[:, np.newaxis] * (axes * roots @ axes.T @ directions)
    inverse = directions.T @ (axes * inverse_roots) @ axes.T / lengths / n_params
    return moves, inverse


def _departures(fit: FitAtHand, moves: Array) -> tuple[float, Array]:
    """How far predictions are from linear when the parameters move, both ways.

    Returns
    -------
    nonlinearity : float
        Mean of ``|f(theta + d) - f(theta) - J d| / |J d|`` over the moves d.
    scores : ndarray of shape (r, n_pairs)
        Products of the rows of influence with half of the difference of the departures.
    """
    n_pairs, n_weights = moves.shape[1], fit.model.filters.size
    moves = np.hstack([moves, -moves])
    part, rows = fit.some_rows()
    filters, signs = fit.model.column(fit.model.filters)
    moved_signs = np.repeat(signs, 2 * n_pairs, axis=0)
    if fit.model.has_scale:
        shares = moves[n_weights] / fit.model.theta[n_weights]
        moved_signs *= 1 + shares[:, np.newaxis]
    moved = part.predict(filters + moves[:n_weights], moved_signs)
    change = moved - part.predict(filters, signs)
    moves = moves[: n_weights + fit.model.has_scale]
    roots = np.sqrt(fit.data.weights[rows])[:, np.newaxis]
    linear = fit.derivatives[rows, : len(moves)] @ moves
    departures = roots * change - linear
    odd = (departures[:, :n_pairs] - departures[:, n_pairs:]) / 2
    scores = fit.linearization.influence[rows].T @ odd * (len(fit.data.y) / len(rows))
    if fit.model.has_intercept:
        # A shift of all values is no departure.
        shift = roots / np.linalg.norm(roots)
        departures, linear = (a - shift * (shift.T @ a) for a in (departures, linear))
    size = np.linalg.norm(linear, axis=0)
    departure = np.linalg.norm(departures, axis=0)
    mean = np.mean(departure[size > 0] / size[size > 0]) if size.any() else 0.0
    return float(mean), scores
