"""A job in a process of its own: a real one, with the job replaced by something short."""

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from halfnas.errors import JobError
from halfnas.jobs import child
from halfnas.runs.folder import read_status

QUIET = {"version": 1, "disable_existing_loggers": False, "root": {"level": "ERROR"}}

#: A module that the child can import: the real `_child`, with a job of the test's choice.
FAKE = """
import os
import signal
import time
from pathlib import Path

from halfnas.errors import ConfigError
from halfnas.jobs import child as children


def run(container, path, overrides):
    what = container["do"]
    if what == "pid":
        return float(os.getpid())
    if what == "nothing":
        return None
    if what == "config":
        raise ConfigError(["`ratio` is wrong", "`seed` is wrong"])
    if what == "raise":
        raise RuntimeError("disk on fire")
    if what == "exit":
        raise SystemExit(7)
    if what == "interrupted":
        raise KeyboardInterrupt
    if what == "wait":
        folder = Path(path)
        folder.mkdir()
        (folder / "pid").write_text(str(os.getpid()))
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(0.5)  # what is written down in the end
            (folder / "interrupted").touch()
            raise
    os.kill(os.getpid(), signal.SIGKILL)


def child(sender, logging_settings, argv, job):
    children.run_here = run
    children._child(sender, logging_settings, argv, job)
"""


@pytest.fixture
def in_child(monkeypatch, tmp_path):
    """in_child(what, ...): do it in a child, as a job of a sweep."""
    (tmp_path / "halfnas_fake_child.py").write_text(FAKE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    fake = importlib.import_module("halfnas_fake_child")
    monkeypatch.setattr(child, "_child", fake.child)
    yield lambda what: child.run_in_child(({"do": what}, str(tmp_path / "job"), "hash"), QUIET, ["train.py"])
    sys.modules.pop("halfnas_fake_child")
    assert multiprocessing.active_children() == []


def test_a_job_has_a_process_of_its_own(in_child):
    first, second = in_child("pid"), in_child("pid")

    assert len({first, second, float(os.getpid())}) == 3


def test_a_job_without_a_number(in_child):
    assert in_child("nothing") is None


def test_config_errors_are_shown_whole_by_the_job_and_named_by_the_sweep(in_child, capfd):
    with pytest.raises(JobError, match=r"failed: .*job: `ratio` is wrong"):
        in_child("config")

    assert "2 settings that cannot run\n  * `ratio` is wrong\n  * `seed` is wrong" in capfd.readouterr().err


def test_a_failed_job_is_named_with_its_error(in_child, capfd, tmp_path):
    with pytest.raises(JobError, match="RuntimeError: disk on fire") as caught:
        in_child("raise")

    assert str(tmp_path / "job") in str(caught.value)
    assert "Traceback" in capfd.readouterr().err  # printed where it happened


def test_a_killed_job_is_noticed_and_written_down(in_child, tmp_path):
    (tmp_path / "job").mkdir()
    with pytest.raises(JobError, match="its process ended with exit code -9"):
        in_child("kill")

    status = read_status(tmp_path / "job")
    assert (status["state"], status["error"]) == ("failed", "its process ended with exit code -9")


def test_an_interrupted_job_interrupts_the_sweep(in_child):
    with pytest.raises(KeyboardInterrupt):
        in_child("interrupted")


def wait_for(path):
    for _ in range(600):
        if path.exists():
            return path
        time.sleep(0.05)
    raise TimeoutError(path)


@pytest.mark.parametrize("terminal", [True, False])
def test_an_interrupted_sweep_ends_its_job_once_it_has_written_down_what_became_of_it(in_child, tmp_path, terminal):
    """Ctrl-C in a terminal reaches both processes, `kill -INT` of the sweep only one."""

    def interrupt():
        pid = int(wait_for(tmp_path / "job" / "pid").read_text())
        if terminal:
            os.kill(pid, signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        in_child("wait")
    assert (tmp_path / "job" / "interrupted").exists()


#: A sweep that is killed while its job runs.
SWEEP = """
import sys
from halfnas.jobs import child
import halfnas_fake_child

if __name__ == "__main__":
    child._child = halfnas_fake_child.child
    child.run_in_child(({"do": "wait"}, sys.argv[1], "hash"), {"version": 1, "root": {"level": "ERROR"}}, [])
"""


def test_a_job_ends_with_the_sweep_that_started_it(in_child, tmp_path):
    (tmp_path / "sweep.py").write_text(SWEEP)
    sweep = subprocess.Popen([sys.executable, tmp_path / "sweep.py", tmp_path / "job"])
    try:
        pid = int(wait_for(tmp_path / "job" / "pid").read_text())
    finally:
        sweep.kill()
        sweep.wait()
    wait_for(tmp_path / "job" / "interrupted")
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.05)
    pytest.fail("the job goes on without its sweep")


def test_a_job_that_exits_is_noticed(in_child):
    with pytest.raises(JobError, match="SystemExit: 7"):
        in_child("exit")
