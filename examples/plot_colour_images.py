"""
Learn a colour-opponent filter from photographs
===============================================

This example learns a filter with colour channels, which adds red in the middle of its
window and subtracts green around it, as ganglion cells of the eye do. The label of a small
crop of a photograph is the filter's mean output after a ReLU. From clean labels the filter
is recovered exactly. From noisy labels its colours are recovered, and predictions are about
as good. The positions of its weights within the window are not recovered, because
neighbouring pixels of photographs are so similar that the labels hardly depend on them.
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
# There are 2,000 crops of 16 by 16 pixels, and half of them are for training. The extractor
# returns their windows as a view. A model that is fitted on windows accepts images of any
# size.

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
# The weights for red are a narrow bump, those for green the negative of a wide one, and
# those for blue are zero.

distance = np.hypot(*(np.indices((5, 5)) - 2.0))
narrow, wide = (np.exp(-(distance**2) / (2 * width**2)) for width in (1, 2))
true_filter = np.stack(
    [narrow / narrow.sum(), -wide / wide.sum(), np.zeros((5, 5))], axis=-1
)
true_filter /= np.linalg.norm(true_filter)

# %%
# Fits
# ----
# One fit is on clean labels, and five are on labels with noise of a tenth of their
# variance. With noise, a small penalty makes the filter smoother.


def labels(**noise):
    return make_filter_regression(X=X, teacher=true_filter, **noise)[1]


y = labels()
clean = ConvReLUFilterRegressor(diagnostics=False, random_state=0)
clean.fit(X_train, y[:1_000])
noisy = [
    ConvReLUFilterRegressor(alpha=5e-3, diagnostics=False, random_state=0).fit(
        X_train, labels(snr=10, random_state=seed)[:1_000]
    )
    for seed in SEEDS
]

# %%
# Results
# -------
# R2 is computed on clean labels of crops that are not in the training data.


def colour(learned):
    """Sums of the weights for red, green and blue, scaled to unit norm."""
    total = learned.sum(axis=(0, 1))
    return total / np.linalg.norm(total)


def angle(learned):
    return np.degrees(recovery(learned, true_filter, X_test[:100]).angle)


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
# Clean labels determine the filter. Noisy labels determine its colours and allow good
# predictions, but do not determine the filter.

assert angle(clean) < 1e-6
assert scores.min() > 0.99
assert colour_angles.max() < 15
assert angles.min() > 25

plt.show()
