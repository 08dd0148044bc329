"""
Learn a bank of filters from a start with a guarantee
=====================================================

In this example, the labels come from eight hidden filters. Each sample is noise, cut into
three patches that do not overlap, and its label is the sum of the filters' outputs after a
ReLU. The tensor method estimates the filters from moments of the data, and a few
Levenberg-Marquardt steps then make them exact.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skconvfilter import ConvFilterBankRegressor
from skconvfilter.datasets import make_filter_bank_regression
from skconvfilter.diagnostics import recovery
from skconvfilter.plotting import FilterDisplay

# %%
# The data
# --------
# A row of 48 entries has three patches of 16. The entries are independent and normal, as
# the theory assumes. The model is that of the paper: outputs are summed, with no biases.

model = ConvFilterBankRegressor(
    n_filters=8,
    kernel_size=16,
    stride=16,
    pooling="sum",
    output_weights="ones",
    bias=False,
    init="tensor",
    random_state=0,
)
X, y, teacher = make_filter_bank_regression(
    5_000, model, n_features=48, return_teacher=True, random_state=0
)

# %%
# Fit
# ---
# ``coef_path_`` begins with the filters of the tensor start; ``coef_`` has the fitted ones.

model.fit(X, y)
start = recovery(model.coef_path_[0], teacher)
end = recovery(model, teacher)
print(f"error of the start  {start.relative_error:8.1e}")
print(f"error of the fit    {end.relative_error:8.1e}   after {model.n_iter_} steps")
least, largest = model.hessian_extremes_
print(f"Hessian at the fit  eigenvalues from {least:.3f} to {largest:.1f}")

# %%
# From a random start
# -------------------
# Plain gradient descent takes 300 steps from the tensor start and from each of three random
# starts. Around the tensor start the loss is strongly convex.

descent = clone(model).set_params(solver="gd", n_init=1, max_iter=300, tol=0)
with warnings.catch_warnings():
    # Descent is stopped before it has converged.
    warnings.simplefilter("ignore", ConvergenceWarning)
    curves = {"tensor start": [clone(descent).fit(X, y).loss_curve_]}
    curves["random starts"] = [
        clone(descent).set_params(init="random", random_state=seed).fit(X, y).loss_curve_
        for seed in range(3)
    ]

# %%
# Number of samples for the tensor start
# --------------------------------------
# Every number of samples has five repetitions, each with its own data and filters. The
# error of the tensor start decreases here faster than one over the square root of the
# number of samples, the rate of the moments that the start is computed from.

sizes = np.array([1_000, 2_000, 4_000, 8_000, 16_000, 32_000])
errors = np.empty((5, len(sizes)))
for repetition, i in np.ndindex(errors.shape):
    X_n, y_n, teacher_n = make_filter_bank_regression(
        sizes[i], model, n_features=48, return_teacher=True, random_state=1 + repetition
    )
    fitted = clone(model).set_params(n_init=1, max_iter=1, diagnostics=False)
    with warnings.catch_warnings():
        # Only the start is of interest.
        warnings.simplefilter("ignore", ConvergenceWarning)
        fitted.fit(X_n, y_n)
    errors[repetition, i] = recovery(fitted.coef_path_[0], teacher_n).relative_error

figure = plt.figure(figsize=(10, 8.5), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=[1.3, 1])
FilterDisplay.from_estimator(model, teacher=teacher, axes=above.subplots(4, 4).ravel())
left, right = below.subplots(1, 2)
for (name, losses), style in zip(curves.items(), ("C0-", "C1--"), strict=True):
    for i, loss in enumerate(losses):
        left.semilogy(loss, style, label=name if i == 0 else None)
left.set(xlabel="gradient step", ylabel="loss", title="Gradient descent")
left.legend()
middle = np.median(errors, axis=0)
right.loglog(sizes, middle, "o-", label="median of 5 repetitions")
right.fill_between(sizes, errors.min(axis=0), errors.max(axis=0), alpha=0.25, label="range")
right.loglog(sizes, middle[0] * np.sqrt(sizes[0] / sizes), "k:", label="$n^{-1/2}$")
right.set(xlabel="samples", ylabel="relative error", title="Tensor start")
right.legend()
figure.savefig("plot_filter_bank.png", dpi=120)
plt.show()
