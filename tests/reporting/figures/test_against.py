"""What is drawn where, against the numbers of the sweep."""

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from halfnas.reporting.figures.against import MAX_ROWS, against, against_ratio, comparable
from halfnas.reporting.figures.series import MAX_SERIES, RATIO, WEIGHT, series_of
from halfnas.reporting.metrics import BY_KEY
from halfnas.reporting.study import read_study

ACCURACY = BY_KEY["evaluate/test_acc"]


def bars(axes):
    return [container for container in axes.containers if isinstance(container, ErrorbarContainer)]


def test_lines_over_the_ratio(sweep):
    drawing = against_ratio(series_of(read_study([sweep]).groups), ACCURACY, "Accuracy")
    [axes] = drawing.figure.axes
    nngp, random = (bar.lines[0] for bar in bars(axes))
    assert list(nngp.get_ydata()) == pytest.approx([91.35, 92.6, 95.1])
    assert list(random.get_ydata()) == pytest.approx([92.35, 93.6, 96.1])
    assert list(nngp.get_xdata()) == pytest.approx([0.25, 0.5, 1.0], abs=0.01)
    assert "evaluate/test_acc" in axes.get_ylabel()
    assert "n = 3" in drawing.caption
    assert [text.get_text() for text in drawing.figure.legends[0].get_texts()] == ["nngp", "random"]


def test_a_row_a_group_at_one_ratio(tmp_path, write_sweep):
    write_sweep(tmp_path / "in", ratios=(0.5,))
    drawing = against_ratio(series_of(read_study([tmp_path]).groups), ACCURACY, "Accuracy")
    [axes] = drawing.figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["nngp", "random"]
    assert drawing.name == "evaluate_test_acc_by_group"


def test_ratios_without_a_line_are_rows(tmp_path, write_run):
    for pruner, ratio in (("nngp", 0.5), ("random", 1.0)):
        write_run(tmp_path / pruner, pruner=pruner, ratio=ratio, metrics={"evaluate/test_acc": ratio / 2})
    drawing = against_ratio(series_of(read_study([tmp_path]).groups), ACCURACY, "Accuracy")
    assert drawing.name == "evaluate_test_acc_by_group"


def test_what_does_not_fit_is_counted(tmp_path, write_run):
    for number in range(MAX_ROWS + 2):
        write_run(tmp_path / str(number), pruner=f"p{number:02}", metrics={"evaluate/test_acc": number / 100})
    drawing = against_ratio(series_of(read_study([tmp_path]).groups), ACCURACY, "Accuracy")
    assert "Left out: 2 groups" in drawing.caption
    names = [label.get_text() for label in drawing.figure.axes[0].get_yticklabels()]
    assert names == [f"p{number:02}" for number in range(2, MAX_ROWS + 2)]


def test_a_single_value_is_no_figure(tmp_path, write_run):
    write_run(tmp_path / "a", metrics={"evaluate/test_acc": 0.9})
    assert against_ratio(series_of(read_study([tmp_path]).groups), ACCURACY, "Accuracy") is None


def test_two_seeds_are_points(tmp_path, write_sweep):
    """Their interval would be 12.7 standard errors to both sides."""
    write_sweep(tmp_path / "in", seeds=range(2))
    drawing = against_ratio(series_of(read_study([tmp_path]).groups), ACCURACY, "Accuracy")
    [axes] = drawing.figure.axes
    for bar in bars(axes):
        [segments] = bar.lines[2]
        assert all(not len(segment) or np.isnan(segment).any() for segment in segments.get_segments())
    dots = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert sum(len(line.get_xdata()) for line in dots) == 12
    assert "open dots: single seeds" in drawing.caption


def test_bars_of_accuracies_end_at_all_images(tmp_path, write_run):
    for seed, accuracy in enumerate((0.96, 1.0, 1.0)):
        write_run(tmp_path / str(seed), seed=seed, metrics={"evaluate/test_acc": accuracy})
    [axes] = against_ratio(series_of(read_study([tmp_path]).groups), ACCURACY, "Accuracy").figure.axes
    [segments] = bars(axes)[0].lines[2]
    [[[low, _], [high, _]]] = segments.get_segments()
    assert low < 96
    assert high == 100


def test_times_at_other_batch_sizes_are_other_figures(tmp_path, write_run):
    for batch_size, seconds in ((64, 4.0), (256, 1.0)):
        for seed in range(2):
            metrics = {"search/seconds": seconds, "total/search_seconds": seconds + 1}
            write_run(
                tmp_path / f"{batch_size}-{seed}", seed=seed, searcher__batch_size=batch_size, metrics=metrics
            )  # fmt: skip
    series = series_of(read_study([tmp_path]).groups)
    drawings = comparable(series, BY_KEY["total/search_seconds"], "Time")
    assert [drawing.title for drawing in drawings] == [
        "Time of pruning and search: batch size 64",
        "Time of pruning and search: batch size 256",
    ]
    assert len({drawing.name for drawing in drawings}) == 2
    assert [len(drawing.figure.axes[0].get_yticklabels()) for drawing in drawings] == [1, 1]


def by_weight(tmp_path, write_run, weights=(0.0, 1.0, 25.0)):
    """Groups of two starts that differ in the weight, and one that has none."""
    for start in (0.0, 0.001):
        for weight in weights:
            for seed in range(3):
                write_run(
                    tmp_path / f"{start}-{weight}-{seed}", seed=seed, searcher__architecture_init_std=start,
                    searcher__regularizer={"weight": weight},
                    metrics={"search/true_acc": 0.8 + 0.001 * weight + start + 0.001 * seed},
                )  # fmt: skip
    for seed in range(3):
        write_run(tmp_path / str(seed), seed=seed, searcher="random", metrics={"search/true_acc": 0.7})
    return read_study([tmp_path]).groups


def test_lines_over_the_weight_of_the_regulariser(tmp_path, write_run):
    """At equal distances, all seeds as points; what has no weight stands beside them."""
    groups = by_weight(tmp_path, write_run)
    drawing = against(WEIGHT, series_of(groups, WEIGHT), BY_KEY["search/true_acc"], "Accuracy")
    [axes] = drawing.figure.axes
    assert drawing.name == "search_true_acc_by_regularizer_weight"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0", "1", "25", "random"]
    assert list(axes.get_xticks()) == [0, 1, 2, 3]
    means = sorted(round(float(y), 3) for bar in bars(axes) for y in bar.lines[0].get_ydata())
    assert means == [70.0, 80.1, 80.2, 80.2, 80.3, 82.6, 82.7]
    dots = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert sum(len(line.get_xdata()) for line in dots) == 21


def test_one_weight_is_no_line(tmp_path, write_run):
    groups = by_weight(tmp_path, write_run, weights=(1.0,))
    assert against(WEIGHT, series_of(groups, WEIGHT), BY_KEY["search/true_acc"], "Accuracy") is None


def test_a_metric_of_lines_without_a_colour_alone_is_no_line(tmp_path, write_run):
    """The most accurate groups have colours; the others may be the only ones that have a metric."""
    for number in range(MAX_SERIES + 2):
        for ratio in (0.5, 1.0):
            late = number >= MAX_SERIES
            metrics = {"evaluate/test_acc": 0.1 if late else 0.9} | ({"search/true_acc": 0.8} if late else {})
            write_run(tmp_path / f"{number}-{ratio}", pruner=f"p{number:02}", ratio=ratio, metrics=metrics)
    series = series_of(read_study([tmp_path]).groups)
    assert against(RATIO, series, BY_KEY["search/true_acc"], "Accuracy") is None
    assert against_ratio(series, BY_KEY["search/true_acc"], "Accuracy").name == "search_true_acc_by_group"
