"""From the settings to the values that a run works on, with every mistake found on the way reported at once."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from halfnas.config.schema import check
from halfnas.config.signatures import check_arguments
from halfnas.data import ImageDataset
from halfnas.errors import ConfigError
from halfnas.networks import ENGINES, check_compile, check_engine, check_recompute
from halfnas.pruning import Pruner
from halfnas.spaces import Genotype, Mask, SearchSpace, check_ratio, find_genotype
from halfnas.training import check_cuda_graphs

log = logging.getLogger(__name__)

GROUPS = ("dataset", "space", "pruner", "searcher", "evaluation", "trainer", "logger", "callbacks")
#: which stages each value of `stage` asks for
STAGES_OF = {
    "prune": ("prune",),
    "search": ("search",),
    "evaluate": ("evaluate",),
    "pipeline": ("prune", "search", "evaluate"),
}

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What a run works on.

    Attributes:
        stages: those that run, in order.
        dataset: the images, not loaded yet.
        space, scoring_space, evaluation_space: one space at the sizes of the search, the scoring and the final network.
        pruner: what makes the mask, if none is given.
        mask, genotype: those given by the user.
    """

    stages: tuple[str, ...]
    dataset: ImageDataset
    space: SearchSpace
    scoring_space: SearchSpace
    evaluation_space: SearchSpace
    pruner: Pruner
    mask: Mask | None
    genotype: Genotype | None


class _Problems(list[str]):
    """What is wrong with the settings, gathered while they are built."""

    def attempt(self, setting: str, build: Callable[[], T]) -> T | None:
        """A value, or None with its error noted, unless the same mistake has been noted before."""
        try:
            return build()
        except (TypeError, ValueError, InstantiationException) as error:
            cause = (error.__cause__ if isinstance(error, InstantiationException) else None) or error
            noted = any(p.startswith((f"`{setting}.", f"`{setting}` ")) or p.endswith(f": {cause}") for p in self)
            if not noted:  # a message that opens with the setting needs no other opening
                self.append(str(cause) if str(cause).startswith(f"`{setting}`") else f"`{setting}`: {cause}")
        return None


def make_plan(cfg: DictConfig) -> Plan:
    """Build what the settings describe; nothing is trained, downloaded or written.

    Raises:
        ConfigError: with all problems found.
    """
    errors, warnings = check(cfg)
    problems = _Problems(errors)
    for group in GROUPS:
        node: Any = OmegaConf.to_container(cfg[group], resolve=True)
        problems += check_arguments(node, group)
    supernet: Any = OmegaConf.to_container(cfg.supernet, resolve=True)
    problems += check_arguments({"_target_": "halfnas.networks.build_supernet", **supernet}, "supernet")
    _check_supernet(supernet, problems)
    problems.attempt("cuda_graphs", lambda: _check_cuda_graphs(cfg))

    stages = _stages(cfg)
    if "prune" in stages:
        problems.attempt("ratio", lambda: check_ratio(cfg.ratio))
    dataset = problems.attempt("dataset", lambda: instantiate(cfg.dataset, _convert_="all"))
    pruner = problems.attempt("pruner", lambda: instantiate(cfg.pruner, _convert_="all"))
    spaces = [None] * 3 if dataset is None else _build_spaces(cfg, stages, dataset, pruner, problems)
    space, scoring_space, evaluation_space = spaces
    mask = _load_mask(cfg, space, problems) if "search" in stages else None
    genotype = _load_genotype(cfg, evaluation_space, problems) if "evaluate" in stages else None

    if problems:
        raise ConfigError(problems)
    for warning in warnings:
        log.warning(warning)
    assert dataset is not None
    assert pruner is not None
    assert space is not None
    return Plan(stages, dataset, space, scoring_space or space, evaluation_space or space, pruner, mask, genotype)


def _check_supernet(supernet: dict[str, Any], problems: _Problems) -> None:
    engine, recompute, compile = supernet["engine"], supernet["recompute"], supernet["compile"]
    problems.attempt("supernet.engine", lambda: check_engine(engine))
    problems.attempt("supernet.recompute", lambda: check_recompute(recompute))
    if engine in ENGINES:
        problems.attempt("supernet.compile", lambda: check_compile(compile, engine))


def _check_cuda_graphs(cfg: DictConfig) -> None:
    check_cuda_graphs(cfg.cuda_graphs)
    if cfg.cuda_graphs is not True:
        return
    if not torch.cuda.is_available():
        raise ValueError("`cuda_graphs=true` needs a CUDA device, and there is none here; use auto")
    if cfg.trainer.get("accelerator") == "cpu":
        raise ValueError("`cuda_graphs=true` does not go with `trainer.accelerator=cpu`; use auto")
    if cfg.trainer.get("detect_anomaly"):
        raise ValueError("`cuda_graphs=true` does not go with `trainer.detect_anomaly=true`; use auto")


def _stages(cfg: DictConfig) -> tuple[str, ...]:
    """The stages to run: in a pipeline those whose result is not given; a search of everything makes its own mask."""
    if cfg.stage == "search" and cfg.mask is None:
        return ("prune", "search")
    if cfg.stage == "pipeline" and cfg.genotype is not None:
        return ("evaluate",)
    if cfg.stage == "pipeline" and cfg.mask is not None:
        return ("search", "evaluate")
    return STAGES_OF.get(cfg.stage, ())


def _build_spaces(
    cfg: DictConfig, stages: Sequence[str], dataset: ImageDataset, pruner: Pruner | None, problems: _Problems
) -> list[SearchSpace | None]:
    """The space at the sizes of the search, the scoring network and the final network; None where it is not needed."""

    def build(**sizes: Any) -> SearchSpace:
        shape = {"num_classes": dataset.num_classes, "in_channels": dataset.in_channels}
        return instantiate(cfg.space, **{**shape, **sizes}, _convert_="all")

    scoring = evaluation = None
    space = problems.attempt("space", build)
    if space is not None:
        if {"prune", "search"} & set(stages):
            problems.attempt("dataset", lambda: space.check_images(dataset.image_size))
        if "search" in stages:
            partial = cfg.searcher.partial_channels
            problems.attempt("searcher.partial_channels", lambda: space.check_partial_channels(partial))
    if any(problem.startswith("`space.") for problem in problems):
        return [space, None, None]  # said once, not for each size
    if "prune" in stages and pruner is not None:
        scoring = problems.attempt("pruner.network", lambda: build(**pruner.network))
        if scoring is not None:
            problems.attempt("pruner", lambda: _check_scoring(scoring, dataset, pruner))
    if "evaluate" in stages:
        sizes = {key: cfg.evaluation[key] for key in ("init_channels", "num_cells")}
        evaluation = problems.attempt("evaluation", lambda: build(**sizes))
        if evaluation is not None:
            size, auxiliary = dataset.image_size, cfg.evaluation.auxiliary
            problems.attempt("evaluation", lambda: evaluation.check_images(size, auxiliary=auxiliary))
    return [space, scoring, evaluation]


def _check_scoring(space: SearchSpace, dataset: ImageDataset, pruner: Pruner) -> None:
    if space.num_classes < dataset.num_classes:
        raise ValueError(
            f"`pruner.network.num_classes` must be at least the {dataset.num_classes} classes of the dataset, "
            f"got {space.num_classes}"
        )
    space.check_images(min(dataset.image_size, pruner.image_size or dataset.image_size))


def _load_mask(cfg: DictConfig, space: SearchSpace | None, problems: _Problems) -> Mask | None:
    if cfg.mask is None:
        return None
    mask = problems.attempt("mask", lambda: Mask.load(cfg.mask))
    if mask is None or space is None:
        return mask
    return problems.attempt("mask", lambda: mask.ordered(space))


def _load_genotype(cfg: DictConfig, space: SearchSpace | None, problems: _Problems) -> Genotype | None:
    if cfg.genotype is None:
        return None
    genotype = problems.attempt("genotype", lambda: find_genotype(cfg.genotype))
    if genotype is not None and space is not None:
        problems.attempt("genotype", lambda: space.check_genotype(genotype))
    return genotype
