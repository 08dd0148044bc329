"""The start of long filters: near the teacher, of its sign, and alive."""

import numpy as np
import pytest

from skconvfilter.initializers.linear_start import linear_start
from tests.solvers.problems import gaussian_problem

BOTH = np.array([1.0, -1.0])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_regression_finds_direction_and_sign_of_a_long_filter(sign):
    problem = gaussian_problem(n=1000, k=1, p=60, sign=sign)
    w, found = linear_start(problem.objective, BOTH)
    assert found == sign
    teacher = problem.teacher
    assert w @ teacher > 0.9 * np.linalg.norm(w) * np.linalg.norm(teacher)
    start = problem.objective.value(w[:, np.newaxis], np.array([found]))
    assert start.loss[0] < 0.3 * problem.objective.constant_loss(BOTH)


def test_only_allowed_signs_are_taken():
    problem = gaussian_problem(n=200, k=1, p=5, sign=-1.0)
    assert linear_start(problem.objective, BOTH[:1])[1] == 1.0


def test_fewer_samples_than_entries_are_regularised():
    problem = gaussian_problem(n=50, k=1, p=60, noise=0.1)
    w, _ = linear_start(problem.objective, BOTH)
    assert np.isfinite(w).all()
    assert w.any()


def test_targets_that_do_not_vary_give_no_start():
    problem = gaussian_problem(n=50, k=2, p=5)
    objective = problem.objective
    objective.targets = np.zeros(50)
    assert not linear_start(objective, BOTH)[0].any()
