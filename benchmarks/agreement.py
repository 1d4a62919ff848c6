"""How far the masks of many seeds agree, with an interval over seeds, and beside what chance gives.

    python benchmarks/agreement.py FOLDER/masks/nasbench201 --pruner etenas --accuracies PATH --csv OUT.csv --label TEXT

FOLDER is that of a comparison (`python -m halfnas.comparison parts=[survivors] seeds=[0,...,39]`, or `[prunings]`). The
mean over all pairs of masks is a U-statistic: pairs that share a mask are not independent. Its interval is that of
the jackknife over masks, with Student's t. Chance is said twice, of masks that keep as many candidates of every edge,
drawn from all of them, and from all but `none`, for a pruner that always removes it.
"""

import argparse
import csv
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import t

from halfnas.comparison.benchmark import mean_survival, survival
from halfnas.reporting.table import Cell, Table
from halfnas.spaces import Mask, SearchSpace, load_space
from halfnas.spaces.agreement import agreement
from halfnas.spaces.candidates import Candidates, Flags
from halfnas.spaces.trained import TrainedTable

NUM_RANDOM = 1000


class Interval(NamedTuple):
    """A mean over pairs and its 95% interval."""

    value: float
    low: float
    high: float


def jackknife(pairs_SS: np.ndarray) -> Interval:
    """The mean over pairs of S masks, from their agreements [S, S], with its interval over masks.

    Leaving one mask out at a time gives S means; (S - 1) / S times the sum of their squared distances from their own
    mean estimates the variance (Efron & Stein, "The jackknife estimate of variance", 1981).
    """
    size = len(pairs_SS)
    if size < 3:
        raise ValueError(f"an interval over masks needs at least 3 of them, got {size}")
    above = pairs_SS[np.triu_indices(size, 1)].sum()
    of_each = pairs_SS.sum(axis=1) - np.diag(pairs_SS)
    without = (above - of_each) / ((size - 1) * (size - 2) / 2)
    error = np.sqrt((size - 1) / size * ((without - without.mean()) ** 2).sum())
    value = above / (size * (size - 1) / 2)
    reach = float(t.ppf(0.975, size - 1)) * error
    return Interval(float(value), float(max(value - reach, 0)), float(min(value + reach, 1)))


def chance(kept_SJ: Flags, candidates: Candidates, *, with_none: bool) -> float:
    """The agreement of two masks drawn independently, of which every edge keeps as many candidates as here."""
    drawn = np.ones(len(candidates), dtype=bool) if with_none else ~candidates.is_none
    possible = np.bincount(candidates.edges, weights=drawn)
    kept = np.bincount(candidates.edges, weights=kept_SJ[0])
    fractions = np.where(drawn, (kept / possible)[candidates.edges], 0.0)
    return float(agreement(fractions, fractions))


def random_masks(space: SearchSpace, like: Mask, count: int) -> list[Mask]:
    """Masks without `none`, drawn uniformly, whose edges keep as many candidates as those of another mask."""
    rng = np.random.default_rng(0)
    masks = []
    for _ in range(count):
        kept = {
            kind: tuple(
                tuple(
                    rng.choice([n for n in names if n != "none"], size=len(like.kept[kind][e]), replace=False).tolist()
                )
                for e, names in enumerate(space.candidates(kind))
            )
            for kind in space.kinds
        }
        masks.append(Mask(space.name, kept).ordered(space))
    return masks


def what_is_left(trained: TrainedTable, masks: Sequence[Mask]) -> dict[str, float]:
    """Mean accuracy and best 1% left, over masks, each with the standard error of its mean."""
    found = [survival(trained, trained.left_by(mask)) for mask in masks]
    means = mean_survival(found)
    errors = {
        f"{name} error": float(np.std([each[name] for each in found], ddof=1) / np.sqrt(len(found)))
        for name in ("mean", "best 1% left")
    }
    return {"mean": means["mean"], "std of mean": means["std of mean"], "best 1% left": means["best 1% left"],
            "worst 10% left": means["worst 10% left"], **errors}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="where the masks lie")
    parser.add_argument("--pruner", required=True, help="whose masks")
    parser.add_argument("--label", help="what the row is called; the pruner by default")
    parser.add_argument("--accuracies", type=Path, help="table of NAS-Bench-201: also say what the masks leave")
    parser.add_argument("--dataset", default="cifar10", help="whose accuracies")
    parser.add_argument("--csv", type=Path, help="add the row to this table, in place of one of the same label")
    arguments = parser.parse_args()
    paths = sorted(path for folder in arguments.folders for path in folder.glob(f"{arguments.pruner}-*.json"))
    masks = [Mask.load(path) for path in paths]
    if len({mask.seed for mask in masks}) != len(masks) or len(masks) < 3:
        parser.error(f"expected the masks of at least 3 seeds, found those of {[mask.seed for mask in masks]}")

    space = load_space(masks[0].space)
    candidates = Candidates.of(space)
    kept_SJ = np.array([candidates.flags(mask.kept) for mask in masks])
    pairs_SS = np.array([[float(agreement(a, b)) for b in kept_SJ] for a in kept_SJ])
    found = jackknife(pairs_SS)
    single = [pairs_SS[i, j] for i, j in combinations(range(len(masks)), 2)]
    row: dict[str, Cell] = {
        "pruner": arguments.label or arguments.pruner, "space": space.name, "seeds": len(masks), "pairs": len(single),
        "agreement": found.value, "low": found.low, "high": found.high, "lowest pair": min(single),
        "highest pair": max(single), "chance": chance(kept_SJ, candidates, with_none=True),
    }  # fmt: skip
    if not kept_SJ[:, candidates.is_none].any():
        row["chance without none"] = chance(kept_SJ, candidates, with_none=False)
    rows = [row]
    if arguments.accuracies:
        trained = TrainedTable.load(arguments.accuracies, space, arguments.dataset)
        row |= what_is_left(trained, masks)
        if "chance without none" in row:
            control = random_masks(space, masks[0], NUM_RANDOM)
            rows.append({"pruner": "random without none", "space": space.name, "seeds": NUM_RANDOM,
                         **what_is_left(trained, control)})  # fmt: skip
    names = list(dict.fromkeys(place.operation for place in candidates))
    for name in names:
        members = np.array([place.operation == name for place in candidates])
        row[f"kept {name}"] = float(kept_SJ[:, members].mean())
    publish(rows, arguments.csv)


def publish(rows: list[dict[str, Cell]], path: Path | None) -> None:
    """Print the rows, and put them into a table where one is named."""
    for row in rows:
        print(
            ", ".join(
                f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
            )
        )
    if path is None:
        return
    before: list[dict[str, Cell]] = []
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            before = [dict(row) for row in csv.DictReader(file)]
    ours = {(row["pruner"], row["space"]) for row in rows}
    together = [row for row in before if (row["pruner"], row["space"]) not in ours] + rows
    columns = list(dict.fromkeys(key for row in together for key in row))
    Table("Agreement", [{key: row.get(key) for key in columns} for row in together], {}).write_csv(path)


if __name__ == "__main__":
    main()
