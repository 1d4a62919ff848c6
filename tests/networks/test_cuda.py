"""The fused engine on a GPU, where maps lie in another order in memory and convolutions are other functions."""

import pytest
import torch
from torch.nn import functional as F

from halfnas import Mask, build_supernet
from halfnas.spaces import DartsSpace
from recorded import give_weights

SPACE = DartsSpace(init_channels=4, num_cells=3, num_classes=4)


def backward(device, partial_channels, **options):
    """Logits, every gradient and every running statistic, by name, on the CPU; and the supernet."""
    mask = Mask.random(SPACE, 0.5, 0)
    supernet = build_supernet(SPACE, mask, partial_channels=partial_channels, **options)
    give_weights(supernet.double().train())
    supernet.to(device)
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(4, 3, 8, 8, generator=generator, dtype=torch.float64).to(device)
    labels = torch.randint(4, (4,), generator=generator).to(device)
    logits = supernet(images)
    F.cross_entropy(logits, labels).backward()
    gradients = {name: parameter.grad for name, parameter in supernet.named_parameters()}
    found = {"logits": logits.detach(), **gradients, **dict(supernet.named_buffers())}
    return {name: value.cpu() for name, value in found.items()}, supernet


@pytest.mark.gpu
@pytest.mark.parametrize("recompute", ["none", "nodes", "cells"])
@pytest.mark.parametrize("partial_channels", [1, 2])
def test_fused_equals_plain_on_the_cpu(partial_channels, recompute):
    expected, _ = backward("cpu", partial_channels, engine="plain")
    found, supernet = backward("cuda", partial_channels, engine="fused", recompute=recompute)
    for name, value in expected.items():
        tolerance = 1e-9 * value.abs().max().item() + 1e-12
        torch.testing.assert_close(found[name], value, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")
    assert next(supernet.parameters()).device.type == "cuda"


@pytest.mark.gpu
def test_plain_equals_itself_on_the_cpu():
    expected, _ = backward("cpu", 1, engine="plain")
    found, _ = backward("cuda", 1, engine="plain")
    for name, value in expected.items():
        tolerance = 1e-9 * value.abs().max().item() + 1e-12
        torch.testing.assert_close(found[name], value, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")
