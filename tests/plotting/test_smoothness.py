import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skconvfilter.diagnostics import smoothness
from skconvfilter.plotting import SmoothnessDisplay

ANGLES = [0.4, 0.8, 1.5]


@pytest.fixture(scope="module")
def result():
    X = np.random.default_rng(0).standard_normal((4000, 1, 3))
    return smoothness(X, [1.0, 0.5, 0.0], ANGLES, random_state=0)


@pytest.mark.parametrize("quantities", [("gamma", "L"), ("cross", "disagreement")])
def test_lines_are_the_held_out_values(result, quantities, is_drawn):
    display = SmoothnessDisplay(result=result).plot(quantities=quantities)
    assert tuple(display.lines_) == quantities
    for name, line in display.lines_.items():
        values = getattr(result, name).value
        assert_array_equal(line.get_xdata(), np.degrees(ANGLES))
        assert_array_equal(line.get_ydata(), np.where(values > 0, values, np.nan))
    assert display.ax_.get_yscale() == "log"
    assert display.figure_ is display.ax_.figure
    assert "degrees" in display.ax_.get_xlabel()
    assert len(display.ax_.get_legend().get_texts()) == len(quantities)
    assert is_drawn(display.figure_)


def test_bounds_without_search_are_dashed(result):
    display = SmoothnessDisplay(result=result).plot()
    dashed = [line for line in display.ax_.lines if line.get_linestyle() == "--"]
    assert_array_equal(dashed[0].get_ydata(), result.gamma.certified)
    assert_array_equal(dashed[1].get_ydata(), result.L.certified)


def test_samples_are_estimated_with_the_options_given(result):
    X = np.random.default_rng(0).standard_normal((4000, 1, 3))
    teacher = np.array([1.0, 0.5, 0.0])
    display = SmoothnessDisplay.from_samples(
        X, teacher, ANGLES, random_state=0, line_kw={"color": "k"}
    )
    assert_array_equal(display.result.gamma.value, result.gamma.value)
    assert display.lines_["gamma"].get_color() == "k"


def test_axes_given_are_drawn_on(result):
    _, ax = plt.subplots()
    assert SmoothnessDisplay(result=result).plot(ax).ax_ is ax


@pytest.mark.parametrize("quantities", [(), ("beta",), ("gamma", "mu")])
def test_quantities_of_other_names_are_refused(result, quantities):
    with pytest.raises(ValueError, match="quantities must be some of"):
        SmoothnessDisplay(result=result).plot(quantities=quantities)
