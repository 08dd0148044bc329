"""Starts one after another: how many run, which continue, and which wins."""

import numpy as np
import pytest

from skconvfilter.solvers.multistart import Candidates
from tests.solvers.problems import (
    FLOOR,
    N_FILTERS,
    PATCH_DIM,
    bank_problem,
    candidates,
    one_by_one,
    random_banks,
    stand_one_by_one,
)


def test_dead_starts_do_not_agree_and_are_drawn_again():
    problem = bank_problem(n=300)
    objective, n_parameters = problem.objective, N_FILTERS * PATCH_DIM
    starts = candidates(*np.zeros((6, n_parameters)), n_filters=N_FILTERS)
    redrawn = []

    def redraw(restart):
        redrawn.append(restart)
        return problem.teacher + 0.1 if restart == 4 else np.zeros(n_parameters)

    dead = one_by_one(objective, starts)
    # None of them is the lowest minimum, however many agree.
    assert np.isfinite(dead.restart_losses).all()
    result = one_by_one(objective, starts, redraw=redraw)
    assert redrawn == [0, 1, 2, 3, 4, 5]
    assert result.best_restart == 4
    assert result.loss == pytest.approx(0, abs=1e-20)


# With noise, starts run one and then three at a time.
@pytest.mark.parametrize(("noise", "n_run"), [(0.5, 4), (0.0, 6)])
def test_more_starts_agree_where_there_is_hardly_noise(noise, n_run):
    problem = bank_problem()
    objective, w = problem.objective, problem.teacher
    rng = np.random.default_rng(0)
    objective.targets = objective.targets + rng.normal(0, noise, objective.n_samples)
    starts = candidates(*[1.01 * w] * 8, n_filters=N_FILTERS)
    _, result = stand_one_by_one(objective, starts)
    assert np.isfinite(result.restart_losses).sum() == n_run


def test_rounding_does_not_keep_a_start_from_being_exact():
    problem = bank_problem()
    nearly = (1 + 1e-13) * problem.teacher
    starts = candidates(*[nearly] * 8, n_filters=N_FILTERS)
    loss = problem.objective.value(nearly[:, np.newaxis], starts.signs[:1]).loss[0]
    assert FLOOR < loss < 1e-22 * problem.power
    _, result = stand_one_by_one(problem.objective, starts)
    assert np.isfinite(result.restart_losses).sum() == 1


FURTHER = [(1, False), *[(1, True)] * 4]


@pytest.mark.parametrize(("factor", "groups"), [(1.06, FURTHER), (1.5, FURTHER[:1])])
def test_more_starts_follow_where_data_may_be_without_noise(factor, groups):
    problem, drawn = bank_problem(), []
    objective, w = problem.objective, problem.teacher
    starts = candidates(*([factor * w] + [2 * w] * 5), n_filters=N_FILTERS)
    share = objective.value(factor * w[:, None], starts.signs[:1]).loss[0] / problem.power
    # No start fits better than the first, whose loss a third further one would need lower.
    assert 0.003 < 2 * share < 0.006 if factor == 1.06 else 2 * share > 0.015

    def draw(restarts, nearly_exact, callback):
        drawn.append((len(restarts), nearly_exact))
        return starts.take(restarts)

    stand_one_by_one(objective, starts, n_if_noisy=3 if factor == 1.06 else 1, draw=draw)
    assert drawn == groups


def swapped(bank):
    """The same bank with its filters in the other order."""
    return bank.reshape(N_FILTERS, PATCH_DIM)[::-1].ravel()


FIRST, SECOND, THIRD = (300, 1), (300, 3), (300, 2)


@pytest.mark.parametrize(
    ("noise", "factors", "runs", "best"),
    [
        # A start that fits is the last: the first runs alone, then three together.
        (0.0, [1, 1, 2, 1, 1], [FIRST], 0),
        (0.0, [2, 3, 4, 1, 5, 1], [FIRST, SECOND], 3),
        # Three starts of the same lowest loss end the search, ...
        (0.3, [1, 2, -1.0004, 1, 3, 4], [FIRST, SECOND], 2),
        # ... but not fewer, nor those whose loss is not the lowest.
        (0.3, [1, -1, 2, 3, 4, 9], [FIRST, SECOND, THIRD], 0),
        (0.3, [2, -2, 1, 2, 4, 5], [FIRST, SECOND, THIRD], 2),
        # Where nothing is settled all are used up.
        (0.3, [2], [FIRST], 0),
        (0.3, [3, 2], [FIRST, FIRST], 1),
        (0.3, [2, 3, 4, 5, 6, 7, 8], [FIRST, SECOND, SECOND], 0),
    ],
)
def test_sequence_ends_once_the_lowest_loss_is_found(noise, factors, runs, best):
    problem = bank_problem(noise=noise)
    w = problem.teacher
    # Negative factors are those of the bank with its filters in the other order.
    banks = [f * w if f > 0 else -f * swapped(w) for f in factors]
    starts = candidates(*banks, n_filters=N_FILTERS)
    found, result = stand_one_by_one(problem.objective, starts)
    assert found == runs
    losses = problem.objective.value(starts.W, starts.signs).loss
    n_run = sum(size for _, size in runs)
    np.testing.assert_allclose(result.restart_losses[:n_run], losses[:n_run])
    assert np.isnan(result.restart_losses[n_run:]).all()
    assert result.loss == pytest.approx(losses[:n_run].min())
    assert result.best_restart == best


@pytest.mark.parametrize(
    ("noise", "factors", "n_final", "best"),
    [
        (0.3, [2, 3, 4, 5, 6], 2, 0),  # nothing is settled: the two best continue
        (0.3, [2, 1, 1, 3, 1.5], 2, 1),  # each bank once
        (0.0, [2, 3, 1, 4], 1, 2),  # one fits, and continues alone
    ],
)
def test_starts_are_compared_on_the_subsample_and_the_best_continue(
    noise, factors, n_final, best
):
    problem = bank_problem(n=1000, noise=noise)
    sample = problem.objective.subset(slice(0, 200))
    starts = candidates(*(f * problem.teacher for f in factors), n_filters=N_FILTERS)
    runs, result = stand_one_by_one(problem.objective, starts, sample)
    assert runs[0] == (200, 1)
    assert runs[-1] == (1000, n_final)
    assert result.best_restart == best
    losses = problem.objective.value(starts.W, starts.signs).loss
    np.testing.assert_allclose(result.restart_losses, losses)


def test_start_that_only_the_subsample_prefers_loses():
    problem = bank_problem(n=1000, noise=0.3)
    few, w = problem.objective.subset(slice(0, 12)), problem.teacher
    fitted = one_by_one(few, candidates(w, n_filters=N_FILTERS)).w
    starts = candidates(fitted, w, n_filters=N_FILTERS)
    assert few.value(starts.W, starts.signs).loss.argmin() == 0
    assert stand_one_by_one(problem.objective, starts, few)[1].best_restart == 1


@pytest.mark.parametrize("signs", [(1.0, 1.0), (1.0, -1.0)])
def test_sequence_recovers_the_bank_and_its_signs(signs):
    problem = bank_problem(signs=signs)
    starts = random_banks(10)
    all_signs = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0], [-1.0, 1.0]])
    starts = Candidates(starts.W, np.tile(all_signs, (3, 1))[:10], starts.restarts)
    result = one_by_one(problem.objective, starts)
    assert result.loss < 1e-20 * problem.power
    # The signs and the filters of the winner belong together.
    np.testing.assert_array_equal(result.sign, starts.signs[result.best_restart])
    found = np.column_stack([result.w.reshape(N_FILTERS, PATCH_DIM), result.sign])
    teacher = np.column_stack([problem.teacher.reshape(N_FILTERS, PATCH_DIM), signs])
    errors = [np.abs(found[order] - teacher).max() for order in ([0, 1], [1, 0])]
    assert min(errors) < 1e-9
