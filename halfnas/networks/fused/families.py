"""The candidates of one name on the edges that leave one state, as the fused engine runs them: together.

A family has feature maps, and for each of them a 1x1 convolution and a batch norm that come after it (`linear`,
`norms`). Forward and backward passes are written out: `Mixture` in fan.py chains them.

Shapes: B images, n edges, c channels of a candidate, H x W pixels, k x k taps.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from halfnas.networks.fused.batch_norms import EPS, MOMENTUM, Moments
from halfnas.networks.fused.convolutions import Geometry, aten, conv_backward, even
from halfnas.spaces.operations import DilConv, FactorizedReduce, PoolBN, ReLUConvBN, SepConv


class Reads(NamedTuple):
    """What families read: a state [B, c, H, W], and its ReLU (or the state again, where none of them reads it)."""

    x: Tensor
    active: Tensor


class Maps(NamedTuple):
    """What a family makes of it.

    Attributes:
        parts: the maps, in parts that are to be concatenated: [B, n * c, H', W'] together.
        kept: what the backward pass is to find.
        moments: of the batch norms before the maps.
    """

    parts: Sequence[Tensor]
    kept: Sequence[Tensor] = ()
    moments: Sequence[Moments] = ()


class Family(ABC):
    """The candidates of one name on the edges that leave one state, one an edge.

    Attributes:
        norms: of each map the batch norms that follow it; all of them where one map serves all edges.
        reads_relu: whether it reads the ReLU of the state.
    """

    norms: list[list[nn.BatchNorm2d]]
    reads_relu: ClassVar[bool]

    @property
    def part_sizes(self) -> list[int]:
        """How many maps each part has that `maps` gives."""
        return [len(self.norms)]

    @abstractmethod
    def weights(self) -> list[list[Tensor]]:
        """Weights of the maps; those in one list have one shape and are concatenated."""

    @abstractmethod
    def linear(self, identity: Tensor) -> list[Tensor]:
        """A [c, c] of each map."""

    @abstractmethod
    def maps(self, reads: Reads, weights: Sequence[Tensor], identity: Tensor | None) -> Maps:
        """All maps.

        Args:
            identity: [c, c]; None where batch norms before the maps are to use running statistics.
        """

    @abstractmethod
    def backward(
        self,
        gradients: list[Tensor],
        reads: Reads,
        weights: Sequence[Tensor],
        kept: Sequence[Tensor],
        needed: tuple[bool, bool],
    ) -> tuple[Any, list[Any]]:
        """Gradients of what it reads and of the weights, as far as `needed`.

        Args:
            gradients: of the parts of the maps, dense; may be emptied.
        """


class Pool(Family):
    """A pool and a batch norm: one map serves all edges."""

    reads_relu = False

    def __init__(self, operations: Sequence[PoolBN]) -> None:
        self.pool = operations[0][0]
        self.norms = [[cast(nn.BatchNorm2d, norm) for _, norm in operations]]

    def weights(self) -> list[list[Tensor]]:
        return []

    def linear(self, identity: Tensor) -> list[Tensor]:
        return [identity]

    def maps(self, reads: Reads, weights: Sequence[Tensor], identity: Tensor | None) -> Maps:
        output, *indices = pooled(self.pool, reads.x)
        return Maps([output], indices)

    def backward(
        self,
        gradients: list[Tensor],
        reads: Reads,
        weights: Sequence[Tensor],
        kept: Sequence[Tensor],
        needed: tuple[bool, bool],
    ) -> tuple[Any, list[Any]]:
        return pooled_backward(self.pool, gradients[0], reads.x, kept) if needed[0] else None, []


class Reduce(Family):
    """FactorizedReduce."""

    reads_relu = True

    def __init__(self, operations: Sequence[FactorizedReduce]) -> None:
        self.operations = operations
        self.norms = [[operation.bn] for operation in operations]

    def weights(self) -> list[list[Tensor]]:
        return [[operation.conv_1.weight for operation in self.operations],
                [operation.conv_2.weight for operation in self.operations]]  # fmt: skip

    def linear(self, identity: Tensor) -> list[Tensor]:
        return [identity] * len(self.operations)

    def maps(self, reads: Reads, weights: Sequence[Tensor], identity: Tensor | None) -> Maps:
        return Maps([F.conv2d(even(reads.active), self._kernel(reads, weights), stride=2)])

    def backward(
        self,
        gradients: list[Tensor],
        reads: Reads,
        weights: Sequence[Tensor],
        kept: Sequence[Tensor],
        needed: tuple[bool, bool],
    ) -> tuple[Any, list[Any]]:
        for_read, for_kernel, _ = conv_backward(
            gradients[0], even(reads.active), self._kernel(reads, weights), Geometry(2), needed=(*needed, False)
        )
        height, width = reads.active.shape[2:]
        for_active = for_read[:, :, :height, :width] if needed[0] else None
        return for_active, corners_backward(for_kernel, len(self.norms)) if needed[1] else [None, None]

    def _kernel(self, reads: Reads, weights: Sequence[Tensor]) -> Tensor:
        return corners(weights, len(self.norms)).to(reads.x.dtype)


class Convolution(Family):
    """ReLUConvBN."""

    reads_relu = True

    def __init__(self, operations: Sequence[ReLUConvBN]) -> None:
        layers: list[list[Any]] = [list(operation) for operation in operations]
        self.convolutions: list[nn.Conv2d] = [convolution for _, convolution, _ in layers]
        self.norms = [[norm] for *_, norm in layers]
        self.geometry = geometry_of(self.convolutions[0])

    def weights(self) -> list[list[Tensor]]:
        return [[convolution.weight for convolution in self.convolutions]]

    def linear(self, identity: Tensor) -> list[Tensor]:
        return [identity] * len(self.convolutions)

    def maps(self, reads: Reads, weights: Sequence[Tensor], identity: Tensor | None) -> Maps:
        return Maps([F.conv2d(reads.active, weights[0].to(reads.x.dtype), None, *self.geometry)])

    def backward(
        self,
        gradients: list[Tensor],
        reads: Reads,
        weights: Sequence[Tensor],
        kept: Sequence[Tensor],
        needed: tuple[bool, bool],
    ) -> tuple[Any, list[Any]]:
        for_active, for_weight, _ = conv_backward(
            gradients[0], reads.active, weights[0].to(reads.x.dtype), self.geometry, needed=(*needed, False)
        )
        return for_active, [for_weight]


#: Which operations run as a family of their own; SepConv and DilConv share one, see separable.py.
MAPPED: dict[type[nn.Module], Callable[..., Family]] = {
    PoolBN: Pool,
    FactorizedReduce: Reduce,
    ReLUConvBN: Convolution,
}

#: Operations without parameters or batch norm: what they give is mixed as it is.
BARE = (nn.AvgPool2d, nn.Identity)


def fuses(operation: nn.Module) -> bool:
    """Whether the engine knows what the operation is made of."""
    return type(operation) in (SepConv, DilConv, *MAPPED, *BARE) and has_usual_norms(operation)


def has_usual_norms(module: nn.Module) -> bool:
    """Whether its batch norms have neither scale nor shift and the defaults of torch."""
    return all(not norm.affine and (norm.eps, norm.momentum) == (EPS, MOMENTUM) for norm in norms_of(module))


def tracks(module: nn.Module) -> bool:
    """Whether its batch norms have running statistics; without any they use those of the batch, in evaluation too."""
    return all(norm.track_running_stats for norm in norms_of(module))


def norms_of(module: nn.Module) -> list[_BatchNorm]:
    """Its batch norms."""
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


def geometry_of(convolution: nn.Conv2d) -> Geometry:
    """Of a square kernel."""
    return Geometry(convolution.stride[0], cast(int, convolution.padding[0]), convolution.dilation[0])


# ------------------------------------------------------------------------------------------------------------- pools


def pooled(pool: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """What a pool gives, and for a max pool where it found it."""
    if isinstance(pool, nn.MaxPool2d):
        return cast(tuple[Tensor, ...], aten.max_pool2d_with_indices(x, *_max_pool(pool)))
    return (pool(x),)


def pooled_backward(pool: nn.Module, gradient: Tensor, x: Tensor, indices: Sequence[Tensor]) -> Tensor:
    """Gradient of x."""
    if isinstance(pool, nn.MaxPool2d):
        return aten.max_pool2d_with_indices_backward(gradient, x, *_max_pool(pool), *indices)
    if not isinstance(pool, nn.AvgPool2d):
        return gradient
    kernel_size, stride, padding = (_pair(size) for size in (pool.kernel_size, pool.stride, pool.padding))
    return aten.avg_pool2d_backward(
        gradient, x, kernel_size, stride, padding, pool.ceil_mode, pool.count_include_pad, pool.divisor_override
    )


def _max_pool(pool: nn.MaxPool2d) -> tuple[Any, ...]:
    sizes = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    return *(_pair(size) for size in sizes), pool.ceil_mode


def _pair(size: Any) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)


# --------------------------------------------------------------------------------------------------- FactorizedReduce


def corners(weights: Sequence[Tensor], n: int) -> Tensor:
    """The two convolutions of n FactorizedReduce as one of 2x2 pixels with stride 2.

    The first reads the pixel above to the left, the second that below to the right, the others have weight 0.

    Args:
        weights: of the first and of the second, [n * c / 2, C, 1, 1].

    Returns:
        [n * c, C, 2, 2], ordered by FactorizedReduce, in each the outputs of its first convolution first.
    """
    pads = ((0, 1, 0, 1), (1, 0, 1, 0))
    kernels = [F.pad(weight, pad).unflatten(0, (n, -1)) for weight, pad in zip(weights, pads, strict=True)]
    return torch.stack(kernels, dim=1).flatten(0, 2)


def corners_backward(for_kernel: Tensor, n: int) -> list[Tensor]:
    """Gradients of the weights of the two convolutions."""
    halves = for_kernel.unflatten(0, (n, 2, -1))
    return [halves[:, i, ..., i : i + 1, i : i + 1].flatten(0, 1) for i in (0, 1)]
