"""What an editor must know of the package: .ci/run checks this script with pyright.

Each comment names an error that must be reported: one that is not is an error itself.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

import numpy as np

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_regression

X, y = make_filter_regression(100, kernel_size=3, input_shape=12)
X, y, teacher = make_filter_regression(100, kernel_size=3, return_teacher=True)
model = ConvReLUFilterRegressor(kernel_size=3, stride=2).fit(X, y)
print(model.coef_.shape, model.predict(X).mean(), np.abs(model.filter_ - teacher).max())
print(ConvFilterBankRegressor(2, kernel_size=3).fit(X, y).coef_.shape)
print(model.nonsense_)  # pyright: ignore[reportAttributeAccessIssue]
ConvReLUFilterRegressor(stride="no")  # pyright: ignore[reportArgumentType]
ConvReLUFilterRegressor(solver="newton")  # pyright: ignore[reportArgumentType]
