"""The plain engine: DARTS as in the textbook, one module per kept candidate.

It is the oracle that every faster engine is tested against, so nothing clever belongs here.
Sources: quark0/darts and yuhuixu1993/PC-DARTS, model_search.py.
"""

from torch import Tensor

from halfnas.networks.cell import Mixing, Parts, SupernetCell


class PlainCell(SupernetCell):
    """A cell computed edge after edge."""

    def forward(self, *inputs: Parts, mixing: Mixing) -> Tensor:
        return self.by_edges(*inputs, mixing=mixing)
