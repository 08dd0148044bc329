"""Settings of the documentation, built by ``sphinx-build -W docs docs/_build/html``.

Neither the build nor the pages need a network: other projects' names are looked up in
``inventories``, and MathJax is copied from a Python package.
"""

import sys
import tomllib
from importlib.metadata import files
from pathlib import Path

import matplotlib

import skconvfilter

DOCS = Path(__file__).parent
# For gallery.py
sys.path.insert(0, str(DOCS))
# The only addresses of the project are there.
URLS = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]["urls"]

# The examples run without a screen.
matplotlib.use("Agg")

project = "skconvfilter"
author = "skconvfilter developers"
project_copyright = author
version = release = skconvfilter.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinxcontrib.bibtex",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "inventories"]
# Every reference to a name must find it.
nitpicky = True

# Pages
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
# Links within a page, as they work on the pages of a repository.
myst_heading_anchors = 3
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"
bibtex_reference_style = "author_year"
# Prompts and what is printed are not copied.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

# API
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
toc_object_entries_show_parents = "hide"

# Other projects, and those of their names that these pages refer to
_PROJECTS = {
    "joblib": "https://joblib.readthedocs.io/en/stable/",
    "matplotlib": "https://matplotlib.org/stable/",
    "numpy": "https://numpy.org/doc/stable/",
    "sklearn": "https://scikit-learn.org/stable/",
    "torch": "https://docs.pytorch.org/docs/stable/",
}
intersphinx_mapping = {
    name: (address, f"inventories/{name}.txt") for name, address in _PROJECTS.items()
}

# Gallery
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "doc_module": ("skconvfilter",),
    "reference_url": {"skconvfilter": None},
    "backreferences_dir": "generated/backreferences",
    "within_subsection_order": "gallery.order",
    "image_scrapers": "gallery.scrape",
    "image_srcset": ["2x"],
    "show_memory": False,
    # As many examples at once as sphinx -j says.
    "parallel": True,
    # Its page loads scripts from elsewhere.
    "write_computation_times": False,
    "download_all_examples": False,
}

# Formulas: a single file, whose glyphs are drawings, so that it loads no fonts.
(mathjax,) = (path for path in files("sphinx-mathjax-offline") if path.name == "tex-svg.js")
mathjax_path = mathjax.name

# Site
html_theme = "pydata_sphinx_theme"
html_title = "skconvfilter"
html_static_path = ["_static", str(mathjax.locate())]
html_css_files = ["skconvfilter.css"]
html_favicon = "_static/logo.svg"
html_show_sourcelink = False
html_theme_options = {
    "logo": {
        "text": "skconvfilter",
        "image_light": "_static/logo.svg",
        "image_dark": "_static/logo.svg",
    },
    "icon_links": [
        {"name": "Repository", "url": URLS["Repository"], "icon": "fa-brands fa-github"}
    ],
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_prev_next": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["sphinx-version"],
}
# Pages that stand alone have no neighbours to list.
_ALONE = ("install", "theory", "benchmarks", "development", "changelog")
html_sidebars = {name: [] for name in _ALONE}
