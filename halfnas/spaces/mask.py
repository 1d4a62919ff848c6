"""A mask: which candidates of a space are kept, as an immutable value and as a small JSON file."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt, StrictStr

from halfnas.runs.files import entry, read_json, write_json
from halfnas.runs.reading import in_short
from halfnas.spaces.fit import check_fit, check_keeps_ratio
from halfnas.spaces.ratio import check_ratio, num_kept
from halfnas.spaces.space import NONE, SearchSpace

FORMAT = 1

#: kind -> one tuple of operation names an edge
Kept = Mapping[str, tuple[tuple[str, ...], ...]]
#: kind -> one {operation: score or None} an edge
Importance = Mapping[str, Sequence[Mapping[str, float | None]]]
#: The same as they stand in a file.
KeptFile = Annotated[dict[str, list[list[StrictStr]]], Field(min_length=1)]
ImportanceFile = dict[str, list[dict[str, Annotated[float, Field(strict=True)] | None]]]


@dataclass(frozen=True)
class Mask:
    """The kept candidates of every edge of every kind of cell (the indicator I of Eq. 1 of arXiv 2505.13586).

    Attributes:
        space: name of the space.
        kept: kind -> one tuple of operation names an edge, in the order of the space's candidates.
        ratio: the fraction asked for; what was kept is `kept_fraction(space)`.
        pruner, seed: what made it.
        importance: the score of each candidate over all repeats, where the pruner gives one.
        source: the file that it was read from, which errors name; empty where there is none.
    """

    space: str
    kept: Kept
    ratio: float = 1.0
    pruner: str = NONE
    seed: int = 0
    importance: Importance | None = None
    source: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        check_ratio(self.ratio)
        kept = {kind: tuple(tuple(edge) for edge in edges) for kind, edges in self.kept.items()}
        for kind, edges in kept.items():
            for number, edge in enumerate(edges):
                where = f"edge {number} of cell {kind!r}"
                if not edge:
                    raise ValueError(f"{where} keeps no candidate; every edge must keep at least one besides {NONE!r}")
                if set(edge) == {NONE}:
                    raise ValueError(f"{where} keeps only {NONE!r}; every edge must keep at least one other operation")
                if len(set(edge)) != len(edge):
                    raise ValueError(f"{where} names a candidate twice: {', '.join(edge)}")
        object.__setattr__(self, "kept", MappingProxyType(kept))
        if self.importance is not None:
            frozen = {kind: tuple(MappingProxyType(dict(e)) for e in edges) for kind, edges in self.importance.items()}
            object.__setattr__(self, "importance", MappingProxyType(frozen))

    def __hash__(self) -> int:
        return hash((self.space, self.ratio, self.pruner, self.seed, *sorted(self.kept.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        scores = self.importance and {kind: [dict(e) for e in edges] for kind, edges in self.importance.items()}
        return Mask, (self.space, dict(self.kept), self.ratio, self.pruner, self.seed, scores, self.source)

    @classmethod
    def full(cls, space: SearchSpace) -> "Mask":
        """Everything is kept."""
        return cls(space.name, {kind: space.candidates(kind) for kind in space.kinds})

    @classmethod
    def random(cls, space: SearchSpace, ratio: float, seed: int) -> "Mask":
        """Every edge keeps a uniformly drawn subset of the size that `ratio` gives, not `none` alone.

        Drawn with Python's Mersenne Twister, so that a seed means the same mask on every machine.
        """
        if seed < 0:  # Python would take its absolute value
            raise ValueError(f"`seed` must not be negative, got {seed}")
        draw = random.Random(seed)
        kept = {}
        for kind in space.kinds:
            edges = []
            for candidates in space.candidates(kind):
                size = num_kept(ratio, len(candidates))
                chosen = draw.sample(candidates, size)
                while set(chosen) == {NONE}:
                    chosen = draw.sample(candidates, size)
                edges.append(tuple(name for name in candidates if name in chosen))
            kept[kind] = tuple(edges)
        return cls(space.name, kept, ratio, "random", seed)

    def without(self, kind: str, edge: int, operation: str) -> "Mask":
        """The same mask with one candidate fewer."""
        edges = list(self.kept[kind])
        if operation not in edges[edge]:
            raise ValueError(f"edge {edge} of cell {kind!r} does not keep {operation!r}: {', '.join(edges[edge])}")
        edges[edge] = tuple(name for name in edges[edge] if name != operation)
        return replace(self, kept={**self.kept, kind: tuple(edges)}, source="")

    def removable(self, kind: str, edge: int) -> tuple[str, ...]:
        """The candidates of an edge that may be removed next: not the last one besides `none`."""
        names = self.kept[kind][edge]
        others = [name for name in names if name != NONE]
        return tuple(name for name in names if name == NONE or len(others) > 1)

    def kept_fraction(self, space: SearchSpace) -> float:
        """Kept candidates over all candidates of the space."""
        kept = sum(len(edge) for edges in self.kept.values() for edge in edges)
        return kept / sum(len(edge) for kind in space.kinds for edge in space.candidates(kind))

    def leaves_a_choice(self, space: SearchSpace) -> bool:
        """Whether more than one architecture of `space` is left."""
        return any(
            kind.genes_into(node) < len(kind.edges_into(node))
            or any(len({*kind.choices(kind.edges[e])} & {*self.kept[name][e]}) > 1 for e in kind.edges_into(node))
            for name, kind in space.kinds.items()
            for node in kind.nodes
        )

    def check(self, space: SearchSpace) -> None:
        """Raise ValueError where this is not a mask of `space`, or was read from a file and belies its ratio.

        One that is made here may keep more: it is on its way to the ratio.
        """
        try:
            check_fit(self, space)
            if self.source:
                check_keeps_ratio(self, space)
        except ValueError as error:
            raise ValueError(f"{self.source}: {error}" if self.source else str(error)) from None

    def ordered(self, space: SearchSpace) -> "Mask":
        """The same mask with every edge in the order of the space's candidates; checked against the space."""
        self.check(space)
        kept = {
            kind: tuple(
                tuple(name for name in candidates if name in edge)
                for candidates, edge in zip(space.candidates(kind), self.kept[kind], strict=True)
            )
            for kind in space.kinds
        }
        return replace(self, kept=kept)

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        content: dict[str, Any] = {
            "format": FORMAT,
            "space": self.space,
            "ratio": self.ratio,
            "pruner": self.pruner,
            "seed": self.seed,
            "kept": {kind: [list(edge) for edge in edges] for kind, edges in self.kept.items()},
            "importance": None,
        }
        if self.importance is not None:
            content["importance"] = {
                kind: [{name: _finite(score) for name, score in edge.items()} for edge in edges]
                for kind, edges in self.importance.items()
            }
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any], source: str = "mask") -> "Mask":
        """Build from a file's content; `source` names it in errors. `check` compares it with a space."""
        read = partial(entry, content, source=source)
        read("format", Literal[1], f"be {FORMAT}")
        space = read("space", StrictStr, "name a search space")
        kept = read("kept", KeptFile, "give each kind of cell a list of operation names an edge")
        importance = read("importance", ImportanceFile | None, "be null or give each edge an object of scores")
        pruner = read("pruner", StrictStr, "be a name", default=NONE)
        seed = read("seed", StrictInt, "be an integer", default=0)
        try:
            return cls(space, kept, check_ratio(content.get("ratio", 1.0)), pruner, seed, importance, source)
        except ValueError as error:
            raise ValueError(f"{source}: {in_short(error)}") from None

    def save(self, path: str | Path) -> Path:
        """Write a mask.json, whole or not at all."""
        return write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> "Mask":
        """Read a mask.json.

        Raises:
            ValueError: absent, truncated or malformed, or an edge without an operation besides `none`.
        """
        return cls.from_json(read_json(path), in_short(path))


def _finite(score: float | None) -> float | None:
    return score if score is not None and math.isfinite(score) else None
