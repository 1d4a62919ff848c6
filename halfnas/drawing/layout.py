"""Where the parts of a drawn cell stand: a layered drawing of its states, genes and concatenation.

Lengths are inches, downwards from the top. Nothing here draws.
"""

import random
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, combinations, pairwise

import networkx as nx
from matplotlib.path import Path

from halfnas.drawing.kit import LABEL, text_width
from halfnas.spaces import CellKind, Edge, Genotype, SearchSpace

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


class CellLayout:
    """The layout of one cell: states and labels in columns, and in each column a lane for every arrow that passes.

    A layered drawing (Sugiyama, Tagawa and Toda 1981): columns are the generations of the graph, and between them
    those of the labels. Arrows bend between columns and run level through them, so that they never meet a box. All
    arrows to the output share one lane.

    Attributes:
        name: the name of the kind of cell.
        arrows: (operation, source, target) of every gene, in order.
        outputs: the states that are concatenated.
        routes: the items that each arrow visits: the genes in their order, then one an output.
        text: what the boxes say: those of states, of the output and of one item of each gene.
        sizes: item -> width and height; a lane without a box is 0 wide.
        x, y: item -> its centre.
        size: the width and the height of it all.
    """

    def __init__(self, genotype: Genotype, space: SearchSpace, name: str) -> None:
        kind = space.kinds[name]
        self.name = name
        self.arrows = arrows(genotype, name, kind)
        self.outputs = genotype.outputs.get(name, kind.output)
        graph = nx.DiGraph([(source, target) for _, source, target in self.arrows])
        graph.add_nodes_from(range(kind.num_inputs))
        self._column: dict[Item, int] = {}
        for number, generation in enumerate(nx.topological_generations(graph)):
            self._column |= {("state", state): 2 * number for state in sorted(generation)}
        self._column[OUTPUT] = max(self._column.values()) + 2
        self.text = {("state", state): state_name(state, kind) for state in states(kind)} | {OUTPUT: "$c_{k}$"}
        width = 0.14 + max(text_width(text, LABEL + 1) for text in self.text.values())
        self.sizes = dict.fromkeys(self._column, (width, STATE_HEIGHT))
        self.routes = self._route()
        self._links = list(dict.fromkeys(link for route in self.routes for link in pairwise(route)))
        self._beside: dict[Item, list[Item]] = {item: [] for item in self._column}
        for left, right in self._links:
            self._beside[left].append(right)
            self._beside[right].append(left)
        self._place(*self._arrange())

    def _route(self) -> list[list[Item]]:
        """The routes, while the items on them get their columns, texts and sizes."""
        ends = [(self._column["state", s], self._column["state", t]) for _, s, t in self.arrows]
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
            self.sizes["gene", number, chosen] = (text_width(operation, LABEL) + 0.14, LABEL_HEIGHT)
            routes[number] = [("state", source), *passed, ("state", target)]
        concatenation: list[list[Item]] = []
        for state in self.outputs:
            passed = [("concat", column) for column in range(self._column["state", state] + 1, self._column[OUTPUT])]
            self._add(passed)
            concatenation.append([("state", state), *passed, OUTPUT])
        return [routes[number] for number in range(len(ends))] + concatenation

    def _add(self, lanes: Sequence[Item]) -> None:
        self._column |= {item: int(item[-1]) for item in lanes}
        self.sizes |= dict.fromkeys(lanes, (0.0, LANE))

    def _arrange(self) -> tuple[list[list[Item]], dict[Item, float]]:
        """Columns from top to bottom, with few crossings, and the height of every item; inputs keep their order."""
        columns: list[list[Item]] = [[] for _ in range(self._column[OUTPUT] + 1)]
        for item, column in self._column.items():
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
        return min(best, key=lambda each: sum(abs(each[1][a] - each[1][b]) for a, b in self._links))

    def _sort(self, order: list[list[Item]], number: int, beside: int) -> None:
        """Sort a column by the mean place of what its items are linked to in the column beside it."""
        place = {item: i for i, item in enumerate(order[beside])}
        own = {item: float(i) for i, item in enumerate(order[number])}
        for item in order[number]:
            near = [place[b] for b in self._beside[item] if b in place]
            own[item] = sum(near) / len(near) if near else own[item]
        order[number] = sorted(order[number], key=lambda item: own[item])

    def _crossings(self, order: list[list[Item]]) -> float:
        """How many arrows cross; those that cross before the heads of arrows count more, since they read worse."""
        place = {item: i for column in order for i, item in enumerate(column)}
        gaps: dict[int, list[tuple[int, int]]] = {}
        for left, right in self._links:
            gaps.setdefault(self._column[left], []).append((place[left], place[right]))
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
                    ends = {b: 1.0 if {"state", "output"} & {item[0], b[0]} else level for b in self._beside[item]}
                    total = sum(weight * heights[b] for b, weight in ends.items())
                    wanted.append(total / sum(ends.values()) if ends else heights[item])
                heights |= zip(column, _spread(wanted, apart), strict=True)
        return heights

    def _place(self, order: list[list[Item]], heights: dict[Item, float]) -> None:
        """Set x, y and ports: where arrows leave and enter a state, so that they do not lie on each other."""
        self._widths = [max(self.sizes[item][0] for item in column) for column in order]
        climbs = [0.0] * (len(order) - 1)
        for left, right in self._links:
            climbs[self._column[left]] = max(climbs[self._column[left]], abs(heights[left] - heights[right]))
        gaps = [min(max(MIN_GAP, BEND * climb), MAX_GAP) for climb in climbs]
        self._left = [0.0, *accumulate(width + gap for width, gap in zip(self._widths, gaps, strict=False))]
        top = min(heights[item] - self.sizes[item][1] / 2 for item in heights)
        self.x = {item: self._left[c] + self._widths[c] / 2 for item, c in self._column.items()}
        self.y = {item: height - top for item, height in heights.items()}
        bottom = max(self.y[item] + self.sizes[item][1] / 2 for item in self.y)
        self.size = (self._left[-1] + self._widths[-1], bottom)
        self._ports: dict[tuple[Item, Item], float] = {}  # (at, to) -> y
        for at in self.y:
            for side in (0, 1):
                linked = sorted({link[1 - side] for link in self._links if link[side] == at}, key=self.y.__getitem__)
                step = min(0.1, 0.8 * self.sizes[at][1] / max(1, len(linked))) if at[0] in ("state", "output") else 0.0
                for number, other in enumerate(linked):
                    self._ports[at, other] = self.y[at] + (number - (len(linked) - 1) / 2) * step

    def path(self, route: Sequence[Item]) -> Path:
        """Draw the line of an arrow: level through columns, S-shaped between them."""
        column = self._column[route[0]]
        points = [(self._left[column] + self._widths[column], self._ports[route[0], route[1]])]
        codes = [Path.MOVETO]
        for before, item in pairwise(route):
            (x, y), column = points[-1], self._column[item]
            end, height = self._left[column], self._ports[item, before]
            points += [((x + end) / 2, y), ((x + end) / 2, height), (end, height)]
            codes += [Path.CURVE4] * 3
            if item != route[-1] and self._widths[column]:
                points.append((end + self._widths[column], height))
                codes.append(Path.LINETO)
        return Path(points, codes)


def arrows(genotype: Genotype, name: str, kind: CellKind) -> list[tuple[str, int, int]]:
    """List (operation, source, target) of every gene, in order."""
    targets = (node for node in kind.nodes for _ in range(kind.genes_into(node)))
    return [(operation, source, node) for (operation, source), node in zip(genotype.cells[name], targets, strict=True)]


def states(kind: CellKind) -> tuple[int, ...]:
    """List the inputs and the nodes of a cell, in order."""
    return (*range(kind.num_inputs), *kind.nodes)


def state_name(state: int, kind: CellKind) -> str:
    """Name a state: c_{k-2} and c_{k-1} for two inputs, then 0, 1, ... for the nodes."""
    return f"$c_{{k-{kind.num_inputs - state}}}$" if state < kind.num_inputs else str(state - kind.num_inputs)


def edge_name(edge: Edge, kind: CellKind) -> str:
    """Name an edge by the states that it connects, such as "c_{k-2} -> 0", with the arrow as a formula."""
    return f"{state_name(edge.source, kind)} $\\to$ {state_name(edge.target, kind)}"


def _spread(wanted: Sequence[float], apart: Sequence[float]) -> list[float]:
    """Find the positions nearest to `wanted` (least squares) that are `apart` or more: pool adjacent violators."""
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
