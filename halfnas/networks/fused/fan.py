"""All candidates on the edges that leave one state of a cell, added to the nodes that these edges lead to.

Candidates that the engine knows are one mixture (mixture.py); others run one by one, as in the plain engine.

Letters as in the package docstring.
"""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from halfnas.networks.fused.backward import MixtureStep
from halfnas.networks.fused.batch_norms import Moments
from halfnas.networks.fused.mixture import Mixture
from halfnas.networks.fused.sorting import Candidate, Way, families_of, passages_of, sort_out
from halfnas.networks.recompute import recomputed


class Fan(nn.Module):
    """All candidates on the edges that leave one state.

    Args:
        candidates: name -> the candidates of that name, without `none`.
        edges: for each edge where its weight stands among those of the cell, and its target.
        num_targets: T.
        num_complete: nodes that are complete after this fan, the first ones of its targets.
        num_weights: the number of weights of the cell, those of candidates and of edges.
        channels: C.
        partial_channels: K.
        bypass: what the channels that are not mixed pass through.
        recompute: keep no maps, make them again in the backward pass.

    Attributes:
        mixture: the candidates that the engine knows.
        others: the candidates that it does not know.
        routes: [num_weights, scalars], which weights of the cell this fan reads, and in which order.
    """

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
        self.num_complete = num_complete
        self.partial_channels = partial_channels
        self.width = channels // partial_channels
        self.recompute = recompute
        known, self.others = sort_out(candidates)
        families, served = families_of(known)
        passages = list(passages_of(known, edges, bypass, channels, self.width))
        norms = [norms_of_map for family in families for norms_of_map in family.norms]
        norm_of = [[norms_of_map[0] for norms_of_map in norms] for _ in range(num_targets)]
        for m, members in enumerate(served):
            for norm, member in zip(norms[m], members, strict=True):
                norm_of[member.target][m] = norm
        rest = num_targets - num_complete
        self.mixture = Mixture(
            families,
            [passage for passage, _ in passages],
            norm_of,
            [channels] * num_complete + ([channels * rest] if rest else []),
            channels=channels,
            partial_channels=partial_channels,
            recompute=recompute,
        )
        ways_of_maps = [Way(c.weight, c.target, m) for m, members in enumerate(served) for c in members]
        ways_of_others = [Way(other.weight, 0, i) for i, other in enumerate(self.others)]
        routes = [
            _routes(num_weights, num_targets, len(norms), ways_of_maps),
            *(_routes(num_weights, num_targets, passage.num_weights, ways) for passage, ways in passages),
            _routes(num_weights, 1, len(self.others), ways_of_others),
        ]
        self.routes = torch.cat(routes, dim=1)

    @property
    def seen_by(self) -> list[list[list[nn.BatchNorm2d]]]:
        """The batch norms whose moments `forward` gives."""
        families, norms = self.mixture.families, self.mixture.norms
        middle = [family.middle_norms for family in families if family.middle_norms]
        return [*middle, *([norms] if norms else [])]

    def weights(self) -> list[list[Tensor]]:
        """The weights of the mixture in stacks of one shape, of which `forward` is given each concatenated."""
        return self.mixture.weights()

    def forward(
        self, sums: Tensor | None, state: Tensor, scalars: Tensor, weights: Sequence[Tensor]
    ) -> tuple[list[Tensor], Tensor | None, list[Moments]]:
        """Add the mixtures on all edges to what other states gave.

        Args:
            sums: what other states gave to the nodes, [B, T * C, H', W']; None for nothing.
            state: [B, C, H, W].
            scalars: the weights of the cell times `routes`.
            weights: the stacks of `weights()`, concatenated.

        Returns:
            The nodes that are complete, [B, C, H', W'] each; the sums of the others, or None without any; and what
            batch norms saw, where they use it.
        """
        if self.others:
            scalars, *of_others = scalars.split([sum(self.mixture.scalar_sizes)] + [1] * len(self.others))
            for candidate, weight in zip(self.others, of_others, strict=True):
                sums = self._with_other(sums, state, candidate, weight)
        if self.mixture.of_batch:
            outputs = MixtureStep.run(self.mixture, sums, state, scalars, *weights)
            num_pieces = len(self.mixture.piece_sizes)
            pieces, statistics = outputs[:num_pieces], outputs[num_pieces:]
            positions = self.mixture.processes * pieces[0].numel() // pieces[0].shape[1]
            moments = [Moments(*pair, positions) for pair in zip(statistics[::2], statistics[1::2], strict=True)]
        else:
            pieces, moments = self.mixture(sums, state, scalars, weights)[0], []
        rest = pieces[-1] if self.num_complete < self.num_targets else None
        return list(pieces[: self.num_complete]), rest, moments

    def _with_other(self, sums: Tensor | None, state: Tensor, candidate: Candidate, weight: Tensor) -> Tensor:
        """The sums with what a candidate gives that the engine does not know."""
        operation, x = candidate.operation, state[:, : self.width]
        # Compiled, what is kept is the compiler's to decide, as for a step.
        if self.recompute and self.training and not torch.compiler.is_compiling():
            mixed = weight * recomputed(operation, x, owner=operation)
        else:
            mixed = weight * operation(x)
        part = mixed  # of all channels of one node; padding copies it even by nothing
        if self.partial_channels > 1:
            part = F.pad(part.unsqueeze(2), (0, 0, 0, 0, 0, self.partial_channels - 1)).flatten(1, 2)
        if self.num_targets > 1:
            channels = part.shape[1]
            before, after = channels * candidate.target, channels * (self.num_targets - 1 - candidate.target)
            part = F.pad(part, (0, 0, 0, 0, before, after))
        return part if sums is None else sums + part


def _routes(num_weights: int, num_targets: int, size: int, ways: Iterable[Way]) -> Tensor:
    """Zeros and ones [num_weights, num_targets * size], where each weight of the cell goes."""
    routes = torch.zeros(num_weights, num_targets, size)
    for weight, target, number in ways:
        routes[weight, target, number] = 1
    return routes.flatten(1)
