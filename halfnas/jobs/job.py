"""One job: from its settings to the files of its run, and the number that a sweep optimises."""

import errno
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf, open_dict

from halfnas.callbacks.loggers import RunLogger, finish
from halfnas.config.checks import LAST
from halfnas.config.made_with import made_with
from halfnas.config.plan import Plan, make_plan
from halfnas.config.schema import overrides_hash
from halfnas.drawing.summary import print_summary
from halfnas.errors import ConfigError, FileError, Refused
from halfnas.jobs.lock import locked
from halfnas.jobs.objective import Objective
from halfnas.runs.checkpoints import remove_checkpoints
from halfnas.runs.folder import RunFolder, read_metrics
from halfnas.runs.status import is_done, mark_failed
from halfnas.stages import STAGES
from halfnas.stages.progress import Progress, look
from halfnas.stages.run import run_stages
from halfnas.training import Ranks

log = logging.getLogger(__name__)

#: Errors of a disk that come without the name of a file.
OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG)
#: Seconds that a run before this one, which has been told to end, may take to write down what became of it.
LAST_WORDS = 10.0


def run_job(
    cfg: DictConfig,
    path: str | Path,
    overrides: Sequence[str] = (),
    notes: Mapping[str, str] | None = None,
    of_sweep: bool = False,
) -> float | None:
    """Run the stages that the settings ask for and leave their files in `path`.

    Args:
        cfg: the settings.
        path: the folder of the run.
        overrides: the settings that the user has typed, which also tell the job from others of a sweep.
        notes: settings as files, to be written once it is clear that the run takes the folder over.
        of_sweep: whether it is left as it is where it has been done by now.

    Returns:
        What is optimised, None where no stage measured it.

    Raises:
        ConfigError: the settings cannot run, or would destroy what is in the folder; nothing has been trained.
        Busy: another process is running a job in the folder.
        FileError: something cannot be written.
    """
    _quiet_lightning()
    job = overrides_hash(overrides)
    if getattr(rank_zero_only, "rank", 0) > 0:
        # The other processes of a distributed run train along; what they would write or say is what the first one does.
        logging.getLogger("halfnas").setLevel(logging.ERROR)
        return _run_in(cfg, RunFolder(path, job, writes=False), overrides, {})
    folder = RunFolder(path, job)
    folder.open()
    with locked(folder.path, wait=LAST_WORDS) as waited:
        if (waited or of_sweep) and is_done(folder.path, job):  # by a process that began it before this one
            log.info("done before: %s", folder.path)
            return Objective.of(cfg).value(read_metrics(folder.path))
        folder.sweep_out()
        return _run_in(cfg, folder, overrides, notes or {})


def _run_in(cfg: DictConfig, folder: RunFolder, overrides: Sequence[str], notes: Mapping[str, str]) -> float | None:
    loggers: list[Logger] = []
    failed = True
    try:
        plan = make_plan(cfg, overrides)
        settings: Any = OmegaConf.to_container(cfg, resolve=True)
        made = {stage.name: made_with(type(stage), settings) for stage in plan.stages}
        progress = look(plan.stages, made, folder, go_on=cfg.ckpt == LAST, overwrite=cfg.overwrite)
        if len(progress.finished) < len(plan.stages):
            _load_images(plan)
            _clear(folder, plan, progress)
            folder.note(notes)
            _name(cfg, plan, progress)
            if folder.writes:
                loggers = list(instantiate(cfg.logger, _convert_="all").values())
            _describe(cfg, loggers)
            run_stages(
                plan.stages,
                plan.dataset,
                seed=cfg.seed,
                folder=folder,
                loggers=loggers,
                make_trainer=partial(_make_trainer, cfg, folder, loggers),
                made_with=made,
                progress=progress,
            )
        else:
            log.info("done before: %s", folder.path)
            folder.metrics = read_metrics(folder.path)
            folder.finished(progress.finished)
        folder.finish()
        failed = False
    except Refused:
        raise  # what is there stays as it is, what it says of itself too
    except OSError as error:
        problem = _named(error, folder)
        folder.fail(problem)
        if problem is error:
            raise
        raise problem from None
    except BaseException as error:
        folder.fail(error)
        raise
    finally:
        finish(loggers, failed=failed)
    if folder.writes:
        print_summary(folder.path, folder.metrics, [stage.name for stage in STAGES], space=plan.space)
    return _optimised(cfg, plan, folder)


def _load_images(plan: Plan) -> None:
    """Load or download the images.

    Raises:
        ConfigError: they cannot be had, or are too few.
    """
    try:
        plan.dataset.prepare()
        for stage in plan.stages:
            stage.check_images(plan.dataset)
    except ValueError as error:
        raise ConfigError([str(error)]) from None


def _clear(folder: RunFolder, plan: Plan, progress: Progress) -> None:
    """Take away what an earlier run left of the first stage that runs and of those after it, which rest on it.

    Raises:
        ConfigError: what it left of the other stages cannot be read.
    """
    names = [stage.name for stage in STAGES]
    [first, *_] = [stage.name for stage in plan.stages if stage.name not in progress.finished]
    stale = STAGES[names.index(first) :]
    left = [stage.leaves for stage in stale if stage.leaves is not None]
    try:
        folder.clear([stage.name for stage in stale], left, progress.epochs)
    except ValueError as error:
        raise ConfigError([f"{error}; take that file away, or choose another `hydra.run.dir`"]) from None
    for name in {stage.name for stage in stale} - set(progress.epochs):
        if folder.writes:
            remove_checkpoints(folder.checkpoints, name)


def _named(error: OSError, folder: RunFolder) -> OSError:
    """An error of a file of the run as one that names it: a full disk names none, and the folder may be gone."""
    try:
        folder.check()
    except FileError as gone:
        return gone
    if isinstance(error, FileError) or error.errno is None:
        return error
    name = error.filename
    if name is None and error.errno in OF_DISKS:
        name = folder.path
    if name is None or not Path(os.fsdecode(name)).is_relative_to(folder.path):
        return error
    return FileError(name, error.strerror or str(error))


def _name(cfg: DictConfig, plan: Plan, progress: Progress) -> None:
    """Name the run after what it works on, which may be a mask or genotype that other settings have made."""
    origin = plan.stages[0].origin()
    cfg.name = cfg.name or origin.run_name(cfg.seed)
    if "wandb" not in cfg.logger:
        return
    wandb = cfg.logger.wandb
    columns = dict(wandb.get("columns") or {})
    if not any(stage.name == "search" for stage in plan.stages):
        columns["searcher"] = None
    made_by = {"pruner": origin.pruner, "ratio": origin.ratio, "seed": cfg.seed}
    genotype = {} if origin.pruner else {"genotype": origin.name}
    with open_dict(wandb):
        wandb.name = cfg.name
        wandb.go_on = cfg.ckpt == LAST and bool(progress.finished or progress.found or not cfg.overwrite)
        wandb.tags = [origin.tag, plan.dataset.name, *wandb.tags]
        wandb.columns = columns | made_by | genotype


def _describe(cfg: DictConfig, loggers: Sequence[Logger]) -> None:
    """Tell the loggers what is to come."""
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    for logger in loggers:
        if isinstance(logger, RunLogger):
            logger.define_stages({stage.name: stage.axis for stage in STAGES})
        logger.log_hyperparams(settings)


def _make_trainer(cfg: DictConfig, folder: RunFolder, loggers: Sequence[Logger], epochs: int) -> Trainer:
    callbacks = list(instantiate(cfg.callbacks, _convert_="all").values())
    trainer: Trainer = instantiate(
        cfg.trainer,
        max_epochs=epochs,
        check_val_every_n_epoch=divisor(epochs, cfg.trainer.check_val_every_n_epoch),
        logger=list(loggers) or False,
        callbacks=callbacks,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        default_root_dir=str(folder.path),
        _convert_="all",
    )
    if isinstance(trainer.strategy, Ranks):
        trainer.strategy.when_lost = partial(mark_failed, folder.path)
    elif trainer.world_size > 1:
        raise ConfigError(
            [
                f"`trainer.strategy={cfg.trainer.strategy}` is not for the {trainer.world_size} processes that "
                "`trainer.devices` and `trainer.num_nodes` ask for; use trainer=ddp"
            ]
        )
    return trainer


def divisor(epochs: int, every: int) -> int:
    """The largest number of epochs up to `every` that divides all of them, so that the last one is validated."""
    return max(n for n in range(1, max(1, min(every, epochs)) + 1) if epochs % n == 0)


def _optimised(cfg: DictConfig, plan: Plan, folder: RunFolder) -> float | None:
    objective = Objective.of(cfg)
    for key in objective.missing(folder.metrics):
        if key.split("/")[0] in [stage.name for stage in plan.stages if stage.epochs > 0]:
            known = ", ".join(sorted(folder.metrics))
            log.warning("%s, which is to be optimised, was not measured by this run; it has %s", key, known)
    return objective.value(folder.metrics)


def _quiet_lightning() -> None:
    """Leave out Lightning's hints; its warnings and errors are shown."""
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*(LeafSpec|treespec).*")
    warnings.filterwarnings("ignore", message=".*number of training batches.*is smaller than the logging interval.*")
