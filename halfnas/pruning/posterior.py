"""What the repeats of a pruning leave open of the scores, and so what another pruning of as many would find.

Letters of shapes: N repeats, J candidates, E edges, F families (the same operation on all edges of its kind of cell).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from halfnas.pruning.competition import Competition
from halfnas.spaces.candidates import Floats, Indices


class Posterior:
    """The scores as sums of parts, how large each is, and what is known of it afterwards.

        score of candidate j in a repeat = level of its edge + worth of its operation + worth of it on this edge + noise

    Each of the three parts varies from edge to edge (operation to operation) with a variance T, and its mean over the
    repeats errs with a variance V / N; both are found by moments, T as the variance of the means less V / N, not below
    0. Given a mean m, the part is then about w m with variance w V / N, w = T / (T + V / N), one w for every part. A
    part in which repeats do not differ is known exactly. Noise, and errors likewise, are normal with the covariance of
    the repeats, of different candidates too.

    Source: empirical Bayes for normal means, as `halfnas.pruning.aggregation.shrink`; here not to score by, but to draw
    from: the means themselves, whose spread is that of truth and noise together, would make prunings agree too well.

    Args:
        scores_NJ: at least two repeats.
        candidates: the groups that compete.
    """

    def __init__(self, scores_NJ: Floats, candidates: Competition) -> None:
        self._edges, self._families = candidates.edges, candidates.families
        self._means_J = scores_NJ.mean(axis=0)
        deviations_NJ = np.where(np.ptp(scores_NJ, axis=0) > 0, scores_NJ - self._means_J, 0.0)
        self._deviations_NJ = deviations_NJ / np.sqrt(len(scores_NJ) - 1)
        means, errors = self._split(self._means_J[None]), self._split(self._deviations_NJ)
        kinds = list(candidates.names)
        kinds_F = np.zeros(len(means.worths[0]), dtype=np.int64)
        kinds_F[self._families] = [kinds.index(place.kind) for place in candidates]
        groups = (np.zeros(len(means.levels[0]), dtype=np.int64), kinds_F, self._families)
        self._shifts, self._weights = [], []
        for mean, error, group in zip(means, errors, groups, strict=True):
            shift, weight = _estimate(mean[0], error / np.sqrt(len(scores_NJ)), group)
            self._shifts.append(shift)
            self._weights.append(weight)

    def prunings(self, rng: np.random.Generator) -> Iterator[Floats]:
        """Draw what is true, then one pruning of it after another, [N, J] each."""
        repeats = len(self._deviations_NJ)
        errors = self._split(rng.normal(size=(1, repeats)) @ self._deviations_NJ / np.sqrt(repeats))
        levels_E, worths_F, own_J = (
            shift + np.sqrt(weight) * error[0]
            for shift, weight, error in zip(self._shifts, self._weights, errors, strict=True)
        )
        truth_J = self._means_J + levels_E[self._edges] + worths_F[self._families] + own_J
        while True:
            yield truth_J + rng.normal(size=(repeats, repeats)) @ self._deviations_NJ

    def _split(self, rows: Floats) -> "_Parts":
        levels = _means_of(rows, self._edges)
        rows = rows - levels[:, self._edges]
        worths = _means_of(rows, self._families)
        return _Parts(levels, worths, rows - worths[:, self._families])


class _Parts(NamedTuple):
    """Rows of scores [R, J] as the levels of edges [R, E], the worths of operations [R, F] and what is left [R, J]."""

    levels: Floats
    worths: Floats
    own: Floats


def _estimate(means: Floats, errors_NK: Floats, groups: Indices) -> tuple[Floats, float]:
    """By how much the centre of what is true differs from the mean, nothing where there is no noise; and w.

    Args:
        means: of one part over the repeats, [K].
        errors_NK: the squares of the rows add up to V / N of each.
        groups: those that vary about one centre, [K].
    """
    from_centre = means - _means_of(means[None], groups)[0, groups]
    both, alone = (from_centre**2).sum(), ((errors_NK - _means_of(errors_NK, groups)[:, groups]) ** 2).sum()
    weight = max(1 - float(alone / both), 0.0) if both > 0 else 1.0
    return (weight - 1) * from_centre, weight


def _means_of(rows: Floats, groups: Indices) -> Floats:
    """The mean of every group in every row, [R, J] -> [R, G]."""
    return np.stack([np.bincount(groups, weights=row) for row in rows]) / np.bincount(groups)
