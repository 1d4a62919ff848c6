"""The metrics that a report shows: what they are called, their unit, and how a number of them is written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from halfnas.reporting.groups import Group
from halfnas.reporting.runs import Run
from halfnas.reporting.statistics import CONFIDENCE, Summary

PERCENT = "%"


@dataclass(frozen=True)
class Metric:
    """A key of metrics.json.

    Attributes:
        unit: of what is shown; fractions are shown as percent.
        label: title and unit.
    """

    key: str
    title: str
    unit: str = ""

    @property
    def label(self) -> str:
        """Such as "test accuracy (%)"."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def scale(self) -> float:
        """What is shown over what is stored."""
        return 100.0 if self.unit == PERCENT else 1.0

    def text(self, value: float) -> str:
        """A single value."""
        return self._numbers([value])[0]

    def spread(self, summary: Summary) -> str:
        """Mean and standard deviation: "98.52 ± 0.30"."""
        if summary.std is None:
            return self.text(summary.mean)
        mean, std = self._numbers([summary.mean, summary.std])
        return f"{mean} ± {std}"

    def interval(self, summary: Summary) -> str:
        """Such as "[97.77, 99.27]"; empty of a single value."""
        if summary.low is None or summary.high is None:
            return ""
        low, high = self._numbers([summary.low, summary.high], like=summary.mean)
        return f"[{low}, {high}]"

    def change(self, summary: Summary) -> str:
        """A mean difference with its sign."""
        return self._numbers([summary.mean], sign="+", like=_largest(summary))[0]

    def change_interval(self, summary: Summary) -> str:
        """The interval of a difference; empty of a single one."""
        if summary.low is None or summary.high is None:
            return ""
        low, high = self._numbers([summary.low, summary.high], sign="+", like=_largest(summary))
        return f"[{low}, {high}]"

    def _numbers(self, values: Sequence[float], sign: str = "", like: float | None = None) -> list[str]:
        """Three significant digits of the first (or of `like`), and as many decimals in the others."""
        decimals = 2 if self.unit == PERCENT else _decimals(values[0] if like is None else like)
        return [format(self.scale * value, f"{sign},.{decimals}f") for value in values]


METRICS = (
    Metric("evaluate/test_acc", "test accuracy", PERCENT),
    Metric("evaluate/val_acc", "held-out accuracy", PERCENT),
    Metric("search/val_acc", "supernet accuracy", PERCENT),
    Metric("search/peak_allocated_mib", "peak CUDA memory of the search", "MiB"),
    Metric("search/step_activations_mib", "activations of a search step", "MiB"),
    Metric("search/step_ms", "time of a search step", "ms"),
    Metric("prune/seconds", "pruning time", "s"),
    Metric("search/seconds", "search time", "s"),
    Metric("evaluate/seconds", "evaluation time", "s"),
    Metric("total/seconds", "total time", "s"),
    Metric("prune/agreement", "expected agreement of masks", PERCENT),
    Metric("evaluate/params", "parameters"),
)
BY_KEY = {metric.key: metric for metric in METRICS}
ACCURACIES = tuple(BY_KEY[key] for key in ("evaluate/test_acc", "evaluate/val_acc", "search/val_acc"))
MEMORIES = tuple(BY_KEY[key] for key in ("search/peak_allocated_mib", "search/step_activations_mib"))
INTERVAL = f"{CONFIDENCE:.0%} interval of the mean (Student's t over seeds)"


def metrics_of(runs: Sequence[Run]) -> list[Metric]:
    """Those that any of the runs has."""
    return [metric for metric in METRICS if any(metric.key in run.metrics for run in runs)]


def accuracy_of(groups: Sequence[Group]) -> Metric | None:
    """The most final accuracy that there is: of the test set, else held out, else of the supernet."""
    return next((metric for metric in ACCURACIES if any(group.values(metric.key) for group in groups)), None)


def memory_of(groups: Sequence[Group]) -> Metric | None:
    """CUDA's peak, unless more groups have what a step keeps, which any device measures."""
    covered = {metric: sum(bool(group.values(metric.key)) for group in groups) for metric in MEMORIES}
    most = max(covered, key=covered.__getitem__)
    return most if covered[most] else None


def ranked(groups: Sequence[Group]) -> list[Group]:
    """By mean accuracy, the best first; those without any come last."""
    metric = accuracy_of(groups)
    if metric is None:
        return list(groups)

    def quality(group: Group) -> float:
        summary = group.summary(metric.key)
        return -math.inf if summary is None else summary.mean

    return sorted(groups, key=quality, reverse=True)


def most_accurate(groups: Sequence[Group], count: int) -> list[Group]:
    """Choose so many groups by mean accuracy, in the order in which they are given."""
    best = set(ranked(groups)[:count])
    return [group for group in groups if group in best]


def _decimals(value: float) -> int:
    return min(max(2 - math.floor(math.log10(abs(value))), 0), 4) if math.isfinite(value) and value else 0


def _largest(summary: Summary) -> float:
    return max((each for each in (summary.mean, summary.low, summary.high) if each is not None), key=abs)
