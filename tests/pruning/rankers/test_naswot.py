import math

import numpy as np
import pytest
import torch
from torch import nn

from halfnas.pruning import ScoringNetwork
from halfnas.pruning.rankers import NASWOT


def test_by_hand(vectors):
    # Codes 110 and 011 agree on one of three ReLUs: K = [[3, 1], [1, 3]], det K = 8. Zero is not positive.
    found = NASWOT()(ScoringNetwork(nn.Sequential(nn.ReLU())), vectors([[2, 0.1, -5], [0, 1, 7]]))
    assert found.item() == pytest.approx(math.log(8), abs=1e-12)


def test_all_modules_count(vectors):
    # x - 1 > 0 in the second layer: codes (1 1)(1 0) and (0 1)(0 1) agree on one of four.
    module = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(2, 2), nn.ReLU()).double()
    module[2].weight, module[2].bias = nn.Parameter(torch.eye(2).double()), nn.Parameter(-torch.ones(2).double())
    found = NASWOT()(ScoringNetwork(module), vectors([[2, 0.5], [-1, 3]]))
    assert found.item() == pytest.approx(math.log(4 * 4 - 1), abs=1e-12)


def test_images_that_look_the_same(vectors):
    found = NASWOT()(ScoringNetwork(nn.Sequential(nn.ReLU())), vectors([[2, -1], [5, -3]]))
    assert found.item() == -math.inf


def test_against_hamming_distances(network, sample):
    inputs = []
    hooks = [
        part.register_forward_pre_hook(lambda part, args: inputs.append(args[0].flatten(1).numpy()))
        for part in network.module.modules()
        if isinstance(part, nn.ReLU)
    ]
    network.module(sample.images)
    for hook in hooks:
        hook.remove()
    codes = np.concatenate(inputs, axis=1) > 0
    kernel = np.array([[codes.shape[1] - (a != b).sum() for b in codes] for a in codes])
    found = NASWOT()(network, sample)
    assert found.shape == ()
    assert found.item() == pytest.approx(math.log(abs(np.linalg.det(kernel.astype(float)))), abs=1e-8)


def test_needs_several_images(network, single):
    with pytest.raises(ValueError, match="NASWOT compares images and needs at least 2, got 1"):
        NASWOT()(network, single)
