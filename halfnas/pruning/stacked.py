"""A scoring network that runs on several batches at once, for ranking functions that look at its logits alone.

Scoring networks are small, and starting an operation takes longer than its arithmetic. So batches lie beside each
other in the channels, [N, G * C, H, W] for G batches of N images, and convolutions are grouped: each batch has a copy
of the weights and, as batch norm works on channels, statistics of its own. Candidates of one name on the edges that
leave one state run together in the same way.

A candidate with weight w that ends in a batch norm is a batch norm with scale w, whose backward pass has the derivative
by w for nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import replace_all_batch_norm_modules_
from torch.nn import functional as F

from halfnas.networks import build_supernet
from halfnas.networks.cell import MixedOperation, SupernetCell, concatenated
from halfnas.networks.fused.batch_norms import EPS, has_usual_norms
from halfnas.networks.fused.convolutions import Geometry, depthwise, depthwise_backward, geometry_of
from halfnas.pruning.importance import draw_weight
from halfnas.spaces import CellPlan, Mask, SearchSpace
from halfnas.spaces.mask import Kept
from halfnas.spaces.operations import DilConv, FactorizedReduce, PoolBN, ReLUConvBN, SepConv, Zero

#: Operations that treat every channel alike, and so batches that lie beside each other too.
CHANNELWISE = (nn.Identity, nn.AvgPool2d, nn.MaxPool2d)


class Family(NamedTuple):
    """The candidates of one name and stride on the edges that leave one state: edge -> candidate."""

    name: str
    operations: dict[int, nn.Module]


class StackedSupernet:
    """The function of a plain supernet with K = 1, in training mode, on G batches of one size.

    Its weights lie in one buffer that stays where it is, so that a captured graph finds them there.

    Args:
        space: the space of the scoring network, at its sizes.
        mask: the candidates that it has.
        num_batches: G.
        like: an example of the images, for their device and dtype.
    """

    def __init__(self, space: SearchSpace, mask: Mask, num_batches: int, like: Tensor) -> None:
        self.num_batches = num_batches
        self.supernet = build_supernet(space, mask).train().requires_grad_(False)
        replace_all_batch_norm_modules_(self.supernet)
        self._families = {
            layer: _families(cast(SupernetCell, layer), plan)
            for layer, plan in zip(self.supernet.layers, space.skeleton(search=True).layers, strict=True)
            if isinstance(plan, CellPlan)
        }
        self._format = torch.channels_last if like.device.type == "cpu" else torch.contiguous_format
        parameters = self.supernet.weight_parameters()
        sizes = [num_batches * parameter.numel() for parameter in parameters]
        self._drawn = torch.empty(sum(sizes), pin_memory=like.device.type == "cuda")
        self._weights = torch.empty(sum(sizes), dtype=like.dtype, device=like.device)
        drawn: dict[Tensor, Tensor] = {}
        stacked: dict[Tensor, Tensor] = {}
        for parameter, *parts in zip(parameters, self._drawn.split(sizes), self._weights.split(sizes), strict=True):
            drawn[parameter], copies = (part.view(num_batches, *parameter.shape) for part in parts)
            drawn[parameter].copy_(parameter)
            stacked[parameter] = copies.flatten(0, 1)
            parameter.data = copies[0]
        layers = [part for part in self.supernet.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
        for layer in layers:
            if layer.bias is not None:
                drawn[layer.bias].zero_()
        self._to_draw = [drawn[layer.weight] for layer in layers]
        self._stacked: dict[nn.Module, Tensor] = {layer: stacked[layer.weight] for layer in layers}

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """The weights of another scoring network, which are those of `initialize`; one copy to the device."""
        for copies in self._to_draw:
            draw_weight(copies[0], generator)
            copies[1:] = copies[0]
        self._weights.copy_(self._drawn)

    def __call__(self, images: Tensor, weights: Mapping[str, Sequence[Tensor]], kept: Kept) -> Tensor:
        """Images [G, N, C, H, W] -> logits [G * N, num_classes], batch after batch.

        Args:
            weights: kind of cell -> of every edge, a vector over its candidates in `kept`.
            kept: the candidates that run, all that there are or fewer.
        """
        supernet = self.supernet
        inputs = [supernet.stem(batch.contiguous(memory_format=self._format)) for batch in images]
        states = [torch.cat([concatenated(x) for x in parts], dim=1) for parts in zip(*inputs, strict=True)]
        for layer, kind in zip(supernet.layers, supernet.layer_kinds, strict=True):
            if kind is None:
                output = self._apart(layer, states[-1])
            else:
                output = self._cell(cast(SupernetCell, layer), states, weights[kind], kept[kind])
            states = [*states[1:], output]
        return torch.cat([supernet.head(x) for x in states[-1].chunk(self.num_batches, dim=1)])

    def _cell(
        self, cell: SupernetCell, inputs: Sequence[Tensor], weights: Sequence[Tensor], kept: Sequence[Sequence[str]]
    ) -> Tensor:
        states = [self._preprocessed(module, x) for module, x in zip(cell.preprocess, inputs, strict=True)]
        nodes: dict[int, Tensor] = {}
        for source in range(len(states) + len(cell.kind.nodes)):
            if source == len(states):
                states.append(nodes[source])
            x, active = states[source], states[source].relu()
            for name, operations in self._families[cell].get(source, ()):
                edges = [e for e in operations if name in kept[e]]
                if not edges:
                    continue
                weights_E = torch.stack([weights[e][kept[e].index(name)] for e in edges])
                terms = self._terms([operations[e] for e in edges], x, active, weights_E)
                for e, term in zip(edges, terms, strict=True):
                    node = cell.kind.edges[e].target
                    nodes[node] = nodes[node] + term if node in nodes else term
        return self._beside([states[i] for i in cell.kind.output])

    def _preprocessed(self, module: nn.Module, x: Tensor) -> Tensor:
        if type(module) in (ReLUConvBN, FactorizedReduce) and has_usual_norms(module):
            return _normalized(self._features(module, x.relu()))
        return module(x) if type(module) in CHANNELWISE else self._apart(module, x)

    def _terms(self, operations: Sequence[nn.Module], x: Tensor, active: Tensor, weights_E: Tensor) -> Sequence[Tensor]:
        """The terms that candidates of one family, one an edge, add to the nodes that their edges lead to.

        Args:
            x: the state that they read.
            active: its ReLU.
            weights_E: the mixing weights of the candidates.
        """
        first = operations[0]
        usual = has_usual_norms(first)
        if type(first) in (SepConv, DilConv) and usual:
            layers = list(zip(*cast(Sequence[nn.Sequential], operations), strict=True))
            y = torch.cat([active] * len(operations), dim=1) if len(operations) > 1 else active
            y = self._pointwise(self._depthwise(y, layers[1]), layers[2])
            if len(layers) > 4:
                y = self._pointwise(self._depthwise(_normalized(y).relu(), layers[5]), layers[6])
            return _normalized(y, weights_E).chunk(len(operations), dim=1)
        if type(first) in (ReLUConvBN, FactorizedReduce) and usual:
            singles = zip(operations, weights_E.split(1), strict=True)
            return [_normalized(self._features(operation, active), weight) for operation, weight in singles]
        pool = first[0] if isinstance(first, PoolBN) and usual else first
        if type(pool) in CHANNELWISE:
            y = pool(x) if pool is first else _normalized(pool(x))
            return [weight * y for weight in weights_E.unbind()]
        return [weight * self._apart(o, x) for o, weight in zip(operations, weights_E.unbind(), strict=True)]

    def _features(self, module: nn.Module, active: Tensor) -> Tensor:
        """The input of the batch norm of a ReLUConvBN or FactorizedReduce, from the ReLU of its own input."""
        if isinstance(module, ReLUConvBN):
            return self._convolved(active, cast(nn.Conv2d, module[1]))
        module = cast(FactorizedReduce, module)
        height, width = active.shape[2:]
        shifted = F.pad(active[:, :, 1:, 1:], (0, width % 2, 0, height % 2))
        return self._beside([self._convolved(active, module.conv_1), self._convolved(shifted, module.conv_2)])

    def _convolved(self, x: Tensor, layer: nn.Conv2d) -> Tensor:
        groups = layer.groups * self.num_batches
        return F.conv2d(x, self._stacked[layer], None, layer.stride, layer.padding, layer.dilation, groups)

    def _pointwise(self, x: Tensor, layers: Sequence[nn.Module]) -> Tensor:
        return F.conv2d(x, self._weights_of(layers), groups=len(layers) * self.num_batches)

    def _depthwise(self, x: Tensor, layers: Sequence[nn.Module]) -> Tensor:
        return _Depthwise.apply(x, self._weights_of(layers), geometry_of(cast(nn.Conv2d, layers[0])))

    def _weights_of(self, layers: Sequence[nn.Module]) -> Tensor:
        return torch.cat([self._stacked[layer] for layer in layers]) if len(layers) > 1 else self._stacked[layers[0]]

    def _beside(self, parts: Sequence[Tensor]) -> Tensor:
        """Concatenate the channels of every batch."""
        batches = zip(*(part.chunk(self.num_batches, dim=1) for part in parts), strict=True)
        return torch.cat([part for batch in batches for part in batch], dim=1)

    def _apart(self, module: nn.Module, x: Tensor) -> Tensor:
        """Run any module on each batch by itself."""
        return torch.cat([module(batch) for batch in x.chunk(self.num_batches, dim=1)], dim=1)


def _families(cell: SupernetCell, plan: CellPlan) -> dict[int, list[Family]]:
    """State -> the families that read it, without `none`, which adds nothing."""
    found: dict[int, dict[tuple[str, int], Family]] = {}
    for e, (edge, mixed) in enumerate(zip(cell.kind.edges, cell.edges, strict=True)):
        families = found.setdefault(edge.source, {})
        for name, operation in cast(MixedOperation, mixed).operations.items():
            if not isinstance(operation, Zero):
                family = families.setdefault((name, plan.edges[e].stride), Family(name, {}))
                family.operations[e] = operation
    return {source: list(families.values()) for source, families in found.items()}


def _normalized(x: Tensor, weights_E: Tensor | None = None) -> Tensor:
    """Batch norm of E blocks of channels, each times its weight."""
    if weights_E is None:
        return F.batch_norm(x, None, None, training=True, eps=EPS)
    # Dense also where E is 1: with channels last the backward pass reads it as if it were (torch 2.15, on the CPU).
    scale = weights_E[:, None].expand(-1, x.shape[1] // len(weights_E)).flatten().contiguous()
    return F.batch_norm(x, None, None, scale, training=True, eps=EPS)


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution with an odd kernel that leaves the size as it is, up to its stride; weights are constant.

    Its backward pass is that of the fused engine, on a CPU many times faster than torch's own.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return depthwise(x, weight, geometry)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        for_x, _ = depthwise_backward(gradient, x, weight, ctx.geometry, (True, False))
        return for_x, None, None
