"""What the processes of a distributed run tell each other."""

from collections.abc import Sequence
from typing import Any

from torch import distributed


def gathered(mine: Sequence[Any]) -> list[Any]:
    """Join the lists of all processes, in the order of their ranks; every process has to call it.

    Args:
        mine: what this process has, picklable; any number of things.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return list(mine)
    found: list[Sequence[Any]] = [()] * distributed.get_world_size()
    distributed.all_gather_object(found, mine)
    return [each for part in found for each in part]
