"""Learn convolutional filters with guarantees, following scikit-learn's conventions."""

from skconvfilter import datasets, diagnostics, plotting
from skconvfilter.estimators.bank import ConvFilterBankRegressor
from skconvfilter.estimators.extractor import ConvPatchExtractor
from skconvfilter.estimators.features import ConvFeatureExtractor
from skconvfilter.estimators.filter import ConvReLUFilterRegressor
from skconvfilter.kernels.versions import show_versions
from skconvfilter.version import __version__ as __version__

__all__ = [
    "ConvFeatureExtractor",
    "ConvFilterBankRegressor",
    "ConvPatchExtractor",
    "ConvReLUFilterRegressor",
    "datasets",
    "diagnostics",
    "plotting",
    "show_versions",
]
