r"""
Figure 3b: gradient descent is slow on patches that differ
==========================================================

Figure 3b of Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018).
The patches of a sample lie around a common centre, at angles that are normal with variance
sigma_2^2. As the paper says, stochastic gradient descent needs fewer updates when the
patches are closer. The effect is larger with more patches.

The paper explains the figure by Theorem 3.1. However, that theorem does not apply here,
because it requires gamma > 6 L_cross, which holds for identical patches only. The
explanation is that gamma itself decreases.

The experiment differs from the paper, which does not state the number of patches, the
dimension, the start or the step. Here there are 5 or 20 patches of ten entries. As in the
example of figure 3a, the start is 1.2 radians away from the true filter and half as long,
and the step is 0.5, with batches of 16 of 2,000 samples. Lines are medians over five
seeds, which draw the data, the filter, the start and the order of the samples; bands go
from the lowest to the highest.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skconvfilter import ConvReLUFilterRegressor
from skconvfilter.datasets import make_close_patches
from skconvfilter.diagnostics import smoothness

SEEDS = range(5)
VARIANCES = (0.0, 0.25, 1.0, 4.0)
STEP, BATCH, N_EPOCHS, TARGET = 0.5, 16, 24, 1e-4
UPDATES = np.arange(N_EPOCHS + 1) * (2_000 // BATCH)

# %%
# Gradient descent
# ----------------
# For each fit, gamma at the true filter is computed as well: the smallest eigenvalue of the
# second moment of the mean active patches.


def draw(n_patches, variance, seed):
    return make_close_patches(
        2_000, n_patches, 10, spread=np.sqrt(variance), return_teacher=True,
        random_state=seed,
    )  # fmt: skip


def descend(n_patches, variance, seed):
    X, y, teacher = draw(n_patches, variance, seed)
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
    active = np.mean(X * (X @ teacher > 0)[..., np.newaxis], axis=1)
    gamma = np.linalg.eigvalsh(active.T @ active / len(X))[0]
    return np.sum((model.coef_path_ - teacher) ** 2, axis=1), gamma


def updates_to_target(errors):
    """Updates until the error is below the target, interpolated between epochs."""
    after = np.flatnonzero(errors < TARGET)[0]
    last, first = np.log(errors[after - 1 : after + 1])
    share = (last - np.log(TARGET)) / (last - first)
    return np.interp(after - 1 + share, np.arange(N_EPOCHS + 1), UPDATES)


counts, products = {}, {}
figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 3.8), width_ratios=[1.5, 1], layout="constrained"
)
for n_patches, marker in ((5, "s"), (20, "o")):
    table, gammas = [], []
    for i, variance in enumerate(VARIANCES):
        runs = [descend(n_patches, variance, seed) for seed in SEEDS]
        errors = np.array([error for error, _ in runs])
        table.append([updates_to_target(error) for error in errors])
        gammas.append(np.mean([gamma for _, gamma in runs]))
        if n_patches == 20:
            left.semilogy(
                UPDATES, np.median(errors, axis=0), ("-", "--", "-.", ":")[i],
                color=f"C{i}", label=rf"$\sigma_2^2 = {variance:g}$",
            )  # fmt: skip
            band = errors.min(axis=0), errors.max(axis=0)
            left.fill_between(UPDATES, *band, color=f"C{i}", alpha=0.25, linewidth=0)
    counts[n_patches] = np.array(table)
    middle = np.median(table, axis=1)
    products[n_patches] = middle * gammas
    reach = middle - np.min(table, axis=1), np.max(table, axis=1) - middle
    right.errorbar(
        range(4), middle, reach, marker=marker, capsize=3, color="0.2",
        linestyle="-" if n_patches == 20 else "--", label=f"{n_patches} patches",
    )  # fmt: skip
left.axhline(TARGET, color="0.5", linestyle=":", linewidth=1)
left.set(xlabel="updates", ylabel=r"$|w - w^*|^2 / |w^*|^2$", ylim=(1e-6, 2))
left.set_title("Stochastic gradient descent, 20 patches")
left.legend()
right.set_xticks(range(4), [f"{variance:g}" for variance in VARIANCES])
right.set(xlabel=r"$\sigma_2^2$", ylabel="updates", title="Updates to an error of 1e-4")
right.set_ylim(bottom=0)
right.legend()
figure.savefig("plot_figure_3b_closeness.png", dpi=120)

# %%
# The condition of Theorem 3.1
# ----------------------------
# The quantities of Theorem 3.1 come from a search over filters up to 1.2 radians away. As
# with one neuron, the product of the number of updates and gamma hardly changes.

margins = []
print("20 patches")
print("variance   updates   times gamma   gamma at most   6 L_cross at least")
for i, variance in enumerate(VARIANCES):
    X, _, teacher = draw(20, variance, SEEDS[0])
    with warnings.catch_warnings():
        # Too few patches lie between the teacher and nearby filters to search there.
        warnings.simplefilter("ignore", UserWarning)
        found = smoothness(X, teacher, [0.3, 0.6, 1.2], random_state=0)
    margins.append(found.gamma.value[0] - 6 * found.L_cross)
    print(
        f"{variance:8.2f}   {np.median(counts[20][i]):7.0f}   {products[20][i]:11.2f}   "
        f"{found.gamma.value[0]:13.4f}   {6 * found.L_cross:18.4f}"
    )

# %%
# For every seed and both numbers of patches, closer patches need fewer updates. gamma
# explains this, while Theorem 3.1 applies to identical patches only.

for n_patches in (5, 20):
    assert np.all(np.diff(counts[n_patches], axis=0) > 0)
    assert products[n_patches].max() < 1.25 * products[n_patches].min()
assert np.all(np.median(counts[20][1:], axis=1) > np.median(counts[5][1:], axis=1))
assert margins[0] > 0
assert max(margins[1:]) < 0

plt.show()
