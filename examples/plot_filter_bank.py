"""
Learn a bank of filters from where descent must succeed
=======================================================

Eight filters hide behind the labels of noise images, each cut into three patches that do
not overlap: a label is the sum of all responses after a ReLU. The tensor method reads the
filters off the moments of the labels; a few Gauss-Newton steps then make them exact.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skconvfilter import ConvFilterBankRegressor
from skconvfilter.datasets import make_filter_bank_regression
from skconvfilter.diagnostics import bank_recovery
from skconvfilter.plotting import FilterDisplay

# %%
# The data
# --------
# Patches of 16 entries, three in a row of 48, with independent normal entries: the setting
# of the theory.

X, y, teacher = make_filter_bank_regression(
    5_000, n_filters=8, kernel_size=16, stride=16, input_shape=48, return_teacher=True,
    random_state=0,
)  # fmt: skip

# %%
# Fit
# ---
# ``init_coef_`` is the tensor start, and ``coef_`` what came of it.

model = ConvFilterBankRegressor(n_filters=8, kernel_size=16, stride=16, random_state=0)
model.fit(X, y)
start = bank_recovery(model.init_coef_, teacher)
end = bank_recovery(model, teacher)
print(f"error of the start  {start.relative_error:8.1e}")
print(f"error of the fit    {end.relative_error:8.1e}   after {model.n_iter_} steps")
least, largest = model.hessian_extremes_
print(f"Hessian at the fit  eigenvalues from {least:.3f} to {largest:.1f}")

# %%
# From a random start
# -------------------
# Plain gradient descent from the tensor start and from three random ones, for as many
# steps. The first begins where the loss is strongly convex.

descent = clone(model).set_params(solver="gd", n_init=1, max_iter=300, tol=0)
with warnings.catch_warnings():
    # They are stopped on purpose.
    warnings.simplefilter("ignore", ConvergenceWarning)
    curves = {"tensor start": [clone(descent).fit(X, y).loss_curve_]}
    curves["random starts"] = [
        clone(descent).set_params(init="random", random_state=seed).fit(X, y).loss_curve_
        for seed in range(3)
    ]

# %%
# How many samples a start needs
# ------------------------------
# The error of the tensor start falls about like one over the square root of their number.

sizes = np.array([1_000, 2_000, 4_000, 8_000, 16_000, 32_000])
errors = []
for n_samples in sizes:
    X_n, y_n = make_filter_bank_regression(
        n_samples, teacher=teacher, kernel_size=16, stride=16, input_shape=48,
        random_state=1,
    )  # fmt: skip
    fitted = clone(model).set_params(n_init=1).fit(X_n, y_n)
    errors.append(bank_recovery(fitted.init_coef_, teacher).relative_error)

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
