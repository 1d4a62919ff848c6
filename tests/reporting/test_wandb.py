"""A report logged to W&B: its place with W&B replaced, and an offline run read back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from matplotlib.figure import Figure

from halfnas.reporting import wandb as reporting_wandb
from halfnas.reporting.runs import Run
from halfnas.reporting.wandb import log_report

LOGGED = {"wandb": {"project": "mine", "entity": "us", "group": None}}


def make_run(folder, logger, *, mode="MULTIRUN", sweep="multirun/2026-01-02/03-04-05", experiment=None):
    choices = {"dataset": "digits", "experiment": experiment}
    hydra = {"hydra": {"mode": mode, "sweep": {"dir": sweep}, "runtime": {"choices": choices}}}
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text(yaml.safe_dump({"logger": logger, "seed": 0}))
    (folder / ".hydra" / "hydra.yaml").write_text(yaml.safe_dump(hydra))
    return Run(folder, "done", None, 0, {"ratio": 0.5}, {})


@pytest.fixture
def report(tmp_path):
    """The folder of a report."""
    folder = tmp_path / "report"
    (folder / "figures").mkdir(parents=True)
    for name in ("accuracy", "memory"):
        Figure(figsize=(1, 1)).savefig(folder / "figures" / f"{name}.png")
        (folder / "figures" / f"{name}.pdf").write_bytes(b"%PDF")
    (folder / "results.csv").write_text("pruner,n,evaluate/test_acc\nnngp,3,0.97\nrandom,2,\n")
    (folder / "report.html").write_text("<html><body>A report</body></html>")
    return folder


@pytest.fixture
def place(monkeypatch):
    """place(*runs): where their report would be logged."""

    def find(*runs):
        seen = {}

        def opened(**arguments):
            seen.update(arguments)
            raise ConnectionRefusedError

        monkeypatch.setattr(reporting_wandb, "wandb_logger", opened)
        with pytest.raises(ConnectionRefusedError):
            log_report(Path("folder"), runs)
        return seen

    return find


def test_it_is_a_run_of_the_sweeps_group(place, tmp_path):
    seen = place(make_run(tmp_path / "a", LOGGED))
    assert (seen["project"], seen["entity"], seen["group"]) == ("mine", "us", "2026-01-02/03-04-05")
    assert (seen["job_type"], seen["name"], seen["save_dir"]) == ("report", "report", "folder")


def test_the_group_is_that_of_the_runs(place, tmp_path):
    """As launch.py gives it."""
    own = {"wandb": LOGGED["wandb"] | {"group": "ours"}}
    assert place(make_run(tmp_path / "own", own))["group"] == "ours"
    assert place(make_run(tmp_path / "short", LOGGED, sweep="sw"))["group"] == "sw"
    assert place(make_run(tmp_path / "single", LOGGED, mode="RUN"))["group"] == "digits"
    assert place(make_run(tmp_path / "named", LOGGED, mode="RUN", experiment="half"))["group"] == "half"


def test_the_first_run_that_was_logged_says_where(place, tmp_path):
    absent = Run(tmp_path / "absent", "not started", None, None, {}, {})
    silent = make_run(tmp_path / "a", {})
    csv = make_run(tmp_path / "b", {"csv": {"save_dir": "x"}})
    assert place(absent, silent, csv, make_run(tmp_path / "c", LOGGED))["project"] == "mine"
    seen = place(absent, silent)
    assert (seen["project"], seen["entity"], seen["group"]) == ("halfnas", None, "2026-01-02/03-04-05")
    assert place()["group"] is None
    assert place(make_run(tmp_path / "d", None))["project"] == "halfnas"


@pytest.mark.parametrize("logger", [5, [1], "wandb", {"wandb": 5}, {"wandb": [1]}, {"wandb": {"project": None}}])
def test_a_logger_of_another_type(place, tmp_path, logger):
    run = make_run(tmp_path / "a", logger)
    (run.path / ".hydra" / "hydra.yaml").write_text("hydra: {mode: MULTIRUN, sweep: 5, runtime: [1]}")
    assert (place(run)["project"], place(run)["entity"]) == ("halfnas", None)


def test_what_hydra_was_to_look_up_is_left_to_wandb(place, tmp_path):
    logger = {"wandb": {"project": "${oc.env:PROJECT}", "entity": "${oc.env:ENTITY}"}}
    seen = place(make_run(tmp_path / "a", logger))
    assert (seen["project"], seen["entity"]) == ("halfnas", None)


def test_a_report_that_cannot_be_logged_is_no_finished_run(report, monkeypatch):
    class Opened:
        experiment = None

    ends = []
    monkeypatch.setattr(reporting_wandb, "wandb_logger", lambda **_: Opened)
    monkeypatch.setattr(reporting_wandb, "finish", lambda loggers, *, failed: ends.append((loggers, failed)))
    monkeypatch.setattr(reporting_wandb.wandb, "Image", lambda path: path)
    with pytest.raises(AttributeError):
        log_report(report, [])
    assert ends == [([Opened], True)]


def test_tables(tmp_path):
    """A column is of numbers or of words."""
    file = tmp_path / "results.csv"
    file.write_text("a,b,c\n1,2.5,x\n2,,3\n")
    table = reporting_wandb._table(file)
    assert (table.columns, table.data) == (["a", "b", "c"], [[1.0, 2.5, "x"], [2.0, None, "3"]])
    for empty in ("", "\n", "a,b\n"):
        file.write_text(empty)
        assert reporting_wandb._table(file).data == []


CODE = """
import sys
from pathlib import Path
from halfnas.reporting.runs import Run
from halfnas.reporting.wandb import log_report
log_report(Path(sys.argv[1]), [Run(Path(sys.argv[2]), "done", None, 0, {"ratio": 0.5}, {})])
"""


def python(*arguments, environment):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        stdin=subprocess.PIPE,
    )


def test_offline_run_can_be_read_back(report, tmp_path, monkeypatch):
    """Without an API key, in a process of its own: nothing is asked."""
    monkeypatch.setenv("HOME", str(tmp_path))  # no ~/.netrc
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)
    environment = dict(os.environ)
    make_run(tmp_path / "job", LOGGED)
    done = python("-c", CODE, str(report), str(tmp_path / "job"), environment=environment)
    assert done.returncode == 0, done.stderr

    [run] = (report / "wandb").glob("offline-run-*")
    found = python("-m", "wandb", "leet", "inspect", "--summary", "--json", str(run), environment=environment)
    content = json.loads(found.stdout)
    assert (content["state"], content["exit_code"], content["name"]) == ("finished", 0, "report")
    assert (content["project"], content["tags"][0]) == ("mine", "report")
    summary = content["summary"]
    kinds = {key: value["_type"] for key, value in summary.items() if isinstance(value, dict)}
    assert kinds == {
        "report/accuracy": "image-file",
        "report/memory": "image-file",
        "report/results": "table-file",
        "report/page": "html-file",
    }
    assert (summary["report/results"]["nrows"], summary["report/results"]["ncols"]) == (2, 3)
    written = next(run.glob("*.wandb")).read_bytes()
    assert b"2026-01-02/03-04-05" in written  # the group
    assert b"report.html" in written  # the artifact
