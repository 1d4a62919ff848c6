"""One process a folder: a lock that the operating system takes away with its owner, however that ends."""

import contextlib
import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from halfnas.errors import Busy, FileError

log = logging.getLogger(__name__)

NAME = ".lock"


@contextlib.contextmanager
def locked(folder: Path, *, wait: float = 0.0) -> Iterator[bool]:
    """Inside, no other process is in the folder; gives whether one was, so that it had to be waited for.

    The lock file has the owner's process id and host.

    A record lock of POSIX: it belongs to the process, not to those that it starts, and goes with it, so that none is
    ever left behind; where the file system has no locks there is none, and a warning says so.

    Args:
        folder: the folder.
        wait: seconds that it may take to become free.

    Raises:
        Busy: another process is still in it; the message names that one.
        FileError: the lock file cannot be written.
    """
    path = folder / NAME
    handle, waited = _take(path, time.monotonic() + wait)
    try:
        os.ftruncate(handle, 0)
        with contextlib.suppress(OSError):  # a full disk: nobody is told who it is, but it is
            os.write(handle, f"{os.getpid()} {socket.gethostname()}".encode())
        yield waited
    finally:
        with contextlib.suppress(OSError):  # of a folder that is gone
            path.unlink()
        os.close(handle)


def _take(path: Path, end: float) -> tuple[int, bool]:
    """Open the file and lock it; again and again until `end`, or where its last owner took it away in between."""
    waited = False
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise FileError(path, error.strerror or str(error)) from None
        try:
            if _lock(handle, path) and _is(handle, path):
                return handle, waited
        except Busy:
            os.close(handle)
            waited = True
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            os.close(handle)


def _lock(handle: int, path: Path) -> bool:
    """Take the lock; True also where there is no such thing."""
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            owner = os.read(handle, 200).decode(errors="replace").split() or ["?"]
            host = f" on {owner[1]}" if len(owner) > 1 else ""
            raise Busy(f"halfnas: {path.parent} is in use: process {owner[0]}{host} runs a job in it") from None
        log.warning("%s cannot be locked (%s): do not start a second run in this folder", path, error.strerror)
    return True


def _is(handle: int, path: Path) -> bool:
    """Whether an open file is the one that has the name."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), os.stat(path))
    return False
