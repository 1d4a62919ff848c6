"""train.py as users start it. Each start takes seconds, so there are few; the rest is in tests/test_stages.py."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = Path(__file__).parents[2] / "train.py"
TINY = (
    "pruner=random",
    "searcher.epochs=1",
    "searcher.warmup_epochs=0",
    "evaluation.epochs=1",
    "dataset.max_train_images=200",
    "space.init_channels=4",
    "evaluation.init_channels=4",
    "trainer=cpu",
)


def python(folder, *arguments):
    """Run Python in `folder`, without a network's help and without the settings of whoever runs the tests."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "HYDRA_"))}
    environment = keep | {"WANDB_MODE": "offline", "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def files(path):
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """A run with everything at its default but the sizes, and so with an offline W&B run."""
    folder = tmp_path_factory.mktemp("single")
    done = python(folder, str(TRAIN), *TINY, "evaluation.holdout_fraction=0.2", "seed=3")
    assert done.returncode == 0, done.stderr
    [job] = folder.glob("outputs/*/*")
    return folder, job, done


def test_every_file_of_a_run(single):
    folder, job, _ = single

    assert {name for name in files(job) if not name.startswith("wandb/")} == {
        "mask.json",
        "genotype.json",
        "metrics.json",
        "history.csv",
        "status.json",
        "train.log",
        "checkpoints/search.ckpt",
        "checkpoints/evaluate.ckpt",
        "figures/mask.png",
        "figures/genotype.png",
        "figures/strengths.png",
        ".hydra/config.yaml",
        ".hydra/hydra.yaml",
        ".hydra/overrides.yaml",
    }
    assert {path.name for path in folder.iterdir()} == {"outputs"}  # nothing is left where it was started
    status = read(job / "status.json")
    assert (status["state"], status["stages_done"]) == ("done", ["prune", "search", "evaluate"])
    assert {"search/val_acc", "evaluate/test_acc", "evaluate/val_acc"} <= set(read(job / "metrics.json"))


def test_a_pruning_of_several_networks(tmp_path):
    """What users see of it: the agreement in the table, in the metrics and in an offline W&B run."""
    settings = ["stage=prune", "pruner=nngp", "pruner.network.init_channels=2", "pruner.repeats=3", "pruner.rounds=1"]
    done = python(tmp_path, str(TRAIN), *TINY[1:], *settings, "hydra.run.dir=job")
    assert done.returncode == 0, done.stderr
    metrics = read(tmp_path / "job" / "metrics.json")
    assert metrics["prune/repeats"] == 3
    said = f"another seed would agree on {metrics['prune/agreement']:.0%} (chance 50%)"
    assert said in " ".join(done.stdout.split())
    assert "Warning" not in done.stderr
    [run] = (tmp_path / "job").glob("wandb/offline-run-*")
    found = python(tmp_path, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(run))
    summary = json.loads(found.stdout)["summary"]
    for key in ("prune/agreement", "prune/agreement_chance", "prune/agreement_of_halves", "prune/nngp_frobenius"):
        assert summary[key] == pytest.approx(metrics[key], rel=1e-5)


def test_another_space(tmp_path):
    done = python(tmp_path, str(TRAIN), *TINY, "space=nasbench201", "logger=none", "hydra.run.dir=job")
    assert done.returncode == 0, done.stderr
    mask, genotype = (read(tmp_path / "job" / f"{name}.json") for name in ("mask", "genotype"))
    assert mask["space"] == genotype["space"] == "nasbench201"
    assert [source for _, source in genotype["cell"]] == [0, 0, 1, 0, 1, 2]
    assert all(name in kept for (name, _), kept in zip(genotype["cell"], mask["kept"]["cell"], strict=True))
    assert genotype["cell_concat"] == [3]
    assert {"figures/mask.png", "figures/genotype.png", "figures/strengths.png"} <= files(tmp_path / "job")


def test_the_end_of_a_run_says_what_came_out(single):
    _, job, done = single
    accuracy = read(job / "metrics.json")["evaluate/test_acc"]

    assert f"test accuracy {accuracy:.2%}" in done.stdout
    assert "50.0% of candidates kept" in done.stdout
    assert str(job) in done.stdout
    for stage in ("prune", "search", "evaluate"):
        assert stage in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "Warning" not in done.stderr


def test_offline_run_can_be_read_back(single):
    folder, job, _ = single
    [run] = job.glob("wandb/offline-run-*")
    found = python(folder, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(run))
    assert found.returncode == 0, found.stderr
    content = json.loads(found.stdout)

    assert (content["state"], content["exit_code"]) == ("finished", 0)
    assert content["project"] == "halfnas"
    assert content["name"] == "random-r0.50-s3"
    assert content["tags"][:2] == ["random", "digits"]
    assert content["tags"][2].startswith("halfnas-")
    config = content["config"]
    assert (config["ratio"], config["pruner"]["name"], config["seed"]) == (0.5, "random", 3)
    assert (config["logger"]["wandb"]["group"], config["logger"]["wandb"]["job_type"]) == ("digits", "pipeline")
    summary, metrics = content["summary"], read(job / "metrics.json")
    for key in ("search/val_acc", "evaluate/val_acc", "evaluate/test_acc"):
        assert summary[key]["last"] == pytest.approx(metrics[key])
    for key in ("prune/kept_fraction", "evaluate/params", "search/step_activations_mib"):
        assert summary[key] == pytest.approx(metrics[key])
    for key in ("search/learning_rate", "search/entropy_normal_nats", "search/skip_connects_normal", "epoch"):
        assert key in summary
    pictures = {key for key, value in summary.items() if isinstance(value, dict) and value.get("_type") == "image-file"}
    assert pictures == {"prune/mask", "search/genotype", "search/strengths"}
    assert summary["prune/importance"]["nrows"] == 2 * 14 * 8
    assert summary["search/genes"]["nrows"] == 2 * 8
    assert b"mask.json" in next(run.glob("*.wandb")).read_bytes()
    assert b"genotype.json" in next(run.glob("*.wandb")).read_bytes()


def test_a_failing_job_does_not_stop_a_sweep(tmp_path):
    """The job in the middle cannot run; those before and after it do, each in a folder of its own."""
    done = python(
        tmp_path,
        str(TRAIN),
        "-m",
        *TINY,
        "searcher.partial_channels=4,3,1",
        "logger=none",
        "stage=search",
        "pruner=none",
        "ratio=1",
        "trainer.limit_train_batches=1",
        "hydra.sweep.dir=sweep",
    )

    assert done.returncode == 1
    jobs = {}
    for path in (tmp_path / "sweep").glob("*/.hydra/overrides.yaml"):
        [channels] = [line.split("=")[1] for line in path.read_text().splitlines() if "partial_channels=" in line]
        jobs[int(channels)] = path.parents[1]
    assert len(jobs) == 3
    status = {channels: read(path / "status.json") for channels, path in jobs.items()}
    assert {channels: s["state"] for channels, s in status.items()} == {4: "done", 3: "failed", 1: "done"}
    assert len({s["overrides_hash"] for s in status.values()}) == 3
    assert "`searcher.partial_channels`" in status[3]["error"]
    assert "Traceback" not in done.stdout + done.stderr
    for channels in (4, 1):
        assert {"genotype.json", "metrics.json", "history.csv", "train.log"} <= files(jobs[channels])
    assert "genotype.json" not in files(jobs[3])
    # Each job measured itself, not the one before it.
    memory = {channels: read(jobs[channels] / "metrics.json")["search/step_activations_mib"] for channels in (4, 1)}
    assert memory[1] > 1.5 * memory[4]


def test_bad_settings_end_before_anything_is_written(tmp_path):
    done = python(
        tmp_path, str(TRAIN), "ratio=1.5", "searcher.partial_channels=3", "hydra.run.dir=job", "evaluation.epochs=0"
    )

    assert done.returncode == 1
    shown = done.stdout + done.stderr
    assert "Traceback" not in shown
    assert shown.count("`ratio` must be a number in (0, 1], got 1.5") == 1
    assert shown.count("`searcher.partial_channels`") == 1
    assert shown.count("`evaluation.epochs` must be at least 1") == 1
    assert files(tmp_path) == {
        "job/status.json",
        "job/train.log",
        "job/.hydra/config.yaml",
        "job/.hydra/hydra.yaml",
        "job/.hydra/overrides.yaml",
    }
    assert read(tmp_path / "job/status.json")["state"] == "failed"


def test_two_processes_train_one_network(tmp_path):
    """Data-parallel on two CPU processes: one set of files, one W&B run, one summary."""
    done = python(tmp_path, str(TRAIN), *TINY, "trainer.devices=2", "searcher.epochs=1", "hydra.run.dir=run")

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Files: ") == 1
    assert len(list((tmp_path / "run").glob("wandb/offline-run-*"))) == 1
    assert read(tmp_path / "run" / "status.json")["stages_done"] == ["prune", "search", "evaluate"]
    with (tmp_path / "run" / "history.csv").open(encoding="utf-8") as file:
        assert [line.split(",")[0] for line in file] == ["stage", "search", "evaluate"]
