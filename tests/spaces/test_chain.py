"""What all chains of layers share."""

import pytest
from torch import nn

from halfnas.spaces import CellPlan, ChainSpace, EdgePlan
from halfnas.spaces.chain import check_width_multiplier, scaled, stages
from halfnas.spaces.inverted_residual import ConvHead, ConvStem
from halfnas.spaces.operations import ReLUConvBN

LAYERS = (EdgePlan(4, 4), EdgePlan(4, 6, 2), EdgePlan(6, 6, 2))


class Small(ChainSpace):
    """Two candidates where the shape changes, three where it stays."""

    name = "small"

    def __init__(self):
        super().__init__(LAYERS, num_classes=5, in_channels=1, stem_stride=2)

    def choices(self, layer):
        return ["a", "b", "skip_connect"] if layer.keeps_shape else ["a", "b"]

    def operation(self, name, edge, *, search):
        return ReLUConvBN(edge.in_channels, edge.out_channels, stride=edge.stride, affine=not search)

    def stem(self):
        return ConvStem(1, 4, self.stem_stride)

    def head(self):
        return ConvHead(6, 8, 5)


def test_a_kind_of_cell_a_layer():
    space = Small()
    assert list(space.kinds) == ["layer_1", "layer_2", "layer_3"]
    assert {(k.num_inputs, k.nodes, k.edges_per_node, k.output) for k in space.kinds.values()} == {
        (1, (1,), None, (1,))
    }
    assert [space.candidates(kind) for kind in space.kinds] == [
        (("a", "b", "skip_connect"),), (("a", "b"),), (("a", "b"),),
    ]  # fmt: skip


def test_skeleton():
    skeleton = Small().skeleton(search=True)
    assert all(isinstance(layer, CellPlan) for layer in skeleton.layers)
    assert tuple(edge for layer in skeleton.layers for edge in layer.edges) == LAYERS
    assert all(isinstance(module, nn.Identity) for layer in skeleton.layers for module in layer.preprocess)
    assert (skeleton.auxiliary_layer, skeleton.auxiliary_head) == (None, None)


def test_no_auxiliary_head_and_no_partial_channels():
    space = Small()
    assert not space.has_auxiliary_head(224)
    for refused in (
        lambda: space.skeleton(search=False, auxiliary=True),
        lambda: space.check_images(32, auxiliary=True),
    ):
        with pytest.raises(ValueError, match=r"the small space has no auxiliary head; .* \(evaluation.auxiliary=false"):
            refused()
    assert space.resolve_partial_channels("auto") == 1
    assert space.resolve_partial_channels(4) == 4
    with pytest.raises(ValueError, match="the small space has no partial channels, got partial_channels=4"):
        space.check_partial_channels(4)


def test_smallest_images():
    Small().check_images(8)
    message = (
        r"images of 7x7 are too small: the strides of space small divide the resolution by 8, .* needs 8x8 or more; use"
    )
    with pytest.raises(ValueError, match=message):
        Small().check_images(7)


def test_stages():
    assert list(stages(16, [24, 40], [2, 1], [1, 2])) == [EdgePlan(16, 24), EdgePlan(24, 24), EdgePlan(24, 40, 2)]


@pytest.mark.parametrize(
    ("channels", "factor", "expected"),
    [(24, 1, 24), (20, 1, 20), (32, 0.5, 16), (40, 0.5, 24), (16, 0.1, 8), (24, 2, 48)],
)
def test_scaled(channels, factor, expected):
    assert scaled(channels, factor) == expected


@pytest.mark.parametrize("factor", [0, -1, float("nan")])
def test_width_multiplier(factor):
    with pytest.raises(ValueError, match=r"`width_multiplier` must be positive, got .*; 1 is the published width"):
        check_width_multiplier(factor)
