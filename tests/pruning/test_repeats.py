"""Many repeats of a pruning: their aggregation, when they end, how far they agree."""

import itertools
import math

import numpy as np
import pytest

from halfnas.pruning import importance_pruner as pruner_file
from halfnas.pruning.aggregation import AGGREGATES
from halfnas.pruning.rankers import NNGPFrobenius
from halfnas.spaces import Mask, tie_break
from invented import (
    CANDIDATES,
    NARROW_SPACE,
    PLACES,
    SPACE,
    invented_pruner,
    make_batches,
    make_narrow_pruner,
    make_pruner,
    noise,
    num_steps,
    position,
    run,
    scores_of,
)

# --- many repeats -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_levels_are_aggregated_over_repeats(aggregate):
    pruner = invented_pruner(noise, repeats=5, rounds=1, aggregate=aggregate)
    mask = run(pruner)
    seeds = list(pruner.rankers["invented"].masks)
    assert len(set(seeds)) == 5
    rows = np.array([[noise(*place, 0, seed) for place in PLACES] for seed in seeds])
    expected = AGGREGATES[aggregate](rows, pruner_file.Competition(SPACE, 0.5), None)
    assert scores_of(mask) == pytest.approx(expected, abs=1e-6)
    for edge, scores in zip(itertools.chain(*mask.kept.values()), expected.reshape(28, 8), strict=True):
        kept = [name in edge for name in CANDIDATES]
        assert sum(kept) == 4
        assert scores[kept].min() >= scores[np.logical_not(kept)].max()  # mean ranks of five repeats may be equal


def three_alike(kind, edge, name, *_):
    """Three operations are exactly as important as each other, and the last one to stay is one of them."""
    alike = {"none": 1.0, "skip_connect": 1.0, "dil_conv_5x5": 1.0, "max_pool_3x3": 2.0}
    return alike.get(name, position(kind, edge, name) / 64)


@pytest.mark.parametrize(
    ("aggregate", "repeats", "rounds"), [("mean", 1, None), ("mean", 1, 1), *((name, 2, 2) for name in AGGREGATES)]
)
def test_equals_are_chosen_among_by_the_seed(aggregate, repeats, rounds):
    """On every edge that one stays which the hash prefers; in 4 seeds each on some edges."""
    found = set()
    for seed in range(4):
        mask = run(invented_pruner(three_alike, 0.25, seed=seed, aggregate=aggregate, repeats=repeats, rounds=rounds))
        for kind, edges in mask.kept.items():
            for e, edge in enumerate(edges):
                [stays] = set(edge) - {"max_pool_3x3"}
                alike = ("none", "skip_connect", "dil_conv_5x5")
                assert stays == min(alike, key=lambda name, at=(seed, kind, e): tie_break(*at, name))
                found.add(stays)
    assert len(found) == 3


def test_mean_and_rank_can_differ():
    """One wild repeat has its way in a mean alone."""

    def score(kind, e, name, round, seed):
        wild = seed == pruner_file._step_seed(0, 2)
        return position(kind, e, name) * (-1000 if wild else 1)

    names = ("mean", "median", "rank")
    masks = {name: run(invented_pruner(score, repeats=5, rounds=1, aggregate=name)) for name in names}
    calm = run(invented_pruner(position, rounds=1))
    assert masks["median"].kept == masks["rank"].kept == calm.kept
    assert masks["mean"].kept != calm.kept


def test_a_mask_after_every_repeat():
    pruner = make_narrow_pruner(repeats=3, rounds=1)
    assert pruner.max_steps == 3
    for step in range(3):
        assert not pruner.done
        pruner.step(make_batches(step))
        assert sum(len(edge) == 4 for edges in pruner.mask.kept.values() for edge in edges) == 6
    assert pruner.done


def test_a_ratio_of_one_takes_no_step():
    pruner = make_pruner(1.0)
    assert pruner.max_steps == 0
    assert pruner.done
    assert pruner.mask.kept == Mask.full(SPACE).kept
    assert pruner.mask.ratio == 1.0
    assert pruner.metrics() == {}


def test_begin_starts_over():
    pruner = make_narrow_pruner(repeats=2)
    first, figures = run(pruner), pruner.metrics()
    for begun in (1.0, 0.5):  # a ratio without steps, and a run that is left unfinished
        pruner.begin(NARROW_SPACE, NARROW_SPACE, ratio=begun, seed=7)
        if begun < 1:
            pruner.step(make_batches(0))
        pruner.begin(NARROW_SPACE, NARROW_SPACE, ratio=0.5, seed=0)
        assert pruner.max_steps == 2
        assert pruner.mask.kept == Mask.full(NARROW_SPACE).kept
        assert pruner.mask.importance is None
        assert pruner.metrics() == {}
        assert run(pruner) == first
        assert pruner.metrics() == figures


def test_seeds():
    mask, again, other = (run(make_narrow_pruner(seed=seed, repeats=2)) for seed in (0, 0, 1))
    assert again == mask
    assert again.importance == mask.importance
    assert other.kept != mask.kept
    assert other.seed == 1


def test_repeats_see_other_initialisations():
    """The same images twice: what differs is the network."""
    pruner = make_narrow_pruner(repeats=3)
    first, second = pruner.step(make_batches(0)), pruner.step(make_batches(0))
    assert first["nngp_frobenius"] != second["nngp_frobenius"]


def test_streams_of_neighbouring_seeds_do_not_overlap():
    seeds = {pruner_file._step_seed(seed, step) for seed in range(20) for step in range(200)}
    assert len(seeds) == 20 * 200


# --- auto -------------------------------------------------------------------------------------------------------------


def test_auto_stops_when_the_mask_is_stable():
    pruner = invented_pruner(position, repeats="auto", max_repeats=100, rounds=1)
    assert pruner.max_steps == 100
    assert num_steps(pruner) == [None, 1, None, 1, None, 1, None, 1]  # 8 are the fewest to tell
    assert pruner_file.FEWEST_REPEATS == 8
    assert pruner.metrics()["repeats"] == 8


def test_auto_goes_on_until_the_end_where_it_is_not():
    pruner = invented_pruner(noise, repeats="auto", max_repeats=13, rounds=1)
    found = num_steps(pruner)
    assert len(found) == 13
    assert [a is None for a in found] == [step % 2 == 0 for step in range(12)] + [False]  # the last one always
    assert all(0.4 < a < 0.65 for a in found if a is not None)
    assert pruner.metrics()["agreement"] < 0.7


def test_auto_stops_as_soon_as_the_halves_agree():
    def score(kind, e, name, round, seed):
        return position(kind, e, name) + 6 * noise(kind, e, name, round, seed)

    counts = {}
    for stability in (0.5, 0.7, 0.8):
        pruner = invented_pruner(score, repeats="auto", max_repeats=100, rounds=1, stability=stability)
        found = num_steps(pruner)
        assert found[-1] >= stability
        assert all(a is None or a < stability for a in found[7:-1])
        counts[stability] = len(found)
    assert counts[0.5] == 8 < counts[0.7] < counts[0.8] < 100


def test_auto_with_few_repeats():
    pruner = invented_pruner(position, repeats="auto", max_repeats=3, rounds=1)
    assert len(num_steps(pruner)) == 3


def test_a_number_of_repeats_is_kept_to():
    """However stable the mask is; `max_repeats` is not for it."""
    pruner = invented_pruner(position, repeats=15, max_repeats=3, rounds=1)
    assert len(num_steps(pruner)) == 15


# --- figures ----------------------------------------------------------------------------------------------------------


def test_figures_of_one_repeat_have_no_agreement():
    pruner = invented_pruner(position)
    run(pruner)
    assert pruner.metrics() == {"repeats": 1.0, "repeats_dropped": 0.0, "agreement_chance": 0.5}


@pytest.mark.parametrize(("score", "agreement"), [(position, 1.0), (noise, 0.5)])
def test_figures(score, agreement):
    pruner = invented_pruner(score, 0.5, repeats=10)
    assert pruner.metrics() == {}
    run(pruner)
    figures = pruner.metrics()
    assert set(figures) == {"repeats", "repeats_dropped", "agreement", "agreement_chance"}
    assert (figures["repeats"], figures["agreement_chance"]) == (10, 0.5)
    assert figures["agreement"] == pytest.approx(agreement, abs=0.06)


def of_the_edge(kind, e, name):
    """Worth of a candidate that is another on every edge."""
    return position(kind, e, name)


def of_the_operation(kind, e, name):
    """Worth of a candidate that is the same on all edges, as `shrink` assumes."""
    return CANDIDATES.index(name)


@pytest.mark.parametrize(
    ("aggregate", "repeats", "worth", "tolerance"),
    [("mean", 12, of_the_edge, 0.08), ("shrink", 4, of_the_operation, 0.1)],
)
def test_agreement_is_that_of_two_prunings(aggregate, repeats, worth, tolerance):
    """Operations of evenly spaced worth are easier to tell apart than normal ones, which `Posterior` supposes."""

    def score(kind, e, name, round, seed):
        return worth(kind, e, name) + 6 * noise(kind, e, name, round, seed)

    pruners = [invented_pruner(score, aggregate=aggregate, repeats=repeats, rounds=1, seed=seed) for seed in range(4)]
    masks = [run(pruner) for pruner in pruners]
    kept = [{(k, e, n) for k, edges in m.kept.items() for e, edge in enumerate(edges) for n in edge} for m in masks]
    true = np.mean([1 - len(a ^ b) / 224 for a, b in itertools.combinations(kept, 2)])
    predicted = np.mean([pruner.metrics()["agreement"] for pruner in pruners])
    assert 0.6 < true < 0.9
    assert predicted == pytest.approx(true, abs=tolerance), (predicted, true)


def test_figures_of_a_step_are_the_ratings_of_the_whole_network():
    rankers = {"one": NNGPFrobenius(1.0, 1), "two": NNGPFrobenius(5.0, -1)}
    figures = make_narrow_pruner(rankers=rankers).step(make_batches(0))
    assert list(figures) == ["one", "two"]
    assert figures["one"] == figures["two"]
    assert math.sqrt(3) <= figures["one"] <= 3
