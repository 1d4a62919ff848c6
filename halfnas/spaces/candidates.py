"""All candidates of a space in a row, so that masks, scores and shares are vectors.

J candidates, numbered kind after kind, edge after edge, in the order in which the space names them.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from halfnas.spaces.mask import Kept, Mask
from halfnas.spaces.space import NONE, SearchSpace, is_chain

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Indices = NDArray[np.int64]

T = TypeVar("T")


class Place(NamedTuple):
    """The place of a candidate: its operation on one edge of one kind of cell."""

    kind: str
    edge: int
    operation: str


class Candidates:
    """Numbers the J candidates of a space, or of what a mask leaves of it.

    Attributes:
        names: kind of cell -> the candidates of every edge.
        places: the place of every candidate, [J].
        index: place -> number.
        within: the number of every candidate among those of its edge, [J].
        edges: the number of its edge, counted through all kinds, [J].
        alternatives: how many candidates its edge has, [J].
        families: the number of those with the same operation in the same kind of cell, [J].
        is_none: whether it is `none`, [J].

    Args:
        names: kind of cell -> the names of the candidates of every edge.
    """

    def __init__(self, names: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self.names: Kept = {kind: tuple(tuple(edge) for edge in edges) for kind, edges in names.items()}
        sizes = [len(edge) for edges in self.names.values() for edge in edges]
        self.places: tuple[Place, ...] = tuple(
            Place(kind, e, name) for kind, edges in self.names.items() for e, edge in enumerate(edges) for name in edge
        )
        self.index = {place: j for j, place in enumerate(self.places)}
        self.within: Indices = np.array([o for size in sizes for o in range(size)], dtype=np.int64)
        self.edges: Indices = np.repeat(np.arange(len(sizes)), sizes)
        self.alternatives: Indices = np.repeat(sizes, sizes)
        families = {name: number for number, name in enumerate(dict.fromkeys((p.kind, p.operation) for p in self))}
        self.families: Indices = np.array([families[p.kind, p.operation] for p in self], dtype=np.int64)
        self.is_none: Flags = np.array([place.operation == NONE for place in self], dtype=bool)
        ends = list(accumulate((sum(map(len, edges)) for edges in self.names.values()), initial=0))
        self._slices = {kind: slice(*pair) for kind, pair in zip(self.names, pairwise(ends), strict=True)}

    @classmethod
    def of(cls, space: SearchSpace) -> "Candidates":
        """Number the candidates of a space."""
        return Candidates({kind: space.candidates(kind) for kind in space.kinds})

    @classmethod
    def of_masks(cls, masks: Sequence[Mask]) -> "Candidates":
        """Number the candidates that some of these masks keep, sorted by name: for a space that nothing describes."""
        first = masks[0].kept
        return Candidates(
            {
                kind: [sorted({name for mask in masks for name in mask.kept[kind][e]}) for e in range(len(first[kind]))]
                for kind in first
            }
        )

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[Place]:
        return iter(self.places)

    def of_kind(self, kind: str) -> slice:
        """The part of [J] that belongs to a kind of cell."""
        return self._slices[kind]

    def tables(self) -> list[tuple[str, ...]]:
        """The kinds of cell that are shown in one table: one each, or all layers of a chain together."""
        return [tuple(self.names)] if is_chain(self.names) else [(kind,) for kind in self.names]

    def operations(self, *kinds: str) -> tuple[str, ...]:
        """All names of some kinds of cell, each once, in the order of their first appearance."""
        return tuple(dict.fromkeys(name for kind in kinds for edge in self.names[kind] for name in edge))

    def flags(self, kept: Kept) -> Flags:
        """The indicator I of a mask: whether it keeps a candidate, [J]."""
        return np.array([p.operation in kept[p.kind][p.edge] for p in self.places], dtype=bool)

    def kept(self, flags: Flags) -> Kept:
        """The names of the flagged candidates, [J], as a mask has them."""
        return {
            kind: tuple(tuple(name for name, flag in edge.items() if flag) for edge in edges)
            for kind, edges in self.named(flags.tolist()).items()
        }

    def named(self, values: Sequence[T]) -> dict[str, list[dict[str, T]]]:
        """Name the values of all candidates, [J]: kind of cell -> for every edge {name: value}."""
        numbers = iter(values)
        return {kind: [{name: next(numbers) for name in edge} for edge in edges] for kind, edges in self.names.items()}

    def fractions(self, kept: Kept) -> Floats:
        """The fraction that a mask keeps of the edge of every candidate, [J]."""
        flags = self.flags(kept)
        return (np.bincount(self.edges, weights=flags) / np.bincount(self.edges))[self.edges]

    def grid(self, kinds: Sequence[str], values_J: Floats) -> Floats:
        """The values of some kinds of cell, [edges, operations]; NaN where an edge has no such candidate."""
        operations = self.operations(*kinds)
        rows = {
            (kind, e): row for row, (kind, e) in enumerate((k, e) for k in kinds for e in range(len(self.names[k])))
        }
        grid = np.full((len(rows), len(operations)), np.nan)
        for place, value in zip(self.places, values_J, strict=True):
            if place.kind in kinds:
                grid[rows[place.kind, place.edge], operations.index(place.operation)] = value
        return grid
