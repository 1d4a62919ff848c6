"""Figures of genotypes, masks and mixing weights, as functions from values to matplotlib figures.

They use `Figure` objects only: no pyplot and no global state, so they draw without a display and from any thread.
Lengths are inches, downwards from the top: a panel is as large as its content needs, and text keeps its size.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Literal, TypeGuard

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch, Rectangle
from matplotlib.patheffects import withStroke

from halfnas.drawing.layout import FONT_SIZE, CellLayout, arrows, state_name, states, text_width
from halfnas.spaces import NONE, CellKind, Genotype, Mask, SearchSpace

#: family of operations -> fragments of their names, and a colour of Okabe and Ito's palette, which colour-blind
#: readers can tell apart ("Color Universal Design", 2008); `none` has a grey. The first family that fits counts; ""
#: fits all.
FAMILIES = {
    NONE: ((NONE,), "#8C8C8C"),
    "skip": (("skip", "identity"), "#CC79A7"),
    "pooling": (("pool",), "#009E73"),
    "dilated": (("dil",), "#D55E00"),
    "separable": (("sep",), "#0072B2"),
    "convolution": (("conv",), "#56B4E9"),
    "other": (("",), "#E69F00"),
}
INK, GREY, PALE = "#222222", "#C4C4C4", "#F5F5F5"
#: light enough for dark text everywhere
SCORES = LinearSegmentedColormap.from_list("scores", colormaps["Blues"]([0.02, 0.3, 0.6]))
SMALL = 6.0  # points, of what stands within a grid
MIN_WIDTH, MAX_WIDTH = 5.0, 13.0  # a figure holds its legend; wider rows of panels are broken
LEGEND_HEIGHT, TITLE_HEIGHT = 0.45, 0.35

#: as matplotlib takes it: a name or its parts
Colour = str | tuple[float, ...]
CELL_WIDTH, CELL_HEIGHT, INSET = 0.48, 0.23, 0.012  # a candidate in a grid
GROUP_GAP = 0.07  # between the edges into different nodes


def draw_genotype(genotype: Genotype, space: SearchSpace, title: str | None = None) -> Figure:
    """Draw every cell of a genotype as a graph from left to right.

    Boxes are states, coloured arrows are genes with their operation, dashed where it is `none`, light grey ones the
    concatenation to the output.

    Raises:
        ValueError: it is no genotype of `space`.
    """
    space.check_genotype(genotype)
    cells = {kind: CellLayout(genotype, space, kind) for kind in space.kinds}
    figure, panels = _figure([cell.size for cell in cells.values()], (0.25, 0.3, 0.25, 0.15), title)
    for axes, (kind, cell) in zip(panels, cells.items(), strict=True):
        _draw_cell(axes, cell)
        axes.set_title(_cell_name(kind), fontsize=FONT_SIZE + 1)
    used = {_family(operation) for genes in genotype.cells.values() for operation, _ in genes}
    colours = {name: colour for name, (_, colour) in FAMILIES.items() if name in used}
    colours["concatenation" if any(len(cell.outputs) > 1 for cell in cells.values()) else "output"] = GREY
    lines = [Line2D([], [], color=colour, lw=2, ls=_line(name), label=name) for name, colour in colours.items()]
    _legend(figure, lines)
    return figure


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
                edge_colour = INK if name in kept else "none"
                if name in scores:
                    colour = SCORES(_rank(scores[name], list(scores.values())))
                    grid.cell(row, name, colour, edge_colour, _number(scores[name]))
                elif name in kept:
                    grid.cell(row, name, PALE if any_score else SCORES(0.6), edge_colour)
                else:
                    unscored.append(name)
                    grid.cell(row, name, PALE, GREY, hatch="////")
    handles = [Patch(facecolor="white", edgecolor=INK, linewidth=1.2, label="kept")]
    if unscored:
        label = "pruned without a score" if any_score else "pruned"
        handles.append(Patch(facecolor=PALE, edgecolor=GREY, linewidth=0, hatch="////", label=label))
    if any_score:
        handles.append(Patch(facecolor=SCORES(1.0), label="most important of its edge"))
        handles.append(Patch(facecolor=SCORES(0.0), edgecolor=GREY, linewidth=0.5, label="least important"))
    _legend(figure, handles)
    return figure


def draw_strengths(strengths: Mapping[str, Sequence[Mapping[str, float]]], space: SearchSpace) -> Figure:
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
    figure, grids = _grids(space, "Mixing weights")
    for kind, grid in grids.items():
        candidates = space.candidates(kind)
        if len(strengths[kind]) != len(candidates):
            raise ValueError(f"cell {kind!r} has {len(candidates)} edges, `strengths` has {len(strengths[kind])}")
        for row, (names, edge) in enumerate(zip(candidates, strengths[kind], strict=True)):
            if unknown := sorted(set(edge) - set(names)):
                raise ValueError(f"edge {row} of cell {kind!r}: unknown operation {unknown[0]!r}")
            for name, weight in edge.items():
                colour = SCORES(norm(weight)) if math.isfinite(weight) else PALE
                grid.cell(row, name, colour, "none", _number(weight))
    width, height = figure.get_size_inches()
    bar = figure.add_axes((0.5 - 1.2 / width, 0.26 / height, 2.4 / width, 0.1 / height), label="colour bar")
    figure.colorbar(ScalarMappable(norm, SCORES), cax=bar, orientation="horizontal")
    bar.tick_params(labelsize=SMALL, length=2)
    return figure


def genotype_to_dot(genotype: Genotype, space: SearchSpace) -> str:
    """Graphviz text of a genotype, one cluster a kind of cell, for `dot -Tpdf`.

    Raises:
        ValueError: it is no genotype of `space`.
    """
    space.check_genotype(genotype)
    lines = [f"digraph {_quote(space.name)} {{", "  rankdir=LR;", "  node [shape=box, style=rounded];"]
    for name, kind in space.kinds.items():
        node = {s: _quote(f"{name}_{s}") for s in (*states(kind), "output")}
        lines += [f"  subgraph {_quote(f'cluster_{name}')} {{", f"    label={_quote(_cell_name(name))};"]
        lines += [f"    {node[s]} [label={_quote(state_name(s, kind).strip('$'))}];" for s in states(kind)]
        lines.append(f"    {node['output']} [label={_quote('c_{k}')}];")
        for operation, source, target in arrows(genotype, name, kind):
            style = f"label={_quote(operation)}, color={_quote(_colour(operation))}"
            style += ", style=dashed" if operation == NONE else ""
            lines.append(f"    {node[source]} -> {node[target]} [{style}];")
        for state in genotype.outputs.get(name, kind.output):
            lines.append(f"    {node[state]} -> {node['output']} [color={_quote(GREY)}];")
        lines.append("  }")
    return "\n".join([*lines, "}", ""])


def _draw_cell(axes: Axes, cell: CellLayout) -> None:
    axes.axis("off")
    above = (axes.get_ylim()[0] - cell.size[1]) / 2  # in the middle of its row
    axes.set_ylim(cell.size[1] + above, -above)
    genes = [f"gene:{cell.name}:{source}->{target}:{operation}" for operation, source, target in cell.arrows]
    ids = [*genes, *(f"concat:{cell.name}:{state}" for state in cell.outputs)]
    for number, (gid, route) in enumerate(zip(ids, cell.routes, strict=True)):
        gene = number < len(genes)
        arrow = FancyArrowPatch(path=cell.path(route), arrowstyle="-|>,head_width=2.2,head_length=4.5", clip_on=False)
        arrow.set(color=_colour(cell.arrows[number][0]) if gene else GREY, linewidth=1.3, zorder=2 + gene, gid=gid)
        arrow.set_linestyle(_line(cell.arrows[number][0]) if gene else "-")
        if gene:  # where arrows cross, one passes under the other
            arrow.set_path_effects([withStroke(linewidth=3.2, foreground="white")])
        axes.add_patch(arrow)
    for item, text in cell.text.items():
        width, height = cell.sizes[item]
        x, y = cell.x[item], cell.y[item]
        gene = item[0] == "gene"
        colour = _colour(text) if gene else INK
        box = FancyBboxPatch((x - width / 2, y - height / 2), width, height, "round,pad=0,rounding_size=0.06")
        box.set(facecolor=_tint(colour), edgecolor=colour, linewidth=0.8, zorder=4, clip_on=False)
        axes.add_patch(box)
        baseline: Literal["center", "center_baseline"] = "center_baseline" if gene else "center"
        size = FONT_SIZE if gene else FONT_SIZE + 1
        axes.text(x, y, text, size=size, ha="center", va=baseline, color=INK, zorder=5)


class _Grid:
    """One grid: a row an edge, a column an operation, whose names rise over it by `rise`."""

    def __init__(self, axes: Axes, name: str, kind: CellKind, rise: float) -> None:
        self.axes, self.name = axes, name
        self.columns = _operations(kind)
        self.tops = _row_tops(kind)
        axes.set_xticks([(i + 0.5) * CELL_WIDTH for i in range(len(self.columns))], self.columns)
        rows = [f"{state_name(edge.source, kind)} $\\to$ {state_name(edge.target, kind)}" for edge in kind.edges]
        axes.set_yticks([top + CELL_HEIGHT / 2 for top in self.tops], rows)
        axes.tick_params(length=0, labelsize=FONT_SIZE, labeltop=True, labelbottom=False)
        for label in axes.get_xticklabels():
            label.set(rotation=40, ha="left", rotation_mode="anchor")
        axes.set_title(_cell_name(name), fontsize=FONT_SIZE + 1, y=1.0, pad=72 * rise)
        axes.spines[:].set_visible(False)

    def cell(
        self, row: int, operation: str, colour: Colour, edge_colour: Colour, text: str = "", hatch: str | None = None
    ) -> None:
        x, y = self.columns.index(operation) * CELL_WIDTH, self.tops[row]
        box = Rectangle((x + INSET, y + INSET), CELL_WIDTH - 2 * INSET, CELL_HEIGHT - 2 * INSET, hatch=hatch)
        box.set(facecolor=colour, edgecolor=edge_colour, linewidth=0.0 if hatch else 1.2)
        box.set_gid(f"candidate:{self.name}:{row}:{operation}")
        self.axes.add_patch(box)
        if text:
            x, y = x + CELL_WIDTH / 2, y + CELL_HEIGHT / 2
            self.axes.text(x, y, text, size=SMALL, ha="center", va="center_baseline", color=INK)


def _figure(
    sizes: Sequence[tuple[float, float]], margins: tuple[float, float, float, float], title: str | None
) -> tuple[Figure, list[Axes]]:
    """A figure with one panel a size (width, height), in rows; margins around each: left, top, right, bottom."""
    left, top, right, bottom = margins
    rows: list[list[int]] = [[]]
    for number, (width, _) in enumerate(sizes):
        used = sum(sizes[i][0] + left + right for i in rows[-1])
        if rows[-1] and used + width + left + right > MAX_WIDTH:
            rows.append([])
        rows[-1].append(number)
    widths = [sum(sizes[i][0] + left + right for i in row) for row in rows]
    heights = [max(sizes[i][1] for i in row) + top + bottom for row in rows]
    lines = (title or "").replace("$", "S").splitlines()  # to measure: a dollar sign starts a formula elsewhere
    width = max([*widths, MIN_WIDTH, *(1.03 * text_width(line, FONT_SIZE + 3) + 0.4 for line in lines)])
    y = TITLE_HEIGHT + 0.2 * (len(lines) - 1) if lines else 0.0
    height = y + sum(heights) + LEGEND_HEIGHT
    figure = Figure(figsize=(width, height), dpi=200, facecolor="white")
    if title:
        figure.suptitle(title, y=1 - 0.1 / height, va="top", fontsize=FONT_SIZE + 3, parse_math=False)
    panels = []
    for row, row_width, row_height in zip(rows, widths, heights, strict=True):
        x = (width - row_width) / 2
        for i in row:
            w, h = sizes[i][0], row_height - top - bottom
            place = ((x + left) / width, 1 - (y + top + h) / height, w / width, h / height)
            axes = figure.add_axes(place, label=str(i))
            axes.set(xlim=(0, w), ylim=(h, 0))
            panels.append(axes)
            x += w + left + right
        y += row_height
    return figure, panels


def _grids(space: SearchSpace, title: str) -> tuple[Figure, dict[str, _Grid]]:
    kinds = space.kinds
    names = [name for kind in kinds.values() for name in _operations(kind)]
    rise = 0.2 + 0.68 * max(text_width(name, FONT_SIZE) for name in names)  # they lean at 40 degrees
    sizes = [(CELL_WIDTH * len(_operations(kind)), _row_tops(kind)[-1] + CELL_HEIGHT) for kind in kinds.values()]
    figure, panels = _figure(sizes, (0.75, rise + 0.22, 0.4, 0.15), title)
    return figure, {n: _Grid(axes, n, kind, rise) for axes, (n, kind) in zip(panels, kinds.items(), strict=True)}


def _legend(figure: Figure, handles: Sequence[Line2D | Patch]) -> None:
    y = 0.05 / figure.get_figheight()
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, y),
        ncols=len(handles),
        fontsize=FONT_SIZE,
        frameon=False,
        handlelength=1.4,
        columnspacing=1.4,
        borderpad=0.2,
    )


def _cell_name(kind: str) -> str:
    return kind if kind.endswith("cell") else f"{kind} cell"


def _operations(kind: CellKind) -> list[str]:
    """All candidates of a kind of cell, in the order in which its edges name them."""
    return list(dict.fromkeys(name for edge in kind.edges for name in edge.candidates))


def _row_tops(kind: CellKind) -> list[float]:
    """Upper side of the row of every edge, with a little room between the edges into different nodes."""
    steps = (CELL_HEIGHT + (GROUP_GAP if a.target != b.target else 0.0) for a, b in pairwise(kind.edges))
    return list(accumulate(steps, initial=0.0))


def _family(operation: str) -> str:
    return next(name for name, (parts, _) in FAMILIES.items() if any(part in operation for part in parts))


def _line(operation: str) -> Literal["-", "--"]:
    return "--" if operation == NONE else "-"


def _colour(operation: str) -> str:
    return FAMILIES[_family(operation)][1]


def _tint(colour: str) -> tuple[float, ...]:
    """The same hue, light enough for dark text."""
    return tuple(1 - 0.13 * (1 - part) for part in to_rgb(colour))


def _is_score(score: float | None) -> TypeGuard[float]:
    return score is not None and math.isfinite(score)


def _number(value: float) -> str:
    """Three significant digits, as short as can be: 0.0123 but 1.23e-4."""
    digits, _, exponent = f"{value:.2e}".partition("e")
    return min(f"{value:.3g}", f"{digits}e{int(exponent)}" if exponent else digits, key=len)


def _rank(value: float, values: Sequence[float]) -> float:
    """0 for the smallest and 1 for the largest of different values; equal ones share the mean of their ranks."""
    ordered = sorted(values)
    if len(ordered) == 1:
        return 1.0
    return (bisect_left(ordered, value) + bisect_right(ordered, value) - 1) / 2 / (len(ordered) - 1)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
