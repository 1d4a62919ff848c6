"""Ranking functions and pruners against the accuracies of NAS-Bench-201.

Source: Dong & Yang, "NAS-Bench-201", ICLR 2020: all 15,625 architectures of the space, trained on three datasets.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy.stats import kendalltau, rankdata, skew, spearmanr

from halfnas.networks import DiscreteNetwork
from halfnas.pruning.importance import initialize
from halfnas.pruning.ranking import RankingFunction
from halfnas.pruning.sample import Sample
from halfnas.pruning.scoring_network import ScoringNetwork
from halfnas.spaces import Mask, NASBench201Space, from_architecture_string
from halfnas.spaces.candidates import Floats
from halfnas.spaces.nasbench201 import ARCHITECTURE

NUM_BOOTSTRAPS = 1000
#: Parts of the space whose survival is counted.
BEST, WORST = 0.01, 0.10
#: What a table shows the spread of, from mask to mask.
SPREAD = ("mean", "best 1% left", "worst 10% left")


@dataclass(frozen=True)
class Accuracies:
    """Validation accuracy of every architecture, as a fraction, and the operations on its edges."""

    architectures: tuple[str, ...]
    values: Floats

    @classmethod
    def load(cls, path: str | Path, column: str) -> "Accuracies":
        """Read a table with a column `arch_str` and accuracies in percent.

        Raises:
            ValueError: no such file or column.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"`accuracies`: {path} is no file; it must be a table of NAS-Bench-201 with `arch_str`")
        try:
            table = pd.read_csv(path)
        except pd.errors.EmptyDataError:
            table = pd.DataFrame()
        if table.empty or not {"arch_str", column} <= set(table):
            raise ValueError(f"{path}: expected columns arch_str and {column}, found {', '.join(table)}")
        return cls(tuple(table["arch_str"]), table[column].to_numpy(float) / 100)

    def left_by(self, mask: Mask) -> np.ndarray:
        """List the indices of the architectures that a mask leaves."""
        index = {name: i for i, name in enumerate(self.architectures)}
        (edges,) = mask.kept.values()
        return np.array([index[ARCHITECTURE.format(*names)] for names in product(*edges)])


class Rating(NamedTuple):
    """The rating of an architecture, sign * r(N), and the seconds that it took.

    A value that is not finite, as of a network that carries no signal, counts as the lowest there is.
    """

    value: float
    seconds: float


def rate(
    rankers: Mapping[str, RankingFunction],
    space: NASBench201Space,
    architecture: str,
    samples: Mapping[str, Sample],
    seed: int,
) -> dict[str, Rating]:
    """Rate an architecture with random weights by every ranking function, each on its own sample."""
    network = DiscreteNetwork(space, from_architecture_string(architecture))
    initialize(network, torch.Generator().manual_seed(seed))
    network.train().requires_grad_(False)
    found = {}
    for name, ranker in rankers.items():
        start = time.perf_counter()
        with torch.no_grad():
            value = ranker.sign * float(ranker(ScoringNetwork(network), samples[name]))
        found[name] = Rating(value if np.isfinite(value) else -np.inf, time.perf_counter() - start)
    return found


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its 95% bootstrap interval over architectures."""

    value: float
    low: float
    high: float


def correlations(ratings: Floats, accuracies: Floats, seed: int) -> tuple[Correlation, Correlation]:
    """Correlate ratings with accuracies, [A] both: Kendall's tau-b and Spearman's rho, of 1000 bootstraps each."""
    rng = np.random.default_rng(seed)
    ranks = rankdata(ratings)  # -inf stays the lowest
    draws = rng.integers(len(ranks), size=(NUM_BOOTSTRAPS, len(ranks)))

    def measure(statistic: object) -> Correlation:
        assert callable(statistic)
        resampled = [statistic(ranks[i], accuracies[i]).statistic for i in draws]
        low, high = np.nanpercentile(resampled, [2.5, 97.5])
        return Correlation(float(statistic(ranks, accuracies).statistic), float(low), float(high))

    return measure(kendalltau), measure(spearmanr)


def survival(accuracies: Accuracies, left: np.ndarray) -> dict[str, float]:
    """Say what is left of the space: its accuracies, and how much of the best and the worst architectures.

    Args:
        left: indices of the architectures that are left.
    """
    values, remaining = accuracies.values, accuracies.values[left]
    order = np.argsort(values)
    best = set(order[-round(BEST * len(values)) :].tolist())
    worst = set(order[: round(WORST * len(values))].tolist())
    kept = set(left.tolist())
    return {
        "mean": float(remaining.mean()),
        "5%": float(np.percentile(remaining, 5)),
        "median": float(np.median(remaining)),
        "95%": float(np.percentile(remaining, 95)),
        "skewness": float(skew(remaining)) if len(set(remaining.tolist())) > 1 else 0.0,  # < 0: a tail of poor ones
        "best": float(remaining.max()),
        "best 1% left": len(best & kept) / len(best),
        "worst 10% left": len(worst & kept) / len(worst),
        "architectures": len(left) / len(values),
    }


def mean_survival(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average over masks, with the standard deviation over them of what `SPREAD` lists."""
    means = {key: float(np.mean([each[key] for each in found])) for key in found[0]}
    spread = {
        f"std of {key}": float(np.std([each[key] for each in found], ddof=1)) if len(found) > 1 else 0.0
        for key in SPREAD
        if key in means
    }
    return {"masks": len(found), **means, **spread}
