"""Compiled fans that are computed again: with a backend that compiles nothing, which needs no compiler."""

import pytest
import torch
from torch import nn

from halfnas import build_supernet
from halfnas.networks.fused.fan import Fan
from halfnas.spaces import NASBench201Space


class OwnOperation(NASBench201Space):
    """The engine does not know one of the operations."""

    def operation(self, name, edge, *, search):
        if name == "nor_conv_3x3":
            return nn.Sequential(nn.Conv2d(edge.channels, edge.channels, 3, padding=1), nn.BatchNorm2d(edge.channels))
        return super().operation(name, edge, search=search)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch._dynamo reads it
@pytest.mark.slow
@torch._dynamo.config.patch(recompile_limit=32)
@pytest.mark.parametrize(("recompute", "graphs_per_fan"), [("none", 1), ("nodes", 1), ("cells", 2)])
def test_compiled_fans_are_compiled_once_and_remember_once(recompute, graphs_per_fan):
    """In the second pass of a cell the batch norm of the unknown operation has other settings: one graph more."""
    torch.manual_seed(0)
    space = OwnOperation(init_channels=4, num_cells=3)
    usual, compiled = (build_supernet(space, engine="fused", recompute=recompute) for _ in range(2))
    compiled.load_state_dict(usual.state_dict())
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    fans = [module for module in compiled.modules() if isinstance(module, Fan)]
    for fan in fans:
        fan.compile(backend="eager", dynamic=False, fullgraph=True)
    for _ in range(2):
        images = torch.randn(3, 3, 8, 8)
        for supernet in (usual, compiled):
            supernet.zero_grad()
            supernet(images).pow(2).sum().backward()
        for (name, wanted), found in zip(usual.named_parameters(), compiled.parameters(), strict=True):
            tolerance = 1e-4 * wanted.grad.abs().max().item() + 1e-4
            torch.testing.assert_close(
                found.grad, wanted.grad, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
            )
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs_per_fan * len(fans)
    for name, wanted in usual.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], wanted, rtol=1e-4, atol=1e-5)
        assert not name.endswith("num_batches_tracked") or wanted == 2
