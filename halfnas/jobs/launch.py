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
from halfnas.runs.folder import read_metrics, read_status

log = logging.getLogger(__name__)


def launch(cfg: DictConfig) -> float | None:
    """Run one job; returns what a sweeper optimises. A job of a sweep that was done before is not run again."""
    hydra = HydraConfig.get()
    path = Path(hydra.runtime.output_dir)
    settings = _settled(cfg, hydra, path)
    container: Any = OmegaConf.to_container(settings, resolve=True)
    job = (container, str(path), list(hydra.overrides.task))
    if hydra.mode != RunMode.MULTIRUN:
        return run_here(*job)
    if _is_done(path, overrides_hash(job[-1])):
        log.info("done before: %s", path)
        return Objective(cfg.optimized_metric, cfg.budget_metric, cfg.optimized_budget).value(read_metrics(path))
    logging_settings = OmegaConf.to_container(hydra.job_logging, resolve=True)
    return run_in_child(job, logging_settings, _alone(hydra, path))


def _alone(hydra: Any, path: Path) -> list[str]:
    [conf] = [source.path for source in hydra.runtime.config_sources if source.provider == "main"]
    return alone(Path(conf).parent / "train.py", hydra.overrides.task, path)


def _is_done(path: Path, job_hash: str) -> bool:
    try:
        status = read_status(path)
        read_metrics(path)  # what a sweeper is told of it
    except ValueError:
        return False
    return status.get("state") == "done" and status.get("overrides_hash") == job_hash


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
            wandb.go_on = cfg.ckpt is not None
    return cfg


def _group(hydra: Any) -> str:
    """The sweep that a run belongs to, Hydra's or that of a W&B agent; else its experiment or dataset."""
    if hydra.mode == RunMode.MULTIRUN:
        return "/".join(Path(hydra.sweep.dir).parts[-2:])
    choices = hydra.runtime.choices
    return os.environ.get("WANDB_SWEEP_ID") or choices.get("experiment") or choices["dataset"]
