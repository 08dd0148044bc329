"""
Choose the size of the window by information criteria and cross-validation
==========================================================================

A window that is too small cannot represent the true filter. One that is too large has true
weights of zero, whose estimates are noise. In this example, a filter of five entries labels
signals, with noise, and AIC, BIC and cross-validation choose among windows of three to nine
entries. :func:`skconvfilter.diagnostics.inference` computes AIC, BIC, and the standard
errors that show which weights of a large window may be zero.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import cross_val_score

from skconvfilter import ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_regression
from skconvfilter.diagnostics import inference
from skconvfilter.plotting import FilterDisplay

SIZES, TRUE_SIZE, LENGTH = np.array([3, 5, 7, 9]), 5, 16
N_SAMPLES, SNR, SEEDS = 100, 1, range(12)
TEACHER = np.array([0.5, -1.0, 1.2, -0.8, 0.4])


def regressor(size):
    """A filter of that many entries; padding keeps the number of patches."""
    return ConvReLUFilterRegressor(
        int(size), padding=int(size) // 2, input_shape=(LENGTH,), bias=False,
        output_sign=1, n_init=2, diagnostics=False, random_state=0,
    )  # fmt: skip


# %%
# One data set
# ------------
# A filter of nine entries is fitted; the true weights are zero except the five in the
# middle. The intervals in the table show that the other four may be zero, and the Wald test
# does not reject that all four are zero.


def make_data(seed, n_samples=N_SAMPLES):
    X = np.random.default_rng(seed).standard_normal((n_samples, LENGTH))
    _, y = make_filter_regression(
        X=X, estimator=regressor(TRUE_SIZE), teacher=TEACHER, snr=SNR, random_state=seed
    )
    return X, y


X, y = make_data(seed=0, n_samples=1_000)
large = inference(regressor(9).fit(X, y), X, y, random_state=0)
outer = np.abs(np.arange(9) - 4) > 2
test = large.wald_test(outer)
print(large)
print(f"the outer four weights are 0: F = {test.statistic:.2f}, p = {test.pvalue:.2f}")

display = FilterDisplay.from_inference(large)
display.axes_[0, 0].set_title("9 entries, 5 are true")
display.figure_.savefig("plot_window_size_intervals.png", dpi=120)

# %%
# Many data sets
# --------------
# For every seed, each criterion chooses the size with its best value.

values = {"AIC": [], "BIC": [], "cross-validation": []}
for seed in SEEDS:
    X, y = make_data(seed)
    fits = [inference(regressor(size).fit(X, y), X, y, random_state=0) for size in SIZES]
    values["AIC"].append([fit.aic for fit in fits])
    values["BIC"].append([fit.bic for fit in fits])
    scores = [cross_val_score(regressor(size), X, y, cv=5).mean() for size in SIZES]
    values["cross-validation"].append(-np.array(scores))

chosen = {name: SIZES[np.argmin(rows, axis=1)] for name, rows in values.items()}
for name, sizes in chosen.items():
    share = np.mean(sizes == TRUE_SIZE)
    print(f"{name:16s} chooses {sizes.tolist()}: the true size in {share:.0%}")

figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained", sharex=True)
for ax, (name, rows) in zip(axes, values.items(), strict=True):
    above = np.array(rows) - np.min(rows, axis=1, keepdims=True)
    ax.plot(SIZES, above.T, color="0.8", linewidth=0.8)
    ax.plot(SIZES, np.median(above, axis=0), "o-", color="C0")
    ax.axvline(TRUE_SIZE, color="C3", linestyle=":")
    ax.set(title=name, xlabel="kernel_size", xticks=SIZES)
axes[0].set_ylabel("above the best size")
figure.savefig("plot_window_size.png", dpi=120)

# %%
# BIC, whose penalty for a weight grows with the number of samples, chooses too large a
# window less often than the others.

assert test.pvalue > 0.05
too_large = {name: np.mean(sizes > TRUE_SIZE) for name, sizes in chosen.items()}
assert too_large["BIC"] == min(too_large.values())
assert np.mean(chosen["BIC"] == TRUE_SIZE) >= 0.6

plt.show()
