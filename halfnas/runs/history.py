"""history.csv: a row a stage and epoch."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from halfnas.runs.files import MAX_DIGITS, write_text
from halfnas.runs.reading import in_short, quoted, read_text

FILE = "history.csv"


def append_history(path: str | Path, row: Mapping[str, Any]) -> None:
    """Add a row to a history.csv; columns that are new are added to all rows, empty."""
    write_history(Path(path), [*read_history(path), row])


def read_history(path: str | Path) -> list[dict[str, str]]:
    """The rows of a history.csv; none where there is no file.

    Raises:
        ValueError: it cannot be read, or is no table of stages, epochs and numbers; the message names the file.
    """
    if not os.path.lexists(path):
        return []
    text = read_text(path, "not complete CSV")
    try:
        return _rows(text)
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{in_short(path)}: not complete CSV ({error})") from None


def _rows(text: str) -> list[dict[str, str]]:
    if "\0" in text:
        raise ValueError("it has a NUL")
    lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
    columns = lines[0] if lines else []
    if not {"stage", "epoch"} <= set(columns) or len(set(columns)) < len(columns):
        raise ValueError(f"its columns must be stage, epoch and others, each once, got {quoted(columns)}")
    for number, line in enumerate(lines[1:], start=1):
        if len(line) != len(columns):
            raise ValueError(f"row {number} has {len(line)} of {len(columns)} columns")
        for column, value in zip(columns, line, strict=True):
            if not _fits(column, value):
                raise ValueError(f"row {number} has no number under {quoted(column)}, but {quoted(value)}")
    return [dict(zip(columns, line, strict=True)) for line in lines[1:]]


def _fits(column: str, value: str) -> bool:
    if column == "epoch":
        return value.isdecimal() and len(value) < MAX_DIGITS
    if "/" in column and value:
        try:
            float(value)
        except ValueError:
            return False
    return True


def write_history(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write all rows."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue(), parents=False)
