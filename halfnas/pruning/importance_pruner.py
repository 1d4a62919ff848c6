"""The pruner that removes what matters least to the ranking functions."""

import itertools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
from pydantic import Field

from halfnas.errors import Diverged
from halfnas.pruning.aggregation import AGGREGATES, LEANING
from halfnas.pruning.competition import SCOPES, Competition
from halfnas.pruning.elimination import Elimination
from halfnas.pruning.importance import COMBINATIONS, IMPORTANCES
from halfnas.pruning.pruner import Pruner
from halfnas.pruning.ranking import RankingFunction
from halfnas.pruning.reliability import chance_agreement, drawn_agreement, half_agreement, whole_agreement
from halfnas.pruning.sample import Batch, Sample, scaled
from halfnas.pruning.scoring import NotFinite, Scorer, Unusable
from halfnas.spaces import Mask, SearchSpace
from halfnas.spaces.candidates import Flags, Floats

log = logging.getLogger(__name__)

AUTO = "auto"

Repeats = Annotated[int, Field(ge=1, description="each candidate is scored on at least one network")]

#: What to do where a score is not finite.
REMEDY = "try trainer.precision=64-true, other images or sizes of the scoring network, or another pruner"

#: Repeats before `repeats=auto` looks at their halves.
FEWEST_REPEATS = 8


class ImportancePruner(Pruner):
    """Removes the least important candidates of a scoring network, over many of them.

    A repeat is a whole pruning of a scoring network with an initialisation and batches of its own: in each round the
    candidates that are left are scored, and the least important ones removed. Its outcome is a level for every
    candidate, see `halfnas.pruning.elimination`. With one round levels are the scores; with one repeat the mask is what
    is left in the end. Levels are aggregated over the repeats, and the mask keeps the highest ones.

    Args:
        name: what mask.json says under `pruner`. Where yamls of several pruners were joined it is that of the last one,
            and all ranking functions are named instead.
        rankers: ranking functions; null leaves one of another yaml out.
        importance: "exact" removes every candidate in turn, "taylor" estimates that to first order.
        combine: how several ranking functions become one score, see `halfnas.pruning.importance.combine`.
        rounds: over how many rounds the removal is spread; None removes one candidate an edge and round, 1 all at once.
        scope: what the ratio is kept of, and where candidates compete: each edge, each kind of cell, or everywhere.
        aggregate: how the levels of all repeats become one score, see `halfnas.pruning.aggregation`.
        repeats: scoring networks; "auto" goes on until the masks of two halves of them agree.
        max_repeats: the most that "auto" takes.
        stability: the agreement of the halves at which "auto" stops.
        network: sizes of the scoring network, as overrides of the space's.
        image_size: larger images are scaled down to this side in pixels; None leaves them as they are.
        num_batches, batch_size: what each ranking function is given.
        candidates_per_call: networks evaluated at once by "exact"; memory grows with it, the scores do not change.
    """

    def __init__(
        self,
        name: str,
        rankers: Mapping[str, RankingFunction | None],
        *,
        importance: str,
        combine: str,
        rounds: Annotated[int, Field(ge=1, description="1 removes everything at once")] | None,
        scope: str,
        aggregate: str,
        repeats: Repeats | str,
        max_repeats: Repeats,
        stability: Annotated[float, Field(gt=0, le=1, description="an agreement of two masks, e.g. 0.9")],
        network: Mapping[str, Any],
        image_size: Annotated[int, Field(ge=1, description="a side in pixels; null leaves images as they are")] | None,
        num_batches: Annotated[int, Field(ge=1, description="a score needs images")],
        batch_size: Annotated[
            int, Field(ge=2, description="a score compares images, and batch norm cannot work on one")
        ],
        candidates_per_call: Annotated[int, Field(ge=1, description="candidates evaluated at once")],
    ) -> None:
        self.rankers = {key: ranker for key, ranker in rankers.items() if ranker is not None}
        # nngp_exact and nngp_frobenius are one family: the last yaml's own name says nothing of the other ones.
        of_one = any(key.split("_")[0] == name.split("_")[0] for key in self.rankers)
        self.name = "+".join(self.rankers) if len(self.rankers) > 1 and of_one else name
        if not self.rankers:
            raise ValueError("`rankers` must name at least one ranking function, got none")
        problems = [
            *_one_of("importance", importance, IMPORTANCES),
            *_one_of("combine", combine, COMBINATIONS),
            *_one_of("scope", scope, SCOPES),
            *_one_of("aggregate", aggregate, tuple(AGGREGATES)),
        ]
        if isinstance(repeats, str) and repeats != AUTO:
            problems.append(f"`repeats` must be a number or {AUTO}, got {repeats!r}")
        rigid = [key for key, ranker in self.rankers.items() if not ranker.differentiable]
        if importance == "taylor" and rigid:
            problems.append(
                f"`importance=taylor` needs derivatives, which {', '.join(rigid)} cannot give; use importance=exact"
            )
        problems += [
            f"`num_batches` must be at least {ranker.fewest_batches} for {key}, got {num_batches}"
            for key, ranker in self.rankers.items()
            if num_batches < ranker.fewest_batches
        ]
        if problems:
            raise ValueError("; ".join(problems))
        self._most_repeats = max_repeats if repeats == AUTO else int(repeats)
        self.max_steps = self._most_repeats
        self.network = dict(network)
        self.num_batches = num_batches
        self.batch_size = batch_size
        self.stability = stability if repeats == AUTO else None
        self.image_size = image_size
        self._combine, self._aggregate, self._scope = combine, aggregate, scope
        self._rounds = rounds
        self.importance = importance
        self._candidates_per_call = candidates_per_call

    def begin(self, space: SearchSpace, scoring_space: SearchSpace, *, ratio: float, seed: int) -> None:
        """Start with everything kept."""
        self._scoring_space = scoring_space
        self._seed = seed
        self._candidates = Competition(space, ratio, self._scope, seed)
        self._whole = replace(Mask.full(space), ratio=ratio, pruner=self.name, seed=seed)
        self._start = np.ones(len(self._candidates), dtype=bool)
        self._eliminate = Elimination(self._candidates, self._rounds)
        self.mask = self._whole
        self._scores = self._scorer(self.importance)
        self.done = len(self._eliminate.targets) == 0
        self.max_steps = self.steps_ready = 0 if self.done else self._most_repeats
        self.steps_taken = 0
        self._levels: list[Floats] = []
        self._last_error = "before the pruning went on"

    def rate(self, number: int, batches: Sequence[Batch]) -> "Repeat":
        """One repeat: the pruning of a scoring network."""
        sample = self._sample(batches, _step_seed(self._seed, number))
        try:
            self._scores.begin(sample)  # which may draw what is not used, the first time more than later
            with sample.own_chance():
                return Repeat(*self._eliminate(self._scores))
        except Unusable as error:
            return Repeat(None, {}, error.with_traceback(None))

    def take(self, rating: "Repeat") -> dict[str, float]:
        """Add a repeat, and make the mask of all so far.

        A repeat with all scores the same says nothing: it is left out with a warning that names repeat and ranking
        function, and counted (`prune/repeats_dropped`). Where more than half are, what is left would be a selection of
        networks, and no mask is made of it.

        Raises:
            Diverged: something is not finite; nothing is ranked.
            NothingUsable: it is the last one, and more than half were left out.
        """
        self.steps_taken += 1
        if isinstance(rating.error, NotFinite):
            when = f"repeat {self.steps_taken} of at most {self.max_steps}"
            raise Diverged("prune", when, {rating.error.quantity: rating.error.value}, REMEDY)
        if rating.levels is None:
            log.warning("repeat %d is left out: %s", self.steps_taken, rating.error)
            self._last_error = f"repeat {self.steps_taken}: {rating.error}"
            self.done = self.steps_taken == self.max_steps
            self._check_enough()
            return {}
        metrics = dict(rating.metrics)
        self._levels.append(rating.levels)
        self._update_mask()
        if len(self._levels) >= 2 and (len(self._levels) % 2 == 0 or self.steps_taken == self.max_steps):
            metrics["agreement_of_halves"] = halves = self._half_agreement()
            stable = self.stability is not None and halves >= self.stability
            self.done = stable and len(self._levels) >= FEWEST_REPEATS
        self.done = self.done or self.steps_taken == self.max_steps
        self._check_enough()
        return metrics

    def metrics(self) -> dict[str, float]:
        """Reliability: the agreement to be expected with a pruning from another seed, and what chance would give.

        Another seed orders equals in another way too.
        """
        if not self._levels:
            return {}
        kept = self._candidates.flags(self.mask.kept)
        metrics = {
            "repeats": float(len(self._levels)),
            "repeats_dropped": float(self.steps_taken - len(self._levels)),
            "agreement_chance": chance_agreement(kept, self._candidates.groups),
        }
        if len(self._levels) >= 2:
            metrics["agreement"] = self._agreement(np.array(self._levels), kept)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """The levels of all repeats so far [N, J], how many steps were taken, and whether they are enough."""
        levels = np.array(self._levels).reshape(-1, len(self._candidates))
        return {"levels": torch.from_numpy(levels), "step": self.steps_taken, "done": self.done, "seed": self._seed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there, after `begin` with the settings of before.

        Raises:
            ValueError: the state is that of another seed or space.
        """
        levels = state["levels"].numpy()
        if state["seed"] != self._seed or levels.shape[1] != len(self._candidates):
            raise ValueError(
                f"the state of the pruner has seed {state['seed']} and {levels.shape[1]} candidates, this pruning has "
                f"seed {self._seed} and {len(self._candidates)}"
            )
        self._levels = list(levels)
        self.steps_taken = int(state["step"])
        self.done = bool(state["done"])
        if self._levels:
            self._update_mask()

    def first_scores(self, batches: Sequence[Batch], importance: str) -> Floats:
        """Scores of all candidates [J] on the first scoring network, by either importance.

        Raises:
            Unusable: some are not finite, or all are the same.
        """
        scorer = self._scorer(importance)
        scorer.begin(self._sample(batches, _step_seed(self._seed, 0)))
        scores, _ = scorer(self._start)
        return scores[~np.isnan(scores)]

    def _sample(self, batches: Sequence[Batch], seed: int) -> Sample:
        return Sample([scaled(batch, self.image_size) for batch in batches], seed)

    def _scorer(self, importance: str) -> Scorer:
        return Scorer(
            self._scoring_space,
            self._candidates,
            self.rankers,
            importance=importance,
            combine=self._combine,
            candidates_per_call=self._candidates_per_call,
            cuda_graphs=self.cuda_graphs,
        )

    def _check_enough(self) -> None:
        """Raise NothingUsable where the last step is taken, and more than half of them were of no use."""
        usable = len(self._levels)
        if self.done and usable < self.steps_taken / 2:
            raise NothingUsable(
                f"{usable or 'none'} of {self.steps_taken} repeat(s) could be used, too few for a mask; "
                f"the last one that could not, {self._last_error}"
            )

    def _half_agreement(self) -> float:
        everything = np.array(self._levels)
        return half_agreement(everything, lambda half: self._keep(half, everything), self._seed)

    def _agreement(self, levels_NJ: Floats, kept: Flags) -> float:
        """With the mask of another seed."""
        ties = itertools.count()

        def mask_of_another_seed(rows: Floats) -> Flags:
            return self._keep(rows, levels_NJ if len(rows) < len(levels_NJ) else rows, next(ties))

        if self._aggregate in LEANING:
            return drawn_agreement(levels_NJ, self._candidates, mask_of_another_seed, self._seed)
        halves = half_agreement(levels_NJ, mask_of_another_seed, self._seed)
        if np.ptp(levels_NJ, axis=0).max() == 0:  # more of the same repeats: only equals are left to differ
            return halves
        return whole_agreement(halves, len(levels_NJ), kept, self._candidates.groups)

    def _update_mask(self) -> None:
        """The mask of all repeats so far."""
        candidates, everything = self._candidates, np.array(self._levels)
        kept = candidates.kept(self._keep(everything, everything))
        scores = AGGREGATES[self._aggregate](everything, candidates, everything)
        named = candidates.named(
            [None if n == 1 else float(score) for score, n in zip(scores, candidates.alternatives, strict=True)]
        )
        self.mask = replace(self._whole, kept=kept, importance=named)

    def _keep(self, levels_NJ: Floats, everything_MJ: Floats, ties: int | None = None) -> Flags:
        """The flags of the candidates that N of all M repeats would keep, [J]; `ties`: a seed that orders equals."""
        candidates = self._candidates
        scores = AGGREGATES[self._aggregate](levels_NJ, candidates, everything_MJ)
        kept = self._start.copy()
        kept[candidates.remove(kept, scores, candidates.targets, ties)] = False
        return kept


class Repeat(NamedTuple):
    """What the pruning of one scoring network found.

    Attributes:
        levels: of every candidate, [J]; None where they cannot be used.
        metrics: what the ranking functions say of the whole network.
        error: why the levels cannot be used.
    """

    levels: Floats | None
    metrics: dict[str, float]
    error: Unusable | None = None


class NothingUsable(ValueError):
    """Too few repeats can be used, or none."""


def _one_of(setting: str, value: str, known: Sequence[str]) -> list[str]:
    return [] if value in known else [f"`{setting}` must be one of {', '.join(known)}, got {value!r}"]


def _step_seed(seed: int, step: int) -> int:
    """The seed of a repeat, from a stream of its own for every seed of a run; neighbouring streams do not overlap."""
    return (seed * 1_000_003 + step) % 2**63
