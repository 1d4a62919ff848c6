"""From mixing weights to one architecture.

Source: quark0/darts, cnn/model_search.py, and yuhuixu1993/PC-DARTS, model_search.py.
"""

from collections.abc import Mapping, Sequence

from halfnas.spaces.genotype import Gene, Genotype
from halfnas.spaces.space import NONE, SearchSpace

#: one {operation: mixing weight} an edge
Strengths = Sequence[Mapping[str, float]]


def discretize(space: SearchSpace, strengths: Mapping[str, Strengths]) -> Genotype:
    """Keep at every node the edges whose best operation besides `none` is strongest, each with that operation.

    `none` takes part in the softmax that made the weights, so it weakens its edge, but it is never chosen. Ties go to
    the lower state, and to the operation that comes first in the space.

    Args:
        strengths: kind -> for each edge the weight of every kept operation, times the edge's weight if it has one.
    """
    cells = {}
    for name, kind in space.kinds.items():
        best = [_best(edge, strengths[name][number]) for number, edge in enumerate(space.candidates(name))]
        genes: list[Gene] = []
        for node in kind.nodes:
            incoming = kind.edges_into(node)
            if kind.edges_per_node is not None:  # in the order of strength; sorted() is stable
                incoming = tuple(sorted(incoming, key=lambda e: -best[e][1])[: kind.edges_per_node])
            genes += [(best[e][0], kind.edges[e].source) for e in incoming]
        cells[name] = tuple(genes)
    return Genotype(space.name, cells, {name: kind.output for name, kind in space.kinds.items()})


def _best(candidates: Sequence[str], strength: Mapping[str, float]) -> tuple[str, float]:
    choices = [(name, strength[name]) for name in candidates if name in strength and name != NONE]
    return max(choices, key=lambda choice: choice[1])  # the first of equals
