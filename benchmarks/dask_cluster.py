"""Fits of more data than memory, on a cluster of processes on this machine.

Images are MNIST's with noise, float32, made anew in every pass, block by block, by the
workers; a teacher labels the noisy images, so that the exact filter can be found. Without
MNIST they are scikit-learn's digits. The default fit, 5x5 windows (digits: 3x3) at stride
1. A pass is one evaluation of the Gauss-Newton matrices of 8 filters; `read` is the
largest entry of all images, which costs little but to make them. Peaks of resident memory
are of whole processes.

    python benchmarks/dask_cluster.py                                  # 8 GB
    python benchmarks/dask_cluster.py --gigabytes 0.5 --memory 400MiB

Needs ``pip install -e ".[dask]"`` and a Unix system; for MNIST see
``skconvfilter.datasets.load_mnist``.
"""

import argparse
import functools
import resource
import sys
import time

import dask
import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from skconvfilter import ConvReLUFilterRegressor
from skconvfilter.datasets import load_mnist
from skconvfilter.model.dask_blocks import DaskBlocks
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.forward import model_values
from skconvfilter.model.geometry import Convolution

NOISE = 0.05
N_FILTERS = 8
# Parts of the data, to see how time grows.
SHARES = [0.25, 0.5, 1]


@functools.cache
def clean_images():
    """All images, loaded once in a process, and the window that goes over them."""
    try:
        return load_mnist(dtype=np.float32)[0], (5, (28, 28))
    except OSError:
        return (load_digits().data / 16).astype(np.float32), (3, (8, 8))


def make_block(number, n_rows):
    """Noisy images of one block."""
    images, _ = clean_images()
    rng = np.random.default_rng(number)
    block = rng.standard_normal((n_rows, images.shape[1]), dtype=np.float32)
    block *= NOISE
    block += images[rng.integers(len(images), size=n_rows)]
    return block


def label(images, teacher):
    """What a filter makes of images."""
    _, window = clean_images()
    geometry = Convolution(*window).geometry(images.shape[1])
    return model_values(images, geometry, teacher)[:, 0]


def lazy_images(n_blocks, n_rows):
    """The images as a dask array."""
    n_features = clean_images()[0].shape[1]
    make = dask.delayed(make_block, pure=True)
    blocks = [
        da.from_delayed(make(number, n_rows), (n_rows, n_features), dtype=np.float32)
        for number in range(n_blocks)
    ]
    return da.concatenate(blocks)


def peak_megabytes():
    """Highest resident memory that the process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def seconds(call):
    """Time of a call, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def evaluate(samples, y):
    """One pass of the Gauss-Newton solver, as a callable."""
    _, window = clean_images()
    geometry = Convolution(*window).geometry(samples.shape[1])
    objective = FilterObjective(samples, geometry, y)
    size = geometry.layout.patch_dim, N_FILTERS
    W = np.random.default_rng(2).standard_normal(size)
    return lambda: objective.gauss_newton(W, np.ones(N_FILTERS))


def measure(client, n_blocks, n_rows, teacher):
    """One line of the table."""
    _, (kernel_size, input_shape) = clean_images()
    X = lazy_images(n_blocks, n_rows)
    y = X.map_blocks(label, teacher, drop_axis=1, dtype=float).compute()
    read, _ = seconds(X.max().compute)
    one_pass, _ = seconds(evaluate(DaskBlocks.of_array(X, X.dtype), y))
    model = ConvReLUFilterRegressor(kernel_size, input_shape=input_shape, random_state=0)
    fit, _ = seconds(lambda: model.fit(X, y))
    error = np.linalg.norm(model.coef_ - teacher[:, 0]) / np.linalg.norm(teacher)
    workers = max(client.run(peak_megabytes).values())
    print(
        f"{X.nbytes / 1e9:5.2f} {n_blocks:7d} {read:7.1f} {one_pass:7.1f} {fit:7.1f} "
        f"{model.relative_loss_:10.0e} {error:7.0e} {peak_megabytes():6.0f} {workers:7.0f}",
        flush=True,
    )
    return one_pass / len(X)


def measure_in_memory(n_blocks, n_rows, teacher):
    """Seconds per sample of a pass by one process that has the samples."""
    X = np.concatenate([make_block(number, n_rows) for number in range(n_blocks)])
    run = evaluate(X, label(X, teacher))
    run()
    return min(seconds(run)[0] for _ in range(3)) / len(X)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gigabytes", type=float, default=8.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", default="1GB", help="of a worker")
    parser.add_argument("--block", type=float, default=32.0, help="megabytes of a block")
    options = parser.parse_args()
    threadpool_limits(1)
    images, window = clean_images()
    teacher = np.random.default_rng(1).standard_normal((window[0] ** 2, 1))
    n_rows = int(options.block * 1e6 / images[0].nbytes)
    n_blocks = [int(share * options.gigabytes * 1e3 / options.block) for share in SHARES]
    with (
        LocalCluster(
            n_workers=options.workers,
            threads_per_worker=1,
            memory_limit=options.memory,
            dashboard_address=":0",
        ) as cluster,
        Client(cluster) as client,
    ):
        print(f"{options.workers} workers of {options.memory}, images {images.shape[1:]}")
        print(
            "   GB  blocks  read, s pass, s  fit, s  rel. loss   error client,MB worker,MB"
        )
        for n in n_blocks:
            there = measure(client, n, n_rows, teacher)
    here = measure_in_memory(max(1, n_blocks[-1] // 10), n_rows, teacher)
    print(
        f"a pass, us per sample: cluster {1e6 * there:.2f}, of which images are made in "
        f"part; one process with a tenth of the samples in memory {1e6 * here:.2f}"
    )


if __name__ == "__main__":
    main()
