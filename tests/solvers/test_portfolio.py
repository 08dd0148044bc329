"""The portfolio: which starts run, on which samples, who wins, and what is on record."""

from typing import NamedTuple

import numpy as np
import pytest

from skconvfilter.model.activations import ACTIVATIONS
from skconvfilter.model.bank_objective import BankObjective
from skconvfilter.model.geometry import flatten_windows
from skconvfilter.model.objective import FilterObjective
from skconvfilter.solvers.driver import SolverState, Status, Stopping
from skconvfilter.solvers.gauss_newton import LevenbergMarquardt
from skconvfilter.solvers.portfolio import portfolio
from skconvfilter.solvers.race import Candidates

ROUNDING = 64 * np.finfo(float).eps
FLOOR = 0.5 * ROUNDING**2
N_FILTERS, PATCH_DIM = 2, 4


class Still:
    """A solver that leaves every bank where it is, and counts what it is asked for."""

    def __init__(self):
        self.groups = []

    def init(self, objective, W, signs):
        self.groups.append((objective.n_samples, W.shape[1]))
        evaluation = objective.gradient(W, signs)
        rates = np.full(W.shape[1], np.nan)
        stage = np.full(W.shape[1], "start", dtype="U8")
        return SolverState(W.copy(), signs, evaluation, rates, stage)

    def step(self, objective, state, running):
        state.stage[running] = "still"


class BankProblem(NamedTuple):
    """Targets that a known bank of filters has made."""

    objective: BankObjective
    teacher: np.ndarray  # (n_parameters,)
    signs: np.ndarray  # (n_filters,)

    @property
    def power(self):
        return np.var(self.objective.targets)


@pytest.fixture(scope="module")
def make_problem():
    """Makes problems of two filters on three patches of length four."""

    def make(n=300, noise=0.0, name="relu", signs=(1.0, 1.0), seed=0, **options):
        rng = np.random.default_rng(seed)
        patches = rng.standard_normal((n, 3, PATCH_DIM))
        teacher = rng.standard_normal((N_FILTERS, PATCH_DIM))
        activation, signs = ACTIVATIONS[name], np.array(signs)
        y = activation.value(patches @ teacher.T).sum(axis=1) @ signs
        y += noise * y.std() * rng.standard_normal(n)
        objective = BankObjective(
            *flatten_windows(patches),
            y,
            n_filters=N_FILTERS,
            activation=activation,
            pooling="sum",
            **options,
        )
        return BankProblem(objective, teacher.ravel(), signs)

    return make


def candidates(*banks, signs=(1.0, 1.0)):
    W = np.column_stack(banks)
    signs = np.broadcast_to(np.asarray(signs), (W.shape[1], N_FILTERS)).copy()
    return Candidates(W, signs, np.arange(W.shape[1]))


def random_starts(n_starts, seed=0):
    shape = (N_FILTERS * PATCH_DIM, n_starts)
    W = np.random.default_rng(seed).standard_normal(shape)
    return Candidates(W, np.ones((n_starts, N_FILTERS)), np.arange(n_starts))


def stand(objective, starts, sample=None, solver=None, **options):
    return portfolio(
        objective,
        objective if sample is None else sample,
        starts,
        Still() if solver is None else solver,
        Stopping(2, 0.0, 9, FLOOR),
        **options,
    )


def descend(objective, starts, sample=None, **options):
    return portfolio(
        objective,
        objective if sample is None else sample,
        starts,
        LevenbergMarquardt(),
        Stopping(100, 1e-4, 5, FLOOR),
        **options,
    )


def swapped(bank):
    """The same bank with its filters in the other order."""
    return bank.reshape(N_FILTERS, PATCH_DIM)[::-1].ravel()


def test_first_start_that_fits_is_all_that_runs(make_problem):
    problem, solver = make_problem(), Still()
    w = problem.teacher
    starts = candidates(w, w, 2 * w, w, w)
    result = stand(problem.objective, starts, solver=solver)
    assert solver.groups == [(300, 1)]
    assert result.best_restart == 0
    np.testing.assert_array_equal(result.w, w)
    assert np.isfinite(result.restart_losses[0])
    assert np.isnan(result.restart_losses[1:]).all()
    assert result.restart_losses.shape == (5,)
    assert np.isnan(result.history["loss"][:, 1:]).all()
    assert result.status is Status.CONVERGED


def test_later_start_that_fits_is_the_last(make_problem):
    problem, solver = make_problem(), Still()
    w = problem.teacher
    starts = candidates(2 * w, 3 * w, 4 * w, w, 5 * w, w)
    result = stand(problem.objective, starts, solver=solver)
    # The first alone, then three together: one of them fits.
    assert solver.groups == [(300, 1), (300, 3)]
    assert result.best_restart == 3
    np.testing.assert_array_equal(np.isnan(result.restart_losses), [0, 0, 0, 0, 1, 1])
    expected = problem.objective.value(starts.W, starts.signs).loss[:4]
    np.testing.assert_allclose(result.restart_losses[:4], expected)


@pytest.mark.parametrize("apart", [0.0, 4e-4])
def test_three_starts_of_the_same_lowest_loss_end_the_search(make_problem, apart):
    problem, solver = make_problem(noise=0.3), Still()
    w = problem.teacher
    starts = candidates(w, 2 * w, (1 + apart) * swapped(w), w, 3 * w, 4 * w)
    result = stand(problem.objective, starts, solver=solver)
    losses = problem.objective.value(starts.W, starts.signs).loss
    assert losses[2] < 1.001 * losses[0]
    assert solver.groups == [(300, 1), (300, 3)]
    np.testing.assert_array_equal(np.isnan(result.restart_losses), [0, 0, 0, 0, 1, 1])
    assert result.loss == pytest.approx(losses.min())


@pytest.mark.parametrize("n_lowest", [1, 2])
def test_fewer_starts_of_the_same_lowest_loss_do_not(make_problem, n_lowest):
    problem, solver = make_problem(noise=0.3), Still()
    w = problem.teacher
    others = [(2 + i) * w for i in range(5 - n_lowest)]
    starts = candidates(*[w, swapped(w)][:n_lowest], *others, 9 * w)
    stand(problem.objective, starts, solver=solver)
    assert solver.groups == [(300, 1), (300, 3), (300, 2)]


def test_starts_of_the_same_loss_that_is_not_the_lowest_do_not(make_problem):
    problem, solver = make_problem(noise=0.3), Still()
    w = problem.teacher
    starts = candidates(2 * w, 2 * swapped(w), w, 2 * w, 4 * w, 5 * w)
    result = stand(problem.objective, starts, solver=solver)
    assert solver.groups == [(300, 1), (300, 3), (300, 2)]
    assert result.best_restart == 2
    assert np.isfinite(result.restart_losses).all()


@pytest.mark.parametrize("n_starts", [1, 2, 3, 4, 5, 9, 10])
def test_all_starts_are_used_up_where_nothing_is_settled(make_problem, n_starts):
    problem, solver = make_problem(noise=0.3), Still()
    starts = candidates(*[(2 + i) * problem.teacher for i in range(n_starts)])
    result = stand(problem.objective, starts, solver=solver)
    assert sum(size for _, size in solver.groups) == n_starts
    assert solver.groups[0] == (300, 1)
    assert max(size for _, size in solver.groups) <= 3
    losses = problem.objective.value(starts.W, starts.signs).loss
    np.testing.assert_allclose(result.restart_losses, losses)
    assert result.best_restart == 0


def test_lowest_loss_wins(make_problem):
    problem = make_problem(noise=0.3)
    w = problem.teacher
    starts = candidates(3 * w, 4 * w, 1.5 * w, w, 2 * w)
    result = stand(problem.objective, starts)
    losses = problem.objective.value(starts.W, starts.signs).loss
    assert result.best_restart == np.argmin(losses) == 3
    assert result.loss == result.score == pytest.approx(losses[3])
    np.testing.assert_allclose(result.restart_losses, losses)
    intercept = problem.objective.value(starts.W, starts.signs).intercept[3]
    assert result.intercept == pytest.approx(intercept)


def test_equal_starts_tie_and_the_first_wins(make_problem):
    problem = make_problem(noise=0.3)
    w = problem.teacher
    assert stand(problem.objective, candidates(2 * w, w, w, w)).best_restart == 1
    tie = candidates(2 * w, 3 * w, (1 - 1e-14) * w, w)
    assert stand(problem.objective, tie).best_restart == 2


def test_losses_below_the_floor_tie(make_problem):
    problem = make_problem()
    w = problem.teacher
    starts = candidates(2 * w, 3 * w, (1 + 1e-15) * w, w)
    assert stand(problem.objective, starts).best_restart == 2


def test_start_whose_loss_overflows_does_not_win(make_problem):
    problem = make_problem(noise=0.3)
    w = problem.teacher
    result = stand(problem.objective, candidates(1e200 * w, 1e200 * w, 2 * w, w))
    assert result.best_restart == 3
    assert not np.isfinite(result.restart_losses[:2]).any()


@pytest.mark.parametrize("n_infinite", [1, 2, 3, 4, 6])
def test_infinite_losses_do_not_agree(make_problem, n_infinite):
    problem = make_problem(noise=0.3)
    w = problem.teacher
    starts = candidates(*[1e200 * (1 + i) * w for i in range(n_infinite)], w)
    result = stand(problem.objective, starts)
    assert result.best_restart == n_infinite


@pytest.mark.parametrize("signs", [(1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)])
def test_search_recovers_the_teacher_and_its_signs(make_problem, signs):
    problem = make_problem(signs=signs)
    starts = random_starts(10)
    all_signs = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]])
    starts = Candidates(starts.W, np.tile(all_signs, (3, 1))[:10], starts.restarts)
    result = descend(problem.objective, starts)
    assert result.loss < 1e-20 * problem.power
    # signs and filters of the winner belong together
    assert result.sign.shape == (N_FILTERS,)
    np.testing.assert_array_equal(np.sort(result.sign), np.sort(signs))
    np.testing.assert_array_equal(result.sign, starts.signs[result.best_restart])
    found = result.w.reshape(N_FILTERS, PATCH_DIM)
    teacher = problem.teacher.reshape(N_FILTERS, PATCH_DIM)
    errors = [
        np.hstack([found[order], result.sign[order, np.newaxis]])
        - np.hstack([teacher, problem.signs[:, np.newaxis]])
        for order in ([0, 1], [1, 0])
    ]
    assert min(np.abs(error).max() for error in errors) < 1e-9
    evaluation = problem.objective.value(result.w[:, np.newaxis], result.sign[np.newaxis])
    assert result.loss == pytest.approx(evaluation.loss[0], abs=FLOOR * problem.power)


def test_banks_of_other_signs_are_not_one(make_problem):
    problem = make_problem(n=1000, signs=(1.0, -1.0), noise=0.1)
    w = problem.teacher
    starts = candidates(w, 1.001 * w, signs=(1.0, -1.0))
    starts.signs[0] = 1.0
    result = stand(problem.objective, starts, problem.objective.subset(slice(0, 900)))
    assert result.best_restart == 1
    np.testing.assert_array_equal(result.sign, [1, -1])
    ran = np.isfinite(result.history["loss"])
    assert ran[-1].all()


@pytest.fixture
def noisy_search(make_problem):
    """Objective, a subsample of it, and the result of a search on both."""

    def make(n_starts=7, seed=0, **options):
        objective = make_problem(n=1000, noise=0.5).objective
        sample = objective.subset(np.arange(0, 1000, 4))
        starts = random_starts(n_starts, seed)
        return objective, starts, descend(objective, starts, sample, **options)

    return make


def test_starts_are_compared_on_the_subsample_and_the_best_goes_on(make_problem):
    problem, solver = make_problem(n=1000, noise=0.3), Still()
    sample = problem.objective.subset(slice(0, 200))
    starts = candidates(*[(2 + i) * problem.teacher for i in range(5)])
    result = stand(problem.objective, starts, sample, solver)
    # Nothing was settled: the two best go on.
    assert solver.groups == [(200, 1), (200, 3), (200, 1), (1000, 2)]
    losses = problem.objective.value(starts.W, starts.signs).loss
    np.testing.assert_allclose(result.restart_losses, losses)
    assert result.loss == pytest.approx(losses[0])
    ran = np.isfinite(result.history["loss"])
    assert ran[-1].tolist() == [True, True, False, False, False]


def test_start_that_fits_the_subsample_goes_on_alone(make_problem):
    problem, solver = make_problem(n=1000), Still()
    sample = problem.objective.subset(slice(0, 200))
    w = problem.teacher
    result = stand(problem.objective, candidates(2 * w, 3 * w, w, 4 * w), sample, solver)
    assert solver.groups == [(200, 1), (200, 3), (1000, 1)]
    assert result.best_restart == 2


def test_start_that_only_the_subsample_prefers_loses(make_problem):
    problem = make_problem(n=1000, noise=0.3)
    few = problem.objective.subset(slice(0, 12))
    w = problem.teacher
    fitted = descend(few, candidates(w)).w
    starts = candidates(fitted, w)
    losses = [o.value(starts.W, starts.signs).loss for o in (few, problem.objective)]
    assert np.argmin(losses[0]) == 0
    assert np.argmin(losses[1]) == 1
    assert stand(problem.objective, starts, few).best_restart == 1


def test_same_bank_found_twice_goes_on_once(make_problem):
    problem, solver = make_problem(n=1000, noise=0.3), Still()
    sample = problem.objective.subset(slice(0, 200))
    w = problem.teacher
    starts = candidates(2 * w, w, w, 3 * w, 1.5 * w)
    result = stand(problem.objective, starts, sample, solver)
    assert solver.groups[-1] == (1000, 2)
    assert result.best_restart == 1
    ran = np.isfinite(result.history["loss"])[-1]
    assert ran[1]
    assert not ran[2]


def test_winner_is_at_the_bottom_of_all_samples(noisy_search):
    objective, _, result = noisy_search()
    arguments = result.w[:, np.newaxis], result.sign[np.newaxis]
    evaluation = objective.gauss_newton(*arguments)
    assert result.loss == pytest.approx(evaluation.loss[0])
    assert result.intercept == pytest.approx(evaluation.intercept[0])
    step = np.linalg.solve(evaluation.gauss_newton[0], evaluation.gradient[0])
    assert evaluation.gradient[0] @ step < 1e-3 * result.loss
    assert result.status is Status.CONVERGED


@pytest.mark.parametrize("seed", range(4))
def test_restart_losses_are_on_all_samples(noisy_search, seed):
    objective, starts, result = noisy_search(seed=seed)
    assert result.restart_losses.shape == (7,)
    ran = np.isfinite(result.history["loss"]).any(axis=0)
    np.testing.assert_array_equal(np.isfinite(result.restart_losses), ran)
    best = result.restart_losses[result.best_restart]
    assert best == pytest.approx(result.loss)
    assert result.loss <= np.nanmin(result.restart_losses) * (1 + 1e-9)
    for restart in np.flatnonzero(ran):
        filters = result.history["filters"][:, restart]
        filters = filters[np.isfinite(filters).all(axis=1)]
        signs = np.repeat(starts.signs[[restart]], len(filters), axis=0)
        passed = objective.value(filters.T, signs).loss
        assert np.min(np.abs(passed / result.restart_losses[restart] - 1)) < 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_history_is_consistent(noisy_search, seed):
    seen = []
    _, starts, result = noisy_search(seed=seed, callback=seen.append)
    history, best = result.history, result.best_restart
    n_rows = len(seen) + 1
    assert history["filters"].shape == (n_rows, 7, N_FILTERS * PATCH_DIM)
    for name in ("loss", "score", "gradient_norm", "learning_rate", "stage"):
        assert history[name].shape == (n_rows, 7), name
    ran = np.isfinite(history["loss"])
    for name in ("score", "gradient_norm"):
        np.testing.assert_array_equal(np.isfinite(history[name]), ran)
    np.testing.assert_array_equal(history["stage"] != "", ran)
    np.testing.assert_array_equal(np.isfinite(history["filters"]).all(axis=2), ran)
    # The first runs alone, and whoever runs is where it was put.
    assert ran[0].tolist() == [True] + 6 * [False]
    for restart in np.flatnonzero(ran.any(axis=0)):
        first = np.flatnonzero(ran[:, restart])[0]
        put = starts.W[:, restart]
        np.testing.assert_array_equal(history["filters"][first, restart], put)
    last = np.flatnonzero(ran[:, best])[-1]
    np.testing.assert_array_equal(history["filters"][last, best], result.w)
    assert history["loss"][last, best] == pytest.approx(result.loss)


@pytest.mark.parametrize("seed", range(4))
def test_every_start_is_called_so(noisy_search, seed):
    _, _, result = noisy_search(seed=seed)
    stage = result.history["stage"]
    for restart in np.flatnonzero((stage != "").any(axis=0)):
        names = stage[stage[:, restart] != "", restart].tolist()
        assert names[0] == "start", restart
        assert set(names[1:]) == {"polish"}, restart


def test_search_that_may_not_go_on_long_enough_says_so(noisy_search):
    objective, starts, _ = noisy_search()
    result = portfolio(
        objective, objective, starts, LevenbergMarquardt(), Stopping(2, 1e-4, 5, FLOOR)
    )
    assert result.status is Status.MAX_ITER
    assert len(result.history["loss"]) == 1 + 2 * 3


def test_same_starts_give_the_same_search(noisy_search):
    (_, _, first), (_, _, again) = noisy_search(), noisy_search()
    np.testing.assert_array_equal(first.w, again.w)
    np.testing.assert_array_equal(first.restart_losses, again.restart_losses)
    assert first.best_restart == again.best_restart
    for name, values in first.history.items():
        np.testing.assert_array_equal(values, again.history[name])


def test_starts_are_left_as_they_were(noisy_search):
    _, starts, _ = noisy_search()
    expected = random_starts(7)
    np.testing.assert_array_equal(starts.W, expected.W)
    np.testing.assert_array_equal(starts.signs, expected.signs)
    np.testing.assert_array_equal(starts.restarts, expected.restarts)


def test_single_filters_are_searched_for_alike(gaussian_problem):
    problem = gaussian_problem(n=600, sign=-1.0)
    W = np.random.default_rng(0).standard_normal((5, 6))
    signs = np.tile([1.0, -1.0], 3)
    starts = Candidates(W, signs, np.arange(6))
    sample = problem.objective.subset(slice(0, 200))
    assert isinstance(sample, FilterObjective)
    result = descend(problem.objective, starts, sample)
    assert result.sign == -1.0
    np.testing.assert_allclose(result.w, problem.teacher, rtol=1e-8)


def test_stopped_search_ends_with_the_best_so_far(noisy_search):
    seen = []
    noisy_search(callback=seen.append)
    # The first start alone, later ones, and the best on all samples.
    for n_iterations in (2, len(seen) - 12, len(seen) - 1):
        told = []

        def callback(snapshot, told=told, n_iterations=n_iterations):
            told.append(snapshot.leader)
            return len(told) == n_iterations

        objective, _, result = noisy_search(callback=callback)
        assert len(told) == n_iterations
        assert result.status is Status.STOPPED
        arguments = result.w[:, np.newaxis], result.sign[np.newaxis]
        evaluation = objective.value(*arguments)
        assert result.loss == pytest.approx(evaluation.loss[0])
        assert result.intercept == pytest.approx(evaluation.intercept[0])
        leader = objective.value(told[-1].w[:, np.newaxis], told[-1].sign[np.newaxis])
        assert result.loss <= leader.loss[0] * (1 + 1e-9)


def test_callback_is_told_of_the_best_of_all_starts(noisy_search):
    seen = []
    noisy_search(callback=seen.append)
    scores = np.array([snapshot.leader.score for snapshot in seen])
    # Scores rise only where all samples take the place of some.
    assert np.count_nonzero(np.diff(scores) > 0) <= 1
