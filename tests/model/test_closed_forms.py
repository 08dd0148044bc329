"""The objective against expectations over independent standard normal patches."""

import numpy as np
import pytest

from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.geometry import flatten_windows

N_SAMPLES, N_PARTS, PATCH_DIM = 40_000, 40, 4
TEACHER = np.array([1.2, 0.0, 0.9, 0.0])  # of norm 1.5


def angle_and_norms(w):
    norm, teacher_norm = np.linalg.norm(w), np.linalg.norm(TEACHER)
    return (
        np.arccos(np.clip(w @ TEACHER / (norm * teacher_norm), -1, 1)),
        norm,
        teacher_norm,
    )


def expected_loss(w, k):
    """1/2 E (f(w, Z) - f(w*, Z))^2."""
    phi, a, b = angle_and_norms(w)
    one_patch = (a**2 + b**2) / 2 - a * b * (
        np.sin(phi) + (np.pi - phi) * np.cos(phi)
    ) / np.pi
    return (one_patch + (k - 1) * (a - b) ** 2 / (2 * np.pi)) / (2 * k)


def expected_gradient(w, k):
    phi, a, b = angle_and_norms(w)
    one_patch = w / 2 - ((np.pi - phi) * TEACHER + b * np.sin(phi) * w / a) / (2 * np.pi)
    return (one_patch + (k - 1) * (a - b) * (w / a) / (2 * np.pi)) / k


@pytest.fixture(scope="module", params=[1, 2, 4])
def data(request):
    """Number of patches, and the objective of the paper's model on all data."""
    k = request.param
    rng = np.random.default_rng(k)
    patches = rng.standard_normal((N_SAMPLES, k, PATCH_DIM))
    targets = np.maximum(patches @ TEACHER, 0).mean(axis=1)
    return k, FilterObjective(*flatten_windows(patches), targets, fit_intercept=False)


@pytest.fixture(scope="module")
def filters():
    """At angles of 0, 0.5, 1.5, 3 and pi to the teacher, shorter and longer than it."""
    across = np.array([0.6, 0.0, -0.8, 0.0])
    angles, norms = [0, 0.5, 1.5, 3, np.pi], [2.0, 1.5, 0.7, 3.0, 1.0]
    units = np.outer(TEACHER / 1.5, np.cos(angles)) + np.outer(across, np.sin(angles))
    return units * norms


def standard_error(objective, evaluate):
    """Of a mean over the samples, from means over parts of them."""
    parts = np.array_split(np.arange(objective.n_samples), N_PARTS)
    means = [evaluate(objective.subset(rows)) for rows in parts]
    return np.std(means, axis=0, ddof=1) / N_PARTS**0.5


def test_loss_is_that_of_normal_patches(data, filters):
    k, objective = data

    def loss(objective):
        return objective.value(filters, np.ones(filters.shape[1])).loss

    expected = [expected_loss(w, k) for w in filters.T]
    z = (loss(objective) - expected) / standard_error(objective, loss)
    assert np.abs(z).max() < 4


def test_gradient_is_that_of_normal_patches(data, filters):
    k, objective = data

    def gradient(objective):
        return objective.gradient(filters, np.ones(filters.shape[1])).gradient

    expected = [expected_gradient(w, k) for w in filters.T]
    z = (gradient(objective) - expected) / standard_error(objective, gradient)
    assert np.abs(z).max() < 4


def test_hessian_at_the_teacher_is_that_of_normal_patches(data):
    k, objective = data
    result = objective.gauss_newton(TEACHER[:, np.newaxis], np.ones(1))
    assert result.loss == pytest.approx(0, abs=1e-28)
    values, vectors = np.linalg.eigh(result.gauss_newton[0])
    # 1 / (2k) but for the teacher's own direction.
    assert values[0] == pytest.approx(1 / (2 * k), rel=0.03)
    assert values[-2] == pytest.approx(1 / (2 * k), rel=0.03)
    assert values[-1] == pytest.approx((np.pi + k - 1) / (2 * np.pi * k), rel=0.03)
    if k > 1:
        assert abs(vectors[:, -1] @ TEACHER) == pytest.approx(1.5, rel=0.01)
