"""What an estimator knows: after failures, interrupts, refits, copies and corruption."""

import copy
import itertools
import pickle
import threading

import joblib
import numpy as np
import pandas as pd
import pytest
from skconvfilter.solvers.gauss_newton import LevenbergMarquardt
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skconvfilter import ConvPatchExtractor, ConvReLUFilterRegressor
from skconvfilter.estimators import regressor as regressor_module
from skconvfilter.estimators import streaming
from skconvfilter.model import objective
from skconvfilter.solvers.sgd import SGD

# Places where a fit may be interrupted: owner and name of a function, which call of it.
FIT_POINTS = [
    (regressor_module, "check_settings", 1),
    (objective.FilterObjective, "best_scale", 1),
    (SGD, "init", 1),
    (SGD, "step", 2),
    (LevenbergMarquardt, "step", 1),
    (LevenbergMarquardt, "step", 9),
    (regressor_module, "fitted_attributes", 1),
    (regressor_module, "replace_learnt", 1),
]
STREAM_POINTS = [
    (regressor_module, "check_settings", 1),
    (streaming, "update_stream", 1),
    (streaming, "filter_attributes", 1),
    (regressor_module, "replace_learnt", 1),
]

FAILURES = {
    "NaN in X": lambda X, y: (np.where(X > 0.9, np.nan, X), y),
    "inf in y": lambda X, y: (X, np.where(y == y[0], np.inf, y)),
    "fewer targets": lambda X, y: (X, y[:-1]),
    "other n_features": lambda X, y: (X[:, :63], y),
}


def state_of(estimator):
    return vars(estimator).copy()


def assert_unchanged(estimator, state):
    """The attributes are the very objects that they were."""
    now = vars(estimator)
    assert now.keys() == state.keys()
    for name, value in state.items():
        assert now[name] is value, name


def raise_on_call(monkeypatch, owner, name, number, error):
    original, calls = getattr(owner, name), itertools.count(1)

    def interrupted(*args, **kwargs):
        if next(calls) == number:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, interrupted)


@pytest.fixture
def problem(digits):
    return digits.take(80)


@pytest.fixture(params=["fit", "partial_fit"])
def method(request):
    return request.param


@pytest.fixture(params=["unfitted", "fit", "partial_fit"])
def model(request, problem, make_model):
    """A model with what it may have learnt before."""
    model = make_model()
    if request.param != "unfitted":
        getattr(model, request.param)(problem.X, problem.y)
    return model


@pytest.mark.parametrize("change", FAILURES.values(), ids=FAILURES.keys())
def test_bad_data_leave_the_state(change, method, model, problem):
    state = state_of(model)
    with pytest.raises(ValueError, match=r"NaN|inf|inconsistent|features"):
        getattr(model, method)(*change(problem.X, problem.y))
    assert_unchanged(model, state)


@pytest.mark.parametrize("params", [{"n_init": 0}, {"kernel_size": 9}, {"init": "x"}])
def test_bad_parameters_leave_the_state(params, method, problem, make_model):
    model = make_model().fit(problem.X, problem.y)
    expected = model.predict(problem.X)
    state = state_of(model.set_params(**params))
    with pytest.raises(ValueError, match=next(iter(params))):
        getattr(model, method)(problem.X[:50], problem.y[:50])
    assert_unchanged(model, state)
    model.set_params(kernel_size=3)
    np.testing.assert_array_equal(model.predict(problem.X), expected)


@pytest.mark.parametrize(
    ("method", "owner", "name", "number"),
    [
        *(("fit", *point) for point in FIT_POINTS),
        *(("partial_fit", *point) for point in STREAM_POINTS),
    ],
)
def test_interrupts_leave_the_state(
    method, owner, name, number, model, problem, monkeypatch
):
    state = state_of(model)
    fitted = hasattr(model, "coef_")
    expected = model.predict(problem.X) if fitted else None
    with monkeypatch.context() as patched:
        raise_on_call(patched, owner, name, number, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            getattr(model, method)(problem.X[::2], problem.y[::2])
    assert_unchanged(model, state)
    if fitted:
        np.testing.assert_array_equal(model.predict(problem.X), expected)
    else:
        with pytest.raises(NotFittedError):
            model.predict(problem.X)


def test_errors_in_threads_propagate_and_leave_the_state(
    all_digits, make_model, monkeypatch
):
    model = make_model(n_jobs=2, n_init=2).fit(all_digits.X, all_digits.y)
    state = state_of(model)
    original = objective.pack

    def pack(*args):
        if threading.current_thread() is threading.main_thread():
            return original(*args)
        raise MemoryError("full")

    monkeypatch.setattr(objective, "pack", pack)
    with pytest.raises(MemoryError, match="full"):
        model.fit(all_digits.X, all_digits.y)
    assert_unchanged(model, state)


@pytest.mark.parametrize("use", ["predict", "feature_map", "score"])
def test_unfitted_estimators_say_so(use, problem, make_model):
    arguments = (problem.X, problem.y) if use == "score" else (problem.X,)
    with pytest.raises(NotFittedError, match="ConvReLUFilterRegressor"):
        getattr(make_model(), use)(*arguments)
    with pytest.raises(NotFittedError, match="ConvPatchExtractor"):
        ConvPatchExtractor().transform(problem.X)


def test_extractor_keeps_its_state_when_a_fit_fails(problem):
    extractor = ConvPatchExtractor(3, input_shape=(8, 8)).fit(problem.X)
    state = state_of(extractor)
    with pytest.raises(ValueError, match="input_shape"):
        extractor.fit(problem.X[:, :63])
    assert_unchanged(extractor, state)


def test_refit_leaves_nothing_stale(problem, make_model):
    model = make_model(early_stopping=True)
    model.fit(pd.DataFrame(problem.X).add_prefix("x"), problem.y)
    assert hasattr(model, "validation_scores_")
    model.set_params(early_stopping=False).fit(problem.X, problem.y)
    expected = make_model().fit(problem.X, problem.y)
    assert vars(model).keys() == vars(expected).keys()
    assert "validation_loss" not in model.history_

    model.partial_fit(problem.X, problem.y)
    streamed = make_model().fit(problem.X, problem.y).partial_fit(problem.X, problem.y)
    assert vars(model).keys() == vars(streamed).keys()
    model.fit(problem.X, problem.y)
    assert vars(model).keys() == vars(expected).keys()
    np.testing.assert_array_equal(model.coef_, expected.coef_)


def test_feature_names_go_where_patches_have_none(problem, make_patch_model):
    rows = pd.DataFrame(problem.X[:, :9]).add_prefix("x")
    model = make_patch_model().fit(rows, problem.y)
    assert model.n_features_in_ == len(model.feature_names_in_) == 9
    model.fit(problem.patches[:, :, :4], problem.y)
    assert model.n_features_in_ == 4
    assert not hasattr(model, "feature_names_in_")


def test_no_method_changes_a_parameter(problem):
    params = {
        "kernel_size": [3, 3],
        "input_shape": np.array([8, 8]),
        "stride": (1, 1),
        "init": np.eye(9),
        "learning_rate": lambda step, losses: 0.1,
        "random_state": np.random.RandomState(0),
        "n_init": np.int64(3),
    }
    before = {name: copy.deepcopy(params[name]) for name in ("kernel_size", "init")}
    model = ConvReLUFilterRegressor(**params)
    model.fit(problem.X, problem.y).predict(problem.X)
    model.partial_fit(problem.X, problem.y).feature_map(problem.X)
    for name, value in params.items():
        assert model.get_params()[name] is value, name
    assert params["kernel_size"] == before["kernel_size"]
    np.testing.assert_array_equal(params["init"], before["init"])


@pytest.mark.parametrize(
    "coef",
    [
        np.ones(8),
        np.ones(10),
        np.ones((9, 1)),
        np.ones((1, 9)),
        np.float64(1.0),
        np.ones(0),
    ],
    ids=np.shape,
)
@pytest.mark.parametrize("use", ["predict", "feature_map", "partial_fit"])
def test_corrupted_filters_are_refused(use, coef, problem, make_model):
    model = make_model().fit(problem.X, problem.y)
    model.coef_ = coef
    arguments = (problem.X, problem.y) if use == "partial_fit" else (problem.X,)
    with pytest.raises(ValueError, match=r"coef_ has shape .* patch_dim=9"):
        getattr(model, use)(*arguments)


def test_warm_start_goes_on_from_the_filter(noise, make_model):
    model = make_model(polish=False, max_iter=3, warm_start=True)
    with pytest.warns(match="max_iter"):
        model.fit(noise.X, noise.y)
    first = model.loss_
    assert model.restart_losses_.shape == (16,)
    model.set_params(max_iter=300).fit(noise.X, noise.y)
    assert model.restart_losses_.shape == (1,)
    assert model.history_["loss"].shape[1] == 1
    assert model.history_["loss"][0, 0] == pytest.approx(first)
    assert model.loss_ < first


def test_warm_start_at_the_minimum_stays_there(problem, make_model):
    model = make_model(warm_start=True).fit(problem.X, problem.y)
    expected = model.coef_
    model.fit(problem.X, problem.y)
    np.testing.assert_allclose(model.coef_, expected)
    assert model.sign_ == 1


def test_warm_start_needs_the_same_patches(problem, make_model):
    model = make_model(warm_start=True).fit(problem.X, problem.y)
    expected = model.predict(problem.X)
    model.set_params(kernel_size=2)
    with pytest.raises(ValueError, match=r"patch_dim=4.*warm_start"):
        model.fit(problem.X, problem.y)
    model.set_params(kernel_size=3)
    np.testing.assert_array_equal(model.predict(problem.X), expected)


@pytest.mark.parametrize("params", [{"output_sign": -1}, {"fit_intercept": False}], ids=str)
def test_parameters_changed_since_are_obeyed(params, method, problem, make_model):
    y = problem.y + 5
    model = make_model(warm_start=True, **params).fit(problem.X, y)
    asked_for = model.sign_, bool(model.intercept_)
    model = make_model(warm_start=True).fit(problem.X, y).set_params(**params)
    getattr(model, method)(problem.X, y)
    assert (model.sign_, bool(model.intercept_)) == asked_for


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("copier", ["pickle", "joblib", "deepcopy"])
def test_copies_predict_and_go_on_alike(
    copier, dtype, method, problem, make_model, tmp_path
):
    X, y = problem.X.astype(dtype), problem.y
    model = getattr(make_model(), method)(X, y)
    if copier == "pickle":
        restored = pickle.loads(pickle.dumps(model))
    elif copier == "joblib":
        joblib.dump(model, tmp_path / "model")
        restored = joblib.load(tmp_path / "model", mmap_mode="r")
    else:
        restored = copy.deepcopy(model)
    np.testing.assert_array_equal(restored.predict(X), model.predict(X))
    restored.partial_fit(X, y)
    model.partial_fit(X, y)
    np.testing.assert_array_equal(restored.predict(X), model.predict(X))


def test_clones_have_the_parameters_and_nothing_else(problem, make_model):
    model = make_model(n_init=3, init=np.eye(9)[:3]).fit(problem.X, problem.y)
    copied = clone(model)
    assert vars(copied).keys() == model.get_params().keys()
    assert copied.n_init == 3
    copied.fit(problem.X, problem.y)
    np.testing.assert_array_equal(copied.coef_, model.coef_)


def test_fitted_attributes_are_arrays_numbers_and_containers(problem, make_model):
    # What skops loads without trust.
    model = make_model(early_stopping=True).fit(problem.X, problem.y)
    model.set_params(early_stopping=False).partial_fit(problem.X, problem.y)

    def leaves(value):
        if isinstance(value, dict):
            return itertools.chain.from_iterable(map(leaves, value.values()))
        return [value]

    for name in vars(model).keys() - model.get_params().keys():
        for leaf in leaves(vars(model)[name]):
            assert type(leaf) in (int, float, str, np.ndarray, np.float64, np.int64), name
