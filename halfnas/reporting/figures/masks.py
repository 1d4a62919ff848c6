"""The masks of a group's runs, and how far masks agree."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from halfnas.drawing.layout import state_name
from halfnas.reporting.groups import Group
from halfnas.spaces import Mask, load_space

Place = tuple[str, int, str]  # kind of cell, edge, operation


@dataclass(frozen=True)
class Masked:
    """A group and the masks of its runs, by seed."""

    group: Group
    masks: Mapping[int, Mask]

    @property
    def space(self) -> str:
        """That of the masks."""
        return next(iter(self.masks.values())).space


def masked_groups(groups: Sequence[Group]) -> tuple[list[Masked], list[str]]:
    """Groups with masks of one space, and what is wrong with masks that cannot be read."""
    found, problems = [], []
    for group in groups:
        masks: dict[int, Mask] = {}
        for run in group.runs:
            try:
                mask = run.mask
            except ValueError as error:
                problems.append(str(error))
                continue
            if mask is not None:
                masks[run.seed or 0] = mask
        if masks and len({mask.space for mask in masks.values()}) == 1:
            found.append(Masked(group, masks))
    return found, problems


class Places:
    """All candidates of a space: those that its description names, or where there is none those that masks keep."""

    def __init__(self, space: str, masks: Sequence[Mask]) -> None:
        self.edges: dict[str, list[str]] = {}
        self.operations: dict[str, list[str]] = {}
        self.all: list[Place] = []
        try:
            kinds = load_space(space).kinds
        except (ValueError, TypeError):  # of another project: no file describes it
            kinds = {}
        for kind, cell in kinds.items():
            names = [f"{state_name(edge.source, cell)} $\\to$ {state_name(edge.target, cell)}" for edge in cell.edges]
            self._add(kind, names, [edge.candidates for edge in cell.edges])
        if not kinds:
            for kind, edges in masks[0].kept.items():
                kept = [sorted({o for mask in masks for o in mask.kept[kind][i]}) for i in range(len(edges))]
                self._add(kind, [str(i) for i in range(len(edges))], kept)

    def _add(self, kind: str, names: list[str], candidates: Sequence[Sequence[str]]) -> None:
        self.edges[kind] = names
        self.operations[kind] = list(dict.fromkeys(name for edge in candidates for name in edge))
        self.all += [(kind, edge, name) for edge, each in enumerate(candidates) for name in each]

    @cached_property
    def _sizes(self) -> NDArray[np.float64]:
        """Candidates of the edge of every place."""
        edges = [place[:2] for place in self.all]
        counts = Counter(edges)
        return np.array([counts[edge] for edge in edges], float)

    def flags(self, mask: Mask) -> NDArray[np.float64]:
        """1 where a place is kept."""
        return np.array([float(name in mask.kept[kind][edge]) for kind, edge, name in self.all])

    def fractions(self, mask: Mask) -> NDArray[np.float64]:
        """The fraction that is kept of the edge of every place."""
        kept = np.array([len(mask.kept[kind][edge]) for kind, edge, _ in self.all], float)
        return kept / self._sizes

    def grid(self, kind: str, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of one kind of cell, edges x operations; NaN where an edge has no such candidate."""
        grid = np.full((len(self.edges[kind]), len(self.operations[kind])), np.nan)
        for (name, edge, operation), share in zip(self.all, shares, strict=True):
            if name == kind:
                grid[edge, self.operations[kind].index(operation)] = share
        return grid


def agreement(first: Masked, second: Masked, places: Places) -> tuple[float, float, int] | None:
    """Share of equal decisions, what it would be by chance, and of how many pairs of masks.

    Pairs of different seeds; where there are none, two groups are compared at equal seeds. By chance: masks that keep
    as many on each edge, at random: kept fractions p, q agree on p q + (1 - p) (1 - q).
    """
    pairs = [(a, b) for s, a in first.masks.items() for t, b in second.masks.items() if s != t]
    if not pairs and first is not second:
        pairs = [(a, second.masks[s]) for s, a in first.masks.items() if s in second.masks]
    if not pairs:
        return None
    left, right = (list({id(pair[side]): pair[side] for pair in pairs}.values()) for side in (0, 1))
    row, column = ({id(mask): i for i, mask in enumerate(masks)} for masks in (left, right))
    chosen = tuple(np.array([(row[id(a)], column[id(b)]) for a, b in pairs]).T)
    equal, chance = (
        _alike(np.array([of(m) for m in left]), np.array([of(m) for m in right]))[chosen].mean()
        for of in (places.flags, places.fractions)
    )
    return float(equal), float(chance), len(pairs) // 2 if first is second else len(pairs)


def _alike(p: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over places of p q + (1 - p) (1 - q), rows of one against rows of the other."""
    return (p @ q.T + (1 - p) @ (1 - q).T) / p.shape[1]
