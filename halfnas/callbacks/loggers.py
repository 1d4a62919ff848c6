"""Weights & Biases, set up so that it never asks and never reports a failed run as finished."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import Logger, WandbLogger

import halfnas

log = logging.getLogger(__name__)

#: What a summary shows of a metric; all others show their last value. W&B matches overlapping patterns in random order,
#: so that only one pattern a stage is used, and what differs from it is named in full.
SUMMARIES = {
    # Not the test accuracy, of which the last epoch counts.
    "max,last": ("search/val_acc", "evaluate/val_acc"),
    # Schedules: where one ended says nothing of the run.
    "none": (
        "search/learning_rate",
        "search/architecture_learning_rate",
        "evaluate/learning_rate",
        "evaluate/drop_path",
    ),
}
#: Where W&B writes down the run of a folder.
RESUME = "wandb-resume.json"
#: Metrics of every stage of which the summary shows the largest value.
PEAKS = ("peak_allocated_mib", "peak_reserved_mib")


class RunLogger(WandbLogger):
    """Lightning's logger, with a run's columns kept free for grouping and no point logged twice.

    Args:
        run: the opened run.
        log_weights: whether the final checkpoint is uploaded.
    """

    def __init__(self, run: wandb.Run, *, log_weights: bool) -> None:
        super().__init__(experiment=run)
        self.log_weights = log_weights
        self._seen: set[str] = set()

    def define_stages(self, axes: Mapping[str, str]) -> None:
        """Say how the metrics of each stage are drawn and summarised.

        Args:
            axes: stage -> what its curves are drawn over.
        """
        run = self.experiment
        for axis in sorted(set(axes.values())):
            run.define_metric(axis, hidden=True, summary="none")
        summaries = SUMMARIES | {"max": tuple(f"{stage}/{peak}" for stage in axes for peak in PEAKS)}
        for stage, axis in axes.items():
            run.define_metric(f"{stage}/*", step_metric=axis)
        for summary, names in summaries.items():
            for name in names:
                run.define_metric(name, step_metric=axes[name.split("/")[0]], summary=summary)

    def log_hyperparams(self, params: Any) -> None:
        """All settings go under `settings`: `pruner` is the name to group by, `settings.pruner` what it stands for."""
        super().log_hyperparams({"settings": params})

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Without a step: the figures of a stage at its end, of which those that an epoch has logged are left out."""
        if step is None:
            metrics = {key: value for key, value in metrics.items() if key not in self._seen}
        self._seen.update(metrics)
        super().log_metrics(metrics, step)


def wandb_logger(
    *,
    project: str,
    entity: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    name: str | None = None,
    tags: Sequence[str] = (),
    columns: Mapping[str, Any] | None = None,
    log_weights: bool = True,
    save_dir: str = ".",
    go_on: bool = False,
) -> RunLogger:
    """Open a run: online where an API key is found, offline otherwise; WANDB_MODE decides where it is set.

    Args:
        columns: plain values at the top of the run's configuration, to group and filter runs by.
        log_weights: whether the final checkpoint is uploaded.
        save_dir: the folder that gets `wandb/`.
        go_on: with the run that an earlier process left there, where it did not end well.
    """
    if not go_on:
        (Path(save_dir) / "wandb" / RESUME).unlink(missing_ok=True)
    mode = os.environ.get("WANDB_MODE") or ("online" if _logged_in() else "offline")
    agent = "WANDB_SWEEP_ID" in os.environ  # the project is that of the sweep, and W&B warns of any other
    run = wandb.init(
        project=None if agent else project,
        entity=None if agent else entity,
        group=group,
        job_type=job_type,
        name=name,
        tags=[*tags, f"halfnas-{halfnas.__version__}"],
        dir=save_dir,
        mode=mode,  # type: ignore[arg-type] # the user's word, checked by wandb
        reinit="finish_previous",
        resume="auto",  # W&B writes down which run it is, until that has ended well
        settings=wandb.Settings(console="off", silent=mode != "online"),
    )
    run.config.setdefaults(dict(columns or {}))  # what a W&B sweep has set is there already, and locked
    return RunLogger(run, log_weights=log_weights)


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
