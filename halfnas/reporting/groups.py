"""Runs that differ in nothing but the seed, and what tells one group of them from another."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import sub

from halfnas.reporting.bounds import bounds_of, is_accuracy
from halfnas.reporting.runs import Run
from halfnas.reporting.settings import CHOICES, Setting
from halfnas.reporting.statistics import Summary, counting_noise, noise_of, paired, summarize

#: Columns that come first where they differ.
FIRST = (*CHOICES, "genotype", "ratio", "stage")


@dataclass(frozen=True, eq=False)
class Group:
    """Done runs with equal settings.

    Attributes:
        settings: the settings that tell it from the other groups, in the order of the columns.
        runs: its runs, sorted by seed.
    """

    settings: Mapping[str, Setting]
    runs: Sequence[Run]

    @cached_property
    def name(self) -> str:
        """What its settings say, such as "nngp, ratio 0.5"."""
        told = [(key, value) for key, value in self.settings.items() if value is not None]
        parts = [str(value) if key in (*CHOICES, "genotype") else f"{key} {value}" for key, value in told]
        return ", ".join(parts) or "all runs"

    @cached_property
    def short(self) -> str:
        """The same for figures, which have little room: a setting without its group, where that is clear."""
        tails = Counter(key.split(".", 1)[-1] for key in self.all_settings)
        short = {key: key.split(".", 1)[-1] for key in self.settings}
        named = {name if tails[name] < 2 else key: self.settings[key] for key, name in short.items()}
        return Group(named, self.runs).name if len(named) == len(short) else self.name

    @property
    def all_settings(self) -> Mapping[str, Setting]:
        """All settings of its runs, those that every group shares too."""
        return self.runs[0].settings

    def values(self, metric: str) -> dict[int, float]:
        """Look up a metric: seed -> value, of the runs that have it; -1 stands for a run without a seed."""
        return {_seed(run): run.metrics[metric] for run in self.runs if metric in run.metrics}

    def summary(self, metric: str) -> Summary | None:
        """Summarize a metric over seeds; None where no run has it."""
        values = self.values(metric)
        return summarize(list(values.values()), self.noise(metric), bounds_of(metric)) if values else None

    def difference(self, baseline: "Group", metric: str) -> Summary | None:
        """Summarize this group minus the baseline, over the seeds that both have; None where there is none."""
        values = paired(sub, self.values(metric), baseline.values(metric))
        low, high = bounds_of(metric)
        return summarize(values, self.noise_against(baseline, metric), (low - high, high - low)) if values else None

    def noise(self, metric: str) -> float | None:
        """Compute how far a value of a metric is uncertain by itself, as a standard deviation: the mean over runs.

        An accuracy is a share of so many images (`<...>_acc`, `<...>_images`); None where nobody knows how many. Memory
        and counts are exact, and what a time has of noise shows in the values.
        """
        if not is_accuracy(metric):
            return 0.0
        images = f"{metric.removesuffix('_acc')}_images"
        having = [run.metrics for run in self.runs if metric in run.metrics]
        found = [counting_noise(each[metric], each[images]) for each in having if each.get(images)]
        return sum(found) / len(found) if found else None

    def noise_against(self, baseline: "Group", metric: str, of: Callable[[float, float], float] = sub) -> float | None:
        """Compute the same of what is made of this group's metric and of a baseline's."""
        ours, theirs = self.noise(metric), baseline.noise(metric)
        if ours is None or theirs is None:
            return None
        if ours == theirs == 0:
            return 0.0
        first, second = (sum(each.values(metric).values()) / len(each.values(metric)) for each in (self, baseline))
        return noise_of(of, (first, ours), (second, theirs))


def group_runs(runs: Sequence[Run]) -> list[Group]:
    """Group the done runs by their settings, in the order of those that tell groups apart."""
    members: dict[frozenset[tuple[str, Setting]], list[Run]] = {}
    for run in runs:
        if run.done:
            members.setdefault(frozenset(run.settings.items()), []).append(run)
    settings = [runs[0].settings for runs in members.values()]
    columns = telling_apart(settings)
    groups = [
        Group({key: runs[0].settings.get(key) for key in columns}, sorted(runs, key=_seed)) for runs in members.values()
    ]
    return sorted(groups, key=lambda group: [_sortable(value) for value in group.settings.values()])


def telling_apart(settings: Sequence[Mapping[str, Setting]]) -> list[str]:
    """Choose settings: those of FIRST that differ, and no more others than it takes to tell all of these apart.

    So a choice stands for the settings that come with it.
    """
    columns = [key for key in FIRST if _differs(settings, key)]
    keys = list(dict.fromkeys(key for each in settings for key in each))
    while True:
        alike: dict[tuple[Setting, ...], list[Mapping[str, Setting]]] = {}
        for each in settings:
            alike.setdefault(tuple(each.get(key) for key in columns), []).append(each)
        ambiguous = [several for several in alike.values() if len(several) > 1]
        more = next((key for key in keys if any(_differs(several, key) for several in ambiguous)), None)
        if more is None:
            return columns
        columns.append(more)


def find_baseline(groups: Sequence[Group], wanted: Mapping[str, str] | None = None) -> Group:
    """Find the group that others are compared with: as wanted, or else the largest space with all of its channels.

    Where all search the same masks, it is the one whose architectures are drawn at random.

    Raises:
        ValueError: there is no group, or none or more than one is as wanted.
    """
    if not groups:
        raise ValueError("no baseline: no run is done")
    if wanted:
        found = [
            group for group in groups if all(_is(group.all_settings.get(key), value) for key, value in wanted.items())
        ]
        listed = " ".join(f"{key}={value}" for key, value in wanted.items())
        if len(found) != 1:
            names = "; ".join(group.name for group in groups)
            raise ValueError(f"baseline {listed}: {len(found)} groups are like that, of: {names}")
        return found[0]
    if len({(group.all_settings.get("pruner"), group.all_settings.get("ratio")) for group in groups}) == 1:
        groups = [group for group in groups if group.all_settings.get("searcher") == "random"] or groups
    return min(groups, key=_distance_from_whole)


def _distance_from_whole(group: Group) -> tuple[float, float, bool, bool]:
    """Sort by the largest ratio, then the fewest partial channels, nothing pruned, a random mask."""
    settings = group.all_settings
    ratio, channels = settings.get("ratio"), settings.get("searcher.partial_channels")
    return (
        -float(ratio) if isinstance(ratio, (int, float)) else 0.0,
        float(channels) if isinstance(channels, (int, float)) else 1.0,
        settings.get("pruner") != "none",
        settings.get("pruner") != "random",
    )


def _is(setting: Setting, text: str) -> bool:
    """Say whether a setting is what somebody has typed: 1 is 1.0, null is None."""
    if setting is None or isinstance(setting, bool):
        return text.lower() in ({None: ("null", "none"), True: ("true",), False: ("false",)}[setting])
    if isinstance(setting, str):
        return setting == text
    try:
        return float(text) == setting
    except ValueError:
        return False


def _seed(run: Run) -> int:
    return -1 if run.seed is None else run.seed


def _differs(settings: Sequence[Mapping[str, Setting]], key: str) -> bool:
    return len({each.get(key) for each in settings}) > 1


def _sortable(value: Setting) -> tuple[bool, float, str]:
    number = float(value) if isinstance(value, (int, float)) else 0.0
    return isinstance(value, str), number, str(value)
