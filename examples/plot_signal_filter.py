"""
Recover a hidden filter from signals
====================================

In this example, the label of a time series measures how much it contains of an unknown
shape, a damped oscillation. It is the mean of the filter's output over all positions, after
a ReLU, plus noise. The positions are also unknown.
:class:`~skconvfilter.ConvReLUFilterRegressor` finds the shape and its dilation, and thereby
the positions.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.signal import lfilter
from sklearn.model_selection import GridSearchCV, train_test_split

from skconvfilter import ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_regression
from skconvfilter.diagnostics import recovery

SEEDS = range(5)
LENGTH, STRIDE, DILATION = 200, 3, 2

# %%
# Signals
# -------
# Series of length 200 come from an autoregressive process, so that neighbours are similar.
# The hidden filter has 15 weights, a dilation of 2 and a stride of 3. The noise has a
# quarter of the variance of the clean labels, so that no model can reach an R2 above about
# 0.8.

time = np.arange(15)
true_filter = np.exp(-time / 4) * np.cos(2 * np.pi * time / 6)
true_filter -= true_filter.mean()
true_filter /= np.linalg.norm(true_filter)
window = {"kernel_size": 15, "input_shape": (LENGTH,), "stride": STRIDE}


def make_series(seed):
    noise = np.random.default_rng(seed).standard_normal((1_500, LENGTH + 100))
    X = lfilter([1], [1, -0.8], noise)[:, 100:]
    model = ConvReLUFilterRegressor(dilation=DILATION, **window)
    _, y = make_filter_regression(
        X=X, estimator=model, teacher=true_filter, snr=4, random_state=seed
    )
    return train_test_split(X, y, train_size=1_000, random_state=seed)


# %%
# Fit
# ---
# Cross-validation selects the dilation, in each of five repetitions with new series and
# noise.

search = GridSearchCV(
    ConvReLUFilterRegressor(diagnostics=False, random_state=0, **window),
    {"dilation": [1, 2, 3]},
    cv=2,
)
models, angles, scores, validation = [], [], [], []
for seed in SEEDS:
    X_train, X_test, y_train, y_test = make_series(seed)
    models.append(search.fit(X_train, y_train).best_estimator_)
    validation.append(search.cv_results_["mean_test_score"])
    scores.append(search.score(X_test, y_test))
    found = recovery(models[-1], true_filter, X_test)
    angles.append(np.degrees(found.angle))

# %%
# Results
# -------
# The activation map has one entry for every position of the window.

chosen = [model.dilation for model in models]
print(f"dilation chosen          {chosen}, true {DILATION}")
print(f"R2 on test series        {min(scores):.3f} to {max(scores):.3f}")
print(f"angle to the true filter {min(angles):.1f} to {max(angles):.1f} degrees")

series, model = X_test[0], models[-1]
response = model.feature_map(X_test[:1])[0]
true_windows = np.lib.stride_tricks.sliding_window_view(series, 15 * DILATION - 1)
true_response = (true_windows[::STRIDE, ::DILATION] @ true_filter).clip(0)
starts = STRIDE * np.arange(len(response))

figure = plt.figure(figsize=(10, 4.6), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1.6, 1])
above, below = left.subplots(2, 1, sharex=True)
above.plot(series, color="0.3", linewidth=1)
above.set(ylabel="signal", title="A test series and where the filter responds")
below.plot(starts, true_response, color="k", linestyle=":", label="true filter")
below.plot(starts, response, color="C0", label="learned filter")
below.set(xlabel="time (samples), start of the window", ylabel="max(w . Z, 0)")
below.legend()
above, below = right.subplots(2, 1)
offsets = DILATION * time
for i, model in enumerate(models):
    label = f"learned, {len(SEEDS)} repetitions" if i == 0 else None
    above.plot(offsets, model.coef_, color="C0", linewidth=1, alpha=0.6, label=label)
above.plot(offsets, true_filter, "k:", label="true")
above.axhline(0, color="0.8", linewidth=0.8, zorder=0)
above.set(xlabel="time in the window (samples)", ylabel="weight", title="Filter")
above.legend()
dilations = search.param_grid["dilation"]
below.plot(dilations, np.transpose(validation), "o", color="C0", alpha=0.6)
below.axhline(0.8, color="0.5", linestyle=":", label="limit by the noise")
below.set(xlabel="dilation", ylabel="R2", title="Cross-validation", xticks=dilations)
below.set_ylim(0.4, 0.95)
below.legend()
figure.savefig("plot_signal_filter.png", dpi=120)

# %%
# In every repetition the dilation is found, the filter is found up to a few degrees, and
# predictions are about as good as the noise permits.

assert chosen == [DILATION] * len(SEEDS)
assert max(angles) < 8
assert min(scores) > 0.72

plt.show()
