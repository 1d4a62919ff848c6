import itertools
import logging
import math
from dataclasses import replace

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from halfnas.networks import build_supernet
from halfnas.pruning import Batch, ImportancePruner, NNGPFrobenius, NoPruner, Pruner, RandomPruner, exact_importance
from halfnas.pruning import pruner as pruner_file
from halfnas.pruning.importance import initialize
from halfnas.pruning.pruner import mean_scores
from halfnas.spaces import DartsSpace, Mask, num_kept
from halfnas.spaces.load import CONF

SPACE = DartsSpace(init_channels=16, num_cells=8, in_channels=1)
SCORING_SPACE = DartsSpace(init_channels=2, num_cells=3, in_channels=1)
KINDS = ("normal", "reduce")
CANDIDATES = SPACE.candidates("normal")[0]
OPEN_EDGES = (0, 6, 13)


class NarrowSpace(DartsSpace):
    """All 8 candidates on three edges and one on the others, which is quick to score."""

    @property
    def kinds(self):
        kinds = {}
        for name, kind in super().kinds.items():
            edges = [
                e if n in OPEN_EDGES else replace(e, candidates=e.candidates[3:4]) for n, e in enumerate(kind.edges)
            ]
            kinds[name] = replace(kind, edges=tuple(edges))
        return kinds


NARROW_SPACE = NarrowSpace(init_channels=2, num_cells=3, in_channels=1)


def make_pruner(ratio, *, seed=0, repeats=1, rankers=None, space=SPACE, scoring_space=SCORING_SPACE):
    pruner = ImportancePruner(
        "nngp",
        {"nngp_frobenius": NNGPFrobenius(1.0, 1)} if rankers is None else rankers,
        repeats=repeats,
        network={"init_channels": 2, "num_cells": 3},
        num_batches=1,
        batch_size=3,
        candidates_per_call=64,
    )
    pruner.begin(space, scoring_space, ratio=ratio, seed=seed)
    return pruner


def make_narrow_pruner(ratio, **settings):
    return make_pruner(ratio, space=NARROW_SPACE, scoring_space=NARROW_SPACE, **settings)


def make_batches(step):
    """Other images for every step."""
    generator = torch.Generator().manual_seed(1000 + step)
    return [Batch(torch.randn(3, 1, 8, 8, generator=generator), torch.zeros(3, dtype=torch.long))]


def run(pruner):
    for step in range(pruner.num_rounds * pruner.num_repeats):
        pruner.step(make_batches(step))
    return pruner.mask


def sizes(mask):
    return {len(edge) for edges in mask.kept.values() for edge in edges}


def position(kind, edge, name):
    """An order of importance of its own for every edge; `none` is the most important one of some."""
    return (CANDIDATES.index(name) * 3 + 5 * edge + 2 * (kind == "reduce")) % 8


@pytest.fixture
def invented_scores(monkeypatch):
    """Scores that are known beforehand, in place of those of a network; returns the masks that were scored."""
    scored = []

    def invent(supernet, rankers, batches, *, candidates_per_call):
        scored.append(supernet.mask)
        scores = {
            kind: [
                {name: float(position(kind, e, name)) for name in edge} if len(edge) > 1 else {}
                for e, edge in enumerate(edges)
            ]
            for kind, edges in supernet.mask.kept.items()
        }
        return scores, torch.ones(len(rankers))

    monkeypatch.setattr(pruner_file, "exact_importance", invent)
    monkeypatch.setattr(pruner_file, "initialize", lambda supernet, generator: None)
    return scored


@pytest.mark.parametrize("ratio", [0.125, 0.3, 0.5, 0.9, 1.0])
def test_survivors(ratio, invented_scores):
    pruner = make_pruner(ratio)
    target = num_kept(ratio, 8)
    assert pruner.num_rounds == 8 - target
    mask = run(pruner)
    assert sizes(mask) == {target}
    assert (mask.space, mask.ratio, mask.pruner, mask.seed) == ("darts", ratio, "nngp", 0)
    mask.check(SPACE)
    for kind, e in itertools.product(KINDS, range(14)):
        edge = mask.kept[kind][e]
        assert edge != ("none",)
        assert edge == tuple(name for name in CANDIDATES if name in edge)  # in the order of the space
        # The most important ones are left; `none` may be one of them, but not on its own.
        ranking = sorted(CANDIDATES, key=lambda name, kind=kind, e=e: -position(kind, e, name))
        best = ranking[:target]
        assert set(edge) == (set(best) if best != ["none"] else {ranking[1]})
    assert len(invented_scores) == pruner.num_rounds


def test_none_is_the_most_important_candidate_of_some_edges():
    """Or else test_survivors would not see `none` left alone."""
    assert any(position(kind, e, "none") == 7 for kind in KINDS for e in range(14))


def test_each_round_removes_the_least_important_candidate_of_every_edge(invented_scores):
    pruner = make_pruner(0.25)
    before = pruner.mask
    assert sizes(before) == {8}
    for step in range(pruner.num_rounds):
        pruner.step(make_batches(step))
        for kind, e in itertools.product(KINDS, range(14)):
            least = min(before.kept[kind][e], key=lambda name, kind=kind, e=e: position(kind, e, name))
            assert set(before.kept[kind][e]) - set(pruner.mask.kept[kind][e]) == {least}
        assert sizes(pruner.mask) == {7 - step}
        before = pruner.mask
    assert [sizes(mask) for mask in invented_scores] == [{8}, {7}, {6}, {5}, {4}, {3}]


def test_edges_of_different_size_reach_their_own_target(invented_scores):
    """8 candidates come down to 4, the only one of an edge stays."""
    pruner = make_narrow_pruner(0.5)
    assert pruner.num_rounds == 4
    mask = run(pruner)
    for edges in mask.kept.values():
        assert [len(edge) for edge in edges] == [4 if e in OPEN_EDGES else 1 for e in range(14)]


def test_a_ratio_of_one_takes_no_round():
    pruner = make_pruner(1.0)
    assert pruner.num_rounds == 0
    assert pruner.mask.kept == Mask.full(SPACE).kept
    assert pruner.mask.ratio == 1.0


def test_begin_starts_over(invented_scores):
    pruner = make_narrow_pruner(0.5, repeats=2)
    first = run(pruner)
    pruner.begin(NARROW_SPACE, NARROW_SPACE, ratio=0.5, seed=0)
    pruner.step(make_batches(0))  # a repeat that is left unfinished
    pruner.begin(NARROW_SPACE, NARROW_SPACE, ratio=0.5, seed=0)
    assert pruner.mask.kept == Mask.full(NARROW_SPACE).kept
    assert pruner.mask.importance is None
    assert run(pruner) == first


def simulate(ratio, seed, repeats):
    """Algorithm 1 written anew on plain lists."""
    kept = {kind: [list(edge) for edge in NARROW_SPACE.candidates(kind)] for kind in KINDS}
    places = list(itertools.product(KINDS, OPEN_EDGES))
    last_scores = {}
    step = 0
    while len(kept["normal"][0]) > num_kept(ratio, 8):
        totals = {}
        for _ in range(repeats):
            supernet = build_supernet(NARROW_SPACE, Mask("darts", kept))
            initialize(supernet, torch.Generator().manual_seed(pruner_file._step_seed(seed, step)))
            scores, _ = exact_importance(
                supernet.train(), [NNGPFrobenius(1.0, 1)], make_batches(step), candidates_per_call=64
            )
            for kind, e in places:
                for name, score in scores[kind][e].items():
                    totals[kind, e, name] = totals.get((kind, e, name), 0.0) + score
            step += 1
        for kind, e in places:
            edge = kept[kind][e]
            last_scores.update({(kind, e, name): totals[kind, e, name] / repeats for name in edge})
            choices = [n for n in edge if n == "none" or [m for m in edge if m not in ("none", n)]]
            edge.remove(min(choices, key=lambda name, kind=kind, e=e: totals[kind, e, name]))
    return kept, last_scores


@pytest.mark.parametrize(("ratio", "repeats"), [(0.5, 3), (0.125, 1)])
def test_equals_a_simulation(ratio, repeats):
    mask = run(make_narrow_pruner(ratio, seed=3, repeats=repeats))
    kept, last_scores = simulate(ratio, 3, repeats)
    assert {kind: [list(edge) for edge in edges] for kind, edges in mask.kept.items()} == kept
    assert len(last_scores) == 2 * 3 * 8
    for kind, edges in mask.importance.items():
        for e, edge in enumerate(edges):
            # All of them are there, in the order of the space, removed ones too.
            assert tuple(edge) == NARROW_SPACE.candidates(kind)[e]
            for name, score in edge.items():
                expected = last_scores.get((kind, e, name))
                assert score == (None if expected is None else pytest.approx(expected, abs=1e-12))
                assert (score is None) == (e not in OPEN_EDGES)  # there is nothing to score where one is left


def test_seeds():
    mask, again, other = (run(make_narrow_pruner(0.625, seed=seed)) for seed in (0, 0, 1))
    assert again == mask
    assert again.importance == mask.importance
    assert other.kept != mask.kept
    assert other.seed == 1


def test_repeats_see_other_initialisations():
    """The same images twice: what differs is the network."""
    pruner = make_narrow_pruner(0.5, repeats=3)
    first, second = pruner.step(make_batches(0)), pruner.step(make_batches(0))
    assert first["nngp_frobenius"] != second["nngp_frobenius"]
    assert pruner.mask.kept == Mask.full(NARROW_SPACE).kept  # nothing is removed before the last repeat


def test_streams_of_neighbouring_seeds_do_not_overlap():
    seeds = {pruner_file._step_seed(seed, step) for seed in range(20) for step in range(200)}
    assert len(seeds) == 20 * 200


def test_figures_of_a_step_are_the_ratings_of_the_whole_network():
    rankers = {"one": NNGPFrobenius(1.0, 1), "two": NNGPFrobenius(5.0, -1)}
    figures = make_narrow_pruner(0.5, rankers=rankers).step(make_batches(0))
    assert list(figures) == ["one", "two"]
    assert figures["one"] == figures["two"]
    assert math.sqrt(3) <= figures["one"] <= 3


def test_autocast_has_no_effect():
    plain, cast = make_narrow_pruner(0.875), make_narrow_pruner(0.875)
    figures = plain.step(make_batches(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert cast.step(make_batches(0)) == figures
    assert cast.mask == plain.mask
    assert cast.mask.importance == plain.mask.importance


def test_images_that_are_not_finite():
    pruner = make_narrow_pruner(0.5)
    images = torch.full((3, 1, 8, 8), torch.nan)
    with pytest.raises(ValueError, match=r"no finite score for 'none' on edge 0 of cell 'normal' in 1 repeat"):
        pruner.step([Batch(images, torch.zeros(3))])


def test_mean_over_repeats(caplog):
    repeats = [{"normal": [{"a": 1.0, "b": 2.0}, {}]}, {"normal": [{"a": 4.0, "b": 0.0}, {}]}]
    assert mean_scores(repeats) == {"normal": [{"a": 2.5, "b": 1.0}, {}]}
    assert not caplog.records


def test_scores_that_are_not_finite_are_left_out_and_counted(caplog):
    repeats = [
        {"normal": [{"a": math.nan, "b": 2.0}], "reduce": [{"a": 7.0}]},
        {"normal": [{"a": 4.0, "b": -math.inf}], "reduce": [{"a": math.inf}]},
        {"normal": [{"a": 6.0, "b": 3.0}], "reduce": [{"a": 9.0}]},
    ]
    with caplog.at_level(logging.WARNING):
        assert mean_scores(repeats) == {"normal": [{"a": 5.0, "b": 2.5}], "reduce": [{"a": 8.0}]}
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("3 scores were not finite")


def test_no_finite_score_is_an_error():
    repeats = [{"reduce": [{"a": 1.0}, {"b": math.nan}]}, {"reduce": [{"a": 1.0}, {"b": math.inf}]}]
    with pytest.raises(ValueError, match=r"no finite score for 'b' on edge 1 of cell 'reduce' in 2 repeat.*`pruner"):
        mean_scores(repeats)


def load(name):
    """The pruner of conf/pruner/NAME.yaml, all of which take the settings of nngp.yaml."""
    content = OmegaConf.merge(OmegaConf.load(CONF / "pruner" / "nngp.yaml"), OmegaConf.load(CONF / "pruner" / name))
    content.pop("defaults", None)
    return instantiate(content, _convert_="all")


@pytest.mark.parametrize(("file", "kind"), [("nngp", ImportancePruner), ("random", RandomPruner), ("none", NoPruner)])
def test_configured_pruners_share_their_settings(file, kind):
    pruner = load(f"{file}.yaml")
    assert type(pruner) is kind
    assert pruner.name == file


def test_configured_values():
    """arXiv 2505.13586 through Rufaim/ETENAS, see conf/pruner/nngp.yaml."""
    pruner = load("nngp.yaml")
    assert (pruner.num_batches, pruner.batch_size) == (2, 14)
    assert pruner.network == {"init_channels": 2, "num_cells": 3}
    ranker = pruner.rankers["nngp_frobenius"]
    assert isinstance(ranker, NNGPFrobenius)
    assert (ranker.weight, ranker.sign) == (1.0, 1)


@pytest.mark.parametrize("ratio", [0.125, 0.5, 1.0])
def test_random_pruner(ratio):
    def begin(seed):
        pruner = load("random.yaml")
        pruner.begin(SPACE, SCORING_SPACE, ratio=ratio, seed=seed)
        assert (pruner.num_rounds, pruner.num_repeats) == (0, 0)
        return pruner.mask

    mask = begin(0)
    assert mask == begin(0) == Mask.random(SPACE, ratio, 0)
    assert (mask.pruner, mask.ratio, mask.seed, mask.importance) == ("random", ratio, 0, None)
    assert sizes(mask) == {num_kept(ratio, 8)}
    assert begin(1).seed == 1
    assert ratio == 1.0 or begin(1).kept != mask.kept


def test_no_pruner_keeps_everything():
    pruner = load("none.yaml")
    pruner.begin(SPACE, SCORING_SPACE, ratio=0.5, seed=4)
    assert pruner.num_rounds == 0
    assert pruner.mask.kept == Mask.full(SPACE).kept
    assert (pruner.mask.ratio, pruner.mask.pruner, pruner.mask.seed) == (1.0, "none", 4)


def test_pruners_without_data_take_no_step():
    for pruner in (RandomPruner(), NoPruner()):
        assert isinstance(pruner, Pruner)
        with pytest.raises(NotImplementedError, match="needs no data"):
            pruner.step(make_batches(0))


def test_a_ranker_set_to_null_is_left_out():
    pruner = make_pruner(0.5, rankers={"nngp_frobenius": None, "other": NNGPFrobenius(1.0, 1)})
    assert list(pruner.rankers) == ["other"]
    with pytest.raises(ValueError, match="`rankers` must name at least one ranking function"):
        make_pruner(0.5, rankers={"nngp_frobenius": None})
