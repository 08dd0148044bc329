"""
What real images do to the tensor start
=======================================

The theory of filter banks is about normal patches. Patches of photographs are far from
that: neighbouring pixels are alike, most patches are nearly flat, and few have an edge.
Four filters label crops of two photographs, and noise images beside them. The fits show
what is left of the theory: the tensor start misses, yet the filters are found, from there
or from random starts, if the crops are less their mean. With their mean few are found: all
pixels are positive, filters are active nearly everywhere or nowhere, and very different
banks label the crops almost alike.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_images

from skconvfilter import ConvFilterBankRegressor
from skconvfilter.datasets import make_filter_bank_regression
from skconvfilter.diagnostics import bank_recovery
from skconvfilter.plotting import FilterDisplay

GEOMETRY = {"kernel_size": 4, "stride": 4, "input_shape": (12, 12)}
N_TEACHERS, N_SAMPLES = 6, 4_000

# %%
# Three kinds of images
# ---------------------
# Crops of 12 by 12 grey pixels, cut into nine patches; the same less their mean; noise. All
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
# Six teachers for every kind. The error of the first start, the tensor method's, and that
# of the fit, which uses random starts where the first does not lead to an exact fit.

errors = {}
for kind, X in kinds.items():
    errors[kind] = []
    for seed in range(N_TEACHERS):
        _, y, teacher = make_filter_bank_regression(
            X=X, n_filters=4, return_teacher=True, random_state=seed, **GEOMETRY
        )
        model = ConvFilterBankRegressor(n_filters=4, random_state=0, **GEOMETRY)
        with warnings.catch_warnings():
            # Some fits crawl along a valley until their iterations are used up.
            warnings.simplefilter("ignore")
            model.fit(X, y)
            first = ConvFilterBankRegressor(
                n_filters=4, n_init=1, max_iter=1, random_state=0, **GEOMETRY
            ).fit(X, y)
        start = bank_recovery(first.init_coef_, teacher).relative_error
        end = bank_recovery(model, teacher).relative_error
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
