"""Numbers of the tables against calculations of their own."""

import csv

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from halfnas.reporting import metrics
from halfnas.reporting.study import read_study
from halfnas.reporting.tables import (
    SHORT,
    differences_sheet,
    not_done_sheet,
    results_sheet,
    results_table,
    runs_sheet,
    runs_table,
    terminal_table,
)

ACCURACIES = {"nngp": [0.91, 0.93, 0.92], "random": [0.90, 0.94, 0.89, 0.95]}


@pytest.fixture
def study(tmp_path, write_run):
    for pruner, values in ACCURACIES.items():
        for seed, value in enumerate(values):
            metrics = {"evaluate/test_acc": value, "search/seconds": 2.0}
            if (pruner, seed) == ("nngp", 0):
                del metrics["search/seconds"]
            write_run(tmp_path / "in" / f"{pruner}{seed}", seed=seed, pruner=pruner, metrics=metrics, ratio=0.5)
    return read_study([tmp_path / "in"])


def test_results(study):
    sheet = results_sheet(study)
    assert list(sheet.columns) == ["pruner", "n", "test accuracy (%)", "search time (s)", "total time (s)"]
    low, high = stats.t.interval(0.95, 2, loc=92, scale=stats.sem([91, 93, 92]))
    cell = sheet.rows[0][2]
    assert (cell.text, cell.detail) == ("92.00 ± 1.00", f"[{low:.2f}, {high:.2f}]")
    assert cell.value == pytest.approx(0.92)
    assert sheet.rows[0][1].text == "3"
    assert sheet.rows[0][3].text == "2.00 ± 0.00 (n=2)"  # one run lacks it


def test_differences_are_paired(study):
    sheet = differences_sheet(study)
    assert sheet.title == "Differences from random"
    [row] = sheet.rows
    paired = 100 * (np.array(ACCURACIES["nngp"]) - ACCURACIES["random"][:3])
    low, high = stats.ttest_1samp(paired, 0).confidence_interval(0.95)
    assert (row[1].text, row[1].detail) == (f"{paired.mean():+.2f}", f"[{low:+.2f}, {high:+.2f}] n=3")


def test_results_with_all_digits(study, tmp_path):
    with results_table(study).write_csv(tmp_path / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    row = next(row for row in rows if (row["pruner"], row["metric"]) == ("nngp", "evaluate/test_acc"))
    low, high = stats.t.interval(0.95, 2, loc=0.92, scale=stats.sem(ACCURACIES["nngp"]))
    assert [float(row[key]) for key in ("n", "mean", "std", "low", "high")] == pytest.approx([3, 0.92, 0.01, low, high])
    paired = np.array(ACCURACIES["nngp"]) - ACCURACIES["random"][:3]
    assert float(row["difference_mean"]) == pytest.approx(paired.mean())
    assert float(row["difference_std"]) == pytest.approx(paired.std(ddof=1))
    assert (row["baseline"], row["common_seeds"]) == ("random", "3")
    baseline = next(row for row in rows if row["pruner"] == "random")
    assert (baseline["common_seeds"], baseline["difference_mean"]) == ("", "")
    assert "nan" not in str(rows)


def test_a_single_seed_and_no_common_one(tmp_path, write_run):
    write_run(tmp_path / "a", seed=0, pruner="nngp", metrics={"evaluate/test_acc": 0.9})
    write_run(tmp_path / "b", seed=1, pruner="none", metrics={"evaluate/test_acc": 0.8})
    study = read_study([tmp_path])
    assert [row[-1].text for row in results_sheet(study).rows] == ["90.00", "80.00"]
    assert [row[-1].detail for row in results_sheet(study).rows] == ["", ""]
    assert differences_sheet(study) is None
    assert results_table(study).rows[0]["std"] is None
    write_run(tmp_path / "c", seed=1, pruner="nngp", metrics={"evaluate/test_acc": 0.7})
    [row] = differences_sheet(read_study([tmp_path])).rows
    assert (row[-1].text, row[-1].detail) == ("-10.00", "n=1")


def test_a_single_group_has_a_name(tmp_path, write_run):
    write_run(tmp_path / "a", metrics={"evaluate/test_acc": 0.9})
    sheet = results_sheet(read_study([tmp_path]))
    assert [entry.text for entry in sheet.rows[0]] == ["all runs", "1", "90.00"]
    assert next(iter(sheet.columns)) == "group"


def test_every_run_is_listed(sweep, tmp_path):
    study = read_study([sweep])
    sheet = runs_sheet(study, sweep / "report")
    assert len(sheet.rows) == 21
    cells = {row[0].text: row for row in sheet.rows}
    assert cells["failed"][0].link == "../failed/"
    assert cells["never"][0].link is None
    assert cells["nngp-0.5-1"][1].text == "done"
    assert {row[0].text: row[1].text for row in not_done_sheet(study, tmp_path).rows} == {
        "failed": "failed", "killed": "running", "never": "not started"
    }  # fmt: skip
    with runs_table(study).write_csv(tmp_path / "runs.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["path"].rpartition("/")[2]: row for row in csv.DictReader(file)}
    assert float(rows["nngp-0.5-1"]["evaluate/test_acc"]) == 0.9 + 0.05 * 0.5 + 0.001
    assert rows["failed"]["error"].startswith("<script>")
    assert rows["never"]["seed"] == ""


def test_a_repeated_run_counts_once(tmp_path, write_run):
    for name in ("first", "second"):
        write_run(tmp_path / name, metrics={"evaluate/test_acc": 0.9})
    study = read_study([tmp_path])
    assert results_sheet(study).rows[0][1].text == "1"
    assert [row[1].text for row in not_done_sheet(study, tmp_path).rows] == ["repeated"]


def test_links_to_odd_names(tmp_path, write_run):
    write_run(tmp_path / "a#b %c")
    assert runs_sheet(read_study([tmp_path]), tmp_path / "out").rows[0][0].link == "../a%23b%20%25c/"


def test_text_has_no_markup(sweep):
    """Brackets are markup to Rich, pipes and tags to Markdown."""
    study = read_study([sweep])
    table = not_done_sheet(study, sweep).table()
    console = Console(width=160)
    with console.capture() as captured:
        console.print(table.rich())
    assert "[/red]" in captured.get()
    assert "&lt;script>" in table.markdown()
    assert r"out of \| memory" in table.markdown()


@pytest.mark.parametrize("width", [80, 160])
def test_the_terminal_shows_whole_numbers(sweep, width):
    console = Console(width=width)
    with console.capture() as captured:
        console.print(terminal_table(read_study([sweep]), narrow=width < 100).rich())
    text = captured.get()
    assert "nngp, ratio 0.25" in text
    assert "91.35 ± 0.10" in text
    assert "…" not in text
    assert ("95% interval" in text) == (width == 160)


@pytest.fixture
def two_sizes(tmp_path, write_run):
    """DARTS at batch 64 and a half at 256, as their papers have them."""
    for seed in range(3):
        for searcher, ratio, batch_size in (("darts", 1.0, 64), ("pcdarts", 0.5, 256), ("gdas", 0.5, 64)):
            metrics = {
                "evaluate/test_acc": 0.9 + 0.01 * seed,
                "search/peak_live_mib": 100.0 + ratio + seed,
                "search/step_activations_mib": 50.0,
                "search/seconds": 10.0 + seed,
                "total/search_seconds": 12.0 + seed,
                "search/image_size_px": 8,
            }
            write_run(
                tmp_path / f"{searcher}{seed}", seed=seed, searcher=searcher, ratio=ratio, metrics=metrics,
                searcher__batch_size=batch_size, trainer={"precision": "32-true"}, searcher__partial_channels=1,
            )  # fmt: skip
    return read_study([tmp_path])


def test_differences_of_memory_and_time_at_two_batch_sizes_are_refused(two_sizes):
    sheet = differences_sheet(two_sizes)
    assert sheet.title == "Differences from darts, ratio 1.0"
    columns = {key: column for column, key in enumerate(sheet.columns.values()) if key}
    rows = {row[0].text: row for row in sheet.rows}
    for key in ("search/peak_live_mib", "total/search_seconds", "search/seconds", "total/seconds"):
        entry = rows["pcdarts"][columns[key]]
        assert (entry.text, entry.detail) == ("-", "not comparable: batch size 256, not 64")
        assert rows["gdas"][columns[key]].text.startswith(("+", "-0"))
    assert rows["pcdarts"][columns["evaluate/test_acc"]].text == "+0.00"
    assert "search/step_activations_mib" not in columns
    assert "only where batch size, precision, image size and kind of device are the same" in sheet.caption


def test_what_memory_and_time_were_measured_at_stands_beside_them(two_sizes, tmp_path):
    for sheet in (results_sheet(two_sizes), runs_sheet(two_sizes, tmp_path)):
        at = list(sheet.columns).index("measured at")
        assert {row[at].text for row in sheet.rows} == {
            "batch size 64, 32-true, 8x8 pixels", "batch size 256, 32-true, 8x8 pixels"
        }  # fmt: skip
    assert "measured at" in terminal_table(two_sizes).columns
    assert "it is not compared" in results_sheet(two_sizes).caption
    rows = [row for row in results_table(two_sizes).rows if row["metric"] == "search/peak_live_mib"]
    found = {row["searcher"]: row for row in rows}
    assert found["pcdarts"]["measured_at"] == "batch size 256, 32-true, 8x8 pixels"
    assert found["pcdarts"]["not_comparable"] == "batch size 256, not 64"
    assert found["pcdarts"]["difference_mean"] is None
    assert found["gdas"]["difference_mean"] == pytest.approx(-0.5)


def test_one_batch_size_stands_above_the_table(tmp_path, write_run):
    for ratio in (0.5, 1.0):
        metrics = {"search/peak_live_mib": ratio, "search/seconds": 1.0}
        write_run(tmp_path / str(ratio), ratio=ratio, metrics=metrics, searcher__batch_size=64)
    table = terminal_table(read_study([tmp_path]))
    assert table.title == "Mean ± standard deviation over seeds; * baseline; batch size 64"
    assert "measured at" not in table.columns


def test_equal_accuracies_have_an_interval(tmp_path, write_run):
    for seed in range(3):
        metrics = {"evaluate/test_acc": 1.0, "evaluate/test_images": 360}
        write_run(tmp_path / str(seed), seed=seed, metrics=metrics)
    [row] = results_sheet(read_study([tmp_path])).rows
    low = 1 - stats.t.ppf(0.975, 2) / 361 / 3**0.5  # a share of 361 of 362: about one image of 360
    assert row[-1].text == "100.00 ± 0.00"
    assert row[-1].detail == f"[{100 * low:.2f}, 100.00]"


def test_every_figure_of_the_terminal_table_has_a_short_name():
    for metric in (*metrics.ACCURACIES, *metrics.MEMORIES, *metrics.SEARCH_TIMES):
        assert metric.key in SHORT
