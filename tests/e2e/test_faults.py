"""What users, disks and machines do to a run: each ends with one line that names what is wrong, and a true status."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tiny_run
from tiny_run import wait_until

TRAIN = Path(__file__).parents[2] / "train.py"
ENDLESS = (*tiny_run.ENDLESS, "~callbacks.progress")
LONG = [each.replace("5000", "150") for each in ENDLESS]
PRUNE = ("stage=prune", "pruner=random", "logger=none")


def status(run):
    return json.loads((run / "status.json").read_text(encoding="utf-8"))


@pytest.fixture
def started(environment):
    """started(folder, ...): train.py in a process group of its own, with its output as text."""
    processes = []

    def start(folder, *arguments):
        process = subprocess.Popen(
            [sys.executable, str(TRAIN), *arguments], cwd=folder, env=environment, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def lines(text):
    """What is said of a failure, without Hydra's frame and the way to go on."""
    return [
        line for line in text.splitlines()
        if line and not line.startswith(("Error executing job", "Set the environment variable", "Go on:"))
    ]  # fmt: skip


@pytest.fixture
def disk(tmp_path):
    """A disk of a megabyte of its own."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no disk can be mounted here")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path):
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"0")


@pytest.mark.skipif(shutil.which("mount") is None, reason="no disk can be mounted here")
def test_a_full_disk(tmp_path, disk, started):
    """Full to the last byte, so that nothing new can be written, its own status neither."""
    process = started(tmp_path, *ENDLESS, f"hydra.run.dir={disk / 'run'}")
    wait_until(lambda: (disk / "run" / "history.csv").exists())
    with pytest.raises(OSError, match="No space"):
        fill(disk / "filler")
    out, error = process.communicate(timeout=120)
    assert process.returncode == 1
    [line] = lines(out + error)
    assert line.startswith(f"halfnas: cannot write {disk / 'run'}/")
    assert line.endswith(": No space left on device")
    assert (status(disk / "run")["state"], status(disk / "run")["error"]) == ("failed", line)
    assert not [path for path in (disk / "run").rglob("*") if path.name.endswith(".tmp")]
    assert {path.name for path in (disk / "run" / "checkpoints").iterdir()} <= {"search.ckpt", "search-previous.ckpt"}


def test_a_folder_that_is_removed(tmp_path, started):
    process = started(tmp_path, *ENDLESS, "hydra.run.dir=run")
    wait_until(lambda: (tmp_path / "run" / "history.csv").exists())
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 1
    folder = tmp_path / "run"
    assert lines(out + error) == [
        f"halfnas: cannot write {folder}: the folder was removed while the run went on; what was in it is lost"
    ]
    assert not folder.exists()


@pytest.mark.parametrize("arguments", [["hydra.run.dir=file/run"], ["-m", "seed=0,1", "hydra.sweep.dir=file/sweep"]])
def test_a_folder_that_cannot_be_made(tmp_path, python, arguments):
    (tmp_path / "file").touch()
    done = python(tmp_path, TRAIN, *arguments, *PRUNE)
    assert done.returncode == 1
    assert lines(done.stdout + done.stderr) == [f"halfnas: cannot write {arguments[-1].split('=')[1]}: Not a directory"]


@pytest.mark.parametrize(
    ("number", "code", "logger"), [(signal.SIGTERM, 143, "logger=wandb"), (signal.SIGHUP, 129, "logger=none")]
)
def test_a_signal_ends_a_run_that_then_goes_on(tmp_path, started, python, number, code, logger):
    """The line that is printed does it, though the folder has a name that Hydra and shells stumble over."""
    name = "a=1, [b] it's"
    settings = [each.replace("5000", "8").replace("logger=none", logger) for each in ENDLESS]
    process = started(tmp_path, *settings, "hydra.run.dir='a=1, [b] it\\'s'")
    wait_until(lambda: (tmp_path / name / "checkpoints" / "search.ckpt").exists())
    process.send_signal(number)
    out, error = process.communicate(timeout=120)
    assert process.returncode == code, error
    assert "Traceback" not in out + error
    assert (status(tmp_path / name)["state"], status(tmp_path / name)["error"]) == ("failed", "interrupted")
    [command] = [line.removeprefix("Go on:") for line in out.splitlines() if line.startswith("Go on:")]
    _, *arguments = shlex.split(command)
    done = python(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert status(tmp_path / name)["state"] == "done"
    rows = (tmp_path / name / "history.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.split(",")[1] for row in rows] == list("01234567")
    runs = [path.name for path in (tmp_path / name).glob("wandb/offline-run-*")]
    assert len({run.split("-")[-1] for run in runs}) == len(runs) // 2  # both parts are of one run of W&B


def test_sigterm_ends_a_sweep_in_order(tmp_path, started):
    process = started(tmp_path, "-m", *ENDLESS, "seed=0,1", "hydra.sweep.dir=sweep")
    wait_until(lambda: any((tmp_path / "sweep").glob("*/history.csv")))
    process.terminate()
    out, error = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "0 of 2 jobs are done" in out
    assert "Failed: seed=0: interrupted" in out
    assert "ckpt=last hydra.sweep.dir=sweep" in out
    assert "Traceback" not in out + error


def test_a_hangup_of_the_terminal_ends_a_sweep_in_order(tmp_path, started):
    """It reaches all processes at once, the server that jobs are forked from too."""
    process = started(tmp_path, "-m", *ENDLESS, "seed=0,1", "hydra.sweep.dir=sweep")
    wait_until(lambda: any((tmp_path / "sweep").glob("*/history.csv")))
    os.killpg(process.pid, signal.SIGHUP)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 129, error
    assert "Failed: seed=0: interrupted" in out


def test_the_job_of_a_sweep_that_was_running_goes_on(tmp_path, started, python):
    settings = [each.replace("5000", "12") for each in ENDLESS]
    command = ["-m", *settings, "seed=0,1", "hydra.sweep.dir=sweep"]
    process = started(tmp_path, *command)
    wait_until(lambda: any((tmp_path / "sweep").glob("*/checkpoints/search-previous.ckpt")))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    [job] = (tmp_path / "sweep").glob("*/checkpoints")
    first = (job.parent / "history.csv").read_text(encoding="utf-8").splitlines()[1]
    done = python(tmp_path, TRAIN, *command, "ckpt=last")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 jobs are done" in done.stdout
    rows = (job.parent / "history.csv").read_text(encoding="utf-8").splitlines()
    assert rows[1] == first  # with its own step_ms: that epoch was not trained again
    assert len(rows) == 13
    assert len(list((tmp_path / "sweep").glob("*/status.json"))) == 2


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(("-m", *PRUNE, "seed=0,1,2,3"), id="short"),
        pytest.param(("-m", *LONG, "seed=0,1"), id="long", marks=pytest.mark.slow),
    ],
)
def test_two_sweeps_in_one_folder_run_every_job_once(tmp_path, started, settings):
    """What one is at, the other leaves to it or waits for; and what it has done, it takes as it is."""
    both = [started(tmp_path, *settings, "hydra.sweep.dir=sweep") for _ in range(2)]
    ended = [process.communicate(timeout=300) for process in both]
    said = "".join(out + error for out, error in ended)
    jobs = [path.parent for path in (tmp_path / "sweep").glob("*/status.json")]
    assert len(jobs) == len(settings[-1].split(","))
    for job in jobs:
        assert status(job)["state"] == "done"
        assert said.count(f"Files: {job}\n") == 1  # what a run says in its end
    assert "Traceback" not in said
    assert {process.returncode for process in both} <= {0, 1}  # 1: a job was left to the other, long at it


def test_a_signal_to_the_job_of_a_sweep_ends_it(tmp_path, started):
    process = started(tmp_path, "-m", *ENDLESS, "seed=0,1", "hydra.sweep.dir=sweep")
    wait_until(lambda: any((tmp_path / "sweep").glob("*/history.csv")))
    [lock] = (tmp_path / "sweep").glob("*/.lock")
    os.kill(int(lock.read_text().split()[0]), signal.SIGHUP)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 130, error
    assert "Failed: seed=0: interrupted" in out


def test_what_is_refused_touches_nothing(tmp_path, python):
    """Neither the settings of the run whose results are there, which reports read."""
    command = [TRAIN, *PRUNE, "hydra.run.dir=run"]
    assert python(tmp_path, *command).returncode == 0

    def contents():
        return {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}

    before = contents()
    assert any(path.name == "overrides.yaml" for path in before)
    for wrong in ("ratio=0.25", "ratio=7"):
        done = python(tmp_path, *command, wrong, "ckpt=last")
        assert done.returncode == 1
        assert len(lines(done.stdout + done.stderr)) == 2
        assert contents() == before
    assert python(tmp_path, *command, "ratio=0.25", "overwrite=true").returncode == 0
    assert "ratio=0.25" in (tmp_path / "run" / ".hydra" / "overrides.yaml").read_text(encoding="utf-8")
