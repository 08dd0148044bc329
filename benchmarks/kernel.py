"""Value and gradient of the loss: this package, PyTorch and NumPy beside the SGEMM rate.

A call computes the losses and gradients of R filters on all samples, float32, one thread.
This package's samples are packed for its kernel beforehand, once, as in a fit; PyTorch gets
the layout and the batch size that suit it best. Everything in a line is timed in turn, in
the same minutes. Times are microseconds for one sample and one filter. A filter's work on a
sample of k patches of length p is 4 k p operations (responses, then sums of active
patches), which makes times comparable with the rate of a matrix product.

    python benchmarks/kernel.py            # all four tables
    python benchmarks/kernel.py peers      # against PyTorch and NumPy
    python benchmarks/kernel.py sets       # the instruction sets of this machine
    python benchmarks/kernel.py growth     # with samples, patches and their length
    python benchmarks/kernel.py threads    # two threads against one
"""

import argparse
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from timing import hold_to_one_thread, print_environment, side_by_side

from skconvfilter.estimators.threads import block_mapper
from skconvfilter.kernels import reference
from skconvfilter.kernels.dispatch import available_kernels, choose_kernel, kernel
from skconvfilter.model.filter_objective import FilterObjective
from skconvfilter.model.forward import row_blocks
from skconvfilter.model.geometry import Convolution

Case = namedtuple("Case", "height width channels kernel_size stride")

CASES = [
    Case(8, 8, 1, 3, 1),
    Case(28, 28, 1, 5, 1),
    Case(28, 28, 1, 5, 2),
    Case(64, 64, 3, 5, 1),
    Case(64, 64, 3, 5, 2),
]
MNIST = CASES[1]
N_FILTERS = [1, 8, 16]
BATCH_SIZES = [32, 128, 512, 2048]
# Elements of the data in a line: beyond all caches but the last.
N_ELEMENTS = 3_200_000
GEMM_SIZE = 1024
THREADS_SAMPLES = 30_000


class Problem:
    """Random samples of a case, and the same work for everyone."""

    def __init__(self, case, n_filters, n_samples=None):
        rng = np.random.default_rng(0)
        shape = case.height, case.width, case.channels
        n_features = int(np.prod(shape))
        n_samples = n_samples or N_ELEMENTS // n_features // 16 * 16
        self.case, self.n_filters, self.n_samples = case, n_filters, n_samples
        self.X = rng.standard_normal((n_samples, n_features)).astype(np.float32)
        self.y = rng.standard_normal(n_samples)
        input_shape = shape if case.channels > 1 else shape[:2]
        convolution = Convolution(case.kernel_size, input_shape, case.stride)
        self.geometry = convolution.geometry(n_features)
        self.layout = self.geometry.layout
        self.W = rng.standard_normal((self.layout.patch_dim, n_filters))

    @property
    def n_operations(self):
        """Of all filters on all samples."""
        layout = self.layout
        work = 4 * layout.n_patches * layout.patch_dim
        return work * self.n_samples * self.n_filters

    def microseconds(self, seconds):
        """For one sample and one filter."""
        return 1e6 * seconds / (self.n_samples * self.n_filters)

    def objective(self, map_blocks=map):
        """Value and gradient by this package; the first call packs the samples."""
        objective = FilterObjective(self.X, self.geometry, self.y, map_blocks=map_blocks)
        signs = np.ones(self.n_filters)
        return lambda: objective.gradient(self.W, signs)

    def kernel(self, kernel):
        """The active mean patches alone, by one kernel."""
        blocks = row_blocks(self.n_samples, self.layout.patch_dim)
        packed = [kernel.pack(self.X[rows], self.layout) for rows in blocks]

        def call():
            for block in packed:
                kernel.active_mean_patches(block, self.layout, self.W)

        return call

    def torch(self, batch_size, memory_format):
        """Value and gradient by a convolution and backpropagation."""
        case, size = self.case, self.case.kernel_size
        images = self.X.reshape(-1, case.height, case.width, case.channels)
        images = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
        images = images.contiguous(memory_format=memory_format)
        targets = torch.from_numpy(self.y.astype(np.float32))[:, None]
        filters = self.W.T.reshape(self.n_filters, size, size, case.channels)
        filters = np.ascontiguousarray(filters.transpose(0, 3, 1, 2), dtype=np.float32)
        weight = torch.from_numpy(filters).requires_grad_()
        batches = list(
            zip(images.split(batch_size), targets.split(batch_size), strict=True)
        )

        def call():
            weight.grad = None
            for batch, target in batches:
                maps = torch.nn.functional.conv2d(batch, weight, stride=case.stride)
                values = torch.relu(maps).mean(dim=(2, 3))
                (0.5 * (values - target).square().sum() / self.n_samples).backward()

        return call

    def best_torch(self):
        """The fastest of PyTorch's layouts and batch sizes, and its batch size."""
        contenders = {
            (batch_size, memory_format): self.torch(batch_size, memory_format)
            for batch_size in BATCH_SIZES
            if batch_size <= self.n_samples
            for memory_format in (torch.contiguous_format, torch.channels_last)
        }
        seconds = side_by_side(contenders, n_rounds=2)
        best = min(seconds, key=seconds.get)
        return contenders[best], best[0]


def gemm():
    """A product of single-precision matrices, and its number of operations."""
    a = np.random.default_rng(0).standard_normal((GEMM_SIZE, GEMM_SIZE))
    a = a.astype(np.float32)
    return lambda: a @ a, 2 * GEMM_SIZE**3


def share_of_gemm(problem, seconds, gemm_seconds):
    """Rate of operations relative to that of a matrix product."""
    _, gemm_operations = gemm()
    return (problem.n_operations / seconds) / (gemm_operations / gemm_seconds)


def print_peers():
    print("value and gradient, us per sample and filter; peers as multiples of it")
    print(
        f"{'data':11} {'window':8} {'R':>2} {'here':>7} {'of SGEMM':>8} "
        f"{'PyTorch':>8} {'(batch)':>7} {'NumPy':>6}"
    )
    for case in CASES:
        for n_filters in N_FILTERS:
            problem = Problem(case, n_filters)
            torch_call, batch_size = problem.best_torch()
            seconds = side_by_side(
                {
                    "here": problem.objective(),
                    "torch": torch_call,
                    "numpy": problem.kernel(reference),
                    "gemm": gemm()[0],
                }
            )
            here = seconds["here"]
            share = share_of_gemm(problem, here, seconds["gemm"])
            print(
                f"{_name(case)} {n_filters:2d} {problem.microseconds(here):7.3f} "
                f"{share:8.2f} {seconds['torch'] / here:7.1f}x {batch_size:7d} "
                f"{seconds['numpy'] / here:5.1f}x",
                flush=True,
            )


def print_sets():
    print("active mean patches alone, us per sample and filter, and share of SGEMM's rate")
    names = available_kernels()
    print(f"{'data':11} {'window':8} {'R':>2}", *(f"{name:>14}" for name in names))
    for n_filters in (1, 2, 4, 8):
        problem = Problem(MNIST, n_filters)
        contenders = {name: problem.kernel(choose_kernel(name)) for name in names}
        seconds = side_by_side(contenders | {"gemm": gemm()[0]})
        cells = [
            f"{problem.microseconds(seconds[name]):8.3f}  "
            f"{share_of_gemm(problem, seconds[name], seconds['gemm']):4.2f}"
            for name in names
        ]
        print(_name(MNIST), f"{n_filters:2d}", *cells, flush=True)


def print_growth():
    print("value and gradient, R = 8: growth with samples n, patches k, their length p")
    print(f"{'data':11} {'window':8} {'n':>6} {'k':>5} {'p':>4} {'us':>7} {'of SGEMM':>8}")
    lines = [(MNIST, n) for n in (64, 512, 4096, 32768)]
    lines += [(Case(side, side, 1, 5, 1), None) for side in (8, 16, 28, 64, 128)]
    lines += [(Case(28, 28, 1, size, 1), None) for size in (1, 3, 9, 15, 28)]
    for case, n_samples in lines:
        problem = Problem(case, 8, n_samples)
        layout = problem.layout
        seconds = side_by_side({"here": problem.objective(), "gemm": gemm()[0]})
        share = share_of_gemm(problem, seconds["here"], seconds["gemm"])
        print(
            f"{_name(case)} {problem.n_samples:6d} {layout.n_patches:5d} "
            f"{layout.patch_dim:4d} {problem.microseconds(seconds['here']):7.3f} "
            f"{share:8.2f}",
            flush=True,
        )


def print_threads():
    print(f"value and gradient of {THREADS_SAMPLES:,} samples: two threads, one; beside")
    print("it what two threads gain on two calls of the kernel that have nothing to share")
    print(
        f"{'data':11} {'window':8} {'R':>2} {'one, ms':>8} {'two, ms':>8} ratio bits alone"
    )
    for n_filters in (1, 8):
        problem = Problem(MNIST, n_filters, THREADS_SAMPLES)
        with block_mapper(2) as map_blocks, ThreadPoolExecutor(2) as threads:
            one, two = problem.objective(), problem.objective(map_blocks)
            halves = [problem.kernel(kernel), problem.kernel(kernel)]
            calls = {
                "one": one,
                "two": two,
                "apart": lambda halves=halves: [half() for half in halves],
                "together": lambda halves=halves: [*threads.map(lambda f: f(), halves)],
            }
            seconds = side_by_side(calls, n_rounds=21)
            pairs = zip(one(), two(), strict=True)
        same = all(np.array_equal(a, b) for a, b in pairs if a is not None)
        print(
            f"{_name(MNIST)} {n_filters:2d} "
            f"{1e3 * seconds['one']:8.1f} {1e3 * seconds['two']:8.1f} "
            f"{seconds['one'] / seconds['two']:4.2f}x  {'same' if same else 'DIFFERENT'} "
            f"{seconds['apart'] / seconds['together']:5.2f}x",
            flush=True,
        )


def _name(case):
    shape = f"{case.height}x{case.width}" + ("x3" if case.channels == 3 else "")
    return f"{shape:11} {f'{case.kernel_size}x{case.kernel_size} s{case.stride}':8}"


TABLES = {
    "peers": print_peers,
    "sets": print_sets,
    "growth": print_growth,
    "threads": print_threads,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tables", nargs="*", default=list(TABLES), help=", ".join(TABLES))
    tables = parser.parse_args().tables
    hold_to_one_thread()
    print_environment()
    for table in tables:
        TABLES[table]()
        print()


if __name__ == "__main__":
    main()
