import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from halfnas import build_supernet
from halfnas.memory import saved_for_backward
from halfnas.networks.recompute import (
    RECOMPUTE,
    check_recompute,
    frozen_statistics,
    in_second_pass,
    recomputed,
    second_pass,
)
from halfnas.spaces import DartsSpace, Mask

SPACE = DartsSpace(init_channels=4, num_cells=3)
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.fixture
def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4, momentum=0.3)).double()


@pytest.fixture
def x():
    torch.manual_seed(1)
    return torch.randn(3, 3, 5, 5, dtype=torch.float64, requires_grad=True)


def gradients(output, module, x):
    return torch.autograd.grad(output.pow(3).sum(), [x, *module.parameters()])


def count_calls(module):
    calls = []
    module[0].register_forward_hook(lambda *_: calls.append(1))
    return calls


# --- recomputed


def test_recomputed_gives_the_same_and_remembers_once(module, x):
    other = copy.deepcopy(module)
    calls = count_calls(module)
    output, expected = recomputed(module, x, owner=module), other(x)
    assert torch.equal(output, expected)
    assert len(calls) == 1
    for gradient, wanted in zip(gradients(output, module, x), gradients(expected, other, x), strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-12)
    assert len(calls) == 2
    for name, value in other.state_dict().items():
        assert torch.equal(module.state_dict()[name], value), name
    assert module[1].num_batches_tracked == 1


def test_recomputed_takes_tuples_and_gives_any_structure(module, x):
    y = torch.randn(3, 4, 5, 5, dtype=torch.float64, requires_grad=True)

    def function(pair, factor):
        first, second = pair
        return {"sum": (module(first) + second) * factor, "rest": [second * 2]}

    output = recomputed(function, (x, y), 3.0, owner=module)
    torch.testing.assert_close(output["sum"], 3 * (module(x) + y))
    grad_x, grad_y = torch.autograd.grad(output["sum"].pow(2).sum() + output["rest"][0].sum(), [x, y])
    wanted_x, wanted_y = torch.autograd.grad((3 * (module(x) + y)).pow(2).sum() + 2 * y.sum(), [x, y])
    torch.testing.assert_close(grad_x, wanted_x)
    torch.testing.assert_close(grad_y, wanted_y)


def test_recomputed_keeps_its_inputs_only(module, x):
    less = saved_for_backward(lambda: recomputed(module, x * 1, owner=module), module)
    assert less <= x.nbytes
    assert saved_for_backward(lambda: module(x * 1), module) > 3 * x.nbytes


def test_recomputed_runs_once_without_gradients(module, x):
    calls = count_calls(module)
    with torch.no_grad():
        output = recomputed(module, x, owner=module)
    assert not output.requires_grad
    assert len(calls) == 1
    assert module[1].num_batches_tracked == 1


def test_parts_inside_parts_remember_once(module, x):
    other = copy.deepcopy(module)
    last = nn.BatchNorm2d(4).double()
    whole, reference = nn.Sequential(module, last), nn.Sequential(other, copy.deepcopy(last))

    output = recomputed(lambda x: last(recomputed(module, x, owner=module)), x, owner=whole)
    wanted = reference(x)
    for gradient, expected in zip(gradients(output, whole, x), gradients(wanted, reference, x), strict=True):
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)
    for name, value in reference.state_dict().items():
        assert torch.equal(whole.state_dict()[name], value), name


# --- the flag of the second pass


def test_second_pass(module, x):
    before = copy.deepcopy(module.state_dict())
    assert not in_second_pass()
    with second_pass(module):
        assert in_second_pass()
        module(x)
    assert not in_second_pass()
    for name, value in before.items():
        assert torch.equal(module.state_dict()[name], value), name


def test_second_pass_ends_with_an_error(module):
    with pytest.raises(KeyError, match="inside"), second_pass(module):
        raise KeyError("inside")
    assert not in_second_pass()


def test_second_passes_inside_one_another(module):
    with second_pass(module):
        with second_pass(module[1]):
            assert in_second_pass()
        assert in_second_pass()
        assert module[1].momentum == 0
    assert not in_second_pass()
    assert module[1].momentum == 0.1


def test_recomputed_sets_the_flag_the_second_time(module, x):
    flags = []

    def function(x):
        flags.append(in_second_pass())
        return module(x)

    output = recomputed(lambda x: recomputed(function, x, owner=module), x, owner=module)
    assert flags == [False]
    output.sum().backward()
    assert flags[1:]
    assert all(flags[1:])
    assert not in_second_pass()
    with torch.no_grad():
        recomputed(function, x, owner=module)
    assert not flags[-1]


# --- frozen_statistics


def test_frozen_statistics(module, x):
    before = copy.deepcopy(module.state_dict())
    free = copy.deepcopy(module)(x)
    with frozen_statistics(module):
        frozen = module(x)
    assert torch.equal(frozen, free)  # those of the batch are used all the same
    for name, value in before.items():
        assert torch.equal(module.state_dict()[name], value), name
    module(x)
    assert [module[i].num_batches_tracked.item() for i in (1, 3)] == [1, 1]
    assert not torch.equal(module[1].running_mean, before["1.running_mean"])


def settings_of(module):
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    return [(norm.momentum, norm.training, *(getattr(norm, name) for name in STATISTICS)) for norm in norms]


@pytest.mark.parametrize("error", [False, True])
def test_frozen_modules_are_as_before(module, error):
    before = settings_of(module)
    try:
        with frozen_statistics(module):
            assert module[3].momentum == 0
            if error:
                raise KeyError("inside")
    except KeyError:
        assert error
    for setting, wanted in zip(settings_of(module), before, strict=True):
        assert all(found is expected for found, expected in zip(setting, wanted, strict=True))
    assert [module[i].momentum for i in (1, 3)] == [0.1, 0.3]


def test_modules_are_as_before_where_the_second_pass_fails(module, x):
    before = settings_of(module)
    passes = []

    def function(x):
        passes.append(module[1].momentum)
        if len(passes) == 2:
            raise RuntimeError("out of memory")
        return module(x)

    output = recomputed(function, x, owner=module)
    with pytest.raises(RuntimeError, match="out of memory"):
        output.sum().backward()
    assert passes == [0.1, 0.0]
    for setting, wanted in zip(settings_of(module), before, strict=True):
        assert all(found is expected for found, expected in zip(setting, wanted, strict=True))


def test_norms_without_statistics_are_left_alone(x):
    norm = nn.BatchNorm2d(3, track_running_stats=False).double()
    with frozen_statistics(norm):
        assert norm.momentum == 0.1
        norm(x)
    assert norm.num_batches_tracked is None


# --- the plain engine


@pytest.mark.parametrize("partial_channels", [1, 4])
@pytest.mark.parametrize("recompute", ["nodes", "cells"])
def test_plain_supernet(recompute, partial_channels):
    torch.manual_seed(2)
    mask = Mask.random(SPACE, 0.5, seed=2)
    supernets = [
        build_supernet(SPACE, mask, partial_channels=partial_channels, recompute=mode).double()
        for mode in ("none", recompute)
    ]
    supernets[1].load_state_dict(supernets[0].state_dict())
    for _ in range(2):
        images, labels = torch.randn(3, 3, 9, 9, dtype=torch.float64), torch.randint(10, (3,))
        for supernet in supernets:
            supernet.zero_grad()
            F.cross_entropy(supernet(images), labels).backward()
        for (name, wanted), found in zip(supernets[0].named_parameters(), supernets[1].parameters(), strict=True):
            torch.testing.assert_close(found.grad, wanted.grad, rtol=0, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")
    found = supernets[1].state_dict()
    for name, wanted in supernets[0].state_dict().items():
        assert torch.equal(found[name], wanted), name
    assert {int(value) for name, value in found.items() if name.endswith("num_batches_tracked")} == {2}


def test_plain_supernet_keeps_less():
    images = torch.randn(4, 3, 16, 16)
    kept = []
    for recompute in RECOMPUTE:
        supernet = build_supernet(SPACE, recompute=recompute)
        kept.append(saved_for_backward(lambda s=supernet: s(images), supernet))
    assert kept[1] < 0.3 * kept[0]
    assert kept[2] < kept[1]


# --- the setting


def test_unknown_mode():
    message = r"`recompute` must be one of none, nodes, cells, got 'x'"
    with pytest.raises(ValueError, match=message):
        check_recompute("x")
    with pytest.raises(ValueError, match=message):
        build_supernet(SPACE, recompute="x")
    for mode in RECOMPUTE:
        check_recompute(mode)
