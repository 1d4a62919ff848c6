"""Architectures drawn from what a mask leaves: the baseline of every search, and what single-path methods train.

Source: Li & Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019, and
liamcli/randomNAS_release, benchmarks/cnn/darts/darts_wrapper_discrete.py. That code may draw `none` in DARTS' cells
too, which then is an edge without signal; here it is drawn only where an architecture may have it.
"""

from collections.abc import Callable

from halfnas.spaces.genotype import Gene, Genotype
from halfnas.spaces.mask import Mask
from halfnas.spaces.space import SearchSpace

#: Numbers that `sample_genotype` uses up for every edge, whatever comes of it.
NUMBERS_PER_EDGE = 2


def sample_genotype(space: SearchSpace, mask: Mask, uniform: Callable[[], float]) -> Genotype:
    """Draw an architecture: every node its edges, and every one of these an operation, uniformly among those kept.

    Args:
        space: the space of the mask.
        mask: in the order of the space's candidates.
        uniform: gives numbers in [0, 1), `NUMBERS_PER_EDGE` for each edge.
    """
    cells = {}
    for name, kind in space.kinds.items():
        ranks, drawn = [], []
        for edge, kept in zip(kind.edges, mask.kept[name], strict=True):
            ranks.append(uniform())
            choices = [operation for operation in kind.choices(edge) if operation in kept]
            drawn.append(choices[int(uniform() * len(choices))])
        genes: list[Gene] = []
        for node in kind.nodes:
            chosen = sorted(kind.edges_into(node), key=ranks.__getitem__)[: kind.genes_into(node)]
            genes += [(drawn[e], kind.edges[e].source) for e in sorted(chosen)]
        cells[name] = tuple(genes)
    return Genotype(space.name, cells, {name: kind.output for name, kind in space.kinds.items()})
