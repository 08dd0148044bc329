"""Versions of packages and kernels, for bug reports."""

import platform
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from threadpoolctl import threadpool_info

from skconvfilter.kernels import dispatch

_PACKAGES = [
    "skconvfilter",
    "numpy",
    "scipy",
    "scikit-learn",
    "joblib",
    "threadpoolctl",
    "matplotlib",
    # Optional
    "dask",
    "distributed",
    "onnx",
    "pandas",
    "polars",
    "rich",
    "skl2onnx",
]


def show_versions() -> None:
    """Print the versions of Python and of packages, the BLAS, and the kernel in use.

    ``python -m skconvfilter`` prints the same.

    The kernels are compiled for the instruction sets of common processors, and the best
    available one is used. To use another one of those listed, set the environment variable
    ``SKCONVFILTER_KERNEL`` before the import.

    Examples
    --------
    >>> import skconvfilter
    >>> skconvfilter.show_versions()
    skconvfilter: ...
    """
    lines = {name: _version(name) for name in _PACKAGES}
    lines["python"] = sys.version.replace("\n", " ")
    lines["platform"] = platform.platform()
    lines["blas"] = "; ".join(
        f"{library['internal_api']} {library['version']}, {library['num_threads']} threads"
        for library in threadpool_info()
        if library["user_api"] == "blas"
    )
    lines["kernel"] = dispatch.kernel.name
    lines["available kernels"] = ", ".join(dispatch.available_kernels())
    if dispatch.why_not_compiled:
        lines["no compiled kernels"] = dispatch.why_not_compiled
        shadowed = _shadowed_kernels()
        if shadowed is not None:
            lines["shadowed"] = (
                f"{shadowed} has compiled kernels, but the package was imported from "
                f"{Path(__file__).parent}: install it there with pip install -e, or start "
                "Python in another folder"
            )
    for name, value in lines.items():
        print(f"{name}: {value}")


def _shadowed_kernels() -> Path | None:
    """Folder of an installed package with compiled kernels, later on the path."""
    for entry in sys.path:
        folder = Path(entry, "skconvfilter", "kernels").absolute()
        if folder != Path(__file__).parent and any(
            folder.joinpath(f"compiled{suffix}").exists() for suffix in EXTENSION_SUFFIXES
        ):
            return folder
    return None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
