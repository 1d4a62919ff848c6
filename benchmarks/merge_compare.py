"""One set of results from comparisons that ran in parts: `python -m halfnas.comparison` with some pruners each.

    python benchmarks/merge_compare.py PART [PART ...] --accuracies PATH --out benchmarks/results/compare
    python benchmarks/merge_compare.py benchmarks/results/compare PART --out benchmarks/results/compare --tables-only

Tables are joined by pruner, later parts before earlier ones, and the figures drawn anew from tables and masks. A part
may be the results themselves, whose masks are not kept: then what needs the masks of all pruners stays as it is, and
the figure of what is left shows the pruners with masks. The second form draws only what tables say.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from halfnas.comparison import figures, prunings
from halfnas.reporting.table import Cell, Table
from halfnas.spaces import Mask, load_space
from halfnas.spaces.trained import TrainedTable

#: table -> the column that its rows are known by, and the one that they are sorted by, largest first
TABLES = {
    "prunings": ("pruner", "agreement of seeds"),
    "estimates": ("pruner", "mean rho"),
    "survivors": ("pruner", "mean"),
    "ratings": ("ranking function", "tau"),
}


def read(path: Path) -> list[dict[str, Cell]]:
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{key: number(value) for key, value in row.items()} for row in csv.DictReader(file)]


def number(text: str) -> Cell:
    try:
        return float(text)
    except ValueError:
        return text or None


def merge(parts: Sequence[Path], name: str) -> list[dict[str, Cell]]:
    key, by = TABLES[name]
    rows = {row[key]: row for part in parts for row in read(part / f"{name}.csv")}
    columns = dict.fromkeys(column for row in rows.values() for column in row)
    rows = {known: {column: row.get(column) for column in columns} for known, row in rows.items()}
    return sorted(rows.values(), key=lambda row: -float(row[by] or 0))


def masks(parts: Sequence[Path], folder: str) -> dict[str, list[Mask]]:
    """Pruner -> its masks, all from the last part that has any."""
    found: dict[str, list[Mask]] = {}
    for part in parts:
        here: dict[str, list[Mask]] = {}
        for path in sorted((part / folder).glob("*.json")):
            here.setdefault(path.stem.rsplit("-", 1)[0], []).append(Mask.load(path))
        found |= here
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", type=Path, metavar="PART", help="folder of a comparison")
    parser.add_argument("--accuracies", type=Path, help="table of NAS-Bench-201")
    parser.add_argument("--dataset", default="cifar10", help="whose accuracies")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--tables-only", action="store_true", help="leave the figures that are made from masks")
    arguments = parser.parse_args()
    if not arguments.tables_only and arguments.accuracies is None:
        parser.error("--accuracies is needed for what masks leave; or --tables-only")
    rows = {name: merge(arguments.parts, name) for name in TABLES}
    for name, each in rows.items():
        Table(name, each, {}).write_csv(arguments.out / f"{name}.csv")

    figures.save(figures.reliability(rows["prunings"]), arguments.out / "reliability.png")
    figures.save(figures.correlations(rows["ratings"]), arguments.out / "ratings.png")
    if not arguments.tables_only:
        draw_masks(arguments, rows)


def draw_masks(arguments: argparse.Namespace, rows: dict[str, list[dict[str, Cell]]]) -> None:
    space = load_space("darts")
    runs = {
        str(row["pruner"]): [prunings.Pruning(str(row["pruner"]), mask.seed or 0, mask, 0.0, {}) for mask in found]
        for row in rows["prunings"]
        if (found := masks(arguments.parts, "masks").get(str(row["pruner"])))
    }
    if len(runs) == len(rows["prunings"]):
        matrix = prunings.agreements(runs, space)
        named = prunings.agreement_rows(list(runs), matrix)
        Table("Agreement", named, {}).write_csv(arguments.out / "agreements.csv")
        figures.save(figures.matrix(list(runs), matrix), arguments.out / "agreements.png")

    trained = TrainedTable.load(arguments.accuracies, load_space("nasbench201"), arguments.dataset)
    left = masks(arguments.parts, "masks/nasbench201")
    values = {
        str(row["pruner"]): np.concatenate(
            [trained.accuracies[trained.left_by(mask)] for mask in left[str(row["pruner"])]]
        )
        for row in rows["survivors"]
        if row["pruner"] in left
    }
    figures.save(
        figures.distributions({"nothing pruned": trained.accuracies, **values}), arguments.out / "survivors.png"
    )


if __name__ == "__main__":
    main()
