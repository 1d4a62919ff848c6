"""The DARTS space for images of CIFAR's size.

Source: Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019, and quark0/darts, cnn/.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from halfnas.spaces.operations import DARTS_OPERATIONS, OPERATIONS, FactorizedReduce, ReLUConvBN
from halfnas.spaces.space import CellKind, CellPlan, Edge, EdgePlan, SearchSpace, Skeleton, check_channels_divide
from halfnas.spaces.subspace import EdgeCandidates, candidates_of_edges

NUM_INPUTS = 2
NUM_NODES = 4
EDGES_PER_NODE = 2
STEM_MULTIPLIER = 3
AUXILIARY_CHANNELS = (128, 768)
AUXILIARY_FEATURES = 8  # the least side of the maps that the auxiliary head reads

KINDS = ("normal", "reduce")
STATES = range(NUM_INPUTS + NUM_NODES)
CELL = CellKind(
    num_inputs=NUM_INPUTS,
    edges=tuple(
        Edge(source, target, tuple(DARTS_OPERATIONS)) for target in STATES[NUM_INPUTS:] for source in range(target)
    ),
    edges_per_node=EDGES_PER_NODE,
    output=tuple(STATES[NUM_INPUTS:]),
)


class CifarStem(nn.Module):
    """3x3 convolution and batch norm at full resolution; both inputs of the first cell are its output."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = self.bn(self.conv(images))
        return x, x


class Classifier(nn.Module):
    """Global average pooling and a linear layer, [B, C, H, W] -> [B, num_classes]."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.mean(dim=(2, 3)))


class AuxiliaryHead(nn.Module):
    """The auxiliary classifier of DARTS, made for 8x8 features; larger ones are averaged before the linear layer."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        narrow, wide = AUXILIARY_CHANNELS
        self.features = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, stride=3, count_include_pad=False),  # 8x8 -> 2x2
            nn.Conv2d(channels, narrow, kernel_size=1, bias=False),
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            nn.Conv2d(narrow, wide, kernel_size=2, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
        )
        self.classifier = Classifier(wide, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))


class DartsSpace(SearchSpace):
    """8 candidates on each of 14 edges, in a normal and a reduction cell, or other ones.

    The cells at `num_cells // 3` and `2 * num_cells // 3` are reductions: they halve the resolution (edges from the
    cell's inputs have stride 2) and double the channels.

    Args:
        init_channels: C, the channels of a state in the first cell.
        num_cells: at least 3, so that there is a normal cell.
        num_classes: logits of the head.
        in_channels: channels of the images.
        stem: "cifar", a 3x3 convolution to 3C channels at full resolution.
        name: of the yaml, which masks and genotypes name.
        candidates: those of all edges, or of `normal` and `reduce`; of all edges of a kind, or a list an edge. None for
            the 8 of DARTS.
    """

    published_partial_channels = 4  # yuhuixu1993/PC-DARTS, model_search.py

    def __init__(
        self,
        init_channels: int,
        num_cells: int,
        num_classes: int = 10,
        in_channels: int = 3,
        stem: str = "cifar",
        name: str = "darts",
        candidates: EdgeCandidates | None = None,
    ) -> None:
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        if num_cells < 3:
            raise ValueError(f"`num_cells` must be at least 3, got {num_cells}: fewer leave no normal cell")
        if init_channels < 1:
            raise ValueError(f"`init_channels` must be positive, got {init_channels}")
        if stem not in STEMS:
            raise ValueError(f"`stem` must be one of {', '.join(STEMS)}, got {stem!r}")
        self.init_channels = init_channels
        self.num_cells = num_cells
        self.stem = stem
        self.name = name
        self._kinds = dict.fromkeys(KINDS, CELL)
        if candidates is not None:
            found = candidates_of_edges(candidates, KINDS, len(CELL.edges), OPERATIONS)
            self._kinds = {kind: _cell(of_edges) for kind, of_edges in found.items()}

    @property
    def kinds(self) -> Mapping[str, CellKind]:
        return self._kinds

    @property
    def reductions(self) -> tuple[int, int]:
        """Indices of the reduction cells."""
        return self.num_cells // 3, 2 * self.num_cells // 3

    def operation(self, name: str, edge: EdgePlan, *, search: bool) -> nn.Module:
        return OPERATIONS[name](edge, search)

    def skeleton(
        self, *, search: bool, auxiliary: bool = False, outputs: Mapping[str, tuple[int, ...]] | None = None
    ) -> Skeleton:
        affine = not search
        channels = self.init_channels
        stem_channels = STEM_MULTIPLIER * channels
        before, last = stem_channels, stem_channels  # channels of the two states a cell reads
        after_reduction = False
        auxiliary_layer, auxiliary_head = 2 * self.num_cells // 3, None
        layers = []
        for index in range(self.num_cells):
            reduction = index in self.reductions
            kind = "reduce" if reduction else "normal"
            channels *= 2 if reduction else 1
            first = FactorizedReduce if after_reduction else ReLUConvBN
            preprocess = (first(before, channels, affine=affine), ReLUConvBN(last, channels, affine=affine))
            strides = (2 if reduction and edge.source < NUM_INPUTS else 1 for edge in CELL.edges)
            edges = tuple(EdgePlan(channels, channels, stride) for stride in strides)
            layers.append(CellPlan(kind, edges, preprocess))
            output = (outputs or {}).get(kind, CELL.output)
            before, last, after_reduction = last, len(output) * channels, reduction
            if auxiliary and index == auxiliary_layer:
                auxiliary_head = AuxiliaryHead(last, self.num_classes)
        return Skeleton(
            stem=STEMS[self.stem](self.in_channels, stem_channels),
            layers=layers,
            head=Classifier(last, self.num_classes),
            auxiliary_layer=auxiliary_layer,
            auxiliary_head=auxiliary_head,
        )

    def has_auxiliary_head(self, image_size: int) -> bool:
        return self._features(image_size) >= AUXILIARY_FEATURES

    def check_images(self, image_size: int, *, auxiliary: bool = False) -> None:
        smallest = 2 ** len(self.reductions)
        if image_size < smallest:
            raise ValueError(
                f"images of {image_size}x{image_size} are too small: {len(self.reductions)} reductions need at least "
                f"{smallest}x{smallest}; use a dataset with larger images"
            )
        if auxiliary and not self.has_auxiliary_head(image_size):
            features = self._features(image_size)
            raise ValueError(
                f"the auxiliary head needs 8x8 features (images of 29x29 or more), images of {image_size}x{image_size} "
                f"give {features}x{features}; switch it off (evaluation.auxiliary=false)"
            )

    def check_partial_channels(self, partial_channels: int) -> None:
        check_channels_divide(self.init_channels, partial_channels)

    def _features(self, image_size: int) -> int:
        """The side of the maps that the head and the auxiliary head read."""
        return -(-image_size // 2 ** len(self.reductions))


def _cell(candidates: Sequence[tuple[str, ...]]) -> CellKind:
    """The cell of DARTS with other candidates on its edges."""
    edges = (replace(edge, candidates=names) for edge, names in zip(CELL.edges, candidates, strict=True))
    return replace(CELL, edges=tuple(edges))


STEMS = {"cifar": CifarStem}
