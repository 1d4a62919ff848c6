"""Tables of what searches have found by a table of trained accuracy, with intervals and differences paired by seed.

    python train.py -m hparams_search=benchmark_pruners
    python benchmarks/truth.py multirun/DATE/TIME --baseline pruner=none --baseline searcher=beta_pcdarts --csv OUT.csv

Prints a row a group, for benchmarks/README.md; --csv writes the same with all digits, --runs a row a run. `gain` is
what was found less the mean of what the run's own mask leaves, which is what an architecture drawn from it is worth on
average. A difference whose interval holds 0 is undecided, and `seeds to decide` is how many would decide it in four of
five such studies if it is as large as it looks. `chosen` is which operations stand on the edges, over all seeds. With
--table, `drawn` is what `searcher=random` finds with the same seeds in the same masks.
"""

import argparse
from collections import Counter
from collections.abc import Mapping
from math import inf
from operator import sub
from pathlib import Path

import numpy as np

from halfnas.reporting.groups import Group, find_baseline, group_runs
from halfnas.reporting.runs import load_runs
from halfnas.reporting.statistics import Summary, paired, seeds_for, summarize
from halfnas.reporting.table import Cell, Table
from halfnas.search import RandomSearch
from halfnas.spaces import load_space
from halfnas.spaces.trained import TrainedTable

TRUE, LEFT, BEST = "search/true_acc", "prune/mean_true_acc", "prune/best_true_acc"
#: column -> metric of which the mean stands there, its factor and how it is written
MEANS = {
    "moved edges": ("search/moved_edges", 1, ".2f"),
    "margin": ("search/decision_margin", 1, ".4f"),
    "mask mean": (LEFT, 100, ".2f"),
    "mask best": (BEST, 100, ".2f"),
    "peak MiB": ("search/peak_live_mib", 1, ".1f"),
    "prune s": ("prune/seconds", 1, ".1f"),
    "search s": ("search/seconds", 1, ".0f"),
}


def difference(values: Mapping[int, float], others: Mapping[int, float]) -> Summary | None:
    """Summarize values less others, in points, over the seeds that both have; None where there are none."""
    found = [100 * each for each in paired(sub, values, others)]
    return summarize(found, None) if found else None


def drawn(group: Group, trained: TrainedTable) -> dict[int, float]:
    """What `searcher=random` finds with the seeds and masks of a group: seed -> accuracy."""
    found = {}
    for run in group.runs:
        if run.seed is not None and run.mask is not None:
            search = RandomSearch(trained.space, seed=run.seed)
            search.begin(run.mask)
            found[run.seed] = trained.look_up(search.genotype)["true_acc"]
    return found


def row_of(group: Group, baseline: Group, trained: TrainedTable | None = None) -> dict[str, Cell]:
    """What a table says of a group, with all digits."""
    found = group.values(TRUE)
    worth = summarize([100 * value for value in found.values()], None, (0, 100))
    row: dict[str, Cell] = {"group": group.short, "n": worth.n, "true": worth.mean, "std": worth.std}
    row |= {"low": worth.low, "high": worth.high, "worst": 100 * min(found.values())}
    for column, (metric, factor, _) in MEANS.items():
        values = list(group.values(metric).values())
        row[column] = factor * float(np.median(values) if "seconds" in metric else np.mean(values)) if values else None
    parts = {"gain": difference(found, group.values(LEFT))}
    if trained is not None:
        draws = drawn(group, trained)
        row["drawn"] = 100 * float(np.mean(list(draws.values()))) if draws else None
        parts["less drawn"] = difference(found, draws)
    if group is not baseline:
        parts["less baseline"] = difference(found, baseline.values(TRUE))
    for name in ("gain", "less drawn", "less baseline"):
        part = parts.get(name)
        row |= {name: part and part.mean, f"{name} low": part and part.low, f"{name} high": part and part.high}
    row["seeds to decide"] = to_decide(parts.get("less baseline"))
    genotypes = [run.genotype for run in group.runs if run.genotype is not None]
    chosen = Counter(name for genotype in genotypes for genes in genotype.cells.values() for name, _ in genes)
    row["chosen"] = ", ".join(f"{name} {count / chosen.total():.0%}" for name, count in chosen.most_common())
    return row


def to_decide(part: Summary | None) -> Cell:
    """How many seeds would decide the sign of a difference that is undecided; None where it is decided, or none."""
    if part is None:
        return None
    if part.low is None or part.high is None or not part.std:
        return "too few to say"
    if part.low > 0 or part.high < 0:
        return None
    return seeds_for(abs(part.mean), part.std, (0.0, inf)) or "over 1000"


def readable(row: Mapping[str, Cell]) -> dict[str, Cell]:
    """The same as text."""

    def span(name: str) -> str:
        mean, low, high = row[name], row[f"{name} low"], row[f"{name} high"]
        if not isinstance(mean, float):
            return ""
        interval = f" [{low:+.2f}, {high:+.2f}]" if isinstance(low, float) else ""
        return f"{mean:+.2f}{interval}"

    std = f" ± {row['std']:.2f}" if isinstance(row["std"], float) else ""
    interval = f"{row['low']:.2f} to {row['high']:.2f}" if isinstance(row["low"], float) else ""
    text: dict[str, Cell] = {"group": row["group"], "n": row["n"], "true %": f"{row['true']:.2f}{std}"}
    text |= {"95% interval": interval, "worst": f"{row['worst']:.2f}"}
    for column, (_, _, form) in MEANS.items():
        text[column] = "" if row[column] is None else format(row[column], form)
    text |= {"gain": span("gain"), "less drawn": span("less drawn"), "less baseline": span("less baseline")}
    if row.get("drawn") is not None:
        text["drawn"] = f"{row['drawn']:.2f}"
    text["chosen"] = row["chosen"]
    text["seeds to decide"] = "" if row["seeds to decide"] is None else str(row["seeds to decide"])
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--baseline", action="append", default=[], metavar="KEY=VALUE", help="of what is compared with")
    parser.add_argument("--table", type=Path, help="of accuracies, or its folder: also draw from the same masks")
    parser.add_argument("--title", default="Trained accuracy of what was found")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--runs", type=Path, help="write a row a run to this CSV file")
    arguments = parser.parse_args()
    groups = [group for group in group_runs(load_runs(arguments.folders)) if group.values(TRUE)]
    if len({tuple(group.all_settings.get(name) for name in ("dataset", "space")) for group in groups}) > 1:
        parser.error("runs of several datasets or spaces are not compared: give the folders of one")
    wanted = dict(each.split("=", 1) for each in arguments.baseline)
    baseline = find_baseline(groups, wanted or None)
    trained = None
    if arguments.table:
        space, dataset = (str(groups[0].all_settings[name]) for name in ("space", "dataset"))
        trained = TrainedTable.load(arguments.table, load_space(space), dataset)
    rows = [row_of(group, baseline, trained) for group in groups]
    if arguments.csv:
        arguments.csv.parent.mkdir(parents=True, exist_ok=True)
        Table(arguments.title, rows, {}).write_csv(arguments.csv)
    if arguments.runs:
        columns = [TRUE, *(metric for metric, _, _ in MEANS.values())]
        runs: list[dict[str, Cell]] = [
            {"group": group.short, "seed": run.seed, **{column: run.metrics.get(column) for column in columns}}
            for group in groups
            for run in group.runs
        ]
        Table("Runs", runs, {}).write_csv(arguments.runs)
    print(Table(f"{arguments.title}; baseline: {baseline.short}", [readable(row) for row in rows], {}).markdown())


if __name__ == "__main__":
    main()
