"""Candidates in competition: who they are, who is kept, and what is on record."""

import numpy as np
import pytest

from skconvfilter.datasets import random_filter
from skconvfilter.solvers.driver import Status, Stopping
from skconvfilter.solvers.levenberg_marquardt import LevenbergMarquardt
from skconvfilter.solvers.multistart import Candidates, MultiStart, merge_duplicates
from tests.solvers.problems import DIGITS, FLOOR, Still, gaussian_problem, random_starts


def candidates_of(*filters, signs=None):
    signs = np.ones(len(filters)) if signs is None else np.array(signs)
    return Candidates(np.column_stack(filters), signs, np.arange(len(filters)))


@pytest.fixture
def unit_axis():
    axis = np.random.default_rng(3).standard_normal(6)
    return axis / np.linalg.norm(axis)


@pytest.fixture
def candidates():
    W = np.random.default_rng(0).standard_normal((6, 3))
    return Candidates(W, np.array([1.0, -1.0, 1.0]), np.array([4, 0, 7]))


def test_reflection_keeps_the_axis_and_turns_what_is_across(candidates, unit_axis):
    both = candidates.with_reflections(unit_axis)
    np.testing.assert_array_equal(both.W[:, :3], candidates.W)
    np.testing.assert_array_equal(both.signs, [1, -1, 1, 1, -1, 1])
    np.testing.assert_array_equal(both.restarts, [4, 0, 7, 4, 0, 7])
    reflected = both.W[:, 3:]
    along = unit_axis @ candidates.W
    np.testing.assert_allclose(unit_axis @ reflected, along)
    across = candidates.W - np.outer(unit_axis, along)
    np.testing.assert_allclose(reflected - np.outer(unit_axis, along), -across)


def test_perturbations_come_behind_and_are_relative_to_the_norm(candidates):
    directions = np.random.default_rng(1).standard_normal((6, 2)) * [0.1, 10.0]
    scales = np.array([1.0, 1.0, 5.0, 1.0, 2.0, 1.0])
    perturbed = candidates.with_perturbations(directions, np.diag(scales**2))
    np.testing.assert_array_equal(perturbed.W[:, :3], candidates.W)
    np.testing.assert_array_equal(perturbed.signs, [1, -1, 1, 1, 1, -1, -1, 1, 1])
    np.testing.assert_array_equal(perturbed.restarts, [4, 0, 7, 4, 4, 0, 0, 7, 7])
    moves = perturbed.W[:, 3:] - np.repeat(candidates.W, 2, axis=1)
    # Lengths are in the metric.
    lengths, sizes, norms = (
        np.linalg.norm(scales[:, np.newaxis] * W, axis=0)
        for W in (moves, directions, candidates.W)
    )
    np.testing.assert_allclose(moves / lengths, np.tile(directions / sizes, 3))
    share = lengths / np.repeat(norms, 2)
    np.testing.assert_allclose(share, share[0])
    assert share[0] > 0


# Images of digits inside a blank border: every pixel is seen by every tap of the window.
FRAMED = np.pad(DIGITS[:400].reshape(-1, 8, 8) / 16, ((0, 0), (2, 2), (2, 2)))
FRAMED_PATCHES = np.lib.stride_tricks.sliding_window_view(FRAMED, (3, 3), axis=(1, 2))


def framed_values(W):
    patches = FRAMED_PATCHES.reshape(-1, 100, 9)
    return np.maximum(patches @ W, 0).mean(axis=1)


def relative_losses(values, others):
    return np.mean((values - others) ** 2, axis=0) / np.mean(values, axis=0) ** 2


def reflected_about_the_mean_patch(W):
    starts = candidates_of(*W.T)
    return starts.with_reflections(np.full(len(W), len(W) ** -0.5)).W[:, W.shape[1] :]


def test_random_filter_is_nearer_its_reflection_than_its_opposite():
    W = np.column_stack([random_filter(9, random_state=seed) for seed in range(30)])
    values, reflected = framed_values(W), framed_values(reflected_about_the_mean_patch(W))
    gap = relative_losses(values, reflected)
    opposite = relative_losses(values, framed_values(-W))
    assert np.all(gap <= opposite)
    assert np.median(gap) < 0.05 * np.median(opposite)


def test_duplicates_are_merged_into_the_restart_of_the_better():
    a, b = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    W = np.column_stack([a, 1.001 * a, b, a, b, -b])
    signs = np.array([1.0, 1.0, 1.0, -1.0, 1.0, 1.0])
    # Restart 1 has a duplicate of restart 0 and, worse, one of its own; so has restart 2.
    candidates = Candidates(W, signs, np.array([0, 1, 1, 3, 2, 2]))
    distinct, merged_into = merge_duplicates(candidates, np.array([0, 1, 3, 2, 4, 5]))
    assert distinct.tolist() == [0, 3, 2, 5]
    # The second filter of restart 1 is restart 0's now, and so are those of restart 2.
    assert merged_into.tolist() == [0, 0, 0, 3, 0, 0]
    np.testing.assert_array_equal(candidates.restarts, [0, 1, 1, 3, 2, 2])


def test_banks_of_other_signs_are_no_duplicates():
    signs = np.array([[1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    candidates = Candidates(np.ones((4, 3)), signs, np.arange(3))
    distinct, merged_into = merge_duplicates(candidates, np.array([2, 1, 0]))
    assert distinct.tolist() == [2, 1]
    assert merged_into.tolist() == [2, 1, 2]


def test_of_many_candidates_the_duplicates_are_those_of_a_comparison_of_all_pairs():
    rng = np.random.default_rng(0)
    W = rng.standard_normal((12, 40))[:, rng.integers(40, size=600)]
    W *= rng.choice([1.0, 3.0], 600)
    W += 5e-3 * rng.standard_normal((12, 600)) * rng.choice([0.0, 1.0, 3.0], 600)
    W[:, :2] = 0
    signs = rng.choice([1.0, -1.0], 600)
    ranking = rng.permutation(600)
    expected = []
    for column in ranking:
        distances = np.linalg.norm(W[:, expected] - W[:, [column]], axis=0)
        near = distances <= 1e-2 * np.linalg.norm(W[:, column])
        if not np.any(near & (signs[expected] == signs[column])):
            expected.append(column)
    distinct, _ = merge_duplicates(Candidates(W, signs, np.arange(600)), ranking)
    assert 100 < len(expected) < 500
    assert distinct.tolist() == expected


def search_of(objective, starts):
    """A search whose first advance leaves the starts alone."""
    search = MultiStart(starts, FLOOR)
    search.advance(objective, Still(), Stopping(1, 0.0, 9))
    return search


def test_before_any_advance_the_first_are_kept(candidates):
    search = MultiStart(candidates, FLOOR)
    search.keep(2)
    np.testing.assert_array_equal(search.candidates.restarts, [4, 0])


def test_best_distinct_candidates_are_kept_in_their_order():
    problem = gaussian_problem(noise=0.1)
    w = problem.teacher
    search = search_of(problem.objective, candidates_of(3 * w, 2 * w, w, 1.0001 * w))
    search.keep(2)
    np.testing.assert_array_equal(search.candidates.restarts, [1, 2])
    np.testing.assert_array_equal(search.candidates.W, np.column_stack([2 * w, w]))


def test_directions_are_shared_out_among_the_candidates(candidates):
    search = MultiStart(candidates, FLOOR)
    search.perturb(np.random.default_rng(0).standard_normal((6, 8)), np.eye(6))
    np.testing.assert_array_equal(search.candidates.restarts, [4, 0, 7, 4, 4, 0, 0, 7, 7])


def test_search_is_settled_where_a_candidate_fits():
    problem = gaussian_problem()
    w = problem.teacher
    assert search_of(problem.objective, candidates_of(2 * w, w)).is_settled()
    assert not search_of(problem.objective, candidates_of(2 * w, 1.001 * w)).is_settled()


def test_history_of_several_advances_is_one():
    problem = gaussian_problem(noise=0.1)
    w, objective = problem.teacher, problem.objective
    search = search_of(objective, candidates_of(3 * w, w, 2 * w))
    sample = objective.subset(np.arange(100))
    search.keep(2)  # restarts 1 and 2
    search.reflect(np.eye(5)[0])
    search.advance(sample, LevenbergMarquardt(), Stopping(2, 0.0, 9))
    result = search.finish(objective)
    stage, loss = result.history["stage"], result.history["loss"]
    assert stage[:, 0].tolist() == ["start", "still", "", ""]
    for restart in (1, 2):
        assert stage[:, restart].tolist() == ["start", "still", "polish", "polish"]
    np.testing.assert_array_equal(np.isfinite(loss), stage != "")
    # The better of a filter and its reflection took the place of the last row.
    put = result.history["filters"][1, 1]
    expected = sample.value(put[:, np.newaxis], np.ones(1)).loss
    assert loss[1, 1] == pytest.approx(expected[0])
    assert loss[0, 1] != loss[1, 1]


def test_restart_that_begins_later_starts_in_the_last_row():
    problem = gaussian_problem(noise=0.1)
    w = problem.teacher
    starts = candidates_of(w, 2 * w)
    search = MultiStart(starts, FLOOR)
    for column in (0, 1):
        search.candidates = starts.take([column])
        search.advance(problem.objective, Still(), Stopping(2, 0.0, 9))
    search.pool(search.advances)
    result = search.finish(problem.objective)
    assert result.best_restart == 0
    assert result.history["stage"].T.tolist() == [
        ["start", "still", "still", "", ""],
        ["", "", "start", "still", "still"],
    ]
    np.testing.assert_array_equal(result.history["filters"][2, 1], 2 * w)


def test_callback_is_told_of_the_best_of_all_candidates():
    objective, seen = gaussian_problem(n=900, noise=0.5).objective, []
    starts = random_starts(objective, 6)
    sample = objective.subset(np.arange(300))
    search = MultiStart(starts, FLOOR, callback=seen.append)
    for column in range(6):
        search.candidates = starts.take([column])
        search.advance(sample, LevenbergMarquardt(), Stopping(9, 1e-4, 5))
    n_on_sample = len(seen)
    search.advance(objective, LevenbergMarquardt(), Stopping(9, 1e-4, 5))
    scores = np.array([snapshot.incumbent.score for snapshot in seen])
    # Scores rise only where all samples take the place of some.
    assert set(np.flatnonzero(np.diff(scores) > 0)) <= {n_on_sample - 1}


def test_after_a_stop_candidates_are_only_evaluated():
    objective = gaussian_problem(noise=0.5).objective
    starts = random_starts(objective, 3)
    search = MultiStart(starts, FLOOR, callback=lambda snapshot: True)
    for _ in range(2):
        search.advance(objective, LevenbergMarquardt(), Stopping(9, 1e-4, 5))
    assert search.stopped
    assert search.is_settled()
    result = search.finish(objective)
    assert result.status is Status.STOPPED
    assert len(result.history["loss"]) == 2
