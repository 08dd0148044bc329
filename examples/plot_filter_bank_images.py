"""
The tensor start on real images
===============================

The theory of filter banks assumes normal patches. Patches of photographs are not normal:
neighbouring pixels are similar, most patches are nearly constant, and few have an edge. In
this example, four filters label crops of two photographs and, for comparison, noise images.

On crops from which their mean is subtracted, the tensor start is far from the true filters,
but the fit finds them, from that start or from random ones. On crops with their mean, few
filters are found: all pixels are positive, filters are active nearly everywhere or nowhere,
and very different banks give almost the same labels.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images

from skconvfilter import ConvFilterBankRegressor
from skconvfilter.datasets import make_filter_bank_regression
from skconvfilter.diagnostics import recovery
from skconvfilter.plotting import FilterDisplay

GEOMETRY = {"kernel_size": 4, "stride": 4, "input_shape": (12, 12)}
# The model and the start of the paper.
PAPER = {"pooling": "sum", "output_weights": "ones", "bias": False, "init": "tensor"}
N_TEACHERS, N_SAMPLES = 6, 4_000

# %%
# Three kinds of images
# ---------------------
# The first kind is noise, and the last one crops of 12 by 12 grey pixels, which are cut
# into nine patches. From the crops of the second kind their mean is subtracted. All kinds
# are scaled to unit variance.

rng = np.random.default_rng(0)
photographs = [image.mean(axis=2) for image in load_sample_images().images]


def crop(photograph):
    top, left = (rng.integers(size - 12) for size in photograph.shape)
    return photograph[top : top + 12, left : left + 12].ravel()


crops = np.array([crop(photographs[i % 2]) for i in range(N_SAMPLES)])
centred = crops - crops.mean(axis=1, keepdims=True)
kinds = {
    "noise": rng.standard_normal(crops.shape),
    "crops less their mean": centred / centred.std(),
    "crops": crops / crops.std(),
}

# %%
# Fits
# ----
# There are six true banks for every kind. The errors are those of the tensor start and of
# the fit, which also tries random starts if the tensor start does not lead to an exact fit.

errors = {}
for kind, X in kinds.items():
    errors[kind] = []
    for seed in range(N_TEACHERS):
        model = ConvFilterBankRegressor(n_filters=4, random_state=0, **GEOMETRY, **PAPER)
        _, y, teacher = make_filter_bank_regression(
            X=X, estimator=model, return_teacher=True, random_state=seed
        )
        with warnings.catch_warnings():
            # Some fits progress slowly in a flat valley and reach max_iter.
            warnings.simplefilter("ignore")
            model.fit(X, y)
            first = ConvFilterBankRegressor(
                n_filters=4, n_init=1, max_iter=1, random_state=0, **GEOMETRY, **PAPER
            ).fit(X, y)
        start = recovery(first.coef_path_[0], teacher).relative_error
        end = recovery(model, teacher).relative_error
        errors[kind].append((start, end, model.relative_loss_))
        if kind == "crops less their mean" and seed == 0:
            shown, true_filters = model, teacher
    starts, ends, losses = np.array(errors[kind]).T
    found = np.mean(ends < 1e-6)
    print(
        f"{kind:22s} error of the start {np.median(starts):6.2f}   "
        f"found {found:4.0%}   relative loss at most {losses.max():.0e}"
    )

figure = plt.figure(figsize=(10, 5.6), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=[1, 2.2])
FilterDisplay.from_estimator(shown, teacher=true_filters, axes=above.subplots(1, 8))
ax = below.subplots()
for i, pairs in enumerate(errors.values()):
    starts, ends, _ = np.array(pairs).T
    places = i + np.linspace(-0.25, 0.25, N_TEACHERS)
    ax.semilogy(places, starts, "o", color="C1", label="tensor start" if i == 0 else None)
    ax.semilogy(places, ends, "s", color="C0", label="fit" if i == 0 else None)
    ax.vlines(places, ends, starts, color="0.8", zorder=0)
ax.set_xticks(range(len(errors)), errors)
ax.axhline(1e-6, color="0.5", linestyle=":", label="found")
ax.set(ylabel="relative error", title="Start and fit, six teachers each")
ax.set_xlim(right=len(errors) + 0.2)
ax.legend(loc="center right")
figure.savefig("plot_filter_bank_images.png", dpi=120)
plt.show()
