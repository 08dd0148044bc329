"""Five times that must not get worse, for asv: see "Benchmarks" in CONTRIBUTING.md."""

import numpy as np

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor
from skconvfilter.datasets import make_filter_bank_regression, make_filter_regression
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.geometry import Convolution


class Kernel:
    """Value and gradient for R filters of 5 by 5 on 4,096 images of 28 by 28, float32."""

    params = (1, 8)
    param_names = ("R",)

    def setup(self, n_filters):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((4_096, 784)).astype(np.float32)
        geometry = Convolution(5, (28, 28)).geometry(784)
        self.objective = FilterObjective(X, geometry, rng.standard_normal(len(X)))
        self.W, self.signs = rng.standard_normal((25, n_filters)), np.ones(n_filters)

    def time_value_and_gradient(self, n_filters):
        self.objective.gradient(self.W, self.signs)


class Fit:
    """Fits to 1,000 images of 28 by 28 that are noise, labelled by 5 by 5 filters."""

    def setup(self):
        window = {"kernel_size": 5, "input_shape": (28, 28), "random_state": 0}
        self.model = ConvReLUFilterRegressor(**window)
        self.data = make_filter_regression(1_000, self.model, random_state=0)
        self.bank = ConvFilterBankRegressor(
            n_filters=2, init="random", pooling="mean", n_init=4, **window
        )
        self.bank_data = make_filter_bank_regression(1_000, self.bank, random_state=0)

    def time_default_fit(self):
        self.model.fit(*self.data)

    def time_bank_fit(self):
        self.bank.fit(*self.bank_data)


def timeraw_import():
    """In a process of its own."""
    return "import skconvfilter"
