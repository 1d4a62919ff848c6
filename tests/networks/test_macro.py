"""A space with nothing of DARTS' skeleton: one input, fixed layers between cells, all edges kept."""

import pytest
import torch
from torch import nn

from halfnas import build_supernet
from halfnas.networks import DiscreteNetwork
from halfnas.spaces import CellKind, CellPlan, Edge, EdgePlan, Genotype, Mask, SearchSpace, Skeleton


class Stem(nn.Conv2d):
    def forward(self, images):
        return (super().forward(images),)


class ChainSpace(SearchSpace):
    name = "chain"

    @property
    def kinds(self):
        candidates = ("none", "identity", "twice", "convolution")
        edges = tuple(Edge(source, target, candidates) for target in (1, 2) for source in range(target))
        return {"cell": CellKind(num_inputs=1, edges=edges, edges_per_node=None, output=(2,))}

    def operation(self, name, edge, *, search):
        modules = {
            "none": lambda: Scale(0.0),
            "identity": nn.Identity,
            "twice": lambda: Scale(2.0),
            "convolution": lambda: nn.Conv2d(edge.in_channels, edge.out_channels, 1),
        }
        return modules[name]()

    def skeleton(self, *, search, auxiliary=False, outputs=None):
        plan = [CellPlan("cell", (EdgePlan(4, 4),) * 3, (nn.Identity(),)) for _ in range(2)]
        return Skeleton(
            stem=Stem(self.in_channels, 4, 1),
            layers=[plan[0], nn.AvgPool2d(2), plan[1]],
            head=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, self.num_classes)),
        )


class Scale(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


@pytest.fixture
def space():
    torch.manual_seed(0)
    return ChainSpace(num_classes=5, in_channels=3)


def test_discrete_network_by_hand(space):
    genotype = Genotype("chain", {"cell": (("twice", 0), ("identity", 0), ("twice", 1))})
    network = DiscreteNetwork(space, genotype)
    images = torch.randn(2, 3, 8, 8)
    # state 1 = 2x, state 2 = x + 2 * 2x = 5x; two cells with an average over 2x2 between them
    expected = network.head(25 * nn.functional.avg_pool2d(network.stem(images)[0], 2))
    torch.testing.assert_close(network(images), expected)
    assert network.layer_kinds == ["cell", None, "cell"]
    assert network.forward_with_auxiliary(images)[1] is None


def test_supernet_by_hand(space):
    mask = Mask("chain", {"cell": [["twice"], ["none", "identity"], ["twice", "identity"]]})
    supernet = build_supernet(space, mask)
    with torch.no_grad():
        supernet.alpha["cell"].zero_()
    images = torch.randn(2, 3, 8, 8)
    # state 1 = 2x, state 2 = (0 + x) / 2 + (2 + 1) / 2 * 2x = 3.5x
    expected = supernet.head(3.5**2 * nn.functional.avg_pool2d(supernet.stem(images)[0], 2))
    torch.testing.assert_close(supernet(images), expected)
    with torch.no_grad():  # kept, in the space's order: twice, none, identity, identity, twice
        supernet.alpha["cell"].copy_(torch.tensor([0.0, 2.0, 1.0, 0.0, 1.0]))
    genotype = supernet.genotype()
    assert genotype.cell == (("twice", 0), ("none", 0), ("twice", 1))  # all edges are kept, some without signal
    network = DiscreteNetwork(space, genotype)
    # state 1 = 2x, state 2 = 0 + 2 * 2x = 4x
    expected = network.head(16 * nn.functional.avg_pool2d(network.stem(images)[0], 2))
    torch.testing.assert_close(network(images), expected)


def test_partial_channels_are_refused_where_a_space_has_none(space):
    with pytest.raises(ValueError, match="the chain space has no partial channels, got partial_channels=2"):
        build_supernet(space, partial_channels=2)
