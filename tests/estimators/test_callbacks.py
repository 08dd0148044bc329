"""scikit-learn's callbacks: what they are told of a fit, and that they may end it."""

import pickle
from typing import NamedTuple

import numpy as np
import pytest
from skconvfilter.estimators.watching import CallbackSupportMixin
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skconvfilter import (
    ConvFilterBankRegressor,
    ConvPatchExtractor,
    ConvReLUFilterRegressor,
)
from skconvfilter.datasets import make_filter_bank_regression, make_filter_regression
from skconvfilter.estimators import outcome, regressor

callback_api = pytest.importorskip(
    "sklearn.callback", reason="scikit-learn has callbacks from 1.9"
)

# What a fit learns and a copy of it may hold.
CURVES = ("coef_", "intercept_", "loss_curve_", "restart_losses_")


class Event(NamedTuple):
    hook: str
    task: tuple  # (name, id) from the outermost task on
    X: object = None
    y: object = None
    metadata: object = None
    fitted: object = None


class Recorder:
    """Keeps what its hooks are told, and asks for a stop after some iterations."""

    def __init__(self, stop_after=None, fail_after=None):
        self.events = []
        self.stop_after = stop_after
        self.fail_after = fail_after
        self.n_ended = 0

    def setup(self, estimator, context):
        self.events.append(Event("setup", path(context)))

    def teardown(self, estimator, context):
        self.events.append(Event("teardown", path(context)))

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None, metadata=None):
        self.events.append(Event("begin", path(context), X, y, metadata))

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        event = Event("end", path(context), X, y, metadata, fitted_estimator)
        self.events.append(event)
        self.n_ended += 1
        if self.n_ended == self.fail_after:
            raise RuntimeError("the callback fails")
        return self.n_ended == self.stop_after

    def of(self, hook, task_name=None):
        """The events of a hook, of tasks of a name."""
        return [
            event
            for event in self.events
            if event.hook == hook and task_name in (None, event.task[-1][0])
        ]


def path(context):
    """Names and ids of a task and those around it, outermost first."""
    above = () if context.parent is None else path(context.parent)
    return (*above, (context.task_name, context.task_id))


@pytest.fixture(scope="session")
def filter_data():
    """Noisy targets of one filter."""
    X, y = make_filter_regression(
        400, kernel_size=3, input_shape=(6, 6), snr=4, random_state=0
    )
    return X, y


@pytest.fixture(scope="session")
def bank_data():
    """Noisy targets of two filters."""
    X, y = make_filter_bank_regression(
        400, n_filters=2, kernel_size=5, stride=5, input_shape=15, snr=4, random_state=0
    )
    return X, y


@pytest.fixture(params=["filter", "SGD", "early stopping", "bank"])
def unfitted(request, filter_data, bank_data):
    """An estimator, and data for it."""
    if request.param == "bank":
        model = ConvFilterBankRegressor(
            2, kernel_size=5, stride=5, n_init=3, init="random", random_state=0
        )
        return model, *bank_data
    params = {
        "filter": {},
        "SGD": {"polish": False, "max_iter": 300},
        "early stopping": {"early_stopping": True},
    }[request.param]
    model = ConvReLUFilterRegressor(
        3, input_shape=(6, 6), n_init=4, diagnostics=False, random_state=0, **params
    )
    return model, *filter_data


def assert_same_fit(model, expected):
    for name in CURVES:
        np.testing.assert_array_equal(getattr(model, name), getattr(expected, name))
    assert vars(model).keys() - {"_skl_callbacks"} == vars(expected).keys()


def test_watching_changes_nothing(unfitted, capsys):
    model, X, y = unfitted
    expected = clone(model).fit(X, y)
    watched = clone(model).set_params(verbose=1)
    watched.set_callbacks(Recorder(), callback_api.ScoringMonitor(scoring="r2"))
    assert_same_fit(watched.fit(X, y), expected)
    assert capsys.readouterr().out
    # And a second fit is as the first.
    assert_same_fit(watched.fit(X, y), expected)


def test_every_iteration_is_a_task(unfitted):
    model, X, y = unfitted
    recorder = Recorder()
    model.set_callbacks(recorder).fit(X, y)
    n_iterations = len(model.history_["iteration"]) - 1
    hooks = [(event.hook, *event.task[-1]) for event in recorder.events]
    iterations = [
        (hook, "iteration", number)
        for number in range(n_iterations + 1)
        for hook in ("begin", "end")
    ]
    assert hooks == [
        ("setup", "fit", 0),
        ("begin", "fit", 0),
        *iterations,
        ("end", "fit", 0),
        ("teardown", "fit", 0),
    ]
    # The last one is empty: it never ran.
    *ended, empty = recorder.of("end", "iteration")
    assert empty[2:] == (None, None, None, None)
    for event in (*recorder.of("begin"), *ended, *recorder.of("end", "fit")):
        assert event.X is X
        assert event.y is y
        assert event.metadata is None


def test_fitted_estimator_is_the_best_so_far(unfitted):
    model, X, y = unfitted
    model.set_params(alpha=0.0)
    recorder = Recorder()
    model.set_callbacks(recorder).fit(X, y)
    *ended, _ = recorder.of("end", "iteration")
    scores = [event.fitted.score(X, y) for event in ended]
    if not getattr(model, "early_stopping", False):
        np.testing.assert_allclose(scores, np.maximum.accumulate(scores), rtol=1e-9)
    assert scores[-1] > scores[0]
    for fitted in (ended[-1].fitted, recorder.of("end", "fit")[0].fitted):
        np.testing.assert_allclose(fitted.predict(X), model.predict(X), rtol=1e-9)
        np.testing.assert_allclose(fitted.coef_, model.coef_, rtol=1e-6, atol=1e-12)
        assert fitted.feature_map(X[:2]).shape == model.feature_map(X[:2]).shape
        assert fitted is not model


@pytest.mark.parametrize("n_iterations", [1, 5])
def test_callback_stops_the_fit_with_the_best_so_far(unfitted, n_iterations):
    model, X, y = unfitted
    recorder = Recorder(stop_after=n_iterations)
    # No warning of a lack of convergence: it was asked for.
    model.set_callbacks(recorder).fit(X, y)
    assert len(recorder.of("end", "iteration")) == n_iterations
    assert len(recorder.of("end", "fit")) == len(recorder.of("teardown")) == 1
    assert len(model.history_["iteration"]) == n_iterations + 1
    told = recorder.of("end", "iteration")[-1].fitted
    if not getattr(model, "early_stopping", False):
        assert model.score(X, y) >= told.score(X, y) - 1e-9
        expected = 0.5 * np.mean((y - model.predict(X)) ** 2)
        assert model.loss_ == pytest.approx(expected)
    assert 1 <= model.n_iter_ <= n_iterations
    model.set_callbacks().fit(X, y)
    assert len(model.history_["iteration"]) > n_iterations + 1


def test_weights_are_told(unfitted):
    model, X, y = unfitted
    weights = np.linspace(0.5, 1, len(y))
    recorder = Recorder()
    monitor = callback_api.ScoringMonitor(scoring="r2")
    model.set_callbacks(recorder, monitor).fit(X, y, weights)
    *ended, _ = recorder.of("end", "iteration")
    assert all(event.metadata["sample_weight"] is weights for event in ended)
    last = monitor.get_logs().data[-1]["r2"]
    assert last == pytest.approx(r2_score(y, model.predict(X), sample_weight=weights))


def test_scores_are_monitored(unfitted):
    model, X, y = unfitted
    monitor = callback_api.ScoringMonitor(scoring=["r2", "neg_mean_squared_error"])
    model.set_callbacks(monitor).fit(X, y)
    log = monitor.get_logs()
    rows = [row for row in log.data if row["task_name"] == "iteration"]
    assert len(rows) == len(model.history_["iteration"]) - 1
    assert rows[-1]["r2"] == pytest.approx(model.score(X, y))
    assert rows[-1]["r2"] > rows[0]["r2"]


@pytest.mark.parametrize(
    ("unfitted", "n_jobs"),
    [("filter", None), ("filter", 2), ("bank", None), ("bank", 2)],
    indirect=["unfitted"],
)
def test_scores_are_monitored_in_a_search(unfitted, n_jobs):
    model, X, y = unfitted
    monitor = callback_api.ScoringMonitor(scoring="r2")
    grid = {"random_state": [0, 1]}
    search = GridSearchCV(model.set_callbacks(monitor), grid, cv=2, n_jobs=n_jobs)
    search.fit(X, y)
    (log,) = monitor.get_logs(select="all")
    fits = {row["parent_task_id_path"] for row in log.data if row["task_name"] != "fit"}
    assert len(fits) == 2 * 2 + 1
    assert log.estimator_name == "GridSearchCV"
    last = log.data_as_pandas.query("task_name == 'iteration'").iloc[-1]
    assert np.isfinite(last.r2)


def test_fit_in_a_pipeline_is_watched(filter_data):
    X, y = filter_data
    recorder = Recorder()
    model = ConvReLUFilterRegressor(n_init=4, random_state=0).set_callbacks(recorder)
    pipeline = make_pipeline(
        StandardScaler(), ConvPatchExtractor(3, input_shape=(6, 6)), model
    )
    pipeline.fit(X, y)
    *ended, _ = recorder.of("end", "iteration")
    assert [name for name, _ in ended[0].task] == ["fit", "fit", "iteration"]
    patches = pipeline[:-1].transform(X)
    np.testing.assert_allclose(
        ended[-1].fitted.predict(patches), pipeline.predict(X), rtol=1e-9
    )


@pytest.fixture
def progress_bar():
    pytest.importorskip("rich", reason="scikit-learn's progress bar needs rich")
    return callback_api.ProgressBar(max_propagation_depth=None)


def test_progress_bar(unfitted, progress_bar, capsys):
    model, X, y = unfitted
    model.set_callbacks(progress_bar).fit(X, y)
    printed = capsys.readouterr().out
    assert f"{type(model).__name__} - fit" in printed
    assert "100%" in printed


@pytest.mark.parametrize("unfitted", ["filter", "bank"], indirect=True)
def test_progress_bar_of_a_search_in_a_pipeline(unfitted, progress_bar, capsys):
    model, X, y = unfitted
    pipeline = make_pipeline(StandardScaler(), model)
    grid = {f"{pipeline.steps[-1][0]}__random_state": [0, 1]}
    search = GridSearchCV(pipeline, grid, cv=2).set_callbacks(progress_bar).fit(X, y)
    printed = capsys.readouterr().out
    assert printed.count(f"{type(model).__name__} - fit") == 2 * 2 + 1
    assert not hasattr(search.best_estimator_[-1], "_skl_callbacks")


def test_callbacks_are_done_with_when_a_fit_fails(unfitted):
    model, X, y = unfitted
    fitted = clone(model).fit(X, y)
    before = vars(fitted).copy()
    recorder = Recorder(fail_after=3)
    fitted.set_callbacks(recorder)
    with pytest.raises(RuntimeError, match="the callback fails"):
        fitted.fit(X[:300], y[:300])
    assert len(recorder.of("teardown")) == 1
    fitted.set_callbacks()
    assert vars(fitted).keys() == before.keys()
    assert all(vars(fitted)[name] is value for name, value in before.items())


@pytest.mark.parametrize("bad", ["X", "parameter"])
def test_bad_input_is_refused_before_callbacks_begin(unfitted, bad):
    model, X, y = unfitted
    recorder = Recorder()
    model.set_callbacks(recorder)
    if bad == "X":
        X = np.where(np.arange(X.shape[1]) == 0, np.nan, X)
    else:
        model.set_params(n_init=0)
    with pytest.raises(ValueError, match=r"NaN|n_init"):
        model.fit(X, y)
    assert recorder.events == []


def test_nobody_pays_who_does_not_watch(unfitted, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(CallbackSupportMixin, "_init_callback_context", refuse)
    model, X, y = unfitted
    model.fit(X, y)
    model.set_callbacks(Recorder()).set_callbacks().fit(X, y)


def test_filter_beyond_its_dtype_is_not_told(filter_data, monkeypatch):
    n_told = 0

    def found_filter(*args):
        nonlocal n_told
        n_told += 1
        if n_told == 1:
            raise ValueError("the filter that fits y exceeds the range of float32")
        return outcome.found_filter(*args)

    monkeypatch.setattr(regressor, "found_filter", found_filter)
    recorder = Recorder()
    model = ConvReLUFilterRegressor(3, input_shape=(6, 6), random_state=0)
    model.set_callbacks(recorder).fit(*filter_data)
    first, *others, _ = recorder.of("end", "iteration")
    assert first.fitted is None
    assert all(event.fitted is not None for event in others)


def test_fitted_estimator_is_pickled_with_its_callbacks(unfitted):
    model, X, y = unfitted
    monitor = callback_api.ScoringMonitor(scoring="r2")
    model.set_callbacks(monitor).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
