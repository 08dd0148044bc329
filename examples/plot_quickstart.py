"""
Recover a hidden filter from real images
========================================

In this example, the labels of scikit-learn's handwritten digits come from a hidden filter:
each label is the mean of a Gabor filter's output, after a ReLU, over all positions of an 8
by 8 image. :class:`~skconvfilter.ConvReLUFilterRegressor` recovers the filter from the
images and the labels alone.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import train_test_split

from skconvfilter import ConvReLUFilterRegressor
from skconvfilter.datasets import gabor_filter, make_filter_regression
from skconvfilter.plotting import ConvergenceDisplay, FilterDisplay

# %%
# Hide a filter
# -------------
# The images stay flat rows, as scikit-learn provides them; ``input_shape`` is the shape of
# an image. Nothing is scaled: the pixels run from 0 to 16.

images = load_digits().data
teacher = gabor_filter((3, 3), orientation=np.pi / 4, phase=1.0)
model = ConvReLUFilterRegressor(kernel_size=3, input_shape=(8, 8), random_state=0)
_, y = make_filter_regression(X=images, estimator=model, teacher=teacher)
X_train, X_test, y_train, y_test = train_test_split(images, y, random_state=0)

# %%
# Fit
# ---
# A short stochastic gradient descent runs from sixteen random starts. Levenberg-Marquardt
# steps then polish the best results and their reflections.

model.fit(X_train, y_train)
ridge = Ridge().fit(X_train, y_train)
constant = DummyRegressor().fit(X_train, y_train)

# %%
# Results
# -------
# The labels have no noise, so the filter is recovered to machine precision. A linear model
# of the pixels cannot represent it.

cosine = model.coef_ @ teacher.ravel() / np.linalg.norm(model.coef_)
angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
print(f"relative loss             {model.relative_loss_:9.1e}")
print(f"angle to the true filter  {angle:9.1e} degrees")
print("R2 on test images")
print(f"    learned filter        {model.score(X_test, y_test):9.4f}   (9 weights)")
print(f"    ridge on the pixels   {ridge.score(X_test, y_test):9.4f}   (64 weights)")
print(f"    constant              {constant.score(X_test, y_test):9.4f}")

figure = plt.figure(figsize=(10, 3.6), layout="constrained")
left, right = figure.subfigures(1, 2, width_ratios=[1, 1.2])
FilterDisplay.from_estimator(model, teacher=teacher, axes=left.subplots(1, 2))
ConvergenceDisplay.from_estimator(model, ax=right.subplots())
figure.savefig("plot_quickstart.png", dpi=120)
plt.show()
