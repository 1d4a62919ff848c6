"""From the settings to all the objects of a run, with every mistake found on the way reported at once."""

import contextlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from halfnas.config.checks import check, check_cuda_graphs_here
from halfnas.config.parts import PACE, SIZES, Noted, SettingParts
from halfnas.config.signatures import check_arguments
from halfnas.data import ImageDataset
from halfnas.errors import ConfigError
from halfnas.spaces import SearchSpace
from halfnas.stages import STAGES, Stage

log = logging.getLogger(__name__)

GROUPS = ("dataset", "space", "pruner", "searcher", "supernet", "evaluation", "trainer", "logger", "callbacks")
#: Arguments of a space that the dataset gives.
OF_DATASET = ("num_classes", "in_channels")


@dataclass(frozen=True)
class Plan:
    """What a run works on, all of it built.

    Attributes:
        dataset: the images, not loaded yet.
        space: at the sizes of the search.
        stages: the stages that run, in order.
    """

    dataset: ImageDataset
    space: SearchSpace
    stages: Sequence[Stage]


def make_plan(cfg: DictConfig, overrides: Sequence[str] = ()) -> Plan:
    """Build what the settings describe; nothing is trained, downloaded or written.

    Args:
        cfg: the settings.
        overrides: the settings that the user has typed, `space.init_channels=8`.

    Raises:
        ConfigError: with all problems found.
    """
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    chosen = chosen_stages(settings)
    typed = {override.lstrip("+~").split("=")[0]: override for override in overrides}
    problems, warnings = check(settings, chosen, typed)
    for group in GROUPS:
        problems += check_group(group, settings, typed)
    parts = SettingParts(settings, problems)
    with parts.checking("cuda_graphs"):
        check_cuda_graphs_here(settings)
    stages = []
    with contextlib.suppress(Noted):
        parts.dataset = parts.make("dataset")
        parts.space()
        for stage in chosen:
            with contextlib.suppress(Noted):
                stages.append(stage.build(parts))
    if problems:
        raise ConfigError(problems)
    for warning in (*warnings, *(warning for stage in stages for warning in stage.warnings(settings))):
        log.warning(warning)
    return Plan(parts.dataset, parts.space(), stages)


def chosen_stages(settings: Mapping[str, Any]) -> list[type[Stage]]:
    """The stages to run: in a pipeline those whose result is not given; otherwise those that are asked for.

    Several that follow each other are joined by `+`, as in `prune+search`. Before them, one that `runs_unasked`, if
    what it leaves is needed and not given. None where there is no such stage, or a gap between them.
    """
    asked, every = settings["stage"], list(STAGES)
    if asked == "pipeline":
        given = [i for i, stage in enumerate(every) if stage.leaves and settings[stage.leaves] is not None]
        return every[max(given, default=-1) + 1 :]
    wanted = asked.split("+")
    chosen = [stage for stage in every if stage.name in wanted]
    begin = every.index(chosen[0]) if chosen else 0
    if [stage.name for stage in every[begin : begin + len(wanted)]] != wanted:
        return []
    needs = chosen[0].needs if chosen else None
    if needs is not None and settings[needs] is None:
        chosen = [s for s in every if s.leaves == needs and s.runs_unasked(settings)] + chosen
    return chosen


def check_group(group: str, settings: Mapping[str, Any], typed: Collection[str] = ()) -> list[str]:
    """Problems of the names, types and bounds of a group of settings.

    Args:
        typed: the settings that the user has typed, by name.
    """
    node = settings[group]
    also = [taker for stage in STAGES for taker in stage.takers.get(group, ())]
    given = [name for stage in STAGES for name in stage.reserved.get(group, ())]
    sized = [where for stage in STAGES for where in stage.sizes]
    space = _class_of(settings["space"])
    if group in sized and space is not None:
        also.append(space)
    problems = check_arguments(node, group, also=also, given=OF_DATASET if group == "space" else given)
    for where in sized:
        outer, _, inner = where.partition(".")
        if outer == group and inner and space is not None and isinstance(node.get(inner), Mapping):
            problems += check_arguments(node[inner], where, also=[space])
    # They come with a recipe, whatever the space and the searcher; what has none does without, unless somebody asks.
    dropped = [f"{where}.{size}" for where in ("space", *sized) for size in SIZES]
    dropped += [f"searcher.{name}" for name in PACE]
    return [
        problem
        for problem in problems
        if not any(problem.startswith(f"`{name}`: ") and name not in typed for name in dropped)
    ]


def _class_of(node: Mapping[str, Any]) -> Any:
    with contextlib.suppress(Exception):  # said where the group itself is checked
        return get_object(node["_target_"])
    return None
