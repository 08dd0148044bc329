"""scikit-learn's own checks of all estimators, with no expected failures."""

import os
from unittest import SkipTest

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from skconvfilter import (
    ConvFeatureExtractor,
    ConvFilterBankRegressor,
    ConvPatchExtractor,
    ConvReLUFilterRegressor,
)

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
# What users have by default is checked once, a bank with fewer starts; the rest is quick.
QUICK = {"n_init": 2, "diagnostics": False}
# The checks set the random state of an estimator, but not of one inside.
FEATURES = ConvFeatureExtractor(
    ConvReLUFilterRegressor(random_state=0, **QUICK), statistics=("mean", "std")
)

# The checks fit tables of a few rows, many of them of noise: more filters than such data
# can tell, and a tensor method without the moments that it needs, rightly lead to warnings.
few_samples = pytest.mark.filterwarnings("ignore:There are fewer samples")
poor_moments = pytest.mark.filterwarnings("ignore:init='tensor'")
# Gradient descent alone may need more iterations than it is given, and filters that fit
# noise may be long, and the way to them too; the fits say so.
may_not_converge = pytest.mark.filterwarnings("ignore:The best restart has not converged")


def run(check, estimator):
    """Run a check, which may be skipped only for want of SCIPY_ARRAY_API=1."""
    try:
        check(estimator)
    except SkipTest as reason:
        if os.environ.get("SCIPY_ARRAY_API") == "1":
            pytest.fail(str(reason))
        raise


@parametrize_with_checks(
    [
        ConvReLUFilterRegressor(),
        ConvReLUFilterRegressor(fit_intercept=False, output_sign=1, **QUICK),
        ConvPatchExtractor(),
        ConvPatchExtractor(flatten=True),
        FEATURES,
    ]
)
def test_estimator_keeps_the_contract(estimator, check):
    run(check, estimator)


@pytest.mark.slow
@may_not_converge
@parametrize_with_checks([ConvReLUFilterRegressor(polish=False, **QUICK)])
def test_gradient_descent_alone_keeps_the_contract(estimator, check):
    run(check, estimator)


@few_samples
@poor_moments
@parametrize_with_checks([ConvFilterBankRegressor(n_filters=2, n_init=2)])
def test_bank_keeps_the_contract(estimator, check):
    run(check, estimator)


@pytest.mark.slow
@few_samples
@may_not_converge
@parametrize_with_checks(
    [
        # Of so few samples a penalty makes the minimum unique.
        ConvFilterBankRegressor(
            2, activation="tanh", init="random", alpha=1e-3, max_iter=20, **QUICK
        ),
    ]
)
def test_bank_that_may_not_converge_keeps_the_contract(estimator, check):
    run(check, estimator)


@pytest.mark.slow
def test_early_stopping_fails_only_where_a_random_split_must():
    # Some checks do not set the random state, and with few rows some splits are poor.
    estimator = ConvReLUFilterRegressor(early_stopping=True, random_state=0, **QUICK)
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = [result["check_name"] for result in results if result["status"] == "failed"]
    assert failed == ["check_sample_weight_equivalence_on_dense_data"]


# Some of them pass arrays after a data frame on purpose.
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names")
@pytest.mark.parametrize("name", TRANSFORMER_CHECKS)
@pytest.mark.parametrize(
    "estimator",
    [ConvPatchExtractor(flatten=True), FEATURES],
    ids=lambda estimator: type(estimator).__name__,
)
def test_the_contract_of_transformers_is_kept(estimator, name):
    getattr(estimator_checks, name)(type(estimator).__name__, estimator)


@pytest.mark.parametrize(
    "cls", [ConvReLUFilterRegressor, ConvFilterBankRegressor, ConvPatchExtractor]
)
def test_notebooks_link_to_the_documentation(cls, tmp_path, monkeypatch):
    name = cls.__name__
    estimator = cls(2) if cls is ConvFilterBankRegressor else cls()
    folder = tmp_path / "skconvfilter-9.dist-info"
    folder.mkdir()
    metadata = "Name: skconvfilter\nVersion: 9\n"
    url = "Project-URL: Documentation, https://example.org/docs/\n"
    monkeypatch.syspath_prepend(tmp_path)
    for text, link in [
        (metadata + url, f"https://example.org/docs/generated/skconvfilter.{name}.html"),
        (metadata, ""),
    ]:
        (folder / "METADATA").write_text(text)
        assert estimator._get_doc_link() == link
        assert f'href="{link}"' in estimator._repr_html_() or not link
