import io
import re

import pytest
from rich.console import Console

from halfnas.drawing.summary import (
    describe_decisions,
    describe_genotype,
    describe_mask,
    describe_tie,
    print_summary,
    stage_table,
)
from halfnas.spaces import Genotype, Mask, find_genotype, load_space, nasbench201, nasbench_macro

DARTS = load_space("darts")
STAGES = ("prune", "search", "evaluate")

#: of a whole run on a GPU
METRICS = {
    "prune/kept_fraction": 0.5,
    "prune/peak_live_mib": 2345.67,
    "prune/peak_allocated_mib": 12345.6,
    "prune/seconds": 61.23,
    "search/val_acc": 0.87654,
    "search/peak_live_mib": 512.0,
    "search/peak_allocated_mib": 1024.4,
    "search/seconds": 12345.67,
    "evaluate/test_acc": 0.9725,
    "evaluate/params": 3_349_342,
    "evaluate/peak_live_mib": 99.96,
    "evaluate/peak_allocated_mib": 800.0,
    "evaluate/seconds": 86400.0,
}


def of(*stages):
    return {key: value for key, value in METRICS.items() if key.split("/")[0] in stages}


def cells(metrics):
    """The rows of the table as text."""
    return list(zip(*(column.cells for column in stage_table(metrics, STAGES).columns), strict=True))


def printed(path, metrics, width=80):
    """What a terminal of that width gets to see."""
    console = Console(file=io.StringIO(), width=width)
    print_summary(path, metrics, STAGES, console)
    return console.file.getvalue()


def test_a_whole_run():
    assert [column.header for column in stage_table(METRICS, STAGES).columns] == [
        "stage", "result", "step memory", "peak CUDA", "time",
    ]  # fmt: skip
    assert cells(METRICS) == [
        ("prune", "50.0% of candidates kept", "2,345.7 MiB", "12,346 MiB", "61.2 s"),
        ("search", "supernet accuracy 87.65%", "512.0 MiB", "1,024 MiB", "12,345.7 s"),
        ("evaluate", "test accuracy 97.25%, 3.35 M params", "100.0 MiB", "800 MiB", "86,400.0 s"),
    ]


@pytest.mark.parametrize("stages", [(), ("prune",), ("search",), ("evaluate",), ("prune", "search")])
def test_only_stages_that_ran_have_a_row(stages):
    assert [row[0] for row in cells(of(*stages))] == list(stages)


def test_rows_stand_in_the_order_of_the_pipeline():
    assert [row[0] for row in cells(dict(reversed(METRICS.items())))] == ["prune", "search", "evaluate"]


def test_a_stage_that_was_cut_off_has_no_row():
    unfinished = {key: value for key, value in METRICS.items() if key != "search/seconds"}
    assert [row[0] for row in cells(unfinished)] == ["prune", "evaluate"]


def test_what_was_not_measured_is_a_dash():
    """A pruner that needs no training has no step."""
    measured = {key: value for key, value in METRICS.items() if not key.startswith(("prune/step", "prune/peak"))}
    assert [row[2:4] for row in cells(measured)] == [
        ("-", "-"), ("512.0 MiB", "1,024 MiB"), ("100.0 MiB", "800 MiB"),
    ]  # fmt: skip


def test_without_cuda_there_is_no_column_for_its_peak():
    on_cpu = {key: value for key, value in METRICS.items() if "peak" not in key}
    assert "peak CUDA" not in [column.header for column in stage_table(on_cpu, STAGES).columns]
    assert [row[3] for row in cells(on_cpu)] == ["61.2 s", "12,345.7 s", "86,400.0 s"]


def test_how_far_a_mask_can_be_relied_on(tmp_path):
    def said(**metrics):
        console = Console(width=80)
        with console.capture() as captured:
            print_summary(tmp_path, METRICS | metrics, STAGES, console)
        return captured.get()

    line = "A mask from another seed would agree on 73% of all candidates (chance 50%)"
    assert line in said(**{"prune/agreement": 0.7345, "prune/agreement_chance": 0.5}).splitlines()
    assert "agree on 0% of all candidates (chance 0%)" in said(
        **{"prune/agreement": 0.0, "prune/agreement_chance": 0.0}
    )
    assert "agree" not in said()  # with one repeat there is nothing to compare


def test_stages_without_an_accuracy():
    """A search that trains on all images, an evaluation without a test."""
    metrics = {key: value for key, value in METRICS.items() if not key.endswith("_acc")}
    assert [row[1] for row in cells(metrics)[1:]] == ["cell found", "trained, 3.35 M params"]
    zero = METRICS | {"search/val_acc": 0.0, "evaluate/test_acc": 0.0}
    assert [row[1] for row in cells(zero)[1:]] == [
        "supernet accuracy 0.00%", "test accuracy 0.00%, 3.35 M params",
    ]  # fmt: skip


def test_mask_counts_each_operation():
    kept = {
        "normal": (("sep_conv_3x3", "skip_connect"),) * 10 + (("sep_conv_3x3",),) * 4,
        "reduce": (("max_pool_3x3",),) * 14,
    }
    line = "Kept by nngp on 28 edges: sep_conv_3x3 14, max_pool_3x3 14, skip_connect 10"
    assert describe_mask(Mask("darts", kept, 0.25, "nngp", 0)) == line
    # each edge of the full space has every candidate
    full = describe_mask(Mask.full(DARTS))
    names = DARTS.candidates("normal")[0]
    assert sorted(re.findall(r"(\w+) 28(?:,|$)", full)) == sorted(names)


def test_genotype_is_a_line_a_cell():
    genotype = Genotype("other", {"cell": (("conv", 0), ("skip", 12)), "stage": (("attention", 3),)})
    assert describe_genotype(genotype) == "Cell: conv(0)  skip(12)\nCell stage: attention(3)"
    first, second = describe_genotype(find_genotype("darts_v2")).splitlines()
    assert first.startswith("Cell normal: sep_conv_3x3(0)  sep_conv_3x3(1)  sep_conv_3x3(0)")
    assert second.startswith("Cell reduce: max_pool_3x3(0)  max_pool_3x3(1)")


def test_printed_summary_has_all_parts_in_order(tmp_path):
    mask, genotype = Mask.random(DARTS, 0.5, seed=0), find_genotype("darts_v2")
    mask.save(tmp_path / "mask.json")
    genotype.save(tmp_path / "genotype.json")
    lines = printed(tmp_path, METRICS).splitlines()
    assert lines[0].strip() == "halfnas"
    # long lines are left to the terminal, so that they can be copied and searched
    assert lines[-4:] == [describe_mask(mask), *describe_genotype(genotype).splitlines(), f"Files: {tmp_path}"]


@pytest.mark.parametrize("there", ["mask", "genotype", None])
def test_files_that_are_not_there_are_left_out(tmp_path, there):
    Mask.full(DARTS).save(tmp_path / "mask.json") if there == "mask" else None
    find_genotype("snas").save(tmp_path / "genotype.json") if there == "genotype" else None
    text = printed(tmp_path, of("prune"))
    assert ("Kept by" in text) == (there == "mask")
    assert ("Cell normal" in text) == (there == "genotype")
    assert text.endswith(f"Files: {tmp_path}\n")


def test_a_table_of_a_long_run_fits_a_terminal(tmp_path):
    lines = printed(tmp_path, METRICS, width=100).splitlines()
    for row in cells(METRICS):
        assert any(all(cell in line for cell in row) for line in lines), row


@pytest.mark.parametrize("name", ["nasbench201", "nasbench_macro", "darts"])
def test_the_way_in_which_the_authors_write_an_architecture(tmp_path, name):
    written = {
        "nasbench201": "|none~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|",
        "nasbench_macro": "01210212",
    }
    read = {"nasbench201": nasbench201, "nasbench_macro": nasbench_macro}
    genotype = find_genotype("darts_v2") if name == "darts" else read[name].from_architecture_string(written[name])
    genotype.save(tmp_path / "genotype.json")
    console = Console(file=io.StringIO(), width=80)
    print_summary(tmp_path, METRICS, STAGES, console, load_space(name))
    lines = [line for line in console.file.getvalue().splitlines() if line.startswith("Architecture: ")]
    assert lines == ([] if name == "darts" else [f"Architecture: {written[name]}"])


def test_what_an_architecture_is_worth():
    worth = {"search/seconds": 1.0, "search/true_acc": 0.7861, "search/true_rank": 0.864}
    [(_, result, *_)] = cells(worth)
    assert result == "cell found, worth 78.61% (86.4% of all are better)"
    [(_, result, *_)] = cells(worth | {"search/val_acc": 0.5})
    assert result.startswith("supernet accuracy 50.00%, worth 78.61%")


def test_a_tie_break_is_said():
    decisions = {"search/moved_edges": 0.5, "search/moved_edges_chance": 0.75, "search/tie_break": 0.0}
    moved = "Edges that prefer another candidate than at the start: 50% (two random choices: 75%)"
    assert describe_decisions(decisions) == moved
    tie = {
        "search/tie_break": 1.0, "search/relative_margin": 0.00064, "search/relative_margin_start": 0.0007,
        "search/regularizer_weight": 16.6667, "search/architecture_learning_rate": 6e-4,
        "search/architecture_epochs": 2.0,
    }  # fmt: skip
    first, second = describe_decisions(decisions | tie).split("\n")
    assert first == moved
    assert second == (
        "A tie-break: chosen and next candidate differ by 0.064% of their strength, at the start by 0.07%, so that the "
        "start decides more than the task; maybe the regulariser's weight, 16.7 in the end, too high, or "
        "searcher.architecture_learning_rate=0.0006 too low, or 2 epochs of architecture steps too few"
    )
    assert "regulariser" not in describe_decisions(decisions | tie | {"search/regularizer_weight": 0.0})
    assert describe_tie({"search/tie_break": 1.0}) == "A tie-break: the start decides more than the task"
