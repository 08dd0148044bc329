import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

import skconvfilter
from skconvfilter.kernels import dispatch, reference
from skconvfilter.kernels.dispatch import available_kernels, choose_kernel

ROOT = Path(__file__).resolve().parents[2]

# Prints what runs, after a computation that must not depend on it.
SHOW = """
import numpy as np
from skconvfilter import ConvReLUFilterRegressor, show_versions
X = np.random.default_rng(0).standard_normal((40, 5))
model = ConvReLUFilterRegressor(3, random_state=0)
model.coef_, model.sign_, model.intercept_ = np.arange(3.0), 1, 0.0
model.n_features_in_ = 5
windows = np.lib.stride_tricks.sliding_window_view(X, 3, axis=1)
expected = np.maximum(windows @ model.coef_, 0).mean(axis=1)
np.testing.assert_allclose(model.predict(X), expected)
show_versions()
"""

# What may be wrong with the compiled module, and what is said about it.
BROKEN = {
    "missing": ("sys.modules[name] = None", "compiled"),
    "of other sources": ("sys.modules[name].INTERFACE = 0", "install the package anew"),
}


def run(code, **environment):
    """Run a script in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SKCONVFILTER_KERNEL": "", **environment},
        capture_output=True,
        text=True,
    )


def shown(process):
    """What show_versions printed, by name."""
    assert process.returncode == 0, process.stderr
    return dict(line.split(": ", 1) for line in process.stdout.splitlines())


def break_compiled(how):
    return f"""
import sys, types
name = "skconvfilter.kernels.compiled"
sys.modules[name] = types.ModuleType(name)
{how}
"""


def test_kernels_are_chosen_by_name():
    for name in available_kernels():
        assert choose_kernel(name).name == name
    assert choose_kernel("numpy") is reference


def test_the_best_kernel_is_the_default():
    assert choose_kernel().name == choose_kernel("").name == available_kernels()[0]
    assert available_kernels()[-1] == "numpy"


@pytest.mark.parametrize("name", ["NumPy", "avx1024", " ", "0"])
def test_unknown_names_are_refused(name):
    choices = ", ".join(available_kernels())
    with pytest.raises(ValueError, match=rf"SKCONVFILTER_KERNEL={name!r}.*{choices}"):
        choose_kernel(name)


def test_the_error_says_why_there_is_no_compiled_kernel(monkeypatch):
    monkeypatch.setattr(dispatch, "compiled", None)
    monkeypatch.setattr(dispatch, "why_not_compiled", "no compiler")
    assert available_kernels() == ["numpy"]
    assert choose_kernel() is reference
    with pytest.raises(ValueError, match=r"avx2.*\(no compiled kernels: no compiler\)"):
        choose_kernel("avx2")


@pytest.mark.parametrize("name", available_kernels()[-2:])
def test_the_environment_variable_is_obeyed(name):
    versions = shown(run(SHOW, SKCONVFILTER_KERNEL=name))
    assert versions["kernel"] == name
    assert versions["available kernels"] == ", ".join(available_kernels())


def test_the_import_fails_for_an_unknown_kernel():
    process = run("import skconvfilter", SKCONVFILTER_KERNEL="fastest")
    assert process.returncode == 1
    assert "ValueError: SKCONVFILTER_KERNEL='fastest'" in process.stderr
    assert ", ".join(available_kernels()) in process.stderr


@pytest.mark.parametrize(("how", "why"), BROKEN.values(), ids=BROKEN)
def test_numpy_takes_the_place_of_a_compiled_module_that_is(how, why):
    versions = shown(run(break_compiled(how) + SHOW))
    assert versions["kernel"] == versions["available kernels"] == "numpy"
    assert why in versions["no compiled kernels"]


def test_a_kernel_that_is_asked_for_is_not_replaced_silently():
    code = break_compiled("sys.modules[name] = None") + "import skconvfilter"
    process = run(code, SKCONVFILTER_KERNEL="avx2")
    assert process.returncode == 1
    assert "no compiled kernels" in process.stderr


def test_show_versions_lists_every_dependency_and_the_kernels(capsys):
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = pyproject["project"]
    skconvfilter.show_versions()
    lines = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    for requirement in [project["name"], *project["dependencies"]]:
        name = re.match(r"[\w.-]+", requirement).group()
        assert lines[name] == version(name)
    assert lines["numpy"] == np.__version__
    assert sys.version.split()[0] in lines["python"]
    assert lines["kernel"] == dispatch.kernel.name
    assert lines["available kernels"] == ", ".join(available_kernels())
    assert ("no compiled kernels" in lines) == (available_kernels() == ["numpy"])
