import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skconvfilter import ConvPatchExtractor, ConvReLUFilterRegressor
from skconvfilter.diagnostics import interpolation
from skconvfilter.plotting import InterpolationDisplay

WINDOW = {"kernel_size": 3, "input_shape": (6, 7), "padding": 1}
GIVEN = {"estimator": ConvPatchExtractor(**WINDOW)}


@pytest.fixture
def problem():
    """Samples and two filters."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(20, 42)), *rng.normal(size=(2, 3, 3))


def display_of(losses):
    return InterpolationDisplay(
        alpha=np.linspace(0, 1, len(losses)), relative_loss=losses
    ).plot()


def test_line_is_the_interpolation(problem, is_drawn):
    display = InterpolationDisplay.from_filters(*problem, n_points=12, **GIVEN)
    expected = interpolation(*problem, n_points=12, **GIVEN)
    assert_array_equal(display.alpha, expected.alpha)
    assert_array_equal(display.relative_loss, expected.relative_loss)
    assert_array_equal(display.line_.get_xdata(), expected.alpha)
    assert_array_equal(display.line_.get_ydata()[1:], expected.relative_loss[1:])
    assert display.ax_.get_yscale() == "log"
    assert display.line_.axes is display.ax_
    assert display.figure_ is display.ax_.figure
    assert display.ax_.get_ylabel().startswith("relative loss")
    assert "first filter" in display.ax_.get_xlabel()
    assert display.ax_.get_legend() is None
    assert is_drawn(display.figure_)


def test_fitted_estimator_is_drawn(problem):
    X, first, second = problem
    model = ConvReLUFilterRegressor(**WINDOW)
    model.coef_ = first.ravel()
    display = InterpolationDisplay.from_filters(X, model, second)
    expected = interpolation(X, first, second, **GIVEN)
    assert_array_equal(display.relative_loss, expected.relative_loss)


@pytest.mark.parametrize("margin", [0.0, 0.4])
def test_filters_are_marked_where_the_line_goes_on(margin, problem):
    display = InterpolationDisplay.from_filters(*problem, margin=margin, **GIVEN)
    x = display.line_.get_xdata()
    assert (x[0], x[-1]) == pytest.approx((-margin, 1 + margin))
    marks = [line for line in display.ax_.lines if line is not display.line_]
    expected = [[0, 0], [1, 1]] if margin else []
    assert [list(mark.get_xdata()) for mark in marks] == expected


def test_zero_is_drawn_a_decade_below_the_others(is_drawn):
    display = display_of([0.0, 1e-40, 1e-6, 1e-3])
    np.testing.assert_allclose(display.line_.get_ydata(), [1e-7, 1e-7, 1e-6, 1e-3])
    low, high = display.ax_.get_ylim()
    assert 1e-8 < low < 1e-7
    assert 1e-3 < high < 1e-2
    assert is_drawn(display.figure_)


@pytest.mark.parametrize("losses", [[0.0, 0.0, 0.0], [0.0, 1e-31, 1e-33]])
def test_losses_that_are_all_zero_lie_at_the_floor(losses, is_drawn):
    display = display_of(losses)
    assert_array_equal(display.line_.get_ydata(), [1e-30] * 3)
    assert is_drawn(display.figure_)


@pytest.mark.parametrize("losses", [[0.0, np.nan, 1.0], [np.nan] * 3, [0.0, np.inf], [1.0]])
def test_odd_losses_are_drawn(losses, is_drawn):
    assert is_drawn(display_of(losses).figure_)


def test_given_axes_are_used(problem):
    _, axes = plt.subplots(2)
    display = InterpolationDisplay.from_filters(*problem, ax=axes[0], **GIVEN)
    assert display.ax_ is axes[0]
    assert display.plot(axes[1]).ax_ is axes[1]
    assert len(plt.get_fignums()) == 1


def test_style_can_be_chosen_and_a_label_makes_a_legend(problem):
    style = {"c": "red", "lw": 3, "label": "teacher 0"}
    display = InterpolationDisplay.from_filters(*problem, line_kw=style, **GIVEN)
    assert display.line_.get_color() == "red"
    assert display.line_.get_linewidth() == 3
    (text,) = display.ax_.get_legend().get_texts()
    assert text.get_text() == "teacher 0"


@pytest.mark.parametrize(
    ("alpha", "losses"), [([0, 1], [0.1]), ([[0, 1]], [[0.1, 0.2]]), (0.0, 0.1)]
)
def test_shapes_that_disagree_are_refused(alpha, losses):
    display = InterpolationDisplay(alpha=alpha, relative_loss=losses)
    with pytest.raises(ValueError, match="alpha and relative_loss must have the same"):
        display.plot()
    assert plt.get_fignums() == []


def test_dead_teacher_is_refused(problem):
    X, first, second = problem
    with pytest.raises(ValueError, match="second has the value zero"):
        InterpolationDisplay.from_filters(np.abs(X), first, -np.abs(second), **GIVEN)
    assert plt.get_fignums() == []
