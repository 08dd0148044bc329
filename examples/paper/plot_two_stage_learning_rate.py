"""
Does a two-stage learning rate help?
====================================

Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018), say in section
2.1 that their theory justifies learning rates that are small first and large later: near
the true filter Theorem 2.2 permits larger steps than far away. The paper has no experiment
on this. This example tests it on one neuron and on MNIST, with several rates for the second
stage and two kinds of first stages.

Two stages are compared with the best constant rate, not with the small rate of the first
stage, which is much slower. A long first stage costs more than it gains. A short one makes
the next larger rate safer for the neuron, as the theory says, but needs about as many
updates as the best constant rate. On MNIST nothing is gained either. The steps that Theorem
2.2 permits are at least fifty times smaller than the largest safe ones. Two stages do help
on scikit-learn's digits, which this script uses if MNIST is unavailable: the loss of Gabor
filters is four times smaller.

A filter that is active nowhere has no gradient. The estimator then draws a new start, which
the paper's algorithm does not do.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skconvfilter import ConvPatchExtractor, ConvReLUFilterRegressor
from skconvfilter.datasets import load_mnist, make_angular_patches, make_filter_regression
from skconvfilter.diagnostics import smoothness

SEEDS = range(5)


def fit(X, y, n_iter, **settings):
    model = ConvReLUFilterRegressor(
        fit_intercept=False, output_sign=1, polish=False, diagnostics=False, tol=0.0,
        max_iter=n_iter, n_iter_no_change=n_iter, **settings,
    )  # fmt: skip
    with warnings.catch_warnings():
        # Too large rates diverge, and fits on images have not converged.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y)


# %%
# One neuron
# ----------
# The data are those of figure 3a with sigma = 1, the start is 1.2 radians away from the
# true filter and half as long, and gradient descent uses all samples. The number of updates
# is counted until the squared error of the filter is 1e-4. A first stage has a rate and a
# number of updates.

RATES = np.array([1, 2, 4, 5, 6, 7])
STAGES = {
    "constant": (1, 0),
    "50 updates at 0.5 first": (0.5, 50),
    "5 updates at 2 first": (2, 5),
}
N_UPDATES = 250


def updates(X, y, teacher, start, first, n_first, rate):
    model = fit(
        X, y, N_UPDATES, solver="gd", init=[start],
        learning_rate=lambda update, losses: first if update < n_first else rate,
    )  # fmt: skip
    below = np.flatnonzero(np.sum((model.coef_path_ - teacher) ** 2, axis=1) < 1e-4)
    return below[0] if len(below) else np.inf


counts = np.empty((len(STAGES), len(SEEDS), len(RATES)))
for i, seed in enumerate(SEEDS):
    X, y, teacher = make_angular_patches(1_000, 10, return_teacher=True, random_state=seed)
    across = np.random.default_rng(seed).standard_normal(10)
    across -= (across @ teacher) * teacher
    across /= np.linalg.norm(across)
    start = 0.5 * (np.cos(1.2) * teacher + np.sin(1.2) * across)
    for j, stage in enumerate(STAGES.values()):
        counts[j, i] = [updates(X, y, teacher, start, *stage, rate) for rate in RATES]

# Estimates of the step of Theorem 2.2 for several largest angles to the filter.
X, _, teacher = make_angular_patches(10_000, 10, return_teacher=True, random_state=0)
with warnings.catch_warnings():
    # Few patches lie between the teacher and nearby filters: beta is from the others.
    warnings.simplefilter("ignore", UserWarning)
    found = smoothness(X, teacher, [0.2, 0.6, 1.0, 1.25], random_state=0)
steps = found.gamma.value / (2 * (found.L.value + 4 * found.beta) ** 2)

print("one neuron, updates to 1e-4: median (most of five seeds; inf: not reached)")
print(f"{'rate, of stage two':24s}", *(f"{rate:9d}" for rate in RATES))
for name, runs in zip(STAGES, counts, strict=True):
    cells = zip(np.median(runs, axis=0), runs.max(axis=0), strict=True)
    print(f"{name:24s}", *(f"{middle:4.0f}{f'({most:.0f})':5s}" for middle, most in cells))
print(f"Theorem 2.2 permits {steps.min():.3f} at the start, {steps[0]:.3f} at the end")

# %%
# Images
# ------
# A window of 5 by 5 moves by 2 over 1,000 MNIST images, with labels from five random and
# five Gabor filters. Starts are from the ball of Theorem 3.4. Rates are in units of one
# over the largest curvature of the mean patches, and a first stage has five epochs. The
# learning rate is a callable that returns one rate for each start, so that all see the same
# batches.

try:
    images, side = load_mnist(dtype=np.float32)[0], 28
except FileNotFoundError as error:
    print(f"MNIST is unavailable, so the bundled digits are used instead: {error}")
    images, side = load_digits().data / 16, 8
images = images[np.random.RandomState(0).permutation(len(images))[:1000]]
window = {
    "kernel_size": 5, "input_shape": (side, side), "stride": 2 if side == 28 else 1
}  # fmt: skip
means = ConvPatchExtractor(**window).fit_transform(images).mean(axis=(1, 2)).reshape(-1, 25)
unit = len(images) / np.linalg.eigvalsh(means.T @ means)[-1]

IMAGE_RATES, N_EPOCHS = np.array([1, 2, 3, 4, 6]), 40
IMAGE_STAGES = {
    "constant": IMAGE_RATES,
    "5 epochs at 0.3 first": 0.3,
    "5 epochs at 1 first": 1,
}
n_rates = len(IMAGE_RATES)
first = unit * np.concatenate([np.full(n_rates, rate) for rate in IMAGE_STAGES.values()])
second = unit * np.tile(IMAGE_RATES, len(IMAGE_STAGES))


def learning_rate(update, losses):
    return first if update < 5 * (len(images) // 16) else second


decades = []
for kind in ("random", "gabor"):
    for seed in SEEDS:
        _, y = make_filter_regression(
            X=images,
            estimator=ConvReLUFilterRegressor(**window),
            teacher=kind,
            random_state=seed,
        )
        rng = np.random.default_rng(seed)
        start = rng.standard_normal(25)
        start *= rng.uniform() ** (1 / 25) / np.sqrt(2 * np.pi * 25) / np.linalg.norm(start)
        model = fit(
            images, y, N_EPOCHS, init=np.tile(start, (len(first), 1)), batch_size=16,
            learning_rate=learning_rate, random_state=seed, **window,
        )  # fmt: skip
        decades.append(np.log10(model.history_["relative_loss"][-1]))
decades = np.reshape(decades, (2, len(SEEDS), len(IMAGE_STAGES), n_rates))

# %%
# Results
# -------

print(f"images: log10 of the relative loss after {N_EPOCHS} epochs, mean")
print(f"{'rate, of stage two':29s}", *(f"{rate:6d}" for rate in IMAGE_RATES))
for kind, mean in zip(("random", "gabor"), decades.mean(axis=1), strict=True):
    for name, row in zip(IMAGE_STAGES, mean, strict=True):
        print(f"{kind:6s} {name:22s}", *(f"{loss:6.2f}" for loss in row))

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for i, (name, runs) in enumerate(zip(STAGES, counts, strict=True)):
    shown = np.isfinite(runs).all(axis=0)
    x, runs = RATES[shown], runs[:, shown]
    left.loglog(x, np.median(runs, axis=0), "osD"[i] + "-", color=f"C{i}", label=name)
    left.fill_between(x, runs.min(0), runs.max(0), color=f"C{i}", alpha=0.2, linewidth=0)
left.set_xticks(RATES, RATES)
left.set_yticks([30, 50, 100, 200], [30, 50, 100, 200])
left.set_xlim(right=7.8)
left.minorticks_off()
left.text(7, 40, "not reached", rotation=90, ha="center", va="bottom", color="0.4")
left.set(xlabel="learning rate (in stage two)", ylabel="updates to an error of 1e-4")
left.set_title("One neuron, gradient descent")
left.legend(title=f"{len(SEEDS)} seeds: median, range")
mean = decades.mean(axis=(0, 1))
error = decades.std(axis=1).mean(axis=0) / np.sqrt(2 * len(SEEDS))
for i, name in enumerate(IMAGE_STAGES):
    band = 10 ** (mean[i] - error[i]), 10 ** (mean[i] + error[i])
    right.loglog(IMAGE_RATES, 10 ** mean[i], "osD"[i] + "-", color=f"C{i}", label=name)
    right.fill_between(IMAGE_RATES, *band, color=f"C{i}", alpha=0.2, linewidth=0)
right.set_xticks(IMAGE_RATES, IMAGE_RATES)
right.set_xticks([], minor=True)
right.set_ylim(top=4 * right.get_ylim()[1])
right.set(xlabel="learning rate (in stage two), over 1 / curvature", ylabel="relative loss")
right.set_title(f"{'MNIST' if side == 28 else 'Digits'}, SGD, after {N_EPOCHS} epochs")
right.legend(title=f"{2 * len(SEEDS)} filters: geometric mean, standard error")
figure.savefig("plot_two_stage_learning_rate.png", dpi=120)

# %%
# The numbers of updates are those of the slowest seed at the best rate. With a long first
# stage it is more than one and a half times that of a constant rate, though less than that
# of the constant rate 1. With a short first stage it differs by less than a quarter. On
# MNIST the best losses with and without a first stage differ by less than a quarter. The
# steps of the theorem are far smaller than the largest safe ones.

slowest = counts.max(axis=1)  # (stages, rates)
constant, after_long, after_short = slowest.min(axis=1)
assert 1.5 * constant < after_long < slowest[0, 0]
assert 0.75 * constant < after_short < 1.25 * constant
assert RATES[slowest[0].argmin()] > 50 * steps.max()
assert side == 8 or abs(mean[0].min() - mean[1:].min()) < 0.1

plt.show()
