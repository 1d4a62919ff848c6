"""Convolutions that mix channels: the families of FactorizedReduce and of ReLUConvBN.

Their map is the output of the convolution; no 1x1 convolution comes between it and the batch norm.

Letters as in the package docstring; m convolutions of one family, C channels that they read.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from halfnas.networks.fused.convolutions import Geometry, Needed, conv_backward, geometry_of
from halfnas.networks.fused.families import Family, Maps, Reads
from halfnas.networks.fused.parts import take
from halfnas.spaces.operations import FactorizedReduce, ReLUConvBN


class Convolution(Family):
    """All ReLUConvBN of one name."""

    reads_relu = True

    def __init__(self, operations: Sequence[ReLUConvBN]) -> None:
        layers: list[list[Any]] = [list(operation) for operation in operations]
        self.convolutions: list[nn.Conv2d] = [convolution for _, convolution, _ in layers]
        self.norms = [[norm] for *_, norm in layers]
        self.geometry = geometry_of(self.convolutions[0])

    def weights(self) -> list[list[Tensor]]:
        return [[convolution.weight for convolution in self.convolutions]]

    def linear(self, identity: Tensor) -> list[Tensor]:
        return [identity] * len(self.norms)

    def maps(self, reads: Reads, weights: Sequence[Tensor], identity: Tensor | None) -> Maps:
        return Maps([F.conv2d(reads.active, weights[0].to(reads.x.dtype), None, *self.geometry)])

    def backward(
        self, grad_maps: list[Any], reads: Reads, weights: Sequence[Tensor], kept: Sequence[Tensor], needed: Needed
    ) -> tuple[Any, list[Any]]:
        weight = weights[0].to(reads.x.dtype)
        grad_active, grad_weight, _ = conv_backward(
            take(grad_maps, 0), reads.active, weight, self.geometry, needed=(*needed, False)
        )
        return grad_active, [grad_weight]


class Reduce(Family):
    """All FactorizedReduce."""

    reads_relu = True

    def __init__(self, operations: Sequence[FactorizedReduce]) -> None:
        self.operations = operations
        self.norms = [[operation.bn] for operation in operations]

    def weights(self) -> list[list[Tensor]]:
        return [[operation.conv_1.weight for operation in self.operations],
                [operation.conv_2.weight for operation in self.operations]]  # fmt: skip

    def linear(self, identity: Tensor) -> list[Tensor]:
        return [identity] * len(self.norms)

    def maps(self, reads: Reads, weights: Sequence[Tensor], identity: Tensor | None) -> Maps:
        return Maps([F.conv2d(even(reads.active), self._kernel(reads, weights), stride=2)])

    def backward(
        self, grad_maps: list[Any], reads: Reads, weights: Sequence[Tensor], kept: Sequence[Tensor], needed: Needed
    ) -> tuple[Any, list[Any]]:
        kernel = self._kernel(reads, weights)
        grad_even, grad_kernel, _ = conv_backward(
            take(grad_maps, 0), even(reads.active), kernel, Geometry(2), needed=(*needed, False)
        )
        height, width = reads.active.shape[2:]
        grad_active = grad_even[:, :, :height, :width] if needed.read else None
        return grad_active, corners_backward(grad_kernel, len(self.norms)) if needed.weights else [None, None]

    def _kernel(self, reads: Reads, weights: Sequence[Tensor]) -> Tensor:
        return corners(weights, len(self.norms)).to(reads.x.dtype)


def corners(weights: Sequence[Tensor], m: int) -> Tensor:
    """The two convolutions of m FactorizedReduce as one of 2x2 pixels with stride 2.

    The first reads the pixel above to the left, the second that below to the right, the others have weight 0.

    Args:
        weights: the weights of the first and of the second convolutions, [m * c / 2, C, 1, 1].
        m: how many FactorizedReduce there are.

    Returns:
        [m * c, C, 2, 2], ordered by FactorizedReduce, in each the outputs of its first convolution first.
    """
    pads = ((0, 1, 0, 1), (1, 0, 1, 0))
    kernels = [F.pad(weight, pad).unflatten(0, (m, -1)) for weight, pad in zip(weights, pads, strict=True)]
    return torch.stack(kernels, dim=1).flatten(0, 2)


def corners_backward(grad_kernel: Tensor, m: int) -> list[Tensor]:
    """The gradients of the weights of the two convolutions, [m * c / 2, C, 1, 1], from that of [m * c, C, 2, 2]."""
    halves = grad_kernel.unflatten(0, (m, 2, -1))
    return [halves[:, i, ..., i : i + 1, i : i + 1].flatten(0, 1) for i in (0, 1)]


def even(x: Tensor) -> Tensor:
    """An image [B, C, H, W] with zeros to the right and below, up to even sizes."""
    height, width = x.shape[2:]
    return F.pad(x, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else x
