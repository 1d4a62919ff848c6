"""Learning curves, from the history of every run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from halfnas.drawing import kit
from halfnas.reporting.figures.drawing import Drawing, left_out, seeds
from halfnas.reporting.figures.series import RATIO, Series
from halfnas.reporting.groups import Group
from halfnas.reporting.metrics import BY_KEY, most_accurate
from halfnas.reporting.runs import Run
from halfnas.reporting.statistics import MIN_VALUES

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
    for seed in seed_curves(group, stage, key):
        for epoch, value in seed.items():
            values.setdefault(epoch, []).append(value)
    return dict(sorted(values.items()))


def seed_curves(group: Group, stage: str, key: str) -> list[dict[int, float]]:
    """Collect the values of a metric, epoch -> value, of every run that has any."""
    found = (
        {int(row["epoch"]): float(row[key]) for row in _rows(run) if row["stage"] == stage and row.get(key)}
        for run in group.runs
    )
    return [each for each in found if each]


def _rows(run: Run) -> list[dict[str, str]]:
    """The rows of its history; none where that cannot be read, which `problems` of the run says."""
    try:
        return run.history
    except ValueError:
        return []


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
        # Points of a single epoch would lie on one another.
        alone = max(len(values) for values in curves.values()) == 1
        shifts = {group: 0.02 * (place - (len(shown) - 1) / 2) * alone for place, group in enumerate(shown)}
        for group in shown:
            _draw(axes, curves.get(group, {}), *looks[group], shifts[group])
            _draw_spread(axes, seed_curves(group, stage, key), looks[group][0], shifts[group])
        training = PANELS[stage][1]
        if training is not None and any(trained := {group: curve(group, stage, training) for group in shown}.values()):
            dotted.append(f" {'Crosses' if alone else 'Dotted'}: `{training}`.")
            for group, values in zip(shown, trained, strict=True):
                _draw(axes, values, looks[group][0], ":", shifts[group], width=0.9, marker="x")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if alone:
            [epoch] = next(iter(curves.values()))
            axes.set(xlim=(epoch - 0.5, epoch + 0.5), xticks=[epoch])
        axes.set_xlabel(f"epoch of the {stage} stage", fontsize=kit.FONT)
        axes.set_ylabel(f"{BY_KEY[key].label}\n{key}", fontsize=kit.FONT)
    if len(shown) > 1:
        entries = [(kit.shorten(group.short), *looks[group]) for group in shown]
        kit.legend_below(figure, [Line2D([], [], color=c, ls=line, lw=2, label=name) for name, c, line in entries])
    counts = [len(group.runs) for group in shown]
    most = max(counts)
    caption = (
        f"Means of {' and '.join(f'`{key}`' for key, _ in found.values())} over seeds, {seeds(counts)}."
        + (f" Bands and bars: one standard deviation, of {MIN_VALUES} seeds or more." if most >= MIN_VALUES else "")
        + (" Thin lines and open dots: single seeds." if any(1 < n < MIN_VALUES for n in counts) else "")
        + "".join(dotted)
        + (" The darker a shade, the larger the ratio." if len(RATIO.values(shown)) > 1 else "")
        + left_out(sum(len(each.groups) for each in series) - len(shown), "groups")
    )
    return Drawing("learning_curves", "Learning curves", "Accuracy over epochs", figure, caption)


def _draw(
    axes: Axes, values: Curve, colour: Colour, line: str, shift: float, *, width: float = 1.4, marker: str = "o"
) -> None:
    """Draw the mean over seeds in percent; a single epoch is a point, moved aside by `shift`."""
    mean = [100 * float(np.mean(each)) for each in values.values()]
    point: dict[str, Any] = {"marker": marker, "ms": 4.5} if len(mean) == 1 else {}
    axes.plot(np.array(list(values)) + shift, mean, color=colour, ls=line, lw=width, **point)


def _draw_spread(axes: Axes, seeds: Sequence[dict[int, float]], colour: Colour, shift: float) -> None:
    """Draw one standard deviation to both sides of the mean, of enough seeds; of fewer each as a thin line."""
    if 1 < len(seeds) < MIN_VALUES:
        for seed in seeds:
            point: dict[str, Any] = {"marker": "o", "ms": 3, "mfc": "white", "mew": 0.7} if len(seed) == 1 else {}
            shown = [100 * value for value in seed.values()]
            axes.plot(np.array(list(seed)) + shift, shown, color=colour, lw=0.5, zorder=3, **point)
    values = {epoch: [seed[epoch] for seed in seeds if epoch in seed] for seed in seeds for epoch in seed}
    enough = dict(sorted((epoch, each) for epoch, each in values.items() if len(each) >= MIN_VALUES))
    epochs = np.array(list(enough)) + shift
    mean = 100 * np.array([np.mean(each) for each in enough.values()])
    std = 100 * np.array([np.std(each, ddof=1) for each in enough.values()])
    if len(values) == 1 and enough:
        axes.errorbar(epochs, mean, yerr=std, color=colour, ls="", elinewidth=0.9, capsize=2.5)
    elif enough:
        axes.fill_between(epochs, mean - std, mean + std, color=colour, alpha=0.12, linewidth=0)


def _looks(series: Sequence[Series], shown: Sequence[Group]) -> dict[Group, tuple[Colour, str]]:
    """Choose colour and line of every group: those of its series, the lighter the smaller the ratio."""
    looks: dict[Group, tuple[Colour, str]] = {}
    for each in series:
        mine = RATIO.values([group for group in each.groups if group in shown])
        for group in each.groups:
            ratio = RATIO.of(group)
            depth = mine.index(ratio) / (len(mine) - 1) if ratio in mine and len(mine) > 1 else 1.0
            red, green, blue = (1 - (0.4 + 0.6 * depth) * (1 - part) for part in to_rgb(each.colour))
            looks[group] = (red, green, blue), each.line
    return looks
