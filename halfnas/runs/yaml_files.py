"""YAML files as Hydra leaves them beside a run."""

from pathlib import Path
from typing import Any

import yaml

from halfnas.runs.reading import in_short, read_text

#: What begins or parts something in YAML. Each level of nesting has one, and libyaml, which calls itself for each, ends
#: the process beyond some ten thousands.
INDICATORS, MAX_INDICATORS = "[{-?:", 10_000


def load_yaml(path: str | Path) -> Any:
    """Read a YAML file; anchors may make a part of it stand in several places, or in itself.

    Raises:
        ValueError: it cannot be read; the message names it.
    """
    text, name = read_text(path, "cannot be read"), in_short(path)
    if sum(map(text.count, INDICATORS)) > MAX_INDICATORS:
        raise ValueError(f"{name}: cannot be read (no file of settings is so long, or nested so deep)")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the other one takes seconds for a hundred runs
    try:
        return yaml.load(text, loader)  # noqa: S506 # safe loaders, both
    # All but the first: what PyYAML makes of a value that is not of the type that its tag says.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{name}: cannot be read ({in_short(' '.join(str(error).split()))})") from None
