"""What the cells of all engines have in common: their modules, and so the names and shapes of their weights."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from halfnas.spaces import CellKind, CellPlan, EdgePlan, SearchSpace

#: What a layer gives: a tensor, or parts of one that whoever reads it concatenates over channels.
Parts = Tensor | tuple[Tensor, ...]


def concatenated(x: Parts) -> Tensor:
    """[B, C, H, W]."""
    return x if isinstance(x, Tensor) else torch.cat(x, dim=1)


class Mixing(NamedTuple):
    """The weights of one kind of cell.

    Attributes:
        operations: one vector an edge, over its kept candidates.
        edges: weight of every edge in its node, [E]; None for a plain sum.
    """

    operations: tuple[Tensor, ...]
    edges: Tensor | None


class MixedOperation(nn.Module):
    """sum_o w_o o(x) over the kept candidates of one edge."""

    def __init__(self, space: SearchSpace, names: Sequence[str], edge: EdgePlan) -> None:
        super().__init__()
        self.operations = nn.ModuleDict({name: space.operation(name, edge, search=True) for name in names})

    def keep(self, names: Sequence[str]) -> None:
        """Drop all candidates but these."""
        for name in set(self.operations) - set(names):
            del self.operations[name]

    def forward(self, x: Tensor, weights_O: Tensor) -> Tensor:
        return sum(weight * operation(x) for weight, operation in zip(weights_O, self.operations.values(), strict=True))


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

    def forward(self, x: Tensor, weights_O: Tensor) -> Tensor:
        size = x.shape[1] // self.partial_channels
        joined = torch.cat([self.mixed(x[:, :size], weights_O), self.bypass(x[:, size:])], dim=1)
        return joined.unflatten(1, (self.partial_channels, -1)).transpose(1, 2).flatten(1, 2)


class SupernetCell(nn.Module, ABC):
    """A cell of the supernet: node_i = sum over its edges of (edge weight) * mixed operation(state).

    Args:
        plan, kind: where the cell sits and what its graph is.
        kept: candidates of each edge.
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

    @abstractmethod
    def forward(self, *inputs: Parts, mixing: Mixing) -> Parts:
        """The last outputs of the network -> the output of the cell."""

    def narrow(self, kept: Sequence[Sequence[str]]) -> None:
        """Keep only these candidates of each edge, with the weights that they have."""
        for edge, names in zip(self.edges, kept, strict=True):
            cast(MixedOperation | PartialMixedOperation, edge).keep(names)

    @staticmethod
    def memory_format(device: torch.device) -> torch.memory_format:
        """How the images should lie in memory."""
        return torch.contiguous_format

    def compile_parts(self) -> None:
        """Compile what repeats, where the engine has it."""
