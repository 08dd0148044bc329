"""
Learn a colour-opponent filter from photographs
===============================================

A filter with colour channels: it adds red in the middle of its window and subtracts green
around it, as ganglion cells of the eye do. It labels small crops of two photographs with
its mean response after a ReLU. From clean labels it is found exactly. From noisy labels
its colours are found, and predictions are about as good, but where in the window its
weights lie is not: pixels of photographs are so much like their neighbours that the labels
hardly depend on it.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images

from skconvfilter import ConvPatchExtractor, ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_regression
from skconvfilter.diagnostics import recovery
from skconvfilter.plotting import FilterDisplay

SEEDS, SIDE = range(5), 16

# %%
# Crops
# -----
# 2,000 crops of 16 by 16 pixels, half for learning. The extractor hands their windows on as
# a view; a model that is fitted on windows takes images of any size.

photographs = [image / 255 for image in load_sample_images().images]
rng = np.random.default_rng(0)


def crop(photograph):
    top, left = (rng.integers(size - SIDE) for size in photograph.shape[:2])
    return photograph[top : top + SIDE, left : left + SIDE].ravel()


crops = np.array([crop(photographs[i % 2]) for i in range(2_000)])
X = ConvPatchExtractor(5, input_shape=(SIDE, SIDE, 3), stride=2).fit_transform(crops)
X_train, X_test = X[:1_000], X[1_000:]

# %%
# The hidden filter
# -----------------
# Red, green and blue: a narrow bump, less a wide one, and nothing.

distance = np.hypot(*(np.indices((5, 5)) - 2.0))
narrow, wide = (np.exp(-(distance**2) / (2 * width**2)) for width in (1, 2))
true_filter = np.stack(
    [narrow / narrow.sum(), -wide / wide.sum(), np.zeros((5, 5))], axis=-1
)
true_filter /= np.linalg.norm(true_filter)

# %%
# Fits
# ----
# Clean labels, and five times noise of a tenth of their variance. There a small penalty
# smooths the filter.


def labels(**noise):
    return make_filter_regression(X=X, teacher=true_filter, **noise)[1]


y = labels()
clean = ConvReLUFilterRegressor(diagnostics=False, random_state=0)
clean.fit(X_train, y[:1_000])
noisy = [
    ConvReLUFilterRegressor(alpha=1e-3, diagnostics=False, random_state=0).fit(
        X_train, labels(snr=10, random_state=seed)[:1_000]
    )
    for seed in SEEDS
]

# %%
# What came out
# -------------
# R2 is against clean labels of crops that no fit has seen.


def colour(learned):
    """Weights summed up over the window, for red, green and blue, of unit norm."""
    total = learned.sum(axis=(0, 1))
    return total / np.linalg.norm(total)


def angle(learned):
    return np.degrees(recovery(X_test[:100], learned, true_filter).angle)


scores = np.array([model.score(X_test, y[1_000:]) for model in noisy])
angles = np.array([angle(model) for model in noisy])
colours = np.array([colour(model.filter_) for model in noisy])
colour_angles = np.degrees(np.arccos(colours @ colour(true_filter)))
print("clean labels, one fit")
print(f"    R2 on test crops        {clean.score(X_test, y[1_000:]):.4f}")
print(f"    angle to the filter     {angle(clean):.0e} degrees")
print(f"noisy labels, range of {len(SEEDS)} fits")
print(f"    R2 on test crops        {scores.min():.4f} to {scores.max():.4f}")
print(f"    angle to the filter     {angles.min():.0f} to {angles.max():.0f} degrees")
print(
    f"    angle of the colours    {colour_angles.min():.0f} to {colour_angles.max():.0f} "
    "degrees"
)

flower = photographs[1]
windows = ConvPatchExtractor(5, input_shape=flower.shape).fit_transform(
    flower.reshape(1, -1)
)
response = noisy[0].feature_map(windows)[0]

figure = plt.figure(figsize=(10, 5), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1, 1.35])
above, below = left.subplots(2, 1)
above.imshow(flower)
above.set_title("Photograph")
image = below.imshow(response, cmap="magma")
below.set_title("Response, learned from noisy labels")
left.colorbar(image, ax=below, location="bottom", shrink=0.8, label="max(w . Z, 0)")
for ax in (above, below):
    ax.set(xticks=[], yticks=[])

axes = right.subplots(3, 4)
filters = [true_filter, clean.filter_, noisy[0].filter_]
filters = [learned / np.linalg.norm(learned) for learned in filters]
for ax, learned in zip(axes[:, 0], filters, strict=True):
    ax.imshow(0.5 + learned / (2 * abs(learned).max()))
    ax.set(title="as colours", xticks=[], yticks=[])
display = FilterDisplay.from_filters(
    filters, titles=["hidden", "clean labels", "noisy labels"], axes=axes[:, 1:]
)
for row in axes:
    for ax, name in zip(row[1:], ("red", "green", "blue"), strict=True):
        ax.set_title(name)
figure.savefig("plot_colour_images.png", dpi=120)

# %%
# The finding: clean labels give the filter away. Noisy ones give away its colours and good
# predictions, and not the filter.

assert angle(clean) < 1e-6
assert scores.min() > 0.99
assert colour_angles.max() < 15
assert angles.min() > 25

plt.show()
