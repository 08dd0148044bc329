"""What the theory says of a fit: with the fitted filters in the place of the teacher."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skconvfilter.diagnostics.certificate import Certificate, certify
from skconvfilter.diagnostics.convexity import estimate_local_convexity
from skconvfilter.diagnostics.sampling import Subsample
from skconvfilter.diagnostics.search import SearchBudget
from skconvfilter.diagnostics.smoothness import estimate_smoothness
from skconvfilter.diagnostics.theorems import Profile, Start
from skconvfilter.estimators.data import Dataset
from skconvfilter.estimators.results import FitResult
from skconvfilter.estimators.settings import BankSettings
from skconvfilter.kernels.layout import PatchLayout
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.geometry import PatchGeometry
from skconvfilter.solvers.driver import Stopping
from skconvfilter.solvers.multistart import Candidates
from skconvfilter.solvers.schedules import Constant, Schedule, TheorySteps
from skconvfilter.solvers.search import explore_and_polish

# Samples that are evaluated: so many, or so many patches, for each entry of the filter, but
# entries of samples in bounds; and the least that say anything.
_MIN_SAMPLES, _SAMPLES_PER_ENTRY, _PATCHES_PER_ENTRY = 400, 8, 400
_MAX_ELEMENTS, _LEAST_PER_ENTRY = 2**17, 2
# Multiply-adds that the estimates may take: less than a tenth of a second.
_WORK = 2e8
# Of each of the few that they take at least, above which there are none.
_MAX_WORK = 3e8
_PRECISION, _CONFIDENCE = 1e-6, 0.95
# Angles at which steps are derived, and the last steps of the fit they are derived from.
_N_ANGLES, _PILOT_STEPS = 9, 20
# Distances from the fitted filter, relative to its largest entry, at which a path is cut.
_FARTHEST = 1e60
# Samples that the Hessian of a bank is taken from: so many, or so many for each entry.
_MIN_HESSIAN_SAMPLES, _HESSIAN_SAMPLES_PER_ENTRY = 1000, 4


def filter_theory(
    dataset: Dataset, result: FitResult, rng: np.random.Generator
) -> dict[str, Any]:
    """Attributes of one filter, by name: numbers are NaN where nothing can be said."""
    found = _certificate(dataset, result, rng)
    if found is None:
        nothing = dict.fromkeys(("gamma_", "L_", "beta_", "L_cross_", "phi_0_"), math.nan)
        return nothing | {"certificate_": None}
    smooth = found.smoothness
    within = np.pi / 2 if math.isnan(found.phi_0) else found.phi_0
    near = smooth.angles <= within + 1e-12
    return {
        "gamma_": float(smooth.gamma.value[near].min()),
        "L_": float(smooth.L.value[near].max()),
        "beta_": smooth.beta,
        "L_cross_": smooth.L_cross,
        "phi_0_": found.phi_0,
        "certificate_": found,
    }


def bank_theory(
    dataset: Dataset,
    settings: BankSettings,
    result: FitResult,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Attributes of a bank, by name."""
    search, scaling = result.search, result.scaling
    filters = scaling.filters(search.w).reshape(settings.n_filters, -1)
    if not filters.any():
        nothing = ("condition_number_", "rho_", "lambda_")
        return {"hessian_extremes_": (np.nan, np.nan)} | dict.fromkeys(nothing, np.nan)
    free = settings.output_weights == "signs"
    weights, scale = scaling.signs(np.atleast_1d(search.sign), free=free)
    n_samples = max(_MIN_HESSIAN_SAMPLES, _HESSIAN_SAMPLES_PER_ENTRY * filters.size)
    rows = np.sort(rng.permutation(dataset.n_samples)[:n_samples])
    found = estimate_local_convexity(
        np.ascontiguousarray(dataset.samples[rows], dtype=np.float64),
        dataset.geometry,
        dataset.targets[rows] - scaling.intercept(search.intercept),
        filters.T,
        settings.activation,
        scale * weights,
        settings.pooling,
        None if dataset.weights is None else dataset.weights[rows],
    )
    return {
        "hessian_extremes_": found.hessian_extremes,
        "condition_number_": found.condition_number,
        "rho_": found.rho,
        "lambda_": found.lambda_,
    }


def theory_schedule(
    objective: FilterObjective,
    starts: Candidates,
    stopping: Stopping,
    otherwise: float,
    batch_size: int,
    rng: np.random.Generator,
) -> Schedule:
    """Steps of Theorem 3.1, for the filter of a quick fit in the place of the teacher.

    Parameters
    ----------
    objective : FilterObjective
    starts : Candidates
    stopping : Stopping
        Of the fit.
    otherwise : float
        Learning rate where the theorem does not apply.
    batch_size : int
    rng : numpy.random.Generator

    Returns
    -------
    schedule : Schedule
    """
    constant = Constant(otherwise)
    if objective.fit_intercept or objective.alpha > 0:
        return constant
    found = explore_and_polish(
        objective, objective, starts, None, stopping, max_polish=_PILOT_STEPS, rng=rng
    )
    subsample = _subsample(objective.samples, objective.geometry, found.w, rng)
    if subsample is None or objective.patch_dim == 1:
        return constant
    angles = np.linspace(0, np.pi / 2, _N_ANGLES)
    budget = _budget(len(subsample.samples), objective.geometry.layout)
    smooth, _ = estimate_smoothness(subsample, angles, _CONFIDENCE, budget)
    rates = np.full(_N_ANGLES - 1, math.nan)
    for i, angle in enumerate(angles[:-1]):
        start = Start(math.sin(angle), angle, _PRECISION)
        allowed = start.guaranteed_rate(*Profile.of(smooth, angle).constants)
        rates[i] = allowed.get("step", math.nan)
    sign = float(found.sign)
    batches = batch_size < objective.n_samples
    return TheorySteps(found.w, sign, angles[:-1], rates, otherwise, batches)


def _certificate(
    dataset: Dataset, result: FitResult, rng: np.random.Generator
) -> Certificate | None:
    search = result.search
    subsample = _subsample(dataset.samples, dataset.geometry, search.w, rng)
    if subsample is None:
        return None
    path = search.history["filters"][:, search.best_restart]
    path = path[~np.isnan(path).any(axis=1)]
    with np.errstate(over="ignore"):
        path = np.clip(path / np.abs(search.w).max(), -_FARTHEST, _FARTHEST)
    budget = _budget(len(subsample.samples), dataset.geometry.layout)
    return certify(subsample, path[0], path, _PRECISION, _CONFIDENCE, budget)


def _subsample(
    samples: Any,
    geometry: PatchGeometry,
    w: NDArray[np.float64],
    rng: np.random.Generator,
) -> Subsample | None:
    """Some samples, and the filter as their teacher, of size 1; None for too few."""
    n_patches, patch_dim = geometry.layout.n_patches, geometry.layout.patch_dim
    n_samples = max(
        _MIN_SAMPLES,
        _SAMPLES_PER_ENTRY * patch_dim,
        min(_PATCHES_PER_ENTRY * patch_dim // n_patches, _MAX_ELEMENTS // patch_dim),
    )
    while n_samples > _LEAST_PER_ENTRY * patch_dim and (
        _moment_work(n_samples, geometry.layout) > _MAX_WORK
    ):
        n_samples = max(n_samples // 2, _LEAST_PER_ENTRY * patch_dim)
    rows = np.sort(rng.permutation(len(samples))[:n_samples])
    if len(rows) < max(2, _LEAST_PER_ENTRY * patch_dim) or not w.any():
        return None
    if _moment_work(len(rows), geometry.layout) > _MAX_WORK:
        return None
    samples = np.ascontiguousarray(samples[rows], dtype=np.float64)
    # The estimates depend on the direction of the teacher only.
    return Subsample(samples, geometry, w / np.abs(w).max(), rng)


def _moment_work(n_samples: int, layout: PatchLayout) -> float:
    """Multiply-adds of the moments of one filter."""
    n_patches, patch_dim = layout.n_patches, layout.patch_dim
    return n_samples * patch_dim * (2 * n_patches + 4 * patch_dim) + 20 * patch_dim**3


def _budget(n_samples: int, layout: PatchLayout) -> SearchBudget:
    """As many directions and steps as the work allows."""
    n_filters = _WORK / _moment_work(n_samples, layout)
    return SearchBudget(
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
