"""Finished and unfinished runs, read from their files alone."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from halfnas.reporting.origin import as_ran
from halfnas.runs.files import read_json
from halfnas.runs.folder import read_history
from halfnas.spaces import Genotype, Mask

log = logging.getLogger(__name__)

#: A value of a configuration.
Setting = str | float | int | bool | None

#: States of a run besides those of status.json.
NO_STATUS, NOT_STARTED, REPEATED = "no status", "not started", "repeated"

#: What `mask` is of a run that was given one.
GIVEN = "given"
#: Groups whose choice says more than the settings that come with it.
CHOICES = ("dataset", "space", "pruner", "searcher", "evaluation")
#: Settings that do not change what comes out, so that runs which differ in them alone are alike.
IGNORED = (
    "seed",  # groups are means over it
    *("name", "paths", "logger"),  # what a run is called, and where it writes; `dataset.root` has where images are
    *("optimized_metric", "optimized_budget", "budget_metric"),  # what a sweeper is told in the end
    "dataset.num_workers",  # a batch is a function of seed, epoch and number (tests/data/test_modules.py)
)
#: Datasets whose files are compared with their published checksums: where they lie changes nothing.
CHECKED = ("halfnas.data.Cifar10", "halfnas.data.Cifar100")
#: What of ours watches a run; callbacks of others may do anything.
WATCHING = "halfnas.callbacks."
#: A setting that may be `auto` -> the metric that says what was used, and how a setting is made of it.
RESOLVED: Mapping[str, tuple[str, Callable[[float], Setting]]] = {
    "searcher.partial_channels": ("search/partial_channels", int),
    "evaluation.auxiliary": ("evaluate/auxiliary_heads", bool),
}


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
    """

    path: Path
    state: str
    error: str | None
    seed: int | None
    settings: Mapping[str, Setting]
    metrics: Mapping[str, float]

    @property
    def done(self) -> bool:
        """Whether it counts in results."""
        return self.state == "done"

    @cached_property
    def history(self) -> list[dict[str, str]]:
        """The rows of history.csv."""
        return read_history(self.path / "history.csv")

    @cached_property
    def mask(self) -> Mask | None:
        """The mask that it searched, if any."""
        path = self.path / "mask.json"
        return Mask.load(path) if path.is_file() else None

    @cached_property
    def genotype(self) -> Genotype | None:
        """The cell that it found or evaluated, if any."""
        path = self.path / "genotype.json"
        return Genotype.load(path) if path.is_file() else None


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
    state, error = NO_STATUS, None
    metrics: dict[str, float] = {}
    config: dict[str, Any] = {}
    settings: dict[str, Setting] = {}
    try:
        status = read_json(folder / "status.json")
        if (folder / "metrics.json").is_file():
            metrics = {key: value for key, value in read_json(folder / "metrics.json").items() if _is_number(value)}
        state, error = str(status.get("state") or NO_STATUS), status.get("error")
    except ValueError as problem:
        error = str(problem)
    try:
        config = read_yaml(folder / ".hydra" / "config.yaml")
        settings = _settings(config, read_yaml(folder / ".hydra" / "hydra.yaml"), folder)
        if not settings:
            raise ValueError(f"{folder / '.hydra'}: no configuration")
        for key, (metric, of_number) in RESOLVED.items():
            if settings.get(key) == "auto" and metric in metrics:
                settings[key] = of_number(metrics[metric])
    except ValueError as problem:  # nobody knows what was done
        state, error = (NO_STATUS if state == "done" else state), error or str(problem)
    seconds = [value for key, value in metrics.items() if key.endswith("/seconds")]
    if seconds:
        metrics["total/seconds"] = sum(seconds)
    return Run(folder, state, error, config.get("seed"), settings, metrics)


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
        return {sweep.parent / name for name in read_json(sweep).get("jobs", [])}
    except ValueError as problem:
        log.warning("Jobs that have not started are not listed: %s", problem)
        return set()


def _without_files_of_masks(runs: Sequence[Run]) -> list[Run]:
    def told(run: Run) -> dict[str, Setting]:
        return {key: GIVEN if key == "mask" else value for key, value in run.settings.items()}

    given = {run.path: frozenset(told(run).items()) for run in runs if run.settings.get("mask") is not None}
    masks: dict[Any, set[Any]] = {}
    for run in runs:
        if run.path in given:
            kept = None if run.mask is None else tuple(sorted(run.mask.kept.items()))
            masks.setdefault((run.seed, given[run.path]), set()).add(kept)
    ambiguous = {settings for (_, settings), several in masks.items() if len(several) > 1}
    return [
        replace(run, settings=told(run)) if run.path in given and given[run.path] not in ambiguous else run
        for run in runs
    ]


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


def _settings(config: Mapping[str, Any], hydra: Mapping[str, Any], folder: Path) -> dict[str, Setting]:
    if not config:
        return {}
    noted = dict(_flatten(hydra, ""))
    flat = dict(_flatten(config, ""))
    named = {group: noted.get(f"hydra.runtime.choices.{group}") or flat.get(f"{group}.name") for group in CHOICES}
    if "hydra.runtime.choices.dataset" in noted and "hydra.runtime.choices.pruner" not in noted:
        named["pruner"] = None  # several of them joined, of which no choice is noted, and the name is that of the last
    ran = as_ran({group: name for group, name in named.items() if group in config} | flat, folder)
    ignored = tuple(f"{name}." for name in (*IGNORED, *_without_effect(config)))
    settings = {key: value for key, value in ran.items() if not f"{key}.".startswith(ignored)}
    if "dataset.root" in settings:
        root = str(settings["dataset.root"]).replace("${paths.data_dir}", str(flat.get("paths.data_dir")))
        settings["dataset.root"] = root.replace("${hydra:runtime.cwd}", str(noted.get("hydra.runtime.cwd")))
    if settings.get("pruner") == "none":
        settings["ratio"] = 1.0  # whatever was asked for
    return settings


def _without_effect(config: Mapping[str, Any]) -> list[str]:
    """List what is ignored for what it is: callbacks that only watch, and where images lie that are checked."""
    callbacks = config.get("callbacks") or {}
    watching = [name for name, node in callbacks.items() if str((node or {}).get("_target_")).startswith(WATCHING)]
    root = ["dataset.root"] if config.get("dataset", {}).get("_target_") in CHECKED else []
    return [*(f"callbacks.{name}" for name in watching), *root]


def _flatten(node: Any, prefix: str) -> Iterator[tuple[str, Setting]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, str(node) if isinstance(node, list) else node


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file of settings; empty where there is none.

    Raises:
        ValueError: it cannot be read; the message names it.
    """
    if not path.is_file():
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the other one takes seconds for a hundred runs
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), loader)  # noqa: S506 # safe loaders, both
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    return content if isinstance(content, dict) else {}
