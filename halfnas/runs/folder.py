"""The files of a run: each is written whole or not at all, and says what the run has come to."""

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import StrictFloat, StrictInt, StrictStr

from halfnas.runs.files import MAX_DIGITS, entry, read_json, write_json, write_text
from halfnas.runs.reading import in_short, quoted, read_text

FORMAT = 1


class RunFolder:
    """Hydra's output folder of one job.

    Args:
        path: the folder.
        overrides_hash: tells the job's overrides from another's.
    """

    def __init__(self, path: str | Path, overrides_hash: str) -> None:
        self.path = Path(path)
        self.figures = self.path / "figures"
        self.metrics: dict[str, float] = {}
        self._overrides_hash = overrides_hash
        self._stage: str | None = None
        self._done: list[str] = []

    def file(self, name: str) -> Path:
        """The file of a mask or genotype."""
        return self.path / f"{name}.json"

    def clear(self, stages: Sequence[str], files: Sequence[str]) -> None:
        """Take away what an earlier run has left of stages.

        Args:
            stages: their names.
            files: the files that they leave, by name.
        """
        for name in files:
            self.file(name).unlink(missing_ok=True)
        kept = {key: value for key, value in read_metrics(self.path).items() if key.split("/")[0] not in stages}
        self.metrics = kept
        write_json(self.path / "metrics.json", kept) if kept else (self.path / "metrics.json").unlink(missing_ok=True)
        rows = [row for row in read_history(self.path / "history.csv") if row["stage"] not in stages]
        if rows:
            _write_history(self.path / "history.csv", rows)
        else:
            (self.path / "history.csv").unlink(missing_ok=True)

    def begin(self, stage: str) -> None:
        """Say that a stage is running."""
        self._stage = stage
        self._write_status("running")

    def end(self, metrics: Mapping[str, float]) -> None:
        """Say that the stage is done, and what it measured.

        Raises:
            ValueError: a number is not finite, which JSON has no word for; nothing is written.
        """
        assert self._stage is not None, "a stage ends after it has begun"
        path = self.path / "metrics.json"
        for key, value in metrics.items():
            if not math.isfinite(value):
                raise ValueError(f"{path}: `{key}` is {value}, which is no number of JSON")
        self.metrics |= metrics
        write_json(path, self.metrics)
        self._done.append(self._stage)

    def finish(self) -> None:
        """Say that the run is done."""
        self._write_status("done")

    def fail(self, error: BaseException) -> None:
        """Say that the run has failed, and why."""
        interrupted = isinstance(error, KeyboardInterrupt)
        self._write_status("failed", "interrupted" if interrupted else str(error) or type(error).__name__)

    def _write_status(self, state: str, error: str | None = None) -> None:
        status: dict[str, Any] = {
            "format": FORMAT,
            "stage": self._stage,
            "state": state,
            "stages_done": self._done,
            "error": error,
            "overrides_hash": self._overrides_hash,
        }
        write_json(self.path / "status.json", status)


def append_history(path: str | Path, row: Mapping[str, Any]) -> None:
    """Add a row to a history.csv; columns that are new are added to all rows, empty."""
    _write_history(Path(path), [*read_history(path), row])


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


def _write_history(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_metrics(folder: Path) -> dict[str, float]:
    """The metrics.json of a run's folder; nothing where there is none.

    Raises:
        ValueError: it cannot be read, or has what is no number; the message names the file.
    """
    path = folder / "metrics.json"
    content = read_json(path) if os.path.lexists(path) else {}
    for key in content:
        entry(content, key, StrictInt | StrictFloat, "be a number", in_short(path))
    return content


def mark_failed(path: str | Path, error: str) -> None:
    """Say for a run whose process is gone that it has failed; one that had written so itself is left as it is."""
    try:
        status = read_status(path)
    except ValueError:
        status = {"format": FORMAT, "stage": None, "stages_done": [], "overrides_hash": None}
    if status.get("state") != "failed":
        write_json(Path(path) / "status.json", status | {"state": "failed", "error": error})


def read_status(path: str | Path) -> dict[str, Any]:
    """The status.json of a run's folder, null where it says nothing.

    Raises:
        ValueError: it cannot be read, or says what no run says; the message names the file.
    """
    file = Path(path) / "status.json"
    content = read_json(file)
    read = partial(entry, content, source=in_short(file))
    read("format", Literal[1], f"be {FORMAT}")
    return {
        "format": FORMAT,
        "stage": read("stage", StrictStr | None, "be a name or null"),
        "state": read("state", Literal["running", "done", "failed"], "be running, done or failed"),
        "stages_done": read("stages_done", list[StrictStr], "be a list of names", default=[]),
        "error": read("error", StrictStr | None, "be a text or null"),
        "overrides_hash": read("overrides_hash", StrictStr | None, "be a text or null"),
    }
