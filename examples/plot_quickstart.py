"""
Quick start: which pattern determines a number?
===============================================

In this example, each image of a handwritten digit has a number that depends on one pattern
of 3 by 3 pixels: it is the mean output of a hidden filter over all positions of the image,
after a ReLU, plus noise. :class:`~skconvfilter.ConvReLUFilterRegressor` learns the pattern
from images and numbers alone, and shows where it occurs.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split

from skconvfilter import ConvReLUFilterRegressor
from skconvfilter.datasets import gabor_filter, make_filter_regression
from skconvfilter.plotting import FilterDisplay

# %%
# Data
# ----
# ``X`` has an image of 8 by 8 pixels in every row, and ``y`` has a number for each image.
# With your own data, start at the next section.

X = load_digits().data
model = ConvReLUFilterRegressor(kernel_size=3, input_shape=(8, 8), random_state=0)
teacher = gabor_filter((3, 3), orientation=np.pi / 4, phase=1.0)
_, y = make_filter_regression(X=X, estimator=model, teacher=teacher, snr=20, random_state=0)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

# %%
# Fit
# ---
# The model needs the size of the pattern and the shape of an image. The pixels range from 0
# to 16 and need not be scaled.

model.fit(X_train, y_train)

# %%
# Results
# -------
# The noise limits R2 to about 0.95. A linear model of the pixels cannot represent a pattern
# that may be anywhere.

ridge = RidgeCV(np.logspace(-3, 5, 9)).fit(X_train, y_train)
cosine = model.coef_ @ teacher.ravel() / np.linalg.norm(model.coef_)
angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
print(f"angle to the hidden filter        {angle:.1f} degrees")
print(f"R2 on test images                 {model.score(X_test, y_test):.2f} (9 weights)")
print(f"R2 of ridge regression on pixels  {ridge.score(X_test, y_test):.2f} (64 weights)")

figure = plt.figure(figsize=(12, 3), layout="constrained")
left, middle, right = figure.subfigures(1, 3, width_ratios=[2, 2.1, 1.3])
image = X_test[np.argmax(y_test)]
for ax, pixels, title, cmap in zip(
    left.subplots(1, 2),
    (image.reshape(8, 8), model.feature_map(image[np.newaxis])[0]),
    ("image", "where the filter responds"),
    ("gray", "magma"),
    strict=True,
):
    ax.imshow(pixels, cmap=cmap)
    ax.set(title=title, xticks=[], yticks=[])
FilterDisplay.from_estimator(model, teacher=teacher, axes=middle.subplots(1, 2))
ax = right.subplots()
ax.plot(y_test, model.predict(X_test), ".", alpha=0.6)
ax.axline((y_test.mean(), y_test.mean()), slope=1, color="k", linewidth=0.8)
ax.set(title="test images", xlabel="number", ylabel="prediction")
figure.savefig("plot_quickstart.png", dpi=160)
print("The figure is saved in this folder as plot_quickstart.png.")
plt.show()
