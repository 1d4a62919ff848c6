"""A chain of layers as a row of boxes, broken into lines."""

from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path

from halfnas.drawing import kit
from halfnas.drawing.families import FAMILIES, colour_of, family_of, line_of, tint
from halfnas.drawing.panels import panels
from halfnas.spaces import Genotype, SearchSpace

WIDTH = 9.0  # of a line, in inches; what is longer is broken
BOX_HEIGHT, GAP = 0.28, 0.24  # GAP: between boxes, for an arrow
NUMBER_HEIGHT = 0.17  # of what stands over a box
LINE_GAP = 0.22  # between lines


def draw_chain(genotype: Genotype, space: SearchSpace, title: str | None = None) -> Figure:
    """Draw a genotype of a chain, a box a layer, from left to right and line after line.

    Over each box stands the number of the layer, counted from 1.
    """
    chosen = {kind: genotype.cells[kind][0][0] for kind in space.kinds}
    width = 0.14 + max(kit.text_width(operation, kit.LABEL) for operation in chosen.values())
    step = width + GAP
    fitting = max(1, int((WIDTH + GAP) / step))
    lines = -(-len(chosen) // fitting)
    a_line = -(-len(chosen) // lines)  # so that all are about as long
    height = NUMBER_HEIGHT + BOX_HEIGHT
    size = (a_line * step - GAP, lines * height + (lines - 1) * LINE_GAP)
    figure, (axes,) = panels([size], (0.3, 0.15, 0.3, 0.15), title)
    axes.axis("off")
    places = [
        (number % a_line * step, number // a_line * (height + LINE_GAP) + NUMBER_HEIGHT)
        for number in range(len(chosen))
    ]
    for before, after in pairwise(places):
        _arrow(axes, before, after, width)
    for number, ((x, y), (kind, operation)) in enumerate(zip(places, chosen.items(), strict=True), start=1):
        box = FancyBboxPatch((x, y), width, BOX_HEIGHT, "round,pad=0,rounding_size=0.06", clip_on=False)
        box.set(facecolor=tint(colour_of(operation)), edgecolor=colour_of(operation), linewidth=0.8, zorder=4)
        box.set(linestyle=line_of(operation), gid=f"gene:{kind}:0->1:{operation}")
        axes.add_patch(box)
        middle = x + width / 2
        axes.text(
            middle, y + BOX_HEIGHT / 2, operation, size=kit.LABEL, ha="center", va="center_baseline", color=kit.INK,
            zorder=5,
        )  # fmt: skip
        axes.text(middle, y - 0.04, str(number), size=kit.LABEL - 1.5, ha="center", va="bottom", color=kit.GREY)
    used = {family_of(operation) for operation in chosen.values()}
    kit.legend_inside(
        figure,
        [Line2D([], [], color=colour, lw=2, label=name) for name, (_, colour) in FAMILIES.items() if name in used],
    )
    return figure


def _arrow(axes: Axes, before: tuple[float, float], after: tuple[float, float], width: float) -> None:
    """An arrow from the right side of a box to the left side of the next one, around the end of a line."""
    start, end = (before[0] + width, before[1] + BOX_HEIGHT / 2), (after[0], after[1] + BOX_HEIGHT / 2)
    points = [start, end]
    if start[1] != end[1]:
        right, left, between = start[0] + GAP / 2, end[0] - GAP / 2, before[1] + BOX_HEIGHT + LINE_GAP / 2
        points = [start, (right, start[1]), (right, between), (left, between), (left, end[1]), end]
    arrow = FancyArrowPatch(path=Path(points), arrowstyle="-|>,head_width=2.2,head_length=4.5", clip_on=False)
    arrow.set(color=kit.SILVER, linewidth=1.3, zorder=2)
    axes.add_patch(arrow)
