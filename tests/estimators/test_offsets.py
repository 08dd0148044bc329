"""Images with a large constant added, as cameras add it: filters are found as without."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_bank_regression, make_filter_regression

WINDOW = {"kernel_size": 3, "input_shape": (8, 8)}
IMAGES = load_digits().data[:800]


@pytest.mark.parametrize("spreads", [10, 1000])
@pytest.mark.parametrize("n_filters", [1, 2])
def test_filters_that_sum_to_zero_are_found(n_filters, spreads):
    X = IMAGES + spreads * IMAGES.std()
    for seed in range(3):
        teacher = np.random.default_rng(seed).standard_normal((n_filters, 3, 3))
        teacher -= teacher.mean(axis=(1, 2), keepdims=True)
        options = WINDOW | {"bias": False, "diagnostics": False, "random_state": seed}
        if n_filters == 1:
            model = ConvReLUFilterRegressor(**options)
            _, y = make_filter_regression(X=X, estimator=model, teacher=teacher[0])
        else:
            model = ConvFilterBankRegressor(n_filters, **options)
            _, y = make_filter_bank_regression(
                X=X, estimator=model, teacher=teacher, output_weights=[1, -1]
            )
        assert model.fit(X, y).loss_ < 1e-18 * y.var()
        if n_filters > 1:
            # A fit that is exact but for rounding ends the search over starts.
            assert np.isnan(model.restart_losses_).any()
