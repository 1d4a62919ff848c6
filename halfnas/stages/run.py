"""Running stages, one after the other, each from the file that the one before left."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.loggers import Logger

from halfnas.callbacks import Lineage, StageCheckpoint
from halfnas.data import ImageDataset
from halfnas.errors import ConfigError
from halfnas.memory import reset_peak_memory
from halfnas.runs.checkpoints import Header
from halfnas.runs.folder import RunFolder
from halfnas.runs.made_with import MadeWith
from halfnas.spaces import Genotype
from halfnas.stages.progress import Found, Progress, complete
from halfnas.stages.stage import READERS, Product, Stage
from halfnas.training import check_finite

#: What it takes to come from nothing to an architecture, the time that the paper speaks of; a run that was given a mask
#: does not know it.
SEARCH_SECONDS = "total/search_seconds"


def run_stages(
    stages: Sequence[Stage],
    dataset: ImageDataset,
    *,
    seed: int,
    folder: RunFolder,
    loggers: Sequence[Logger],
    make_trainer: Callable[[int], Trainer],
    made_with: Mapping[str, MadeWith],
    progress: Progress,
) -> None:
    """Run stages in their order, and leave their files.

    Args:
        stages: the stages of this run.
        dataset: the images, loaded.
        seed: the seed that every stage starts with, so that alone it finds what it finds after another one.
        folder: where the files are left.
        loggers: where the metrics go besides.
        make_trainer: a trainer for so many epochs.
        made_with: stage -> the settings that decide what it finds.
        progress: what is there of an earlier part of this run.
    """
    trainers = [make_trainer(stage.epochs) for stage in stages]  # all of them first: their mistakes show at once
    lineage = Lineage(loggers)
    lineage.dataset(dataset)
    products: dict[str, Product] = {}
    seconds: dict[str, float] = {}
    if any(stage.leaves is not None for stage in stages if stage.name not in progress.finished):
        folder.metrics.pop(SEARCH_SECONDS, None)  # of an earlier run
    for stage in stages:
        if stage.needs is not None and stage.given is not None:  # every run has its own copy of what it worked on
            file = folder.keep(stage.needs, stage.given)
            stage.note(stage.given, file, lineage, given=True)
            products[stage.needs] = stage.given
    folder.finished(progress.finished)
    for stage, trainer in zip(stages, trainers, strict=True):
        if stage.name in progress.finished:
            seconds[stage.name] = folder.metrics[f"{stage.name}/seconds"]
            if stage.leaves is not None:
                file = folder.file(stage.leaves)
                products[stage.leaves] = READERS[stage.leaves](file)
                stage.note(products[stage.leaves], file, lineage)
            continue
        folder.begin(stage.name)
        seed_everything(seed, workers=True, verbose=False)
        needed = None if stage.needs is None else products[stage.needs]
        header = Header(stage.name, complete(made_with[stage.name], stage, needed))
        stage.begin(needed)
        found = progress.found if progress.found is not None and progress.found.header.stage == stage.name else None
        header = header if found is None else found.header
        start = time.perf_counter() - header.seconds
        try:
            metrics = fit(stage, trainer, header, found) if stage.epochs > 0 else {}
        except tuple(stage.mistakes) as error:
            raise ConfigError([f"`{stage.mistakes[type(error)]}`: {error}"]) from None
        metrics |= stage.metrics() | {f"{stage.name}/image_size_px": float(dataset.image_size)}
        check_finite(stage.name, "its last epoch", metrics.items())
        product = stage.product()
        if stage.leaves is not None and product is not None:
            products[stage.leaves] = product
            folder.keep(stage.leaves, product)
        seconds[stage.name] = metrics[f"{stage.name}/seconds"] = time.perf_counter() - start
        if isinstance(product, Genotype) and stages[0].needs is None:
            metrics[SEARCH_SECONDS] = sum(seconds.values())
        folder.end(metrics)
        for logger in loggers:
            logger.log_metrics(metrics)
        if folder.writes:
            stage.publish(folder, loggers, lineage)
        if stage.leaves is not None and product is not None:
            stage.note(product, folder.file(stage.leaves), lineage)
        folder.done(header.made_with, product, stage.leaves)


def fit(stage: Stage, trainer: Trainer, header: Header, found: Found | None) -> dict[str, float]:
    """Train a stage; returns the metrics of its last epoch, and of the test set where it looks at that.

    Args:
        stage: what is trained, begun.
        trainer: its trainer.
        header: what the checkpoints of this training are of.
        found: the checkpoint that it goes on from.
    """
    reset_peak_memory(trainer.strategy.root_device)
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, StageCheckpoint):
            callback.begin(header, None if found is None else found.path)
    path = None if found is None or stage.restore(found.content) else found.path
    try:
        trainer.fit(stage.module, datamodule=stage.data, ckpt_path=path, weights_only=True)
    except SystemExit:  # what Lightning makes of Ctrl-C
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    metrics = _numbers(trainer.callback_metrics)
    if stage.tests:
        trainer.test(stage.module, datamodule=stage.data, verbose=False)
        metrics |= _numbers(trainer.callback_metrics)
    return {key: value for key, value in metrics.items() if key.startswith(f"{stage.name}/")}


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {key: value.item() if isinstance(value, torch.Tensor) else float(value) for key, value in metrics.items()}
