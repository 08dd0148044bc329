"""The regressor of one filter: recovery of the teacher, starts, learning rates."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from skconvfilter import ConvPatchExtractor, ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_regression
from tests.estimators.cases import label, make_digits_model, values_by_loops

stops_early = pytest.mark.filterwarnings("ignore:The best restart has not converged")


def normal(n_samples, model, **options):
    """Normal signals of 12 entries, labelled by a teacher of the model's window."""
    X = np.random.default_rng(0).standard_normal((n_samples, 12))
    return label(model, X, **options)


@pytest.fixture
def make_easy():
    """Makes regressors for signals: gradient descent has a clear way to the teacher."""

    def make(**params):
        return ConvReLUFilterRegressor(3, random_state=0, diagnostics=False, **params)

    return make


@pytest.fixture(scope="module")
def easy():
    return normal(150, ConvReLUFilterRegressor(3))


@pytest.fixture(scope="module")
def noisy():
    return normal(300, ConvReLUFilterRegressor(3), snr=4, intercept=2.0)


# Recovery ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("intercept", [0.0, 3.0])
def test_filter_of_the_teacher_is_recovered_from_digits(sign, intercept, digits):
    X, y = digits.X, sign * digits.y + intercept
    model = make_digits_model(diagnostics=False).fit(X, y)
    np.testing.assert_allclose(model.filter_.ravel(), digits.teacher[0], atol=1e-9)
    assert model.sign_ == sign
    assert model.intercept_ == pytest.approx(intercept, abs=1e-9)
    assert model.score(X, y) == pytest.approx(1)


GEOMETRIES = {
    "padding": {"kernel_size": 3, "input_shape": (6, 7), "padding": 1},
    "uneven padding": {"kernel_size": (3, 2), "input_shape": (6, 7), "padding": (2, 0)},
    "dilation": {"kernel_size": 3, "input_shape": (8, 8), "dilation": 2},
    "stride": {"kernel_size": 3, "input_shape": (9, 9), "stride": (2, 3)},
    "no overlap": {"kernel_size": 4, "input_shape": (8, 8), "stride": 4},
    "all": {
        "kernel_size": (2, 3),
        "input_shape": (7, 8),
        "stride": (1, 2),
        "padding": (1, 2),
        "dilation": (3, 2),
    },
    "channels": {"kernel_size": 2, "input_shape": (5, 6, 3)},
    "padded channels": {"kernel_size": 3, "input_shape": (5, 6, 2), "padding": 1},
    "signal": {"kernel_size": 5},
    "signal with channels": {"kernel_size": (3,), "input_shape": (12, 2), "dilation": 2},
    "volume": {"kernel_size": (2, 2, 2), "input_shape": (4, 4, 4)},
    "whole image": {"kernel_size": (3, 3), "input_shape": (3, 3)},
    "one entry": {"kernel_size": 1, "input_shape": (3, 3)},
}


@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_filters_of_every_geometry_are_recovered(geometry):
    model = ConvReLUFilterRegressor(**geometry, random_state=0, diagnostics=False)
    n_features = np.prod(geometry.get("input_shape", (20,)))
    X = np.random.default_rng(0).standard_normal((500, n_features))
    data = label(model, X)
    model.fit(X, data.y)
    np.testing.assert_allclose(model.coef_, data.teacher[0], atol=1e-8)
    kernel, shape = geometry["kernel_size"], geometry.get("input_shape", (20,))
    n_axes = len(kernel) if isinstance(kernel, tuple) else min(2, len(shape))
    window = tuple(np.broadcast_to(kernel, n_axes)) + tuple(shape[n_axes:])
    assert model.filter_.shape == window
    patches = ConvPatchExtractor(**geometry).fit_transform(X[:50])
    expected = values_by_loops(model, patches.reshape(50, -1, model.coef_.size))
    np.testing.assert_allclose(model.predict(X[:50]), expected)


def test_model_without_intercept_is_that_of_the_paper(digits):
    model = make_digits_model(fit_intercept=False, output_sign=1)
    model.fit(digits.X, digits.y)
    assert model.intercept_ == 0.0
    assert model.sign_ == 1
    np.testing.assert_allclose(model.coef_, digits.teacher[0], atol=1e-9)


# Search -----------------------------------------------------------------------------------


def test_levenberg_marquardt_never_raises_the_loss(noisy, make_easy):
    model = make_easy(solver="levenberg-marquardt", polish=False)
    history = model.fit(noisy.X, noisy.y).history_
    assert np.nanmax(np.diff(history["loss"], axis=0)) <= 0


@stops_early
def test_gradient_descent_lowers_the_loss_at_every_step(easy, make_easy):
    model = make_easy(solver="gd", polish=False, learning_rate="constant")
    model.fit(easy.X, easy.y)
    assert model.n_iter_ > 10
    assert np.diff(model.loss_curve_).max() <= 0
    assert model.loss_ < 1e-2 * model.loss_curve_[0]


@stops_early
@pytest.mark.parametrize("patch_dim", [10, 200])
@pytest.mark.parametrize("learning_rate", ["two-stage", "constant"])
def test_automatic_rates_are_safe_for_patches_of_any_length(patch_dim, learning_rate):
    params = {"polish": False, "n_init": 2, "diagnostics": False, "random_state": 0}
    model = ConvReLUFilterRegressor(max_iter=50, learning_rate=learning_rate, **params)
    X = np.random.default_rng(0).standard_normal((1000, patch_dim))
    model.fit(X, label(model, X).y)
    assert model.loss_curve_[-1] < 0.5 * model.loss_curve_[0]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("asked", ["auto", "right", "wrong"])
def test_output_sign_is_the_one_asked_for_or_that_fits(sign, asked, easy, make_easy):
    value = {"auto": "auto", "right": sign, "wrong": -sign}[asked]
    model = make_easy(output_sign=value).fit(easy.X, sign * easy.y + 2)
    assert model.sign_ == (-sign if asked == "wrong" else sign)
    if asked == "wrong":
        assert model.loss_ > 1e-3
    else:
        np.testing.assert_allclose(model.coef_, easy.teacher[0], atol=1e-9)
        assert model.intercept_ == pytest.approx(2)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "init", ["ball", np.array([0.3, -0.5, 0.1])], ids=["ball", "array"]
)
def test_a_single_start_takes_the_sign_that_fits(sign, init, easy, make_easy):
    model = make_easy(n_init=1, init=init).fit(easy.X, sign * easy.y)
    assert model.sign_ == sign


def test_starts_may_be_given(easy, make_easy):
    init = np.random.RandomState(0).standard_normal((3, 3))
    given = make_easy(init=init).fit(easy.X, easy.y)
    assert given.restart_losses_.shape == (3,)
    nested = make_easy(init=init.tolist()).fit(easy.X, easy.y)
    np.testing.assert_array_equal(nested.coef_, given.coef_)

    seen = []

    def make_starts(n_init, patch_dim, random_state):
        seen.append((n_init, patch_dim, random_state.standard_normal()))
        return init

    for _ in range(2):
        called = make_easy(init=make_starts, n_init=5).fit(easy.X, easy.y)
        np.testing.assert_array_equal(called.coef_, given.coef_)
    # Its random state follows from that of the estimator.
    assert seen[0] == seen[1]
    assert seen[0][:2] == (5, 3)


@stops_early
@pytest.mark.parametrize("rates", [np.array([1e-3]), np.array([1e-3, 2e-3, 5e-3])], ids=len)
def test_a_step_of_gradient_descent_is_the_formula(rates, noisy, make_easy):
    starts = np.random.RandomState(1).standard_normal((len(rates), 3))
    model = make_easy(
        init=starts,
        solver="gd",
        polish=False,
        max_iter=1,
        output_sign=1,
        fit_intercept=False,
        learning_rate=lambda step, losses: rates,
    ).fit(noisy.X, noisy.y)
    losses, gradients = [], []
    patches = ConvPatchExtractor(3).fit_transform(noisy.X)
    for w in starts:
        active = [sample[sample @ w > 0].sum(axis=0) / len(sample) for sample in patches]
        errors = np.array(active) @ w - noisy.y
        losses.append(np.mean(errors**2) / 2)
        gradients.append(np.mean(errors[:, np.newaxis] * active, axis=0))
    history, best = model.history_, model.best_restart_
    np.testing.assert_allclose(history["loss"][0], losses)
    norms = np.linalg.norm(gradients, axis=1)
    np.testing.assert_allclose(history["gradient_norm"][0], norms)
    np.testing.assert_allclose(history["learning_rate"][1], rates)
    expected = starts[best] - rates[best] * gradients[best]
    np.testing.assert_allclose(model.coef_, expected, rtol=1e-9)


# Starts -----------------------------------------------------------------------------------


def lengths_of_starts(X, y, **params):
    """Of 40 starts, each of a fit of its own that hardly takes a step."""
    params |= {"polish": False, "max_iter": 1, "learning_rate_init": 1e-40, "n_init": 1}
    norms = []
    for seed in range(40):
        model = ConvReLUFilterRegressor(random_state=seed, diagnostics=False, **params)
        norms.append(np.linalg.norm(model.fit(X, y).coef_path_[0]))
    return np.array(norms)


@stops_early
def test_starts_lie_in_the_ball_asked_for(noisy):
    norms = lengths_of_starts(noisy.X, noisy.y, kernel_size=9, init_radius=0.7)
    assert max(norms) <= 0.7
    # Uniform in nine dimensions: the ninth power of the norm is uniform.
    assert np.mean((norms / 0.7) ** 9) == pytest.approx(0.5, abs=0.15)


@stops_early
def test_starts_lie_in_the_ball_of_the_theory():
    # Normal patches, on which the norm of the teacher is estimated well.
    X = np.random.default_rng(0).standard_normal((1000, 9))
    data = label(ConvReLUFilterRegressor(), X)
    norms = lengths_of_starts(X, data.y, init_radius="theory")
    radius = np.linalg.norm(data.teacher) / np.sqrt(2 * np.pi * 9)
    assert 0.8 * radius < max(norms) < 1.2 * radius


# Learning rates ---------------------------------------------------------------------------


@stops_early
def test_schedule_gets_every_step_and_the_losses(noisy, make_easy):
    calls = []

    def learning_rate(step, losses):
        calls.append((step, np.array(losses)))
        return 0.3

    model = make_easy(
        learning_rate=learning_rate,
        polish=False,
        batch_size=100,
        tol=0.01,
        n_iter_no_change=2,
        max_iter=200,
        n_init=5,
    ).fit(noisy.X, noisy.y)
    history = model.history_
    assert [step for step, _ in calls] == list(range(3 * (len(history["loss"]) - 1)))
    n_running = []
    for step, losses in calls:
        epoch = step // 3
        running = history["stage"][epoch + 1] != ""
        np.testing.assert_allclose(losses, history["loss"][: epoch + 1, running])
        n_running.append(running.sum())
    assert n_running[0] == 5
    assert n_running[-1] < 5
    assert set(history["learning_rate"][1:][history["stage"][1:] != ""]) == {0.3}


@stops_early
@pytest.mark.parametrize("switch", [1, 3])
def test_second_stage_begins_at_the_epoch_asked_for(switch, noisy, make_easy):
    params = {"learning_rate_init": 0.01, "learning_rate_final": 0.02, "max_iter": 6}
    model = make_easy(polish=False, switch=switch, n_iter_no_change=9, **params)
    history = model.fit(noisy.X, noisy.y).history_
    first = np.arange(1, 7)[:, np.newaxis] <= switch
    for name, pair in [("stage", ("stage 1", "stage 2")), ("learning_rate", (0.01, 0.02))]:
        assert (history[name][1:] == np.where(first, *pair)).all()


@stops_early
def test_second_stage_begins_by_itself_after_a_slow_epoch(noisy, make_easy):
    history = make_easy(polish=False, max_iter=10).fit(noisy.X, noisy.y).history_
    for loss, stage in zip(history["loss"].T, history["stage"].T, strict=True):
        slow = np.maximum.accumulate(loss[1:] > 0.9 * loss[:-1])
        ran = stage[2:] != ""
        expected = np.where(slow[:-1], "stage 2", "stage 1")
        np.testing.assert_array_equal(stage[2:][ran], expected[ran])


@stops_early
def test_constant_rate_has_one_stage(noisy, make_easy):
    rate = {"learning_rate": "constant", "learning_rate_init": 0.02}
    history = make_easy(polish=False, max_iter=4, **rate).fit(noisy.X, noisy.y).history_
    np.testing.assert_allclose(history["learning_rate"][1:], 0.02)
    assert set(history["stage"][1:].ravel()) == {"stage 1"}


@pytest.mark.slow
def test_long_rows_are_fitted_without_estimates_that_would_take_longer():
    X = gaussian_filter1d(np.random.default_rng(0).standard_normal((900, 300)), 1.0)
    model = ConvReLUFilterRegressor(random_state=0)
    y, teacher = make_filter_regression(
        X=X, estimator=model, return_teacher=True, random_state=0
    )[1:]
    np.testing.assert_allclose(model.fit(X, y).filter_, teacher, atol=1e-6)
    assert model.certificate_ is None
    assert np.isnan([model.gamma_, model.L_, model.beta_, model.L_cross_]).all()
