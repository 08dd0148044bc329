"""What an editor must know of the package: .ci/run checks this script with pyright.

Each comment names an error that must be reported: one that is not is an error itself.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

import numpy as np

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_regression
from skconvfilter.diagnostics import recovery

model = ConvReLUFilterRegressor(kernel_size=3, stride=2)
images, y = make_filter_regression(100, model, n_features=12)
images, y, teacher = make_filter_regression(100, model, return_teacher=True)
model.fit(images, y)
print(model.coef_.shape, np.abs(model.filter_ - teacher).max(), model.gamma_)
print(model.predict(images).mean(), recovery(model, teacher).relative_error)
print(ConvFilterBankRegressor(2, kernel_size=3).fit(images, y).coef_.shape)
print(model.nonsense_)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
ConvReLUFilterRegressor(stride="no")  # pyright: ignore[reportArgumentType]
ConvReLUFilterRegressor(solver="newton")  # pyright: ignore[reportArgumentType]
