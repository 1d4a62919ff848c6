"""What the fused engine makes of the candidates that leave one state: families, passages, and the rest."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from halfnas.networks.fused.families import BARE, MAPPED, Family, Pool, fuses, norms_of, tracks
from halfnas.networks.fused.separable import Separable
from halfnas.spaces.operations import DilConv, SepConv


class Candidate(NamedTuple):
    """A candidate on an edge that leaves a state.

    Attributes:
        weight: where its weight stands among those of the cell.
        target: where the edge's target stands among those of the state.
    """

    operation: nn.Module
    weight: int
    target: int


class Passage(NamedTuple):
    """What reaches the targets without a weight or batch norm of its own.

    Attributes:
        module: a pool or the identity.
        start, stop: the channels of the state that it reads.
    """

    module: nn.Module
    start: int
    stop: int


Group = list[Candidate]  # of one name


def sort_out(candidates: Mapping[str, Sequence[Candidate]]) -> tuple[list[Group], tuple[Candidate, ...]]:
    """Those that the engine knows, by name, and the others."""
    operations = [member.operation for members in candidates.values() for member in members]
    # With running statistics everywhere but in some operations, these need those of the batch in evaluation too.
    any_tracked = any(norm.track_running_stats for operation in operations for norm in norms_of(operation))
    known: list[Group] = []
    others: Group = []
    for members in candidates.values():
        fits = all(fuses(m.operation) and (tracks(m.operation) or not any_tracked) for m in members)
        known += [list(members)] if fits else []
        others += [] if fits else members
    return known, tuple(others)


def families_of(groups: Sequence[Group]) -> tuple[list[Family], list[Group]]:
    """Families, and for each of their maps the candidates that it serves, in the order of its batch norms."""
    families: list[Family] = []
    of_map: list[Group] = []
    separable = [group for kind in (SepConv, DilConv) for group in groups if type(group[0].operation) is kind]
    if separable:
        families.append(
            Separable([[cast(SepConv | DilConv, member.operation) for member in group] for group in separable])
        )
        of_map += [[member] for group in separable for member in group]
    for kind, family in MAPPED.items():
        for group in groups:
            if type(group[0].operation) is kind:
                families.append(family([member.operation for member in group]))
                of_map += [group] if family is Pool else [[member] for member in group]
    return families, of_map


def passages_of(
    groups: Sequence[Group], edges: Sequence[tuple[int, int]], bypass: nn.Module, channels: int, width: int
) -> Iterator[tuple[Passage, Tensor, list[tuple[int, int, int]]]]:
    """What is mixed as it is, and the channels that pass by.

    Args:
        edges: weight and target of each.
        channels: C.
        width: c, the first channels of the state, which are mixed.

    Yields:
        A passage; zeros and ones [p, C, channels that it reads], where each of its p weights sends what; and for all
        these weights where they stand among those of the cell, their target and their number.
    """
    places = shuffled_places(channels, width)
    ones = torch.zeros(channels, channels)
    ones[places, range(channels)] = 1
    mixed, passing = ones.clone(), ones.clone()
    mixed[:, width:] = 0
    passing[:, :width] = 0
    skips: list[tuple[int, int]] = []
    pools: list[tuple[nn.Module, list[tuple[int, int]]]] = []
    for group in groups:
        module = group[0].operation
        if isinstance(module, BARE):
            members = [(member.weight, member.target) for member in group]
            if isinstance(module, nn.Identity):
                skips += members
            else:
                pools.append((module, members))
    if not isinstance(bypass, nn.Identity):
        assert not skips, "the identity has no stride"
        yield Passage(bypass, width, channels), passing[None, :, width:], [(*edge, 0) for edge in edges]
    elif width < channels or skips:  # the state itself
        kinds = [(passing, edges), (mixed, skips)]
        kinds = [(pattern, members) for pattern, members in kinds if members and pattern.any()]
        ways = [(*member, number) for number, (_, members) in enumerate(kinds) for member in members]
        yield Passage(bypass, 0, channels), torch.stack([pattern for pattern, _ in kinds]), ways
    for module, members in pools:
        yield Passage(module, 0, width), mixed[None, :, :width], [(*member, 0) for member in members]


def shuffled_places(channels: int, width: int) -> list[int]:
    """Where the channel shuffle sends each channel: i of group g moves to i * K + g, with K = C / c groups."""
    groups = channels // width
    return [i * groups + g for g in range(groups) for i in range(width)]
