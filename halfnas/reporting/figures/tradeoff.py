"""Accuracy against memory, and the groups that no other one beats in both."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import TypeVar

from matplotlib.axes import Axes

from halfnas.drawing import kit
from halfnas.reporting.figures.drawing import Drawing, left_out, seeds
from halfnas.reporting.figures.series import CUT, Series, axis_label, comparable_series, limits, summaries_of
from halfnas.reporting.metrics import INTERVAL, Metric, accuracy_of, memory_of

MAX_LABELS = 10
Point = tuple[float, float]  # memory, accuracy
Box = tuple[float, float, float, float]  # left, bottom, right, top in inches
Key = TypeVar("Key", bound=Hashable)


def pareto_front(points: Mapping[Key, Point]) -> list[Key]:
    """Find the points (memory, accuracy) that no other has both less memory and more accuracy than.

    Of equal points each counts.

    Returns:
        Their keys, that of the least memory first.
    """
    front = [
        key
        for key, (memory, accuracy) in points.items()
        if not any(m <= memory and a >= accuracy and (m, a) != (memory, accuracy) for m, a in points.values())
    ]
    return sorted(front, key=points.__getitem__)


def accuracy_against_memory(series: Sequence[Series], of: str | None) -> list[Drawing]:
    """Draw the means of all groups with their intervals and the front.

    Groups whose memory was measured at different batch sizes and the like stand in different figures.

    Args:
        of: the data set, where there are several.
    """
    groups = [group for each in series for group in each.groups]
    accuracy, memory = accuracy_of(groups), memory_of(groups)
    if accuracy is None or memory is None:
        return []
    drawings = []
    lacking = [group for group in groups if not group.values(memory.key)]
    for number, (part, place, sentence) in enumerate(comparable_series(series, memory), start=1):
        drawing = _drawing(part, accuracy, memory, len(lacking))
        if drawing is not None:
            said = [each for each in (of, place) if each]
            name = "_".join(["accuracy_by_memory", *([of] if of else []), *([str(number)] if place else [])])
            title, caption = ", ".join([drawing.title, *said]), drawing.caption + sentence
            drawings.append(replace(drawing, name=name, title=title, caption=caption))
    return drawings


def _drawing(series: Sequence[Series], accuracy: Metric, memory: Metric, lacking: int) -> Drawing | None:
    """Draw groups that can be compared; None where fewer than two have both metrics."""
    series_of_group = {group: each for each in series for group in each.groups}
    groups = list(series_of_group)
    x, y = summaries_of(groups, memory), summaries_of(groups, accuracy)
    points = {group: (x[group].mean, y[group].mean) for group in groups if group in x and group in y}
    if len(points) < 2:
        return None
    front = pareto_front(points)
    figure, axes = kit.new_axes(4.4)
    for group, point in points.items():
        each = series_of_group[group]
        xerr, yerr = ([[end] for end in summary.reach] for summary in (x[group], y[group]))
        axes.errorbar(
            *point, xerr=xerr, yerr=yerr, color=each.colour, marker=each.marker, ms=6, elinewidth=0.7,
            alpha=1.0 if group in front else 0.55, zorder=3,
        )  # fmt: skip
    steps = zip(*(points[group] for group in front), strict=True)
    axes.step(*steps, where="post", color=kit.INK, lw=1.0, ls=":", zorder=2)
    left, right, cut_x = limits([m for m, _ in points.values()], [x[group] for group in points])
    bottom, top, cut_y = limits([a for _, a in points.values()], [y[group] for group in points])
    axes.set(xlim=(max(0.0, left), right), ylim=(bottom, top), xlabel=axis_label(memory), ylabel=axis_label(accuracy))
    named = [(kit.shorten(group.short, 32), points[group]) for group in front[:MAX_LABELS]]
    _label(axes, named, list(points.values()))
    drawn = [each for each in series if each.number is not None and any(group in points for group in each.groups)]
    if len(drawn) > 1:
        kit.legend_below(figure, [each.handle("") for each in drawn], 0.08)
    grey = sum(each.number is None for each in series)
    caption = (
        f"Means of `{accuracy.key}` and `{memory.key}`, {seeds([min(x[g].n, y[g].n) for g in points])}; bars: "
        f"{INTERVAL}. Dotted: the Pareto front, "
        f"the {len(front)} of {len(points)} groups that no other beats with less memory and more accuracy."
        + (CUT if cut_x or cut_y else "")
        + (f" Grey: {grey} settings without a colour of their own." if grey else "")
        + left_out(lacking + len(groups) - len(points), "groups", "they lack one of the two")
        + left_out(max(0, len(front) - MAX_LABELS), "names of groups on the front", "they would not fit")
    )
    return Drawing("accuracy_by_memory", "Accuracy and memory", "Accuracy against memory", figure, caption)


def _label(axes: Axes, named: Sequence[tuple[str, Point]], points: Sequence[Point]) -> None:
    """Write each name beside its point, where it hides least of the other points and names."""
    to_inches = axes.transData + axes.figure.dpi_scale_trans.inverted()
    frame = axes.get_window_extent().transformed(axes.figure.dpi_scale_trans.inverted())
    taken: list[Box] = [(x - 0.06, y - 0.06, x + 0.06, y + 0.06) for x, y in map(to_inches.transform, points)]
    size = kit.FONT - 1
    height = size / 72 * 1.15
    leader = {"arrowstyle": "-", "lw": 0.5, "color": kit.GREY}
    for name, point in named:
        x, y = to_inches.transform(point)
        width = 1.03 * kit.text_width(name, size)
        shifts = product((0.09, -0.09 - width, -width / 2), (0.07, -0.07 - height, 0.25, -0.25 - height, 0.43, -0.61))
        boxes = [(x + dx, y + dy, x + dx + width, y + dy + height) for dx, dy in shifts]
        inside = [b for b in boxes if frame.x0 <= b[0] and b[2] <= frame.x1 and frame.y0 <= b[1] and b[3] <= frame.y1]
        best = min(inside or boxes, key=lambda box: sum(_shared(box, other) for other in taken))
        taken.append(best)
        away = abs((best[1] + best[3]) / 2 - y) > 0.2
        axes.annotate(
            name, point, xytext=(72 * (best[0] - x), 72 * (best[1] - y)), textcoords="offset points",
            fontsize=size, zorder=5, arrowprops=leader if away else None,
            bbox={"boxstyle": "square,pad=0.05", "fc": "white", "ec": "none", "alpha": 0.75},
        )  # fmt: skip


def _shared(first: Box, second: Box) -> float:
    """Compute the area that two boxes both cover, in square inches."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0.0) * max(height, 0.0)
