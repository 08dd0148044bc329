"""What the theory says of a fit: with the fitted filter in the place of the teacher."""

import math

import numpy as np

from skconvfilter.diagnostics.certificate import certify
from skconvfilter.diagnostics.sampling import Subsample
from skconvfilter.diagnostics.smoothness import estimate_smoothness
from skconvfilter.diagnostics.sphere import Effort
from skconvfilter.diagnostics.theorems import Profile, Start
from skconvfilter.solvers.restarts import explore_and_polish
from skconvfilter.solvers.schedules import Constant, TheorySteps

# Samples that are looked at: so many, or so many patches, for each entry of the filter, but
# entries of samples in bounds; and the least that say anything.
_MIN_SAMPLES, _SAMPLES_PER_ENTRY, _PATCHES_PER_ENTRY = 400, 8, 400
_MAX_ELEMENTS, _LEAST_PER_ENTRY = 2**17, 2
# Multiply-adds that the estimates may take: less than a tenth of a second.
_WORK = 2e8
_PRECISION, _CONFIDENCE = 1e-6, 0.95
# Angles at which steps are derived, and the last steps of the fit they are derived from.
_N_ANGLES, _PILOT_STEPS = 9, 20
# Beyond these sizes of samples, and of a path relative to its end, squares of products
# leave the range of numbers.
_LARGEST, _SMALLEST, _FARTHEST = 1e60, 1e-60, 1e60


def theory_attributes(dataset, outcome, rng):
    """Attributes of the estimator, by name: numbers are NaN where nothing can be said."""
    found = _certificate(dataset, outcome, rng)
    if found is None:
        nothing = dict.fromkeys(("gamma_", "L_", "beta_", "L_cross_", "phi_0_"), math.nan)
        return nothing | {"certificate_": None}
    smooth = found.smoothness
    within = np.pi / 2 if math.isnan(found.phi_0) else found.phi_0
    near = smooth.angles <= within + 1e-12
    return {
        "gamma_": float(smooth.gamma[near].min()),
        "L_": float(smooth.L[near].max()),
        "beta_": smooth.beta,
        "L_cross_": smooth.L_cross,
        "phi_0_": found.phi_0,
        "certificate_": found,
    }


def theory_schedule(objective, starts, stopping, otherwise, batch_size, rng):
    """Steps of Theorem 3.1, for the filter of a quick fit in the place of the teacher.

    Parameters
    ----------
    objective : FilterObjective
    starts : Candidates
    stopping : Stopping
        Of the fit.
    otherwise : float
        Learning rate where the theorem is silent.
    batch_size : int
    rng : numpy.random.Generator

    Returns
    -------
    schedule : Schedule
    """
    silent = Constant(otherwise)
    if objective.fit_intercept or objective.alpha > 0:
        return silent
    found = explore_and_polish(
        objective, objective, starts, None, stopping, max_polish=_PILOT_STEPS, rng=rng
    )
    subsample = _subsample(objective.samples, objective.geometry, found.w, rng)
    if subsample is None or objective.patch_dim == 1:
        return silent
    angles = np.linspace(0, np.pi / 2, _N_ANGLES)
    effort = _effort(len(subsample.samples), objective.geometry.layout)
    smooth, _ = estimate_smoothness(subsample, angles, _CONFIDENCE, effort)
    promises = [
        Start(math.sin(angle), angle, _PRECISION).promise(
            *Profile.of(smooth, angle).constants
        )
        for angle in angles[:-1]
    ]
    rates = np.array([promise.get("step", math.nan) for promise in promises])
    batches = batch_size < objective.n_samples
    return TheorySteps(found.w, found.sign, angles[:-1], rates, otherwise, batches)


def _certificate(dataset, outcome, rng):
    result = outcome.result
    subsample = _subsample(dataset.samples, dataset.geometry, result.w, rng)
    if subsample is None:
        return None
    path = result.history["filters"][:, result.best_restart]
    with np.errstate(over="ignore", invalid="ignore"):
        path = path[~np.isnan(path).any(axis=1)] / np.abs(result.w).max()
    path = np.clip(path, -_FARTHEST, _FARTHEST)
    effort = _effort(len(subsample.samples), dataset.geometry.layout)
    return certify(subsample, path[0], path, _PRECISION, _CONFIDENCE, effort)


def _subsample(samples, geometry, w, rng):
    """Some samples, and the filter as their teacher, of size 1; None for too few."""
    n_patches, patch_dim = geometry.layout.n_patches, geometry.layout.patch_dim
    n_samples = max(
        _MIN_SAMPLES,
        _SAMPLES_PER_ENTRY * patch_dim,
        min(_PATCHES_PER_ENTRY * patch_dim // n_patches, _MAX_ELEMENTS // patch_dim),
    )
    rows = np.sort(rng.permutation(len(samples))[:n_samples])
    if len(rows) < max(2, _LEAST_PER_ENTRY * patch_dim) or not w.any():
        return None
    samples = np.ascontiguousarray(samples[rows], dtype=np.float64)
    if not _SMALLEST < np.abs(samples).max() < _LARGEST:
        return None
    # What is looked for depends on the direction of the teacher only.
    return Subsample(samples, geometry, w / np.abs(w).max(), rng)


def _effort(n_samples, layout):
    """As many directions and steps as the work allows."""
    n_patches, patch_dim = layout.n_patches, layout.patch_dim
    moments = n_samples * patch_dim * (2 * n_patches + 4 * patch_dim) + 20 * patch_dim**3
    n_filters = _WORK / moments
    return Effort(
        n_directions=int(np.clip(n_filters / 8, 2, 16)),
        n_starts=1,
        n_steps=int(np.clip(n_filters / 32, 0, 4)),
        n_gradient_patches=2**12,
        n_angles=3,
        n_beyond=0,
        n_radii=2,
        n_on_path=int(np.clip(n_filters / 8, 2, 16)),
        n_certified=2**13,
        thorough=False,
    )
