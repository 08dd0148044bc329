"""Faults from outside: interrupts anywhere, dead workers, forks, broken installations."""

import copy
import importlib.machinery
import os
import shutil
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

import skconvfilter
from skconvfilter import (
    ConvFilterBankRegressor,
    ConvPatchExtractor,
    ConvReLUFilterRegressor,
)

PACKAGE = Path(skconvfilter.__file__).parent
COMMON = {"kernel_size": 2, "n_init": 2, "max_iter": 1, "random_state": 0}
CASES = {
    "fit": (ConvReLUFilterRegressor(**COMMON), "fit"),
    "descent": (
        ConvReLUFilterRegressor(
            **COMMON, polish=False, early_stopping=True, diagnostics=False
        ),
        "fit",
    ),
    "partial_fit": (ConvReLUFilterRegressor(**COMMON), "partial_fit"),
    "bank": (ConvFilterBankRegressor(2, **COMMON, warm_start=True), "fit"),
    "extractor": (ConvPatchExtractor(3), "fit"),
}


class Fault(BaseException):
    """Like KeyboardInterrupt, which a test runner takes for its own."""


@cache
def samples(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((20, 4))
    return X, np.maximum(X[:, 1:3].sum(axis=1), 0) + 0.1 * rng.standard_normal(20)


def quietly(function, *args):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args)


@cache
def fitted(name):
    """A fitted estimator; not to be changed."""
    estimator, method = CASES[name]
    return quietly(getattr(clone(estimator), method), *samples())


def with_fault(function, number):
    """Call, with a fault before the given line of the package that is run, if any.

    Returns
    -------
    n_lines : int
        Lines that were run.
    """
    n_lines = 0

    def on_line(frame, event, arg):
        nonlocal n_lines
        if event == "line":
            n_lines += 1
            if n_lines == number:
                raise Fault
        return on_line

    def on_call(frame, event, arg):
        return on_line if frame.f_code.co_filename.startswith(str(PACKAGE)) else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        function()
    except Fault:
        assert n_lines == number
    finally:
        sys.settrace(before)
    return n_lines


def refit(name, number):
    """Fit a fitted estimator to other samples, with a fault."""
    estimator = copy.deepcopy(fitted(name))
    before = vars(estimator).copy()
    method = getattr(estimator, CASES[name][1])
    n_lines = quietly(with_fault, lambda: method(*samples(1)), number)
    return estimator, before, n_lines


@cache
def refitted(name):
    """The same without a fault, and the number of lines that it runs."""
    estimator, _, n_lines = refit(name, None)
    return estimator, n_lines


def assert_same(estimator, expected):
    assert vars(estimator).keys() == vars(expected).keys()
    if hasattr(expected, "coef_"):
        np.testing.assert_array_equal(estimator.coef_, expected.coef_)
        X = samples()[0]
        np.testing.assert_array_equal(estimator.predict(X), expected.predict(X))


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=max(20, settings().max_examples * 2 // 5))
@given(share=st.floats(0, 1))
def test_a_fault_at_any_line_leaves_the_old_state_or_the_new(name, share):
    expected, n_lines = refitted(name)
    number = 1 + round(share * (n_lines - 1))
    estimator, before, _ = refit(name, number)
    now = vars(estimator)
    if now.keys() == before.keys() and all(now[key] is before[key] for key in now):
        assert_same(quietly(getattr(estimator, CASES[name][1]), *samples(1)), expected)
    else:
        # It came after the fit, while the user was being warned.
        assert_same(estimator, expected)


@pytest.mark.parametrize("name", CASES)
def test_a_fault_at_the_last_lines_leaves_a_whole_state(name):
    expected, n_lines = refitted(name)
    states = []
    for number in range(max(1, n_lines - 40), n_lines + 1, 2):
        estimator, before, _ = refit(name, number)
        old = all(vars(estimator).get(key) is before[key] for key in before)
        states.append("old" if old else "new")
        assert_same(estimator, fitted(name) if old else expected)
    assert states[0] == "old" or name == "extractor"


# Processes --------------------------------------------------------------------------------

WORKER_DIES = """
import os, signal
import numpy as np
from joblib.externals.loky.process_executor import TerminatedWorkerError
from sklearn.model_selection import GridSearchCV, cross_val_score
from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor

parent = os.getpid()


def die(n_init, patch_dim, random_state):
    assert os.getpid() != parent
    os.kill(os.getpid(), signal.SIGKILL)

X = np.random.default_rng(0).standard_normal((40, 6))
model = ConvReLUFilterRegressor(3, init=die)
search = GridSearchCV(model, {"alpha": [0.0, 1.0]}, cv=2, n_jobs=2)
for run in (
    lambda: search.fit(X, X[:, 0]),
    lambda: cross_val_score(model, X, X[:, 0], cv=2, n_jobs=2),
):
    try:
        run()
    except TerminatedWorkerError:
        print("told")
assert not hasattr(search, "best_estimator_") and not hasattr(model, "coef_")
"""

FORK = """
import os, sys
import numpy as np
from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor

rng = np.random.default_rng(0)
X = rng.standard_normal((3000, 12))
y = np.maximum(X[:, :3].sum(axis=1), 0)
for make in (
    lambda: ConvReLUFilterRegressor(3, n_init=2, n_jobs=2, random_state=0),
    lambda: ConvFilterBankRegressor(
        1, kernel_size=3, stride=3, n_init=1, n_jobs=2, random_state=0
    ),
):
    model = make().fit(X, y)
    expected = model.predict(X)
    child = os.fork()
    if child == 0:
        same = np.array_equal(model.predict(X), expected)
        same &= np.array_equal(make().fit(X, y).predict(X), expected)
        os._exit(0 if same else 3)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(make().fit(X, y).predict(X), expected)
print("told")
"""

FIT = """
import numpy as np
import skconvfilter
X = np.random.default_rng(0).standard_normal((60, 5))
y = np.maximum(X[:, 1:4].sum(axis=1), 0)
model = skconvfilter.ConvReLUFilterRegressor(3, random_state=0).fit(X, y)
assert np.abs(model.predict(X) - model.predict(X[::-1])[::-1]).max() < 1e-12
assert model.partial_fit(X, y).score(X, y) <= 1
skconvfilter.ConvFilterBankRegressor(1, init="random", random_state=0).fit(X, y)
skconvfilter.show_versions()
"""


def run(code, *, folder=None, **environment):
    """What a script prints that must end, well, within a minute."""
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "SKCONVFILTER_KERNEL": "", **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
def test_a_worker_that_is_killed_ends_a_search_with_an_error():
    assert run(WORKER_DIES).split() == ["told", "told"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot fork here")
def test_fits_in_a_forked_child_are_those_of_the_parent():
    assert run(FORK).split() == ["told"]


# Installations ----------------------------------------------------------------------------


def test_nothing_is_written_and_no_home_is_needed(tmp_path):
    nowhere = os.path.join(os.devnull, "home")
    folders = dict.fromkeys(["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"], nowhere)
    run(FIT, folder=tmp_path, **folders, PYTHONPATH=str(PACKAGE.parent))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def broken(tmp_path):
    """A copy of the package whose compiled module is as a test makes it."""
    sources = shutil.ignore_patterns("compiled*", "__pycache__")
    return Path(shutil.copytree(PACKAGE, tmp_path / "skconvfilter", ignore=sources))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("compiled" + importlib.machinery.EXTENSION_SUFFIXES[0], "no library", ""),
        # What Cython says to a NumPy of another ABI.
        ("compiled.py", "raise ValueError('dtype size changed')", "dtype size changed"),
        ("compiled.py", "INTERFACE = -1", "install the package anew"),
    ],
)
def test_numpy_takes_over_from_a_broken_extension(name, content, why, broken):
    (broken / "kernels" / name).write_text(content)
    shown = run(FIT, folder=broken.parent, PYTHONPATH=str(broken.parent))
    lines = dict(line.split(": ", 1) for line in shown.splitlines())
    assert lines["kernel"] == lines["available kernels"] == "numpy"
    assert why in lines["no compiled kernels"]


def test_an_installation_without_a_compiler_has_numpy(tmp_path):
    # What a build in an environment of its own, as pip makes it, would bring along.
    pytest.importorskip("Cython", minversion="3.1", reason="Cython is not installed")
    pytest.importorskip("setuptools", minversion="77", reason="setuptools is too old")
    root = PACKAGE.parent
    if not (root / "setup.py").exists():
        pytest.skip("the package is installed without its sources")
    sources = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "skconvfilter", ignore=sources)
    for file in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / file, tmp_path)

    def build(**environment):
        return subprocess.run(
            [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
            env={**os.environ, "CC": "/bin/false", **environment},
            cwd=tmp_path,
            capture_output=True,
            timeout=120,
        ).returncode

    assert build(SKCONVFILTER_REQUIRE_EXT="1") != 0
    assert build(SKCONVFILTER_REQUIRE_EXT="0") == 0
    shown = run(FIT, folder=tmp_path, PYTHONPATH=str(tmp_path))
    assert "\nkernel: numpy\n" in shown
