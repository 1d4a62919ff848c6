"""Means over seeds and how sure they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Summary:
    """Of a sample.

    Attributes:
        n: values.
        mean: of them.
        std: with n - 1; None of a single value.
        low, high: the 95% interval of the mean by Student's t; None of a single value.
    """

    n: int
    mean: float
    std: float | None
    low: float | None
    high: float | None


def summarize(values: Sequence[float]) -> Summary:
    """Mean, spread and interval.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("no values to summarize")
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Summary(1, mean, None, None, None)
    std = float(np.std(values, ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * std / n**0.5
    return Summary(n, mean, std, mean - half, mean + half)


def paired_difference(first: Mapping[int, float], second: Mapping[int, float]) -> Summary | None:
    """First - second over the seeds that both have, which takes out what a seed does to both."""
    seeds = sorted(first.keys() & second.keys())
    return summarize([first[seed] - second[seed] for seed in seeds]) if seeds else None


def paired_ratio(first: Mapping[int, float], second: Mapping[int, float]) -> Summary | None:
    """First / second over the seeds that both have, and where the second is not 0; None where there is none."""
    seeds = sorted(seed for seed in first.keys() & second.keys() if second[seed] != 0)
    return summarize([first[seed] / second[seed] for seed in seeds]) if seeds else None
