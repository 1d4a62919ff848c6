"""One pruning of one scoring network, round by round.

Source: Algorithm 1 of arXiv 2505.13586, which removes one candidate an edge and round.
"""

from collections.abc import Callable

import numpy as np

from halfnas.pruning.competition import Competition
from halfnas.spaces.candidates import Flags, Floats, Indices

#: The candidates that are left [J] -> their scores [J], and what each ranking function says of the whole network.
Scores = Callable[[Flags], tuple[Floats, dict[str, float]]]


class Elimination:
    """Removes the least important candidates in rounds, and tells how long each one lasted.

    Attributes:
        targets: the number of candidates that every group has after a round, round by round; empty where nothing is to
            be removed.

    Args:
        candidates: the groups that compete, and how many of each stay.
        rounds: over how many rounds the removal is spread; None removes one candidate an edge and round.
    """

    def __init__(self, candidates: Competition, rounds: int | None) -> None:
        self._candidates = candidates
        sizes = np.bincount(candidates.groups)
        surplus = sizes - candidates.targets
        edges = np.array([len(np.unique(candidates.edges[candidates.groups == g])) for g in range(len(sizes))])
        most = int(np.ceil(surplus / edges).max())
        self.targets: list[Indices]
        if rounds is None or rounds >= most:
            self.targets = [sizes - np.minimum(surplus, edges * (t + 1)) for t in range(most)]
        else:
            self.targets = [sizes - np.floor(surplus * (t + 1) / rounds + 0.5).astype(int) for t in range(rounds)]

    def __call__(self, scores: Scores) -> tuple[Floats, dict[str, float]]:
        """Go through all rounds.

        Args:
            scores: rates the candidates of one network that are left; a candidate with NaN is not touched.

        Returns:
            The level of every candidate, [J]: the score with which it fell, or, if lower, just above the highest one
            with which another of its group had fallen before; for survivors, their last score likewise. Those that
            are exactly equal as long as both are there end at one level: their order is that of
            `Competition.remove`, after many repeats too. And what the ranking functions said in the first round, of
            the whole network.
        """
        candidates = self._candidates
        kept = np.ones(len(candidates), dtype=bool)
        levels = np.zeros(len(candidates))
        groups = candidates.groups
        floor, last = np.full((2, len(candidates.targets)), -np.inf)  # level and score of what fell last in a group
        equal = np.zeros(len(candidates), dtype=bool)  # to that one, from when it fell to now
        whole: dict[str, float] = {}
        for targets in self.targets:
            scores_J, ratings = scores(kept)
            whole = whole or ratings
            levels = np.where(np.isnan(scores_J), levels, scores_J)
            equal &= scores_J == last[groups]
            for j in candidates.remove(kept, scores_J, targets):
                group = groups[j]
                if not equal[j]:
                    floor[group], last[group] = max(_above(floor[group]), scores_J[j]), scores_J[j]
                    equal[groups == group] = scores_J[groups == group] == last[group]
                levels[j] = floor[group]
                kept[j] = False
            lowest = np.where(equal, floor[groups], _above(floor[groups]))
            levels[kept] = np.maximum(levels, lowest)[kept]
        return levels, whole


def _above(levels: Floats) -> Floats:
    """The next larger numbers: what falls later ends higher, if only just, so that the order of removal is kept."""
    return np.nextafter(levels, np.inf)
