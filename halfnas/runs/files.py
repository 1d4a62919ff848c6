"""Small files that are written whole or not at all, and read with errors a user can act on."""

import json
import os
import reprlib
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError


def write_text(path: str | Path, text: str) -> Path:
    """Write `text` beside `path`, then rename: a reader never sees half a file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        # mkstemp gives 0600; a run's files are as readable as any other file of the user's.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(beside, 0o666 & ~umask)
        os.replace(beside, path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    return path


def write_json(path: str | Path, content: Mapping[str, Any]) -> Path:
    """Write a JSON object; NaN and infinities are refused, since they are not JSON."""
    return write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


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
