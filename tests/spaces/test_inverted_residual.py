"""Shapes, parameters and shortcuts of inverted residuals, and of what stands around them."""

import pytest
import torch
from torch import nn

from halfnas.spaces import EdgePlan
from halfnas.spaces.inverted_residual import ConvHead, ConvStem, Residual, inverted_residual

SIZES = [EdgePlan(8, 8), EdgePlan(8, 8, 2), EdgePlan(8, 16), EdgePlan(8, 16, 2)]


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("edge", SIZES)
@pytest.mark.parametrize(("kernel", "expansion"), [(3, 3), (5, 6), (7, 6), (3, 1)])
def test_shapes_and_parameters(edge, kernel, expansion):
    block = inverted_residual(edge, kernel, expansion, affine=False)
    size = -(-7 // edge.stride)
    assert block(torch.randn(2, 8, 7, 7)).shape == (2, edge.out_channels, size, size)
    width = 8 * expansion
    expand = 0 if expansion == 1 else 8 * width
    assert count(block) == expand + width * kernel**2 + width * edge.out_channels
    assert sum(isinstance(module, nn.ReLU) for module in block.modules()) == (1 if expansion == 1 else 2)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norms(affine):
    norms = [m for m in inverted_residual(SIZES[0], 3, 3, affine=affine).modules() if isinstance(m, nn.BatchNorm2d)]
    assert [norm.affine for norm in norms] == [affine] * 3


@pytest.mark.parametrize("edge", SIZES)
def test_the_input_is_added_where_shapes_are_equal(edge):
    block = inverted_residual(edge, 3, 3, affine=True)
    assert isinstance(block, Residual) == (edge == EdgePlan(8, 8))
    if isinstance(block, Residual):
        x = torch.randn(2, 8, 5, 5)
        nn.init.zeros_(block.branch[-1].weight)  # of the last batch norm
        assert torch.equal(block(x), x)


def test_a_block_ends_without_relu():
    block = inverted_residual(SIZES[3], 3, 6, affine=False)
    assert block(torch.randn(4, 8, 8, 8)).min() < 0


def test_stem_and_head():
    (state,) = ConvStem(1, 6, 2)(torch.randn(2, 1, 9, 9))
    assert state.shape == (2, 6, 5, 5)
    assert state.min() == 0
    assert ConvHead(6, 20, 7)(state).shape == (2, 7)
    (state,) = ConvStem(1, 6, before=nn.Conv2d(6, 4, 1))(torch.randn(2, 1, 9, 9))
    assert state.shape == (2, 4, 9, 9)
