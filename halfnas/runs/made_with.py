"""made_with.json: the settings that the result of each stage in a folder was made with."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from halfnas.runs.files import entry, read_json, write_json

FORMAT = 1
FILE = "made_with.json"

#: The full name of a setting -> its value.
MadeWith = Mapping[str, Any]


class Saved(Protocol):
    """A mask or genotype."""

    def to_json(self) -> dict[str, Any]:
        """The file's content."""
        ...

    def save(self, path: str | Path) -> Path:
        """Write the file."""
        ...


def read_made_with(folder: Path) -> dict[str, dict[str, Any]]:
    """Stage -> its settings, of the stages that are done; nothing where there is no file.

    Raises:
        ValueError: the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return {}
    return dict(entry(read_json(path), "stages", dict[str, dict[str, Any]], "have the settings of stages", str(path)))


def write_made_with(folder: Path, stages: Mapping[str, MadeWith]) -> None:
    """Write the file, or take it away where no stage is left."""
    if stages:
        write_json(folder / FILE, {"format": FORMAT, "stages": stages}, parents=False)
    else:
        (folder / FILE).unlink(missing_ok=True)


def digest(product: Saved) -> str:
    """Twelve hexadecimal digits that tell a mask or genotype from another."""
    return hashlib.sha256(json.dumps(product.to_json(), sort_keys=True).encode()).hexdigest()[:12]


def differences(now: MadeWith, before: MadeWith) -> list[str]:
    """What differs, a text a setting: `searcher.epochs=50 (was 25)`."""
    names = dict.fromkeys([*now, *before])
    return [
        f"{name}={_shown(now.get(name))} (was {_shown(before.get(name))})"
        for name in names
        if now.get(name) != before.get(name)
    ]


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
