import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from halfnas.pruning import Batch, Sample, ScoringNetwork
from halfnas.pruning.rankers import FLOPs

#: candidates of each edge of the supernet
EDGES = [3, 1, 2, 1, 2, 1]


def test_by_hand(linear, vectors):
    found = FLOPs()(linear([[1, 2, 3], [4, 5, 6]], [[0, 0]]), vectors([[1, 1, 1]]))
    assert found.item() == 2 * (6 + 2)
    assert found.dtype == torch.float64


def test_convolutions_count_at_every_position():
    layers = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 1, 1)
    sample = Sample([Batch(torch.zeros(3, 4, 8, 8), None)])
    # 6 channels of 4x4, each from 2 channels in 3x3; then one of 2x2, from 6. Biases are free.
    expected = 2 * (6 * 4 * 4 * 2 * 9) + 2 * (2 * 2 * 6)
    assert FLOPs()(ScoringNetwork(nn.Sequential(*layers)), sample).item() == expected


def test_of_nasbench201(network, sample):
    # Images of 6x6: stages of 2, 4 and 8 channels on 36, 9 and 4 positions.
    stages = [(2, 36), (4, 9), (8, 4)]
    found = FLOPs()(network, sample).item()
    expected = 27 * 2 * 36 + 8 * 4  # stem and head
    for (c, _), (wide, positions) in pairwise(stages):
        expected += (9 * c * wide + 9 * wide * wide + c * wide) * positions  # two 3x3, and the 1x1 of the shortcut
    # discrete: two 3x3 and a 1x1; supernet: 1x1 + 3x3, 3x3, 1x1, 3x3
    kernels = 2 * 9 + 1 if not network.alpha else 1 + 9 + 9 + 1 + 9
    expected += sum(kernels * c * c * positions for c, positions in stages)
    assert found == 2 * expected


def test_does_not_depend_on_the_number_of_images(network, sample, single):
    assert FLOPs()(network, sample).item() == FLOPs()(network, single).item()


@pytest.mark.parametrize("network", ["supernet"], indirect=True)
def test_candidates_count_with_their_presence(network, sample):
    whole = FLOPs()(network, sample).item()
    alpha = torch.zeros(10, dtype=torch.float64)
    alpha[1], alpha[2] = -torch.inf, math.log(0.5)  # nor_conv_1x1 and nor_conv_3x3 of the first edge
    found = FLOPs()(ScoringNetwork(network.module, {"cell": alpha.split(EDGES)}), sample).item()
    one = 2 * (2**2 * 36 + 4**2 * 9 + 8**2 * 4)
    assert found == pytest.approx(whole - one - 0.5 * 9 * one, abs=1e-9)
