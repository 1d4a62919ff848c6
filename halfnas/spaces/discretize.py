"""From mixing weights to one architecture.

Source: quark0/darts, cnn/model_search.py, and yuhuixu1993/PC-DARTS, model_search.py; for cells that keep all edges
D-X-Y/AutoDL-Projects, xautodl/models/cell_searchs/search_model_darts.py.
"""

from collections.abc import Mapping, Sequence

from halfnas.spaces.genotype import Gene, Genotype
from halfnas.spaces.space import SearchSpace

#: one {operation: mixing weight} an edge
Strengths = Sequence[Mapping[str, float]]


def discretize(space: SearchSpace, strengths: Mapping[str, Strengths]) -> Genotype:
    """Keep at every node the edges whose best operation is strongest, each with that operation.

    Where a node selects some of its edges `none` is never chosen, see `CellKind.choices`; it weakens its edge, as it
    takes part in the softmax that made the weights. Where a node keeps all of its edges each has its strongest
    candidate, `none` included. Ties go to the lower state, and to the operation that comes first in the space.

    Args:
        strengths: kind -> for each edge the weight of every kept operation, times the edge's weight if it has one.
    """
    cells = {}
    for name, kind in space.kinds.items():
        best = [_best(kind.choices(edge), strengths[name][number]) for number, edge in enumerate(kind.edges)]
        genes: list[Gene] = []
        for node in kind.nodes:
            incoming = kind.edges_into(node)
            if kind.edges_per_node is not None:  # in the order of strength; sorted() is stable
                incoming = tuple(sorted(incoming, key=lambda e: -best[e][1])[: kind.edges_per_node])
            genes += [(best[e][0], kind.edges[e].source) for e in incoming]
        cells[name] = tuple(genes)
    return Genotype(space.name, cells, {name: kind.output for name, kind in space.kinds.items()})


def _best(choices: Sequence[str], strength: Mapping[str, float]) -> tuple[str, float]:
    kept = [(name, strength[name]) for name in choices if name in strength]
    return max(kept, key=lambda choice: choice[1])  # the first of equals
