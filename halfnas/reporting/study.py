"""What a report is about: the runs of some folders, their groups, and what each group is compared with."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from halfnas.reporting.groups import Group, find_baseline, group_runs
from halfnas.reporting.metrics import accuracy_of
from halfnas.reporting.runs import Run, load_runs

#: state -> what is said of so many runs; other states are said as they are
SAYINGS = {
    "running": "unfinished (running still, or killed)",
    "not started": "not started",
    "no status": "without a readable status, metrics or settings",
    "repeated": "repeated (done again later, which counts)",
}


@dataclass(frozen=True)
class Study:
    """Runs, their groups, and what each group is compared with.

    Attributes:
        root: the folder that holds them all.
        runs: all runs, whatever became of them.
        groups: the done runs, by their settings.
        baselines: for each group the one that it is compared with, of the same data set; None where there is none.
    """

    root: Path
    runs: Sequence[Run]
    groups: Sequence[Group]
    baselines: Mapping[Group, Group | None]

    @property
    def not_done(self) -> list[Run]:
        """The runs that do not count: failed, unfinished, not started, repeated."""
        return [run for run in self.runs if not run.done]

    @property
    def unreadable(self) -> list[Run]:
        """The runs that count though not all of their files can be read."""
        return [run for run in self.runs if run.done and run.problems]

    def comparisons(self) -> list[tuple[Group, Group]]:
        """Pair each group with its baseline, without the baselines themselves."""
        return [(group, base) for group, base in self.baselines.items() if base is not None and base is not group]

    def path(self, run: Run) -> str:
        """Name a run's folder, as short as can be."""
        return run.path.name if run.path == self.root else os.path.relpath(run.path, self.root)

    def counts(self) -> str:
        """Say what became of the runs that do not count, such as "Of 31 runs: 2 failed"; empty where all are done."""
        states = Counter(run.state for run in self.not_done)
        parts = [f"{count} {SAYINGS.get(state, state)}" for state, count in states.most_common()]
        return f"Of {len(self.runs)} runs: {', '.join(parts)}" if parts else ""

    def warning(self) -> str:
        """Say how many runs count though not all of their files can be read; empty where there is none."""
        count = len(self.unreadable)
        return f"{count} of {len(self.runs)} runs count, though not all of their files can be read" if count else ""


def read_study(paths: Iterable[str | Path], wanted: Mapping[str, str] | None = None) -> Study:
    """Read the runs of some folders, group them and find what each group is compared with.

    Args:
        wanted: settings of the baseline; without them each data set has the one that `find_baseline` takes of those
            with the most final accuracy.

    Raises:
        ValueError: a path is no folder, there is no run, or not one group is as wanted.
    """
    runs = load_runs(paths)
    groups = group_runs(runs)
    if wanted and not groups:
        raise ValueError("no run is done: there is no baseline to find")
    baselines: dict[Group, Group | None] = {}
    for alike in by_dataset(groups).values():
        measured = accuracy_of(alike)
        complete = [other for other in alike if measured is not None and other.values(measured.key)]
        base = find_baseline(groups, wanted) if wanted else find_baseline(complete or alike)
        baselines |= dict.fromkeys(alike, base if base in alike else None)
    root = Path(os.path.commonpath([run.path if len(runs) == 1 else run.path.parent for run in runs]))
    return Study(root, runs, groups, baselines)


def by_dataset(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Sort groups by their data set, since accuracies of different ones are not compared."""
    parts: dict[str, list[Group]] = {}
    for group in groups:
        parts.setdefault(str(group.all_settings.get("dataset")), []).append(group)
    return parts
