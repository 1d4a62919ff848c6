import numpy as np
import pytest
import torch
from etenas_reference import REFERENCES

from halfnas import load_space
from halfnas.pruning import Batch, NothingUsable
from halfnas.pruning.etenas import ETENASPruner, resized
from halfnas.pruning.rankers import NNGPFrobenius, NNGPMean, ZiCo
from halfnas.spaces import Mask, MobileNetSpace
from other_space import OPEN_EDGES, NarrowSpace

DARTS = load_space("darts", init_channels=16, num_cells=8)
NARROW = NarrowSpace(init_channels=8, num_cells=8)
SETTINGS = {
    "repeats": 3, "prune_number": {"darts": 3, "nasbench201": 1}, "image_size": 8, "num_batches": 2,
    "channels": {"darts": 1, "nasbench201": 3}, "network": {"init_channels": 2, "num_cells": 3},
    "batch_size": {"darts": 14, "nasbench201": 72},
}  # fmt: skip


def make_pruner(rankers=None, **settings):
    return ETENASPruner("etenas", {"nngp": NNGPFrobenius()} if rankers is None else rankers, **(SETTINGS | settings))


def begun(space=NARROW, ratio=0.5, seed=0, rankers=None, **settings):
    pruner = make_pruner(rankers, **settings)
    pruner.begin(space, space, ratio=ratio, seed=seed)
    return pruner


def noise(number, size=4, dtype=torch.float32):
    source = torch.Generator().manual_seed(number)
    return [Batch(torch.randn(size, 3, 8, 8, generator=source, dtype=dtype), None) for _ in range(2)]


def scripted(monkeypatch, pruner, change):
    """Let r(N) be 1 and r(N without j) 1 - change(place, number of the rating)."""
    asked = []

    def rate(ranker, j, sample):
        place = pruner._candidates.places[j]
        asked.append((place, sample.seed))
        return 1.0, 1.0 - change(place, len(asked) - 1)

    monkeypatch.setattr(pruner, "_rate", rate)
    return asked


def run(pruner):
    while not pruner.done:
        pruner.step(noise(0))
    return pruner.mask


@pytest.mark.parametrize("name", REFERENCES)
def test_score_is_the_published_one(name):
    """On the weights that the pruner drew and on the same batches, in float64."""
    reference, _ = REFERENCES[name]
    pruner = begun(load_space(name, init_channels=16, num_cells=15))
    assert all("none" not in names for edges in pruner.mask.kept.values() for names in edges)
    for number in range(4):
        batches = noise(number, dtype=torch.float64)
        found = pruner.step(batches)["relative_change"]
        place = pruner._candidates.places[np.flatnonzero(~pruner._candidates.is_none)[number // 3]]
        parameters = dict(pruner._supernet.named_parameters())
        norms = []
        for kept in (pruner.mask.kept, pruner.mask.without(*place).kept):
            logits = torch.cat([reference(parameters, batch.images, kept) for batch in batches])
            norms.append(np.linalg.norm(np.corrcoef(logits.numpy())))
        assert found == pytest.approx((norms[0] - norms[1]) / norms[0], rel=1e-9, abs=1e-13)


def test_weights_are_drawn_as_published_and_anew_for_every_rating():
    """Kaiming normal with fan-out for convolutions and the linear layer; batch norms 1 and 0, biases 0."""
    pruner, drawn = begun(DARTS), []
    for number in range(8):
        pruner.step(noise(number))
        drawn.append({name: p.clone() for name, p in pruner._supernet.named_parameters() if p.dim() > 1})
    scaled = []
    for name, module in pruner._supernet.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_out = module.weight.shape[0] * module.kernel_size[0] * module.kernel_size[1]
            scaled += [each[f"{name}.weight"].flatten() * (fan_out / 2) ** 0.5 for each in drawn]
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.weight.eq(1).all()
            assert module.bias.eq(0).all()
        if isinstance(module, torch.nn.Linear):
            assert module.bias.eq(0).all()
    assert torch.cat(scaled).std().item() == pytest.approx(1, abs=0.03)
    assert torch.cat(scaled).unique().numel() > 0.999 * torch.cat(scaled).numel()


def test_none_goes_first_and_three_of_an_edge_a_round(monkeypatch):
    pruner = begun(DARTS, ratio=0.25)
    order = {name: number for number, name in enumerate(DARTS.candidates("normal")[0])}
    asked = scripted(monkeypatch, pruner, lambda place, _: order[place.operation])
    assert pruner.max_steps == 28 * (7 + 4) * 3
    masks = []
    while not pruner.done:
        pruner.step(noise(0))
        masks.append({names for edges in pruner.mask.kept.values() for names in edges})
    names = tuple(order)
    assert masks[28 * 7 * 3 - 2] == {names[1:]}
    assert masks[28 * 7 * 3 - 1] == {names[4:]}  # 7 -> 4
    assert masks[-1] == {names[6:]}  # the code would go on to 1; a quarter of 8 are 2
    assert len(asked) == pruner.max_steps
    assert len({seed for _, seed in asked}) == len(asked)  # a candidate and a repeat share no network
    assert [place for place, _ in asked[:4]] == [("normal", 0, "max_pool_3x3")] * 3 + [("normal", 0, "avg_pool_3x3")]
    assert {place.operation for place, _ in asked[28 * 7 * 3 :]} == set(names[4:])  # rated anew
    pruner.mask.check(DARTS)
    assert (pruner.mask.pruner, pruner.mask.ratio) == ("etenas", 0.25)


@pytest.mark.parametrize(
    ("ratio", "kept", "rated"), [(1.0, 8, 0), (0.875, 7, 0), (0.75, 6, 7), (0.5, 4, 7), (0.25, 2, 11), (0.01, 1, 11)]
)
def test_every_edge_keeps_what_the_ratio_says(monkeypatch, ratio, kept, rated):
    pruner = begun(NARROW, ratio=ratio)
    scripted(monkeypatch, pruner, lambda place, number: 0.01 * number)
    assert pruner.max_steps == 2 * len(OPEN_EDGES) * rated * 3
    assert pruner.done == (rated == 0)
    mask = run(pruner)
    for edges in mask.kept.values():
        assert [len(names) for e, names in enumerate(edges) if e in OPEN_EDGES] == [kept] * len(OPEN_EDGES)
        assert all(("none" in names) == (ratio == 1) for e, names in enumerate(edges) if e in OPEN_EDGES)


@pytest.mark.parametrize(("prune_number", "rated"), [(1, 7 + 6 + 5), (2, 7 + 5), (3, 7), (100, 7)])
def test_a_round_removes_no_more_than_the_ratio_allows(monkeypatch, prune_number, rated):
    pruner = begun(NARROW, prune_number=prune_number)
    asked = scripted(monkeypatch, pruner, lambda place, number: 0.01 * number)
    mask = run(pruner)
    assert len(asked) == 2 * len(OPEN_EDGES) * rated * 3
    assert {len(names) for edges in mask.kept.values() for names in edges} == {1, 4}


def test_a_score_is_the_mean_over_the_repeats(monkeypatch):
    """One repeat of three says the opposite of their mean."""
    pruner = begun(NARROW)
    worst = {"max_pool_3x3": [3, 3, -9], "skip_connect": [0, 0, -1], "dil_conv_5x5": [-1, -1, 1]}
    scripted(monkeypatch, pruner, lambda place, number: worst.get(place.operation, [1, 1, 1])[number % 3])
    mask = run(pruner)
    gone = set(NARROW.candidates("normal")[0]) - set(mask.kept["normal"][0])
    assert gone == {"none", *worst}
    scores = mask.importance["normal"][0]
    assert scores["none"] is None
    assert scores["max_pool_3x3"] == pytest.approx(-1)
    assert scores["dil_conv_5x5"] == pytest.approx(-1 / 3)
    assert mask.importance["normal"][1] == {"skip_connect": None}


def test_ranking_functions_are_summed_each_on_its_own_network(monkeypatch):
    pruner = begun(NARROW, rankers={"a": NNGPFrobenius(weight=2.0), "b": NNGPMean(sign=-1), "c": None})
    assert pruner.num_batches == 4
    seen = []

    def rate(ranker, j, sample):
        seen.append((type(ranker), sample.seed, [batch.images for batch in sample.batches]))
        return 4.0, 3.0

    monkeypatch.setattr(pruner, "_rate", rate)
    batches = noise(1) + noise(2)
    assert pruner.step(batches) == {"relative_change": pytest.approx(2 * 0.25 - 0.25)}
    assert [kind for kind, *_ in seen] == [NNGPFrobenius, NNGPMean]
    assert seen[0][1] != seen[1][1]
    given = [images for _, _, each in seen for images in each]
    assert all(images is batch.images for images, batch in zip(given, batches, strict=True))


def test_goes_on_where_it_was_left(monkeypatch):
    changes = np.random.default_rng(0).normal(size=10_000)
    whole, first, rest = (begun(NARROW, ratio=0.25) for _ in range(3))
    for pruner in (whole, first):
        scripted(monkeypatch, pruner, lambda place, number: changes[number])
    expected = run(whole)
    for _ in range(150):  # in the second round, between two repeats
        first.step(noise(0))
    state = first.state_dict()
    rest.load_state_dict(state)
    assert rest.mask == first.mask
    asked = scripted(monkeypatch, rest, lambda place, number: changes[150 + number])
    assert run(rest) == expected
    assert len(asked) == whole.max_steps - 150
    with pytest.raises(ValueError, match="the state of the pruner has seed 0 and 150 steps, this pruning has seed 1"):
        begun(NARROW, ratio=0.25, seed=1).load_state_dict(state)


def test_a_rating_depends_on_seed_and_step_alone():
    """Not on what was rated before, nor on its precision."""
    one, other = begun(NARROW), begun(NARROW)
    torch.manual_seed(1)
    for number in range(3):
        one.step(noise(number))
    torch.manual_seed(2)
    other.load_state_dict({"changes": torch.zeros(2), "seed": 0})
    assert one._values[2] == other.step(noise(2))["relative_change"]
    double = begun(NARROW)
    for number in range(3):
        double.step([batch._replace(images=batch.images.double()) for batch in noise(number)])
    assert double._values == pytest.approx(one._values, abs=1e-4)


def test_what_is_not_finite_ends_the_pruning(monkeypatch):
    pruner = begun(NARROW)
    scripted(monkeypatch, pruner, lambda place, number: float("nan"))
    with pytest.raises(NothingUsable, match="nngp is 1 with and nan without max_pool_3x3 on edge 0 of normal"):
        pruner.step(noise(0))
    monkeypatch.setattr(pruner, "_rate", lambda *_: (0.0, 0.0))
    with pytest.raises(NothingUsable, match="relative difference is not finite"):
        pruner.step(noise(0))


def test_says_what_chance_gives(monkeypatch):
    """Of the 8 candidates of an edge `none` is always gone, and of the other 7 each two masks keep 4."""
    pruner = begun(NARROW)
    assert pruner.metrics() == {}
    scripted(monkeypatch, pruner, lambda place, number: 0.01 * number)
    run(pruner)
    num_open = 2 * len(OPEN_EDGES)
    agreed = num_open * (1 + 7 * (16 + 9) / 49) + len(pruner._candidates) - 8 * num_open
    expected = {"repeats": 3.0, "agreement_chance": pytest.approx(agreed / len(pruner._candidates))}
    assert pruner.metrics() == expected


@pytest.mark.parametrize(("side", "size"), [(8, 32), (64, 32), (32, 32), (8, None)])
def test_images_are_brought_to_one_size(side, size):
    batch = Batch(torch.rand(2, 3, side, side), torch.arange(2))
    found = resized(batch, size)
    assert found.images.shape == (2, 3, size or side, size or side)
    assert found.labels is batch.labels
    assert found.images.mean().item() == pytest.approx(batch.images.mean().item(), abs=0.02)
    if size in (None, side):
        assert found.images is batch.images


def test_sizes_are_those_of_the_script_of_the_space():
    pruner = begun(load_space("nasbench201", init_channels=16, num_cells=15))
    assert (pruner.batch_size, pruner.prune_number, pruner.scoring_space.init_channels) == (72, 1, 3)
    pruner.begin(NARROW, NARROW, ratio=0.5, seed=0)
    assert (pruner.batch_size, pruner.prune_number, pruner.scoring_space.init_channels) == (14, 3, 1)
    pruner = begun(batch_size=9, prune_number=2, channels=4, network={"init_channels": 2, "num_classes": 64})
    assert (pruner.batch_size, pruner.prune_number, pruner.scoring_space.init_channels) == (9, 2, 4)
    assert pruner.network == {"num_classes": 64}
    with pytest.raises(
        ValueError, match=r"`channels` must be a number or have one for darts, got \{'nasbench201': 3\}"
    ):
        begun(channels={"nasbench201": 3})


def test_impossible_settings_are_told():
    with pytest.raises(ValueError, match="`rankers` must name at least one ranking function, got none"):
        make_pruner({"nngp": None})
    with pytest.raises(ValueError, match="`num_batches` must be at least 2 for zico, got 1"):
        make_pruner({"zico": ZiCo()}, num_batches=1)
    chain = MobileNetSpace(
        "mobilenet", stem_channels=8, stem_stride=1, first_channels=8, widths=(8,), depths=(2,), strides=(1,),
        features=16, width_multiplier=1.0,
    )  # fmt: skip
    with pytest.raises(ValueError, match="has no network for the mobilenet space"):
        begun(chain)


def test_says_before_it_begins_that_it_needs_data():
    """A comparison takes pruners of no steps for random ones, and prunes with a hundred seeds."""
    assert make_pruner().max_steps > 0


def test_settings_of_other_pruners_are_accepted():
    assert begun(max_repeats=8, aggregate="median").repeats == 3


def test_a_mask_of_every_space_with_cells_of_darts():
    space = load_space("s1", init_channels=16, num_cells=8)
    pruner = begun(space, repeats=1)
    pruner.step(noise(0))
    assert Mask.full(space).kept.keys() == pruner.mask.kept.keys()
