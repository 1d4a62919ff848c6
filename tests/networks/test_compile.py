import shutil

import pytest
import torch
from torch import nn

from halfnas import build_supernet
from halfnas.networks.build import check_compile
from halfnas.networks.fused.fan import Fan
from halfnas.spaces import CellKind, CellPlan, DartsSpace, Edge, EdgePlan, Mask, SearchSpace, Skeleton
from halfnas.spaces.operations import DARTS_OPERATIONS, ReLUConvBN

SPACE = DartsSpace(init_channels=4, num_cells=3)
NAMES = ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")


def why_not():
    """Why nothing can be compiled on this machine; empty where it can."""
    try:
        check_compile(True, "fused")
    except ValueError as error:
        return str(error)
    return ""


needs_compiler = pytest.mark.skipif(bool(why_not()), reason=why_not())


class OneNode(SearchSpace):
    """One cell, whose one node reads one state, over one edge."""

    name = "one-node"

    @property
    def kinds(self):
        return {"cell": CellKind(num_inputs=1, edges=(Edge(0, 1, NAMES),), edges_per_node=1, output=(1,))}

    def operation(self, name, edge, *, search):
        return DARTS_OPERATIONS[name](edge, search)

    def skeleton(self, *, search, auxiliary=False, outputs=None):
        plan = CellPlan("cell", (EdgePlan(4, 4),), (ReLUConvBN(3, 4, affine=False),))
        return Skeleton(Single(), [plan], nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))


class Single(nn.Module):
    def forward(self, images):
        return (images,)


# --- what it needs


def test_plain_has_nothing_to_compile():
    with pytest.raises(ValueError, match=r"`compile` needs `engine` fused: plain has nothing to compile"):
        check_compile(True, "plain")
    with pytest.raises(ValueError, match="plain has nothing to compile"):
        build_supernet(SPACE, compile=True)
    check_compile(False, "plain")


def test_no_compiler(monkeypatch):
    monkeypatch.setattr(torch._dynamo, "is_dynamo_supported", lambda: True)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ValueError, match=r"`compile` needs a C\+\+ compiler, and there is no g\+\+ or clang\+\+ or c"):
        check_compile(True, "fused")
    monkeypatch.setenv("CXX", "own-compiler")
    with pytest.raises(ValueError, match=r"`compile` needs a C\+\+ compiler, and there is no own-compiler"):
        build_supernet(SPACE, engine="fused", compile=True)
    check_compile(False, "fused")


@pytest.mark.parametrize("found", ["g++", "clang++", "c++"])
def test_any_compiler_will_do(monkeypatch, found):
    monkeypatch.setattr(torch._dynamo, "is_dynamo_supported", lambda: True)
    monkeypatch.setattr(shutil, "which", lambda name: name if name == found else None)
    monkeypatch.delenv("CXX", raising=False)
    check_compile(True, "fused")


def test_python_without_compilation(monkeypatch):
    monkeypatch.setattr(torch._dynamo, "is_dynamo_supported", lambda: False)
    with pytest.raises(ValueError, match=r"`compile` does not work here: torch .* cannot compile on this Python"):
        check_compile(True, "fused")


# --- what it gives


def test_fans_are_compiled_in_training_mode_only(monkeypatch):
    """Without a compiler: what is called is seen, not run."""
    monkeypatch.setattr(torch, "compile", lambda function, **options: seen(function))
    monkeypatch.setattr(torch._dynamo, "is_dynamo_supported", lambda: True)
    monkeypatch.setattr(shutil, "which", lambda name: name)
    calls = []

    def seen(function):
        def call(*inputs):
            calls.append(1)
            return function(*inputs)

        return call

    mask = Mask.random(SPACE, 0.25, seed=0)
    supernet = build_supernet(SPACE, mask, engine="fused", compile=True)
    assert supernet.compiled
    images = torch.randn(2, 3, 8, 8)
    supernet.eval()(images)
    assert not calls
    supernet.train()(images)
    assert len(calls) == sum(isinstance(module, Fan) for module in supernet.modules()) == 15
    assert not build_supernet(SPACE, mask, engine="fused").compiled


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch._dynamo reads it
@needs_compiler
def test_compiled_equals_plain():
    torch.manual_seed(0)
    plain = build_supernet(OneNode(num_classes=4, in_channels=3))
    compiled = build_supernet(OneNode(num_classes=4, in_channels=3), engine="fused", compile=True)
    with torch.no_grad():
        plain.alpha["cell"].normal_()
    compiled.load_state_dict(plain.state_dict(), strict=True)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for _ in range(2):
        images = torch.randn(3, 3, 6, 6)
        weights = torch.randn(3, 4)
        logits = []
        for supernet in (plain, compiled):
            supernet.zero_grad()
            logits.append(supernet(images))
            (logits[-1].tanh() * weights).sum().backward()
        torch.testing.assert_close(logits[1], logits[0], rtol=0, atol=1e-4)
        for (name, wanted), found in zip(plain.named_parameters(), compiled.parameters(), strict=True):
            torch.testing.assert_close(found.grad, wanted.grad, rtol=0, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1  # the second batch found it compiled
    for name, wanted in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], wanted, rtol=0, atol=1e-4)
    images = torch.randn(5, 3, 6, 6)
    torch.testing.assert_close(compiled.eval()(images), plain.eval()(images), rtol=0, atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
