"""Both regressors: penalty, weights, stopping, warnings, threads, randomness, progress."""

import io
import itertools
import re
import sys
import time
from functools import cache

import joblib
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from skconvfilter import ConvReLUFilterRegressor
from skconvfilter.estimators.threads import block_mapper
from tests.estimators.cases import BANK, FILTER, RECIPES, distance

DESCENDING = [
    recipe
    for recipe in RECIPES
    if recipe.descends and str(recipe) not in ("filter", "filter-bias")
]


@cache
def fitted(recipe, **params):
    """A fit without weights, with which others are compared; not to be changed."""
    return recipe.fit(recipe.data(), **params)


gradient_descent = pytest.mark.parametrize("recipe", DESCENDING, ids=str)


def test_penalty_shrinks_the_filters(recipe):
    norms = [
        np.linalg.norm(model.coef_)
        for model in (
            fitted(recipe),
            *(recipe.fit(recipe.data(), alpha=alpha) for alpha in (0.05, 5.0)),
        )
    ]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < 0.5 * norms[0]


# Weights ----------------------------------------------------------------------------------


def test_zero_weight_leaves_a_sample_out(recipe):
    data = recipe.data()
    weights = np.random.RandomState(0).randint(0, 2, 300) * 0.5
    kept = weights > 0
    X, y = data.X.copy(), data.y.copy()
    X[~kept], y[~kept] = 1e6, -1e6
    model = recipe.fit(data._replace(X=X, y=y), weights, diagnostics=True)
    expected = recipe.fit(data._replace(X=data.X[kept], y=data.y[kept]), diagnostics=True)
    assert distance(model.coef_, expected.coef_) < 1e-7
    assert model.n_samples_seen_ == kept.sum()
    if recipe.is_bank:
        extremes = model.hessian_extremes_
        assert extremes == pytest.approx(expected.hessian_extremes_, rel=1e-6)


def test_integer_weights_are_repetitions(recipe):
    # Few enough samples for full batches, whose order does not matter.
    few = recipe.data().take(80)
    weights = np.random.RandomState(0).randint(1, 4, 80)
    repeated = few._replace(
        X=np.repeat(few.X, weights, axis=0), y=np.repeat(few.y, weights)
    )
    model, expected = recipe.fit(few, weights), recipe.fit(repeated)
    assert distance(model.coef_, expected.coef_) < 1e-4
    assert model.loss_ == pytest.approx(expected.loss_, rel=1e-6)


@pytest.mark.parametrize("unit", [7.0, 1e308])
def test_only_ratios_of_weights_matter(unit, recipe):
    data, weights = recipe.data(), np.linspace(0.1, 1, 300)
    model, expected = (recipe.fit(data, w) for w in (unit * weights, weights))
    assert distance(model.coef_, expected.coef_) < 1e-5
    assert model.relative_loss_ == pytest.approx(expected.relative_loss_)
    score = model.score(data.X, data.y, unit * weights)
    assert score == pytest.approx(model.score(data.X, data.y, weights))
    ones = recipe.fit(data, np.full(300, 1e-300))
    np.testing.assert_array_equal(ones.coef_, fitted(recipe).coef_)


# Stopping ---------------------------------------------------------------------------------


def test_early_stopping_keeps_the_best_on_samples_held_out(recipe):
    data = recipe.data()
    model = recipe.fit(data, early_stopping=True)
    scores, history = model.validation_scores_, model.history_
    assert scores.shape == model.loss_curve_.shape == (model.n_iter_ + 1,)
    assert type(model.best_validation_score_) is float
    assert model.best_validation_score_ == pytest.approx(scores.max(), abs=1e-9)
    # They are R^2: of the losses in the history, and of the fitted filters.
    ran = np.isfinite(history["loss"][:, model.best_restart_])
    losses = history["validation_loss"][ran, model.best_restart_]
    slope, offset = np.polyfit(losses, scores, 1)
    assert slope < 0
    assert offset == pytest.approx(1)
    # No restart was ever better there.
    assert np.nanmin(history["validation_loss"]) == pytest.approx(losses.min())
    without = fitted(recipe)
    assert not hasattr(without, "validation_scores_")
    assert not hasattr(without, "best_validation_score_")
    assert "validation_loss" not in without.history_


def test_early_stopping_holds_out_the_share_asked_for(case):
    data = case.data()
    model = case.fit(data, early_stopping=True, validation_fraction=0.25)
    assert model.n_samples_seen_ == 300
    # R^2 = 1 - loss / (half the variance of the targets held out).
    losses = model.history_["validation_loss"][:, model.best_restart_]
    losses = losses[np.isfinite(losses)]
    held_out = losses / (1 - model.validation_scores_)
    np.testing.assert_allclose(held_out, held_out[0])
    assert held_out[0] == pytest.approx(0.5 * data.y.var(), rel=0.3)


def test_validation_scores_of_constant_targets_are_numbers(case):
    data = case.data()
    constant = data._replace(y=np.full(300, 2.5))
    model = case.fit(constant, early_stopping=True)
    # As sklearn.metrics.r2_score has it for perfect predictions.
    assert model.best_validation_score_ == 1.0
    assert model.validation_scores_.max() == 1.0


@pytest.mark.parametrize(
    ("case", "params"),
    [
        (FILTER, {"polish": False, "max_iter": 2}),
        (FILTER, {"solver": "gd", "polish": False, "max_iter": 2}),
        (FILTER, {"solver": "levenberg-marquardt", "max_iter": 1}),
        (FILTER, {"solver": "levenberg-marquardt", "max_iter": 1, "polish": False}),
        (BANK, {"init": "random", "max_iter": 1}),
        (BANK, {"init": "random", "max_iter": 1, "solver": "sgd", "n_init": 1}),
    ],
    ids=str,
)
def test_fit_that_runs_out_of_iterations_says_so(case, params):
    data = case.data()
    with pytest.warns(ConvergenceWarning, match="increase max_iter") as caught:
        model = case.make(**params).fit(data.X, data.y)
    if not getattr(model, "polish", False):
        assert model.n_iter_ == params["max_iter"]
    # The remedies are parameters of the estimator.
    for name in ConvReLUFilterRegressor().get_params().keys() - model.get_params().keys():
        assert not re.search(rf"\b{name}\b", str(caught[0].message))


@gradient_descent
def test_tolerance_and_patience_end_a_fit(recipe):
    lengths = [
        recipe.fit(
            recipe.data(), tol=tol, n_iter_no_change=patience, n_init=1, max_iter=200
        ).n_iter_
        for tol, patience in [(0.5, 1), (0.5, 4), (1e-4, 4)]
    ]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


@pytest.mark.parametrize("n_jobs", [None, 2])
@pytest.mark.parametrize("rate", [1e6, 1e12])
@gradient_descent
def test_far_too_large_rates_end_in_a_warning(rate, n_jobs, recipe):
    data = recipe.data()
    rates = {"learning_rate_init": rate, "learning_rate_final": rate}
    model = recipe.make(max_iter=50, n_jobs=n_jobs, **rates)
    # The loss rises without bound: that it falls no longer is no convergence.
    with pytest.warns(ConvergenceWarning, match="lower learning_rate_init"):
        model.fit(data.X, data.y)
    assert np.isfinite(model.coef_).all()
    # The best iterate is no worse than the best start.
    assert model.loss_ <= np.nanmin(model.history_["loss"][0]) * (1 + 1e-9)


@gradient_descent
def test_restarts_that_diverge_leave_the_field_to_the_others(recipe):
    data = recipe.data()
    shape = (6, 2, 4) if recipe.is_bank else (6, 4)
    init = 0.3 * np.random.default_rng(0).standard_normal(shape)

    def learning_rate(step, losses):
        # One filter's restarts run together, a bank's one after another.
        rates = np.full(losses.shape[1], 0.02)
        rates[losses[0] > np.median(first)] = 1e12
        return rates

    still = recipe.fit(data, init=init, learning_rate=lambda *_: 1e-12, max_iter=1)
    first = still.history_["loss"][still.history_["stage"] == "start"]
    model = recipe.fit(data, init=init, learning_rate=learning_rate, max_iter=10)
    assert model.loss_ < first.min()
    assert np.isfinite(model.coef_).all()


# Threads and randomness -------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
def test_threads_change_nothing(early_stopping, recipe):
    # Several of the blocks that threads work on.
    data = recipe.data(2300)
    params = {"n_init": 2, "max_iter": 3, "diagnostics": not early_stopping}
    one, two = (
        recipe.fit(data, n_jobs=n_jobs, early_stopping=early_stopping, **params)
        for n_jobs in (1, 2)
    )
    for name, expected in vars(one).items():
        if name == "certificate_":
            assert str(two.certificate_) == str(expected)
        elif isinstance(expected, dict):
            for key in expected:
                np.testing.assert_array_equal(getattr(two, name)[key], expected[key])
        elif name != "n_jobs" and name.endswith("_"):
            np.testing.assert_array_equal(getattr(two, name), expected, err_msg=name)
    np.testing.assert_array_equal(two.predict(data.X), one.predict(data.X))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_number_of_threads_may_come_from_a_context(backend, case):
    data = case.data(2300)
    expected = case.fit(data)
    with joblib.parallel_config(backend, n_jobs=2):
        model = case.fit(data)
        prediction = model.predict(data.X)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(prediction, expected.predict(data.X))


def test_errors_in_threads_propagate():
    def fail_late(number):
        if number == 20:
            raise MemoryError("full")
        return number

    with block_mapper(2) as map_blocks, pytest.raises(MemoryError, match="full"):
        list(map_blocks(fail_late, range(30)))
    with block_mapper(2) as map_blocks:
        assert list(map_blocks(fail_late, range(19))) == list(range(19))


def test_random_state_decides_a_fit(recipe):
    @cache
    def start(seed, make=int):
        # The tensor method's start is random where it takes a random contraction.
        params = {"contraction": "single"} if recipe.is_bank else {}
        params |= {"max_iter": 2, "early_stopping": True, "random_state": make(seed)}
        return recipe.fit(recipe.data(), **params).coef_path_

    np.testing.assert_array_equal(start(3, np.random.RandomState), start(3))
    np.testing.assert_array_equal(start(3, np.int64), start(3))
    assert start(3).shape != start(4).shape or not np.array_equal(start(3), start(4))


def test_global_random_state_is_used_only_where_asked_for(case):
    def losses(**params):
        # NumPy's legacy generator is what scikit-learn takes for random_state=None: hence
        # the silenced rule, here and below.
        np.random.seed(7)  # noqa: NPY002
        return case.fit(case.data(), max_iter=2, **params).loss_curve_

    losses()
    before = np.random.RandomState(7).get_state()[1]
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.testing.assert_array_equal(losses(random_state=None), losses(random_state=None))
    assert (np.random.get_state()[1] != before).any()  # noqa: NPY002


# Progress ---------------------------------------------------------------------------------


def test_progress_is_printed_only_on_demand(recipe, capsys):
    data = recipe.data()
    recipe.fit(data).predict(data.X)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    model = recipe.fit(data, verbose=2)
    header, *lines, end = capsys.readouterr().out.splitlines()
    assert header.split() == ["phase", "iteration", "running", "unexplained", "seconds"]
    n_lines = len(lines)
    # Of the steps in which a bank grows there is no history.
    lines = [line for line in lines if not line.startswith("forward")]
    # A line for every iteration.
    assert len(lines) == len(model.history_["iteration"]) - 1
    running = np.isfinite(model.history_["loss"][1:]).sum(axis=1)
    cells = [line.rsplit(maxsplit=4) for line in lines]
    phases, numbers, n_running, shares, seconds = zip(*cells, strict=True)
    assert {len(line) for line in lines} == {len(header)}
    assert set(phases) == set(model.history_["stage"][1:].ravel()) - {"", "start"}
    last = [int(number) for number in numbers][-len(lines) :]
    assert last == sorted(set(last))
    assert last[-1] == n_lines
    if not model.get_params().get("polish", recipe.is_bank):
        np.testing.assert_array_equal(np.array(n_running, dtype=int), running)
    shares, seconds = np.array(shares, dtype=float), np.array(seconds, dtype=float)
    assert (np.diff(shares) <= 0).all()
    assert shares[-1] == pytest.approx(2 * model.loss_ / data.y.var(), rel=1e-3)
    assert (np.diff(seconds) >= 0).all()
    assert seconds[0] >= 0
    assert end.startswith("end: ")
    assert f"; best_restart_={model.best_restart_}, loss_={model.loss_:.4g}, " in end
    assert f" {n_lines} iterations, " in end


def test_verbose_1_prints_few_lines_and_waits_for_no_buffer(recipe, monkeypatch):
    data = recipe.data()

    class Pipe(io.StringIO):
        """Keeps what has been flushed."""

        flushed = ""

        def flush(self):
            self.flushed = self.getvalue()

    pipe = Pipe()
    monkeypatch.setattr(sys, "stdout", pipe)
    begin = time.perf_counter()
    recipe.fit(data, verbose=1)
    seconds = time.perf_counter() - begin
    assert pipe.flushed == pipe.getvalue()
    _, first, *lines, end = pipe.flushed.splitlines()
    assert first.rsplit(maxsplit=4)[1] == "1"
    assert end.startswith("end: ")
    shares = [float(line.rsplit(maxsplit=4)[3]) for line in [first, *lines]]
    fallen = sum(after <= 0.1 * before for before, after in itertools.pairwise(shares))
    assert len(lines) <= seconds + fallen
