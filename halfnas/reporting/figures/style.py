"""What the figures of a report share: colours, names that fit, axes, and limits that show the data."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from halfnas.reporting.groups import Group
from halfnas.reporting.metrics import Metric, ranked
from halfnas.reporting.statistics import Summary

#: Okabe and Ito's colours without their yellow, which is too light for lines ("Color Universal Design", 2008)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX*<>"
GREY = "#8C8C8C"
WIDTH = 7.0  # inches; readable on a phone, and on paper
MAX_SERIES = 12  # more lines than these nobody tells apart
NAME_LENGTH = 48
FONT = 9.0


@dataclass(frozen=True)
class Drawing:
    """One figure of a report.

    Attributes:
        name: of its file.
        section: of the page.
        caption: how many runs, what the bars are, which metric, and what is left out.
        text: to be shown as it is below the figure.
    """

    name: str
    section: str
    title: str
    figure: Figure
    caption: str
    text: str = ""

    @property
    def file(self) -> str:
        """Its name without anything that a path or an address cannot have."""
        return f"{re.sub(r'[^A-Za-z0-9]+', '_', self.name)}.png"


@dataclass(frozen=True)
class Series:
    """Groups that differ in their ratio alone: a line.

    Attributes:
        number: its place among those that are drawn, which gives its colour; None where it has none of its own.
    """

    name: str
    groups: Sequence[Group]
    number: int | None

    @property
    def colour(self) -> str:
        """The same in all figures of a report."""
        return GREY if self.number is None else COLOURS[self.number % len(COLOURS)]

    @property
    def marker(self) -> str:
        """The same in all figures of a report."""
        return "." if self.number is None else MARKERS[self.number % len(MARKERS)]

    @property
    def line(self) -> str:
        """Dashed once the colours are used up."""
        return "-" if self.number is None or self.number < len(COLOURS) else "--"

    def handle(self, line: str | None = None) -> Line2D:
        """Its entry in a legend."""
        line = self.line if line is None else line
        return Line2D([], [], color=self.colour, marker=self.marker, ls=line, ms=5, label=shorten(self.name))


def series_of(groups: Sequence[Group]) -> list[Series]:
    """All groups as lines over the ratio; where there are too many, the most accurate have colours of their own."""
    members: dict[str, list[Group]] = {}
    for group in groups:
        members.setdefault(without_ratio(group).name, []).append(group)
    best = list(dict.fromkeys(without_ratio(group).name for group in ranked(groups)))[:MAX_SERIES]
    drawn = [name for name in members if name in best]
    numbers = {name: number for number, name in enumerate(drawn)}
    return [Series(name, each, numbers.get(name)) for name, each in members.items()]


def ratio_of(group: Group) -> float | None:
    """The fraction of candidates that it keeps."""
    ratio = group.all_settings.get("ratio")
    return float(ratio) if isinstance(ratio, (int, float)) and not isinstance(ratio, bool) else None


def ratios(groups: Sequence[Group]) -> list[float]:
    """All different ones, in order."""
    return sorted({ratio for group in groups if (ratio := ratio_of(group)) is not None})


def shorten(name: str, length: int = NAME_LENGTH) -> str:
    """A name that fits, for matplotlib: a dollar sign would start a formula."""
    name = " ".join(name.split())
    return (name if len(name) <= length else f"{name[: length - 1]}…").replace("$", r"\$")


def new_axes(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """One plot."""
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.subplots()
    plain(axes)
    return figure, axes


def plain(axes: Axes) -> None:
    """A light grid and no frame."""
    axes.grid(color="#E4E4E4", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=FONT - 0.5)


def axis_label(metric: Metric) -> str:
    """What it is, and the key that holds it."""
    return f"{metric.label}\n{metric.key}"


def legend_below(figure: Figure, handles: Sequence[Line2D], inches: float = 0.0) -> None:
    """Entries in as many columns as fit, `inches` below the lowest edge of the figure."""
    widest = max((len(str(handle.get_label())) for handle in handles), default=1)
    ncols = max(1, min(len(handles), int(88 / (widest + 6))))
    place = (0.5, -inches / figure.get_figheight())
    figure.legend(
        handles=list(handles), loc="upper center", bbox_to_anchor=place, ncols=ncols, fontsize=FONT - 0.5, frameon=False
    )


def limits(values: Sequence[float], summaries: Sequence[Summary], from_zero: bool = False) -> tuple[float, float, bool]:
    """Lower and upper end of an axis, and whether intervals go past them.

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


def seeds(counts: Sequence[int]) -> str:
    """Such as "n = 3" or "n = 2 to 3"."""
    low, high = min(counts), max(counts)
    return f"n = {low}" if low == high else f"n = {low} to {high}"


def left_out(count: int, what: str, why: str = "the most accurate are drawn") -> str:
    """A sentence, or nothing."""
    return f" Left out: {count} {what}; {why}." if count else ""


def summaries_of(groups: Sequence[Group], metric: Metric) -> Mapping[int, Summary]:
    """Place in `groups` -> what is shown of the metric, of those that have it."""
    found = {i: group.summary(metric.key) for i, group in enumerate(groups)}
    return {i: scaled(summary, metric.scale) for i, summary in found.items() if summary is not None}


def scaled(summary: Summary, scale: float) -> Summary:
    """The same in another unit."""
    std, low, high = (None if value is None else scale * value for value in (summary.std, summary.low, summary.high))
    return Summary(summary.n, scale * summary.mean, std, low, high)


def half_width(summary: Summary) -> float:
    """Of the interval; nothing of a single value."""
    return 0.0 if summary.high is None else summary.high - summary.mean


def without_ratio(group: Group) -> Group:
    """The same group, named by its other settings."""
    return Group({key: value for key, value in group.settings.items() if key != "ratio"}, group.runs)
