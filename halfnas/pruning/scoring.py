"""Scores of the candidates of scoring networks, one network after another."""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from halfnas.networks import build_supernet
from halfnas.pruning.competition import Competition
from halfnas.pruning.importance import (
    Changes,
    check_derivatives,
    combine,
    derivatives,
    exact_changes,
    initialize,
    taylor_changes,
)
from halfnas.pruning.ranking import LogitRanking, RankingFunction, rates_logits
from halfnas.pruning.sample import Sample
from halfnas.pruning.stacked import StackedSupernet
from halfnas.spaces import SearchSpace
from halfnas.spaces.candidates import Flags, Floats
from halfnas.spaces.mask import Kept
from halfnas.training import Replay


class Unusable(ArithmeticError):
    """Why a scoring network cannot be used."""


class NotFinite(Unusable):
    """A ranking function gave something that is not finite.

    Args:
        quantity: what is not finite.
        value: what it is instead.
    """

    def __init__(self, quantity: str, value: float) -> None:
        super().__init__(quantity, value)
        self.quantity, self.value = quantity, value

    def __str__(self) -> str:
        return f"{self.quantity} is {self.value}"


class Scorer:
    """How important the candidates of a scoring network are to its ranking functions.

    Ranking functions of logits alone have their first-order importance from a network of their own, that has the same
    weights and is kept: on CUDA its score is one graph, replayed for every round of every network, which leaves
    candidates out by alpha = -inf; elsewhere candidates that are left out do not run.

    Args:
        space: the space of the scoring network, at its sizes.
        candidates: the candidates of the space that is pruned.
        rankers: ranking functions by name.
        importance: "exact" or "taylor", see `halfnas.pruning.importance`.
        combine: how several ranking functions become one score, see `halfnas.pruning.importance.combine`.
        candidates_per_call: networks evaluated at once by "exact".
        cuda_graphs: see `halfnas.training.Replay`.
    """

    def __init__(
        self,
        space: SearchSpace,
        candidates: Competition,
        rankers: Mapping[str, RankingFunction],
        *,
        importance: str,
        combine: str,
        candidates_per_call: int,
        cuda_graphs: str | bool,
    ) -> None:
        self._space = space
        self._candidates = candidates
        self._rankers = rankers
        self._combine = combine
        self._importance = importance
        self._cuda_graphs = cuda_graphs
        changes: dict[str, Changes] = {
            "taylor": taylor_changes,
            "exact": partial(exact_changes, candidates_per_call=candidates_per_call),
        }
        self._changes = changes[importance]
        self._logit_scores: LogitScores | None = None

    def begin(self, sample: Sample) -> None:
        """Go on to a new network, with weights drawn by the seed of the sample."""
        self._sample = sample
        self._first = True
        same_size = len({batch.images.shape for batch in sample.batches}) == 1
        separate = self._importance == "taylor" and same_size
        self._of_logits = {key: r for key, r in self._rankers.items() if separate and rates_logits(r)}
        self._of_network = {key: r for key, r in self._rankers.items() if key not in self._of_logits}
        images = sample.images
        if self._of_network:
            self._supernet = build_supernet(self._space)
            initialize(self._supernet, torch.Generator().manual_seed(sample.seed))
            self._supernet.to(device=images.device, dtype=images.dtype).train().requires_grad_(False)
        if self._of_logits:
            if self._logit_scores is None or not self._logit_scores.works_on(sample):
                rankers = list(self._of_logits.values())
                self._logit_scores = LogitScores(self._space, self._candidates, rankers, sample, self._cuda_graphs)
            self._logit_scores.network.draw(torch.Generator().manual_seed(sample.seed))

    def __call__(self, kept: Flags) -> tuple[Floats, dict[str, float]]:
        """Score the candidates that are left.

        Args:
            kept: which ones, [J]; fewer in every call for one network.

        Returns:
            Scores [J], NaN for candidates that are gone or without an alternative, and what each ranking function says
            of the whole network.

        Raises:
            NotFinite: some are not finite.
            Unusable: in the first call, all are the same.
        """
        alternatives = np.bincount(self._candidates.edges[kept], minlength=self._candidates.edges[-1] + 1)
        scored = kept & (alternatives > 1)[self._candidates.edges]
        found: dict[str, Floats] = {}
        with torch.autocast(self._sample.images.device.type, enabled=False):  # single candidates drown in bf16
            if self._of_logits:
                assert self._logit_scores is not None
                rows = self._logit_scores(self._sample, kept)
                found |= zip(self._of_logits, rows[:, [*np.flatnonzero(scored), -1]], strict=True)
            if self._of_network:
                self._supernet.narrow(self._candidates.mask(kept))
                changes, whole = self._changes(self._supernet, list(self._of_network.values()), self._sample)
                rows = torch.cat([changes, whole[:, None]], dim=1).cpu().numpy()
                found |= zip(self._of_network, rows, strict=True)
        table = np.stack([found[key] for key in self._rankers])
        changes_RJ, whole_R = table[:, :-1], table[:, -1]
        self._check(changes_RJ, whole_R)
        self._first = False
        scores = np.full(len(kept), np.nan)
        scores[scored] = combine(changes_RJ, whole_R, self._rankers, self._combine)
        return scores, dict(zip(self._rankers, whole_R.tolist(), strict=True))

    def _check(self, changes_RJ: Floats, whole_R: Floats) -> None:
        for key, row, whole in zip(self._rankers, changes_RJ, whole_R, strict=True):
            if not math.isfinite(whole):
                raise NotFinite(f"{key} of the scoring network", float(whole))
            if len(wrong := row[~np.isfinite(row)]):
                raise NotFinite(f"{len(wrong)} of {len(row)} scores of {key}, the first of which", float(wrong[0]))
            if self._first and len(row) > 1 and row.max() == row.min():  # later on, few may be left
                raise Unusable(f"{key} gives all {len(row)} candidates the same score, {row[0]:.4g}")


class LogitScores:
    """First-order importance to ranking functions of logits, of all of them in one pass.

    Attributes:
        network: the scoring network.

    Args:
        space: the space of the scoring network, at its sizes.
        candidates: the candidates of the space that is pruned.
        rankers: ranking functions.
        sample: an example.
        cuda_graphs: see `halfnas.training.Replay`.
    """

    def __init__(
        self,
        space: SearchSpace,
        candidates: Competition,
        rankers: Sequence[LogitRanking],
        sample: Sample,
        cuda_graphs: str | bool,
    ) -> None:
        images = sample.images
        everything = np.ones(len(candidates), dtype=bool)
        self.network = StackedSupernet(space, candidates.mask(everything), len(sample.batches), images)
        self._works_on = _kind_of(sample)
        self._candidates = candidates
        self._rankers = rankers
        self._captures = images.device.type == "cuda" and cuda_graphs is not False
        of_everything = partial(self.changes, candidates.kept(everything))
        self._replay = Replay(of_everything, cuda_graphs=cuda_graphs, name="score of the candidates")

    def works_on(self, sample: Sample) -> bool:
        """Whether the network can take a sample."""
        return self._works_on == _kind_of(sample)

    def __call__(self, sample: Sample, kept: Flags) -> Floats:
        """Changes of every ranking function by every candidate, and r(N), [R, J + 1]; NaN for candidates not kept."""
        check_derivatives()
        images = torch.stack([batch.images for batch in sample.batches])
        there = [*np.flatnonzero(kept), -1]
        rows = np.full((len(self._rankers), len(kept) + 1), np.nan)
        if self._captures:
            alpha = torch.from_numpy(np.where(kept, 0.0, -np.inf)).to(images)
            rows[:, there] = self._replay(images, alpha).cpu().numpy()[:, there]
        else:
            alpha = images.new_zeros(int(kept.sum()))
            rows[:, there] = self.changes(self._candidates.kept(kept), images, alpha).cpu().numpy()
        return rows

    def changes(self, kept: Kept, images: Tensor, alpha: Tensor) -> Tensor:
        """I_j dr/dI_j as in `taylor_changes`, without a look at any value.

        Args:
            kept: candidates that run.
            images: [G, N, C, H, W].
            alpha: the architecture parameter of every one of them, [J]: 0, or -inf to leave it out, which is the same
                as if it did not run.

        Returns:
            A row for every ranking function: of every candidate, and r(N), [R, J + 1].
        """
        alpha = alpha.detach().requires_grad_()
        edges = iter(alpha.split([len(names) for edges in kept.values() for names in edges]))
        weights = {kind: [next(edges).softmax(dim=0) for _ in names] for kind, names in kept.items()}
        logits = self.network(images, weights, kept)
        rows = []
        for number, ranker in enumerate(self._rankers, start=1):
            value = ranker.rate(logits)
            [gradient] = derivatives(ranker, value, [alpha], keep_graph=number < len(self._rankers))
            rows.append(torch.cat([gradient, value.detach()[None]]).to(torch.float64))
        return torch.stack(rows)


def _kind_of(sample: Sample) -> tuple[int, torch.device, torch.dtype]:
    return len(sample.batches), sample.images.device, sample.images.dtype
