"""Published cells, under stable names, with their published error and where it stands."""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from halfnas.runs.reading import quoted
from halfnas.spaces.genotype import Genotype

FOLDER = Path(__file__).parent / "published"


@dataclass(frozen=True)
class PublishedCell:
    """A cell from a paper or repository.

    Attributes:
        cifar10_test_error_percent: the figures published or retrained elsewhere, in the order of `sources`.
        params: parameters as the sources round them.
    """

    genotype: Genotype
    cifar10_test_error_percent: tuple[float, ...]
    params: tuple[str, ...]
    sources: tuple[str, ...]


@cache
def published_cells() -> dict[str, PublishedCell]:
    """All published cells by name: darts_v1, darts_v2, snas, pc_darts, p_darts and others."""
    cells = {}
    for path in sorted(FOLDER.glob("*.json")):
        for name, entry in json.loads(path.read_text(encoding="utf-8")).items():
            cells[name] = PublishedCell(
                Genotype.from_json(entry["genotype"], name),
                tuple(entry["cifar10_test_error_percent"]),
                tuple(entry["params"]),
                tuple(entry["sources"]),
            )
    return cells


def is_published(genotype: Genotype) -> bool:
    """Whether it is one of the published cells, whatever its file."""
    return any(cell.genotype == genotype for cell in published_cells().values())


def find_genotype(path_or_name: str) -> Genotype:
    """The genotype in a file, or a published one by its name (case does not matter).

    Raises:
        ValueError: neither; the message lists the names.
    """
    cells = published_cells()
    if path_or_name.lower() in cells:
        return cells[path_or_name.lower()].genotype
    if not os.path.lexists(path_or_name):
        raise ValueError(
            f"`genotype` must be a genotype.json or a published cell, got {quoted(path_or_name)}, which is neither a "
            f"file nor one of: {', '.join(sorted(cells))}"
        )
    return Genotype.load(path_or_name)
