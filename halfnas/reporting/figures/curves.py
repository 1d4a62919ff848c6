"""Learning curves, from the history of every run."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from halfnas.drawing import kit
from halfnas.reporting.figures.drawing import Drawing, left_out, seeds
from halfnas.reporting.figures.series import Series, ratio_of, ratios
from halfnas.reporting.groups import Group
from halfnas.reporting.metrics import BY_KEY, most_accurate

MAX_GROUPS = 12
#: stage -> what is drawn as a line: the first that there is; and dotted, if it is there
PANELS = {
    "search": (("search/val_acc",), None),
    "evaluate": (("evaluate/test_acc", "evaluate/val_acc"), "evaluate/train_acc"),
}
Colour = tuple[float, float, float]
Curve = dict[int, list[float]]  # epoch -> a value a seed


def curve(group: Group, stage: str, key: str) -> Curve:
    """Collect the values of a metric in each epoch, over the seeds that have reached it."""
    values: Curve = {}
    for run in group.runs:
        for row in run.history:
            if row.get("stage") == stage and row.get(key):
                values.setdefault(int(row["epoch"]), []).append(float(row[key]))
    return dict(sorted(values.items()))


def learning_curves(series: Sequence[Series]) -> Drawing | None:
    """Draw a panel a stage, with a line a group; None where no run has a history."""
    groups = [group for each in series if each.number is not None for group in each.groups]
    found: dict[str, tuple[str, dict[Group, Curve]]] = {}
    for stage, (choices, _) in PANELS.items():
        for key in choices:
            curves = {group: values for group in groups if (values := curve(group, stage, key))}
            if curves:
                found[stage] = key, curves
                break
    if not found:
        return None
    shown = most_accurate([g for g in groups if any(g in curves for _, curves in found.values())], MAX_GROUPS)
    figure = Figure(figsize=(kit.WIDTH, 3.1 * len(found)), facecolor="white")
    panels = figure.subplots(len(found), 1, squeeze=False)[:, 0]
    figure.subplots_adjust(hspace=0.32, top=0.98, bottom=0.5 / figure.get_figheight())
    looks = _looks(series, shown)
    dotted = []
    for axes, (stage, (key, curves)) in zip(panels, found.items(), strict=True):
        kit.plain(axes)
        for group in shown:
            _draw(axes, curves.get(group, {}), *looks[group], band=True)
        training = PANELS[stage][1]
        if training is not None and any(trained := {group: curve(group, stage, training) for group in shown}.values()):
            dotted.append(training)
            for group, values in zip(shown, trained, strict=True):
                _draw(axes, values, looks[group][0], ":", band=False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(f"epoch of the {stage} stage", fontsize=kit.FONT)
        axes.set_ylabel(f"{BY_KEY[key].label}\n{key}", fontsize=kit.FONT)
    if len(shown) > 1:
        entries = [(kit.shorten(group.name), *looks[group]) for group in shown]
        kit.legend_below(figure, [Line2D([], [], color=c, ls=line, lw=2, label=name) for name, c, line in entries])
    counts = [len(group.runs) for group in shown]
    caption = (
        f"Means of {' and '.join(f'`{key}`' for key, _ in found.values())} over seeds, {seeds(counts)}."
        + (" Bands: one standard deviation to both sides." if max(counts) > 1 else "")
        + "".join(f" Dotted: `{key}`." for key in dotted)
        + (" The darker a shade, the larger the ratio." if len(ratios(shown)) > 1 else "")
        + left_out(sum(len(each.groups) for each in series) - len(shown), "groups")
    )
    return Drawing("learning_curves", "Learning curves", "Accuracy over epochs", figure, caption)


def _draw(axes: Axes, values: Curve, colour: Colour, line: str, band: bool) -> None:
    """Draw the mean over seeds in percent, and one standard deviation to both sides of it where wanted."""
    epochs = list(values)
    mean = 100 * np.array([np.mean(each) for each in values.values()])
    marker = "." if len(epochs) == 1 else ""
    axes.plot(epochs, mean, color=colour, ls=line, lw=1.4 if band else 0.9, marker=marker)
    if band:
        std = 100 * np.array([np.std(each, ddof=1) if len(each) > 1 else 0.0 for each in values.values()])
        axes.fill_between(epochs, mean - std, mean + std, color=colour, alpha=0.12, linewidth=0)


def _looks(series: Sequence[Series], shown: Sequence[Group]) -> dict[Group, tuple[Colour, str]]:
    """Choose colour and line of every group: those of its series, the lighter the smaller the ratio."""
    looks: dict[Group, tuple[Colour, str]] = {}
    for each in series:
        mine = ratios([group for group in each.groups if group in shown])
        for group in each.groups:
            ratio = ratio_of(group)
            depth = mine.index(ratio) / (len(mine) - 1) if ratio in mine and len(mine) > 1 else 1.0
            red, green, blue = (1 - (0.4 + 0.6 * depth) * (1 - part) for part in to_rgb(each.colour))
            looks[group] = (red, green, blue), each.line
    return looks
