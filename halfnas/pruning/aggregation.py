"""One score a candidate from those of many repeats.

Every aggregate takes the scores [N, J] of N repeats, the candidates, and all the repeats there are, [M, J], where those
are only a part of them, such as a half: all of them say how far one errs. Halves of three repeats are one repeat each,
from which nobody could tell.
"""

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from halfnas.pruning.competition import Competition
from halfnas.spaces.candidates import Floats


def mean(scores_NJ: Floats, candidates: Competition, all_MJ: Floats | None = None) -> Floats:
    """Arithmetic mean of every candidate, [J]."""
    return scores_NJ.mean(axis=0)


def median(scores_NJ: Floats, candidates: Competition, all_MJ: Floats | None = None) -> Floats:
    """Median of every candidate: a few wild repeats do not count."""
    return np.median(scores_NJ, axis=0)


def rank(scores_NJ: Floats, candidates: Competition, all_MJ: Floats | None = None) -> Floats:
    """Mean rank among the candidates that it competes with, so that all repeats have the same say."""
    ranks = np.empty_like(scores_NJ)
    for group in np.unique(candidates.groups):
        members = candidates.groups == group
        ranks[:, members] = rankdata(scores_NJ[:, members], axis=1)
    return ranks.mean(axis=0)


def shrink(scores_NJ: Floats, candidates: Competition, all_MJ: Floats | None = None) -> Floats:
    """Means, drawn towards what the same operation scores on the other edges of its kind of cell, [J].

    A mean over few repeats is mostly noise. Each is replaced by m + w (mean - m), m the mean over the edges of its kind
    and w = t / (t + v): v is how far the repeats let a mean err (variance over N), t what its spread over the edges is
    beyond that. With N growing v goes to 0, and the means come out. Within an edge only differences count, so the
    edge's own mean is taken off first. Source: empirical Bayes for normal means (Efron & Morris, "Stein's estimation
    rule and its competitors", JASA 1973).
    """
    all_MJ = scores_NJ if all_MJ is None else all_MJ
    if len(all_MJ) < 2:  # nothing says how far it errs
        return scores_NJ[0]
    sizes = np.bincount(candidates.edges)

    def levels(rows: Floats) -> Floats:
        return np.stack([np.bincount(candidates.edges, weights=row) / sizes for row in rows])[:, candidates.edges]

    levels_NJ = levels(scores_NJ)
    means = (scores_NJ - levels_NJ).mean(axis=0)
    variances = (all_MJ - levels(all_MJ)).var(axis=0, ddof=1) / len(scores_NJ)
    shrunk = means.copy()
    for family in np.unique(candidates.families):
        members = candidates.families == family
        if members.sum() < 3:  # nothing to draw towards
            continue
        centre, noise = means[members].mean(), variances[members].mean()
        spread = max(means[members].var(ddof=1) - noise, 0.0)
        weight = spread / (spread + noise) if spread + noise > 0 else 1.0
        shrunk[members] = centre + weight * (means[members] - centre)
    return shrunk + (0.0 if candidates.scope == "edge" else levels_NJ.mean(axis=0))


#: name -> (scores of N repeats [N, J], the candidates, all repeats [M, J]) -> [J]
AGGREGATES: dict[str, Callable[[Floats, Competition, Floats | None], Floats]] = {
    "mean": mean,
    "median": median,
    "rank": rank,
    "shrink": shrink,
}
#: Those that draw scores towards other ones, the more the fewer repeats there are.
LEANING = ("shrink",)
