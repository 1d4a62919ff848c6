"""The plain engine: DARTS as in the textbook, one module per kept candidate.

It is the oracle that every faster engine is tested against, so nothing clever belongs here.
Sources: quark0/darts and yuhuixu1993/PC-DARTS, model_search.py.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from halfnas.networks.supernet import Mixing
from halfnas.spaces import CellKind, CellPlan, SearchSpace


class MixedOperation(nn.Module):
    """sum_o w_o o(x) over the kept candidates of one edge."""

    def __init__(self, space: SearchSpace, names: Sequence[str], channels: int, stride: int) -> None:
        super().__init__()
        self.operations = nn.ModuleDict({n: space.operation(n, channels, stride, search=True) for n in names})

    def forward(self, x: Tensor, weights_O: Tensor) -> Tensor:
        return sum(weight * operation(x) for weight, operation in zip(weights_O, self.operations.values(), strict=True))


class PartialMixedOperation(nn.Module):
    """Only the first 1/K of the channels is mixed; the rest passes by, and a shuffle lets the next edge see others.

    On edges of stride 2 the rest is max-pooled to the same resolution.
    """

    def __init__(
        self, space: SearchSpace, names: Sequence[str], channels: int, stride: int, partial_channels: int
    ) -> None:
        super().__init__()
        self.mixed = MixedOperation(space, names, channels // partial_channels, stride)
        self.bypass = nn.Identity() if stride == 1 else nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.partial_channels = partial_channels

    def forward(self, x: Tensor, weights_O: Tensor) -> Tensor:
        size = x.shape[1] // self.partial_channels
        joined = torch.cat([self.mixed(x[:, :size], weights_O), self.bypass(x[:, size:])], dim=1)
        return joined.unflatten(1, (self.partial_channels, -1)).transpose(1, 2).flatten(1, 2)


class PlainCell(nn.Module):
    """A cell of the supernet: node_i = sum over its edges of (edge weight) * mixed operation(state)."""

    def __init__(
        self, space: SearchSpace, plan: CellPlan, kind: CellKind, kept: Sequence[Sequence[str]], partial_channels: int
    ) -> None:
        super().__init__()
        self.kind = kind
        self.preprocess = nn.ModuleList(plan.preprocess)
        self.edges = nn.ModuleList(
            MixedOperation(space, names, plan.channels, stride)
            if partial_channels == 1
            else PartialMixedOperation(space, names, plan.channels, stride, partial_channels)
            for names, stride in zip(kept, plan.strides, strict=True)
        )

    def forward(self, *inputs: Tensor, mixing: Mixing) -> Tensor:
        states = [preprocess(x) for preprocess, x in zip(self.preprocess, inputs, strict=True)]
        for node in self.kind.nodes:
            incoming = []
            for e in self.kind.edges_into(node):
                mixed = self.edges[e](states[self.kind.edges[e].source], mixing.operations[e])
                incoming.append(mixed if mixing.edges is None else mixing.edges[e] * mixed)
            states.append(sum(incoming))
        return torch.cat([states[i] for i in self.kind.output], dim=1)
