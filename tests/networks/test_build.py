import pytest
import torch

from halfnas import build_network, build_supernet, load_space
from halfnas.networks import check_engine
from halfnas.spaces import Genotype, Mask, find_genotype


def count(parameters):
    return sum(parameter.numel() for parameter in parameters)


# Parameter counts of the published code (quark0/darts, yuhuixu1993/PC-DARTS), alphas excluded. "meta" holds no numbers.
@pytest.mark.parametrize(
    ("partial_channels", "num_classes", "expected"),
    [(1, 10, 1_930_618), (1, 100, 1_953_748), (4, 10, 299_578), (4, 100, 322_708)],
)
def test_parameters_of_the_supernet(partial_channels, num_classes, expected):
    with torch.device("meta"):
        space = load_space("darts", init_channels=16, num_cells=8, num_classes=num_classes)
        supernet = build_supernet(space, partial_channels=partial_channels)
    assert count(supernet.weight_parameters()) == expected


@pytest.mark.parametrize(
    ("name", "num_classes", "expected"),
    [
        ("darts_v1", 10, 3_169_414), ("darts_v1", 100, 3_221_344),
        ("darts_v2", 10, 3_349_342), ("darts_v2", 100, 3_401_272),
        ("pc_darts", 10, 3_634_678), ("pc_darts", 100, 3_686_608),
    ],
)  # fmt: skip
@pytest.mark.parametrize("auxiliary", [False, True])
def test_parameters_of_published_cells(name, num_classes, expected, auxiliary):
    with torch.device("meta"):
        network = build_network(
            find_genotype(name), init_channels=36, num_cells=20, num_classes=num_classes, auxiliary=auxiliary
        )
    assert network.num_parameters() == expected
    head = {10: 476_426, 100: 545_636}[num_classes] if auxiliary else 0
    assert count(network.parameters()) == expected + head


def test_defaults():
    space = load_space("darts", init_channels=4, num_cells=3)
    supernet = build_supernet(space)
    assert supernet.mask == Mask.full(space)
    assert supernet.space is space
    assert supernet(torch.randn(2, 3, 8, 8)).shape == (2, 10)
    assert len(supernet.beta) == 0


@pytest.mark.parametrize(
    ("partial_channels", "edge_normalization", "has_beta"),
    [(1, None, False), (4, None, True), (1, True, True), (4, False, False)],
)
def test_edge_normalization_follows_partial_channels_unless_told(partial_channels, edge_normalization, has_beta):
    space = load_space("darts", init_channels=4, num_cells=3)
    supernet = build_supernet(space, partial_channels=partial_channels, edge_normalization=edge_normalization)
    assert sorted(supernet.beta) == (["normal", "reduce"] if has_beta else [])
    assert {mixing.edges is not None for mixing in supernet.mixing().values()} == {has_beta}
    assert supernet(torch.randn(2, 3, 8, 8)).shape == (2, 10)


def test_sizes_reach_the_network():
    network = build_network(find_genotype("snas"), init_channels=4, num_cells=4, num_classes=7, in_channels=1)
    assert network(torch.randn(2, 1, 8, 8)).shape == (2, 7)
    assert network.genotype == find_genotype("snas")
    assert network.layer_kinds == ["normal", "reduce", "reduce", "normal"]


def test_unknown_engine():
    space = load_space("darts", init_channels=4, num_cells=3)
    with pytest.raises(ValueError, match=r"`engine` must be one of plain.*, got 'turbo'"):
        build_supernet(space, engine="turbo")
    with pytest.raises(ValueError, match="`engine` must be one of"):
        check_engine("turbo")
    check_engine("plain")


@pytest.mark.parametrize("partial_channels", [3, 8, 0])
def test_partial_channels_must_divide(partial_channels):
    space = load_space("darts", init_channels=4, num_cells=3)
    with pytest.raises(ValueError, match=f"4 is no multiple of {partial_channels}; possible: 1, 2, 4"):
        build_supernet(space, partial_channels=partial_channels)


def test_mask_of_another_space():
    space = load_space("darts", init_channels=4, num_cells=3)
    with pytest.raises(ValueError, match="the mask belongs to space 'nasbench201', not to 'darts'"):
        build_supernet(space, Mask("nasbench201", {"cell": [["skip_connect"]]}))


def test_genotype_of_an_unknown_space_or_not_of_its_space():
    sizes = {"init_channels": 4, "num_cells": 3, "num_classes": 10}
    with pytest.raises(ValueError, match="unknown space 'elsewhere'"):
        build_network(Genotype("elsewhere", {"cell": (("conv", 0),)}), **sizes)
    with pytest.raises(ValueError, match=r"the genotype has cells \['normal'\], darts has"):
        build_network(Genotype("darts", {"normal": (("sep_conv_3x3", 0),)}), **sizes)


def test_a_network_of_cells_needs_its_sizes():
    with pytest.raises(ValueError, match="a network of space darts needs `num_cells`"):
        build_network(find_genotype("darts_v2"), init_channels=36, num_classes=10)
