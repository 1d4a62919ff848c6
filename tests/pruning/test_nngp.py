import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from halfnas.pruning import Batch, NNGPFrobenius
from halfnas.pruning.nngp import logit_correlation


def batch(images):
    return Batch(images, torch.zeros(len(images), dtype=torch.long))


def rate(logits, weight=1.0, sign=1):
    """r of a network whose logits are given."""
    return NNGPFrobenius(weight, sign)(lambda images: images, [batch(logits)])


@pytest.mark.parametrize(("num_samples", "num_classes"), [(2, 2), (5, 10), (28, 10), (12, 100)])
def test_correlation_is_corrcoef(num_samples, num_classes):
    logits = torch.randn(num_samples, num_classes, dtype=torch.float64) * 3 + 7
    correlation = logit_correlation(logits)
    torch.testing.assert_close(correlation, torch.corrcoef(logits), rtol=0, atol=1e-12)
    np.testing.assert_allclose(correlation.numpy(), np.corrcoef(logits.numpy()), rtol=0, atol=1e-12)


def test_correlation_by_hand():
    # Centred: (-1, 0, 1), (1, 0, -1), (-1, 1, 0) with norms sqrt(2): correlations -1, 1/2 and -1/2.
    logits = torch.tensor([[1.0, 2.0, 3.0], [30.0, 20.0, 10.0], [0.0, 2.0, 1.0]], dtype=torch.float64)
    expected = torch.tensor([[1, -1, 0.5], [-1, 1, -0.5], [0.5, -0.5, 1]], dtype=torch.float64)
    torch.testing.assert_close(logit_correlation(logits), expected, rtol=0, atol=1e-12)
    assert rate(logits).item() == pytest.approx(math.sqrt(3 + 2 * (1 + 0.25 + 0.25)), abs=1e-12)  # sqrt(6)


def test_correlation_ignores_scale_and_shift_of_each_sample():
    logits = torch.randn(6, 10, dtype=torch.float64)
    moved = logits * torch.rand(6, 1).add(0.1) + torch.randn(6, 1)
    torch.testing.assert_close(logit_correlation(moved), logit_correlation(logits), rtol=0, atol=1e-12)


@pytest.mark.parametrize("constant", [0.0, 1.0, -2.5, 0.3, 1 / 3])
def test_constant_logits_correlate_with_nothing(constant):
    logits = torch.randn(4, 10)
    logits[1] = constant
    correlation = logit_correlation(logits)
    assert correlation[1].eq(0).all()
    assert correlation[:, 1].eq(0).all()
    others = [0, 2, 3]
    torch.testing.assert_close(correlation[others][:, others], torch.corrcoef(logits[others]))
    assert rate(torch.full((4, 10), constant)).item() == 0


@pytest.mark.parametrize("num_samples", [2, 7, 28])
def test_between_root_n_and_n(num_samples):
    orthogonal = torch.eye(num_samples + 1, dtype=torch.float64)[:num_samples]
    orthogonal = torch.cat([orthogonal, -orthogonal], dim=1)  # no mean to take away
    assert rate(orthogonal).item() == pytest.approx(math.sqrt(num_samples), abs=1e-9)
    collapsed = torch.randn(1, 10, dtype=torch.float64) * torch.randn(num_samples, 1, dtype=torch.float64)
    assert rate(collapsed).item() == pytest.approx(num_samples, abs=1e-9)
    for seed in range(20):
        logits = torch.randn(num_samples, 10, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert math.sqrt(num_samples) <= rate(logits).item() <= num_samples


def test_rating_is_a_scalar_without_its_weight_and_sign():
    """Weight and sign belong to the importance, which divides by |r|."""
    logits = torch.randn(5, 10)
    assert rate(logits).shape == ()
    assert rate(logits, weight=3.0, sign=-1).item() == rate(logits).item()


@pytest.fixture
def normalised():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    return network.double().train()


def test_batches_keep_their_own_batch_norm_statistics(normalised):
    bright, dark = torch.randn(5, 1, 8, 8).double() * 4 + 2, torch.randn(3, 1, 8, 8).double()
    separate = NNGPFrobenius(1.0, 1)(normalised, [batch(bright), batch(dark)])
    joined = NNGPFrobenius(1.0, 1)(normalised, [batch(torch.cat([bright, dark]))])
    logits = torch.cat([normalised(bright), normalised(dark)])
    assert separate.item() == pytest.approx(torch.corrcoef(logits).norm().item(), abs=1e-12)  # all 8 x 8 pairs
    assert abs(separate.item() - joined.item()) > 1e-3


def test_runs_in_vmap(normalised):
    normalised[1] = nn.BatchNorm2d(4, track_running_stats=False).double()
    batches = [batch(torch.randn(4, 1, 8, 8).double()) for _ in range(2)]
    ranker = NNGPFrobenius(1.0, 1)
    biases = torch.randn(6, 10, dtype=torch.float64)

    def rate_with(bias):
        return ranker(lambda images: functional_call(normalised, {"4.bias": bias}, (images,)), batches)

    together = vmap(rate_with)(biases)
    assert together.shape == (6,)
    torch.testing.assert_close(together, torch.stack([rate_with(bias) for bias in biases]), rtol=0, atol=1e-12)
    assert together.unique().numel() == 6
