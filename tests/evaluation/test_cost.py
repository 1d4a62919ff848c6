import pytest
import torch
from torch import nn

from halfnas.evaluation import count_macs


class Sum(nn.Module):
    """Batch norm, pooling and a sum, which cost nothing here, around a convolution."""

    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm2d(4)
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x):
        return self.pool(x + self.conv(torch.relu(self.bn(x))))


@pytest.mark.parametrize(
    ("network", "shape", "expected"),
    [
        (nn.Conv2d(3, 5, 3, padding=1), (3, 8, 8), 64 * 5 * 3 * 9),  # pixels x filters x their size
        (nn.Conv2d(3, 5, 3, padding=1, stride=2), (3, 8, 8), 16 * 5 * 3 * 9),
        (nn.Conv2d(6, 6, 5, padding=2, groups=6, bias=False), (6, 7, 7), 49 * 6 * 25),  # depthwise
        (nn.Conv2d(2, 2, 3, dilation=2, padding=2), (2, 8, 8), 64 * 2 * 2 * 9),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 10)), (3, 2, 2), 120),
        (Sum(), (4, 8, 8), 64 * 4 * 4 * 9),
        (
            nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(144, 10)),
            (1, 8, 8),
            64 * 2 + 36 * 4 * 2 * 9 + 1440,
        ),
    ],
)
def test_counts_by_hand(network, shape, expected):
    assert count_macs(network, shape) == expected


def test_leaves_the_network_as_it_was():
    network = nn.Sequential(nn.BatchNorm2d(4), Sum()).double()  # the image takes the network's type
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for training in (True, False):
        network.train(training)
        count_macs(network, (4, 8, 8))
        assert all(module.training == training for module in network.modules())
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
