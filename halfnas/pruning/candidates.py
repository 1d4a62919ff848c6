"""All candidates of a space in a row, so that scores and masks are vectors."""

from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from halfnas.spaces import NONE, Mask, SearchSpace, num_kept
from halfnas.spaces.mask import Kept

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]

#: What a ratio is kept of, and so among which candidates the least important one is sought.
SCOPES = ("edge", "kind", "global")


class Place(NamedTuple):
    """Where a candidate stands."""

    kind: str
    edge: int
    operation: str


class Candidates:
    """The J candidates of a space, kind after kind, edge after edge.

    Attributes:
        places: of every candidate.
        edges: number of its edge, counted through all kinds, [J].
        groups: number of the group that it competes in, [J]: its edge, its kind of cell, or 0.
        targets: candidates to keep of every group.
        families: number of those with the same operation in the same kind of cell, [J].
        is_none: whether it is `none`, [J].

    Args:
        ratio: what to keep of every group.
        scope: see `SCOPES`.
    """

    def __init__(self, space: SearchSpace, ratio: float = 1.0, scope: str = "edge") -> None:
        if scope not in SCOPES:
            raise ValueError(f"`scope` must be one of {', '.join(SCOPES)}, got {scope!r}")
        numbers = count()
        places, edges = [], []
        for kind in space.kinds:
            for edge, names in enumerate(space.candidates(kind)):
                number = next(numbers)
                places += [Place(kind, edge, name) for name in names]
                edges += [number] * len(names)
        kinds = list(space.kinds)
        self.space = space
        self.scope = scope
        self.places: Sequence[Place] = tuple(places)
        self.index = {place: j for j, place in enumerate(self.places)}
        self.edges: Indices = np.array(edges)
        families = {name: number for number, name in enumerate(dict.fromkeys((p.kind, p.operation) for p in places))}
        self.families: Indices = np.array([families[p.kind, p.operation] for p in places])
        self.is_none: Flags = np.array([place.operation == NONE for place in places])
        groups = {"edge": edges, "kind": [kinds.index(p.kind) for p in places], "global": [0] * len(places)}
        self.groups: Indices = np.array(groups[scope])
        # Every edge keeps a candidate, so that a group keeps as many as it has edges.
        self.targets: Indices = np.array(
            [
                max(num_kept(ratio, int((self.groups == g).sum())), len(np.unique(self.edges[self.groups == g])))
                for g in range(self.groups.max() + 1)
            ]
        )

    def flags(self, kept: Kept) -> Flags:
        """Which candidates a mask keeps, [J]."""
        return np.array([p.operation in kept[p.kind][p.edge] for p in self.places])

    def kept(self, flags: Flags) -> Kept:
        """The names, as a mask has them."""
        return {
            kind: tuple(
                tuple(name for name in names if flags[self.index[Place(kind, edge, name)]])
                for edge, names in enumerate(self.space.candidates(kind))
            )
            for kind in self.space.kinds
        }

    def mask(self, flags: Flags) -> Mask:
        """The mask that keeps these."""
        return Mask(self.space.name, self.kept(flags))

    def remove(self, kept: Flags, scores: Floats, targets: Indices) -> list[int]:
        """The candidates to remove for every group to come down to its target, the least important one first.

        The last candidate of an edge besides `none` is never removed. Of equals the one that comes first goes first.

        Args:
            kept: those that are left, [J].
            scores: [J]; where it is NaN a candidate is not touched.
            targets: of every group.
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
