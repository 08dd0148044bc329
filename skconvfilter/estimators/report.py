"""What a fit warns its user of."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skconvfilter.solvers.driver import Status

_REMEDY = {
    Status.MAX_ITER: "increase max_iter, or set polish=True",
    Status.DIVERGED: "lower learning_rate_init and learning_rate_final",
}


def warn_not_converged(status, remedies=_REMEDY):
    """Warn if the best restart ended with a status that there is a remedy for."""
    if status not in remedies:
        return
    warnings.warn(
        f"The best restart has not converged: {status.value}. Remedy: {remedies[status]}.",
        ConvergenceWarning,
        stacklevel=3,
    )


def warn_without_theory(stages):
    """Warn if the best restart took gradient steps that no theorem allowed."""
    silent, allowed = (np.count_nonzero(stages == name) for name in ("stage 1", "theory"))
    if silent == 0:
        return
    warnings.warn(
        f"learning_rate='theory': Theorem 3.1 allowed {allowed} of the {silent + allowed} "
        "gradient iterations of the best restart; the others took the steps of 'constant'. "
        "The theorem is silent with fit_intercept=True or alpha > 0, where gamma <= 6 "
        "L_cross, and far from the filter: see skconvfilter.diagnostics.certificate.",
        UserWarning,
        stacklevel=3,
    )


def warn_of_bank(dataset, settings, doubt):
    """Warn of what the tensor method, or any fit of a bank, cannot do with these data."""
    layout = dataset.geometry.layout
    if doubt is not None:
        warnings.warn(f"init='tensor' {doubt}", UserWarning, stacklevel=3)
    if layout.overlaps and isinstance(settings.init, str) and settings.init == "tensor":
        warnings.warn(
            "The patches overlap, but init='tensor' assumes independent ones: the filters "
            "may come from a random start. Use stride=kernel_size, or init='random'.",
            UserWarning,
            stacklevel=3,
        )
    n_entries = settings.n_filters * layout.patch_dim
    if dataset.n_samples < n_entries:
        warnings.warn(
            f"There are fewer samples (n_samples={dataset.n_samples}) than entries of the "
            f"filters (n_filters * patch_dim = {n_entries}), so that many filters fit "
            "equally well. Pass more samples, or use fewer or smaller filters.",
            UserWarning,
            stacklevel=3,
        )
