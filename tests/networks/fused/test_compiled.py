"""Compiled fans that are computed again: with a backend that compiles nothing, which needs no compiler."""

import pytest
import torch
from torch import nn

from halfnas import build_supernet
from halfnas.networks.fused.fan import Fan
from halfnas.spaces import CellKind, CellPlan, Edge, EdgePlan, SearchSpace, Skeleton
from halfnas.spaces.operations import DARTS_OPERATIONS, ReLUConvBN

NAMES = ("max_pool_3x3", "sep_conv_3x3", "own")


class OneNode(SearchSpace):
    """One cell, whose one node reads one state, over one edge; the engine does not know all of its operations."""

    name = "one-node"

    @property
    def kinds(self):
        return {"cell": CellKind(num_inputs=1, edges=(Edge(0, 1, NAMES),), edges_per_node=1, output=(1,))}

    def operation(self, name, edge, *, search):
        if name == "own":
            return nn.Sequential(nn.Conv2d(edge.channels, edge.channels, 3, padding=1), nn.BatchNorm2d(edge.channels))
        return DARTS_OPERATIONS[name](edge, search)

    def skeleton(self, *, search, auxiliary=False, outputs=None):
        plan = CellPlan("cell", (EdgePlan(4, 4),), (ReLUConvBN(3, 4, affine=False),))
        return Skeleton(Single(), [plan], nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))


class Single(nn.Module):
    def forward(self, images):
        return (images,)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")  # torch._dynamo reads it
@pytest.mark.parametrize(("recompute", "num_graphs"), [("none", 1), ("nodes", 1), ("cells", 2)])
def test_compiled_fans_are_compiled_once_and_remember_once(recompute, num_graphs):
    """In the second pass of a cell the batch norm of the unknown operation has other settings: one graph more."""
    torch.manual_seed(0)
    space = OneNode(num_classes=4, in_channels=3)
    usual, compiled = (build_supernet(space, engine="fused", recompute=recompute) for _ in range(2))
    compiled.load_state_dict(usual.state_dict())
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for module in compiled.modules():
        if isinstance(module, Fan):
            module.compile(backend="eager", dynamic=False, fullgraph=True)
    for _ in range(3):
        images = torch.randn(3, 3, 6, 6)
        for supernet in (usual, compiled):
            supernet.zero_grad()
            supernet(images).pow(3).sum().backward()
        for (name, wanted), found in zip(usual.named_parameters(), compiled.parameters(), strict=True):
            torch.testing.assert_close(found.grad, wanted.grad, rtol=0, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == num_graphs
    for name, wanted in usual.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], wanted, rtol=1e-4, atol=1e-5)
        assert not name.endswith("num_batches_tracked") or wanted == 3
