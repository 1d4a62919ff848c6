"""The folders of runs and sweeps, and the jobs that a sweep plans. Imports none of torch."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import CompactHydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from halfnas.config.schema import job_folder, key_of, overrides_hash, tells
from halfnas.errors import FileError
from halfnas.jobs import optuna
from halfnas.jobs.lock import locked
from halfnas.jobs.typed import override
from halfnas.runs.files import entry, read_json, write_json
from halfnas.runs.status import FORMAT

PLAN = "sweep.json"
#: Seconds that another sweep may take to write it.
PATIENCE = 60.0

_started: tuple[Path, dict[str, list[str]]] | None = None
_single: Path | None = None


def started() -> tuple[Path, dict[str, list[str]]] | None:
    """The sweep that this process has started: its folder, and its own jobs, where they are planned; None before."""
    return _started


def single() -> Path | None:
    """The folder of the single run that this process has started; None before."""
    return _single


class LaunchFolders(Callback):
    """Gives every launch a folder of its own, and writes down which jobs a sweep plans.

    Folders are named by the second. Two launches in one second would share theirs, so that the later one takes the
    next free name. A folder that is named by the user is taken as it is: that is how a sweep goes on.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Claim `hydra.run.dir`."""
        global _single
        with _or_exit():
            _single = _claimed(config, "run.dir")

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Claim `hydra.sweep.dir` for all jobs, decide how they are named, and write sweep.json.

        Their folders are named after what is swept, and the seed; after all overrides where an earlier sweep of the
        same folder has given such a name to a job with others.
        """
        global _started
        with _or_exit():
            folder = _claimed(config, "sweep.dir")
            optuna.go_on(config, folder, _overrides(config))
            with locked(folder, wait=PATIENCE):
                _started = folder, _plan(config, folder)


@contextlib.contextmanager
def _or_exit() -> Iterator[None]:
    """Inside, an error that a user can act on ends the program: of an exception in a callback Hydra makes a warning."""
    try:
        yield
    except (CompactHydraException, ValueError) as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


def _claimed(config: DictConfig, key: str) -> Path:
    """The folder that a setting of Hydra's names, made; one that is named by the second is nobody else's.

    Raises:
        FileError: it cannot be made or written.
    """
    named = OmegaConf.to_container(config.hydra, resolve=False)
    for part in key.split("."):
        named = named[part]  # type: ignore[index, call-overload]
    folder = Path(OmegaConf.select(config.hydra, key))
    try:
        if "${now" in str(named):
            folder = claim(folder)
            _set(config, key, folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FileError(folder, error.strerror or str(error)) from None
    return folder


def _planned_before(path: Path) -> dict[str, list[str]]:
    """The jobs that earlier sweeps have planned in a folder. Raises ValueError where the file is damaged."""
    if not os.path.lexists(path):
        return {}
    return dict(entry(read_json(path), "jobs", dict[str, list[str]], "give each job its settings", str(path)))


def _plan(config: DictConfig, folder: Path) -> dict[str, list[str]]:
    """Write down which jobs a sweep plans; returns them."""
    before = _planned_before(folder / PLAN)
    unnamed = fixed_keys(config)
    jobs = planned_jobs(config, unnamed)
    if any(overrides_hash(before.get(name, job)) != overrides_hash(job) for name, job in jobs.items()):
        unnamed = [key for key in unnamed if not tells(key)]
        jobs = planned_jobs(config, unnamed)
    if unnamed:
        every = [*config.hydra.job.config.override_dirname.exclude_keys, *unnamed]
        _set(config, "job.config.override_dirname.exclude_keys", every)
    write_json(folder / PLAN, {"format": FORMAT, "jobs": before | jobs})
    return jobs


def claim(path: Path) -> Path:
    """Make a folder that nobody else has: `path`, or `path`-2, -3, ..."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
        try:
            candidate.mkdir()
            return candidate
        except FileExistsError:
            number += 1


def fixed_keys(config: DictConfig) -> list[str]:
    """The keys of a sweep's overrides that name no folder.

    These have one value in all of its jobs, and are not `seed`; where all are so, those alone that tell no job from
    another.
    """
    parsed = OverridesParser.create().parse_overrides(_overrides(config))
    swept = {override.key_or_group: override.is_sweep_override() for override in parsed}  # the last one of a key wins
    fixed = [key for key, is_swept in swept.items() if not is_swept and key != "seed"]
    untold = [key for key in fixed if not tells(key)]
    return fixed if len(fixed) < len(swept) or not swept.keys() - set(untold) else untold


def planned_jobs(config: DictConfig, unnamed: Collection[str] = ()) -> dict[str, list[str]]:
    """Folder -> overrides of the jobs of a plain sweep; none where the sweeper decides as it goes, as Optuna's.

    Args:
        unnamed: keys that are in no folder's name, besides those that Hydra's settings leave out.
    """
    sweeper = config.hydra.sweeper
    if not str(sweeper.get("_target_", "")).endswith(".BasicSweeper"):
        return {}
    parsed = OverridesParser.create().parse_overrides(_overrides(config))
    if any(override.is_sweep_override() and "glob(" in str(override.input_line) for override in parsed):
        return {}  # needs the configuration's files
    left_out = {*config.hydra.job.config.override_dirname.exclude_keys, *unnamed}
    batches = BasicSweeper.split_arguments(parsed, None)
    return {
        job_folder(",".join(sorted(each for each in job if key_of(each) not in left_out))): job
        for batch in batches
        for job in batch
    }


def _overrides(config: DictConfig) -> list[str]:
    """Those of the sweeper's yaml, then those that are typed, which win."""
    return [
        *(f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()),
        *config.hydra.overrides.task,
    ]


def _set(config: DictConfig, key: str, value: Path | list[str]) -> None:
    """Fix a setting of Hydra's in this configuration, and in those that are composed anew for every job."""
    with read_write(config), open_dict(config):
        OmegaConf.update(config.hydra, key, str(value) if isinstance(value, Path) else value)
        if isinstance(value, Path):
            text = override(f"hydra.{key}", value)
        else:
            text = f"hydra.{key}=[" + ",".join(f"'{each}'" for each in value) + "]"
        config.hydra.overrides.hydra.append(text)
