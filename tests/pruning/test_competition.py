import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halfnas.pruning.competition import SCOPES, Competition
from halfnas.spaces import DartsSpace, Mask, num_kept, tie_break
from other_space import UnevenSpace

UNEVEN = UnevenSpace()
DARTS = DartsSpace(init_channels=16, num_cells=8)
NONES = (0, 5, 12)


def all_of(candidates):
    return np.ones(len(candidates.places), dtype=bool)


def after_removal(candidates, scores, kept=None):
    kept = all_of(candidates) if kept is None else kept.copy()
    kept[candidates.remove(kept, np.asarray(scores, dtype=float), candidates.targets)] = False
    return kept


def others_left(candidates, kept):
    """Kept candidates besides `none`, edge by edge."""
    return np.bincount(candidates.edges[kept & ~candidates.is_none], minlength=candidates.edges[-1] + 1)


@pytest.mark.parametrize(
    ("scope", "groups"),
    [
        ("edge", [0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 4, 4, 4]),
        ("kind", [0] * 6 + [1] * 7),
        ("global", [0] * 13),
    ],
)
def test_groups(scope, groups):
    assert Competition(UNEVEN, scope=scope).groups.tolist() == groups


@pytest.mark.parametrize(
    ("scope", "ratio", "targets"),
    [
        ("edge", 1.0, [4, 2, 3, 1, 3]),
        ("edge", 0.5, [2, 1, 2, 1, 2]),  # halves are rounded up
        ("edge", 0.1, [1, 1, 1, 1, 1]),
        ("kind", 1.0, [6, 7]),
        ("kind", 0.5, [3, 4]),
        ("kind", 0.1, [2, 3]),  # as many as there are edges
        ("global", 1.0, [13]),
        ("global", 0.5, [7]),
        ("global", 0.1, [5]),
    ],
)
def test_targets(scope, ratio, targets):
    assert Competition(UNEVEN, ratio, scope).targets.tolist() == targets


def test_everything_is_kept_of_every_edge_unless_told_otherwise():
    candidates = Competition(DARTS)

    assert candidates.scope == "edge"
    assert candidates.targets.tolist() == [8] * 28
    assert len(candidates.places) == 224


@pytest.mark.parametrize("scope", ["cell", "", "Edge"])
def test_unknown_scope(scope):
    with pytest.raises(ValueError, match=f"`scope` must be one of edge, kind, global, got '{scope}'"):
        Competition(UNEVEN, 0.5, scope)


@pytest.mark.parametrize("space", [UNEVEN, DARTS], ids=lambda space: space.name)
def test_masks_there_and_back(space):
    candidates = Competition(space)
    for seed in range(3):
        mask = Mask.random(space, 0.5, seed)
        flags = candidates.flags(mask.kept)
        assert flags.sum() == sum(len(edge) for edges in mask.kept.values() for edge in edges)
        assert candidates.kept(flags) == dict(mask.kept)
        again = candidates.mask(flags)
        assert (again.space, again.kept) == (space.name, mask.kept)
    assert candidates.flags(Mask.full(space).kept).all()


def test_the_least_important_of_every_edge_goes_first():
    candidates = Competition(UNEVEN, 0.5)
    #         none a  b  c   a none  a  b  c   b   b  a none
    scores = [9, -1, 8, 2, 5, 1, 3, 7, 4, 0, 6, -5, 8]

    assert candidates.remove(all_of(candidates), np.array(scores, float), candidates.targets) == [11, 1, 5, 3, 6]


@pytest.mark.parametrize(("scope", "removed"), [("kind", [6, 7, 0, 1, 2, 10]), ("global", [6, 7, 0, 1, 2, 5])])
def test_candidates_compete_with_all_of_their_group(scope, removed):
    """An edge may lose all but one, another none at all."""
    candidates = Competition(UNEVEN, 0.5, scope)
    scores = np.arange(13.0)
    scores[6:9] = [-3, -2, -1]  # the first edge of the second kind, whose last candidate stays

    assert candidates.remove(all_of(candidates), scores, candidates.targets) == removed


def test_none_may_be_removed_and_may_stay():
    candidates = Competition(UNEVEN, 0.5)
    scores = np.arange(13.0)
    scores[0] = 9
    assert after_removal(candidates, scores)[:4].tolist() == [True, False, False, True]
    scores[0] = -1
    assert after_removal(candidates, scores)[:4].tolist() == [False, False, True, True]


@pytest.mark.parametrize("scope", SCOPES)
def test_the_last_candidate_besides_none_stays_however_bad_it_is(scope):
    candidates = Competition(UNEVEN, 0.1, scope)
    scores = np.where(candidates.is_none, 1e9, -np.arange(13.0))
    kept = after_removal(candidates, scores)

    assert not kept[candidates.is_none].any()
    assert (others_left(candidates, kept) == 1).all()
    assert kept[[1, 4, 6, 9, 10]].all()  # the best of the others


@pytest.mark.parametrize("seed", [0, 7])
def test_equals_go_in_the_order_of_the_hash(seed):
    """The one that `tie_break` prefers goes last, and so stays; so too in a call that gives the seed itself."""
    candidates = Competition(DARTS, 0.5, seed=seed)
    removed = candidates.remove(all_of(candidates), np.zeros(224), candidates.targets)
    order = sorted(range(224), key=lambda j: tie_break(seed, *candidates.places[j]), reverse=True)
    expected = [j for j in order if j in set(removed)]
    assert removed == expected
    for e in range(28):
        gone = [j for j in order if candidates.edges[j] == e][:4]
        assert set(gone) == {j for j in removed if candidates.edges[j] == e}
    other = Competition(DARTS, 0.5, seed=seed + 1)
    assert other.remove(all_of(other), np.zeros(224), other.targets) != removed
    assert other.remove(all_of(other), np.zeros(224), other.targets, seed) == removed


@pytest.mark.parametrize("scope", SCOPES)
def test_no_place_in_the_list_is_favoured(scope):
    """100 seeds: how often each of the 8 operations stays does not depend on where it stands; six standard errors."""
    kept = np.zeros(8)
    for seed in range(100):
        candidates = Competition(DARTS, 0.5, scope, seed)
        kept += np.bincount(candidates.within, weights=after_removal(candidates, np.zeros(224))) / 28 / 100
    assert kept == pytest.approx(np.full(8, 0.5), abs=6 * np.sqrt(0.25 / 2800))


def test_equals_do_not_come_before_their_betters():
    candidates = Competition(DARTS, 0.5, seed=3)
    scores = np.tile([2.0, 0, 1, 1, 1, 1, 0, 2], 28)
    kept = after_removal(candidates, scores).reshape(28, 8)
    assert kept[:, [0, 7]].all()
    assert not kept[:, [1, 6]].any()
    assert (kept[:, 2:6].sum(axis=1) == 2).all()
    assert len({tuple(row) for row in kept.tolist()}) > 3  # of the six choices


def test_nothing_goes_where_the_target_is_reached():
    candidates = Competition(UNEVEN, 0.5)
    kept = after_removal(candidates, np.arange(13.0))

    assert candidates.remove(kept, np.arange(13.0), candidates.targets) == []
    assert Competition(UNEVEN).remove(all_of(candidates), np.arange(13.0), Competition(UNEVEN).targets) == []


def test_what_is_gone_is_not_removed_again():
    candidates = Competition(UNEVEN, 0.5)
    kept = all_of(candidates)
    kept[1] = False

    assert 1 not in candidates.remove(kept, -np.ones(13), candidates.targets)
    assert after_removal(candidates, np.arange(13.0), kept)[:4].tolist() == [False, False, True, True]


def test_candidates_without_a_score_are_not_touched():
    candidates = Competition(UNEVEN, 0.5)
    scores = np.arange(13.0)
    scores[[0, 1, 6, 7, 8]] = np.nan
    removed = candidates.remove(all_of(candidates), scores, candidates.targets)

    assert removed == [2, 3, 5, 10]  # the fourth candidate is not the first edge's last: those without a score stay


def random_scores(size):
    """Few different values, so that there are ties, and large ones."""
    return st.lists(st.integers(-3, 3) | st.floats(-1e300, 1e300), min_size=size, max_size=size)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("space", [UNEVEN, DARTS], ids=lambda space: space.name)
def test_whatever_the_scores(space, scope):
    size = len(Competition(space).places)

    @given(scores=random_scores(size), ratio=st.floats(0.01, 1.0))
    @settings(max_examples=40, deadline=None)
    def check(scores, ratio):
        candidates = Competition(space, ratio, scope)
        kept = after_removal(candidates, scores)
        assert np.bincount(candidates.groups, weights=kept).tolist() == candidates.targets.tolist()
        assert (others_left(candidates, kept) >= 1).all()
        candidates.mask(kept).check(space)
        if scope == "edge":
            sizes = [len(edge) for edges in candidates.kept(kept).values() for edge in edges]
            assert sizes == [num_kept(ratio, n) for n in np.bincount(candidates.edges)]

    check()


@pytest.mark.parametrize("scope", SCOPES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_what_stays_is_at_least_as_good_as_what_goes(scope, data):
    """In every group, but for candidates that are the last ones of their edge besides `none`."""
    candidates = Competition(UNEVEN, 0.5, scope)
    scores = np.array(data.draw(random_scores(13)), dtype=float)
    kept = after_removal(candidates, scores)
    alone = others_left(candidates, kept)[candidates.edges] == 1
    free = kept & (candidates.is_none | ~alone)
    for group in np.unique(candidates.groups):
        members = candidates.groups == group
        if (members & free).any() and (members & ~kept).any():
            assert scores[members & free].min() >= scores[members & ~kept].max()


@pytest.mark.parametrize("scope", SCOPES)
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_without_a_score_nothing_is_lost(scope, data):
    candidates = Competition(UNEVEN, 0.3, scope)
    scores = np.array(data.draw(st.lists(st.just(np.nan) | st.integers(-2, 2), min_size=13, max_size=13)), dtype=float)
    kept = after_removal(candidates, scores)

    assert kept[np.isnan(scores)].all()
    assert (others_left(candidates, kept) >= 1).all()
    assert (np.bincount(candidates.groups, weights=kept) >= candidates.targets).all()
