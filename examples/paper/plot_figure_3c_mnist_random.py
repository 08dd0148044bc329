"""
Figure 3c: a random filter on MNIST, from near and from far
===========================================================

Figure 3c of Du, Lee & Tian, "When is a Convolutional Filter Easy to Learn?" (ICLR 2018).
A filter with normal entries labels MNIST images, and stochastic gradient descent starts
nearer to it or farther away: the better the start, the lower the loss, at any time.

What differs: the paper prints neither window, nor step, nor starts, and it seems to show
one filter. Here a window of 5 by 5 moves by 2 over 1,000 images; steps are one over the
largest curvature of the mean patches, with batches of 16. Starts are at three angles to
the filter, of the length that brings them nearest, or drawn from the ball of Theorem 3.4.
Sixteen filters are learned from each: lines are geometric means, bands go from the first
to the third quartile. They overlap because filters differ more than starts do, so the
panel at the right follows each filter. Filters have unit norm, which the relative loss
does not see.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skconvfilter import ConvPatchExtractor, ConvReLUFilterRegressor
from skconvfilter.datasets import load_mnist, make_filter_regression

SEEDS, N_EPOCHS = range(16), 100
COSINES = (0.95, 0.8, 0.6)
NAMES = [f"cosine {cosine}" for cosine in COSINES] + ["ball"]

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
# Descend
# -------
# The paper's model is the estimator without intercept, sign and polish. All starts of a
# filter see the same batches.


def descend(seed):
    _, y, teacher = make_filter_regression(
        X=images, teacher="random", return_teacher=True, random_state=seed, **window
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
        # No start has converged after so few epochs: that is what is looked at.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(images, y).history_["relative_loss"]


decades = np.log10([descend(seed) for seed in SEEDS])  # (teacher, epoch, start)
mean = decades.mean(axis=0)

# %%
# What came out
# -------------
# A good start is a head start that is kept. On top of it random filters gain a little more
# after the first epoch; Gabor filters, in the example of figure 3d, do not.

print("log10 of the relative loss, mean over filters")
print("start           epoch 1   epoch 20   epoch 100   decades from epoch 1 to 100")
for i, name in enumerate(NAMES):
    first, middle, last = mean[[1, 20, 100], i]
    print(f"{name:12s} {first:10.2f} {middle:10.2f} {last:11.2f} {first - last:16.2f}")

figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 3.8), width_ratios=[1.5, 1], layout="constrained"
)
for i, name in enumerate(NAMES):
    epochs, runs = np.arange(N_EPOCHS + 1), decades[:, :, i]
    left.semilogy(epochs, 10 ** mean[:, i], color=f"C{i}", label=name)
    band = 10 ** np.quantile(runs, [0.25, 0.75], axis=0)
    left.fill_between(epochs, *band, color=f"C{i}", alpha=0.15, linewidth=0)
left.set(xlabel="epoch", ylabel="relative loss", title="Sixteen random filters")
left.set_ylim(top=20)
left.legend(title="start", ncols=4, loc="upper right")
right.semilogy(NAMES, 10 ** decades[:, -1].T, color="0.7", linewidth=0.8)
right.semilogy(NAMES, 10 ** mean[-1], "ko-", label="geometric mean")
right.set(xlabel="start", title=f"After {N_EPOCHS} epochs, a line for each filter")
right.legend(loc="lower right")
figure.savefig("plot_figure_3c_mnist_random.png", dpi=120)

# %%
# The finding: in the mean the better start is ahead after 20 and 100 epochs, and after 100
# the nearest start is ahead of the others for nearly every filter.

assert np.all(np.diff(mean[[20, 100]], axis=1) > 0)
assert np.mean(decades[:, -1, 0] < decades[:, -1, 1:].min(axis=1)) > 0.8

plt.show()
