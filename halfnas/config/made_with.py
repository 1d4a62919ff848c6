"""Which settings the result of a stage depends on, to tell a result from that of other settings."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from halfnas.config.parts import SIZES
from halfnas.stages import Stage

#: Settings and groups that every stage reads, besides those of its own.
COMMON = ("dataset", "space", "seed", "trainer")
#: Where a run trains, what watches it and how fast it is: these change no result, up to rounding.
NO_MATTER = (
    "dataset.num_workers",
    "dataset.on_device",
    *(
        f"trainer.{name}"
        for name in (
            "_target_",
            "accelerator",
            "benchmark",
            "check_val_every_n_epoch",
            "detect_anomaly",
            "deterministic",
            "enable_model_summary",
            "log_every_n_steps",
            "num_sanity_val_steps",
            "profiler",
            "strategy",
            "use_distributed_sampler",
        )
    ),
)


def made_with(stage: type[Stage], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide what a stage finds, by full name.

    Args:
        stage: the stage.
        settings: all settings, as plain containers.
    """
    groups = [*COMMON, *stage.reads]
    found = {name: value for group in groups for name, value in _flat(group, settings[group])}
    data_dir = Path(settings["paths"]["data_dir"])
    for name, value in found.items():
        if isinstance(value, str) and Path(value).is_relative_to(data_dir):  # the same data elsewhere
            found[name] = str(Path("paths.data_dir") / Path(value).relative_to(data_dir))
    left_out = [*NO_MATTER, *(f"space.{size}" for where in stage.sizes for size in _given_at(where, settings))]
    if "evaluation" not in groups:  # images that no stage of a run trains on
        found["evaluation.holdout_fraction"] = settings["evaluation"].get("holdout_fraction", 0.0)
    return {name: value for name, value in found.items() if name not in left_out}


def _given_at(where: str, settings: Mapping[str, Any]) -> Sequence[str]:
    """The sizes of the space that stand there in place of its own."""
    node: Any = settings
    for part in where.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return [size for size in SIZES if isinstance(node, Mapping) and size in node]


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    else:
        yield name, _in_json(value)


def _in_json(value: Any) -> Any:
    """A value as JSON has it, which knows no infinity."""
    if isinstance(value, (list, tuple)):
        return [_in_json(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
