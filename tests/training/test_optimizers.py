import copy

import pytest
import torch
from torch import nn

from halfnas.training import adam, begin_momentum, cosine, set_learning_rate, sgd


def parameters(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in ((3, 2, 1, 1), (5,), ())]


def step(optimizer, parameters, number):
    generator = torch.Generator().manual_seed(number)
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype)
    optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sgd_is_torchs_to_the_last_bit(dtype):
    ours, theirs = parameters(dtype), parameters(dtype)
    mine = sgd(ours, learning_rate=0.1, momentum=0.9, weight_decay=3e-4)
    other = torch.optim.SGD(theirs, lr=0.1, momentum=0.9, weight_decay=3e-4, foreach=False)
    for number in range(4):
        rate = torch.tensor(0.1 / (number + 1), dtype=dtype).item()
        set_learning_rate(mine, rate)
        other.param_groups[0]["lr"] = rate
        step(mine, ours, number)
        step(other, theirs, number)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=2 * torch.finfo(dtype).eps, atol=0)


def test_adam_is_torchs():
    ours, theirs = parameters(), parameters()
    mine = adam(ours, learning_rate=6e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    other = torch.optim.Adam(theirs, lr=6e-4, betas=(0.5, 0.999), weight_decay=1e-3, foreach=False)
    for number in range(5):
        step(mine, ours, number)
        step(other, theirs, number)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-15)


def test_the_rate_is_one_tensor_that_is_filled():
    optimizer = sgd(parameters(), learning_rate=0.1, momentum=0.0, weight_decay=0.0)
    rate = optimizer.param_groups[0]["lr"]
    set_learning_rate(optimizer, 0.05)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == 0.05


def test_a_checkpoint_from_elsewhere_brings_no_rate_of_its_own():
    optimizer = sgd(parameters(), learning_rate=0.1, momentum=0.9, weight_decay=0.0)
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0]["lr"] = 0.7  # a number, as other optimisers have
    optimizer.load_state_dict(state)
    set_learning_rate(optimizer, 0.05)
    rate = optimizer.param_groups[0]["lr"]
    assert isinstance(rate, torch.Tensor)
    assert rate.item() == 0.05


def test_a_checkpoint_from_a_gpu_goes_on_elsewhere():
    """What was saved as capturable is not on a CPU, and the other way round: torch takes the flag from the file."""
    ours = parameters(torch.float32)
    optimizer = adam(ours, learning_rate=0.1, betas=(0.5, 0.999), weight_decay=0.0)
    step(optimizer, ours, 0)
    state = copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0]["capturable"] = True
    optimizer.load_state_dict(state)
    set_learning_rate(optimizer, 0.05)
    assert optimizer.param_groups[0]["capturable"] is False
    step(optimizer, ours, 1)


@pytest.mark.gpu
def test_a_checkpoint_from_a_cpu_goes_on_captured():
    on_cpu, on_gpu = (
        [nn.Parameter(p.detach().to(device)) for p in parameters(torch.float32)] for device in ("cpu", "cuda")
    )
    first, second = (adam(given, learning_rate=0.1, betas=(0.5, 0.999), weight_decay=0.0) for given in (on_cpu, on_gpu))
    step(first, on_cpu, 0)
    second.load_state_dict(first.state_dict())
    set_learning_rate(second, 0.05)
    group = second.param_groups[0]
    assert group["capturable"] is True
    assert group["lr"].device.type == "cuda"
    assert {value.device.type for state in second.state.values() for value in state.values()} == {"cuda"}


def test_cosine_is_torchs_schedule():
    optimizer = torch.optim.SGD(parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=0.001)
    for epoch in range(50):
        assert cosine(epoch, 50, 0.1, 0.001) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
        optimizer.step()
        schedule.step()
    assert cosine(50, 50, 0.1, 0.001) == pytest.approx(0.001)


def test_parameters_that_get_a_gradient_later_than_others():
    """As torch's own loop, which needs nothing of the kind."""
    results = []
    for fused in (True, False):
        parameters = [torch.nn.Parameter(torch.full((3,), i + 1.0, dtype=torch.float64)) for i in range(3)]
        if fused:
            optimizer = sgd(parameters, learning_rate=0.1, momentum=0.9, weight_decay=1e-3)
        else:
            optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-3, foreach=False)
        for touched in ((0,), (0, 1), (1,), (0, 1, 2)):
            optimizer.zero_grad()
            for i in touched:
                parameters[i].grad = torch.tensor([0.3, -1.7, 0.1 + i], dtype=torch.float64)
            if fused:
                begin_momentum(optimizer)
            optimizer.step()
        results.append(torch.stack(parameters).detach())
    torch.testing.assert_close(*results, rtol=1e-12, atol=0)
