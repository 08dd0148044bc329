"""How the filter is searched for: objective, starts, learning rates, stopping, history."""

import numpy as np
import pytest

from skconvfilter import ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_regression

HISTORY = {
    "iteration",
    "loss",
    "relative_loss",
    "gradient_norm",
    "learning_rate",
    "angle",
    "stage",
}
RECIPES = {
    "default": {},
    "SGD": {"polish": False, "max_iter": 300},
    "GD": {"solver": "gd", "polish": False},
    "Gauss-Newton": {"solver": "gauss-newton"},
    "Gauss-Newton alone": {"solver": "gauss-newton", "polish": False},
}

stops_early = pytest.mark.filterwarnings("ignore:The best restart has not converged")


def error_and_gradient(patches, y, w, sign, weights, alpha=0.0, intercept=0.0):
    """Mean squared error, and the gradient of half of it plus penalty, by loops."""
    squares, gradient = 0.0, alpha * w
    for sample, target, weight in zip(patches, y, weights / weights.sum(), strict=True):
        active = sample[sample @ w > 0].sum(axis=0) / len(sample)
        error = sign * active @ w + intercept - target
        squares += weight * error**2
        gradient = gradient + weight * error * sign * active
    return squares, gradient


@pytest.fixture
def easy():
    """Normal signals: gradient descent has a clear way to the teacher."""
    return make_filter_regression(
        150, kernel_size=3, input_shape=12, return_teacher=True, random_state=0
    )


@pytest.mark.parametrize("alpha", [0.0, 0.05])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("params", RECIPES.values(), ids=RECIPES.keys())
def test_loss_is_the_documented_objective(params, weighted, alpha, noise, make_model):
    weights = np.linspace(0.5, 3, 400) if weighted else np.ones(400)
    model = make_model(alpha=alpha, **params)
    model.fit(noise.X, noise.y, weights if weighted else None)
    w = model.coef_
    squares, gradient = error_and_gradient(
        noise.patches, noise.y, w, model.sign_, weights, alpha, model.intercept_
    )
    assert model.loss_ == pytest.approx(0.5 * squares + 0.5 * alpha * w @ w, rel=1e-9)
    mean = np.average(noise.y, weights=weights)
    assert model.relative_loss_ == pytest.approx(squares / mean**2, rel=1e-9)
    # The intercept is the best one for the filter.
    errors = model.predict(noise.X) - noise.y
    assert np.average(errors, weights=weights) == pytest.approx(0, abs=1e-10)
    # At the minimum the gradient vanishes.
    if params.get("polish", True):
        np.testing.assert_allclose(gradient, 0, atol=1e-4)


@pytest.mark.parametrize("params", RECIPES.values(), ids=RECIPES.keys())
def test_history_describes_every_restart(params, noise, make_model):
    model = make_model(n_init=6, **params).fit(noise.X, noise.y)
    history = model.history_
    assert history.keys() == HISTORY
    rows = len(history["iteration"])
    np.testing.assert_array_equal(history["iteration"], np.arange(rows))
    assert all(history[name].shape == (rows, 6) for name in HISTORY - {"iteration"})
    ran = history["stage"] != ""
    for name in HISTORY - {"iteration", "stage", "learning_rate", "angle"}:
        np.testing.assert_array_equal(np.isfinite(history[name]), ran)
    assert set(history["stage"][0]) == {"start"}
    descends = params.get("solver") != "gauss-newton"
    polishes = params.get("polish", True) or not descends
    stages = {"stage 1", "stage 2"} if descends else set()
    stages |= {"polish"} if polishes else set()
    assert set(history["stage"][1:][ran[1:]]) <= stages
    # Gradient descent has a learning rate, and nothing else has.
    has_rate = np.isin(history["stage"], ["stage 1", "stage 2"])
    np.testing.assert_array_equal(np.isfinite(history["learning_rate"]), has_rate)

    relative = 2 * history["loss"] / noise.y.mean() ** 2
    np.testing.assert_allclose(history["relative_loss"], relative)

    best = model.best_restart_
    own = ran[:, best]
    assert model.n_iter_ == own.sum() - 1
    np.testing.assert_array_equal(model.loss_curve_, history["loss"][own, best])
    assert model.restart_losses_.shape == (6,)
    assert model.restart_losses_.min() == pytest.approx(model.loss_, rel=1e-9)
    assert np.argmin(model.restart_losses_) == best
    angle = history["angle"][own, best]
    assert angle.min() >= 0
    assert angle.max() <= np.pi
    if "polish" not in params:
        assert angle[-1] == pytest.approx(0, abs=1e-6)
        assert model.loss_curve_[-1] == pytest.approx(model.loss_, rel=1e-9)
    assert model.n_samples_seen_ == 400


def test_levenberg_marquardt_never_raises_the_loss(noise, make_model):
    model = make_model(solver="gauss-newton", polish=False).fit(noise.X, noise.y)
    assert np.nanmax(np.diff(model.history_["loss"], axis=0)) <= 0


def test_nothing_on_the_way_is_better_than_the_end(noise, make_model):
    # So few samples that no phase works on a subsample.
    model = make_model().fit(noise.X, noise.y)
    assert model.loss_ <= np.nanmin(model.history_["loss"]) * (1 + 1e-9)


@stops_early
def test_gradient_descent_lowers_the_loss_at_every_step(easy):
    X, y, _ = easy
    model = ConvReLUFilterRegressor(
        3, solver="gd", polish=False, learning_rate="constant", random_state=0
    ).fit(X, y)
    assert model.n_iter_ > 10
    assert np.diff(model.loss_curve_).max() <= 0
    assert model.loss_ < 1e-2 * model.loss_curve_[0]


@stops_early
@pytest.mark.parametrize("patch_dim", [10, 50, 200])
@pytest.mark.parametrize("learning_rate", ["two-stage", "constant"])
def test_automatic_rates_are_safe_for_patches_of_any_length(patch_dim, learning_rate):
    X, y = make_filter_regression(1000, input_shape=patch_dim, random_state=0)
    model = ConvReLUFilterRegressor(
        polish=False, n_init=4, max_iter=50, learning_rate=learning_rate, random_state=0
    ).fit(X, y)
    assert model.loss_curve_[-1] < 0.5 * model.loss_curve_[0]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("asked", ["auto", "right", "wrong"])
def test_output_sign_is_the_one_asked_for_or_that_fits(sign, asked, easy):
    X, y, teacher = easy
    value = {"auto": "auto", "right": sign, "wrong": -sign}[asked]
    model = ConvReLUFilterRegressor(3, output_sign=value, random_state=0)
    model.fit(X, sign * y + 2)
    assert model.sign_ == (-sign if asked == "wrong" else sign)
    if asked == "wrong":
        assert model.loss_ > 1e-3
    else:
        np.testing.assert_allclose(model.coef_, teacher, atol=1e-9)
        assert model.intercept_ == pytest.approx(2)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "init", ["ball", np.array([0.3, -0.5, 0.1])], ids=["ball", "array"]
)
def test_a_single_start_takes_the_sign_that_fits(sign, init, easy):
    X, y, _ = easy
    for seed in range(3):
        model = ConvReLUFilterRegressor(3, n_init=1, init=init, random_state=seed)
        assert model.fit(X, sign * y).sign_ == sign


def test_starts_may_be_given(digits, make_model):
    init = np.random.RandomState(0).standard_normal((3, 9))
    given = make_model(init=init).fit(digits.X, digits.y)
    assert given.restart_losses_.shape == (3,)
    nested = make_model(init=init.tolist()).fit(digits.X, digits.y)
    np.testing.assert_array_equal(nested.coef_, given.coef_)

    seen = []

    def make_starts(n_init, patch_dim, random_state):
        seen.append((n_init, patch_dim, random_state.standard_normal()))
        return init

    called = make_model(init=make_starts, n_init=5).fit(digits.X, digits.y)
    np.testing.assert_array_equal(called.coef_, given.coef_)
    again = make_model(init=make_starts, n_init=5).fit(digits.X, digits.y)
    np.testing.assert_array_equal(again.coef_, given.coef_)
    # Its random state follows from that of the estimator.
    assert seen[0] == seen[1]
    assert seen[0][:2] == (5, 9)


@stops_early
@pytest.mark.parametrize("init", ["one", "many"])
def test_a_step_of_gradient_descent_is_the_formula(init, noise, make_model):
    starts = np.random.RandomState(1).standard_normal((3, 9))
    rates = np.array([1e-3, 2e-3, 5e-3])
    ones = np.ones(400)
    if init == "one":
        starts, rates = starts[:1], rates[:1]
        rate = {"learning_rate": "constant", "learning_rate_init": 1e-3}
    else:
        rate = {"learning_rate": lambda step, losses: rates}
    model = make_model(
        init=starts,
        solver="gd",
        polish=False,
        max_iter=1,
        output_sign=1,
        fit_intercept=False,
        **rate,
    ).fit(noise.X, noise.y)
    squares, gradients = zip(
        *(error_and_gradient(noise.patches, noise.y, w, 1, ones) for w in starts),
        strict=True,
    )
    history = model.history_
    np.testing.assert_allclose(history["loss"][0], np.array(squares) / 2)
    norms = np.linalg.norm(gradients, axis=1)
    np.testing.assert_allclose(history["gradient_norm"][0], norms)
    np.testing.assert_allclose(history["learning_rate"][1], rates)
    best = model.best_restart_
    expected = starts[best] - rates[best] * gradients[best]
    np.testing.assert_allclose(model.coef_, expected, rtol=1e-9)


@stops_early
def test_starts_lie_in_the_ball_asked_for(noise, make_model):
    # A step of next to nothing leaves a start where it is.
    still = {"polish": False, "max_iter": 1, "learning_rate_init": 1e-300, "n_init": 1}
    norms = [
        np.linalg.norm(
            make_model(init_radius=0.7, random_state=seed, **still)
            .fit(noise.X, noise.y)
            .coef_
        )
        for seed in range(40)
    ]
    assert max(norms) <= 0.7
    # Uniform in nine dimensions: the ninth power of the norm is uniform.
    assert np.mean((np.array(norms) / 0.7) ** 9) == pytest.approx(0.5, abs=0.15)


@stops_early
def test_starts_lie_in_the_ball_of_the_theory(make_model):
    # Normal patches, on which the norm of the teacher is estimated well.
    X, y, _ = make_filter_regression(
        2000, input_shape=9, return_teacher=True, random_state=0
    )
    still = {"polish": False, "max_iter": 1, "learning_rate_init": 1e-300, "n_init": 1}
    norms = [
        np.linalg.norm(
            ConvReLUFilterRegressor(init_radius="theory", random_state=seed, **still)
            .fit(X, 100 * y)
            .coef_
        )
        for seed in range(40)
    ]
    assert max(norms) == pytest.approx(100 / np.sqrt(2 * np.pi * 9), rel=0.5)


@stops_early
def test_schedule_gets_every_step_and_the_losses(noise, make_model):
    calls = []

    def learning_rate(step, losses):
        calls.append((step, np.array(losses)))
        return 1.0

    model = make_model(
        learning_rate=learning_rate,
        polish=False,
        batch_size=100,
        tol=0.01,
        n_iter_no_change=2,
        max_iter=200,
        n_init=5,
    ).fit(noise.X, noise.y)
    history = model.history_
    assert [step for step, _ in calls] == list(range(4 * (len(history["loss"]) - 1)))
    n_running = []
    for step, losses in calls:
        epoch = step // 4
        running = history["stage"][epoch + 1] != ""
        np.testing.assert_allclose(losses, history["loss"][: epoch + 1, running])
        n_running.append(running.sum())
    assert n_running[0] == 5
    assert n_running[-1] < 5
    assert set(history["learning_rate"][1:][history["stage"][1:] != ""]) == {1.0}


@stops_early
@pytest.mark.parametrize("switch", [1, 3])
def test_second_stage_begins_at_the_epoch_asked_for(switch, noise, make_model):
    model = make_model(
        polish=False,
        max_iter=6,
        switch=switch,
        learning_rate_init=0.01,
        learning_rate_final=0.02,
    ).fit(noise.X, noise.y)
    first = np.arange(1, 7)[:, np.newaxis] <= switch
    stage, rate = model.history_["stage"], model.history_["learning_rate"]
    for name, pair in [(stage, ("stage 1", "stage 2")), (rate, (0.01, 0.02))]:
        assert (name[1:] == np.where(first, *pair)).all()


@stops_early
def test_second_stage_begins_by_itself_after_a_slow_epoch(noise, make_model):
    model = make_model(polish=False, max_iter=10).fit(noise.X, noise.y)
    history = model.history_
    for loss, stage in zip(history["loss"].T, history["stage"].T, strict=True):
        slow = np.maximum.accumulate(loss[1:] > 0.9 * loss[:-1])
        ran = stage[2:] != ""
        expected = np.where(slow[:-1], "stage 2", "stage 1")
        np.testing.assert_array_equal(stage[2:][ran], expected[ran])


@stops_early
def test_constant_rate_has_one_stage(noise, make_model):
    model = make_model(
        polish=False, max_iter=4, learning_rate="constant", learning_rate_init=0.02
    ).fit(noise.X, noise.y)
    np.testing.assert_allclose(model.history_["learning_rate"][1:], 0.02)
    assert set(model.history_["stage"][1:].ravel()) == {"stage 1"}
