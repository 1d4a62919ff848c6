"""From mixing weights to one architecture.

Source: quark0/darts, cnn/model_search.py, and yuhuixu1993/PC-DARTS, model_search.py; for cells that keep all edges
D-X-Y/AutoDL-Projects, xautodl/models/cell_searchs/search_model_darts.py.
"""

import math
from collections.abc import Mapping, Sequence

from halfnas.spaces.genotype import Gene, Genotype
from halfnas.spaces.space import SearchSpace
from halfnas.spaces.ties import ordered, tie_break

#: one {operation: mixing weight} an edge
Strengths = Sequence[Mapping[str, float]]


def discretize(space: SearchSpace, strengths: Mapping[str, Strengths], seed: int | None = None) -> Genotype:
    """Keep at every node the edges whose best operation is strongest, each with that operation.

    Where a node selects some of its edges `none` is never chosen, see `CellKind.choices`; it weakens its edge, as it
    takes part in the softmax that made the weights. Where a node keeps all of its edges each has its strongest
    candidate, `none` included.

    Args:
        space: the space of the architecture.
        strengths: kind -> for each edge the weight of every kept operation, times the edge's weight if it has one.
        seed: orders exact equals, operations of an edge and edges of a node, see `halfnas.spaces.ties`. With None they
            go to the operation that comes first in the space and to the lower state, as in the published code.

    Raises:
        ValueError: a strength is not finite.
    """
    _check_finite(strengths)
    cells = {}
    for cell, kind in space.kinds.items():
        best: dict[int, tuple[str, float]] = {}
        for e, edge in enumerate(kind.edges):
            there = {name: strengths[cell][e][name] for name in kind.choices(edge) if name in strengths[cell][e]}
            first = ordered(there, cell, e, seed)[0]
            best[e] = first, there[first]
        ties = {e: 0 if seed is None else tie_break(seed, cell, e) for e in best}
        genes: list[Gene] = []
        for node in kind.nodes:
            incoming = kind.edges_into(node)
            if kind.edges_per_node is not None:  # in the order of strength; sorted() is stable
                strongest = sorted(incoming, key=lambda e: (-best[e][1], ties[e]))
                incoming = tuple(strongest[: kind.edges_per_node])
            genes += [(best[e][0], kind.edges[e].source) for e in incoming]
        cells[cell] = tuple(genes)
    return Genotype(space.name, cells, {name: kind.output for name, kind in space.kinds.items()})


def _check_finite(strengths: Mapping[str, Strengths]) -> None:
    for kind, edges in strengths.items():
        for e, edge in enumerate(edges):
            for operation, strength in edge.items():
                if not math.isfinite(strength):
                    raise ValueError(
                        f"the strength of {operation!r} on edge {e} of cell {kind!r} is {strength}: nothing is chosen "
                        "by numbers that are not finite"
                    )
