"""
Stroke thickness of digits: a bank of filters and other regressors
==================================================================

In this example the labels do not come from a filter. The target is the thickness of the
strokes in MNIST images, with 500 images for training, 1,000 for testing, and three random
splits. One filter with a bias, 27 numbers, predicts it better than models with hundreds or
thousands of parameters, and banks of two and four filters do better still.

A second target, the slant of a digit, shows the limits of these models. It depends on the
positions of the parts of a digit, which are lost in the mean over small windows, so ridge
regression is much better.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.ndimage import distance_transform_edt
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import ShuffleSplit
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from skconvfilter import (
    ConvFilterBankRegressor,
    ConvPatchExtractor,
    ConvReLUFilterRegressor,
)
from skconvfilter.datasets import load_mnist
from skconvfilter.plotting import FilterDisplay

# %%
# Targets
# -------
# Across a straight stroke of even thickness t, the mean distance of an ink pixel to the
# nearest background pixel is (t + 2) / 4. Slant is the horizontal shift of the ink per row,
# computed from second moments. Deskewing removes this shear.


def thickness(image):
    distance = distance_transform_edt(np.pad(image > 0.5, 1))
    return 4 * distance[distance > 0].mean() - 2


def slant(image):
    row, column = np.indices(image.shape)
    row = row - np.average(row, weights=image)
    column = column - np.average(column, weights=image)
    return -np.sum(image * row * column) / np.sum(image * row**2)


try:
    images, side = load_mnist(dtype=np.float32)[0], 28
except FileNotFoundError as error:
    print(f"MNIST is unavailable, so the bundled digits are used instead: {error}")
    images, side = np.float32(load_digits().data / 16), 8
images = images[np.random.RandomState(0).permutation(len(images))[:1500]]
targets = {
    target.__name__: np.array([target(image.reshape(side, side)) for image in images])
    for target in (thickness, slant)
}

# %%
# Models
# ------
# Random convolutions are similar to MiniRocket: ridge regression on two features of each of
# 100 random filters of mean zero, the fraction of positions at which it is active and its
# mean output. All models were roughly tuned by hand. The small penalty of the banks makes
# their filters easier to interpret.

window = {
    "kernel_size": 5, "stride": 2 if side == 28 else 1, "input_shape": (side, side)
}  # fmt: skip
rng = np.random.default_rng(0)
random_filters = rng.standard_normal((25, 100), dtype=np.float32)
random_filters -= random_filters.mean(axis=0)
thresholds = rng.uniform(-1, 1, 100).astype(np.float32)


def random_responses(patches):
    responses = patches.reshape(len(patches), -1, 25) @ random_filters - thresholds
    return np.hstack([(responses > 0).mean(axis=1), responses.clip(0).mean(axis=1)])


bank = ConvFilterBankRegressor(2, alpha=1e-4, diagnostics=False, random_state=0, **window)
models = {
    "filter": ConvReLUFilterRegressor(
        bias=True, diagnostics=False, random_state=0, **window
    ),
    "2 filters": bank,
    "4 filters": clone(bank).set_params(n_filters=4),
    "ridge": Ridge(30),
    "MLP": MLPRegressor(
        hidden_layer_sizes=32, solver="lbfgs", alpha=10, tol=1e-3, max_iter=5_000,
        random_state=0,
    ),
    "boosted trees": HistGradientBoostingRegressor(
        max_leaf_nodes=8, max_features=0.1, random_state=0
    ),
    "random convolutions": make_pipeline(
        ConvPatchExtractor(**window),
        FunctionTransformer(random_responses),
        StandardScaler(),
        RidgeCV(np.logspace(-3, 3, 13)),
    ),
}  # fmt: skip


def n_numbers(name, model):
    """Parameters of a fitted model; a split of a tree has a feature and a threshold."""
    match name:
        case "MLP":
            return sum(map(np.size, model.coefs_ + model.intercepts_))
        case "boosted trees":
            leaves = model.max_leaf_nodes
            return model.n_iter_ * (leaves + 2 * (leaves - 1))
        case "random convolutions":
            return random_filters.size + thresholds.size + model[-1].coef_.size + 1
    return model.coef_.size + np.size(getattr(model, "bias_", ())) + 1


# %%
# Three splits
# ------------


def compare(y, names):
    """R2 on test images and seconds of a fit, of shape (n_splits, n_models)."""
    scores, seconds = [], []
    splits = ShuffleSplit(3, train_size=500, test_size=1_000, random_state=0)
    for train, test in splits.split(images):
        scores.append([])
        seconds.append([])
        for name in names:
            start = time.perf_counter()
            models[name].fit(images[train], y[train])
            seconds[-1].append(time.perf_counter() - start)
            scores[-1].append(models[name].score(images[test], y[test]))
    return np.array(scores), np.array(seconds)


# Fit times are compared on one thread.
with threadpool_limits(1):
    scores, seconds = compare(targets["thickness"], models)
sizes = {name: n_numbers(name, model) for name, model in models.items()}
# The next fits replace the models of the last split.
filters, signs = bank.filters_, bank.output_weights_
responses = bank.feature_map(images).mean(axis=(2, 3))
few = ["filter", "2 filters", "ridge"]
with threadpool_limits(1):
    slant_scores, _ = compare(targets["slant"], few)

# %%
# Results
# -------
# The bank of two filters can be interpreted. The output that is added correlates with the
# amount of ink in an image, and the output that is subtracted correlates with the amount of
# edges. For the same amount of ink, thin strokes have more edges than thick ones.

print("stroke thickness    R2: mean, range of 3 splits   numbers   seconds to fit")
for name, score, second in zip(models, scores.T, seconds.T, strict=True):
    print(
        f"{name:20s}{score.mean():8.3f}, {score.min():.3f} to {score.max():.3f}"
        f"{sizes[name]:12d}{second.mean():15.2f}"
    )
print("slant")
for name, score in zip(few, slant_scores.T, strict=True):
    print(f"{name:20s}{score.mean():8.3f}, {score.min():.3f} to {score.max():.3f}")
pixels = images.reshape(-1, side, side)
amounts = {
    "ink": pixels.mean(axis=(1, 2)),
    "edge": np.hypot(*np.gradient(pixels, axis=(1, 2))).mean(axis=(1, 2)),
}
print("two filters for thickness, correlation of a response")
for sign, response in zip(signs, responses.T, strict=True):
    r = {name: np.corrcoef(response, x)[0, 1] for name, x in amounts.items()}
    kind = "added" if sign > 0 else "subtracted"
    print(f"{kind:20s}{r['ink']:8.2f} with ink, {r['edge']:.2f} with edge")

figure = plt.figure(figsize=(10, 4.2), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1.5, 1])
ax = left.subplots()
for i, (name, size) in enumerate(sizes.items()):
    colour, marker = ("C0", "o") if "filter" in name else ("0.35", "s")
    mean = scores[:, i].mean()
    ax.vlines(size, scores[:, i].min(), scores[:, i].max(), color=colour)
    ax.semilogx(size, mean, marker, color=colour)
    has_room = 30 < size < 1_000  # to the right
    shift, side_of_text = (8, "left") if has_room else (-8, "right")
    ax.annotate(
        name, (size, mean), (shift, 0), textcoords="offset points", color=colour,
        ha=side_of_text, va="center",
    )  # fmt: skip
ax.set(xlabel="numbers in the model", title="Stroke thickness")
ax.set(ylabel="R2 on test images (mean and range of 3 splits)", xlim=(7, 60_000))
above, below = right.subfigures(2, 1, height_ratios=[1.2, 1])
titles = [f"{'added' if sign > 0 else 'subtracted'} response" for sign in signs]
FilterDisplay.from_filters(filters, titles=titles, axes=above.subplots(1, 2))
above.suptitle("The two filters for stroke thickness")
ax = below.subplots()
ax.barh(few, slant_scores.mean(axis=0), color=["C0", "C0", "0.35"])
ax.invert_yaxis()
ax.set(xlabel="R2 on test images (mean of 3 splits)", title="Slant", xlim=(0, 1))
figure.savefig("plot_stroke_thickness.png", dpi=120)

# %%
# In every split, two filters predict thickness better than ridge regression and, on MNIST,
# one filter and both banks better than all models of other kinds. For slant they are worse
# than ridge regression. In an image of 8 by 8 a window covers most of a digit, so that
# filters can predict slant.

by_name = dict(zip(models, scores.T, strict=True))
assert np.all(by_name["2 filters"] > by_name["ridge"])
if side == 28:
    assert np.all(by_name["filter"][:, np.newaxis] > scores[:, 3:])
    assert np.all(by_name["2 filters"][:, np.newaxis] > scores[:, 3:])
    assert np.all(slant_scores[:, :2] < slant_scores[:, 2:])

plt.show()
