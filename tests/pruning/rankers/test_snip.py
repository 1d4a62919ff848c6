import math

import pytest
import torch
from torch.nn import functional as F

from halfnas.pruning.rankers import SNIP


def test_by_hand(linear, vectors):
    # Logits (2, 0) at x = (2, 1): dL/dW = ((p - 1) x, (1 - p) x) for label 0.
    p = 1 / (1 + math.exp(-2))
    found = SNIP()(linear([[1, 0], [-3, 6]]), vectors([[2, 1]], [0]))
    assert found.item() == pytest.approx((1 - p) * (1 * 2 + 3 * 2 + 6 * 1), abs=1e-12)


def test_against_autograd(network, sample, weights):
    F.cross_entropy(network.module(sample.images), sample.labels).backward()  # all batches together
    expected = sum((w * w.grad).abs().sum().item() for w in weights)
    found = SNIP()(network, sample)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_equals_the_derivative_of_masks(network, sample):
    """Connection sensitivity as in the paper: the derivative by a mask in front of the weight, at 1."""
    module, step = network.module, 1e-6
    weight = module.stem.conv.weight
    total = 0.0
    with torch.no_grad():
        for position in range(weight.numel()):
            values = []
            for factor in (1 + step, 1 - step):
                before = weight.view(-1)[position].item()
                weight.view(-1)[position] *= factor
                values.append(F.cross_entropy(module(sample.images), sample.labels).item())
                weight.view(-1)[position] = before
            total += abs(values[0] - values[1]) / (2 * step)

    class OnlyStem(type(network)):
        def weights(self):
            return {"stem.conv.weight": weight.detach()}

    assert SNIP()(OnlyStem(module), sample).item() == pytest.approx(total, rel=1e-5)


def test_needs_labels(network, unlabelled):
    with pytest.raises(ValueError, match="needs labels, and the images have none"):
        SNIP()(network, unlabelled)
