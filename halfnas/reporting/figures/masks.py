"""The masks of a group's runs, and how far masks agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from halfnas.drawing.layout import edge_name
from halfnas.reporting.groups import Group
from halfnas.spaces import Mask, load_space
from halfnas.spaces.agreement import agreement


@dataclass(frozen=True)
class Masked:
    """A group and the masks of its runs, by seed."""

    group: Group
    masks: Mapping[int, Mask]

    @property
    def space(self) -> str:
        """The name of the space that the masks are of."""
        return next(iter(self.masks.values())).space


def masked_groups(groups: Sequence[Group]) -> tuple[list[Masked], list[str]]:
    """Find the groups with masks of one space, and say what is wrong with masks that cannot be read."""
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
    """The J candidates of a space in a row: those that its yaml names, or where there is none those that masks keep.

    Attributes:
        edges: kind of cell -> a name an edge.
        operations: kind of cell -> all names of its candidates.
        all: kind, edge and name of every candidate.
    """

    def __init__(self, space: str, masks: Sequence[Mask]) -> None:
        try:
            kinds = load_space(space).kinds
        except (ValueError, TypeError):  # of another project: no file describes it
            kinds = {}
        if kinds:
            self.edges = {kind: [edge_name(edge, cell) for edge in cell.edges] for kind, cell in kinds.items()}
            candidates = {kind: [edge.candidates for edge in cell.edges] for kind, cell in kinds.items()}
        else:
            kept = {kind: list(zip(*(mask.kept[kind] for mask in masks), strict=True)) for kind in masks[0].kept}
            self.edges = {kind: [str(edge) for edge in range(len(edges))] for kind, edges in kept.items()}
            candidates = {kind: [tuple(sorted(set().union(*edge))) for edge in edges] for kind, edges in kept.items()}
        self.operations = {kind: list(dict.fromkeys(chain(*edges))) for kind, edges in candidates.items()}
        self.all = [(k, e, name) for k, edges in candidates.items() for e, names in enumerate(edges) for name in names]
        self._sizes = np.array([len(candidates[kind][edge]) for kind, edge, _ in self.all])

    def flags(self, mask: Mask) -> NDArray[np.float64]:
        """Give every candidate 1 where it is kept and 0 where it is not, [J]."""
        return np.array([float(name in mask.kept[kind][edge]) for kind, edge, name in self.all])

    def fractions(self, mask: Mask) -> NDArray[np.float64]:
        """Give every candidate the fraction that is kept of its edge, [J]."""
        return np.array([len(mask.kept[kind][edge]) for kind, edge, _ in self.all]) / self._sizes

    def grid(self, kind: str, shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Arrange [J] numbers of one kind of cell as [edges, operations]; NaN where an edge has no such candidate."""
        grid = np.full((len(self.edges[kind]), len(self.operations[kind])), np.nan)
        for (name, edge, operation), share in zip(self.all, shares, strict=True):
            if name == kind:
                grid[edge, self.operations[kind].index(operation)] = share
        return grid


def agreement_of(first: Masked, second: Masked, places: Places) -> tuple[float, float, int] | None:
    """Compute the share of equal decisions, what it would be by chance, and of how many pairs of masks.

    Pairs are of different seeds; where there are none, two groups are compared at equal seeds. By chance: masks that
    keep as many on each edge, at random.
    """
    pairs = np.not_equal.outer(list(first.masks), list(second.masks))
    if not pairs.any() and first is not second:
        pairs = ~pairs
    if not pairs.any():
        return None
    found = []
    for of in (places.flags, places.fractions):
        p_SJ, q_TJ = (np.array([of(mask) for mask in masked.masks.values()]) for masked in (first, second))
        found.append(float(agreement(p_SJ[:, None], q_TJ)[pairs].mean()))
    number = int(pairs.sum())
    return found[0], found[1], number // 2 if first is second else number
