"""Peak memory of a fit against the number of samples, relative to the input.

Every line is a process of its own: it loads the package, makes MNIST images repeated with
noise, float32, and takes the peak of its resident memory over what it had before there
were any images. The fit is the default one, 5x5 windows at stride 1, one thread.

    python benchmarks/memory.py

Needs the MNIST test set, see ``skconvfilter.datasets.load_mnist``, and a Unix system.
"""

import resource
import subprocess
import sys
import time

import numpy as np
from threadpoolctl import threadpool_limits

from skconvfilter import ConvReLUFilterRegressor
from skconvfilter.datasets import load_mnist
from skconvfilter.model.forward import model_values
from skconvfilter.model.geometry import Convolution

N_SAMPLES = [1_000, 10_000, 30_000, 60_000, 120_000]
NOISE = 0.05
WINDOW = {"kernel_size": 5, "input_shape": (28, 28)}


def peak_megabytes():
    """Highest resident memory that the process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def noisy_images(n_samples):
    """MNIST repeated with noise, made in the array that is returned."""
    rng = np.random.default_rng(0)
    images = load_mnist(dtype=np.float32)[0]
    X = np.empty((n_samples, images.shape[1]), dtype=np.float32)
    for start in range(0, n_samples, len(images)):
        block = X[start : start + len(images)]
        rng.standard_normal(out=block, dtype=np.float32)
        block *= NOISE
        block += images[: len(block)]
    return X


def measure(n_samples):
    """One line of the table."""
    threadpool_limits(1)
    # Loads whatever is loaded late.
    small = np.random.default_rng(0).standard_normal((50, 784)).astype(np.float32)
    ConvReLUFilterRegressor(**WINDOW, random_state=0).fit(small, small.mean(axis=1))
    load_mnist(dtype=np.float32)
    idle = peak_megabytes()
    X = noisy_images(n_samples)
    teacher = np.random.default_rng(1).standard_normal((25, 1))
    y = model_values(X, Convolution(**WINDOW).geometry(784), teacher)[:, 0]
    model = ConvReLUFilterRegressor(**WINDOW, random_state=0)
    before = peak_megabytes()
    start = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - start
    size, peak = X.nbytes / 2**20, peak_megabytes()
    print(
        f"{n_samples:7d} {size:8.0f} {before - idle:10.0f} {peak - idle:8.0f} "
        f"{(peak - idle) / size:6.2f}x {seconds:8.2f} {model.relative_loss_:9.0e}",
        flush=True,
    )


def main():
    if len(sys.argv) > 1:
        measure(int(sys.argv[1]))
        return
    print("peak resident memory over the idle process, MB; the input is part of it")
    print("samples    input with input  and fit  input    fit, s rel. loss")
    for n_samples in N_SAMPLES:
        subprocess.run([sys.executable, __file__, str(n_samples)], check=True)


if __name__ == "__main__":
    main()
