"""A damaged file of one run: the run is listed with its problem, and all others are reported as they are."""

import csv
import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from damages import CONFIG, DAMAGES, HARMLESS

from halfnas.reporting import __main__ as command
from halfnas.reporting.frame import load

EVERY = [*DAMAGES, *HARMLESS]
#: Files without which nobody knows what a run has come to, so that it does not count.
NEEDED = ("status.json", CONFIG)


def report(root):
    """The exit code of the command, what it has printed, and the rows of results.csv and runs.csv."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        code = command.main([str(root)])
    rows = []
    for name in ("results.csv", "runs.csv"):
        with (root / "report" / name).open(newline="", encoding="utf-8") as file:
            rows.append(list(csv.DictReader(file)))
    return code, printed.getvalue(), *rows


@pytest.fixture(scope="module")
def root(whole_runs):
    """A folder with a run for each damage, and three good ones."""
    root = whole_runs(len(EVERY))
    for number, (file, _, damage) in enumerate(EVERY):
        damage(root / f"run-{number}" / file)
    return root


@pytest.fixture(scope="module")
def reported(root):
    return report(root)


@pytest.fixture(scope="module")
def run_of(reported):
    """run_of(number): the row of a damaged run in runs.csv."""
    rows = {Path(row["path"]).name: row for row in reported[3]}
    return lambda number: rows[f"run-{number}"]


def test_the_others_are_reported_as_they_are(reported, whole_runs):
    code, printed, results, runs = reported
    assert code == 0
    assert len(runs) == 3 + len(EVERY)

    def good(rows):
        return [
            {key: row[key] for key in ("metric", "n", "mean", "std", "low", "high")}
            for row in rows
            if row["group"].startswith(("darts, random, ", "all runs"))
        ]

    assert good(results) == good(report(whole_runs(0))[2])
    assert len(good(results)) == 5
    [counts, warning] = [line for line in printed.splitlines() if f" {len(runs)} runs" in line]
    not_done = sum(row["state"] != "done" for row in runs)
    assert counts == f"Of {len(runs)} runs: {not_done} without a readable status, metrics or settings"
    told = sum(row["state"] == "done" and row["error"] != "" for row in runs)
    assert warning == f"{told} of {len(runs)} runs count, though not all of their files can be read"


@pytest.mark.parametrize("number", range(len(DAMAGES)), ids=["-".join(damage[:2]) for damage in DAMAGES])
def test_a_damage_is_told(root, reported, run_of, number):
    file, _, _ = DAMAGES[number]
    row = run_of(number)
    assert str(root / f"run-{number}") in row["error"]
    assert Path(file).name in row["error"] or row["error"].endswith(".hydra: no configuration")
    assert row["error"].isprintable()
    assert len(row["error"]) < len(str(root)) + 500
    assert row["state"] == "no status" or file not in NEEDED
    text = (root / "report" / "report.md").read_text(encoding="utf-8")
    assert f"run-{number}" in text


@pytest.mark.parametrize("number", range(len(HARMLESS)), ids=["-".join(damage[:2]) for damage in HARMLESS])
def test_what_takes_nothing_away_is_no_damage(run_of, number):
    row = run_of(len(DAMAGES) + number)
    assert (row["state"], row["error"]) == ("done", "")
    assert float(row["evaluate/test_acc"]) == 0.9


def test_all_runs_are_in_the_page(root, reported):
    page = (root / "report" / "report.html").read_text(encoding="utf-8")
    assert '<section class="alert" id="not-done">' in page
    assert '<section class="alert" id="unreadable">' in page
    assert "Not drawn" not in page  # said once
    assert all(f">run-{number}</a>" in page for number in range(len(EVERY)))


def test_as_a_frame(root):
    frame = load(root)
    assert len(frame) == 3 + len(EVERY)
    assert frame.seed.dtype == "Int64"
