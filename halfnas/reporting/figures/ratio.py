"""A metric against the ratio of kept candidates, or against the groups where the ratio does not vary."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from halfnas.reporting.figures.style import (
    FONT,
    Drawing,
    Series,
    axis_label,
    half_width,
    left_out,
    legend_below,
    limits,
    new_axes,
    ratio_of,
    ratios,
    seeds,
    shorten,
    summaries_of,
)  # fmt: skip
from halfnas.reporting.groups import Group
from halfnas.reporting.metrics import ACCURACIES, INTERVAL, Metric, ranked
from halfnas.reporting.statistics import Summary

MAX_ROWS = 40
MAX_DOTTED = 6  # lines, whose single seeds can still be told apart
#: of a single seed, over the bars
DOT: dict[str, Any] = {"marker": "o", "ms": 3.2, "mew": 0.7, "mfc": "white", "zorder": 4}
CUT = " Bars that reach the frame go on beyond it."


def against_ratio(series: Sequence[Series], metric: Metric, section: str) -> Drawing | None:
    """Lines over the ratio, or a row a group where no line has two ratios; None of fewer than two values."""
    groups = [group for each in series for group in each.groups if group.values(metric.key)]
    if sum(len(group.values(metric.key)) for group in groups) < 2:
        return None
    name = f"{metric.key.replace('/', '_')}_by_"
    counts = [len(group.values(metric.key)) for group in groups]
    explained = f"of `{metric.key}`, {seeds(counts)}. Bars: {INTERVAL}"
    dots = "; open dots: single seeds."
    lines = any(len(ratios([g for g in each.groups if g.values(metric.key)])) > 1 for each in series)
    if lines and all(ratio_of(group) is not None for group in groups):
        drawn = [each for each in series if each.number is not None]
        figure, cut = _lines(drawn, metric)
        explained += dots if len(drawn) <= MAX_DOTTED else "."
        caption = f"Mean {explained}{CUT if cut else ''}{left_out(len(series) - len(drawn), 'settings')}"
        return Drawing(f"{name}ratio", section, f"{_capital(metric.title)} against ratio", figure, caption)
    rows = [group for group in groups if any(group is best for best in ranked(groups)[:MAX_ROWS])]
    figure, cut = _rows(series, rows, metric)
    caption = f"Mean {explained}{dots}{CUT if cut else ''}{left_out(len(groups) - len(rows), 'groups')}"
    return Drawing(f"{name}group", section, _capital(metric.title), figure, caption)


def _lines(series: Sequence[Series], metric: Metric) -> tuple[Figure, bool]:
    figure, axes = new_axes(3.8)
    ticks = ratios([group for each in series for group in each.groups])
    apart = min(0.007, 0.05 / len(series)) * (ticks[-1] - ticks[0])  # or bars would hide each other
    values: list[float] = []
    summaries: list[Summary] = []
    for place, each in enumerate(series):
        shift = apart * (place - (len(series) - 1) / 2)
        found = summaries_of(each.groups, metric)
        order = sorted(found, key=lambda i: ratio_of(each.groups[i]) or 0.0)
        x = [(ratio_of(each.groups[i]) or 0.0) + shift for i in order]
        shown = [found[i] for i in order]
        for at, i in zip(x, order, strict=True):
            dots = [metric.scale * value for value in each.groups[i].values(metric.key).values()]
            if len(series) <= MAX_DOTTED:
                axes.plot([at] * len(dots), dots, ls="", color=each.colour, **DOT)
            values += dots
        axes.errorbar(
            x, [s.mean for s in shown], yerr=[half_width(s) for s in shown], color=each.colour, marker=each.marker,
            ls=each.line, lw=1.5, ms=5, elinewidth=1.0, capsize=2.5,
        )  # fmt: skip
        summaries += shown
    bottom, top, cut = limits(values, summaries, from_zero=metric not in ACCURACIES)
    axes.set(xlabel="ratio of candidates kept", ylim=(bottom, top))
    axes.set_ylabel(axis_label(metric))
    if len(ticks) <= 9:
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    if len(series) > 1:
        legend_below(figure, [each.handle() for each in series], 0.02)
    return figure, cut


def _rows(series: Sequence[Series], groups: Sequence[Group], metric: Metric) -> tuple[Figure, bool]:
    figure, axes = new_axes(1.0 + 0.27 * len(groups))
    of_group = {id(group): each for each in series for group in each.groups}
    found = summaries_of(groups, metric)
    values: list[float] = []
    for row, group in enumerate(groups):
        dots = [metric.scale * value for value in group.values(metric.key).values()]
        each, summary = of_group[id(group)], found[row]
        axes.plot(dots, [row] * len(dots), ls="", color=each.colour, **DOT)
        axes.errorbar(
            summary.mean, row, xerr=half_width(summary), color=each.colour, marker=each.marker, ms=5, elinewidth=1.0,
            capsize=2.5,
        )  # fmt: skip
        values += dots
    low, high, cut = limits(values, list(found.values()), from_zero=metric not in ACCURACIES)
    axes.set(xlim=(low, high), ylim=(len(groups) - 0.5, -0.5))
    axes.set_yticks(range(len(groups)), [shorten(group.name) for group in groups], fontsize=FONT - 1)
    axes.set_xlabel(axis_label(metric))
    return figure, cut


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
