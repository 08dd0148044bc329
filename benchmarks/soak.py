"""Many fits in one process: does memory stay flat?

Every form of fit takes its turn: one filter and a bank, streams, copies through pickle,
predictions. Prints the resident memory after every hundred fits, and exits with an error
where it grows after the first hundred by more than a few MiB.

    python benchmarks/soak.py [n_fits]

Needs Linux.
"""

import gc
import os
import pickle
import sys
import time
import warnings

import numpy as np

from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor

ALLOWED = 8.0  # MiB, the noise of the allocator


def models(seed):
    window = {"kernel_size": 3, "input_shape": (8, 8), "random_state": seed}
    return [
        ConvReLUFilterRegressor(**window),
        ConvReLUFilterRegressor(**window, n_jobs=2, early_stopping=True),
        ConvReLUFilterRegressor(**window, learning_rate="theory", fit_intercept=False),
        ConvFilterBankRegressor(2, **window, n_init=2, max_iter=20),
    ]


def resident():
    """Resident memory in MiB."""
    gc.collect()
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def main(n_fits):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((1200, 64))
    y = np.maximum(X[:, :3].sum(axis=1), 0)
    start, first = time.perf_counter(), None
    for fit in range(1, n_fits + 1):
        # Never the same number of samples twice in a row.
        rows = slice(0, 1000 + fit % 200)
        model = models(fit)[fit % 4].fit(X[rows], y[rows])
        if fit % 4 == 0:
            model.partial_fit(X[rows], y[rows])
        copied = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(copied.predict(X), model.predict(X))
        if fit % 100 == 0:
            first = first or resident()
            seconds = time.perf_counter() - start
            print(f"{fit:6d} fits {resident():8.1f} MiB {seconds:8.1f} s", flush=True)
    growth = resident() - first
    print(f"growth after the first 100 fits: {growth:.1f} MiB")
    return int(growth > ALLOWED)


if __name__ == "__main__":
    warnings.simplefilter("ignore", UserWarning)
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
