"""Pools: the family of those with a batch norm, and the functions that run any pool forward and backward.

Letters as in the package docstring.
"""

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from halfnas.networks.fused.convolutions import Needed, aten
from halfnas.networks.fused.families import Family, Maps, Reads
from halfnas.networks.fused.parts import take
from halfnas.spaces.operations import PoolBN


class Pool(Family):
    """A pool and a batch norm (PoolBN): one map serves all edges."""

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
        self, grad_maps: list[Any], reads: Reads, weights: Sequence[Tensor], kept: Sequence[Tensor], needed: Needed
    ) -> tuple[Any, list[Any]]:
        return pooled_backward(self.pool, take(grad_maps, 0), reads.x, kept) if needed.read else None, []


def pooled(pool: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """What a pool gives of [B, C, H, W], and for a max pool where it found it; both [B, C, H', W']."""
    if isinstance(pool, nn.MaxPool2d):
        return cast(tuple[Tensor, ...], aten.max_pool2d_with_indices(x, *_max_pool(pool)))
    return (pool(x),)


def pooled_backward(pool: nn.Module, grad_output: Tensor, x: Tensor, indices: Sequence[Tensor]) -> Tensor:
    """The gradient of x [B, C, H, W], from that of what the pool, or the identity, gave; a max pool needs `indices`."""
    if isinstance(pool, nn.MaxPool2d):
        return aten.max_pool2d_with_indices_backward(grad_output, x, *_max_pool(pool), *indices)
    if not isinstance(pool, nn.AvgPool2d):
        return grad_output
    kernel_size, stride, padding = (_pair(size) for size in (pool.kernel_size, pool.stride, pool.padding))
    return aten.avg_pool2d_backward(
        grad_output, x, kernel_size, stride, padding, pool.ceil_mode, pool.count_include_pad, pool.divisor_override
    )


def _max_pool(pool: nn.MaxPool2d) -> tuple[Any, ...]:
    sizes = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
    return *(_pair(size) for size in sizes), pool.ceil_mode


def _pair(size: Any) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)
