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
# the theory assumes.

model = ConvFilterBankRegressor(n_filters=8, kernel_size=16, stride=16, random_state=0)
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
# How many samples a start needs
# ------------------------------
# The error of the tensor start decreases about like one over the square root of the number
# of samples.

sizes = np.array([1_000, 2_000, 4_000, 8_000, 16_000, 32_000])
errors = []
for n_samples in sizes:
    X_n, y_n = make_filter_bank_regression(
        n_samples, model, n_features=48, teacher=teacher, random_state=1
    )
    fitted = clone(model).set_params(n_init=1).fit(X_n, y_n)
    errors.append(recovery(fitted.coef_path_[0], teacher).relative_error)

figure = plt.figure(figsize=(10, 6), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=[1, 1.3])
FilterDisplay.from_estimator(model, teacher=teacher, axes=above.subplots(2, 8).ravel())
left, right = below.subplots(1, 2)
for (name, losses), colour in zip(curves.items(), ("C0", "C1"), strict=True):
    for i, loss in enumerate(losses):
        left.semilogy(loss, color=colour, label=name if i == 0 else None)
left.set(xlabel="gradient step", ylabel="loss", title="Gradient descent")
left.legend()
right.loglog(sizes, errors, "o-", label="tensor start")
right.loglog(sizes, errors[0] * np.sqrt(sizes[0] / sizes), "k:", label="$n^{-1/2}$")
right.set(xlabel="samples", ylabel="relative error", title="Tensor start")
right.legend()
figure.savefig("plot_filter_bank.png", dpi=120)
plt.show()
