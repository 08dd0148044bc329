import math

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from skconvfilter import ConvFilterBankRegressor, ConvPatchExtractor
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
APART = {"input_shape": (12,), "kernel_size": 4, "stride": 4}


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
        ConvFilterBankRegressor(3, **APART, activation=name, pooling=pooling),
        output_weights="signs",
        return_teacher=True,
        random_state=1,
    )
    assert X.shape == (20, 12)
    assert teacher.shape == (3, 4)
    expected = targets_by_loops(X.reshape(20, 3, 4), teacher, name, signs, pooling)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-13)


def test_patches_of_the_theory_are_independent():
    model = ConvFilterBankRegressor(2, **APART)
    X, _ = make_filter_bank_regression(20_000, model, random_state=0)
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(X.T), np.eye(12), atol=0.05)


def test_targets_are_those_of_the_convolution():
    channels = 2
    window = {"kernel_size": (3, 2), "stride": (2, 3), "padding": 1}
    window["pooling"] = "sum"
    model = ConvFilterBankRegressor(2, input_shape=(7, 8, channels), **window)
    X, y, teacher = make_filter_bank_regression(
        6, model, return_teacher=True, random_state=1
    )
    assert teacher.shape == (2, 3, 2, channels)
    widths = [(0, 0), (1, 1), (1, 1), (0, 0)]
    images = np.pad(X.reshape(6, 7, 8, channels), widths)
    windows = sliding_window_view(images, (3, 2), axis=(1, 2))[:, ::2, ::3]
    patches = np.moveaxis(windows, 3, 5).reshape(6, -1, 6 * channels)
    np.testing.assert_allclose(y, targets_by_loops(patches, teacher), rtol=1e-12)


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
    window = ConvPatchExtractor(3, input_shape=(8, 9))
    _, same, _ = make_filter_bank_regression(None, window, X=flat, **kwargs)
    np.testing.assert_allclose(same, y, rtol=1e-13)


@pytest.mark.parametrize(("condition_number", "n_filters"), [(1, 2), (2.0, 5), (10.0, 9)])
def test_teacher_has_the_singular_values_of_its_condition_number(
    condition_number, n_filters
):
    _, _, teacher = make_filter_bank_regression(
        1,
        ConvFilterBankRegressor(n_filters, kernel_size=3, input_shape=(3, 3)),
        condition_number=condition_number,
        return_teacher=True,
        random_state=0,
    )
    assert teacher.shape == (n_filters, 3, 3)
    sigma = np.linalg.svd(teacher.reshape(n_filters, 9), compute_uv=False)
    np.testing.assert_allclose(sigma[::-1], np.linspace(1, condition_number, n_filters))


def test_single_filter_has_norm_one():
    _, _, teacher = make_filter_bank_regression(
        estimator=ConvFilterBankRegressor(1), condition_number=7, return_teacher=True
    )
    assert np.linalg.norm(teacher) == pytest.approx(1)


def test_singular_vectors_have_any_direction():
    model = ConvFilterBankRegressor(3)
    rng = np.random.RandomState(0)
    given = {"n_features": 4, "return_teacher": True, "random_state": rng}
    teachers = np.stack(
        [make_filter_bank_regression(1, model, **given)[2] for _ in range(2000)]
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
        ConvPatchExtractor((2, 3), input_shape=(2, 3)),
        teacher=given.reshape(20, 6) if flat else given,
        return_teacher=True,
        random_state=0,
    )
    np.testing.assert_array_equal(teacher, given)
    assert teacher.dtype == np.float64
    assert not np.shares_memory(teacher, given)
    np.testing.assert_allclose(y, targets_by_loops(X[:, np.newaxis], given), rtol=1e-12)


def test_one_mean_relu_filter_is_the_model_of_a_single_filter():
    model = ConvFilterBankRegressor(1, kernel_size=3, pooling="mean")
    kwargs = {"estimator": model, "return_teacher": True, "random_state": 0}
    X, y, w = make_filter_regression(**kwargs)
    _, same, _ = make_filter_bank_regression(X=X, teacher=w[np.newaxis], **kwargs)
    np.testing.assert_allclose(same, y, rtol=1e-13)


def test_output_weights():
    model = ConvFilterBankRegressor(3, pooling="sum", **APART)
    kwargs = {"estimator": model, "return_teacher": True, "random_state": 0}
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


@pytest.mark.parametrize("output_weights", ["ones", "signs"])
def test_random_state_makes_the_data(output_weights):
    model = ConvFilterBankRegressor(3, **APART)
    kwargs = {"estimator": model, "noise": 1.0, "return_teacher": True}
    kwargs["output_weights"] = output_weights
    first = make_filter_bank_regression(random_state=5, **kwargs)
    same = make_filter_bank_regression(random_state=np.random.RandomState(5), **kwargs)
    other = make_filter_bank_regression(random_state=6, **kwargs)
    for one, two in zip(first, same, strict=True):
        np.testing.assert_array_equal(one, two)
    for one, two in zip(first[:3], other[:3], strict=True):
        assert not np.allclose(one, two)


BANK = np.ones((3, 10))
bank = ConvFilterBankRegressor


@pytest.mark.parametrize(
    ("parameters", "error", "match"),
    [
        ({"estimator": bank(0)}, ValueError, "n_filters must be at least 1"),
        ({"estimator": bank(2.0)}, TypeError, "n_filters must be an int"),
        ({"estimator": bank(11)}, ValueError, "n_filters=11 is more than the 10 entries"),
        ({"estimator": bank(kernel_size=4)}, ValueError, "n_filters=5 is more than the 4"),
        ({"estimator": bank(2), "teacher": BANK}, ValueError, "=2, but teacher has 3"),
        ({"teacher": 1e80 * BANK}, ValueError, "Rescale teacher"),
        ({"teacher": "gabor"}, ValueError, 'teacher must be "random" or an array'),
        ({"teacher": BANK[0]}, ValueError, "teacher must hold filters along its first"),
        ({"teacher": BANK[:, :9]}, ValueError, r"teacher must have the shape \(n_filters"),
        ({"teacher": np.nan * BANK}, ValueError, "teacher must be finite"),
        ({"condition_number": 0.5}, ValueError, "condition_number must be at least 1"),
        ({"condition_number": "2"}, TypeError, "condition_number must be a number"),
        (
            {"estimator": bank(activation="softplus")},
            ValueError,
            "activation must be one",
        ),
        ({"estimator": bank(pooling="max")}, ValueError, 'pooling must be "sum" or "mean"'),
        ({"output_weights": "random"}, ValueError, 'must be "ones", "signs" or an array'),
        ({"output_weights": [1, 1]}, ValueError, "output_weights must be 1 or -1 for each"),
    ],
)
def test_error_names_the_wrong_parameter(parameters, error, match):
    with pytest.raises(error, match=match):
        make_filter_bank_regression(**parameters)
