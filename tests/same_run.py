"""Whether two runs have come to the same, to the last bit."""

import csv
import json
from pathlib import Path
from typing import Any

import torch

#: What a clock has measured.
CLOCKS = ("seconds", "step_ms")
FOUND = ("mask.json", "genotype.json")


def differences(first: Path, second: Path) -> list[str]:
    """What of two folders differs: masks, genotypes, curves, metrics, weights and states of optimisers."""
    found = [name for name in FOUND if (first / name).read_bytes() != (second / name).read_bytes()]
    if _rows(first) != _rows(second):
        found.append("history.csv")
    if _metrics(first) != _metrics(second):
        found.append("metrics.json")
    names = sorted(path.name for path in (first / "checkpoints").iterdir())
    if names != sorted(path.name for path in (second / "checkpoints").iterdir()):
        return [*found, "checkpoints"]
    states = ({name: _state(folder / "checkpoints" / name) for name in names} for folder in (first, second))
    return found + [name for name, (one, other) in zip(names, zip(*map(dict.values, states), strict=True), strict=True)
                    if not _equal(one, other)]  # fmt: skip


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if not k.endswith(CLOCKS)} for row in csv.DictReader(file)]


def _metrics(folder: Path) -> dict[str, float]:
    content = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {key: value for key, value in content.items() if not key.endswith(CLOCKS)}


def _state(path: Path) -> Any:
    content = torch.load(path, weights_only=True)
    content["halfnas"].pop("seconds")
    # Counts of batches since the process began, and who was there to count.
    return {key: value for key, value in content.items() if key not in ("loops", "callbacks")}


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)
