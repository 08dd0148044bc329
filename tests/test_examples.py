"""Every example runs, and its pictures are not blank."""

import os
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").rglob("plot_*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_and_draws(path, tmp_path, monkeypatch):
    if "load_mnist" in path.read_text() and "SKCONVFILTER_DATA" not in os.environ:
        pytest.skip("set SKCONVFILTER_DATA to a folder with the MNIST IDX files")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    try:
        runpy.run_path(str(path), run_name="__main__")
        assert plt.get_fignums()
    finally:
        plt.close("all")
    pictures = list(tmp_path.glob("*.png"))
    assert [picture.stem for picture in pictures] == [path.stem]
    for picture in pictures:
        pixels = plt.imread(picture)[..., :3]
        assert pixels.std() > 0.05
        assert len({tuple(colour) for colour in pixels.reshape(-1, 3)[::97]}) > 10
