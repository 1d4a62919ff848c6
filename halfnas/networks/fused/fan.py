"""All candidates on the edges that leave one state of a cell, computed together.

A candidate is a feature map, a 1x1 convolution A of it, and a batch norm. The map of a dil_conv is a depthwise
convolution of the ReLU of the state, that of a sep_conv a depthwise convolution of the ReLU of such a candidate, that
of a pool the pooled state, that of a nor_conv its convolution (A is the identity). As the batch norm folds into A
(batch_norms.py) and maps are centred, the mixtures on all edges are one 1x1 convolution of all maps:

    sum_o w_o BN_o(A_o map_o) = sum_o (w_o D_o A_o) map_o

skip_connect and the channels that pass by the candidates are another one, of the state itself, whose kernel has one
weight an edge, where the channel shuffle sends them. `none` has no map.

Shapes: B images; C channels of a state, c = C / K of them mixed; T targets, the nodes that are not complete yet;
M maps; H x W pixels of the state, H' x W' of its targets; p weights a target of a passage.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from halfnas.networks.fused.batch_norms import Fold, Moments, fold_, running_statistics
from halfnas.networks.fused.convolutions import (
    as_matrices,
    concatenated,
    dense,
    sums_of_parts,
    without_autocast,
    working_dtype,
)
from halfnas.networks.fused.families import Reads, pooled
from halfnas.networks.fused.mixture import Mixture, mixing_kernel
from halfnas.networks.fused.separable import Separable
from halfnas.networks.fused.sorting import Candidate, Passage, families_of, passages_of, sort_out
from halfnas.networks.recompute import recomputed


class Features(NamedTuple):
    """What a fan makes of a state.

    Attributes:
        maps: of all families, centred where batch norms use the statistics of the batch, [B, M * c, H', W'].
        fold: the 1x1 convolutions of the maps with those batch norms.
        kept: by each family.
        passed: what each passage gave, and where it found it; nothing for the state itself.
    """

    maps: Tensor | None
    fold: Fold | None
    kept: Sequence[Sequence[Tensor]]
    passed: Sequence[Sequence[Tensor]]


class Fan(nn.Module):
    """All candidates on the edges that leave one state.

    Args:
        candidates: name -> those of that name, without `none`.
        edges: for each edge where its weight stands among those of the cell, and its target.
        num_targets: T.
        num_complete: nodes that are complete after this fan, the first ones of its targets.
        num_weights: of the cell, candidates and edges.
        channels: C.
        partial_channels: K.
        bypass: what the channels that are not mixed pass through.
        recompute: keep no maps, make them again in the backward pass.

    Attributes:
        routes: [num_weights, scalars], which weights of the cell this fan reads, and in which order.
    """

    identity: Tensor

    def __init__(
        self,
        candidates: Mapping[str, Sequence[Candidate]],
        edges: Sequence[tuple[int, int]],
        *,
        num_targets: int,
        num_complete: int,
        num_weights: int,
        channels: int,
        partial_channels: int,
        bypass: nn.Module,
        recompute: bool,
    ) -> None:
        super().__init__()
        self.num_targets = num_targets
        self.partial_channels = partial_channels
        self.width = channels // partial_channels
        rest = num_targets - num_complete
        self.piece_sizes = [channels] * num_complete + ([channels * rest] if rest else [])
        self.completes_all = rest == 0
        self.recompute = recompute
        self.register_buffer("identity", torch.eye(self.width), persistent=False)

        # Plain lists and tuples: the operations are submodules of the cell's edges.
        known, self.others = sort_out(candidates)
        self.families, of_map = families_of(known)
        self.norms = [norms for family in self.families for norms in family.norms]
        self.part_channels = [self.width * size for family in self.families for size in family.part_sizes]
        #: The batch norm of each map on the way to each target. In training those after one map are alike.
        self.norm_of = [[norms[0] for norms in self.norms] for _ in range(num_targets)]
        routes = [torch.zeros(num_weights, num_targets, len(self.norms))]
        for m, members in enumerate(of_map):
            for norm, (_, weight, target) in zip(self.norms[m], members, strict=True):
                routes[0][weight, target, m] = 1
                self.norm_of[target][m] = norm
        self.passages: list[Passage] = []
        for passage, pattern, ways in passages_of(known, edges, bypass, channels, self.width):
            self.register_buffer(f"pattern_{len(self.passages)}", pattern.flatten(1), persistent=False)
            self.passages.append(passage)
            routes.append(torch.zeros(num_weights, num_targets, len(pattern)))
            for weight, target, number in ways:
                routes[-1][weight, target, number] = 1
        self.part_sizes = [part[0].numel() for part in routes]
        of_others = torch.zeros(num_weights, len(self.others))
        for i, other in enumerate(self.others):
            of_others[other.weight, i] = 1
        self.routes = torch.cat([*(part.flatten(1) for part in routes), of_others], dim=1)

    @property
    def seen_by(self) -> list[list[list[nn.BatchNorm2d]]]:
        """The batch norms whose moments `forward` gives."""
        middle = [family.middle_norms for family in self.families if isinstance(family, Separable) and family.middle]
        return [*middle, *([self.norms] if self.norms else [])]

    @property
    def of_batch(self) -> bool:
        """Whether batch norms use the statistics of the batch: in training, or for want of running ones."""
        return self.training or not any(norm.track_running_stats for norms in self.norms for norm in norms)

    def weights(self) -> list[list[Tensor]]:
        """Weights of all families; those in one list have one shape and are concatenated. The last one is A."""
        linear = [a for family in self.families for a in family.linear(self.identity)]
        return [*(stack for family in self.families for stack in family.weights()), *([linear] if linear else [])]

    def forward(
        self, so_far: Tensor | None, state: Tensor, scalars: Tensor, weights: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Moments]]:
        """Add the mixtures on all edges to what other states gave.

        Args:
            so_far: [B, T * C, H', W'].
            state: [B, C, H, W].
            scalars: weights of the cell times `routes`.
            weights: those that `weights()` names, each list concatenated.

        Returns:
            The nodes that are complete, [B, C, H', W'] each, and the others together; and what batch norms saw, where
            they use it.
        """
        if self.others:
            scalars, *of_others = scalars.split([sum(self.part_sizes)] + [1] * len(self.others))
            for candidate, weight in zip(self.others, of_others, strict=True):
                so_far = self._with_other(so_far, state, candidate, weight)
        if not self.of_batch:
            return self.compute(so_far, state, scalars, weights)[0], []
        outputs = Mixture.run(self, so_far, state, scalars, *weights)
        pieces, moments = outputs[: len(self.piece_sizes)], outputs[len(self.piece_sizes) :]
        positions = pieces[0].numel() // pieces[0].shape[1]
        return list(pieces), [Moments(*pair, positions) for pair in zip(moments[::2], moments[1::2], strict=True)]

    def compute(
        self, so_far: Tensor | None, state: Tensor, scalars: Tensor, weights: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Moments], Features | None]:
        """The same of what the engine knows, by autograd; and what a backward pass needs, unless that makes it anew."""
        with without_autocast(state):
            state = state.to(working_dtype(state))
            features, moments = self.features(state, weights)
            output = self._mixed(state, features, scalars, weights)
            kept = None if self.recompute else features
            del features
            return self._pieces(so_far if so_far is None else so_far.to(state.dtype), output), moments, kept

    def _mixed(self, state: Tensor, features: Features, scalars: Tensor, weights: Sequence[Tensor]) -> Tensor | None:
        """The mixtures on all edges, [B, T * C, H', W'], with what passes by; None without any."""
        routed, *passing = self.by_part(scalars)
        output: Tensor | None = None
        for i, passed in enumerate(features.passed):
            part = F.conv2d(passed[0] if passed else state, self.passing_kernel(i, passing[i]).to(state.dtype))
            output = part if output is None else output.add_(part)
        if features.maps is None:
            return output
        bias = None
        if features.fold is None:
            kernel, bias = self._running_kernel(routed, as_matrices(weights[-1]))
            bias = bias.to(state.dtype)
        else:
            kernel = mixing_kernel(routed, features.fold.folded)
        mixed = F.conv2d(features.maps, kernel.to(state.dtype), bias)
        if output is None:
            return mixed
        output[:, :: self.partial_channels].add_(mixed)
        return output

    def features(self, state: Tensor, weights: Sequence[Tensor]) -> tuple[Features, list[Moments]]:
        """All maps and what passes by."""
        reads = self.reads(state)
        moments: list[Moments] = []
        parts: list[Tensor] = []
        kept: list[Sequence[Tensor]] = []
        for family, own in zip(self.families, self.by_family(weights), strict=True):
            made = family.maps(reads, own, self.identity if self.of_batch else None)
            parts += made.parts
            kept.append(made.kept)
            moments += made.moments
        maps = concatenated(parts) if parts else None
        parts.clear()
        fold = None
        if maps is not None and self.of_batch:
            fold, last = fold_(maps, as_matrices(weights[-1]), self.identity)
            moments.append(last)
        passed = [
            () if isinstance(module, nn.Identity) else pooled(module, state[:, start:stop])
            for module, start, stop in self.passages
        ]
        return Features(maps, fold, kept, passed), moments

    def reads(self, state: Tensor) -> Reads:
        """What the families read of a state."""
        x = state[:, : self.width]
        return Reads(x, x.relu() if any(family.reads_relu for family in self.families) else x)

    def by_part(self, scalars: Tensor) -> list[Tensor]:
        """[T, M] of the maps, [T, p] of each passage."""
        return [part.view(self.num_targets, -1) for part in scalars.split(self.part_sizes)]

    def by_family(self, weights: Sequence[Tensor]) -> list[list[Tensor]]:
        """Those of the maps of each family."""
        rest = iter(weights)
        return [[next(rest) for _ in family.weights()] for family in self.families]

    def passing_kernel(self, i: int, weights: Tensor) -> Tensor:
        """Of passage i, [T * C, channels it reads, 1, 1]."""
        passage = self.passages[i]
        return (weights @ self.pattern(i)).view(-1, passage.stop - passage.start, 1, 1)

    def pattern(self, i: int) -> Tensor:
        """Where passage i sends what, [p, C * channels it reads]."""
        return self.get_buffer(f"pattern_{i}")

    def _running_kernel(self, routed: Tensor, linear: Tensor) -> tuple[Tensor, Tensor]:
        """Of all maps, and a bias, with running statistics, which may differ between the edges of one map."""
        statistics = running_statistics([norm for norms in self.norm_of for norm in norms])
        scale, mean = (part.unflatten(0, (self.num_targets, -1)) for part in statistics)
        weights = routed[..., None] * scale  # [T, M, c]
        kernel = (weights[..., None] * linear).transpose(1, 2).flatten(2).flatten(0, 1)
        return kernel[..., None, None], -(weights * mean).sum(dim=1).flatten()

    def _pieces(self, so_far: Tensor | None, output: Tensor | None) -> list[Tensor]:
        """Their sum, in parts that do not share memory, so that none keeps that of another."""
        if output is None:
            assert so_far is not None, "no candidate on any edge"
            return [
                dense(part) if len(self.piece_sizes) > 1 else part.clone() for part in so_far.split(self.piece_sizes, 1)
            ]
        if len(self.piece_sizes) == 1:
            return [output if so_far is None else output.add_(so_far)]
        if so_far is None:
            return [dense(part) for part in output.split(self.piece_sizes, dim=1)]
        return sums_of_parts(output, so_far, self.piece_sizes)

    def _with_other(self, so_far: Tensor | None, state: Tensor, candidate: Candidate, weight: Tensor) -> Tensor:
        """With a candidate that the engine does not know."""
        operation, x = candidate.operation, state[:, : self.width]
        if self.recompute and self.training:
            mixed = weight * recomputed(operation, x, owner=operation)
        else:
            mixed = weight * operation(x)
        shuffled = F.pad(mixed.unsqueeze(2), (0, 0, 0, 0, 0, self.partial_channels - 1)).flatten(1, 2)
        channels = shuffled.shape[1]
        before, after = channels * candidate.target, channels * (self.num_targets - 1 - candidate.target)
        part = F.pad(shuffled, (0, 0, 0, 0, before, after))
        return part if so_far is None else so_far + part
