"""The Pareto front against its definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfnas.reporting.figures.series import series_of
from halfnas.reporting.figures.tradeoff import accuracy_against_memory, pareto_front
from halfnas.reporting.study import read_study

NUMBERS = st.integers(0, 5).map(float)


def test_front():
    points = {0: (1.0, 0.5), 1: (2.0, 0.4), 2: (2.0, 0.8), 3: (3.0, 0.8), 4: (9.0, 0.9), 5: (9.0, 0.9)}
    assert pareto_front(points) == [0, 2, 4, 5]


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12))
def test_every_other_point_is_beaten_by_one_of_the_front(values):
    points = dict(enumerate(values))
    front = pareto_front(points)
    memories = [points[key][0] for key in front]
    accuracies = [points[key][1] for key in front]
    assert memories == sorted(memories)
    assert accuracies == sorted(accuracies)
    for key, (memory, accuracy) in points.items():
        if key not in front:
            assert any(
                points[f][0] <= memory and points[f][1] >= accuracy and points[f] != (memory, accuracy) for f in front
            )


def test_points_and_names_of_the_front(sweep):
    [drawing] = accuracy_against_memory(series_of(read_study([sweep]).groups), None)
    [axes] = drawing.figure.axes
    # `random` is more accurate than `nngp` at the same memory, at every ratio
    assert {text.get_text() for text in axes.texts} == {f"random, ratio {ratio}" for ratio in (0.25, 0.5, 1.0)}
    [step] = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    assert list(step.get_xdata()) == pytest.approx([26.0, 51.0, 101.0])
    assert list(step.get_ydata()) == pytest.approx([92.35, 93.6, 96.1])
    assert "the 3 of 6 groups" in drawing.caption


def test_nothing_to_compare(tmp_path, write_run):
    write_run(tmp_path / "a", ratio=0.5, metrics={"evaluate/test_acc": 0.9, "search/peak_live_mib": 5.0})
    write_run(tmp_path / "b", ratio=1.0, metrics={"evaluate/test_acc": 0.9})
    assert accuracy_against_memory(series_of(read_study([tmp_path]).groups), None) == []


def test_memory_at_another_batch_size_is_in_another_figure(tmp_path, write_run):
    for batch_size in (64, 256):
        for ratio in (0.5, 1.0):
            metrics = {"evaluate/test_acc": 0.9, "search/peak_live_mib": ratio * batch_size, "search/image_size_px": 8}
            write_run(
                tmp_path / f"{batch_size}{ratio}", ratio=ratio, searcher__batch_size=batch_size, metrics=metrics
            )  # fmt: skip
    small, large = accuracy_against_memory(series_of(read_study([tmp_path]).groups), None)
    assert small.title == "Accuracy against memory, batch size 64, 8x8 pixels"
    assert large.title == "Accuracy against memory, batch size 256, 8x8 pixels"
    assert {small.name, large.name} == {"accuracy_by_memory_1", "accuracy_by_memory_2"}
    assert "Measured at batch size 64, 8x8 pixels." in small.caption
    assert "Groups that were measured at something else stand in figures of their own." in small.caption
    assert "the 1 of 2 groups" in small.caption
