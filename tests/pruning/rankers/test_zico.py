import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from halfnas.pruning import Batch, Sample, ScoringNetwork
from halfnas.pruning.rankers import ZiCo


def batches(*pairs):
    """A batch of one image of one pixel each, with its label."""
    return Sample([Batch(torch.full((1, 1, 1, 1), float(x)).double(), torch.tensor([label])) for x, label in pairs])


def test_by_hand(linear):
    # W = 0: g_b = (-x_b / 2, x_b / 2). Each weight has E|g| / std = (x_1 + x_2) / |x_1 - x_2| = 4 / 2.
    assert ZiCo()(linear([[0], [0]]), batches((1, 0), (3, 0))).item() == pytest.approx(math.log(2 + 2), abs=1e-12)
    # With other labels the signs differ: E|g| = 1, std = 1/2 (1/2 + 3/2) = 1.
    assert ZiCo()(linear([[0], [0]]), batches((1, 0), (3, 1))).item() == pytest.approx(math.log(1 + 1), abs=1e-12)


def test_weights_and_layers_that_do_not_vary_are_left_out(linear):
    # The first channel is always 0: its two weights have no gradient. W1's gradient is 0 as W2 is.
    images = [torch.tensor([0.0, x]).double()[None, :, None, None] for x in (1, 3)]
    sample = Sample([Batch(image, torch.tensor([0])) for image in images])
    assert ZiCo()(linear([[0, 0], [0, 0]]), sample).item() == pytest.approx(math.log(2 + 2), abs=1e-12)
    assert ZiCo()(linear([[1]], [[0], [0]]), batches((1, 0), (3, 0))).item() == pytest.approx(math.log(4), abs=1e-12)
    assert ZiCo()(linear([[0], [0]]), batches((2, 0), (2, 0))).item() == 0


def test_against_numpy(network, sample, weights):
    gradients = []
    for batch in sample.batches:
        found = torch.autograd.grad(F.cross_entropy(network.module(batch.images), batch.labels), weights)
        gradients.append([g.numpy().ravel() for g in found])
    expected = 0.0
    for layer in zip(*gradients, strict=True):
        mean, std = np.abs(layer).mean(axis=0), np.std(layer, axis=0)
        if std.any():
            expected += math.log((mean[std > 0] / std[std > 0]).sum())
    found = ZiCo()(network, sample)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-8)


def test_derivatives_are_finite_where_nothing_varies(linear):
    network = linear([[1]], [[0], [0]])
    first = torch.tensor([[1.0]], dtype=torch.float64, requires_grad=True)

    class WithFirst(ScoringNetwork):
        def weights(self):
            return {"1.weight": first, "3.weight": network.weights()["3.weight"]}

    value = ZiCo()(WithFirst(network.module), batches((1, 0), (3, 0)))
    (gradient,) = torch.autograd.grad(value, first)
    assert gradient.isfinite().all()


def test_needs_several_batches(network, sample):
    with pytest.raises(ValueError, match="ZiCo compares batches and needs `num_batches` of at least 2, got 1"):
        ZiCo()(network, Sample(sample.batches[:1]))


def test_needs_labels(network, unlabelled):
    with pytest.raises(ValueError, match="needs labels, and the images have none"):
        ZiCo()(network, unlabelled)


@pytest.mark.parametrize("network", ["supernet"], indirect=True)
def test_layers_of_candidates_count_with_their_presence(network, sample, weights):
    alpha = torch.zeros(10, dtype=torch.float64)
    alpha[2] = math.log(0.5)  # nor_conv_3x3 on the first edge
    with torch.no_grad():
        network.module.alpha["cell"].copy_(alpha)
    gradients = [
        torch.autograd.grad(F.cross_entropy(network.module(batch.images), batch.labels), weights)
        for batch in sample.batches
    ]
    expected, halved = 0.0, 0
    for name, layer in zip(network.weights(), zip(*gradients, strict=True), strict=True):
        g = torch.stack(layer).flatten(1).numpy()
        std, inside = g.std(axis=0), "edges.0.operations.nor_conv_3x3" in name
        halved += inside
        expected += (0.5 if inside else 1) * math.log((np.abs(g).mean(axis=0)[std > 0] / std[std > 0]).sum())
    assert halved == 3
    found = ZiCo()(ScoringNetwork(network.module, {"cell": alpha.split([3, 1, 2, 1, 2, 1])}), sample)
    assert found.item() == pytest.approx(expected, rel=1e-8)
