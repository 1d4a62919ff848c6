import math

import pytest
import torch

from halfnas.networks import DiscreteNetwork
from halfnas.pruning import ScoringNetwork
from halfnas.pruning.rankers import ParameterCount
from halfnas.spaces.nasbench201 import NASBench201Space, from_architecture_string

#: candidates of each edge of the supernet
EDGES = [3, 1, 2, 1, 2, 1]

ALL_3X3 = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def test_by_hand(linear, vectors):
    found = ParameterCount()(linear([[1, 2, 3], [4, 5, 6]], [[0, 0]]), vectors([[1, 1, 1]]))
    assert found.item() == 6 + 2
    assert found.dtype == torch.float64


def test_published_number(sample):
    # NAS-Bench-201 says 1.531546 M for C = 16 and 15 cells on CIFAR-10.
    space = NASBench201Space(init_channels=16, num_cells=15)
    network = ScoringNetwork(DiscreteNetwork(space, from_architecture_string(ALL_3X3)))
    assert ParameterCount()(network, sample).item() == 1_531_546


def test_all_but_the_architecture(network, sample):
    expected = sum(p.numel() for name, p in network.module.named_parameters() if not name.startswith("alpha."))
    assert ParameterCount()(network, sample).item() == expected


@pytest.mark.parametrize("network", ["supernet"], indirect=True)
def test_candidates_count_with_their_presence(network, sample):
    # The first edge's candidates are none, nor_conv_1x1 and nor_conv_3x3; cells have 2, 4 and 8 channels.
    whole = ParameterCount()(network, sample).item()
    alpha = torch.zeros(10, dtype=torch.float64)
    alpha[1], alpha[2] = -torch.inf, math.log(0.5)
    found = ParameterCount()(ScoringNetwork(network.module, {"cell": alpha.split(EDGES)}), sample).item()
    squares = 2**2 + 4**2 + 8**2  # the supernet's batch norms have no parameters
    assert found == pytest.approx(whole - squares - 0.5 * 9 * squares, abs=1e-9)
