"""Faults from outside: dead workers, forks, no home folder, broken installations."""

import importlib.machinery
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import skconvfilter

PACKAGE = Path(skconvfilter.__file__).parent

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

THREADS = """
import os, sys, warnings
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from sklearn.base import clone
from threadpoolctl import threadpool_info
from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor


def state():
    threads = [library["num_threads"] for library in threadpool_info()]
    return threads, list(warnings.filters), np.geterr(), dict(os.environ)


def work(number):
    if number % 4:
        model.score(X, y)
        return model.predict(X.astype(int))
    if number:
        return clone(bank).fit(X, y).predict(X)
    return clone(model).fit(X, y).partial_fit(X, y).predict(X)


def work_often(number):
    return [work(number) for _ in range(10)]

X = np.random.default_rng(0).standard_normal((60, 12))
y = np.maximum(X[:, :3].sum(axis=1), 0)
model = ConvReLUFilterRegressor(
    3, n_init=2, n_jobs=2, diagnostics=False, random_state=0
).fit(X, y)
bank = ConvFilterBankRegressor(1, init="random", n_init=1, max_iter=3, random_state=0)
alone = [work(number) for number in range(8)]
before = state()
assert 2 in before[0]
sys.setswitchinterval(1e-5)
with ThreadPoolExecutor(8) as pool:
    results = list(pool.map(work_often, range(8)))
for expected, found in zip(alone, results):
    np.testing.assert_array_equal(found, [expected] * 10)
for now, then in zip(state(), before):
    assert now == then, (now, then)
print("told")
"""

FULL_DISK = """
import os, pickle, resource, signal, sys
import joblib
import numpy as np
from sklearn.model_selection import cross_val_score
from skconvfilter import ConvFilterBankRegressor, ConvReLUFilterRegressor

X = np.random.default_rng(0).standard_normal((4000, 36))
y = np.maximum(X[:, :3].sum(axis=1), 0)
np.save("X.npy", X)
mapped = np.load("X.npy", mmap_mode="r")
# A file that grows beyond this fails as on a full disk.
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for model in (
    ConvReLUFilterRegressor(3, n_init=2, n_jobs=2, random_state=0),
    ConvFilterBankRegressor(1, kernel_size=3, n_init=1, max_iter=3, random_state=0),
):
    model.fit(mapped, y)
    state = pickle.dumps(model)
    for write in (
        lambda: joblib.dump(model, "model"),
        # joblib writes large arrays to files for its processes.
        lambda: cross_val_score(model, X, y, cv=2, n_jobs=2),
    ):
        try:
            write()
        except (OSError, pickle.PicklingError):
            print("told")
    assert pickle.dumps(model) == state
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


def test_threads_leave_the_process_as_it_was():
    assert run(THREADS, OPENBLAS_NUM_THREADS="2", MKL_NUM_THREADS="2").split() == ["told"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits on files")
def test_a_full_disk_leaves_the_state(tmp_path):
    root = str(PACKAGE.parent)
    folders = {"JOBLIB_TEMP_FOLDER": str(tmp_path), "PYTHONPATH": root}
    assert run(FULL_DISK, folder=tmp_path, **folders).split() == ["told"] * 4


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
        ("compiled.py", "INTERFACE = -1", "install the package again"),
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
