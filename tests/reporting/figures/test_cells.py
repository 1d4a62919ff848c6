"""Whose cells are drawn."""

from halfnas.reporting.figures.cells import MAX_GROUPS, best_run, cell_figures
from halfnas.reporting.study import read_study
from halfnas.spaces import Genotype, find_genotype


def test_the_best_run_of_each_group(sweep):
    groups = read_study([sweep]).groups
    drawings, problems = cell_figures(groups)
    assert problems == []
    assert drawings[0].title == "random, ratio 1.0"
    assert drawings[0].caption == "Of seed 2, the best of 3 by `evaluate/test_acc`: 96.20%."
    assert len(drawings) == 6
    assert "Cell normal: sep_conv_3x3(0)" in drawings[0].text


def test_without_accuracy(tmp_path, write_run):
    write_run(tmp_path / "a", genotype=find_genotype("darts_v2"), seed=4)
    [group] = read_study([tmp_path]).groups
    assert best_run(group) == (group.runs[0], "Of seed 4; no accuracy is known.")


def test_cells_that_cannot_be_drawn_are_named(tmp_path, write_run):
    write_run(tmp_path / "a", ratio=0.5, genotype=Genotype("mine", {"cell": (("a", 0),)}))
    write_run(tmp_path / "b", ratio=1.0)
    (tmp_path / "b" / "genotype.json").write_text("{}")
    drawings, problems = cell_figures(read_study([tmp_path]).groups)
    assert drawings == []
    assert any("unknown space 'mine'" in problem for problem in problems)
    assert any("b/genotype.json" in problem for problem in problems)


def test_no_more_than_a_page_holds(tmp_path, write_run, monkeypatch):
    monkeypatch.setattr("halfnas.reporting.figures.cells.MAX_GROUPS", 1)
    for ratio in (0.5, 1.0):
        metrics = {"evaluate/test_acc": ratio / 2}
        write_run(tmp_path / str(ratio), ratio=ratio, genotype=find_genotype("darts_v2"), metrics=metrics)
    [drawing], _ = cell_figures(read_study([tmp_path]).groups)
    assert drawing.title == "ratio 1.0"
    assert drawing.caption.endswith("Left out: 1 groups' cells; the most accurate groups are shown.")
    assert MAX_GROUPS > 1
