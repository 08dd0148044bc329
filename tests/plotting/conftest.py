import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin


class FittedStandIn(RegressorMixin, BaseEstimator):
    """Has what the displays read of a fitted estimator."""

    def __init__(self, fitted=None):
        self.fitted = fitted

    def fit(self, X=None, y=None):
        for name, value in self.fitted.items():
            setattr(self, name, value)
        return self


@pytest.fixture(autouse=True)
def _leaves_no_trace():
    """Drawing changes no global setting; no test leaves a figure open."""
    before = dict(mpl.rcParams)
    yield
    assert dict(mpl.rcParams) == before
    plt.close("all")


@pytest.fixture
def fitted():
    """Makes fitted estimators: ``fitted(filter_=...)``."""

    def make(**attributes):
        return FittedStandIn(attributes).fit()

    return make


@pytest.fixture
def is_drawn():
    """Tells whether a figure renders to more than its background."""

    def rendered(figure):
        figure.canvas.draw()
        # The four bytes of a pixel as one number, of which unique ones are found faster.
        colours = np.asarray(figure.canvas.buffer_rgba()).view(np.uint32)
        return len(np.unique(colours)) > 10

    return rendered
