"""The NAS-Bench-201 space: 5 candidates on each of 6 edges of one cell, 15,625 architectures.

Source: Dong & Yang, "NAS-Bench-201", ICLR 2020, and D-X-Y/AutoDL-Projects, xautodl/models: cell_operations.py,
cell_infers/tiny_network.py (the final network) and cell_searchs/search_model_darts.py (the supernet).
"""

import re
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from halfnas.runs.reading import quoted
from halfnas.spaces.genotype import Genotype
from halfnas.spaces.operations import ReLUConvBN, Zero
from halfnas.spaces.space import CellKind, CellPlan, Edge, EdgePlan, SearchSpace, Skeleton, check_channels_divide

NUM_STATES = 4  # the input and three nodes
NUM_STAGES = 3
#: How the authors write an architecture: what every node reads, with `{}` for the operation of each edge.
ARCHITECTURE = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"


#: name -> builder(channels, affine), in the order of the authors. The pool has no batch norm, in the supernet neither.
OPERATIONS: dict[str, Callable[[int, bool], nn.Module]] = {
    "none": lambda channels, affine: Zero(stride=1),
    "skip_connect": lambda channels, affine: nn.Identity(),
    "nor_conv_1x1": lambda channels, affine: ReLUConvBN(channels, channels, 1, affine=affine),
    "nor_conv_3x3": lambda channels, affine: ReLUConvBN(channels, channels, 3, affine=affine),
    "avg_pool_3x3": lambda channels, affine: nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False),
}
CELL = CellKind(
    num_inputs=1,
    edges=tuple(Edge(source, target, tuple(OPERATIONS)) for target in range(1, NUM_STATES) for source in range(target)),
    edges_per_node=None,
    output=(NUM_STATES - 1,),
)


class Stem(nn.Module):
    """3x3 convolution and batch norm, [B, in_channels, H, W] -> the input of the first cell, ([B, C, H, W],)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (self.bn(self.conv(images)),)


class ResidualReduction(nn.Module):
    """The block between stages, [B, C, H, W] -> [B, 2C, ceil(H/2), ceil(W/2)].

    Two 3x3 convolutions, the first of stride 2, and beside them the average of squares of 2x2 in a 1x1 convolution.
    An odd size is rounded up as everywhere in the house; the authors' code works with even ones only.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            ReLUConvBN(channels, 2 * channels, 3, stride=2, affine=True),
            ReLUConvBN(2 * channels, 2 * channels, 3, affine=True),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True),
            nn.Conv2d(channels, 2 * channels, kernel_size=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.convolutions(x)


class NASBench201Space(SearchSpace):
    """5 candidates on each of the 6 edges of one cell, of which every edge of an architecture carries one.

    State 0 is the input of the cell, as it is; states 1, 2 and 3 each read all states before them, and state 3 is the
    output. The cells stand in three stages of C, 2C and 4C channels, between which a fixed residual block halves the
    resolution. Stem, residual blocks and head are as in the final network in the supernet too, affine batch norms
    included.

    Args:
        init_channels: C.
        num_cells: searched cells of the three stages together, a positive multiple of 3.
        num_classes: logits of the head.
        in_channels: channels of the images.
    """

    name = "nasbench201"
    tables = ("nasbench201_val.csv", "nasbench201_latency.csv")
    published_partial_channels = 4  # that of the DARTS space

    def __init__(self, init_channels: int, num_cells: int, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        if num_cells < 1 or num_cells % NUM_STAGES:
            raise ValueError(
                f"`num_cells` must be a positive multiple of {NUM_STAGES}, got {num_cells}: it counts the cells of all "
                f"{NUM_STAGES} stages together, num_cells=15 as published"
            )
        if init_channels < 1:
            raise ValueError(f"`init_channels` must be positive, got {init_channels}")
        self.init_channels = init_channels
        self.num_cells = num_cells

    @property
    def kinds(self) -> Mapping[str, CellKind]:
        return {"cell": CELL}

    def operation(self, name: str, edge: EdgePlan, *, search: bool) -> nn.Module:
        assert edge.stride == 1, "no cell of this space changes the resolution"
        return OPERATIONS[name](edge.channels, not search)

    def skeleton(
        self, *, search: bool, auxiliary: bool = False, outputs: Mapping[str, tuple[int, ...]] | None = None
    ) -> Skeleton:
        self.refuse_auxiliary_head(auxiliary)
        channels = self.init_channels
        layers: list[CellPlan | nn.Module] = []
        for stage in range(NUM_STAGES):
            if stage > 0:
                layers.append(ResidualReduction(channels))
                channels *= 2
            layers += [
                CellPlan("cell", (EdgePlan(channels, channels),) * len(CELL.edges), preprocess=(nn.Identity(),))
                for _ in range(self.num_cells // NUM_STAGES)
            ]
        head = make_head(channels, self.num_classes)
        return Skeleton(stem=Stem(self.in_channels, self.init_channels), layers=layers, head=head)

    def check_images(self, image_size: int, *, auxiliary: bool = False) -> None:
        super().check_images(image_size, auxiliary=auxiliary)
        smallest = 2 ** (NUM_STAGES - 1)
        if image_size < smallest:
            raise ValueError(
                f"images of {image_size}x{image_size} are too small: the resolution is halved {NUM_STAGES - 1} times, "
                f"which needs at least {smallest}x{smallest}; use a dataset with larger images"
            )

    def check_partial_channels(self, partial_channels: int) -> None:
        check_channels_divide(self.init_channels, partial_channels)

    def architecture_string(self, genotype: Genotype) -> str:
        return to_architecture_string(genotype)

    def parse_architecture(self, text: str) -> Genotype:
        return from_architecture_string(text)

    def _check_genotype(self, genotype: Genotype) -> None:
        super()._check_genotype(genotype)
        found, wanted = [source for _, source in genotype.cells["cell"]], [edge.source for edge in CELL.edges]
        if found != wanted:
            raise ValueError(f"cell 'cell': sources {found} must be {wanted}, those of all edges in their order")
        output = genotype.outputs.get("cell", CELL.output)
        if output != CELL.output:
            raise ValueError(
                f"cell 'cell': output {quoted(list(output))} must be {list(CELL.output)} in space {self.name}"
            )


def make_head(channels: int, num_classes: int) -> nn.Sequential:
    """Batch norm, ReLU, global average and a linear layer, for cells that do not normalise what they give."""
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, num_classes),
    )


def from_architecture_string(text: str) -> Genotype:
    """The genotype of an architecture in the authors' writing.

    They join the nodes by `+`, and give for each its edges, operation and source state, between bars, such as
    `|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|none~1|skip_connect~2|`.

    Raises:
        ValueError: it is not written so, or names an operation that the space does not have.
    """
    pattern = re.escape(ARCHITECTURE).replace(r"\{\}", r"([^|~+]*)")
    match = re.fullmatch(pattern, text)
    if match is None:
        expected = ARCHITECTURE.format(*["operation"] * len(CELL.edges))
        raise ValueError(f"an architecture of NAS-Bench-201 must be written as {expected}, got {quoted(text)}")
    if unknown := [name for name in match.groups() if name not in OPERATIONS]:
        raise ValueError(f"unknown operation {quoted(unknown[0])} in {quoted(text)}; known: {', '.join(OPERATIONS)}")
    genes = tuple((name, edge.source) for name, edge in zip(match.groups(), CELL.edges, strict=True))
    return Genotype(NASBench201Space.name, {"cell": genes}, {"cell": CELL.output})


def to_architecture_string(genotype: Genotype) -> str:
    """A genotype of this space in the authors' writing, the inverse of `from_architecture_string`.

    Raises:
        ValueError: it is no genotype of this space.
    """
    NASBench201Space(init_channels=1, num_cells=NUM_STAGES).check_genotype(genotype)
    return ARCHITECTURE.format(*(name for name, _ in genotype.cells["cell"]))
