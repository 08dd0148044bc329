"""Tables of estimates, as text and in notebooks."""

from html import escape
from typing import NamedTuple


class Table(NamedTuple):
    """Facts about a fit, a row for every parameter, and notes."""

    facts: list[tuple[str, str]]
    columns: list[str]
    rows: list[list[str]]
    notes: list[str]

    def text(self) -> str:
        """The table as text."""
        cells = [self.columns, *self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.columns))]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        lines = []
        for row in cells:
            first = row[0].ljust(widths[0])
            rest = [c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)]
            lines.append("  ".join([first, *rest]))
        facts = [f"{name}: {value}" for name, value in self.facts]
        return "\n".join([*facts, rule, lines[0], rule, *lines[1:], rule, *self.notes])

    def html(self) -> str:
        """The table as HTML."""
        facts = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
            for name, value in self.facts
        )
        titles = "".join(f"<th>{escape(name)}</th>" for name in self.columns)
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.notes)
        return f"<table>{facts}</table><table><tr>{titles}</tr>{rows}</table>{notes}"
