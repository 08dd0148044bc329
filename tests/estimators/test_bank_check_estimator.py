"""scikit-learn's own checks of banks, with no expected failures."""

import os

import pytest
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from skconvfilter import ConvFilterBankRegressor

# The checks fit tables of a few rows, many of them of noise: more filters than such data
# can tell, and a tensor method without the moments that it needs, rightly lead to warnings.
pytestmark = [
    pytest.mark.filterwarnings("ignore:There are fewer samples"),
    pytest.mark.filterwarnings("ignore:init='tensor'"),
]


@parametrize_with_checks(
    [
        ConvFilterBankRegressor(),
        ConvFilterBankRegressor(n_filters=2),
        ConvFilterBankRegressor(init="random", n_init=2),
        ConvFilterBankRegressor(activation="leaky_relu", n_init=2),
        ConvFilterBankRegressor(output_weights="signs", n_init=2),
        ConvFilterBankRegressor(pooling="mean", n_init=2),
    ]
)
def test_bank_keeps_the_contract(estimator, check):
    check(estimator)


# Filters that fit noise may be long, and the way to them too: longer than the iterations
# that are allowed here, and the fits say so.
@pytest.mark.filterwarnings("ignore:The best restart has not converged")
@parametrize_with_checks(
    [
        ConvFilterBankRegressor(activation="squared_relu", n_init=2, max_iter=50),
        ConvFilterBankRegressor(activation="sigmoid", n_init=2, max_iter=50),
        ConvFilterBankRegressor(activation="tanh", n_init=2, max_iter=50),
        ConvFilterBankRegressor(activation="erf", n_init=2, max_iter=50),
        ConvFilterBankRegressor(solver="gd", max_iter=20, n_init=2),
        ConvFilterBankRegressor(solver="sgd", max_iter=20, n_init=2),
    ]
)
def test_bank_that_may_not_converge_keeps_the_contract(estimator, check):
    check(estimator)


@pytest.mark.skipif(
    os.environ.get("SCIPY_ARRAY_API") != "1",
    reason="scikit-learn skips its array API check unless SCIPY_ARRAY_API=1",
)
def test_no_check_is_skipped():
    estimator = ConvFilterBankRegressor(n_filters=2, n_init=2)
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    not_passed = [result for result in results if result["status"] != "passed"]
    assert not_passed == []
