"""The scoring networks of ETENAS, as spaces that the supernet is built of.

Source: Rufaim/ETENAS at 1c5a702, lib/models/cell_searchs/search_model_darts_nasnet.py (cells of DARTS) and
search_model_darts.py (NAS-Bench-201), with lib/models/cell_operations.py, at the sizes that prune_etenas.py gives them.
"""

from collections.abc import Mapping

from torch import nn

from halfnas.spaces import CellKind, CellPlan, EdgePlan, NASBench201Space, SearchSpace, Skeleton
from halfnas.spaces.darts import CifarStem
from halfnas.spaces.nasbench201 import make_head
from halfnas.spaces.operations import ReLUConvBN

#: Their two networks, by the names that settings call them.
DARTS, NASBENCH201 = "darts", "nasbench201"


class ETENASSpace(SearchSpace):
    """The cells of another space in the skeleton that ETENAS rates them in.

    Candidates and fixed modules are as in a final network: batch norms are affine, pools have none.

    Args:
        space: what is pruned.
        init_channels: C.

    Attributes:
        network: which of the two networks it is.

    Raises:
        ValueError: the published code has no network for such a space.
    """

    def __init__(self, space: SearchSpace, *, init_channels: int, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.name = space.name
        self.network = network_for(space)
        self.init_channels = init_channels
        self._space = space

    @property
    def kinds(self) -> Mapping[str, CellKind]:
        """Those of the space that is pruned."""
        return self._space.kinds

    def operation(self, name: str, edge: EdgePlan, *, search: bool) -> nn.Module:
        """Build one candidate, as it stands in a final network."""
        return self._space.operation(name, edge, search=False)

    def skeleton(
        self, *, search: bool, auxiliary: bool = False, outputs: Mapping[str, tuple[int, ...]] | None = None
    ) -> Skeleton:
        """Build the fixed modules of the published network."""
        self.refuse_auxiliary_head(auxiliary)
        return self._of_nasbench201() if self.network == NASBENCH201 else self._of_darts()

    def _of_nasbench201(self) -> Skeleton:
        """N = 1: a cell a stage, in the skeleton that the final networks have too."""
        stages = NASBench201Space(self.init_channels, 3, self.num_classes, self.in_channels)
        return stages.skeleton(search=False)

    def _of_darts(self) -> Skeleton:
        """N = 1, depth 2: a normal cell of C channels, then a reduction cell of 2C; both read the stem."""
        before = last = channels = self.init_channels
        layers = []
        for kind in ("normal", "reduce"):
            reduces = kind == "reduce"
            channels *= 2 if reduces else 1
            cell = self.kinds[kind]
            strides = (2 if reduces and edge.source < cell.num_inputs else 1 for edge in cell.edges)
            edges = tuple(EdgePlan(channels, channels, stride) for stride in strides)
            preprocess = tuple(ReLUConvBN(width, channels, affine=True) for width in (before, last))
            layers.append(CellPlan(kind, edges, preprocess))
            before, last = last, len(cell.output) * channels
        head = make_head(last, self.num_classes)
        return Skeleton(stem=CifarStem(self.in_channels, self.init_channels), layers=layers, head=head)


def network_for(space: SearchSpace) -> str:
    """Which of the two networks rates the cells of a space.

    Raises:
        ValueError: neither does.
    """
    if isinstance(space, NASBench201Space):
        return NASBENCH201
    if set(space.kinds) == {"normal", "reduce"} and all(kind.num_inputs == 2 for kind in space.kinds.values()):
        return DARTS
    raise ValueError(
        f"the published code rates cells of DARTS (kinds normal and reduce, of two inputs each) and of NAS-Bench-201, "
        f"and has no network for the {space.name} space; use pruner=nngp_exact or another pruner"
    )
