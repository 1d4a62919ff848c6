"""Which candidates of a space compete for being kept, and which of them are removed."""

from functools import lru_cache

import numpy as np

from halfnas.spaces import Mask, SearchSpace, num_kept, tie_break
from halfnas.spaces.candidates import Candidates, Flags, Floats, Indices

#: What a ratio is kept of, and so among which candidates the least important one is sought.
SCOPES = ("edge", "kind", "global")


class Competition(Candidates):
    """The J candidates of a space in groups, each of which keeps a part of its own.

    Attributes:
        groups: number of the group that a candidate competes in, [J]: its edge, its kind of cell, or 0.
        targets: candidates to keep of every group.

    Args:
        ratio: the fraction to keep of every group.
        scope: see `SCOPES`.
        seed: orders candidates with exactly equal scores, see `halfnas.spaces.ties`.

    Raises:
        ValueError: an unknown scope.
    """

    def __init__(self, space: SearchSpace, ratio: float = 1.0, scope: str = "edge", seed: int = 0) -> None:
        if scope not in SCOPES:
            raise ValueError(f"`scope` must be one of {', '.join(SCOPES)}, got {scope!r}")
        super().__init__(Candidates.of(space).names)
        self.space = space
        self.scope = scope
        self.seed = seed
        self._ties = lru_cache(maxsize=None)(self._order_of_equals)
        kinds = list(self.names)
        groups = {
            "edge": self.edges,
            "kind": np.array([kinds.index(place.kind) for place in self.places]),
            "global": np.zeros(len(self), dtype=np.int64),
        }
        self.groups: Indices = groups[scope]
        # Every edge keeps a candidate, so that a group keeps as many as it has edges.
        self.targets: Indices = np.array(
            [
                max(num_kept(ratio, int((self.groups == g).sum())), len(np.unique(self.edges[self.groups == g])))
                for g in range(self.groups.max() + 1)
            ]
        )

    def mask(self, flags: Flags) -> Mask:
        """The mask that keeps the flagged candidates, [J]."""
        return Mask(self.space.name, self.kept(flags))

    def remove(self, kept: Flags, scores: Floats, targets: Indices, seed: int | None = None) -> list[int]:
        """The candidates to remove for every group to come down to its target, the least important one first.

        The last candidate of an edge besides `none` is never removed. Exact equals go in an order that the seed gives
        them, the same in every call.

        Args:
            kept: flags of the candidates that are left, [J].
            scores: the score of every candidate, [J]; where it is NaN the candidate is not touched.
            targets: the number of candidates to keep of every group.
            seed: orders equals instead of the seed of the competition.

        Returns:
            The numbers of the candidates, in the order of their removal.
        """
        others = np.bincount(self.edges[kept & ~self.is_none], minlength=self.edges[-1] + 1)
        surplus = np.bincount(self.groups[kept], minlength=len(targets)) - targets
        removed = []
        order = np.lexsort((self._ties(self.seed if seed is None else seed), scores))
        waiting = [int(j) for j in order if kept[j] and not np.isnan(scores[j])]
        for j in waiting:
            group, edge = self.groups[j], self.edges[j]
            if surplus[group] <= 0 or (not self.is_none[j] and others[edge] == 1):
                continue
            others[edge] -= not self.is_none[j]
            surplus[group] -= 1
            removed.append(j)
        return removed

    def _order_of_equals(self, seed: int) -> Indices:
        """Of equals the one with the smallest number is removed first, the one that is preferred last, [J]."""
        keys = [tie_break(seed, place.kind, place.edge, place.operation) for place in self.places]
        ranks = np.empty(len(keys), dtype=np.int64)
        ranks[sorted(range(len(keys)), key=keys.__getitem__, reverse=True)] = np.arange(len(keys))
        return ranks
