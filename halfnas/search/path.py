"""Single paths of a supernet, one architecture at a time (Li & Talwalkar, UAI 2019)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from halfnas.networks import Mixing, Supernet
from halfnas.search.relaxations import Relaxation
from halfnas.spaces import NUMBERS_PER_EDGE, Genotype, sample_genotype


class RandomPath(Relaxation):
    """An architecture drawn anew for every forward pass, uniformly; nothing else is computed."""

    captures = False

    def draw(self, supernet: Supernet, generator: torch.Generator) -> Tensor:
        edges = sum(map(len, supernet.mask.kept.values()))
        return torch.rand(NUMBERS_PER_EDGE * edges, generator=generator)

    def forward(self, supernet: Supernet, noise: Tensor | None = None) -> Mapping[str, Mixing]:
        """Kind of cell -> the edges and operations of the architecture that was drawn."""
        assert noise is not None, "an architecture is drawn"
        return path(supernet, sample_genotype(supernet.space, supernet.mask, iter(noise.tolist()).__next__))

    def validated(self, supernet: Supernet, noise: Tensor | None = None) -> Mapping[str, Mixing]:
        """A path of its own for every batch."""
        return self(supernet, noise)


def path(supernet: Supernet, genotype: Genotype) -> dict[str, Mixing]:
    """The weights with which a supernet computes one architecture: 1 for its operations, and their plain sum.

    Raises:
        ValueError: an operation of the genotype is masked.
    """
    weights = supernet.weight_parameters()[0]
    mixing = {}
    for name, kept in supernet.mask.kept.items():
        picked: list[tuple[int, ...]] = [()] * len(kept)
        genes = genotype.cells[name]
        for edge, (operation, _) in zip(supernet.space.kinds[name].edges_of(genes), genes, strict=True):
            if operation not in kept[edge]:
                raise ValueError(f"edge {edge} of cell {name!r} does not keep {operation!r}: {', '.join(kept[edge])}")
            picked[edge] = (kept[edge].index(operation),)
        ones = tuple(weights.new_ones(len(names)) for names in kept)
        mixing[name] = Mixing(ones, picked=tuple(picked))
    return mixing
