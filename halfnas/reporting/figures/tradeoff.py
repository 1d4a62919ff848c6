"""Accuracy against memory, and the groups that no other one beats in both."""

from collections.abc import Mapping, Sequence
from itertools import product

from matplotlib.axes import Axes

from halfnas.drawing.layout import text_width
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
    seeds,
    shorten,
    summaries_of,
)  # fmt: skip
from halfnas.reporting.metrics import INTERVAL, accuracy_of, memory_of

MAX_LABELS = 10
Box = tuple[float, float, float, float]  # left, bottom, right, top in inches


def pareto_front(points: Mapping[int, tuple[float, float]]) -> list[int]:
    """Keys of the points (memory, accuracy) that no other has both less memory and more accuracy than, by memory.

    Of equal points each counts.
    """
    front = []
    for key, (memory, accuracy) in points.items():
        beaten = any(
            other[0] <= memory and other[1] >= accuracy and other != (memory, accuracy) for other in points.values()
        )
        if not beaten:
            front.append(key)
    return sorted(front, key=points.__getitem__)


def accuracy_against_memory(series: Sequence[Series], of: str | None) -> Drawing | None:
    """Means of all groups with their intervals and the front; None where fewer than two groups have both metrics.

    Args:
        of: the data set, where there are several.
    """
    groups = [group for each in series for group in each.groups]
    accuracy, memory = accuracy_of(groups), memory_of(groups)
    if accuracy is None or memory is None:
        return None
    x, y = summaries_of(groups, memory), summaries_of(groups, accuracy)
    both = sorted(x.keys() & y.keys())
    if len(both) < 2:
        return None
    points = {i: (x[i].mean, y[i].mean) for i in both}
    front = pareto_front(points)
    figure, axes = new_axes(4.4)
    colours = {id(group): each for each in series for group in each.groups}
    for i in both:
        each = colours[id(groups[i])]
        axes.errorbar(
            *points[i], xerr=half_width(x[i]), yerr=half_width(y[i]), color=each.colour, marker=each.marker, ms=6,
            elinewidth=0.7, alpha=1.0 if i in front else 0.55, zorder=3,
        )  # fmt: skip
    axes.step(*zip(*(points[i] for i in front), strict=True), where="post", color="#222222", lw=1.0, ls=":", zorder=2)
    left, right, cut_x = limits([points[i][0] for i in both], [x[i] for i in both])
    bottom, top, cut_y = limits([points[i][1] for i in both], [y[i] for i in both])
    axes.set(xlim=(max(0.0, left), right), ylim=(bottom, top), xlabel=axis_label(memory))
    axes.set_ylabel(axis_label(accuracy))
    _label(axes, {i: shorten(groups[i].name, 32) for i in front[:MAX_LABELS]}, points)
    drawn = [each for each in series if each.number is not None and any(colours[id(groups[i])] is each for i in both)]
    if len(drawn) > 1:
        legend_below(figure, [each.handle("") for each in drawn], 0.08)
    grey = sum(each.number is None for each in series)
    counts = [min(x[i].n, y[i].n) for i in both]
    caption = (
        f"Means of `{accuracy.key}` and `{memory.key}`, {seeds(counts)}; bars: {INTERVAL}. Dotted: the Pareto front, "
        f"the {len(front)} of {len(both)} groups that no other beats with less memory and more accuracy."
        + (" Bars that reach the frame go on beyond it." if cut_x or cut_y else "")
        + (f" Grey: {grey} settings without a colour of their own." if grey else "")
        + left_out(len(groups) - len(both), "groups", "they lack one of the two")
        + left_out(max(0, len(front) - MAX_LABELS), "names of groups on the front", "they would not fit")
    )
    return Drawing(
        "accuracy_by_memory" + (f"_{of}" if of else ""),
        "Accuracy and memory",
        "Accuracy against memory" + (f", {of}" if of else ""),
        figure,
        caption,
    )


def _label(axes: Axes, names: Mapping[int, str], points: Mapping[int, tuple[float, float]]) -> None:
    """Write each name beside its point, where it hides least."""
    to_inches = axes.transData + axes.figure.dpi_scale_trans.inverted()
    spots = {key: tuple(to_inches.transform(point)) for key, point in points.items()}
    frame = axes.get_window_extent().transformed(axes.figure.dpi_scale_trans.inverted())
    taken: list[Box] = [(x - 0.06, y - 0.06, x + 0.06, y + 0.06) for x, y in spots.values()]
    height = (FONT - 1) / 72 * 1.15
    leader = {"arrowstyle": "-", "lw": 0.5, "color": "#8C8C8C"}
    for key, name in names.items():
        x, y = spots[key]
        width = 1.03 * text_width(name, FONT - 1)
        shifts = product((0.09, -0.09 - width, -width / 2), (0.07, -0.07 - height, 0.25, -0.25 - height, 0.43, -0.61))
        boxes = [(x + dx, y + dy, x + dx + width, y + dy + height) for dx, dy in shifts]
        inside = [b for b in boxes if frame.x0 <= b[0] and b[2] <= frame.x1 and frame.y0 <= b[1] and b[3] <= frame.y1]
        best = min(inside or boxes, key=lambda box: sum(_shared(box, other) for other in taken))
        taken.append(best)
        away = abs((best[1] + best[3]) / 2 - y) > 0.2
        axes.annotate(
            name, points[key], xytext=(72 * (best[0] - x), 72 * (best[1] - y)), textcoords="offset points",
            fontsize=FONT - 1, zorder=5, arrowprops=leader if away else None,
            bbox={"boxstyle": "square,pad=0.05", "fc": "white", "ec": "none", "alpha": 0.75},
        )  # fmt: skip


def _shared(first: Box, second: Box) -> float:
    """Area that both cover."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return width * height if width > 0 and height > 0 else 0.0
