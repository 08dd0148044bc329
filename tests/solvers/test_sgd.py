import numpy as np
import pytest

from skconvfilter.datasets import make_angular_patches
from skconvfilter.model.geometry import convolution_geometry
from skconvfilter.model.objective import FilterObjective
from skconvfilter.solvers.curvature import largest_curvature
from skconvfilter.solvers.driver import Status, Stopping, run
from skconvfilter.solvers.schedules import TwoStage


@pytest.fixture
def record_batches(monkeypatch):
    """Makes an objective write down the rows of its mini-batches."""

    def watch(objective):
        batches, original = [], objective.batch_gradient

        def batch_gradient(W, signs, rows):
            batches.append(np.array(rows))
            return original(W, signs, rows)

        monkeypatch.setattr(objective, "batch_gradient", batch_gradient)
        return batches

    return watch


def descend(solver, objective, W, n_epochs, *, sign=1.0, **options):
    """Epochs of a solver, however little they help."""
    stopping = Stopping(n_epochs, 0.0, n_epochs + 1, **options)
    return run(solver, objective, W, np.full(W.shape[1], sign), stopping)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_epoch_is_the_papers_update_on_batch_after_batch(
    gaussian_problem, make_sgd, record_batches, alpha, sign
):
    problem = gaussian_problem(n=50, k=3, p=4, fit_intercept=False, alpha=alpha)
    batches = record_batches(problem.objective)
    W = np.random.default_rng(1).standard_normal((4, 1))
    sgd = make_sgd(0.2, batch_size=7)
    result = descend(sgd, problem.objective, W, 1, sign=sign)

    # Equation 2: w <- w - eta g(w), with the gradient of the batch written out.
    w, y = W[:, 0].copy(), problem.objective.targets
    assert len(batches) == 7
    for rows in batches:
        gradient = alpha * w
        for row in rows:
            active = [patch for patch in problem.patches[row] if w @ patch > 0]
            mean_patch = np.sum(active, axis=0) / 3 if active else np.zeros(4)
            error = sign * (w @ mean_patch) - y[row]
            gradient += error * sign * mean_patch / len(rows)
        w = w - 0.2 * gradient
    np.testing.assert_allclose(result.history["filters"][1, 0], w, rtol=1e-12)


@pytest.mark.parametrize(("n", "batch_size"), [(50, 7), (48, 16), (50, 1), (51, 25)])
def test_epoch_uses_every_sample_once_in_batches_of_nearly_one_size(
    gaussian_problem, make_sgd, record_batches, n, batch_size
):
    objective = gaussian_problem(n=n, fit_intercept=False).objective
    batches = record_batches(objective)
    descend(make_sgd(0.01, batch_size), objective, np.ones((5, 2)), 2)
    n_batches = len(batches) // 2
    assert n_batches == n // batch_size
    epochs = [np.concatenate(batches[:n_batches]), np.concatenate(batches[n_batches:])]
    for rows in epochs:
        np.testing.assert_array_equal(np.sort(rows), np.arange(n))
    assert not np.array_equal(*epochs)
    sizes = {len(rows) for rows in batches}
    assert min(sizes) >= batch_size
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("batch_size", [40, 41, 1000])
def test_batch_of_all_samples_is_gradient_descent(
    gaussian_problem, make_sgd, fit_intercept, batch_size
):
    objective = gaussian_problem(n=40, fit_intercept=fit_intercept).objective
    W = np.random.default_rng(1).standard_normal((5, 2))
    result = descend(make_sgd(0.5, batch_size), objective, W, 5)
    for epoch in range(1, 6):
        W = W - 0.5 * objective.gradient(W, np.ones(2)).gradient.T
        np.testing.assert_allclose(result.history["filters"][epoch], W.T, rtol=1e-12)


def test_gradient_descent_falls_at_every_step(gaussian_problem, make_sgd):
    objective = gaussian_problem(n=200).objective
    W = np.random.default_rng(1).standard_normal((5, 8))
    rate = 1 / largest_curvature(objective, W, np.ones(8), 200)
    loss = descend(make_sgd(rate, 200), objective, W, 60).history["loss"]
    assert np.all(np.diff(loss, axis=0) < 0)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_restarts_together_equal_each_alone(digits_problem, make_sgd, fit_intercept):
    objective = digits_problem(n=150, fit_intercept=fit_intercept, noise=0.1).objective
    W = np.random.default_rng(0).uniform(-0.5, 1, (9, 4))
    signs = np.array([1.0, -1.0, 1.0, 1.0])
    rate = 1 / largest_curvature(objective, W, signs, 16)
    # Patience is short, so that restarts end at different epochs.
    stopping = Stopping(12, 0.02, 1)
    solver = make_sgd(TwoStage(rate, 1.5 * rate), seed=3)
    together = run(solver, objective, W, signs, stopping)
    n_epochs = np.isfinite(together.history["loss"]).sum(axis=0) - 1
    assert len(set(n_epochs)) > 1
    for restart in range(4):
        column = [restart]
        alone = run(solver, objective, W[:, column], signs[column], stopping)
        rows = slice(n_epochs[restart] + 1)
        assert len(alone.history["loss"]) == n_epochs[restart] + 1
        assert alone.status[0] is together.status[restart]
        np.testing.assert_allclose(alone.W, together.W[:, column], rtol=1e-9)
        for name in ("loss", "gradient_norm", "learning_rate"):
            mine, theirs = alone.history[name], together.history[name][rows, column]
            np.testing.assert_allclose(mine, theirs, rtol=1e-9)


def test_noise_about_the_bottom_is_not_divergence(gaussian_problem, make_sgd):
    # A start at the minimum, as in a fit that goes on: batches only shake the filter.
    problem = gaussian_problem(n=2000, noise=0.05)
    W = problem.teacher[:, np.newaxis]
    rate = 1 / largest_curvature(problem.objective, W, np.ones(1), 16)
    stopping = Stopping(30, 1e-4, 5)
    result = run(make_sgd(rate), problem.objective, W, np.ones(1), stopping)
    loss = result.history["loss"]
    assert loss.max() < 2 * loss[0]
    assert result.status == [Status.CONVERGED]


def test_same_seed_gives_the_same_run(gaussian_problem, make_sgd):
    objective = gaussian_problem(noise=0.1).objective
    W = np.random.default_rng(0).standard_normal((5, 2))
    first, again, other = (
        descend(make_sgd(0.2, seed=seed), objective, W, 3) for seed in (4, 4, 5)
    )
    for name, values in first.history.items():
        np.testing.assert_array_equal(values, again.history[name])
    assert not np.allclose(first.W, other.W, rtol=1e-6)


def test_constant_rate_is_on_record(gaussian_problem, make_sgd):
    objective = gaussian_problem(n=40).objective
    history = descend(make_sgd(0.25), objective, np.ones((5, 2)), 2).history
    expected = [[np.nan, np.nan], [0.25, 0.25], [0.25, 0.25]]
    np.testing.assert_array_equal(history["learning_rate"], expected)


def test_fixed_switch_changes_the_rate_of_all(gaussian_problem, make_sgd):
    objective = gaussian_problem(n=40).objective
    schedule = TwoStage(0.1, 0.4, switch=2)
    history = descend(make_sgd(schedule), objective, np.ones((5, 2)), 4).history
    np.testing.assert_array_equal(history["learning_rate"][1:, 0], [0.1, 0.1, 0.4, 0.4])
    stages = ["start", "stage 1", "stage 1", "stage 2", "stage 2"]
    assert history["stage"][:, 0].tolist() == stages
    assert history["stage"][:, 1].tolist() == stages


def test_automatic_switch_changes_the_rate_of_one_restart(gaussian_problem, make_sgd):
    problem = gaussian_problem(n=200, fit_intercept=False, noise=0.2)
    # One at the bottom, where noise leaves no more to gain, and one far away.
    W = np.column_stack([problem.teacher, 8 * problem.teacher])
    sgd = make_sgd(TwoStage(1.0, 1.5), batch_size=200)
    history = descend(sgd, problem.objective, W, 4).history
    np.testing.assert_array_equal(history["learning_rate"][1:, 0], [1.0] + [1.5] * 3)
    np.testing.assert_array_equal(history["learning_rate"][1:, 1], [1.0] * 4)
    assert history["stage"][4].tolist() == ["stage 2", "stage 1"]


def test_callable_may_give_each_restart_its_own_rate(gaussian_problem, make_sgd):
    objective = gaussian_problem(n=60).objective
    W, rates = np.random.default_rng(0).standard_normal((5, 2)), np.array([0.1, 0.3])
    together = descend(make_sgd(lambda step, losses: rates), objective, W, 3)
    np.testing.assert_array_equal(together.history["learning_rate"][3], rates)
    for restart, rate in enumerate(rates):
        alone = descend(make_sgd(rate), objective, W[:, [restart]], 3)
        filters = together.history["filters"][:, [restart]]
        np.testing.assert_allclose(filters, alone.history["filters"], rtol=1e-12)


def test_schedule_gets_the_step_and_the_losses_of_those_that_run(
    gaussian_problem, make_sgd
):
    problem = gaussian_problem(n=60, fit_intercept=False)
    calls = []

    def schedule(step, losses):
        calls.append((step, losses.copy()))
        return 0.1

    # The first restart has nothing to learn and ends before it begins.
    W = np.column_stack([problem.teacher, -problem.teacher, 2 * problem.teacher])
    result = descend(make_sgd(schedule, 20), problem.objective, W, 3, floor=1e-20)
    assert [step for step, _ in calls] == list(range(9))
    for step, losses in calls:
        expected = result.history["loss"][: step // 3 + 1, 1:]
        np.testing.assert_array_equal(losses, expected)


def test_dead_filter_is_redrawn_at_the_end_of_the_epoch(digits_problem, make_sgd):
    objective = digits_problem(n=100).objective
    alive, dead, new = np.full(9, 0.1), np.full(9, -1.0), np.linspace(0.1, 0.2, 9)
    redrawn = []

    def redraw(restart):
        redrawn.append(int(restart))
        return new

    rate = 0.1 / largest_curvature(objective, alive[:, np.newaxis], np.ones(1), 16)
    W = np.column_stack([alive, dead, 2 * alive])
    solver = make_sgd(rate, redraw=redraw)
    result = descend(solver, objective, W, 2)
    assert redrawn == [1]
    filters = result.history["filters"]
    np.testing.assert_array_equal(filters[1, 1], new)
    evaluation = objective.gradient(new[:, np.newaxis], np.ones(1))
    assert result.history["loss"][1, 1] == pytest.approx(evaluation.loss[0])
    assert np.any(filters[2, 1] != new)
    # The others do not notice.
    without = descend(make_sgd(rate), objective, W[:, [0, 2]], 2)
    np.testing.assert_allclose(filters[:, [0, 2]], without.history["filters"], rtol=1e-9)


def test_redraw_is_asked_again_until_the_filter_lives(digits_problem, make_sgd):
    objective = digits_problem(n=50, fit_intercept=False).objective
    draws = iter([np.full(9, -2.0), np.full(9, 0.1)])
    solver = make_sgd(1e-3, redraw=lambda restart: next(draws))
    result = descend(solver, objective, np.full((9, 1), -1.0), 3)
    filters = result.history["filters"][:, 0]
    np.testing.assert_array_equal(filters[1], -2.0)
    np.testing.assert_array_equal(filters[2], 0.1)
    assert np.any(filters[3] != 0.1)


def test_redraw_gets_the_number_of_the_restart_not_its_place(digits_problem, make_sgd):
    problem = digits_problem(n=50, fit_intercept=False)
    redrawn = []

    def redraw(restart):
        redrawn.append(int(restart))
        return np.full(9, 0.1)

    # The first restart ends at once, so that the second is the first that runs.
    W = np.column_stack([problem.teacher, np.full(9, 0.2), np.full(9, -1.0)])
    result = descend(make_sgd(1e-3, redraw=redraw), problem.objective, W, 2, floor=1e-20)
    assert result.status[0] is Status.CONVERGED
    assert redrawn == [2]


@pytest.mark.parametrize(("sigma", "n_updates"), [(0.3, 1771), (0.5, 718), (1.0, 381)])
def test_convergence_on_the_papers_synthetic_data(make_sgd, sigma, n_updates):
    # Figure 3a: p = 10, k = 1, 2000 samples, batches of 16, learning rate 0.5.
    epochs = []
    for seed in range(3):
        X, y, teacher = make_angular_patches(
            2000, 10, sigma=sigma, return_teacher=True, random_state=seed
        )
        objective = FilterObjective(
            X, convolution_geometry(10, None), y, fit_intercept=False
        )
        across = np.random.default_rng(seed).standard_normal(10)
        across -= (across @ teacher) * teacher
        across /= np.linalg.norm(across)
        start = 0.5 * (np.cos(1.2) * teacher + np.sin(1.2) * across)
        sgd = make_sgd(0.5, seed=seed)
        result = descend(sgd, objective, start[:, np.newaxis], 20)
        errors = np.sum((result.history["filters"][:, 0] - teacher) ** 2, axis=1)
        assert errors[-1] < 1e-4
        epochs.append(np.argmax(errors < 1e-4))
    # An epoch is 125 updates; only whole epochs are seen.
    assert 0.7 * n_updates <= 125 * np.median(epochs) <= 1.3 * n_updates + 125
