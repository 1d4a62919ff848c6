"""Which candidates of a space compete for being kept, and which of them are removed."""

import numpy as np

from halfnas.spaces import Mask, SearchSpace, num_kept
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

    Raises:
        ValueError: an unknown scope.
    """

    def __init__(self, space: SearchSpace, ratio: float = 1.0, scope: str = "edge") -> None:
        if scope not in SCOPES:
            raise ValueError(f"`scope` must be one of {', '.join(SCOPES)}, got {scope!r}")
        super().__init__(Candidates.of(space).names)
        self.space = space
        self.scope = scope
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

    def remove(self, kept: Flags, scores: Floats, targets: Indices) -> list[int]:
        """The candidates to remove for every group to come down to its target, the least important one first.

        The last candidate of an edge besides `none` is never removed. Of equals the one that comes first goes first.

        Args:
            kept: flags of the candidates that are left, [J].
            scores: the score of every candidate, [J]; where it is NaN the candidate is not touched.
            targets: the number of candidates to keep of every group.

        Returns:
            The numbers of the candidates, in the order of their removal.
        """
        others = np.bincount(self.edges[kept & ~self.is_none], minlength=self.edges[-1] + 1)
        surplus = np.bincount(self.groups[kept], minlength=len(targets)) - targets
        removed = []
        order = np.argsort(scores, kind="stable")
        waiting = [int(j) for j in order if kept[j] and not np.isnan(scores[j])]
        for j in waiting:
            group, edge = self.groups[j], self.edges[j]
            if surplus[group] <= 0 or (not self.is_none[j] and others[edge] == 1):
                continue
            others[edge] -= not self.is_none[j]
            surplus[group] -= 1
            removed.append(j)
        return removed
