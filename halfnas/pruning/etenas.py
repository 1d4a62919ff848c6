"""The pruning of ETENAS, candidate by candidate on networks of their own.

Source: Rumiantsev & Coates, "Performing Neural Architecture Search Without Gradients", ICASSP 2023, in the form of its
public code, Rufaim/ETENAS at 1c5a702: prune_etenas.py and launch_prune_etenas_darts.sh, launch_prune_etenas.sh.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, TypedDict, Unpack

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.func import vmap
from torch.nn import functional as F

from halfnas.networks import build_supernet
from halfnas.pruning.competition import Competition
from halfnas.pruning.etenas_network import ETENASSpace, network_for
from halfnas.pruning.importance import initialize
from halfnas.pruning.importance_pruner import NothingUsable
from halfnas.pruning.pruner import Pruner
from halfnas.pruning.ranking import RankingFunction
from halfnas.pruning.reliability import chance_agreement
from halfnas.pruning.sample import Batch, Sample, scaled
from halfnas.pruning.scoring_network import ScoringNetwork
from halfnas.spaces import Mask, SearchSpace
from halfnas.spaces.candidates import Flags, Indices

#: A number, or one for each of their networks: {darts: ..., nasbench201: ...}.
PerNetwork = Annotated[int, Field(ge=1, description="a number, or one for each of darts and nasbench201")] | Mapping


class Unused(TypedDict, total=False):
    """Settings of the other pruners that recipes, and sweeps over pruners, share. They have no effect here."""

    importance: str
    combine: str
    rounds: int | None
    scope: str
    aggregate: str
    max_repeats: int
    stability: float
    candidates_per_call: int


class ETENASPruner(Pruner):
    """Removes `none`, then the least important candidates of every edge, a few a round, until the ratio is met.

    The score of candidate j in a round is the mean over `repeats` of

        sum over ranking functions r of  weight_r sign_r (r(N) - r(N without j)) / r(N)

    with N the scoring network of all candidates that are left, weighted alike. Every candidate, repeat and ranking
    function has an initialisation and batches of its own, on which N is rated anew: of two candidates none share any.
    That is the published procedure, and what sets it apart from `ImportancePruner`, where all candidates of a repeat
    are scored on one network, a repeat is a whole pruning, and `none` competes with the others.

    The published code stops when one candidate an edge is left; here an edge stops at what the ratio keeps of it. A
    round that would remove more removes less: from the 7 of DARTS a round of 3 leaves the 4 of `ratio=0.5`; for the 2
    of 0.25 the second one removes two, where the code would go from 4 to 1. It then takes edges away until two a node
    are left, which discretisation does here. An edge that keeps all its candidates keeps `none`.

    A step of the pruner is a repeat of one candidate.

    Args:
        name: what mask.json says under `pruner`.
        rankers: ranking functions; null leaves one of another yaml out. Those on a log scale too enter by their
            relative change, as published.
        repeats: networks that each candidate is scored on in a round.
        prune_number: how many candidates an edge loses in a round.
        channels: C of the scoring network.
        network: of the sizes of a scoring network in the space's own skeleton, `num_classes` alone has an effect.
        image_size: the side in pixels that images are brought to, larger and smaller ones; None leaves them.
        num_batches: batches of one rating, joined.
        batch_size: images of a batch.
        unused: see `Unused`.
    """

    def __init__(
        self,
        name: str,
        rankers: Mapping[str, RankingFunction | None],
        *,
        repeats: Annotated[int, Field(ge=1, description="each candidate is scored on at least one network")],
        prune_number: PerNetwork,
        channels: PerNetwork,
        network: Mapping[str, Any],
        image_size: Annotated[int, Field(ge=1, description="a side in pixels; null leaves images as they are")] | None,
        num_batches: Annotated[int, Field(ge=1, description="a score needs images")],
        batch_size: PerNetwork,
        **unused: Unpack[Unused],
    ) -> None:
        self.name = name
        self.rankers = {key: ranker for key, ranker in rankers.items() if ranker is not None}
        if not self.rankers:
            raise ValueError("`rankers` must name at least one ranking function, got none")
        if problems := [
            f"`num_batches` must be at least {ranker.fewest_batches} for {key}, got {num_batches}"
            for key, ranker in self.rankers.items()
            if num_batches < ranker.fewest_batches
        ]:
            raise ValueError("; ".join(problems))
        self.max_steps = repeats  # it needs data; how many steps `begin` knows
        self.repeats = repeats
        self.image_size = image_size
        self.num_batches = num_batches * len(self.rankers)
        self.network = {key: value for key, value in network.items() if key not in ("init_channels", "num_cells")}
        self._batches_each = num_batches
        self._sizes = {"prune_number": prune_number, "channels": channels, "batch_size": batch_size}

    def check_space(self, space: SearchSpace) -> None:
        """Raise ValueError where the published code has no network for the space."""
        network_for(space)

    def begin(self, space: SearchSpace, scoring_space: SearchSpace, *, ratio: float, seed: int) -> None:
        """Start with everything but `none`.

        Raises:
            ValueError: the published code has no network for the space.
        """
        network = network_for(space)
        self.scoring_space = ETENASSpace(
            space,
            init_channels=self._size("channels", network),
            num_classes=scoring_space.num_classes,
            in_channels=scoring_space.in_channels,
        )
        self.batch_size = self._size("batch_size", network)
        self.prune_number = self._size("prune_number", network)
        self._seed = seed
        self._candidates = Competition(space, ratio)
        self._whole = replace(Mask.full(space), ratio=ratio, pruner=self.name, seed=seed)
        self._kept = ~self._candidates.is_none | (self._surplus(np.ones(len(self._candidates), dtype=bool)) <= 0)
        self._importance = np.full(len(self._candidates), np.nan)
        self._values: list[float] = []
        self.steps_taken = 0
        self.max_steps = self._steps_from(self._kept)
        self._begin_round()

    def rate(self, number: int, batches: Sequence[Batch]) -> float | NothingUsable:
        """Rate one candidate on one network.

        Args:
            number: of a step of this round.
            batches: `num_batches` for each ranking function in turn.

        Returns:
            The relative change that removing the candidate makes, or why there is none.
        """
        begun = self.steps_ready - self.repeats * len(self._waiting)
        j = self._waiting[(number - begun) // self.repeats]
        change = 0.0
        for r, (key, ranker) in enumerate(self.rankers.items()):
            mine = [resized(b, self.image_size) for b in batches[r * self._batches_each :][: self._batches_each]]
            whole, without = self._rate(ranker, j, Sample(mine, self._draw_seed(number, r)))
            relative = (whole - without) / whole if whole else float("nan")
            if not np.isfinite(relative):
                place = self._candidates.places[j]
                return NothingUsable(
                    f"{key} is {whole:g} with and {without:g} without {place.operation} on edge {place.edge} of "
                    f"{place.kind}: their relative difference is not finite"
                )
            change += ranker.weight * ranker.sign * relative
        return change

    def take(self, rating: float | NothingUsable) -> dict[str, float]:
        """Note the relative change; after the last repeat of the last candidate of a round, remove.

        Raises:
            NothingUsable: it is not finite.
        """
        if isinstance(rating, NothingUsable):
            raise rating
        self.steps_taken += 1
        self._values.append(rating)
        self._changes.append(rating)
        if self.steps_taken == self.steps_ready:
            self._remove()
        return {"relative_change": rating}

    def metrics(self) -> dict[str, float]:
        """The repeats, and the agreement of two masks that chance made of what is left without `none`."""
        if not self._values:
            return {}
        _, groups = np.unique(2 * self._candidates.groups + self._candidates.is_none, return_inverse=True)
        chance = chance_agreement(self._candidates.flags(self.mask.kept), groups)
        return {"repeats": float(self.repeats), "agreement_chance": chance}

    def state_dict(self) -> dict[str, Any]:
        """All relative changes so far, from which everything else follows."""
        return {"changes": torch.tensor(self._values, dtype=torch.float64), "seed": self._seed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there, after `begin` with the settings of before.

        Raises:
            ValueError: the state is that of another seed, or of more steps than there are.
        """
        changes = state["changes"].tolist()
        if state["seed"] != self._seed or len(changes) > self.max_steps:
            raise ValueError(
                f"the state of the pruner has seed {state['seed']} and {len(changes)} steps, this pruning has seed "
                f"{self._seed} and {self.max_steps}"
            )
        for change in changes:
            self.take(change)

    @torch.no_grad()
    def _rate(self, ranker: RankingFunction, j: int, sample: Sample) -> tuple[float, float]:
        """r(N) and r(N without j), on weights drawn by the seed of the sample."""
        images = sample.images
        # Drawn where, and as what, does not depend on the ratings before.
        initialize(self._supernet.to("cpu", torch.float32), torch.Generator().manual_seed(sample.seed))
        self._supernet.to(images)
        alike = {kind: [images.new_zeros(len(names)) for names in edges] for kind, edges in self.mask.kept.items()}
        place = self._candidates.places[j]
        lanes = alike[place.kind][place.edge].repeat(2, 1)
        lanes[1, self.mask.kept[place.kind][place.edge].index(place.operation)] = -torch.inf

        def rate(alpha: Tensor) -> Tensor:
            alike[place.kind][place.edge] = alpha
            return ranker(ScoringNetwork(self._supernet, alike), sample).double()

        with torch.autocast(images.device.type, enabled=False), sample.own_chance():
            # Both networks in one call: what comes before the edge is the same for them, and computed once.
            whole, without = vmap(rate, randomness="same")(lanes).tolist()
        return whole, without

    def _remove(self) -> None:
        """A round has ended: remove the least important candidates, and begin another one."""
        scores = np.full(len(self._candidates), np.nan)
        scores[self._waiting] = np.reshape(self._changes, (-1, self.repeats)).mean(axis=1)
        self._importance[self._waiting] = scores[self._waiting]
        self._kept[self._candidates.remove(self._kept, scores, self._targets(self._kept))] = False
        self._begin_round()

    def _begin_round(self) -> None:
        """The candidates of edges that still have more than they keep are rated one after the other."""
        candidates = self._candidates
        self._waiting = np.flatnonzero(self._kept & (self._surplus(self._kept) > 0)).tolist()
        self._changes: list[float] = []
        self.steps_ready = self.steps_taken + self.repeats * len(self._waiting)
        self.done = not self._waiting
        scores = [None if np.isnan(score) else float(score) for score in self._importance]
        named = candidates.named(scores) if self._values else None
        self.mask = replace(self._whole, kept=candidates.kept(self._kept), importance=named)
        if not self.done:
            # Its weights are drawn for every rating: what torch draws for them here is not used.
            self._supernet = build_supernet(self.scoring_space, self.mask).train().requires_grad_(False)

    def _targets(self, kept: Flags) -> Indices:
        """How many candidates every edge has after the next round."""
        left = np.bincount(self._candidates.groups[kept], minlength=len(self._candidates.targets))
        return np.maximum(self._candidates.targets, left - self.prune_number)

    def _surplus(self, kept: Flags) -> Indices:
        """How many candidates the edge of every candidate has more than it keeps, [J]."""
        left = np.bincount(self._candidates.groups[kept], minlength=len(self._candidates.targets))
        return (left - self._candidates.targets)[self._candidates.groups]

    def _steps_from(self, kept: Flags) -> int:
        """The ratings that a whole pruning takes."""
        left = np.bincount(self._candidates.groups[kept], minlength=len(self._candidates.targets))
        steps = 0
        while (more := left > self._candidates.targets).any():
            steps += int(left[more].sum()) * self.repeats
            left = np.maximum(self._candidates.targets, left - self.prune_number)
        return steps

    def _size(self, setting: str, network: str) -> int:
        """A setting, or what it says of that network."""
        value = self._sizes[setting]
        if not isinstance(value, Mapping):
            return int(value)
        if network not in value:
            raise ValueError(f"`{setting}` must be a number or have one for {network}, got {dict(value)}")
        return int(value[network])

    def _draw_seed(self, step: int, ranker: int) -> int:
        """The seed of a rating; the ratings of neighbouring seeds of a run share none."""
        return (self._seed * 1_000_003 + step * len(self.rankers) + ranker) % 2**63


def resized(batch: Batch, size: int | None) -> Batch:
    """Images with a side of `size` pixels: larger ones by the mean of areas, smaller ones bilinearly; None leaves them.

    The published code reads images of 32 pixels.
    """
    if size is None or batch.images.shape[-1] >= size:
        return scaled(batch, size)
    return batch._replace(images=F.interpolate(batch.images, size=size, mode="bilinear"))
