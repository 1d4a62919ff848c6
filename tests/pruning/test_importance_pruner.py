import itertools
import json
import logging
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from halfnas.networks import build_supernet
from halfnas.pruning import (
    Batch,
    ImportancePruner,
    RankingFunction,
    Sample,
    exact_changes,
    taylor_changes,
)
from halfnas.pruning import importance_pruner as pruner_file
from halfnas.pruning.aggregation import AGGREGATES
from halfnas.pruning.competition import SCOPES
from halfnas.pruning.importance import initialize
from halfnas.pruning.rankers import NASWOT, NNGPFrobenius, ParameterCount, SynFlow, ZiCo
from halfnas.spaces import DartsSpace, Mask, NASBench201Space, num_kept
from other_space import OPEN_EDGES, NarrowSpace

SPACE = DartsSpace(init_channels=16, num_cells=8, in_channels=1)
SCORING_SPACE = DartsSpace(init_channels=2, num_cells=3, in_channels=1)
KINDS = ("normal", "reduce")
CANDIDATES = SPACE.candidates("normal")[0]
PLACES = {place: j for j, place in enumerate(itertools.product(KINDS, range(14), CANDIDATES))}


class HollowSpace(DartsSpace):
    """Candidates without weights, which are quick to build: networks that never run."""

    def operation(self, name, edge, *, search):
        return nn.Identity()


HOLLOW_SPACE = HollowSpace(init_channels=2, num_cells=3, in_channels=1)
NARROW_SPACE = NarrowSpace(init_channels=2, num_cells=3, in_channels=1)
NB201 = NASBench201Space(init_channels=2, num_cells=3, in_channels=1)


class Invented(RankingFunction):
    """Scores that are known beforehand: I_j dr/dI_j is `score` of (kind, edge, name, round, seed of the repeat).

    Attributes:
        masks: of what was scored, repeat after repeat.
    """

    def __init__(self, score, **settings):
        super().__init__(**settings)
        self.score = score
        self.masks = {}

    def __call__(self, network, sample):
        mask = network.module.mask
        repeat = self.masks.setdefault(sample.seed, [])
        if not repeat or repeat[-1] is not mask:
            repeat.append(mask)
        total = 1.0
        for kind, edges in mask.kept.items():
            for e, (edge, alpha) in enumerate(zip(edges, network.alpha[kind], strict=True)):
                scores = [self.score(kind, e, name, len(repeat) - 1, sample.seed) for name in edge]
                total += ((alpha.double().exp() - 1) * torch.tensor(scores).double()).sum()
        return total

    @property
    def rounds(self):
        [masks] = self.masks.values()
        return masks


def position(kind, edge, name, *_):
    """An order of importance of its own for every edge; `none` is the most important one of some."""
    return (CANDIDATES.index(name) * 3 + 5 * edge + 2 * (kind == "reduce")) % 8


def distinct(kind, edge, name, *_):
    """A different score for every candidate."""
    return PLACES[kind, edge, name] * 37 % 225 - 100


def noise(kind, edge, name, round, seed):
    """Other scores in every repeat and round."""
    return noise_of_a_round(round, seed)[PLACES[kind, edge, name]]


@lru_cache
def noise_of_a_round(round, seed):
    return np.random.default_rng([seed, round]).normal(size=len(PLACES)).tolist()


def make_pruner(ratio=0.5, *, seed=0, rankers=None, space=SPACE, scoring_space=SCORING_SPACE, begin=True, **settings):
    plain = {
        "importance": "taylor", "combine": "sum", "rounds": None, "scope": "edge", "aggregate": "mean", "repeats": 1,
        "max_repeats": 12, "stability": 0.9, "network": {"init_channels": 2, "num_cells": 3}, "image_size": None,
        "num_batches": 1, "batch_size": 3, "candidates_per_call": 64,
    }  # fmt: skip
    rankers = {"nngp_frobenius": NNGPFrobenius(1.0, 1)} if rankers is None else rankers
    pruner = ImportancePruner("nngp", rankers, **(plain | settings))
    if begin:
        pruner.begin(space, scoring_space, ratio=ratio, seed=seed)
    return pruner


def make_narrow_pruner(ratio=0.5, **settings):
    return make_pruner(ratio, space=NARROW_SPACE, scoring_space=NARROW_SPACE, **settings)


def invented_pruner(score, ratio=0.5, **settings):
    settings = {"scoring_space": HOLLOW_SPACE} | settings
    return make_pruner(ratio, rankers={"invented": Invented(score)}, **settings)


def make_batches(step, size=8):
    """Other images for every step."""
    generator = torch.Generator().manual_seed(1000 + step)
    return [Batch(torch.randn(3, 1, size, size, generator=generator), torch.arange(3))]


def run(pruner, size=8):
    steps = itertools.count()
    while not pruner.done:
        step = next(steps)
        assert step < pruner.max_steps
        pruner.step(make_batches(step, size))
    return pruner.mask


def sizes(mask):
    return {len(edge) for edges in mask.kept.values() for edge in edges}


def scores_of(mask):
    """Those of mask.json in a row."""
    return [score for edges in mask.importance.values() for edge in edges for score in edge.values()]


# --- one repeat: Algorithm 1 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.125, 0.3, 0.5, 0.9, 1.0])
def test_survivors(ratio):
    pruner = invented_pruner(position, ratio)
    target = num_kept(ratio, 8)
    mask = run(pruner)
    assert sizes(mask) == {target}
    assert (mask.space, mask.ratio, mask.pruner, mask.seed) == ("darts", ratio, "nngp", 0)
    mask.check(SPACE)
    for kind, e in itertools.product(KINDS, range(14)):
        edge = mask.kept[kind][e]
        assert edge == tuple(name for name in CANDIDATES if name in edge)  # in the order of the space
        # The most important ones are left; `none` may be one of them, but not on its own.
        ranking = sorted(CANDIDATES, key=lambda name, kind=kind, e=e: -position(kind, e, name))
        best = ranking[:target]
        assert set(edge) == (set(best) if best != ["none"] else {ranking[1]})


def test_none_is_the_most_important_candidate_of_some_edges():
    """Or else test_survivors would not see `none` left alone."""
    assert any(position(kind, e, "none") == 7 for kind in KINDS for e in range(14))


def test_each_round_removes_the_least_important_candidate_of_every_edge():
    pruner = invented_pruner(position, 0.25)
    assert sizes(pruner.mask) == {8}
    mask = run(pruner)
    rounds = [*pruner.rankers["invented"].rounds, mask]
    assert [sizes(mask) for mask in rounds] == [{8}, {7}, {6}, {5}, {4}, {3}, {2}]
    for before, after in itertools.pairwise(rounds):
        for kind, e in itertools.product(KINDS, range(14)):
            least = min(before.kept[kind][e], key=lambda name, kind=kind, e=e: position(kind, e, name))
            assert set(before.kept[kind][e]) - set(after.kept[kind][e]) == {least}


def test_scores_of_later_rounds_count_anew():
    """What is best at first and worst later on falls second, and its level says so."""

    def score(kind, e, name, round, seed):
        favourite = name == "sep_conv_3x3"
        return (10.0 if round == 0 else -10.0) if favourite else CANDIDATES.index(name) + 1.0

    mask = run(invented_pruner(score, 0.75))
    dropped = {kind: [set(CANDIDATES) - set(edge) for edge in edges] for kind, edges in mask.kept.items()}
    assert dropped == {kind: [{"none", "sep_conv_3x3"}] * 14 for kind in KINDS}
    # Two rounds; the second one fell with -10, after another one with 1.
    assert mask.importance["normal"][0]["sep_conv_3x3"] == pytest.approx(1.0)
    assert mask.importance["normal"][0]["dil_conv_5x5"] == pytest.approx(8.0)


@pytest.mark.parametrize("aggregate", AGGREGATES)
@pytest.mark.parametrize("scope", SCOPES)
def test_the_mask_of_one_repeat_is_what_is_left_in_the_end(scope, aggregate):
    """Scores that fall from round to round, so that survivors end lower than others fell: those stay gone."""

    def falling(kind, e, name, round, seed):
        return 2.0 ** -(2 * round) * (300 + distinct(kind, e, name))

    pruner = invented_pruner(falling, 0.25, scope=scope, aggregate=aggregate)
    mask = run(pruner)
    assert len(pruner.rankers["invented"].rounds) == 6
    assert mask.kept == run(invented_pruner(distinct, 0.25, scope=scope, rounds=1)).kept


def test_edges_of_different_size_reach_their_own_target():
    """8 candidates come down to 4, the only one of an edge stays."""
    pruner = invented_pruner(position, space=NARROW_SPACE, scoring_space=NARROW_SPACE)
    mask = run(pruner)
    assert len(pruner.rankers["invented"].rounds) == 4
    for edges in mask.kept.values():
        assert [len(edge) for edge in edges] == [4 if e in OPEN_EDGES else 1 for e in range(14)]


def simulate(ratio, seed, changes, step=0):
    """Algorithm 1 written anew on plain lists: one repeat, one scoring network, its weights from `seed`."""
    kept = {kind: [list(edge) for edge in NARROW_SPACE.candidates(kind)] for kind in KINDS}
    places = list(itertools.product(KINDS, OPEN_EDGES))
    last = {}
    whole = build_supernet(NARROW_SPACE)
    stream = pruner_file._step_seed(seed, step)
    initialize(whole, torch.Generator().manual_seed(stream))
    weights = {name: p for name, p in whole.state_dict().items() if not name.startswith("alpha.")}
    while len(kept["normal"][0]) > num_kept(ratio, 8):
        supernet = build_supernet(NARROW_SPACE, Mask("darts", kept)).train().requires_grad_(False)
        own = supernet.state_dict()
        supernet.load_state_dict(own | {name: p for name, p in weights.items() if name in own})
        torch.func.replace_all_batch_norm_modules_(supernet)
        rows, ratings = changes(supernet, [NNGPFrobenius(1.0, 1)], Sample(make_batches(step), stream))
        scores = iter((rows[0] / ratings[0].abs()).tolist())
        found = {(kind, e, name): next(scores) for kind, e in places for name in kept[kind][e]}
        assert next(scores, None) is None
        last |= found
        for kind, e in places:
            edge = kept[kind][e]
            choices = [n for n in edge if n == "none" or [m for m in edge if m not in ("none", n)]]
            edge.remove(min(choices, key=lambda name, kind=kind, e=e: found[kind, e, name]))
    return kept, last


@pytest.mark.parametrize("importance", ["exact", "taylor"])
@pytest.mark.parametrize("aggregate", ["mean", "shrink"])
@pytest.mark.parametrize("ratio", [0.5, 0.125])
def test_equals_a_simulation(importance, aggregate, ratio):
    def exact(*arguments):
        return exact_changes(*arguments, candidates_per_call=5)

    changes = exact if importance == "exact" else taylor_changes
    mask = run(make_narrow_pruner(ratio, seed=3, importance=importance, aggregate=aggregate))
    kept, last = simulate(ratio, 3, changes)
    assert {kind: [list(edge) for edge in edges] for kind, edges in mask.kept.items()} == kept
    assert len(last) == 2 * 3 * 8
    for kind, edges in mask.importance.items():
        for e, edge in enumerate(edges):
            # All of them are there, in the order of the space, removed ones too.
            assert tuple(edge) == NARROW_SPACE.candidates(kind)[e]
            for name, score in edge.items():
                assert (score is None) == (e not in OPEN_EDGES)  # there is nothing to score where one is left
                if score is not None:
                    assert score >= last[kind, e, name] - 1e-6  # or it fell after one with a higher score


def test_with_one_round_levels_are_the_scores():
    mask = run(invented_pruner(distinct, rounds=1))
    assert scores_of(mask) == pytest.approx([distinct(*place) for place in PLACES])
    _, last = simulate(0.875, 3, taylor_changes)
    levels = run(make_narrow_pruner(0.5, seed=3, rounds=1)).importance
    for (kind, e, name), score in last.items():
        assert levels[kind][e][name] == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("importance", ["exact", "taylor"])
def test_first_scores_are_those_of_a_pruning_in_one_round(importance):
    pruner = make_narrow_pruner(importance=importance, rounds=1, seed=3)
    first = {each: pruner.first_scores(make_batches(0), each) for each in ("exact", "taylor")}
    mask = run(pruner)
    assert first[importance].tolist() == [score for score in scores_of(mask) if score is not None]
    assert not np.allclose(first["exact"], first["taylor"])


def test_a_network_keeps_its_weights_and_images_from_round_to_round():
    """Common random numbers: what differs between rounds is what was removed."""
    seen = []

    class Watch(NNGPFrobenius):
        def __call__(self, network, sample):
            weights = {name: p.clone() for name, p in network.weights().items()}
            seen.append((weights, sample.images.clone(), sample.seed))
            return super().__call__(network, sample)

    pruner = make_narrow_pruner(0.5, rankers={"watch": Watch()}, repeats=2)
    pruner.step(make_batches(0))
    assert len(seen) == 4
    (weights, images, seed), *later = seen
    for again, same_images, same_seed in later:
        assert again.keys() < weights.keys()
        assert all(torch.equal(p, weights[name]) for name, p in again.items())
        assert torch.equal(images, same_images)
        assert seed == same_seed
    pruner.step(make_batches(0))
    another, _, other_seed = seen[4]
    assert another.keys() == weights.keys()
    assert not any(torch.equal(p, weights[name]) for name, p in another.items() if p.dim() > 1)
    assert other_seed != seed


# --- rounds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rounds", "left"),
    [
        (None, [8, 7, 6, 5, 4, 3]),
        (1, [8]),
        (2, [8, 5]),  # 6 of 8 go: 3, 3
        (4, [8, 6, 5, 3]),  # 1.5, 3, 4.5, 6 of them, halves rounded up
        (6, [8, 7, 6, 5, 4, 3]),
        (100, [8, 7, 6, 5, 4, 3]),  # no more than one candidate a round
    ],
)
def test_over_how_many_rounds(rounds, left):
    pruner = invented_pruner(position, 0.25, rounds=rounds)
    mask = run(pruner)
    assert [sizes(scored) for scored in pruner.rankers["invented"].rounds] == [{size} for size in left]
    assert mask.kept == run(invented_pruner(position, 0.25)).kept  # scores do not change with the rounds here


def num_left(mask, kind=None):
    return sum(len(edge) for k, edges in mask.kept.items() if kind in (None, k) for edge in edges)


@pytest.mark.parametrize(("scope", "rounds"), [("kind", None), ("kind", 3), ("global", None), ("global", 3)])
def test_scopes(scope, rounds):
    """Reducing cells are worth less than normal ones."""

    def score(kind, e, name, *_):
        return distinct(kind, e, name) + 1000 * (kind == "normal")

    pruner = invented_pruner(score, 0.5, scope=scope, rounds=rounds)
    mask = run(pruner)
    counts = [num_left(scored) for scored in [*pruner.rankers["invented"].rounds, mask]]
    steps = [28] * 4 if rounds is None else [37, 38, 37] if scope == "global" else [38, 36, 38]
    assert [a - b for a, b in itertools.pairwise(counts)] == steps
    if scope == "kind":
        assert num_left(mask, "normal") == num_left(mask, "reduce") == 56
        assert len(sizes(mask)) > 1  # some edges keep more than others
    else:
        # Of the reducing cells is left what every edge must keep.
        assert (num_left(mask, "normal"), num_left(mask, "reduce")) == (98, 14)
    for edges in mask.kept.values():
        assert all(set(edge) - {"none"} for edge in edges)


@pytest.mark.parametrize("scope", SCOPES)
def test_scopes_on_networks(scope):
    """Real scores, all the way down to one candidate an edge."""
    mask = run(make_pruner(0.01, space=NB201, scoring_space=NB201, scope=scope))
    assert sizes(mask) == {1}
    mask.check(NB201)
    assert all(edge != ("none",) for edge in mask.kept["cell"])
    half = run(make_pruner(0.5, space=NB201, scoring_space=NB201, scope=scope, rounds=2))
    assert num_left(half) == (18 if scope == "edge" else 15)  # 3 of 5 an edge, or half of 30


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
        best = np.argsort(scores, kind="stable")[-4:]
        assert set(edge) == {CANDIDATES[i] for i in best}


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


def num_steps(pruner):
    """Steps until it is done, and the agreement that each gives."""
    found = []
    while not pruner.done:
        found.append(pruner.step(make_batches(len(found))).get("agreement_of_halves"))
    return found


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
    ("aggregate", "repeats", "worth"), [("mean", 12, of_the_edge), ("shrink", 4, of_the_operation)]
)
def test_agreement_is_that_of_two_prunings(aggregate, repeats, worth):
    def score(kind, e, name, round, seed):
        return worth(kind, e, name) + 6 * noise(kind, e, name, round, seed)

    pruners = [invented_pruner(score, aggregate=aggregate, repeats=repeats, rounds=1, seed=seed) for seed in range(4)]
    masks = [run(pruner) for pruner in pruners]
    kept = [{(k, e, n) for k, edges in m.kept.items() for e, edge in enumerate(edges) for n in edge} for m in masks]
    true = np.mean([1 - len(a ^ b) / 224 for a, b in itertools.combinations(kept, 2)])
    predicted = np.mean([pruner.metrics()["agreement"] for pruner in pruners])
    assert 0.6 < true < 0.9
    assert predicted == pytest.approx(true, abs=0.08), (predicted, true)


def test_figures_of_a_step_are_the_ratings_of_the_whole_network():
    rankers = {"one": NNGPFrobenius(1.0, 1), "two": NNGPFrobenius(5.0, -1)}
    figures = make_narrow_pruner(rankers=rankers).step(make_batches(0))
    assert list(figures) == ["one", "two"]
    assert figures["one"] == figures["two"]
    assert math.sqrt(3) <= figures["one"] <= 3


# --- several ranking functions ----------------------------------------------------------------------------------------


def test_rankers_are_weighed_and_signed():
    rankers = {"good": Invented(position, weight=1.0), "bad": Invented(distinct, weight=0.25, sign=-1)}
    mask = run(make_pruner(rankers=rankers, rounds=1))
    assert scores_of(mask) == pytest.approx([position(*place) - 0.25 * distinct(*place) for place in PLACES])


def test_ranks_are_combined():
    rankers = {"first": Invented(distinct), "second": Invented(lambda *place: -1e6 * distinct(*place), weight=2.0)}
    by_rank, by_sum = (run(make_pruner(rankers=rankers, rounds=1, combine=combine)) for combine in ("rank", "sum"))
    order = [place for _, place in sorted((distinct(*place), place) for place in PLACES)]
    expected = [-(order.index(place) / 223 - 0.5) for place in PLACES]  # 1 less 2 of the opposite order
    assert scores_of(by_rank) == pytest.approx(expected)
    assert scores_of(by_sum) != pytest.approx(expected)


# --- images -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("image_size", "expected"), [(None, 12), (8, 8), (4, 4), (12, 12), (16, 12), (500, 12)])
def test_larger_images_are_scaled_down_and_smaller_ones_left(image_size, expected):
    seen = []

    class Watch(Invented):
        def __call__(self, network, sample):
            seen.append(sample.images)
            return super().__call__(network, sample)

    pruner = make_pruner(rankers={"watch": Watch(position)}, rounds=1, image_size=image_size)
    [batch] = make_batches(0, size=12)
    pruner.step([batch])
    [images] = seen
    assert images.shape == (3, 1, expected, expected)
    if expected == 4:  # the mean of each square
        assert images == pytest.approx(F.avg_pool2d(batch.images, 3), abs=1e-6)
    if expected == 12:
        assert torch.equal(images, batch.images)


def test_autocast_has_no_effect():
    plain, cast = make_narrow_pruner(), make_narrow_pruner()
    figures = plain.step(make_batches(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert cast.step(make_batches(0)) == figures
    assert cast.mask == plain.mask
    assert cast.mask.importance == plain.mask.importance


# --- scores that cannot be used ---------------------------------------------------------------------------------------


def broken_in(broken, how):
    """Scores that cannot be used in some of the repeats of seed 0, by their step."""

    def score(kind, e, name, round, seed):
        step = seed - pruner_file._step_seed(0, 0)
        good = position(kind, e, name)
        if step not in broken:
            return good
        of_one = math.nan if (e, name) == (3, "none") else good
        return {"nan": math.nan, "inf": math.inf, "one": of_one, "same": 2.5}[how]

    return score


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("nan", "invented of the scoring network is nan"),
        ("inf", "invented of the scoring network is nan"),  # 0 times infinity
        ("one", "invented of the scoring network is nan"),
        ("same", "invented gives all 224 candidates the same score, 2.5"),
    ],
)
def test_repeats_that_cannot_be_used_are_left_out_and_counted(caplog, how, message):
    pruner = invented_pruner(broken_in({1, 4}, how), repeats=5)
    with caplog.at_level(logging.WARNING):
        found = [pruner.step(make_batches(step)) for step in range(5)]
    assert [record.getMessage() for record in caplog.records] == [
        f"repeat {number} is left out: {message}" for number in (2, 5)
    ]
    assert [bool(figures) for figures in found] == [True, False, True, True, False]
    assert pruner.done
    figures = pruner.metrics()
    assert (figures["repeats"], figures["repeats_dropped"]) == (3, 2)
    assert pruner.mask.kept == run(invented_pruner(position)).kept
    assert all(math.isfinite(score) for score in scores_of(pruner.mask))


def test_one_score_that_is_not_finite(caplog):
    """The network is rated well, a candidate is not."""

    class Steep(Invented):
        def __call__(self, network, sample):
            first = network.alpha["normal"][0][:2]
            return super().__call__(network, sample) + first.sqrt().sum()  # infinitely steep at 0

    pruner = make_pruner(rankers={"steep": Steep(position)}, repeats=2)
    with caplog.at_level(logging.WARNING), pytest.raises(ValueError, match="none of 2 repeat") as caught:
        run(pruner)
    assert "2 of 224 scores of steep are not finite" in caplog.text
    assert "2 of 224 scores of steep are not finite" in str(caught.value)


@pytest.mark.parametrize("how", ["nan", "same"])
@pytest.mark.parametrize("repeats", [1, 3, "auto"])
def test_nothing_that_can_be_used_is_an_error(how, repeats):
    pruner = invented_pruner(broken_in(range(5), how), repeats=repeats, max_repeats=4)
    steps = 4 if repeats == "auto" else repeats
    with pytest.raises(ValueError, match=rf"none of {steps} repeat.s. could be used; the last one: invented"):
        run(pruner)


def test_images_that_are_not_finite():
    pruner = make_narrow_pruner()
    images = torch.full((3, 1, 8, 8), torch.nan)
    with pytest.raises(ValueError, match=r"none of 1 repeat\(s\) could be used; .*nngp_frobenius .* nan"):
        pruner.step([Batch(images, torch.zeros(3))])


def test_auto_goes_on_after_a_repeat_that_cannot_be_used():
    pruner = invented_pruner(broken_in({0, 3}, "nan"), repeats="auto", max_repeats=100, rounds=1)
    assert len(num_steps(pruner)) == 8 + 2


def test_a_single_image_is_an_error():
    pruner = make_narrow_pruner(batch_size=1)
    images = torch.randn(1, 1, 8, 8)
    with pytest.raises(ValueError, match="needs at least 2, got 1"):
        pruner.step([Batch(images, torch.zeros(1))])


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"importance": "second"}, "`importance` must be one of exact, taylor, got 'second'"),
        ({"combine": "product"}, "`combine` must be one of sum, rank, got 'product'"),
        ({"scope": "cell"}, "`scope` must be one of edge, kind, global, got 'cell'"),
        ({"aggregate": "max"}, "`aggregate` must be one of mean, median, rank, shrink, got 'max'"),
        ({"repeats": "foo"}, "`repeats` must be a number or auto, got 'foo'"),
        ({"rankers": {}}, "`rankers` must name at least one ranking function, got none"),
        ({"rankers": {"nngp": None}}, "`rankers` must name at least one ranking function, got none"),
        (
            {"rankers": {"nngp": NNGPFrobenius(), "naswot": NASWOT()}},
            "`importance=taylor` needs derivatives, which naswot cannot give; use importance=exact",
        ),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match="^" + message):
        make_pruner(begin=False, **settings)


def test_exact_importance_needs_no_derivatives():
    pruner = make_narrow_pruner(rankers={"naswot": NASWOT()}, importance="exact", rounds=1)
    assert num_left(run(pruner)) == 2 * (3 * 4 + 11)


def test_a_ranker_set_to_null_is_left_out():
    pruner = make_pruner(rankers={"nngp_frobenius": None, "other": NNGPFrobenius(1.0, 1)})
    assert list(pruner.rankers) == ["other"]


@pytest.mark.parametrize("candidates_per_call", [1, 7, 1000])
def test_candidates_per_call_changes_no_mask(candidates_per_call):
    settings = {"importance": "exact", "rounds": 1, "rankers": {"nngp": NNGPFrobenius()}}
    mask = run(make_narrow_pruner(candidates_per_call=candidates_per_call, **settings))
    expected = run(make_narrow_pruner(**settings))
    assert mask.kept == expected.kept
    present = [score for score in scores_of(expected) if score is not None]
    assert [score for score in scores_of(mask) if score is not None] == pytest.approx(present, abs=1e-5)


# --- mask.json --------------------------------------------------------------------------------------------------------


def test_importance_in_the_file(tmp_path):
    mask = run(make_narrow_pruner(repeats=2))
    content = json.loads(mask.save(tmp_path / "mask.json").read_text(encoding="utf-8"))
    for kind, edges in content["importance"].items():
        for e, edge in enumerate(edges):
            assert tuple(edge) == NARROW_SPACE.candidates(kind)[e]
            assert all((score is None) == (e not in OPEN_EDGES) for score in edge.values())
    assert Mask.load(tmp_path / "mask.json") == mask


def test_a_ranker_without_noise_agrees_with_itself():
    pruner = make_narrow_pruner(rankers={"params": ParameterCount()}, repeats=2, rounds=1)
    run(pruner)
    assert pruner.metrics()["agreement"] == pytest.approx(1.0, abs=1e-3)


def test_all_wrong_settings_are_named_together():
    with pytest.raises(ValueError, match=r"`scope` must be .*; `aggregate` must be .*'mode'"):
        make_pruner(scope="cell", aggregate="mode")
    with pytest.raises(ValueError, match="`num_batches` must be at least 2 for zico, got 1"):
        make_pruner(rankers={"zico": ZiCo()}, num_batches=1)


# --- what has been recorded -------------------------------------------------------------------------------------------

RECORDED = {
    "nngp": {"rankers": {"nngp": NNGPFrobenius()}},
    "nngp_exact": {"rankers": {"nngp": NNGPFrobenius()}, "importance": "exact"},
    "synflow": {"rankers": {"synflow": SynFlow()}},
    "zico": {"rankers": {"zico": ZiCo()}},
}


@pytest.mark.parametrize("name", RECORDED)
def test_masks_are_those_of_the_first_release(name):
    """Recorded when every network was built anew and every batch ran by itself (f729d19)."""
    recorded = json.loads((Path(__file__).parent / "recorded.json").read_text())[name]
    pruner = make_narrow_pruner(aggregate="shrink", repeats=2, num_batches=2, **RECORDED[name])
    for step in range(2):
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(2, 4, 1, 8, 8, generator=generator, dtype=torch.float64)
        pruner.step([Batch(batch, torch.arange(4)) for batch in images])
    assert pruner.mask.to_json()["kept"] == recorded["kept"]
    found = [score for score in scores_of(pruner.mask) if score is not None]
    np.testing.assert_allclose(found, recorded["importance"], rtol=1e-4, atol=1e-9)
