"""What architectures are worth by a table of trained accuracy: what was found, and what the mask had left."""

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from halfnas.drawing import kit
from halfnas.reporting.figures.against import BAR, DOT, MAX_ROWS, row_height
from halfnas.reporting.figures.curves import seed_curves
from halfnas.reporting.figures.drawing import Drawing, left_out, seeds
from halfnas.reporting.figures.series import CUT, Series, axis_label, frame, outside, summaries_of
from halfnas.reporting.groups import Group
from halfnas.reporting.metrics import BY_KEY, INTERVAL, most_accurate

TRUE = BY_KEY["search/true_acc"]
MEAN_LEFT, BEST_LEFT = "prune/mean_true_acc", "prune/best_true_acc"
SECTION = "Accuracy"
MAX_PANELS, COLUMNS = 12, 3


def found_and_left(series: Sequence[Series], of: str | None = None) -> Drawing | None:
    """Draw a row a group: what was found, over what its masks have left; None without a table of accuracies.

    Args:
        of: the data set, where there are several.
    """
    series_of_group = {group: each for each in series for group in each.groups if _has_all(group)}
    if sum(len(group.values(TRUE.key)) for group in series_of_group) < 2:
        return None
    groups = most_accurate(list(series_of_group), MAX_ROWS)
    found = summaries_of(groups, TRUE)
    dots = {group: _percent(group.values(TRUE.key).values()) for group in groups}
    left = {group: (_mean(group, MEAN_LEFT), _mean(group, BEST_LEFT)) for group in groups}
    everything = [*(dot for each in dots.values() for dot in each), *(end for ends in left.values() for end in ends)]
    low, high = frame(everything)
    names = [kit.row_name(group.short) for group in groups]
    figure, axes = kit.new_axes(1.0 + max(0.34, row_height(names)) * len(groups))
    for row, group in enumerate(groups):
        start, end = left[group]
        axes.add_patch(Rectangle((start, row - 0.38), end - start, 0.76, color=kit.MIST, lw=0, zorder=0.5))
        each = series_of_group[group]
        # Equal architectures would lie on one another: dots are spread over the height of the row.
        spread = np.linspace(-0.25, 0.25, len(dots[group])) if len(dots[group]) > 1 else np.zeros(1)
        for dot, shift in zip(dots[group], spread, strict=True):
            below = {"marker": "<", "ms": 4.5, "clip_on": False} if dot < low else {}
            axes.plot(max(dot, low), row + shift, color=each.colour, **DOT | below)
        reach = [[end] for end in found[group].reach]
        axes.errorbar(found[group].mean, row, xerr=reach, color=each.colour, marker=each.marker, zorder=5, **BAR)
    axes.set(xlim=(low, high), ylim=(len(groups) - 0.5, -0.5))
    axes.set_xlabel(axis_label(TRUE), fontsize=kit.FONT)
    axes.set_yticks(range(len(groups)), names, fontsize=kit.FONT - 1)
    shade = Patch(facecolor=kit.MIST, label="from the mean to the best of what the masks leave")
    kit.legend_below(figure, [shade, Line2D([], [], color=kit.INK, label="a seed", **DOT)], 0.25)
    cut = any(end is not None and not low <= end <= high for s in found.values() for end in (s.low, s.high))
    caption = (
        f"What the architectures found are worth by the table, `{TRUE.key}`, {seeds([*map(len, dots.values())])}. "
        f"Bars: {INTERVAL}. Shaded: from `{MEAN_LEFT}`, what drawing architectures from the mask gives on average, to "
        f"`{BEST_LEFT}`; means over seeds.{CUT if cut else ''}{outside(everything, low)}"
        f"{left_out(len(series_of_group) - len(groups), 'groups')}"
    )
    name, title = _of(of, "search_true_acc_by_group", "What was found, and what the masks leave")
    return Drawing(name, SECTION, title, figure, caption)


def truth_over_epochs(series: Sequence[Series], of: str | None = None) -> Drawing | None:
    """Draw a panel a group: what the search would have found after each epoch, a dot a seed; None without a table.

    Args:
        of: the data set, where there are several.
    """
    every = {group: each for each in series for group in each.groups if _has_all(group)}
    series_of_group = {group: each for group, each in every.items() if seed_curves(group, "search", TRUE.key)}
    if not series_of_group:
        return None
    groups = most_accurate(list(series_of_group), MAX_PANELS)
    columns = min(COLUMNS, len(groups))
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(kit.WIDTH, 0.6 + 2.0 * rows), facecolor="white")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    height = figure.get_figheight()
    figure.subplots_adjust(hspace=0.42, wspace=0.08, top=1 - 0.4 / height, bottom=0.55 / height)
    for axes in panels.flat[len(groups) :]:
        axes.set_axis_off()
    curves = {group: seed_curves(group, "search", TRUE.key) for group in groups}
    left = {group: (_mean(group, MEAN_LEFT), _mean(group, BEST_LEFT)) for group in groups}
    values = [value for each in curves.values() for curve in each for value in _percent(curve.values())]
    low, high = frame([*values, *(end for ends in left.values() for end in ends)])
    for axes, group in zip(panels.flat, groups, strict=False):
        kit.plain(axes)
        colour = series_of_group[group].colour
        for number, curve in enumerate(curves[group]):
            shift = 0.6 * ((number + 0.5) / len(curves[group]) - 0.5)
            found = dict(zip([epoch + shift for epoch in curve], _percent(curve.values()), strict=True))
            inside = {place: value for place, value in found.items() if value >= low}
            axes.plot(list(inside), list(inside.values()), color=colour, **DOT | {"ms": 2.0})
            below = [place for place in found if place not in inside]
            axes.plot(below, [low] * len(below), color=colour, **DOT | {"marker": "v", "ms": 3.0, "clip_on": False})
        epochs = sorted({epoch for curve in curves[group] for epoch in curve})
        means = [float(np.mean([curve[epoch] for curve in curves[group] if epoch in curve])) for epoch in epochs]
        axes.plot(epochs, _percent(means), color=colour, lw=1.6, zorder=5)
        for end, line in zip(left[group], (":", "--"), strict=True):
            axes.axhline(end, color=kit.GREY, ls=line, lw=1.0)
        axes.set_title(kit.row_name(group.short, 34), fontsize=kit.FONT - 2)
    panels[0, 0].set_ylim(low, high)
    for column in range(columns):
        panels[(len(groups) - 1 - column) // columns, column].tick_params(labelbottom=True)
    figure.text(0.5, 0.12 / height, "epoch of the search", fontsize=kit.FONT, ha="center")
    figure.supylabel(axis_label(TRUE), fontsize=kit.FONT, ha="center", x=0.02)
    lines = [("mean over seeds", "-", kit.INK), ("mean of what the masks leave", ":", kit.GREY)]
    lines.append(("best of it", "--", kit.GREY))
    kit.legend_below(figure, [Line2D([], [], color=colour, ls=ls, label=label) for label, ls, colour in lines])
    caption = (
        f"`{TRUE.key}` of the architecture that would be chosen after each epoch, a dot a seed, "
        f"{seeds([*map(len, curves.values())])}.{outside(values, low)}"
        f"{left_out(len(series_of_group) - len(groups), 'groups')}"
    )
    name, title = _of(of, "true_acc_over_epochs", "Trained accuracy over epochs")
    return Drawing(name, "Learning curves", title, figure, caption)


def _has_all(group: Group) -> bool:
    return all(group.values(key) for key in (TRUE.key, MEAN_LEFT, BEST_LEFT))


def _of(of: str | None, name: str, title: str) -> tuple[str, str]:
    return (name, title) if of is None else (f"{name}_{of}", f"{title}, {of}")


def _mean(group: Group, key: str) -> float:
    return TRUE.scale * float(np.mean(list(group.values(key).values())))


def _percent(values: Iterable[float]) -> list[float]:
    return [TRUE.scale * float(value) for value in values]
