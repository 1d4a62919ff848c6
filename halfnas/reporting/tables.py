"""The tables of a report: results, differences, every run, and the runs that are not done."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pandas as pd

from halfnas.reporting.conditions import NEVER, conditions, in_words, measured_at, why_not
from halfnas.reporting.frame import frame_of
from halfnas.reporting.groups import Group, telling_apart
from halfnas.reporting.metrics import (
    ACCURACIES,
    COUNTED,
    INTERVAL,
    METRICS,
    PERCENT,
    Metric,
    accuracy_of,
    memory_of,
    metrics_of,
    search_time_of,
)
from halfnas.reporting.runs import Run
from halfnas.reporting.settings import Setting
from halfnas.reporting.study import Study
from halfnas.reporting.table import Cell, Table

#: headings for a narrow terminal
SHORT = {
    "evaluate/test_acc": "test",
    "evaluate/val_acc": "held-out",
    "search/true_acc": "true",
    "search/val_acc": "supernet",
    "search/peak_live_mib": "step peak",
    "search/peak_allocated_mib": "CUDA peak",
    "total/search_seconds": "prune + search",
    "search/seconds": "search",
}
MEASURED_AT = "measured at"
ALIKE = "Memory and time are compared only where batch size, precision, image size and kind of device are the same."
#: What is said of a metric that is easily taken for something else.
NOTES = {
    "search/step_activations_mib": "What is kept for the backward pass leaves out what is computed again: it is not "
    "compared.",
    "evaluate/val_acc": "`evaluate/val_acc` is of images held out of the training, and of pruning and search too where "
    "they ran with the same `evaluation.holdout_fraction` and seed.",
}


@dataclass(frozen=True)
class Entry:
    """What stands in a place of a table.

    Attributes:
        detail: what is said in small print beside the text.
        value: the value that rows are sorted by; None sorts last.
        link: a relative address.
    """

    text: str = "-"
    detail: str = ""
    value: float | str | None = None
    link: str | None = None


class Column(NamedTuple):
    """A column of a sheet: its heading, the metric's key where it has one, and what stands in it for an item."""

    heading: str
    key: str
    entry: Callable[[Any], Entry]


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

    @classmethod
    def of(cls, items: Iterable[Any], columns: Sequence[Column], title: str, caption: str) -> "Sheet":
        """Make a row of every item."""
        rows = [[column.entry(item) for column in columns] for item in items]
        return cls(title, caption, {column.heading: column.key for column in columns}, rows)

    def table(self) -> Table:
        """Give the same as text."""
        rows: list[dict[str, Cell]] = [
            {c: f"{e.text} {e.detail}".strip() for c, e in zip(self.columns, row, strict=True)} for row in self.rows
        ]
        return Table(self.title, rows, {})


def results_sheet(study: Study) -> Sheet:
    """Make a row a group: every metric's mean, spread and interval."""
    columns = [
        *_group_columns(study.groups),
        Column("n", "", lambda group: Entry(str(len(group.runs)), value=len(group.runs))),
        *_measured_at(study.groups),
        *(Column(metric.label, metric.key, partial(_result, metric)) for metric in _measured(study)),
    ]
    caption = f"Mean ± standard deviation over seeds, and below it the {INTERVAL}; n counts the runs that are done."
    if any(metric in ACCURACIES for metric in _measured(study)):
        caption += f" {COUNTED}"
    caption += "".join(f" {NOTES[metric.key]}" for metric in _measured(study) if metric.key in NOTES)
    return Sheet.of(study.groups, columns, "Results", caption)


def differences_sheet(study: Study) -> Sheet | None:
    """Make a row a group: every metric less that of the baseline with the same seed; None where nothing is compared."""
    bases = dict(study.comparisons())
    metrics = [
        metric
        for metric in _measured(study)
        if metric.key.split("/")[-1] not in NEVER
        if any(group.difference(base, metric.key) for group, base in bases.items())
    ]
    if not metrics:
        return None
    names = list(dict.fromkeys(base.name for base in bases.values()))
    columns = _group_columns(study.groups)
    title = f"Differences from {names[0]}"
    if len(names) > 1:
        columns.append(Column("baseline", "", lambda group: Entry(bases[group].name, value=bases[group].name)))
        title = "Differences from the baseline of each data set"
    for metric in metrics:
        unit = "points" if metric.unit == PERCENT else metric.unit or "number"
        columns.append(Column(f"{metric.title} ({unit})", metric.key, partial(_difference, metric, bases)))
    caption = (
        f"A run less the baseline's run with the same seed: mean over the n seeds that both have, and its {INTERVAL}. "
        f"Of percent: percentage points. {ALIKE}"
    )
    return Sheet.of(bases, columns, title, caption)


def runs_sheet(study: Study, out: Path) -> Sheet:
    """Make a row a run, whatever became of it, with a link from the report's folder to its own."""
    shown = {*(metric.key for metric in ACCURACIES), "total/seconds"}
    shown |= {each.key for each in (memory_of(study.groups), search_time_of(study.groups)) if each is not None}
    columns = [
        *_run_columns(study, out),
        *_setting_columns(telling_apart([run.settings for run in study.runs if run.settings])),
        *(Column(m.label, m.key, partial(_value, m)) for m in metrics_of(study.runs) if m.key in shown),
        *_measured_at([Group({}, [run]) for run in study.runs if run.metrics]),
        Column("error", "", _error),
    ]
    caption = f"Folders lie in {study.root}. An error is that of the run's status.json, or says what cannot be read."
    return Sheet.of(study.runs, columns, "Every run", caption)


def not_done_sheet(study: Study, out: Path) -> Sheet | None:
    """Make a row of each run that does not count, and say why; None where all are done."""
    columns = [*_run_columns(study, out), Column("error", "", _error)]
    caption = "They are in none of the means and figures."
    return Sheet.of(study.not_done, columns, study.counts(), caption) if study.not_done else None


def unreadable_sheet(study: Study, out: Path) -> Sheet | None:
    """Make a row of each run that counts though not all of it can be read; None where there is none."""
    columns = [*_run_columns(study, out), Column("problem", "", _error)]
    caption = "Their other numbers are in all means and figures."
    return Sheet.of(study.unreadable, columns, study.warning(), caption) if study.unreadable else None


def terminal_table(study: Study, narrow: bool = False) -> Table:
    """Show the numbers that matter most; where it is narrow, as many of them as 80 columns hold."""
    accuracy, memory, bases = accuracy_of(study.groups), memory_of(study.groups), dict(study.comparisons())
    places = {group: measured_at(group) for group in study.groups}
    rows: list[dict[str, Cell]] = []
    for group in study.groups:
        star = " *" if group in study.baselines.values() else ""
        row: dict[str, Cell] = {"runs": f"{group.name}{star}", "n": str(len(group.runs))}
        if accuracy is not None:
            result = _result(accuracy, group)
            row |= {f"{SHORT[accuracy.key]} (%)": result.text}
            row |= {} if narrow else {"95% interval": result.detail or "-"}
        for metric in (memory, None if narrow else search_time_of(study.groups)):
            if metric is not None:
                row[f"{SHORT[metric.key]} ({metric.unit})"] = _result(metric, group).text
        if len(set(places.values())) > 1:
            row[MEASURED_AT] = places[group]
        if accuracy is not None and len(study.groups) > 1:
            row["minus *"] = _difference(accuracy, bases, group).text
        rows.append(row)
    [place, *others] = sorted(set(places.values())) or [""]
    said = f"; {place}" if place and not others else ""
    return Table(f"Mean ± standard deviation over seeds; * baseline{said}", rows, {})


def results_table(study: Study) -> Table:
    """Make a row a group and metric, with all digits."""
    rows: list[dict[str, Cell]] = []
    bases = dict(study.comparisons())
    for group, baseline in study.baselines.items():
        for metric in METRICS:
            if (summary := group.summary(metric.key)) is None:
                continue
            row = {"group": group.name, **group.settings, "metric": metric.key, **asdict(summary)}
            row["measured_at"] = in_words(conditions(group, metric.key)) or None
            row |= {"baseline": None if baseline is None else baseline.name, "common_seeds": None}
            row |= dict.fromkeys(f"difference_{name}" for name in ("mean", "std", "low", "high"))
            row["not_comparable"] = why_not(group, bases[group], metric.key) if group in bases else None
            comparable = group in bases and row["not_comparable"] is None
            if comparable and (difference := group.difference(bases[group], metric.key)):
                digits = asdict(difference)
                row |= {"common_seeds": digits.pop("n"), **{f"difference_{name}": digits[name] for name in digits}}
            rows.append(row)
    return Table("Results", rows, {})


def runs_table(study: Study) -> Table:
    """Make a row a run, with all that its metrics.json says and the settings that tell runs apart."""
    settings = telling_apart([run.settings for run in study.runs if run.settings])
    metrics = dict.fromkeys(key for run in study.runs for key in run.metrics)
    columns = ["folder", "state", "error", "seed", *settings, *metrics]
    frame = frame_of(study.runs)[columns].rename(columns={"folder": "path"})
    frame["error"] = pd.Series([run.trouble for run in study.runs], dtype=object)
    return Table("Runs", frame.to_dict("records"), {})


def _measured(study: Study) -> list[Metric]:
    return metrics_of([run for run in study.runs if run.done])


def _group_columns(groups: Sequence[Group]) -> list[Column]:
    """Make a column of each setting that tells groups apart, or one that names the only group."""
    keys = list(dict.fromkeys(key for group in groups for key in group.settings))
    return _setting_columns(keys) or [Column("group", "", lambda _: Entry("all runs", value="all runs"))]


def _setting_columns(keys: Iterable[str]) -> list[Column]:
    """Make a column of each setting, of groups or of runs."""

    def entry(key: str, item: Group | Run) -> Entry:
        return _setting(item.settings.get(key))

    return [Column(key, "", partial(entry, key)) for key in keys]


def _measured_at(groups: Sequence[Group]) -> list[Column]:
    """Make a column of what memory and time were measured at, if there are any."""

    def entry(item: Group | Run) -> Entry:
        place = measured_at(item if isinstance(item, Group) else Group({}, [item]))
        return Entry(place, value=place) if place else Entry()

    return [Column(MEASURED_AT, "", entry)] if any(map(measured_at, groups)) else []


def _run_columns(study: Study, out: Path) -> list[Column]:
    """Make columns of the folder of a run, with a link where there is one, its state and its seed."""

    def folder(run: Run) -> Entry:
        link = f"{quote(os.path.relpath(run.path, out.resolve()))}/" if os.path.isdir(run.path) else None
        return Entry(study.path(run), value=study.path(run), link=link)

    return [
        Column("run", "", folder),
        Column("state", "", lambda run: Entry(run.state, value=run.state)),
        Column("seed", "", lambda run: _setting(run.seed)),
    ]


def _setting(value: Setting) -> Entry:
    if value is None:
        return Entry()
    return Entry(str(value), value=str(value) if isinstance(value, bool) else value)


def _result(metric: Metric, group: Group) -> Entry:
    summary = group.summary(metric.key)
    if summary is None:
        return Entry()
    few = f" (n={summary.n})" if summary.n != len(group.runs) else ""
    return Entry(metric.spread(summary) + few, metric.interval(summary), summary.mean)


def _difference(metric: Metric, bases: Mapping[Group, Group], group: Group) -> Entry:
    summary = group.difference(bases[group], metric.key) if group in bases else None
    if summary is None:
        return Entry()
    if (reason := why_not(group, bases[group], metric.key)) is not None:
        return Entry(detail=f"not comparable: {reason}")
    return Entry(metric.change(summary), f"{metric.interval(summary, '+')} n={summary.n}".strip(), summary.mean)


def _value(metric: Metric, run: Run) -> Entry:
    if metric.key not in run.metrics:
        return Entry()
    value = run.metrics[metric.key]
    return Entry(metric.text(value), value=value)


def _error(run: Run) -> Entry:
    return Entry(run.trouble or "", value=run.trouble)
