"""The commands, the code and the pictures of the README."""

import re
import runpy
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.metrics import r2_score

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"


def test_the_code_of_the_readme_runs():
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names = {}
    exec(code, names)
    assert names["pattern"].shape == (3, 3)
    assert names["where"].shape == (len(names["X"]), 6, 6)
    assert r2_score(names["y"], names["predicted"]) > 0.999
    assert len(list(filter(None, code.splitlines()))) == 6


def test_the_commands_and_links_of_the_readme_exist():
    text = README.read_text()
    assert ".venv/bin/python examples/plot_quickstart.py" in text
    assert (
        '.venv/bin/pip install -e ".[test]" && .venv/bin/python -m pytest -n auto' in text
    )
    links = re.findall(r"\]\(([^)]+)\)", text)
    relative = [link for link in links if not link.startswith("https://")]
    assert len(relative) > 5
    assert all((ROOT / link).exists() for link in relative)


def test_the_quick_start_example_saves_its_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)
    try:
        runpy.run_path(str(ROOT / "examples" / "plot_quickstart.py"), run_name="__main__")
    finally:
        plt.close("all")
    assert "saved in this folder as plot_quickstart.png" in capsys.readouterr().out
    pixels = plt.imread(tmp_path / "plot_quickstart.png")[..., :3]
    assert pixels.std() > 0.05
