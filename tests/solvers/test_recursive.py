from typing import NamedTuple

import numpy as np
import pytest

from skconvfilter.model.geometry import PatchGeometry, flatten_windows
from skconvfilter.solvers.recursive import (
    RecursiveLeastSquares,
    seed_moments,
    start_stream,
)

TEACHER = np.array([1.0, -2.0, 0.5])
OTHER = np.array([1.5, -1.0, -1.0])


class Stream(NamedTuple):
    """Samples in the order in which they come."""

    samples: np.ndarray
    geometry: PatchGeometry
    targets: np.ndarray
    weights: np.ndarray

    def take(self, rows):
        return Stream(
            self.samples[rows], self.geometry, self.targets[rows], self.weights[rows]
        )

    def feed(self, state, block=50, *, alpha=0.0, fit_intercept=True, **options):
        """The state after taking in all samples, block by block."""
        learner = RecursiveLeastSquares(alpha, fit_intercept, **options)
        for start in range(0, len(self.samples), block):
            state = learner.update(state, *self.take(slice(start, start + block)))
        return state


def make_stream(teacher, n, k=3, *, seed=0, intercept=0.0, sign=1.0, noise=0.0):
    """Normal patches labelled by a teacher."""
    rng = np.random.default_rng(seed)
    patches = rng.standard_normal((n, k, len(teacher)))
    y = intercept + sign * np.maximum(patches @ teacher, 0).mean(axis=1)
    y += noise * rng.standard_normal(n)
    return Stream(*flatten_windows(patches), y, np.ones(n))


@pytest.fixture
def frozen_stream():
    """Noisy data on which a filter of positive entries is active on every patch."""
    rng = np.random.default_rng(0)
    patches = rng.uniform(0.2, 2, (120, 2, 4))
    y = patches.mean(axis=1) @ [1.0, 2.0, 3.0, 4.0] + 0.1 * rng.standard_normal(120)
    return Stream(*flatten_windows(patches), y, rng.uniform(0.5, 2, 120))


def starts_near(teacher, n_starts, spread=0.5):
    noise = np.random.default_rng(7).standard_normal((len(teacher), n_starts))
    return 0.3 * np.asarray(teacher)[:, np.newaxis] + spread * noise


def batch_least_squares(stream, alpha, fit_intercept):
    """Weighted ridge regression on the mean patches: filter, then intercept."""
    mean_patches = stream.samples.reshape(-1, 2, 4).mean(axis=1)
    ones = np.full(len(stream.targets), float(fit_intercept))
    columns = np.column_stack([mean_patches, ones])
    root = np.sqrt(stream.weights / stream.weights.sum())
    rows = np.vstack([root[:, np.newaxis] * columns, np.sqrt(alpha) * np.eye(4, 5)])
    return np.linalg.lstsq(rows, np.append(root * stream.targets, np.zeros(4)))[0]


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.1])
@pytest.mark.parametrize("block", [7, 120])
def test_equals_least_squares_where_activations_are_frozen_and_nothing_is_forgotten(
    frozen_stream, fit_intercept, alpha, block
):
    state = frozen_stream.feed(
        start_stream(np.ones((4, 1)), np.ones(1)),
        block,
        alpha=alpha,
        fit_intercept=fit_intercept,
        memory=1e30,
        damping=1e-13,
    )
    expected = batch_least_squares(frozen_stream, alpha, fit_intercept)
    assert np.all(expected[:4] > 0)
    np.testing.assert_allclose(state.theta[0], expected, rtol=1e-8, atol=1e-12)
    assert state.n_seen == 120
    assert state.weight == pytest.approx(frozen_stream.weights.sum())


@pytest.mark.parametrize("k", [1, 3])
def test_converges_to_the_teacher(k):
    teacher = np.random.default_rng(0).standard_normal(5)
    stream = make_stream(teacher, 8000, k)
    state = stream.feed(start_stream(starts_near(teacher, 4), np.ones(4)), 200)
    best = np.argmin(state.error)
    error = np.linalg.norm(state.theta[best, :5] - teacher) / np.linalg.norm(teacher)
    assert error < 1e-6


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_finds_intercept_and_sign(sign):
    stream = make_stream(TEACHER, 4000, intercept=3.0, sign=sign)
    start = np.array([[0.5, 0.5], [-0.5, -0.5], [0.5, 0.5]])
    state = stream.feed(start_stream(start, np.array([1.0, -1.0])))
    best = np.argmin(state.error)
    assert state.signs[best] == sign
    np.testing.assert_allclose(state.theta[best], [*TEACHER, 3.0], atol=1e-4)
    assert state.error[best] < 1e-3 * state.error[1 - best]


def test_one_sample_at_a_time_converges():
    stream = make_stream(TEACHER, 1000)
    state = stream.feed(start_stream(starts_near(TEACHER, 2, 0.2), np.ones(2)), block=1)
    assert state.n_seen == 1000
    np.testing.assert_allclose(state.theta[:, :3], [TEACHER] * 2, atol=1e-3)


def test_old_filters_are_preferred_to_new_ones_that_are_as_good():
    learner = RecursiveLeastSquares(alpha=0.0, fit_intercept=True)
    stream = make_stream(TEACHER, 2000, noise=0.5)
    state = stream.feed(start_stream(starts_near(TEACHER, 4, 0.2), np.ones(4)))
    fresh = start_stream(starts_near(TEACHER, 2, 0.3), np.ones(2))
    best = learner.best(state)
    joined = learner.redraw(state, 2, fresh)
    assert joined.n_redrawn == state.n_seen == 2000
    np.testing.assert_array_equal(joined.age, [2000, 2000, 0, 0])
    # The best one stays, and new ones do not compete before they have seen enough.
    kept = joined.theta[learner.best(joined)]
    np.testing.assert_array_equal(kept, state.theta[best])
    assert learner.best(stream.feed(joined)) < 2
    other = make_stream([2.0, 1.0, -1.0], 1000, noise=0.5)
    assert learner.best(other.feed(joined)) >= 2


def test_filters_are_drawn_anew_in_time_and_where_errors_rise():
    learner = RecursiveLeastSquares(alpha=0.0, fit_intercept=True)
    stream = make_stream(TEACHER, 3000, noise=0.5)
    state = stream.feed(start_stream(starts_near(TEACHER, 2, 0.2), np.ones(2)))
    assert learner.is_redraw_due(state)
    assert not learner.is_redraw_due(state._replace(n_redrawn=2800))
    later = state._replace(n_redrawn=2700)
    assert not learner.is_redraw_due(later)
    assert learner.is_redraw_due(make_stream([2.0, 1.0, -1.0], 60).feed(later))


def test_follows_a_teacher_that_changes():
    state = start_stream(starts_near(TEACHER, 1, 0.2), np.ones(1))
    state = make_stream(TEACHER, 500).feed(state)
    np.testing.assert_allclose(state.theta[0, :3], TEACHER, atol=1e-2)
    errors = []
    for seed in range(1, 10):
        state = make_stream(OTHER, 500, seed=seed).feed(state)
        errors.append(np.linalg.norm(state.theta[0, :3] - OTHER))
    distance = np.linalg.norm(TEACHER - OTHER)
    assert errors[1] < 0.5 * distance
    assert errors[-1] < 0.02 * distance


def test_noise_is_averaged_over_ever_more_samples():
    errors = np.zeros((4, 2))
    for seed in range(4):
        stream = make_stream(TEACHER, 3400, seed=seed)
        stream.targets[:] += 0.3 * np.random.default_rng(seed).standard_normal(3400)
        state = start_stream(starts_near(TEACHER, 1, 0.2), np.ones(1))
        # To a sixteenth, then to the end: errors fall with the root of the samples.
        for i, rows in enumerate((slice(0, 200), slice(200, None))):
            state = stream.take(rows).feed(state, 200)
            errors[seed, i] = np.linalg.norm(state.theta[0, :3] - TEACHER)
    early, late = np.sqrt(np.mean(errors**2, axis=0))
    assert late < 0.5 * early


def test_weights_are_repetitions_inside_a_block():
    stream = make_stream(TEACHER, 6, intercept=0.1)
    counts = np.array([1, 2, 1, 1, 3, 1])
    repeated = stream.take(np.repeat(np.arange(6), counts))
    start = start_stream(np.ones((3, 2)), np.array([1.0, -1.0]))
    weighted = stream._replace(weights=counts.astype(float)).feed(start, alpha=0.1)
    plain = repeated.feed(start, alpha=0.1)
    np.testing.assert_allclose(weighted.theta, plain.theta)
    np.testing.assert_allclose(weighted.error, plain.error)
    assert weighted.weight == pytest.approx(plain.weight)


def test_penalty_shrinks_the_filter_not_the_intercept(frozen_stream):
    start = start_stream(np.ones((4, 1)), np.ones(1))
    thetas = [frozen_stream.feed(start, alpha=alpha).theta[0] for alpha in (0, 1, 100)]
    norms = [np.linalg.norm(theta[:4]) for theta in thetas]
    assert norms[0] > 2 * norms[1] > 4 * norms[2]
    # With no filter left the intercept is the mean of the targets.
    mean = np.average(frozen_stream.targets, weights=frozen_stream.weights)
    assert thetas[2][-1] == pytest.approx(mean, rel=0.1)


def test_filters_together_equal_each_alone():
    stream, W = make_stream(TEACHER, 300, intercept=1.0), starts_near(TEACHER, 3)
    signs = np.array([1.0, -1.0, 1.0])
    together = stream.feed(start_stream(W, signs))
    for i in range(3):
        alone = stream.feed(start_stream(W[:, [i]], signs[[i]]))
        np.testing.assert_allclose(alone.theta[0], together.theta[i], rtol=1e-6)
        np.testing.assert_allclose(alone.error[0], together.error[i], rtol=1e-6)


def test_update_leaves_the_state_before_it_alone():
    stream = make_stream(TEACHER, 40)
    state = stream.feed(start_stream(np.ones((3, 1)), np.ones(1)))
    before = [np.copy(part) for part in state]
    stream.feed(state)
    for part, copy in zip(state, before, strict=True):
        np.testing.assert_array_equal(part, copy)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_filter_that_meets_no_active_patch_stays(fit_intercept):
    patches = np.random.default_rng(0).uniform(0.1, 1, (60, 2, 3))
    stream = Stream(*flatten_windows(patches), np.full(60, 2.0), np.ones(60))
    start = start_stream(np.full((3, 1), -1.0), np.ones(1))
    state = stream.feed(start, fit_intercept=fit_intercept)
    np.testing.assert_allclose(state.theta[0, :3], -1.0)
    assert state.theta[0, -1] == pytest.approx(2.0 * fit_intercept, rel=1e-3)


def test_seed_holds_a_fitted_filter_the_more_samples_it_has_seen():
    block, moves = make_stream(OTHER, 20), []
    for n_samples in (10, 1000, 100_000):
        state = start_stream(TEACHER[:, np.newaxis], np.ones(1))
        state = seed_moments(state, block.samples, block.geometry, n_samples)
        assert state.n_seen == n_samples
        state = block.feed(state)
        assert state.n_seen == n_samples + 20
        moves.append(np.linalg.norm(state.theta[0, :3] - TEACHER))
    assert moves[0] > 5 * moves[1] > 25 * moves[2] > 0


def test_seeded_teacher_stays_where_the_samples_agree():
    stream = make_stream(TEACHER, 200, intercept=0.7)
    state = start_stream(TEACHER[:, np.newaxis], np.ones(1), intercept=0.7)
    state = seed_moments(state, stream.samples, stream.geometry, 500)
    np.testing.assert_allclose(stream.feed(state).theta[0], [*TEACHER, 0.7], rtol=1e-10)
