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
# Samples that departures from linear predictions are seen on, and those that information
# is averaged over and rivals are first seen on; more, if a parameter has fewer than eight.
_ROWS, FEW_ROWS, _ROWS_PER_PARAMETER = 1000, 500, 8
# Derivatives at the estimate say little above this nonlinearity. Their products are then
# averaged over half of the moves, and over all moves within the region that follows from
# this. Multiply-adds for long filters, but some pairs of moves.
_LARGE, _SHARES, _MAX_WORK, _LEAST_PAIRS = 2.0, (0.5, 1.0), 1e9, 2
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
    region: Array  # the same, not narrowed where the loss is nearly flat
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

    def some_rows(self, least: int) -> tuple[SquaredError, FloatArray]:
        """The objective on evenly spaced samples, and their indices."""
        n_rows = max(least, _ROWS_PER_PARAMETER * self.model.n_params)
        n_rows = min(len(self.data.y), n_rows)
        rows = np.linspace(0, len(self.data.y) - 1, n_rows).astype(int)
        return self.objective.subset(rows), rows


def linearize(model: FittedModel, data: FittedData, kind: str) -> FitAtHand:
    """Derivatives, and the covariance, which allows for their change.

    At the estimate the scores ``J' (y - f)`` are zero. So if the true parameters are
    ``theta + d``, then ``J' (f(theta + d) - f(theta))`` is J' times the noise. This is
    ``J' J d`` for derivatives that do not change. Here it is ``G d`` plus a rest, by least
    squares over moves d within the confidence region, and the rest adds to the noise.

    A nearly flat loss makes this region so large that moves within it change most
    activations. These changes then limit the parameters. They narrow the covariance, but
    not the region, because rivals within it are no other minima.
    """
    objective = model.objective(data.samples, data.y, data.weights)
    derivatives, residuals = model.jacobian(objective)
    roots = np.sqrt(data.weights)
    derivatives = derivatives * roots[:, np.newaxis]
    penalty = np.zeros(model.n_params)
    penalty[: model.filters.size] = objective.alpha * len(roots)
    linearization = Linearization.of(derivatives, residuals * roots, penalty)
    root, meat = linearization.root, linearization.meat(kind, data.groups)
    covariance = _sandwich(root, meat)
    fit = FitAtHand(
        model, data, objective, derivatives, linearization, penalty, covariance, covariance,
        0.0,
    )  # fmt: skip
    if fit.is_exact:
        return fit
    moves, inverse = _moves(covariance)
    nonlinearity, forth, back = _departures(fit, moves)
    # Least squares over d and -d: the slope has the odd part, and the rest is the even one.
    slope = np.eye(len(forth)) + (forth - back) / 2 @ inverse @ root
    rest = (forth + back) / 2
    root = root @ np.linalg.inv(slope)
    region = _sandwich(root, meat + rest @ rest.T / rest.shape[1])
    covariance = region
    if nonlinearity > _LARGE:
        covariance = _with_mean_information(fit, meat)
    return replace(fit, covariance=covariance, region=region, nonlinearity=nonlinearity)


def _with_mean_information(fit: FitAtHand, meat: Array) -> Array:
    """Covariance with J'J averaged over moves within the confidence region."""
    part, rows = fit.some_rows(FEW_ROWS)
    roots = np.sqrt(fit.data.weights[rows])[:, np.newaxis]
    root, covariance = fit.linearization.root, fit.covariance
    most = max(_LEAST_PAIRS, int(_MAX_WORK / (2 * len(rows) * root.size)))
    for share in _SHARES:
        moves = _moves(covariance)[0]
        moves = moves[:, : min(most, int(np.ceil(share * moves.shape[1])))]
        information = root.T * fit.penalty @ root
        for move in np.hstack([moves, -moves]).T:
            derivatives = roots * fit.model.moved(move).jacobian(part)[0] @ root
            weight = len(fit.data.y) / len(rows) / (2 * moves.shape[1])
            information += weight * derivatives.T @ derivatives
        values, axes = np.linalg.eigh(information)
        covariance = _sandwich(root @ (axes / np.sqrt(values)) @ axes.T, meat)
    return covariance


def _sandwich(bread: Array, meat: Array) -> Array:
    """``bread @ meat @ bread.T`` without variances that rounding makes negative."""
    values, axes = np.linalg.eigh(meat)
    half = bread @ (axes * np.sqrt(np.maximum(values, 0)))
    covariance: Array = half @ half.T
    return covariance


def _moves(covariance: Array) -> tuple[Array, Array]:
    """Moves (n_params, n_pairs) of typical size, and their pseudo-inverse.

    Through the correlations, so that units do not matter. Directions are always the same
    ones, so that standard errors are no matter of chance.
    """
    n_params = len(covariance)
    lengths, roots, axes = _correlated(covariance)
    inverse_roots = np.divide(1, roots, out=np.zeros(n_params), where=roots > 0)
    normal = np.random.default_rng(0).standard_normal((n_params, min(n_params, _MAX_PAIRS)))
    directions = np.linalg.qr(normal)[0] * np.sqrt(n_params)
    moves = lengths[:, np.newaxis] * (axes * roots @ axes.T @ directions)
    inverse = directions.T @ (axes * inverse_roots) @ axes.T / lengths / n_params
    return moves, inverse


def squared_distance(move: Array, covariance: Array) -> tuple[float, int]:
    """Squared length of a move in standard errors, and the number of directions it counts.

    Directions without variance are not counted, unless there are no others.
    """
    lengths, roots, axes = _correlated(covariance)
    along = axes.T @ (move / lengths)
    counted = roots > 0
    if not counted.any():
        return (np.inf if move.any() else 0.0), len(move)
    return float(np.sum((along[counted] / roots[counted]) ** 2)), int(counted.sum())


def _correlated(covariance: Array) -> tuple[Array, Array, Array]:
    """Standard errors or 1, and roots of eigenvalues and eigenvectors of correlations."""
    errors = np.sqrt(np.diag(covariance))
    lengths = np.where(errors > 0, errors, 1.0)
    values, axes = np.linalg.eigh(covariance / np.outer(lengths, lengths))
    flat = values <= _FLAT * values[-1]
    return lengths, np.sqrt(np.where(flat, 0, values)), axes


def _departures(fit: FitAtHand, moves: Array) -> tuple[float, Array, Array]:
    """How far predictions are from linear when the parameters move, both ways.

    Returns
    -------
    nonlinearity : float
        Mean of ``|f(theta + d) - f(theta) - J d| / |J d|`` over all moves d.
    forth, back : ndarray of shape (r, n_pairs)
        Products of the rows of influence with the departures, for moves d and -d.
    """
    n_pairs, n_weights = moves.shape[1], fit.model.filters.size
    moves = np.hstack([moves, -moves])
    part, rows = fit.some_rows(_ROWS)
    filters, signs = fit.model.column(fit.model.filters)
    moved_signs = np.repeat(signs, 2 * n_pairs, axis=0)
    if fit.model.has_scale:
        shares = moves[n_weights] / fit.model.scale
        moved_signs *= 1 + shares[:, np.newaxis]
    moved = part.predict(filters + moves[:n_weights], moved_signs)
    change = moved - part.predict(filters, signs)
    moves = moves[: n_weights + fit.model.has_scale]
    roots = np.sqrt(fit.data.weights[rows])[:, np.newaxis]
    linear = fit.derivatives[rows, : len(moves)] @ moves
    departures = roots * change - linear
    influence = fit.linearization.influence[rows] * (len(fit.data.y) / len(rows))
    scores = influence.T @ departures
    if fit.model.has_intercept:
        # A shift of all values is no departure.
        shift = roots / np.linalg.norm(roots)
        departures, linear = (a - shift * (shift.T @ a) for a in (departures, linear))
    size = np.linalg.norm(linear, axis=0)
    departure = np.linalg.norm(departures, axis=0)
    mean = np.mean(departure[size > 0] / size[size > 0]) if size.any() else 0.0
    return float(mean), scores[:, :n_pairs], scores[:, n_pairs:]
