"""Docstrings of all public names: complete, in numpydoc's format, on a page of the API."""

import doctest
import inspect
import re
import tomllib
from dataclasses import fields, is_dataclass
from itertools import chain
from pathlib import Path

import pandas as pd
import pytest
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate

import skconvfilter
from skconvfilter import (
    ConvFeatureExtractor,
    ConvFilterBankRegressor,
    ConvPatchExtractor,
    ConvReLUFilterRegressor,
    datasets,
    diagnostics,
    onnx,
    plotting,
)

ROOT = Path(__file__).resolve().parents[1]
MODULES = [skconvfilter, datasets, diagnostics, onnx, plotting]
# Their examples need a file or an optional package.
NEEDS_MORE = {"load_mnist", "register_converters", "to_onnx"}
# Nothing else in the package is related to it.
ALONE = {"show_versions"}


def public_names():
    """Classes and functions by name."""
    return {
        f"{module.__name__}.{name}": getattr(module, name)
        for module in MODULES
        for name in module.__all__
        if not inspect.ismodule(getattr(module, name))
    }


def own_methods(cls):
    """Public methods and properties by name, without those that scikit-learn defines."""
    for name in dir(cls):
        owner = next(base for base in cls.__mro__ if name in vars(base))
        own = owner.__module__.partition(".")[0] == "skconvfilter"
        # scikit-learn adds the methods of metadata routing to the class itself.
        if own and not name.startswith("_") and not name.endswith("_request"):
            value = getattr(cls, name)
            if callable(value) or isinstance(value, property):
                yield name, value


PUBLIC = public_names()
METHODS = {
    f"{path}.{name}": method
    for path, value in PUBLIC.items()
    if inspect.isclass(value)
    for name, method in own_methods(value)
}
# What functions return.
RESULTS = {path: value for path, value in PUBLIC.items() if is_dataclass(value)}
SHOWN = {path: value for path, value in PUBLIC.items() if path not in RESULTS}


def left_out():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    checks = tomllib.loads(text)["tool"]["numpydoc_validation"]["checks"]
    return {check for check in checks if check != "all"}


LEFT_OUT = left_out()


def documented(value, section):
    """Names in a section of a docstring, where one entry may have several."""
    entries = get_doc_object(value)[section]
    return list(chain.from_iterable(entry.name.split(", ") for entry in entries))


def short(path):
    return path.rpartition(".")[2]


@pytest.mark.parametrize("path", [*PUBLIC, *METHODS])
def test_docstring_is_valid(path):
    value = (PUBLIC | METHODS)[path]
    errors = validate(get_doc_object(value))["errors"]
    # The fields of a result are its attributes.
    ignored = LEFT_OUT | {"PR01"} if path in RESULTS else LEFT_OUT
    assert [error for error in errors if error[0] not in ignored] == []


@pytest.mark.parametrize("path", SHOWN)
def test_an_example_runs_and_uses_the_name(path):
    examples = doctest.DocTestParser().get_examples(SHOWN[path].__doc__)
    runs = [
        example.source
        for example in examples
        if short(path) in NEEDS_MORE or not example.options.get(doctest.SKIP)
    ]
    assert any(re.search(rf"\b{short(path)}\b", source) for source in runs)


@pytest.mark.parametrize("path", [path for path in SHOWN if short(path) not in ALONE])
def test_see_also_leads_on(path):
    assert get_doc_object(SHOWN[path])["See Also"]


@pytest.mark.parametrize("path", RESULTS)
def test_result_documents_its_fields_and_names_its_function(path):
    result = RESULTS[path]
    names = [field.name for field in fields(result)]
    assert sorted(documented(result, "Attributes")) == sorted(names)
    assert all(entry.desc for entry in get_doc_object(result)["Attributes"])
    functions = re.findall(r":func:`(\w+)`", result.__doc__)
    assert functions
    assert all(inspect.isfunction(getattr(diagnostics, name)) for name in functions)


@pytest.mark.parametrize(
    "estimator",
    [
        # With early stopping, a fit has all attributes.
        ConvReLUFilterRegressor(3, n_init=2, early_stopping=True, random_state=0),
        ConvFilterBankRegressor(
            1, kernel_size=3, init="random", early_stopping=True, random_state=0
        ),
        ConvPatchExtractor(3),
        ConvFeatureExtractor(ConvReLUFilterRegressor(3, n_init=2, random_state=0)),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_fitted_attributes_are_documented(estimator):
    window = getattr(estimator, "estimator", estimator)
    X, y = datasets.make_filter_regression(100, window, random_state=0)
    # Named features set feature_names_in_.
    estimator.fit(pd.DataFrame(X).add_prefix("x"), y)
    fitted = {
        name for name in vars(estimator) if name.endswith("_") and not name.startswith("_")
    }
    # Only samples that are not flat have a shape.
    assert set(documented(type(estimator), "Attributes")) - {"input_shape_"} == fitted


def names_on_pages():
    """Names in the tables of the pages of the API, with their modules."""
    docs = ROOT / "docs"
    for page in chain(docs.glob("api.*"), docs.glob("api/*")):
        module = None
        for line in page.read_text(encoding="utf-8").splitlines():
            if found := re.search(r"currentmodule:: ([\w.]+)", line):
                module = found[1]
            elif found := re.fullmatch(r"\s+(\w+)", line):
                yield f"{module}.{found[1]}"


def test_pages_of_the_api_list_every_name_once():
    assert sorted(names_on_pages()) == sorted(PUBLIC)
