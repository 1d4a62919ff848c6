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


@pytest.mark.parametrize("variance", ["running", "batch"])
def test_of_the_images_themselves(sample, variance):
    recorded = Recorded(sample.batches, sample.seed)
    found = Zen(variance=variance)(
        ScoringNetwork(Tiny(nn.BatchNorm2d(3, affine=False, track_running_stats=False))), recorded
    )
    x, change = (drawn.numpy() for drawn in recorded.drawn)
    moved = x + 0.01 * change

    def normalise(values):
        return (values - values.mean((0, 2, 3), keepdims=True)) / np.sqrt(values.var((0, 2, 3), keepdims=True) + 1e-5)

    distance = np.abs(normalise(x) - normalise(moved)).sum((1, 2, 3)).mean()
    first, second = (values.var((0, 2, 3), ddof=1).mean() for values in (x, moved))
    # Torch's running variance starts at 1 and takes a tenth of every batch, divided by its number less one.
    of_norm = x.var((0, 2, 3)).mean() if variance == "batch" else 0.9 * (0.9 * 1 + 0.1 * first) + 0.1 * second
    expected = math.log(distance) + math.log(math.sqrt(of_norm))
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_without_batch_norms(sample):
    # Features x: the change itself, 0.01 |x'|, summed over an image.
    recorded = Recorded(sample.batches, sample.seed)
    found = Zen()(ScoringNetwork(Tiny(nn.Identity())), recorded)
    expected = math.log(0.01 * recorded.drawn[-1].abs().sum().item() / 8)
    assert found.item() == pytest.approx(expected, rel=1e-10)


class Beside(nn.Sequential):
    """x + f(x), with an f whose batch norm sees zeros."""

    def forward(self, images):
        return images + super().forward(images)


def dead():
    norm = nn.BatchNorm2d(3, affine=False, track_running_stats=False)
    return Beside(nn.Threshold(1e9, 0.0), nn.Conv2d(3, 3, 1, bias=False), norm).double()


def test_a_convolution_that_sees_zeros_counts_what_its_running_variance_counts(sample):
    """The published code has 0.9 * 0.9 there, the variance of the batch has 0, and a logarithm of -354."""
    recorded = Recorded(sample.batches, sample.seed)
    found = Zen()(ScoringNetwork(Tiny(dead())), recorded)
    *_, x, change = recorded.drawn
    expected = math.log(0.01 * change.abs().sum().item() / len(x)) + math.log(math.sqrt(0.81))
    assert found.item() == pytest.approx(expected, rel=1e-10)
    of_the_batch = Zen(variance="batch")(ScoringNetwork(Tiny(dead())), sample).item()
    assert -400 < of_the_batch < -300


def test_the_running_variance_is_that_of_torch(network, sample):
    """ZenNAS itself: weights drawn anew, two passes of a network that keeps running statistics, and what they say."""
    recorded = Recorded(sample.batches, sample.seed)
    found = Zen()(network, recorded)
    *weights, x, change = recorded.drawn
    module = with_weights(network, weights)
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for part in norms:
        part.track_running_stats, part.momentum = True, 0.1
        part.running_mean, part.running_var = torch.zeros(part.num_features), torch.ones(part.num_features)
        part.double().train()
    read = features_of(module)
    module(x)
    module(x + 0.01 * change)
    expected = math.log(torch.sum(torch.abs(read[0] - read[1]), dim=[1, 2, 3]).mean().item())
    expected += sum(torch.log(torch.sqrt(torch.mean(part.running_var))).item() for part in norms)
    assert found.item() == pytest.approx(expected, rel=1e-10)


def with_weights(network, weights):
    module = deepcopy(network.module)
    parts = [part for part in module.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    for part, weight in zip(parts, weights, strict=True):
        part.weight = nn.Parameter(weight)
    return module


def features_of(module):
    """What the global pooling will read."""
    read = []
    pooling = next(part for part in module.modules() if isinstance(part, nn.AdaptiveAvgPool2d))
    pooling.register_forward_pre_hook(lambda part, inputs: read.append(inputs[0].detach()))
    return read


def test_the_variance_of_the_batch_against_the_definition(network, sample):
    recorded = Recorded(sample.batches, sample.seed)
    found = Zen(variance="batch")(network, recorded)
    assert found.shape == ()
    *weights, x, change = recorded.drawn
    module, variances = with_weights(network, weights), []
    read = features_of(module)
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


def test_other_variances_are_refused():
    with pytest.raises(ValueError, match="`variance` must be running or batch, got 'frozen'"):
        Zen(variance="frozen")
