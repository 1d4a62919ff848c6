"""The masks of a group's runs, and how far masks agree."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from halfnas.drawing.layout import edge_name
from halfnas.reporting.groups import Group
from halfnas.reporting.known import known_space
from halfnas.spaces import Mask
from halfnas.spaces.agreement import agreement
from halfnas.spaces.candidates import Candidates

K = TypeVar("K")
V = TypeVar("V")


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
    """Find the groups with masks, and say what is wrong with masks that cannot be read or compared with the others."""
    read: list[tuple[Group, int, Mask]] = []
    problems = []
    for group in groups:
        for run in group.runs:
            try:
                mask = run.mask
            except ValueError as error:
                problems.append(str(error))
                continue
            if mask is not None:
                read.append((group, run.seed or 0, mask))
    spaces = _most_common((group, mask.space) for group, _, mask in read)
    shapes = _most_common((mask.space, _shape(mask)) for _, _, mask in read)
    masks: dict[Group, dict[int, Mask]] = {}
    for group, seed, mask in read:
        if mask.space == spaces[group] and _shape(mask) == shapes[mask.space]:
            masks.setdefault(group, {})[seed] = mask
        else:
            problems.append(f"{mask.source}: not of the same space and cells as the masks of other seeds or groups")
    return [Masked(group, of_seeds) for group, of_seeds in masks.items()], problems


def _most_common(pairs: Iterable[tuple[K, V]]) -> dict[K, V]:
    """The value that each key has most often."""
    counts: dict[K, Counter[V]] = {}
    for key, value in pairs:
        counts.setdefault(key, Counter())[value] += 1
    return {key: values.most_common(1)[0][0] for key, values in counts.items()}


def _shape(mask: Mask) -> frozenset[tuple[str, int]]:
    """The kinds of cell, and how many edges each has."""
    return frozenset((kind, len(edges)) for kind, edges in mask.kept.items())


def candidates_of(space: str, masks: Sequence[Mask]) -> Candidates:
    """Number the candidates of a space: those that its yaml names, or where there is none those that masks keep."""
    known = known_space(space)
    return Candidates.of_masks(masks) if known is None else Candidates.of(known)


def edge_names(space: str, candidates: Candidates) -> dict[str, list[str]]:
    """Name the edges: kind of cell -> the states that each joins, or its number where nothing describes the space."""
    known = known_space(space)
    if known is None:
        return {kind: [str(edge) for edge in range(len(edges))] for kind, edges in candidates.names.items()}
    return {name: [edge_name(edge, kind) for edge in kind.edges] for name, kind in known.kinds.items()}


def agreement_of(first: Masked, second: Masked, candidates: Candidates) -> tuple[float, float, int] | None:
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
    for of in (candidates.flags, candidates.fractions):
        p_SJ, q_TJ = (np.array([of(mask.kept) for mask in masked.masks.values()]) for masked in (first, second))
        found.append(float(agreement(p_SJ[:, None], q_TJ)[pairs].mean()))
    number = int(pairs.sum())
    return found[0], found[1], number // 2 if first is second else number
