import math

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from skconvfilter.datasets import make_filter_bank_regression, make_filter_regression

FUNCTIONS = {
    "relu": lambda x: max(0.0, x),
    "leaky_relu": lambda x: max(0.01 * x, x),
    "squared_relu": lambda x: max(0.0, x) ** 2,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
    "erf": math.erf,
}
# Three patches of length 4 in a sample, that do not overlap.
APART = {"input_shape": 12, "kernel_size": 4, "stride": 4}


def targets_by_loops(patches, teacher, name="relu", signs=None, pooling="sum"):
    """Patches (n, k, p) and filters (t, ...)."""
    signs = np.ones(len(teacher)) if signs is None else signs
    targets = np.zeros(len(patches))
    for n, sample in enumerate(patches):
        for sign, w in zip(signs, teacher, strict=True):
            for patch in sample:
                targets[n] += sign * FUNCTIONS[name](float(patch @ np.ravel(w)))
    return targets / (patches.shape[1] if pooling == "mean" else 1)


def test_defaults_give_one_patch_and_five_filters():
    X, y, teacher = make_filter_bank_regression(return_teacher=True, random_state=0)
    assert X.shape == (100, 10)
    assert y.shape == (100,)
    assert teacher.shape == (5, 10)
    assert X.dtype == y.dtype == teacher.dtype == np.float64
    np.testing.assert_allclose(y, targets_by_loops(X[:, np.newaxis], teacher))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_patches_that_do_not_overlap_are_those_of_the_theory(name, pooling):
    X, y, teacher, signs = make_filter_bank_regression(
        20,
        n_filters=3,
        **APART,
        activation=name,
        pooling=pooling,
        output_weights="signs",
        return_teacher=True,
        random_state=1,
    )
    assert X.shape == (20, 12)
    assert teacher.shape == (3, 4)
    expected = targets_by_loops(X.reshape(20, 3, 4), teacher, name, signs, pooling)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-13)


def test_patches_of_the_theory_are_independent():
    X, _ = make_filter_bank_regression(20_000, **APART, n_filters=2, random_state=0)
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(X.T), np.eye(12), atol=0.05)


@pytest.mark.parametrize("channels", [1, 2])
def test_targets_are_those_of_the_convolution(channels):
    X, y, teacher = make_filter_bank_regression(
        6,
        n_filters=2,
        input_shape=(7, 8, channels),
        kernel_size=(3, 2),
        stride=(2, 3),
        padding=1,
        return_teacher=True,
        random_state=1,
    )
    assert teacher.shape == (2, 3, 2, channels)
    widths = [(0, 0), (1, 1), (1, 1), (0, 0)]
    images = np.pad(X.reshape(6, 7, 8, channels), widths)
    windows = sliding_window_view(images, (3, 2), axis=(1, 2))[:, ::2, ::3]
    patches = np.moveaxis(windows, 3, 5).reshape(6, -1, 6 * channels)
    np.testing.assert_allclose(y, targets_by_loops(patches, teacher), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8])
def test_given_samples_are_labelled_in_float64(dtype):
    X = np.random.RandomState(0).randint(0, 3, size=(7, 20)).astype(dtype)
    labelled, y, teacher = make_filter_bank_regression(
        X=X, n_filters=3, kernel_size=4, return_teacher=True, random_state=0
    )
    assert np.shares_memory(labelled, X)
    assert labelled.dtype == dtype
    assert y.dtype == np.float64
    patches = sliding_window_view(X.astype(float), 4, axis=1)
    np.testing.assert_allclose(y, targets_by_loops(patches, teacher), rtol=1e-13)


def test_patches_and_window_views_are_samples_too():
    images = np.random.RandomState(0).normal(size=(4, 8, 9))
    view = sliding_window_view(images, (3, 3), axis=(1, 2))
    kwargs = {"return_teacher": True, "random_state": 0}
    labelled, y, teacher = make_filter_bank_regression(X=view, **kwargs)
    assert np.shares_memory(labelled, images)
    assert teacher.shape == (5, 3, 3)
    _, same, flat_teacher = make_filter_bank_regression(X=view.reshape(4, -1, 9), **kwargs)
    np.testing.assert_array_equal(flat_teacher, teacher.reshape(5, 9))
    np.testing.assert_allclose(same, y, rtol=1e-13)
    flat = images.reshape(4, -1)
    _, same, _ = make_filter_bank_regression(
        X=flat, input_shape=(8, 9), kernel_size=3, **kwargs
    )
    np.testing.assert_allclose(same, y, rtol=1e-13)


@pytest.mark.parametrize("condition_number", [1, 2.0, 10.0])
@pytest.mark.parametrize("n_filters", [2, 5, 9])
def test_teacher_has_the_singular_values_of_its_condition_number(
    condition_number, n_filters
):
    _, _, teacher = make_filter_bank_regression(
        1,
        n_filters=n_filters,
        input_shape=(3, 3),
        kernel_size=3,
        condition_number=condition_number,
        return_teacher=True,
        random_state=0,
    )
    assert teacher.shape == (n_filters, 3, 3)
    sigma = np.linalg.svd(teacher.reshape(n_filters, 9), compute_uv=False)
    np.testing.assert_allclose(sigma[::-1], np.linspace(1, condition_number, n_filters))


def test_single_filter_has_norm_one():
    _, _, teacher = make_filter_bank_regression(
        n_filters=1, condition_number=7, return_teacher=True
    )
    assert np.linalg.norm(teacher) == pytest.approx(1)


def test_singular_vectors_have_any_direction():
    teachers = np.stack(
        [
            make_filter_bank_regression(
                1, n_filters=3, input_shape=4, return_teacher=True, random_state=seed
            )[2]
            for seed in range(2000)
        ]
    )
    # The mean of W'W is t / p times the mean square I, that of WW' the mean square I.
    power = np.mean(np.linspace(1, 2, 3) ** 2)
    np.testing.assert_allclose(teachers.mean(axis=0), 0, atol=0.1)
    columns = np.einsum("stp,stq->pq", teachers, teachers) / len(teachers)
    np.testing.assert_allclose(columns, 3 / 4 * power * np.eye(4), atol=0.1)
    rows = np.einsum("stp,sup->tu", teachers, teachers) / len(teachers)
    np.testing.assert_allclose(rows, power * np.eye(3), atol=0.1)


@pytest.mark.parametrize("flat", [False, True])
def test_teacher_may_be_an_array(flat):
    given = np.random.RandomState(0).normal(size=(20, 2, 3)).astype(np.float32)
    X, y, teacher = make_filter_bank_regression(
        5,
        input_shape=(2, 3),
        kernel_size=(2, 3),
        teacher=given.reshape(20, 6) if flat else given,
        return_teacher=True,
        random_state=0,
    )
    np.testing.assert_array_equal(teacher, given)
    assert teacher.dtype == np.float64
    assert not np.shares_memory(teacher, given)
    np.testing.assert_allclose(y, targets_by_loops(X[:, np.newaxis], given), rtol=1e-12)


def test_one_mean_relu_filter_is_the_model_of_a_single_filter():
    kwargs = {"kernel_size": 3, "return_teacher": True, "random_state": 0}
    X, y, w = make_filter_regression(**kwargs)
    _, same, _ = make_filter_bank_regression(
        X=X, teacher=w[np.newaxis], pooling="mean", **kwargs
    )
    np.testing.assert_allclose(same, y, rtol=1e-13)


def test_output_weights():
    kwargs = {**APART, "n_filters": 3, "return_teacher": True, "random_state": 0}
    X, y, teacher = make_filter_bank_regression(**kwargs)
    patches = X.reshape(-1, 3, 4)
    same_X, given, _ = make_filter_bank_regression(output_weights=[1, -1, -1], **kwargs)
    np.testing.assert_array_equal(same_X, X)
    expected = targets_by_loops(patches, teacher, signs=[1, -1, -1])
    np.testing.assert_allclose(given, expected, rtol=1e-11, atol=1e-13)
    _, ones, _ = make_filter_bank_regression(output_weights=None, **kwargs)
    np.testing.assert_array_equal(ones, y)
    _, drawn, same_teacher, signs = make_filter_bank_regression(
        output_weights="signs", **kwargs
    )
    np.testing.assert_array_equal(same_teacher, teacher)
    expected = targets_by_loops(patches, teacher, signs=signs)
    np.testing.assert_allclose(drawn, expected, rtol=1e-11, atol=1e-13)
    assert len(make_filter_bank_regression(output_weights="signs")) == 2


def test_signs_are_as_often_of_either_kind():
    signs = [
        make_filter_bank_regression(
            1, output_weights="signs", return_teacher=True, random_state=seed
        )[3]
        for seed in range(200)
    ]
    assert set(np.ravel(signs)) == {-1, 1}
    assert np.abs(np.mean(signs, axis=0)).max() < 0.3


def test_intercept_noise_and_snr():
    kwargs = {**APART, "n_filters": 2, "random_state": 0}
    X, y = make_filter_bank_regression(20_000, **kwargs)
    _, shifted = make_filter_bank_regression(20_000, intercept=-2.5, **kwargs)
    np.testing.assert_allclose(shifted, y - 2.5)
    noisy_X, noisy = make_filter_bank_regression(20_000, noise=0.3, **kwargs)
    np.testing.assert_array_equal(noisy_X, X)
    assert (noisy - y).std() == pytest.approx(0.3, rel=0.03)
    _, noisy = make_filter_bank_regression(20_000, snr=4, **kwargs)
    assert y.var() / (noisy - y).var() == pytest.approx(4, rel=0.06)


@pytest.mark.parametrize("output_weights", ["ones", "signs"])
def test_random_state_makes_the_data(output_weights):
    kwargs = {**APART, "n_filters": 3, "noise": 1.0, "return_teacher": True}
    kwargs["output_weights"] = output_weights
    first = make_filter_bank_regression(random_state=5, **kwargs)
    same = make_filter_bank_regression(random_state=np.random.RandomState(5), **kwargs)
    other = make_filter_bank_regression(random_state=6, **kwargs)
    for one, two in zip(first, same, strict=True):
        np.testing.assert_array_equal(one, two)
    for one, two in zip(first[:3], other[:3], strict=True):
        assert not np.allclose(one, two)


BANK = np.ones((3, 10))


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"n_samples": 0}, ValueError, "n_samples must be at least 1"),
        ({"X": np.ones((4, 3, 2)), "n_samples": 3}, ValueError, "but X has 4 rows"),
        ({"X": [[np.nan, 1.0]]}, ValueError, "Input X contains NaN"),
        ({"stride": 2}, ValueError, "stride has no meaning without kernel_size"),
        ({"n_filters": 0}, ValueError, "n_filters must be at least 1"),
        ({"n_filters": 2.0}, TypeError, "n_filters must be an int"),
        ({"n_filters": 11}, ValueError, "n_filters=11 is more than the 10 entries"),
        ({"kernel_size": 4}, ValueError, "n_filters=5 is more than the 4 entries"),
        ({"teacher": BANK, "n_filters": 2}, ValueError, "n_filters=2, but teacher has 3"),
        ({"teacher": "gabor"}, ValueError, 'teacher must be "random" or an array'),
        ({"teacher": None}, TypeError, "teacher must be an array of numbers"),
        ({"teacher": BANK[0]}, ValueError, "teacher must hold filters along its first"),
        ({"teacher": BANK[:, :9]}, ValueError, r"teacher must have the shape \(n_filters"),
        ({"teacher": np.nan * BANK}, ValueError, "teacher must be finite"),
        ({"condition_number": 0.5}, ValueError, "condition_number must be at least 1"),
        ({"condition_number": np.inf}, ValueError, "condition_number must be finite"),
        ({"condition_number": "2"}, TypeError, "condition_number must be a number"),
        ({"activation": "softplus"}, ValueError, "activation must be one of"),
        ({"pooling": "max"}, ValueError, 'pooling must be "sum" or "mean"'),
        ({"output_weights": "random"}, ValueError, 'must be "ones", "signs" or an array'),
        ({"output_weights": [1, 1]}, ValueError, "output_weights must be 1 or -1 for each"),
        ({"output_weights": [1, 1, 1, 1, 0.5]}, ValueError, "must be 1 or -1 for each"),
        ({"noise": -0.1}, ValueError, "noise must be at least 0 and finite"),
        ({"snr": 2, "noise": 1}, ValueError, "noise and snr exclude each other"),
        ({"snr": 2, "teacher": 0 * BANK}, ValueError, "snr=2.0 has no meaning"),
        ({"intercept": np.nan}, ValueError, "intercept must be finite"),
        ({"random_state": "seed"}, ValueError, "cannot be used to seed"),
    ],
)
def test_error_names_the_wrong_parameter(parameters, error, match):
    with pytest.raises(error, match=match):
        make_filter_bank_regression(**parameters)
