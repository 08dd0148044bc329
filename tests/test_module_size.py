"""No module has more than 400 lines of code."""

import ast
import io
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 400
NOT_CODE = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def count_code_lines(source):
    """Lines of a source without docstrings, comments and blank lines."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NOT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            lines.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


@pytest.mark.parametrize("folder", ["skconvfilter", "tests", "examples", "benchmarks"])
def test_modules_have_at_most_400_lines_of_code(folder):
    sources = {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert sources
    # Most are short enough with all that is not counted.
    long = [path for path, text in sources.items() if text.count("\n") > MAX_LINES]
    sizes = {path: count_code_lines(sources[path]) for path in long}
    assert {path: size for path, size in sizes.items() if size > MAX_LINES} == {}


def test_docstrings_comments_and_blank_lines_are_not_counted():
    assert count_code_lines('"""Doc.\n\nMore."""\n\nx = """\n\n"""  # why\n# so\n') == 3
