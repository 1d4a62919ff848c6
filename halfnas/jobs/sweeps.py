"""What became of the jobs of a sweep, as a table in the end. Imports none of torch."""

import contextlib
import logging
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from halfnas.config.schema import overrides_hash
from halfnas.errors import Busy, FileError
from halfnas.jobs.folders import single, started
from halfnas.jobs.lock import locked
from halfnas.jobs.signals import end_in_order, exit_code
from halfnas.jobs.typed import again
from halfnas.runs.folder import read_metrics
from halfnas.runs.status import mark_failed, read_status
from halfnas.runs.yaml_files import load_yaml

log = logging.getLogger(__name__)

NOT_STARTED = "not started"


@dataclass(frozen=True)
class Job:
    """A job of a sweep.

    Attributes:
        folder: in that of the sweep.
        overrides: its settings.
        state: the state in its status.json, or NOT_STARTED.
        error: why it failed.
        metrics: what it has measured.
    """

    folder: str
    overrides: Sequence[str]
    state: str
    error: str | None
    metrics: dict[str, float]


def read_jobs(sweep: Path, planned: Mapping[str, Sequence[str]]) -> list[Job]:
    """What became of the jobs that were planned; without a plan, of all in the folder."""
    jobs = dict(planned)
    for path in [] if planned else sorted(sweep.glob("*/.hydra/overrides.yaml")):
        jobs[path.parents[1].name] = _overrides(path)
    return [_read_job(sweep, folder, overrides) for folder, overrides in jobs.items()]


def _overrides(path: Path) -> list[str]:
    """The settings that a job was given; none where they cannot be read."""
    try:
        found = load_yaml(path)
    except ValueError as error:
        log.warning("A job is named by its folder alone: %s", error)
        return []
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _read_job(sweep: Path, folder: str, overrides: Sequence[str]) -> Job:
    if not os.path.lexists(sweep / folder / "status.json"):
        return Job(folder, overrides, NOT_STARTED, None, {})
    try:
        status = read_status(sweep / folder)
        if status.get("overrides_hash") not in (None, overrides_hash(overrides)):
            return Job(folder, overrides, NOT_STARTED, "its folder has a run of other settings", {})
        return Job(folder, overrides, status["state"], status["error"], read_metrics(sweep / folder))
    except ValueError as error:
        return Job(folder, overrides, "unreadable", str(error), {})


def sweep_table(jobs: Sequence[Job]) -> Table:
    """A row a job, named by what tells it from the others."""
    table = Table(title=f"{sum(job.state == 'done' for job in jobs)} of {len(jobs)} jobs are done")
    for column in ("job", "state", "accuracy", "step memory", "time"):
        table.add_column(column, justify="left" if column in ("job", "state") else "right", overflow="fold")
    for job, name in zip(jobs, _names(jobs), strict=True):
        colour = {"done": "green", "failed": "red"}.get(job.state, "yellow")
        table.add_row(escape(name), f"[{colour}]{job.state}[/]", *_shown(job.metrics))
    return table


def failures(jobs: Sequence[Job]) -> list[str]:
    """A line a job that failed: which, and why."""
    return [f"{name}: {_short(job.error)}" for job, name in zip(jobs, _names(jobs), strict=True) if job.error]


def _names(jobs: Sequence[Job]) -> list[str]:
    """The overrides that not all jobs share."""
    shared = set(jobs[0].overrides).intersection(*(job.overrides for job in jobs)) if jobs else set()
    return [" ".join(each for each in job.overrides if each not in shared) or job.folder for job in jobs]


def _shown(metrics: dict[str, float]) -> tuple[str, str, str]:
    accuracy = metrics.get("evaluate/test_acc", metrics.get("search/val_acc"))
    memory = metrics.get("search/peak_live_mib")
    seconds = [value for key, value in metrics.items() if key.endswith("/seconds")]
    return (
        "-" if accuracy is None else f"{accuracy:.2%}",
        "-" if memory is None else f"{memory:,.1f} MiB",
        f"{sum(seconds):,.1f} s" if seconds else "-",
    )


def _short(error: str) -> str:
    """The first problem of several, or the first line."""
    lines = [line.strip(" *") for line in error.splitlines() if line.strip()]
    more = f" (and {len(lines) - 2} more)" if len(lines) > 2 else ""
    first = lines[1] if len(lines) > 1 and lines[0].startswith("halfnas:") else lines[0]
    return first.removeprefix("halfnas: ")[:300] + more


def command(main: Callable[[], Any], console: Console | None = None) -> int:
    """Run Hydra's `main`; returns the exit code. A sweep ends with a table of its jobs, however it ends."""
    console = console or Console()
    code, interrupted = 0, False
    end_in_order()
    try:
        main()
    except KeyboardInterrupt:
        code, interrupted = exit_code(), True
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    sweep, planned = started() or (None, {})
    jobs = [] if sweep is None else read_jobs(sweep, planned)
    if sweep is not None and any(job.state != NOT_STARTED for job in jobs):
        console.print(sweep_table(jobs))
        for line in failures(jobs):
            console.print(f"Failed: {line}", style="red", soft_wrap=True, markup=False, highlight=False)
        console.print(f"Report: python -m halfnas.reporting {shlex.quote(str(sweep))}", soft_wrap=True, markup=False)
        if any(job.state != "done" for job in jobs):
            console.print(f"Go on:  {again('hydra.sweep.dir', sweep)}", soft_wrap=True, markup=False, highlight=False)
            code = code or 1
        return code
    folder = single()
    if interrupted:
        console.print("Interrupted.")
        if folder is not None:
            _mark_interrupted(folder)
    if code != 0 and folder is not None and _can_go_on(folder):
        console.print(f"Go on: {again('hydra.run.dir', folder)}", soft_wrap=True, markup=False, highlight=False)
    return code


def _mark_interrupted(folder: Path) -> None:
    """Say so for a run that had not come to saying it itself, unless another process is in the folder."""
    with contextlib.suppress(Busy, FileError), locked(folder):
        if (folder / "status.json").exists():
            mark_failed(folder, "interrupted")


def _can_go_on(folder: Path) -> bool:
    """Whether a run was ended that has come to something."""
    try:
        status = read_status(folder)
    except ValueError:
        return False
    return status.get("state") == "failed" and bool(status.get("stages_done") or any(folder.glob("checkpoints/*.ckpt")))
