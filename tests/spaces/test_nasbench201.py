import itertools

import pytest
import torch
from torch import nn

from halfnas import build_network, build_supernet
from halfnas.evaluation import count_macs
from halfnas.networks import DiscreteNetwork
from halfnas.spaces import (
    CellPlan,
    EdgePlan,
    Genotype,
    Mask,
    NASBench201Space,
    discretize,
    from_architecture_string,
    load_space,
    to_architecture_string,
)
from halfnas.spaces.operations import FactorizedReduce, PoolBN, ReLUConvBN, Zero

# D-X-Y/AutoDL-Projects, xautodl/models/cell_operations.py: this order decides ties.
CANDIDATES = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
PAIRS = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
ALL_3X3 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
ALL_NONE = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
# that of the README of D-X-Y/NAS-Bench-201, with `none` in place of one operation
MIXED = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"


def small_space(**changes):
    return NASBench201Space(**{"init_channels": 4, "num_cells": 3, **changes})


def genotype_of(operations, **outputs):
    genes = tuple((name, source) for name, (source, _) in zip(operations, PAIRS, strict=True))
    return Genotype("nasbench201", {"cell": genes}, outputs or {"cell": (3,)})


def images(size=8, batch=3, channels=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, size, size, generator=generator, dtype=torch.float64)


# --- the space


def test_topology():
    cell = small_space().kinds["cell"]
    assert list(small_space().kinds) == ["cell"]
    assert [(edge.source, edge.target) for edge in cell.edges] == PAIRS
    assert small_space().candidates("cell") == (CANDIDATES,) * 6
    assert (cell.num_inputs, cell.nodes, cell.output) == (1, (1, 2, 3), (3,))
    assert [cell.genes_into(node) for node in cell.nodes] == [1, 2, 3]
    assert {cell.choices(edge) for edge in cell.edges} == {CANDIDATES}  # `none` is one of them
    assert small_space().name == "nasbench201"


def test_the_yaml_has_the_published_sizes():
    space = load_space("nasbench201")  # scripts-search/NAS-Bench-201/train-models.sh: 16 channels, 5 cells a stage
    assert type(space) is NASBench201Space
    assert (space.init_channels, space.num_cells, space.num_classes, space.in_channels) == (16, 15, 10, 3)


@pytest.mark.parametrize("search", [True, False])
def test_skeleton(search):
    skeleton = small_space(num_cells=6, num_classes=7, in_channels=1).skeleton(search=search)
    plans = [layer for layer in skeleton.layers if isinstance(layer, CellPlan)]
    assert [layer.edges[0].channels if isinstance(layer, CellPlan) else None for layer in skeleton.layers] == [
        4, 4, None, 8, 8, None, 16, 16,
    ]  # fmt: skip
    assert {plan.kind for plan in plans} == {"cell"}
    assert {edge.stride for plan in plans for edge in plan.edges} == {1}
    assert {type(module) for plan in plans for module in plan.preprocess} == {nn.Identity}
    assert skeleton.auxiliary_layer is None
    (state,) = skeleton.stem(torch.randn(2, 1, 8, 8))
    for layer, shape in ((skeleton.layers[2], (2, 8, 4, 4)), (skeleton.layers[5], (2, 16, 2, 2))):
        state = layer(state)
        assert state.shape == shape
    assert skeleton.head(state).shape == (2, 7)
    fixed = [skeleton.stem, skeleton.layers[2], skeleton.layers[5], skeleton.head]
    norms = [module for part in fixed for module in part.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 1 + 2 + 2 + 1
    assert all(norm.affine for norm in norms)  # in search too, as in the authors' code


@pytest.mark.parametrize("size", [4, 5, 7, 8])
def test_sizes_are_rounded_up_between_stages(size):
    block = small_space().skeleton(search=False).layers[1]
    assert block(torch.randn(2, 4, size, size)).shape == (2, 8, -(-size // 2), -(-size // 2))


def test_shortcut_averages_squares():
    block = small_space().skeleton(search=False).layers[1].double()
    nn.init.zeros_(block.convolutions[1][2].weight)
    x = torch.randn(2, 4, 4, 6, dtype=torch.float64)
    means = x.reshape(2, 4, 2, 2, 3, 2).mean(dim=(3, 5))
    torch.testing.assert_close(block(x), torch.einsum("oi,bihw->bohw", block.shortcut[1].weight[..., 0, 0], means))


@pytest.mark.parametrize("search", [True, False])
def test_operations(search):
    operations = {name: small_space().operation(name, EdgePlan(4, 4), search=search) for name in CANDIDATES}
    x = torch.randn(2, 4, 5, 5)
    assert all(operation(x).shape == x.shape for operation in operations.values())
    assert isinstance(operations["none"], Zero)
    assert isinstance(operations["skip_connect"], nn.Identity)
    assert isinstance(operations["avg_pool_3x3"], nn.AvgPool2d)  # the authors have no batch norm after it, ever
    assert operations["avg_pool_3x3"](torch.ones(1, 4, 5, 5)).min() == 1  # padding is not counted
    for size in (1, 3):
        relu, convolution, norm = operations[f"nor_conv_{size}x{size}"]
        assert isinstance(relu, nn.ReLU)
        assert convolution.kernel_size == (size, size)
        assert convolution.bias is None
        assert norm.affine == (not search)
    modules = [type(module) for operation in operations.values() for module in operation.modules()]
    assert not {PoolBN, FactorizedReduce} & set(modules)
    assert modules.count(ReLUConvBN) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_cells": 8}, "`num_cells` must be a positive multiple of 3, got 8: it counts the cells of all 3 stages"),
        ({"num_cells": 0}, "`num_cells` must be a positive multiple of 3, got 0"),
        ({"num_cells": -3}, "`num_cells` must be a positive multiple of 3, got -3"),
        ({"init_channels": 0}, "`init_channels` must be positive, got 0"),
    ],
)
def test_refused_sizes(changes, message):
    with pytest.raises(ValueError, match=message):
        small_space(**changes)


def test_smallest_images():
    small_space().check_images(4)
    with pytest.raises(ValueError, match=r"images of 3x3 are too small: the resolution is halved 2 times, .* 4x4"):
        small_space().check_images(3)


def test_no_auxiliary_head():
    message = r"the nasbench201 space has no auxiliary head; switch it off \(evaluation.auxiliary=false\)"
    with pytest.raises(ValueError, match=message):
        small_space().skeleton(search=False, auxiliary=True)
    with pytest.raises(ValueError, match=message):
        small_space().check_images(32, auxiliary=True)


def test_partial_channels():
    small_space().check_partial_channels(4)
    with pytest.raises(ValueError, match="4 is no multiple of 3; possible: 1, 2, 4"):
        small_space().check_partial_channels(3)


# --- genotypes and how the authors write them


@pytest.mark.parametrize("operations", [*itertools.permutations(CANDIDATES, 2), ("none", "none")])
def test_architecture_strings(operations):
    genotype = genotype_of(operations * 3)
    text = to_architecture_string(genotype)
    assert text == "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*operations * 3)
    assert from_architecture_string(text) == genotype
    small_space().check_genotype(genotype)


def test_genotype_file(tmp_path):
    genotype = from_architecture_string(MIXED)
    assert genotype.to_json() == {
        "format": 1,
        "space": "nasbench201",
        "cell": [
            ["nor_conv_3x3", 0], ["nor_conv_3x3", 0], ["avg_pool_3x3", 1],
            ["skip_connect", 0], ["none", 1], ["nor_conv_1x1", 2],
        ],
        "cell_concat": [3],
    }  # fmt: skip
    assert Genotype.load(genotype.save(tmp_path / "genotype.json")) == genotype


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"must be written as \|operation~0\|\+\|operation~0\|operation~1\|\+\|operation~0\|.*~2\|, got ''"),
        (ALL_3X3[:-1], "must be written as"),
        (f" {ALL_3X3}", "must be written as"),
        (f"{ALL_3X3}\n", "must be written as"),
        (ALL_3X3.rsplit("+", 1)[0], "must be written as"),
        (f"{ALL_3X3}+|none~0|none~1|none~2|none~3|", "must be written as"),
        (ALL_3X3.replace("nor_conv_3x3~1", "nor_conv_3x3~0"), "must be written as"),
        (ALL_3X3.replace("~", "@"), "must be written as"),
        (ALL_3X3.replace("nor_conv_3x3~2", "sep_conv_3x3~2"), "unknown operation 'sep_conv_3x3' in .*; known: none, s"),
        (ALL_3X3.replace("nor_conv_3x3~2", "~2"), "unknown operation '' in"),
    ],
)
def test_malformed_architecture_strings(text, message):
    with pytest.raises(ValueError, match=message):
        from_architecture_string(text)


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        (Genotype("darts", {"cell": ()}), "belongs to space 'darts', not to 'nasbench201'"),
        (Genotype("nasbench201", {"cell": (("none", 0),) * 5}), r"needs 6 \(operation, source\) pairs, got 5"),
        (genotype_of(["none"] * 5 + ["max_pool_3x3"]), "unknown operation 'max_pool_3x3'; known: none, skip_connect, "),
        (
            Genotype("nasbench201", {"cell": tuple(("none", source) for source in (0, 1, 0, 0, 1, 2))}),
            r"sources \[0, 1, 0, 0, 1, 2\] must be \[0, 0, 1, 0, 1, 2\], those of all edges in their order",
        ),
        (genotype_of(["none"] * 6, cell=(2, 3)), r"cell 'cell': output \[2, 3\] must be \[3\] in space nasbench201"),
    ],
)
def test_genotypes_that_are_not_of_the_space(genotype, message):
    with pytest.raises(ValueError, match=message):
        small_space().check_genotype(genotype)
    with pytest.raises(ValueError, match=message):
        to_architecture_string(genotype)


def test_discretisation_takes_the_strongest_of_all_candidates():
    strengths = [dict.fromkeys(CANDIDATES, 0.2) | {name: 0.3} for name in (*CANDIDATES, "none")]
    genotype = discretize(small_space(), {"cell": strengths})
    assert genotype == genotype_of([*CANDIDATES, "none"])


# --- the networks


def counted_parameters(operations, channels=16, cells_per_stage=5, num_classes=10, in_channels=3):
    """From the definition, layer by layer: no weights but those of convolutions, batch norms and the last layer."""

    def conv_bn(c_in, c_out, size):
        return c_in * c_out * size**2 + 2 * c_out

    def cell(c):
        of = {"nor_conv_1x1": conv_bn(c, c, 1), "nor_conv_3x3": conv_bn(c, c, 3)}
        return sum(of.get(name, 0) for name in operations)

    total = conv_bn(in_channels, channels, 3)
    for c in (channels, 2 * channels):
        total += conv_bn(c, 2 * c, 3) + conv_bn(2 * c, 2 * c, 3) + c * 2 * c
    total += cells_per_stage * sum(cell(c) for c in (channels, 2 * channels, 4 * channels))
    return total + 2 * 4 * channels + (4 * channels + 1) * num_classes


# Published: D-X-Y/NATS-Bench issue 36 prints the first; the others are the least and the most of the benchmark's
# architectures, in the README of automl/MO-HPOBenchExperimentUtils. Published FLOPs count a multiply-accumulate as one
# and also the biases of the last layer.
@pytest.mark.parametrize(
    ("architecture", "num_classes", "params", "mflops"),
    [
        (
            "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|",
            10, 0.802426, 113.95137,
        ),
        (ALL_NONE, 10, 0.073306, 7.78305),
        (ALL_3X3, 10, 1.531546, 220.11969),
        (ALL_NONE, 100, 0.079156, 7.7889),
        (ALL_3X3, 100, 1.537396, 220.12554),
    ],
)  # fmt: skip
def test_published_parameters_and_flops(architecture, num_classes, params, mflops):
    genotype = from_architecture_string(architecture)
    network = build_network(genotype, init_channels=16, num_cells=15, num_classes=num_classes)
    assert network.num_parameters() == round(1e6 * params)
    assert count_macs(network, (3, 32, 32)) + num_classes == round(1e6 * mflops)
    operations = [name for name, _ in genotype.cell]
    assert network.num_parameters() == counted_parameters(operations, num_classes=num_classes)


def test_parameters_of_other_sizes():
    network = build_network(from_architecture_string(MIXED), init_channels=6, num_cells=6, num_classes=7, in_channels=1)
    operations = [name for name, _ in network.genotype.cell]
    assert network.num_parameters() == counted_parameters(operations, 6, 2, 7, 1)


def test_a_cell_by_hand():
    network = build_network(from_architecture_string(MIXED), init_channels=4, num_cells=3, num_classes=10).double()
    assert network.layer_kinds == ["cell", None, "cell", None, "cell"]
    cell = network.layers[0].eval()
    op = cell.operations
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    s1 = op[0](x)
    s2 = op[1](x) + nn.functional.avg_pool2d(s1, 3, stride=1, padding=1, count_include_pad=False)
    torch.testing.assert_close(cell(x), x + op[5](s2))


@pytest.mark.parametrize("architecture", [MIXED, ALL_NONE])
def test_every_parameter_has_a_gradient(architecture):
    network = build_network(from_architecture_string(architecture), init_channels=4, num_cells=3, num_classes=10)
    network.double()(images()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    for operation, path in zip(network.layers[0].operations, network.layers[0].paths, strict=True):
        assert (path is None) == isinstance(operation, (nn.Identity, Zero))


def with_weights_of(supernet, genotype):
    """The discrete network of a genotype, with the weights of the supernet's candidates."""
    network = DiscreteNetwork(supernet.space, genotype).double()
    for part in ("stem", "head"):
        getattr(network, part).load_state_dict(getattr(supernet, part).state_dict())
    for kind, layer, source in zip(network.layer_kinds, network.layers, supernet.layers, strict=True):
        if kind is None:
            layer.load_state_dict(source.state_dict())
            continue
        for (name, _), operation, edge in zip(genotype.cell, layer.operations, source.edges, strict=True):
            missing, unexpected = operation.load_state_dict(edge.operations[name].state_dict(), strict=False)
            assert {*missing} <= {"2.weight", "2.bias"}  # scale and shift, 1 and 0 at first
            assert not unexpected
    return network


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("engine", ["plain", "fused"])
def test_a_supernet_with_one_candidate_an_edge_is_the_discrete_network(engine, training):
    space = small_space(num_cells=6)
    genotype = genotype_of(
        ["nor_conv_3x3", "avg_pool_3x3", "nor_conv_1x1", "skip_connect", "nor_conv_3x3", "nor_conv_1x1"]
    )
    mask = Mask("nasbench201", {"cell": [[name] for name, _ in genotype.cell]})
    supernet = build_supernet(space, mask, engine=engine).double()
    assert supernet.genotype() == genotype
    network = with_weights_of(supernet, genotype)
    torch.testing.assert_close(network.train(training)(images()), supernet.train(training)(images()))


@pytest.mark.parametrize("engine", ["plain", "fused"])
@pytest.mark.parametrize("architecture", [MIXED, ALL_3X3, ALL_NONE])
def test_a_supernet_that_has_decided_is_the_discrete_network(architecture, engine):
    genotype = from_architecture_string(architecture)
    supernet = build_supernet(small_space(), engine=engine).double()
    chosen = [name == gene for gene, _ in genotype.cell for name in CANDIDATES]
    with torch.no_grad():  # a softmax of exact zeros and ones
        supernet.alpha["cell"].copy_(torch.tensor(chosen) * 1e4)
    assert supernet.genotype() == genotype
    network = with_weights_of(supernet, genotype)
    torch.testing.assert_close(network(images()), supernet(images()))


@pytest.mark.parametrize("engine", ["plain", "fused"])
@pytest.mark.parametrize("partial_channels", [1, 4])
def test_a_supernet_trains_and_discretises(engine, partial_channels):
    torch.manual_seed(0)
    space = small_space(in_channels=1)
    mask = Mask.random(space, 0.5, seed=0)
    supernet = build_supernet(space, mask, engine=engine, partial_channels=partial_channels).double()
    logits = supernet(images(size=7, channels=1))
    logits.square().sum().backward()
    assert logits.shape == (3, 10)
    assert all(parameter.grad is not None for parameter in supernet.parameters())
    genotype = supernet.genotype()
    assert all(name in kept for (name, _), kept in zip(genotype.cell, mask.kept["cell"], strict=True))
    assert from_architecture_string(to_architecture_string(genotype)) == genotype
    assert {len(kept) for kept in mask.kept["cell"]} == {3}  # half of 5, rounded up
