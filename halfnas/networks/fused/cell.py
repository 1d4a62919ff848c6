"""The fused engine: the function of the plain one, computed by source instead of by edge.

The plain engine computes node after node, each from all states before it. Here, as soon as a state of a cell is known,
every kept candidate on every edge that leaves it runs, together with the others of its name, and what they give is
added to the nodes that they lead to. For the backward pass only states and maps are kept.

Letters as in the package docstring.
"""

import contextlib
from collections import defaultdict
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from halfnas.networks.cell import MixedOperation, Mixing, PartialMixedOperation, Parts, SupernetCell, concatenated
from halfnas.networks.fused.batch_norms import Seen, has_usual_norms, remember
from halfnas.networks.fused.fan import Fan
from halfnas.networks.fused.parts import grouped
from halfnas.networks.fused.precision import full_precision
from halfnas.networks.fused.preprocess import preprocessed
from halfnas.networks.fused.sorting import Candidate
from halfnas.networks.fused.step import without_autocast
from halfnas.spaces import CellKind, CellPlan
from halfnas.spaces.operations import FactorizedReduce, ReLUConvBN, Zero


class FusedCell(SupernetCell):
    """A cell computed state after state.

    Attributes:
        sources: the state that each fan leaves, in order; where its edges have two strides it has two fans.
        fans: what leaves these states.
        routes: [candidates + edges, scalars], which weights each fan reads, fan after fan.
        edge_of_weight: [edges, candidates], 1 where a candidate is on an edge.
    """

    compiles = True
    routes: Tensor
    edge_of_weight: Tensor

    def prepare(self, plan: CellPlan) -> None:
        groups: dict[tuple[int, int], list[int]] = defaultdict(list)
        for e, (edge, sizes) in enumerate(zip(self.kind.edges, plan.edges, strict=True)):
            groups[edge.source, sizes.stride].append(e)
        self.sources = [source for source, _ in sorted(groups)]
        self.fan_edges = [edges for _, edges in sorted(groups.items())]
        self.fused_preprocess = [
            type(module) in (ReLUConvBN, FactorizedReduce) and has_usual_norms(module) for module in self.preprocess
        ]
        self.channels = plan.edges[0].channels
        self.compiled = False
        self._make_fans()

    def _make_fans(self) -> None:
        """Make the fans of the candidates that the edges have now."""
        names = [list(_operations(edge)) for edge in self.edges]
        first = [sum(map(len, names[:e])) for e in range(len(names) + 1)]  # candidate of each edge
        targets = list(self.kind.nodes)  # that are not complete yet, so those that the next fan gives to
        fans = []
        for edges, until in zip(self.fan_edges, [*self.sources[1:], max(targets)], strict=True):
            candidates: dict[str, list[Candidate]] = defaultdict(list)
            ends = [(first[-1] + e, targets.index(self.kind.edges[e].target)) for e in edges]
            for e, (_, target) in zip(edges, ends, strict=True):
                for i, (name, operation) in enumerate(_operations(self.edges[e]).items()):
                    if not isinstance(operation, Zero):
                        candidates[name].append(Candidate(operation, first[e] + i, target))
            num_complete = sum(node <= until for node in targets)  # up to the state that the next fan leaves
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
            fans.append(fan.train(self.training))
            targets = targets[num_complete:]
        self.fans = cast(Sequence[Fan], nn.ModuleList(fans))
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
    def suits(plan: CellPlan, kind: CellKind) -> bool:
        """Whether the engine can compute such a cell; the plain one computes any.

        A state gives to all nodes at once, in one tensor [B, T * C, H', W']. So all edges must have one and the same
        number of channels, those that they read and those that they give, and all nodes one resolution.

        Args:
            plan: the sizes of the edges.
            kind: the graph of the cell.
        """
        if len({channels for edge in plan.edges for channels in (edge.in_channels, edge.out_channels)}) != 1:
            return False
        stride_of = dict.fromkeys(range(kind.num_inputs), 1)  # of each state, from the inputs of the cell
        for edge, sizes in zip(kind.edges, plan.edges, strict=True):
            stride_of[edge.target] = stride_of[edge.source] * sizes.stride
        return len({stride_of[node] for node in kind.nodes}) == 1

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
        """Compute what the plain cell does; inputs and output are in parts, so that the states are not kept twice."""
        seen: list[Seen] = []
        states = [self._preprocessed(i, x, seen) for i, x in enumerate(inputs)]
        scalars, weights = self._scalars(mixing), self._weights()
        sums: Tensor | None = None  # what the nodes that are not complete were given so far, [B, T * C, H', W']
        for source, fan, own_scalars, own_weights in zip(self.sources, self.fans, scalars, weights, strict=True):
            # Not compiled in evaluation: the last batch of a validation may be smaller.
            give = fan if self.training else fan.forward
            with full_precision() if self.compiled else contextlib.nullcontext():
                complete, sums, moments = give(sums, states[source], own_scalars, own_weights)
            states += complete
            if moments:
                seen += map(Seen, fan.seen_by, moments)
        remember(seen)
        return tuple(states[i] for i in self.kind.output)

    def _preprocessed(self, i: int, x: Parts, seen: list[Seen]) -> Tensor:
        """Input i at the channels of the cell, [B, C, H, W], keeping less than the module itself would."""
        module = self.preprocess[i]
        if not (self.training and self.fused_preprocess[i]):
            return module(concatenated(x))
        state, norm, moments = preprocessed(
            cast(ReLUConvBN | FactorizedReduce, module), [x] if isinstance(x, Tensor) else x
        )
        seen.append(Seen([[norm]], moments))
        return state

    def _scalars(self, mixing: Mixing) -> Sequence[Tensor]:
        """What each fan reads of the weights of candidates, times those of their edges, and of edges."""
        weights = torch.cat(mixing.operations)
        edges = weights.new_ones(len(self.edges)) if mixing.edges is None else mixing.edges
        with without_autocast(weights):
            if mixing.edges is not None:
                weights = weights * (edges @ self.edge_of_weight)
            scalars = torch.cat([weights, edges]) @ self.routes
        return scalars.split([fan.routes.shape[1] for fan in self.fans])

    def _weights(self) -> list[list[Tensor]]:
        """The weights of each fan: all those of the cell are copied into one tensor, of which they are views."""
        stacks = [fan.weights() for fan in self.fans]
        flat = [stack for of_fan in stacks for stack in of_fan]
        if not flat:
            return [[] for _ in stacks]
        copy = torch.cat([weight.flatten() for stack in flat for weight in stack])
        parts = copy.split([sum(weight.numel() for weight in stack) for stack in flat])
        views = [part.view(-1, *stack[0].shape[1:]) for part, stack in zip(parts, flat, strict=True)]
        return grouped(views, [len(of_fan) for of_fan in stacks])


def _operations(edge: nn.Module) -> nn.ModuleDict:
    mixed = edge.mixed if isinstance(edge, PartialMixedOperation) else edge
    return cast(MixedOperation, mixed).operations
