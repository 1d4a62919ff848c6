"""A run of two processes, as users start it; each start takes many seconds, so there are few."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TRAIN = Path(__file__).parents[2] / "train.py"
DDP = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
TINY = (
    "pruner.repeats=3", "searcher.epochs=2", "searcher.warmup_epochs=1", "evaluation.epochs=1",
    "dataset.max_train_images=200", "space.init_channels=4", "space.num_cells=3", "evaluation.init_channels=4",
    "evaluation.num_cells=3", "trainer.precision=64-true", "hydra.run.dir=job",
)  # fmt: skip
ENDLESS = (*TINY, "stage=search", "pruner=none", "searcher.epochs=1000", "logger=none", *DDP)
#: Raises in the search, in one process of two.
FAULT = """
from lightning.pytorch import Callback

class Fault(Callback):
    def on_train_batch_end(self, trainer, pl_module, *_):
        if trainer.global_rank == 1 and trainer.current_epoch == 1:
            raise RuntimeError("a fault of one process")
"""
BOUND = 60  # seconds


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def files(path):
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


@pytest.mark.slow
def test_a_run_of_two_processes_is_that_of_one_with_their_joined_batch(tmp_path, python):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, size, more in ((one, 32, ["logger=none"]), (two, 16, DDP)):
        folder.mkdir()
        sizes = [f"searcher.batch_size={size}", f"evaluation.batch_size={size}"]
        done = python(folder, TRAIN, *TINY, *sizes, *more)
        assert done.returncode == 0, done.stderr
        assert "sync_dist" not in done.stderr + done.stdout
        assert "Warning" not in done.stderr

    one, two = one / "job", two / "job"
    assert len(list(two.glob("wandb/offline-run-*"))) == 1
    assert {name for name in files(two) if not name.startswith("wandb/")} == files(one) | {"train_ddp_process_1.log"}
    assert (two / "mask.json").read_bytes() == (one / "mask.json").read_bytes()
    assert (two / "genotype.json").read_bytes() == (one / "genotype.json").read_bytes()
    assert read(two / "status.json")["stages_done"] == ["prune", "search", "evaluate"]
    found, expected = read(two / "metrics.json"), read(one / "metrics.json")
    assert set(found) == set(expected)
    own = ("seconds", "_ms", "_mib")  # of each process
    for key in expected:
        assert key.endswith(own) or found[key] == pytest.approx(expected[key], rel=1e-5), key


def is_alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(condition, seconds=BOUND):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.2)
    assert condition()


@pytest.fixture
def search(tmp_path, environment):
    """The first process of an endless search that is under way, and the other one's id."""
    process = subprocess.Popen(
        [sys.executable, TRAIN, *ENDLESS],
        cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for(lambda: (tmp_path / "job/history.csv").exists(), 200)
        [other] = children(process.pid)
        yield process, other
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: not is_alive(other), 10)


@pytest.mark.slow
def test_a_run_fails_where_another_process_is_killed(search, tmp_path):
    process, other = search
    os.kill(other, signal.SIGKILL)
    assert process.wait(BOUND) == 1
    status = read(tmp_path / "job/status.json")
    assert status["state"] == "failed"
    assert "process 1 has ended with exit code -9" in status["error"]


@pytest.mark.slow
def test_other_processes_end_where_the_first_one_is_killed(search):
    process, other = search
    process.kill()
    wait_for(lambda: not is_alive(other), 10)


@pytest.mark.slow
def test_a_run_fails_where_another_process_does(tmp_path, environment):
    (tmp_path / "fault.py").write_text(FAULT)
    environment = environment | {"PYTHONPATH": os.pathsep.join([str(tmp_path), environment.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, TRAIN, *ENDLESS, "+callbacks.fault._target_=fault.Fault"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "a fault of one process" in done.stderr
    status = read(tmp_path / "job/status.json")
    assert status["state"] == "failed"
    assert "process 1 has ended with exit code 1" in status["error"]


@pytest.mark.slow
def test_an_interrupted_run_leaves_no_process(search, tmp_path):
    """`kill -INT` of the first process alone; Ctrl-C reaches all."""
    process, other = search
    process.send_signal(signal.SIGINT)
    assert process.wait(BOUND) != 0
    wait_for(lambda: not is_alive(other), 10)
    status = read(tmp_path / "job/status.json")
    assert (status["state"], status["error"]) == ("failed", "interrupted")
