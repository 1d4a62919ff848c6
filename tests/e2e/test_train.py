"""train.py as users start it. Each start takes seconds, so there are few; the rest is in tests/test_stages.py."""

import hashlib
import json
from pathlib import Path

import pytest

from tiny_run import TINY

TRAIN = Path(__file__).parents[2] / "train.py"


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def offline_run(job, python):
    """A job's W&B run as `wandb leet` reads it from its file: its summary, and its records."""
    [run] = job.glob("wandb/offline-run-*")
    found = [python(job, "-m", "wandb", "leet", "inspect", *flags, "--json", str(run)) for flags in (["--summary"], [])]
    assert [done.returncode for done in found] == [0, 0], found
    return json.loads(found[0].stdout), [json.loads(line) for line in found[1].stdout.splitlines() if line]


def artifacts(records):
    """type -> artifact, its metadata read; W&B's own tables are left out."""
    found = {record["artifact"]["type"]: record["artifact"] for record in records if record["type"] == "artifact"}
    found.pop("run_table", None)
    return {kind: artifact | {"metadata": json.loads(artifact["metadata"])} for kind, artifact in found.items()}


def files(path):
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def single(tmp_path_factory, python):
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
        "made_with.json",
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


@pytest.mark.slow
def test_the_digits_recipe_moves_its_architecture(tmp_path, python):
    """With the published weight of the regulariser half of the edges stay where they began, and the cell is a tie."""
    done = python(tmp_path, TRAIN, "stage=prune+search", "logger=none", "hydra.run.dir=job")
    assert done.returncode == 0, done.stderr
    metrics = read(tmp_path / "job/metrics.json")
    assert metrics["search/moved_edges"] > 0.6
    assert metrics["search/tie_break"] == 0
    assert "A tie-break" not in done.stdout
    assert read(tmp_path / "job/status.json")["stages_done"] == ["prune", "search"]


def test_a_pruning_of_several_networks(tmp_path, python):
    """What users see of it: the agreement in the table, in the metrics and in an offline W&B run."""
    settings = ["stage=prune", "pruner=nngp", "pruner.network.init_channels=2", "pruner.repeats=3", "pruner.rounds=1"]
    done = python(tmp_path, str(TRAIN), *TINY[1:], *settings, "hydra.run.dir=job")
    assert done.returncode == 0, done.stderr
    metrics = read(tmp_path / "job" / "metrics.json")
    assert metrics["prune/repeats"] == 3
    said = f"another seed would agree on {metrics['prune/agreement']:.0%} of all candidates (chance 50%)"
    assert said in " ".join(done.stdout.split())
    assert "Warning" not in done.stderr
    content, _ = offline_run(tmp_path / "job", python)
    summary = content["summary"]
    for key in ("prune/agreement", "prune/agreement_chance", "prune/agreement_of_halves", "prune/nngp_frobenius"):
        assert summary[key] == pytest.approx(metrics[key], rel=1e-5)


def test_another_space(tmp_path, python):
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


def test_offline_run_can_be_read_back(single, python):
    _, job, _ = single
    content, records = offline_run(job, python)

    assert (content["state"], content["exit_code"]) == ("finished", 0)
    assert content["project"] == "halfnas"
    assert content["name"] == "random-r0.50-s3"
    assert content["tags"][:2] == ["random", "digits"]
    assert content["tags"][2].startswith("halfnas-")
    [run] = [record["run"] for record in records if record["type"] == "run"]
    assert (run["run_group"], run["job_type"]) == ("digits", "pipeline")
    config = dict(content["config"])
    assert config.pop("settings")["pruner"]["name"] == "random"
    assert config == {
        "pruner": "random",
        "ratio": 0.5,
        "seed": 3,
        "dataset": "digits",
        "space": "darts",
        "searcher": "beta_pcdarts",
    }
    pictures, tables = ({"prune/mask", "search/genotype", "search/strengths"}, {"prune/importance", "search/genes"})
    summary = content["summary"]
    assert {key for key, v in summary.items() if isinstance(v, dict) and v.get("_type") == "image-file"} == pictures
    assert {key for key, v in summary.items() if isinstance(v, dict) and v.get("_type") == "table-file"} == tables
    assert summary["prune/importance"]["nrows"] == 2 * 14 * 8
    assert summary["search/genes"]["nrows"] == 2 * 8


def test_summary_of_an_offline_run(single, python):
    """The metrics of the run but for schedules: each summarised as its meaning asks, each curve over epochs."""
    _, job, _ = single
    content, records = offline_run(job, python)
    metrics = read(job / "metrics.json")
    schedules = {"search/learning_rate", "search/architecture_learning_rate"}
    schedules |= {"evaluate/learning_rate", "evaluate/drop_path"}
    numbers = {key: v for key, v in content["summary"].items() if not (isinstance(v, dict) and "_type" in v)}
    assert {key for key in numbers if not key.startswith("_")} == set(metrics) - schedules
    accuracies = {"search/val_acc", "evaluate/val_acc"}
    for key in set(metrics) - schedules:
        assert (numbers[key]["last"] if key in accuracies else numbers[key]) == pytest.approx(metrics[key])
    for key in accuracies:
        assert set(numbers[key]) == {"max", "last"}

    definitions = [record["metric"] for record in records if record["type"] == "metric"]
    defined = {metric.get("name") or metric["glob_name"]: metric for metric in definitions}
    assert {key for key, metric in defined.items() if metric.get("summary", {}).get("none")} == {
        *schedules,
        "epoch",
        "trainer/global_step",
    }
    for key in (*accuracies, "search/*", "evaluate/*", "search/peak_allocated_mib", "evaluate/peak_reserved_mib"):
        assert defined[key]["step_metric"] == "epoch"
    for key in ("search/peak_allocated_mib", "search/peak_reserved_mib", "evaluate/peak_allocated_mib"):
        assert defined[key]["summary"] == {"max": True}
    rows = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert [row["epoch"] for row in rows if "search/train_loss" in row] == [0]  # once an epoch, not again at the end
    assert [row["epoch"] for row in rows if "search/step_activations_mib" in row] == [0]


def test_artifacts_of_an_offline_run(single, python):
    """Dataset -> mask -> genotype -> weights, each with the hash of the file and of those that it was made from."""
    _, job, _ = single
    found = artifacts(offline_run(job, python)[1])
    metrics = read(job / "metrics.json")

    assert set(found) == {"dataset", "mask", "genotype", "weights"}
    hashes = {
        kind: hashlib.sha256((job / name).read_bytes()).hexdigest()
        for kind, name in (
            ("mask", "mask.json"),
            ("genotype", "genotype.json"),
            ("weights", "checkpoints/evaluate.ckpt"),
        )
    }
    dataset = found["dataset"]
    assert dataset["name"] == "dataset-digits"
    assert (dataset["user_created"], dataset["use_after_commit"]) == (True, True)  # an input, once it is synced
    described = {"name": "digits", "num_train_images": 200, "num_test_images": 360, "num_classes": 10}
    assert {key: dataset["metadata"][key] for key in described} == described
    made_from = {"dataset": f"digits@{dataset['metadata']['sha256']}"}
    for kind, digest in hashes.items():
        assert found[kind]["name"] == f"{kind}-{digest[:12]}"
        assert found[kind]["metadata"]["sha256"] == digest
        assert found[kind]["metadata"]["made_from"] == made_from
        assert not found[kind].get("use_after_commit")
        made_from = {**made_from, kind: digest}
    own = {"ratio": 0.5, "pruner": "random", "seed": 3}
    assert {key: found["mask"]["metadata"][key] for key in own} == own
    figures = {key: metrics[f"evaluate/{key}"] for key in ("test_acc", "val_acc", "params", "macs")}
    assert {key: found["weights"]["metadata"][key] for key in figures} == pytest.approx(figures)


def test_a_given_mask_is_the_artifact_of_the_run_that_made_it(single, tmp_path, python):
    _, job, _ = single
    settings = ["stage=search", f"mask={job / 'mask.json'}", "dataset.max_train_images=100", "pruner=none"]
    done = python(tmp_path, str(TRAIN), *TINY, *settings, "hydra.run.dir=job")
    assert done.returncode == 0, done.stderr
    content, records = offline_run(tmp_path / "job", python)
    made, given = artifacts(offline_run(job, python)[1])["mask"], artifacts(records)["mask"]

    assert (given["name"], given["digest"]) == (made["name"], made["digest"])
    assert (given["user_created"], given["use_after_commit"]) == (True, True)
    assert artifacts(records)["genotype"]["metadata"]["made_from"]["mask"] == made["metadata"]["sha256"]
    assert (content["config"]["pruner"], content["config"]["ratio"]) == ("random", 0.5)  # those of the mask
    assert "weights" not in artifacts(records)


def test_a_failing_job_does_not_stop_a_sweep(tmp_path, python):
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


def test_bad_settings_end_before_anything_is_written(tmp_path, python):
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


def test_several_devices_have_a_trainer_of_their_own(tmp_path, python):
    """tests/e2e/test_ranks.py has what it does."""
    done = python(tmp_path, str(TRAIN), *TINY, "trainer.devices=2", "hydra.run.dir=run")

    assert done.returncode == 1
    assert "is not for the 2 processes" in done.stderr
    assert "use trainer=ddp" in done.stderr
    assert read(tmp_path / "run" / "status.json")["stages_done"] == []
