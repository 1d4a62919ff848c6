"""What a run worked on, in place of what its settings ask for: a given mask or genotype has another origin."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from halfnas.spaces import Mask

#: What begins with a stage, as settings name it, that starts from a mask, or from a genotype, where one is given.
FROM_MASK, FROM_GENOTYPE = ("pipeline", "search"), ("pipeline", "evaluate")
#: What nothing reads where a genotype is given.
OF_SEARCH = ("pruner", "ratio", "searcher", "supernet")


def as_ran(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Leave out settings that nothing has read, and take pruner and ratio from the mask that was searched.

    Args:
        settings: those of the run, flat; `pruner` is None where several were joined.
        folder: the run's, with its copy of the mask.

    Returns:
        The settings; a mask from another seed than the run's is told by its seed, `mask_seed`. Its file, `mask`, is
        among them still, see `halfnas.reporting.runs.load_runs`.

    Raises:
        ValueError: the mask that is needed cannot be read.
    """
    first = str(settings.get("stage")).split("+")[0]
    given_genotype = settings.get("genotype") is not None and first in FROM_GENOTYPE
    given_mask = settings.get("mask") is not None and first in FROM_MASK and not given_genotype
    unread = ["pruner"] if given_mask else ["mask", *OF_SEARCH] if given_genotype else []
    found = {key: value for key, value in settings.items() if key.split(".")[0] not in unread}
    path = folder / "mask.json"
    if given_mask or (not given_genotype and settings.get("pruner") is None and os.path.lexists(path)):
        mask = Mask.load(path)
        found |= {"pruner": mask.pruner, "ratio": mask.ratio}
        if given_mask and mask.seed != settings.get("seed"):
            found["mask_seed"] = mask.seed
    return found
