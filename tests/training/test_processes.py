"""Processes that wait for others for ever, as in a collective that nobody joins."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from halfnas.training.processes import PARENT, Observer

#: Says that it lives and waits.
WAIT = "import time; print('here', flush=True); time.sleep(300)"
#: Starts a part of its run, tells its id, and waits.
FIRST = f"""
import os, subprocess, sys, time
from halfnas.training import processes
part = "from halfnas.training import processes; processes.end_with_parent(); " + {WAIT!r}
environment = os.environ | {{processes.PARENT: str(os.getpid())}}
child = subprocess.Popen([sys.executable, "-c", part], env=environment, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(300)
"""
#: Has started two parts, of which one has failed, and waits for ever.
OBSERVED = f"""
import subprocess, sys, time
from pathlib import Path
from halfnas.training.processes import Observer
parts = [[sys.executable, "-c", code] for code in ({WAIT!r}, "raise SystemExit(3)")]
processes = [subprocess.Popen(part) for part in parts]
Observer(processes, lambda message: Path("told").write_text(f"{{processes[0].pid}} {{message}}"), patience=1.0).start()
time.sleep(300)
"""


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_ends_with_the_one_that_started_it():
    with subprocess.Popen([sys.executable, "-c", FIRST], stdout=subprocess.PIPE, text=True) as first:
        part = int(first.stdout.readline())
        assert not is_gone(part)
        first.kill()
    end = time.monotonic() + 20
    while not is_gone(part) and time.monotonic() < end:
        time.sleep(0.1)
    assert is_gone(part)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_all_end_where_one_has_failed(tmp_path):
    done = subprocess.run([sys.executable, "-c", OBSERVED], cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 1
    other, message = (tmp_path / "told").read_text().split(" ", 1)
    assert message == "process 2 has ended with exit code 3"
    assert is_gone(other)


def test_processes_that_end_well_are_let_go():
    process = subprocess.Popen([sys.executable, "-c", ""])
    observer = Observer([process], patience=0.0)
    observer.start()
    observer.join(30)
    assert not observer.is_alive()
    assert observer.failure() is None


def test_a_process_that_nobody_started_as_a_part_is_left_alone(monkeypatch):
    monkeypatch.delenv(PARENT, raising=False)
    done = subprocess.run(
        [sys.executable, "-c", "from halfnas.training import processes; processes.end_with_parent()"],
        env=dict(os.environ), check=False,
    )  # fmt: skip
    assert done.returncode == 0
