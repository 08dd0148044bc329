"""What the README and the pages of the documentation promise."""

import doctest
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
# Not what a build of the documentation has written there.
BUILT = {"_build", "auto_examples", "generated"}
PAGES = [
    page
    for page in [README, *sorted((ROOT / "docs").rglob("*.md"))]
    if BUILT.isdisjoint(page.parts) and ">>> " in page.read_text()
]


def test_the_pages_with_code_are_found():
    assert {"README.md", "theory.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_the_code_of_a_page_runs(page):
    if ">>> import dask" in page.read_text():
        pytest.importorskip("dask.array", reason="the page is about dask arrays")
    failures, run = doctest.testfile(str(page), module_relative=False)
    assert run > 5
    assert failures == 0


def test_the_commands_and_pictures_of_the_readme_exist():
    text = README.read_text()
    assert "examples/plot_quickstart.py" in text
    assert '.venv/bin/pip install -e ".[test]" && .venv/bin/python -m pytest' in text
    pictures = [part.split(")")[0] for part in text.split("](")[1:]]
    assert pictures
    assert all(os.path.exists(ROOT / picture) for picture in pictures)
