"""What the benchmarks share: one thread everywhere, contenders timed in turn."""

import platform
import statistics
import time
from datetime import date
from importlib.metadata import version
from pathlib import Path

from threadpoolctl import threadpool_limits

from skconvfilter.kernels.dispatch import available_kernels, kernel

try:
    import torch
except ImportError:  # only those that compare with it need it
    torch = None

PACKAGES = ["skconvfilter", "numpy", "scipy", "scikit-learn"]
if torch is not None:
    PACKAGES.append("torch")


def hold_to_one_thread():
    """Keep NumPy's BLAS and PyTorch to the thread that calls them."""
    threadpool_limits(1)
    if torch is not None:
        torch.set_num_threads(1)


def print_environment():
    """Date, machine and versions, for the head of a table."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    print(f"{date.today()}, {_processor()}, Python {platform.python_version()},")
    print(f"{versions}; kernel {kernel.name} (of {', '.join(available_kernels())})\n")


def side_by_side(contenders, n_rounds=7, min_seconds=0.02):
    """Median seconds of a call of each, in rounds in which all have their turn.

    The machine may slow down at any moment: so nobody is timed alone.

    Parameters
    ----------
    contenders : dict of callable
    n_rounds : int, default=7
    min_seconds : float, default=0.02
        A turn is as many calls as take about that long.

    Returns
    -------
    seconds : dict of float
    """
    n_calls = {}
    for name, call in contenders.items():
        call()
        n_calls[name] = max(1, round(min_seconds / _seconds(call, 1)))
    turns = [
        {name: _seconds(call, n_calls[name]) for name, call in contenders.items()}
        for _ in range(n_rounds)
    ]
    return {name: statistics.median(turn[name] for turn in turns) for name in contenders}


def _seconds(call, n_calls):
    start = time.perf_counter()
    for _ in range(n_calls):
        call()
    return (time.perf_counter() - start) / n_calls


def _processor():
    """The name of the processor, where the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
