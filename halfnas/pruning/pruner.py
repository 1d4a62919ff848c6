"""Pruners: from the whole space to a mask."""

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch

from halfnas.networks import build_supernet
from halfnas.pruning.importance import Scores, exact_importance, initialize
from halfnas.pruning.ranking import Batch, RankingFunction
from halfnas.spaces import Mask, SearchSpace, num_kept

log = logging.getLogger(__name__)


class Pruner(ABC):
    """Makes a mask, a step at a time; each step is given fresh batches.

    Attributes:
        name: what mask.json says under `pruner`.
        num_rounds, num_repeats: the steps to be taken are their product; 0 where the mask needs no data.
        batch_size, num_batches: what a step is given.
        network: sizes of the scoring network, as overrides of the space's.
        mask: the mask so far; final after the last step.
    """

    name: str
    num_rounds: int = 0
    num_repeats: int = 0
    batch_size: int = 0
    num_batches: int = 0
    network: Mapping[str, Any] = MappingProxyType({})
    mask: Mask

    @abstractmethod
    def begin(self, space: SearchSpace, scoring_space: SearchSpace, *, ratio: float, seed: int) -> None:
        """Start over, with everything kept or, where no data is needed, with the final mask."""

    def step(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Take one step; returns figures for the log."""
        raise NotImplementedError(f"{type(self).__name__} needs no data")


class RandomPruner(Pruner):
    """Keeps a uniformly drawn subset of every edge.

    Settings of the other pruners are accepted, so that a sweep over pruners can share them, and have no effect.
    """

    name = "random"

    def __init__(self, **unused: Any) -> None:
        pass

    def begin(self, space: SearchSpace, scoring_space: SearchSpace, *, ratio: float, seed: int) -> None:
        """Draw the mask."""
        self.mask = Mask.random(space, ratio, seed)


class NoPruner(Pruner):
    """Keeps everything, whatever the ratio. Settings of the other pruners are accepted and have no effect."""

    name = "none"

    def __init__(self, **unused: Any) -> None:
        pass

    def begin(self, space: SearchSpace, scoring_space: SearchSpace, *, ratio: float, seed: int) -> None:
        """Keep everything."""
        self.mask = replace(Mask.full(space), seed=seed)


class ImportancePruner(Pruner):
    """Algorithm 1 of arXiv 2505.13586: score all candidates, drop the least important one of every edge, repeat.

    A round scores the candidates that are left on `repeats` scoring networks, each with an initialisation and batches
    of its own, averages, and removes from every edge that still has more than its target the candidate with the lowest
    score. The last candidate besides `none` is never removed.

    Args:
        name: what mask.json says under `pruner`.
        rankers: ranking functions, whose relative changes are summed; null leaves one of another yaml out.
        repeats: scoring networks a round.
        network: sizes of the scoring network, as overrides of the space's.
        num_batches, batch_size: what each ranking function is given.
        candidates_per_call: networks evaluated at once; memory grows with it, the scores do not change.
    """

    def __init__(
        self,
        name: str,
        rankers: Mapping[str, RankingFunction | None],
        *,
        repeats: int,
        network: Mapping[str, Any],
        num_batches: int,
        batch_size: int,
        candidates_per_call: int,
    ) -> None:
        self.name = name
        self.rankers = {key: ranker for key, ranker in rankers.items() if ranker is not None}
        if not self.rankers:
            raise ValueError("`rankers` must name at least one ranking function, got none")
        self.num_repeats = repeats
        self.network = dict(network)
        self.num_batches = num_batches
        self.batch_size = batch_size
        self.candidates_per_call = candidates_per_call

    def begin(self, space: SearchSpace, scoring_space: SearchSpace, *, ratio: float, seed: int) -> None:
        """Start with everything kept; the last round is the one that reaches the target on every edge."""
        self._scoring_space = scoring_space
        self._seed = seed
        self._targets = {
            kind: [num_kept(ratio, len(candidates)) for candidates in space.candidates(kind)] for kind in space.kinds
        }
        self.mask = replace(Mask.full(space), ratio=ratio, pruner=self.name, seed=seed)
        self.num_rounds = max(
            len(names) - target
            for kind, edges in self.mask.kept.items()
            for names, target in zip(edges, self._targets[kind], strict=True)
        )
        self._importance: Scores = {kind: [{} for _ in edges] for kind, edges in self.mask.kept.items()}
        self._step = 0
        self._repeats: list[Scores] = []

    def step(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Score on one more scoring network; after `repeats` of them a candidate is removed from every edge."""
        device = batches[0].images.device
        generator = torch.Generator().manual_seed(_step_seed(self._seed, self._step))
        supernet = build_supernet(self._scoring_space, self.mask)
        initialize(supernet, generator)
        supernet.to(device=device, dtype=batches[0].images.dtype).train()
        with torch.autocast(device.type, enabled=False):  # differences of single candidates drown in bf16
            scores, whole = exact_importance(
                supernet, list(self.rankers.values()), batches, candidates_per_call=self.candidates_per_call
            )
        self._repeats.append(scores)
        self._step += 1
        if len(self._repeats) == self.num_repeats:
            self._end_round()
        return dict(zip(self.rankers, whole.tolist(), strict=True))

    def _end_round(self) -> None:
        scores = mean_scores(self._repeats)
        self._repeats = []
        mask = self.mask
        for kind, edges in scores.items():
            for edge, edge_scores in enumerate(edges):
                self._importance[kind][edge].update(edge_scores)
                removable = [name for name in mask.removable(kind, edge) if name in edge_scores]
                if len(mask.kept[kind][edge]) > self._targets[kind][edge]:
                    least = min(removable, key=lambda name: edge_scores[name])
                    mask = mask.without(kind, edge, least)
        # mask.json gives every candidate the score it had when it was last looked at.
        importance = {
            kind: [{name: edge.get(name) for name in names} for edge, names in zip(edges, full, strict=True)]
            for (kind, edges), full in zip(self._importance.items(), self._candidates(), strict=True)
        }
        self.mask = replace(mask, importance=importance)

    def _candidates(self) -> list[tuple[tuple[str, ...], ...]]:
        return [self._scoring_space.candidates(kind) for kind in self.mask.kept]


def mean_scores(repeats: Sequence[Scores]) -> Scores:
    """Mean over repeats of every candidate's score. A repeat whose score is not finite is left out, with a warning.

    Raises:
        ValueError: a candidate has no finite score at all.
    """
    means: Scores = {}
    num_dropped = 0
    for kind, edges in repeats[0].items():
        means[kind] = []
        for edge, names in enumerate(edges):
            edge_means = {}
            for name in names:
                values = [repeat[kind][edge][name] for repeat in repeats]
                finite = [value for value in values if math.isfinite(value)]
                num_dropped += len(values) - len(finite)
                if not finite:
                    raise ValueError(
                        f"no finite score for {name!r} on edge {edge} of cell {kind!r} in {len(values)} repeat(s): the "
                        "scoring network's outputs are not finite; raise `pruner.repeats` or change `pruner.network`"
                    )
                edge_means[name] = math.fsum(finite) / len(finite)
            means[kind].append(edge_means)
    if num_dropped:
        log.warning("%d scores were not finite and are left out of the means", num_dropped)
    return means


def _step_seed(seed: int, step: int) -> int:
    """One stream of initialisations a seed; streams of neighbouring seeds do not overlap."""
    return (seed * 1_000_003 + step) % 2**63
