"""The fraction of candidates that is kept, and how many those are."""

import math

from halfnas.runs.reading import quoted


def check_ratio(ratio: object) -> float:
    """Return `ratio` as a float, or raise ValueError where it is not a number in (0, 1]."""
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 < ratio <= 1:
        raise ValueError(
            f"`ratio` must be a number in (0, 1], got {quoted(ratio)}; "
            "it is the fraction of candidates kept, e.g. ratio=0.5"
        )
    return float(ratio)


def num_kept(ratio: float, num_candidates: int) -> int:
    """How many of an edge's candidates a ratio keeps: max(1, floor(ratio * n + 1/2)), so halves round up."""
    return max(1, math.floor(check_ratio(ratio) * num_candidates + 0.5))
