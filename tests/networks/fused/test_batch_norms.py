"""Running statistics that the fused engine updates by itself, against the batch norms of torch."""

import copy

import pytest
import torch
from torch import nn

from halfnas.networks.fused.batch_norms import EPS, Moments, remember
from halfnas.networks.recompute import second_pass


@pytest.fixture
def norm():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3, affine=False).double()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    return norm


@pytest.fixture
def x():
    torch.manual_seed(1)
    return 2 + 3 * torch.randn(4, 3, 5, 5, dtype=torch.float64)


def seen(norms, x):
    """One row of moments, which all of these batch norms saw."""
    variance = x.var(dim=(0, 2, 3), correction=0) + EPS
    return [([norms], Moments(x.mean(dim=(0, 2, 3))[None], variance[None], x.numel() // x.shape[1]))]


def test_remember_is_what_batch_norms_do(norm, x):
    other, textbook = copy.deepcopy(norm), copy.deepcopy(norm)
    remember(seen([norm, other], x))
    textbook(x)
    for found in (norm, other):
        torch.testing.assert_close(found.running_mean, textbook.running_mean)
        torch.testing.assert_close(found.running_var, textbook.running_var)
        assert found.num_batches_tracked == 1


def test_nothing_is_remembered_in_a_second_pass(norm, x):
    before = copy.deepcopy(norm.state_dict())
    with second_pass(nn.Identity()):  # the flag alone: settings of the batch norm stay
        assert norm.momentum == 0.1
        remember(seen([norm], x))
    for name, value in before.items():
        assert torch.equal(norm.state_dict()[name], value), name
    remember(seen([norm], x))
    assert norm.num_batches_tracked == 1
    assert not torch.equal(norm.running_mean, before["running_mean"])


def test_batch_norms_without_running_statistics_have_nothing_to_remember(x):
    norm = nn.BatchNorm2d(3, affine=False, track_running_stats=False)
    remember(seen([norm], x))
    assert norm.running_mean is None
    assert norm.num_batches_tracked is None
