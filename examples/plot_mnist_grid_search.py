"""
Find the window of a hidden filter by grid search on MNIST
==========================================================

The size of a filter is rarely known in advance. In this example, the labels of MNIST images
come from a hidden 5 by 5 filter, with noise. scikit-learn's ``GridSearchCV`` selects the
window size and the number of random starts of a pipeline of
:class:`~skconvfilter.ConvPatchExtractor` and
:class:`~skconvfilter.ConvReLUFilterRegressor`.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline

from skconvfilter import ConvPatchExtractor, ConvReLUFilterRegressor
from skconvfilter.datasets import load_mnist, make_filter_regression
from skconvfilter.plotting import FilterDisplay

# %%
# Data
# ----
# There are 1,000 images for training and 500 for testing. The noise has a quarter of the
# variance of the clean labels, so that no model can reach an R2 above 0.8.

try:
    images, side = load_mnist(dtype=np.float32)[0], 28
except FileNotFoundError as error:
    print(f"MNIST is unavailable, so the bundled digits are used instead: {error}")
    images, side = load_digits().data, 8
window = {"input_shape": (side, side), "stride": 2 if side == 28 else 1}
images = images[np.random.RandomState(0).permutation(len(images))[:1500]]
_, y, teacher = make_filter_regression(
    X=images,
    estimator=ConvReLUFilterRegressor(kernel_size=5, **window),
    teacher="gabor",
    snr=4,
    return_teacher=True,
    random_state=0,
)
X_train, X_test, y_train, y_test = train_test_split(
    images, y, test_size=500, random_state=0
)

# %%
# Search
# ------
# The extractor returns the patches as a view, so that no candidate copies them. Diagnostics
# are left out, since a search does not read them.

pipeline = Pipeline(
    [
        ("patches", ConvPatchExtractor(**window)),
        ("filter", ConvReLUFilterRegressor(diagnostics=False, random_state=0)),
    ]
)
grid = {"patches__kernel_size": [3, 4, 5, 6, 7], "filter__n_init": [1, 16]}
search = GridSearchCV(pipeline, grid, cv=3, n_jobs=2).fit(X_train, y_train)

# %%
# Results
# -------

best = search.best_params_
print(f"best window: {best['patches__kernel_size']}, starts: {best['filter__n_init']}")
print(f"R2 in cross-validation {search.best_score_:.3f}")
print(f"R2 on test images      {search.score(X_test, y_test):.3f}")

sizes = np.array(search.cv_results_["param_patches__kernel_size"], dtype=int)
starts = np.array(search.cv_results_["param_filter__n_init"], dtype=int)
scores = search.cv_results_["mean_test_score"]
spread = search.cv_results_["std_test_score"]

figure = plt.figure(figsize=(10, 3.6), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1.1, 1])
ax = left.subplots()
for n_init, shift, style in [(1, -0.06, "o-"), (16, 0.06, "s--")]:
    rows = starts == n_init
    ax.errorbar(
        sizes[rows] + shift,
        scores[rows],
        spread[rows],
        fmt=style,
        capsize=3,
        label=f"n_init={n_init}",
    )
ax.axvline(5, color="0.6", linestyle=":", label="hidden window")
ax.set(xlabel="window size", ylabel="R2 (mean and spread of 3 folds)")
ax.legend()
size = best["patches__kernel_size"]
teacher_axes, learned_axes = right.subplots(1, 2)
FilterDisplay.from_filters(
    [teacher], titles=["hidden"], axes=[teacher_axes], colorbar=False
)
FilterDisplay.from_filters(
    [search.best_estimator_[-1].filter_],
    titles=[f"learned, {size} by {size}"],
    axes=[learned_axes],
    colorbar=False,
)
figure.savefig("plot_mnist_grid_search.png", dpi=120)
plt.show()
