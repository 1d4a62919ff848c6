"""Who comes first of exact equals: never who stands first in a list.

Equals are ordered by a hash of (seed, kind of cell, edge, operation), so that no operation is favoured by the place
that somebody gave it, and another seed orders them anew. No generator is advanced, and the order of two candidates does
not depend on which others there are. Values that differ in the last digit are no equals.
"""

import hashlib
import json
from collections.abc import Mapping

#: What stands in the place of the operation where whole edges are compared.
EDGE = ""


def tie_break(seed: int, kind: str, edge: int, operation: str = EDGE) -> int:
    """A number in [0, 2**64), the same on every machine: of equals the one with the smallest is preferred.

    The first 8 bytes of the SHA-256 of `[seed, kind, edge, operation]` in JSON.

    Args:
        seed: that of the run.
        kind: kind of cell.
        edge: its number among the edges of that kind.
        operation: the candidate; left out for the edge itself, where edges of a node are compared.
    """
    text = json.dumps([int(seed), kind, int(edge), operation])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def ordered(values: Mapping[str, float], kind: str, edge: int, seed: int | None) -> list[str]:
    """The candidates of an edge, the one with the largest value first.

    Args:
        values: operation -> value; none of them NaN.
        kind: kind of cell.
        edge: its number among the edges of that kind.
        seed: orders equals; with None they stay in the order in which they are given.
    """
    if seed is None:
        return sorted(values, key=lambda name: -values[name])  # stable
    return sorted(values, key=lambda name: (-values[name], tie_break(seed, kind, edge, name)))
