"""Whether a mask is one of a space, and keeps what its ratio says."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from halfnas.runs.reading import quoted
from halfnas.spaces.ratio import num_kept
from halfnas.spaces.space import NONE, SearchSpace

if TYPE_CHECKING:
    from halfnas.spaces.mask import Importance, Mask


def check_fit(mask: "Mask", space: SearchSpace) -> None:
    """Raise ValueError where `mask` is of another space, or has what `space` has not."""
    if mask.space != space.name:
        raise ValueError(f"the mask belongs to space {quoted(mask.space)}, not to {space.name!r}")
    if set(mask.kept) != set(space.kinds):
        raise ValueError(
            f"the mask has cells {quoted(sorted(mask.kept))}, space {space.name} has {sorted(space.kinds)}"
        )
    for kind, edges in mask.kept.items():
        candidates = space.candidates(kind)
        if len(edges) != len(candidates):
            raise ValueError(f"cell {kind!r} has {len(candidates)} edges, the mask has {len(edges)}")
        for number, (names, known) in enumerate(zip(edges, candidates, strict=True)):
            if unknown := [name for name in names if name not in known]:
                raise ValueError(
                    f"edge {number} of cell {kind!r}: unknown operation {quoted(unknown[0])}; known: {', '.join(known)}"
                )
    if mask.importance is not None:
        _check_importance(mask.importance, space)


def _check_importance(importance: "Importance", space: SearchSpace) -> None:
    if stray := sorted(set(importance) - set(space.kinds)):
        raise ValueError(f"`importance` has a cell {quoted(stray[0])}, space {space.name} has {sorted(space.kinds)}")
    for kind, edges in importance.items():
        candidates = space.candidates(kind)
        if len(edges) != len(candidates):
            raise ValueError(f"`importance` of cell {kind!r} has {len(edges)} edges, not {len(candidates)}")
        for number, (scores, known) in enumerate(zip(edges, candidates, strict=True)):
            if unknown := [name for name in scores if name not in known]:
                where = f"`importance` of edge {number} of cell {kind!r}"
                raise ValueError(f"{where}: unknown operation {quoted(unknown[0])}")


def check_keeps_ratio(mask: "Mask", space: SearchSpace) -> None:
    """Raise ValueError where no pruning to the ratio of `mask` leaves as many candidates as it keeps.

    The ratio may be one of every edge, of every kind of cell or of all candidates, see `halfnas.pruning.competition`.
    A mask that nobody pruned may keep what it likes, at the ratio of 1 that it then has.
    """
    if mask.pruner == NONE and mask.ratio == 1:
        return
    of_kinds = [
        [(len(names), len(known)) for names, known in zip(edges, space.candidates(kind), strict=True)]
        for kind, edges in mask.kept.items()
    ]
    everything = [edge for edges in of_kinds for edge in edges]
    of_edges = [[edge] for edge in everything]
    if any(all(_keep(mask.ratio, group) for group in groups) for groups in (of_edges, of_kinds, [everything])):
        return
    kept, known = map(sum, zip(*everything, strict=True))
    raise ValueError(
        f"`ratio` {mask.ratio:g} contradicts what is kept, {kept} of {known} candidates: that fraction is kept neither "
        "of edges, nor of cells, nor of all; leave out `ratio` and `pruner` where no pruner made the mask"
    )


def _keep(ratio: float, edges: Sequence[tuple[int, int]]) -> bool:
    """Whether edges keep that fraction of their candidates, or one each where that is more; each as (kept, all)."""
    kept, known = map(sum, zip(*edges, strict=True))
    return kept == max(num_kept(ratio, known), len(edges))
