import numpy as np
import pytest
from scipy.stats import rankdata

from halfnas.pruning.aggregation import AGGREGATES, mean, median, rank, shrink
from halfnas.pruning.competition import Competition
from halfnas.spaces import DartsSpace, NASBench201Space

DARTS = DartsSpace(init_channels=16, num_cells=8)  # 2 kinds of 14 edges with 8 candidates
NB201 = NASBench201Space(init_channels=16, num_cells=3)  # 6 edges with 5 candidates
EDGES = Competition(NB201)
SHAPE = (6, 5)  # of a vector over the candidates of NB201


def scores(num_repeats, candidates=EDGES, seed=0):
    return np.random.default_rng(seed).normal(size=(num_repeats, len(candidates.places)))


def simulated(num_repeats, seed, *, spread, noise=1.0):
    """Scores of DARTS candidates: operations differ, edges by `spread` around them, repeats by `noise`.

    Returns:
        The truth [J] and repeats of it [N, J], in each of which every edge lies at a level of its own.
    """
    rng = np.random.default_rng(seed)
    candidates = Competition(DARTS)
    truth = rng.normal(size=16)[candidates.families] + spread * rng.normal(size=224)
    levels_NE = 5 * rng.normal(size=(num_repeats, 28))
    return truth, truth + levels_NE[:, candidates.edges] + noise * rng.normal(size=(num_repeats, 224))


def centred(values, candidates):
    """Without the mean of each edge."""
    means = np.bincount(candidates.edges, weights=values) / np.bincount(candidates.edges)
    return values - means[candidates.edges]


def test_names():
    assert set(AGGREGATES) == {"mean", "median", "rank", "shrink"}


def test_mean_and_median():
    rows = np.array([[1.0, 5.0], [2.0, -3.0], [9.0, 4.0]])

    assert mean(rows, EDGES).tolist() == [4.0, 2.0]
    assert median(rows, EDGES).tolist() == [2.0, 4.0]
    assert median(rows[:2], EDGES).tolist() == [1.5, 1.0]


def test_a_wild_repeat_does_not_move_the_median():
    rows = scores(9)
    wild = rows.copy()
    wild[3] *= 1e6

    assert np.abs(median(wild, EDGES) - median(rows, EDGES)).max() < 2
    assert np.abs(mean(wild, EDGES) - mean(rows, EDGES)).max() > 1e4


def test_ranks_are_among_the_candidates_of_an_edge():
    row = np.arange(30.0).reshape(SHAPE)
    row[2] = [3, 1, 4, 1, 5]  # the two equal ones share ranks 1 and 2
    row[3] *= 1e6

    found = rank(row.reshape(1, 30), EDGES).reshape(SHAPE)
    assert found[[0, 1, 3, 4, 5]].tolist() == [[1, 2, 3, 4, 5]] * 5
    assert found[2].tolist() == [3, 1.5, 4, 1.5, 5]


@pytest.mark.parametrize("scope", ["kind", "global"])
def test_ranks_are_among_the_candidates_of_a_group(scope):
    candidates = Competition(DARTS, scope=scope)
    rows = scores(3, candidates)
    halves = [rows[:, :112], rows[:, 112:]] if scope == "kind" else [rows]
    expected = np.concatenate([np.mean([rankdata(row) for row in half], axis=0) for half in halves])

    assert rank(rows, candidates) == pytest.approx(expected)


def test_all_repeats_have_the_same_say_in_ranks():
    rows = scores(4)
    stretched = rows * np.array([[1.0], [1e3], [1e-3], [7.0]]) + np.arange(4)[:, None]

    assert (rank(stretched, EDGES) == rank(rows, EDGES)).all()


@pytest.mark.parametrize("name", AGGREGATES)
@pytest.mark.parametrize("scope", ["edge", "kind", "global"])
def test_order_of_the_repeats_does_not_matter(name, scope):
    candidates = Competition(NB201, scope=scope)
    rows = scores(7)
    shuffled = np.random.default_rng(1).permutation(rows)

    found, expected = (AGGREGATES[name](each, candidates, None) for each in (shuffled, rows))
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", AGGREGATES)
@pytest.mark.parametrize("scope", ["edge", "kind", "global"])
def test_one_repeat_keeps_its_order(name, scope):
    """Of the whole group: an edge may be better than another."""
    candidates = Competition(NB201, scope=scope)
    row = scores(1)
    row[:, candidates.edges == 2] += 100
    found = AGGREGATES[name](row, candidates, None)
    for group in np.unique(candidates.groups):
        members = candidates.groups == group
        assert np.argsort(found[members]).tolist() == np.argsort(row[0, members]).tolist()


@pytest.mark.parametrize("name", AGGREGATES)
@pytest.mark.parametrize("scope", ["edge", "kind", "global"])
def test_equal_repeats_keep_their_order(name, scope):
    candidates = Competition(NB201, scope=scope)
    row = scores(1)
    row[:, candidates.edges == 2] += 100
    found = AGGREGATES[name](np.repeat(row, 4, axis=0), candidates, None)
    for group in np.unique(candidates.groups):
        members = candidates.groups == group
        assert np.argsort(found[members]).tolist() == np.argsort(row[0, members]).tolist()


@pytest.mark.parametrize("name", AGGREGATES)
def test_input_is_left_as_it_is(name):
    rows = scores(4)
    before = rows.copy()
    AGGREGATES[name](rows, EDGES, None)

    assert (rows == before).all()


def two_repeats(d):
    """The first operation scores 0, 1, ..., 5 on the six edges, give or take d; the second less it."""
    signal = np.zeros(SHAPE)
    signal[:, 0], signal[:, 1] = np.arange(6), -np.arange(6)
    error = np.zeros(SHAPE)
    error[:, 0], error[:, 1] = d, -d
    return np.stack([(signal + error).ravel(), (signal - error).ravel()])


def test_shrink_by_hand():
    d = 0.5
    rows = two_repeats(d)

    # Variance of the mean of +-d: 2 d^2 / 1 / 2 = d^2. Variance of 0, ..., 5 with n - 1: 3.5.
    weight = (3.5 - d**2) / 3.5
    expected = np.zeros(SHAPE)
    expected[:, 0] = 2.5 + weight * (np.arange(6) - 2.5)
    expected[:, 1] = -expected[:, 0]
    assert shrink(rows, EDGES).reshape(SHAPE) == pytest.approx(expected)


def test_a_part_of_the_repeats_errs_as_all_of_them_say():
    """The one above, from one repeat of the two: its error has the variance of one, twice that of their mean."""
    d = 0.5
    rows = two_repeats(d)

    weight = (3.5 - 2 * d**2) / 3.5
    found = shrink(rows[:1], EDGES, rows).reshape(SHAPE)
    assert found[:, 0] == pytest.approx(2.5 + d + weight * (np.arange(6) - 2.5))
    assert shrink(rows[:1], EDGES) == pytest.approx(rows[0])


def test_shrink_without_noise_is_the_centred_mean():
    row = scores(1)
    found = shrink(np.repeat(row, 5, axis=0), EDGES)

    assert found == pytest.approx(centred(row[0], EDGES), abs=1e-12)


def test_shrink_keeps_what_edges_differ_by_where_they_compete():
    row = scores(1)
    candidates = Competition(NB201, scope="global")

    assert shrink(np.repeat(row, 5, axis=0), candidates) == pytest.approx(row[0], abs=1e-12)
    rows = scores(5)
    found, means = shrink(rows, candidates), rows.mean(axis=0)
    of_edges = np.bincount(candidates.edges, weights=means) / 5
    assert found - shrink(rows, EDGES) == pytest.approx(of_edges[candidates.edges], abs=1e-12)


def test_levels_of_edges_do_not_matter_within_them():
    rows = scores(6)
    shifted = rows + 1e3 * scores(6, seed=1)[:, EDGES.edges]

    assert shrink(shifted, EDGES) == pytest.approx(shrink(rows, EDGES), abs=1e-9)


def test_shrink_draws_fully_together_where_edges_differ_by_no_more_than_the_noise():
    """Every edge scores the operations alike on average; the repeats differ."""
    rng = np.random.default_rng(0)
    of_operations = centred(np.tile(rng.normal(size=5), 6), EDGES)
    errors = rng.normal(size=(4, 30))
    errors = np.concatenate([errors, -errors])  # means are exact
    found = shrink(of_operations + errors, EDGES).reshape(SHAPE)

    assert found == pytest.approx(of_operations.reshape(SHAPE), abs=1e-12)
    # Nearly so where the means differ by less than the noise explains.
    found = shrink(of_operations + errors + 0.01 * rng.normal(size=30), EDGES).reshape(SHAPE)
    assert np.ptp(found, axis=0).max() < 1e-12


def test_families_are_drawn_to_their_own_mean():
    """An operation is worth another amount in another kind of cell."""
    candidates = Competition(DARTS)
    rng = np.random.default_rng(0)
    truth = centred(rng.normal(size=16)[candidates.families], candidates)
    rows = truth + 0.1 * rng.normal(size=(50, 224))
    found = shrink(rows, candidates)

    assert np.abs(found - truth).max() < 0.05
    assert np.abs(truth[:112] - truth[112:]).max() > 1


@pytest.mark.parametrize("num_repeats", [2, 4, 16])
@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
def test_shrink_beats_the_mean(num_repeats, spread):
    candidates = Competition(DARTS)
    errors = {"mean": [], "shrink": []}
    for seed in range(10):
        truth, rows = simulated(num_repeats, seed, spread=spread)
        for name, found in errors.items():
            estimate = centred(AGGREGATES[name](rows, candidates, None), candidates)
            found.append(((estimate - centred(truth, candidates)) ** 2).mean())

    assert np.mean(errors["shrink"]) < np.mean(errors["mean"])
    if spread == 0.0:  # 14 edges in place of one
        assert np.mean(errors["shrink"]) < 0.5 * np.mean(errors["mean"])


def test_with_many_repeats_shrink_is_the_mean():
    candidates = Competition(DARTS)
    _, rows = simulated(2000, 0, spread=1.0)

    found, means = shrink(rows, candidates), centred(rows.mean(axis=0), candidates)
    assert np.abs(found - means).max() < 0.01


def test_two_of_a_family_are_left_alone():
    """Nothing to tell their spread from."""

    class Two:
        families = np.array([0, 1, 2, 0, 1, 2])
        edges = np.array([0, 0, 0, 1, 1, 1])
        scope = "edge"

    rows = np.random.default_rng(0).normal(size=(3, 6))
    assert shrink(rows, Two) == pytest.approx(centred(rows.mean(axis=0), Two))
