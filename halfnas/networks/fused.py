"""The fused engine: the function of the plain one, computed by source instead of by edge.

As soon as a state of a cell is known, every kept candidate on every edge that leaves it runs, together with the others
of its name. A candidate is a feature map, a 1x1 convolution A of it, and a batch norm. The map of a dil_conv is a
depthwise convolution of the ReLU of the state, that of a sep_conv a depthwise convolution of the ReLU of such a
candidate, that of a pool the pooled state, that of a nor_conv its convolution (A is the identity). As the batch norm
folds into A (`fold_batch_norm`), the mixtures of all edges are one 1x1 convolution of all maps:

    sum_o w_o BN_o(A_o map_o) = sum_o (w_o D_o A_o) map_o - sum_o w_o D_o A_o mu_o

Pools and skip_connect have one map whatever the number of edges, `none` has none. For the backward pass only states and
maps are kept.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from halfnas.networks.batch_norms import fold_batch_norm, standardize
from halfnas.networks.cell import MixedOperation, Mixing, PartialMixedOperation, Parts, SupernetCell, concatenated
from halfnas.networks.convolutions import pointwise_relu_depthwise, relu_conv, relu_depthwise
from halfnas.networks.families import (
    EPS,
    FAMILIES,
    MOMENTUM,
    Mapped,
    Separable,
    factorized_reduce,
    fuses,
    has_usual_norms,
    norms_of,
    tracks,
)
from halfnas.networks.recompute import recomputed
from halfnas.spaces import CellKind, CellPlan, SearchSpace
from halfnas.spaces.operations import FactorizedReduce, ReLUConvBN, Zero


class Statistics(NamedTuple):
    """What batch norms saw in one batch.

    Attributes:
        norms: those of each row; they saw the same.
        mean, variance: [n, c], the variance divided by `positions`.
        positions: of the batch, that is images times pixels.
    """

    norms: Sequence[Sequence[nn.BatchNorm2d]]
    mean: Tensor
    variance: Tensor
    positions: int


@torch.no_grad()
def remember(seen: Sequence[Statistics]) -> None:
    """Update running statistics as batch norms do in training mode."""
    running: list[Tensor] = []
    batch: list[Tensor] = []
    counters: list[Tensor] = []
    for norms, means, variances, positions in seen:
        unbiased = variances * (positions / (positions - 1))
        for group, mean, variance in zip(norms, means.unbind(), unbiased.unbind(), strict=True):
            for norm in group:
                # Momentum is 0 where the pass is a second one, see `frozen_statistics`.
                if norm.momentum and norm.track_running_stats:
                    running += [cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)]
                    batch += [mean, variance]
                    counters.append(cast(Tensor, norm.num_batches_tracked))
    if running:
        torch._foreach_lerp_(running, batch, MOMENTUM)
        torch._foreach_add_(counters, 1)


class Candidate(NamedTuple):
    """A candidate on an edge that leaves a state.

    Attributes:
        weight: where its weight stands among those of the cell.
        target: where the edge's target stands among those of the state.
    """

    operation: nn.Module
    weight: int
    target: int


class Fan(nn.Module):
    """All candidates on the edges that leave one state.

    Args:
        candidates: name -> those of that name, without `none`.
        num_targets: states that the edges lead to.
        num_weights: candidates of the cell.
        channels: c, of the state and of every mixture.
    """

    identity: Tensor
    training_routes: Tensor
    evaluation_routes: Tensor

    def __init__(
        self, candidates: Mapping[str, Sequence[Candidate]], *, num_targets: int, num_weights: int, channels: int
    ) -> None:
        super().__init__()
        self.num_targets = num_targets
        order = list(FAMILIES)
        operations = [member.operation for members in candidates.values() for member in members]
        # With running statistics everywhere but in some operations, these need those of the batch in evaluation too.
        any_tracked = any(norm.track_running_stats for operation in operations for norm in norms_of(operation))
        fused = [
            members
            for members in candidates.values()
            if all(fuses(m.operation) and (tracks(m.operation) or not any_tracked) for m in members)
        ]
        fused.sort(key=lambda members: order.index(type(members[0].operation)))
        # Plain lists and tuples: the operations are submodules of the cell's edges.
        self.families = [FAMILIES[type(members[0].operation)]([m.operation for m in members]) for members in fused]
        self.others = tuple(m for members in candidates.values() if members not in fused for m in members)
        self.register_buffer("identity", torch.eye(channels), persistent=False)
        # In training mode the batch norms after a shared map are alike; what they remember need not be.
        for mode, shares in (("training", True), ("evaluation", False)):
            routes, num_maps = torch.zeros(num_weights, num_targets, sum(map(len, fused))), 0
            for family, members in zip(self.families, fused, strict=True):
                one = shares and family.shared
                for i, member in enumerate(members):
                    routes[member.weight, member.target, num_maps + (0 if one else i)] = 1
                num_maps += 1 if one else len(members)
            self.register_buffer(f"{mode}_routes", routes[..., :num_maps].flatten(1), persistent=False)

    @property
    def of_batch(self) -> bool:
        """Whether batch norms use the statistics of the batch: in training, or for want of running ones."""
        return self.training or not any(norm.track_running_stats for family in self.families for norm in family.norms)

    def forward(self, x: Tensor, weights: Tensor) -> tuple[Tensor, list[Statistics]]:
        """The mixtures of all edges.

        Args:
            x: the state, [B, c, H, W].
            weights: of all candidates of the cell, times those of their edges.

        Returns:
            [B, num_targets * c, H', W'], and what the batch norms saw, where they use it.
        """
        parts: list[Tensor] = []
        seen: list[Statistics] = []
        if self.families:
            mixed, seen = self._mixed(x, weights)
            parts.append(mixed)
        for operation, weight, target in self.others:
            output = weights[weight] * operation(x)
            before, after = (n * output.shape[1] for n in (target, self.num_targets - 1 - target))
            parts.append(F.pad(output, (0, 0, 0, 0, before, after)))
        return sum(parts[1:], parts[0]), seen

    def _mixed(self, x: Tensor, weights: Tensor) -> tuple[Tensor, list[Statistics]]:
        """The mixtures of all families."""
        maps, seen = self._maps(x)
        linear: list[Tensor] = []
        norms: list[list[nn.BatchNorm2d]] = []
        for family in self.families:
            one = family.shared and self.of_batch
            edges = family.linear(self.identity)
            linear += edges[:1] if one else edges
            norms += [family.norms] if one and family.norms else [[norm] for norm in family.norms]
        routes = self.training_routes if self.of_batch else self.evaluation_routes
        with torch.autocast(x.device.type, enabled=False):
            folded, bias, statistics = self._folded(maps, torch.stack(linear), norms)
            routed = (weights @ routes).unflatten(0, (self.num_targets, -1)).to(folded.dtype)  # [targets, maps]
            kernel = torch.einsum("tm,mcd->tcmd", routed, folded).flatten(2).flatten(0, 1)[..., None, None]
            mixed_bias = (routed @ bias).flatten()
            mixed = F.conv2d(maps, kernel.to(maps.dtype), mixed_bias.to(maps.dtype))
        return mixed, [*seen, *statistics]

    def _maps(self, x: Tensor) -> tuple[Tensor, list[Statistics]]:
        """The maps of all families in their order, [B, m * c, H', W']."""
        separable = [family for family in self.families if isinstance(family, Separable)]
        twice = [family for family in separable if len(family.blocks) > 1]  # sep_conv, which come first
        maps: list[Tensor] = []
        seen: list[Statistics] = []
        if separable:
            maps += relu_depthwise(x, [f.depthwise(0) for f in separable], [f.geometry(0) for f in separable])
        if twice:
            first = torch.cat(maps[: len(twice)], dim=1)
            linear = torch.stack([a for family in twice for a in family.pointwise(0)])
            folded, bias, seen = self._folded(first, linear, [[norm] for f in twice for norm in f.norms_of(0)])
            maps[: len(twice)] = pointwise_relu_depthwise(
                first, folded, bias, [f.depthwise(1) for f in twice], [f.geometry(1) for f in twice]
            )
        for family in self.families:
            if isinstance(family, Mapped):
                repeats = len(family.operations) if family.shared and not self.of_batch else 1
                maps += [family.map(x)] * repeats
        return torch.cat(maps, dim=1), seen

    def _folded(
        self, maps: Tensor, linear: Tensor, norms: Sequence[Sequence[nn.BatchNorm2d]]
    ) -> tuple[Tensor, Tensor, list[Statistics]]:
        """1x1 convolutions [n, c, c], with the batch norms after the first ones folded in, and their biases [n, c]."""
        num_normalized = len(norms)
        if not norms:
            return linear, linear.new_zeros(linear.shape[:2]), []
        normalized, rest = linear.split([num_normalized, len(linear) - num_normalized])
        seen = []
        if self.of_batch:
            positions = count_positions(maps)
            folded, bias, mean, variance = fold_batch_norm(maps, normalized, EPS)
            seen = [Statistics(norms, mean, variance, positions)]
        else:
            mean = torch.stack([cast(Tensor, group[0].running_mean) for group in norms])
            variance = torch.stack([cast(Tensor, group[0].running_var) for group in norms])
            scale = torch.rsqrt(variance + EPS)
            folded, bias = normalized * scale[..., None], -mean * scale
        if len(rest):
            folded, bias = torch.cat([folded, rest.to(folded.dtype)]), F.pad(bias, (0, 0, 0, len(rest)))
        return folded, bias, seen


def count_positions(x: Tensor) -> int:
    """Values a channel; as in torch's batch norm a single one is an error."""
    positions = x.numel() // x.shape[1]
    if positions == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
    return positions


def _operations(edge: nn.Module) -> nn.ModuleDict:
    mixed = edge.mixed if isinstance(edge, PartialMixedOperation) else edge
    return cast(MixedOperation, mixed).operations


class FusedCell(SupernetCell):
    """A cell computed state after state."""

    compiles = True
    edge_of_weight: Tensor

    def __init__(
        self,
        space: SearchSpace,
        plan: CellPlan,
        kind: CellKind,
        kept: Sequence[Sequence[str]],
        partial_channels: int,
        *,
        recompute_nodes: bool,
    ) -> None:
        super().__init__(space, plan, kind, kept, partial_channels, recompute_nodes=recompute_nodes)
        # Edges that leave one state have one stride, or the state has a fan for each stride.
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for e, (edge, stride) in enumerate(zip(kind.edges, plan.strides, strict=True)):
            groups[edge.source, stride].append(e)
        self.fan_edges = [edges for _, edges in sorted(groups.items())]
        self.fused_preprocess = [
            type(module) in (ReLUConvBN, FactorizedReduce) and has_usual_norms(module) for module in self.preprocess
        ]
        self.channels = plan.channels // partial_channels
        self.compiled = False
        self._make_fans()

    def _make_fans(self) -> None:
        """From the candidates that the edges have now."""
        edge_of_weight = [e for e, edge in enumerate(self.edges) for _ in _operations(edge)]
        self.register_buffer("edge_of_weight", torch.tensor(edge_of_weight), persistent=False)
        self.fans = nn.ModuleList()
        for edges in self.fan_edges:
            candidates: dict[str, list[Candidate]] = defaultdict(list)
            for target, e in enumerate(edges):
                for i, (name, operation) in enumerate(_operations(self.edges[e]).items()):
                    if not isinstance(operation, Zero):
                        candidates[name].append(Candidate(operation, edge_of_weight.index(e) + i, target))
            sizes = {"num_targets": len(edges), "num_weights": len(edge_of_weight), "channels": self.channels}
            self.fans.append(Fan(candidates, **sizes).train(self.training))

    def narrow(self, kept: Sequence[Sequence[str]]) -> None:
        super().narrow(kept)
        like = cast(Fan, self.fans[0]).identity
        self._make_fans()
        self.fans.to(like)
        self.edge_of_weight = self.edge_of_weight.to(like.device)
        if self.compiled:
            self.compile_parts()

    @staticmethod
    def memory_format(device: torch.device) -> torch.memory_format:
        """On a CPU convolutions of few channels are many times faster with the channels last."""
        return torch.channels_last if device.type == "cpu" else torch.contiguous_format

    def compile_parts(self) -> None:
        """Compile each fan for training at one batch size; alike fans of several cells share what is compiled."""
        self.compiled = True
        for fan in self.fans:
            fan.compile(dynamic=False, fullgraph=True)

    def forward(self, *inputs: Parts, mixing: Mixing) -> Parts:
        """As the plain cell, but inputs and output are in parts, so that the states are not kept twice."""
        seen: list[Statistics] = []
        states = [self._preprocessed(i, x, seen) for i, x in enumerate(inputs)]
        weights = torch.cat(mixing.operations)
        edge_weights = weights.new_ones(len(self.edges)) if mixing.edges is None else mixing.edges
        weights = weights * edge_weights[self.edge_of_weight]
        weight_of_edge = edge_weights.unbind()
        mixed: dict[int, list[Tensor]] = defaultdict(list)  # node -> its mixtures, and the sum of what passes them by
        passing: dict[int, Tensor] = {}
        nodes = iter(self.kind.nodes)
        for edges, fan in zip(self.fan_edges, cast(Sequence[Fan], self.fans), strict=True):
            while self.kind.edges[edges[0]].source >= len(states):
                node = next(nodes)
                states.append(self._node(mixed.pop(node), passing.pop(node, None)))
            x = states[self.kind.edges[edges[0]].source]
            size = x.shape[1] // self.partial_channels
            x, rest = x.split([size, x.shape[1] - size], dim=1)
            output, statistics = self._run(fan, x, weights)
            seen += statistics
            for e, part in zip(edges, output.chunk(len(edges), dim=1), strict=True):
                mixed[self.kind.edges[e].target].append(part)
            if self.partial_channels > 1:
                rest = cast(PartialMixedOperation, self.edges[edges[0]]).bypass(rest)
                for e in edges:
                    target, weight = self.kind.edges[e].target, weight_of_edge[e]
                    so_far = passing.get(target)
                    passing[target] = rest * weight if so_far is None else torch.addcmul(so_far, rest, weight)
        states += [self._node(mixed.pop(node), passing.pop(node, None)) for node in nodes]
        remember(seen)
        return tuple(states[i] for i in self.kind.output)

    def _run(self, fan: Fan, x: Tensor, weights: Tensor) -> tuple[Tensor, list[Statistics]]:
        if not self.training:
            return fan.forward(x, weights)  # not compiled: the last batch of a validation may be smaller
        if not self.recompute_nodes:
            return fan(x, weights)
        return recomputed(fan, x, weights, owner=nn.ModuleList(candidate.operation for candidate in fan.others))

    def _preprocessed(self, i: int, x: Parts, seen: list[Statistics]) -> Tensor:
        """Input i at the channels of the cell, keeping less than the module itself would."""
        module = self.preprocess[i]
        if not (self.training and self.fused_preprocess[i]):
            return module(concatenated(x))
        parts = [x] if isinstance(x, Tensor) else x
        if isinstance(module, FactorizedReduce):
            z, norm = factorized_reduce(parts, [module]), module.bn
        else:
            _, convolution, norm = cast(tuple[nn.ReLU, nn.Conv2d, nn.BatchNorm2d], module)
            z = relu_conv(parts, convolution.weight, convolution.stride[0], cast(int, convolution.padding[0]))
        positions = count_positions(z)
        state, mean, variance = standardize(z, EPS)
        seen.append(Statistics([[norm]], mean[None], variance[None], positions))
        return state

    def _node(self, mixed: Sequence[Tensor], passing: Tensor | None) -> Tensor:
        """A node from what its edges mix and what passes them by, shuffled."""
        state = sum(mixed[1:], mixed[0])
        if passing is None:
            return state
        return shuffled(torch.cat([state, passing], dim=1), self.partial_channels)


def shuffled(x: Tensor, groups: int) -> Tensor:
    """Channel shuffle that stays in its memory format: channel i of group g moves to i * groups + g."""
    if x.is_contiguous():
        return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)
    return x.permute(0, 2, 3, 1).unflatten(3, (groups, -1)).transpose(3, 4).flatten(3).permute(0, 3, 1, 2)
