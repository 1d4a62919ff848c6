"""The files of a report."""

import csv
import re
import time

import pytest

from halfnas.reporting.report import make_report


def test_files(page):
    out = page.parent
    assert page.name == "report.html"
    names = {path.name for path in (out / "figures").iterdir()}
    assert {
        "search_peak_live_mib_by_ratio.png", "evaluate_test_acc_by_ratio.png", "accuracy_by_memory.png",
        "search_seconds_by_ratio.png", "masks_darts_normal.png", "agreement_darts.png", "cells_01.png",
        "learning_curves.png",
    } <= names  # fmt: skip
    text = (out / "report.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(figures/(.*?)\)", text)) == names
    assert "### Differences from random, ratio 1.0" in text
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 7  # groups and metrics, with the total time
    with (out / "runs.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 21


def test_the_default_folder(tmp_path, write_run):
    write_run(tmp_path / "a" / "run", metrics={"evaluate/test_acc": 0.9})
    write_run(tmp_path / "b" / "run", metrics={"evaluate/test_acc": 0.9}, seed=1)
    assert make_report([tmp_path / "a", tmp_path / "b"]) == tmp_path / "a" / "report" / "report.html"
    # made anew, it does not take itself for a run
    make_report([tmp_path / "a", tmp_path / "b"])
    assert "2 done of 2" in (tmp_path / "a" / "report" / "report.html").read_text(encoding="utf-8")


def test_figures_of_an_earlier_report_go(tmp_path, write_run):
    run = write_run(tmp_path / "a", metrics={"evaluate/test_acc": 0.9})
    write_run(tmp_path / "b", metrics={"evaluate/test_acc": 0.8}, seed=1)
    make_report([tmp_path], out=tmp_path / "a")
    (run / "figures" / "mine.png").write_bytes(b"")
    assert (run / "figures" / "evaluate_test_acc_by_group.png").exists()
    make_report([run], out=tmp_path / "a")
    assert [path.name for path in (run / "figures").iterdir()] == ["mine.png"]


@pytest.mark.parametrize("metrics", [None, {}, {"evaluate/test_acc": 0.5}, {"search/seconds": 1.0}])
def test_a_single_run_with_next_to_nothing(tmp_path, write_run, metrics):
    run = write_run(tmp_path / "run", metrics=metrics)
    assert make_report([run]).is_file()


def test_the_command_is_short(tmp_path, write_run):
    write_run(tmp_path / "a b", metrics={})
    text = make_report([tmp_path / "a b"], baseline={"seed": "None"}).with_name("report.md").read_text()
    assert f"Made by `python -m halfnas.reporting '{tmp_path}/a b' --baseline seed=None`" in text


def test_only_runs_that_are_not_done(tmp_path, write_run):
    write_run(tmp_path / "a", state="failed", error="out of memory")
    write_run(tmp_path / "b", state="running")
    (write_run(tmp_path / "c") / "status.json").write_text("{")
    text = make_report([tmp_path]).read_text(encoding="utf-8")
    assert "0 done of 3" in text
    assert "out of memory" in text
    assert "not complete JSON" in text


def test_one_metric_of_some_runs(tmp_path, write_run):
    for seed, metrics in enumerate([{"evaluate/test_acc": 0.5}, {"search/peak_live_mib": 5.0}, {}]):
        for ratio in (0.5, 1.0):
            write_run(tmp_path / f"{ratio}-{seed}", ratio=ratio, seed=seed, metrics=metrics)
    text = make_report([tmp_path]).read_text(encoding="utf-8")
    assert "50.00 (n=1)" in text


def test_data_sets_are_not_compared(tmp_path, write_run):
    for dataset in ("digits", "a/../b"):
        for ratio in (0.5, 1.0):
            metrics = {"evaluate/test_acc": 0.9, "search/peak_live_mib": 10 * ratio}
            write_run(tmp_path / "in" / f"{dataset[0]}{ratio}", ratio=ratio, dataset=dataset, metrics=metrics)
    make_report([tmp_path / "in"], out=tmp_path / "out")
    names = {path.name for path in (tmp_path / "out" / "figures").glob("accuracy_by_memory*")}
    assert names == {"accuracy_by_memory_digits.png", "accuracy_by_memory_a_b.png"}
    assert "Differences from the baseline of each data set" in (tmp_path / "out" / "report.md").read_text()


def test_sixty_runs_take_seconds(tmp_path, write_sweep):
    write_sweep(tmp_path / "in", ratios=(0.125, 0.25, 0.375, 0.5, 0.75, 1.0), seeds=range(5))
    start = time.process_time()
    make_report([tmp_path / "in"])
    assert time.process_time() - start < 40  # about 6 on one core
