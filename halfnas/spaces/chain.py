"""Spaces that are a chain: layers one after the other, each a choice of its own, whose channels and strides differ."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from math import prod

from torch import nn

from halfnas.spaces.space import CellKind, CellPlan, Edge, EdgePlan, SearchSpace, Skeleton

SKIP = "skip_connect"


class ChainSpace(SearchSpace):
    """A kind of cell a layer, `layer_1` to `layer_L`, each with one edge from its input to its output.

    Sizes belong to the layers, so a chain has no `init_channels` or `num_cells`, no auxiliary head and no partial
    channels.

    Args:
        layers: the sizes of every layer, first to last.
        num_classes: logits of the head.
        in_channels: channels of the images.
        stem_stride: by how much the stem divides the resolution.
    """

    def __init__(self, layers: Sequence[EdgePlan], *, num_classes: int, in_channels: int, stem_stride: int = 1) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.layers = tuple(layers)
        self.stem_stride = stem_stride
        self._kinds = {f"layer_{number}": self._kind(layer) for number, layer in enumerate(self.layers, start=1)}

    @abstractmethod
    def choices(self, layer: EdgePlan) -> Sequence[str]:
        """The candidates of a layer, in the order that they are shown in."""

    @abstractmethod
    def stem(self) -> nn.Module:
        """Images [B, in_channels, H, W] -> the input of the first layer, alone in a tuple."""

    @abstractmethod
    def head(self) -> nn.Module:
        """The output of the last layer -> logits [B, num_classes]."""

    @property
    def kinds(self) -> Mapping[str, CellKind]:
        return self._kinds

    def skeleton(
        self, *, search: bool, auxiliary: bool = False, outputs: Mapping[str, tuple[int, ...]] | None = None
    ) -> Skeleton:
        self.refuse_auxiliary_head(auxiliary)
        plans = [
            CellPlan(kind, (layer,), (nn.Identity(),)) for kind, layer in zip(self.kinds, self.layers, strict=True)
        ]
        return Skeleton(self.stem(), plans, self.head())

    def check_images(self, image_size: int, *, auxiliary: bool = False) -> None:
        super().check_images(image_size, auxiliary=auxiliary)
        smallest = self.stem_stride * prod(layer.stride for layer in self.layers)
        if image_size < smallest:
            raise ValueError(
                f"images of {image_size}x{image_size} are too small: the strides of space {self.name} divide the "
                f"resolution by {smallest}, so it needs {smallest}x{smallest} or more; use a dataset with larger images"
            )

    def _kind(self, layer: EdgePlan) -> CellKind:
        return CellKind(num_inputs=1, edges=(Edge(0, 1, tuple(self.choices(layer))),), edges_per_node=None, output=(1,))


def stages(
    in_channels: int, widths: Sequence[int], depths: Sequence[int], strides: Sequence[int]
) -> Iterator[EdgePlan]:
    """The sizes of the layers of stages, one stage after the other.

    Args:
        in_channels: what the first layer reads.
        widths: the channels of every stage.
        depths: the layers of every stage.
        strides: the stride of the first layer of every stage; that of the others is 1.
    """
    for width, depth, stride in zip(widths, depths, strides, strict=True):
        for number in range(depth):
            yield EdgePlan(in_channels, width, stride if number == 0 else 1)
            in_channels = width


def scaled(channels: int, width_multiplier: float) -> int:
    """Channels times a factor, to the nearest multiple of 8, at least 8; as they are for a factor of 1."""
    if width_multiplier == 1:
        return channels
    return max(8, 8 * int(channels * width_multiplier / 8 + 0.5))


def check_width_multiplier(width_multiplier: float) -> None:
    """Raise ValueError for a factor that is not positive."""
    if not width_multiplier > 0:
        raise ValueError(f"`width_multiplier` must be positive, got {width_multiplier}; 1 is the published width")
