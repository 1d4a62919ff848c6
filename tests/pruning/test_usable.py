"""What a pruning is given and makes: rankers, images, scores that cannot be used, settings, files, records."""

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from halfnas.errors import Diverged
from halfnas.pruning import (
    Batch,
)
from halfnas.pruning import importance_pruner as pruner_file
from halfnas.pruning.rankers import NASWOT, NNGPFrobenius, ParameterCount, SynFlow, ZiCo
from halfnas.spaces import Mask
from invented import (
    NARROW_SPACE,
    PLACES,
    Invented,
    distinct,
    invented_pruner,
    make_batches,
    make_narrow_pruner,
    make_pruner,
    num_left,
    num_steps,
    position,
    run,
    scores_of,
)
from other_space import OPEN_EDGES

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


@pytest.mark.parametrize("how", ["nan", "inf", "one"])
def test_a_score_that_is_not_finite_ends_the_pruning(how):
    pruner = invented_pruner(broken_in({1, 4}, how), repeats=5)
    pruner.step(make_batches(0))
    message = "prune diverged in repeat 2 of at most 5: invented of the scoring network is nan; try"  # 0 times infinity
    with pytest.raises(Diverged, match=message):
        pruner.step(make_batches(1))


def test_repeats_that_say_nothing_are_left_out_and_counted(caplog):
    pruner = invented_pruner(broken_in({1, 4}, "same"), repeats=5)
    with caplog.at_level(logging.WARNING):
        found = [pruner.step(make_batches(step)) for step in range(5)]
    assert [record.getMessage() for record in caplog.records] == [
        f"repeat {number} is left out: invented gives all 224 candidates the same score, 2.5" for number in (2, 5)
    ]
    assert [bool(figures) for figures in found] == [True, False, True, True, False]
    assert pruner.done
    figures = pruner.metrics()
    assert (figures["repeats"], figures["repeats_dropped"]) == (3, 2)
    assert pruner.mask.kept == run(invented_pruner(position)).kept
    assert all(math.isfinite(score) for score in scores_of(pruner.mask))


def test_one_score_that_is_not_finite():
    """The network is rated well, a candidate is not."""

    class Steep(Invented):
        def __call__(self, network, sample):
            first = network.alpha["normal"][0][:2]
            return super().__call__(network, sample) + first.sqrt().sum()  # infinitely steep at 0

    pruner = make_pruner(rankers={"steep": Steep(position)}, repeats=2)
    with pytest.raises(
        Diverged, match=r"repeat 1 of at most 2: 2 of 224 scores of steep, the first of which is (nan|-?inf);"
    ):
        run(pruner)


@pytest.mark.parametrize("repeats", [1, 3, "auto"])
def test_nothing_that_can_be_used_is_an_error(repeats):
    pruner = invented_pruner(broken_in(range(5), "same"), repeats=repeats, max_repeats=4)
    steps = 4 if repeats == "auto" else repeats
    with pytest.raises(ValueError, match=rf"none of {steps} repeat.s. could be used, .* not, repeat {steps}: invented"):
        run(pruner)


@pytest.mark.parametrize("broken", [{0, 1, 2}, {1, 3, 4}])
def test_what_is_left_of_a_few_repeats_is_no_sample(broken):
    """Whether the last one can be used or not."""
    pruner = invented_pruner(broken_in(broken, "same"), repeats=5)
    last = max(broken) + 1
    with pytest.raises(ValueError, match=rf"2 of 5 repeat.s. could be used, .* repeat {last}: invented .* same score"):
        run(pruner)


def test_images_that_are_not_finite():
    pruner = make_narrow_pruner()
    images = torch.full((3, 1, 8, 8), torch.nan)
    with pytest.raises(Diverged, match=r"repeat 1 of at most \d+: nngp_frobenius of the scoring network is nan"):
        pruner.step([Batch(images, torch.zeros(3))])


def test_auto_goes_on_after_a_repeat_that_cannot_be_used():
    pruner = invented_pruner(broken_in({0, 3}, "same"), repeats="auto", max_repeats=100, rounds=1)
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
