"""The SepConv and DilConv that leave one state.

They begin with a depthwise convolution of the ReLU of the state. In a DilConv that is the map; a SepConv goes on with a
1x1 convolution, a batch norm, a ReLU and another depthwise convolution, whose output is the map. So all of one name run
as one depthwise convolution, and the 1x1 convolutions in the middle, with their batch norms folded in, as one for all.

Shapes: B images, m convolutions of one name, c channels of a candidate, H x W pixels, k x k taps.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from halfnas.networks.fused.batch_norms import Fold, fold_, fold_backward, running_statistics
from halfnas.networks.fused.convolutions import (
    as_kernel,
    as_matrices,
    aten,
    concatenated,
    conv_backward,
    depthwise,
    depthwise_backward,
    pointwise,
    sums_of_parts,
)
from halfnas.networks.fused.families import Family, Maps, Reads, geometry_of
from halfnas.spaces.operations import DilConv, SepConv


class Separable(Family):
    """All separable convolutions of a fan.

    Args:
        groups: those of each name; names of SepConv come first.
    """

    reads_relu = True

    def __init__(self, groups: Sequence[Sequence[SepConv | DilConv]]) -> None:
        layers: list[list[list[Any]]] = [[list(operation) for operation in group] for group in groups]
        self.first = [[operation[1] for operation in group] for group in layers]
        twice = [group for group in layers if len(group[0]) > 4]
        self.second = [[operation[5] for operation in group] for group in twice]
        self.middle = [operation[2] for group in twice for operation in group]
        self.middle_norms: list[list[nn.BatchNorm2d]] = [[operation[3]] for group in twice for operation in group]
        self.last = [operation[-2] for group in layers for operation in group]
        self.norms = [[operation[-1]] for group in layers for operation in group]
        self.first_geometries = [geometry_of(group[0]) for group in self.first]
        self.second_geometries = [geometry_of(group[0]) for group in self.second]

    @property
    def part_sizes(self) -> list[int]:
        return [len(group) for group in self.first]

    def weights(self) -> list[list[Tensor]]:
        stacks = [*self.first, *self.second, *([self.middle] if self.middle else [])]
        return [[convolution.weight for convolution in stack] for stack in stacks]

    def linear(self, identity: Tensor) -> list[Tensor]:
        return [convolution.weight for convolution in self.last]

    def maps(self, reads: Reads, weights: Sequence[Tensor], identity: Tensor | None) -> Maps:
        first, second, middle = self._by_layer(weights, reads.x.dtype)
        read = {m: repeated(reads.active, m) for m in {len(group) for group in self.first}}
        outputs = [
            depthwise(read[len(group)], weight, geometry)
            for group, weight, geometry in zip(self.first, first, self.first_geometries, strict=True)
        ]
        if not second:
            return Maps(outputs)
        features = concatenated(outputs[: len(second)])
        fold, bias, moments = self._fold(features, middle, identity)
        outputs[: len(second)] = [
            depthwise(active, weight, geometry)
            for active, weight, geometry in zip(
                self._active(features, fold, bias), second, self.second_geometries, strict=True
            )
        ]
        return Maps(outputs, (features, *fold), moments)

    def backward(
        self,
        gradients: list[Tensor],
        reads: Reads,
        weights: Sequence[Tensor],
        kept: Sequence[Tensor],
        needed: tuple[bool, bool],
    ) -> tuple[Any, list[Any]]:
        first, second, _ = self._by_layer(weights, reads.x.dtype)
        for_later = self._through_second(gradients, second, kept, needed[1]) if second else []
        c = reads.x.shape[1]
        for_reads: list[Any] = []
        for_first: list[Any] = []
        read, m = reads.active, 1
        for group, weight, geometry in zip(self.first, first, self.first_geometries, strict=True):
            if len(group) != m:
                m = len(group)
                read = repeated(reads.active, m)
            for_read, for_weight = depthwise_backward(gradients.pop(0), read, weight, geometry, needed)
            for_first.append(for_weight)
            if needed[0]:  # what a stride of 2 reads is large: summed at once, otherwise all together
                for_reads.append(summed(for_read, c) if geometry.stride > 1 else for_read)
        del read
        for_active = None
        if needed[0]:
            together = concatenated(for_reads)
            for_reads.clear()
            for_active = summed(together, c)
        return for_active, [*for_first, *for_later]

    def _through_second(
        self, gradients: list[Tensor], second: Sequence[Tensor], kept: Sequence[Tensor], needs_weights: bool
    ) -> list[Any]:
        """From the gradients of the maps to those of the first depthwise convolutions, in place; gives the weights'."""
        features, fold = kept[0], Fold(*kept[1:])
        positions = features.numel() // features.shape[1]
        for_product = torch.empty_like(features)
        for_second: list[Any] = []
        for active, into, weight, geometry in zip(
            self._active(features, fold), self._split(for_product), second, self.second_geometries, strict=True
        ):
            for_active, for_weight = depthwise_backward(
                gradients.pop(0), active, weight, geometry, (True, needs_weights)
            )
            aten.threshold_backward.grad_input(for_active, active, 0, grad_input=into)
            for_second.append(for_weight)
        kernel = as_kernel(fold.folded).to(features.dtype)
        for_features, for_kernel, sums = conv_backward(
            for_product, features, kernel, groups=len(fold.folded), needed=(True, True, True)
        )
        for_folded = for_kernel.view_as(fold.folded).to(fold.folded.dtype)
        for_middle, quadratic = fold_backward(for_folded, fold, positions, needs_linear=needs_weights)
        # What is centred has a gradient without a mean.
        sums = sums.view(len(fold.folded), -1, 1).to(fold.folded.dtype)
        shift = torch.baddbmm(sums, fold.folded.mT, sums, beta=0, alpha=-1 / positions)
        sizes = [part.shape[1] for part in self._split(features)]
        gradients[:0] = sums_of_parts(for_features, pointwise(features, quadratic, shift), sizes)
        if for_middle is not None:
            for_middle = for_middle.flatten(0, 1)[..., None, None]
        return [*for_second, for_middle]

    def _active(self, features: Tensor, fold: Fold, bias: Tensor | None = None) -> list[Tensor]:
        """What the second depthwise convolution of each name reads."""
        return [part.relu() for part in self._split(pointwise(features, fold.folded, bias))]

    def _fold(self, features: Tensor, middle: Tensor, identity: Tensor | None) -> Any:
        """With running statistics there is a bias; only `folded` is of use then."""
        if identity is not None:
            fold, moments = fold_(features, middle, identity)
            return fold, None, (moments,)
        scale, mean = running_statistics([norm for (norm,) in self.middle_norms])
        folded = middle * scale[..., None]
        return Fold(folded, scale, folded), -mean * scale, ()

    def _by_layer(self, weights: Sequence[Tensor], dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor], Any]:
        """Filters of the first and second depthwise convolutions, by name; matrices [m, c, c] of those between."""
        filters = [weight.to(dtype) for weight in weights[: len(self.first) + len(self.second)]]
        middle = as_matrices(weights[-1]) if self.middle else None
        return filters[: len(self.first)], filters[len(self.first) :], middle

    def _split(self, x: Tensor) -> Sequence[Tensor]:
        """The channels of each name of SepConv."""
        c = x.shape[1] // len(self.middle)
        return x.split([len(group) * c for group in self.second], dim=1)


def repeated(x: Tensor, m: int) -> Tensor:
    """What m convolutions read that read every channel: [B, m * c, H, W]."""
    return torch.cat([x] * m, dim=1) if m > 1 else x


def summed(x: Tensor, c: int) -> Tensor:
    """The other way round: the sum of all blocks of c channels."""
    return x.unflatten(1, (-1, c)).sum(dim=1) if x.shape[1] > c else x
