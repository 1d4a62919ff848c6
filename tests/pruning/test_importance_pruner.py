"""One repeat of a pruning: Algorithm 1, its rounds and scopes."""

import itertools

import numpy as np
import pytest
import torch

from halfnas.networks import build_supernet
from halfnas.pruning import (
    Sample,
    exact_changes,
    taylor_changes,
)
from halfnas.pruning import importance_pruner as pruner_file
from halfnas.pruning.aggregation import AGGREGATES
from halfnas.pruning.competition import SCOPES
from halfnas.pruning.importance import initialize
from halfnas.pruning.rankers import NNGPFrobenius
from halfnas.spaces import Mask, num_kept
from invented import (
    CANDIDATES,
    KINDS,
    NARROW_SPACE,
    NB201,
    PLACES,
    SPACE,
    distinct,
    invented_pruner,
    make_batches,
    make_narrow_pruner,
    make_pruner,
    num_left,
    position,
    run,
    scores_of,
    sizes,
)
from other_space import OPEN_EDGES

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
