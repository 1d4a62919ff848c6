"""Learning curves, from the history of every run."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from halfnas.reporting.figures.style import (
    FONT,
    WIDTH,
    Drawing,
    Series,
    left_out,
    legend_below,
    plain,
    ratio_of,
    ratios,
    seeds,
    shorten,
)  # fmt: skip
from halfnas.reporting.groups import Group
from halfnas.reporting.metrics import BY_KEY, ranked

MAX_GROUPS = 12
#: stage -> what is drawn as a line: the first that there is; and dashed, if it is there
PANELS = {
    "search": (("search/val_acc",), None),
    "evaluate": (("evaluate/test_acc", "evaluate/val_acc"), "evaluate/train_acc"),
}
Colour = tuple[float, float, float]
Curve = dict[int, list[float]]  # epoch -> a value a seed


def curve(group: Group, stage: str, key: str) -> Curve:
    """The values of a metric in each epoch, of the seeds that have reached it."""
    values: Curve = {}
    for run in group.runs:
        for row in run.history:
            if row.get("stage") == stage and row.get(key):
                values.setdefault(int(row["epoch"]), []).append(float(row[key]))
    return dict(sorted(values.items()))


def learning_curves(series: Sequence[Series]) -> Drawing | None:
    """A panel a stage, a line a group; None where no run has a history."""
    groups = [group for each in series if each.number is not None for group in each.groups]
    found: dict[str, str] = {}
    for stage, (choices, _) in PANELS.items():
        key = next((key for key in choices if any(curve(group, stage, key) for group in groups)), None)
        if key is not None:
            found[stage] = key
    if not found:
        return None
    with_curves = [group for group in groups if any(curve(group, stage, key) for stage, key in found.items())]
    best = ranked(with_curves)[:MAX_GROUPS]
    shown = [group for group in with_curves if any(group is other for other in best)]
    figure = Figure(figsize=(WIDTH, 3.1 * len(found)), facecolor="white")
    panels = figure.subplots(len(found), 1, squeeze=False)[:, 0]
    figure.subplots_adjust(hspace=0.32, top=0.98, bottom=0.5 / figure.get_figheight())
    colours = _colours(series, shown)
    dashed = []
    for axes, (stage, key) in zip(panels, found.items(), strict=True):
        plain(axes)
        for group in shown:
            _draw(axes, curve(group, stage, key), *colours[id(group)], band=True)
        training = PANELS[stage][1]
        if training is not None and any(curve(group, stage, training) for group in shown):
            dashed.append(training)
            for group in shown:
                _draw(axes, curve(group, stage, training), colours[id(group)][0], ":", band=False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(f"epoch of the {stage} stage", fontsize=FONT)
        axes.set_ylabel(f"{BY_KEY[key].label}\n{key}", fontsize=FONT)
    lines = [
        Line2D([], [], color=colour, ls=line, lw=2, label=shorten(group.name))
        for group in shown
        for colour, line in [colours[id(group)]]
    ]
    if len(lines) > 1:
        legend_below(figure, lines, 0.0)
    keys = " and ".join(f"`{key}`" for key in found.values())
    counts = [len(group.runs) for group in shown]
    caption = (
        f"Means of {keys} over seeds, {seeds(counts)}."
        + (" Bands: one standard deviation to both sides." if max(counts) > 1 else "")
        + "".join(f" Dotted: `{key}`." for key in dashed)
        + (" The darker a shade, the larger the ratio." if len(ratios(shown)) > 1 else "")
        + left_out(_number(series) - len(shown), "groups")
    )
    return Drawing("learning_curves", "Learning curves", "Accuracy over epochs", figure, caption)


def _draw(axes: Axes, values: Curve, colour: Colour, line: str, band: bool) -> None:
    epochs = list(values)
    mean = 100 * np.array([np.mean(each) for each in values.values()])
    marker = "." if len(epochs) == 1 else ""
    axes.plot(epochs, mean, color=colour, ls=line, lw=1.4 if band else 0.9, marker=marker)
    if band:
        std = 100 * np.array([np.std(each, ddof=1) if len(each) > 1 else 0.0 for each in values.values()])
        axes.fill_between(epochs, mean - std, mean + std, color=colour, alpha=0.12, linewidth=0)


def _colours(series: Sequence[Series], shown: Sequence[Group]) -> dict[int, tuple[Colour, str]]:
    """Colour and line of the series, the lighter the smaller the ratio."""
    colours = {}
    for each in series:
        mine = ratios([group for group in each.groups if any(group is other for other in shown)])
        for group in each.groups:
            ratio = ratio_of(group)
            depth = mine.index(ratio) / (len(mine) - 1) if ratio in mine and len(mine) > 1 else 1.0
            red, green, blue = (1 - (0.4 + 0.6 * depth) * (1 - part) for part in to_rgb(each.colour))
            colours[id(group)] = (red, green, blue), each.line
    return colours


def _number(series: Sequence[Series]) -> int:
    return sum(len(each.groups) for each in series)
