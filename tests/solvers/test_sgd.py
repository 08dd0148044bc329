import numpy as np
import pytest

from skconvfilter.datasets import make_angular_patches
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.geometry import flatten_windows
from skconvfilter.solvers.curvature import largest_curvature
from skconvfilter.solvers.driver import Status, Stopping, run
from skconvfilter.solvers.schedules import TwoStage
from tests.solvers.problems import Rule, digits_problem, gaussian_problem, make_sgd


def recorded_batches(objective):
    """The rows of the mini-batches that an objective is asked for from now on."""
    batches, original = [], objective.batch_gradient

    def batch_gradient(W, signs, rows):
        batches.append(np.array(rows))
        return original(W, signs, rows)

    objective.batch_gradient = batch_gradient
    return batches


def descend(solver, objective, W, n_epochs, *, sign=1.0, **options):
    """Epochs of a solver, however little they help."""
    stopping = Stopping(n_epochs, 0.0, n_epochs + 1, **options)
    return run(solver, objective, W, np.full(W.shape[1], sign), stopping)


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_epoch_is_the_papers_update_on_batch_after_batch(alpha, sign):
    problem = gaussian_problem(n=50, k=3, p=4, fit_intercept=False, alpha=alpha)
    batches = recorded_batches(problem.objective)
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
def test_epoch_uses_every_sample_once_in_batches_of_nearly_one_size(n, batch_size):
    objective = gaussian_problem(n=n, fit_intercept=False).objective
    batches = recorded_batches(objective)
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
@pytest.mark.parametrize("batch_size", [40, 1000])
def test_batch_of_all_samples_is_gradient_descent(fit_intercept, batch_size):
    objective = gaussian_problem(n=40, fit_intercept=fit_intercept).objective
    W = np.random.default_rng(1).standard_normal((5, 2))
    result = descend(make_sgd(0.5, batch_size), objective, W, 5)
    for epoch in range(1, 6):
        W = W - 0.5 * objective.gradient(W, np.ones(2)).gradient.T
        np.testing.assert_allclose(result.history["filters"][epoch], W.T, rtol=1e-12)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_restarts_together_equal_each_alone(fit_intercept):
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


def test_noise_about_the_bottom_is_not_divergence():
    # A start at the minimum, as in a fit that continues: batches only shake the filter.
    problem = gaussian_problem(n=2000, noise=0.05)
    W = problem.teacher[:, np.newaxis]
    rate = 1 / largest_curvature(problem.objective, W, np.ones(1), 16)
    result = run(make_sgd(rate), problem.objective, W, np.ones(1), Stopping(30, 1e-4, 5))
    loss = result.history["loss"]
    assert loss.max() < 2 * loss[0]
    assert result.status == [Status.CONVERGED]


def test_same_seed_gives_the_same_run():
    objective = gaussian_problem(noise=0.1).objective
    W = np.random.default_rng(0).standard_normal((5, 2))
    first, again, other = (
        descend(make_sgd(0.2, seed=seed), objective, W, 3) for seed in (4, 4, 5)
    )
    for name, values in first.history.items():
        np.testing.assert_array_equal(values, again.history[name])
    assert not np.allclose(first.W, other.W, rtol=1e-6)


def test_automatic_switch_changes_the_rate_of_one_restart():
    problem = gaussian_problem(n=200, fit_intercept=False, noise=0.2)
    # One at the bottom, where noise leaves no more to gain, and one far away.
    W = np.column_stack([problem.teacher, 8 * problem.teacher])
    sgd = make_sgd(TwoStage(1.0, 1.5), batch_size=200)
    history = descend(sgd, problem.objective, W, 4).history
    np.testing.assert_array_equal(history["learning_rate"][1:, 0], [1.0] + [1.5] * 3)
    np.testing.assert_array_equal(history["learning_rate"][1:, 1], [1.0] * 4)
    assert history["stage"][4].tolist() == ["stage 2", "stage 1"]


def test_schedule_may_give_each_restart_its_own_rate():
    objective = gaussian_problem(n=60).objective
    W, rates = np.random.default_rng(0).standard_normal((5, 2)), np.array([0.1, 0.3])
    together = descend(make_sgd(Rule(lambda step, losses: rates)), objective, W, 3)
    np.testing.assert_array_equal(together.history["learning_rate"][3], rates)
    for restart, rate in enumerate(rates):
        alone = descend(make_sgd(rate), objective, W[:, [restart]], 3)
        filters = together.history["filters"][:, [restart]]
        np.testing.assert_allclose(filters, alone.history["filters"], rtol=1e-12)


def test_schedule_gets_the_step_and_the_losses_of_those_that_run():
    problem = gaussian_problem(n=60, fit_intercept=False)
    calls = []

    def rule(step, losses):
        calls.append((step, losses.copy()))
        return 0.1

    # The first restart has nothing to learn and ends before it begins.
    W = np.column_stack([problem.teacher, -problem.teacher, 2 * problem.teacher])
    result = descend(make_sgd(Rule(rule), 20), problem.objective, W, 3, floor=1e-20)
    assert [step for step, _ in calls] == list(range(9))
    for step, losses in calls:
        expected = result.history["loss"][: step // 3 + 1, 1:]
        np.testing.assert_array_equal(losses, expected)


def test_dead_filter_is_redrawn_until_it_lives():
    objective = digits_problem(n=100).objective
    alive, dead, new = np.full(9, 0.1), np.full(9, -1.0), np.linspace(0.1, 0.2, 9)
    draws, redrawn = iter([2 * dead, new]), []

    def redraw(restart):
        redrawn.append(int(restart))
        return next(draws)

    rate = 0.1 / largest_curvature(objective, alive[:, np.newaxis], np.ones(1), 16)
    W = np.column_stack([alive, dead, 2 * alive])
    result = descend(make_sgd(rate, redraw=redraw), objective, W, 3)
    # At the end of an epoch, once.
    assert redrawn == [1, 1]
    filters = result.history["filters"]
    np.testing.assert_array_equal(filters[1, 1], 2 * dead)
    np.testing.assert_array_equal(filters[2, 1], new)
    assert np.any(filters[3, 1] != new)
    evaluation = objective.gradient(new[:, np.newaxis], np.ones(1))
    assert result.history["loss"][2, 1] == pytest.approx(evaluation.loss[0])
    # The others are not affected.
    without = descend(make_sgd(rate), objective, W[:, [0, 2]], 3)
    np.testing.assert_allclose(filters[:, [0, 2]], without.history["filters"], rtol=1e-9)


def test_redraw_gets_the_number_of_the_restart_not_its_place():
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


@pytest.mark.slow
@pytest.mark.parametrize(("sigma", "n_updates"), [(0.3, 1771), (1.0, 381)])
def test_convergence_on_the_papers_synthetic_data(sigma, n_updates):
    # Figure 3a: p = 10, k = 1, 2000 samples, batches of 16, learning rate 0.5.
    epochs, n_epochs = [], int(1.3 * n_updates / 125) + 2
    for seed in range(3):
        X, y, teacher = make_angular_patches(
            2000, 10, sigma=sigma, return_teacher=True, random_state=seed
        )
        patches = X[:, np.newaxis]
        objective = FilterObjective(*flatten_windows(patches), y, fit_intercept=False)
        across = np.random.default_rng(seed).standard_normal(10)
        across -= (across @ teacher) * teacher
        across /= np.linalg.norm(across)
        start = 0.5 * (np.cos(1.2) * teacher + np.sin(1.2) * across)
        sgd = make_sgd(0.5, seed=seed)
        result = descend(sgd, objective, start[:, np.newaxis], n_epochs)
        errors = np.sum((result.history["filters"][:, 0] - teacher) ** 2, axis=1)
        assert errors[-1] < 1e-4
        epochs.append(np.argmax(errors < 1e-4))
    # An epoch is 125 updates; only whole epochs are seen.
    assert 0.7 * n_updates <= 125 * np.median(epochs) <= 1.3 * n_updates + 125
