"""The searches: who wins, which starts run on which samples, and what is on record."""

import numpy as np
import pytest

from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.geometry import flatten_windows
from skconvfilter.model.squared_error import SquaredError
from skconvfilter.solvers.curvature import largest_curvature
from skconvfilter.solvers.driver import Status, Stopping
from skconvfilter.solvers.levenberg_marquardt import LevenbergMarquardt
from skconvfilter.solvers.multistart import Candidates
from skconvfilter.solvers.schedules import TwoStage
from skconvfilter.solvers.search import (
    descend,
    explore_and_polish,
    explored,
    n_exploration_rows,
    subsample,
)
from tests.solvers.problems import (
    FLOOR,
    Still,
    bank_problem,
    candidates,
    digits_problem,
    gaussian_problem,
    make_sgd,
    one_by_one,
    random_banks,
    random_starts,
)


def stand(objective, starts, **options):
    return descend(objective, starts, Still(), Stopping(2, 0.0, 9, FLOOR), **options)


def explore(objective, starts, *, sgd=True, max_polish=100, seed=0, **options):
    """A whole search of one filter, of SGD first unless ``sgd=False``."""
    rng, solver = np.random.default_rng(seed), None
    if sgd:
        rate = 1 / largest_curvature(objective, starts.W, starts.signs, 16)
        schedule, draw = TwoStage(rate, 1.5 * rate), np.random.default_rng(seed)

        def redraw(restart):
            return draw.standard_normal(objective.patch_dim)

        solver = make_sgd(schedule, redraw=redraw)
    sample = explored(subsample(objective, n_exploration_rows(objective), rng))
    options |= {"max_polish": max_polish, "rng": rng}
    stopping = Stopping(2, 1e-4, 5, FLOOR)
    return explore_and_polish(objective, sample, starts, solver, stopping, **options)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_lowest_loss_wins(sign):
    problem = gaussian_problem(sign=sign)
    w = problem.teacher
    starts = candidates(2 * w, w, 1.1 * w, w, signs=[sign, -sign, sign, sign])
    result = stand(problem.objective, starts)
    assert result.best_restart == 3
    assert result.sign == sign
    np.testing.assert_array_equal(result.w, w)
    expected = problem.objective.value(starts.W, starts.signs)
    np.testing.assert_allclose(result.restart_losses, expected.loss)
    assert result.score == result.loss == pytest.approx(0, abs=FLOOR)
    assert result.intercept == pytest.approx(0, abs=1e-13)


def test_of_equal_losses_the_first_wins():
    problem, noisy = gaussian_problem(), gaussian_problem(noise=0.1)
    w = problem.teacher
    # Told apart by rounding only, or below the floor.
    near = candidates(5 * w, 3 * w, 3 * (1 - 1e-13) * w)
    losses = noisy.objective.value(near.W, near.signs).loss
    assert losses[2] < losses[1]
    assert stand(noisy.objective, near).best_restart == 1
    below = candidates(2 * w, (1 + 1e-15) * w, w)
    assert stand(problem.objective, below).best_restart == 1
    equal, stopping = candidates(-w, w + 0.1, w + 0.1), Stopping(1, 0.0, 9)
    for solver in (make_sgd(0.3), LevenbergMarquardt()):
        assert descend(noisy.objective, equal, solver, stopping).best_restart == 1


@pytest.mark.parametrize("search", [stand, one_by_one])
def test_validation_loss_decides_who_wins(search):
    train, held_out = gaussian_problem(), gaussian_problem(n=100, seed=1)
    starts = candidates(train.teacher, held_out.teacher)
    assert search(train.objective, starts).best_restart == 0
    result = search(train.objective, starts, validation=held_out.objective)
    assert result.best_restart == 1
    assert result.loss >= result.restart_losses[0]
    W, signs = result.w[:, np.newaxis], np.ones(1)
    # The intercept is that of the training data.
    intercept = train.objective.value(W, signs).intercept
    assert result.intercept == pytest.approx(intercept[0])
    score = held_out.objective.validation_loss(W, signs, intercept)
    assert result.score == pytest.approx(score[0])


@pytest.mark.parametrize("with_lm", [False, True])
def test_restart_losses_are_of_the_best_iterates(with_lm):
    objective = digits_problem(noise=0.1).objective
    starts = random_starts(objective, 6)
    rate = 2 / largest_curvature(objective, starts.W, starts.signs, 16)
    solver = LevenbergMarquardt() if with_lm else make_sgd(rate)
    result = descend(objective, starts, solver, Stopping(6, 0.0, 9))
    lowest = np.nanmin(result.history["loss"], axis=0)
    np.testing.assert_allclose(result.restart_losses, lowest)
    assert result.best_restart == np.argmin(lowest)
    loss = objective.value(result.w[:, np.newaxis], np.ones(1)).loss[0]
    assert result.loss == pytest.approx(loss) == pytest.approx(lowest.min())


def test_subsample_is_random_rows_in_order_or_all():
    objective = digits_problem(n=1200).objective
    sample = subsample(objective, 500, np.random.default_rng(0))
    assert sample.n_samples == 500
    expected = np.sort(np.random.default_rng(0).choice(1200, 500, replace=False))
    np.testing.assert_array_equal(sample.samples, objective.samples[expected])
    np.testing.assert_array_equal(sample.targets, objective.targets[expected])
    assert subsample(objective, 1200, None) is objective
    assert n_exploration_rows(objective) == 1000
    assert n_exploration_rows(gaussian_problem(p=200).objective) == 1600


@pytest.mark.parametrize(
    ("n", "k", "p", "n_rows", "n_run"),
    [(300, 4, 5, 1000, 16), (300, 400, 60, 1000, 16), (250, 1100, 300, 1200, 3)],
)
def test_fewer_starts_run_where_steps_take_long(n, k, p, n_rows, n_run):
    rng = np.random.default_rng(0)
    series = rng.standard_normal((n, k + p - 1))
    windows = np.lib.stride_tricks.sliding_window_view(series, p, axis=1)
    teacher = rng.standard_normal(p) / np.sqrt(p)
    y = np.array([np.maximum(sample @ teacher, 0).mean() for sample in windows])
    objective = FilterObjective(*flatten_windows(windows), y)
    assert n_exploration_rows(objective) == n_rows
    starts = random_starts(objective)
    starts.W[:, 4] = teacher
    result = explore(objective, starts, sgd=False, max_polish=1)
    assert np.isfinite(result.restart_losses).sum() == n_run
    # Those that promise most do.
    assert result.restart_losses[4] < 1e-20


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("strategy", ["sgd", "lm", "all"])
def test_order_of_the_starts_does_not_matter(fit_intercept, strategy):
    objective = digits_problem(n=300, noise=0.2, fit_intercept=fit_intercept).objective
    starts, order = random_starts(objective), np.random.default_rng(2).permutation(16)
    permuted = Candidates(starts.W[:, order], starts.signs, starts.restarts)
    rate = 1 / largest_curvature(objective, starts.W, starts.signs, 16)
    results = []
    for these in (starts, permuted):
        if strategy == "all":
            results.append(explore(objective, these))
        else:
            solver = make_sgd(rate) if strategy == "sgd" else LevenbergMarquardt()
            results.append(descend(objective, these, solver, Stopping(10, 1e-4, 5)))
    first, second = results
    np.testing.assert_allclose(second.w, first.w, rtol=1e-5)
    losses = first.restart_losses[order]
    np.testing.assert_allclose(second.restart_losses, losses, rtol=1e-6)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize(("sgd", "costly"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("teacher", [0, 1])
def test_exploration_recovers_the_teacher(monkeypatch, fit_intercept, sgd, costly, teacher):
    monkeypatch.setattr(SquaredError, "is_costly", lambda self: costly)
    problem = digits_problem(n=800, teacher=teacher, fit_intercept=fit_intercept)
    # Where steps take long, in single precision.
    assert (explored(problem.objective).samples.dtype == np.float32) == costly
    result = explore(problem.objective, random_starts(problem.objective), sgd=sgd)
    np.testing.assert_allclose(result.w, problem.teacher, atol=1e-9)
    assert abs(result.intercept) < 1e-10
    assert 2 * result.loss < 1e-24 * problem.power
    assert result.status is Status.CONVERGED


@pytest.mark.parametrize("search", [explore, one_by_one])
def test_sign_and_intercept_are_recovered(search):
    problem = gaussian_problem(n=700, sign=-1.0)
    problem.objective.targets[:] += 3.0
    W = np.random.default_rng(0).standard_normal((5, 6))
    starts = Candidates(W, np.tile([1.0, -1.0], 3), np.arange(6))
    result = search(problem.objective, starts)
    assert result.sign == -1.0
    assert result.best_restart % 2 == 1
    assert result.intercept == pytest.approx(3.0)
    np.testing.assert_allclose(result.w, problem.teacher, rtol=1e-8)


def noisy_exploration(sgd=True, **options):
    """Objective of as many samples as are explored, starts, and a search's result."""
    objective = digits_problem(n=1000, noise=0.3).objective
    starts = random_starts(objective)
    return objective, starts, explore(objective, starts, sgd=sgd, **options)


def noisy_sequence(**options):
    """The same of a bank, whose starts are compared on a quarter of the samples."""
    objective, starts = bank_problem(n=1000, noise=0.5).objective, random_banks(7)
    sample = objective.subset(np.arange(0, 1000, 4))
    return objective, starts, one_by_one(objective, starts, sample, **options)


SEARCHES = pytest.mark.parametrize("search", [noisy_exploration, noisy_sequence])


@SEARCHES
def test_winner_is_at_the_bottom_of_all_samples(search):
    objective, _, result = search()
    evaluation = objective.gauss_newton(result.w[:, np.newaxis], np.array([result.sign]))
    assert result.loss == pytest.approx(evaluation.loss[0])
    assert result.intercept == pytest.approx(evaluation.intercept[0])
    # What a Newton step would still gain.
    step = np.linalg.solve(evaluation.gauss_newton[0], evaluation.gradient[0])
    assert evaluation.gradient[0] @ step < 1e-3 * result.loss
    assert result.status is Status.CONVERGED


@SEARCHES
def test_restart_losses_are_on_all_samples(search):
    objective, starts, result = search()
    ran = np.isfinite(result.history["loss"]).any(axis=0)
    np.testing.assert_array_equal(np.isfinite(result.restart_losses), ran)
    assert result.restart_losses[result.best_restart] == pytest.approx(result.loss)
    assert result.loss <= np.nanmin(result.restart_losses) * (1 + 1e-9)
    for restart in np.flatnonzero(ran):
        filters = result.history["filters"][:, restart]
        filters = filters[np.isfinite(filters).all(axis=1)]
        signs = np.repeat(starts.signs[[restart]], len(filters), axis=0)
        passed = objective.value(filters.T, signs).loss
        assert np.min(np.abs(passed / result.restart_losses[restart] - 1)) < 1e-9


@SEARCHES
def test_history_is_consistent(search):
    seen = []
    _, starts, result = search(callback=seen.append)
    history, best = result.history, result.best_restart
    n_rows, n_starts = len(seen) + 1, len(starts.restarts)
    assert history["filters"].shape == (n_rows, n_starts, len(starts.W))
    ran = np.isfinite(history["loss"])
    assert ran.shape == (n_rows, n_starts)
    for name in ("score", "gradient_norm"):
        np.testing.assert_array_equal(np.isfinite(history[name]), ran)
    np.testing.assert_array_equal(history["stage"] != "", ran)
    np.testing.assert_array_equal(np.isfinite(history["filters"]).all(axis=2), ran)
    # Whoever runs is where it was put, and among those that run to the end is the winner.
    for restart in np.flatnonzero(ran.any(axis=0)):
        first = np.flatnonzero(ran[:, restart])[0]
        put = history["filters"][first, restart]
        np.testing.assert_array_equal(put, starts.W[:, restart])
        assert history["stage"][first, restart] == "start"
    assert 1 <= ran[-1].sum() < n_starts
    last = np.flatnonzero(ran[:, best])[-1]
    np.testing.assert_array_equal(history["filters"][last, best], result.w)
    assert history["loss"][last, best] == pytest.approx(result.loss)
    stages = history["stage"][ran[:, best], best].tolist()
    n_sgd = 2 if search is noisy_exploration else 0
    assert all(stage.startswith("stage") for stage in stages[1 : 1 + n_sgd])
    assert set(stages[1 + n_sgd :]) == {"polish"}


@SEARCHES
def test_stopped_search_ends_with_the_best_so_far(search):
    seen = []
    search(callback=seen.append)
    for n_iterations in (1, 4, len(seen) // 2, len(seen) - 1):
        told = []

        def callback(snapshot, told=told, n_iterations=n_iterations):
            told.append(snapshot.incumbent)
            return len(told) == n_iterations

        objective, _, result = search(callback=callback)
        assert len(told) == n_iterations
        assert result.status is Status.STOPPED
        assert len(result.history["loss"]) == n_iterations + 1
        W, signs = (
            np.column_stack([result.w, told[-1].w]),
            np.array([result.sign, told[-1].sign]),
        )
        evaluation = objective.value(W, signs)
        assert result.loss == pytest.approx(evaluation.loss[0])
        assert result.intercept == pytest.approx(evaluation.intercept[0])
        assert result.loss <= evaluation.loss[1] * (1 + 1e-9)


def test_search_that_may_not_go_on_long_enough_says_so():
    assert noisy_exploration(max_polish=1)[2].status is Status.MAX_ITER


def test_score_of_an_exploration_is_the_validation_loss():
    train, held_out = digits_problem(n=300, noise=0.2), digits_problem(n=1000, teacher=1)
    starts = random_starts(train.objective, 8)
    result = explore(train.objective, starts, validation=held_out.objective)
    W, intercept = result.w[:, np.newaxis], np.array([result.intercept])
    score = held_out.objective.validation_loss(W, np.array([result.sign]), intercept)
    assert result.score == pytest.approx(score[0])
    assert result.score <= np.nanmin(result.history["score"]) * (1 + 1e-9)
    # The winner is on record.
    filters = result.history["filters"][:, result.best_restart]
    distances = np.linalg.norm(filters - result.w, axis=1)
    row = np.nanargmin(distances)
    assert distances[row] < 1e-12
    score = result.history["score"][row, result.best_restart]
    assert score == pytest.approx(result.score)


@pytest.mark.parametrize("n_starts", [1, 2])
def test_few_starts_are_enough(n_starts):
    problem = gaussian_problem(noise=0.1)
    result = explore(problem.objective, random_starts(problem.objective, n_starts))
    assert result.history["loss"].shape[1] == n_starts
    assert result.loss < 0.1 * problem.power


@pytest.mark.parametrize("images", [np.zeros((30, 64)), np.ones((30, 64))])
def test_exploration_among_samples_that_are_all_equal_ends(images):
    objective = digits_problem(images=images, teacher=np.ones(9)).objective
    objective.targets[:] = np.arange(30.0)
    starts = candidates(np.ones(9), -np.ones(9), np.arange(9.0) - 4)
    result = explore(objective, starts, sgd=False)
    assert result.loss == pytest.approx(0.5 * np.var(objective.targets))
    assert result.best_restart == 0
