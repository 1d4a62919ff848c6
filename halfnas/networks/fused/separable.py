"""The SepConv and DilConv that leave one state: one family.

They begin with a depthwise convolution of the ReLU of the state. In a DilConv that is the map; a SepConv goes on with a
1x1 convolution, a batch norm, a ReLU and another depthwise convolution, whose output is the map:

    DilConv   active -> depthwise = map
    SepConv   active -> depthwise = features -> 1x1, batch norm -> ReLU -> depthwise = map

So all of one name run as one depthwise convolution, and the 1x1 convolutions in the middle, with their batch norms
folded in, as one for all.

Letters as in the package docstring; m convolutions of one name.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from halfnas.networks.fused.batch_norms import Moments, running_statistics
from halfnas.networks.fused.convolutions import (
    Needed,
    as_kernel,
    as_matrices,
    aten,
    conv_backward,
    depthwise,
    depthwise_backward,
    geometry_of,
    pointwise,
)
from halfnas.networks.fused.families import Family, Maps, Reads
from halfnas.networks.fused.fold import Fold, fold_, fold_backward
from halfnas.networks.fused.parts import concatenated, repeated, summed, sums_of_parts, take
from halfnas.networks.fused.precision import full_precision
from halfnas.networks.joined import over_processes, processes_of
from halfnas.spaces.operations import DilConv, SepConv


class Separable(Family):
    """All separable convolutions that leave a state.

    Args:
        groups: the operations of each name; names of SepConv come first.
    """

    reads_relu = True

    def __init__(self, groups: Sequence[Sequence[SepConv | DilConv]]) -> None:
        layers: list[list[list[Any]]] = [[list(operation) for operation in group] for group in groups]
        self.first = [[operation[1] for operation in group] for group in layers]
        twice = [group for group in layers if len(group[0]) > 4]
        self.second = [[operation[5] for operation in group] for group in twice]
        self.middle = [operation[2] for group in twice for operation in group]
        self._middle_norms: list[list[nn.BatchNorm2d]] = [[operation[3]] for group in twice for operation in group]
        self.last = [operation[-2] for group in layers for operation in group]
        self.norms = [[operation[-1]] for group in layers for operation in group]
        self.first_geometries = [geometry_of(group[0]) for group in self.first]
        self.second_geometries = [geometry_of(group[0]) for group in self.second]

    @property
    def part_sizes(self) -> list[int]:
        return [len(group) for group in self.first]

    @property
    def processes(self) -> int:
        """The number of processes whose batches the batch norms in the middle see as one."""
        return processes_of(self._middle_norms[0][0])

    @property
    def middle_norms(self) -> list[list[nn.BatchNorm2d]]:
        return self._middle_norms

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
        self, grad_maps: list[Any], reads: Reads, weights: Sequence[Tensor], kept: Sequence[Tensor], needed: Needed
    ) -> tuple[Any, list[Any]]:
        first, second, _ = self._by_layer(weights, reads.x.dtype)
        # From here on of what the first depthwise convolutions gave: in a DilConv these are the maps.
        grad_later = self._later_backward(grad_maps, second, kept, needed.weights) if second else []
        c = reads.x.shape[1]
        grad_reads: list[Any] = []
        grad_first: list[Any] = []
        read, m = reads.active, 1
        for i, (group, weight, geometry) in enumerate(zip(self.first, first, self.first_geometries, strict=True)):
            if len(group) != m:
                m = len(group)
                read = repeated(reads.active, m)
            grad_read, grad_weight = depthwise_backward(take(grad_maps, i), read, weight, geometry, needed)
            grad_first.append(grad_weight)
            if needed.read:  # what a stride of 2 reads is large: summed at once, otherwise all together
                grad_reads.append(summed(grad_read, c) if geometry.stride > 1 else grad_read)
        del read  # the copies of the state make room for the gradients together
        grad_active = None
        if needed.read:
            together = concatenated(grad_reads)
            del grad_reads  # they were copied, and make room for their sum
            grad_active = summed(together, c)
        return grad_active, [*grad_first, *grad_later]

    def _later_backward(
        self, grad_maps: list[Any], second: Sequence[Tensor], kept: Sequence[Tensor], needs_weights: bool
    ) -> list[Any]:
        """From the maps of SepConv back to the outputs of their first depthwise convolutions, in place of grad_maps.

        Returns:
            The gradients of the weights of the second depthwise convolutions, by name, and of those in the middle.
        """
        features, fold = kept[0], Fold(*kept[1:])
        positions = self.processes * features.numel() // features.shape[1]
        grad_product, grad_second = self._second_backward(grad_maps, second, features, fold, needs_weights)
        kernel = as_kernel(fold.folded).to(features.dtype)
        grad_features, grad_kernel, sums = conv_backward(
            grad_product, features, kernel, groups=len(fold.folded), needed=(True, True, True)
        )
        grad_folded = grad_kernel.view_as(fold.folded).to(fold.folded.dtype)
        grad_middle, quadratic = fold_backward(
            grad_folded, fold, positions, needs_linear=needs_weights, processes=self.processes
        )
        # What is centred has a gradient without a mean.
        sums = over_processes(sums.view(len(fold.folded), -1, 1).to(fold.folded.dtype), self.processes)
        with full_precision():
            shift = torch.baddbmm(sums, fold.folded.mT, sums, beta=0, alpha=-1 / positions)
        sizes = [part.shape[1] for part in self._split(features)]
        grad_maps[: len(second)] = sums_of_parts(grad_features, pointwise(features, quadratic, shift), sizes)
        if grad_middle is not None:
            grad_middle = grad_middle.flatten(0, 1)[..., None, None]
        return [*grad_second, grad_middle]

    def _second_backward(
        self, grad_maps: list[Any], second: Sequence[Tensor], features: Tensor, fold: Fold, needs_weights: bool
    ) -> tuple[Tensor, list[Any]]:
        """The gradients of the batch norms in the middle [B, m * c, H', W'], and of the filters after them, by name."""
        grad_product = torch.empty_like(features)
        grad_second: list[Any] = []
        actives, places = self._active(features, fold), self._split(grad_product)
        for i, (weight, geometry) in enumerate(zip(second, self.second_geometries, strict=True)):
            grad_active, grad_weight = depthwise_backward(
                take(grad_maps, i), actives[i], weight, geometry, (True, needs_weights)
            )
            aten.threshold_backward.grad_input(grad_active, actives[i], 0, grad_input=places[i])
            grad_second.append(grad_weight)
        return grad_product, grad_second

    def _active(self, features: Tensor, fold: Fold, bias: Tensor | None = None) -> list[Tensor]:
        """What the second depthwise convolution of each name reads, [B, m * c, H', W'] each."""
        return [part.relu() for part in self._split(pointwise(features, fold.folded, bias))]

    def _fold(
        self, features: Tensor, middle: Tensor, identity: Tensor | None
    ) -> tuple[Fold, Tensor | None, Sequence[Moments]]:
        """The 1x1 convolutions in the middle with their batch norms, a bias, and what the batch norms saw.

        The bias is None with the statistics of the batch. With running statistics only `folded` is of use in the fold.
        """
        if identity is not None:
            fold, moments = fold_(features, middle, identity, self.processes)
            return fold, None, (moments,)
        scale, mean = running_statistics([norm for (norm,) in self.middle_norms])
        folded = middle * scale[..., None]
        return Fold(folded, scale, folded), -mean * scale, ()

    def _by_layer(self, weights: Sequence[Tensor], dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor], Any]:
        """The filters [m * c, 1, k, k] of the first and the second depthwise convolutions, by name.

        And the matrices [m, c, c] of the 1x1 convolutions of all names in the middle, or None.
        """
        filters = [weight.to(dtype) for weight in weights[: len(self.first) + len(self.second)]]
        middle = as_matrices(weights[-1]) if self.middle else None
        return filters[: len(self.first)], filters[len(self.first) :], middle

    def _split(self, x: Tensor) -> Sequence[Tensor]:
        """The channels of each name of SepConv."""
        c = x.shape[1] // len(self.middle)
        return x.split([len(group) * c for group in self.second], dim=1)
