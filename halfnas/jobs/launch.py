"""Between Hydra and a job: in a sweep each job runs in a process of its own.

Peak CUDA memory, caches and random states are per process, so jobs that share one leak into each other. A single run
stays in the process that was started. This module imports none of torch: the parent of a sweep stays light.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from halfnas.config.schema import overrides_hash
from halfnas.errors import ConfigError, JobError
from halfnas.jobs.objective import Objective
from halfnas.runs.folder import mark_failed, read_metrics, read_status

log = logging.getLogger(__name__)

PATIENCE = 30.0  # seconds that an interrupted job has to write down what became of it


def launch(cfg: DictConfig) -> float | None:
    """Run one job; returns what a sweeper optimises. A job of a sweep that was done before is not run again."""
    hydra = HydraConfig.get()
    path = Path(hydra.runtime.output_dir)
    settings = _settled(cfg, hydra, path)
    container: Any = OmegaConf.to_container(settings, resolve=True)
    job = (container, str(path), list(hydra.overrides.task))
    if hydra.mode != RunMode.MULTIRUN:
        return _run(*job)
    if _is_done(path, overrides_hash(job[-1])):
        log.info("done before: %s", path)
        return Objective(cfg.optimized_metric, cfg.budget_metric, cfg.optimized_budget).value(read_metrics(path))
    logging_settings = OmegaConf.to_container(hydra.job_logging, resolve=True)
    return _run_in_child(job, logging_settings, _alone(hydra, path))


def _alone(hydra: Any, path: Path) -> list[str]:
    """The command line of this job alone, with which Lightning starts further processes on several devices."""
    [conf] = [source.path for source in hydra.runtime.config_sources if source.provider == "main"]
    return [
        str(Path(conf).parent / "train.py"),
        *hydra.overrides.task,
        "hydra.mode=RUN",
        f"hydra.run.dir='{path}'",
        "hydra.output_subdir=null",
        "hydra.job.name=train_other_processes",
    ]


def _is_done(path: Path, job_hash: str) -> bool:
    try:
        status = read_status(path)
    except ValueError:
        return False
    return status.get("state") == "done" and status.get("overrides_hash") == job_hash


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
                wandb.group = _group(hydra)
            wandb.name = cfg.name
            wandb.job_type = cfg.stage
            wandb.tags = [pruner, choices["dataset"], *wandb.tags]
            named = {group: choices.get(group) for group in ("dataset", "space", "searcher")}
            wandb.columns = {"pruner": pruner, "ratio": cfg.ratio, "seed": cfg.seed, **named}
            wandb.save_dir = str(path)
    return cfg


def _group(hydra: Any) -> str:
    """The sweep that a run belongs to, Hydra's or that of a W&B agent; else its experiment or dataset."""
    if hydra.mode == RunMode.MULTIRUN:
        return "/".join(Path(hydra.sweep.dir).parts[-2:])
    choices = hydra.runtime.choices
    return os.environ.get("WANDB_SWEEP_ID") or choices.get("experiment") or choices["dataset"]


def _run(container: dict[str, Any], path: str, overrides: list[str]) -> float | None:
    from halfnas.jobs.job import run_job  # torch is imported here, not by the parent of a sweep

    return run_job(OmegaConf.create(container), path, overrides)


def _run_in_child(job: tuple[Any, ...], logging_settings: Any, argv: list[str]) -> float | None:
    known = multiprocessing.get_all_start_methods()
    if multiprocessing.get_start_method() not in known:  # in a worker of joblib: a method that the child does not know
        multiprocessing.set_start_method(known[0], force=True)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(sender, logging_settings, argv, job), name="halfnas-job")
    child.start()
    sender.close()
    try:
        outcome, value = receiver.recv()
    except EOFError:
        child.join()
        outcome, value = "died", f"its process ended with exit code {child.exitcode}"
        mark_failed(job[1], value)
    except KeyboardInterrupt:
        _interrupt(child)
        raise
    finally:
        child.join(timeout=PATIENCE)
        if child.is_alive():
            child.terminate()
            child.join()
    if outcome == "done":
        return value
    if outcome == "interrupted":
        raise KeyboardInterrupt
    raise JobError(f"halfnas: failed: {job[1]}: {value}")


def _interrupt(child: Any) -> None:
    """Ctrl-C reaches every process of a terminal; `kill -INT` only the one that it names."""
    if child.is_alive():
        os.kill(child.pid, signal.SIGINT)


def _child(sender: Connection, logging_settings: Any, argv: list[str], job: tuple[Any, ...]) -> None:
    sys.argv = argv
    signal.signal(signal.SIGINT, _interrupt_once)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    configure_log(OmegaConf.create(logging_settings))
    try:
        sender.send(("done", _run(*job)))
    except KeyboardInterrupt:
        with contextlib.suppress(BrokenPipeError):  # the sweep may be gone
            sender.send(("interrupted", None))
    except ConfigError as error:
        log.error(str(error))
        sender.send(("failed", error.problems[0]))
    except BaseException as error:
        traceback.print_exc()
        sender.send(("failed", f"{type(error).__name__}: {error}"))


def _interrupt_once(*_: Any) -> None:
    """A second Ctrl-C would hit while the first one is being written down."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """Interrupt this process when the sweep that started it is gone, so that the sweep can go on elsewhere."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "jobs of sweeps are children"
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGINT)
