import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from halfnas.pruning import Sample, ScoringNetwork
from halfnas.pruning.rankers import Zen


class Recorded(Sample):
    """Remembers the numbers that it gave."""

    def __init__(self, batches, seed=0):
        super().__init__(batches, seed)
        self.drawn = []

    def normal(self, *shape, stream):
        self.drawn.append(super().normal(*shape, stream=stream))
        return self.drawn[-1]


class Tiny(nn.Module):
    """Nothing but a body and a head."""

    def __init__(self, body):
        super().__init__()
        self.body = body
        self.head = nn.Flatten()

    def forward(self, images):
        return self.head(self.body(images))


def test_of_the_images_themselves(sample):
    recorded = Recorded(sample.batches, sample.seed)
    found = Zen()(ScoringNetwork(Tiny(nn.BatchNorm2d(3, affine=False, track_running_stats=False))), recorded)
    x, change = (drawn.numpy() for drawn in recorded.drawn)
    moved = x + 0.01 * change

    def normalise(values):
        return (values - values.mean((0, 2, 3), keepdims=True)) / np.sqrt(values.var((0, 2, 3), keepdims=True) + 1e-5)

    distance = np.abs(normalise(x) - normalise(moved)).sum((1, 2, 3)).mean()
    expected = math.log(distance) + math.log(math.sqrt(x.var((0, 2, 3)).mean()))
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_without_batch_norms(sample):
    # Features x: the change itself, 0.01 |x'|, summed over an image.
    recorded = Recorded(sample.batches, sample.seed)
    found = Zen()(ScoringNetwork(Tiny(nn.Identity())), recorded)
    expected = math.log(0.01 * recorded.drawn[-1].abs().sum().item() / 8)
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_a_channel_that_is_dead_is_finite(sample):
    norm = nn.BatchNorm2d(3, affine=False, track_running_stats=False)

    class Beside(nn.Sequential):
        def forward(self, images):
            return images + super().forward(images)

    dead = Beside(nn.Conv2d(3, 3, 1), nn.Threshold(1e9, 0.0), norm).double()
    assert Zen()(ScoringNetwork(Tiny(dead)), sample).isfinite()


def test_against_the_definition(network, sample):
    recorded = Recorded(sample.batches, sample.seed)
    found = Zen()(network, recorded)
    assert found.shape == ()
    *weights, x, change = recorded.drawn
    module = deepcopy(network.module)
    parts = [part for part in module.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    for part, weight in zip(parts, weights, strict=True):
        part.weight = nn.Parameter(weight)
    read, variances = [], []
    pooling = next(part for part in module.modules() if isinstance(part, nn.AdaptiveAvgPool2d))
    pooling.register_forward_pre_hook(lambda part, inputs: read.append(inputs[0]))
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.register_forward_pre_hook(
                lambda part, inputs: variances.append(
                    np.mean([inputs[0][:, k].detach().numpy().var() for k in range(inputs[0].shape[1])])
                )
            )
    module(x)
    expected = sum(math.log(math.sqrt(variance)) for variance in variances)
    module(x + 0.01 * change)
    expected += math.log(np.mean([(a - b).abs().sum().item() for a, b in zip(*read, strict=True)]))
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_draws_are_standard_normal_and_all_different(network, sample):
    recorded = Recorded(sample.batches, sample.seed)
    Zen()(network, recorded)
    *weights, x, change = recorded.drawn
    assert x.shape == change.shape == sample.images.shape
    assert not x.equal(change)
    assert [w.shape for w in weights] == [w.shape for w in network.weights().values()]
    everything = torch.cat([values.flatten() for values in recorded.drawn])
    assert abs(everything.mean().item()) < 5 / math.sqrt(len(everything))
    assert everything.std().item() == pytest.approx(1, abs=5 / math.sqrt(2 * len(everything)))
    assert everything.unique().numel() == everything.numel()


def test_does_not_depend_on_weights_or_images(network, sample):
    expected = Zen()(network, sample).item()
    with torch.no_grad():
        for weight in network.weights().values():
            weight.mul_(3).add_(1)
    others = Sample([batch._replace(images=batch.images * 2 + 1) for batch in sample.batches], sample.seed)
    assert Zen()(network, others).item() == pytest.approx(expected, abs=1e-12)
    assert Zen()(network, Sample(sample.batches, sample.seed + 1)).item() != pytest.approx(expected, abs=1e-3)
