import pytest
import torch
from torch import nn

from halfnas import build_network
from halfnas.spaces import Genotype, find_genotype


def build(genotype="darts_v1", **changes):
    torch.manual_seed(0)
    genotype = find_genotype(genotype) if isinstance(genotype, str) else genotype
    return build_network(genotype, **{"init_channels": 4, "num_cells": 4, "num_classes": 10, **changes})


def other_outputs(**outputs):
    return Genotype.from_json({**find_genotype("darts_v2").to_json(), **outputs})


def images(size=8, batch=2):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_a_cell_by_hand():
    network = build("darts_v2").eval()
    cell = network.layers[1]  # a reduction
    assert network.layer_kinds == ["normal", "reduce", "reduce", "normal"]
    older, newer = torch.randn(2, 12, 8, 8), torch.randn(2, 16, 8, 8)
    s0, s1 = cell.preprocess[0](older), cell.preprocess[1](newer)
    op = cell.operations
    # DARTS_V2's reduction: pool(0) + pool(1); skip(2) + pool(1); pool(0) + skip(2); skip(2) + pool(1)
    s2 = op[0](s0) + op[1](s1)
    s3 = op[2](s2) + op[3](s1)
    s4 = op[4](s0) + op[5](s2)
    s5 = op[6](s2) + op[7](s1)
    output = cell(older, newer)
    torch.testing.assert_close(output, torch.cat([s2, s3, s4, s5], dim=1))
    assert output.shape == (2, 4 * 8, 4, 4)


def test_every_cell_reads_the_last_two_outputs():
    network = build()
    seen = []
    for layer in network.layers:
        layer.register_forward_hook(lambda module, inputs, output: seen.append((inputs, output)))
    x = images()
    logits = network(x)
    states = [seen[0][0][0], seen[0][0][1], *[output for _, output in seen]]
    assert states[0] is states[1]
    for index, (inputs, _) in enumerate(seen):
        assert inputs[0] is states[index]
        assert inputs[1] is states[index + 1]
    torch.testing.assert_close(logits, network.head(states[-1]))


def test_batch_norms_are_affine_and_pools_have_none():
    network = build("darts_v2", auxiliary=True)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert all(norm.affine for norm in norms)
    assert any(isinstance(operation, nn.MaxPool2d) for operation in network.layers[1].operations)


@pytest.mark.parametrize("size", [4, 7, 16])
def test_image_sizes(size):
    assert build("pc_darts")(images(size)).shape == (2, 10)


@pytest.mark.parametrize("name", ["darts_v1", "pc_darts", "p_darts", "snas"])
def test_gradients_reach_every_parameter(name):
    network = build(name, auxiliary=True, num_cells=3)
    logits, auxiliary = network.forward_with_auxiliary(images(32))
    (logits.square().sum() + auxiliary.square().sum()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


# --- the auxiliary head


def test_forward_with_auxiliary():
    network = build(auxiliary=True, num_classes=7).eval()
    read, written = [], []
    network.auxiliary_head.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    network.layers[2 * 4 // 3].register_forward_hook(lambda module, inputs, output: written.append(output))
    logits, auxiliary = network.forward_with_auxiliary(images(32))
    assert logits.shape == auxiliary.shape == (2, 7)
    assert read[0] is written[0]
    assert read[0].shape == (2, 64, 8, 8)
    torch.testing.assert_close(network(images(32)), logits)
    assert len(read) == 1  # forward() alone does not run it
    assert not torch.allclose(logits, auxiliary)


def test_no_auxiliary_head():
    network = build()
    logits, auxiliary = network.forward_with_auxiliary(images())
    assert logits.shape == (2, 10)
    assert auxiliary is None


def test_num_parameters_leaves_the_auxiliary_head_out():
    with_head, without = build(auxiliary=True), build()
    assert with_head.num_parameters() == without.num_parameters() == sum(p.numel() for p in without.parameters())
    assert sum(p.numel() for p in with_head.parameters()) > without.num_parameters()


# --- drop path


def test_drop_path_reaches_every_operation_but_identities():
    network = build("darts_v1")
    for cell, kind in zip(network.layers, network.layer_kinds, strict=True):
        reached = iter(range(cell.num_paths))
        for operation, path, gene in zip(cell.operations, cell.paths, network.genotype.cells[kind], strict=True):
            # a skip from a cell's input is no identity where it halves the resolution, and is dropped
            if gene[0] == "skip_connect" and not (kind == "reduce" and gene[1] < 2):
                assert isinstance(operation, nn.Identity)
                assert path is None
            else:
                assert path == next(reached)
    # normal cell: 5 of 8 operations; reduction: 3 of the 8 are skips, all from state 2
    assert [cell.num_paths for cell in network.layers] == [5, 5, 5, 5]
    assert network.num_paths == 20


def test_a_skip_that_halves_the_resolution_is_dropped():
    genes = [["skip_connect", source] for source in (0, 1, 0, 1, 0, 1, 0, 1)]
    network = build(other_outputs(reduce=genes))
    assert network.layers[1].paths == [*range(8)]


def test_outputs_are_multiplied_by_their_factors():
    """Every operation of every cell, sample by sample, with factors of its own."""
    network = build("darts_v1").train()
    factors = torch.rand(network.num_paths, 3) + 0.5
    by_hand = build("darts_v1").train()
    rows = iter(factors)
    for cell in by_hand.layers:
        for operation in cell.operations:
            if not isinstance(operation, nn.Identity):
                row = next(rows)
                operation.register_forward_hook(lambda _, inputs, output, row=row: output * row.view(-1, 1, 1, 1))
    x = images(batch=3)
    logits, _ = network.forward_with_auxiliary(x, factors)
    torch.testing.assert_close(logits, by_hand(x))
    assert not torch.allclose(logits, build("darts_v1").train()(x))


def test_factors_of_one_drop_nothing():
    network = build("darts_v1").train()
    x = images()
    expected = network(x)
    assert torch.equal(network.forward_with_auxiliary(x, torch.ones(network.num_paths, 2))[0], expected)
    assert torch.equal(network.forward_with_auxiliary(x)[0], expected)


# --- other outputs than all four nodes


def test_other_outputs():
    network = build(other_outputs(normal_concat=[4, 5], reduce_concat=[3, 4, 5]), auxiliary=True)
    widths = []
    for layer in network.layers:
        layer.register_forward_hook(lambda module, inputs, output: widths.append(output.shape[1]))
    logits, auxiliary = network.forward_with_auxiliary(images(32))
    assert widths == [2 * 4, 3 * 8, 3 * 16, 2 * 16]
    assert logits.shape == auxiliary.shape == (2, 10)


def test_other_outputs_are_other_states():
    network = build(other_outputs(normal_concat=[5, 2])).eval()
    default = build("darts_v2").eval()
    cell = network.layers[0]
    cell.load_state_dict(default.layers[0].state_dict())
    x = torch.randn(2, 12, 8, 8)
    s2, _, _, s5 = default.layers[0](x, x).chunk(4, dim=1)
    torch.testing.assert_close(cell(x, x), torch.cat([s5, s2], dim=1))


def test_outputs_are_the_spaces_own_where_the_genotype_names_none():
    network = build(Genotype("darts", find_genotype("darts_v2").cells))
    assert network(images()).shape == (2, 10)
    assert network.layers[0].output == (2, 3, 4, 5)
