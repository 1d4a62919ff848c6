"""The candidates of one name on the edges that leave one state, as the fused engine runs them: together.

A family knows its feature maps and, for each edge, the 1x1 convolution and the batch norm that come after them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from halfnas.networks.convolutions import Geometry, relu_conv
from halfnas.spaces.operations import DilConv, FactorizedReduce, PoolBN, ReLUConvBN, SepConv

#: Batch norms that fold have the defaults of torch, and neither scale nor shift.
EPS = nn.BatchNorm2d(1).eps
MOMENTUM = cast(float, nn.BatchNorm2d(1).momentum)


class Family(ABC):
    """The candidates of one name on the edges that leave one state, one an edge.

    Attributes:
        shared: one map serves all edges.
        norms: the batch norm that follows the map of each edge; empty where maps are not normalised.
    """

    shared = False
    norms: list[nn.BatchNorm2d]

    @abstractmethod
    def linear(self, identity: Tensor) -> list[Tensor]:
        """A [c, c] of each edge."""


class Separable(Family):
    """SepConv or DilConv: `blocks[k]` has the k-th ReLU, depthwise and 1x1 convolution and batch norm of each edge."""

    def __init__(self, operations: Sequence[SepConv | DilConv]) -> None:
        layers: list[list[Any]] = [list(operation) for operation in operations]
        self.blocks = [[edge[i : i + 4] for edge in layers] for i in range(0, len(layers[0]), 4)]
        self.norms = self.norms_of(-1)

    def norms_of(self, block: int) -> list[nn.BatchNorm2d]:
        """Batch norm of each edge."""
        return [norm for *_, norm in self.blocks[block]]

    def depthwise(self, block: int) -> Tensor:
        """Depthwise convolutions of all edges, [n * c, 1, k, k]."""
        return torch.cat([convolution.weight for _, convolution, *_ in self.blocks[block]])

    def geometry(self, block: int) -> Geometry:
        """Of the depthwise convolutions."""
        convolution = self.blocks[block][0][1]
        return Geometry(convolution.stride[0], convolution.padding[0], convolution.dilation[0])

    def pointwise(self, block: int) -> list[Tensor]:
        """1x1 convolution of each edge, [c, c]."""
        return [convolution.weight[:, :, 0, 0] for *_, convolution, _ in self.blocks[block]]

    def linear(self, identity: Tensor) -> list[Tensor]:
        return self.pointwise(-1)


class Mapped(Family):
    """A family with one function from the state to all of its maps."""

    def __init__(self, operations: Sequence[nn.Module]) -> None:
        self.operations = operations

    @abstractmethod
    def map(self, x: Tensor) -> Tensor:
        """[B, c, H, W] -> [B, c, H', W'] if shared, otherwise [B, n * c, H', W']."""

    def linear(self, identity: Tensor) -> list[Tensor]:
        return [identity] * len(self.operations)


class Pool(Mapped):
    """A pool and a batch norm."""

    shared = True

    def __init__(self, operations: Sequence[PoolBN]) -> None:
        super().__init__(operations)
        self.norms = [cast(nn.BatchNorm2d, norm) for _, norm in operations]

    def map(self, x: Tensor) -> Tensor:
        pool, _ = cast(PoolBN, self.operations[0])
        return pool(x)


class Reduce(Mapped):
    """FactorizedReduce."""

    def __init__(self, operations: Sequence[FactorizedReduce]) -> None:
        super().__init__(operations)
        self.norms = [operation.bn for operation in operations]

    def map(self, x: Tensor) -> Tensor:
        return factorized_reduce([x], cast(Sequence[FactorizedReduce], self.operations))


class Convolution(Mapped):
    """ReLUConvBN."""

    def __init__(self, operations: Sequence[ReLUConvBN]) -> None:
        super().__init__(operations)
        layers: list[list[Any]] = [list(operation) for operation in operations]
        self.convolutions = [convolution for _, convolution, _ in layers]
        self.norms = [norm for *_, norm in layers]

    def map(self, x: Tensor) -> Tensor:
        first = self.convolutions[0]
        weight = torch.cat([convolution.weight for convolution in self.convolutions])
        return relu_conv([x], weight, first.stride[0], first.padding[0])


class Bare(Mapped):
    """An operation without parameters or batch norm: the state itself, or a pool of it."""

    shared = True

    def __init__(self, operations: Sequence[nn.Module]) -> None:
        super().__init__(operations)
        self.norms = []

    def map(self, x: Tensor) -> Tensor:
        return self.operations[0](x)


#: Which operations run as a family. The order is that of their maps; those that are not normalised come last.
FAMILIES: dict[type[nn.Module], Callable[..., Family]] = {
    SepConv: Separable,
    DilConv: Separable,
    PoolBN: Pool,
    FactorizedReduce: Reduce,
    ReLUConvBN: Convolution,
    nn.AvgPool2d: Bare,
    nn.Identity: Bare,
}


def fuses(operation: nn.Module) -> bool:
    """Whether the engine knows what the operation is made of."""
    return type(operation) in FAMILIES and has_usual_norms(operation)


def has_usual_norms(module: nn.Module) -> bool:
    """Whether its batch norms have neither scale nor shift and the defaults of torch."""
    return all(not norm.affine and (norm.eps, norm.momentum) == (EPS, MOMENTUM) for norm in norms_of(module))


def tracks(module: nn.Module) -> bool:
    """Whether its batch norms have running statistics; without any they use those of the batch, in evaluation too."""
    return all(norm.track_running_stats for norm in norms_of(module))


def norms_of(module: nn.Module) -> list[_BatchNorm]:
    """Its batch norms."""
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


def factorized_reduce(parts: Sequence[Tensor], operations: Sequence[FactorizedReduce]) -> Tensor:
    """The convolutions of FactorizedReduce as one: two pixels of every square of 2x2 count, the others have weight 0.

    Parts [B, ..., H, W] of C channels together -> [B, n * C', ceil(H / 2), ceil(W / 2)], before the batch norms.
    """
    height, width = parts[0].shape[2:]
    if height % 2 or width % 2:
        parts = [F.pad(torch.cat(list(parts), dim=1), (0, width % 2, 0, height % 2))]
    corners = (
        F.pad(convolution.weight, (0, 1, 0, 1) if first else (1, 0, 1, 0))
        for operation in operations
        for convolution, first in ((operation.conv_1, True), (operation.conv_2, False))
    )
    return relu_conv(parts, torch.cat(list(corners)), stride=2)
