"""NAS-Bench-Macro: the published sizes, and parameters and multiply-accumulates against the authors' table."""

import csv
import itertools
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from halfnas import build_network
from halfnas.evaluation import count_macs
from halfnas.networks import DiscreteNetwork
from halfnas.spaces import EdgePlan, Genotype, NASBenchMacroSpace, load_space
from halfnas.spaces.inverted_residual import Residual
from halfnas.spaces.nasbench_macro import CANDIDATES, from_architecture_string, to_architecture_string

BUILT = ["00000000", "22222222", "11111111", "01210212", "20100102", "12000210"]


@pytest.fixture(scope="module")
def space():
    return load_space("nasbench_macro")


@pytest.fixture(scope="module")
def table():
    """Architecture -> a row of the table: parameters and FLOPs, among others."""
    path = Path(os.environ.get("HALFNAS_DATA", "data")) / "nasbench_macro.csv"
    if not path.is_file():
        pytest.skip(f"no {path.resolve()}; set HALFNAS_DATA to the folder of nasbench_macro.csv")
    with path.open() as file:
        return {row["architecture"]: row for row in csv.DictReader(file)}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def macs(module, channels, side):
    return count_macs(module, (channels, side, side))


def test_layers(space):
    # xiusu/NAS-Bench-Macro, train/model.py
    assert type(space) is NASBenchMacroSpace
    assert space.layers == (
        EdgePlan(32, 64, 2), EdgePlan(64, 64),
        EdgePlan(64, 128, 2), EdgePlan(128, 128), EdgePlan(128, 128),
        EdgePlan(128, 256, 2), EdgePlan(256, 256), EdgePlan(256, 256),
    )  # fmt: skip
    assert list(space.kinds) == [f"layer_{number}" for number in range(1, 9)]
    assert {space.candidates(kind) for kind in space.kinds} == {(("skip_connect", "mbconv_3x3_e3", "mbconv_5x5_e6"),)}


def test_the_identity(space):
    assert isinstance(space.operation("skip_connect", EdgePlan(64, 64), search=True), nn.Identity)
    convolution, norm = space.operation("skip_connect", EdgePlan(64, 128, 2), search=True)
    assert (convolution.kernel_size, convolution.stride, convolution.bias) == ((1, 1), (2, 2), None)
    assert not norm.affine
    assert space.operation("skip_connect", EdgePlan(64, 128, 2), search=False)[1].affine


def test_parameters_and_macs_of_all_architectures(space, table):
    """Both add up over layers. The table's FLOPs are multiply-accumulates of convolutions and the linear layer."""
    skeleton = space.skeleton(search=False)
    ends = nn.Sequential(skeleton.stem, skeleton.head)
    side = 32
    costs = []
    fixed = macs(skeleton.stem, 3, 32) + macs(skeleton.head, 256, 4)
    for layer in space.layers:
        operations = [space.operation(name, layer, search=False) for name in CANDIDATES]
        costs.append([(count(o), macs(o, layer.in_channels, side) if count(o) else 0) for o in operations])
        side //= layer.stride
    assert side == 4
    assert len(table) == 3**8
    for digits in itertools.product(range(3), repeat=8):
        params, flops = (
            sum(values) for values in zip(*(of[d] for of, d in zip(costs, digits, strict=True)), strict=True)
        )
        row = table["".join(map(str, digits))]
        assert (count(ends) + params, fixed + flops) == (int(row["params"]), int(row["flops"]))


@pytest.mark.parametrize("architecture", BUILT)
def test_parameters_and_macs_of_networks(architecture, table):
    network = build_network(from_architecture_string(architecture), num_classes=10)
    row = table[architecture]
    assert network.num_parameters() == int(row["params"])
    assert count_macs(network, (3, 32, 32)) == int(row["flops"])


def test_a_network(space):
    network = DiscreteNetwork(space, from_architecture_string("12012012")).eval()
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    kinds = [type(layer.operations[0]) for layer in network.layers]
    # Layers 1, 3 and 6 change the shape.
    assert kinds == [
        nn.Sequential, Residual, nn.Sequential, Residual, Residual, nn.Sequential, Residual, Residual,
    ]  # fmt: skip


def test_drop_path_never_drops_all_that_is_there(space):
    """A layer without shortcut is not dropped, one with a shortcut leaves its input."""
    network = DiscreteNetwork(space, from_architecture_string("12012012")).eval()
    assert network.num_paths == 5
    images = torch.randn(2, 3, 32, 32)
    dropped, _ = network.forward_with_auxiliary(images, torch.zeros(5, 2))
    skipped = DiscreteNetwork(space, from_architecture_string("10000000")).eval()
    skipped.load_state_dict(network.state_dict(), strict=False)
    for number in (2, 5):
        skipped.layers[number].load_state_dict(network.layers[number].state_dict(), strict=False)
        skipped.layers[number].operations = network.layers[number].operations
    torch.testing.assert_close(skipped(images), dropped)


@pytest.mark.parametrize("architecture", [*BUILT, "00000001"])
def test_strings(space, architecture):
    genotype = from_architecture_string(architecture)
    space.check_genotype(genotype)
    assert to_architecture_string(genotype) == architecture
    assert Genotype.from_json(genotype.to_json()) == genotype
    assert genotype.cells["layer_1"] == ((list(CANDIDATES)[int(architecture[0])], 0),)
    assert genotype.cells["layer_8"] == ((list(CANDIDATES)[int(architecture[7])], 0),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0121021", "has 8 digits, one a layer, such as 01210212; got '0121021', which has 7"),
        ("012102120", "got '012102120', which has 9"),
        ("", "got '', which has 0"),
        ("01210213", r"digits 0 \(skip_connect\), 1 \(mbconv_3x3_e3\), 2 \(mbconv_5x5_e6\); got '3' in '01210213'"),
        ("0121021x", "got 'x' in '0121021x'"),
    ],
)
def test_refused_strings(text, message):
    with pytest.raises(ValueError, match=message):
        from_architecture_string(text)


def test_the_genotype_of_another_space():
    with pytest.raises(ValueError, match="the genotype belongs to space 'darts', not to 'nasbench_macro'"):
        to_architecture_string(Genotype("darts", {"normal": (("skip_connect", 0),)}))


def test_width_multiplier():
    space = load_space("nasbench_macro", width_multiplier=0.25)
    assert (space.stem_channels, [layer.out_channels for layer in space.layers][::7]) == (8, [16, 64])
    with pytest.raises(ValueError, match="`width_multiplier` must be positive, got 0"):
        load_space("nasbench_macro", width_multiplier=0)
