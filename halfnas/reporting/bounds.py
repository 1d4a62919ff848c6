"""What the values of a metric lie between, by the end of its key."""

from math import inf

from halfnas.reporting.statistics import Bounds

#: Endings of the keys of memory and time.
MEASURES = ("_mib", "_ms", "seconds")
#: No run measures more, and the square of it is a number still.
MOST = 1e100


def is_accuracy(metric: str) -> bool:
    """Whether a metric is a share of images that are classified correctly."""
    return metric.endswith("_acc")


def bounds_of(metric: str) -> Bounds:
    """What a metric lies between."""
    if is_accuracy(metric):
        return 0.0, 1.0
    return (0.0 if metric.endswith((*MEASURES, "_images")) else -inf), inf


def is_possible(metric: str, value: object) -> bool:
    """Whether a metric can have a value: a number between its bounds."""
    low, high = bounds_of(metric)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return low <= value <= high and abs(value) <= MOST
