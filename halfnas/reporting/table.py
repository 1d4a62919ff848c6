"""Tables that go to the screen, to a CSV file and to Markdown."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from rich.markup import escape
from rich.table import Table as RichTable

from halfnas.runs.files import write_text

Cell = str | float | int | None


@dataclass(frozen=True)
class Table:
    """Rows under named columns, for the screen and for files.

    Attributes:
        formats: how numbers of a column are shown, such as ".2f"; the CSV file has all digits.
    """

    title: str
    rows: Sequence[Mapping[str, Cell]]
    formats: Mapping[str, str]

    @property
    def columns(self) -> list[str]:
        """The columns in the order in which they first appear in a row."""
        return list(dict.fromkeys(column for row in self.rows for column in row))

    def write_csv(self, path: Path) -> Path:
        """Write all digits to a CSV file, nothing where there is no value; returns its path."""
        frame = pd.DataFrame(self.rows, columns=self.columns, dtype=object)
        return write_text(path, frame.to_csv(index=False, lineterminator="\n"))

    def markdown(self) -> str:
        """Give the table as Markdown, under a heading."""
        cells = [[_plain(cell) for cell in line] for line in [self.columns, *self._cells()]]
        lines = [cells[0], ["---"] * len(self.columns), *cells[1:]]
        return f"### {_plain(self.title)}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"

    def rich(self) -> RichTable:
        """Give the table for the terminal, the first column on the left and the others on the right."""
        table = RichTable(title=escape(self.title))
        for number, column in enumerate(self.columns):
            table.add_column(escape(column), justify="left" if number == 0 else "right")
        for cells in self._cells():
            table.add_row(*map(escape, cells))
        return table

    def _cells(self) -> list[list[str]]:
        return [[self._text(column, row.get(column)) for column in self.columns] for row in self.rows]

    def _text(self, column: str, value: Cell) -> str:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return "-"
        return value if isinstance(value, str) else format(value, self.formats.get(column, ""))


def _plain(text: str) -> str:
    """Give a text without what ends a cell, or is taken for HTML."""
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
