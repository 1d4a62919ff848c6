"""One process a folder."""

import os
import signal
import subprocess
import sys
import time

import pytest

from halfnas.errors import Busy, FileError
from halfnas.jobs import lock
from halfnas.jobs.lock import locked

#: Another process, that takes the lock of a folder and says so.
OWNER = """
import sys, time
from pathlib import Path
from halfnas.jobs.lock import locked
with locked(Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def owner(tmp_path):
    """owner(seconds): a process that has the lock of the folder."""
    started = []

    def start(seconds=60):
        process = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(tmp_path), str(seconds)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "mine\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_folder_is_used_by_one_process(tmp_path, owner):
    process = owner()
    with pytest.raises(Busy, match=rf"is in use: process {process.pid} on \S+ runs a job in it"), locked(tmp_path):
        pass
    assert process.poll() is None


def test_the_lock_of_a_process_that_was_killed_is_free(tmp_path, owner):
    process = owner()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text().split()[0] == str(os.getpid())
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_is_waited_for(tmp_path, owner):
    owner(1.0)
    start = time.monotonic()
    with locked(tmp_path, wait=30.0):
        assert 0.2 < time.monotonic() - start < 30
        assert (tmp_path / ".lock").exists()  # its own, not that which the other took away
    assert not (tmp_path / ".lock").exists()


def test_it_is_given_back_after_an_error_and_with_the_folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(RuntimeError), locked(folder):
        raise RuntimeError
    with locked(folder):
        (folder / ".lock").unlink()
        folder.rmdir()
    with pytest.raises(FileError, match="No such file"), locked(folder):
        pass


def test_a_file_system_without_locks(tmp_path, monkeypatch, caplog):
    def unsupported(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(lock.fcntl, "lockf", unsupported)
    with locked(tmp_path):
        pass
    assert "cannot be locked (Operation not supported)" in caplog.text
