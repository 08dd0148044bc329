r"""
Figure 3a: gradient descent is slow on spiky data
=================================================

Figure 3a of Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018).
One neuron learns from unit patches whose angle to the true filter, or to its opposite, is
normal with standard deviation sigma. A small sigma makes the data spiky: they vary little
in the directions orthogonal to the filter, gamma of Definition 2.1 is small, and stochastic
gradient descent needs many more updates.

The experiment differs from the paper, which does not state the dimension, the start or the
step. Here patches have ten entries, the start is 1.2 radians away from the true filter and
half as long, and the step is 0.5, with batches of 16 of 2,000 samples. The paper draws an
angle in a plane; here the direction orthogonal to the filter is uniform. Lines are medians
over five seeds, which draw the data, the filter, the start and the order of the samples,
and bands go from the lowest to the highest.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skconvfilter import ConvReLUFilterRegressor
from skconvfilter.datasets import make_angular_patches

SEEDS = range(5)
SIGMAS = (0.2, 0.3, 0.5, 1.0)
STEP, BATCH, N_EPOCHS, TARGET = 0.5, 16, 40, 1e-4
UPDATES = np.arange(N_EPOCHS + 1) * (2_000 // BATCH)

# %%
# Gradient descent
# ----------------
# The paper's model is the estimator without intercept, sign and polish. Its ``coef_path_``
# has the filter after every epoch. For each fit, gamma at the true filter is computed as
# well: the smallest eigenvalue of the second moment of the patches on which the filter is
# active.


def descend(sigma, seed):
    X, y, teacher = make_angular_patches(
        2_000, 10, sigma=sigma, return_teacher=True, random_state=seed
    )
    across = np.random.default_rng(seed).standard_normal(10)
    across -= (across @ teacher) * teacher
    across /= np.linalg.norm(across)
    start = 0.5 * (np.cos(1.2) * teacher + np.sin(1.2) * across)
    model = ConvReLUFilterRegressor(
        init=[start], fit_intercept=False, output_sign=1, polish=False, tol=0.0,
        learning_rate="constant", learning_rate_init=STEP, batch_size=BATCH,
        max_iter=N_EPOCHS, n_iter_no_change=N_EPOCHS, diagnostics=False, random_state=seed,
    )  # fmt: skip
    with warnings.catch_warnings():
        # With tol=0 no fit counts as converged.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    errors = np.full(N_EPOCHS + 1, np.nan)
    # A fit that is exact to machine precision ends earlier.
    errors[: len(model.coef_path_)] = np.sum((model.coef_path_ - teacher) ** 2, axis=1)
    active = X[X @ teacher > 0]
    return errors, np.linalg.eigvalsh(active.T @ active / len(X))[0]


def updates_to_target(errors):
    """Updates until the error is below the target, interpolated between epochs."""
    after = np.flatnonzero(errors < TARGET)[0]
    last, first = np.log(errors[after - 1 : after + 1])
    share = (last - np.log(TARGET)) / (last - first)
    return np.interp(after - 1 + share, np.arange(N_EPOCHS + 1), UPDATES)


errors, counts, gammas = {}, {}, {}
for sigma in SIGMAS:
    runs = [descend(sigma, seed) for seed in SEEDS]
    errors[sigma] = np.array([error for error, _ in runs])
    counts[sigma] = np.array([updates_to_target(error) for error, _ in runs])
    gammas[sigma] = np.mean([gamma for _, gamma in runs])

# %%
# Results
# -------
# Theorem 2.2 bounds the number of updates by the square of (L + beta) / gamma, with a step
# that depends on the same quantities. With a fixed step, as in the figure, only gamma
# matters: in the directions orthogonal to the filter, an update multiplies the error by 1 -
# step * gamma. The dashed line is the number of updates that follows from this.

print("sigma   gamma    updates to 1e-4: median, range      times gamma")
for sigma, count in counts.items():
    middle, gamma = np.median(count), gammas[sigma]
    print(
        f"{sigma:5.1f}   {gamma:.4f}   {middle:6.0f}   "
        f"{count.min():6.0f} to {count.max():4.0f}   {middle * gamma:18.1f}"
    )
across = (0.5 * np.sin(1.2)) ** 2
expected = [np.log(across / TARGET) / (2 * STEP * gammas[sigma]) for sigma in SIGMAS]

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 3.8), width_ratios=[1.5, 1], layout="constrained"
)
for i, (sigma, error) in enumerate(errors.items()):
    shown = ~np.isnan(error).any(axis=0)
    x, runs = UPDATES[shown], error[:, shown]
    left.semilogy(
        x, np.median(runs, axis=0), ("-", "--", "-.", ":")[i], color=f"C{i}",
        label=rf"$\sigma = {sigma}$",
    )  # fmt: skip
    left.fill_between(x, runs.min(0), runs.max(0), color=f"C{i}", alpha=0.25, linewidth=0)
    label = "one seed each" if i == 0 else None
    right.loglog([sigma] * len(SEEDS), counts[sigma], ".", color=f"C{i}", label=label)
left.axhline(TARGET, color="0.5", linestyle=":", linewidth=1)
left.set(xlabel="updates", ylabel=r"$|w - w^*|^2 / |w^*|^2$", ylim=(1e-6, 2))
left.set_title("Stochastic gradient descent, one neuron")
left.legend()
right.loglog(SIGMAS, expected, "--", color="0.4", zorder=0, label=r"expected from $\gamma$")
right.set_xticks(SIGMAS, SIGMAS)
right.set_yticks([500, 1000, 2000, 4000], [500, 1000, 2000, 4000])
right.minorticks_off()
right.set(xlabel=r"$\sigma$", ylabel="updates", title="Updates to an error of 1e-4")
right.legend()
figure.savefig("plot_figure_3a_smoothness.png", dpi=120)

# %%
# For every seed, spikier data need more updates. Their number grows by a factor of about
# ten, while its product with gamma hardly changes.

table = np.array(list(counts.values()))
assert np.all(np.diff(table, axis=0) < 0)
products = np.median(table, axis=1) * list(gammas.values())
assert products.max() < 1.25 * products.min()
assert np.median(table[0]) > 8 * np.median(table[-1])

plt.show()
