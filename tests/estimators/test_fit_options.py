"""Penalty, weights, early stopping, warnings, threads, randomness, progress."""

import joblib
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

RECIPES = {
    "default": {},
    "SGD": {"polish": False, "max_iter": 300},
    "GD": {"solver": "gd", "polish": False, "n_init": 4},
    "Gauss-Newton": {"solver": "gauss-newton"},
}


@pytest.mark.parametrize("params", RECIPES.values(), ids=RECIPES.keys())
def test_penalty_shrinks_the_filter(params, noise, make_model):
    norms = [
        np.linalg.norm(make_model(alpha=alpha, **params).fit(noise.X, noise.y).coef_)
        for alpha in (0.0, 0.01, 0.1, 1.0)
    ]
    assert norms == sorted(norms, reverse=True)
    assert norms[-1] < 0.5 * norms[0]


@pytest.mark.parametrize("params", RECIPES.values(), ids=RECIPES.keys())
def test_zero_weight_leaves_a_sample_out(params, noise, make_model):
    weights = np.random.RandomState(0).randint(0, 2, 400) * 0.5
    X, y = noise.X.copy(), noise.y.copy()
    X[weights == 0], y[weights == 0] = 1e6, -1e6
    model = make_model(**params).fit(X, y, weights)
    kept = weights > 0
    expected = make_model(**params).fit(noise.X[kept], noise.y[kept])
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-9)
    assert model.n_samples_seen_ == kept.sum()


@pytest.mark.parametrize("params", RECIPES.values(), ids=RECIPES.keys())
def test_integer_weights_are_repetitions(params, noise, make_model):
    # Few enough samples for full batches, whose order does not matter.
    few = noise.take(80)
    weights = np.random.RandomState(0).randint(1, 4, 80)
    model = make_model(**params).fit(few.X, few.y, weights)
    repeated = make_model(**params).fit(
        np.repeat(few.X, weights, axis=0), np.repeat(few.y, weights)
    )
    np.testing.assert_allclose(model.coef_, repeated.coef_, rtol=1e-5)
    assert model.loss_ == pytest.approx(repeated.loss_, rel=1e-6)


@pytest.mark.parametrize("unit", [2.0, 1e-300, 1e300])
@pytest.mark.parametrize("recipe", ["default", "SGD"])
def test_only_ratios_of_weights_matter(recipe, unit, noise, make_model):
    params = RECIPES[recipe]
    weights = np.linspace(0.1, 1, 400)
    model = make_model(**params).fit(noise.X, noise.y, weights * unit)
    expected = make_model(**params).fit(noise.X, noise.y, weights)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-6)
    ones = make_model(**params).fit(noise.X, noise.y, np.full(400, unit))
    unweighted = make_model(**params).fit(noise.X, noise.y)
    np.testing.assert_array_equal(ones.coef_, unweighted.coef_)


@pytest.mark.parametrize("params", RECIPES.values(), ids=RECIPES.keys())
def test_early_stopping_keeps_the_best_on_samples_held_out(params, noise, make_model):
    model = make_model(early_stopping=True, **params).fit(noise.X, noise.y)
    scores = model.validation_scores_
    assert scores.shape == model.loss_curve_.shape == (model.n_iter_ + 1,)
    assert model.best_validation_score_ == pytest.approx(scores.max(), abs=1e-12)
    assert scores.max() <= 1
    # The scores are those of the losses in the history.
    own = model.history_["validation_loss"][:, model.best_restart_]
    own = own[np.isfinite(model.history_["loss"][:, model.best_restart_])]
    slope, offset = np.polyfit(own, scores, 1)
    assert slope < 0
    assert offset == pytest.approx(1)
    # No restart was ever better there.
    assert np.nanmin(model.history_["validation_loss"]) == pytest.approx(own.min())


def test_early_stopping_holds_out_the_share_asked_for(noise, make_model):
    model = make_model(early_stopping=True, validation_fraction=0.25)
    y = np.arange(400.0)
    model.fit(noise.X, y)
    held_out = 0.5 * np.var(y)
    # R^2 = 1 - loss / (half the variance held out).
    powers = model.history_["validation_loss"][:, model.best_restart_]
    powers = powers[np.isfinite(powers)] / (1 - model.validation_scores_)
    np.testing.assert_allclose(powers, powers[0])
    assert powers[0] == pytest.approx(held_out, rel=0.2)


def test_fit_without_early_stopping_has_no_validation(noise, make_model):
    model = make_model().fit(noise.X, noise.y)
    assert not hasattr(model, "validation_scores_")
    assert not hasattr(model, "best_validation_score_")


@pytest.mark.parametrize(
    "params",
    [
        {"polish": False, "max_iter": 2},
        {"solver": "gd", "polish": False, "max_iter": 2},
        {"solver": "gauss-newton", "max_iter": 1},
        {"solver": "gauss-newton", "max_iter": 1, "polish": False},
    ],
    ids=str,
)
def test_fit_that_runs_out_of_iterations_says_so(params, noise, make_model):
    with pytest.warns(ConvergenceWarning, match="increase max_iter, or set polish=True"):
        model = make_model(**params).fit(noise.X, noise.y)
    if not model.polish:
        assert model.n_iter_ == params["max_iter"]


def test_tolerance_and_patience_end_a_fit(noise, make_model):
    lengths = [
        make_model(solver="gd", polish=False, tol=tol, n_iter_no_change=patience)
        .fit(noise.X, noise.y)
        .n_iter_
        for tol, patience in [(0.5, 1), (0.5, 4), (1e-2, 4), (1e-4, 4)]
    ]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) == 4


@pytest.mark.parametrize("params", RECIPES.values(), ids=RECIPES.keys())
@pytest.mark.filterwarnings("ignore:The best restart has not converged")
@pytest.mark.parametrize("early_stopping", [False, True])
def test_threads_change_nothing(params, early_stopping, all_digits, make_model):
    params = {"n_init": 4, "early_stopping": early_stopping} | params
    params["max_iter"] = 5
    one, two = (
        make_model(n_jobs=n_jobs, **params).fit(all_digits.X, all_digits.y)
        for n_jobs in (1, 2)
    )
    np.testing.assert_array_equal(two.coef_, one.coef_)
    np.testing.assert_array_equal(two.restart_losses_, one.restart_losses_)
    np.testing.assert_array_equal(two.history_["loss"], one.history_["loss"])
    np.testing.assert_array_equal(two.predict(all_digits.X), one.predict(all_digits.X))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_number_of_threads_may_come_from_a_context(backend, all_digits, make_model):
    expected = make_model(n_init=4).fit(all_digits.X, all_digits.y)
    with joblib.parallel_config(backend, n_jobs=2):
        model = make_model(n_init=4).fit(all_digits.X, all_digits.y)
        prediction = model.predict(all_digits.X)
    np.testing.assert_array_equal(model.coef_, expected.coef_)
    np.testing.assert_array_equal(prediction, expected.predict(all_digits.X))


@pytest.mark.parametrize("params", RECIPES.values(), ids=RECIPES.keys())
def test_random_state_decides_a_fit(params, noise, make_model):
    params = {"early_stopping": True} | params

    def losses(random_state):
        model = make_model(random_state=random_state, **params)
        return model.fit(noise.X, noise.y).restart_losses_

    np.testing.assert_array_equal(losses(3), losses(3))
    np.testing.assert_array_equal(losses(np.random.RandomState(3)), losses(3))
    assert not np.array_equal(losses(3), losses(4))


def test_global_random_state_is_used_only_where_asked_for(noise, make_model):
    # NumPy's legacy generator is what scikit-learn takes for random_state=None.
    np.random.seed(7)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    make_model().fit(noise.X, noise.y)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    first = make_model(random_state=None).fit(noise.X, noise.y).restart_losses_
    np.random.seed(7)  # noqa: NPY002
    second = make_model(random_state=None).fit(noise.X, noise.y).restart_losses_
    np.testing.assert_array_equal(first, second)


def test_progress_is_printed_only_on_demand(noise, make_model, capsys):
    make_model().fit(noise.X, noise.y).partial_fit(noise.X, noise.y).predict(noise.X)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    model = make_model(polish=False, max_iter=300, verbose=1).fit(noise.X, noise.y)
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["phase", "iteration", "running", "unexplained", "seconds"]
    # A line for every iteration of the restart that runs longest.
    assert len(lines) == len(model.history_["iteration"]) - 1
    running = np.isfinite(model.history_["loss"][1:]).sum(axis=1)
    shares, times = [], []
    for number, line in enumerate(lines, start=1):
        phase, iteration, n_running, share, seconds = line.rsplit(maxsplit=4)
        assert phase in ("stage 1", "stage 2")
        assert int(iteration) == number
        assert int(n_running) == running[number - 1]
        shares.append(float(share))
        times.append(float(seconds))
        assert len(line) == len(header)
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] == pytest.approx(2 * model.loss_ / noise.y.var(), rel=1e-3)
    assert times == sorted(times)
    assert times[0] >= 0


def test_progress_names_the_phases(noise, make_model, capsys):
    make_model(verbose=1).fit(noise.X, noise.y)
    phases = [line[:8].strip() for line in capsys.readouterr().out.splitlines()[1:]]
    assert set(phases) == {"stage 1", "polish"}
    assert phases == sorted(phases, reverse=True)
