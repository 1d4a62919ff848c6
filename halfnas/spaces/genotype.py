"""A genotype: one architecture of a space, as an immutable value and as a small JSON file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field, StrictStr

from halfnas.runs.files import entry, read_json, write_json
from halfnas.runs.reading import MAX_SHOWN, in_short

FORMAT = 1

#: (operation, source state)
Gene = tuple[str, int]
#: A state as it stands in a file.
State = Annotated[int, Field(strict=True, ge=0)]


@dataclass(frozen=True)
class Genotype:
    """One discrete cell of every kind.

    Attributes:
        space: name of the space it belongs to.
        cells: kind -> genes in the order of the nodes they feed; within a node in the order of strength, or of the
            edges where a node keeps them all.
        outputs: kind -> states that are concatenated to the cell's output, where the space lets them vary.
        source: the file that it was read from, which errors name; empty where there is none.

    `genotype.normal` is short for `genotype.cells["normal"]`, `genotype.normal_concat` for `outputs["normal"]`.
    """

    space: str
    cells: Mapping[str, tuple[Gene, ...]]
    outputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    source: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        cells = {kind: tuple((str(name), int(source)) for name, source in genes) for kind, genes in self.cells.items()}
        outputs = {kind: tuple(int(state) for state in states) for kind, states in self.outputs.items()}
        object.__setattr__(self, "cells", MappingProxyType(cells))
        object.__setattr__(self, "outputs", MappingProxyType(outputs))

    def __hash__(self) -> int:
        return hash((self.space, *sorted(self.cells.items()), *sorted(self.outputs.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        return Genotype, (self.space, dict(self.cells), dict(self.outputs), self.source)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_"):
            if name in self.cells:
                return self.cells[name]
            if name.removesuffix("_concat") in self.outputs:
                return self.outputs[name.removesuffix("_concat")]
        raise AttributeError(f"Genotype of space {self.__dict__.get('space')!r} has no {name!r}")

    def count(self, operation: str, kind: str) -> int:
        """How often `operation` stands in the cell of that kind."""
        return sum(name == operation for name, _ in self.cells[kind])

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        content: dict[str, Any] = {"format": FORMAT, "space": self.space}
        for kind, genes in self.cells.items():
            content[kind] = [list(gene) for gene in genes]
            if kind in self.outputs:
                content[f"{kind}_concat"] = list(self.outputs[kind])
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any], source: str = "genotype") -> "Genotype":
        """Build from a file's content; `source` names it in errors. The space's own rules are checked by the space."""
        read = partial(entry, content, source=source)
        read("format", Literal[1], f"be {FORMAT}")
        space = read("space", StrictStr, "name a search space")
        cells: dict[str, tuple[Gene, ...]] = {}
        outputs: dict[str, tuple[int, ...]] = {}
        for key in content:
            if key in ("format", "space"):
                continue
            if key.endswith("_concat"):
                states = read(key, tuple[State, ...], "be a list of states such as [2, 3, 4, 5]")
                outputs[key.removesuffix("_concat")] = states
            else:
                cells[key] = read(
                    key, tuple[tuple[StrictStr, State], ...], 'be a list of pairs such as ["sep_conv_3x3", 0]'
                )
        if not cells:
            raise ValueError(f"{source}: no cell in it")
        if stray := [in_short(kind, MAX_SHOWN) for kind in sorted(set(outputs) - set(cells))]:
            raise ValueError(f"{source}: `{stray[0]}_concat` without `{stray[0]}`")
        return cls(space, cells, outputs, source)

    def save(self, path: str | Path) -> Path:
        """Write a genotype.json, whole or not at all."""
        return write_json(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> "Genotype":
        """Read a genotype.json.

        Raises:
            ValueError: absent, truncated or malformed; the message says which key and what is expected.
        """
        return cls.from_json(read_json(path), in_short(path))
