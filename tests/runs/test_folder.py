"""The files of a run, without a run."""

import csv
import json
import math
import os

import pytest

from halfnas.runs.folder import RunFolder, read_metrics
from halfnas.runs.history import append_history, read_history
from halfnas.runs.made_with import read_made_with
from halfnas.runs.status import mark_failed, read_status


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


HISTORY = "stage,epoch,search/val_acc,mood\nsearch,0,0.5,\n\nsearch,1,,fine\n"


def test_a_history(tmp_path):
    path = tmp_path / "history.csv"
    assert read_history(path) == []
    for mark in ("", "\ufeff"):
        path.write_text(mark + HISTORY, encoding="utf-8")
        assert read_history(path) == [
            {"stage": "search", "epoch": "0", "search/val_acc": "0.5", "mood": ""},
            {"stage": "search", "epoch": "1", "search/val_acc": "", "mood": "fine"},
        ]
    path.write_text("stage,epoch,search/loss\nsearch,0,nan\n")  # as a run that diverges may leave it
    assert read_history(path) == [{"stage": "search", "epoch": "0", "search/loss": "nan"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "its columns must be stage, epoch and others, each once, got \\[\\]"),
        ("stage,loss\nsearch,1\n", r"its columns must be .* got \['stage', 'loss'\]"),
        ("stage,epoch,a,a\n", r"its columns must be"),
        (HISTORY + "search,2\n", "row 3 has 2 of 4 columns"),
        (HISTORY + "search,2,0.5,a,b\n", "row 3 has 5 of 4 columns"),
        (HISTORY + HISTORY, "row 3 has no number under 'epoch', but 'epoch'"),
        (HISTORY.replace("0.5", "half"), "row 1 has no number under 'search/val_acc', but 'half'"),
        (HISTORY.replace(",1,", ",1.5,"), "row 2 has no number under 'epoch', but '1.5'"),
        (HISTORY.replace(",1,", f",{'9' * 400},"), r"row 2 has no number under 'epoch', but '9+\.\.\.9+'"),
        (HISTORY.replace("fine", "\0"), "it has a NUL"),
        (HISTORY + '"', "unexpected end of data"),
        (HISTORY.replace("fine", "f" * 10**6), "field larger than field limit"),
        (HISTORY.encode("utf-16"), "byte 0 is not UTF-8"),
    ],
    ids=lambda text: "" if "\n" in str(text) or isinstance(text, bytes) else None,
)
def test_a_damaged_history(tmp_path, content, message):
    (tmp_path / "history.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=rf"history\.csv: not complete CSV \({message}") as caught:
        read_history(tmp_path / "history.csv")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("read", [lambda path: read_history(path / "history.csv"), read_metrics, read_status])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("gone")])
def test_what_is_no_file(tmp_path, read, make):
    for name in ("history.csv", "metrics.json", "status.json"):
        make(tmp_path / name)
    with pytest.raises(ValueError, match=r"(csv|json): (cannot be read \(not a regular file\)|no such file)$"):
        read(tmp_path)


def test_metrics(tmp_path):
    assert read_metrics(tmp_path) == {}
    (tmp_path / "metrics.json").write_text('{"a": 1, "b": 0.5}')
    assert read_metrics(tmp_path) == {"a": 1, "b": 0.5}


@pytest.mark.parametrize("value", ["null", "true", '"1"', "[1]", "{}"])
def test_metrics_that_are_no_numbers(tmp_path, value):
    (tmp_path / "metrics.json").write_text(f'{{"a": 1, "b": {value}}}')
    with pytest.raises(ValueError, match=r"metrics\.json: `b` must be a number, got "):
        read_metrics(tmp_path)


def test_a_short_status(tmp_path):
    (tmp_path / "status.json").write_text('{"format": 1, "state": "running"}')
    assert read_status(tmp_path) == {
        "format": 1, "stage": None, "state": "running", "stages_done": [], "error": None, "overrides_hash": None
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"format": 2}, "`format` must be 1, got 2"),
        ({"state": None}, "`state` must be running, done or failed, got None"),
        ({"state": "lost"}, "`state` must be running, done or failed, got 'lost'"),
        ({"state": {"a": 1}}, "`state` must be running"),
        ({"error": ["a"]}, r"`error` must be a text or null, got \['a'\]"),
        ({"stage": 1}, "`stage` must be a name or null, got 1"),
        ({"stages_done": "prune"}, "`stages_done` must be a list of names, got 'prune'"),
        ({"overrides_hash": 5}, "`overrides_hash` must be a text or null, got 5"),
    ],
)
def test_a_status_of_wrong_types(tmp_path, changed, message):
    (tmp_path / "status.json").write_text(json.dumps({"format": 1, "state": "done"} | changed))
    with pytest.raises(ValueError, match=rf"status\.json: {message}"):
        read_status(tmp_path)
    mark_failed(tmp_path, "killed")
    status = read_status(tmp_path)
    assert (status["state"], status["error"]) == ("failed", "killed")
