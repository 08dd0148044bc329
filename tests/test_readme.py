"""The commands, the code and the pictures of the README."""

import doctest
import os
import runpy
from pathlib import Path

import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"


def test_the_code_of_the_readme_runs():
    failures, run = doctest.testfile(str(README), module_relative=False)
    assert run > 5
    assert failures == 0


def test_the_commands_and_pictures_of_the_readme_exist():
    text = README.read_text()
    assert "examples/plot_quickstart.py" in text
    assert (
        '.venv/bin/pip install -e ".[test]" && .venv/bin/python -m pytest -n auto' in text
    )
    pictures = [part.split(")")[0] for part in text.split("](")[1:]]
    assert pictures
    assert all(os.path.exists(ROOT / picture) for picture in pictures)


def test_the_quick_start_example_saves_its_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    try:
        runpy.run_path(str(ROOT / "examples" / "plot_quickstart.py"), run_name="__main__")
    finally:
        plt.close("all")
    pixels = plt.imread(tmp_path / "plot_quickstart.png")[..., :3]
    assert pixels.std() > 0.05
