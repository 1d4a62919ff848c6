import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import vmap

from halfnas.pruning import Batch, Sample, ScoringNetwork
from halfnas.pruning.rankers import NNGPFrobenius, NNGPMean


def rate(logits, ranker=NNGPFrobenius, **settings):
    """r of a network whose logits are given."""
    return ranker(**settings)(ScoringNetwork(nn.Identity()), Sample([Batch(logits, None)]))


def test_by_hand():
    # Centred: (-1, 0, 1), (1, 0, -1), (-1, 1, 0) with norms sqrt(2): correlations -1, 1/2 and -1/2.
    logits = torch.tensor([[1.0, 2.0, 3.0], [30.0, 20.0, 10.0], [0.0, 2.0, 1.0]], dtype=torch.float64)
    assert rate(logits).item() == pytest.approx(math.sqrt(3 + 2 * (1 + 0.25 + 0.25)), abs=1e-12)  # sqrt(6)
    assert rate(logits, NNGPMean).item() == pytest.approx((3 + 2 * (-1 + 0.5 - 0.5)) / 9, abs=1e-12)


def test_against_numpy(network, sample):
    logits = torch.cat([network.module(batch.images) for batch in sample.batches])  # each batch for itself
    kernel = np.corrcoef(logits.numpy())
    assert kernel.shape == (8, 8)
    assert NNGPFrobenius()(network, sample).item() == pytest.approx(np.sqrt((kernel**2).sum()), abs=1e-10)
    assert NNGPMean()(network, sample).item() == pytest.approx(kernel.mean(), abs=1e-10)


@pytest.mark.parametrize("ranker", [NNGPFrobenius, NNGPMean])
@pytest.mark.parametrize("constant", [0.0, 1.0, -2.5, 0.3, 1 / 3])
def test_constant_logits_rate_as_zero(constant, ranker):
    assert rate(torch.full((4, 10), constant), ranker).item() == 0


@pytest.mark.parametrize("num_samples", [2, 7, 28])
def test_bounds(num_samples):
    orthogonal = torch.eye(num_samples + 1, dtype=torch.float64)[:num_samples]
    orthogonal = torch.cat([orthogonal, -orthogonal], dim=1)  # no mean to take away
    assert rate(orthogonal).item() == pytest.approx(math.sqrt(num_samples), abs=1e-9)
    assert rate(orthogonal, NNGPMean).item() == pytest.approx(1 / num_samples, abs=1e-9)
    one = torch.randn(1, 10, dtype=torch.float64)
    collapsed = one * torch.rand(num_samples, 1, dtype=torch.float64).add(0.1)
    assert rate(collapsed).item() == pytest.approx(num_samples, abs=1e-9)
    assert rate(collapsed, NNGPMean).item() == pytest.approx(1, abs=1e-9)
    assert rate(one * torch.randn(num_samples, 1, dtype=torch.float64)).item() == pytest.approx(num_samples, abs=1e-9)
    for seed in range(20):
        logits = torch.randn(num_samples, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert math.sqrt(num_samples) <= rate(logits).item() <= num_samples
        assert 0 <= rate(logits, NNGPMean).item() <= 1


@pytest.mark.parametrize("ranker", [NNGPFrobenius, NNGPMean])
def test_rating_is_a_scalar_without_its_weight_and_sign(ranker):
    """Weight and sign belong to the importance, which divides by |r|."""
    logits = torch.randn(5, 10)
    assert rate(logits, ranker).shape == ()
    assert rate(logits, ranker, weight=3.0, sign=-1).item() == rate(logits, ranker).item()


@pytest.fixture
def normalised():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4, track_running_stats=False)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    return network.double().train()


def test_batches_keep_their_own_batch_norm_statistics(normalised):
    network = ScoringNetwork(normalised)
    bright, dark = torch.randn(5, 1, 8, 8).double() * 4 + 2, torch.randn(3, 1, 8, 8).double()
    separate = NNGPFrobenius()(network, Sample([Batch(bright, None), Batch(dark, None)]))
    joined = NNGPFrobenius()(network, Sample([Batch(torch.cat([bright, dark]), None)]))
    logits = torch.cat([normalised(bright), normalised(dark)])
    assert separate.item() == pytest.approx(torch.corrcoef(logits).norm().item(), abs=1e-12)  # all 8 x 8 pairs
    assert abs(separate.item() - joined.item()) > 1e-3


def test_runs_in_vmap(normalised):
    sample = Sample([Batch(torch.randn(4, 1, 8, 8).double(), None) for _ in range(2)])
    biases = torch.randn(6, 10, dtype=torch.float64)

    class WithBias(ScoringNetwork):
        def __init__(self, bias):
            super().__init__(normalised)
            self.bias = bias

        def __call__(self, images):
            return super().__call__(images, {"4.bias": self.bias})

    def rate_with(bias):
        return NNGPFrobenius()(WithBias(bias), sample)

    together = vmap(rate_with)(biases)
    assert together.shape == (6,)
    torch.testing.assert_close(together, torch.stack([rate_with(bias) for bias in biases]), rtol=0, atol=1e-12)
    assert together.unique().numel() == 6


@pytest.mark.parametrize("ranker", [NNGPFrobenius, NNGPMean])
def test_needs_several_images(ranker):
    with pytest.raises(ValueError, match="NNGP compares images and needs at least 2, got 1"):
        rate(torch.randn(1, 10), ranker)


@pytest.mark.parametrize("ranker", [NNGPFrobenius, NNGPMean])
def test_derivatives_of_the_logits_alone(ranker):
    logits = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: rate(x, ranker), logits)
