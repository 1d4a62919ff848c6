"""Learning curves against the histories."""

import pytest

from halfnas.reporting.figures.curves import curve, learning_curves
from halfnas.reporting.figures.series import series_of
from halfnas.reporting.study import read_study


def test_values_of_all_seeds(sweep):
    group = read_study([sweep]).groups[0]
    found = curve(group, "search", "search/val_acc")
    assert {epoch: len(values) for epoch, values in found.items()} == {0: 3, 1: 3, 2: 3}
    assert found[1] == pytest.approx([0.6, 0.61, 0.62])


def test_a_panel_a_stage(sweep):
    drawing = learning_curves(series_of(read_study([sweep]).groups))
    search, evaluate = drawing.figure.axes
    assert search.get_xlabel() == "epoch of the search stage"
    assert len(search.lines) == len(evaluate.lines) == 6
    assert list(search.lines[0].get_ydata()) == pytest.approx([51, 61, 71])
    assert "`search/val_acc` and `evaluate/test_acc`" in drawing.caption


def test_runs_of_different_length(tmp_path, write_run):
    for seed, epochs in ((0, 1), (1, 2)):
        rows = [
            {"stage": "evaluate", "epoch": e, "evaluate/train_acc": 0.5, "evaluate/val_acc": 0.4} for e in range(epochs)
        ]
        write_run(tmp_path / str(seed), seed=seed, history=rows)
    drawing = learning_curves(series_of(read_study([tmp_path]).groups))
    assert "Dotted: `evaluate/train_acc`." in drawing.caption
    [axes] = drawing.figure.axes
    mean, short, long, training = axes.lines
    assert [list(line.get_xdata()) for line in axes.lines] == [[0, 1], [0], [0, 1], [0, 1]]
    assert short.get_linewidth() == long.get_linewidth() < training.get_linewidth() < mean.get_linewidth()
    assert not axes.collections  # two seeds have no band
    assert "Thin lines and open dots: single seeds." in drawing.caption


def test_a_single_epoch_is_a_point(tmp_path, write_run):
    for seed in range(3):
        row = {"stage": "evaluate", "epoch": 0, "evaluate/test_acc": 0.5 + 0.1 * seed}
        write_run(tmp_path / str(seed), seed=seed, history=[row])
    drawing = learning_curves(series_of(read_study([tmp_path]).groups))
    [axes] = drawing.figure.axes
    assert axes.lines[0].get_marker() == "o"
    [bar] = axes.containers
    [segments] = bar.lines[2]
    assert segments.get_segments()[0][:, 1] == pytest.approx([50, 70])


def test_without_histories(tmp_path, write_run):
    write_run(tmp_path / "a")
    assert learning_curves(series_of(read_study([tmp_path]).groups)) is None
