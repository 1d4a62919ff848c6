"""The files of a run: each is written whole or not at all, and says what the run has come to."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from halfnas.runs.files import read_json, write_json, write_text

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
    """The rows of a history.csv; none where there is no file."""
    path = Path(path)
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _write_history(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_metrics(folder: Path) -> dict[str, float]:
    """The metrics.json of a run's folder; nothing where there is none."""
    path = folder / "metrics.json"
    return read_json(path) if path.exists() else {}


def mark_failed(path: str | Path, error: str) -> None:
    """Say for a run whose process is gone that it has failed; one that had written so itself is left as it is."""
    try:
        status = read_status(path)
    except ValueError:
        status = {"format": FORMAT, "stage": None, "stages_done": [], "overrides_hash": None}
    if status.get("state") != "failed":
        write_json(Path(path) / "status.json", status | {"state": "failed", "error": error})


def read_status(path: str | Path) -> dict[str, Any]:
    """The status.json of a run's folder."""
    return read_json(Path(path) / "status.json")
