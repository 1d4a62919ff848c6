"""Lines, names and limits."""

from pathlib import Path

import pytest

from halfnas.reporting.figures.drawing import left_out, seeds
from halfnas.reporting.figures.series import COLOURS, MAX_SERIES, RATIO, limits, series_of
from halfnas.reporting.groups import group_runs
from halfnas.reporting.runs import Run
from halfnas.reporting.statistics import Summary, summarize


def groups(*settings):
    runs = [Run(Path(str(i)), "done", None, 0, each, {"search/val_acc": i / 100}) for i, each in enumerate(settings)]
    return group_runs(runs)


def test_a_line_for_all_that_differ_in_the_ratio_alone():
    found = series_of(groups(*({"pruner": p, "ratio": r} for p in ("a", "b") for r in (0.5, 1.0))))
    assert [(each.name, RATIO.values(each.groups)) for each in found] == [("a", [0.5, 1.0]), ("b", [0.5, 1.0])]
    assert [each.colour for each in found] == list(COLOURS[:2])


def test_too_many_lines_leave_the_least_accurate_grey():
    found = series_of(groups(*({"pruner": f"{i:02}", "ratio": 0.5} for i in range(MAX_SERIES + 3))))
    assert [each.name for each in found if each.number is None] == ["00", "01", "02"]
    drawn = [each for each in found if each.number is not None]
    assert len({(each.colour, each.line) for each in drawn}) == MAX_SERIES


def test_limits_show_the_values():
    wide = Summary(2, 0.5, 0.1, -3.0, 4.0)
    bottom, top, cut = limits([0.4, 0.6], [wide])
    assert -0.5 < bottom < 0.4 < 0.6 < top < 1.5
    assert cut
    exact = summarize([0.4, 0.5, 0.6])
    bottom, top, cut = limits([0.4, 0.5, 0.6], [Summary(3, 0.5, 0.1, 0.35, 0.65)])
    assert (bottom < 0.35, top > 0.65, cut) == (True, True, False)
    assert limits([0.4, 0.5, 0.6], [exact], from_zero=True)[0] == 0


@pytest.mark.parametrize("value", [0.0, 1.0, -2.0])
def test_limits_of_a_single_value(value):
    bottom, top, cut = limits([value], [summarize([value])])
    assert bottom < value < top
    assert not cut


def test_sentences():
    assert (seeds([3, 3]), seeds([1, 3])) == ("n = 3", "n = 1 to 3")
    assert left_out(0, "groups") == ""
    assert left_out(2, "groups") == " Left out: 2 groups; the most accurate are drawn."


def test_a_setting_that_another_group_has_too_is_named_whole():
    both = {"ratio": 0.5, "evaluation.epochs": 5, "searcher.partial_channels": 4}
    found = series_of(groups(both | {"searcher.epochs": 5}, both | {"searcher.epochs": 6}))
    assert [each.name for each in found] == ["searcher.epochs 5", "searcher.epochs 6"]
    found = series_of(groups(both, both | {"searcher.partial_channels": 1}))
    assert sorted(each.name for each in found) == ["partial_channels 1", "partial_channels 4"]
