"""Finished and unfinished runs, read from their files alone."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import StrictStr

from halfnas.reporting.bounds import is_possible
from halfnas.reporting.known import known_space
from halfnas.reporting.settings import Setting, settings_of
from halfnas.runs.files import entry, read_json
from halfnas.runs.history import read_history
from halfnas.runs.reading import in_short, quoted
from halfnas.runs.status import read_status
from halfnas.spaces import Genotype, Mask

log = logging.getLogger(__name__)

#: States of a run besides those of status.json.
NO_STATUS, NOT_STARTED, REPEATED = "no status", "not started", "repeated"

#: What `mask` is of a run that was given one.
GIVEN = "given"


@dataclass(frozen=True)
class Run:
    """One job, as its folder tells of it.

    Attributes:
        path: the folder.
        state: "done", "failed", "running", NO_STATUS where a folder has no readable status.json, NOT_STARTED for a job
            of a sweep without a folder, or REPEATED for one that was done again elsewhere.
        error: why it failed.
        seed: the seed of the run; None where it has no configuration.
        settings: "pruner", ... -> the choice; "searcher.epochs", ... -> the value, where that is `auto` what was used
            (RESOLVED); none of those in IGNORED.
        metrics: metrics.json, and `total/seconds` of all stages.
        left_out: what is wrong with metrics and choices that are not among them.
    """

    path: Path
    state: str
    error: str | None
    seed: int | None
    settings: Mapping[str, Setting]
    metrics: Mapping[str, float]
    left_out: Sequence[str] = ()

    @property
    def done(self) -> bool:
        """Whether it counts in results."""
        return self.state == "done"

    @cached_property
    def history(self) -> list[dict[str, str]]:
        """The rows of history.csv.

        Raises:
            ValueError: it cannot be read; so with the other files.
        """
        return read_history(self.path / "history.csv")

    @cached_property
    def mask(self) -> Mask | None:
        """The mask that it searched, if any."""
        path = self.path / "mask.json"
        if not os.path.lexists(path):
            return None
        mask = Mask.load(path)
        if (space := known_space(mask.space)) is not None:
            mask.check(space)
        return mask

    @cached_property
    def genotype(self) -> Genotype | None:
        """The cell that it found or evaluated, if any."""
        path = self.path / "genotype.json"
        if not os.path.lexists(path):
            return None
        genotype = Genotype.load(path)
        if (space := known_space(genotype.space)) is not None:
            space.check_genotype(genotype)
        return genotype

    @cached_property
    def problems(self) -> list[str]:
        """What cannot be read of the run, besides what `error` says: it counts with what can be."""
        found = list(self.left_out)
        for name in ("history", "mask", "genotype"):
            try:
                getattr(self, name)
            except ValueError as problem:
                found.append(str(problem))
        return found

    @property
    def trouble(self) -> str | None:
        """Why it failed, and what cannot be read of it; None of a run without any."""
        return "; ".join([*filter(None, [self.error]), *self.problems]) or None


def load_runs(paths: Iterable[str | Path]) -> list[Run]:
    """Read all runs in and under some folders, each once, in the order of their paths.

    Of runs with equal settings and seed the last one counts; the others are marked as REPEATED. Masks that were given
    are told apart by pruner, ratio and seed, and by their files only where these are the same and the masks are not.

    Raises:
        ValueError: a path is no folder, or there is no run in any.
    """
    tops = [Path(path) for path in paths]
    folders: set[Path] = set()
    planned: set[Path] = set()
    for path in tops:
        if not path.is_dir():
            raise ValueError(f"{path}: no such folder")
        for folder, is_run in _walk(path.resolve()):
            if is_run:
                folders.add(folder)
            else:
                planned |= _jobs(folder / "sweep.json")
    runs = _without_files_of_masks([read_run(folder) for folder in sorted(folders)])
    absent = [Run(folder, NOT_STARTED, None, None, {}, {}) for folder in sorted(planned - folders)]
    if not runs and not absent:
        raise ValueError(f"no run in {', '.join(map(str, tops))}: a run's folder has a status.json or a .hydra folder")
    return [*_mark_repeated(runs), *absent]


def read_run(folder: Path) -> Run:
    """Read one run; what cannot be read is left out, and `error` says so."""
    state, error, seed = NO_STATUS, None, None
    metrics: dict[str, float] = {}
    settings: dict[str, Setting] = {}
    left_out: list[str] = []
    try:
        status = read_status(folder)
        metrics, left_out = _measured(folder / "metrics.json")
        state, error = status["state"], status["error"]
    except ValueError as problem:
        error = str(problem)
    try:
        seed, settings, problems = settings_of(folder, metrics)
        left_out += problems
    except ValueError as problem:  # nobody knows what was done
        state, error = (NO_STATUS if state == "done" else state), error or str(problem)
    seconds = [value for key, value in metrics.items() if key.endswith("/seconds")]
    if seconds:
        metrics["total/seconds"] = sum(seconds)
    return Run(folder, state, error, seed, settings, metrics, left_out)


def _measured(path: Path) -> tuple[dict[str, float], list[str]]:
    """Read a metrics.json, and say which of its values are none; nothing where there is no file."""
    metrics, left_out = {}, []
    for key, value in (read_json(path) if os.path.lexists(path) else {}).items():
        if is_possible(key, value):
            metrics[key] = value
        else:
            left_out.append(f"{in_short(path)}: {quoted(key)} is {quoted(value)}, which is left out")
    return metrics, left_out


def _walk(path: Path) -> Iterator[tuple[Path, bool]]:
    """Find every folder of a run, and every other one with the list of a sweep's jobs; say whether it is a run's."""
    for folder, names, files in os.walk(path):
        if ".hydra" in names or "status.json" in files:
            names.clear()  # nothing of a run holds another
            yield Path(folder), True
        else:
            names[:] = sorted(name for name in names if not name.startswith("."))
            if "sweep.json" in files:
                yield Path(folder), False


def _jobs(sweep: Path) -> set[Path]:
    """List the folders of the jobs that a sweep has planned, some of which may not have started."""
    try:
        jobs = entry(read_json(sweep), "jobs", list[StrictStr] | dict[str, Any], "name the jobs", in_short(sweep), [])
    except ValueError as problem:
        log.warning("Jobs that have not started are not listed: %s", problem)
        return set()
    return {sweep.parent / name for name in jobs}


def _without_files_of_masks(runs: Sequence[Run]) -> list[Run]:
    def told(run: Run) -> dict[str, Setting]:
        return {key: GIVEN if key == "mask" else value for key, value in run.settings.items()}

    given = {run.path: frozenset(told(run).items()) for run in runs if run.settings.get("mask") is not None}
    masks: dict[Any, set[Any]] = {}
    for run in runs:
        if run.path in given:
            kept = _kept(run)
            masks.setdefault((run.seed, given[run.path]), set()).add(kept)
    ambiguous = {settings for (_, settings), several in masks.items() if len(several) > 1}
    return [
        replace(run, settings=told(run)) if run.path in given and given[run.path] not in ambiguous else run
        for run in runs
    ]


def _kept(run: Run) -> Any:
    """What its mask keeps, to be compared; None where it has none that can be read."""
    try:
        return None if run.mask is None else tuple(sorted(run.mask.kept.items()))
    except ValueError:
        return None


def _mark_repeated(runs: Sequence[Run]) -> list[Run]:
    latest: dict[Any, Run] = {}
    for run in runs:
        if run.done:
            key = (run.seed, frozenset(run.settings.items()))
            if key not in latest or _finished(run) >= _finished(latest[key]):
                latest[key] = run
    counting = {run.path for run in latest.values()}
    return [
        replace(run, state=REPEATED, error="done again elsewhere, later")
        if run.done and run.path not in counting
        else run
        for run in runs
    ]


def _finished(run: Run) -> float:
    return (run.path / "status.json").stat().st_mtime
