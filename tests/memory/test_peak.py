"""Worked examples: what lives at the worst moment is known for tensors made and dropped by hand."""

import pytest
import torch

from halfnas.memory import can_count, peak_live_memory, saved_for_backward

FLOAT = 4  # bytes
KIB = 2**10  # CUDA's allocator rounds to 512 bytes

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", DEVICES)
def test_tensors_by_hand(device):
    def function():
        first, second = (torch.empty(size * KIB, device=device) for size in (1, 3))
        del second
        third = torch.empty(2 * KIB, device=device)
        return first, third

    assert peak_live_memory(function, device) == (1 + 3) * KIB * FLOAT


@pytest.mark.parametrize("device", DEVICES)
def test_what_lived_before_is_left_out(device):
    before = torch.ones(5 * KIB, device=device)
    assert peak_live_memory(lambda: before.neg_(), device) == 0
    assert peak_live_memory(lambda: before[: 2 * KIB].neg(), device) == 2 * KIB * FLOAT


def test_the_backward_pass_counts():
    x = torch.randn(KIB, requires_grad=True)
    assert saved_for_backward(lambda: x.exp().sum(), torch.nn.Identity()) == KIB * FLOAT
    forward = peak_live_memory(lambda: x.exp().sum())
    both = peak_live_memory(lambda: x.exp().sum().backward())
    assert forward == KIB * FLOAT + FLOAT  # the powers and their sum
    assert 2 * KIB * FLOAT <= both <= 2 * KIB * FLOAT + 3 * FLOAT  # the gradient, too; scalars are the sum and its own


def test_it_writes_nothing(capfd):
    """The profiler's library greets on stderr."""
    peak_live_memory(lambda: torch.ones(KIB))
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_counted():
    assert can_count("cpu") is can_count("cuda") is None
    with pytest.raises(ValueError, match="on CPUs and CUDA devices, not on 'meta'"):
        peak_live_memory(lambda: None, "meta")
    with torch.profiler.profile(acc_events=True), pytest.raises(ValueError, match="another profiler"):
        peak_live_memory(lambda: None)
