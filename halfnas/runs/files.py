"""Small files that are written whole or not at all, and read with errors a user can act on."""

import contextlib
import json
import math
import os
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from halfnas.errors import FileError
from halfnas.runs.reading import MAX_SHOWN, in_short, quoted, read_text

#: An integer with more, its sign among them, has not 64 bits; a very long one is not even converted.
MAX_DIGITS = 20


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
        ValueError: the file is absent, no regular file, truncated, not JSON or not an object, or has what cannot be
            written again: a number that is not finite or an integer beyond 64 bits, a lone surrogate, or a key twice.
            The message is a line that names the file.
    """
    text, name = read_text(path, "not complete JSON"), in_short(path)
    try:
        content = json.loads(
            text, parse_int=_integer, parse_float=_finite, parse_constant=_finite, object_pairs_hook=_object
        )
        json.dumps(content, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError(f"{name}: not JSON of ours (nested too deep)") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{name}: not complete JSON ({error}); was the run that wrote it interrupted?") from None
    except UnicodeEncodeError as error:
        raise ValueError(f"{name}: not JSON of ours ({error.object[error.start]!a} is no character)") from None
    except ValueError as error:
        raise ValueError(f"{name}: not JSON of ours ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{name}: expected a JSON object, found a {type(content).__name__}")
    return content


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS or not -(2**63) <= int(digits) < 2**63:
        raise ValueError(f"{quoted(digits)} is no integer of 64 bits")
    return int(digits)


def _finite(number: str) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError(f"{quoted(number)} is no finite number")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        [(key, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"{quoted(key)} is in one object twice")
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
        raise ValueError(f"{source}: `{in_short(key, MAX_SHOWN)}` must {must}, got {quoted(value)}") from None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
