"""Small files that are written whole or not at all, and read with errors a user can act on."""

import contextlib
import json
import os
import reprlib
import threading
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from halfnas.errors import FileError


def write_text(path: str | Path, text: str, *, parents: bool = True) -> Path:
    """Write `text` beside `path`, then rename: a reader never sees half a file.

    Args:
        path: the file.
        text: all of it.
        parents: make the folder that it is in, where there is none.

    Raises:
        FileError: it cannot be written; what was there is as it was.
    """
    path = Path(path)
    with replacing(path, parents=parents) as beside, beside.open("w", encoding="utf-8") as file:
        file.write(text)
    return path


@contextlib.contextmanager
def replacing(path: Path, *, parents: bool = False) -> Iterator[Path]:
    """Gives a place beside `path` to write to, which takes the place of `path` in the end.

    Raises:
        FileError: it cannot be written, or the folder is not there; nothing is left beside `path`.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        os.replace(beside, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, FileError):
            raise FileError(path, error.strerror or str(error)) from None
        raise


def overwrite_text(path: Path, text: str) -> None:
    """Write over a file in its place, which needs no more room on a full disk; a reader may see half of it."""
    with path.open("r+b") as file:
        file.write(text.encode())
        file.truncate()


def write_json(path: str | Path, content: Mapping[str, Any], *, parents: bool = True) -> Path:
    """Write a JSON object, see `write_text`; NaN and infinities are refused, since they are not JSON."""
    return write_text(path, json_text(content), parents=parents)


def json_text(content: Mapping[str, Any]) -> str:
    """A JSON object as it stands in a file."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: the file is absent, truncated, not JSON or not an object; the message names the file.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not complete JSON ({error}); was the run that wrote it interrupted?") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, found a {type(content).__name__}")
    return content


def entry(content: Mapping[str, Any], key: str, kind: Any, must: str, source: str, default: Any = None) -> Any:
    """A value of a JSON object.

    Args:
        content: the object.
        key: the key of the value.
        kind: the type that it must have, as pydantic takes one.
        must: what it must be or do, in words.
        source: where the object is from, for the message.
        default: the value where there is none.

    Raises:
        ValueError: it is of another type.
    """
    value = content.get(key, default)
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError:
        raise ValueError(f"{source}: `{key}` must {must}, got {reprlib.repr(value)}") from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
