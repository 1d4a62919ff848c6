"""The tables of a report: results, differences, every run, and the runs that are not done."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from halfnas.reporting.groups import Group, telling_apart
from halfnas.reporting.metrics import (
    ACCURACIES,
    BY_KEY,
    INTERVAL,
    METRICS,
    PERCENT,
    Metric,
    accuracy_of,
    memory_of,
    metrics_of,
)
from halfnas.reporting.runs import Run, Setting
from halfnas.reporting.statistics import Summary
from halfnas.reporting.study import Study
from halfnas.reporting.table import Cell, Table

#: headings for a narrow terminal
SHORT = {
    "evaluate/test_acc": "test",
    "evaluate/val_acc": "held-out",
    "search/val_acc": "supernet",
    "search/peak_allocated_mib": "CUDA peak",
    "search/step_activations_mib": "activations",
    "total/seconds": "time",
}


@dataclass(frozen=True)
class Entry:
    """What stands in a place of a table.

    Attributes:
        detail: what is said in small print beside the text.
        value: by which rows are sorted; None sorts last.
        link: a relative address.
    """

    text: str = "-"
    detail: str = ""
    value: float | str | None = None
    link: str | None = None


@dataclass(frozen=True)
class Sheet:
    """A table to read.

    Attributes:
        columns: heading -> a metric's key, or nothing to add.
    """

    title: str
    caption: str
    columns: Mapping[str, str]
    rows: Sequence[Sequence[Entry]]

    def table(self) -> Table:
        """The same as text."""
        rows: list[dict[str, Cell]] = [
            {c: f"{e.text} {e.detail}".strip() for c, e in zip(self.columns, row, strict=True)} for row in self.rows
        ]
        return Table(self.title, rows, {})


def results_sheet(study: Study) -> Sheet:
    """A row a group: every metric's mean, spread and interval."""
    settings = _setting_columns([group.settings for group in study.groups])
    metrics = metrics_of([run for run in study.runs if run.done])
    rows = [
        [
            *_settings(group.settings, settings),
            Entry(str(len(group.runs)), value=len(group.runs)),
            *(_result(group, metric) for metric in metrics),
        ]
        for group in study.groups
    ]
    caption = f"Mean ± standard deviation over seeds, and below it the {INTERVAL}; n counts the runs that are done."
    columns = {**dict.fromkeys(settings or ["group"], ""), "n": "", **{metric.label: metric.key for metric in metrics}}
    return Sheet("Results", caption, columns, rows)


def differences_sheet(study: Study) -> Sheet | None:
    """A row a group: every metric less that of the baseline with the same seed; None where nothing is compared."""
    pairs = study.comparisons()
    metrics = [
        metric
        for metric in metrics_of([run for run in study.runs if run.done])
        if any(group.difference(base, metric.key) for group, base in pairs)
    ]
    if not metrics:
        return None
    settings = _setting_columns([group.settings for group in study.groups])
    names = list(dict.fromkeys(base.name for _, base in pairs))
    several = len(names) > 1
    rows = [
        [
            *_settings(group.settings, settings),
            *([Entry(base.name, value=base.name)] if several else []),
            *(_difference(group, base, metric) for metric in metrics),
        ]
        for group, base in pairs
    ]
    columns = dict.fromkeys(settings or ["group"], "") | ({"baseline": ""} if several else {})
    title = "Differences from the baseline of each data set" if several else f"Differences from {names[0]}"
    caption = (
        f"A run less the baseline's run with the same seed: mean over the n seeds that both have, and its {INTERVAL}. "
        "Of percent: percentage points."
    )
    units = {f"{metric.title} ({'points' if metric.unit == PERCENT else metric.unit or 'number'})": metric.key
             for metric in metrics}  # fmt: skip
    return Sheet(title, caption, columns | units, rows)


def runs_sheet(study: Study, out: Path) -> Sheet:
    """A row a run, whatever became of it, with a link from the report's folder to its own."""
    settings = telling_apart([run.settings for run in study.runs if run.settings])
    shown = {*(metric.key for metric in ACCURACIES), "total/seconds"}
    shown |= {metric.key for metric in [memory_of(study.groups)] if metric is not None}
    metrics = [metric for metric in metrics_of(study.runs) if metric.key in shown]
    rows = [
        [
            *_run(study, run, out),
            *(_setting(run.settings.get(key)) for key in settings),
            *(_value(run, metric) for metric in metrics),
            Entry(run.error or "", value=run.error),
        ]
        for run in study.runs
    ]
    columns = [*("run", "state", "seed"), *settings]
    return Sheet(
        "Every run",
        f"Folders lie in {study.root}. The text of a failure is that of the run's status.json.",
        {**dict.fromkeys(columns, ""), **{metric.label: metric.key for metric in metrics}, "error": ""},
        rows,
    )


def not_done_sheet(study: Study, out: Path) -> Sheet | None:
    """The runs that do not count, and why; None where all are done."""
    if not study.not_done:
        return None
    rows = [[*_run(study, run, out), Entry(run.error or "", value=run.error)] for run in study.not_done]
    caption = "They are in none of the means and figures."
    return Sheet(study.counts(), caption, dict.fromkeys(("run", "state", "seed", "error"), ""), rows)


def terminal_table(study: Study, narrow: bool = False) -> Table:
    """The numbers that matter most; where it is narrow, as many of them as 80 columns hold."""
    accuracy, memory = accuracy_of(study.groups), memory_of(study.groups)
    rows: list[dict[str, Cell]] = []
    for group, base in zip(study.groups, study.baselines, strict=True):
        row: dict[str, Cell] = {"runs": f"{group.name}{' *' if group is base else ''}", "n": str(len(group.runs))}
        if accuracy is not None:
            result = _result(group, accuracy)
            row |= {f"{SHORT[accuracy.key]} (%)": result.text}
            row |= {} if narrow else {"95% interval": result.detail or "-"}
        for metric in (memory, None if narrow else BY_KEY["total/seconds"]):
            if metric is not None and any(other.values(metric.key) for other in study.groups):
                row[f"{SHORT[metric.key]} ({metric.unit})"] = _result(group, metric).text
        if accuracy is not None and len(study.groups) > 1:
            paired = base is not None and group is not base
            found = _difference(group, base, accuracy) if base is not None and paired else Entry()
            row["minus *"] = found.text
        rows.append(row)
    return Table("Mean ± standard deviation over seeds; * baseline", rows, {})


def results_table(study: Study) -> Table:
    """A row a group and metric, with all digits."""
    rows: list[dict[str, Cell]] = []
    for group, base in zip(study.groups, study.baselines, strict=True):
        for metric in METRICS:
            summary = group.summary(metric.key)
            if summary is None:
                continue
            difference = None if base is None or base is group else group.difference(base, metric.key)
            rows.append(
                {
                    "group": group.name, **group.settings, "metric": metric.key, **_digits(summary),
                    "baseline": None if base is None else base.name,
                    "common_seeds": None if difference is None else difference.n,
                    **{f"difference_{name}": value for name, value in _digits(difference).items() if name != "n"},
                }
            )  # fmt: skip
    return Table("Results", rows, {})


def runs_table(study: Study) -> Table:
    """A row a run with all that its metrics.json says."""
    settings = telling_apart([run.settings for run in study.runs if run.settings])
    metrics = dict.fromkeys(key for run in study.runs for key in run.metrics)
    rows: list[dict[str, Cell]] = [
        {
            "path": str(run.path), "state": run.state, "error": run.error, "seed": run.seed,
            **{key: run.settings.get(key) for key in settings}, **{key: run.metrics.get(key) for key in metrics},
        }
        for run in study.runs
    ]  # fmt: skip
    return Table("Runs", rows, {})


def _digits(summary: Summary | None) -> dict[str, float | None]:
    names = ("n", "mean", "std", "low", "high")
    return {name: None if summary is None else getattr(summary, name) for name in names}


def _setting_columns(settings: Sequence[Mapping[str, Setting]]) -> list[str]:
    return list(dict.fromkeys(key for each in settings for key in each))


def _settings(settings: Mapping[str, Setting], columns: Sequence[str]) -> list[Entry]:
    return [_setting(settings.get(key)) for key in columns] or [Entry("all runs", value="all runs")]


def _setting(value: Setting) -> Entry:
    if value is None:
        return Entry()
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return Entry(str(value), value=float(value) if number else str(value))


def _result(group: Group, metric: Metric) -> Entry:
    summary = group.summary(metric.key)
    if summary is None:
        return Entry()
    few = f" (n={summary.n})" if summary.n != len(group.runs) else ""
    return Entry(metric.spread(summary) + few, metric.interval(summary), summary.mean)


def _difference(group: Group, base: Group, metric: Metric) -> Entry:
    summary = group.difference(base, metric.key)
    if summary is None:
        return Entry()
    return Entry(metric.change(summary), f"{metric.change_interval(summary)} n={summary.n}".strip(), summary.mean)


def _run(study: Study, run: Run, out: Path) -> list[Entry]:
    path = study.path(run)
    link = f"{quote(os.path.relpath(run.path, out.resolve()))}/" if run.path.is_dir() else None
    seed = Entry() if run.seed is None else Entry(str(run.seed), value=run.seed)
    return [Entry(path, value=path, link=link), Entry(run.state, value=run.state), seed]


def _value(run: Run, metric: Metric) -> Entry:
    if metric.key not in run.metrics:
        return Entry()
    value = run.metrics[metric.key]
    return Entry(metric.text(value), value=value)
