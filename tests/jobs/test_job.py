"""Whole runs in process, on a few digits."""

import csv
import json
import logging
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_dir

from halfnas import Genotype, Mask, load_space
from halfnas.config.schema import overrides_hash, register
from halfnas.errors import ConfigError, Refused
from halfnas.jobs.job import divisor, run_job
from halfnas.runs.files import read_json
from halfnas.runs.status import read_status
from halfnas.spaces.load import CONF
from tiny_run import TINY

QUIET = (*TINY, "logger=none", "~callbacks.progress")
PNG = b"\x89PNG\r\n\x1a\n"


def run(path, *overrides):
    """run_job on tiny digits; `files` are those of the run."""
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"paths.data_dir={path / 'data'}", f"paths.output_dir={path}", *QUIET, *overrides])
    value = run_job(cfg, path)
    return SimpleNamespace(path=path, value=value, metrics=read(path / "metrics.json"))


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def files(path):
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


def history(path):
    with (path / "history.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """One run of everything, that the others are compared with."""
    return run(tmp_path_factory.mktemp("pipeline"), "seed=1", "evaluation.holdout_fraction=0.2", "searcher.epochs=2")


def test_files_of_a_run(pipeline):
    assert files(pipeline.path) == {
        "mask.json",
        "genotype.json",
        "metrics.json",
        "history.csv",
        "status.json",
        "made_with.json",
        "checkpoints/search.ckpt",
        "checkpoints/search-previous.ckpt",
        "checkpoints/evaluate.ckpt",
        "figures/mask.png",
        "figures/genotype.png",
        "figures/strengths.png",
    }
    for picture in (pipeline.path / "figures").iterdir():
        assert picture.read_bytes().startswith(PNG)


def test_mask_file(pipeline):
    content = read(pipeline.path / "mask.json")

    assert {key: content[key] for key in ("format", "space", "ratio", "pruner", "seed")} == {
        "format": 1,
        "space": "darts",
        "ratio": 0.5,
        "pruner": "random",
        "seed": 1,
    }
    assert [len(edge) for kind in ("normal", "reduce") for edge in content["kept"][kind]] == [4] * 28
    assert Mask.load(pipeline.path / "mask.json") == Mask.random(load_space("darts"), ratio=0.5, seed=1)


def test_genotype_file(pipeline):
    content = read(pipeline.path / "genotype.json")

    assert list(content) == ["format", "space", "normal", "normal_concat", "reduce", "reduce_concat"]
    genotype = Genotype.load(pipeline.path / "genotype.json")
    load_space("darts").check_genotype(genotype)
    kept = Mask.load(pipeline.path / "mask.json").kept
    for kind in ("normal", "reduce"):
        for number, (operation, source) in enumerate(genotype.cells[kind]):
            node = number // 2
            edge = (0, 2, 5, 9)[node] + source
            assert operation in kept[kind][edge], "a masked candidate was chosen"


def test_metrics(pipeline):
    metrics = pipeline.metrics

    assert {
        "prune/seconds",
        "prune/kept_fraction",
        "search/seconds",
        "search/val_acc",
        "search/step_activations_mib",
        "search/peak_live_mib",
        "total/search_seconds",
        "evaluate/peak_live_mib",
        "evaluate/seconds",
        "evaluate/test_acc",
        "evaluate/val_acc",
        "evaluate/params",
        "evaluate/macs",
    } <= set(metrics)
    assert all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in metrics.values())
    assert metrics["prune/kept_fraction"] == 0.5
    assert metrics["total/search_seconds"] == pytest.approx(metrics["prune/seconds"] + metrics["search/seconds"])
    images = {key: metrics[key] for key in metrics if key.endswith(("_images", "/image_size_px"))}
    assert images == {
        **dict.fromkeys(("prune/image_size_px", "search/image_size_px", "evaluate/image_size_px"), 8),
        **{"search/val_images": 80, "evaluate/val_images": 40, "evaluate/test_images": 360},
    }
    for key, value in metrics.items():
        assert key.split("/")[0] in ("prune", "search", "evaluate", "total")
        assert value >= 0
        if key.endswith("_acc"):
            assert value <= 1
    assert metrics["evaluate/params"] == int(metrics["evaluate/params"]) > 1000
    assert metrics["evaluate/macs"] > metrics["evaluate/params"]
    assert not any("peak_allocated" in key or "peak_reserved" in key for key in metrics)  # CUDA only


def test_what_a_run_returns(pipeline):
    assert pipeline.value == pipeline.metrics["search/val_acc"]


def test_history_has_a_row_a_stage_and_epoch(pipeline):
    rows = history(pipeline.path)

    assert [(row["stage"], row["epoch"]) for row in rows] == [("search", "0"), ("search", "1"), ("evaluate", "0")]
    last = rows[1]
    assert float(last["search/val_acc"]) == pipeline.metrics["search/val_acc"]
    assert float(last["search/train_loss"]) == pipeline.metrics["search/train_loss"]
    assert rows[2]["search/val_acc"] == ""


def test_history_has_what_a_search_looks_like_in_its_own_epoch(pipeline):
    """Learning rate, entropy and skips are logged at the end of an epoch; none may be late by one."""
    first, last = history(pipeline.path)[:2]

    assert float(first["search/learning_rate"]) == pytest.approx(0.1)  # a cosine of two epochs, at 0 and at a half
    assert float(last["search/learning_rate"]) == pytest.approx(0.05)
    for key in ("search/entropy_normal_nats", "search/skip_connects_reduce"):
        assert float(last[key]) == pipeline.metrics[key]


def test_status(pipeline):
    assert read_status(pipeline.path) == {
        "format": 1,
        "stage": "evaluate",
        "state": "done",
        "stages_done": ["prune", "search", "evaluate"],
        "error": None,
        "overrides_hash": overrides_hash([]),
    }


def test_search_alone_is_that_of_the_pipeline(pipeline, tmp_path):
    mask = f"mask={pipeline.path / 'mask.json'}"
    alone = run(tmp_path, "seed=1", "searcher.epochs=2", "stage=search", mask, "evaluation.holdout_fraction=0.2")

    assert read(tmp_path / "genotype.json") == read(pipeline.path / "genotype.json")
    assert alone.value == pipeline.value
    assert same(weights(tmp_path / "checkpoints/search.ckpt"), weights(pipeline.path / "checkpoints/search.ckpt"))
    assert read(tmp_path / "mask.json") == read(pipeline.path / "mask.json")  # a copy of what it worked on
    assert not any(key.startswith(("prune/", "evaluate/", "total/")) for key in alone.metrics)
    assert read_status(tmp_path)["stages_done"] == ["search"]
    assert "figures/mask.png" not in files(tmp_path)


def test_evaluation_alone_is_that_of_the_pipeline(pipeline, tmp_path):
    genotype = pipeline.path / "genotype.json"
    alone = run(
        tmp_path,
        "seed=1",
        "stage=evaluate",
        f"genotype={genotype}",
        "evaluation.holdout_fraction=0.2",
        "logger=csv",
        "optimized_metric=evaluate/val_acc",
    )

    for key in ("evaluate/test_acc", "evaluate/val_acc", "evaluate/train_loss", "evaluate/params"):
        assert alone.metrics[key] == pipeline.metrics[key]
    assert alone.value == pipeline.metrics["evaluate/val_acc"]
    assert same(weights(tmp_path / "checkpoints/evaluate.ckpt"), weights(pipeline.path / "checkpoints/evaluate.ckpt"))
    assert read(tmp_path / "genotype.json") == read(genotype)
    assert any(name.startswith("csv/") and name.endswith("metrics.csv") for name in files(tmp_path))


def test_a_holdout_that_a_given_genotype_may_have_seen(pipeline, tmp_path, caplog):
    genotype = f"genotype={pipeline.path / 'genotype.json'}"
    run(tmp_path, "stage=evaluate", genotype, "evaluation.holdout_fraction=0.1")
    assert "its search may have seen the images that `evaluation.holdout_fraction=0.1` holds out" in caplog.text


def test_the_time_of_a_search_is_that_of_its_own_pruning(tmp_path):
    """One that searches a given mask knows none, whatever an earlier run has left in its folder."""
    assert "total/search_seconds" in run(tmp_path, "stage=search", "pruner=none").metrics
    evaluated = run(tmp_path, "stage=evaluate", f"genotype={tmp_path / 'genotype.json'}")
    assert "total/search_seconds" in evaluated.metrics
    searched = run(tmp_path, "stage=search", f"mask={tmp_path / 'mask.json'}", "overwrite=true")
    assert "total/search_seconds" not in searched.metrics


def test_without_a_holdout_there_is_no_val_acc(pipeline, tmp_path, caplog):
    genotype = f"genotype={pipeline.path / 'genotype.json'}"
    alone = run(tmp_path, "seed=2", genotype, "optimized_metric=evaluate/val_acc")

    assert "evaluate/val_acc" not in alone.metrics
    assert alone.value is None
    assert "evaluate/val_acc, which is to be optimised, was not measured by this run; it has evaluate/" in caplog.text
    assert history(tmp_path)[-1]["evaluate/test_acc"] == str(alone.metrics["evaluate/test_acc"])
    assert not same(
        weights(tmp_path / "checkpoints/evaluate.ckpt"), weights(pipeline.path / "checkpoints/evaluate.ckpt")
    )


@pytest.mark.parametrize(("seed", "equal"), [(1, True), (2, False)])
def test_random_mask_depends_on_the_seed_alone(pipeline, tmp_path, seed, equal):
    run(tmp_path, "stage=prune", f"seed={seed}")

    assert (Mask.load(tmp_path / "mask.json") == Mask.load(pipeline.path / "mask.json")) == equal


def test_nothing_pruned(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        found = run(tmp_path, "stage=prune", "pruner=none")

    content = read(tmp_path / "mask.json")
    assert (content["ratio"], content["pruner"]) == (1.0, "none")
    assert found.metrics["prune/kept_fraction"] == 1.0
    assert found.value is None
    assert "`ratio=0.5` has no effect with pruner=none" in caplog.text
    assert "to be optimised" not in caplog.text  # no search, no accuracy: nothing to warn about


SMALL = (  # a scoring network of a few channels, on few images
    "stage=prune",
    "pruner.network.init_channels=2",
    "pruner.batch_size=6",
    "pruner.image_size=8",
)


def test_scores_that_tell_nothing_apart_are_a_clear_error(tmp_path):
    """Two patches far from each other lie in two regions, whatever is removed."""
    regions = "pruner.rankers.linear_regions"
    overrides = ["pruner=linear_regions", "pruner.repeats=1", f"{regions}.num_patches=2", f"{regions}.spread=1.0"]
    with pytest.raises(ConfigError, match=r"none of 1 repeat.* linear_regions gives all 224 candidates the same score"):
        run(tmp_path, *SMALL, *overrides, "ratio=0.875")


def test_nngp_removes_the_least_important(tmp_path):
    """One round: 8 * 0.875 = 7 candidates are kept on every edge."""
    found = run(tmp_path, *SMALL, "pruner=nngp", "ratio=0.875", "pruner.repeats=1")

    content = read(tmp_path / "mask.json")
    assert (content["ratio"], content["pruner"]) == (0.875, "nngp")
    assert found.metrics["prune/kept_fraction"] == 0.875
    for kind in ("normal", "reduce"):
        for names, scores in zip(content["kept"][kind], content["importance"][kind], strict=True):
            assert len(scores) == 8
            [dropped] = set(scores) - set(names)
            assert scores[dropped] == min(scores.values())
    assert [row["stage"] for row in history(tmp_path)] == ["prune"]
    assert files(tmp_path) == {
        "mask.json", "metrics.json", "history.csv", "status.json", "made_with.json", "figures/mask.png",
        "checkpoints/prune.ckpt",
    }  # fmt: skip
    assert set(found.metrics) == {
        "prune/kept_fraction",
        "prune/seconds",
        "prune/image_size_px",
        "prune/nngp_frobenius",
        "prune/repeats",
        "prune/repeats_dropped",
        "prune/agreement_chance",
    }


def test_every_pruning_says_how_far_it_can_be_relied_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    settings = (*SMALL, "pruner=nngp", "pruner.repeats=auto", "pruner.max_repeats=3", "pruner.rounds=1")
    found = run(tmp_path, *settings)

    metrics = found.metrics
    assert (metrics["prune/repeats"], metrics["prune/repeats_dropped"]) == (3, 0)
    assert metrics["prune/agreement_chance"] == 0.5
    assert 0.5 <= metrics["prune/agreement"] <= 1
    assert f"agree on {metrics['prune/agreement']:.0%} of all candidates (chance 50%)" in " ".join(
        capsys.readouterr().out.split()
    )
    [row] = history(tmp_path)
    assert float(row["prune/agreement"]) == metrics["prune/agreement"]


def test_a_pruning_is_reproducible(tmp_path):
    settings = (*SMALL, "space=nasbench201", "space.num_cells=3", "pruner=snip", "pruner.max_repeats=2")
    masks = [run(tmp_path / str(i), *settings, f"seed={seed}") for i, seed in enumerate((1, 1, 2))]
    first, again, other = (read(found.path / "mask.json") for found in masks)

    assert first == again
    assert other["kept"] != first["kept"]
    assert first["pruner"] == "snip"


def test_two_ranking_functions_of_which_one_has_no_derivatives(tmp_path):
    settings = (*SMALL, "pruner=[synflow,naswot]", "pruner.repeats=1", "pruner.rounds=1", "space.num_cells=3")
    found = run(tmp_path, *settings, "space=nasbench201", "pruner.network.num_cells=3")

    assert {"prune/synflow", "prune/naswot"} <= set(found.metrics)
    assert [len(edge) for edge in read(tmp_path / "mask.json")["kept"]["cell"]] == [3] * 6


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_stage_that_fails(tmp_path, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("disk on fire")

    finished = []
    monkeypatch.setattr("halfnas.data.SearchData.train_dataloader", broken)
    monkeypatch.setattr("halfnas.jobs.job.finish", lambda loggers, *, failed: finished.append(failed))
    with pytest.raises(RuntimeError, match="disk on fire"):
        run(tmp_path)

    status = read_status(tmp_path)
    assert (status["state"], status["stage"], status["error"]) == ("failed", "search", "disk on fire")
    assert status["stages_done"] == ["prune"]
    assert finished == [True]
    assert not any(key.startswith("search/") for key in read(tmp_path / "metrics.json"))
    assert files(tmp_path) == {"mask.json", "metrics.json", "status.json", "made_with.json", "figures/mask.png"}


def test_an_error_in_the_middle_of_training(tmp_path, monkeypatch):
    def broken(*args):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("halfnas.search.BilevelSearch.training_step", broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(tmp_path)

    assert (read_status(tmp_path)["state"], read_status(tmp_path)["stages_done"]) == ("failed", ["prune"])
    assert "genotype.json" not in files(tmp_path)


def test_interruption_is_a_failure(tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("halfnas.search.BilevelSearch.training_step", interrupted)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(tmp_path)

    assert (read_status(tmp_path)["state"], read_status(tmp_path)["stage"]) == ("failed", "search")
    assert "genotype.json" not in files(tmp_path)


def test_bad_settings_leave_a_status_and_nothing_else(tmp_path):
    with pytest.raises(ConfigError, match="2 settings"):
        run(tmp_path, "ratio=1.5", "searcher.partial_channels=3")

    status = read_status(tmp_path)
    assert (status["state"], status["stage"], status["stages_done"]) == ("failed", None, [])
    assert "`ratio` must be" in status["error"]
    assert files(tmp_path) == {"status.json"}


def test_images_that_cannot_be_had(tmp_path, monkeypatch):
    def prepare(self):
        raise ValueError("`paths.data_dir`=/x holds no CIFAR-10")

    monkeypatch.setattr("halfnas.data.Digits.prepare", prepare)
    with pytest.raises(ConfigError, match="holds no CIFAR-10"):
        run(tmp_path)

    assert files(tmp_path) == {"status.json"}


@pytest.mark.parametrize("images", [10, 2])
def test_too_few_images_are_found_before_anything_is_trained(tmp_path, images):
    with pytest.raises(ConfigError, match="max_train_images"):
        run(tmp_path, "pruner=nngp", f"dataset.max_train_images={images}")

    assert files(tmp_path) == {"status.json"}


def test_a_folder_used_again_holds_the_last_run_alone(tmp_path):
    for _ in range(2):
        run(tmp_path, "stage=evaluate", "genotype=darts_v2")
    assert [row["stage"] for row in history(tmp_path)] == ["evaluate"]
    with pytest.raises(Refused, match="has a result of stage=evaluate, of what would be made anew"):
        run(tmp_path, "stage=prune")
    run(tmp_path, "stage=prune", "overwrite=true")  # what came of another mask goes, too
    assert not (tmp_path / "genotype.json").exists()
    assert not [key for key in read_json(tmp_path / "metrics.json") if key.startswith("evaluate/")]


def test_stages_run_one_by_one_in_a_folder_add_up(tmp_path):
    run(tmp_path, "stage=prune")
    run(tmp_path, "stage=search", f"mask={tmp_path / 'mask.json'}")
    run(tmp_path, "stage=evaluate", f"genotype={tmp_path / 'genotype.json'}")
    assert {key.split("/")[0] for key in read_json(tmp_path / "metrics.json")} == {"prune", "search", "evaluate"}
    assert [row["stage"] for row in history(tmp_path)] == ["search", "evaluate"]
    assert (tmp_path / "mask.json").exists()


@pytest.mark.parametrize(
    ("epochs", "every", "expected"), [(600, 5, 5), (50, 5, 5), (7, 5, 1), (8, 5, 4), (1, 5, 1), (3, 5, 3), (10, 1, 1)]
)
def test_the_last_epoch_is_validated(epochs, every, expected):
    assert divisor(epochs, every) == expected
