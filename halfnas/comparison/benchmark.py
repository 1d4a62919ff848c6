"""Ranking functions and pruners against the accuracies of NAS-Bench-201.

Source: Dong & Yang, "NAS-Bench-201", ICLR 2020: all 15,625 architectures of the space, trained on three datasets.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import kendalltau, rankdata, skew, spearmanr

from halfnas.networks import DiscreteNetwork
from halfnas.pruning.importance import initialize
from halfnas.pruning.ranking import RankingFunction
from halfnas.pruning.sample import Sample
from halfnas.pruning.scoring_network import ScoringNetwork
from halfnas.spaces import NASBench201Space, from_architecture_string
from halfnas.spaces.candidates import Floats, Indices
from halfnas.spaces.trained import TrainedTable

NUM_BOOTSTRAPS = 1000
#: Parts of the space whose survival is counted.
BEST, WORST = 0.01, 0.10
#: What a table shows the spread of, from mask to mask.
SPREAD = ("mean", "best 1% left", "worst 10% left")


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


def survival(trained: TrainedTable, left: Indices) -> dict[str, float]:
    """Say what is left of the space: its accuracies, and how much of the best and the worst architectures.

    Args:
        trained: what all N architectures are worth.
        left: the numbers of those that are left, [n].
    """
    values, remaining = trained.accuracies, trained.accuracies[left]
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
