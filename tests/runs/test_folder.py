"""The files of a run, without a run."""

import csv
import json
import math

import pytest

from halfnas.runs.folder import RunFolder, append_history, read_status
from halfnas.runs.made_with import read_made_with


def test_status_follows_the_run(tmp_path):
    folder = RunFolder(tmp_path / "job", "0123abcd")
    common = {"format": 1, "error": None, "overrides_hash": "0123abcd"}

    folder.begin("prune")
    assert read_status(folder.path) == common | {"stage": "prune", "state": "running", "stages_done": []}
    folder.end({"prune/seconds": 1.5})
    folder.done({"seed": 0})
    assert read_status(folder.path) == common | {"stage": "prune", "state": "running", "stages_done": ["prune"]}
    folder.begin("search")
    assert read_status(folder.path) == common | {"stage": "search", "state": "running", "stages_done": ["prune"]}
    folder.end({"search/seconds": 2.5})
    folder.done({"seed": 1})
    assert read_made_with(folder.path) == {"prune": {"seed": 0}, "search": {"seed": 1}}
    folder.finish()
    assert read_status(folder.path) == common | {
        "stage": "search",
        "state": "done",
        "stages_done": ["prune", "search"],
    }


def test_failure_names_stage_and_error(tmp_path):
    folder = RunFolder(tmp_path, "h")
    folder.begin("prune")
    folder.end({})
    folder.done({})
    folder.begin("search")
    folder.fail(RuntimeError("no more memory"))

    status = read_status(tmp_path)
    assert (status["state"], status["stage"], status["error"]) == ("failed", "search", "no more memory")
    assert status["stages_done"] == ["prune"]


def test_failure_before_any_stage(tmp_path):
    RunFolder(tmp_path, "h").fail(KeyboardInterrupt())

    status = read_status(tmp_path)
    assert (status["state"], status["stage"], status["error"]) == ("failed", None, "interrupted")


def test_metrics_are_gathered(tmp_path):
    folder = RunFolder(tmp_path, "h")
    folder.begin("prune")
    folder.end({"prune/seconds": 1.5})
    folder.begin("search")
    folder.end({"search/val_acc": 0.5})

    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == {"prune/seconds": 1.5, "search/val_acc": 0.5}
    assert folder.metrics == metrics


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_metric_is_dropped(tmp_path, value):
    folder = RunFolder(tmp_path, "h")
    folder.begin("prune")
    folder.end({"prune/seconds": 1.5})
    folder.begin("search")
    with pytest.raises(ValueError, match=r"metrics\.json: `search/loss` is (nan|inf)"):
        folder.end({"search/val_acc": 0.5, "search/loss": value})

    assert json.loads((tmp_path / "metrics.json").read_text()) == {"prune/seconds": 1.5}
    assert folder.metrics == {"prune/seconds": 1.5}


def test_end_needs_a_beginning(tmp_path):
    with pytest.raises(AssertionError, match="after it has begun"):
        RunFolder(tmp_path, "h").done({})


def test_nothing_is_written_before_it_is_known(tmp_path):
    RunFolder(tmp_path / "job", "h")

    assert list(tmp_path.iterdir()) == []


def test_history_grows_by_rows_and_columns(tmp_path):
    path = tmp_path / "history.csv"
    append_history(path, {"stage": "search", "epoch": 0, "search/train_loss": 2.5})
    append_history(path, {"stage": "search", "epoch": 1, "search/train_loss": 2.0, "search/val_acc": 0.25})
    append_history(path, {"stage": "evaluate", "epoch": 0, "evaluate/train_loss": 1.5})

    assert path.read_text() == (
        "stage,epoch,search/train_loss,search/val_acc,evaluate/train_loss\n"
        "search,0,2.5,,\n"
        "search,1,2.0,0.25,\n"
        "evaluate,0,,,1.5\n"
    )
    with path.open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3
    assert list(tmp_path.iterdir()) == [path]  # nothing beside it
