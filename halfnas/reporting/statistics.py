"""Means over seeds and how sure they are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """What a sample of values says.

    Attributes:
        n: the number of values.
        mean: their mean.
        std: their standard deviation, with n - 1; None of a single value.
        low, high: the ends of the 95% interval of the mean by Student's t; None of a single value.
    """

    n: int
    mean: float
    std: float | None
    low: float | None
    high: float | None

    @property
    def half_width(self) -> float:
        """Half of the width of the interval; 0 of a single value."""
        return 0.0 if self.high is None else self.high - self.mean

    def scaled(self, factor: float) -> "Summary":
        """Give the same summary in another unit, all values times `factor`."""
        std, low, high = (None if each is None else factor * each for each in (self.std, self.low, self.high))
        return Summary(self.n, factor * self.mean, std, low, high)


def summarize(values: Sequence[float]) -> Summary:
    """Compute mean, spread and interval of some values.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("no values to summarize")
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Summary(1, mean, None, None, None)
    std = float(np.std(values, ddof=1))
    half = students_half_width(std, n)
    return Summary(n, mean, std, mean - half, mean + half)


def students_half_width(std: float, n: int) -> float:
    """Compute half the width of the 95% interval of a mean of n values by Student's t: t s / sqrt(n)."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * std / n**0.5


def paired(of: Callable[[float, float], float], first: Mapping[int, float], second: Mapping[int, float]) -> list[float]:
    """Compare two sides seed by seed, over the seeds that both have, which takes out what a seed does to both."""
    return [of(first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())]
