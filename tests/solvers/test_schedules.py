import numpy as np
import pytest

from skconvfilter.solvers.schedules import Constant, Running, TheorySteps, TwoStage


def running(losses):
    """Restarts of which only the losses matter."""
    return Running(losses, np.zeros((1, losses.shape[1])), np.ones(losses.shape[1]))


def test_constant_rate_is_the_same_at_every_step():
    schedule = Constant(0.3)
    present = running(np.array([[4.0, 4.0], [2.0, 4.0]]))
    assert [schedule(step, present) for step in (0, 1, 1000)] == [0.3] * 3
    assert schedule.stages(present).tolist() == ["stage 1", "stage 1"]


@pytest.mark.parametrize(("n_epochs", "rate"), [(0, 0.1), (2, 0.1), (3, 0.4), (7, 0.4)])
def test_fixed_switch_comes_after_that_many_epochs(n_epochs, rate):
    present = running(np.ones((n_epochs + 1, 2)))
    schedule = TwoStage(0.1, 0.4, switch=3)
    np.testing.assert_array_equal(schedule(0, present), [rate, rate])
    assert set(schedule.stages(present)) == {"stage 1" if rate == 0.1 else "stage 2"}


@pytest.mark.parametrize("unit", [1e-30, 1.0])
def test_automatic_switch_is_for_each_restart_separately(unit):
    halving, stalling = 0.5 ** np.arange(5), np.ones(5)
    late = np.array([1, 0.5, 0.25, 0.249, 0.248])
    rising = np.array([1, 0.5, 0.25, 0.3, 0.1])
    losses = unit * np.array([halving, stalling, late, rising]).T
    schedule = TwoStage(0.1, 0.4)
    second = [schedule.in_second_stage(losses[: 1 + n]).tolist() for n in range(5)]
    assert second == [
        [False, False, False, False],
        [False, True, False, False],
        [False, True, False, False],
        [False, True, True, True],
        [False, True, True, True],  # for good, though the last one falls again
    ]
    np.testing.assert_array_equal(schedule(9, running(losses)), [0.1, 0.4, 0.4, 0.4])


def test_theory_steps_are_those_of_the_next_larger_angle():
    teacher, angles = np.array([3.0, 4.0]), np.array([0.0, 0.5, 1.0])
    rates = np.array([0.4, 0.2, np.nan])
    sines = np.sin([0.3, 0.5, 0.9, 1.2])
    distances = np.concatenate([[0.0], sines, [2.0, 0.0]])
    W = teacher[:, np.newaxis] + 5 * distances * np.array([[0.6], [-0.8]])
    present = Running(np.ones((1, 7)), W, np.array([1.0] * 6 + [-1.0]))
    # The theorem does not apply where its condition fails, beyond the angles, beyond 0, and
    # for the other sign.
    expected = [0.4, 0.2, 0.2, 0.3, 0.3, 0.3, 0.3]
    steps = TheorySteps(teacher, 1.0, angles, rates, otherwise=0.3, batches=False)
    np.testing.assert_array_equal(steps(0, present), expected)
    assert steps.stages(present).tolist() == ["theory"] * 3 + ["stage 1"] * 4
    batches = TheorySteps(teacher, 1.0, angles, rates, otherwise=0.3, batches=True)
    np.testing.assert_array_equal(batches(0, present), np.minimum(expected, 0.3))
