"""Runs read from folders as train.py leaves them, and as an interruption leaves them."""

import json
import logging
import os

import pytest
import yaml
from hydra.utils import get_object

from halfnas.reporting.groups import group_runs
from halfnas.reporting.runs import NO_STATUS, NOT_STARTED, REPEATED, load_runs, read_run
from halfnas.reporting.settings import CHECKED
from halfnas.spaces import Mask, load_space

CONFIG = {
    "dataset": {
        "_target_": "halfnas.data.Digits",
        "num_workers": 0,
        "on_device": "auto",
        "root": "data",
        "mean": [0.3],
    },
    "space": {"_target_": "halfnas.spaces.DartsSpace", "num_cells": 3},
    "pruner": {"name": "nngp", "repeats": "auto", "network": {"num_cells": 3}},
    "searcher": {"epochs": 20, "regularizer": {"weight": 25.0}},
    "evaluation": {"epochs": 30},
    "logger": {"wandb": {"project": "halfnas"}},
    "callbacks": {"progress": {"_target_": "halfnas.callbacks.StageProgress", "every": 5}},
    "paths": {"data_dir": "data"},
    "stage": "pipeline",
    "ratio": 0.5,
    "seed": 0,
    "mask": None,
    "name": None,
    "optimized_metric": "search/val_acc",
}
CHOICES = {"dataset": "digits", "space": "darts", "pruner": "nngp", "searcher": "beta_pcdarts", "evaluation": "darts"}
METRICS = {"prune/seconds": 1.0, "search/seconds": 2.5, "evaluate/seconds": 4.0, "evaluate/test_acc": 0.97}


def write(folder, state="done", *, metrics=METRICS, choices=None, error=None, **changed):
    """A job's folder; `changed` are values of its configuration, a__b for a.b."""
    config = json.loads(json.dumps(CONFIG))
    for key, value in changed.items():
        *above, last = key.split("__")
        node = config
        for name in above:
            node = node[name]
        node[last] = value
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump(config))
    hydra = {"hydra": {"runtime": {"choices": CHOICES | (choices or {}), "cwd": "/launched"}}}
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(hydra))
    if state is not None:
        (folder / "status.json").write_text(json.dumps({"format": 1, "state": state, "error": error}))
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_a_done_run(tmp_path):
    run = read_run(write(tmp_path / "a", seed=3))
    assert (run.path, run.state, run.done, run.error, run.seed) == (tmp_path / "a", "done", True, None, 3)
    assert run.metrics == METRICS | {"total/seconds": 7.5}
    assert {key: run.settings[key] for key in CHOICES} == CHOICES
    assert run.settings["ratio"] == 0.5
    assert run.settings["pruner.network.num_cells"] == 3
    assert run.settings["searcher.regularizer.weight"] == 25.0
    assert run.settings["dataset.mean"] == "[0.3]"
    assert run.settings["mask"] is None


def test_what_does_not_change_the_outcome_is_no_setting(tmp_path):
    run = read_run(write(tmp_path / "a", optimized_budget=1.0, budget_metric="a"))
    ignored = ("seed", "name", "optimized_metric", "optimized_budget", "budget_metric", "paths", "logger")
    assert not {*ignored, "dataset.num_workers"} & run.settings.keys()
    assert not [key for key in run.settings if key.startswith(("logger.", "paths.", "callbacks."))]
    other = write(tmp_path / "b", name="mine", dataset__num_workers=4, paths__data_dir="/data")
    assert read_run(other).settings == run.settings


def test_a_folder_may_hold_other_images(tmp_path):
    def settings(name, **changed):
        return read_run(write(tmp_path / name, dataset__root="${paths.data_dir}", **changed)).settings

    ours, theirs = settings("a", paths__data_dir="/ours"), settings("b", paths__data_dir="/theirs")
    assert (ours["dataset.root"], theirs["dataset.root"]) == ("/ours", "/theirs")
    assert settings("c", paths__data_dir="${hydra:runtime.cwd}/data")["dataset.root"] == "/launched/data"


@pytest.mark.parametrize("target", CHECKED)
def test_a_folder_of_images_that_are_checked_changes_nothing(tmp_path, target):
    get_object(target)
    runs = [read_run(write(tmp_path / root, dataset__root=root, dataset___target_=target)) for root in ("a", "b")]
    assert runs[0].settings == runs[1].settings
    assert "dataset.root" not in runs[0].settings


def test_callbacks_of_others_may_change_anything(tmp_path):
    average = {"_target_": "lightning.pytorch.callbacks.EMAWeightAveraging", "decay": 0.9}
    run = read_run(write(tmp_path / "a", callbacks__average=average))
    assert run.settings["callbacks.average.decay"] == 0.9
    assert not any(key.startswith("callbacks.progress") for key in run.settings)


def test_where_the_images_lie_is_told_apart(tmp_path):
    """Held on the device they are part of its peaks of memory."""
    runs = [read_run(write(tmp_path / str(where), dataset__on_device=where)) for where in (True, False)]
    assert runs[0].settings != runs[1].settings


@pytest.mark.parametrize(("name", "is_ignored"), [("dataset.num_workers", True), ("name_of_mine", False)])
def test_only_whole_names_are_ignored(tmp_path, name, is_ignored):
    run = read_run(write(tmp_path / "a", name_of_mine=1))
    assert (name not in run.settings) == is_ignored


def test_nothing_pruned_is_ratio_1(tmp_path):
    run = read_run(write(tmp_path / "a", choices={"pruner": "none"}, pruner__name="none", ratio=0.25))
    assert (run.settings["pruner"], run.settings["ratio"]) == ("none", 1.0)


def test_several_rankers_are_no_choice_of_hydras(tmp_path):
    """Hydra notes none for pruner=[synflow,naswot]."""
    run = read_run(write(tmp_path / "a", choices={"pruner": None}, pruner__name="naswot"))
    assert run.settings["pruner"] == "naswot"


@pytest.mark.parametrize("content", [None, "", "hydra:", "hydra: {runtime: null}", "- 1"])
def test_without_hydras_choices_the_names_do(tmp_path, content):
    folder = write(tmp_path / "a")
    (folder / ".hydra" / "hydra.yaml").unlink()
    if content is not None:
        (folder / ".hydra" / "hydra.yaml").write_text(content)
    run = read_run(folder)
    assert run.done
    assert (run.settings["pruner"], run.settings["dataset"]) == ("nngp", None)


@pytest.mark.parametrize(
    ("setting", "metric", "value", "expected"),
    [
        ("searcher.partial_channels", "search/partial_channels", 4.0, 4),
        ("evaluation.auxiliary", "evaluate/auxiliary_heads", 0.0, False),
    ],
)
def test_auto_is_what_was_used(tmp_path, setting, metric, value, expected):
    key = setting.replace(".", "__")
    found = [
        read_run(write(tmp_path / name, metrics=metrics, **{key: chosen})).settings[setting]
        for name, chosen, metrics in [
            ("a", "auto", {metric: value}),
            ("b", "auto", {}),
            ("c", expected, {metric: value}),
        ]
    ]
    assert found == [expected, "auto", expected]
    assert type(found[0]) is type(expected)


@pytest.mark.parametrize(("state", "error"), [("failed", "CUDA out of memory"), ("running", None)])
def test_runs_that_do_not_count(tmp_path, state, error):
    run = read_run(write(tmp_path / "a", state, error=error, metrics={"prune/seconds": 1.0}))
    assert (run.state, run.error, run.done) == (state, error, False)
    assert run.metrics == {"prune/seconds": 1.0, "total/seconds": 1.0}


def test_no_metrics_yet(tmp_path):
    run = read_run(write(tmp_path / "a", "running", metrics=None))
    assert (run.state, run.metrics) == ("running", {})


def test_no_status(tmp_path):
    run = read_run(write(tmp_path / "a", None))
    assert (run.state, run.done) == (NO_STATUS, False)
    assert run.error.endswith("status.json: no such file")
    assert run.settings["ratio"] == 0.5


@pytest.mark.parametrize("content", ['{"format": 1, "sta', "", "[]", "\xff\xfe"])
@pytest.mark.parametrize("name", ["status.json", "metrics.json"])
def test_files_cut_short(tmp_path, name, content):
    folder = write(tmp_path / "a")
    (folder / name).write_bytes(content.encode("latin-1"))
    run = read_run(folder)
    assert (run.state, run.done) == (NO_STATUS, False)
    assert name in run.error
    assert run.settings["ratio"] == 0.5
    assert (run.seed, run.metrics) == (0, {})


@pytest.mark.parametrize("content", ["{}", '{"state": null}'])
def test_a_status_that_says_nothing(tmp_path, content):
    folder = write(tmp_path / "a")
    (folder / "status.json").write_text(content)
    assert read_run(folder).state == NO_STATUS


def test_metrics_that_are_no_numbers_are_left_out(tmp_path):
    run = read_run(write(tmp_path / "a", metrics={"search/seconds": None, "a": "b", "c": True, "prune/seconds": 2}))
    assert run.metrics == {"prune/seconds": 2, "total/seconds": 2}


@pytest.mark.parametrize("content", [b"a: [1, 2\nb: {", b"\xff\xfe\xff", b"a: &x *y"])
@pytest.mark.parametrize("name", ["config.yaml", "hydra.yaml"])
def test_a_configuration_that_cannot_be_read(tmp_path, name, content):
    folder = write(tmp_path / "a")
    (folder / ".hydra" / name).write_bytes(content)
    run = read_run(folder)
    assert (run.state, run.settings) == (NO_STATUS, {})
    assert f"{name}: cannot be read (" in run.error
    assert "\n" not in run.error


@pytest.mark.parametrize("content", [None, "", "- 1\n- 2\n"])
def test_no_configuration(tmp_path, content):
    folder = write(tmp_path / "a")
    (folder / ".hydra" / "config.yaml").unlink()
    if content is not None:
        (folder / ".hydra" / "config.yaml").write_text(content)
    run = read_run(folder)
    assert (run.state, run.done, run.seed, run.settings) == (NO_STATUS, False, None, {})
    assert run.error == f"{folder / '.hydra'}: no configuration"


def test_its_other_files(tmp_path):
    folder = write(tmp_path / "a")
    run = read_run(folder)
    assert (run.history, run.mask, run.genotype) == ([], None, None)
    (folder / "history.csv").write_text("stage,epoch,search/val_acc\nsearch,0,0.5\n")
    mask = Mask.random(load_space("darts"), 0.5, 0)
    mask.save(folder / "mask.json")
    run = read_run(folder)
    assert run.history == [{"stage": "search", "epoch": "0", "search/val_acc": "0.5"}]
    assert run.mask == mask
    assert run.genotype is None


def names(runs, top):
    return [str(run.path.relative_to(top)) for run in runs]


def test_runs_are_found_wherever_they_lie(tmp_path):
    for path in ("multirun/day/time/seed-1", "multirun/day/time/seed-0", "outputs/day/later", "outputs/day/sooner"):
        write(tmp_path / path, seed=len(path) + ord(path[-1]))
    found = load_runs([tmp_path])
    assert names(found, tmp_path) == [
        "multirun/day/time/seed-0",
        "multirun/day/time/seed-1",
        "outputs/day/later",
        "outputs/day/sooner",
    ]
    assert names(load_runs([tmp_path / "outputs"]), tmp_path) == ["outputs/day/later", "outputs/day/sooner"]
    assert names(load_runs([tmp_path / "outputs/day/later"]), tmp_path) == ["outputs/day/later"]


def test_paths_that_overlap_and_paths_as_text(tmp_path, monkeypatch):
    write(tmp_path / "sweep" / "a", seed=0)
    write(tmp_path / "sweep" / "b", seed=1)
    (tmp_path / "sweep" / "sweep.json").write_text(json.dumps({"jobs": ["a", "b", "c"]}))
    (tmp_path / "link").symlink_to(tmp_path / "sweep")
    monkeypatch.chdir(tmp_path)
    given = ["sweep", tmp_path, "sweep/a", "sweep/../sweep", "link"]
    assert names(load_runs(given), tmp_path) == ["sweep/a", "sweep/b", "sweep/c"]
    assert names(load_runs(path for path in given), tmp_path) == ["sweep/a", "sweep/b", "sweep/c"]


def test_nothing_within_a_run_or_hidden_is_a_run(tmp_path):
    run = write(tmp_path / "a")
    write(run / "checkpoints" / "inner")
    (run / "copy").mkdir()
    (run / "copy" / "sweep.json").write_text(json.dumps({"jobs": ["never"]}))
    write(tmp_path / ".trash" / "b")
    assert names(load_runs([tmp_path]), tmp_path) == ["a"]


def test_a_folder_with_nothing_but_a_status_is_a_run(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "status.json").write_text('{"state": "done"}')
    [run] = load_runs([tmp_path])
    assert (run.state, run.settings) == (NO_STATUS, {})


@pytest.mark.parametrize("jobs", [["a", "b", "c/d"], {"a": ["seed=0"], "b": ["seed=1"], "c/d": ["seed=2"]}])
def test_jobs_that_never_started(tmp_path, jobs):
    write(tmp_path / "a")
    (tmp_path / "sweep.json").write_text(json.dumps({"format": 1, "jobs": jobs}))
    found = load_runs([tmp_path])
    assert [(str(run.path.relative_to(tmp_path)), run.state) for run in found] == [
        ("a", "done"),
        ("b", NOT_STARTED),
        ("c/d", NOT_STARTED),
    ]
    assert (found[1].seed, found[1].settings, found[1].metrics, found[1].error) == (None, {}, {}, None)
    assert len(group_runs(found)) == 1


def test_a_sweep_none_of_whose_jobs_started(tmp_path):
    (tmp_path / "sweep.json").write_text(json.dumps({"jobs": ["a"]}))
    assert [run.state for run in load_runs([tmp_path])] == [NOT_STARTED]


def test_a_list_of_jobs_that_cannot_be_read(tmp_path, caplog):
    write(tmp_path / "a")
    (tmp_path / "sweep.json").write_text('{"jobs": ["a", ')
    with caplog.at_level(logging.WARNING):
        assert names(load_runs([tmp_path]), tmp_path) == ["a"]
    assert "Jobs that have not started are not listed: " in caplog.text
    assert "sweep.json: not complete JSON" in caplog.text


def test_no_such_folder(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(ValueError, match=f"{path.name}: no such folder"):
            load_runs([tmp_path, path])


def test_no_run(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(ValueError, match=r"no run in .*a, .*: a run's folder has a status.json or a .hydra folder"):
        load_runs(path for path in (tmp_path / "a", str(tmp_path)))


def finished(folder, time):
    os.utime(folder / "status.json", (time, time))
    return folder


def test_of_repeated_runs_the_last_one_counts(tmp_path):
    finished(write(tmp_path / "a"), 300)
    finished(write(tmp_path / "b"), 100)
    finished(write(tmp_path / "c"), 200)
    finished(write(tmp_path / "other_seed", seed=1), 100)
    finished(write(tmp_path / "other_ratio", ratio=0.25), 100)
    states = {run.path.name: run.state for run in load_runs([tmp_path])}
    assert states == {"a": "done", "b": REPEATED, "c": REPEATED, "other_seed": "done", "other_ratio": "done"}
    repeated = load_runs([tmp_path])[1]
    assert (repeated.error, repeated.done) == ("done again elsewhere, later", False)
    assert (repeated.seed, repeated.metrics["evaluate/test_acc"]) == (0, 0.97)


def test_of_runs_that_ended_together_the_last_path_counts(tmp_path):
    for name in ("a", "b"):
        finished(write(tmp_path / name), 100)
    assert [run.state for run in load_runs([tmp_path])] == [REPEATED, "done"]


@pytest.mark.parametrize("state", ["failed", "running", None])
def test_a_run_that_failed_takes_no_other_away(tmp_path, state):
    finished(write(tmp_path / "a"), 100)
    folder = write(tmp_path / "b", state)
    if state is not None:
        finished(folder, 200)
    assert [run.state for run in load_runs([tmp_path])] == ["done", state or NO_STATUS]


def test_nothing_pruned_is_repeated_whatever_the_ratio(tmp_path):
    for ratio in (0.25, 0.5):
        write(tmp_path / str(ratio), choices={"pruner": "none"}, ratio=ratio)
    assert sorted(run.state for run in load_runs([tmp_path])) == ["done", REPEATED]
