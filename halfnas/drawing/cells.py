"""Cells as graphs from left to right: `draw_genotype` as a figure, `genotype_to_dot` as text for Graphviz."""

from itertools import pairwise
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.patheffects import withStroke

from halfnas.drawing import kit
from halfnas.drawing.chains import draw_chain
from halfnas.drawing.families import FAMILIES, colour_of, family_of, line_of, tint
from halfnas.drawing.layout import CellLayout, arrows, state_name, states
from halfnas.drawing.panels import panels
from halfnas.spaces import NONE, Genotype, SearchSpace
from halfnas.spaces.space import is_chain


def draw_genotype(genotype: Genotype, space: SearchSpace, title: str | None = None) -> Figure:
    """Draw every cell of a genotype as a graph from left to right; layers of a chain as boxes in a row.

    Boxes are states, coloured arrows are genes with their operation, dashed where it is `none`, light grey ones the
    concatenation to the output.

    Raises:
        ValueError: it is no genotype of `space`.
    """
    space.check_genotype(genotype)
    if is_chain(genotype.cells):
        return draw_chain(genotype, space, title)
    cells = {kind: CellLayout(genotype, space, kind) for kind in space.kinds}
    figure, drawn = panels([cell.size for cell in cells.values()], (0.25, 0.3, 0.25, 0.15), title)
    for axes, (kind, cell) in zip(drawn, cells.items(), strict=True):
        _draw_cell(axes, cell)
        axes.set_title(kit.cell_title(kind), fontsize=kit.LABEL + 1)
    used = {family_of(operation) for genes in genotype.cells.values() for operation, _ in genes}
    colours = {name: colour for name, (_, colour) in FAMILIES.items() if name in used}
    colours["concatenation" if any(len(cell.outputs) > 1 for cell in cells.values()) else "output"] = kit.SILVER
    lines = [Line2D([], [], color=colour, lw=2, ls=line_of(name), label=name) for name, colour in colours.items()]
    kit.legend_inside(figure, lines)
    return figure


def genotype_to_dot(genotype: Genotype, space: SearchSpace) -> str:
    """Write a genotype as text for Graphviz (`dot -Tpdf`), one cluster a kind of cell; a chain is one row of layers.

    Raises:
        ValueError: it is no genotype of `space`.
    """
    space.check_genotype(genotype)
    lines = [f"digraph {_quote(space.name)} {{", "  rankdir=LR;", "  node [shape=box, style=rounded];"]
    if is_chain(genotype.cells):
        return "\n".join([*lines, *_dot_of_chain(genotype, space), "}", ""])
    for name, kind in space.kinds.items():
        node = {s: _quote(f"{name}_{s}") for s in (*states(kind), "output")}
        lines += [f"  subgraph {_quote(f'cluster_{name}')} {{", f"    label={_quote(kit.cell_title(name))};"]
        lines += [f"    {node[s]} [label={_quote(state_name(s, kind).strip('$'))}];" for s in states(kind)]
        lines.append(f"    {node['output']} [label={_quote('c_{k}')}];")
        for operation, source, target in arrows(genotype, name, kind):
            style = f"label={_quote(operation)}, color={_quote(colour_of(operation))}"
            style += ", style=dashed" if operation == NONE else ""
            lines.append(f"    {node[source]} -> {node[target]} [{style}];")
        for state in genotype.outputs.get(name, kind.output):
            lines.append(f"    {node[state]} -> {node['output']} [color={_quote(kit.SILVER)}];")
        lines.append("  }")
    return "\n".join([*lines, "}", ""])


def _dot_of_chain(genotype: Genotype, space: SearchSpace) -> list[str]:
    chosen = {kind: genotype.cells[kind][0][0] for kind in space.kinds}
    nodes = [
        f"  {_quote(kind)} [label={_quote(operation)}, color={_quote(colour_of(operation))}];"
        for kind, operation in chosen.items()
    ]
    return [*nodes, *(f"  {_quote(before)} -> {_quote(after)};" for before, after in pairwise(chosen))]


def _draw_cell(axes: Axes, cell: CellLayout) -> None:
    axes.axis("off")
    above = (axes.get_ylim()[0] - cell.size[1]) / 2  # in the middle of its row
    axes.set_ylim(cell.size[1] + above, -above)
    genes = [f"gene:{cell.name}:{source}->{target}:{operation}" for operation, source, target in cell.arrows]
    ids = [*genes, *(f"concat:{cell.name}:{state}" for state in cell.outputs)]
    for number, (gid, route) in enumerate(zip(ids, cell.routes, strict=True)):
        gene = number < len(genes)
        arrow = FancyArrowPatch(path=cell.path(route), arrowstyle="-|>,head_width=2.2,head_length=4.5", clip_on=False)
        arrow.set(
            color=colour_of(cell.arrows[number][0]) if gene else kit.SILVER, linewidth=1.3, zorder=2 + gene, gid=gid
        )
        arrow.set_linestyle(line_of(cell.arrows[number][0]) if gene else "-")
        if gene:  # where arrows cross, one passes under the other
            arrow.set_path_effects([withStroke(linewidth=3.2, foreground="white")])
        axes.add_patch(arrow)
    for item, text in cell.text.items():
        width, height = cell.sizes[item]
        x, y = cell.x[item], cell.y[item]
        gene = item[0] == "gene"
        colour = colour_of(text) if gene else kit.INK
        box = FancyBboxPatch((x - width / 2, y - height / 2), width, height, "round,pad=0,rounding_size=0.06")
        box.set(facecolor=tint(colour), edgecolor=colour, linewidth=0.8, zorder=4, clip_on=False)
        axes.add_patch(box)
        baseline: Literal["center", "center_baseline"] = "center_baseline" if gene else "center"
        size = kit.LABEL if gene else kit.LABEL + 1
        axes.text(x, y, text, size=size, ha="center", va=baseline, color=kit.INK, zorder=5)


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
