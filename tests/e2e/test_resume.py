"""A run that is killed at any moment and goes on comes to what one that is never interrupted comes to, bit for bit."""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from same_run import differences

TRAIN = Path(__file__).parents[2] / "train.py"
#: All stages, each with several places to go on from; Gumbel noise, crops, dropped paths and a frozen start in them.
PIPELINE = (
    "pruner=nngp", "pruner.repeats=6", "pruner.batch_size=6", "pruner.image_size=8", "pruner.rounds=2",
    "searcher=gdas", "searcher.epochs=5", "searcher.warmup_epochs=1", "searcher.batch_size=16", "space.init_channels=4",
    "evaluation.epochs=4", "evaluation.init_channels=4", "evaluation.drop_path=0.3", "evaluation.cutout_length=2",
    "evaluation.batch_size=32", "dataset.max_train_images=160", "trainer=cpu", "logger=none", "~callbacks.progress",
)  # fmt: skip
STAGES = ("prune", "search", "evaluate")
#: Places to go on from in each stage.
LENGTH = {"prune": 6, "search": 5, "evaluate": 4}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, python):
    folder = tmp_path_factory.mktemp("uninterrupted")
    done = python(folder, TRAIN, *PIPELINE, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def status(run):
    try:
        return json.loads((run / "status.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"stage": None, "stages_done": []}


def reached(run, stage):
    """How many places to go on from a stage has reached; -1 before it has begun, all of them after it is done."""
    now = status(run)
    if stage in now["stages_done"] or stage != now["stage"]:
        return LENGTH[stage] if stage in now["stages_done"] else -1
    try:
        if stage == "prune":
            return int(torch.load(run / "checkpoints" / "prune.ckpt", weights_only=True)["pruner"]["step"])
        with (run / "history.csv").open(newline="", encoding="utf-8") as file:
            return sum(row["stage"] == stage for row in csv.DictReader(file))
    except FileNotFoundError:
        return 0


def killed(folder, environment, moment):
    """Run the pipeline in `folder`, and kill it; returns the stage in which that was, None where it ended before.

    Args:
        moment: stage, the places that it has reached by then, and seconds after that.
    """
    stage, places, delay = moment
    command = [sys.executable, str(TRAIN), *PIPELINE, "hydra.run.dir=run", "ckpt=last"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **quiet) as process:
        try:
            while process.poll() is None and reached(folder / "run", stage) < places:
                time.sleep(0.02)
            time.sleep(delay)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    return None if process.returncode == 0 else status(folder / "run")["stage"]


def check_killed(folder, environment, python, uninterrupted, moments):
    """Kill one run at all of these moments, then let it end."""
    hit = [killed(folder, environment, moment) for moment in moments]
    done = python(folder, TRAIN, *PIPELINE, "hydra.run.dir=run", "ckpt=last")
    assert done.returncode == 0, done.stderr
    assert differences(uninterrupted, folder / "run") == [], f"killed at {moments}"
    return hit


def moments(seed, number):
    """Random moments in the order in which a run comes to them, in each stage at least one."""
    draw = random.Random(seed)
    chosen = [*STAGES, *(draw.choice(STAGES) for _ in range(number - len(STAGES)))]
    places = sorted((STAGES.index(stage), draw.randrange(LENGTH[stage])) for stage in chosen)
    return [(STAGES[stage], place, draw.uniform(0, 0.6)) for stage, place in places]


def test_a_run_that_is_killed_five_times(tmp_path, environment, python, uninterrupted):
    hit = check_killed(tmp_path, environment, python, uninterrupted, moments(0, 5))
    assert {"prune", "search"} <= set(hit)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 5))
def test_a_run_that_is_killed_five_times_elsewhere(tmp_path, environment, python, uninterrupted, seed):
    hit = check_killed(tmp_path, environment, python, uninterrupted, moments(seed, 5))
    assert {"prune", "search"} <= set(hit)


def test_a_run_that_is_done_is_not_run_again(uninterrupted, python):
    before = (uninterrupted / "history.csv").stat().st_mtime_ns
    done = python(uninterrupted.parent, TRAIN, *PIPELINE, "hydra.run.dir=run", "ckpt=last")
    assert done.returncode == 0, done.stderr
    assert "done before: " in done.stderr + done.stdout
    assert (uninterrupted / "history.csv").stat().st_mtime_ns == before
