"""status.json: what a run has come to."""

import contextlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import StrictStr

from halfnas.errors import FileError
from halfnas.runs.files import entry, json_text, overwrite_text, read_json, write_json
from halfnas.runs.reading import in_short

FORMAT = 1
FILE = "status.json"


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


def is_done(path: str | Path, overrides_hash: str) -> bool:
    """Whether the run of these overrides is done in a folder."""
    try:
        status = read_status(path)
    except ValueError:
        return False
    return bool(status["state"] == "done" and status["overrides_hash"] == overrides_hash)


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
