"""A metric against a setting, as a rule the ratio of kept candidates, or against the groups where it does not vary."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure

from halfnas.drawing import kit
from halfnas.reporting.figures.drawing import Drawing, left_out, seeds
from halfnas.reporting.figures.series import (
    CUT,
    RATIO,
    Axis,
    Series,
    axis_label,
    comparable_series,
    frame,
    limits,
    outside,
    summaries_of,
)
from halfnas.reporting.groups import Group
from halfnas.reporting.metrics import ACCURACIES, INTERVAL, Metric, most_accurate

MAX_ROWS = 40
MAX_DOTTED = 6  # lines, whose single seeds can still be told apart
#: a single seed, over the bars
DOT: dict[str, Any] = {"marker": "o", "ms": 3.2, "mew": 0.7, "mfc": "white", "zorder": 4, "ls": ""}
BAR: dict[str, Any] = {"ms": 5, "elinewidth": 1.0, "capsize": 2.5}


def comparable(series: Sequence[Series], metric: Metric, section: str) -> list[Drawing]:
    """Draw a memory or a time, groups that were measured at different batch sizes and the like in different figures."""
    drawings = []
    for number, (part, place, sentence) in enumerate(comparable_series(series, metric), start=1):
        drawing = against_ratio(part, metric, section)
        if drawing is not None:
            drawing = replace(drawing, caption=drawing.caption + sentence)
            if place:
                drawing = replace(drawing, name=f"{drawing.name}_{number}", title=f"{drawing.title}: {place}")
            drawings.append(drawing)
    return drawings


def against_ratio(series: Sequence[Series], metric: Metric, section: str) -> Drawing | None:
    """Draw lines over the ratio, or a row a group where no line has two ratios; None of fewer than two values."""
    groups = [group for each in series for group in each.groups if group.values(metric.key)]
    if all(RATIO.of(group) is not None for group in groups):
        drawing = against(RATIO, series, metric, section)
        if drawing is not None:
            return drawing
    counts = [len(group.values(metric.key)) for group in groups]
    if sum(counts) < 2:
        return None
    rows = most_accurate(groups, MAX_ROWS)
    figure, cut = _rows({group: each for each in series for group in each.groups if group in rows}, metric)
    note = left_out(len(groups) - len(rows), "groups")
    caption = _caption(metric, counts, dotted=True, cut=cut) + note
    return Drawing(f"{_name(metric)}_by_group", section, _title(metric), figure, caption)


def against(axis: Axis, series: Sequence[Series], metric: Metric, section: str) -> Drawing | None:
    """Draw lines over an axis; None where no line has two places on it, or there are fewer than two values.

    Args:
        series: lines over that axis, see `series_of`. Groups that have no place on it stand beside it.
    """
    having = [replace(each, groups=[g for g in each.groups if g.values(metric.key)]) for each in series]
    drawn = [each for each in having if each.groups and each.number is not None]
    counts = [len(group.values(metric.key)) for each in drawn for group in each.groups]
    if sum(counts) < 2 or not any(len(axis.values(each.groups)) > 1 for each in drawn):
        return None
    figure, cut, bottom = _lines(axis, drawn, metric)
    alone = any(s.low is None for each in drawn for s in summaries_of(each.groups, metric).values())
    note = left_out(sum(bool(each.groups) for each in having) - len(drawn), "settings")
    caption = _caption(metric, counts, dotted=len(drawn) <= MAX_DOTTED or alone, cut=cut) + note
    caption += outside([dot for each in drawn for group in each.groups for dot in _dots(group, metric)], bottom)
    name = axis.key.split(".", 1)[-1].replace(".", "_")
    return Drawing(f"{_name(metric)}_by_{name}", section, f"{_title(metric)} against {axis.title}", figure, caption)


def _name(metric: Metric) -> str:
    return metric.key.replace("/", "_")


def _title(metric: Metric) -> str:
    return metric.title[:1].upper() + metric.title[1:]


def _caption(metric: Metric, counts: Sequence[int], *, dotted: bool, cut: bool) -> str:
    explained = f"Mean of `{metric.key}`, {seeds(counts)}. Bars: {INTERVAL}"
    return f"{explained}{'; open dots: single seeds.' if dotted else '.'}{CUT if cut else ''}"


def _lines(axis: Axis, series: Sequence[Series], metric: Metric) -> tuple[Figure, bool, float]:
    """Draw a line a series; whether bars are cut off, and where the frame begins, stand beside the figure."""
    figure, axes = kit.new_axes(3.8)
    groups = [group for each in series for group in each.groups]
    found, values = summaries_of(groups, metric), axis.values(groups)
    places = {value: float(number) if axis.even else value for number, value in enumerate(values)}
    ticks = {places[value]: f"{value:g}" for value in values}
    width = max(ticks) - min(ticks)
    every = [dot for group in found for dot in _dots(group, metric)]
    bottom, top, cut = limits(every, list(found.values()), from_zero=metric not in ACCURACIES)
    if metric in ACCURACIES and min(every) < frame(every)[0]:
        bottom, top, cut = *frame(every), True
    apart = min(0.02 if axis.even else 0.007, 0.05 / len(series)) * width  # or bars would hide each other
    for number, each in enumerate(series):
        shift = apart * (number - (len(series) - 1) / 2)
        shown: dict[float, Group] = {}
        for group in each.groups:
            value = axis.of(group)
            if value is None:  # beside the others
                place = max(ticks) + (1.0 if axis.even else 0.1 * width)
                ticks[place] = kit.row_name(each.name, 16)
                shown[place] = group
            else:
                shown[places[value] + shift] = group
        x = sorted(shown)
        summaries = [found[shown[at]] for at in x]
        for at in x:
            dots = [dot for dot in _dots(shown[at], metric) if dot >= bottom]
            if len(series) <= MAX_DOTTED or found[shown[at]].low is None:
                axes.plot([at] * len(dots), dots, color=each.colour, **DOT)
        axes.errorbar(
            x, [s.mean for s in summaries], yerr=[*zip(*(s.reach for s in summaries), strict=True)], color=each.colour,
            marker=each.marker, ls=each.line, lw=1.5, **BAR,
        )  # fmt: skip
    axes.set(xlabel=axis.label, ylabel=axis_label(metric), ylim=(bottom, top))
    if len(ticks) <= 9:
        axes.set_xticks(list(ticks), list(ticks.values()))
    if len(series) > 1:
        kit.legend_below(figure, [each.handle() for each in series], 0.02)
    return figure, cut, bottom


def _rows(series_of_group: dict[Group, Series], metric: Metric) -> tuple[Figure, bool]:
    """Draw a row a group; whether bars are cut off stands beside the figure."""
    groups = list(series_of_group)
    names = [kit.row_name(group.short) for group in groups]
    figure, axes = kit.new_axes(1.0 + row_height(names) * len(groups))
    found = summaries_of(groups, metric)
    for row, (group, each) in enumerate(series_of_group.items()):
        dots = _dots(group, metric)
        axes.plot(dots, [row] * len(dots), color=each.colour, **DOT)
        reach = [[end] for end in found[group].reach]
        axes.errorbar(found[group].mean, row, xerr=reach, color=each.colour, marker=each.marker, **BAR)
    values = [dot for group in groups for dot in _dots(group, metric)]
    low, high, cut = limits(values, list(found.values()), from_zero=metric not in ACCURACIES)
    axes.set(xlim=(low, high), ylim=(len(groups) - 0.5, -0.5), xlabel=axis_label(metric))
    axes.set_yticks(range(len(groups)), names, fontsize=kit.FONT - 1)
    return figure, cut


def row_height(names: Sequence[str]) -> float:
    """The inches that a row takes, by the most lines of a name."""
    return max(0.27, 0.1 + 0.14 * max(name.count("\n") + 1 for name in names))


def _dots(group: Group, metric: Metric) -> list[float]:
    """List the value of every seed, in the unit that is shown."""
    return [metric.scale * value for value in group.values(metric.key).values()]
