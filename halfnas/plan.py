"""From the settings to the values that a run works on, with every mistake found on the way reported at once."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from halfnas.data import ImageDataset
from halfnas.errors import ConfigError
from halfnas.networks import check_engine
from halfnas.pruning import Pruner
from halfnas.schema import check
from halfnas.signatures import check_arguments
from halfnas.spaces import Genotype, Mask, SearchSpace, check_ratio, find_genotype

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


def make_plan(cfg: DictConfig) -> Plan:
    """Build what the settings describe; nothing is trained, downloaded or written.

    Raises:
        ConfigError: with all problems found.
    """
    errors, warnings = check(cfg)
    for group in GROUPS:
        node: Any = OmegaConf.to_container(cfg[group], resolve=True)
        errors += check_arguments(node, group)
    supernet: Any = OmegaConf.to_container(cfg.supernet, resolve=True)
    errors += check_arguments({"_target_": "halfnas.networks.build_supernet", **supernet}, "supernet")
    stages = _stages(cfg)

    def attempt(setting: str, build: Callable[[], T]) -> T | None:
        """A value, or None with its error noted. Mistakes of one kind need no second message."""
        try:
            return build()
        except (TypeError, ValueError, InstantiationException) as error:
            cause = (error.__cause__ if isinstance(error, InstantiationException) else None) or error
            known = any(p.startswith((f"`{setting}.", f"`{setting}` ")) or p.endswith(f": {cause}") for p in errors)
            if not known:
                errors.append(f"`{setting}`: {cause}")
        return None

    attempt("ratio", lambda: check_ratio(cfg.ratio)) if "prune" in stages else None
    if errors and errors[-1].startswith("`ratio`: "):
        errors[-1] = errors[-1].removeprefix("`ratio`: ")
    attempt("supernet.engine", lambda: check_engine(cfg.supernet.engine))

    dataset = attempt("dataset", lambda: instantiate(cfg.dataset, _convert_="all"))
    pruner = attempt("pruner", lambda: instantiate(cfg.pruner, _convert_="all"))
    space = scoring_space = evaluation_space = mask = genotype = None
    if dataset is not None:
        shape = {"num_classes": dataset.num_classes, "in_channels": dataset.in_channels}

        def build_space(**sizes: Any) -> SearchSpace:
            return instantiate(cfg.space, **shape, **sizes, _convert_="all")

        space = attempt("space", build_space)
        unknown = any(problem.startswith("`space.") for problem in errors)  # said once, not for each size
        if pruner is not None and "prune" in stages and not unknown:
            scoring_space = attempt("pruner.network", lambda: build_space(**pruner.network))
        sizes = {key: cfg.evaluation[key] for key in ("init_channels", "num_cells")}
        if "evaluate" in stages and not unknown:
            evaluation_space = attempt("evaluation", lambda: build_space(**sizes))
    if space is not None and dataset is not None:
        if {"prune", "search"} & set(stages):
            attempt("dataset", lambda: space.check_images(dataset.image_size))
        if "search" in stages:
            attempt("searcher.partial_channels", lambda: space.check_partial_channels(cfg.searcher.partial_channels))
    if evaluation_space is not None and dataset is not None:
        final, auxiliary = evaluation_space, cfg.evaluation.auxiliary
        attempt("evaluation", lambda: final.check_images(dataset.image_size, auxiliary=auxiliary))

    if cfg.mask is not None and "search" in stages:
        mask = attempt("mask", lambda: Mask.load(cfg.mask))
        if mask is not None and space is not None:
            given = mask
            mask = attempt("mask", lambda: given.ordered(space))
    if cfg.genotype is not None and "evaluate" in stages:
        genotype = attempt("genotype", lambda: find_genotype(cfg.genotype))
        if genotype is not None and evaluation_space is not None:
            final, found = evaluation_space, genotype
            attempt("genotype", lambda: final.check_genotype(found))

    if errors:
        raise ConfigError(errors)
    for warning in warnings:
        log.warning(warning)
    assert dataset is not None
    assert space is not None
    assert pruner is not None
    return Plan(stages, dataset, space, scoring_space or space, evaluation_space or space, pruner, mask, genotype)


def _stages(cfg: DictConfig) -> tuple[str, ...]:
    """A stage whose result is given is left out; `stage=search` with pruner=none makes its own, whole mask."""
    stages = STAGES_OF.get(cfg.stage, ())
    if cfg.genotype is not None:
        stages = tuple(s for s in stages if s == "evaluate") if cfg.stage == "pipeline" else stages
    if cfg.mask is not None:
        stages = tuple(s for s in stages if s != "prune") if cfg.stage == "pipeline" else stages
    elif stages == ("search",):
        stages = ("prune", "search")
    return stages
