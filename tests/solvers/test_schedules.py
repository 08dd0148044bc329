import numpy as np
import pytest

from skconvfilter.solvers.schedules import Constant, TwoStage


def test_constant_rate_is_the_same_at_every_step():
    schedule = Constant(0.3)
    losses = np.array([[4.0, 4.0], [2.0, 4.0]])
    assert [schedule(step, losses) for step in (0, 1, 1000)] == [0.3] * 3


@pytest.mark.parametrize(("n_epochs", "rate"), [(0, 0.1), (2, 0.1), (3, 0.4), (7, 0.4)])
def test_fixed_switch_comes_after_that_many_epochs(n_epochs, rate):
    losses = np.ones((n_epochs + 1, 2))
    schedule = TwoStage(0.1, 0.4, switch=3)
    np.testing.assert_array_equal(schedule(0, losses), [rate, rate])


def test_automatic_switch_is_for_each_restart_by_itself():
    halving, stalling = 0.5 ** np.arange(5), np.ones(5)
    late = np.array([1, 0.5, 0.25, 0.249, 0.248])
    rising = np.array([1, 0.5, 0.25, 0.3, 0.1])
    losses = np.array([halving, stalling, late, rising]).T
    schedule = TwoStage(0.1, 0.4)
    second = [schedule.in_second_stage(losses[: 1 + n]).tolist() for n in range(5)]
    assert second == [
        [False, False, False, False],
        [False, True, False, False],
        [False, True, False, False],
        [False, True, True, True],
        [False, True, True, True],  # for good, though the last one falls again
    ]
    np.testing.assert_array_equal(schedule(9, losses), [0.1, 0.4, 0.4, 0.4])


@pytest.mark.parametrize("unit", [1e-150, 1e150])
def test_automatic_switch_does_not_depend_on_the_unit_of_the_loss(unit):
    losses = np.array([[1.0, 1.0], [0.5, 0.99]])
    second = TwoStage(0.1, 0.4).in_second_stage(unit * losses)
    assert second.tolist() == [False, True]
