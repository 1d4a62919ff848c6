"""One score a candidate from those of many repeats."""

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from halfnas.pruning.candidates import Candidates, Floats


def mean(scores_NJ: Floats, candidates: Candidates) -> Floats:
    """Arithmetic mean of every candidate, [J]."""
    return scores_NJ.mean(axis=0)


def median(scores_NJ: Floats, candidates: Candidates) -> Floats:
    """Median of every candidate: a few wild repeats do not count."""
    return np.median(scores_NJ, axis=0)


def rank(scores_NJ: Floats, candidates: Candidates) -> Floats:
    """Mean rank among the candidates that it competes with, so that all repeats have the same say."""
    ranks = np.empty_like(scores_NJ)
    for group in np.unique(candidates.groups):
        members = candidates.groups == group
        ranks[:, members] = rankdata(scores_NJ[:, members], axis=1)
    return ranks.mean(axis=0)


def shrink(scores_NJ: Floats, candidates: Candidates) -> Floats:
    """Means, drawn towards what the same operation scores on the other edges of its kind of cell, [J].

    A mean over few repeats is mostly noise. Each is replaced by m + w (mean - m), m the mean over the edges of its kind
    and w = t / (t + v): v is how far the repeats let a mean err (variance over N), t what its spread over the edges is
    beyond that. With N growing v goes to 0, and the means come out. Within an edge only differences count, so the
    edge's own mean is taken off first. Source: empirical Bayes for normal means (Efron & Morris, "Stein's estimation
    rule and its competitors", JASA 1973).
    """
    num_repeats = len(scores_NJ)
    if num_repeats < 2:  # nothing says how far it errs
        return scores_NJ[0]
    sizes = np.bincount(candidates.edges)
    levels_NE = np.stack([np.bincount(candidates.edges, weights=row) / sizes for row in scores_NJ])
    centred_NJ = scores_NJ - levels_NE[:, candidates.edges]
    means = centred_NJ.mean(axis=0)
    variances = centred_NJ.var(axis=0, ddof=1) / num_repeats
    shrunk = means.copy()
    for family in np.unique(candidates.families):
        members = candidates.families == family
        if members.sum() < 3:  # nothing to draw towards
            continue
        centre, noise = means[members].mean(), variances[members].mean()
        spread = max(means[members].var(ddof=1) - noise, 0.0)
        weight = spread / (spread + noise) if spread + noise > 0 else 1.0
        shrunk[members] = centre + weight * (means[members] - centre)
    return shrunk + (0.0 if candidates.scope == "edge" else levels_NE.mean(axis=0)[candidates.edges])


#: name -> (scores of N repeats [N, J], the candidates) -> [J]
AGGREGATES: dict[str, Callable[[Floats, Candidates], Floats]] = {
    "mean": mean,
    "median": median,
    "rank": rank,
    "shrink": shrink,
}
