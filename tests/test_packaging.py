import subprocess
import sys
import tomllib
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import skconvfilter

ROOT = Path(__file__).resolve().parents[1]

# Prints the top-level names of everything that the package's modules import.
IMPORT_ALL = """
import importlib, pkgutil, sys
import skconvfilter
for module in pkgutil.walk_packages(skconvfilter.__path__, "skconvfilter."):
    importlib.import_module(module.name)
print(*{name.partition(".")[0] for name in sys.modules})
"""


def pyproject():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_citations_have_the_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert text.count(f"version: {skconvfilter.__version__}\n") == 2
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"version = {{{skconvfilter.__version__}}}" in readme


def test_addresses_of_the_project_are_in_two_files():
    # Until there is an address they hold a placeholder, which a release replaces there.
    urls = pyproject()["project"]["urls"]
    site, repository = urls["Documentation"], urls["Repository"]
    assert all(url.startswith((site, repository)) for url in urls.values())
    bare = [url.removeprefix("https://").removesuffix("/") for url in (site, repository)]
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in (
            ".ci",
            ".github",
            "benchmarks",
            "docs",
            "examples",
            "skconvfilter",
            "",
        )
        for path in ((ROOT / folder).rglob("*") if folder else ROOT.glob("*"))
        if path.suffix in {".cff", ".cfg", ".md", ".py", ".rst", ".toml", ".yaml", ".yml"}
        if not {"_build", "auto_examples", "generated"} & set(path.parts)
        if any(name in path.read_text(encoding="utf-8") for name in bare)
    }
    assert found == {"CITATION.cff", "pyproject.toml"}
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert citation.count(f"url: {repository}\n") == 2


def test_py_typed_is_shipped():
    assert files("skconvfilter").joinpath("py.typed").is_file()
    # An editable install has the file in any case, a wheel only if it is listed.
    assert "py.typed" in pyproject()["tool"]["setuptools"]["package-data"]["skconvfilter"]


def test_every_folder_of_modules_is_a_package():
    # A wheel leaves out a folder without __init__.py.
    folders = {path.parent for path in (ROOT / "skconvfilter").rglob("*.py")}
    assert [path for path in folders if not (path / "__init__.py").exists()] == []


def test_matrix_begins_with_the_oldest_python():
    project = pyproject()["project"]
    oldest = project["requires-python"].removeprefix(">=")
    matrix = (ROOT / ".ci" / "matrix").read_text(encoding="utf-8")
    assert f"check floor python{oldest} " in matrix


def test_version_is_that_of_the_metadata():
    assert skconvfilter.__version__ == version("skconvfilter")


def test_import_loads_no_optional_package():
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, check=True
    )
    # pandas comes with scikit-learn where it is installed.
    assert {"matplotlib", "dask"}.isdisjoint(run.stdout.split())
