"""Figures of which candidates the masks of a group keep, and how far masks agree."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from halfnas.drawing import kit
from halfnas.reporting.figures.drawing import Drawing, left_out, seeds
from halfnas.reporting.figures.masks import Masked, agreement_of, candidates_of, edge_names, masked_groups
from halfnas.reporting.figures.series import RATIO
from halfnas.reporting.groups import Group
from halfnas.reporting.metrics import most_accurate
from halfnas.spaces.candidates import Candidates

SECTION = "Masks"
MAX_GROUPS, MAX_NAMES, MAX_RATIOS = 12, 12, 6
COLUMNS = 4


def mask_figures(groups: Sequence[Group]) -> tuple[list[Drawing], list[str]]:
    """Draw heat maps and agreement, a space after the other, and say what could not be read."""
    masked, problems = masked_groups(groups)
    drawings: list[Drawing] = []
    for space in dict.fromkeys(each.space for each in masked):
        of_space = [each for each in masked if each.space == space]
        candidates = candidates_of(space, [mask for each in of_space for mask in each.masks.values()])
        pruned = [each for each in of_space if any(not candidates.flags(m.kept).all() for m in each.masks.values())]
        if not pruned:
            continue
        shown = _most_accurate(pruned, MAX_GROUPS)
        whole = len(of_space) - len(pruned)
        note = left_out(len(pruned) - len(shown), "groups") + left_out(whole, "groups", "they keep everything")
        drawings += [_heat_map(shown, candidates, space, kinds, note) for kinds in candidates.tables()]
        drawings += [found for found in [_agreements(pruned, candidates, space)] if found is not None]
    return drawings, problems


def _most_accurate(masked: Sequence[Masked], count: int) -> list[Masked]:
    """Choose so many of them, in their order."""
    best = most_accurate([each.group for each in masked], count)
    return [each for each in masked if each.group in best]


def _heat_map(shown: Sequence[Masked], candidates: Candidates, space: str, kinds: Sequence[str], note: str) -> Drawing:
    """Draw one kind of cell, or all layers of a chain."""
    names, operations = edge_names(space, candidates), candidates.operations(*kinds)
    edges = list(kinds) if len(kinds) > 1 else names[kinds[0]]
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    size = 0.16 * len(operations) + 0.2, 0.13 * len(edges) + 0.38
    figure = Figure(figsize=(columns * size[0] + 0.6, rows * size[1] + 0.5), facecolor="white")
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True, gridspec_kw={"wspace": 0.12}).flat
    colours = colormaps["Blues"].with_extremes(bad=kit.MIST)
    for axes, each in zip(panels, shown, strict=False):
        share = np.mean([candidates.flags(mask.kept) for mask in each.masks.values()], axis=0)
        image = axes.imshow(candidates.grid(kinds, share), cmap=colours, vmin=0, vmax=1, aspect="auto")
        axes.set_title(_broken(each.group.name), fontsize=kit.FONT - 2.5, pad=3)
    for axes in list(panels)[len(shown) :]:
        axes.axis("off")
    for number, axes in enumerate(figure.axes[: len(shown)]):
        axes.tick_params(length=0, labelsize=kit.FONT - 3)
        axes.spines[:].set_color("#B0B0B0")
        axes.set_yticks(range(len(edges)), edges)
        lowest = number + columns >= len(shown)
        axes.set_xticks(range(len(operations)), operations, rotation=90)
        axes.tick_params(labelbottom=lowest)
    bar = figure.colorbar(image, ax=figure.axes, shrink=min(1.0, 1.6 / (rows * size[1])), pad=0.02, aspect=16)
    bar.ax.tick_params(labelsize=kit.FONT - 3)
    bar.set_label("share of seeds", fontsize=kit.FONT - 2)
    counts = seeds([len(each.masks) for each in shown])
    row = "a layer" if len(kinds) > 1 else "an edge"
    caption = f"Share of the seeds that keep each candidate ({counts}): a row {row}, a column an operation.{note}"
    shown_as = "layers" if len(kinds) > 1 else kit.cell_title(kinds[0])
    name = "layers" if len(kinds) > 1 else kinds[0]
    return Drawing(f"masks_{space}_{name}", SECTION, f"Kept candidates, {space}, {shown_as}", figure, caption)


def _agreements(pruned: Sequence[Masked], candidates: Candidates, space: str) -> Drawing | None:
    """Draw a matrix between the groups of each ratio, or one row a group where no ratio has two groups."""
    by_ratio: dict[float | None, list[Masked]] = {}
    for each in pruned:
        by_ratio.setdefault(RATIO.of(each.group), []).append(each)
    title, name = f"Agreement between masks, {space}", f"agreement_{space}"
    explained = (
        "Share of all candidates on which two masks decide alike, mean over pairs of different seeds; within a group "
        "on the diagonal. "
    )
    if max(map(len, by_ratio.values())) == 1:
        found = {each.group.name: agreement_of(each, each, candidates) for each in pruned}
        values = {name: value for name, value in found.items() if value is not None}
        if not values:
            return None
        counts = f"{min(v[2] for v in values.values())} or more pairs each. "
        caption = (
            f"{explained.replace('; within a group on the diagonal', '')}{counts}Grey bars: what chance would give."
        )
        return Drawing(name, SECTION, title, _agreement_rows(values), caption)
    ratios = dict(sorted(by_ratio.items(), key=lambda item: item[0] or 0.0))
    shown = dict(list({ratio: members for ratio, members in ratios.items() if len(members) > 1}.items())[:MAX_RATIOS])
    hidden = sum(len(members[MAX_NAMES:]) for members in shown.values())
    figure, chance = _matrices(
        {ratio: _most_accurate(members, MAX_NAMES) for ratio, members in shown.items()}, candidates
    )
    if not chance:
        return None
    chances = ", ".join(f"{value:.2f} at ratio {ratio:g}" for ratio, value in chance.items())
    counts = seeds([len(each.masks) for members in shown.values() for each in members])
    caption = f"{explained}{counts} masks a group. Chance would give {chances}."
    caption += left_out(len(ratios) - len(shown), "ratios", "no two groups share them, or the page would be too long")
    return Drawing(name, SECTION, title, figure, caption + left_out(hidden, "groups", "the most accurate are drawn"))


def _matrices(
    by_ratio: Mapping[float | None, Sequence[Masked]], candidates: Candidates
) -> tuple[Figure, dict[float, float]]:
    names = {
        ratio: [kit.shorten(RATIO.without(each.group).short, 24) for each in members]
        for ratio, members in by_ratio.items()
    }
    longest = max(kit.text_width(name, kit.FONT - 2) for each in names.values() for name in each)
    most = max(map(len, by_ratio.values()))
    columns = min(len(by_ratio), 1 if most > 6 else 2 if most > 3 else 3)
    rows = -(-len(by_ratio) // columns)
    side = max(1.5, 0.45 * most)
    beside, below = longest + 0.3, 0.64 * longest + 0.55  # names of columns lean at 40 degrees
    figure = Figure(figsize=(columns * (side + beside), rows * (side + below)), facecolor="white")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    figure.subplots_adjust(left=0, right=1, bottom=0, top=1, wspace=beside / side, hspace=below / side)
    chances: dict[float, float] = {}
    for axes, (ratio, members) in zip(panels, by_ratio.items(), strict=False):
        found = [[agreement_of(a, b, candidates) for b in members] for a in members]
        expected = [value[1] for row in found for value in row if value is not None]
        if expected:
            chances[ratio or 0.0] = float(np.mean(expected))
        matrix = np.array([[np.nan if value is None else value[0] for value in row] for row in found])
        kit.matrix(axes, matrix, names[ratio], chances.get(ratio or 0.0, 0.0))
        label = "" if ratio is None else f"ratio {ratio:g}, chance {chances.get(ratio, float('nan')):.2f}"
        axes.set_title(label if expected else f"ratio {ratio:g}", fontsize=kit.FONT - 0.5)
    for axes in panels[len(by_ratio) :]:
        axes.axis("off")
    return figure, chances


def _agreement_rows(values: Mapping[str, tuple[float, float, int]]) -> Figure:
    figure, axes = kit.new_axes(0.9 + 0.3 * len(values))
    for row, (value, chance, _) in enumerate(values.values()):
        axes.plot([chance], [row], "|", color=kit.GREY, ms=14, mew=3)
        axes.plot([value], [row], "o", color=kit.BLUE, ms=6)
    axes.set_yticks(range(len(values)), [kit.shorten(name) for name in values], fontsize=kit.FONT - 1)
    axes.set(ylim=(len(values) - 0.5, -0.5), xlim=(0, 1.02))
    axes.set_xlabel("agreement of masks of different seeds")
    return figure


def _broken(name: str) -> str:
    """Break a title for a narrow panel: a setting a line."""
    return "\n".join(kit.shorten(part, 30) for part in name.split(", "))
