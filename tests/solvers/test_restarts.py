import numpy as np
import pytest

from skconvfilter.solvers.curvature import largest_curvature
from skconvfilter.solvers.driver import SolverState, Status, Stopping
from skconvfilter.solvers.gauss_newton import LevenbergMarquardt
from skconvfilter.solvers.race import Candidates
from skconvfilter.solvers.restarts import descend, explore_and_polish, subsample
from skconvfilter.solvers.schedules import TwoStage

ROUNDING = 64 * np.finfo(float).eps
FLOOR = 0.5 * ROUNDING**2


class Still:
    """A solver that leaves every filter where it is."""

    def init(self, objective, W, signs):
        evaluation = objective.gradient(W, signs)
        rates = np.full(W.shape[1], np.nan)
        return SolverState(W.copy(), signs, evaluation, rates, np.full(W.shape[1], "still"))

    def step(self, objective, state, running):
        pass


def candidates(*filters, signs=None):
    W = np.column_stack(filters)
    signs = np.ones(len(filters)) if signs is None else np.array(signs)
    return Candidates(W, signs, np.arange(len(filters)))


def stand(objective, starts, **options):
    return descend(objective, starts, Still(), Stopping(2, 0.0, 9), **options)


@pytest.fixture
def search(make_sgd):
    """Makes a whole search, of SGD first unless ``sgd=False``."""

    def run_search(objective, starts, *, sgd=True, max_polish=100, seed=0, **options):
        solver = None
        if sgd:
            rate = 1 / largest_curvature(objective, starts.W, starts.signs, 16)
            redraw = np.random.default_rng(seed).standard_normal
            solver = make_sgd(
                TwoStage(rate, 1.5 * rate),
                redraw=lambda restart: redraw(objective.patch_dim),
            )
        rng = np.random.default_rng(seed)
        return explore_and_polish(
            objective,
            subsample(objective, rng),
            starts,
            solver,
            Stopping(2, 1e-4, 5, FLOOR),
            max_polish=max_polish,
            rng=rng,
            **options,
        )

    return run_search


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_lowest_loss_wins(gaussian_problem, sign):
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
    assert result.intercept == pytest.approx(0, abs=ROUNDING)


def test_equal_starts_tie_and_the_first_wins(gaussian_problem, make_sgd):
    objective = gaussian_problem(noise=0.1).objective
    poor, good = np.full(5, -1.0), gaussian_problem().teacher + 0.1
    starts, stopping = candidates(poor, good, good, good), Stopping(1, 0.0, 9)
    for solver in (Still(), make_sgd(0.3), LevenbergMarquardt()):
        assert descend(objective, starts, solver, stopping).best_restart == 1


def test_losses_that_rounding_tells_apart_tie(gaussian_problem):
    problem = gaussian_problem(noise=0.1)
    w = 3 * problem.teacher
    nearer = (1 - 1e-13) * w
    losses = problem.objective.value(np.column_stack([w, nearer]), np.ones(2)).loss
    assert losses[1] < losses[0]
    assert stand(problem.objective, candidates(w, nearer)).best_restart == 0


def test_losses_below_the_floor_tie(gaussian_problem):
    problem = gaussian_problem()
    w, stopping = problem.teacher, Stopping(2, 0.0, 9, FLOOR)
    starts = candidates(2 * w, (1 + 1e-15) * w, w)
    assert descend(problem.objective, starts, Still(), stopping).best_restart == 1


def test_start_whose_loss_overflows_does_not_win(gaussian_problem):
    problem = gaussian_problem(noise=0.1)
    w = problem.teacher
    result = stand(problem.objective, candidates(1e200 * w, 2 * w, w))
    assert result.best_restart == 2
    assert not np.isfinite(result.restart_losses[0])


def test_start_whose_loss_overflows_leaves_ties_as_they_are(gaussian_problem):
    problem = gaussian_problem(noise=0.1)
    w = 3 * problem.teacher
    starts = candidates(1e200 * w, w, (1 - 1e-13) * w)
    assert stand(problem.objective, starts).best_restart == 1


def test_search_drops_a_start_whose_loss_overflows(gaussian_problem, search):
    problem = gaussian_problem(noise=0.1)
    w = problem.teacher
    result = search(problem.objective, candidates(1e200 * w, w + 0.1, -w), sgd=False)
    assert result.best_restart != 0
    assert result.loss < 0.1 * problem.power


def test_validation_loss_decides_who_wins(gaussian_problem):
    train, held_out = gaussian_problem(seed=0), gaussian_problem(n=100, seed=1)
    starts = candidates(train.teacher, held_out.teacher)
    assert stand(train.objective, starts).best_restart == 0
    result = stand(train.objective, starts, validation=held_out.objective)
    assert result.best_restart == 1
    np.testing.assert_array_equal(result.w, held_out.teacher)
    assert result.loss == pytest.approx(result.restart_losses[1])
    assert result.loss > result.restart_losses[0]
    # The intercept is that of the training data.
    W, signs = starts.W[:, [1]], np.ones(1)
    intercept = train.objective.value(W, signs).intercept
    assert result.intercept == pytest.approx(intercept[0])
    score = held_out.objective.validation_loss(W, signs, intercept)
    assert result.score == pytest.approx(score[0])


@pytest.mark.parametrize("levenberg_marquardt", [False, True])
def test_restart_losses_are_of_the_best_iterates(
    digits_problem, make_starts, make_sgd, levenberg_marquardt
):
    objective = digits_problem(noise=0.1).objective
    starts = make_starts(objective, 6)
    rate = 2 / largest_curvature(objective, starts.W, starts.signs, 16)
    solver = LevenbergMarquardt() if levenberg_marquardt else make_sgd(rate)
    result = descend(objective, starts, solver, Stopping(6, 0.0, 9))
    lowest = np.nanmin(result.history["loss"], axis=0)
    np.testing.assert_allclose(result.restart_losses, lowest)
    assert result.best_restart == np.argmin(lowest)
    assert result.loss == pytest.approx(lowest.min())
    loss = objective.value(result.w[:, np.newaxis], np.ones(1)).loss[0]
    assert loss == pytest.approx(lowest.min())


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("strategy", ["sgd", "gauss-newton", "all"])
def test_order_of_the_starts_does_not_matter(
    digits_problem, make_starts, make_sgd, search, fit_intercept, strategy
):
    problem = digits_problem(n=300, noise=0.2, fit_intercept=fit_intercept)
    objective = problem.objective
    starts = make_starts(objective, 16)
    order = np.random.default_rng(2).permutation(16)
    permuted = starts.take(order)
    permuted = Candidates(permuted.W, permuted.signs, np.arange(16))
    rate = 1 / largest_curvature(objective, starts.W, starts.signs, 16)
    results = []
    for these in (starts, permuted):
        if strategy == "all":
            results.append(search(objective, these))
        else:
            solver = make_sgd(rate) if strategy == "sgd" else LevenbergMarquardt()
            results.append(descend(objective, these, solver, Stopping(20, 1e-4, 5)))
    first, second = results
    np.testing.assert_allclose(second.w, first.w, rtol=1e-5)
    assert second.loss == pytest.approx(first.loss, rel=1e-9)
    losses = first.restart_losses[order]
    np.testing.assert_allclose(second.restart_losses, losses, rtol=1e-6)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("sgd", [False, True])
@pytest.mark.parametrize("teacher", [0, 1, 2])
def test_search_recovers_the_teacher(
    digits_problem, make_starts, search, fit_intercept, sgd, teacher
):
    problem = digits_problem(n=800, teacher=teacher, fit_intercept=fit_intercept)
    starts = make_starts(problem.objective, 16, seed=teacher)
    result = search(problem.objective, starts, sgd=sgd)
    np.testing.assert_allclose(result.w, problem.teacher, atol=1e-9)
    assert abs(result.intercept) < 1e-10
    assert 2 * result.loss < 1e-24 * problem.power
    assert result.status is Status.CONVERGED


def test_search_recovers_sign_and_intercept(gaussian_problem, search):
    problem = gaussian_problem(n=700, sign=-1.0)
    problem.objective.targets[:] += 3.0
    signs = np.tile([1.0, -1.0], 3)
    W = np.random.default_rng(0).standard_normal((5, 6))
    result = search(problem.objective, Candidates(W, signs, np.arange(6)))
    assert result.sign == -1.0
    assert result.best_restart % 2 == 1
    assert result.intercept == pytest.approx(3.0)
    np.testing.assert_allclose(result.w, problem.teacher, rtol=1e-8)


@pytest.fixture
def noisy_search(digits_problem, make_starts, search):
    """Objective of more samples than are explored, starts, and a search's result."""

    def make(**options):
        objective = digits_problem(n=1000, noise=0.3).objective
        starts = make_starts(objective, 16)
        return objective, starts, search(objective, starts, **options)

    return make


def test_winner_is_at_the_bottom_of_all_samples(noisy_search):
    objective, _, result = noisy_search()
    W, signs = result.w[:, np.newaxis], np.array([result.sign])
    evaluation = objective.gauss_newton(W, signs)
    assert result.loss == pytest.approx(evaluation.loss[0])
    assert result.intercept == pytest.approx(evaluation.intercept[0])
    # What a Newton step would still gain.
    step = np.linalg.solve(evaluation.gauss_newton[0], evaluation.gradient[0])
    assert evaluation.gradient[0] @ step < 1e-3 * result.loss


@pytest.mark.parametrize("sgd", [False, True])
def test_restart_losses_of_a_search_are_on_all_samples(noisy_search, sgd):
    objective, _, result = noisy_search(sgd=sgd)
    assert result.restart_losses.shape == (16,)
    assert result.restart_losses[result.best_restart] == pytest.approx(result.loss)
    assert result.loss <= result.restart_losses.min() * (1 + 1e-9)
    for restart, loss in enumerate(result.restart_losses):
        filters = result.history["filters"][:, restart]
        filters = filters[np.isfinite(filters).all(axis=1)]
        passed = objective.value(filters.T, np.ones(len(filters))).loss
        assert np.min(np.abs(passed / loss - 1)) < 1e-12
        assert loss < passed[0]


@pytest.mark.parametrize("sgd", [False, True])
def test_history_of_a_search_is_consistent(noisy_search, sgd):
    seen = []
    _, starts, result = noisy_search(sgd=sgd, max_polish=1, callback=seen.append)
    history, best = result.history, result.best_restart
    n_rows = len(seen) + 1
    assert history["filters"].shape == (n_rows, 16, 9)
    assert all(len(values) == n_rows for values in history.values())
    np.testing.assert_array_equal(history["filters"][0], starts.W.T)
    ran = np.isfinite(history["loss"])
    for name in ("score", "gradient_norm"):
        np.testing.assert_array_equal(np.isfinite(history[name]), ran)
    np.testing.assert_array_equal(history["stage"] != "", ran)
    np.testing.assert_array_equal(np.isfinite(history["filters"]).all(axis=2), ran)
    # All are explored, few are taken to the end, and among these is the winner.
    assert ran[:2].all()
    assert 1 <= ran[-1].sum() < 16
    assert ran[-1, best]
    np.testing.assert_array_equal(history["filters"][-1, best], result.w)
    assert history["loss"][-1, best] == pytest.approx(result.loss)
    stages = history["stage"][ran[:, best], best].tolist()
    n_sgd = 2 if sgd else 0
    assert stages[0] == "start"
    assert all(stage.startswith("stage") for stage in stages[1 : 1 + n_sgd])
    assert set(stages[1 + n_sgd :]) == {"polish"}


def test_search_that_may_not_polish_enough_says_so(noisy_search):
    _, _, result = noisy_search(max_polish=1)
    assert result.status is Status.MAX_ITER


def test_same_seed_gives_the_same_search(noisy_search):
    (_, _, first), (_, _, again) = noisy_search(seed=5), noisy_search(seed=5)
    np.testing.assert_array_equal(first.w, again.w)
    np.testing.assert_array_equal(first.restart_losses, again.restart_losses)
    assert first.best_restart == again.best_restart


@pytest.fixture
def validated_search(digits_problem, make_starts, search):
    """Held-out objective, of another teacher, and the result of a search."""
    train, held_out = digits_problem(n=300, noise=0.2), digits_problem(n=1000, teacher=1)
    starts = make_starts(train.objective, 8)
    result = search(train.objective, starts, validation=held_out.objective)
    return held_out.objective, result


def test_score_of_a_search_is_the_validation_loss(validated_search):
    held_out, result = validated_search
    W, signs = result.w[:, np.newaxis], np.array([result.sign])
    score = held_out.validation_loss(W, signs, np.array([result.intercept]))
    assert result.score == pytest.approx(score[0])
    assert result.score <= np.nanmin(result.history["score"]) * (1 + 1e-9)


def test_returned_filter_and_its_score_are_on_record(validated_search):
    _, result = validated_search
    filters = result.history["filters"][:, result.best_restart]
    distances = np.linalg.norm(filters - result.w, axis=1)
    row = np.nanargmin(distances)
    assert distances[row] < 1e-12
    score = result.history["score"][row, result.best_restart]
    assert score == pytest.approx(result.score)


@pytest.mark.parametrize("n_starts", [1, 2])
def test_few_starts_are_enough(gaussian_problem, make_starts, search, n_starts):
    problem = gaussian_problem(noise=0.1)
    starts = make_starts(problem.objective, n_starts)
    result = search(problem.objective, starts)
    assert result.restart_losses.shape == (n_starts,)
    assert result.history["loss"].shape[1] == n_starts
    assert result.loss < 0.1 * problem.power


@pytest.mark.parametrize("images", [np.zeros((30, 64)), np.ones((30, 64))])
def test_search_among_samples_that_are_all_equal_ends(digits_problem, search, images):
    objective = digits_problem(images=images, teacher=np.ones(9)).objective
    objective.targets[:] = np.arange(30.0)
    starts = candidates(np.ones(9), -np.ones(9), np.arange(9.0) - 4)
    result = search(objective, starts, sgd=False)
    assert result.loss == pytest.approx(0.5 * np.var(objective.targets))
    assert result.best_restart == 0


@pytest.mark.parametrize("n_iterations", [1, 4, 12, 40])
@pytest.mark.parametrize("sgd", [False, True])
def test_stopped_search_ends_with_the_best_so_far(noisy_search, sgd, n_iterations):
    seen = []

    def callback(snapshot):
        seen.append(snapshot.leader)
        return len(seen) == n_iterations

    objective, _, result = noisy_search(sgd=sgd, callback=callback)
    assert len(seen) == n_iterations
    assert result.status is Status.STOPPED
    assert len(result.history["loss"]) == n_iterations + 1
    # The samples explored are all there are.
    losses = [leader.loss for leader in seen]
    assert losses == sorted(losses, reverse=True)
    assert result.loss <= seen[-1].loss * (1 + 1e-9)
    evaluation = objective.value(result.w[:, np.newaxis], np.array([result.sign]))
    assert result.loss == pytest.approx(evaluation.loss[0])
    assert result.intercept == pytest.approx(evaluation.intercept[0])
    assert np.isfinite(result.restart_losses[result.best_restart])
