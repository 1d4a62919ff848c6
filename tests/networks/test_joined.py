"""Two processes whose batch norms are joined have the gradients and statistics of one with both batches."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from halfnas import build_network, build_supernet, load_space
from halfnas.networks import JoinedNorms, joined
from halfnas.networks.recompute import second_pass
from halfnas.spaces import find_genotype
from halfnas.training import averaged, num_processes
from ranks import on_ranks

BATCH = 8
SETTINGS = {
    "plain": ("darts", {"engine": "plain", "partial_channels": 2}),
    "fused": ("darts", {"engine": "fused", "partial_channels": 2}),
    "fused, recomputed": ("darts", {"engine": "fused", "recompute": "cells"}),
    "plain, recomputed": ("darts", {"engine": "plain", "recompute": "nodes"}),
    "fused, nasbench201": ("nasbench201", {"engine": "fused"}),
    "chain": ("nasbench_macro", {"engine": "plain"}),
}
NAMES = [*SETTINGS, "a cell"]


def make(name):
    torch.manual_seed(0)
    if name == "a cell":
        cell = find_genotype("pc_darts")
        return build_network(cell, init_channels=4, num_cells=3, num_classes=4).double().train()
    space, options = SETTINGS[name]
    sizes = {"num_classes": 4} if space == "nasbench_macro" else {"init_channels": 4, "num_cells": 3, "num_classes": 4}
    return build_supernet(load_space(space, **sizes), **options).double().train()


def batch():
    source = torch.Generator().manual_seed(1)
    images = torch.randn(BATCH, 3, 16, 16, generator=source, dtype=torch.float64)
    return images, torch.randint(4, (BATCH,), generator=source)


def share():
    """The images and labels of this process."""
    images, labels = batch()
    if num_processes() == 1:
        return images, labels
    rank = torch.distributed.get_rank()
    return images.chunk(num_processes())[rank], labels.chunk(num_processes())[rank]


def gradients(module):
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def trained(name):
    """Gradients and buffers after two passes forward and backward, and one that is not to be remembered."""
    module = make(name)
    JoinedNorms().apply(module)
    images, labels = share()
    backward = averaged(torch.Tensor.backward, module.parameters())
    for _ in range(2):
        module.zero_grad()
        backward(F.cross_entropy(module(images), labels))
    with second_pass(module):
        module(images)
    JoinedNorms().revert(module)
    assert nn.BatchNorm2d in {type(part) for part in module.modules()}
    return gradients(module), dict(module.named_buffers())


def all_trained():
    return {name: trained(name) for name in NAMES}


@pytest.fixture(scope="module")
def found():
    return on_ranks(all_trained)


def largest_difference(found, expected):
    assert set(found) == set(expected)
    return max((found[name] - expected[name]).abs().max().item() for name in expected)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_and_statistics_are_those_of_the_joined_batch(name, found):
    expected = trained(name)
    for each in found:
        for mine, whole in zip(each[name], expected, strict=True):
            assert largest_difference(mine, whole) < 1e-12


def apart():
    """Gradients where every process has statistics of its own."""
    module = make("plain")
    images, labels = share()
    averaged(torch.Tensor.backward, module.parameters())(F.cross_entropy(module(images), labels))
    return gradients(module)


def test_norms_that_are_not_joined_give_other_gradients(found):
    first, second = on_ranks(apart)
    assert largest_difference(first, second) == 0
    assert largest_difference(first, found[0]["plain"][0]) > 1e-3


def test_what_is_compiled_cannot_be_joined(monkeypatch):
    module = nn.Sequential(nn.BatchNorm2d(2))
    module.compiled = True
    JoinedNorms().apply(module)  # there is one process
    monkeypatch.setattr(joined, "num_processes", lambda: 2)
    with pytest.raises(ValueError, match=r"`supernet.compile=true` does not go with batch norms of several processes"):
        JoinedNorms().apply(module)
