import math

import pytest
from torch.nn import functional as F

from halfnas.pruning.rankers import GradNorm


def test_by_hand(linear, vectors):
    # Logits 0 give p = 1/2: dL/dW = (-x / 2, x / 2), of norm |x| / sqrt(2).
    found = GradNorm()(linear([[0, 0], [0, 0]]), vectors([[3, 4]], [0]))
    assert found.item() == pytest.approx(5 / math.sqrt(2), abs=1e-12)


def test_norms_of_layers_are_summed(linear, vectors):
    # x = 1, W1 = 2, W2 = (0, 0): dL/dW2 = (-1, 1), dL/dW1 = 0. With W2 = (1, 0): p = 1 / (1 + exp(-2)),
    # dL/dW2 = 2 (1 - p) (-1, 1), dL/dW1 = -(1 - p).
    sample = vectors([[1]], [0])
    assert GradNorm()(linear([[2]], [[0], [0]]), sample).item() == pytest.approx(math.sqrt(2), abs=1e-12)
    p = 1 / (1 + math.exp(-2))
    found = GradNorm()(linear([[2]], [[1], [0]]), sample)
    assert found.item() == pytest.approx((1 - p) * (2 * math.sqrt(2) + 1), abs=1e-12)


def test_against_autograd(network, sample, weights):
    F.cross_entropy(network.module(sample.images), sample.labels).backward()
    expected = sum(math.sqrt(w.grad.square().sum().item()) for w in weights)
    found = GradNorm()(network, sample)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_needs_labels(network, unlabelled):
    with pytest.raises(ValueError, match="needs labels, and the images have none"):
        GradNorm()(network, unlabelled)
