"""The mixtures of the candidates that the engine knows on all edges that leave one state, computed together.

A candidate is a feature map, a 1x1 convolution A of it, and a batch norm. The map of a dil_conv is a depthwise
convolution of the ReLU of the state, that of a sep_conv a depthwise convolution of the ReLU of such a candidate, that
of a pool the pooled state, that of a nor_conv its convolution (A is the identity). As the batch norm folds into A
(fold.py) and maps are centred, the mixtures on all edges are one 1x1 convolution of all maps:

    sum_o w_o BN_o(A_o map_o) = sum_o (w_o D_o A_o) map_o

skip_connect and the channels that pass by the candidates are another one, of the state itself, whose kernel has one
weight an edge, where the channel shuffle sends them (passages.py). `none` has no map.

Letters as in the package docstring.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from halfnas.networks.fused.batch_norms import Moments, running_statistics
from halfnas.networks.fused.convolutions import as_matrices
from halfnas.networks.fused.families import Family, Reads
from halfnas.networks.fused.fold import Fold, fold_
from halfnas.networks.fused.parts import concatenated, grouped, sums_of_parts, without_gaps
from halfnas.networks.fused.passages import Passage
from halfnas.networks.fused.step import without_autocast, working_dtype
from halfnas.networks.joined import processes_of


class Features(NamedTuple):
    """What a mixture makes of a state.

    Attributes:
        maps: the maps of all families, centred where batch norms use the statistics of the batch, [B, M * c, H', W'].
        fold: the 1x1 convolutions of the maps with those batch norms.
        kept: what each family kept.
        passed: what each passage gave, and where it found it; nothing for the state itself.
    """

    maps: Tensor | None
    fold: Fold | None
    kept: Sequence[Sequence[Tensor]]
    passed: Sequence[Sequence[Tensor]]


class Mixture(nn.Module):
    """The mixtures on all edges that leave one state.

    Args:
        families: the candidates with a batch norm.
        passages: the others, and the channels that pass by.
        norm_of: [T][M], the batch norm of each map on the way to each node. In training those after one map are alike.
        piece_sizes: the channels of every node that is complete after this state, and of the others together.
        channels: C.
        partial_channels: K.
        recompute: keep no maps for the backward pass, which makes them again.
    """

    identity: Tensor

    def __init__(
        self,
        families: Sequence[Family],
        passages: Sequence[Passage],
        norm_of: Sequence[Sequence[nn.BatchNorm2d]],
        piece_sizes: Sequence[int],
        *,
        channels: int,
        partial_channels: int,
        recompute: bool,
    ) -> None:
        super().__init__()
        self.families = families  # a plain list: the operations are submodules of the cell's edges
        self.passages = cast(Sequence[Passage], nn.ModuleList(passages))
        self.norm_of = norm_of
        self.norms = [norms for family in families for norms in family.norms]
        self.piece_sizes = list(piece_sizes)
        self.num_targets = len(norm_of)
        self.partial_channels = partial_channels
        self.width = channels // partial_channels
        self.recompute = recompute
        self.register_buffer("identity", torch.eye(self.width), persistent=False)
        self.num_parts = [len(family.part_sizes) for family in families]
        self.part_channels = [self.width * size for family in families for size in family.part_sizes]
        self.num_stacks = [len(family.weights()) for family in families]
        passing = [passage.num_weights for passage in passages]
        self.scalar_sizes = [self.num_targets * size for size in (len(self.norms), *passing)]

    @property
    def of_batch(self) -> bool:
        """Whether batch norms use the statistics of the batch: in training, or for want of running ones."""
        return self.training or not any(norm.track_running_stats for norms in self.norms for norm in norms)

    @property
    def processes(self) -> int:
        """The number of processes whose batches the batch norms see as one."""
        return processes_of(self.norms[0][0]) if self.norms else 1

    def weights(self) -> list[list[Tensor]]:
        """The weights of all families in stacks, of which `forward` is given each concatenated. The last one is A."""
        linear = [a for family in self.families for a in family.linear(self.identity)]
        return [*(stack for family in self.families for stack in family.weights()), *([linear] if linear else [])]

    def forward(
        self, sums: Tensor | None, state: Tensor, scalars: Tensor, weights: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Moments], Features | None]:
        """Add the mixtures on all edges to what other states gave, differentiable by autograd.

        Args:
            sums: what other states gave to the nodes, [B, T * C, H', W'].
            state: [B, C, H, W].
            scalars: the weights of the candidates, [T * M + T * p + ...]: of the maps, then of each passage.
            weights: the stacks of `weights()`, concatenated.

        Returns:
            The sums in pieces of `piece_sizes` channels; what batch norms saw, where they use it; and what a backward
            pass needs, unless that makes it anew.
        """
        with without_autocast(state):
            state = state.to(working_dtype(state))
            features, moments = self.features(state, weights)
            output = self._mixed(state, features, scalars, weights)
            kept = None if self.recompute else features
            del features  # to recompute it is not kept beside the pieces
            return self._pieces(sums if sums is None else sums.to(state.dtype), output), moments, kept

    def features(self, state: Tensor, weights: Sequence[Tensor]) -> tuple[Features, list[Moments]]:
        """All maps and what passes by, of the state [B, C, H, W]; and what batch norms saw."""
        maps, kept, moments = self._maps(state, weights)
        fold = None
        if maps is not None and self.of_batch:
            fold, last = fold_(maps, as_matrices(weights[-1]), self.identity, self.processes)
            moments.append(last)
        return Features(maps, fold, kept, [passage(state) for passage in self.passages]), moments

    def _maps(
        self, state: Tensor, weights: Sequence[Tensor]
    ) -> tuple[Tensor | None, list[Sequence[Tensor]], list[Moments]]:
        """The maps of all families together, what each family keeps, and what the batch norms before the maps saw."""
        reads, identity = self.reads(state), self.identity if self.of_batch else None
        stacks = self.by_family(weights)
        made = [family.maps(reads, own, identity) for family, own in zip(self.families, stacks, strict=True)]
        parts = [part for maps in made for part in maps.parts]
        moments = [seen for maps in made for seen in maps.moments]
        return concatenated(parts) if parts else None, [maps.kept for maps in made], moments

    def reads(self, state: Tensor) -> Reads:
        """What the families read of a state [B, C, H, W]."""
        x = state[:, : self.width]
        return Reads(x, x.relu() if any(family.reads_relu for family in self.families) else x)

    def by_part(self, scalars: Tensor) -> list[Tensor]:
        """The weights [T, M] of the maps, and those [T, p] of each passage."""
        return [part.view(self.num_targets, -1) for part in scalars.split(self.scalar_sizes)]

    def by_family(self, weights: Sequence[Tensor]) -> list[list[Tensor]]:
        """The stacks of weights of each family, without A."""
        return grouped(weights, self.num_stacks)

    def _mixed(self, state: Tensor, features: Features, scalars: Tensor, weights: Sequence[Tensor]) -> Tensor | None:
        """The mixtures on all edges, [B, T * C, H', W'], with what passes by; None without any."""
        routed, *passing = self.by_part(scalars)
        output: Tensor | None = None
        for passage, passed, own in zip(self.passages, features.passed, passing, strict=True):
            part = F.conv2d(passed[0] if passed else state, passage.kernel(own).to(state.dtype))
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

    def _running_kernel(self, routed: Tensor, linear: Tensor) -> tuple[Tensor, Tensor]:
        """The kernel [T * c, M * c, 1, 1] and a bias with running statistics, which may differ between edges of a map.

        Args:
            routed: [T, M].
            linear: A, [M, c, c].
        """
        statistics = running_statistics([norm for norms in self.norm_of for norm in norms])
        scale, mean = (part.unflatten(0, (self.num_targets, -1)) for part in statistics)
        weights = routed[..., None] * scale  # [T, M, c]
        kernel = (weights[..., None] * linear).transpose(1, 2).flatten(2).flatten(0, 1)
        return kernel[..., None, None], -(weights * mean).sum(dim=1).flatten()

    def _pieces(self, sums: Tensor | None, output: Tensor | None) -> list[Tensor]:
        """The sum of both, in parts that do not share memory, so that none keeps that of another."""
        if output is None:
            assert sums is not None, "no candidate on any edge"
            parts = sums.split(self.piece_sizes, dim=1)
            return [part.clone() if len(parts) == 1 else without_gaps(part) for part in parts]
        if len(self.piece_sizes) == 1:
            return [output if sums is None else output.add_(sums)]
        if sums is None:
            return [without_gaps(part) for part in output.split(self.piece_sizes, dim=1)]
        return sums_of_parts(output, sums, self.piece_sizes)


def mixing_kernel(routed: Tensor, folded: Tensor) -> Tensor:
    """The mixtures of all maps as one kernel: [T, M] and [M, c, c] -> [T * c, M * c, 1, 1]."""
    return (routed[:, None, :, None] * folded.transpose(0, 1)).flatten(2).flatten(0, 1)[..., None, None]
