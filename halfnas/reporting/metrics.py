"""The metrics that a report shows: what they are called, their unit, and how a number of them is written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from halfnas.reporting.groups import Group
from halfnas.reporting.runs import Run
from halfnas.reporting.statistics import CONFIDENCE, MIN_VALUES, Summary

PERCENT = "%"


@dataclass(frozen=True)
class Metric:
    """A key of metrics.json, and how its values are shown.

    Attributes:
        title: what it is called.
        unit: the unit of what is shown; fractions are shown as percent.
    """

    key: str
    title: str
    unit: str = ""

    @property
    def label(self) -> str:
        """The title and the unit, such as "test accuracy (%)"."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def scale(self) -> float:
        """The factor between what is stored and what is shown."""
        return 100.0 if self.unit == PERCENT else 1.0

    def text(self, value: float) -> str:
        """Write a single value."""
        return self._numbers([value])[0]

    def spread(self, summary: Summary) -> str:
        """Write mean and standard deviation, such as "98.52 ± 0.30"."""
        if summary.std is None:
            return self.text(summary.mean)
        mean, std = self._numbers([summary.mean, summary.std])
        return f"{mean} ± {std}"

    def change(self, summary: Summary) -> str:
        """Write a mean difference with its sign."""
        return self._numbers([summary.mean], "+", _largest(summary))[0]

    def interval(self, summary: Summary, sign: str = "") -> str:
        """Write an interval, such as "[97.77, 99.27]", that of a difference with sign="+"; empty of a single value."""
        if summary.low is None or summary.high is None:
            return ""
        low, high = self._numbers([summary.low, summary.high], sign, _largest(summary) if sign else summary.mean)
        return f"[{low}, {high}]"

    def _numbers(self, values: Sequence[float], sign: str = "", like: float | None = None) -> list[str]:
        """Write three significant digits of the first (or of `like`), and as many decimals in the others."""
        decimals = 2 if self.unit == PERCENT else _decimals(values[0] if like is None else like)
        return [format(self.scale * value, f"{sign},.{decimals}f") for value in values]


METRICS = (
    Metric("evaluate/test_acc", "test accuracy", PERCENT),
    Metric("evaluate/val_acc", "held-out accuracy", PERCENT),
    Metric("search/true_acc", "trained accuracy, by table", PERCENT),
    Metric("search/true_rank", "share of the space that is better, by table", PERCENT),
    Metric("search/true_gap", "gap to the best that the mask leaves, by table", PERCENT),
    Metric("search/val_acc", "supernet accuracy", PERCENT),
    Metric("search/moved_edges", "edges that moved from the start", PERCENT),
    Metric("search/tie_break", "tie-breaks", PERCENT),
    Metric("prune/best_true_acc", "best accuracy that the mask leaves, by table", PERCENT),
    Metric("prune/mean_true_acc", "mean accuracy that the mask leaves, by table", PERCENT),
    Metric("search/peak_live_mib", "peak memory of a search step", "MiB"),
    Metric("search/peak_allocated_mib", "peak CUDA memory of the search", "MiB"),
    Metric("search/step_activations_mib", "kept for the backward pass", "MiB"),
    Metric("search/step_ms", "time of a search step", "ms"),
    Metric("total/search_seconds", "time of pruning and search", "s"),
    Metric("prune/seconds", "pruning time", "s"),
    Metric("search/seconds", "search time", "s"),
    Metric("evaluate/seconds", "evaluation time", "s"),
    Metric("total/seconds", "total time", "s"),
    Metric("prune/agreement", "expected agreement of masks", PERCENT),
    Metric("evaluate/params", "parameters"),
)
BY_KEY = {metric.key: metric for metric in METRICS}
ACCURACIES = tuple(
    BY_KEY[key] for key in ("evaluate/test_acc", "evaluate/val_acc", "search/true_acc", "search/val_acc")
)
#: Memory that is compared; what a step keeps for its backward pass is not.
MEMORIES = tuple(BY_KEY[key] for key in ("search/peak_live_mib", "search/peak_allocated_mib"))
#: What finding an architecture takes, pruning and all; of runs that did not prune, the search alone.
SEARCH_TIMES = tuple(BY_KEY[key] for key in ("total/search_seconds", "search/seconds"))
INTERVAL = f"{CONFIDENCE:.0%} interval of the mean (Student's t over {MIN_VALUES} seeds or more)"
COUNTED = "An accuracy of N images is taken to spread by sqrt(p (1 - p) / N) at least, however equal its values are."


def metrics_of(runs: Sequence[Run]) -> list[Metric]:
    """List the metrics that any of the runs has, in the order of METRICS."""
    return [metric for metric in METRICS if any(metric.key in run.metrics for run in runs)]


def accuracy_of(groups: Sequence[Group]) -> Metric | None:
    """Choose the most final accuracy that there is: of the test set, held out, by a table, or of the supernet."""
    return next((metric for metric in ACCURACIES if any(group.values(metric.key) for group in groups)), None)


def memory_of(groups: Sequence[Group]) -> Metric | None:
    """Choose the peak of a step, unless more groups have that of a whole search on CUDA; None without either."""
    return _most_covered(MEMORIES, groups)


def search_time_of(groups: Sequence[Group]) -> Metric | None:
    """Choose the time of pruning and search, unless more groups have that of the search alone; None without either."""
    return _most_covered(SEARCH_TIMES, groups)


def _most_covered(metrics: Sequence[Metric], groups: Sequence[Group]) -> Metric | None:
    """Choose the metric that most groups have, the first of several; None where none has any."""
    covered = {metric: sum(bool(group.values(metric.key)) for group in groups) for metric in metrics}
    most = max(covered, key=covered.__getitem__)
    return most if covered[most] else None


def ranked(groups: Sequence[Group]) -> list[Group]:
    """Sort groups by mean accuracy, the best first; those without any come last."""
    metric = accuracy_of(groups)
    found = {group: group.summary(metric.key) if metric else None for group in groups}
    return sorted(groups, key=lambda group: s.mean if (s := found[group]) else -math.inf, reverse=True)


def most_accurate(groups: Sequence[Group], count: int) -> list[Group]:
    """Choose so many groups by mean accuracy, in the order in which they are given."""
    best = set(ranked(groups)[:count])
    return [group for group in groups if group in best]


def _decimals(value: float) -> int:
    return min(max(2 - math.floor(math.log10(abs(value))), 0), 4) if math.isfinite(value) and value else 0


def _largest(summary: Summary) -> float:
    return max((each for each in (summary.mean, summary.low, summary.high) if each is not None), key=abs)
