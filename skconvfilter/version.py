"""The version of the package, and where its documentation is."""

from importlib.metadata import PackageNotFoundError, metadata

# A plain literal, so that setuptools reads it without importing the package.
__version__ = "0.1.0"


def documentation_url() -> str:
    """Address of the documentation that pyproject.toml names; "" if not installed."""
    try:
        urls = metadata("skconvfilter").get_all("Project-URL") or []
    except PackageNotFoundError:
        return ""
    named = dict(url.split(", ", 1) for url in urls)
    return named.get("Documentation", "")
