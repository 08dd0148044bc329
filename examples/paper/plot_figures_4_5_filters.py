"""
Figures 4 and 5: learned filters, and the loss on the line to the true ones
===========================================================================

Figures 4 and 5 of Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?"
(ICLR 2018). Stochastic gradient descent on MNIST ends at a filter of small loss that is not
the true one. Figure 4 shows true and learned filters, which have similar patterns. Figure 5
shows the loss on the line between them, which stays low: both filters lie in one valley.

Both findings hold for starts near the true filter. From the random ball of Theorem 3.4 the
loss gets about as small. However, on MNIST the patterns often differ, up to the negative of
a Gabor filter, and on many lines the loss rises far above that of both ends, because the
learned filter is near another local minimum.

The paper concludes that the data hardly distinguish the two filters. A third line shows
that a step of the same length in a random direction increases the loss many times more.
:ref:`sphx_glr_auto_examples_paper_plot_beyond_the_paper.py` recovers the true filters.

The experiment differs from the paper, which shows one line for a filter of either kind and
does not state its starts. Here there are eight filters of either kind and two starts for
each, one at a cosine of 0.8 to the true filter, that is, 37 degrees away, and one from the
ball. A window of 5 by 5 moves by 2 over 1,000 images. The step is one over the largest
curvature of the mean patches, for 100 epochs with batches of 16.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skconvfilter import ConvPatchExtractor, ConvReLUFilterRegressor
from skconvfilter.datasets import load_mnist, make_filter_regression, random_filter
from skconvfilter.diagnostics import interpolation, recovery
from skconvfilter.plotting import FilterDisplay

SEEDS, KINDS = range(8), ("random", "gabor")
COSINE, N_EPOCHS = 0.8, 100

# %%
# Images
# ------

try:
    images, side = load_mnist(dtype=np.float32)[0], 28
except FileNotFoundError as error:
    print(f"MNIST is unavailable, so the bundled digits are used instead: {error}")
    images, side = load_digits().data / 16, 8
images = images[np.random.RandomState(0).permutation(len(images))[:1000]]
window = {
    "kernel_size": 5, "input_shape": (side, side), "stride": 2 if side == 28 else 1
}  # fmt: skip
geometry = ConvPatchExtractor(**window)
means = geometry.fit_transform(images).mean(axis=(1, 2)).reshape(-1, 25)
step = len(images) / np.linalg.eigvalsh(means.T @ means)[-1]

# %%
# Gradient descent
# ----------------
# Each filter is learned twice. The true filters have unit norm.


def draw_starts(teacher, seed):
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
        return model.fit(images, y)


def losses_between(first, second):
    line = interpolation(images, first, second, n_points=41, estimator=geometry)
    return line.relative_loss


# %%
# On a line, the weight 0 is the true filter, where the loss is 0, and the weight 1 the
# learned one.

filters, angles, lines = {}, {}, {}
for kind in KINDS:
    for seed in SEEDS:
        _, y, teacher = make_filter_regression(
            X=images,
            estimator=geometry,
            teacher=kind,
            return_teacher=True,
            random_state=seed,
        )
        filters.setdefault((kind, "true"), []).append(teacher)
        teacher = teacher.ravel()
        for name, start in draw_starts(teacher, seed).items():
            model = descend(y, start, seed)
            angle = recovery(model, teacher, images).angle
            filters.setdefault((kind, name), []).append(model.filter_)
            angles.setdefault((kind, name), []).append(np.degrees(angle))
            line = losses_between(model.coef_, teacher)
            lines.setdefault((kind, name), []).append(line)
            if name == "near":
                length = np.linalg.norm(model.coef_ - teacher)
                # The seed of the teacher would give its direction again.
                other = teacher + length * random_filter(25, random_state=1_000 + seed)
                line = losses_between(other, teacher)
                lines.setdefault((kind, "other"), []).append(line)
angles = {key: np.array(found) for key, found in angles.items()}
lines = {key: np.array(found) for key, found in lines.items()}
losses = {key: found[:, -1] for key, found in lines.items()}

# %%
# Figure 4
# --------

print("filters  start   relative loss, median   degrees to the true filter")
for (kind, name), angle in angles.items():
    print(
        f"{kind:7s}  {name:5s}   {np.median(losses[kind, name]):21.1e}   "
        f"median {np.median(angle):3.0f}, from {min(angle):3.0f} to {max(angle):3.0f}"
    )

figure = plt.figure(figsize=(10, 8.4), layout="constrained")
labels = {"true": "true", "near": "learned,\nnear start", "ball": "learned,\nball"}
for part, kind in zip(figure.subfigures(2, 1, hspace=0.04), KINDS, strict=True):
    part.suptitle(f"{kind.capitalize()} filters, and degrees from learned to true ones")
    axes = part.subplots(3, len(SEEDS))
    shown, titles = [], [""] * len(SEEDS)
    for row, (name, label) in zip(axes, labels.items(), strict=True):
        shown += filters[kind, name]
        titles += [f"{angle:.0f}°" for angle in angles.get((kind, name), [])]
        row[0].set_ylabel(label, rotation=0, ha="right", va="center")
    FilterDisplay.from_filters(shown, titles=titles, axes=axes, colorbar=False)
figure.savefig("plot_figure_4_filters.png", dpi=120)

# %%
# Figure 5
# --------

names = {
    "near": "learned from near",
    "ball": "learned from the ball",
    "other": "random direction",
}
print("filters  end of the line          loss there   largest loss over that, by filter")
for (kind, name), runs in lines.items():
    humps = " ".join(f"{hump:.3g}" for hump in runs.max(axis=1) / runs[:, -1])
    print(f"{kind:7s}  {names[name]:22s}   {np.median(runs[:, -1]):10.1e}   {humps}")

figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
weights = np.linspace(0, 1, 41)
for ax, kind in zip(axes, KINDS, strict=True):
    for i, name in enumerate(("ball", "near", "other")):
        # The loss at the true filter, 0, has no place on a logarithmic axis.
        runs = lines[kind, name][:, 1:].T
        style = {"color": f"C{(1, 0, 7)[i]}", "linestyle": ("-", "-.", "--")[i]}
        ax.semilogy(weights[1:], runs, alpha=0.45, linewidth=0.8, **style)
        ax.semilogy(weights[1:], np.median(runs, axis=1), label=names[name], **style)
    ax.set_title(f"{kind.capitalize()} filters: each line, and the median")
    ax.set_xlabel("weight of the end of the line\n(0: the true filter)")
axes[0].set_ylabel("relative loss")
axes[1].legend(loc="lower right", title="end of the line")
figure.savefig("plot_figure_5_interpolation.png", dpi=120)

# %%
# From near starts no filter is exact, losses are small, and on hardly any line the loss
# rises above that of the end. A step of the same length in a random direction costs far
# more. On MNIST, filters learned from the ball are much farther away, and more than a third
# of their lines rise to at least twice the loss of their end.


def of_both_kinds(values, name):
    return np.concatenate([values[kind, name] for kind in KINDS])


near, ball = (of_both_kinds(angles, name) for name in ("near", "ball"))
near_loss, ball_loss, other_loss = (of_both_kinds(losses, name) for name in names)
near_hump = of_both_kinds(lines, "near").max(axis=1) / near_loss
ball_hump = of_both_kinds(lines, "ball").max(axis=1) / ball_loss
cost = np.median(other_loss / near_loss)
print(f"near starts: {np.mean(near < np.degrees(np.arccos(COSINE))):.0%} come nearer")
print(f"a random direction costs {cost:.0f} times the loss of the learned filter, median")
assert np.median(near_loss) < 1e-2
assert min(near.min(), ball.min()) > 1
assert np.median(near) < 45
assert np.mean(near_hump < 1.05) > 0.8
assert cost > 20
assert side == 8 or np.median(ball) > 55
assert side == 8 or np.mean(ball_hump > 2) > 1 / 3

plt.show()
