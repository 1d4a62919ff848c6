"""Means over seeds and how sure they are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot, inf, nan

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
#: Values of an interval. Of two, Student's t has one degree of freedom, no variance and a factor of 12.7: they are two
#: points, and say little more.
MIN_VALUES = 3
#: How often a number of seeds that is called enough is to decide.
POWER = 0.8
#: More seeds than anybody will run.
MANY = 1000

Bounds = tuple[float, float]


@dataclass(frozen=True)
class Summary:
    """What a sample of values says.

    Attributes:
        n: the number of values.
        mean: their mean.
        std: their standard deviation, with n - 1; None of a single value.
        low, high: the ends of the 95% interval of the mean by Student's t; None where there is none, see `summarize`.
    """

    n: int
    mean: float
    std: float | None
    low: float | None
    high: float | None

    @property
    def reach(self) -> tuple[float, float]:
        """How far the interval goes below and above the mean; not a number where there is none."""
        return (nan, nan) if self.low is None or self.high is None else (self.mean - self.low, self.high - self.mean)

    def scaled(self, factor: float) -> "Summary":
        """Give the same summary in another unit, all values times `factor`."""
        std, low, high = (None if each is None else factor * each for each in (self.std, self.low, self.high))
        return Summary(self.n, factor * self.mean, std, low, high)


def summarize(values: Sequence[float], noise: float | None = 0.0, bounds: Bounds = (-inf, inf)) -> Summary:
    """Compute mean, spread and interval of some values.

    Fewer than MIN_VALUES have no interval.

    Args:
        noise: the least standard deviation that such values have, which the interval goes by where they happen to
            spread less: without it values that are equal by chance would be certain. 0 of what is exact; None of what
            has some that is not known, so that equal values have no interval.
        bounds: between which the interval stays.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("no values to summarize")
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Summary(1, mean, None, None, None)
    std = float(np.std(values, ddof=1))
    if n < MIN_VALUES or (noise is None and std == 0):
        return Summary(n, mean, std, None, None)
    half = students_half_width(max(std, noise or 0.0), n)
    return Summary(n, mean, std, max(mean - half, bounds[0]), min(mean + half, bounds[1]))


def students_half_width(std: float, n: int) -> float:
    """Compute half the width of the 95% interval of a mean of n values by Student's t: t s / sqrt(n)."""
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * std / n**0.5


def counting_noise(share: float, count: float) -> float:
    """Compute the standard deviation of a share of `count` images: sqrt(p (1 - p) / count).

    p is the share with a success and a failure more (Laplace), so that 0 and 1 are not certain either.
    """
    p = (share * count + 1) / (count + 2)
    return float((p * (1 - p) / count) ** 0.5)


def noise_of(of: Callable[[float, float], float], first: Bounds, second: Bounds) -> float:
    """Compute the noise of a number that is made of two, each given as its value and noise, taken as independent."""
    (a, noise_a), (b, noise_b) = first, second
    return hypot(of(a + noise_a, b) - of(a, b), of(a, b + noise_b) - of(a, b))


def paired(of: Callable[[float, float], float], first: Mapping[int, float], second: Mapping[int, float]) -> list[float]:
    """Compare two sides seed by seed, over the seeds that both have, which takes out what a seed does to both."""
    return [of(first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())]


def power(mean: float, std: float, n: int, within: Bounds) -> float:
    """Compute how often the 95% interval of n normal values lies within a range: the power of a claim.

    The mean over the distribution of the sample's standard deviation, in equal parts.
    """
    parts = (np.arange(2000) + 0.5) / 2000
    half = students_half_width(1.0, n) * std * np.sqrt(stats.chi2.ppf(parts, n - 1) / (n - 1))
    below, above = ((edge - mean) / (std / n**0.5) for edge in within)
    shift = half / (std / n**0.5)
    return float(np.clip(stats.norm.cdf(above - shift) - stats.norm.cdf(below + shift), 0, 1).mean())


def seeds_for(mean: float, std: float, within: Bounds, least: int = MIN_VALUES) -> int | None:
    """Compute the smallest number of values, from `least` on, that decide in POWER of all cases; None above MANY."""
    if power(mean, std, MANY, within) < POWER:
        return None
    few, enough = least - 1, MANY  # power grows with n
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if power(mean, std, middle, within) >= POWER else (middle, enough)
    return enough
