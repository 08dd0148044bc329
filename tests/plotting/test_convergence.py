import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.exceptions import NotFittedError

from skconvfilter.plotting import ConvergenceDisplay

STAGES = ["start"] + ["stage 1"] * 3 + ["stage 2"] * 6 + ["polish"] * 5


@pytest.fixture
def history():
    """Three restarts: one dropped in stage two, one in the polish; number 1 wins."""
    rates = np.array([0.8, 0.5, 0.7])
    losses = rates ** np.arange(len(STAGES))[:, np.newaxis]
    stage = np.column_stack([STAGES] * 3)
    losses[6:, 0], stage[6:, 0] = np.nan, ""
    losses[12:, 2], stage[12:, 2] = np.nan, ""
    return {
        "iteration": np.arange(len(STAGES)),
        "relative_loss": losses,
        "stage": stage,
    }


@pytest.fixture
def display(history):
    return ConvergenceDisplay(**history, best_restart=1)


def display_of(losses, stage="stage 1"):
    losses = np.array(losses, dtype=float)
    return ConvergenceDisplay(
        iteration=np.arange(len(losses)),
        relative_loss=losses,
        stage=np.full(losses.shape, stage),
        best_restart=0,
    )


def legend_of(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def test_lines_are_the_history(history, fitted, is_drawn):
    model = fitted(history_=history, best_restart_=1)
    display = ConvergenceDisplay.from_estimator(model)
    assert len(display.lines_) == 3
    for restart, n_ran in enumerate([6, 15, 12]):
        line = display.lines_[restart]
        assert_array_equal(line.get_xdata(), np.arange(n_ran))
        expected = history["relative_loss"][:n_ran, restart]
        assert_array_equal(line.get_ydata(), expected)
    assert display.ax_.get_yscale() == "log"
    assert display.figure_ is display.ax_.figure
    assert is_drawn(display.figure_)


def test_best_restart_stands_out(display):
    best, *others = [display.plot().lines_[restart] for restart in (1, 0, 2)]
    for line in others:
        assert best.get_linewidth() > line.get_linewidth()
        assert best.get_zorder() > line.get_zorder()
        assert best.get_color() != line.get_color()


def test_legend_explains_the_lines_and_marks(display):
    assert legend_of(display.plot()) == [
        "best restart (number 1)",
        "other restarts",
        "stage two begins",
        "polish begins",
    ]


def test_marks_lie_where_the_stages_of_the_best_restart_begin(display, history):
    losses = history["relative_loss"][:, 1]
    marks = display.plot().marks_
    assert list(marks) == ["stage two", "polish"]
    for label, first in [("stage two", 4), ("polish", 10)]:
        assert_array_equal(marks[label].get_xydata(), [[first, losses[first]]])


def test_marks_are_of_the_best_restart_alone(history):
    stage = history["stage"]
    stage[:, 1] = ["start"] + ["stage 1"] * (len(stage) - 1)
    display = ConvergenceDisplay(**history, best_restart=1).plot()
    assert display.marks_ == {}
    assert legend_of(display) == ["best restart (number 1)", "other restarts"]


@pytest.mark.parametrize(
    ("stages", "unit"),
    [
        (["start", "stage 1", "polish"], " (epochs, then Levenberg-Marquardt steps)"),
        (["start", "stage 1", "stage 2"], " (epochs)"),
        (["start", "theory", "theory"], " (epochs)"),
        (["start", "polish", "polish"], " (Levenberg-Marquardt steps)"),
        (["start"], ""),
    ],
)
def test_axis_says_what_an_iteration_is(stages, unit):
    display = ConvergenceDisplay(
        iteration=range(len(stages)),
        relative_loss=[[1.0]] * len(stages),
        stage=[[stage] for stage in stages],
        best_restart=0,
    ).plot()
    assert display.ax_.get_xlabel() == f"iteration{unit}"
    assert display.ax_.get_ylabel().startswith("relative loss")
    assert legend_of(display)[0] == "best restart (number 0)"


def test_given_axes_are_used(display, fitted, history):
    _, axes = plt.subplots(2)
    display.plot(axes[1])
    assert display.ax_ is axes[1]
    model = fitted(history_=history, best_restart_=1)
    assert ConvergenceDisplay.from_estimator(model, ax=axes[0]).ax_ is axes[0]
    assert len(plt.get_fignums()) == 1


def test_styles_can_be_chosen_by_long_and_short_names(history, fitted):
    model = fitted(history_=history, best_restart_=1)
    display = ConvergenceDisplay.from_estimator(
        model,
        restart_kw={"c": "green", "lw": 3, "label": "losers"},
        best_kw={"color": "red", "marker": "none", "label": "winner"},
        mark_kw={"ms": 11},
    )
    assert [line.get_color() for line in display.lines_] == ["green", "red", "green"]
    assert display.lines_[0].get_linewidth() == 3
    assert display.marks_["polish"].get_markersize() == 11
    assert display.marks_["polish"].get_color() == "red"
    assert legend_of(display)[:2] == ["winner", "losers"]


def test_zero_and_tiny_losses_lie_at_the_floor(is_drawn):
    display = display_of([[1.0, 1.0], [0.0, 1e-40], [0.0, 1e-32]], "polish").plot()
    for line in display.lines_:
        assert_array_equal(line.get_ydata(), [1, 1e-32, 1e-32])
    assert is_drawn(display.figure_)


@pytest.mark.parametrize(
    "losses",
    [
        [[0.0, 0.0]] * 3,
        [[np.nan], [np.nan]],
        [[np.inf], [np.nan]],
        [[1.0, 2.0], [np.nan, np.nan], [0.1, np.inf]],
    ],
)
def test_odd_histories_are_drawn(losses, is_drawn):
    display = display_of(losses, "stage 2").plot()
    assert len(display.lines_) == len(losses[0])
    assert is_drawn(display.figure_)


def test_single_iteration_is_seen_as_a_dot_at_an_integer(is_drawn):
    display = display_of([[1.0, 0.5]]).plot()
    assert is_drawn(display.figure_)
    ticks = display.ax_.get_xticks()
    assert 0 in ticks
    assert_array_equal(ticks, np.round(ticks))
    for line in display.lines_:
        assert line.get_marker() == "."
        assert len(line.get_xdata()[line.get_markevery()]) == 1


def test_diverging_restarts_leave_the_picture(is_drawn):
    display = display_of([[1.0, 2.0], [0.1, 1e300], [0.01, np.inf]]).plot()
    assert display.ax_.get_ylim()[1] == 200
    assert display.ax_.get_ylim()[0] < 0.01
    assert is_drawn(display.figure_)


def test_shapes_that_disagree_are_refused(history):
    losses, stage = history["relative_loss"], history["stage"]
    numbers = history["iteration"]
    for iteration, loss, name in [
        (numbers, losses[:, 0], "relative_loss and stage"),
        (numbers, losses[1:], "relative_loss and stage"),
        (numbers[1:], losses, "iteration"),
    ]:
        display = ConvergenceDisplay(
            iteration=iteration, relative_loss=loss, stage=stage, best_restart=0
        )
        with pytest.raises(ValueError, match=f"{name} must have"):
            display.plot()
    assert plt.get_fignums() == []


def test_estimator_must_be_fitted(fitted):
    with pytest.raises(NotFittedError, match="FittedStandIn instance has no history_"):
        ConvergenceDisplay.from_estimator(type(fitted())())
