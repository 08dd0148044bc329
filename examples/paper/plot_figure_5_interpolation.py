"""
Figure 5: the loss between a learned filter and the true one
============================================================

Figure 5 of Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018).
Stochastic gradient descent ends at a filter of small loss that is not the true one. On the
line from there to the true filter the loss stays low: the two lie in one valley. This
holds for starts near the true filter. From the random ball of Theorem 3.4 many lines on
MNIST rise far above both ends: the learned filter is near another local minimum.

The paper believes that the data hardly tell the two filters apart. A third line shows what
that means: a step of the same length in a random direction costs fifty times as
much. And "hardly" is not "not at all": the example on what goes beyond the paper recovers
the filters.

What differs: the paper shows a line for one filter of either sort, from a start that it
does not name. Here are eight filters of either sort from two starts each, one at a cosine
of 0.8 to the true filter, one from the ball. A window of 5 by 5 moves by 2 over 1,000
images; steps are one over the largest curvature of the mean patches, for 100 epochs with
batches of 16.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skconvfilter import ConvPatchExtractor, ConvReLUFilterRegressor
from skconvfilter.datasets import load_mnist, make_filter_regression, random_filter
from skconvfilter.diagnostics import interpolation

SEEDS = range(8)
COSINE, N_EPOCHS = 0.8, 100

# %%
# Images
# ------

try:
    images, side = load_mnist()[0], 28
except FileNotFoundError as error:
    print(f"MNIST cannot be had here, so the bundled digits take its place: {error}")
    images, side = load_digits().data / 16, 8
images = images[np.random.RandomState(0).permutation(len(images))[:1000]]
window = {
    "kernel_size": 5, "input_shape": (side, side), "stride": 2 if side == 28 else 1
}  # fmt: skip
means = ConvPatchExtractor(**window).fit_transform(images).mean(axis=(1, 2)).reshape(-1, 25)
step = len(images) / np.linalg.eigvalsh(means.T @ means)[-1]

# %%
# Descend, and walk back
# ----------------------
# At 0 on the line is the true filter, of unit norm, where the loss is 0; at 1 is the
# learned one.


def starts(teacher, seed):
    rng = np.random.default_rng(seed)
    across, direction = rng.standard_normal((2, 25))
    across -= (across @ teacher) * teacher
    across *= np.sqrt(1 - COSINE**2) / np.linalg.norm(across)
    radius = rng.uniform() ** (1 / 25) / np.sqrt(2 * np.pi * 25)
    near = COSINE * (COSINE * teacher + across)
    return {"near": near, "ball": radius * direction / np.linalg.norm(direction)}


def descend(y, start, seed):
    model = ConvReLUFilterRegressor(
        init=[start], fit_intercept=False, output_sign=1, polish=False, tol=0.0,
        learning_rate="constant", learning_rate_init=step, batch_size=16,
        max_iter=N_EPOCHS, n_iter_no_change=N_EPOCHS, diagnostics=False, random_state=seed,
        **window,
    )  # fmt: skip
    with warnings.catch_warnings():
        # No start has converged after so few epochs.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(images, y).coef_


def walk(first, second):
    return interpolation(images, first, second, n_points=41, **window).relative_loss


lines = {}
for kind in ("random", "gabor"):
    for seed in SEEDS:
        _, y, teacher = make_filter_regression(
            X=images, teacher=kind, return_teacher=True, random_state=seed, **window
        )
        teacher = teacher.ravel()
        for name, start in starts(teacher, seed).items():
            learned = descend(y, start, seed)
            lines.setdefault((kind, name), []).append(walk(learned, teacher))
            if name == "near":
                length = np.linalg.norm(learned - teacher)
                # With its own seed it would be the teacher's direction.
                astray = teacher + length * random_filter(25, random_state=1_000 + seed)
                lines.setdefault((kind, "astray"), []).append(walk(astray, teacher))
lines = {key: np.array(runs) for key, runs in lines.items()}

# %%
# What came out
# -------------

names = {
    "near": "learned from near",
    "ball": "learned from the ball",
    "astray": "random direction",
}
print("filters  end of the line          loss there   most on the way over that, by filter")
for (kind, name), runs in lines.items():
    humps = " ".join(f"{hump:.3g}" for hump in runs.max(axis=1) / runs[:, -1])
    print(f"{kind:7s}  {names[name]:22s}   {np.median(runs[:, -1]):10.1e}   {humps}")

figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
weights = np.linspace(0, 1, 41)
for ax, kind in zip(axes, ("random", "gabor"), strict=True):
    for i, name in enumerate(("ball", "near", "astray")):
        # The loss at the true filter, 0, has no place on a logarithmic axis.
        runs = lines[kind, name][:, 1:].T
        style = {"color": f"C{(1, 0, 7)[i]}", "linestyle": ("-", "-", "--")[i]}
        ax.semilogy(weights[1:], runs, alpha=0.45, linewidth=0.8, **style)
        ax.semilogy(weights[1:], np.median(runs, axis=1), label=names[name], **style)
    ax.set_title(f"{kind.capitalize()} filters: each line, and the median")
    ax.set_xlabel("weight of the end of the line\n(0: the true filter)")
axes[0].set_ylabel("relative loss")
axes[1].legend(loc="lower right", title="end of the line")
figure.savefig("plot_figure_5_interpolation.png", dpi=120)

# %%
# The finding: from near starts nearly no line rises above its end, which is small, and a
# step of that length in a random direction costs far more. From the ball, on MNIST, more
# than a third of the lines rise to at least twice their end.


def ends_and_humps(name):
    runs = np.vstack([lines["random", name], lines["gabor", name]])
    return runs[:, -1], runs.max(axis=1) / runs[:, -1]


near_loss, near_hump = ends_and_humps("near")
_, ball_hump = ends_and_humps("ball")
astray_loss, _ = ends_and_humps("astray")
cost = np.median(astray_loss / near_loss)
print(f"a random direction costs {cost:.0f} times what is left at the end, median")
assert np.median(near_loss) < 1e-2
assert np.mean(near_hump < 1.05) > 0.8
assert cost > 20
assert side == 8 or np.mean(ball_hump > 2) > 1 / 3

plt.show()
