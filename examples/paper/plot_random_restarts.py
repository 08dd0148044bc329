r"""
Theorem 3.4: the probability of a good start, and random restarts
=================================================================

Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018), call a start
good if it is nearer to the true filter than 0 is, by the margin that Theorem 3.1 requires,
and bound the probability of this for a start from a small ball. Restarts make a good
start likely. The paper has no experiment on this. This example measures the probability,
the effect of a good start, and that of restarts.

The bound holds but is loose: the probability differs from 1/2 by about a third of what the
bound allows. A good start is neither necessary nor sufficient for success. One neuron is
learned from every start. On MNIST many filters are found from starts that are not good, and
many are missed from good starts, although good starts do better. Restarts find the filters,
and the number that the theory suggests is about right.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import comb
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skconvfilter import ConvReLUFilterRegressor
from skconvfilter.datasets import load_mnist, make_angular_patches, make_filter_regression
from skconvfilter.diagnostics import (
    ball_success_bound,
    ball_success_probability,
    restarts_needed,
)

SEEDS = range(8)
N_STARTS = 32
PAPER = {
    "fit_intercept": False, "output_sign": 1, "polish": False, "diagnostics": False,
    "tol": 0.0,
}  # fmt: skip


def draw_ball(rng, n_starts, patch_dim, alpha):
    """Starts uniform in the ball of radius alpha."""
    starts = rng.standard_normal((n_starts, patch_dim))
    starts /= np.linalg.norm(starts, axis=1, keepdims=True)
    return starts * alpha * rng.uniform(size=(n_starts, 1)) ** (1 / patch_dim)


def is_good(starts, teacher, alpha):
    """Whether starts are as near to a teacher of unit norm as Theorem 3.4 says."""
    return np.sum((starts - teacher) ** 2, axis=1) <= 1 - alpha**2


# %%
# The probability
# ---------------
# The probability is measured on 20,000 starts and compared with the exact value and with
# the bound of the paper. The theorem is for radii alpha up to 1 / sqrt(2 pi p). In units of
# that radius, the bound is the same for every dimension.

DIMS, RADII = (5, 25, 100), np.linspace(0.1, 1, 10)
measured, exact, bound = np.empty((3, len(DIMS), len(RADII)))
for i, patch_dim in enumerate(DIMS):
    alphas = RADII / np.sqrt(2 * np.pi * patch_dim)
    exact[i] = ball_success_probability(patch_dim, alphas)
    bound[i] = ball_success_bound(patch_dim, alphas)
    rng = np.random.default_rng(SEEDS[0])
    teacher = np.eye(patch_dim)[0]
    for j, alpha in enumerate(alphas):
        starts = draw_ball(rng, 20_000, patch_dim, alpha)
        measured[i, j] = np.mean(is_good(starts, teacher, alpha))

# %%
# One neuron
# ----------
# The data are those of figure 3a with sigma = 1, and the solver is the paper's stochastic
# gradient descent. The balls of this section and the next are those of Corollary 3.1, with
# alpha = 1 / sqrt(8 pi p), for which the bound is 1/4.

alpha = 1 / np.sqrt(8 * np.pi * 10)
neuron_good, neuron_found = [], []
for seed in SEEDS:
    X, y, teacher = make_angular_patches(2_000, 10, return_teacher=True, random_state=seed)
    starts = draw_ball(np.random.default_rng(seed), N_STARTS, 10, alpha)
    model = ConvReLUFilterRegressor(
        init=starts, learning_rate="constant", learning_rate_init=2.0, batch_size=16,
        max_iter=20, n_iter_no_change=20, random_state=seed, **PAPER,
    )  # fmt: skip
    with warnings.catch_warnings():
        # Some starts have not reached machine precision after the last epoch.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    neuron_good.append(is_good(starts, teacher, alpha))
    neuron_found.append(2 * model.restart_losses_ / y.mean() ** 2 < 1e-10)

# %%
# MNIST
# -----
# A window of 5 by 5 moves by 2 over 1,000 images. After an affordable number of epochs, the
# loss of stochastic gradient descent does not distinguish a start that leads to the true
# filter from one that leads to another minimum. Levenberg-Marquardt steps, which converge
# to the minimum, are used instead.

try:
    images, side = load_mnist()[0], 28
except FileNotFoundError as error:
    print(f"MNIST is unavailable, so the bundled digits are used instead: {error}")
    images, side = load_digits().data / 16, 8
images = images[np.random.RandomState(0).permutation(len(images))[:1000]]
window = {
    "kernel_size": 5, "input_shape": (side, side), "stride": 2 if side == 28 else 1
}  # fmt: skip

alpha = 1 / np.sqrt(8 * np.pi * 25)
good, found = np.empty((2, 2, len(SEEDS), N_STARTS), dtype=bool)
for i, kind in enumerate(("random", "gabor")):
    for j, seed in enumerate(SEEDS):
        _, y, teacher = make_filter_regression(
            X=images,
            estimator=ConvReLUFilterRegressor(**window),
            teacher=kind,
            return_teacher=True,
            random_state=seed,
        )
        starts = draw_ball(np.random.default_rng(seed), N_STARTS, 25, alpha)
        model = ConvReLUFilterRegressor(
            init=starts, solver="levenberg-marquardt", max_iter=60, n_iter_no_change=60,
            **PAPER, **window,
        )  # fmt: skip
        with warnings.catch_warnings():
            # The number of steps is limited, but large enough to tell the minima apart.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(images, y)
        good[i, j] = is_good(starts, teacher.ravel(), alpha)
        found[i, j] = 2 * model.restart_losses_ / y.mean() ** 2 < 1e-10

# %%
# Results
# -------
# For n restarts, the share is that of all sets of n starts of a filter of which at least
# one has found it.

n = np.arange(1, N_STARTS + 1)
misses = N_STARTS - found.sum(axis=2)
share = 1 - np.mean([comb(misses, k) / comb(N_STARTS, k) for k in n], axis=2)
q, q_bound = ball_success_probability(25, alpha), ball_success_bound(25, alpha)
print(f"one neuron: {np.mean(neuron_found):.0%} of starts find the filter, good or not")
print("images:     filters  good starts   found from good starts   from others")
for i, kind in enumerate(("random", "gabor")):
    print(
        f"{'':11s} {kind:7s} {good[i].mean():12.0%} {found[i][good[i]].mean():24.0%} "
        f"{found[i][~good[i]].mean():13.0%}"
    )
print(f"probability of a good start {q:.3f}, bound {q_bound:.3f}; for 99 %:", end=" ")
print(f"{restarts_needed(q)} restarts, {restarts_needed(q_bound)} by the bound")

figure, (left, middle, right) = plt.subplots(
    1, 3, figsize=(11, 3.9), width_ratios=[1, 1, 1], layout="constrained"
)
for i, patch_dim in enumerate(DIMS):
    style = {"color": f"C{i}", "linestyle": ("-", "-.", ":")[i], "linewidth": 1}
    left.plot(RADII, exact[i], label=f"exact, p = {patch_dim}", **style)
    left.plot(RADII, measured[i], "osD"[i], color=f"C{i}", markersize=4)
left.plot(RADII, bound[0], "k--", label="bound of Theorem 3.4")
left.set(xlabel=r"radius, times $\sqrt{2 \pi p}$", ylabel="probability", ylim=(-0.02, 0.55))
left.set_title("A start is good (marks: measured)")
left.legend(loc="lower left")
for i, (which, name) in enumerate(((good, "from good starts"), (~good, "from others"))):
    by_filter = np.sum(found & which, axis=2) / np.sum(which, axis=2)
    shares = np.array([np.mean(neuron_found), *by_filter.mean(axis=1)])
    errors = np.array([0, *by_filter.std(axis=1)]) / np.sqrt(len(SEEDS))
    places = np.arange(3) + 0.38 * i - 0.19
    style = {"color": f"C{i}", "hatch": ("", "//")[i], "label": name}
    bars = middle.bar(places, shares, 0.36, yerr=errors, **style)
    labels = [f"{share:.0%}" for share in shares]
    middle.bar_label(bars, labels, fontsize="x-small", padding=2)
images_name = "MNIST" if side == 28 else "digits"
middle.set_xticks(
    range(3), ["one\nneuron", f"{images_name},\nrandom", f"{images_name},\nGabor"]
)
middle.set(ylim=(0, 1.45), yticks=[0, 0.5, 1], ylabel="share of starts")
middle.set_title("Found from one start")
middle.legend(loc="upper right")
for i, kind in enumerate(("random", "Gabor")):
    style = {"color": f"C{i + 2}", "linestyle": ("-.", ":")[i]}
    right.plot(n, share[:, i], label=f"{images_name}, {kind}", **style)
right.plot(n, 1 - (1 - q) ** n, "k-", linewidth=1, label="exact, for good starts")
right.plot(n, 1 - (1 - q_bound) ** n, "k--", linewidth=1, label="bound, for good starts")
right.set(xlabel="restarts", ylabel="share", xlim=(0, 20), ylim=(0, 1.03))
right.set_title("Found from one of them")
right.legend(loc="lower right")
figure.savefig("plot_random_restarts.png", dpi=120)

# %%
# The measured probability agrees with the exact one, which is far above the bound. The
# neuron is learned from every start. On MNIST good starts do better, but are neither
# necessary nor sufficient, and nine restarts, the number for good starts, find the filter
# nine times in ten.

error = np.sqrt(exact * (1 - exact) / 20_000)
assert np.all(np.abs(measured - exact) < 5 * error)
assert np.all(2.5 * (0.5 - exact) < 0.5 - bound)
assert np.all(neuron_found)
assert np.all(share[restarts_needed(q) - 1] > (0.9 if side == 28 else 0.8))
if side == 28:
    assert 0.2 < found[~good].mean() < found[good].mean() - 0.05 < 0.85

plt.show()
