"""Between Hydra and a job: in a sweep each job runs in a process of its own.

Peak CUDA memory, caches and random states are per process, so jobs that share one leak into each other. A single run
stays in the process that was started. This module imports none of torch: the parent of a sweep stays light.
"""

import logging
import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from halfnas.config.schema import overrides_hash
from halfnas.jobs.child import run_here, run_in_child
from halfnas.jobs.objective import Objective
from halfnas.jobs.typed import alone
from halfnas.runs.files import write_text
from halfnas.runs.folder import SETTINGS, read_metrics
from halfnas.runs.status import is_done

log = logging.getLogger(__name__)


def launch(cfg: DictConfig) -> float | None:
    """Run one job; returns what a sweeper optimises. A job of a sweep that was done before is not run again."""
    hydra = HydraConfig.get()
    path = Path(hydra.runtime.output_dir)
    settings = _settled(cfg, hydra, path)
    container: Any = OmegaConf.to_container(settings, resolve=True)
    overrides = list(hydra.overrides.task)
    if hydra.mode == RunMode.MULTIRUN and _is_done(path, overrides_hash(overrides)):
        log.info("done before: %s", path)
        return Objective.of(cfg).value(read_metrics(path))
    notes = _notes(cfg, hydra)
    if not (path / SETTINGS).exists():  # else they are those of what is there, until that is taken over
        for name, text in notes.items():
            write_text(path / SETTINGS / name, text)
    job = (container, str(path), overrides, notes, hydra.mode == RunMode.MULTIRUN)
    if hydra.mode != RunMode.MULTIRUN:
        return run_here(*job)
    logging_settings = OmegaConf.to_container(hydra.job_logging, resolve=True)
    return run_in_child(job, logging_settings, _alone(hydra, path))


def _notes(cfg: DictConfig, hydra: Any) -> dict[str, str]:
    """The files that Hydra writes of a job's settings, before anybody has looked at what is in its folder."""
    return {
        "config.yaml": OmegaConf.to_yaml(cfg),
        "hydra.yaml": OmegaConf.to_yaml({"hydra": hydra}),
        "overrides.yaml": OmegaConf.to_yaml(list(hydra.overrides.task)),
    }


def _alone(hydra: Any, path: Path) -> list[str]:
    [conf] = [source.path for source in hydra.runtime.config_sources if source.provider == "main"]
    return alone(Path(conf).parent / "train.py", hydra.overrides.task, path)


def _is_done(path: Path, job: str) -> bool:
    try:
        read_metrics(path)  # what a sweeper is told of it
    except ValueError:
        return False
    return is_done(path, job)


def _settled(cfg: DictConfig, hydra: Any, path: Path) -> DictConfig:
    """Fill in what depends on how the run was started: its W&B group, job type and folder, and the names of choices."""
    cfg = cfg.copy()
    choices = hydra.runtime.choices
    if "wandb" in cfg.logger:
        wandb = cfg.logger.wandb
        with open_dict(wandb):
            if wandb.group is None:
                wandb.group = _group(hydra)
            wandb.job_type = cfg.stage
            wandb.columns = {group: choices.get(group) for group in ("dataset", "space", "searcher")}
            wandb.save_dir = str(path)
    return cfg


def _group(hydra: Any) -> str:
    """The sweep that a run belongs to, Hydra's or that of a W&B agent; else its experiment or dataset."""
    if hydra.mode == RunMode.MULTIRUN:
        return "/".join(Path(hydra.sweep.dir).parts[-2:])
    choices = hydra.runtime.choices
    return os.environ.get("WANDB_SWEEP_ID") or choices.get("experiment") or choices["dataset"]
