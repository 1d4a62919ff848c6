"""What the cells of all engines have in common: their modules, and so the names and shapes of their weights."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from halfnas.networks.recompute import recomputed
from halfnas.spaces import CellKind, CellPlan, EdgePlan, SearchSpace

#: What a layer gives: a tensor, or parts of one that whoever reads it concatenates over channels.
Parts = Tensor | tuple[Tensor, ...]


def concatenated(x: Parts) -> Tensor:
    """[B, C, H, W]."""
    return x if isinstance(x, Tensor) else torch.cat(x, dim=1)


class Mixing(NamedTuple):
    """The weights of one kind of cell with E edges.

    Attributes:
        operations: one vector an edge, over its kept candidates.
        edges: weight of every edge in its node, [E]; None for a plain sum.
        picked: the candidates of every edge that are computed, as indices into `operations`; the others do not run,
            keep nothing and get no gradient. An edge of which none is picked is not there at all, as in a discrete
            cell; every node needs another one. None computes all.
        offsets: a number for every edge, [E], added to what its candidates give; None adds nothing. The published GDAS
            adds the weights of candidates that are not picked, whose value is 0, so that they get a gradient.
    """

    operations: tuple[Tensor, ...]
    edges: Tensor | None = None
    picked: tuple[tuple[int, ...], ...] | None = None
    offsets: Tensor | None = None


class MixedOperation(nn.Module):
    """sum_o w_o o(x) over the kept candidates of one edge, or over some of them."""

    def __init__(self, space: SearchSpace, names: Sequence[str], edge: EdgePlan) -> None:
        super().__init__()
        self.operations = nn.ModuleDict({name: space.operation(name, edge, search=True) for name in names})

    def keep(self, names: Sequence[str]) -> None:
        """Drop all candidates but these."""
        for name in set(self.operations) - set(names):
            del self.operations[name]

    def forward(
        self, x: Tensor, weights_O: Tensor, picked: Sequence[int] | None = None, offset: Tensor | None = None
    ) -> Tensor:
        pairs = list(zip(weights_O, self.operations.values(), strict=True))
        chosen = pairs if picked is None else [pairs[o] for o in picked]
        mixed = sum(weight * operation(x) for weight, operation in chosen)
        return mixed if offset is None else mixed + offset


class PartialMixedOperation(nn.Module):
    """Only the first 1/K of the channels is mixed; the rest passes by, and a shuffle lets the next edge see others.

    On edges of stride 2 the rest is max-pooled to the same resolution.
    """

    def __init__(self, space: SearchSpace, names: Sequence[str], edge: EdgePlan, partial_channels: int) -> None:
        super().__init__()
        width = edge.channels // partial_channels
        self.mixed = MixedOperation(space, names, replace(edge, in_channels=width, out_channels=width))
        self.bypass = nn.Identity() if edge.stride == 1 else nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.partial_channels = partial_channels

    def keep(self, names: Sequence[str]) -> None:
        """Drop all candidates but these."""
        self.mixed.keep(names)

    def forward(
        self, x: Tensor, weights_O: Tensor, picked: Sequence[int] | None = None, offset: Tensor | None = None
    ) -> Tensor:
        size = x.shape[1] // self.partial_channels
        joined = torch.cat([self.mixed(x[:, :size], weights_O, picked, offset), self.bypass(x[:, size:])], dim=1)
        return joined.unflatten(1, (self.partial_channels, -1)).transpose(1, 2).flatten(1, 2)


class SupernetCell(nn.Module, ABC):
    """A cell of the supernet: node_i = sum over its edges of (edge weight) * mixed operation(state).

    Args:
        plan, kind: where the cell sits and what its graph is.
        kept: the names of the candidates of each edge.
        partial_channels: K, only 1/K of the channels goes through the candidates.
        recompute_nodes: see `halfnas.networks.recompute`.
    """

    #: Whether the engine has repeated parts to compile.
    compiles = False

    def __init__(
        self,
        space: SearchSpace,
        plan: CellPlan,
        kind: CellKind,
        kept: Sequence[Sequence[str]],
        partial_channels: int,
        *,
        recompute_nodes: bool,
    ) -> None:
        super().__init__()
        self.kind = kind
        self.partial_channels = partial_channels
        self.recompute_nodes = recompute_nodes
        self.preprocess = nn.ModuleList(plan.preprocess)
        self.edges = nn.ModuleList(
            MixedOperation(space, names, edge)
            if partial_channels == 1
            else PartialMixedOperation(space, names, edge, partial_channels)
            for names, edge in zip(kept, plan.edges, strict=True)
        )
        self.prepare(plan)

    def prepare(self, plan: CellPlan) -> None:
        """Set up what the engine computes with, from the modules that are there."""

    @abstractmethod
    def forward(self, *inputs: Parts, mixing: Mixing) -> Parts:
        """The last outputs of the network -> the output of the cell, all candidates computed as the engine does it."""

    def run(self, *inputs: Parts, mixing: Mixing) -> Parts:
        """The last outputs of the network -> the output of the cell, computing no more than the mixing picked."""
        return self(*inputs, mixing=mixing) if mixing.picked is None else self.by_edges(*inputs, mixing=mixing)

    def by_edges(self, *inputs: Parts, mixing: Mixing) -> Tensor:
        """Compute the cell edge after edge, as in the textbook, and of every edge what the mixing picked.

        Engines save by computing many candidates together; of those that were picked there are few.
        """
        states = [preprocess(concatenated(x)) for preprocess, x in zip(self.preprocess, inputs, strict=True)]
        for node in self.kind.nodes:
            compute = partial(self._node, node, mixing)
            states.append(recomputed(compute, *states, owner=self) if self.recompute_nodes else compute(*states))
        return torch.cat([states[i] for i in self.kind.output], dim=1)

    def _node(self, node: int, mixing: Mixing, *states: Tensor) -> Tensor:
        incoming = []
        for e in self.kind.edges_into(node):
            picked = None if mixing.picked is None else mixing.picked[e]
            if picked == ():
                continue
            offset = None if mixing.offsets is None else mixing.offsets[e]
            mixed = self.edges[e](states[self.kind.edges[e].source], mixing.operations[e], picked, offset)
            incoming.append(mixed if mixing.edges is None else mixing.edges[e] * mixed)
        return sum(incoming)

    def narrow(self, kept: Sequence[Sequence[str]]) -> None:
        """Keep only these candidates of each edge, with the weights that they have."""
        for edge, names in zip(self.edges, kept, strict=True):
            cast(MixedOperation | PartialMixedOperation, edge).keep(names)

    @staticmethod
    def suits(plan: CellPlan, kind: CellKind) -> bool:
        """Whether the engine can compute a cell of these sizes; the plain one takes its place where it cannot."""
        return True

    @staticmethod
    def memory_format(device: torch.device) -> torch.memory_format:
        """How the images should lie in memory."""
        return torch.contiguous_format

    def compile_parts(self) -> None:
        """Compile what repeats, where the engine has it."""
