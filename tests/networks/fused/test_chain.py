"""Cells that are chains: which of them the fused engine suits, and that it gives there what the plain one gives."""

import pytest
import torch
from torch import nn

from halfnas import build_supernet
from halfnas.networks.fused.cell import FusedCell
from halfnas.spaces import CellKind, CellPlan, DartsSpace, Edge, EdgePlan, NASBench201Space, SearchSpace, Skeleton
from halfnas.spaces.operations import DARTS_OPERATIONS, ReLUConvBN

NAMES = ("none", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_3x3")
CHAIN = CellKind(num_inputs=1, edges=(Edge(0, 1, NAMES), Edge(1, 2, NAMES)), edges_per_node=1, output=(2,))


class Chain(SearchSpace):
    """One cell of two nodes in a row."""

    name = "chain"

    @property
    def kinds(self):
        return {"cell": CHAIN}

    def operation(self, name, edge, *, search):
        return DARTS_OPERATIONS[name](edge, search)

    def skeleton(self, *, search, auxiliary=False, outputs=None):
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return Skeleton(Single(), [chain(EdgePlan(4, 4), EdgePlan(4, 4))], head)


class Single(nn.Module):
    def forward(self, images):
        return (images,)


def chain(*edges):
    return CellPlan("cell", edges, (ReLUConvBN(3, edges[0].in_channels, affine=False),))


def test_a_chain_is_computed_as_by_the_plain_engine():
    torch.manual_seed(0)
    assert FusedCell.suits(chain(EdgePlan(4, 4), EdgePlan(4, 4)), CHAIN)
    plain, fused = (build_supernet(Chain(num_classes=4, in_channels=3), engine=e).double() for e in ("plain", "fused"))
    fused.load_state_dict(plain.state_dict())
    images = torch.randn(3, 3, 6, 6, dtype=torch.float64)
    for supernet in (plain, fused):
        supernet(images).pow(3).sum().backward()
    for (name, wanted), found in zip(plain.named_parameters(), fused.parameters(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad, rtol=0, atol=1e-9, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize(
    ("edges", "suits"),
    [
        ([EdgePlan(4, 4, 2), EdgePlan(4, 4)], True),
        ([EdgePlan(4, 8), EdgePlan(8, 8)], False),  # the first one changes the channels
        ([EdgePlan(4, 4), EdgePlan(8, 8)], False),  # each keeps channels of its own
        ([EdgePlan(4, 8), EdgePlan(8, 4)], False),
        ([EdgePlan(4, 4), EdgePlan(4, 4, 2)], False),  # nodes of two resolutions
    ],
    ids=str,
)
def test_which_chains_suit(edges, suits):
    assert FusedCell.suits(chain(*edges), CHAIN) == suits


def test_a_cell_without_edges_does_not_suit():
    kind = CellKind(num_inputs=1, edges=(), edges_per_node=1, output=(0,))
    assert not FusedCell.suits(CellPlan("cell", (), ()), kind)


@pytest.mark.parametrize(
    "space", [DartsSpace(init_channels=4, num_cells=3), NASBench201Space(4, 3)], ids=["darts", "201"]
)
def test_cells_of_the_published_spaces_suit(space):
    plans = [plan for plan in space.skeleton(search=True).layers if isinstance(plan, CellPlan)]
    assert plans
    assert all(FusedCell.suits(plan, space.kinds[plan.kind]) for plan in plans)
