"""MobileNet blocks in a chain: the published sizes, and what they give."""

import pytest
import torch
from torch import nn

from halfnas import build_network
from halfnas.evaluation import count_macs
from halfnas.spaces import EdgePlan, Genotype, Mask, MobileNetSpace, load_space

NAMES = tuple(f"mbconv_{k}x{k}_e{e}" for k in (3, 5, 7) for e in (3, 6))
SMALL = {
    "stem_channels": 8, "stem_stride": 1, "first_channels": 8, "widths": [8, 16], "depths": [2, 1], "strides": [1, 2],
    "features": 20, "width_multiplier": 1.0,
}  # fmt: skip


def genotype_of(space, choose):
    cells = {kind: ((choose(space.candidates(kind)[0]), 0),) for kind in space.kinds}
    return Genotype(space.name, cells, dict.fromkeys(cells, (1,)))


@pytest.mark.parametrize(("name", "smallest"), [("mobilenet", 8), ("mobilenet_224", 32)])
def test_layers(name, smallest):
    """mit-han-lab/proxylessnas, search/imagenet_arch_search.py: widths and depths of the stages."""
    space = load_space(name)
    assert space.name == name
    assert [layer.out_channels for layer in space.layers] == [24] * 4 + [40] * 4 + [80] * 4 + [96] * 4 + [192] * 4 + [
        320
    ]
    assert space.layers[0].in_channels == 16
    assert len(space.kinds) == 21
    for kind, layer in zip(space.kinds, space.layers, strict=True):
        skips = ("skip_connect",) if layer.in_channels == layer.out_channels else ()
        assert space.candidates(kind) == ((*NAMES, *skips),)
    space.check_images(smallest)
    with pytest.raises(
        ValueError, match=f"images of {smallest - 1}x{smallest - 1} are too small: the strides of space"
    ):
        space.check_images(smallest - 1)


@pytest.mark.parametrize(
    ("name", "strides"), [("mobilenet", [1, 2, 2, 1, 2, 1]), ("mobilenet_224", [2, 2, 2, 1, 2, 1])]
)
def test_strides(name, strides):
    found = [layer.stride for layer in load_space(name).layers]
    assert [found[stage] for stage in (0, 4, 8, 12, 16, 20)] == strides
    assert sum(found) == 21 + strides.count(2)


def test_cost_of_the_smallest_and_the_largest_network():
    """Around the 300 M multiply-accumulates that ProxylessNAS takes as its reference (its ref_values)."""
    space = load_space("mobilenet_224", num_classes=1000)
    largest = genotype_of(space, lambda names: "mbconv_7x7_e6")
    smallest = genotype_of(space, lambda names: "skip_connect" if "skip_connect" in names else "mbconv_3x3_e3")
    networks = [build_network(genotype, num_classes=1000) for genotype in (smallest, largest)]
    assert sum(isinstance(layer.operations[0], nn.Identity) for layer in networks[0].layers) == 15
    few, many = (count_macs(network, (3, 224, 224)) for network in networks)
    assert few < 300e6 < many


def test_a_network_at_32_pixels():
    genotype = genotype_of(load_space("mobilenet"), lambda names: names[-1])
    network = build_network(genotype, num_classes=7, in_channels=1).eval()
    x = torch.randn(2, 1, 32, 32)
    (state,) = network.stem(x)
    assert state.shape == (2, 16, 32, 32)
    assert network(x).shape == (2, 7)


def test_candidates_have_no_affine_norms_in_search():
    space = MobileNetSpace("small", **SMALL)
    edge = EdgePlan(8, 8)
    norms = {
        search: {m.affine for m in space.operation(NAMES[0], edge, search=search).modules() if hasattr(m, "affine")}
        for search in (True, False)
    }
    assert norms == {True: {False}, False: {True}}
    assert isinstance(space.operation("skip_connect", edge, search=True), nn.Identity)
    ends = space.skeleton(search=True)
    assert {m.affine for part in (ends.stem, ends.head) for m in part.modules() if hasattr(m, "affine")} == {True}


def test_width_multiplier():
    space = load_space("mobilenet", width_multiplier=0.5)
    assert [layer.out_channels for layer in space.layers][::4] == [16, 24, 40, 48, 96, 160]
    assert (space.stem_channels, space.layers[0].in_channels, space.features) == (16, 8, 1280)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"depths": [2]},
            r"`widths`, `depths` and `strides` must be lists of one length, .*got \[8, 16\], \[2\] and \[",
        ),
        ({"widths": [], "depths": [], "strides": []}, "must be lists of one length"),
        ({"depths": [2, 0]}, "`depths` must be positive, got 0"),
        ({"widths": [8, -16]}, "`widths` must be positive, got -16"),
        ({"strides": [0, 1]}, "`strides` must be positive, got 0"),
        ({"stem_stride": 0}, "`stem_stride` must be positive, got 0"),
        ({"width_multiplier": 0.0}, r"`width_multiplier` must be positive, got 0.0"),
    ],
)
def test_refused_sizes(changes, message):
    with pytest.raises(ValueError, match=message):
        MobileNetSpace("small", **{**SMALL, **changes})


def test_masks_and_genotypes_belong_to_one_yaml():
    space, other = load_space("mobilenet"), load_space("mobilenet_224")
    with pytest.raises(ValueError, match="the mask belongs to space 'mobilenet_224', not to 'mobilenet'"):
        Mask.random(other, 0.5, seed=0).check(space)
    genotype = genotype_of(other, lambda names: names[0])
    with pytest.raises(ValueError, match="the genotype belongs to space 'mobilenet_224', not to 'mobilenet'"):
        space.check_genotype(genotype)
    skipped = Genotype(space.name, {**genotype.cells, "layer_1": (("skip_connect", 0),)}, genotype.outputs)
    with pytest.raises(ValueError, match="cell 'layer_1': unknown operation 'skip_connect'; known: mbconv_3x3_e3, "):
        space.check_genotype(skipped)


def test_half_keeps_three_of_six_and_four_of_seven():
    space = load_space("mobilenet")
    mask = Mask.random(space, 0.5, seed=0)
    assert {(len(space.candidates(kind)[0]), len(mask.kept[kind][0])) for kind in space.kinds} == {(6, 3), (7, 4)}
