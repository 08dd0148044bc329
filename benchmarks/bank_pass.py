"""One Gauss-Newton pass of a ReLU bank: on the kernels, and on matrix products.

2,000 random samples, float32, mean over the patches, one thread. A row is one geometry and
one number of filters; both objectives are timed in turn.

    python benchmarks/bank_pass.py
"""

import numpy as np
from timing import hold_to_one_thread, print_environment, side_by_side

from skconvfilter.model.activations import ACTIVATIONS
from skconvfilter.model.bank_objective import BankObjective, make_bank_objective
from skconvfilter.model.geometry import Convolution

N_SAMPLES = 2_000
# Sample shape, kernel_size, stride, filters.
CASES = [
    ((28, 28), 5, 1, 2),
    ((28, 28), 5, 1, 4),
    ((28, 28), 5, 1, 8),
    ((28, 28), 5, 1, 16),
    ((28, 28), 5, 2, 4),
    ((28, 28), 5, 5, 4),
    ((8, 8), 3, 1, 4),
    ((200,), 15, 1, 4),
    ((24,), 8, 8, 3),
    ((48,), 16, 16, 8),
    ((400,), 100, 100, 4),
    ((1600,), 400, 400, 4),
]


def seconds(shape, kernel_size, stride, n_filters):
    """Of a pass of each objective."""
    rng = np.random.default_rng(0)
    n_features = int(np.prod(shape))
    X = rng.standard_normal((N_SAMPLES, n_features)).astype(np.float32)
    geometry = Convolution(kernel_size, shape, stride).geometry(n_features)
    data = X, geometry, rng.standard_normal(N_SAMPLES)
    options = {
        "n_filters": n_filters,
        "activation": ACTIVATIONS["relu"],
        "pooling": "mean",
    }
    objectives = {
        "kernels": make_bank_objective(*data, **options),
        "products": BankObjective(*data, **options),
    }
    W = rng.standard_normal((n_filters * geometry.layout.patch_dim, 1))
    signs = np.ones((1, n_filters))
    return side_by_side(
        {
            name: lambda objective=objective: objective.gauss_newton(W, signs)
            for name, objective in objectives.items()
        }
    )


if __name__ == "__main__":
    hold_to_one_thread()
    print_environment()
    print("data      window     filters   kernels   matrix products   ratio")
    for shape, kernel_size, stride, n_filters in CASES:
        found = seconds(shape, kernel_size, stride, n_filters)
        kernels, products = (1e3 * found[name] for name in ("kernels", "products"))
        print(
            f"{'x'.join(map(str, shape)):9} {f'{kernel_size} s{stride}':10} {n_filters:7} "
            f"{kernels:7.1f} ms {products:15.1f} ms {products / kernels:6.1f}x",
            flush=True,
        )
