"""The checkpoints of a stage: the last two, each written whole or not at all, and read back checked."""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import halfnas
from halfnas.errors import FileError, listed
from halfnas.runs.files import entry, replacing
from halfnas.runs.made_with import MadeWith, differences

FORMAT = 1
#: Where a checkpoint says what it is of.
HEADER = "halfnas"


class Damaged(ValueError):
    """A file that is no whole checkpoint: nothing can be had from it."""


@dataclass(frozen=True)
class Header:
    """What a checkpoint is of, beside the state itself.

    Attributes:
        stage: the stage.
        made_with: its settings, by full name.
        epochs: how many are behind it.
        seconds: wall time that they took.
        last: whether nothing is left to train. Such a one is no place to go on from: what a stage does after its last
            epoch, or logs in it, would be missing, so that the epoch before is.
    """

    stage: str
    made_with: MadeWith
    epochs: int = 0
    seconds: float = 0.0
    last: bool = False

    def to_content(self) -> dict[str, Any]:
        """The header as plain containers."""
        return {"format": FORMAT, "version": halfnas.__version__, **vars(self)}


def newest(folder: Path, stage: str) -> Path:
    """The last checkpoint of a stage."""
    return folder / f"{stage}.ckpt"


def previous(folder: Path, stage: str) -> Path:
    """The one before it."""
    return folder / f"{stage}-previous.ckpt"


@contextmanager
def next_checkpoint(folder: Path, stage: str, *, in_place: bool = False) -> Iterator[Path]:
    """Gives a place to write to; what is there in the end is the newest checkpoint, and the newest the previous one.

    Args:
        folder: that of the checkpoints.
        stage: what they are of.
        in_place: the newest one is lost instead, since the training has gone on from the previous one.

    Raises:
        FileError: it cannot be written; the last good ones are as they were.
    """
    path = newest(folder, stage)
    try:
        folder.mkdir(exist_ok=True)  # not its parents: a run's folder that was removed stays so
    except OSError as error:
        raise FileError(folder, error.strerror or str(error)) from None
    with replacing(path) as beside:
        yield beside
        if path.exists() and not in_place:
            os.replace(path, previous(folder, stage))


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a state of tensors and plain containers; what goes wrong is an OSError."""
    content = io.BytesIO()
    torch.save(state, content)
    path.write_bytes(content.getbuffer())


def remove_checkpoints(folder: Path, stage: str) -> None:
    """Take those of a stage away."""
    for path in (newest(folder, stage), previous(folder, stage)):
        path.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> tuple[Header, dict[str, Any]]:
    """The header and all of the content of a checkpoint.

    Raises:
        Damaged: it is no whole checkpoint; the message names the file, as that of the other error does.
        ValueError: it is of another version of halfnas.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch makes of half a file
        reason = (str(error).strip() or type(error).__name__).split("\n")[0][:150]
        raise Damaged(f"{path}: not a whole checkpoint ({reason})") from None
    header = content.get(HEADER) if isinstance(content, dict) else None
    if not isinstance(header, dict):
        raise ValueError(f"{path}: not a checkpoint of this version of halfnas")
    version = entry(header, "version", str, "be a version", str(path))
    if header.get("format") != FORMAT or version != halfnas.__version__:
        raise ValueError(f"{path}: written by halfnas {version}, and this is {halfnas.__version__}")
    return Header(**{name: header[name] for name in Header.__dataclass_fields__}), content


def check_made_with(path: Path, header: Header, made_with: MadeWith) -> None:
    """Raise ValueError where a checkpoint was written with other settings."""
    if different := differences(made_with, header.made_with):
        raise ValueError(f"{path}: written with other settings: {listed(different)}")
