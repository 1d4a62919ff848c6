"""Which candidates every edge has, where a space of cells leaves some of them out."""

from collections.abc import Collection, Mapping, Sequence
from typing import cast

from halfnas.spaces.space import NONE

#: The candidates of all edges of all kinds; or kind of cell -> those of all of its edges, or a list an edge.
EdgeCandidates = Sequence[str] | Mapping[str, Sequence[str] | Sequence[Sequence[str]]]


def candidates_of_edges(
    candidates: EdgeCandidates, kinds: Sequence[str], num_edges: int, known: Collection[str]
) -> dict[str, tuple[tuple[str, ...], ...]]:
    """The candidates of every edge of every kind of cell.

    Args:
        candidates: as they stand in the yaml of a space.
        kinds: the names of all kinds.
        num_edges: how many edges a cell of any kind has.
        known: the operations that there are.

    Raises:
        ValueError: a kind too many or too few, not a list an edge, an unknown operation or one twice, or nothing but
            `none` on an edge.
    """
    of_kinds = candidates if isinstance(candidates, Mapping) else dict.fromkeys(kinds, candidates)
    if set(of_kinds) != set(kinds):
        raise ValueError(f"`candidates` must name the cells {', '.join(kinds)}, got {', '.join(of_kinds) or 'none'}")
    found = {}
    for kind in kinds:
        listed = of_kinds[kind]
        if all(isinstance(name, str) for name in listed):
            listed = [cast(Sequence[str], listed)] * num_edges
        elif any(isinstance(edge, str) for edge in listed):
            raise ValueError(f"`candidates` of cell {kind!r}: names and lists of names are mixed")
        if len(listed) != num_edges:
            raise ValueError(
                f"`candidates` of cell {kind!r} must be one list for all edges, or {num_edges} lists, one an edge; "
                f"got {len(listed)} lists"
            )
        found[kind] = tuple(tuple(edge) for edge in listed)
        for number, edge in enumerate(found[kind]):
            where = f"`candidates` of edge {number} of cell {kind!r}"
            if unknown := [name for name in edge if name not in known]:
                raise ValueError(f"{where}: unknown operation {unknown[0]!r}; known: {', '.join(known)}")
            if not set(edge) - {NONE}:
                raise ValueError(f"{where} must have an operation besides {NONE!r}, got {list(edge)}")
            if len(set(edge)) != len(edge):
                raise ValueError(f"{where} name an operation twice: {', '.join(edge)}")
    return found
