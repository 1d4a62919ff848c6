"""Grids of a row an edge and a column an operation: which candidates a mask keeps, how much each one weighs.

Each kind of cell has a grid. The layers of a chain, kinds with one edge, share one.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeGuard

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from halfnas.drawing import kit
from halfnas.drawing.layout import edge_name
from halfnas.drawing.panels import panels
from halfnas.spaces import CellKind, Mask, SearchSpace
from halfnas.spaces.candidates import Place
from halfnas.spaces.space import is_chain

#: light enough for dark text everywhere
SCORES = LinearSegmentedColormap.from_list("scores", colormaps["Blues"]([0.02, 0.3, 0.6]))
SMALL = 6.0  # points, of what stands within a grid
CELL_WIDTH, CELL_HEIGHT, INSET = 0.48, 0.23, 0.012  # a candidate in a grid
GROUP_GAP = 0.07  # between the edges into different nodes

#: as matplotlib takes it: a name or its parts
Colour = str | tuple[float, ...]


def draw_mask(mask: Mask, space: SearchSpace) -> Figure:
    """Draw which candidates of every edge are kept, one grid a kind of cell, a row an edge.

    Where the mask has importance, the colour is the rank of a score among those of its edge, since only that decides.

    Raises:
        ValueError: it is no mask of `space`.
    """
    mask.check(space)
    everything = (score for edges in (mask.importance or {}).values() for edge in edges for score in edge.values())
    any_score = any(_is_score(score) for score in everything)
    title = f"Kept candidates: pruner {mask.pruner}, ratio {mask.ratio:g}, seed {mask.seed}"
    if any_score:  # a pruned candidate's score is older than those it is drawn beside
        title += "; scores over all repeats"
    figure, grids = _grids(space, title)
    unscored: list[str] = []
    for kind, grid in grids.items():
        candidates = space.candidates(kind)
        importance = (mask.importance or {}).get(kind) or [{} for _ in candidates]
        for row, (names, kept, given) in enumerate(zip(candidates, mask.kept[kind], importance, strict=True)):
            scores = {name: score for name in names if _is_score(score := given.get(name))}
            for name in names:
                place = Place(kind, row, name)
                edge_colour = kit.INK if name in kept else "none"
                if name in scores:
                    colour = SCORES(_rank(scores[name], list(scores.values())))
                    grid.cell(place, colour, edge_colour, _number(scores[name]))
                elif name in kept:
                    grid.cell(place, kit.PALE if any_score else SCORES(0.6), edge_colour)
                else:
                    unscored.append(name)
                    grid.cell(place, kit.PALE, kit.SILVER, hatch="////")
    handles = [Patch(facecolor="white", edgecolor=kit.INK, linewidth=1.2, label="kept")]
    if unscored:
        label = "pruned without a score" if any_score else "pruned"
        handles.append(Patch(facecolor=kit.PALE, edgecolor=kit.SILVER, linewidth=0, hatch="////", label=label))
    if any_score:
        handles.append(Patch(facecolor=SCORES(1.0), label="most important of its edge"))
        handles.append(Patch(facecolor=SCORES(0.0), edgecolor=kit.SILVER, linewidth=0.5, label="least important"))
    kit.legend_inside(figure, handles)
    return figure


def draw_strengths(
    strengths: Mapping[str, Sequence[Mapping[str, float]]], space: SearchSpace, title: str = "Mixing weights"
) -> Figure:
    """Draw mixing weights as a heat map, one grid a kind of cell, a row an edge; pruned candidates are blank.

    Args:
        strengths: kind -> for each edge {operation: weight}, as `Supernet.strengths()` gives them.

    Raises:
        ValueError: kinds, edges or operations are not those of `space`.
    """
    if set(strengths) != set(space.kinds):
        raise ValueError(f"`strengths` has cells {sorted(strengths)}, space {space.name} has {sorted(space.kinds)}")
    weights = [weight for edges in strengths.values() for edge in edges for weight in edge.values()]
    norm = Normalize(0.0, max((weight for weight in weights if math.isfinite(weight)), default=0.0) or 1.0)
    figure, grids = _grids(space, title)
    for kind, grid in grids.items():
        candidates = space.candidates(kind)
        if len(strengths[kind]) != len(candidates):
            raise ValueError(f"cell {kind!r} has {len(candidates)} edges, `strengths` has {len(strengths[kind])}")
        for row, (names, edge) in enumerate(zip(candidates, strengths[kind], strict=True)):
            if unknown := sorted(set(edge) - set(names)):
                raise ValueError(f"edge {row} of cell {kind!r}: unknown operation {unknown[0]!r}")
            for name, weight in edge.items():
                colour = SCORES(norm(weight)) if math.isfinite(weight) else kit.PALE
                grid.cell(Place(kind, row, name), colour, "none", _number(weight))
    width, height = figure.get_size_inches()
    bar = figure.add_axes((0.5 - 1.2 / width, 0.26 / height, 2.4 / width, 0.1 / height), label="colour bar")
    figure.colorbar(ScalarMappable(norm, SCORES), cax=bar, orientation="horizontal")
    bar.tick_params(labelsize=SMALL, length=2)
    return figure


class _Row(NamedTuple):
    """The row of an edge, `top` inches below the top of its grid."""

    kind: str
    edge: int
    label: str
    top: float


class _Table(NamedTuple):
    """What a grid shows: its rows, and the operations that are its columns."""

    title: str
    rows: list[_Row]
    columns: list[str]

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches."""
        return CELL_WIDTH * len(self.columns), self.rows[-1].top + CELL_HEIGHT


class _Grid:
    """One grid, the names of whose columns rise over it by `rise`."""

    def __init__(self, axes: Axes, table: _Table, rise: float) -> None:
        self.axes = axes
        self.columns = table.columns
        self.tops = {(row.kind, row.edge): row.top for row in table.rows}
        axes.set_xticks([(i + 0.5) * CELL_WIDTH for i in range(len(self.columns))], self.columns)
        axes.set_yticks([row.top + CELL_HEIGHT / 2 for row in table.rows], [row.label for row in table.rows])
        axes.tick_params(length=0, labelsize=kit.LABEL, labeltop=True, labelbottom=False)
        for label in axes.get_xticklabels():
            label.set(rotation=40, ha="left", rotation_mode="anchor")
        axes.set_title(table.title, fontsize=kit.LABEL + 1, y=1.0, pad=72 * rise)
        axes.spines[:].set_visible(False)

    def cell(self, place: Place, colour: Colour, edge_colour: Colour, text: str = "", hatch: str | None = None) -> None:
        x, y = self.columns.index(place.operation) * CELL_WIDTH, self.tops[place.kind, place.edge]
        box = Rectangle((x + INSET, y + INSET), CELL_WIDTH - 2 * INSET, CELL_HEIGHT - 2 * INSET, hatch=hatch)
        box.set(facecolor=colour, edgecolor=edge_colour, linewidth=0.0 if hatch else 1.2)
        box.set_gid(f"candidate:{place.kind}:{place.edge}:{place.operation}")
        self.axes.add_patch(box)
        if text:
            x, y = x + CELL_WIDTH / 2, y + CELL_HEIGHT / 2
            self.axes.text(x, y, text, size=SMALL, ha="center", va="center_baseline", color=kit.INK)


def _grids(space: SearchSpace, title: str) -> tuple[Figure, dict[str, _Grid]]:
    tables = _tables(space)
    names = [name for table in tables for name in table.columns]
    rise = 0.2 + 0.68 * max(kit.text_width(name, kit.LABEL) for name in names)  # they lean at 40 degrees
    figure, drawn = panels([table.size for table in tables], (0.75, rise + 0.22, 0.4, 0.15), title)
    grids: dict[str, _Grid] = {}
    for axes, table in zip(drawn, tables, strict=True):
        grids |= dict.fromkeys([row.kind for row in table.rows], _Grid(axes, table, rise))
    return figure, grids


def _tables(space: SearchSpace) -> list[_Table]:
    kinds = space.kinds
    if is_chain({name: kind.edges for name, kind in kinds.items()}):
        rows = [_Row(name, 0, name, number * CELL_HEIGHT) for number, name in enumerate(kinds)]
        return [_Table("layers", rows, _operations(*kinds.values()))]
    return [
        _Table(
            kit.cell_title(name),
            [
                _Row(name, number, edge_name(edge, kind), top)
                for number, (edge, top) in enumerate(zip(kind.edges, _row_tops(kind), strict=True))
            ],
            _operations(kind),
        )
        for name, kind in kinds.items()
    ]


def _operations(*kinds: CellKind) -> list[str]:
    """List all candidates of kinds of cell, in the order in which their edges name them."""
    return list(dict.fromkeys(name for kind in kinds for edge in kind.edges for name in edge.candidates))


def _row_tops(kind: CellKind) -> list[float]:
    """Place the upper side of the row of every edge, with a little room between the edges into different nodes."""
    steps = (CELL_HEIGHT + (GROUP_GAP if a.target != b.target else 0.0) for a, b in pairwise(kind.edges))
    return list(accumulate(steps, initial=0.0))


def _is_score(score: float | None) -> TypeGuard[float]:
    return score is not None and math.isfinite(score)


def _number(value: float) -> str:
    """Write three significant digits, as short as can be: 0.0123 but 1.23e-4."""
    digits, _, exponent = f"{value:.2e}".partition("e")
    return min(f"{value:.3g}", f"{digits}e{int(exponent)}" if exponent else digits, key=len)


def _rank(value: float, values: Sequence[float]) -> float:
    """Rank a value from 0 for the smallest to 1 for the largest; equal ones share the mean of their ranks."""
    ordered = sorted(values)
    if len(ordered) == 1:
        return 1.0
    return (bisect_left(ordered, value) + bisect_right(ordered, value) - 1) / 2 / (len(ordered) - 1)
