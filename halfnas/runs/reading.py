"""Files that anybody may have damaged: read without waiting or filling the memory, with errors of one short line."""

import os
import reprlib
import stat
from pathlib import Path

#: The files of a run have kilobytes; what is larger than so many bytes is none of them.
MAX_BYTES = 16 * 2**20
#: The characters that a message repeats of what somebody wrote.
MAX_SHOWN = 80
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = MAX_SHOWN
_REPR.maxlevel, _REPR.maxlist, _REPR.maxtuple, _REPR.maxdict = 3, 8, 8, 8


def read_text(path: str | Path, damaged: str) -> str:
    """Read a file of UTF-8; a byte-order mark at its beginning, as editors put one, is left out.

    Args:
        damaged: what is said of a file that is no text, such as "not complete JSON".

    Raises:
        ValueError: there is no such file, it is no regular file (a pipe would be waited for), too large, or not UTF-8.
    """
    try:
        return _read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{in_short(path)}: {damaged} (byte {error.start} is not UTF-8)") from None


def _read_bytes(path: str | Path) -> bytes:
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
        content = b""
        if regular:
            with open(path, "rb") as file:
                content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ValueError(f"{in_short(path)}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: no path has a NUL
        raise ValueError(f"{in_short(path)}: cannot be read ({getattr(error, 'strerror', error)})") from None
    if not regular:
        raise ValueError(f"{in_short(path)}: cannot be read (not a regular file)")
    if len(content) > MAX_BYTES:
        raise ValueError(
            f"{in_short(path)}: cannot be read (over {MAX_BYTES // 2**20} MiB, and a run's files are small)"
        )
    return content


def in_short(text: object, most: int = 5 * MAX_SHOWN) -> str:
    """Write a text in one line of characters that can be printed; of a long one the middle is left out."""
    line = str(text)
    if len(line) > most:
        line = f"{line[: most // 2]}...{line[-most // 2 :]}"
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)


def quoted(value: object) -> str:
    """Write a value as Python does, as short as a message needs it."""
    try:
        return in_short(_REPR.repr(value), MAX_SHOWN)
    except ValueError:  # Python writes no integer of more than 4300 digits
        return f"a {type(value).__name__} of too many digits"
