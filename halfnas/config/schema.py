"""Types of the plain values, and how a job's folder is named after its settings. Imports none of torch."""

import hashlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

#: Letters of a folder's name, and how many are left where there would be more.
LONGEST, CUT = 120, 100


#: Overrides that make no other job of one: how it is started, where its files and logs go, how its images are read.
UNTOLD = ("ckpt", "overwrite", "logger", "paths", "dataset.num_workers")


@dataclass
class Config:
    """What conf/config.yaml fills. Groups are open: their yaml names a class, whose signature is their schema."""

    stage: str = "pipeline"
    ratio: Any = 0.5  # checked by halfnas.config.plan, with a message of our own
    seed: int = 0
    mask: str | None = None
    genotype: str | None = None
    benchmark: str | None = None
    name: str | None = None
    ckpt: str | None = None
    overwrite: bool = False
    cuda_graphs: Any = "auto"  # checked where the steps are
    optimized_metric: str = "search/val_acc"
    optimized_budget: float | None = None
    budget_metric: str = "search/peak_live_mib"
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
    warnings.filterwarnings("ignore", message=r"\s*'hydra/launcher/(submitit_|ray')")


def job_folder(overrides: str) -> str:
    """A folder name made of a job's overrides, `pruner-nngp_ratio-0.5_seed-0`; wild or long ones are cut and hashed.

    The seed can be read in any case. No letter of the name has a meaning to Hydra, so that mask=multirun/.../mask.json
    can be typed without quotes.
    """
    plain = overrides.replace("=", "-").replace(",", "_")
    tame = re.sub(r"[^\w.+-]+", "_", plain)
    if tame == plain and len(tame) <= LONGEST:
        return tame or "job"
    seed = re.search(r"(?:^|,)seed=(\d+)(?:,|$)", overrides)
    ending = f"_seed-{seed[1]}" if seed and f"seed-{seed[1]}" not in tame[:CUT].split("_") else ""
    return f"{tame[:CUT]}{ending}-{overrides_hash(overrides.split(','))}"


def overrides_hash(overrides: Sequence[str]) -> str:
    """Eight hexadecimal digits that tell the overrides of one job from another's, whatever their order."""
    telling = sorted(override for override in overrides if tells(key_of(override)))
    return hashlib.sha256("\n".join(telling).encode()).hexdigest()[:8]


def key_of(override: str) -> str:
    """The setting that an override sets: `ratio` of `ratio=0.5`, `callbacks.progress` of `~callbacks.progress`."""
    return override.lstrip("+~").split("=")[0]


def tells(key: str) -> bool:
    """Whether a setting tells a job from others."""
    return not any(key == known or key.startswith((f"{known}.", f"{known}@")) for known in UNTOLD)


# On import: Hydra's state travels to the worker processes of a launcher, resolvers of OmegaConf do not.
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)
