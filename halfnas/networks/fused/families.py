"""A family: the candidates of one name on the edges that leave one state, as the fused engine runs them, together.

A family has feature maps, and for each of them a 1x1 convolution and a batch norm that come after it (`linear`,
`norms`). Forward and backward passes are written out: mixture.py and backward.py chain them. The families are in
separable.py, dense.py and pools.py.

Letters as in the package docstring; m maps of the family.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from halfnas.networks.fused.batch_norms import Moments
from halfnas.networks.fused.convolutions import Needed


class Reads(NamedTuple):
    """What families read of a state.

    Attributes:
        x: the channels that are mixed, [B, c, H, W].
        active: their ReLU, or x again where no family reads the ReLU, [B, c, H, W].
    """

    x: Tensor
    active: Tensor


class Maps(NamedTuple):
    """What a family makes of a state.

    Attributes:
        parts: the maps, in parts that are to be concatenated: [B, m * c, H', W'] together.
        kept: what the backward pass needs beside the state and the maps.
        moments: what the batch norms before the maps saw.
    """

    parts: Sequence[Tensor]
    kept: Sequence[Tensor] = ()
    moments: Sequence[Moments] = ()


class Family(ABC):
    """The candidates of one name on the edges that leave one state, one an edge.

    Attributes:
        norms: for each map the batch norms that follow it: one, or those of all edges where one map serves all.
        reads_relu: whether it reads the ReLU of the state.
    """

    norms: list[list[nn.BatchNorm2d]]
    reads_relu: ClassVar[bool]

    @property
    def part_sizes(self) -> list[int]:
        """How many maps each part has that `maps` gives."""
        return [len(self.norms)]

    @property
    def middle_norms(self) -> list[list[nn.BatchNorm2d]]:
        """The batch norms before the maps, whose moments `maps` gives: none but in a SepConv."""
        return []

    @abstractmethod
    def weights(self) -> list[list[Tensor]]:
        """The weights that make the maps, in stacks of one shape; `maps` is given each stack concatenated."""

    @abstractmethod
    def linear(self, identity: Tensor) -> list[Tensor]:
        """The 1x1 convolution after each map, [c, c, ...]; the identity where there is none."""

    @abstractmethod
    def maps(self, reads: Reads, weights: Sequence[Tensor], identity: Tensor | None) -> Maps:
        """Make all maps.

        Args:
            reads: the state.
            weights: the stacks of `weights()`, concatenated.
            identity: [c, c]; None where batch norms before the maps are to use running statistics.
        """

    @abstractmethod
    def backward(
        self, grad_maps: list[Any], reads: Reads, weights: Sequence[Tensor], kept: Sequence[Tensor], needed: Needed
    ) -> tuple[Any, list[Any]]:
        """The gradients of what it reads [B, c, H, W] and of each stack of weights, as far as `needed`.

        Args:
            grad_maps: the gradients of the parts of the maps, dense; the family takes them out of the list.
            reads, weights: as for `maps`.
            kept: what `maps` kept.
            needed: otherwise None.
        """
