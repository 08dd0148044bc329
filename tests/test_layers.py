"""The rules of structure in CONTRIBUTING.md, checked on the source of the package."""

import ast
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

PACKAGE = "skconvfilter"
ROOT = Path(__file__).resolve().parents[1]

# The layers that each layer may import.
CHAIN = ["estimators", "solvers", "initializers", "model", "kernels"]
MAY_IMPORT = {
    **{layer: set(CHAIN[i:]) for i, layer in enumerate(CHAIN)},
    "estimators": {*CHAIN, "diagnostics"},
    "diagnostics": {"diagnostics", "model", "kernels"},
    "plotting": {"plotting", "diagnostics", "model", "kernels"},
    "datasets": {"datasets", "model", "kernels"},
    "onnx": {"onnx", "estimators", "model", "kernels"},
}
# Modules beside the layers that any layer may import. They import only each other.
HELPERS = {"version"}

# All that a function may import: extras, and what is slow to load and seldom needed.
OPTIONAL = {
    "dask",
    "distributed",
    "matplotlib",
    "onnx",
    "pandas",
    "rich",
    "sklearn.datasets",
}

MAX_MODULE_LINES = 400
MAX_BODY_LINES = 60

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Module:
    name: str
    path: Path
    file: str
    text: str
    tree: ast.Module

    @property
    def is_package(self):
        return self.path.name == "__init__.py"

    @property
    def is_compiled(self):
        return self.path.suffix == ".pyx"


@dataclass(frozen=True)
class Import:
    """One imported name: ``from module import name``, or ``import module``."""

    module: str
    name: str | None
    line: int


def load(root):
    """All modules of the package in the folder `root`, by dotted name."""
    modules = {}
    for path in sorted((root / PACKAGE).rglob("*.py*")):
        if path.suffix not in {".py", ".pyx"}:
            continue
        relative = path.relative_to(root)
        parts = relative.with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        # Cython is not Python: a compiled module is known by its name only.
        tree = ast.parse("" if path.suffix == ".pyx" else text)
        modules[name] = Module(name, path, relative.as_posix(), text, tree)
    return modules


def imports(tree):
    """Absolute imports anywhere in the tree, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, None, node.lineno)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                yield Import(node.module, alias.name, node.lineno)


def own_imports(module):
    """Imports of the package's own modules."""
    for item in imports(module.tree):
        if item.module.partition(".")[0] == PACKAGE:
            yield item


def target(item, modules):
    """The module that an import names: ``from package import module`` is one too."""
    submodule = f"{item.module}.{item.name}"
    return submodule if submodule in modules else item.module


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


def imports_follow_the_layers(modules):
    for module in modules.values():
        parts = module.name.split(".")
        if len(parts) == 2 and parts[1] in HELPERS:
            allowed = HELPERS
        elif len(parts) == 1:
            continue
        elif parts[1] in MAY_IMPORT:
            allowed = MAY_IMPORT[parts[1]] | HELPERS
        else:
            yield f"{module.file}:1: {parts[1]} is not in the table of layers"
            continue
        for item in own_imports(module):
            name = target(item, modules)
            if name == PACKAGE or name.split(".")[1] not in allowed:
                yield f"{module.file}:{item.line}: {parts[1]} may not import {name}"


def imports_name_the_defining_module(modules):
    for module in modules.values():
        for item in own_imports(module):
            if item.name and target(item, modules) != item.module:
                continue
            source = modules.get(item.module)
            where = f"{module.file}:{item.line}:"
            if source is None:
                yield f"{where} there is no module {item.module}"
            elif source.is_package:
                yield f"{where} {item.module} is a package, not the defining module"
            elif item.name and not binds(source, item.name):
                yield f"{where} {item.name} is not defined in {item.module}"


def binds(module, name):
    """Whether a module binds the name itself, not by an import."""
    return module.is_compiled or any(
        (isinstance(node, (*FUNCTIONS, ast.ClassDef)) and node.name == name)
        or (
            isinstance(node, ast.Name)
            and isinstance(node.ctx, ast.Store)
            and node.id == name
        )
        for node in ast.walk(module.tree)
    )


def imports_are_absolute(modules):
    for module in modules.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and node.level > 0:
                yield f"{module.file}:{node.lineno}: relative import"


def imports_have_no_cycle(modules):
    graph = {
        module.name: {target(item, modules): item.line for item in own_imports(module)}
        for module in modules.values()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle = error.args[1][::-1]
        steps = [
            f"{modules[importer].file}:{graph[importer][imported]}: imports {imported}"
            for importer, imported in pairwise(cycle)
        ]
        yield "\n".join(steps)


def functions_import_only_optional_packages(modules):
    for module in modules.values():
        found = {
            (item.line, item.module)
            for function in functions(module.tree)
            for item in imports(function)
            if OPTIONAL.isdisjoint({item.module, item.module.partition(".")[0]})
        }
        for line, name in sorted(found):
            yield f"{module.file}:{line}: imports {name} inside a function"


def modules_are_short(modules):
    for module in modules.values():
        n_lines = len(module.text.splitlines())
        if n_lines > MAX_MODULE_LINES:
            yield f"{module.file}:{n_lines}: more than {MAX_MODULE_LINES} lines"


def functions_are_short(modules):
    for module in modules.values():
        for function in functions(module.tree):
            has_docstring = ast.get_docstring(function, clean=False) is not None
            body = function.body[has_docstring:]
            n_lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            if n_lines > MAX_BODY_LINES:
                yield (
                    f"{module.file}:{function.lineno}: the body of {function.name} has "
                    f"{n_lines} lines, more than {MAX_BODY_LINES}"
                )


RULES = [
    imports_follow_the_layers,
    imports_name_the_defining_module,
    imports_are_absolute,
    imports_have_no_cycle,
    functions_import_only_optional_packages,
    modules_are_short,
    functions_are_short,
]


@pytest.mark.parametrize("rule", RULES)
def test_package_keeps_the_rule(rule):
    modules = load(ROOT)
    assert PACKAGE in modules
    problems = list(rule(modules))
    assert not problems, "\n" + "\n".join(problems)


# For each rule, sources that break it in one place, and that place.
BREACHES = [
    (
        imports_follow_the_layers,
        {"model/a.py": "import skconvfilter.solvers.b"},
        "model/a.py:1",
    ),
    (
        imports_follow_the_layers,
        {"diagnostics/a.py": "from skconvfilter.solvers.b import f"},
        "diagnostics/a.py:1",
    ),
    (
        imports_follow_the_layers,
        {"model/a.py": "from skconvfilter import __version__"},
        "model/a.py:1",
    ),
    (imports_follow_the_layers, {"utils/a.py": ""}, "utils/a.py:1"),
    (imports_follow_the_layers, {"utils.py": ""}, "utils.py:1"),
    (
        imports_follow_the_layers,
        {"version.py": "import skconvfilter.model.a"},
        "version.py:1",
    ),
    (
        imports_name_the_defining_module,
        {"model/__init__.py": "", "solvers/a.py": "from skconvfilter.model import f"},
        "solvers/a.py:1",
    ),
    (
        imports_name_the_defining_module,
        {
            "model/a.py": "def f(): pass",
            "model/b.py": "from skconvfilter.model.a import f",
            "solvers/c.py": "\nfrom skconvfilter.model.b import f",
        },
        "solvers/c.py:2",
    ),
    (imports_are_absolute, {"model/a.py": "from . import b"}, "model/a.py:1"),
    (
        imports_have_no_cycle,
        {
            "model/a.py": "from skconvfilter.model.b import f",
            "model/b.py": "def f():\n    import skconvfilter.model.a",
        },
        "model/",
    ),
    (
        functions_import_only_optional_packages,
        {"model/a.py": "def f():\n    import dask\n    import scipy.linalg"},
        "model/a.py:3",
    ),
    (modules_are_short, {"model/a.py": "x = 1\n" * 401}, "model/a.py:401"),
    (
        functions_are_short,
        {"model/a.py": "def f():\n    '''Doc.'''\n" + "    x = 1\n" * 61},
        "model/a.py:1",
    ),
]


@pytest.mark.parametrize(("rule", "sources", "place"), BREACHES)
def test_rule_finds_a_breach(rule, sources, place, tmp_path):
    for file, text in sources.items():
        path = tmp_path / PACKAGE / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (problem,) = rule(load(tmp_path))
    assert problem.startswith(f"{PACKAGE}/{place}")
