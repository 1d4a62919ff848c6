import math

import pytest
from torch import nn
from torch.nn import functional as F

from halfnas.pruning.rankers import Fisher


def test_by_hand(linear, vectors):
    # Logits a = (2, 0), dL/da = (p - 1, 1 - p) for label 0: channel 0 has (2 (p - 1))^2 / 2, channel 1 has 0; each
    # channel has two weights.
    p = 1 / (1 + math.exp(-2))
    found = Fisher()(linear([[1, 0], [-3, 6]]), vectors([[2, 1]], [0]))
    assert found.item() == pytest.approx((2 * (1 - p)) ** 2 / 2 * 2, abs=1e-12)
    # Two samples: L is their mean, which halves dL/da, and so is the square's mean: (1/4) of the mean of both.
    both = Fisher()(linear([[1, 0], [-3, 6]]), vectors([[2, 1], [2, 1]], [0, 1]))
    assert both.item() == pytest.approx(((2 * (1 - p)) ** 2 + (2 * p) ** 2) / 2 / 4 / 2 * 2, abs=1e-12)


def test_against_autograd(network, sample, weights):
    outputs = []

    def keep(part, inputs, output):
        output.retain_grad()
        outputs.append((part, output))

    hooks = [
        part.register_forward_hook(keep)
        for part in network.module.modules()
        if isinstance(part, (nn.Conv2d, nn.Linear))
    ]
    F.cross_entropy(network.module(sample.images), sample.labels).backward()
    for hook in hooks:
        hook.remove()
    assert len(outputs) == len(weights)
    expected = 0.0
    for part, output in outputs:
        a, g = (x.detach().reshape(*output.shape[:2], -1) for x in (output, output.grad))
        for k in range(output.shape[1]):
            squares = [(a[n, k] @ g[n, k]).item() ** 2 for n in range(len(a))]
            expected += sum(squares) / len(squares) / 2 * part.weight[k].numel()
    found = Fisher()(network, sample)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_needs_labels(network, unlabelled):
    with pytest.raises(ValueError, match="needs labels, and the images have none"):
        Fisher()(network, unlabelled)
