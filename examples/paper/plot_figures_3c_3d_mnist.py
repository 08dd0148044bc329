"""
Figures 3c and 3d: random and Gabor filters on MNIST, from near and far starts
==============================================================================

Figures 3c and 3d of Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?"
(ICLR 2018). A filter labels MNIST images, and stochastic gradient descent starts at
different distances from it. The filter has normal entries in figure 3c, and is a Gabor
filter in figure 3d. In both figures a better start has a lower loss at any time.

The paper explains this by a faster rate. The experiment does not support that for Gabor
filters: after the first epoch, the nearest start reduces the loss by no larger a factor
than the other starts do. It keeps the advantage that it had at the beginning.

The experiment differs from the paper, which does not state the window, the step or the
starts, and seems to show one filter per figure. Here a window of 5 by 5 moves by 2 over
1,000 images. The step is one over the largest curvature of the mean patches, with batches
of 16. Starts are at three angles to the filter, each with the length that brings it
nearest, or drawn from the ball of Theorem 3.4. Eight filters of either kind are learned
from each start. Lines are geometric means, and bands go from the first to the third
quartile. The bands overlap because filters differ more than starts do, so the panels on the
right follow each filter. Filters have unit norm, which does not affect the relative loss.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skconvfilter import ConvPatchExtractor, ConvReLUFilterRegressor
from skconvfilter.datasets import load_mnist, make_filter_regression

SEEDS, N_EPOCHS = range(8), 100
COSINES = (0.95, 0.8, 0.6)
STARTS = [f"cosine {cosine}" for cosine in COSINES] + ["ball"]

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
means = ConvPatchExtractor(**window).fit_transform(images).mean(axis=(1, 2)).reshape(-1, 25)
step = len(images) / np.linalg.eigvalsh(means.T @ means)[-1]

# %%
# Gradient descent
# ----------------
# The paper's model is the estimator without intercept, sign and polish. All starts of a
# filter see the same batches.


def descend(kind, seed):
    """Relative losses of shape (n_epochs + 1, n_starts)."""
    _, y, teacher = make_filter_regression(
        X=images,
        estimator=ConvReLUFilterRegressor(**window),
        teacher=kind,
        return_teacher=True,
        random_state=seed,
    )
    teacher = teacher.ravel()
    rng = np.random.default_rng(seed)
    across, direction = rng.standard_normal((2, 25))
    across -= (across @ teacher) * teacher
    across /= np.linalg.norm(across)
    starts = [c * (c * teacher + np.sqrt(1 - c**2) * across) for c in COSINES]
    radius = rng.uniform() ** (1 / 25) / np.sqrt(2 * np.pi * 25)
    starts.append(radius * direction / np.linalg.norm(direction))
    model = ConvReLUFilterRegressor(
        init=starts, fit_intercept=False, output_sign=1, polish=False, tol=0.0,
        learning_rate="constant", learning_rate_init=step, batch_size=16,
        max_iter=N_EPOCHS, n_iter_no_change=N_EPOCHS, diagnostics=False, random_state=seed,
        **window,
    )  # fmt: skip
    with warnings.catch_warnings():
        # No start has converged after so few epochs.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(images, y).history_["relative_loss"]


# log10 of the relative loss, of shape (n_filters, n_epochs + 1, n_starts)
decades = {
    kind: np.log10([descend(kind, seed) for seed in SEEDS]) for kind in ("random", "gabor")
}

# %%
# Results
# -------
# The advantage of a good start remains. For random filters it grows a little after the
# first epoch, for Gabor filters it does not.

print("log10 of the relative loss, mean over filters")
print("filter   start          epoch 1   epoch 20   epoch 100   change from epoch 1 to 100")
for kind, runs in decades.items():
    for name, (first, middle, last) in zip(
        STARTS, runs.mean(axis=0)[[1, 20, 100]].T, strict=True
    ):
        print(
            f"{kind:8s} {name:12s} {first:9.2f} {middle:10.2f} {last:11.2f} "
            f"{last - first:17.2f}"
        )

figure, axes = plt.subplots(
    2, 2, figsize=(10, 7), width_ratios=[1.5, 1], sharex="col", sharey="col",
    layout="constrained",
)  # fmt: skip
titles = {"random": "3c: random filters", "gabor": "3d: Gabor filters"}
for (left, right), (kind, runs) in zip(axes, decades.items(), strict=True):
    for i, name in enumerate(STARTS):
        style = {"color": f"C{i}", "linestyle": ("-", "--", "-.", ":")[i]}
        left.semilogy(10 ** runs[:, :, i].mean(axis=0), label=name, **style)
        band = 10 ** np.quantile(runs[:, :, i], [0.25, 0.75], axis=0)
        epochs = np.arange(N_EPOCHS + 1)
        left.fill_between(epochs, *band, color=f"C{i}", alpha=0.15, linewidth=0)
    left.set(ylabel="relative loss", title=titles[kind], ylim=(2e-5, 20))
    factors = 10 ** (runs[:, -1] - runs[:, 1])
    right.semilogy(STARTS, factors.T, color="0.7", linewidth=0.8)
    right.semilogy(STARTS, 10 ** np.log10(factors).mean(axis=0), "ko-", label="mean")
    right.set_ylim(7e-3, 1.3)
    right.set_title(f"Loss at epoch {N_EPOCHS} over loss at epoch 1")
axes[0, 0].legend(title="start", ncols=4, loc="upper right")
axes[0, 1].legend(loc="upper left")
axes[1, 0].set_xlabel("epoch")
axes[1, 1].set_xlabel("start (a line for each filter)")
figure.savefig("plot_figures_3c_3d_mnist.png", dpi=120)

# %%
# On average, better starts are ahead after 20 and after 100 epochs. Among random filters,
# nearly every one is best learned from the nearest start. For Gabor filters the nearest
# start gains no more after the first epoch than the best of the others.

for runs in decades.values():
    assert np.all(np.diff(runs.mean(axis=0)[[20, 100]], axis=1) > 0)
last = decades["random"][:, -1]
assert np.mean(last[:, 0] < last[:, 1:].min(axis=1)) > 0.8
gains = (decades["gabor"][:, 1] - decades["gabor"][:, -1]).mean(axis=0)
assert gains[0] < gains[1:].max()

plt.show()
