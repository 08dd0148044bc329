import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest

import skconvfilter
from skconvfilter.kernels import dispatch, reference
from skconvfilter.kernels.dispatch import available_kernels, choose_kernel

ROOT = Path(__file__).resolve().parents[2]

# Imports the dispatch again for every kernel asked for, with a compiled module that is
# there, missing, or of other sources; prints which kernel runs, or the error.
CHOOSE = """
import importlib, os, sys, types
import numpy as np
from skconvfilter import kernels
from skconvfilter.kernels import dispatch
name = "skconvfilter.kernels.compiled"
stale = types.ModuleType(name)
stale.INTERFACE = 0
for module in (sys.modules.get(name), None, stale):
    for asked in ("", "numpy", "baseline", "fastest"):
        os.environ["SKCONVFILTER_KERNEL"] = asked
        vars(kernels).pop("compiled", None)
        sys.modules[name] = module
        try:
            importlib.reload(dispatch)
            print(dispatch.kernel.name, dispatch.why_not_compiled, sep=": ")
        except ValueError as error:
            print(error)
"""

# Prints what runs, after a computation that must not depend on it.
SHOW = """
import numpy as np
from skconvfilter import ConvReLUFilterRegressor, show_versions
X = np.random.default_rng(0).standard_normal((40, 5))
model = ConvReLUFilterRegressor(3, random_state=0)
model.coef_, model.sign_, model.intercept_ = np.arange(3.0), 1, 0.0
model.bias_ = 0.0
model.n_features_in_ = 5
windows = np.lib.stride_tricks.sliding_window_view(X, 3, axis=1)
expected = np.maximum(windows @ model.coef_, 0).mean(axis=1)
np.testing.assert_allclose(model.predict(X), expected)
show_versions()
"""


def run(code, **environment):
    """What a script in an interpreter of its own prints, line by line."""
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SKCONVFILTER_KERNEL": "", **environment},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()


def test_kernels_are_chosen_by_name():
    for name in available_kernels():
        assert choose_kernel(name).name == name
    assert choose_kernel("numpy") is reference


def test_the_best_kernel_is_the_default():
    assert choose_kernel().name == choose_kernel("").name == available_kernels()[0]
    assert available_kernels()[-1] == "numpy"


@pytest.mark.parametrize("name", ["NumPy", "avx1024"])
def test_unknown_names_are_refused(name):
    choices = ", ".join(available_kernels())
    with pytest.raises(ValueError, match=rf"SKCONVFILTER_KERNEL={name!r}.*{choices}"):
        choose_kernel(name)


def test_the_environment_variable_is_obeyed():
    lines = run(SHOW, SKCONVFILTER_KERNEL="numpy")
    versions = dict(line.split(": ", 1) for line in lines)
    assert versions["kernel"] == "numpy"
    assert versions["available kernels"] == ", ".join(available_kernels())


def test_what_is_asked_for_is_taken_or_refused():
    present, missing, stale = np.reshape(run(CHOOSE), (3, 4))
    names = available_kernels()
    if len(names) > 1:
        assert present.tolist()[:3] == [
            f"{name}: None" for name in (names[0], "numpy", "baseline")
        ]
    assert present[3].startswith("SKCONVFILTER_KERNEL='fastest' is not available")
    assert ", ".join(names) in present[3]
    # NumPy takes the place of a compiled module, but never silently of a kernel asked for.
    for lines, why in [(missing, "compiled"), (stale, "install the package again")]:
        for line in lines[:2]:
            assert line.startswith("numpy: ")
            assert why in line
        for line in lines[2:]:
            assert "(no compiled kernels: " in line
            assert why in line


def test_show_versions_lists_every_dependency_and_the_kernels(capsys):
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = pyproject["project"]
    skconvfilter.show_versions()
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    extras = project["optional-dependencies"]
    optional = [name for extra in ("dask", "onnx", "progress") for name in extras[extra]]
    for requirement in [project["name"], *project["dependencies"], *optional]:
        name = re.match(r"[\w.-]+", requirement).group()
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = "not installed"
        assert lines[name] == installed
    assert "threads" in lines["blas"]
    assert lines["numpy"] == np.__version__
    assert sys.version.split()[0] in lines["python"]
    assert lines["kernel"] == dispatch.kernel.name
    assert lines["available kernels"] == ", ".join(available_kernels())
    assert ("no compiled kernels" in lines) == (available_kernels() == ["numpy"])
    assert "shadowed" not in lines


def test_show_versions_says_that_a_checkout_shadows_compiled_kernels(tmp_path):
    checkout, installed = tmp_path / "checkout", tmp_path / "installed"
    sources = ROOT / "skconvfilter"
    without_kernels = shutil.ignore_patterns("compiled.*", "__pycache__")
    shutil.copytree(sources, checkout / sources.name, ignore=without_kernels)
    kernels = installed / "skconvfilter" / "kernels"
    kernels.mkdir(parents=True)
    (kernels / f"compiled{EXTENSION_SUFFIXES[0]}").touch()
    process = subprocess.run(
        [sys.executable, "-m", "skconvfilter"],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(installed), "SKCONVFILTER_KERNEL": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = dict(line.split(": ", 1) for line in process.stdout.splitlines())
    assert lines["kernel"] == "numpy"
    assert str(kernels) in lines["shadowed"]
    assert "pip install -e" in lines["shadowed"]
