"""scikit-learn's callbacks: what they are told of a fit, and that they may end it."""

import pickle
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skconvfilter import ConvPatchExtractor, ConvReLUFilterRegressor
from skconvfilter.estimators.filter import FilterProblem
from tests.estimators.cases import BANK, FILTER, GEOMETRY

callback_api = pytest.importorskip(
    "sklearn.callback", reason="scikit-learn has callbacks from 1.9"
)

# What two fits that are the same have in common.
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


UNFITTED = {
    "filter": (FILTER, {}),
    "sgd": (FILTER, {"polish": False, "learning_rate_init": 0.1, "tol": 1e-3}),
    "early stopping": (FILTER, {"early_stopping": True}),
    "bank": (BANK, {"init": "random", "n_init": 3}),
    "bank gd": (BANK, {"init": "random", "n_init": 2, "solver": "gd", "tol": 1e-2}),
}


@pytest.fixture(params=UNFITTED)
def unfitted(request):
    """An estimator, and data for it."""
    case, params = UNFITTED[request.param]
    return case.make(**params), *case.data().take(150)[:2]


def assert_same_fit(model, expected):
    for name in CURVES:
        np.testing.assert_array_equal(getattr(model, name), getattr(expected, name))
    assert vars(model).keys() - {"_skl_callbacks"} == vars(expected).keys()


def test_callbacks_change_nothing(unfitted, capsys):
    model, X, y = unfitted
    expected = clone(model).fit(X, y)
    followed = clone(model).set_params(verbose=1)
    followed.set_callbacks(Recorder(), callback_api.ScoringMonitor(scoring="r2"))
    assert_same_fit(followed.fit(X, y), expected)
    assert capsys.readouterr().out
    # And a second fit is as the first.
    assert_same_fit(followed.fit(X, y), expected)


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
    recorder = Recorder()
    model.set_callbacks(recorder).fit(X, y)
    *ended, _ = recorder.of("end", "iteration")
    scores = [event.fitted.score(X, y) for event in ended]
    if not model.early_stopping:
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
    if not model.early_stopping:
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
    [("filter", None), ("filter", 2), ("bank", None)],
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


def test_fit_in_a_pipeline_is_followed():
    X, y = FILTER.data()[:2]
    recorder = Recorder()
    model = FILTER.make_for_patches().set_callbacks(recorder)
    pipeline = make_pipeline(StandardScaler(), ConvPatchExtractor(**GEOMETRY), model)
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
        fitted.fit(X, y)
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


def test_fits_without_callbacks_make_no_tasks():
    class Regressor(ConvReLUFilterRegressor):
        def _init_callback_context(self, **kwargs):
            raise AssertionError("somebody follows")

    X, y = FILTER.data()[:2]
    model = Regressor(**FILTER.make().get_params()).fit(X, y)
    model.set_callbacks(Recorder()).set_callbacks().fit(X, y)
    with pytest.raises(AssertionError, match="somebody follows"):
        model.set_callbacks(Recorder()).fit(X, y)


def test_filters_beyond_their_dtype_are_not_told():
    class FirstIsTooLong(FilterProblem):
        def prediction_attributes(self, dataset, scaling, found):
            if not recorder.of("end", "iteration"):
                raise ValueError("the filter that fits y exceeds the range of float32")
            return super().prediction_attributes(dataset, scaling, found)

    class Regressor(ConvReLUFilterRegressor):
        def _problem(self, dataset):
            return FirstIsTooLong(super()._problem(dataset).settings)

    recorder = Recorder()
    model = Regressor(**FILTER.make().get_params())
    model.set_callbacks(recorder).fit(*FILTER.data()[:2])
    first, *others, _ = recorder.of("end", "iteration")
    assert first.fitted is None
    assert all(event.fitted is not None for event in others)


def test_fitted_estimator_is_pickled_with_its_callbacks(unfitted):
    model, X, y = unfitted
    monitor = callback_api.ScoringMonitor(scoring="r2")
    model.set_callbacks(monitor).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
