"""What the fused engine makes of the candidates that leave one state: families, passages, and the rest.

Letters as in the package docstring.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from halfnas.networks.fused.batch_norms import has_usual_norms, norms_of, tracks
from halfnas.networks.fused.dense import Convolution, Reduce
from halfnas.networks.fused.families import Family
from halfnas.networks.fused.passages import Passage, patterns
from halfnas.networks.fused.pools import Pool
from halfnas.networks.fused.separable import Separable
from halfnas.spaces.operations import DilConv, FactorizedReduce, PoolBN, ReLUConvBN, SepConv

#: Which operations run as a family of their own; SepConv and DilConv share one, see separable.py.
MAPPED: dict[type[nn.Module], Callable[..., Family]] = {
    PoolBN: Pool,
    FactorizedReduce: Reduce,
    ReLUConvBN: Convolution,
}

#: Operations without parameters or batch norm: what they give is mixed as it is.
BARE = (nn.AvgPool2d, nn.Identity)


class Candidate(NamedTuple):
    """A candidate on an edge that leaves a state.

    Attributes:
        operation: its module.
        weight: where its weight stands among those of the cell.
        target: which of the T nodes its edge leads to.
    """

    operation: nn.Module
    weight: int
    target: int


class Way(NamedTuple):
    """A weight of the cell on its way to a node.

    Attributes:
        weight: where it stands among those of the cell.
        target: which of the T nodes it leads to.
        number: what it weighs on the way there: which map, or which of the p weights of a passage.
    """

    weight: int
    target: int
    number: int


Group = list[Candidate]  # of one name


def sort_out(candidates: Mapping[str, Sequence[Candidate]]) -> tuple[list[Group], tuple[Candidate, ...]]:
    """The candidates that the engine knows, by name, and the others."""
    operations = [member.operation for members in candidates.values() for member in members]
    # With running statistics everywhere but in some operations, these need those of the batch in evaluation too.
    any_tracked = any(norm.track_running_stats for operation in operations for norm in norms_of(operation))
    known: list[Group] = []
    others: Group = []
    for members in candidates.values():
        if all(fuses(m.operation) and (tracks(m.operation) or not any_tracked) for m in members):
            known.append(list(members))
        else:
            others += members
    return known, tuple(others)


def fuses(operation: nn.Module) -> bool:
    """Whether the engine knows what the operation is made of."""
    return type(operation) in (SepConv, DilConv, *MAPPED, *BARE) and has_usual_norms(operation)


def families_of(groups: Sequence[Group]) -> tuple[list[Family], list[Group]]:
    """The families, and for each of their maps the candidates that it serves, in the order of its batch norms."""
    families: list[Family] = []
    served: list[Group] = []
    separable = [group for kind in (SepConv, DilConv) for group in groups if type(group[0].operation) is kind]
    if separable:
        families.append(
            Separable([[cast(SepConv | DilConv, member.operation) for member in group] for group in separable])
        )
        served += [[member] for group in separable for member in group]
    for kind, family in MAPPED.items():
        for group in groups:
            if type(group[0].operation) is kind:
                families.append(family([member.operation for member in group]))
                served += [group] if family is Pool else [[member] for member in group]
    return families, served


def passages_of(
    groups: Sequence[Group], edges: Sequence[tuple[int, int]], bypass: nn.Module, channels: int, width: int
) -> Iterator[tuple[Passage, list[Way]]]:
    """The candidates that are mixed as they are, and the channels that pass by.

    Args:
        groups: the candidates that the engine knows, by name.
        edges: for each edge where its weight stands among those of the cell, and its target.
        bypass: what the channels that are not mixed pass through.
        channels: C.
        width: c, the first channels of the state, which are mixed.

    Yields:
        A passage, and the ways of the weights that it reads.
    """
    mixed, passing = patterns(channels, width)
    bare = [(group[0].operation, [member[1:] for member in group]) for group in groups if _is_bare(group)]
    skips = [member for module, members in bare if isinstance(module, nn.Identity) for member in members]
    if not isinstance(bypass, nn.Identity):
        assert not skips, "the identity has no stride"
        yield Passage(bypass, width, channels, passing[None, :, width:]), [Way(*edge, 0) for edge in edges]
    elif width < channels or skips:  # the state itself
        kinds: list[tuple[Tensor, Sequence[tuple[int, int]]]] = [(passing, edges), (mixed, skips)]
        kinds = [(pattern, members) for pattern, members in kinds if members and pattern.any()]
        ways = [Way(*member, number) for number, (_, members) in enumerate(kinds) for member in members]
        yield Passage(bypass, 0, channels, torch.stack([pattern for pattern, _ in kinds])), ways
    for module, members in bare:
        if not isinstance(module, nn.Identity):
            yield Passage(module, 0, width, mixed[None, :, :width]), [Way(*member, 0) for member in members]


def _is_bare(group: Group) -> bool:
    return isinstance(group[0].operation, BARE)
