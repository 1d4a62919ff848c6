"""What supernets and discrete networks share: a stem, cells in a row, a head."""

from collections.abc import Callable

from torch import nn

from halfnas.spaces import CellKind, CellPlan, SearchSpace, Skeleton


class MacroNetwork(nn.Module):
    """The macro skeleton of a space with its cells filled in.

    Every cell reads the last `num_inputs` outputs; a fixed layer between cells reads the last one.

    Attributes:
        layer_kinds: for every layer the kind of its cell, None for a fixed layer.
    """

    def __init__(
        self, space: SearchSpace, skeleton: Skeleton, make_cell: Callable[[CellPlan, CellKind], nn.Module]
    ) -> None:
        super().__init__()
        self.space = space
        self.stem = skeleton.stem
        self.layers = nn.ModuleList(
            make_cell(layer, space.kinds[layer.kind]) if isinstance(layer, CellPlan) else layer
            for layer in skeleton.layers
        )
        self.layer_kinds = [layer.kind if isinstance(layer, CellPlan) else None for layer in skeleton.layers]
        self.head = skeleton.head
