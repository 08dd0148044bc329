"""One step of `partial_fit`: from the estimator's state, to its state."""

import numpy as np

from skconvfilter.estimators.fitting import draw_starts, make_objective
from skconvfilter.estimators.outcome import filter_attributes
from skconvfilter.estimators.scaling import Scaling
from skconvfilter.solvers.recursive import (
    StreamState,
    start_stream,
    trust_start,
    update_stream,
)

# A stream stays in the units of the user: they cannot be known from its first block.
_USER_UNITS = Scaling(sample_exponent=0, target_shift=0.0, target_scale=1.0)


def continue_stream(estimator, dataset, settings, seeds):
    """Take in a block of samples.

    Returns
    -------
    learnt : dict
        Fitted attributes by name.
    stream : dict
        State to carry on from: arrays and numbers.

    Raises
    ------
    ValueError
        For samples whose squares leave the range of numbers.
    """
    if Scaling.of(dataset.samples, dataset.targets, None, centre=False).sample_exponent:
        raise ValueError("X is too large or too small for partial_fit: rescale it.")
    state = update_stream(
        _present_state(estimator, dataset, settings, seeds),
        dataset.samples,
        dataset.geometry,
        dataset.targets,
        np.ones(dataset.n_samples) if dataset.weights is None else dataset.weights,
        alpha=settings.alpha,
        fit_intercept=settings.fit_intercept,
    )
    best = int(np.argmin(state.error))
    *coef, intercept = state.theta[best]
    learnt = filter_attributes(dataset, coef, state.signs[best], intercept)
    learnt |= {
        "loss_": 0.5 * float(state.error[best] / state.weight),
        "best_restart_": best,
        "n_iter_": int(getattr(estimator, "n_iter_", 0)) + 1,
        "n_samples_seen_": state.n_seen,
    }
    return learnt, state._asdict()


def _present_state(estimator, dataset, settings, seeds):
    if hasattr(estimator, "_stream"):
        return StreamState(**estimator._stream)
    if hasattr(estimator, "coef_"):
        W = np.asarray(estimator.coef_, dtype=np.float64)[:, np.newaxis]
        signs = np.array([float(estimator.sign_)])
        state = start_stream(W, signs, estimator.intercept_)
        n_fitted = estimator.n_samples_seen_
        return trust_start(state, dataset.samples, dataset.geometry, n_fitted)
    objective = make_objective(dataset, settings, _USER_UNITS)
    starts = draw_starts(objective, settings, seeds, _USER_UNITS)
    return start_stream(starts.W, starts.signs)
