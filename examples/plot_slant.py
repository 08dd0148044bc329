"""
Slant of digits: features that depend on positions
==================================================

A bank of filters adds up responses over all positions, so it measures amounts. The slant of
a handwritten digit depends on positions, for example on ink at the top right and bottom
left. The same filters predict the slant if their responses are pooled over the cells of a
grid instead of over the whole image. The weights of the linear model that follows show how
each filter contributes in each cell.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skconvfilter import ConvFeatureExtractor, ConvFilterBankRegressor
from skconvfilter.datasets import load_mnist
from skconvfilter.plotting import FilterDisplay

# %%
# Target
# ------
# Slant is the horizontal shift of the ink per row, from second moments.


def slant(image):
    row, column = np.indices(image.shape)
    row = row - np.average(row, weights=image)
    column = column - np.average(column, weights=image)
    return -np.sum(image * row * column) / np.sum(image * row**2)


try:
    images = load_mnist(dtype=np.float32)[0].reshape(-1, 28, 28)
    window = {"kernel_size": (5, 5), "stride": 2}
except FileNotFoundError as error:
    print(f"MNIST is unavailable, so the bundled digits are used instead: {error}")
    images = np.float32(load_digits().images / 16)
    window = {"kernel_size": (3, 3)}
images = images[np.random.RandomState(0).permutation(len(images))[:1500]]
y = np.array([slant(image) for image in images])
train, test = slice(1000), slice(1000, None)

# %%
# From amounts to positions
# -------------------------
# The pipeline first fits the filters to predict the slant by a mean over positions, and
# then a ridge regression on the pooled responses. In a cross-validation both are fitted
# again in every fold.

bank = ConvFilterBankRegressor(2, diagnostics=False, random_state=0, **window)
scores = {}
for grid in (1, 2, 4):
    model = make_pipeline(
        ConvFeatureExtractor(bank, grid=grid),
        StandardScaler(),
        RidgeCV(np.logspace(-3, 5, 17)),
    )
    model.fit(images[train], y[train])
    scores[grid] = model.score(images[test], y[test])
fitted = model[0].estimator_
alone = fitted.score(images[test], y[test])
print("R2 on test images")
print(f"bank of 2 filters   {alone:.3f}")
for grid, score in scores.items():
    print(f"{grid} x {grid} cells         {score:.3f}")

# %%
# Weights by cell
# ---------------
# The features are standardized, so a weight is the change of the prediction if a feature is
# larger by one standard deviation. Each filter has large weights in some cells only, with
# different signs. A mean over all positions has the same weight everywhere.

weights = model[-1].coef_.reshape(2, 4, 4)
figure, axes = plt.subplots(2, 3, figsize=(9, 5.4), layout="constrained")
FilterDisplay.from_filters(
    fitted.filters_, titles=["filter 0", "filter 1"], axes=axes[:, 0]
)
limit = np.abs(weights).max()
for ax, weight, name in zip(axes[:, 1], weights, ["filter 0", "filter 1"], strict=True):
    shown = ax.imshow(weight, cmap="RdBu_r", vmin=-limit, vmax=limit)
    ax.set(title=f"weight of {name} by cell", xticks=[], yticks=[])
figure.colorbar(shown, ax=axes[:, 1], label="slant per standard deviation")
order = np.argsort(y[test])
for ax, which, name in zip(axes[:, 2], [order[5], order[-6]], ["low", "high"], strict=True):
    ax.imshow(images[test][which], cmap="Greys")
    ax.set(title=f"a {name} slant: {y[test][which]:.2f}", xticks=[], yticks=[])
figure.savefig("plot_slant.png", dpi=120)

# %%
# The finer the grid, the better the slant is predicted, and both signs occur in each map.

assert scores[4] > scores[2] > scores[1]
assert scores[4] > alone + 0.1
assert np.all(weights.min(axis=(1, 2)) < 0)
assert np.all(weights.max(axis=(1, 2)) > 0)

plt.show()
