"""The files of a run: each is written whole or not at all, and says what the run has come to."""

import contextlib
import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import StrictFloat, StrictInt

from halfnas.errors import FileError
from halfnas.runs import history
from halfnas.runs.files import entry, read_json, write_json, write_text
from halfnas.runs.made_with import MadeWith, Saved, digest, read_made_with, write_made_with
from halfnas.runs.reading import in_short
from halfnas.runs.status import FORMAT, read_status, write_status

log = logging.getLogger(__name__)

#: Where the settings of a run are, as Hydra has composed them.
SETTINGS = ".hydra"


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
        self._taken_over = False

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
        path = self.path / history.FILE
        rows, made_with = history.read_history(path), read_made_with(self.path)
        self.metrics = {k: v for k, v in read_metrics(self.path).items() if k.split("/")[0] not in stages}
        self._taken_over = True
        if not self.writes:
            return
        for name in files:
            self.file(name).unlink(missing_ok=True)
        if not made_with.keys().isdisjoint(stages):
            write_made_with(self.path, {k: v for k, v in made_with.items() if k not in stages})
        metrics = self.path / "metrics.json"
        write_json(metrics, self.metrics) if self.metrics else metrics.unlink(missing_ok=True)
        rows = [r for r in rows if r["stage"] not in stages or int(r["epoch"]) < epochs.get(r["stage"], 0)]
        history.write_history(path, rows) if rows else path.unlink(missing_ok=True)

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
        self._stage, self._taken_over = stage, True
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

    def done(self, made_with: MadeWith, left: Saved | None = None, name: str | None = None) -> None:
        """Say that the stage is done, all of its files written; comes after `end`.

        Args:
            made_with: its settings.
            left: the mask or genotype that it leaves.
            name: which of them that is.
        """
        assert self._stage is not None, "a stage ends after it has begun"
        record = dict(made_with) if left is None or name is None else {**made_with, name: digest(left)}
        if self.writes:
            write_made_with(self.path, read_made_with(self.path) | {self._stage: record})
        self._done.append(self._stage)
        self._write_status("running")

    def finish(self) -> None:
        """Say that the run is done."""
        self._write_status("done")

    def fail(self, error: BaseException) -> None:
        """Say that the run has failed, and why, as far as there is still something to write to.

        One that fails before it has touched what an earlier run left, as on a mistake in its settings, leaves a good
        end of that one as it stands, and what it says of its stages.
        """
        text = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
        if not self._taken_over:
            with contextlib.suppress(ValueError):
                before = read_status(self.path)
                if before["state"] == "done":
                    return
                self._stage, self._done = before["stage"], before["stages_done"]
        try:
            if self._identity is None:
                self.open()
            self._write_status("failed", text)
        except FileError as problem:
            if str(problem) != str(error):
                log.error(str(problem))

    def note(self, settings: Mapping[str, str]) -> None:
        """Write the settings of the run.

        Args:
            settings: file -> its text.
        """
        if self.writes:
            for name, text in settings.items():
                write_text(self.path / SETTINGS / name, text)

    def sweep_out(self) -> None:
        """Take away what was half written when an earlier process was killed."""
        for folder in (self.path, self.checkpoints):
            for path in folder.glob(".*.tmp"):
                path.unlink(missing_ok=True)

    def _write_status(self, state: str, error: str | None = None) -> None:
        if not self.writes:
            return
        self.check()
        status = {"format": FORMAT, "stage": self._stage, "state": state, "stages_done": self._done, "error": error}
        write_status(self.path, status | {"overrides_hash": self._overrides_hash})


def _identity_of(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


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
