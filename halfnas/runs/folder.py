"""The files of a run: each is written whole or not at all, and says what the run has come to."""

import contextlib
import csv
import io
import logging
import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import StrictFloat, StrictInt, StrictStr

from halfnas.errors import FileError
from halfnas.runs.files import MAX_DIGITS, entry, json_text, overwrite_text, read_json, write_json, write_text
from halfnas.runs.made_with import MadeWith, Saved, read_made_with, write_made_with
from halfnas.runs.reading import in_short, quoted, read_text

log = logging.getLogger(__name__)

FORMAT = 1
HISTORY = "history.csv"


class RunFolder:
    """Hydra's output folder of one job.

    Args:
        path: the folder.
        overrides_hash: tells the job's overrides from another's.
        writes: False for a process of a distributed run that reads along, and leaves the writing to the first one.
    """

    def __init__(self, path: str | Path, overrides_hash: str, *, writes: bool = True) -> None:
        self.path = Path(path)
        self.figures = self.path / "figures"
        self.checkpoints = self.path / "checkpoints"
        self.writes = writes
        self.metrics: dict[str, float] = {}
        self._overrides_hash = overrides_hash
        self._stage: str | None = None
        self._done: list[str] = []
        self._identity: tuple[int, int] | None = None

    def file(self, name: str) -> Path:
        """The file of a mask or genotype."""
        return self.path / f"{name}.json"

    def open(self) -> None:
        """Make the folder where there is none, and remember which one it is.

        Raises:
            FileError: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._identity = _identity_of(self.path)
        except OSError as error:
            raise FileError(self.path, error.strerror or str(error)) from None

    def check(self) -> None:
        """Raise FileError where the folder is gone since it was opened, or another one in its place."""
        try:
            same = self._identity is None or _identity_of(self.path) == self._identity
        except OSError:
            same = False
        if not same:
            raise FileError(self.path, "the folder was removed while the run went on; what was in it is lost")

    def clear(self, stages: Sequence[str], files: Sequence[str], epochs: Mapping[str, int]) -> None:
        """Take away what an earlier run has left of stages.

        Args:
            stages: their names.
            files: the files that they leave, by name.
            epochs: stage -> how many epochs of its history stay, since it goes on from there; 0 for others.

        Raises:
            ValueError: a file of other stages cannot be read; nothing is taken away.
        """
        rows, made_with = read_history(self.path / HISTORY), read_made_with(self.path)
        self.metrics = {k: v for k, v in read_metrics(self.path).items() if k.split("/")[0] not in stages}
        if not self.writes:
            return
        for name in files:
            self.file(name).unlink(missing_ok=True)
        if not made_with.keys().isdisjoint(stages):
            write_made_with(self.path, {k: v for k, v in made_with.items() if k not in stages})
        path = self.path / "metrics.json"
        write_json(path, self.metrics) if self.metrics else path.unlink(missing_ok=True)
        path = self.path / HISTORY
        rows = [r for r in rows if r["stage"] not in stages or int(r["epoch"]) < epochs.get(r["stage"], 0)]
        _write_history(path, rows) if rows else path.unlink(missing_ok=True)

    def keep(self, name: str, product: Saved) -> Path:
        """Save a mask or genotype; returns its file."""
        file = self.file(name)
        if self.writes:
            self.check()
            product.save(file)
        return file

    def finished(self, stages: Sequence[str]) -> None:
        """Say that stages were done before this run began."""
        self._done = list(stages)
        self._stage = self._done[-1] if self._done else None

    def begin(self, stage: str) -> None:
        """Say that a stage is running."""
        if self._identity is None:
            self.open()
        self._stage = stage
        self._write_status("running")

    def end(self, metrics: Mapping[str, float]) -> None:
        """Write down what the stage has measured.

        Raises:
            ValueError: a number is not finite, which JSON has no word for; nothing is written.
        """
        path = self.path / "metrics.json"
        for key, value in metrics.items():
            if not math.isfinite(value):
                raise ValueError(f"{path}: `{key}` is {value}, which is no number of JSON")
        self.metrics |= metrics
        self.check()
        if self.writes:
            write_json(path, self.metrics)

    def done(self, made_with: MadeWith) -> None:
        """Say that the stage is done, all of its files written, and with which settings; comes after `end`."""
        assert self._stage is not None, "a stage ends after it has begun"
        self._done.append(self._stage)
        if self.writes:
            write_made_with(self.path, read_made_with(self.path) | {self._stage: dict(made_with)})
        self._write_status("running")

    def finish(self) -> None:
        """Say that the run is done."""
        self._write_status("done")

    def fail(self, error: BaseException) -> None:
        """Say that the run has failed, and why, as far as there is still something to write to."""
        interrupted = isinstance(error, KeyboardInterrupt)
        text = "interrupted" if interrupted else str(error).removeprefix("halfnas: ") or type(error).__name__
        try:
            if self._identity is None:
                self.open()
            self._write_status("failed", text)
        except FileError as problem:
            if str(problem) != str(error):
                log.error(str(problem))

    def _write_status(self, state: str, error: str | None = None) -> None:
        if not self.writes:
            return
        self.check()
        status: dict[str, Any] = {
            "format": FORMAT,
            "stage": self._stage,
            "state": state,
            "stages_done": self._done,
            "error": error,
            "overrides_hash": self._overrides_hash,
        }
        write_status(self.path, status)


def write_status(folder: Path, status: Mapping[str, Any]) -> None:
    """Write a status.json; on a full disk over the one that is there, so that it does not say what is not so.

    Raises:
        FileError: neither can be done.
    """
    path = folder / "status.json"
    try:
        write_json(path, status, parents=False)
    except FileError:
        try:
            overwrite_text(path, json_text(status))
        except OSError:
            pass
        else:
            return
        raise


def _identity_of(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


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
    write_text(path, text.getvalue(), parents=False)


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
    """Say for a run whose process is gone that it has failed, as far as there is still a folder to say it in.

    What a run has written itself of how it ended is left as it is.
    """
    try:
        status = read_status(path)
    except ValueError:
        status = {"format": FORMAT, "stage": None, "stages_done": [], "overrides_hash": None}
    if status.get("state") not in ("done", "failed"):
        with contextlib.suppress(FileError):
            write_status(Path(path), status | {"state": "failed", "error": error})


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
