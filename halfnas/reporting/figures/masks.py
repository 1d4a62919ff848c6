"""The masks of a group's runs, and how far masks agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from halfnas.drawing.layout import edge_name
from halfnas.reporting.groups import Group
from halfnas.spaces import Mask, load_space
from halfnas.spaces.agreement import agreement
from halfnas.spaces.candidates import Candidates


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


def candidates_of(space: str, masks: Sequence[Mask]) -> Candidates:
    """Number the candidates of a space: those that its yaml names, or where there is none those that masks keep."""
    try:
        return Candidates.of(load_space(space))
    except (ValueError, TypeError):  # of another project: no file describes it
        return Candidates.of_masks(masks)


def edge_names(space: str, candidates: Candidates) -> dict[str, list[str]]:
    """Name the edges: kind of cell -> the states that each joins, or its number where nothing describes the space."""
    try:
        kinds = load_space(space).kinds
    except (ValueError, TypeError):
        return {kind: [str(edge) for edge in range(len(edges))] for kind, edges in candidates.names.items()}
    return {name: [edge_name(edge, kind) for edge in kind.edges] for name, kind in kinds.items()}


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
