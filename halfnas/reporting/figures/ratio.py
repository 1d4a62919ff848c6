"""A metric against the ratio of kept candidates, or against the groups where the ratio does not vary."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from matplotlib.figure import Figure

from halfnas.drawing import kit
from halfnas.reporting.figures.drawing import Drawing, left_out, seeds
from halfnas.reporting.figures.series import (
    CUT,
    Series,
    axis_label,
    comparable_series,
    limits,
    ratio_of,
    ratios,
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
    counts = [len(group.values(metric.key)) for group in groups]
    if sum(counts) < 2:
        return None
    name, title = f"{metric.key.replace('/', '_')}_by_", metric.title[:1].upper() + metric.title[1:]
    explained = f"Mean of `{metric.key}`, {seeds(counts)}. Bars: {INTERVAL}"
    lines = any(len(ratios([g for g in each.groups if g in groups])) > 1 for each in series)
    if lines and all(ratio_of(group) is not None for group in groups):
        drawn = [each for each in series if each.number is not None]
        figure, cut = _lines(drawn, metric)
        name, title, dotted = f"{name}ratio", f"{title} against ratio", len(drawn) <= MAX_DOTTED
        note = left_out(len(series) - len(drawn), "settings")
    else:
        rows = most_accurate(groups, MAX_ROWS)
        figure, cut = _rows({group: each for each in series for group in each.groups if group in rows}, metric)
        name, dotted, note = f"{name}group", True, left_out(len(groups) - len(rows), "groups")
    alone = any(summary.low is None for summary in summaries_of(groups, metric).values())
    caption = f"{explained}{'; open dots: single seeds.' if dotted or alone else '.'}{CUT if cut else ''}{note}"
    return Drawing(name, section, title, figure, caption)


def _lines(series: Sequence[Series], metric: Metric) -> tuple[Figure, bool]:
    """Draw a line a series; whether bars are cut off stands beside the figure."""
    figure, axes = kit.new_axes(3.8)
    groups = [group for each in series for group in each.groups]
    found, ticks = summaries_of(groups, metric), ratios(groups)
    apart = min(0.007, 0.05 / len(series)) * (ticks[-1] - ticks[0])  # or bars would hide each other
    for place, each in enumerate(series):
        shift = apart * (place - (len(series) - 1) / 2)
        shown = {(ratio_of(group) or 0.0) + shift: group for group in each.groups if group in found}
        x = sorted(shown)
        summaries = [found[shown[at]] for at in x]
        for at in x:
            dots = _dots(shown[at], metric)
            if len(series) <= MAX_DOTTED or found[shown[at]].low is None:
                axes.plot([at] * len(dots), dots, color=each.colour, **DOT)
        axes.errorbar(
            x, [s.mean for s in summaries], yerr=[*zip(*(s.reach for s in summaries), strict=True)], color=each.colour,
            marker=each.marker, ls=each.line, lw=1.5, **BAR,
        )  # fmt: skip
    values = [dot for group in found for dot in _dots(group, metric)]
    bottom, top, cut = limits(values, list(found.values()), from_zero=metric not in ACCURACIES)
    axes.set(xlabel="ratio of candidates kept", ylabel=axis_label(metric), ylim=(bottom, top))
    if len(ticks) <= 9:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    if len(series) > 1:
        kit.legend_below(figure, [each.handle() for each in series], 0.02)
    return figure, cut


def _rows(series_of_group: dict[Group, Series], metric: Metric) -> tuple[Figure, bool]:
    """Draw a row a group; whether bars are cut off stands beside the figure."""
    groups = list(series_of_group)
    figure, axes = kit.new_axes(1.0 + 0.27 * len(groups))
    found = summaries_of(groups, metric)
    for row, (group, each) in enumerate(series_of_group.items()):
        dots = _dots(group, metric)
        axes.plot(dots, [row] * len(dots), color=each.colour, **DOT)
        reach = [[end] for end in found[group].reach]
        axes.errorbar(found[group].mean, row, xerr=reach, color=each.colour, marker=each.marker, **BAR)
    values = [dot for group in groups for dot in _dots(group, metric)]
    low, high, cut = limits(values, list(found.values()), from_zero=metric not in ACCURACIES)
    axes.set(xlim=(low, high), ylim=(len(groups) - 0.5, -0.5), xlabel=axis_label(metric))
    axes.set_yticks(range(len(groups)), [kit.shorten(group.name) for group in groups], fontsize=kit.FONT - 1)
    return figure, cut


def _dots(group: Group, metric: Metric) -> list[float]:
    """List the value of every seed, in the unit that is shown."""
    return [metric.scale * value for value in group.values(metric.key).values()]
