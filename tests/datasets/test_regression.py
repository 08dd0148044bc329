import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from skconvfilter import ConvPatchExtractor, ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_regression


def targets_by_loops(patches, teacher):
    """Mean over the patches of relu(teacher . patch); patches (n, k, p)."""
    targets = []
    for sample in patches:
        total = 0.0
        for patch in sample:
            total += max(0.0, float(np.dot(patch, np.ravel(teacher))))
        targets.append(total / len(sample))
    return np.array(targets)


def image_patches(X, input_shape, kernel_size, stride, padding, dilation):
    """Patches (n, k, p) of flat images with channels, by loops."""
    height, width, channels = input_shape
    images = np.pad(
        X.reshape(len(X), height, width, channels),
        [(0, 0), (padding, padding), (padding, padding), (0, 0)],
    )
    reach = dilation * (kernel_size - 1) + 1
    patches = [
        images[:, row : row + reach : dilation, column : column + reach : dilation]
        for row in range(0, height + 2 * padding - reach + 1, stride)
        for column in range(0, width + 2 * padding - reach + 1, stride)
    ]
    return np.stack([patch.reshape(len(X), -1) for patch in patches], axis=1)


def test_defaults_give_one_patch_a_sample():
    X, y, teacher = make_filter_regression(return_teacher=True, random_state=0)
    assert X.shape == (100, 10)
    assert y.shape == (100,)
    assert teacher.shape == (10,)
    assert X.dtype == y.dtype == teacher.dtype == np.float64
    assert np.linalg.norm(teacher) == pytest.approx(1)
    np.testing.assert_allclose(y, targets_by_loops(X[:, np.newaxis], teacher))
    assert np.mean(y > 0) == pytest.approx(0.5, abs=0.15)


def test_samples_are_standard_normal():
    X, _ = make_filter_regression(5000, n_features=6, random_state=0)
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(np.cov(X.T), np.eye(6), atol=0.08)


@pytest.mark.parametrize("teacher", ["random", "gabor"])
@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding", "dilation", "channels"),
    [(3, 1, 0, 1, 1), (2, 3, 1, 2, 2), (5, 2, 2, 1, 2)],
)
def test_targets_are_those_of_the_convolution(
    teacher, kernel_size, stride, padding, dilation, channels
):
    input_shape = (7, 8, channels)
    model = ConvReLUFilterRegressor(
        kernel_size,
        input_shape=input_shape,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )
    X, y, w = make_filter_regression(
        6, model, teacher=teacher, return_teacher=True, random_state=1
    )
    assert X.shape == (6, 7 * 8 * channels)
    assert w.shape == (kernel_size, kernel_size, channels)
    patches = image_patches(X, input_shape, kernel_size, stride, padding, dilation)
    np.testing.assert_allclose(y, targets_by_loops(patches, w), rtol=1e-12)


def test_signals_have_ten_entries_unless_told():
    model = ConvReLUFilterRegressor(3)
    X, y, w = make_filter_regression(estimator=model, return_teacher=True, random_state=0)
    assert X.shape == (100, 10)
    patches = sliding_window_view(X, 3, axis=1)
    np.testing.assert_allclose(y, targets_by_loops(patches, w))
    told = ConvReLUFilterRegressor(3, input_shape=(24,))
    assert make_filter_regression(5, told)[0].shape == (5, 24)
    assert make_filter_regression(5, model, n_features=24)[0].shape == (5, 24)
    assert make_filter_regression(5, n_features=24)[0].shape == (5, 24)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, bool])
def test_given_samples_are_labelled_in_float64(dtype):
    X = np.random.RandomState(0).randint(0, 2, size=(7, 20)).astype(dtype)
    labelled, y, w = make_filter_regression(
        estimator=ConvPatchExtractor(4), X=X, return_teacher=True, random_state=0
    )
    assert np.shares_memory(labelled, X)
    assert labelled.dtype == dtype
    assert y.dtype == np.float64
    patches = sliding_window_view(X.astype(float), 4, axis=1)
    np.testing.assert_allclose(y, targets_by_loops(patches, w), rtol=1e-13)


@pytest.mark.parametrize("order", ["C", "F"])
def test_given_samples_may_lie_in_any_order(order):
    X = np.asarray(np.random.RandomState(0).normal(size=(5, 4, 3)), order=order)
    _, y, w = make_filter_regression(X=X, return_teacher=True, random_state=0)
    np.testing.assert_allclose(y, targets_by_loops(X, w))
    flat = np.asarray(X.reshape(5, 12), order=order)[:, ::2]
    _, y, w = make_filter_regression(X=flat, return_teacher=True, random_state=0)
    np.testing.assert_allclose(y, targets_by_loops(flat[:, np.newaxis], w))


@pytest.mark.parametrize("teacher", ["random", "gabor"])
def test_window_view_equals_the_implicit_convolution(teacher):
    images = np.random.RandomState(0).normal(size=(4, 8, 9)).astype(np.float32)
    view = sliding_window_view(images, (3, 3), axis=(1, 2))
    given = {"teacher": teacher, "return_teacher": True, "random_state": 2}
    labelled, y, w = make_filter_regression(X=view, **given)
    assert np.shares_memory(labelled, images)
    assert labelled.shape == view.shape
    window = ConvPatchExtractor(3, input_shape=(8, 9))
    _, expected_y, expected_w = make_filter_regression(
        estimator=window, X=images.reshape(4, -1), **given
    )
    assert w.shape == (3, 3)
    np.testing.assert_array_equal(w, expected_w)
    np.testing.assert_allclose(y, expected_y, rtol=1e-13)


@pytest.mark.parametrize("flat", [False, True])
def test_teacher_may_be_an_array(flat):
    given = np.random.RandomState(0).normal(size=(2, 3, 2)).astype(np.float32)
    X, y, w = make_filter_regression(
        5,
        ConvPatchExtractor((2, 3), input_shape=(4, 5, 2)),
        teacher=given.ravel() if flat else given,
        return_teacher=True,
        random_state=0,
    )
    np.testing.assert_array_equal(w, given)
    assert w.dtype == np.float64
    assert not np.shares_memory(w, given)
    images = X.reshape(5, 4, 5, 2)
    patches = [images[:, i : i + 2, j : j + 3] for i in range(3) for j in range(3)]
    patches = np.stack([patch.reshape(5, -1) for patch in patches], axis=1)
    np.testing.assert_allclose(y, targets_by_loops(patches, given))


@pytest.mark.parametrize(
    ("kernel_size", "input_shape", "shape"),
    [
        ((5, 3), (9, 9), (5, 3)),
        (5, (9, 9, 3), (5, 5, 3)),
        ((6,), (30, 2), (6, 2)),
        (2, None, (2,)),
        (None, None, (10,)),
    ],
)
def test_gabor_teacher_is_the_same_in_every_channel(kernel_size, input_shape, shape):
    window = ConvPatchExtractor(kernel_size, input_shape=input_shape)
    given = {"teacher": "gabor", "return_teacher": True}
    teachers = [
        make_filter_regression(1, window, random_state=seed, **given)[2]
        for seed in range(10)
    ]
    for teacher in teachers:
        assert teacher.shape == shape
        assert teacher.sum() == pytest.approx(0, abs=1e-6)
        assert np.linalg.norm(teacher) == pytest.approx(1)
        if len(shape) == 3 or shape == (6, 2):
            np.testing.assert_array_equal(teacher, teacher[..., :1] * np.ones(shape))
    if shape != (2,):
        assert not np.allclose(teachers[0], teachers[1])


def test_intercept_and_sign():
    _, y = make_filter_regression(random_state=0)
    _, shifted = make_filter_regression(intercept=-2.5, sign=-1, random_state=0)
    np.testing.assert_allclose(shifted, -2.5 - y)


def test_noise_has_its_standard_deviation():
    X, y = make_filter_regression(20_000, random_state=0)
    noisy_X, noisy = make_filter_regression(20_000, noise=0.3, random_state=0)
    np.testing.assert_array_equal(X, noisy_X)
    errors = noisy - y
    # Standard errors: 0.3 / sqrt(n) of the mean, 0.3 / sqrt(2 n) of the deviation.
    assert errors.mean() == pytest.approx(0, abs=4 * 0.3 / np.sqrt(20_000))
    assert errors.std() == pytest.approx(0.3, abs=4 * 0.3 / np.sqrt(40_000))
    assert abs(np.corrcoef(errors, y)[0, 1]) < 4 / np.sqrt(20_000)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_snr_is_a_ratio_of_variances(scale):
    teacher = scale * np.arange(1.0, 6.0)
    kwargs = {"n_features": 5, "teacher": teacher, "random_state": 0}
    _, y = make_filter_regression(20_000, **kwargs)
    _, noisy = make_filter_regression(20_000, snr=4, intercept=0.5 * scale, **kwargs)
    ratio = y.var() / (noisy - y).var()
    assert ratio == pytest.approx(4, rel=0.06)


def test_infinite_snr_is_no_noise():
    _, y = make_filter_regression(random_state=0)
    _, same = make_filter_regression(snr=np.inf, random_state=0)
    np.testing.assert_array_equal(y, same)


def test_zero_teacher_gives_noise_alone():
    X, y = make_filter_regression(teacher=np.zeros(10), intercept=1.5, random_state=0)
    np.testing.assert_array_equal(y, np.full(len(X), 1.5))


@pytest.mark.parametrize("teacher", ["random", "gabor"])
def test_random_state_makes_the_data(teacher):
    kwargs = {"estimator": ConvPatchExtractor(3), "teacher": teacher, "noise": 1.0}
    kwargs["return_teacher"] = True
    first = make_filter_regression(random_state=5, **kwargs)
    same = make_filter_regression(random_state=np.random.RandomState(5), **kwargs)
    other = make_filter_regression(random_state=6, **kwargs)
    for one, two, three in zip(first, same, other, strict=True):
        np.testing.assert_array_equal(one, two)
        assert not np.allclose(one, three)


PATCHES = np.ones((4, 3, 2))
window = ConvPatchExtractor


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"n_samples": 0}, ValueError, "n_samples must be at least 1"),
        ({"n_samples": 2.0}, TypeError, "n_samples must be an int"),
        ({"n_samples": 3, "X": PATCHES}, ValueError, "n_samples=3, but X has 4 rows"),
        ({"X": [[np.nan, 1.0]]}, ValueError, "Input X contains NaN"),
        ({"X": np.full((3, 2), 1e80)}, ValueError, "Rescale X"),
        ({"X": PATCHES, "n_features": 2}, ValueError, "n_features cannot be given with X"),
        ({"X": PATCHES, "estimator": window(2)}, ValueError, "kernel_size=2 is for flat"),
        ({"X": PATCHES, "estimator": window(stride=2)}, ValueError, "stride has no mean"),
        ({"estimator": window(padding=1)}, ValueError, "padding has no meaning without"),
        ({"estimator": window(input_shape=(4,))}, ValueError, "input_shape has no mean"),
        ({"estimator": window((2, 2))}, ValueError, "input_shape must say how"),
        ({"estimator": window(11)}, ValueError, r"kernel_size=\(11,\)"),
        ({"estimator": window(2, input_shape=(0, 2))}, ValueError, "input_shape must be"),
        ({"estimator": 3}, TypeError, "estimator must have the parameters kernel_size"),
        ({"n_features": 0}, ValueError, "n_features must be at least 1"),
        (
            {"estimator": window(2, input_shape=(4,)), "n_features": 5},
            ValueError,
            r"input_shape=\(4,\) has 4 entries, but X has 5 features",
        ),
        ({"teacher": "sobel"}, ValueError, 'teacher must be "random", "gabor" or an'),
        ({"teacher": None}, TypeError, "teacher must be an array of numbers"),
        ({"teacher": [[1.0], [1.0, 2.0]]}, ValueError, "teacher must be an array of"),
        ({"teacher": np.ones(9)}, ValueError, r"teacher must have the shape \(10,\)"),
        ({"teacher": np.full(10, np.inf)}, ValueError, "teacher must be finite"),
        ({"teacher": np.full(10, 1e80)}, ValueError, "Rescale teacher"),
        (
            {"teacher": "gabor", "estimator": window(1)},
            ValueError,
            'teacher="gabor" needs a window',
        ),
        (
            {"teacher": "gabor", "estimator": window((2, 2, 2), input_shape=(3, 3, 3))},
            ValueError,
            'teacher="gabor" needs a window with one or two axes',
        ),
        ({"noise": -0.1}, ValueError, "noise must be at least 0 and finite"),
        ({"noise": "much"}, TypeError, "noise must be a number"),
        ({"snr": 0}, ValueError, "snr must be positive"),
        ({"snr": 2, "noise": 1}, ValueError, "noise and snr cannot both be given"),
        ({"snr": 2, "teacher": np.zeros(10)}, ValueError, "snr=2.0 cannot be used"),
        ({"snr": 2, "n_samples": 1}, ValueError, "snr=2.0 cannot be used"),
        ({"intercept": np.nan}, ValueError, "intercept must be finite"),
        ({"sign": 0}, ValueError, "sign must be 1 or -1"),
        ({"sign": [1, -1]}, ValueError, "sign must be 1 or -1"),
        ({"random_state": "seed"}, ValueError, "cannot be used to seed"),
    ],
)
def test_error_names_the_wrong_parameter(parameters, error, match):
    with pytest.raises(error, match=match):
        make_filter_regression(**parameters)
