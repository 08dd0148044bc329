"""A second draw of the starts of one filter, where the data may be without noise."""

import numpy as np
import pytest

from skconvfilter.solvers.driver import Stopping
from skconvfilter.solvers.multistart import Candidates
from skconvfilter.solvers.search import explore_and_polish
from tests.solvers.problems import FLOOR, digits_problem


def explore(objective, starts, redraw):
    return explore_and_polish(
        objective,
        objective,
        starts,
        None,
        Stopping(100, 1e-4, 5, FLOOR),
        max_polish=100,
        rng=np.random.default_rng(0),
        redraw=redraw,
    )


@pytest.mark.parametrize(
    ("noise", "redrawn"), [(0.0, []), (0.05, [0, 1]), (0.3, [])], ids=str
)
def test_starts_are_drawn_again_where_there_is_little_noise(noise, redrawn):
    problem = digits_problem(n=500, noise=noise)
    near = np.column_stack([problem.teacher, 1.1 * problem.teacher])
    calls = []

    def redraw(restart):
        calls.append(restart)
        return near[:, restart]

    explore(problem.objective, Candidates(near, np.ones(2), np.arange(2)), redraw)
    assert calls == redrawn


@pytest.mark.parametrize("factor", [1.0, -1.0])
def test_a_second_draw_changes_nothing_but_for_the_better(factor):
    problem = digits_problem(n=500, noise=0.05)
    near = np.column_stack([problem.teacher, 1.1 * problem.teacher])
    starts = Candidates(near, np.ones(2), np.arange(2))
    alone = explore(problem.objective, starts, None)
    twice = explore(problem.objective, starts, lambda restart: factor * near[:, restart])
    assert twice.loss <= (1 + 1e-9) * alone.loss
    np.testing.assert_allclose(twice.w, alone.w, rtol=1e-6)
