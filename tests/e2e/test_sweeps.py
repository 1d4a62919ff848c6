"""Sweeps as users start them, end them, and go on with them. Most jobs draw a random mask, which takes seconds."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from halfnas.spaces.published import find_genotype
from tiny_run import ENDLESS, TINY, wait_until

TRAIN = Path(__file__).parents[2] / "train.py"
QUICK = ("stage=prune", "pruner=random", "logger=none")
#: MiB, between a tiny search of one candidate an edge and one of all
BUDGET = 4.6


def states(sweep):
    return {path.parent.name: read(path)["state"] for path in sweep.glob("*/status.json")}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def killed_in_its_second_job(folder, environment, command):
    """Kill a sweep of two jobs, and wait for the job; returns the one that was done, and when."""
    sweep = folder / "sweep"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, *command], cwd=folder, env=environment, **quiet) as process:
        try:
            wait_until(lambda: len(list(sweep.glob("*/history.csv"))) == 2)
        finally:
            process.kill()
    wait_until(lambda: sorted(states(sweep).values()) == ["done", "failed"])
    [first] = [name for name, state in states(sweep).items() if state == "done"]
    return first, (sweep / first / "metrics.json").stat().st_mtime_ns


def test_a_sweep_is_taken_up_where_it_was_left(tmp_path, python):
    """A job crashes; the same command runs it again, and leaves the others as they are."""
    command = [TRAIN, "-m", *QUICK[2:], "stage=evaluate", "evaluation.epochs=1", "evaluation.init_channels=4",
               "dataset.max_train_images=80", "genotype=darts_v2,mine.json", "hydra.sweep.dir=sweep"]  # fmt: skip
    first = python(tmp_path, *command)
    assert first.returncode == 1
    assert "1 of 2 jobs are done" in first.stdout
    [line] = [line for line in first.stdout.splitlines() if line.startswith("Failed: ")]
    assert line.startswith("Failed: genotype=mine.json: ")
    assert "Traceback" not in first.stdout + first.stderr
    sweep = tmp_path / "sweep"
    [done] = [name for name, state in states(sweep).items() if state == "done"]
    before = (sweep / done / "metrics.json").read_bytes()

    find_genotype("darts_v1").save(tmp_path / "mine.json")
    second = python(tmp_path, *command)
    assert second.returncode == 0, second.stderr
    assert "2 of 2 jobs are done" in second.stdout
    assert second.stdout.count("done before: ") == 1
    assert set(states(sweep).values()) == {"done"}
    assert (sweep / done / "metrics.json").read_bytes() == before

    third = python(tmp_path, *command)
    assert third.stdout.count("done before: ") == 2


def test_a_sweep_that_is_killed_goes_on(tmp_path, environment, python):
    """kill -9 leaves no time to say anything: the job that ran ends by itself, and is run again, that alone."""
    settings = [each.replace("5000", "12") for each in ENDLESS]
    command = [str(TRAIN), "-m", *settings, "seed=0,1", "hydra.sweep.dir=sweep"]
    sweep = tmp_path / "sweep"
    first, before = killed_in_its_second_job(tmp_path, environment, command)

    done = python(tmp_path, *command)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done before: ") == 1
    assert "2 of 2 jobs are done" in done.stdout
    assert set(states(sweep).values()) == {"done"}
    assert (sweep / first / "metrics.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("whole_group", [True, False])
def test_ctrl_c_ends_a_sweep_in_order(tmp_path, environment, whole_group):
    """In a terminal it reaches the job too, from elsewhere only the sweep."""
    command = [sys.executable, str(TRAIN), "-m", *ENDLESS, "seed=0,1", "hydra.sweep.dir=sweep"]
    sweep = tmp_path / "sweep"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True, **pipes) as process:
        try:
            wait_until(lambda: any(sweep.glob("*/history.csv")))
            (os.killpg if whole_group else os.kill)(process.pid, signal.SIGINT)
            out, error = process.communicate(timeout=90)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "0 of 2 jobs are done" in out
    assert "not started" in out
    assert "Failed: seed=0: interrupted" in out
    assert "hydra.sweep.dir=sweep" in out
    assert "Traceback" not in out + error
    assert list(states(sweep).values()) == ["failed"]


@pytest.mark.slow
def test_two_sweeps_in_the_same_second(tmp_path, environment):
    """The second is fixed, so that they cannot miss each other."""
    command = [sys.executable, str(TRAIN), "-m", *QUICK, "seed=0,1", "hydra.sweep.dir='sweeps/${now:%Y}'"]
    processes = [
        subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    sweeps = sorted((tmp_path / "sweeps").iterdir())
    assert [sweep.name for sweep in sweeps] == [sweeps[0].name, f"{sweeps[0].name}-2"]
    assert [len(states(sweep)) for sweep in sweeps] == [2, 2]


@pytest.mark.slow
def test_jobs_on_several_devices(tmp_path, python):
    """The second process of a job runs that job, not the sweep: one that failed is not run again by it."""
    several = ["trainer=ddp" if each == "trainer=cpu" else each for each in TINY]
    settings = [*several, "trainer.accelerator=cpu", "trainer.devices=2", "stage=search", "pruner=none", "ratio=1"]
    images = ["logger=none", "dataset.max_train_images=40"]
    done = python(tmp_path, TRAIN, "-m", *settings, *images, "searcher.partial_channels=3,4")
    assert done.returncode == 1, done.stderr
    [sweep] = tmp_path.glob("multirun/*/*")
    assert sorted(states(sweep).values()) == ["done", "failed"]
    assert done.stdout.count("1 of 2 jobs are done") == 1
    assert (done.stdout + done.stderr).count("a setting that cannot run") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"multirun"}


def requires(plugin):
    name = f"hydra_plugins.hydra_{plugin}"
    found = importlib.util.find_spec("hydra_plugins") and importlib.util.find_spec(name)
    return pytest.mark.skipif(not found, reason=f"hydra-{plugin.replace('_', '-')} is not installed")


LAUNCHERS = [
    pytest.param(["hydra/launcher=joblib"], marks=requires("joblib_launcher")),
    pytest.param(["hydra/launcher=submitit_local"], marks=requires("submitit_launcher")),
    pytest.param(["hydra/launcher=ray"], marks=requires("ray_launcher")),
]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", LAUNCHERS, ids=["joblib", "submitit_local", "ray"])
def test_launchers(tmp_path, python, launcher):
    """Jobs run, a bad one is recorded and the others go on, and what is done is not run again."""
    command = [TRAIN, "-m", *QUICK, *launcher, "ratio=0.5,2,0.25", "hydra.sweep.dir=sweep"]
    done = python(tmp_path, *command)
    assert done.returncode == 1, done.stderr
    assert "2 of 3 jobs are done" in done.stdout
    assert "Failed: ratio=2: `ratio` must be a number in (0, 1]" in done.stdout
    assert sorted(states(tmp_path / "sweep").values()) == ["done", "done", "failed"]
    masks = {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").glob("*/mask.json")}
    assert len(masks) == 2
    python(tmp_path, *command)
    assert masks == {path: path.stat().st_mtime_ns for path in (tmp_path / "sweep").glob("*/mask.json")}


@pytest.mark.slow
@requires("optuna_sweeper")
def test_optuna_within_a_budget(tmp_path, python):
    """The best trial is within the budget, though others are more accurate."""
    small = [*TINY, "dataset.max_train_images=80", "logger=none"]
    sweep = ["hydra.sweeper.n_trials=4", f"optimized_budget={BUDGET}", "ratio=choice(0.125,1)", "hydra.sweep.dir=sweep"]
    done = python(tmp_path, TRAIN, "-m", "hparams_search=optuna", *small, *sweep)
    assert done.returncode == 0, done.stderr
    found = yaml.safe_load((tmp_path / "sweep" / "optimization_results.yaml").read_text())
    metrics = [read(path) for path in (tmp_path / "sweep").glob("*/metrics.json")]
    within = [each for each in metrics if each["search/peak_live_mib"] <= BUDGET]
    assert 0 < len(within) < len(metrics) == 4
    assert found["best_params"]["ratio"] == 0.125
    assert found["best_value"] == pytest.approx(max(each["search/val_acc"] for each in within))
    assert "4 of 4 jobs are done" in done.stdout


@pytest.mark.slow
@requires("optuna_sweeper")
def test_optuna_goes_on_where_it_was_killed(tmp_path, environment, python):
    """As many trials as were asked for, none of them twice, and the best of all of them is told."""
    settings = [each.replace("5000", "2") for each in ENDLESS]
    command = [str(TRAIN), "-m", "hparams_search=optuna", *settings, "ratio=choice(1)", "hydra.sweep.dir=sweep"]
    trials = ["optimized_budget=null", "hydra.sweeper.n_trials=3"]
    sweep = tmp_path / "sweep"
    first, before = killed_in_its_second_job(tmp_path, environment, [*command, *trials])

    done = python(tmp_path, *command, *trials)
    assert done.returncode == 0, done.stderr
    assert "1 of 3 trials were done before" in done.stdout
    assert "3 of 3 jobs are done" in done.stdout
    assert "alembic" not in done.stdout
    assert list(states(sweep).values()) == ["done"] * 3  # the one that was killed too
    assert (sweep / first / "metrics.json").stat().st_mtime_ns == before
    found = yaml.safe_load((sweep / "optimization_results.yaml").read_text())
    assert found["best_value"] == max(read(path)["search/val_acc"] for path in sweep.glob("*/metrics.json"))
