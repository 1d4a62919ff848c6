"""Levels of candidates that are exactly equal; the rounds themselves are tested with the pruner."""

import numpy as np
import pytest

from halfnas.pruning.aggregation import AGGREGATES
from halfnas.pruning.competition import Competition
from halfnas.pruning.elimination import Elimination
from halfnas.spaces import DartsSpace, tie_break

DARTS = DartsSpace(init_channels=16, num_cells=8)
ALIKE = (0, 3, 7)
BEST = 1


def levels_of(candidates, scores, rounds=None):
    """Of scores that stay the same from round to round."""
    return Elimination(candidates, rounds)(lambda kept: (np.where(kept, scores, np.nan), {"invented": 1.0}))[0]


@pytest.mark.parametrize("scope", ["edge", "kind"])
@pytest.mark.parametrize("rounds", [None, 1, 3])
def test_equals_have_one_level_whenever_they_fall(rounds, scope):
    candidates = Competition(DARTS, 0.25, scope, seed=1)
    scores = np.random.default_rng(0).normal(size=224)
    scores[np.isin(candidates.within, ALIKE)] = 0.3
    levels = levels_of(candidates, scores, rounds)
    assert set(levels[scores == 0.3].tolist()) == {0.3}
    assert levels == pytest.approx(scores)


def test_what_is_equal_by_accident_in_a_later_round_keeps_its_place():
    """The second one falls with the score of the first, beside which it had been better."""
    candidates = Competition(DARTS, 0.75, seed=0)  # two of eight go
    first, later = np.arange(224.0) % 8, np.arange(224.0) % 8 + 10
    later[1::8] = 0.0
    rounds = iter([first, later])
    levels, _ = Elimination(candidates, None)(lambda kept: (np.where(kept, next(rounds), np.nan), {"invented": 1.0}))
    assert (levels[0::8] == 0.0).all()
    assert (levels[1::8] == np.nextafter(0.0, 1.0)).all()


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_the_hash_decides_after_many_repeats(aggregate):
    """Three of every edge are equal in all of five repeats; one of them stays."""
    for seed in range(3):
        candidates = Competition(DARTS, 0.25, seed=seed)
        rng = np.random.default_rng(seed)
        rows = []
        for _ in range(5):
            scores = 0.01 * rng.normal(size=224) + 9.0 * (candidates.within == BEST)
            common = 5 + 0.1 * rng.normal(size=28)[candidates.edges]
            rows.append(levels_of(candidates, np.where(np.isin(candidates.within, ALIKE), common, scores)))
        found = AGGREGATES[aggregate](np.array(rows), candidates, np.array(rows))
        kept = np.ones(224, dtype=bool)
        kept[candidates.remove(kept, found, candidates.targets)] = False
        for e in range(28):
            stays = [j for j in np.flatnonzero(kept & (candidates.edges == e)) if candidates.within[j] != BEST]
            alike = [8 * e + o for o in ALIKE]
            assert stays == [min(alike, key=lambda j, seed=seed, c=candidates: tie_break(seed, *c.places[j]))]
