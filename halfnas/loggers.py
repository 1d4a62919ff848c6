"""Weights & Biases, set up so that it never asks and never reports a failed run as finished."""

import logging
import os
from collections.abc import Iterable, Sequence

import wandb
from lightning.pytorch.loggers import Logger, WandbLogger

import halfnas

log = logging.getLogger(__name__)


def wandb_logger(
    *,
    project: str,
    entity: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    name: str | None = None,
    tags: Sequence[str] = (),
    save_dir: str = ".",
) -> WandbLogger:
    """Open a run: online where an API key is found, offline otherwise; WANDB_MODE decides where it is set."""
    mode = os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")
    run = wandb.init(
        project=project,
        entity=entity,
        group=group,
        job_type=job_type,
        name=name,
        tags=[*tags, f"halfnas-{halfnas.__version__}"],
        dir=save_dir,
        mode=mode,  # type: ignore[arg-type] # the user's word, checked by wandb
        reinit="finish_previous",
        settings=wandb.Settings(console="off", silent=mode != "online"),
    )
    logger = WandbLogger(experiment=run)
    for stage, memory in (("prune", ""), ("search", "max"), ("evaluate", "max")):
        run.define_metric(f"{stage}/*", step_metric="epoch")
        if memory:
            run.define_metric(f"{stage}/peak_*", step_metric="epoch", summary=memory)
    for accuracy in ("search/val_acc", "evaluate/val_acc", "evaluate/test_acc"):
        run.define_metric(accuracy, step_metric="epoch", summary="max,last")
    return logger


def _logged_in() -> bool:
    """Whether there is an API key and a server that takes it; without a server the run is offline, to be synced."""
    try:
        return wandb.login(prompt=False)
    except wandb.errors.Error as error:
        log.warning("Weights & Biases is used offline: %s", error)
        return False


def finish(loggers: Iterable[Logger], *, failed: bool) -> None:
    """Close what was opened; a failed run is marked as such."""
    for logger in loggers:
        logger.finalize("failed" if failed else "success")
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(exit_code=int(failed))
