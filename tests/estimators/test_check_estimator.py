"""scikit-learn's own checks, with no expected failures."""

import os

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from skconvfilter import ConvPatchExtractor, ConvReLUFilterRegressor

# Public checks that scikit-learn runs on its own transformers only.
TRANSFORMER_CHECKS = [
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_global_output_transform_pandas",
    "check_n_features_in_after_fitting",
    "check_dataframe_column_names_consistency",
    "check_get_feature_names_out_error",
]


@parametrize_with_checks(
    [
        ConvReLUFilterRegressor(),
        ConvReLUFilterRegressor(solver="gauss-newton"),
        ConvReLUFilterRegressor(solver="gd", polish=False, n_init=4),
        ConvReLUFilterRegressor(fit_intercept=False, output_sign=1),
        ConvReLUFilterRegressor(kernel_size=1),
        ConvPatchExtractor(),
        ConvPatchExtractor(kernel_size=2),
        ConvPatchExtractor(flatten=True),
    ]
)
def test_estimator_keeps_the_contract(estimator, check):
    check(estimator)


# Gradient descent alone may need more iterations than it is given, and says so.
@pytest.mark.filterwarnings("ignore:The best restart has not converged")
@parametrize_with_checks([ConvReLUFilterRegressor(polish=False)])
def test_gradient_descent_alone_keeps_the_contract(estimator, check):
    check(estimator)


def test_early_stopping_fails_only_where_a_random_split_must():
    results = check_estimator(
        ConvReLUFilterRegressor(early_stopping=True), on_fail=None, on_skip=None
    )
    failed = [result["check_name"] for result in results if result["status"] == "failed"]
    assert failed == ["check_sample_weight_equivalence_on_dense_data"]


@pytest.mark.skipif(
    os.environ.get("SCIPY_ARRAY_API") != "1",
    reason="scikit-learn skips its array API check unless SCIPY_ARRAY_API=1",
)
@pytest.mark.parametrize("estimator", [ConvReLUFilterRegressor(), ConvPatchExtractor()])
def test_no_check_is_skipped(estimator):
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    not_passed = [result for result in results if result["status"] != "passed"]
    assert not_passed == []


# Some of them pass arrays after a data frame on purpose.
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names")
@pytest.mark.parametrize("name", TRANSFORMER_CHECKS)
def test_flattening_extractor_keeps_the_contract_of_transformers(name):
    check = getattr(estimator_checks, name)
    check("ConvPatchExtractor", ConvPatchExtractor(flatten=True))
