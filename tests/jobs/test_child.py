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
from halfnas.runs.status import read_status

QUIET = {"version": 1, "disable_existing_loggers": False, "root": {"level": "ERROR"}}

#: A module that the child can import: the real `_child`, with a job of the test's choice.
FAKE = """
import multiprocessing
import os
import signal
import time
from pathlib import Path

import torch

from halfnas.errors import ConfigError
from halfnas.jobs import child as children
from halfnas.jobs import signals

children.PATIENCE, signals.ONE_SIGNAL = 1.0, 0.1


def run(container, path):
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
    if what == "loader":
        return float(multiprocessing.get_start_method() == container["expected"])
    if what == "environment":
        return float(os.environ.get("HALFNAS_TEST", "nan"))
    if what == "cuda":
        return float(bool(torch.cuda._is_in_bad_fork() or torch.cuda.is_initialized()))
    if what == "swallow":
        folder = Path(path)
        (folder / "pid").write_text(str(os.getpid()))
        for number in range(container["times"]):
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                (folder / f"swallowed-{number}").touch()
        time.sleep(60)
    os.kill(os.getpid(), signal.SIGKILL)


def child(sender, logging_settings, argv, job, ignored):
    children.run_here = run
    children._child(sender, logging_settings, argv, job, ignored)
"""


@pytest.fixture
def in_child(monkeypatch, tmp_path):
    """in_child(what, ...): do it in a child, as a job of a sweep."""
    (tmp_path / "halfnas_fake_child.py").write_text(FAKE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    fake = importlib.import_module("halfnas_fake_child")
    monkeypatch.setattr(child, "_child", fake.child)
    yield lambda what, **more: child.run_in_child(({"do": what, **more}, str(tmp_path / "job")), QUIET, ["train.py"])
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
    child.run_in_child(({"do": "wait"}, sys.argv[1]), {"version": 1, "root": {"level": "ERROR"}}, [])
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


@pytest.mark.parametrize("times", [1, 9])
def test_a_job_that_swallows_its_interruption_is_ended_with_its_sweep(in_child, tmp_path, times):
    """It is asked again; one that goes on after that is marked as failed, and ends."""
    (tmp_path / "job").mkdir()
    sweep = SWEEP.replace('{"do": "wait"}', f'{{"do": "swallow", "times": {times}}}')
    (tmp_path / "sweep.py").write_text(sweep)
    process = subprocess.Popen([sys.executable, tmp_path / "sweep.py", tmp_path / "job"])
    try:
        pid = int(wait_for(tmp_path / "job" / "pid").read_text())
    finally:
        process.kill()
        process.wait()
    for _ in range(400):
        if not Path(f"/proc/{pid}").exists():
            break
        time.sleep(0.05)
    else:
        pytest.fail("the job goes on without its sweep")
    assert (tmp_path / "job" / "swallowed-0").exists()
    assert (tmp_path / "job" / "swallowed-1").exists() == (times > 1)
    if times > 1:
        status = read_status(tmp_path / "job")
        assert (status["state"], status["error"]) == (
            "failed", "interrupted: its sweep is gone, and it did not end by itself",
        )  # fmt: skip


def test_a_job_that_swallows_every_interruption_is_ended_by_its_sweep(in_child, tmp_path, monkeypatch):
    monkeypatch.setattr(child, "PATIENCE", 1.0)
    (tmp_path / "job").mkdir()

    def interrupt():
        wait_for(tmp_path / "job" / "pid")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        in_child("swallow", times=9)
    status = read_status(tmp_path / "job")
    assert (status["state"], status["error"]) == ("failed", "interrupted, and ended as it did not end by itself")


# --- what a fresh process is ------------------------------------------------------------------------------------------


def test_processes_that_load_images_start_as_those_of_a_single_run(in_child):
    script = "import multiprocessing; print(multiprocessing.get_start_method())"
    alone = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    assert in_child("loader", expected=alone) == 1


def test_a_job_has_the_environment_of_now(in_child, monkeypatch):
    """The server that it would be forked from has that of its own start."""
    assert in_child("environment") != in_child("environment")  # nan
    monkeypatch.setenv("HALFNAS_TEST", "3")
    assert in_child("environment") == 3


def test_no_gpu_is_touched_before_a_job_begins(in_child):
    """A process that has used CUDA, or only asked how many devices there are, cannot be forked."""
    script = """
import torch
def touched(*args):
    raise SystemExit("a GPU was asked for")
torch._C._cuda_getDeviceCount = torch._C._cuda_init = touched
import halfnas.jobs.ready
import threading
assert threading.active_count() == 1
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert in_child("cuda") == 0


def test_a_job_that_exits_is_noticed(in_child):
    with pytest.raises(JobError, match="SystemExit: 7"):
        in_child("exit")
