"""Build of the compiled kernels, which an install skips where they cannot be built."""

import os
import re
import sys
import tomllib
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

KERNELS = "skconvfilter/kernels"


def flag(name):
    """Whether an environment variable is set to a value that is not empty and not 0."""
    return os.environ.get(name, "0") not in {"", "0"}


def readme():
    """The README with links to the repository, as an index of packages has no files."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = re.search(
        r'__version__ = "(.*)"', Path("skconvfilter/version.py").read_text()
    )
    repository, tag = project["urls"]["Repository"], f"v{version[1]}"
    text = Path("README.md").read_text(encoding="utf-8")
    for pattern, kind in [(r"(!\[[^]]*\]\()", "raw"), (r"(\[[^]]*\]\()", "blob")]:
        text = re.sub(rf"{pattern}(?!https:)", rf"\1{repository}/{kind}/{tag}/", text)
    return text


required, skipped = flag("SKCONVFILTER_REQUIRE_EXT"), flag("SKCONVFILTER_SKIP_EXT")
if required and skipped:
    sys.exit("SKCONVFILTER_REQUIRE_EXT and SKCONVFILTER_SKIP_EXT contradict each other.")

extension = Extension(
    "skconvfilter.kernels.compiled",
    [f"{KERNELS}/compiled.pyx", f"{KERNELS}/lanes.c"],
    include_dirs=[KERNELS],
    depends=[f"{KERNELS}/lanes.h", f"{KERNELS}/lanes_template.h"],
    extra_compile_args=["/O2"] if sys.platform == "win32" else ["-O3", "-g0"],
)
extensions = [] if skipped else cythonize([extension], build_dir="build/cython")
for extension in extensions:
    # Without a compiler setuptools then goes on, and the NumPy kernels run. Set here,
    # because cythonize makes extensions of its own and forgets it.
    extension.optional = not required
setup(
    ext_modules=extensions,
    long_description=readme(),
    long_description_content_type="text/markdown",
)
