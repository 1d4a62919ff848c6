"""Figures of genotypes, masks and mixing weights, as functions from values to matplotlib figures.

They use `Figure` objects only: no pyplot and no global state, so they draw without a display and from any thread.
Lengths are inches, downwards from the top: a panel is as large as its content needs, and text keeps its size.
"""

import math
import random
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate, combinations, pairwise
from typing import Literal, TypeGuard

import networkx as nx
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch, Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import withStroke
from matplotlib.textpath import TextPath

from halfnas.spaces import CellKind, Genotype, Mask, SearchSpace

#: family of operations -> fragments of their names, and a colour of Okabe and Ito's palette, which colour-blind
#: readers can tell apart ("Color Universal Design", 2008). The first family that fits counts; "" fits all.
FAMILIES = {
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
FONT_SIZE, SMALL = 8.0, 6.0  # points
MIN_WIDTH, MAX_WIDTH = 5.0, 13.0  # a figure holds its legend; wider rows of panels are broken
LEGEND_HEIGHT, TITLE_HEIGHT = 0.45, 0.35

#: as matplotlib takes it: a name or its parts
Colour = str | tuple[float, ...]
#: what stands in a column of a drawn cell: ("state", index), ("gene", number, column), ("concat", column) or OUTPUT
Item = tuple[str | int, ...]
OUTPUT: Item = ("output",)
STATE_HEIGHT, LABEL_HEIGHT = 0.36, 0.2
LANE = 0.06  # an arrow that passes a column
CLEARANCE = 0.12  # between things above each other
STARTS, SWEEPS = 24, 8  # of the search for an order with few crossings
ALIGNMENTS = 60  # rounds in which columns are aligned with their neighbours
STRAIGHTNESS = 20.0  # how much more a bend within an arrow counts than one at its ends
BEND = 0.45  # width of a gap over the height that its steepest arrow climbs
MIN_GAP, MAX_GAP = 0.26, 0.8

CELL_WIDTH, CELL_HEIGHT, INSET = 0.48, 0.23, 0.012  # a candidate in a grid
GROUP_GAP = 0.07  # between the edges into different nodes


def draw_genotype(genotype: Genotype, space: SearchSpace, title: str | None = None) -> Figure:
    """Draw every cell of a genotype as a graph from left to right.

    Boxes are states, coloured arrows are genes with their operation, grey ones the concatenation to the output.

    Raises:
        ValueError: it is no genotype of `space`.
    """
    space.check_genotype(genotype)
    cells = {kind: _Cell(genotype, space, kind) for kind in space.kinds}
    figure, panels = _figure([cell.size for cell in cells.values()], (0.25, 0.3, 0.25, 0.15), title)
    for axes, (kind, cell) in zip(panels, cells.items(), strict=True):
        _draw_cell(axes, cell)
        axes.set_title(_cell_name(kind), fontsize=FONT_SIZE + 1)
    used = {_family(operation) for genes in genotype.cells.values() for operation, _ in genes}
    colours = {name: colour for name, (_, colour) in FAMILIES.items() if name in used} | {"concatenation": GREY}
    _legend(figure, [Line2D([], [], color=colour, lw=2, label=name) for name, colour in colours.items()])
    return figure


def draw_mask(mask: Mask, space: SearchSpace) -> Figure:
    """Draw which candidates of every edge are kept, one grid a kind of cell, a row an edge.

    Where the mask has importance, the colour is the rank of a score among those of its edge, since only that decides.

    Raises:
        ValueError: it is no mask of `space`.
    """
    mask.check(space)
    figure, grids = _grids(space, f"Kept candidates: pruner {mask.pruner}, ratio {mask.ratio:g}, seed {mask.seed}")
    everything = (score for edges in (mask.importance or {}).values() for edge in edges for score in edge.values())
    any_score = any(_is_score(score) for score in everything)
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
        node = {s: _quote(f"{name}_{s}") for s in (*_states(kind), "output")}
        lines += [f"  subgraph {_quote(f'cluster_{name}')} {{", f"    label={_quote(_cell_name(name))};"]
        lines += [f"    {node[s]} [label={_quote(_state_name(s, kind).strip('$'))}];" for s in _states(kind)]
        lines.append(f"    {node['output']} [label={_quote('c_{k}')}];")
        for operation, source, target in _arrows(genotype, name, kind):
            style = f"[label={_quote(operation)}, color={_quote(_colour(operation))}]"
            lines.append(f"    {node[source]} -> {node[target]} {style};")
        for state in genotype.outputs.get(name, kind.output):
            lines.append(f"    {node[state]} -> {node['output']} [color={_quote(GREY)}];")
        lines.append("  }")
    return "\n".join([*lines, "}", ""])


class _Cell:
    """The layout of one cell: states and labels in columns, and in each column a lane for every arrow that passes.

    A layered drawing (Sugiyama, Tagawa and Toda 1981): columns are the generations of the graph, and between them
    those of the labels. Arrows bend between columns and run level through them, so that they never meet a box. All
    arrows to the output share one lane.

    Attributes:
        size: width and height.
    """

    def __init__(self, genotype: Genotype, space: SearchSpace, name: str) -> None:
        kind = space.kinds[name]
        self.name = name
        self.arrows = _arrows(genotype, name, kind)
        self.outputs = genotype.outputs.get(name, kind.output)
        graph = nx.DiGraph([(source, target) for _, source, target in self.arrows])
        graph.add_nodes_from(range(kind.num_inputs))
        self.column: dict[Item, int] = {}
        for number, states in enumerate(nx.topological_generations(graph)):
            self.column |= {("state", state): 2 * number for state in sorted(states)}
        self.column[OUTPUT] = max(self.column.values()) + 2
        self.text = {("state", state): _state_name(state, kind) for state in _states(kind)} | {OUTPUT: "$c_{k}$"}
        width = 0.14 + max(_text_width(text, FONT_SIZE + 1) for text in self.text.values())
        self.sizes = dict.fromkeys(self.column, (width, STATE_HEIGHT))
        self.routes = self._route()
        self.links = list(dict.fromkeys(link for route in self.routes for link in pairwise(route)))
        self.beside: dict[Item, list[Item]] = {item: [] for item in self.column}
        for left, right in self.links:
            self.beside[left].append(right)
            self.beside[right].append(left)
        self._place(*self._arrange())

    def _route(self) -> list[list[Item]]:
        """The items that each arrow visits: the genes in their order, then the concatenation."""
        ends = [(self.column["state", s], self.column["state", t]) for _, s, t in self.arrows]
        routes: dict[int, list[Item]] = {}
        labels: Counter[int] = Counter()
        for number in sorted(range(len(ends)), key=lambda i: ends[i][1] - ends[i][0]):
            operation, source, target = self.arrows[number]
            start, end = ends[number]
            # a long arrow has its label where there are fewest, and close to its target rather than to its source
            chosen = min(range(end - 1, start, -2), key=lambda column: labels[column])
            labels[chosen] += 1
            passed: list[Item] = [("gene", number, column) for column in range(start + 1, end)]
            self._add(passed)
            self.text["gene", number, chosen] = operation
            self.sizes["gene", number, chosen] = (_text_width(operation, FONT_SIZE) + 0.14, LABEL_HEIGHT)
            routes[number] = [("state", source), *passed, ("state", target)]
        concatenation: list[list[Item]] = []
        for state in self.outputs:
            passed = [("concat", column) for column in range(self.column["state", state] + 1, self.column[OUTPUT])]
            self._add(passed)
            concatenation.append([("state", state), *passed, OUTPUT])
        return [routes[number] for number in range(len(ends))] + concatenation

    def _add(self, lanes: Sequence[Item]) -> None:
        self.column |= {item: int(item[-1]) for item in lanes}
        self.sizes |= dict.fromkeys(lanes, (0.0, LANE))

    def _arrange(self) -> tuple[list[list[Item]], dict[Item, float]]:
        """Columns from top to bottom, with few crossings, and the height of every item; inputs keep their order."""
        columns: list[list[Item]] = [[] for _ in range(self.column[OUTPUT] + 1)]
        for item, column in self.column.items():
            columns[column].append(item)
        draw = random.Random(0)  # the same figure each time
        found: dict[str, tuple[float, list[list[Item]]]] = {}
        for _ in range(STARTS):
            order = [columns[0], *(draw.sample(column, len(column)) for column in columns[1:])]
            for sweep in range(SWEEPS):
                step = 1 if sweep % 2 == 0 else -1
                numbers = range(1, len(order)) if step == 1 else range(len(order) - 2, 0, -1)
                for number in numbers:
                    self._sort(order, number, number - step)
                found[str(order)] = (self._crossings(order), list(order))
        fewest = min(crossings for crossings, _ in found.values())
        best = [(order, self._align(order)) for crossings, order in found.values() if crossings == fewest]
        return min(best, key=lambda each: sum(abs(each[1][a] - each[1][b]) for a, b in self.links))

    def _sort(self, order: list[list[Item]], number: int, beside: int) -> None:
        """Sort a column by the mean place of what its items are linked to in the column beside it."""
        place = {item: i for i, item in enumerate(order[beside])}
        own = {item: float(i) for i, item in enumerate(order[number])}
        for item in order[number]:
            near = [place[b] for b in self.beside[item] if b in place]
            own[item] = sum(near) / len(near) if near else own[item]
        order[number] = sorted(order[number], key=lambda item: own[item])

    def _crossings(self, order: list[list[Item]]) -> float:
        """How many arrows cross; those that cross before the heads of arrows count more, since they read worse."""
        place = {item: i for column in order for i, item in enumerate(column)}
        gaps: dict[int, list[tuple[int, int]]] = {}
        for left, right in self.links:
            gaps.setdefault(self.column[left], []).append((place[left], place[right]))
        return sum(
            (1.0 if column % 2 == 0 else 1.5)
            * sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for a, b in combinations(links, 2))
            for column, links in gaps.items()
        )

    def _align(self, order: list[list[Item]]) -> dict[Item, float]:
        """Heights that keep things apart and arrows level: each column in turn, by least squares."""
        gaps = [[(self.sizes[a][1] + self.sizes[b][1]) / 2 + CLEARANCE for a, b in pairwise(col)] for col in order]
        heights: dict[Item, float] = {}
        for column, apart in zip(order, gaps, strict=True):
            heights |= zip(column, (y - sum(apart) / 2 for y in accumulate(apart, initial=0.0)), strict=True)
        for number in range(ALIGNMENTS):
            # equal weights find the place of an arrow, unequal ones then take the bends out of it
            level = 1.0 if number < ALIGNMENTS // 2 else STRAIGHTNESS
            for column, apart in list(zip(order, gaps, strict=True))[:: 1 if number % 2 == 0 else -1]:
                wanted = []
                for item in column:
                    ends = {b: 1.0 if {"state", "output"} & {item[0], b[0]} else level for b in self.beside[item]}
                    total = sum(weight * heights[b] for b, weight in ends.items())
                    wanted.append(total / sum(ends.values()) if ends else heights[item])
                heights |= zip(column, _spread(wanted, apart), strict=True)
        return heights

    def _place(self, order: list[list[Item]], heights: dict[Item, float]) -> None:
        """Set x, y and ports: where arrows leave and enter a state, so that they do not lie on each other."""
        self.widths = [max(self.sizes[item][0] for item in column) for column in order]
        climbs = [0.0] * (len(order) - 1)
        for left, right in self.links:
            climbs[self.column[left]] = max(climbs[self.column[left]], abs(heights[left] - heights[right]))
        gaps = [min(max(MIN_GAP, BEND * climb), MAX_GAP) for climb in climbs]
        self.left = [0.0, *accumulate(width + gap for width, gap in zip(self.widths, gaps, strict=False))]
        top = min(heights[item] - self.sizes[item][1] / 2 for item in heights)
        self.x = {item: self.left[c] + self.widths[c] / 2 for item, c in self.column.items()}
        self.y = {item: height - top for item, height in heights.items()}
        bottom = max(self.y[item] + self.sizes[item][1] / 2 for item in self.y)
        self.size = (self.left[-1] + self.widths[-1], bottom)
        self.ports: dict[tuple[Item, Item], float] = {}  # (at, to) -> y
        for at in self.y:
            for side in (0, 1):
                linked = sorted({link[1 - side] for link in self.links if link[side] == at}, key=self.y.__getitem__)
                step = min(0.1, 0.8 * self.sizes[at][1] / max(1, len(linked))) if at[0] in ("state", "output") else 0.0
                for number, other in enumerate(linked):
                    self.ports[at, other] = self.y[at] + (number - (len(linked) - 1) / 2) * step

    def path(self, route: Sequence[Item]) -> Path:
        """Level through columns, S-shaped between them."""
        column = self.column[route[0]]
        points = [(self.left[column] + self.widths[column], self.ports[route[0], route[1]])]
        codes = [Path.MOVETO]
        for before, item in pairwise(route):
            (x, y), column = points[-1], self.column[item]
            end, height = self.left[column], self.ports[item, before]
            points += [((x + end) / 2, y), ((x + end) / 2, height), (end, height)]
            codes += [Path.CURVE4] * 3
            if item != route[-1] and self.widths[column]:
                points.append((end + self.widths[column], height))
                codes.append(Path.LINETO)
        return Path(points, codes)


def _draw_cell(axes: Axes, cell: _Cell) -> None:
    axes.axis("off")
    above = (axes.get_ylim()[0] - cell.size[1]) / 2  # in the middle of its row
    axes.set_ylim(cell.size[1] + above, -above)
    genes = [f"gene:{cell.name}:{source}->{target}:{operation}" for operation, source, target in cell.arrows]
    ids = [*genes, *(f"concat:{cell.name}:{state}" for state in cell.outputs)]
    for number, (gid, route) in enumerate(zip(ids, cell.routes, strict=True)):
        gene = number < len(genes)
        arrow = FancyArrowPatch(path=cell.path(route), arrowstyle="-|>,head_width=2.2,head_length=4.5", clip_on=False)
        arrow.set(color=_colour(cell.arrows[number][0]) if gene else GREY, linewidth=1.3, zorder=2 + gene, gid=gid)
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
        rows = [f"{_state_name(edge.source, kind)} $\\to$ {_state_name(edge.target, kind)}" for edge in kind.edges]
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
    width = max([*widths, MIN_WIDTH, *(1.03 * _text_width(line, FONT_SIZE + 3) + 0.4 for line in lines)])
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
    rise = 0.2 + 0.68 * max(_text_width(name, FONT_SIZE) for name in names)  # they lean at 40 degrees
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


def _arrows(genotype: Genotype, name: str, kind: CellKind) -> list[tuple[str, int, int]]:
    """(operation, source, target) of every gene, in order."""
    targets = (node for node in kind.nodes for _ in range(kind.genes_into(node)))
    return [(operation, source, node) for (operation, source), node in zip(genotype.cells[name], targets, strict=True)]


def _states(kind: CellKind) -> tuple[int, ...]:
    return (*range(kind.num_inputs), *kind.nodes)


def _cell_name(kind: str) -> str:
    return kind if kind.endswith("cell") else f"{kind} cell"


def _state_name(state: int, kind: CellKind) -> str:
    """c_{k-2} and c_{k-1} for two inputs, then 0, 1, ... for the nodes."""
    return f"$c_{{k-{kind.num_inputs - state}}}$" if state < kind.num_inputs else str(state - kind.num_inputs)


def _operations(kind: CellKind) -> list[str]:
    """All candidates of a kind of cell, in the order in which its edges name them."""
    return list(dict.fromkeys(name for edge in kind.edges for name in edge.candidates))


def _row_tops(kind: CellKind) -> list[float]:
    """Upper side of the row of every edge, with a little room between the edges into different nodes."""
    steps = (CELL_HEIGHT + (GROUP_GAP if a.target != b.target else 0.0) for a, b in pairwise(kind.edges))
    return list(accumulate(steps, initial=0.0))


def _family(operation: str) -> str:
    return next(name for name, (parts, _) in FAMILIES.items() if any(part in operation for part in parts))


def _colour(operation: str) -> str:
    return FAMILIES[_family(operation)][1]


def _tint(colour: str) -> tuple[float, ...]:
    """The same hue, light enough for dark text."""
    return tuple(1 - 0.13 * (1 - part) for part in to_rgb(colour))


def _text_width(text: str, size: float) -> float:
    corners = TextPath((0, 0), text, size=size).vertices  # its own extents are slow, and hardly less
    return float(corners[:, 0].max()) / 72 if len(corners) else 0.0


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


def _spread(wanted: Sequence[float], apart: Sequence[float]) -> list[float]:
    """The positions nearest to `wanted` (least squares) that are `apart` or more: pool adjacent violators."""
    offsets = list(accumulate(apart, initial=0.0))
    blocks: list[tuple[float, int]] = []  # sum and number of positions that move as one
    for want, offset in zip(wanted, offsets, strict=True):
        total, count = want - offset, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            total, count = total + blocks[-1][0], count + blocks[-1][1]
            blocks.pop()
        blocks.append((total, count))
    levels = [total / count for total, count in blocks for _ in range(count)]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
