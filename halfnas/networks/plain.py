"""The plain engine: DARTS as in the textbook, one module per kept candidate.

It is the oracle that every faster engine is tested against, so nothing clever belongs here.
Sources: quark0/darts and yuhuixu1993/PC-DARTS, model_search.py.
"""

from functools import partial

import torch
from torch import Tensor

from halfnas.networks.cell import Mixing, Parts, SupernetCell, concatenated
from halfnas.networks.recompute import recomputed


class PlainCell(SupernetCell):
    """A cell computed edge after edge."""

    def forward(self, *inputs: Parts, mixing: Mixing) -> Tensor:
        states = [preprocess(concatenated(x)) for preprocess, x in zip(self.preprocess, inputs, strict=True)]
        for node in self.kind.nodes:
            compute = partial(self._node, node, mixing)
            states.append(recomputed(compute, *states, owner=self) if self.recompute_nodes else compute(*states))
        return torch.cat([states[i] for i in self.kind.output], dim=1)

    def _node(self, node: int, mixing: Mixing, *states: Tensor) -> Tensor:
        incoming = []
        for e in self.kind.edges_into(node):
            mixed = self.edges[e](states[self.kind.edges[e].source], mixing.operations[e])
            incoming.append(mixed if mixing.edges is None else mixing.edges[e] * mixed)
        return sum(incoming)
