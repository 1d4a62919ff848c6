"""Tables of trained accuracy: what every architecture of a space is worth once it is trained.

For spaces of which all architectures have been trained: NAS-Bench-201 (Dong & Yang, ICLR 2020) and NAS-Bench-Macro (Su
et al., CVPR 2021). The tables are not part of this package; a user's own has the same columns, see `TrainedTable.load`.
"""

import csv
import math
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from halfnas.spaces.candidates import Flags, Floats, Indices
from halfnas.spaces.genotype import Genotype
from halfnas.spaces.mask import Mask
from halfnas.spaces.space import SearchSpace

#: What the column of architectures may be called.
ARCHITECTURE = ("architecture", "arch_str")
#: Kinds of accuracy, the one that counts where there are several: a choice must not rest on test images.
SPLITS = ("valid", "test")
LATENCY = "_ms"


class TrainedTable:
    """The accuracy of each of the N architectures of a space, and latencies where they were measured.

    Args:
        space: the space.
        architectures: as its authors write them, each once, [N].
        accuracies: fractions, [N].
        latencies: device -> milliseconds, [N], NaN where not measured.
        measured: the column or columns that `accuracies` come from.

    Raises:
        ValueError: an architecture is not of this space, is missing, or stands there twice.
    """

    def __init__(
        self,
        space: SearchSpace,
        architectures: Sequence[str],
        accuracies: Floats,
        latencies: Mapping[str, Floats] | None = None,
        measured: str = "",
    ) -> None:
        self.space = space
        self.measured = measured
        self.architectures = tuple(architectures)
        self.accuracies = accuracies
        self.latencies = dict(latencies or {})
        self._index = {text: n for n, text in enumerate(architectures)}
        if len(self._index) < len(architectures):
            twice = next(text for n, text in enumerate(architectures) if self._index[text] != n)
            raise ValueError(f"architecture {twice} stands there twice")
        self._edges = [(kind, e, edge) for kind, cell in space.kinds.items() for e, edge in enumerate(cell.edges)]
        every = math.prod(len(edge.candidates) for _, _, edge in self._edges)
        self._choices = np.array([self._numbers(text) for text in architectures], dtype=np.int64)  # [N, edges]
        if len(architectures) != every:
            raise ValueError(f"{len(architectures):,} of the {every:,} architectures of {space.name} are there")

    @classmethod
    def load(cls, path: str | Path, space: SearchSpace, dataset: str) -> "TrainedTable":
        """Read a table.

        A CSV file with a row an architecture: `architecture` (or `arch_str`) as the authors of the space write it; its
        accuracy in percent in `<dataset>_valid`, or else `<dataset>_test`, or the mean of `<dataset>_test_0`, `_1`,
        ...; and in `<device>_ms`, if at all, its latency in milliseconds.

        Args:
            path: the file, or a folder with the file that the space names (`SearchSpace.tables`). Latencies may stand
                in the other files that it names, in the same folder.
            space: the space that is searched.
            dataset: name of the dataset.

        Raises:
            ValueError: no such file or column, an entry that is no number, or not all architectures of the space.
        """
        if not space.tables:
            raise ValueError(
                f"not all architectures of the {space.name} space are trained, so there is no table of it; spaces that "
                "have one: nasbench201, nasbench_macro"
            )
        path = Path(path)
        is_folder = path.is_dir() or not path.suffix  # or would be one if it were there
        file = path / space.tables[0] if is_folder else path
        if not file.is_file():
            raise ValueError(
                f"{file}: no such table of accuracies of the {space.name} space; a CSV file of all its architectures "
                f"will do, with columns architecture and {dataset}_valid or {dataset}_test, in percent"
            )
        rows = _read(file)
        names = [column for column in ARCHITECTURE if column in rows]
        if not names:
            raise ValueError(f"{file}: no column `architecture` (or `arch_str`); it has {', '.join(rows)}")
        columns = _columns_of(dataset, list(rows))
        if not columns:
            known = sorted(
                {found[1] for column in rows if (found := re.fullmatch(r"(\w+?)_(valid|test)(_\d+)?", column))}
            )
            raise ValueError(
                f"{file}: no accuracies of dataset {dataset} (`{dataset}_valid` or `{dataset}_test`); it has "
                f"{', '.join(known) or 'those of none'}"
            )
        architectures = rows[names[0]]
        accuracies = np.mean([_floats(file, column, rows[column]) for column in columns], axis=0) / 100
        if not np.all((accuracies >= 0) & (accuracies <= 1)):
            raise ValueError(f"{file}: {', '.join(columns)} must be accuracies in percent, between 0 and 100")
        latencies = _latencies(file, rows, architectures, architectures)
        for other in space.tables[1:]:
            if is_folder and (path / other).is_file():
                more = _read(path / other)
                known = next((more[column] for column in ARCHITECTURE if column in more), [])
                latencies |= _latencies(path / other, more, known, architectures)
        try:
            return cls(space, architectures, accuracies, latencies, ", ".join(columns))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None

    def __len__(self) -> int:
        return len(self._index)

    def look_up(self, genotype: Genotype) -> dict[str, float]:
        """What an architecture is worth.

        Returns:
            `true_acc`, a fraction; `true_rank`, the share of the space that is better, 0 for the best; and
            `true_latency_<device>_ms`, where measured.
        """
        n = self._index[self._text(genotype)]
        accuracy = self.accuracies[n]
        better = float((self.accuracies > accuracy).mean())
        latencies = {f"true_latency_{device}_ms": float(each[n]) for device, each in self.latencies.items()}
        return {"true_acc": float(accuracy), "true_rank": better} | {
            name: value for name, value in latencies.items() if math.isfinite(value)
        }

    def left_by(self, mask: Mask) -> Indices:
        """The numbers of the architectures that a mask leaves, [n]."""
        left: Flags = np.ones(len(self), dtype=bool)
        for column, (kind, e, edge) in enumerate(self._edges):
            kept = np.array([name in mask.kept[kind][e] for name in edge.candidates])
            left &= kept[self._choices[:, column]]
        return np.flatnonzero(left)

    @cached_property
    def best(self) -> float:
        """The accuracy of the best architecture of the space, a fraction."""
        return float(self.accuracies.max())

    def _text(self, genotype: Genotype) -> str:
        text = self.space.architecture_string(genotype)
        assert text is not None, "a space with a table has a way of writing its architectures"
        return text

    def _numbers(self, text: str) -> list[int]:
        """Which candidate an architecture has on every edge."""
        genotype = self.space.parse_architecture(text)
        chosen = {
            (kind, e): name
            for kind, cell in self.space.kinds.items()
            for e, (name, _) in enumerate(genotype.cells[kind])
        }
        return [edge.candidates.index(chosen[kind, e]) for kind, e, edge in self._edges]


def _read(path: Path) -> dict[str, list[str]]:
    """The columns of a CSV file."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            rows = [row for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    if not header or not rows:
        raise ValueError(f"{path}: an empty table")
    if short := next((number for number, row in enumerate(rows, start=2) if len(row) != len(header)), None):
        raise ValueError(f"{path}: line {short} has another number of entries than the first one, {len(header)}")
    return dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))


def _columns_of(dataset: str, columns: Sequence[str]) -> list[str]:
    for split in SPLITS:
        if found := [column for column in columns if re.fullmatch(rf"{re.escape(dataset)}_{split}(_\d+)?", column)]:
            return found
    return []


def _floats(path: Path, column: str, values: Sequence[str]) -> Floats:
    try:
        found = np.array([float(value) for value in values])
    except ValueError as error:
        raise ValueError(f"{path}: column {column}: {error}") from None
    if not np.isfinite(found).all():
        raise ValueError(f"{path}: column {column}: line {int(np.argmin(np.isfinite(found))) + 2} is not finite")
    return found


def _latencies(
    path: Path, columns: Mapping[str, Sequence[str]], known: Sequence[str], wanted: Sequence[str]
) -> dict[str, Floats]:
    """Those of a file with a row for each of `known`, in the order of `wanted`; NaN where there is none."""
    index = {text: n for n, text in enumerate(known)}
    found = {}
    for column, entries in columns.items():
        if column.endswith(LATENCY):
            values = _floats(path, column, entries)
            there = [values[index[text]] if text in index else np.nan for text in wanted]
            found[column.removesuffix(LATENCY)] = np.array(there)
    return found
