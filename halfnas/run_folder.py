"""The files of a run: each is written whole or not at all, and says what the run has come to."""

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from halfnas.files import read_json, write_json, write_text

FORMAT = 1


class RunFolder:
    """Hydra's output folder of one job.

    Args:
        path: the folder.
        overrides_hash: tells the job's overrides from another's.
    """

    def __init__(self, path: str | Path, overrides_hash: str) -> None:
        self.path = Path(path)
        self.mask = self.path / "mask.json"
        self.genotype = self.path / "genotype.json"
        self.figures = self.path / "figures"
        self.metrics: dict[str, float] = {}
        self._overrides_hash = overrides_hash
        self._stage: str | None = None
        self._done: list[str] = []

    def begin(self, stage: str) -> None:
        """Say that a stage is running."""
        self._stage = stage
        self._write_status("running")

    def end(self, metrics: Mapping[str, float]) -> None:
        """Say that the stage is done, and what it measured."""
        assert self._stage is not None, "a stage ends after it has begun"
        self.metrics |= {key: value for key, value in metrics.items() if math.isfinite(value)}
        write_json(self.path / "metrics.json", self.metrics)
        self._done.append(self._stage)

    def finish(self) -> None:
        """Say that the run is done."""
        self._write_status("done")

    def fail(self, error: BaseException) -> None:
        """Say that the run has failed, and why."""
        message = str(error) or type(error).__name__
        self._write_status("failed", message)

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
    path = Path(path)
    rows: list[Mapping[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    rows.append(row)
    columns = list(dict.fromkeys(column for r in rows for column in r))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_status(path: str | Path) -> dict[str, Any]:
    """The status.json of a run's folder."""
    return read_json(Path(path) / "status.json")
