import math
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from halfnas.pruning import Batch, Sample, ScoringNetwork
from halfnas.pruning.rankers import SynFlow


def test_by_hand(linear, vectors):
    # |W1| (1, 1) = (3, 7), |W2| (3, 7) = 3 * 1 + 7 * 5 = 38. Every layer's sum of |theta dR / dtheta| is R = 38.
    network = linear([[1, -2], [-3, 4]], [[-1, 5]])
    assert SynFlow()(network, vectors([[-7, 3], [1, 1]])).item() == pytest.approx(math.log(2 * 38), abs=1e-12)


def test_biases_flow_and_do_not_count(vectors):
    layer = nn.Linear(2, 1).double()
    layer.weight, layer.bias = nn.Parameter(torch.tensor([[-2.0, 3.0]]).double()), nn.Parameter(-torch.ones(1).double())
    last = nn.Linear(1, 1, bias=False).double()
    last.weight = nn.Parameter(torch.full((1, 1), 10.0).double())
    network = ScoringNetwork(nn.Sequential(nn.Flatten(), layer, last))
    # R = 10 (2 + 3 + 1): the last layer has 60, the first 10 (2 + 3), its bias would have another 10.
    assert SynFlow()(network, vectors([[0, 0]])).item() == pytest.approx(math.log(60 + 50), abs=1e-12)


def test_against_autograd(network, sample):
    module = deepcopy(network.module)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if not name.startswith("alpha."):
                parameter.abs_()
    for name, part in list(module.named_modules()):
        if isinstance(part, _BatchNorm):
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, nn.Identity())
    weights = [part.weight.requires_grad_() for part in module.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    module(torch.ones(1, 3, 6, 6, dtype=torch.float64)).sum().backward()
    total = sum((w * w.grad).abs().sum().item() for w in weights)
    found = SynFlow()(network, sample)
    assert found.shape == ()
    assert found.item() == pytest.approx(math.log(total), abs=1e-10)


def test_does_not_depend_on_images_or_signs(network, sample):
    expected = SynFlow()(network, sample).item()
    others = Sample([Batch(torch.randn(2, 3, 6, 6, dtype=torch.float64), None)])
    with torch.no_grad():
        for name, parameter in network.module.named_parameters():
            if not name.startswith("alpha."):
                parameter.mul_(-1)
    assert SynFlow()(network, others).item() == pytest.approx(expected, abs=1e-12)


def test_values_beyond_float32_are_finite(linear, vectors):
    network = linear(*[[[1e10]]] * 6)  # R = 1e60
    network.module.float()
    sample = vectors([[1]])
    sample = Sample([batch._replace(images=batch.images.float()) for batch in sample.batches])
    assert SynFlow()(network, sample).item() == pytest.approx(math.log(6) + 60 * math.log(10), rel=1e-7)
