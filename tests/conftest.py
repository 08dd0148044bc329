import os

import matplotlib
import pytest
from hypothesis import HealthCheck, settings
from threadpoolctl import threadpool_limits

from skconvfilter.datasets import load_mnist

matplotlib.use("Agg")
# Tests run in several processes, one for each core.
threadpool_limits(1)

# The number of examples of each property, which are then new ones every time.
EXAMPLES = os.environ.get("SKCONVFILTER_EXAMPLES")
settings.register_profile("skconvfilter", derandomize=True, deadline=None, max_examples=50)
settings.register_profile(
    "many",
    max_examples=int(EXAMPLES or 1),
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("many" if EXAMPLES else "skconvfilter")


@pytest.fixture(scope="session")
def mnist():
    """MNIST as (images, labels), one flat image per row."""
    data_home = os.environ.get("SKCONVFILTER_DATA")
    if not data_home:
        pytest.skip("set SKCONVFILTER_DATA to a folder with the MNIST IDX files")
    return load_mnist(data_home=data_home)
