"""Optuna's sweeps go on: the plugin finds its trials in its storage, but runs as many once more. Imports no torch."""

import atexit
import contextlib
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from halfnas.config.schema import overrides_hash
from halfnas.jobs.lock import locked

log = logging.getLogger(__name__)

#: In the folder of a sweep: its study, and the lock of the process that runs it.
FOLDER = ".optuna"
DATABASE = "optuna.storages.RDBStorage"

#: The lock, held to the end of this process: only so is a trial that is said to run one that was left.
_held = contextlib.ExitStack()
atexit.register(_held.close)


def go_on(config: DictConfig, folder: Path, overrides: Sequence[str]) -> None:
    """Have a sweep of Optuna's run what is left of its `n_trials`; others are left alone.

    Trials that have come to a value stay. One that has not, as it failed or its sweep was ended, is tried again, before
    any other and with the same settings, so that its job goes on in the folder that it has. The sampler is seeded anew:
    with the seed of the first start it would draw the first trials again. A grid needs none of this: all of it is
    tried again, and jobs that are done are only read.

    Args:
        config: of the sweep, before its sweeper is made; `hydra.sweeper` is changed.
        folder: of the sweep.
        overrides: what is fixed and what is searched; a study of others in the same storage is not gone on with.

    Raises:
        Busy: another process runs the sweep.
        InstantiationException: the storage cannot be opened.
    """
    sweeper = config.hydra.sweeper
    if not str(sweeper.get("_target_", "")).endswith(".OptunaSweeper") or sweeper.storage is None:
        return
    with read_write(config), open_dict(config):
        if str(sweeper.sampler.get("_target_", "")).endswith(".GridSampler"):
            sweeper.storage = None
            return
        if sweeper.study_name is None:
            sweeper.study_name = overrides_hash([*overrides, f"direction={sweeper.direction}"])
        (folder / FOLDER).mkdir(exist_ok=True)
        _held.enter_context(locked(folder / FOLDER))
        if isinstance(sweeper.storage, str):
            # Optuna 2 leaves its commits to SQLAlchemy, which has done none by itself since 2.0.
            by_itself = {"isolation_level": "AUTOCOMMIT"}
            sweeper.storage = {"_target_": DATABASE, "url": sweeper.storage, "engine_kwargs": by_itself}
        trials = _taken_up(sweeper)
        done = sum(trial.state.name == "COMPLETE" for trial in trials)
        if trials:
            log.info("%s of %s trials were done before", done, sweeper.n_trials)
        sweeper.n_trials = max(0, sweeper.n_trials - done)
        if sweeper.sampler.get("seed") is not None:
            sweeper.sampler.seed += len(trials)


def _taken_up(sweeper: DictConfig) -> list[Any]:
    """The trials of the study, none where it is new; those without a value are put first in line."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    storage = instantiate(sweeper.storage)
    import optuna

    storage = optuna.storages.get_storage(storage)
    if sweeper.study_name not in [study.study_name for study in storage.get_all_study_summaries()]:
        return []
    study = optuna.load_study(sweeper.study_name, storage)
    trials = study.trials
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        _put_first(study, trials)
    return trials


def _put_first(study: Any, trials: Sequence[Any]) -> None:
    settled = [trial.params for trial in trials if trial.state.name == "COMPLETE"]
    settled += [trial.system_attrs["fixed_params"] for trial in trials if trial.state.name == "WAITING"]
    for trial in trials:
        if trial.state.name == "RUNNING":
            study.tell(trial.number, state=type(trial.state).FAIL)
        if trial.state.name in ("RUNNING", "FAIL") and trial.params not in settled:
            study.enqueue_trial(trial.params)
            settled.append(trial.params)


def _sqlite(path: str) -> str:
    """The URL of a database in a file, whatever is in the file's name."""
    from sqlalchemy.engine import URL

    return URL.create("sqlite", database=path).render_as_string()


OmegaConf.register_new_resolver("sqlite", _sqlite, replace=True)
