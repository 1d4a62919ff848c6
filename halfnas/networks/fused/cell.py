"""The fused engine: the function of the plain one, computed by source instead of by edge.

As soon as a state of a cell is known, every kept candidate on every edge that leaves it runs, together with the others
of its name, and what they give is added to the nodes that they lead to: see fan.py. For the backward pass only states
and maps are kept.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from halfnas.networks.cell import MixedOperation, Mixing, PartialMixedOperation, Parts, SupernetCell, concatenated
from halfnas.networks.fused.batch_norms import Moments, remember
from halfnas.networks.fused.convolutions import without_autocast
from halfnas.networks.fused.families import has_usual_norms
from halfnas.networks.fused.fan import Fan
from halfnas.networks.fused.preprocess import preprocessed
from halfnas.networks.fused.sorting import Candidate
from halfnas.spaces import CellKind, CellPlan, SearchSpace
from halfnas.spaces.operations import FactorizedReduce, ReLUConvBN, Zero

#: What the batch norms of each row saw.
Seen = list[tuple[Sequence[Sequence[nn.BatchNorm2d]], Moments]]


class FusedCell(SupernetCell):
    """A cell computed state after state.

    Attributes:
        routes: [candidates + edges, scalars], which weights each fan reads, fan after fan.
        edge_of_weight: [edges, candidates], 1 where a candidate is on an edge.
    """

    compiles = True
    routes: Tensor
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
        for e, (edge, sizes) in enumerate(zip(kind.edges, plan.edges, strict=True)):
            groups[edge.source, sizes.stride].append(e)
        self.fan_edges = [edges for _, edges in sorted(groups.items())]
        self.sources = [source for source, _ in sorted(groups)]
        self.fused_preprocess = [
            type(module) in (ReLUConvBN, FactorizedReduce) and has_usual_norms(module) for module in self.preprocess
        ]
        self.channels = plan.edges[0].channels
        self.compiled = False
        self._make_fans()

    def _make_fans(self) -> None:
        """From the candidates that the edges have now."""
        names = [list(_operations(edge)) for edge in self.edges]
        first = [sum(map(len, names[:e])) for e in range(len(names) + 1)]  # candidate of each edge
        self.fans = nn.ModuleList()
        #: The nodes that each fan leads to: those that are not complete.
        targets = list(self.kind.nodes)
        for edges, until in zip(self.fan_edges, [*self.sources[1:], max(targets)], strict=True):
            candidates: dict[str, list[Candidate]] = defaultdict(list)
            ends = [(first[-1] + e, targets.index(self.kind.edges[e].target)) for e in edges]
            for e, (_, target) in zip(edges, ends, strict=True):
                for i, (name, operation) in enumerate(_operations(self.edges[e]).items()):
                    if not isinstance(operation, Zero):
                        candidates[name].append(Candidate(operation, first[e] + i, target))
            num_complete = sum(node <= until for node in targets)
            fan = Fan(
                candidates,
                ends,
                num_targets=len(targets),
                num_complete=num_complete,
                num_weights=first[-1] + len(names),
                channels=self.channels,
                partial_channels=self.partial_channels,
                bypass=getattr(self.edges[edges[0]], "bypass", nn.Identity()),
                recompute=self.recompute_nodes,
            )
            self.fans.append(fan.train(self.training))
            targets = targets[num_complete:]
        fans = cast(Sequence[Fan], self.fans)
        self.register_buffer("routes", torch.cat([fan.routes for fan in fans], dim=1), persistent=False)
        edge_of_weight = torch.zeros(len(names), first[-1])
        for e in range(len(names)):
            edge_of_weight[e, first[e] : first[e + 1]] = 1
        self.register_buffer("edge_of_weight", edge_of_weight, persistent=False)

    def narrow(self, kept: Sequence[Sequence[str]]) -> None:
        super().narrow(kept)
        like = self.routes
        self._make_fans()
        self.to(like)
        if self.compiled:
            self.compile_parts()

    @staticmethod
    def suits(plan: CellPlan) -> bool:
        """All edges keep one and the same number of channels."""
        return len({c for edge in plan.edges for c in (edge.in_channels, edge.out_channels)}) == 1

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
        seen: Seen = []
        states = [self._preprocessed(i, x, seen) for i, x in enumerate(inputs)]
        scalars = self._scalars(mixing)
        weights = self._weights()
        so_far: Tensor | None = None
        for source, fan in zip(self.sources, cast(Sequence[Fan], self.fans), strict=True):
            # Not compiled in evaluation: the last batch of a validation may be smaller.
            run = fan if self.training else fan.forward
            pieces, moments = run(so_far, states[source], next(scalars), next(weights))
            seen += zip(fan.seen_by, moments, strict=False)
            complete = len(pieces) - (not fan.completes_all)
            states += pieces[:complete]
            so_far = None if fan.completes_all else pieces[-1]
        remember(seen)
        return tuple(states[i] for i in self.kind.output)

    def _scalars(self, mixing: Mixing) -> Iterator[Tensor]:
        """What each fan reads of the weights of candidates, times those of their edges, and of edges."""
        weights = torch.cat(mixing.operations)
        edges = weights.new_ones(len(self.edges)) if mixing.edges is None else mixing.edges
        with without_autocast(weights):
            if mixing.edges is not None:
                weights = weights * (edges @ self.edge_of_weight)
            scalars = torch.cat([weights, edges]) @ self.routes
        return iter(scalars.split([fan.routes.shape[1] for fan in cast(Sequence[Fan], self.fans)]))

    def _weights(self) -> Iterator[list[Tensor]]:
        """Weights of each fan: all those of the cell are copied into one tensor, of which they are views."""
        stacks = [fan.weights() for fan in cast(Sequence[Fan], self.fans)]
        every = [weight.flatten() for fan in stacks for stack in fan for weight in stack]
        sizes = [sum(weight.numel() for weight in stack) for fan in stacks for stack in fan]
        views = iter(torch.cat(every).split(sizes) if every else ())
        for fan in stacks:
            yield [next(views).view(-1, *stack[0].shape[1:]) for stack in fan]

    def _preprocessed(self, i: int, x: Parts, seen: Seen) -> Tensor:
        """Input i at the channels of the cell, keeping less than the module itself would."""
        module = self.preprocess[i]
        if not (self.training and self.fused_preprocess[i]):
            return module(concatenated(x))
        state, norm, moments = preprocessed(
            cast(ReLUConvBN | FactorizedReduce, module), [x] if isinstance(x, Tensor) else x
        )
        seen.append(([[norm]], moments))
        return state


def _operations(edge: nn.Module) -> nn.ModuleDict:
    mixed = edge.mixed if isinstance(edge, PartialMixedOperation) else edge
    return cast(MixedOperation, mixed).operations
