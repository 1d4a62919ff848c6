import pytest
import torch
from torch.nn import functional as F

from halfnas.networks.cell import MixedOperation, PartialMixedOperation
from halfnas.spaces import DartsSpace, EdgePlan

SPACE = DartsSpace(init_channels=8, num_cells=3)
NAMES = SPACE.candidates("normal")[0]
ONE = torch.ones(1, dtype=torch.float64)


@pytest.fixture
def x():
    torch.manual_seed(0)
    return torch.randn(3, 8, 6, 6, dtype=torch.float64)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("names", [NAMES, ("none", "avg_pool_3x3", "dil_conv_3x3"), ("skip_connect",)])
def test_mixed_operation_is_the_weighted_sum(x, names, stride):
    edge = MixedOperation(SPACE, names, EdgePlan(8, 8, stride)).double()
    weights = torch.rand(len(names), dtype=torch.float64)
    expected = torch.zeros(3, 8, 6 // stride, 6 // stride, dtype=torch.float64)
    for number, name in enumerate(names):
        expected += weights[number] * edge.operations[name](x)
    torch.testing.assert_close(edge(x, weights), expected, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="zip"):
        edge(x, weights.repeat(2))


def test_only_the_named_candidates_are_built():
    edge = MixedOperation(SPACE, ("none", "sep_conv_3x3"), EdgePlan(8, 8))
    assert list(edge.operations) == ["none", "sep_conv_3x3"]
    partial = PartialMixedOperation(SPACE, ("sep_conv_3x3",), EdgePlan(8, 8), 4)
    assert list(partial.mixed.operations) == ["sep_conv_3x3"]
    # two blocks of depthwise 3x3 and pointwise convolutions on 8 / 4 channels
    assert sum(p.numel() for p in partial.parameters()) == 2 * (2 * 9 + 2 * 2)


@pytest.mark.parametrize("partial_channels", [2, 4, 8])
def test_channel_shuffle(x, partial_channels):
    edge = PartialMixedOperation(SPACE, ("skip_connect",), EdgePlan(8, 8), partial_channels)
    # everything passes unchanged, so that only the shuffle is seen
    assert torch.equal(edge(x, ONE), F.channel_shuffle(x, partial_channels))


@pytest.mark.parametrize("partial_channels", [2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_first_channels_are_mixed_and_the_rest_passes_by(x, stride, partial_channels):
    names = ("max_pool_3x3", "skip_connect", "sep_conv_3x3")
    edge = PartialMixedOperation(SPACE, names, EdgePlan(8, 8, stride), partial_channels).double()
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    size = 8 // partial_channels
    unshuffled = F.channel_shuffle(edge(x, weights), size)  # the inverse of a shuffle with `partial_channels` groups
    mixed = sum(
        w * operation(x[:, :size]) for w, operation in zip(weights, edge.mixed.operations.values(), strict=True)
    )
    rest = x[:, size:] if stride == 1 else F.max_pool2d(x[:, size:], kernel_size=2, stride=2)
    torch.testing.assert_close(unshuffled[:, :size], mixed, rtol=0, atol=1e-12)
    assert torch.equal(unshuffled[:, size:], rest)


@pytest.mark.parametrize("size", [5, 7, 1])
def test_odd_sizes_meet_on_stride_2(size):
    edge = PartialMixedOperation(SPACE, NAMES, EdgePlan(8, 8, 2), 4)
    half = (size + 1) // 2
    assert edge(torch.randn(2, 8, size, size), torch.full((8,), 0.125)).shape == (2, 8, half, half)
