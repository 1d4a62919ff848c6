"""Where everything meets: the stages of a run, one after the other, each from the file that the one before left."""

import logging
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from halfnas.callbacks import Lineage, publish_genotype, publish_mask
from halfnas.callbacks.loggers import finish
from halfnas.config.plan import Plan, make_plan
from halfnas.data import EvaluationData, PruningData, SearchData
from halfnas.drawing.summary import print_summary
from halfnas.errors import ConfigError
from halfnas.jobs.objective import Objective
from halfnas.memory import reset_peak_memory
from halfnas.pruning import NothingUsable, PruningModule
from halfnas.runs.folder import RunFolder
from halfnas.spaces import Genotype, Mask

log = logging.getLogger(__name__)


def run(cfg: DictConfig, path: str | Path, overrides_hash: str) -> float | None:
    """Run the stages that the settings ask for and leave their files in `path`.

    Returns:
        What is optimised, None where no stage measured it.

    Raises:
        ConfigError: the settings cannot run; nothing has been trained.
    """
    _quiet_lightning()
    if getattr(rank_zero_only, "rank", 0) == 0:
        return _run_in(cfg, RunFolder(path, overrides_hash), log_to=cfg.logger)
    # The other processes of a distributed run train along; what they would write is what the first one writes.
    with tempfile.TemporaryDirectory() as aside:
        return _run_in(cfg, RunFolder(aside, overrides_hash), log_to=None)


def _run_in(cfg: DictConfig, folder: RunFolder, *, log_to: DictConfig | None) -> float | None:
    loggers: list[Logger] = []
    failed = True
    try:
        plan = make_plan(cfg)
        try:
            plan.dataset.prepare()
        except ValueError as error:
            raise ConfigError([str(error)]) from None
        _check_images(plan)
        folder.clear(plan.stages[0])
        loggers = [] if log_to is None else list(instantiate(log_to, _convert_="all").values())
        settings: Any = OmegaConf.to_container(cfg, resolve=True)
        for logger in loggers:
            logger.log_hyperparams(settings)
        _Run(cfg, plan, folder, loggers).all_stages()
        folder.finish()
        failed = False
    except BaseException as error:
        folder.fail(error)
        raise
    finally:
        finish(loggers, failed=failed)
    if log_to is not None:
        print_summary(folder.path, folder.metrics)
    objective = Objective(cfg.optimized_metric, cfg.budget_metric, cfg.optimized_budget)
    for key in objective.missing(folder.metrics):
        if key.split("/")[0] in plan.stages:
            known = ", ".join(sorted(folder.metrics))
            log.warning("%s, which is to be optimised, was not measured by this run; it has %s", key, known)
    return objective.value(folder.metrics)


class _Run:
    """The stages of one job, with what they share."""

    def __init__(self, cfg: DictConfig, plan: Plan, folder: RunFolder, loggers: Sequence[Logger]) -> None:
        self.cfg = cfg
        self.plan = plan
        self.folder = folder
        self.loggers = loggers
        self.lineage = Lineage(loggers)

    def all_stages(self) -> None:
        mask, genotype = self.plan.mask, self.plan.genotype
        self.lineage.dataset(self.plan.dataset)
        if mask is not None:  # every run has its own copy of what it worked on
            mask.save(self.folder.mask)
            self.lineage.mask(mask, self.folder.mask, given=True)
        if genotype is not None:
            genotype.save(self.folder.genotype)
            self.lineage.genotype(genotype, self.folder.genotype, given=True)
        if "prune" in self.plan.stages:
            mask = self.prune()
        if "search" in self.plan.stages:
            assert mask is not None, "a search has a mask"
            genotype = self.search(mask)
        if "evaluate" in self.plan.stages:
            assert genotype is not None, "an evaluation has a genotype"
            self.evaluate(genotype)

    def prune(self) -> Mask:
        pruner = self.plan.pruner
        start = self._begin("prune")
        module = PruningModule(
            pruner,
            self.plan.space,
            self.plan.scoring_space,
            ratio=self.cfg.ratio,
            seed=self.cfg.seed,
            cuda_graphs=self.cfg.cuda_graphs,
        )
        metrics = {}
        if module.epochs > 0:
            data = PruningData(
                self.plan.dataset,
                batch_size=pruner.batch_size * pruner.num_batches,
                num_batches=pruner.max_steps,
                seed=self.cfg.seed,
            )
            try:
                metrics = self._fit(module, data)
            except NothingUsable as error:
                raise ConfigError([f"`pruner`: {error}"]) from None
        mask = module.mask
        mask.save(self.folder.mask)
        metrics["prune/kept_fraction"] = mask.kept_fraction(self.plan.space)
        self._end(start, "prune", metrics)
        publish_mask(mask, self.plan.space, self.folder.figures, self.loggers)
        self.lineage.mask(mask, self.folder.mask)
        return mask

    def search(self, mask: Mask) -> Genotype:
        start = self._begin("search")
        supernet = OmegaConf.to_container(self.cfg.supernet)
        module = instantiate(
            self.cfg.searcher, self.plan.space, mask, supernet, cuda_graphs=self.cfg.cuda_graphs, _convert_="all"
        )
        data = SearchData(
            self.plan.dataset,
            batch_size=module.batch_size,
            seed=self.cfg.seed,
            train_fraction=module.train_fraction,
            warmup_epochs=module.warmup_epochs,
        )
        metrics = self._fit(module, data)
        genotype = module.genotype
        genotype.save(self.folder.genotype)
        self._end(start, "search", metrics)
        publish_genotype(
            genotype,
            module.supernet.strengths(),
            self.plan.space,
            self.folder.figures,
            self.loggers,
        )
        self.lineage.genotype(genotype, self.folder.genotype)
        return genotype

    def evaluate(self, genotype: Genotype) -> None:
        start = self._begin("evaluate")
        image_size = self.plan.dataset.image_size
        module = instantiate(
            self.cfg.evaluation,
            self.plan.evaluation_space,
            genotype,
            image_size,
            seed=self.cfg.seed,
            cuda_graphs=self.cfg.cuda_graphs,
            _convert_="all",
        )
        data = EvaluationData(
            self.plan.dataset,
            batch_size=module.batch_size,
            seed=self.cfg.seed,
            cutout_length=module.cutout_length,
            holdout_fraction=module.holdout_fraction,
        )
        metrics = self._fit(module, data, test=True)
        self._end(start, "evaluate", metrics | module.figures)
        self.lineage.weights(self.folder.path / "checkpoints" / "evaluate.ckpt", self.folder.metrics)

    def _begin(self, stage: str) -> float:
        self.folder.begin(stage)
        # A stage on its own draws the same numbers as within the pipeline.
        seed_everything(self.cfg.seed, workers=True, verbose=False)
        return time.perf_counter()

    def _end(self, start: float, stage: str, metrics: dict[str, float]) -> None:
        metrics[f"{stage}/seconds"] = time.perf_counter() - start
        self.folder.end(metrics)
        for logger in self.loggers:
            logger.log_metrics(metrics)

    def _fit(self, module: LightningModule, data: LightningDataModule, *, test: bool = False) -> dict[str, float]:
        """Train a stage; returns the figures of its last epoch, and of the test set if asked."""
        callbacks = list(instantiate(self.cfg.callbacks, _convert_="all").values())
        epochs: int = module.epochs  # type: ignore[assignment]
        trainer: Trainer = instantiate(
            self.cfg.trainer,
            max_epochs=epochs,
            check_val_every_n_epoch=_divisor(epochs, self.cfg.trainer.check_val_every_n_epoch),
            logger=list(self.loggers) or False,
            callbacks=callbacks,
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
            default_root_dir=str(self.folder.path),
            _convert_="all",
        )
        reset_peak_memory(trainer.strategy.root_device)
        try:
            trainer.fit(module, datamodule=data)
        except SystemExit:  # what Lightning makes of Ctrl-C
            if trainer.interrupted:
                raise KeyboardInterrupt from None
            raise
        metrics = _numbers(trainer.callback_metrics)
        if test:
            trainer.test(module, datamodule=data, verbose=False)
            metrics |= _numbers(trainer.callback_metrics)
        return {key: value for key, value in metrics.items() if key.startswith(f"{module.stage}/")}


def _check_images(plan: Plan) -> None:
    """Raise ConfigError where a score would need more images than there are."""
    pruner, images = plan.pruner, len(plan.dataset.train())  # type: ignore[arg-type]
    size = pruner.batch_size * pruner.num_batches
    if "prune" in plan.stages and images < size:
        raise ConfigError(
            [
                f"{images} training images are fewer than the {size} of a score; raise `dataset.max_train_images` or "
                "lower `pruner.batch_size`"
            ]
        )


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {key: value.item() if isinstance(value, torch.Tensor) else float(value) for key, value in metrics.items()}


def _divisor(epochs: int, every: int) -> int:
    """The largest number of epochs up to `every` that divides all of them, so that the last one is validated."""
    return max(n for n in range(1, max(1, min(every, epochs)) + 1) if epochs % n == 0)


def _quiet_lightning() -> None:
    """Leave out Lightning's hints; its warnings and errors are shown."""
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*(LeafSpec|treespec).*")
    warnings.filterwarnings("ignore", message=".*number of training batches.*is smaller than the logging interval.*")
