"""Groups as lines with a colour each, and the axes that they are drawn on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.lines import Line2D

from halfnas.drawing import kit
from halfnas.reporting.conditions import apart, conditions, in_words
from halfnas.reporting.groups import Group
from halfnas.reporting.metrics import Metric, ranked
from halfnas.reporting.statistics import Summary

COLOURS = (kit.BLUE, kit.VERMILION, kit.GREEN, kit.PURPLE, kit.ORANGE, kit.SKY, kit.BLACK)
MARKERS = "osD^vPX*<>"
MAX_SERIES = 12  # more lines than these nobody tells apart
CUT = " Bars that reach the frame go on beyond it."


@dataclass(frozen=True)
class Axis:
    """A setting that metrics are drawn against, a number.

    Attributes:
        key: the setting.
        title: what it is called in a title.
        label: what stands along the axis.
        even: whether its values stand at equal distances, as they may be far apart.
    """

    key: str
    title: str
    label: str
    even: bool = False

    def of(self, group: Group) -> float | None:
        """Look it up; None where the runs of a group say none."""
        value = group.all_settings.get(self.key)
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

    def values(self, groups: Sequence[Group]) -> list[float]:
        """List its different values, the smallest first."""
        return sorted({value for group in groups if (value := self.of(group)) is not None})

    def without(self, group: Group) -> Group:
        """Give a group that is told by its other settings."""
        return Group({key: value for key, value in group.settings.items() if key != self.key}, group.runs)


RATIO = Axis("ratio", "ratio", "ratio of candidates kept")
WEIGHT = Axis(
    "searcher.regularizer.weight",
    "weight of the regulariser",
    "weight of the regulariser at the end of the search",
    even=True,
)


@dataclass(frozen=True)
class Series:
    """Groups that differ in their ratio alone, or in another axis: a line, which looks the same in all its figures.

    Attributes:
        number: its place among those that are drawn, which gives its colour; None where it has none of its own.
    """

    name: str
    groups: Sequence[Group]
    number: int | None

    @property
    def colour(self) -> str:
        """The colour of the line, grey for all that have none of their own."""
        return kit.GREY if self.number is None else COLOURS[self.number % len(COLOURS)]

    @property
    def marker(self) -> str:
        """The marker of its points."""
        return "." if self.number is None else MARKERS[self.number % len(MARKERS)]

    @property
    def line(self) -> str:
        """The style of the line: dashed once the colours are used up."""
        return "-" if self.number is None or self.number < len(COLOURS) else "--"

    def handle(self, line: str | None = None) -> Line2D:
        """Make its entry in a legend, with another style of line if one is given."""
        style = self.line if line is None else line
        name = kit.shorten(self.name, kit.LEGEND_LENGTH)
        return Line2D([], [], color=self.colour, marker=self.marker, ls=style, ms=5, label=name)


def series_of(groups: Sequence[Group], axis: Axis = RATIO) -> list[Series]:
    """Arrange groups as lines over an axis; where there are too many, the most accurate have colours of their own."""
    members: dict[str, list[Group]] = {}
    for group in groups:
        members.setdefault(axis.without(group).name, []).append(group)
    best = list(dict.fromkeys(axis.without(group).name for group in ranked(groups)))[:MAX_SERIES]
    numbers = {name: number for number, name in enumerate(name for name in members if name in best)}
    return [Series(axis.without(each[0]).short, each, numbers.get(name)) for name, each in members.items()]


def comparable_series(series: Sequence[Series], metric: Metric) -> list[tuple[list[Series], str, str]]:
    """Sort series into such as can be compared by a memory or a time, with what each part was measured at.

    Returns:
        Series of groups that have the metric, as they look in all figures; a title for the part, empty of the only one;
        and a sentence.
    """
    groups = [group for each in series for group in each.groups]
    parts = apart(groups, metric.key)
    found = []
    for part in parts:
        mine = [replace(each, groups=[group for group in each.groups if group in part]) for each in series]
        place = in_words(conditions(part[0], metric.key))
        sentence = f" Measured at {place}." if place else ""
        if len(parts) > 1:
            sentence += " Groups that were measured at something else stand in figures of their own."
        found.append(([each for each in mine if each.groups], place if len(parts) > 1 else "", sentence))
    return found


def summaries_of(groups: Sequence[Group], metric: Metric) -> dict[Group, Summary]:
    """Summarize a metric, in the unit that is shown, for the groups that have it."""
    found = {group: group.summary(metric.key) for group in groups}
    return {group: summary.scaled(metric.scale) for group, summary in found.items() if summary is not None}


def axis_label(metric: Metric) -> str:
    """Name an axis: what it shows, and below it the key that holds it."""
    return f"{metric.label}\n{metric.key}"


def limits(values: Sequence[float], summaries: Sequence[Summary], from_zero: bool = False) -> tuple[float, float, bool]:
    """Choose the lower and the upper end of an axis, and say whether intervals go past them.

    Intervals of two or three seeds are so wide that the means would not be told apart: the axis shows all values and
    as much again around them.
    """
    ends = [end for s in summaries for end in (s.low, s.high) if end is not None] or list(values)
    low, high = min(values), max(values)
    room = max(0.6 * (high - low), 0.01 * max(abs(low), abs(high)), 1e-9)
    bottom, top = max(min(*ends, low), low - room), min(max(*ends, high), high + room)
    edge = 0.06 * (top - bottom) or room
    bottom, top = bottom - edge, top + edge
    if from_zero:
        bottom, top = 0.0, max(top, 1e-9)
    return bottom, top, any(not bottom <= end <= top for end in ends)


def frame(values: Sequence[float]) -> tuple[float, float]:
    """Choose the ends of an axis of percents; a few values that are far below all others leave room for these."""
    high, tenth = max(values), float(np.percentile(values, 10))
    low = max(min(values), tenth - 1.5 * (high - tenth))
    edge = 0.06 * (high - low) or 1.0
    return max(low - edge, 0.0), min(high + edge, 100.0)


def outside(values: Sequence[float], low: float) -> str:
    """Say in a sentence what is worse than such an axis shows; empty where nothing is."""
    below = [value for value in values if value < low]
    return f" Below the frame: {len(below)} of {len(values)}, down to {min(below):.1f}." if below else ""
