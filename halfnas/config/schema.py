"""The configuration: types of the plain values, and the checks that need nothing but the settings themselves."""

import hashlib
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

STAGES = ("prune", "search", "evaluate", "pipeline")


@dataclass
class Config:
    """What conf/config.yaml fills. Groups are open: their yaml names a class, whose signature is their schema."""

    stage: str = "pipeline"
    ratio: Any = 0.5  # checked below, with a message of our own
    seed: int = 0
    mask: str | None = None
    genotype: str | None = None
    name: str | None = None
    cuda_graphs: Any = "auto"  # checked where the steps are
    optimized_metric: str = "search/val_acc"
    optimized_budget: float | None = None
    budget_metric: str = "search/step_activations_mib"
    dataset: Any = field(default_factory=dict)
    space: Any = field(default_factory=dict)
    pruner: Any = field(default_factory=dict)
    searcher: Any = field(default_factory=dict)
    supernet: Any = field(default_factory=dict)
    evaluation: Any = field(default_factory=dict)
    trainer: Any = field(default_factory=dict)
    logger: Any = field(default_factory=dict)
    callbacks: Any = field(default_factory=dict)
    paths: Any = field(default_factory=dict)


def register() -> None:
    """Make the schema known to Hydra."""
    ConfigStore.instance().store(name="schema", node=Config)
    # Ours in conf/hydra/launcher stand in for the plugin's on purpose, each with all of its settings.
    warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/submitit_")


def job_folder(overrides: str) -> str:
    """A folder name made of a job's overrides, `pruner-nngp_ratio-0.5_seed-0`; wild or long ones are cut and hashed.

    No letter of it has a meaning to Hydra, so that mask=multirun/.../mask.json can be typed without quotes.
    """
    plain = overrides.replace("=", "-").replace(",", "_")
    tame = re.sub(r"[^\w.+-]+", "_", plain)
    if tame == plain and len(tame) <= 120:
        return tame or "job"
    return f"{tame[:100]}-{overrides_hash(overrides.split(','))}"


def overrides_hash(overrides: list[str]) -> str:
    """Eight hexadecimal digits that tell the overrides of one job from another's, whatever their order."""
    return hashlib.sha256("\n".join(sorted(overrides)).encode()).hexdigest()[:8]


# On import: Hydra's state travels to the worker processes of a launcher, resolvers of OmegaConf do not.
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)


@dataclass(frozen=True)
class Rule:
    """A range that a setting must lie in, where it is a number at all."""

    setting: str
    holds: Callable[[float], bool]
    text: str


def _at_least(setting: str, least: int, why: str) -> Rule:
    return Rule(setting, lambda value: value >= least, f"must be at least {least}: {why}")


def _fraction(setting: str, why: str) -> Rule:
    return Rule(setting, lambda value: 0 <= value < 1, f"must be in [0, 1): {why}")


def _positive(setting: str) -> Rule:
    return Rule(setting, lambda value: value > 0, "must be positive")


RULES = (
    _positive("optimized_budget"),
    _at_least("seed", 0, "seeds of random generators are not negative"),
    _at_least("pruner.repeats", 1, "each candidate is scored on at least one network"),
    _at_least("pruner.max_repeats", 1, "each candidate is scored on at least one network"),
    _at_least("pruner.rounds", 1, "1 removes everything at once"),
    _at_least("pruner.image_size", 1, "a side in pixels; null leaves images as they are"),
    Rule("pruner.stability", lambda v: 0 < v <= 1, "must be in (0, 1]: an agreement of two masks, e.g. 0.9"),
    _at_least("pruner.num_batches", 1, "a score needs images"),
    _at_least("pruner.batch_size", 2, "a score compares images, and batch norm cannot work on one"),
    _at_least("pruner.candidates_per_call", 1, "candidates evaluated at once"),
    _at_least("searcher.epochs", 1, "epochs of the search"),
    _at_least("searcher.warmup_epochs", 0, "epochs with a frozen architecture"),
    _at_least("searcher.batch_size", 2, "batch norm cannot train on one image"),
    Rule("searcher.train_fraction", lambda v: 0 < v < 1, "must be in (0, 1): both halves need images, e.g. 0.5"),
    _positive("searcher.learning_rate"),
    _positive("searcher.architecture_learning_rate"),
    _at_least("evaluation.epochs", 1, "epochs of the final training"),
    _at_least("evaluation.batch_size", 2, "batch norm cannot train on one image"),
    _positive("evaluation.learning_rate"),
    _fraction("searcher.momentum", "momentum of SGD"),
    _fraction("evaluation.momentum", "momentum of SGD"),
    _at_least("searcher.weight_decay", 0, "a penalty on the weights"),
    _at_least("searcher.architecture_weight_decay", 0, "a penalty on the architecture parameters"),
    _at_least("evaluation.weight_decay", 0, "a penalty on the weights"),
    _fraction("evaluation.drop_path", "a probability; 0 switches it off"),
    _fraction("evaluation.label_smoothing", "0 switches it off"),
    _fraction("evaluation.holdout_fraction", "share of the training images held out; 0 trains on all of them"),
    _at_least("evaluation.cutout_length", 0, "pixels; 0 switches it off"),
    _at_least("dataset.num_workers", 0, "processes that decode images; 0 decodes in the main one"),
)


def check(cfg: DictConfig) -> tuple[list[str], list[str]]:
    """Errors and warnings that the settings alone give away."""
    errors, warnings = [], []
    if cfg.stage not in STAGES:
        errors.append(f"`stage` must be one of {', '.join(STAGES)}, got {cfg.stage!r}")
    for rule in RULES:
        value = OmegaConf.select(cfg, rule.setting)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not rule.holds(value):
            errors.append(f"`{rule.setting}` {rule.text}; got {value}")

    precision = OmegaConf.select(cfg, "trainer.precision")
    if str(precision) in ("16", "16-mixed", "16-true"):
        errors.append(
            f"`trainer.precision={precision}` is not supported: float16 overflows unless losses are scaled, which "
            "steps of halfnas do not do; use bf16-mixed, which needs no scaling"
        )
    betas = cfg.searcher.get("architecture_betas")
    if OmegaConf.is_list(betas) and len(betas) != 2:
        errors.append(f"`searcher.architecture_betas` must be two numbers, e.g. [0.5, 0.999]; got {list(betas)}")

    keeps_all = cfg.pruner.get("name") == "none"
    if cfg.stage == "search" and cfg.mask is None and not keeps_all:
        errors.append("`stage=search` needs a mask: mask=PATH of a mask.json, or pruner=none to search everything")
    if cfg.stage == "evaluate" and cfg.genotype is None:
        errors.append("`stage=evaluate` needs a genotype: genotype=PATH of a genotype.json, or a published cell's name")

    if cfg.stage == "prune" and cfg.mask is not None:
        errors.append("`stage=prune` makes a mask and does not read one: leave out mask=... or choose another stage")
    if cfg.genotype is not None and cfg.stage in ("prune", "search"):
        warnings.append(f"`genotype` has no effect with stage={cfg.stage}")
    if cfg.mask is not None and (cfg.stage == "evaluate" or (cfg.stage == "pipeline" and cfg.genotype is not None)):
        warnings.append("`mask` has no effect: nothing is searched")
    prunes = cfg.stage in ("prune", "pipeline") and cfg.mask is None and cfg.genotype is None
    if keeps_all and (prunes or cfg.stage == "search") and cfg.mask is None and cfg.ratio != 1:
        warnings.append(f"`ratio={cfg.ratio}` has no effect with pruner=none, which keeps every candidate")
    searches = cfg.stage in ("search", "pipeline") and cfg.genotype is None
    epochs, warmup = cfg.searcher.get("epochs"), cfg.searcher.get("warmup_epochs")
    if searches and isinstance(epochs, int) and isinstance(warmup, int) and warmup >= epochs:
        warnings.append(
            f"`searcher.warmup_epochs={warmup}` is not less than `searcher.epochs={epochs}`: the architecture is never "
            "trained, and the cell found is that of its random start"
        )
    return errors, warnings
