import pytest
import torch
from torch import nn

from halfnas.spaces import EdgePlan
from halfnas.spaces.operations import DARTS_OPERATIONS, FactorizedReduce, ReLUConvBN

NAMES = list(DARTS_OPERATIONS)
POOLS = ["max_pool_3x3", "avg_pool_3x3"]
CONVOLUTIONS = ["sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"]


def build(name, channels=4, stride=1, search=True):
    torch.manual_seed(0)
    return DARTS_OPERATIONS[name](EdgePlan(channels, channels, stride), search)


def norms(module):
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


def normalized(x):
    """Batch norm in training mode without affine parameters (eps of PyTorch's default)."""
    variance, mean = torch.var_mean(x, dim=(0, 2, 3), keepdim=True, correction=0)
    return (x - mean) / (variance + 1e-5).sqrt()


@pytest.mark.parametrize("search", [True, False])
@pytest.mark.parametrize("size", [(8, 8), (5, 5), (7, 7), (5, 8), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_shapes(name, stride, size, search):
    height, width = size
    output = build(name, stride=stride, search=search)(torch.randn(2, 4, height, width))
    assert output.shape == (2, 4, -(-height // stride), -(-width // stride))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_the_input_is_left_alone(name, stride):
    x = torch.randn(2, 4, 6, 6)
    before = x.clone()
    build(name, stride=stride)(x)
    assert torch.equal(x, before)  # the candidates of an edge share it: no ReLU in place


@pytest.mark.parametrize("stride", [1, 2])
def test_none_gives_zeros_and_keeps_the_graph(stride):
    x = torch.randn(2, 4, 6, 6, requires_grad=True)
    output = build("none", stride=stride)(x)
    assert not output.any()
    output.sum().backward()
    assert not x.grad.any()


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("stride", [1, 2])
def test_batch_norms_of_convolutions(name, stride):
    number = 2 if name.startswith("sep") else 1
    for search in (True, False):
        found = norms(build(name, stride=stride, search=search))
        assert [norm.affine for norm in found] == [not search] * number
    convolutions = [m for m in build(name).modules() if isinstance(m, nn.Conv2d)]
    assert all(convolution.bias is None for convolution in convolutions)


def test_skip_connect():
    assert isinstance(build("skip_connect"), nn.Identity)
    for search in (True, False):
        reduce = build("skip_connect", stride=2, search=search)
        assert isinstance(reduce, FactorizedReduce)
        assert reduce.bn.affine is not search


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", POOLS)
def test_pools_have_a_batch_norm_only_in_search(name, stride):
    torch.manual_seed(1)
    x = torch.randn(3, 4, 6, 6, dtype=torch.float64)
    search, final = build(name, stride=stride).double(), build(name, stride=stride, search=False)
    assert [norm.affine for norm in norms(search)] == [False]
    assert norms(final) == []
    assert list(final.parameters()) == list(search.parameters()) == []
    torch.testing.assert_close(search(x), normalized(final(x)), rtol=0, atol=1e-12)


def test_average_pool_leaves_the_padding_out():
    ones = torch.ones(1, 2, 5, 5)
    torch.testing.assert_close(build("avg_pool_3x3", search=False)(ones), ones)


def test_max_pool_ignores_the_padding():
    output = build("max_pool_3x3", search=False)(-torch.ones(1, 2, 5, 5))
    torch.testing.assert_close(output, -torch.ones(1, 2, 5, 5))


# (number of depthwise + pointwise blocks, kernel, dilation): quark0/darts, cnn/operations.py
@pytest.mark.parametrize(
    ("name", "blocks", "kernel", "dilation"),
    [("sep_conv_3x3", 2, 3, 1), ("sep_conv_5x5", 2, 5, 1), ("dil_conv_3x3", 1, 3, 2), ("dil_conv_5x5", 1, 5, 2)],
)
@pytest.mark.parametrize("stride", [1, 2])
def test_separable_convolutions_equal_the_formula(name, blocks, kernel, dilation, stride):
    torch.manual_seed(2)
    operation = build(name, stride=stride).double()
    x = torch.randn(3, 4, 8, 8, dtype=torch.float64)
    output, weights = operation(x), list(operation.parameters())
    assert [tuple(w.shape) for w in weights] == [(4, 1, kernel, kernel), (4, 4, 1, 1)] * blocks
    expected = x
    for block in range(blocks):
        depthwise, pointwise = weights[2 * block : 2 * block + 2]
        reach = dilation * (kernel - 1)
        padded = nn.functional.pad(expected.relu(), [reach // 2] * 4)
        size = expected.shape[-1]
        taps = [
            depthwise[:, :, i, j].reshape(1, 4, 1, 1)
            * padded[:, :, i * dilation : i * dilation + size, j * dilation : j * dilation + size]
            for i in range(kernel)
            for j in range(kernel)
        ]
        step = stride if block == 0 else 1
        mixed = sum(taps)[:, :, ::step, ::step]
        expected = normalized(torch.einsum("oi,bihw->bohw", pointwise[:, :, 0, 0], mixed))
    torch.testing.assert_close(output, expected, rtol=0, atol=1e-12)


def test_factorized_reduce_equals_the_formula_on_even_sizes():
    torch.manual_seed(3)
    operation = FactorizedReduce(6, 4, affine=False).double()
    x = torch.randn(3, 6, 8, 6, dtype=torch.float64)
    first, second = (weight[:, :, 0, 0] for weight in operation.parameters())
    corners, shifted = x.relu()[:, :, 0::2, 0::2], x.relu()[:, :, 1::2, 1::2]
    halves = [torch.einsum("oi,bihw->bohw", first, corners), torch.einsum("oi,bihw->bohw", second, shifted)]
    torch.testing.assert_close(operation(x), normalized(torch.cat(halves, dim=1)), rtol=0, atol=1e-12)


def test_factorized_reduce_reads_zeros_beyond_odd_sizes():
    torch.manual_seed(4)
    operation = FactorizedReduce(4, 4, affine=False).double()
    x = torch.randn(2, 4, 5, 7, dtype=torch.float64)
    padded = nn.functional.pad(x, (0, 1, 0, 1))
    torch.testing.assert_close(operation(x), operation(padded), rtol=0, atol=1e-12)


def test_factorized_reduce_needs_even_channels():
    with pytest.raises(ValueError, match="`out_channels` of FactorizedReduce must be even, got 5"):
        FactorizedReduce(4, 5, affine=False)


def test_preprocess():
    torch.manual_seed(5)
    operation = ReLUConvBN(6, 4, affine=False).double()
    x = torch.randn(3, 6, 5, 5, dtype=torch.float64)
    (weight,) = operation.parameters()
    expected = normalized(torch.einsum("oi,bihw->bohw", weight[:, :, 0, 0], x.relu()))
    torch.testing.assert_close(operation(x), expected, rtol=0, atol=1e-12)
    assert ReLUConvBN(6, 4, affine=True)[2].affine
