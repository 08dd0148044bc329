"""The code on the pages of the documentation."""

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
# Pages that a build of the documentation has written.
BUILT = {"_build", "auto_examples", "generated"}
PAGES = [
    page
    for page in sorted(DOCS.rglob("*.md"))
    if BUILT.isdisjoint(page.parts) and ">>> " in page.read_text()
]


def test_pages_with_code_are_found():
    assert {"install.md", "theory.md"} <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_the_code_of_a_page_runs(page):
    if ">>> import dask" in page.read_text():
        pytest.importorskip("dask.array", reason="the page is about dask arrays")
    failures, run = doctest.testfile(str(page), module_relative=False)
    assert run > 5
    assert failures == 0
