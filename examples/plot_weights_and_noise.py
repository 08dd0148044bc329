"""
Noisy labels: the effect of sample weights and of the number of samples
=======================================================================

Labels often differ in quality. In this example, the noise of each label has its own
standard deviation, from a sixth to six times a middle value, which is known, for example
from the instrument. The best weights are one over the variance. The error of the learned
filter decreases like one over the square root of the number of samples, with or without
weights. With weights it is smaller by a factor of five, which otherwise takes about 25
times as many samples. Lines are medians over five seeds, which draw images, labels and
noise, and bands go from the lowest to the highest value.
"""

import matplotlib.pyplot as plt
import numpy as np

from skconvfilter import ConvReLUFilterRegressor
from skconvfilter.datasets import gabor_filter, make_filter_regression

SEEDS, N_TEST, SPREAD = range(5), 1_000, 6
WINDOW = {"kernel_size": 3, "input_shape": (8, 8)}
NAMES = ("no weights", "weights 1 / variance")
TEACHER = gabor_filter((3, 3), orientation=np.pi / 4, phase=1.0)

# %%
# One experiment
# --------------
# Samples are noise images of 8 by 8 pixels. ``level`` is the middle standard deviation of
# the label noise, relative to that of the clean labels. R2 is computed on clean labels.


def learn(n_samples, level, seed):
    """1 - R2 on test images and error of the filter, without and with weights."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_samples + N_TEST, 64))
    model = ConvReLUFilterRegressor(**WINDOW)
    _, clean = make_filter_regression(X=X, estimator=model, teacher=TEACHER)
    X_test, X = X[:N_TEST], X[N_TEST:]
    y_test, clean = clean[:N_TEST], clean[N_TEST:]
    deviation = level * clean.std() * SPREAD ** rng.uniform(-1, 1, n_samples)
    y = clean + deviation * rng.standard_normal(n_samples)
    results = []
    for weights in (None, deviation**-2):
        model = ConvReLUFilterRegressor(
            n_init=2, diagnostics=False, random_state=0, **WINDOW
        ).fit(X, y, sample_weight=weights)
        error = np.linalg.norm(model.filter_ - TEACHER)  # the teacher has unit norm
        results.append((1 - model.score(X_test, y_test), error))
    return results


# %%
# More noise, more samples
# ------------------------
# The first experiment has 1,000 samples at four levels of noise, and the second one an
# increasing number of samples at one level.

levels = np.array([0.1, 0.3, 1.0, 3.0])
sizes = np.array([500, 1_500, 4_500, 13_500])
by_level = np.array([[learn(1_000, level, seed) for seed in SEEDS] for level in levels])
by_size = np.array([[learn(n, 0.3, seed) for seed in SEEDS] for n in sizes])
failures, errors = by_level[..., 0], by_size[..., 1]  # (level or size, seed, weights)

# %%
# Results
# -------
# With independent noise, the error of least squares without weights is expected to be
# larger by a factor of the square root of mean(variance) * mean(1 / variance).

variance = SPREAD ** np.linspace(-2, 2, 1_001)
expected = np.sqrt(variance.mean() * (1 / variance).mean())
middle = np.median(errors, axis=1)
gains = middle[:, 0] / middle[:, 1]
slopes = np.polyfit(np.log(sizes), np.log(middle), 1)[0]
print("noise   1 - R2 on test images, median")
for level, row in zip(levels, np.median(failures, axis=1), strict=True):
    print(f"{level:5.2f}   {row[0]:.5f} without weights, {row[1]:.5f} with")
print("samples   error of the filter, median")
for n, row, gain in zip(sizes, middle, gains, strict=True):
    print(f"{n:7d}   {row[0]:.4f} without weights, {row[1]:.4f} with, ratio {gain:.1f}")
print(f"ratio expected {expected:.1f}, slopes {slopes[0]:.2f} and {slopes[1]:.2f}")


def draw(ax, x, runs, **labels):
    for i, name in enumerate(NAMES):
        ax.loglog(
            x, np.median(runs[..., i], axis=1), ("o-", "s--")[i], color=f"C{i}", label=name
        )
        low, high = runs[..., i].min(axis=1), runs[..., i].max(axis=1)
        ax.fill_between(x, low, high, color=f"C{i}", alpha=0.2, linewidth=0)
    ax.set(**labels)


figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.9), layout="constrained")
draw(
    left, levels, failures, title="Predictions, 1,000 samples",
    xlabel="middle noise, in standard deviations of the labels",
    ylabel="1 - R2 on clean test labels",
)  # fmt: skip
left.axhline(1, color="0.5", linestyle=":", label="a constant")
left.legend()
draw(
    right, sizes, errors, title="Filter, middle noise 0.3", xlabel="samples",
    ylabel=r"$|w - w^*| / |w^*|$",
)  # fmt: skip
right.loglog(sizes, middle[0, 1] * np.sqrt(sizes[0] / sizes), "k:", label="$n^{-1/2}$")
right.loglog(sizes, middle[0, 0] * np.sqrt(sizes[0] / sizes), "k:")
right.set_xticks(sizes, [f"{n:,}" for n in sizes])
right.minorticks_off()
right.legend(loc="lower left")
figure.savefig("plot_weights_and_noise.png", dpi=120)

# %%
# Weights reduce the error for every seed, about as much as expected, and the error
# decreases like one over the square root of the number of samples.

assert np.all(failures[..., 1] < failures[..., 0])
assert np.all(errors[..., 1] < errors[..., 0])
assert np.all(abs(slopes + 0.5) < 0.1)
assert np.all(abs(np.log(gains / expected)) < np.log(2))

plt.show()
