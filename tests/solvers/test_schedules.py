import numpy as np
import pytest

from skconvfilter.solvers.schedules import Constant, Running, TheorySteps, TwoStage


def running(losses):
    """Restarts of which only the losses matter."""
    return Running(losses, np.zeros((1, losses.shape[1])), np.ones(losses.shape[1]))


def test_constant_rate_is_the_same_at_every_step():
    schedule = Constant(0.3)
    here = running(np.array([[4.0, 4.0], [2.0, 4.0]]))
    assert [schedule(step, here) for step in (0, 1, 1000)] == [0.3] * 3
    assert schedule.stages(here).tolist() == ["stage 1", "stage 1"]


@pytest.mark.parametrize(("n_epochs", "rate"), [(0, 0.1), (2, 0.1), (3, 0.4), (7, 0.4)])
def test_fixed_switch_comes_after_that_many_epochs(n_epochs, rate):
    here = running(np.ones((n_epochs + 1, 2)))
    schedule = TwoStage(0.1, 0.4, switch=3)
    np.testing.assert_array_equal(schedule(0, here), [rate, rate])
    assert set(schedule.stages(here)) == {"stage 1" if rate == 0.1 else "stage 2"}


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
    np.testing.assert_array_equal(schedule(9, running(losses)), [0.1, 0.4, 0.4, 0.4])


@pytest.mark.parametrize("unit", [1e-150, 1e150])
def test_automatic_switch_does_not_depend_on_the_unit_of_the_loss(unit):
    losses = np.array([[1.0, 1.0], [0.5, 0.99]])
    second = TwoStage(0.1, 0.4).in_second_stage(unit * losses)
    assert second.tolist() == [False, True]


def test_theory_steps_are_those_of_the_next_larger_angle():
    teacher = np.array([3.0, 4.0])
    angles = np.array([0.0, 0.5, 1.0])
    distances = np.array(
        [0.0, np.sin(0.3), np.sin(0.5), np.sin(0.9), np.sin(1.2), 2.0, 0.0]
    )
    W = teacher[:, np.newaxis] + 5 * distances * np.array([[0.6], [-0.8]])
    here = Running(np.ones((1, 7)), W, np.array([1.0] * 6 + [-1.0]))
    rates = np.array([0.4, 0.2, np.nan])
    steps = TheorySteps(teacher, 1.0, angles, rates, otherwise=0.3, batches=False)
    # Silent where the condition fails, beyond the angles, beyond 0, and for the other sign.
    expected = [0.4, 0.2, 0.2, 0.3, 0.3, 0.3, 0.3]
    np.testing.assert_array_equal(steps(0, here), expected)
    assert steps.stages(here).tolist() == ["theory"] * 3 + ["stage 1"] * 4
    batches = TheorySteps(teacher, 1.0, angles, rates, otherwise=0.3, batches=True)
    np.testing.assert_array_equal(batches(0, here), np.minimum(expected, 0.3))
