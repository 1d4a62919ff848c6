"""What was found by a table, over what the masks have left."""

import pytest

from halfnas.reporting.figures import draw_all
from halfnas.reporting.figures.series import series_of
from halfnas.reporting.figures.truth import found_and_left, truth_over_epochs
from halfnas.reporting.study import read_study


@pytest.fixture
def groups(tmp_path, write_run):
    """Two pruners of nine and three seeds; one architecture has no path from its input to its output."""
    for pruner, found in (("zico", (0.90, 0.91, 0.89) * 3), ("random", (0.88, 0.10, 0.87))):
        for seed, accuracy in enumerate(found):
            metrics = {"search/true_acc": accuracy, "prune/mean_true_acc": 0.83, "prune/best_true_acc": 0.915}
            rows = [{"stage": "search", "epoch": e, "search/true_acc": accuracy} for e in range(4)]
            write_run(tmp_path / f"{pruner}{seed}", seed=seed, pruner=pruner, metrics=metrics, history=rows)
    return read_study([tmp_path]).groups


def test_a_row_a_group(groups):
    drawing = found_and_left(series_of(groups))
    [axes] = drawing.figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["random", "zico"]
    (shade, _) = axes.patches
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == pytest.approx((83.0, 91.5))
    assert "n = 3 to 9" in drawing.caption


def test_one_broken_architecture_leaves_room_for_the_others(groups):
    drawing = found_and_left(series_of(groups))
    [axes] = drawing.figure.axes
    low, high = axes.get_xlim()
    assert 40 < low < 88
    assert high < 100
    outside = [line for line in axes.lines if line.get_marker() == "<"]
    assert [line.get_xdata()[0] for line in outside] == [low]
    assert "Below the frame: 1 of 16, down to 10.0." in drawing.caption


def test_a_panel_a_group_over_epochs(groups):
    drawing = truth_over_epochs(series_of(groups))
    first, second = [axes for axes in drawing.figure.axes if axes.get_title()]
    assert (first.get_title(), second.get_title()) == ("random", "zico")
    mean = max(second.lines, key=lambda line: line.get_linewidth())
    assert list(mean.get_ydata()) == pytest.approx([90.0] * 4)
    dots = [line for line in second.lines if line.get_markerfacecolor() == "white"]
    assert [len(line.get_xdata()) for line in dots if line.get_marker() == "o"] == [4] * 9
    below = [line for line in first.lines if line.get_marker() == "v"]
    assert sorted(len(line.get_xdata()) for line in below) == [0, 0, 4]
    left = sorted(line.get_ydata()[0] for line in second.lines if line.get_linestyle() in (":", "--"))
    assert left == pytest.approx([83.0, 91.5])


def test_without_a_table_there_is_nothing_to_draw(sweep):
    series = series_of(read_study([sweep]).groups)
    assert found_and_left(series) is None
    assert truth_over_epochs(series) is None


def test_what_the_masks_leave_must_be_known(tmp_path, write_run):
    for seed in range(2):
        write_run(tmp_path / str(seed), seed=seed, metrics={"search/true_acc": 0.9})
    series = series_of(read_study([tmp_path]).groups)
    assert found_and_left(series) is None
    assert truth_over_epochs(series) is None


def test_data_sets_stand_in_figures_of_their_own(tmp_path, write_run):
    for dataset, level in (("cifar10", 0.9), ("cifar100", 0.6)):
        for seed in range(3):
            metrics = {
                "search/true_acc": level,
                "prune/mean_true_acc": level - 0.1,
                "prune/best_true_acc": level + 0.05,
            }
            write_run(tmp_path / f"{dataset}{seed}", seed=seed, dataset=dataset, metrics=metrics)
    drawings, _ = draw_all(read_study([tmp_path]))
    names = [drawing.name for drawing in drawings if drawing.name.startswith("search_true_acc_by_group")]
    assert names == ["search_true_acc_by_group_cifar10", "search_true_acc_by_group_cifar100"]
