import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_bank_regression, make_filter_regression
from skconvfilter.diagnostics import inference
from skconvfilter.plotting import FilterDisplay


def random_filters(*shape):
    return np.random.default_rng(0).normal(size=shape)


def titles_of(display):
    return [ax.get_title() for ax in display.axes_.flat if ax is not None]


def test_true_filter_is_drawn_beside_the_learned_one(fitted, is_drawn):
    teacher, learned = random_filters(2, 5, 5)
    display = FilterDisplay.from_estimator(fitted(filter_=learned), teacher=teacher)
    assert display.axes_.shape == (1, 2)
    assert_array_equal(display.images_[0].get_array(), teacher)
    assert_array_equal(display.images_[1].get_array(), learned)
    assert is_drawn(display.figure_)
    for panel in display.axes_.flat:
        assert panel.get_figure() is display.figure_
        assert len(panel.get_xticks()) == len(panel.get_yticks()) == 0


@pytest.mark.parametrize("shape", [(25,), (5, 5)])
def test_teacher_may_have_any_shape_of_that_size(shape, fitted):
    teacher, learned = random_filters(2, 5, 5)
    display = FilterDisplay.from_estimator(
        fitted(filter_=learned), teacher=teacher.reshape(shape).tolist()
    )
    assert_array_equal(display.images_[0].get_array(), teacher)


def test_last_step_of_a_pipeline_is_drawn(fitted):
    learned = random_filters(4)
    pipeline = make_pipeline(StandardScaler(), fitted(filter_=learned))
    display = FilterDisplay.from_estimator(pipeline)
    assert_array_equal(display.lines_[0].get_ydata(), learned)


def test_filters_of_a_bank_are_drawn(fitted, is_drawn):
    bank = random_filters(3, 5, 5)
    display = FilterDisplay.from_estimator(fitted(filters_=bank))
    assert titles_of(display) == ["learned 0", "learned 1", "learned 2"]
    for image, kernel in zip(display.images_, bank, strict=True):
        assert_array_equal(image.get_array(), kernel)
    assert is_drawn(display.figure_)


@pytest.mark.parametrize("flat", [False, True])
def test_true_filters_of_a_bank_are_followed_by_their_match(flat, fitted, is_drawn):
    teacher = random_filters(3, 5, 5)
    order = [1, 2, 0]
    bank = 2 * teacher[order]
    given = teacher.reshape(3, -1) if flat else teacher
    display = FilterDisplay.from_estimator(fitted(filters_=bank), teacher=given)
    for number, kernel in enumerate(teacher):
        assert_array_equal(display.images_[2 * number].get_array(), kernel)
        assert_array_equal(display.images_[2 * number + 1].get_array(), 2 * kernel)
    assert titles_of(display) == [
        *("true 0", "learned 2 (0.0°)"),
        *("true 1", "learned 0 (0.0°)"),
        *("true 2", "learned 1 (0.0°)"),
    ]
    assert is_drawn(display.figure_)


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((1, 3, 3), (1, 2)),
        ((5, 3, 3), (2, 6)),
        ((10, 3), (3, 8)),
        ((2, 3, 3, 3), (4, 3)),
    ],
)
def test_rows_part_no_pair_of_true_and_learned(shape, grid, fitted):
    bank = random_filters(*shape)
    display = FilterDisplay.from_estimator(fitted(filters_=bank), teacher=bank)
    assert display.axes_.shape == grid


def test_columns_of_a_bank_can_be_chosen(fitted):
    bank = random_filters(4, 3, 3)
    display = FilterDisplay.from_estimator(fitted(filters_=bank), teacher=bank, n_cols=2)
    assert display.axes_.shape == (4, 2)
    _, axes = plt.subplots(2, 4)
    display = FilterDisplay.from_estimator(fitted(filters_=bank), teacher=bank, axes=axes)
    assert_array_equal(display.axes_, axes)


def test_bank_with_channels_and_a_single_filter(fitted, is_drawn):
    bank = random_filters(1, 4, 5, 2)
    display = FilterDisplay.from_estimator(fitted(filters_=bank), teacher=bank)
    assert [ax.get_ylabel() for ax in display.axes_[:, 0]] == ["true 0", "learned 0 (0.0°)"]
    assert is_drawn(display.figure_)


def test_teacher_of_a_bank_must_have_as_many_filters(fitted):
    model = fitted(filters_=random_filters(3, 5, 5))
    for shape in [(2, 5, 5), (5, 3, 5), (75,)]:
        with pytest.raises(ValueError, match=r"teacher must have the shape \(3, 5, 5\)"):
            FilterDisplay.from_estimator(model, teacher=np.ones(shape))
    assert plt.get_fignums() == []


@pytest.mark.parametrize("degrees", [0.0, 0.3, 30.0, 90.0, 179.5, 180.0])
def test_title_tells_the_angle(degrees, fitted):
    angle = np.radians(degrees)
    learned = 3 * np.array([np.cos(angle), np.sin(angle)])
    display = FilterDisplay.from_estimator(fitted(filter_=learned), teacher=[2, 0])
    assert titles_of(display) == ["true", f"learned ({degrees}°)"]


def test_zero_filter_has_no_angle(fitted, is_drawn):
    model = fitted(filter_=np.zeros((3, 3)))
    display = FilterDisplay.from_estimator(model, teacher=np.ones(9))
    assert titles_of(display) == ["true", "learned"]
    assert is_drawn(display.figure_)


@pytest.mark.parametrize("shape", [(4, 5, 5), (2, 5, 5, 3)])
def test_one_colour_scale_centred_at_zero(shape):
    filters = random_filters(*shape)
    display = FilterDisplay.from_filters(filters)
    scale = np.abs(filters).max()
    assert {image.get_clim() for image in display.images_} == {(-scale, scale)}
    assert (display.colorbar_.vmin, display.colorbar_.vmax) == (-scale, scale)


def test_zero_filters_have_a_colour_scale(is_drawn):
    display = FilterDisplay.from_filters(np.zeros((2, 3, 3)))
    assert display.images_[0].get_clim() == (-1, 1)
    assert is_drawn(display.figure_)


@pytest.mark.parametrize("n_channels", [1, 3])
def test_channels_have_a_panel_each(n_channels, fitted, is_drawn):
    teacher, learned = random_filters(2, 5, 4, n_channels)
    display = FilterDisplay.from_estimator(fitted(filter_=learned), teacher=teacher)
    images = iter(display.images_)
    for kernel in (teacher, learned):
        for channel in range(n_channels):
            assert_array_equal(next(images).get_array(), kernel[:, :, channel])
    assert next(images, None) is None
    assert is_drawn(display.figure_)


def test_filters_with_channels_start_a_row_each():
    display = FilterDisplay.from_filters(random_filters(2, 5, 5, 3), titles=["a", "b"])
    assert display.axes_.shape == (2, 3)
    assert titles_of(display) == ["channel 0", "channel 1", "channel 2"] * 2
    assert [ax.get_ylabel() for ax in display.axes_.flat] == ["a", "", "", "b", "", ""]


@pytest.mark.parametrize(
    ("shape", "n_cols", "grid", "n_missing"),
    [
        ((1, 3, 3), None, (1, 1), 0),
        ((11, 7), None, (2, 6), 1),
        ((7, 3, 3), 3, (3, 3), 2),
        ((2, 3, 3), 20, (1, 2), 0),
        ((2, 3, 3, 5), 3, (4, 3), 2),
    ],
)
def test_panels_lie_in_a_grid(shape, n_cols, grid, n_missing, is_drawn):
    display = FilterDisplay.from_filters(random_filters(*shape), n_cols=n_cols)
    assert display.axes_.shape == grid
    missing = [ax for ax in display.axes_.flat if ax is None]
    assert len(missing) == n_missing
    # Beside a single row the colour bar is an inset of the last panel.
    n_colorbars = int(display.colorbar_ is not None and grid[0] > 1)
    n_axes = display.axes_.size - n_missing + n_colorbars
    assert len(display.figure_.axes) == n_axes
    assert is_drawn(display.figure_)


@pytest.mark.parametrize("length", [1, 64, 65])
def test_filters_with_one_axis_are_curves(length, fitted, is_drawn):
    teacher, learned = random_filters(2, length)
    display = FilterDisplay.from_estimator(fitted(filter_=learned), teacher=teacher)
    for line, weights in zip(display.lines_, (teacher, learned), strict=True):
        assert_array_equal(line.get_xdata(), np.arange(length))
        assert_array_equal(line.get_ydata(), weights)
    assert display.images_ == []
    assert display.colorbar_ is None
    assert is_drawn(display.figure_)


@pytest.mark.parametrize("sign", [1, -1])
def test_curves_have_the_same_limits_and_show_zero(sign):
    filters = sign * np.array([[1.0, 2.0], [3.0, 20.0]])
    display = FilterDisplay.from_filters(filters)
    ((low, high),) = {ax.get_ylim() for ax in display.axes_.flat}
    assert low < min(filters.min(), 0)
    assert high > max(filters.max(), 0)


def test_stems_reach_from_zero_to_the_weights():
    weights = random_filters(1, 6)
    display = FilterDisplay.from_filters(weights)
    (stems,) = display.axes_[0, 0].collections
    for entry, segment in enumerate(stems.get_segments()):
        assert_allclose(segment, [[entry, 0], [entry, weights[0, entry]]])


def test_only_outer_curves_are_labelled():
    display = FilterDisplay.from_filters(random_filters(5, 7), n_cols=3)
    axes = [ax for ax in display.axes_.flat if ax is not None]
    assert [ax.get_ylabel() for ax in axes] == ["weight", "", "", "weight", ""]
    # The last panel of the first row has none below it.
    assert [ax.get_xlabel() for ax in axes] == ["", "", "entry", "entry", "entry"]


@pytest.mark.parametrize("shape", [(4, 5), (2, 5, 5, 2)])
def test_given_axes_are_used(shape, is_drawn):
    figure, axes = plt.subplots(2, 2)
    display = FilterDisplay.from_filters(random_filters(*shape), axes=axes)
    assert_array_equal(display.axes_, axes)
    assert display.figure_ is figure
    assert len(plt.get_fignums()) == 1
    assert is_drawn(figure)


def test_single_axes_take_a_single_filter(fitted):
    _, ax = plt.subplots()
    model = fitted(filter_=random_filters(5, 5))
    display = FilterDisplay.from_estimator(model, axes=ax, colorbar=False)
    assert list(display.axes_) == [ax]
    assert display.figure_ is ax.figure


def test_colours_can_be_chosen(fitted):
    model = fitted(filter_=random_filters(5, 5))
    display = FilterDisplay.from_estimator(model, cmap="PuOr", colorbar=False)
    assert display.images_[0].get_cmap().name == "PuOr"
    assert display.colorbar_ is None
    assert len(display.figure_.axes) == 1


@pytest.mark.parametrize(
    ("shape", "aspect"),
    [((3, 9), 1), ((9, 3), 1), ((2, 40), "auto"), ((40, 2), "auto")],
)
def test_very_long_images_are_stretched(shape, aspect):
    display = FilterDisplay.from_filters(random_filters(2, *shape))
    assert display.axes_[0, 0].get_aspect() == aspect


def test_teacher_of_the_wrong_size_is_refused(fitted):
    model = fitted(filter_=random_filters(5, 5))
    with pytest.raises(ValueError, match=r"teacher must have the shape \(5, 5\)"):
        FilterDisplay.from_estimator(model, teacher=np.ones(24))
    with pytest.raises(ValueError, match="teacher contains NaN"):
        FilterDisplay.from_estimator(model, teacher=np.full(25, np.nan))
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ([], "at least one"),
        ([np.ones((2, 2)), np.ones(4)], r"one shape, got \[\(2, 2\), \(4,\)\]"),
        (np.ones((2, 2, 2, 2, 2)), r"must have the shape \(length,\)"),
        (np.ones(3), r"must have the shape \(length,\)"),
        (np.ones((1, 3, 0)), "must not be empty"),
        ([[1.0, np.inf]], "filters contains infinity"),
    ],
)
def test_filters_that_cannot_be_drawn_are_refused(filters, message):
    with pytest.raises(ValueError, match=message):
        FilterDisplay.from_filters(filters)
    assert plt.get_fignums() == []


def test_wrong_numbers_of_titles_axes_and_columns_are_refused():
    filters = random_filters(2, 5, 5)
    with pytest.raises(ValueError, match="titles must have 2 entries, got 1"):
        FilterDisplay.from_filters(filters, titles=["a"])
    _, axes = plt.subplots(3)
    with pytest.raises(ValueError, match="axes must have 2 entries"):
        FilterDisplay.from_filters(filters, axes=axes)
    with pytest.raises(ValueError, match="n_cols"):
        FilterDisplay.from_filters(filters, n_cols=0)


def test_estimator_must_be_fitted(fitted):
    with pytest.raises(NotFittedError, match="FittedStandIn instance has no filter_"):
        FilterDisplay.from_estimator(type(fitted())())


def inferred(estimator, X, snr=20, **options):
    """The inference of a filter or bank that was fitted to data of its own."""
    make = make_filter_regression
    if hasattr(estimator, "n_filters"):
        make = make_filter_bank_regression
    _, y = make(X=X, estimator=estimator, snr=snr, random_state=0, **options)
    return inference(estimator.fit(X, y), X, y, random_state=0)


def test_weights_that_may_be_zero_are_faded_next_to_half_widths(is_drawn):
    model = ConvReLUFilterRegressor(
        3, input_shape=(6, 6), n_init=2, diagnostics=False, random_state=0
    )
    X = np.random.default_rng(0).standard_normal((400, 36))
    teacher = np.array([[1, 0, -1], [0, 0, 0], [1, 0, 1.0]])
    result = inferred(model, X, teacher=teacher)
    display = FilterDisplay.from_inference(result)
    assert titles_of(display) == ["learned", "half-width"]
    low, high = np.moveaxis(result.interval(), -1, 0)
    assert_allclose(display.images_[0].get_array(), result.coef)
    assert_allclose(display.images_[1].get_array(), (high - low) / 2)
    faded = display.images_[0].get_alpha() < 1
    assert_array_equal(faded, (low < 0) & (high > 0))
    assert faded.any()
    assert not faded[teacher != 0].any()
    assert is_drawn(display.figure_)
    wide = FilterDisplay.from_inference(result, level=0.999)
    assert_allclose(
        wide.images_[1].get_array(), result.coef - result.interval(0.999)[..., 0]
    )


def test_half_widths_of_weights_that_are_open_end_the_scale():
    model = ConvReLUFilterRegressor(
        2, input_shape=(4, 4), stride=2, n_init=2, diagnostics=False, random_state=0
    )
    X = np.random.default_rng(0).standard_normal((300, 16))
    X[:, ::2] = 0  # the first column of every patch
    result = inferred(model, X, teacher=np.ones((2, 2)))
    half = FilterDisplay.from_inference(result).images_[1].get_array()
    assert_allclose(half[:, 0], np.abs(result.coef).max())
    assert (half[:, 1] < half[:, 0]).all()


def test_weights_of_a_signal_have_bars(is_drawn):
    model = ConvReLUFilterRegressor(n_init=2, diagnostics=False, random_state=0)
    result = inferred(model, np.random.default_rng(0).standard_normal((300, 5)))
    display = FilterDisplay.from_inference(result)
    panel = display.axes_[0, 0]
    (bars,) = panel.containers
    ends = np.array([segment[:, 1] for segment in bars[2][0].get_segments()])
    assert_allclose(ends, result.interval())
    low, high = panel.get_ylim()
    assert low < ends.min()
    assert ends.max() < high
    assert is_drawn(display.figure_)


def test_intervals_of_banks_and_channels(is_drawn):
    bank = ConvFilterBankRegressor(
        2, kernel_size=2, stride=2, input_shape=(4, 4), init="random", n_init=3,
        output_weights="signs", pooling="mean", diagnostics=False, random_state=0,
    )  # fmt: skip
    X = np.random.default_rng(0).standard_normal((300, 16))
    display = FilterDisplay.from_inference(inferred(bank, X))
    expected = ["learned 0", "half-width 0", "learned 1", "half-width 1"]
    assert titles_of(display) == expected
    model = ConvReLUFilterRegressor(
        2, input_shape=(4, 4, 2), n_init=2, diagnostics=False, random_state=0
    )
    X = np.random.default_rng(0).standard_normal((300, 32))
    result = inferred(model, X)
    display = FilterDisplay.from_inference(result)
    assert display.axes_.shape == (2, 2)
    images = [image.get_array() for image in display.images_]
    assert_allclose(np.stack(images[:2], axis=-1), result.coef)
    has_alpha = [np.ndim(image.get_alpha()) == 2 for image in display.images_]
    assert has_alpha == [True, True, False, False]
    assert is_drawn(display.figure_)


def test_only_inferences_have_intervals(fitted):
    with pytest.raises(TypeError, match="inference must be"):
        FilterDisplay.from_inference(fitted(filter_=np.ones(3)))
