"""Between Hydra and the stages: in a sweep each job runs in a process of its own.

Peak CUDA memory, caches and random states are per process, so jobs that share one leak into each other. A single run
stays in the process that was started. This module imports none of torch: the parent of a sweep stays light.
"""

import logging
import multiprocessing
import sys
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from halfnas.errors import ConfigError, JobError
from halfnas.schema import overrides_hash


def launch(cfg: DictConfig) -> float | None:
    """Run one job; returns `optimized_metric` for a sweeper."""
    hydra = HydraConfig.get()
    path = Path(hydra.runtime.output_dir)
    settings = _settled(cfg, hydra, path)
    container: Any = OmegaConf.to_container(settings, resolve=True)
    job = (container, str(path), overrides_hash(list(hydra.overrides.task)))
    if hydra.mode == RunMode.MULTIRUN:
        logging_settings = OmegaConf.to_container(hydra.job_logging, resolve=True)
        return _run_in_child(job, logging_settings)
    return _run(*job)


def _settled(cfg: DictConfig, hydra: Any, path: Path) -> DictConfig:
    """Fill in what depends on how the run was started: its name and its W&B group, job type and folder."""
    cfg = cfg.copy()
    choices = hydra.runtime.choices
    pruner = choices.get("pruner") or cfg.pruner.name  # Hydra notes no choice of several, pruner=[synflow,naswot]
    if cfg.name is None:
        ratio = f"{cfg.ratio:.2f}" if isinstance(cfg.ratio, (int, float)) else cfg.ratio
        cfg.name = f"{pruner}-r{ratio}-s{cfg.seed}"
    if "wandb" in cfg.logger:
        wandb = cfg.logger.wandb
        with open_dict(wandb):
            if wandb.group is None:
                sweep = "/".join(Path(hydra.sweep.dir).parts[-2:])
                wandb.group = (
                    sweep if hydra.mode == RunMode.MULTIRUN else choices.get("experiment") or choices["dataset"]
                )
            wandb.name = cfg.name
            wandb.job_type = cfg.stage
            wandb.tags = [pruner, choices["dataset"], *wandb.tags]
            wandb.save_dir = str(path)
    return cfg


def _run(container: dict[str, Any], path: str, job_hash: str) -> float | None:
    from halfnas.stages import run  # torch is imported here, not by the parent of a sweep

    return run(OmegaConf.create(container), path, job_hash)


def _run_in_child(job: tuple[Any, ...], logging_settings: Any) -> float | None:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(sender, logging_settings, job), name="halfnas-job")
    child.start()
    sender.close()
    try:
        outcome, value = receiver.recv()
    except EOFError:
        child.join()
        outcome, value = "died", f"its process ended with exit code {child.exitcode}"
    finally:
        if child.is_alive():
            child.join(timeout=10)
        if child.is_alive():
            child.terminate()
        child.join()
    if outcome == "done":
        return value
    if outcome == "config":
        raise ConfigError(value)
    raise JobError(f"halfnas: the job in {job[1]} failed: {value}")


def _child(sender: Connection, logging_settings: Any, job: tuple[Any, ...]) -> None:
    configure_log(OmegaConf.create(logging_settings))
    try:
        sender.send(("done", _run(*job)))
    except ConfigError as error:
        logging.getLogger(__name__).error(str(error))
        sender.send(("config", error.problems))
    except KeyboardInterrupt:
        sys.exit(130)
    except BaseException as error:
        traceback.print_exc()
        sender.send(("failed", f"{type(error).__name__}: {error}"))
