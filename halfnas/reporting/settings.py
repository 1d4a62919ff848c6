"""The settings of a run, as Hydra has written them down, and those of them that tell runs apart."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from halfnas.reporting.origin import as_ran
from halfnas.runs.reading import in_short, quoted
from halfnas.runs.yaml_files import load_yaml

#: A value of a configuration.
Setting = str | float | int | bool | None

#: Groups whose choice says more than the settings that come with it.
CHOICES = ("dataset", "space", "pruner", "searcher", "evaluation")
#: The other groups that a configuration has, the last one last.
OTHERS = ("trainer", "logger", "callbacks", "paths")
#: Settings that do not change what comes out, so that runs which differ in them alone are alike.
IGNORED = (
    "seed",  # groups are means over it
    *("ckpt", "overwrite"),  # how a run was begun
    *("name", "paths", "logger"),  # what a run is called, and where it writes; `dataset.root` has where images are
    *("optimized_metric", "optimized_budget", "budget_metric"),  # what a sweeper is told in the end
    "dataset.num_workers",  # a batch is a function of seed, epoch and number (tests/data/test_modules.py)
)
#: Datasets whose files are compared with their published checksums: where they lie changes nothing.
CHECKED = ("halfnas.data.Cifar10", "halfnas.data.Cifar100")
#: What of ours watches a run; callbacks of others may do anything.
WATCHING = "halfnas.callbacks."
#: A setting that may be `auto` -> the metric that says what was used, and how a setting is made of it.
RESOLVED: Mapping[str, tuple[str, Callable[[float], Setting]]] = {
    "searcher.partial_channels": ("search/partial_channels", int),
    "evaluation.auxiliary": ("evaluate/auxiliary_heads", bool),
}


class Told(NamedTuple):
    """What a run was told to do: its seed, the settings that say it, and what could not be read of them."""

    seed: int | None
    settings: dict[str, Setting]
    problems: list[str]


def settings_of(folder: Path, metrics: Mapping[str, float]) -> Told:
    """Read the seed of a run, and the settings that say what it has done.

    Args:
        folder: the folder of the run.
        metrics: what it has measured, which says what a setting that is `auto` was.

    Raises:
        ValueError: a file cannot be read, or is no whole configuration; the message names it.
    """
    file, hydra = folder / ".hydra" / "config.yaml", folder / ".hydra" / "hydra.yaml"
    config, flat = read_yaml(file), flat_yaml(file)
    if not config:
        raise ValueError(f"{in_short(folder / '.hydra')}: no configuration")
    noted = flat_yaml(hydra)
    chosen = {group for group in (*CHOICES, *OTHERS) if noted.get(f"hydra.runtime.choices.{group}") is not None}
    if missing := sorted(chosen - config.keys()):
        raise ValueError(f"{in_short(file)}: cut short, `{missing[0]}` is missing")
    for group in CHOICES:
        if not isinstance(config.get(group, {}), Mapping | None):
            raise ValueError(f"{in_short(file)}: `{group}` must have settings, got {quoted(config[group])}")
    seed = config.get("seed")
    if seed is not None and (type(seed) is not int or not 0 <= seed < 2**63):
        raise ValueError(f"{in_short(file)}: `seed` must be a whole number, got {quoted(seed)}")
    settings = _telling(config, flat, noted, folder)
    for key, (metric, of_number) in RESOLVED.items():
        if settings.get(key) == "auto" and metric in metrics:
            settings[key] = of_number(metrics[metric])
    whole = "hydra.runtime.choices.dataset" in noted  # the last of them
    return Told(seed, settings, [] if whole else [f"{in_short(hydra)}: no choices, so that names stand for them"])


def _telling(
    config: Mapping[str, Any], flat: Mapping[str, Setting], noted: Mapping[str, Setting], folder: Path
) -> dict[str, Setting]:
    named = {group: noted.get(f"hydra.runtime.choices.{group}") or flat.get(f"{group}.name") for group in CHOICES}
    if "hydra.runtime.choices.dataset" in noted and "hydra.runtime.choices.pruner" not in noted:
        named["pruner"] = None  # several of them joined, of which no choice is noted, and the name is that of the last
    ran = as_ran({group: name for group, name in named.items() if group in config} | dict(flat), folder)
    ignored = tuple(f"{name}." for name in (*IGNORED, *_without_effect(flat)))
    settings = {key: value for key, value in ran.items() if not f"{key}.".startswith(ignored)}
    if "dataset.root" in settings:
        root = str(settings["dataset.root"]).replace("${paths.data_dir}", str(flat.get("paths.data_dir")))
        settings["dataset.root"] = root.replace("${hydra:runtime.cwd}", str(noted.get("hydra.runtime.cwd")))
    if settings.get("pruner") == "none":
        settings["ratio"] = 1.0  # whatever was asked for
    return settings


def _without_effect(flat: Mapping[str, Setting]) -> list[str]:
    """List what is ignored for what it is: callbacks that only watch, and where images lie that are checked."""
    targets = {key.removesuffix("._target_"): str(value) for key, value in flat.items() if key.endswith("._target_")}
    watching = [key for key, target in targets.items() if key.startswith("callbacks.") and target.startswith(WATCHING)]
    return [*watching, *(["dataset.root"] if targets.get("dataset") in CHECKED else [])]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a file of settings; empty where there is none.

    Raises:
        ValueError: it cannot be read; the message names it.
    """
    if not os.path.lexists(path):
        return {}
    content = load_yaml(path)
    return content if isinstance(content, dict) else {}


def flat_yaml(path: Path) -> dict[str, Setting]:
    """Read a file of settings as "searcher.epochs", ... -> the value, a text of what is neither text nor number.

    Raises:
        ValueError: it cannot be read, or has what no configuration has; the message names it.
    """
    content = read_yaml(path)
    if not _is_tree(content):
        raise ValueError(f"{in_short(path)}: cannot be read (a part of it is in two places)")
    try:
        return dict(_flatten(content, ""))
    except (ValueError, RecursionError):
        raise ValueError(f"{in_short(path)}: cannot be read (nested too deep, or too long)") from None


def _is_tree(content: Any) -> bool:
    """Whether nothing is in it twice by reference: such a file can be without end, and Hydra writes none."""
    waiting, seen = [content], set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, (Mapping, list)):
            if id(node) in seen:
                return False
            seen.add(id(node))
            waiting += node.values() if isinstance(node, Mapping) else node
    return True


def _flatten(node: Any, prefix: str) -> Iterator[tuple[str, Setting]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node if _is_setting(node) else str(node)


def _is_setting(value: Any) -> bool:
    """Whether it is one that can be compared and written as it is."""
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or isinstance(value, str | bool) or (isinstance(value, int) and abs(value) < 2**63)
