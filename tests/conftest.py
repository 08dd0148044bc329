import os

import matplotlib
import pytest
from hypothesis import settings

from skconvfilter.datasets import load_mnist

matplotlib.use("Agg")

settings.register_profile("skconvfilter", derandomize=True, deadline=None, max_examples=int(os.environ.get("SKCONVFILTER_EXAMPLES", 50)))
settings.load_profile("skconvfilter")


@pytest.fixture(scope="session")
def mnist():
    """MNIST as (images, labels), one flat image per row."""
    data_home = os.environ.get("SKCONVFILTER_DATA")
    if not data_home:
        pytest.skip("set SKCONVFILTER_DATA to a folder with the MNIST IDX files")
    return load_mnist(data_home=data_home)
