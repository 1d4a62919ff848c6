"""Whose cells are drawn: never those that the test set prefers."""

import pytest

from halfnas.reporting.figures.cells import MAX_GROUPS, best_run, cell_figures
from halfnas.reporting.study import read_study
from halfnas.spaces import Genotype, find_genotype


def test_the_best_run_of_each_group(sweep):
    groups = read_study([sweep]).groups
    drawings, problems = cell_figures(groups)
    assert problems == []
    assert [drawing.title for drawing in drawings] == [group.name for group in groups]
    assert drawings[0].caption == "Of seed 2, the best of 3 by `search/val_acc`: 82.00%."
    assert len(drawings) == 6
    assert "Cell normal: sep_conv_3x3(0)" in drawings[0].text


@pytest.mark.parametrize(
    ("accuracies", "seed", "why"),
    [
        ({"search/val_acc": [0.3, 0.5, 0.4]}, 1, "the best of 3 by `search/val_acc`: 50.00%."),
        (
            {"evaluate/val_acc": [0.7, 0.8, 0.9], "search/val_acc": [0.5, 0.4, 0.3]},
            2,
            "the best of 3 by `evaluate/val_acc`: 90.00%.",
        ),
        ({}, 0, "the first of 3: no accuracy on training images is known of all."),
    ],
)
def test_the_test_accuracy_chooses_no_cell(tmp_path, write_run, accuracies, seed, why):
    for number, test_accuracy in enumerate((0.91, 0.90, 0.89)):
        metrics = {key: values[number] for key, values in accuracies.items()} | {"evaluate/test_acc": test_accuracy}
        write_run(tmp_path / str(number), seed=number, genotype=find_genotype("darts_v2"), metrics=metrics)
    [group] = read_study([tmp_path]).groups
    run, reason = best_run(group.runs)
    assert (run.seed, reason) == (seed, f"Of seed {seed}, {why}")


def test_the_only_cell(tmp_path, write_run):
    write_run(tmp_path / "a", genotype=find_genotype("darts_v2"), seed=4)
    [group] = read_study([tmp_path]).groups
    assert best_run(group.runs) == (group.runs[0], "Of seed 4, the only one.")


@pytest.mark.parametrize("tie", [0.0, 1.0])
def test_a_tie_break_is_said(tmp_path, write_run, tie):
    metrics = {
        "search/tie_break": tie, "search/relative_margin": 0.001, "search/relative_margin_start": 0.001,
        "search/regularizer_weight": 24.5,
        "search/architecture_learning_rate": 6e-3, "search/architecture_epochs": 16,
    }  # fmt: skip
    write_run(tmp_path / "a", genotype=find_genotype("darts_v2"), metrics=metrics)
    [drawing], _ = cell_figures(read_study([tmp_path]).groups)
    assert ("A tie-break: " in drawing.caption) == bool(tie)
    assert drawing.caption.endswith("16 epochs of architecture steps too few." if tie else "the only one.")


def test_cells_that_cannot_be_drawn_are_named(tmp_path, write_run):
    write_run(tmp_path / "a", ratio=0.5, genotype=Genotype("mine", {"cell": (("a", 0),)}))
    write_run(tmp_path / "b", ratio=1.0)
    (tmp_path / "b" / "genotype.json").write_text("{}")
    drawings, problems = cell_figures(read_study([tmp_path]).groups)
    assert drawings == []
    assert any("unknown space 'mine'" in problem for problem in problems)
    assert any("b/genotype.json" in problem for problem in problems)


def test_a_cell_that_cannot_be_drawn_leaves_the_next_best(tmp_path, write_run):
    darts_v2 = find_genotype("darts_v2")
    for seed, genotype in enumerate([darts_v2, darts_v2, Genotype("mine", {"cell": (("a", 0),)}), darts_v2]):
        write_run(tmp_path / str(seed), seed=seed, genotype=genotype, metrics={"search/val_acc": 0.1 * seed})
    (tmp_path / "3" / "genotype.json").write_text("{")
    [drawing], problems = cell_figures(read_study([tmp_path]).groups)
    assert drawing.caption == "Of seed 1, the best of 2 by `search/val_acc`: 10.00%."
    assert "3/genotype.json: not complete JSON" in problems[0]
    assert "2: unknown space 'mine'" in problems[1]
    assert len(problems) == 2


def test_no_more_than_a_page_holds(tmp_path, write_run, monkeypatch):
    monkeypatch.setattr("halfnas.reporting.figures.cells.MAX_GROUPS", 1)
    for ratio in (0.5, 1.0):
        metrics = {"evaluate/test_acc": ratio / 2}
        write_run(tmp_path / str(ratio), ratio=ratio, genotype=find_genotype("darts_v2"), metrics=metrics)
    [drawing], _ = cell_figures(read_study([tmp_path]).groups)
    assert drawing.title == "ratio 0.5"
    assert drawing.caption.endswith("Left out: 1 groups' cells; the page would be too long.")
    assert MAX_GROUPS > 1
