"""How objects that hold results show themselves in an interpreter and in a notebook."""

import inspect
import textwrap
from html import escape
from typing import Any

import numpy as np

_REPR_WIDTH = 200
# Arrays up to this size are shown, larger ones by their shape.
_MAX_SHOWN = 4


class Summary:
    """A short ``repr`` and a table in notebooks, of the parameters of the constructor."""

    def _rows(self) -> list[tuple[str, ...]]:
        """Rows of the table."""
        names = inspect.signature(type(self)).parameters
        return [(name, _brief(getattr(self, name))) for name in names]

    def __repr__(self) -> str:
        parts = ", ".join("=".join(row) for row in self._rows())
        text = f"{type(self).__name__}({parts})"
        return textwrap.shorten(text, _REPR_WIDTH, placeholder=" ...)")

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._rows()
        )
        name = type(self).__name__
        return f"<table><caption>{name}</caption><tbody>{rows}</tbody></table>"


def _brief(value: Any) -> str:
    if isinstance(value, Summary):
        return type(value).__name__
    if isinstance(value, dict):
        parts = (f"{name}: {_brief(entry)}" for name, entry in value.items())
        return f"{{{', '.join(parts)}}}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, np.ndarray):
        if value.size > _MAX_SHOWN:
            return f"array of shape {value.shape}"
        return np.array2string(value, precision=4, separator=", ")
    if isinstance(value, list | tuple):
        if len(value) > _MAX_SHOWN:
            return f"{len(value)} entries"
        return f"[{', '.join(_brief(entry) for entry in value)}]"
    return textwrap.shorten(repr(value), _REPR_WIDTH)
